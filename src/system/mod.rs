//! What makes an image a system: shared libraries, accounts, certificates, time zones.
//!
//! An image made from nothing has nothing, and Python services expect a little more than that.

mod files;

pub use files::{Account, Choice, Wanted, accounts, files};

use crate::error::{Advice, FileError};
use crate::tree::{ContentError, PathError};

/// Files of the system that cannot go into an image.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A file has a name that no path of an image can have.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Advice for SystemError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Content(error) => error.help(),
            Self::Path(error) => error.help(),
        }
    }
}
