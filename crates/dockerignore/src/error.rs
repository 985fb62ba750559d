//! [`Error`]: errors of an ignore file.

use std::fmt;

/// An error of an ignore file, with the name given to [`Dockerignore::parse`] or
/// [`Dockerignore::from_lines`].
///
/// [`Dockerignore::parse`]: crate::Dockerignore::parse
/// [`Dockerignore::from_lines`]: crate::Dockerignore::from_lines
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The file exceeds [`Dockerignore::SIZE_LIMIT`](crate::Dockerignore::SIZE_LIMIT).
    TooLarge {
        /// The name of the file.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A line is invalid.
    Line {
        /// The name of the file.
        file: String,
        /// Line number, from 1.
        line: usize,
        /// The line as written, without surrounding white space; cut if very long.
        text: String,
        /// The reason.
        reason: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { file, limit } => {
                write!(f, "cannot read ignore file {file}: larger than {} KiB", limit / 1024)
            }
            Self::Line { file, line, text, reason } => {
                write!(f, "{file}:{line}: invalid pattern `{text}`: {reason}")
            }
        }
    }
}

impl std::error::Error for Error {}
