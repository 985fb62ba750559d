//! How the library says what it does while it does it.
//!
//! The library prints nothing. Whoever embeds it passes a [`Progress`]; the command's prints to
//! standard error, [`Silent`] drops everything, [`Collected`] keeps the warnings.

use std::fmt;
use std::sync::Mutex;

/// Something that does not stop the build and that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// How far the transfer of one blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The blob, as a person knows it.
    pub name: String,
    /// Bytes that are through.
    pub done_bytes: u64,
    /// Bytes of all of it.
    pub total_bytes: u64,
}

/// Receives what happens. All methods may be called from any thread.
pub trait Progress: Send + Sync {
    /// Something that does not stop the build and that a person should know.
    fn warn(&self, warning: Warning);

    /// A step begins; `what` is a short phrase such as `compiling 12 modules`.
    fn step(&self, what: &str) {
        let _ = what;
    }

    /// Some bytes of a blob came or went. The last event of a blob has all of its bytes.
    fn transfer(&self, event: &Transfer) {
        let _ = event;
    }
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
