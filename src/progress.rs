//! Progress reporting.
//!
//! The library prints no output. Embedders pass a [`Progress`]: the command's prints to standard
//! error, [`Silent`] ignores all events, [`WarningCollector`] keeps warnings.

use std::fmt;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::sync::LockExt as _;

/// A problem that does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The subject: a file, a distribution, a setting.
    pub subject: String,
    /// The problem.
    pub message: String,
    /// Advice, if any.
    pub help: Option<String>,
}

impl Warning {
    /// Makes a warning without advice.
    pub fn new(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), message: message.into(), help: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

/// A receiver of events. All methods may be called from any thread.
pub trait Progress: Send + Sync {
    /// Receives a problem that does not stop the build.
    fn warn(&self, warning: Warning);

    /// Called at the begin of a step; `what` is a short phrase such as `compiling 12 modules`.
    fn step(&self, what: &str) {
        let _ = what;
    }

    /// Called at the begin and end of a span of work on this thread; spans of one thread nest. Use
    /// them to record timings.
    fn span(&self, what: &str, edge: Edge) {
        let _ = (what, edge);
    }

    /// Called often during network transfers, and once at the end of each successful one.
    fn transfer(&self, transfer: &Transfer) {
        let _ = transfer;
    }
}

/// A boundary of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The begin.
    Begin,
    /// The end.
    End,
}

/// A span of work, which ends on drop.
#[must_use]
pub struct Span<'a> {
    progress: &'a dyn Progress,
    what: String,
}

impl fmt::Debug for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.what).finish()
    }
}

impl<'a> Span<'a> {
    /// Begins a span, named in a few words by the kind of work.
    pub fn begin(progress: &'a dyn Progress, what: impl Into<String>) -> Self {
        let what = what.into();
        progress.span(&what, Edge::Begin);
        Self { progress, what }
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        self.progress.span(&self.what, Edge::End);
    }
}

/// The state of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer<'a> {
    /// The digest of the blob. Unique among concurrent transfers of the same direction.
    pub name: &'a str,
    /// The layer's name in its image, if any: `dependencies`.
    pub title: Option<&'a str>,
    /// The direction.
    pub direction: Direction,
    /// Transferred bytes. May decrease after a lost connection.
    pub done_bytes: u64,
    /// Total bytes.
    pub total_bytes: u64,
    /// The phase of the transfer.
    pub state: TransferState,
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To this machine.
    Fetched,
    /// From this machine.
    Sent,
}

/// The phase of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferState {
    /// In progress.
    Running,
    /// All bytes are transferred.
    Done,
    /// Skipped: the destination already has the blob.
    Present,
    /// Skipped: the destination mounted the blob from another of its repositories.
    Mounted,
}

/// A [`Progress`] that ignores all events.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn warn(&self, _: Warning) {}
}

/// A [`Progress`] that keeps the warnings, in order.
#[derive(Debug, Default)]
pub struct WarningCollector(Mutex<Vec<Warning>>);

impl WarningCollector {
    /// Returns the warnings so far.
    pub fn warnings(&self) -> Vec<Warning> {
        self.0.lock_forgiving().clone()
    }
}

impl Progress for WarningCollector {
    fn warn(&self, warning: Warning) {
        self.0.lock_forgiving().push(warning);
    }
}
