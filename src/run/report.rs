//! The result of a test.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One step of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TestStep {
    /// The name: `unpack`, `start`, `healthy`, `GET /metrics`, `stop`.
    pub name: String,
    /// Passed or failed.
    pub outcome: StepOutcome,
    /// The details, or the reason of a failure. Parts come from the image.
    pub detail: String,
    /// The kind of a failure, if a hint depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<StepFailure>,
    /// The duration.
    pub duration: Duration,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// The step succeeded.
    Passed,
    /// The step failed, and ended the test.
    Failed,
}

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StepFailure {
    /// The process still ran some time after its stop signal.
    SignalIgnored,
}

/// The result of a test.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TestReport {
    /// The steps, in order. Only the last one may have failed, or `stop` after failed requests.
    pub steps: Vec<TestStep>,
    /// The output of the container, shortened in the middle if long.
    pub log: String,
    /// Hints to the cause of a failure.
    pub hints: Vec<String>,
}

impl TestStep {
    pub(super) fn passed(name: impl Into<String>, detail: impl Into<String>, duration: Duration) -> Self {
        let (name, detail) = (name.into(), detail.into());
        Self { name, outcome: StepOutcome::Passed, detail, failure: None, duration }
    }

    pub(super) fn failed(name: impl Into<String>, detail: impl Into<String>, duration: Duration) -> Self {
        Self { outcome: StepOutcome::Failed, ..Self::passed(name, detail, duration) }
    }

    /// Returns true if the step failed.
    pub fn has_failed(&self) -> bool {
        self.outcome == StepOutcome::Failed
    }
}

impl TestReport {
    /// Returns the first failed step.
    pub fn failure(&self) -> Option<&TestStep> {
        self.steps.iter().find(|step| step.has_failed())
    }

    /// Returns the total duration of the steps.
    pub fn duration(&self) -> Duration {
        self.steps.iter().map(|step| step.duration).sum()
    }
}
