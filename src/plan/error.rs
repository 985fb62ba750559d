//! Errors of a plan: of the layers that a program adds, and of changes to a plan.

use std::path::PathBuf;

use crate::base::BaseError;
use crate::digest::Digest;
use crate::error::{Advice, FileError};
use crate::image::MAX_LAYERS;
use crate::platform::Platform;
use crate::printable;
use crate::tree::{ContentError, ImagePath, PathError, TreeError};

/// An invalid addition or change to a plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The name of a layer is empty or has control characters.
    #[error("invalid layer name `{}`: empty or not printable", printable::name(.0))]
    LayerName(String),
    /// Two layers have one name.
    #[error("duplicate layer `{}` in the image", printable::name(.0))]
    DuplicateLayer(String),
    /// A layer has no entries.
    #[error("invalid layer `{}`: it has no entries", printable::name(.0))]
    EmptyLayer(String),
    /// A path is not a path of the image.
    #[error("cannot add a file to layer `{}`: {cause}", printable::name(.layer))]
    Path {
        /// The layer.
        layer: String,
        /// The reason.
        cause: PathError,
    },
    /// A file or link at the root of the image.
    #[error("cannot add a file to layer `{}`: the path / is the root directory", printable::name(.layer))]
    Root {
        /// The layer.
        layer: String,
    },
    /// A mode with bits other than permissions.
    #[error("invalid mode `{mode:#o}` of {path}: larger than 0o7777")]
    Mode {
        /// The entry.
        path: ImagePath,
        /// The mode.
        mode: u32,
    },
    /// A hard link, which only layers of other tools have.
    #[error("cannot add the hard link {0}: a plan has files and symbolic links")]
    HardLink(ImagePath),
    /// The source of a directory is not one.
    #[error("cannot add {}: it is not a directory", printable::path(.0))]
    NotADirectory(PathBuf),
    /// The source of a file is not a regular file.
    #[error("cannot add {}: it is not a regular file", printable::path(.0))]
    NotAFile(PathBuf),
    /// A file name that is not UTF-8.
    #[error("cannot add {}: its name is not UTF-8", printable::path(.0))]
    NotUtf8(PathBuf),
    /// A link in a directory leads out of the directory.
    #[error("cannot add the link {}: it leads out of its directory, to {}", printable::path(.link), printable::path(.target))]
    LinkLeaves {
        /// The link.
        link: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// A socket, pipe or device in a directory.
    #[error("cannot add {}: it is a {kind}", printable::path(.path))]
    Special {
        /// The file.
        path: PathBuf,
        /// The type.
        kind: &'static str,
    },
    /// A finished layer is not the described one, or cannot be read.
    #[error("cannot append layer `{}` ({layer}): {}", printable::name(.name), fault(.cause))]
    AppendedLayer {
        /// Name of the layer.
        name: String,
        /// Digest as described.
        layer: Digest,
        /// The reason.
        cause: Box<BaseError>,
    },
    /// No layer has this name.
    #[error("layer `{}` not found in the plan", printable::name(.0))]
    NoLayer(String),
    /// A plan without layers.
    #[error("cannot build an image without layers")]
    NoLayers,
    /// More layers than container runtimes can stack.
    #[error("cannot make the image: too many layers, {0}, at most {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// The directory of an entry was removed.
    #[error("invalid layer: the directory of {0} is missing")]
    NoParent(ImagePath),
    /// An entry lies below a link of the base.
    #[error("cannot add {path}: on the base, the path leads to {real}")]
    ThroughLink {
        /// The path.
        path: ImagePath,
        /// Its destination.
        real: ImagePath,
    },
    /// The base of the plan was exchanged.
    #[error("cannot change the base of a plan")]
    BaseChanged,
    /// The platform of the plan was exchanged.
    #[error("cannot change the platform of a plan to {0}")]
    PlatformChanged(Platform),
    /// A time outside the supported range.
    #[error("invalid time `{0}` of the plan: not between 1970 and 9999")]
    Time(i64),
    /// A process without a command.
    #[error("command not found: neither entrypoint nor cmd")]
    NoCommand,
    /// An environment variable that no process can have.
    #[error("invalid environment variable `{}`: its name is empty or contains `=`, or it contains a NUL byte", printable::name(.0))]
    Variable(String),
    /// An environment variable is set twice.
    #[error("duplicate environment variable `{}`", printable::name(.0))]
    DuplicateVariable(String),
    /// An invalid value of a process setting.
    #[error("invalid {name} `{}`", printable::name(.value))]
    Setting {
        /// Name as in the settings.
        name: String,
        /// The value.
        value: String,
    },
    /// An entry does not fit onto the base.
    #[error(transparent)]
    Base(#[from] Box<BaseError>),
    /// Two entries conflict.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file of this machine cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of this machine cannot be added.
    #[error(transparent)]
    Content(#[from] Box<ContentError>),
}

/// Returns the reason in words for a layer that is not of a base.
fn fault(error: &BaseError) -> String {
    match error {
        BaseError::Mismatch { what, expected, found } => format!("{what} is {found}, not {expected}"),
        BaseError::Layer { cause, .. } => cause.to_string(),
        BaseError::Blob { cause, .. } => cause.to_string(),
        BaseError::Unpackable { path, reason, .. } => format!("{path} {reason}"),
        other => other.to_string(),
    }
}

impl Advice for PlanError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::LayerName(_) => "name the layer in a word, such as `models`".to_owned(),
            Self::DuplicateLayer(_) => {
                "rename one of the two: a large distribution has a layer of its own name".to_owned()
            }
            Self::EmptyLayer(_) => "add an entry, or leave the layer out".to_owned(),
            Self::Path { cause, .. } => return cause.help(),
            Self::Root { .. } => "name the file, as in /etc/company/ca.crt".to_owned(),
            Self::Mode { .. } => "give the permission bits alone, such as 0o644".to_owned(),
            Self::HardLink(_) => "add a symbolic link or the file itself".to_owned(),
            Self::NotADirectory(_) => "add a file with `ExtraLayer::file`".to_owned(),
            Self::NotAFile(_) => "add a directory with `ExtraLayer::directory`".to_owned(),
            Self::NotUtf8(_) => "rename the file".to_owned(),
            Self::LinkLeaves { .. } => {
                "replace the link by a copy of the file, or add the target as well".to_owned()
            }
            Self::Special { .. } => "remove it from the directory".to_owned(),
            Self::NoLayer(_) => "name a layer of `Plan::layers`".to_owned(),
            Self::NoLayers => "keep the planned layers, or add one".to_owned(),
            Self::TooManyLayers(_) => "add the entries in fewer layers".to_owned(),
            Self::NoParent(_) => "remove the entries of a directory with it".to_owned(),
            Self::ThroughLink { real, .. } => format!("add {real}, or use `Plan::add_layer`, which follows links"),
            Self::BaseChanged => "set another base on the `Builder`".to_owned(),
            Self::PlatformChanged(_) => "set another platform on the `Builder`".to_owned(),
            Self::Time(_) => "give a number of seconds since 1970".to_owned(),
            Self::NoCommand => "set an entrypoint, such as [\"python\", \"-m\", \"app\"]".to_owned(),
            Self::Variable(_) => "correct the name or the value".to_owned(),
            Self::DuplicateVariable(_) => "set it once, with `Process::set_env`".to_owned(),
            Self::Setting { .. } => "correct the value".to_owned(),
            Self::Base(error) => return error.help(),
            Self::AppendedLayer { .. } => {
                "describe the layer as its tool did: digest and size are the blob's, the diff ID is the archive's".to_owned()
            }
            Self::Tree(error) => return error.help(),
            Self::File(error) => return error.help(),
            Self::Content(error) => return error.help(),
        })
    }
}
