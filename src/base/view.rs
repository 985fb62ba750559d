//! [`View`]: the files of an image as a container sees them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::BaseError;
use super::cache;
use super::merge::{self, Merged};
use super::resolve::{Absent, Last, Peek, Peeks, walk};
use crate::elf::Description;
use crate::image::{Image, Layer};
use crate::progress::Progress;
use crate::tree::ImagePath;

/// What stands at a path of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Bytes of a file; 0 for all else.
    pub size: u64,
    /// The layer that put it there, 0 the lowest.
    pub layer: u32,
    /// The member that has its bytes; several names of one file share it.
    pub(super) location: Location,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link with this target, as it is written.
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

/// Owner, mode and time of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

/// The files of an image, its layers merged.
#[derive(Debug, Default)]
pub struct View {
    nodes: BTreeMap<ImagePath, Node>,
    texts: HashMap<Location, Arc<[u8]>>,
    descriptions: HashMap<Location, Arc<Description>>,
    pub(super) layers: Vec<Layer>,
}

impl Node {
    /// A directory that no layer has and something stands below. Docker and containerd make such ones so.
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

    /// Whether both are names of one file: a hard link made them.
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.kind == NodeKind::File && self.location == other.location
    }

    /// Its kind and mode as `ls -l` writes them: `drwxr-xr-x`; a device or pipe, which are not told apart, begins with `?`.
    pub fn mode_in_letters(&self) -> String {
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

    /// Its kind in words.
    pub fn kind_in_words(&self) -> &'static str {
        match self.kind {
            NodeKind::Directory => "a directory",
            NodeKind::File => "a file",
            NodeKind::Symlink(_) => "a symbolic link",
            NodeKind::Device => "a device",
        }
    }
}

impl View {
    /// The view of `image`. What was learnt of its layers is kept in the folder `cache`, by their digests: a layer is
    /// read once, and verified then.
    pub fn of(image: &Image, cache: Option<&Path>, progress: &dyn Progress) -> Result<Self, BaseError> {
        let mut merged = Merged::default();
        for (number, layer) in (0..).zip(&image.layers) {
            merged.add(number, cache::slice(layer, cache, progress)?)?;
        }
        merged.finish();
        let Merged { nodes, texts, descriptions, .. } = merged;
        Ok(Self { nodes, texts, descriptions, layers: image.layers.clone() })
    }

    /// The view of `scratch`: nothing is in it.
    pub fn empty() -> Self {
        Self::default()
    }

    /// What stands at `path`, no link followed.
    pub fn lookup(&self, path: &ImagePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The path that `path` leads to through all links.
    ///
    /// # Errors
    /// [`BaseError::Missing`] when nothing is there, [`BaseError::Circle`] and [`BaseError::NotADirectory`] when the
    /// kernel would say so.
    pub fn resolve(&self, path: &ImagePath) -> Result<ImagePath, BaseError> {
        walk(self, path.as_str(), Last::Follow, Absent::Refuse)
    }

    /// What `path` leads to through all links, and where that is; nothing where there is nothing.
    pub fn find(&self, path: &ImagePath) -> Option<(ImagePath, &Node)> {
        let real = self.resolve(path).ok()?;
        let node = self.nodes.get(&real)?;
        Some((real, node))
    }

    /// Where something that is put at `path` lands: links among its directories are followed, as far as they are there.
    pub fn place(&self, path: &ImagePath) -> Result<ImagePath, BaseError> {
        walk(self, path.as_str(), Last::Keep, Absent::Allow)
    }

    /// Owner, mode and time of the directory that `path` leads to.
    pub fn directory_attributes(&self, path: &ImagePath) -> Option<Attributes> {
        let (_, node) = self.find(path)?;
        (node.kind == NodeKind::Directory).then_some(Attributes {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
        })
    }

    /// Bytes and number of the regular files that are seen of each layer, lowest first. Of hard links the first counts.
    pub fn layer_sizes(&self) -> Vec<(u64, u64)> {
        let mut sizes = vec![(0, 0); self.layers.len()];
        let mut seen = std::collections::BTreeSet::new();
        for node in self.nodes.values().filter(|node| node.kind == NodeKind::File) {
            let layer = usize::try_from(node.layer).unwrap_or(usize::MAX);
            if seen.insert(node.location)
                && let Some(size) = sizes.get_mut(layer)
            {
                size.0 += node.size;
                size.1 += 1;
            }
        }
        sizes
    }

    /// All paths with what stands there, ordered by components; the root is the first.
    pub fn iter(&self) -> impl Iterator<Item = (&ImagePath, &Node)> {
        self.nodes.iter()
    }

    /// What stands below `directory`, at any depth, ordered by components. No link is followed.
    pub fn below<'a>(&'a self, directory: &'a ImagePath) -> impl Iterator<Item = (&'a ImagePath, &'a Node)> {
        merge::below(&self.nodes, directory)
    }

    /// What stands in `directory` itself, ordered. No link is followed.
    pub fn children<'a>(
        &'a self,
        directory: &'a ImagePath,
    ) -> impl Iterator<Item = (&'a ImagePath, &'a Node)> {
        let first = merge::below(&self.nodes, directory).next();
        std::iter::successors(first, move |(path, _)| {
            // No name holds a NUL, so this is the first path behind all that stands below it.
            let behind = ImagePath::new(&format!("{}\u{1}", path.as_str())).ok()?;
            let next = self.nodes.range((Bound::Included(behind), Bound::Unbounded)).next()?;
            next.0.starts_with(directory).then_some(next)
        })
    }

    /// The bytes of one of the small files that are kept, through links: accounts, the loader's settings and index, the
    /// system's name, the packages' database, Python's `patchlevel.h`.
    pub fn kept_bytes(&self, path: &ImagePath) -> Option<&[u8]> {
        let (_, node) = self.find(path)?;
        self.texts.get(&node.location).map(|bytes| &**bytes)
    }

    /// The same as text.
    pub fn kept_text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.kept_bytes(&ImagePath::new(path).ok()?)?).ok()
    }

    /// The first line of the script at `path`, which is taken literally, without its `#!`.
    pub(crate) fn interpreter_line(&self, path: &ImagePath) -> Option<String> {
        let node = self.nodes.get(path).filter(|node| node.kind == NodeKind::File)?;
        let text = self.texts.get(&node.location)?.strip_prefix(b"#!")?;
        let line = text.split(|byte| *byte == b'\n').next()?;
        Some(String::from_utf8_lossy(line).into_owned())
    }

    /// The headers of the ELF file at `path`, which is taken literally.
    pub fn description(&self, path: &ImagePath) -> Option<&Description> {
        let node = self.nodes.get(path).filter(|node| node.kind == NodeKind::File)?;
        self.descriptions.get(&node.location).map(|description| &**description)
    }

    /// The headers of all ELF files that are kept, in no order.
    pub(super) fn descriptions(&self) -> impl Iterator<Item = &Description> {
        self.descriptions.values().map(|description| &**description)
    }

    /// How many paths it has, the root among them; 0 without any layer.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }
}

impl Peeks for View {
    fn peek(&self, path: &ImagePath) -> Option<Peek<'_>> {
        self.nodes.get(path).map(Peek::from)
    }
}
