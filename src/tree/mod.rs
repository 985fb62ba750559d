//! The files of an image, described but not yet read.
//!
//! [`Entry`] is the central type of this crate. Modules that know Python, ELF or Debian produce
//! entries; modules that write layers know only entries.

mod content;
mod entry;
mod identity;
mod path;
#[allow(clippy::module_inception)]
mod tree;

pub(crate) use content::TRANSFORM_LIMIT;
pub use content::{
    Content, ContentError, ContentSource, ContentStamp, HostFile, OpenContent, Patch, Transform,
    TransformError,
};
pub use entry::{CONSTANT_TIME, Entry, Kind, OwnedBytes, Owner, Time};
pub use identity::{KeyHasher, Moment};
pub use path::{ImagePath, PathError};
pub(crate) use path::{special_name, stays_inside};
pub use tree::{Tree, TreeError};
