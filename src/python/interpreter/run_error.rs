//! [`RunError`]: the failure of an interpreter that was run.

use std::io;
use std::process::ExitStatus;

/// A failed run of an interpreter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The interpreter does not start, or its answer cannot be read.
    #[error("{cause}{}", printed_suffix(.printed))]
    Io {
        /// The error of the system.
        cause: io::Error,
        /// The last output on standard error.
        printed: String,
    },
    /// The interpreter ended without an answer.
    #[error("ended with {status}{}", printed_suffix(.printed))]
    Ended {
        /// The exit status.
        status: ExitStatus,
        /// The last output on standard error.
        printed: String,
    },
    /// An answer that CPython does not give.
    #[error("unexpected output")]
    Output,
}

impl From<io::Error> for RunError {
    fn from(cause: io::Error) -> Self {
        Self::Io { cause, printed: String::new() }
    }
}

fn printed_suffix(printed: &str) -> String {
    if printed.is_empty() { String::new() } else { format!("; it printed: {printed}") }
}
