//! [`ContextError`]: errors of a source tree or its ignore file.

use std::path::PathBuf;

use crate::error::{Advice, FileError};
use crate::printable;
use crate::tree::{ContentError, PathError};

/// An error of a source tree or its ignore file. Paths are relative to the root of the tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The root of the context does not exist.
    #[error("context not found: {}", printable::path(.0))]
    Missing(PathBuf),
    /// The root of the context is not a directory.
    #[error("invalid context {}: not a directory", printable::path(.0))]
    NotADirectory(PathBuf),
    /// A system call failed for the root or the ignore file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ignore file given explicitly does not exist.
    #[error("ignore file not found: {}", printable::path(.0))]
    IgnoreMissing(PathBuf),
    /// The ignore file is invalid.
    #[error(transparent)]
    Ignore(#[from] dockerignore::Error),
    /// A directory cannot be listed or a file cannot be read; the path is relative.
    #[error(transparent)]
    Unreadable(FileError),
    /// A name is not UTF-8, as paths of an image must be.
    #[error("invalid name `{0}`: not UTF-8")]
    Name(String),
    /// A name begins with `.wh.`, the prefix of whiteouts in layers.
    #[error("invalid name `{0}`: `.wh.` marks deletions in layers")]
    Whiteout(String),
    /// The path is a device, a socket or a pipe.
    #[error("cannot include `{path}`: it is a {what}")]
    Special {
        /// The path.
        path: String,
        /// The type of file.
        what: &'static str,
    },
    /// A symbolic link leads out of the context.
    #[error("invalid link `{path}`: its target `{target}` is outside the context")]
    LinkLeaves {
        /// The link.
        path: String,
        /// The target as written.
        target: String,
    },
    /// The target of a symbolic link is not UTF-8.
    #[error("invalid link `{path}`: its target `{target}` is not UTF-8")]
    LinkTarget {
        /// The link.
        path: String,
        /// The target, escaped.
        target: String,
    },
    /// A path given by the caller is outside the context.
    #[error("invalid path {}: outside the context", printable::path(.0))]
    Outside(PathBuf),
    /// A file changed since listing.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A path is not valid in an image.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Advice for ContextError {
    fn help(&self) -> Option<String> {
        let text = match self {
            Self::Missing(_) | Self::NotADirectory(_) => "name the directory of the source".to_owned(),
            Self::File(error) => {
                error.help().unwrap_or_else(|| "name a path that this user may read".to_owned())
            }
            Self::IgnoreMissing(_) => "correct --ignore-file, or omit it to use .dockerignore".to_owned(),
            Self::Ignore(dockerignore::Error::TooLarge { .. }) => {
                "check the path of the ignore file".to_owned()
            }
            Self::Ignore(_) => {
                "correct or remove the line; a `\\` before `*`, `?`, `[` or `\\` means the character itself"
                    .to_owned()
            }
            Self::Unreadable(error) => format!(
                "make it readable for this user, or leave it out with a line in .dockerignore: {}",
                dockerignore::escape(&printable::path(&error.path))
            ),
            Self::Name(_) => {
                "rename it, or leave it out with a line in .dockerignore (`?` stands for one character)"
                    .to_owned()
            }
            Self::Whiteout(path) | Self::Special { path, .. } => {
                format!(
                    "remove it, or leave it out with a line in .dockerignore: {}",
                    dockerignore::escape(path)
                )
            }
            Self::LinkLeaves { path, .. } => format!(
                "replace the link by its target, or leave it out with a line in .dockerignore: {}",
                dockerignore::escape(path)
            ),
            Self::LinkTarget { path, .. } => {
                format!(
                    "recreate the link, or leave it out with a line in .dockerignore: {}",
                    dockerignore::escape(path)
                )
            }
            Self::Outside(_) => "give a path relative to the context".to_owned(),
            Self::Content(error) => return error.help(),
            Self::Path(error) => return error.help(),
        };
        Some(text)
    }
}
