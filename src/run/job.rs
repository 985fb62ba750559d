//! Messages between the command and its agent.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RunError;
use super::report::{TestReport, TestStep};
use super::runtime::InstalledRuntime;
use super::secret_file::SentSecret;
use super::session::SessionPlan;
use super::signal::StopSignal;

/// The task of an agent, in a file of the container's folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AgentJob {
    /// The bundle.
    pub(super) bundle: PathBuf,
    /// The folder of the container, which the agent removes if the command is killed.
    pub(super) folder: PathBuf,
    /// Name of the container.
    pub(super) id: String,
    /// Runtimes to try, in order.
    pub(super) runtimes: Vec<InstalledRuntime>,
    pub(super) task: AgentTask,
    /// Owner of secrets, if files may have another than the agent's.
    pub(super) owner: Option<(u32, u32)>,
    /// True if the network namespace is new.
    pub(super) has_network_namespace: bool,
    /// The program of the agent.
    pub(super) helper: PathBuf,
}

/// The use of the container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum AgentTask {
    /// Start, checks, stop. Commands arrive at standard input, messages leave at standard output.
    Test(SessionPlan),
    /// Runs the container to its end, with the standard streams of the agent.
    Foreground(ForegroundPlan),
}

/// A container in the foreground.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ForegroundPlan {
    pub(super) stop_signal: StopSignal,
    /// Time to stop after the signal.
    pub(super) stop_timeout: Duration,
    /// The named pipe with the commands.
    pub(super) commands: PathBuf,
    /// The file for the messages.
    pub(super) messages: PathBuf,
}

/// A line to the agent, in JSON. The end of the lines ends the container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum AgentCommand {
    /// The secrets, always the first line.
    Secrets(Vec<SentSecret>),
    /// The container shall stop.
    Stop,
    /// The container shall end at once.
    Kill,
}

impl AgentCommand {
    /// Returns the line.
    pub(super) fn line(&self) -> Result<Vec<u8>, RunError> {
        let mut line = serde_json::to_vec(self).map_err(|error| RunError::Agent(error.to_string()))?;
        line.push(b'\n');
        Ok(line)
    }
}

/// A line of the agent, in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// A step has ended.
    Step(TestStep),
    /// The test has ended.
    Finished(TestReport),
    /// A runtime has refused, with its reason.
    Refused(String, String),
    /// The container in the foreground has ended, with this exit code.
    Exited(i32),
}
