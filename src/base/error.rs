//! [`BaseError`]: why a base cannot be used.

use std::io;
use std::path::PathBuf;

use super::libraries::CLibrary;
use crate::digest::Digest;
use crate::elf::ElfError;
use crate::error::{Advice, FileError};
use crate::image::ImageError;
use crate::layer::{LayerError, ReadError};
use crate::printable;
use crate::tree::{ContentError, ImagePath, PathError};

/// A base image that cannot be used, or something that does not fit on it.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A layer of it cannot be read.
    #[error("layer {layer} of the base: {source}")]
    Layer {
        /// Its digest.
        layer: Digest,
        /// Why.
        source: ReadError,
    },
    /// The bytes of a layer do not come.
    #[error("layer {layer} of the base cannot be had: {source}")]
    Blob {
        /// Its digest.
        layer: Digest,
        /// Why.
        source: io::Error,
    },
    /// A layer is not what the image says.
    #[error("a layer of the base is not what its image says: {what} should be {expected} and is {found}")]
    Different {
        /// The digest, the size or the diff id.
        what: &'static str,
        /// What the image says.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A layer that no runtime could unpack.
    #[error("layer {layer} of the base cannot be unpacked: {path} {reason}")]
    Unpackable {
        /// Its digest.
        layer: Digest,
        /// The member.
        path: ImagePath,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is more of something than is read.
    #[error("the base has more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How much is read.
        limit: u64,
    },
    /// Nothing is at a path.
    #[error("{0} is not in the image")]
    Missing(ImagePath),
    /// Links lead in circles.
    #[error("the links at {0} lead in circles")]
    Circle(ImagePath),
    /// A path goes through something that is no directory.
    #[error("{0} is not a directory in the image")]
    NotADirectory(ImagePath),
    /// What was to be read is no file.
    #[error("{path} is {what} in the image, not a file")]
    NotAFile {
        /// The path.
        path: ImagePath,
        /// What it is.
        what: &'static str,
    },
    /// Something planned would change the kind of what the base has.
    #[error("{path} is {has} in the base, and {planned} is to be put there")]
    Clash {
        /// The path.
        path: ImagePath,
        /// What the base has.
        has: &'static str,
        /// What was planned.
        planned: &'static str,
    },
    /// A file for another machine than the program that is to load it.
    #[error("{} is for {machine}, and {}, which is to load it, for {of_base}", printable::path(.file), printable::path(.by))]
    Machine {
        /// The file.
        file: PathBuf,
        /// What it is for.
        machine: String,
        /// The program, or the base.
        by: PathBuf,
        /// What that is for.
        of_base: String,
    },
    /// A file for another C library than the program that is to load it.
    #[error("{} is built for {needs}, and {}, which is to load it, for {has}", printable::path(.file), printable::path(.by))]
    CLibrary {
        /// The file.
        file: PathBuf,
        /// What it needs.
        needs: CLibrary,
        /// The program, or the base.
        by: PathBuf,
        /// What that has.
        has: CLibrary,
    },
    /// A Python that lacks a part of its standard library.
    #[error("cannot use the base's Python {executable}: its standard library {stdlib} lacks {}", some_of(.missing))]
    NotWhole {
        /// The program.
        executable: ImagePath,
        /// The standard library.
        stdlib: ImagePath,
        /// The modules that it lacks.
        missing: Vec<&'static str>,
        /// The package that has them, where that is known.
        package: Option<String>,
    },
    /// Another base lacks what an image needs.
    #[error("the new base lacks what the image needs: {}", .0.join("; "))]
    Lost(Vec<String>),
    /// An archive that holds no root file system.
    #[error("{} is no root file system: {source}", printable::path(.path))]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// A name of a file that is not UTF-8.
    #[error("{} has a name or a target that is not UTF-8, which an image cannot hold", printable::path(.0))]
    Name(PathBuf),
    /// A file of an image could not be written to where it was wanted.
    #[error("cannot write the file: {0}")]
    Output(io::Error),
    /// An owner's number that no kernel knows.
    #[error("{path} has the owner {number} in the base, more than a kernel knows")]
    Owner {
        /// The path.
        path: ImagePath,
        /// The number.
        number: u64,
    },
    /// A path that cannot be one.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A file of this machine.
    #[error(transparent)]
    File(#[from] FileError),
    /// An ELF file that is needed and broken.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A file that could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A root file system that could not be made into a layer.
    #[error(transparent)]
    Write(#[from] LayerError),
    /// An image that could not be made of it.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// The first few of `names`, and how many more there are.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more modules", shown.join(", ")),
    }
}

impl Advice for BaseError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Layer { source, .. } => source.help(),
            Self::Blob { source, .. } if source.kind() == io::ErrorKind::NetworkUnreachable => Some(
                "build once without --offline, so that the cache has the base, or name a base of this machine".to_owned(),
            ),
            Self::Blob { .. } | Self::Different { .. } => {
                Some("fetch the base again; if that does not help, name another base".to_owned())
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
            Self::NotWhole { package: Some(package), .. } => Some(format!(
                "install the whole Python in the base: `apt-get install python3` brings {package}"
            )),
            Self::NotWhole { package: None, .. } => Some(
                "install the packages of the base's distribution that have the rest of Python, or name a base with a whole Python, or with none: then the environment's own goes in"
                    .to_owned(),
            ),
            Self::Lost(_) => Some("take a base with the same Python and no older libraries, or build again".to_owned()),
            Self::Archive { .. } => Some("name a directory, or a tar archive of one, plain or compressed with gzip".to_owned()),
            Self::Output(_) => None,
            Self::Name(_) => Some("rename it".to_owned()),
            Self::Owner { .. } => Some("name another base".to_owned()),
            Self::Path(error) => error.help(),
            Self::File(error) => error.help(),
            Self::Elf(error) => error.help(),
            Self::Content(error) => error.help(),
            Self::Write(error) => error.help(),
            Self::Image(error) => error.help(),
        }
    }
}
