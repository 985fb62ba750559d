//! [`Failure`]: an error on its way to the person who meets it, with the exit code that tells scripts its kind.

use std::fmt;
use std::process::ExitCode;

use ipo_oci::error::Advice;

/// Why the command could not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Box<dyn Advice + Send + Sync>,
    code: u8,
}

/// The command was used in a way that it does not know.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Usage {
    message: String,
    help: String,
}

impl Advice for Usage {
    fn help(&self) -> Option<String> {
        Some(self.help.clone())
    }
}

impl Failure {
    /// Exit code 1: it failed; 4 where the machine lacks what it needs.
    pub(crate) fn failed(error: impl Advice + Send + Sync + 'static) -> Self {
        let code = if error.is_of_machine() { 4 } else { 1 };
        Self { error: Box::new(error), code }
    }

    /// Exit code 2: wrong usage.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { error: Box::new(Usage { message: message.into(), help: help.into() }), code: 2 }
    }

    /// Exit code 1: it found what should not be.
    pub(crate) fn found(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: 1, ..Self::usage(message, help) }
    }

    /// Exit code 2: an argument that says what it says wrongly.
    pub(crate) fn argument(error: impl Advice + Send + Sync + 'static) -> Self {
        Self { error: Box::new(error), code: 2 }
    }

    /// Exit code 3: a gate refused.
    pub(crate) fn gate(error: impl Advice + Send + Sync + 'static) -> Self {
        Self { error: Box::new(error), code: 3 }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        self.error.help()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<E: Advice + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}
