//! Foundations of all error types.
//!
//! Each module has its own error type with variants that a caller can act on. This module has the
//! shared parts: [`FileError`], the failure of one operation on one file, [`Advice`], the help
//! for the user, and [`chain`], the message with all causes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::printable;

pub use crate::toml_error::TomlError;

/// An error with advice for the user.
pub trait Advice: std::error::Error {
    /// Returns advice in one or two sentences. The command prints it after the error.
    fn help(&self) -> Option<String>;

    /// Returns true if this machine lacks a requirement of the operation. The command then exits
    /// with a separate code.
    fn is_of_machine(&self) -> bool {
        false
    }
}

/// Joins the messages of an error and of its causes, each once.
///
/// An error displays its cause, or returns it as its source.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A failed operation on a file of this machine.
///
/// The message includes the cause, so [`std::error::Error::source`] returns `None`.
#[derive(Debug)]
pub struct FileError {
    /// The operation, as a verb: `read`, `create`, `list`.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

impl FileError {
    /// Makes an error of `action` on `path`.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { action, path: path.into(), source }
    }

    /// Returns a closure for `map_err`.
    pub fn of<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::new(action, path, source)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.action, printable::path(&self.path), describe(&self.source))
    }
}

impl std::error::Error for FileError {}

/// An error with its advice inside an [`io::Error`], the only error type of a reader.
#[derive(Debug, thiserror::Error)]
#[error("{}", chain(&**error))]
pub(crate) struct Advised {
    error: Box<dyn std::error::Error + Send + Sync>,
    help: Option<String>,
}

impl Advised {
    /// Wraps `error` in an error of `kind` for a reader.
    #[cfg(any(feature = "registry", test))]
    pub(crate) fn of(kind: io::ErrorKind, error: impl Advice + Send + Sync + 'static) -> io::Error {
        let help = error.help();
        io::Error::new(kind, Self { error: Box::new(error), help })
    }

    /// Returns the `E` wrapped by [`Advised::of`]; an error with any other content unchanged.
    #[cfg(any(feature = "registry", test))]
    pub(crate) fn into_inner<E: std::error::Error + 'static>(error: io::Error) -> Result<E, io::Error> {
        let kind = error.kind();
        let Self { error: inner, help } = error.downcast::<Self>()?;
        match inner.downcast::<E>() {
            Ok(inner) => Ok(*inner),
            Err(error) => Err(io::Error::new(kind, Self { error, help })),
        }
    }

    /// Returns the error wrapped by [`Advised::of`].
    fn within(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl Advice for FileError {
    fn help(&self) -> Option<String> {
        if let Some(advised) = Advised::within(&self.source) {
            return advised.help.clone();
        }
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => Some(match self.action {
                "read" | "list" => format!(
                    "run as a user with permission to {} it, or leave out source files in .dockerignore",
                    self.action
                ),
                action => format!("run as a user with permission to {action} it, or name another path"),
            }),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                "free some space, or point -o (for results) or TMPDIR (for work) at another disk".to_owned(),
            ),
            io::ErrorKind::NotFound => {
                Some("check the spelling; relative paths start at the current folder".to_owned())
            }
            io::ErrorKind::NotADirectory => {
                Some("name another path, or move the file in its place".to_owned())
            }
            io::ErrorKind::TimedOut => {
                Some("check the network, or allow more time with --network-timeout".to_owned())
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                Some("name a writable path with -o, or set TMPDIR for work files".to_owned())
            }
            _ => None,
        }
    }
}

/// Any error, or a sentence as an error.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error of a named part of a document: `index.json: expected value at line 1 column 1`.
#[derive(Debug, thiserror::Error)]
#[error("{part}")]
pub(crate) struct PartError {
    part: String,
    source: Cause,
}

impl PartError {
    pub(crate) fn new(part: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self { part: part.into(), source: source.into() }
    }
}

/// Formats an error without "(os error 13)", and without the path added by `fs_err`, which
/// [`FileError`] already contains.
pub(crate) fn describe(error: &io::Error) -> String {
    let wrapped =
        error.get_ref().and_then(std::error::Error::source).and_then(|source| source.downcast_ref());
    if let Some(cause) = wrapped {
        return describe(cause);
    }
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_action_path_and_reason() {
        let error = FileError::new("read", "a/b", io::Error::from_raw_os_error(13));
        assert_eq!(error.to_string(), "cannot read a/b: permission denied");
        assert!(error.help().unwrap().contains(".dockerignore"));
    }

    #[test]
    fn an_error_that_came_through_a_reader_keeps_its_advice() {
        let inner = FileError::new("write", "a", io::ErrorKind::StorageFull.into());
        let help = inner.help();
        let error = FileError::new("read", "sha256:00", Advised::of(io::ErrorKind::PermissionDenied, inner));
        assert_eq!(error.help(), help);
        assert!(error.to_string().starts_with("cannot read sha256:00: cannot write a: "), "{error}");
        // As another type the error stays as it is, with its advice.
        let other = Advised::into_inner::<std::fmt::Error>(error.source).unwrap_err();
        let error = FileError::new("read", "sha256:00", other);
        assert_eq!(error.help(), help);
        assert!(Advised::into_inner::<FileError>(error.source).is_ok());
    }

    #[test]
    fn names_the_path_once() {
        let source = fs_err::read("no/such/file").unwrap_err();
        let error = FileError::new("read", "no/such/file", source);
        assert_eq!(error.to_string(), "cannot read no/such/file: no such file or directory");
    }
}
