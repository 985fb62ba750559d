//! [`CheckedNode`]: a file, directory or link of a checked image.

use crate::base::NodeKind;
use crate::tree::{Content, Owner};

/// A node in the merged file system of an image.
#[derive(Debug, Clone)]
pub(crate) struct CheckedNode {
    /// The type.
    pub(crate) kind: NodeKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub(crate) mode: u32,
    /// User ID.
    pub(crate) uid: u64,
    /// Group ID.
    pub(crate) gid: u64,
    /// Modification time in seconds since 1970; `None` for one that follows from the bytes.
    pub(crate) mtime: Option<i64>,
    /// Size of a file in bytes as far as known; 0 for other kinds.
    pub(crate) size: u64,
    /// Origin of the node.
    pub(crate) origin: NodeOrigin,
    /// The owner in the plan; `None` for a stored image.
    pub(crate) owner: Option<Owner>,
    /// Number of the member with the content, which hard links of a stored image share.
    pub(in crate::check) file: Option<(u32, u32)>,
    pub(super) content: NodeContent,
}

/// The part of an image with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeOrigin {
    /// The base image, which the project does not make.
    Base,
    /// A layer of the project, or of a stored image without a recorded base.
    Own,
}

/// The place of a file's bytes.
#[derive(Debug, Clone)]
pub(super) enum NodeContent {
    /// Not available.
    Unknown,
    /// A planned file.
    Planned(Content),
    /// Bytes that were collected from a layer.
    Collected {
        /// Offset in the collection.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
}

impl CheckedNode {
    /// Returns true for a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind == NodeKind::File
    }

    /// Returns true for a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Returns the size of a file in bytes. That of a planned file which is rewritten while it is read is
    /// known only after reading.
    pub(crate) fn exact_size(&self) -> u64 {
        match &self.content {
            NodeContent::Planned(content @ Content::Derived { .. }) => {
                content.read().map_or(self.size, |bytes| bytes.len() as u64)
            }
            _ => self.size,
        }
    }

    /// Returns true if the project makes the node.
    pub(crate) fn is_own(&self) -> bool {
        self.origin == NodeOrigin::Own
    }
}
