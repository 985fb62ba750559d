//! Errors of reading an image, or of fitting one onto a base.

use std::io;
use std::path::PathBuf;

use super::libraries::CLibrary;
use crate::digest::Digest;
use crate::elf::ElfError;
use crate::error::{Advice, FileError};
use crate::image::ImageError;
use crate::layer::{LayerError, ReadError};
use crate::plural::counted;
use crate::printable;
use crate::tree::{ContentError, ImagePath, PathError};

/// A base that cannot be used, or does not fit the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// Parsing a layer failed.
    #[error("cannot read layer {layer}: {cause}")]
    Layer {
        /// Digest of the layer.
        layer: Digest,
        /// The cause.
        cause: ReadError,
    },
    /// Fetching a layer failed.
    #[error("cannot fetch layer {layer}: {cause}")]
    Blob {
        /// Digest of the layer.
        layer: Digest,
        /// The cause.
        cause: io::Error,
    },
    /// A layer does not match the image's description.
    #[error("invalid layer: {what} is {found}, not {expected}")]
    Mismatch {
        /// The digest, the size or the diff ID.
        what: &'static str,
        /// Value in the image.
        expected: String,
        /// Actual value.
        found: String,
    },
    /// A layer that no runtime can unpack.
    #[error("cannot unpack layer {layer}: {path} {reason}")]
    Unpackable {
        /// Digest of the layer.
        layer: Digest,
        /// The member.
        path: ImagePath,
        /// The contradiction.
        reason: &'static str,
    },
    /// The image exceeds a limit.
    #[error("cannot read the image: more than {limit} {what}")]
    Limit {
        /// The counted thing.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// No such path in the image.
    #[error("path not found in the image: {0}")]
    Missing(ImagePath),
    /// A loop of links.
    #[error("cannot resolve {0}: its links form a loop")]
    Circle(ImagePath),
    /// A component of a path is not a directory.
    #[error("cannot list {0}: not a directory in the image")]
    NotADirectory(ImagePath),
    /// The path is not a regular file.
    #[error("cannot read {path}: {what} in the image, not a file")]
    NotAFile {
        /// The path.
        path: ImagePath,
        /// Its kind.
        what: &'static str,
    },
    /// A planned entry would turn a directory of the base into a file, or the reverse.
    #[error("cannot put {planned} at {path}: the base has {has} there")]
    Clash {
        /// The path.
        path: ImagePath,
        /// Kind in the base.
        has: &'static str,
        /// Planned kind.
        planned: &'static str,
    },
    /// A file for another architecture than the program that loads it.
    #[error("cannot load {}: built for {machine}, and {} for {of_base}", printable::path(.file), printable::path(.by))]
    Machine {
        /// The file.
        file: PathBuf,
        /// Its platform.
        machine: String,
        /// The program, or the image.
        by: PathBuf,
        /// Platform of the program.
        of_base: String,
    },
    /// A file for another C library than the program that loads it.
    #[error("cannot load {}: built for {needs}, and {} for {has}", printable::path(.file), printable::path(.by))]
    CLibrary {
        /// The file.
        file: PathBuf,
        /// Its C library.
        needs: CLibrary,
        /// The program, or the image.
        by: PathBuf,
        /// C library of the program.
        has: CLibrary,
    },
    /// The base's Python lacks a part of its standard library.
    #[error("cannot use the base's Python {executable}: its standard library {stdlib} lacks {}", some_of(.missing))]
    IncompletePython {
        /// The program.
        executable: ImagePath,
        /// The standard library.
        stdlib: ImagePath,
        /// The missing modules.
        missing: Vec<&'static str>,
        /// The package with these modules, if known.
        package: Option<String>,
    },
    /// The new base lacks requirements of an image.
    #[error("cannot rebase the image: the new base lacks {}", .0.join("; "))]
    Lost(Vec<String>),
    /// An archive without a root file system.
    #[error("cannot read the root file system {}: {cause}", printable::path(.path))]
    Archive {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: ReadError,
    },
    /// A file name that is not UTF-8.
    #[error("cannot add {} to an image: its name or link target is not UTF-8", printable::path(.0))]
    Name(PathBuf),
    /// Writing a copied file failed.
    #[error("cannot write the file: {0}")]
    Output(io::Error),
    /// An owner's number beyond the kernel's range.
    #[error("invalid owner {number} of {path} in the image: beyond the range of the kernel")]
    Owner {
        /// The path.
        path: ImagePath,
        /// The number.
        number: u64,
    },
    /// An invalid path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An error of a file on this machine.
    #[error(transparent)]
    File(#[from] FileError),
    /// A required ELF file is broken.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// Reading a file failed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Making a layer of a root file system failed.
    #[error(transparent)]
    Write(#[from] LayerError),
    /// Making an image of a root file system failed.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Lists the first few of `names`, and the number of the rest.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {}", shown.join(", "), counted(more as u64, "more module")),
    }
}

impl Advice for BaseError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Layer { cause, .. } => cause.help(),
            Self::Blob { cause, .. } if cause.kind() == io::ErrorKind::NetworkUnreachable => Some(
                "repeat it once without --offline, so that the cache has the layers, or name an image of this machine".to_owned(),
            ),
            Self::Blob { .. } | Self::Mismatch { .. } => {
                Some("fetch the image again; if that does not help, name another one".to_owned())
            }
            Self::Unpackable { .. } | Self::Limit { .. } => {
                Some("do not use this image unless you know who made it".to_owned())
            }
            Self::Missing(_) | Self::NotADirectory(_) | Self::Circle(_) => {
                Some("list the image's files with `ipo-oci ls`".to_owned())
            }
            Self::NotAFile { .. } => Some("list it with `ipo-oci ls`".to_owned()),
            Self::Clash { .. } => Some(
                "choose another place in the image, or another base: a layer must not turn a directory of the base into a \
                 file, or the other way round"
                    .to_owned(),
            ),
            Self::Machine { machine, of_base, .. } => Some(format!(
                "name a base for {machine}, or install the environment for {of_base}"
            )),
            Self::CLibrary { needs, has, .. } => Some(format!(
                "name a base with {needs}, or install the environment from wheels for {has}"
            )),
            Self::IncompletePython { package: Some(package), .. } => Some(format!(
                "install the whole Python in the base: `apt-get install python3` brings {package}"
            )),
            Self::IncompletePython { package: None, .. } => Some(
                "install the rest of Python in the base, or name a base with a complete Python, or one without Python to include the environment's own"
                    .to_owned(),
            ),
            Self::Lost(_) => Some("take a base with the same Python and no older libraries, or build again".to_owned()),
            Self::Archive { .. } => Some("name a directory, or a tar archive of one, plain or compressed with gzip".to_owned()),
            Self::Output(_) => None,
            Self::Name(_) => Some("rename it".to_owned()),
            Self::Owner { .. } => Some("name another image".to_owned()),
            Self::Path(error) => error.help(),
            Self::File(error) => error.help(),
            Self::Elf(error) => error.help(),
            Self::Content(error) => error.help(),
            Self::Write(error) => error.help(),
            Self::Image(error) => error.help(),
        }
    }
}
