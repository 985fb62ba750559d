//! Errors of a check, as opposed to its diagnostics.

use crate::base::BaseError;
use crate::digest::Digest;
use crate::error::{Advice, FileError};
use crate::image::ImageError;

/// A check that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A text that names no rule.
    #[error("unknown rule `{text}`{}", nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default())]
    UnknownRule {
        /// The text.
        text: String,
        /// The rule with the most similar code or name.
        nearest: Option<String>,
    },
    /// The layers of the image could not be read.
    #[error(transparent)]
    Files(#[from] BaseError),
    /// The configuration could not be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The configuration is not a JSON object.
    #[error("invalid configuration {digest}")]
    Config {
        /// Digest of the configuration.
        digest: Digest,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A temporary file failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Advice for CheckError {
    fn help(&self) -> Option<String> {
        match self {
            Self::UnknownRule { .. } => Some("run `ipo-oci help checks` for all rules".to_owned()),
            Self::Files(error) => error.help(),
            Self::Image(error) => error.help(),
            Self::Config { .. } => None,
            Self::File(error) => error.help(),
        }
    }
}
