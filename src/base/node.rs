//! [`ViewNode`]: what is at a path of a base.

/// A node in the file system of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewNode {
    /// Kind of the node.
    pub kind: NodeKind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Size of a file in bytes; 0 for other kinds.
    pub size: u64,
    /// Index of the layer with the node, 0 the lowest.
    pub layer: u32,
    /// The member with the content; hard links share one.
    pub(super) location: Location,
}

/// Kind of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link with its target as written.
    Symlink(Box<str>),
    /// A device or a named pipe.
    Device,
}

/// A member of a layer, both counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Location {
    pub(super) layer: u32,
    pub(super) member: u32,
}

impl ViewNode {
    /// Makes a directory that no layer contains but a path needs, with the attributes that Docker
    /// and containerd use.
    pub(super) fn implied(layer: u32) -> Self {
        Self {
            kind: NodeKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            layer,
            location: Location { layer, member: u32::MAX },
        }
    }

    /// Returns true if both are hard links to one file.
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.kind == NodeKind::File && self.location == other.location
    }

    /// Returns the number of the member with the content: hard links share one.
    pub(crate) fn file_number(&self) -> (u32, u32) {
        (self.location.layer, self.location.member)
    }

    /// Formats kind and mode as `ls -l`: `drwxr-xr-x`. Devices and pipes, which share a kind, begin
    /// with `?`.
    pub fn mode_string(&self) -> String {
        let kind = match self.kind {
            NodeKind::Directory => 'd',
            NodeKind::File => '-',
            NodeKind::Symlink(_) => 'l',
            NodeKind::Device => '?',
        };
        let triple = |shift: u32, special: u32, letters: [char; 2]| {
            let bit = |bit: u32, letter| if self.mode >> shift & bit == 0 { '-' } else { letter };
            let last = match (self.mode >> shift & 1, self.mode & special) {
                (_, 0) => bit(1, 'x'),
                (0, _) => letters[1],
                (_, _) => letters[0],
            };
            [bit(4, 'r'), bit(2, 'w'), last]
        };
        let triples =
            [triple(6, 0o4000, ['s', 'S']), triple(3, 0o2000, ['s', 'S']), triple(0, 0o1000, ['t', 'T'])];
        std::iter::once(kind).chain(triples.into_iter().flatten()).collect()
    }

    /// Returns the kind in words.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            NodeKind::Directory => "a directory",
            NodeKind::File => "a file",
            NodeKind::Symlink(_) => "a symbolic link",
            NodeKind::Device => "a device",
        }
    }
}
