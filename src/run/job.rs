//! Messages between a test and its agent.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::report::{TestReport, TestStep};
use super::runtime::InstalledRuntime;
use super::session::SessionPlan;

/// The task of an agent, in a file of the test's folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AgentJob {
    /// The bundle.
    pub(super) bundle: PathBuf,
    /// The folder of the test, which the agent removes if the test is killed.
    pub(super) folder: PathBuf,
    /// Name of the container.
    pub(super) id: String,
    /// Runtimes to try, in order.
    pub(super) runtimes: Vec<InstalledRuntime>,
    pub(super) plan: SessionPlan,
    /// True if the network namespace is new.
    pub(super) has_network_namespace: bool,
    /// The program of the agent.
    pub(super) helper: PathBuf,
}

/// A line of the agent's standard output, in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// A step has ended.
    Step(TestStep),
    /// The test has ended.
    Finished(TestReport),
    /// A runtime has refused, with its reason.
    Refused(String, String),
}
