//! The files of an image, described and not yet read.
//!
//! [`Entry`] is the central noun of this crate. Everything that knows Python, ELF or Debian makes
//! entries; everything that writes layers knows only entries.

mod content;
mod entry;
mod identity;
mod path;
#[allow(clippy::module_inception)]
mod tree;

pub(crate) use content::TRANSFORM_LIMIT;
pub use content::{
    Content, ContentError, ContentSource, HostFile, OpenContent, Patch, Stamp, Transform, TransformError,
};
pub use entry::{CONSTANT_TIME, Entry, Kind, OwnedBytes, Owner, Time};
pub use identity::{Fields, Moment};
pub use path::{ImagePath, PathError};
pub use tree::{Tree, TreeError};
