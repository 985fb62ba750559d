//! How the library says what it does while it does it.
//!
//! The library prints nothing. Whoever embeds it passes a [`Progress`]; the command's prints to
//! standard error, [`Silent`] drops everything, [`Collected`] keeps the warnings.

use std::fmt;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// Something that does not stop the build and that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The thing it is about: a file, a distribution, a setting.
    pub subject: String,
    /// What is the matter with it.
    pub message: String,
    /// What to do about it, where there is something.
    pub help: Option<String>,
}

impl Warning {
    /// A warning without advice.
    pub fn new(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), message: message.into(), help: None }
    }

    /// Adds what to do.
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

/// Receives what happens. All methods may be called from any thread.
pub trait Progress: Send + Sync {
    /// Something that does not stop the build and that a person should know.
    fn warn(&self, warning: Warning);

    /// A step begins; `what` is a short phrase such as `compiling 12 modules`.
    fn step(&self, what: &str) {
        let _ = what;
    }

    /// A part of the work begins or ends on this thread; parts of one thread lie in one another. Whoever has a clock can tell
    /// where the time went.
    fn span(&self, what: &str, edge: Edge) {
        let _ = (what, edge);
    }

    /// Bytes have gone over the network. It is called often, and a last time for each transfer that came to its end.
    fn transfer(&self, transfer: &Transfer) {
        let _ = transfer;
    }
}

/// An end of a part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// It begins.
    Begin,
    /// It is over.
    End,
}

/// A part of the work, which ends when this goes.
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
    /// Begins a part of the work: a few words, and the same ones for the same kind of work.
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

/// How far one transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer<'a> {
    /// What is transferred: a blob's digest. No two transfers of one direction that go on at the same time have one name.
    pub name: &'a str,
    /// The name that its image gives a layer, where it gives it one: `dependencies`.
    pub title: Option<&'a str>,
    /// Which way it goes.
    pub direction: Direction,
    /// Bytes that are over. After a connection was cut it may be less than it was.
    pub done_bytes: u64,
    /// Bytes of the whole.
    pub total_bytes: u64,
    /// Whether that is the end.
    pub state: TransferState,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To this machine.
    Fetched,
    /// From this machine.
    Sent,
}

/// What is the matter with a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferState {
    /// It goes on.
    Running,
    /// All bytes are over.
    Done,
    /// The other side has it already: nothing was sent.
    Present,
    /// The other side took it from another repository of its own: nothing was sent.
    Mounted,
}

/// Drops everything.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn warn(&self, _: Warning) {}
}

/// Keeps the warnings, in the order in which they came.
#[derive(Debug, Default)]
pub struct Collected(Mutex<Vec<Warning>>);

impl Collected {
    /// What was kept so far.
    pub fn warnings(&self) -> Vec<Warning> {
        self.0.lock().map(|kept| kept.clone()).unwrap_or_default()
    }
}

impl Progress for Collected {
    fn warn(&self, warning: Warning) {
        if let Ok(mut kept) = self.0.lock() {
            kept.push(warning);
        }
    }
}
