//! [`InstallError`].

use std::path::PathBuf;

use debian_archive::deb::DebError;

use crate::error::{Advice, FileError};
use crate::printable;
use crate::tree::{ContentError, ImagePath, PathError};

/// A failed installation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A failed operation of the operating system.
    #[error(transparent)]
    File(#[from] FileError),
    /// Unreadable content of a package.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// An invalid or damaged package.
    #[error("cannot unpack {}: {cause}", printable::path(.path))]
    Package {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: DebError,
    },
    /// A path with another meaning in an image.
    #[error("cannot unpack {package}: {cause}")]
    Path {
        /// The package.
        package: String,
        /// The cause.
        cause: PathError,
    },
    /// One package, given twice.
    #[error("cannot install {0}: given twice")]
    Twice(String),
    /// A package that the file system below has.
    #[error("cannot install {0}: the base has the package already")]
    Present(String),
    /// One path in two packages, neither of which replaces the other.
    #[error("cannot install {second}: {path} is also in {first}")]
    Conflict {
        /// The path.
        path: ImagePath,
        /// The first package.
        first: String,
        /// The second package.
        second: String,
    },
    /// One path, a directory in one package and a file in another.
    #[error("cannot install both: {path} is a directory in {directory} and a file in {file}")]
    FileAndDirectory {
        /// The path.
        path: ImagePath,
        /// The package with the directory, or the base.
        directory: String,
        /// The package with the file, or the base.
        file: String,
    },
    /// A path below a file or a dangling link.
    #[error("cannot install {package}: {parent}, the parent of {path}, is not a directory")]
    NotADirectory {
        /// The package.
        package: String,
        /// The path.
        path: ImagePath,
        /// The file above.
        parent: ImagePath,
    },
    /// Links that lead to each other.
    #[error("cannot install {package}: too many symbolic links in the parents of {path}")]
    Loop {
        /// The package.
        package: String,
        /// The path.
        path: String,
    },
    /// A hard link to an excluded file.
    #[error("cannot install {package}: {path} is a hard link to {target}, which is excluded")]
    ExcludedTarget {
        /// The package.
        package: String,
        /// The link.
        path: String,
        /// The excluded file.
        target: String,
    },
}

impl Advice for InstallError {
    fn help(&self) -> Option<String> {
        let help = match self {
            Self::File(error) => return error.help(),
            Self::Content(error) => return error.help(),
            Self::Package { .. } | Self::Path { .. } | Self::NotADirectory { .. } | Self::Loop { .. } => {
                "leave the package out, or report the fault to its distributor"
            }
            Self::Twice(_) => "name each package once",
            Self::Present(_) => "leave the package out",
            Self::Conflict { .. } | Self::FileAndDirectory { .. } => "leave one of the two packages out",
            Self::ExcludedTarget { .. } => "exclude both names of the file, or none",
        };
        Some(help.to_owned())
    }
}
