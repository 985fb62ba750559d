//! The merged files of an image, as a container sees them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::BaseError;
use super::index_cache;
use super::merge::{self, Merged};
use super::node::{Location, NodeKind, ViewNode};
use super::resolve::{FinalLink, LinkNode, LinkTree, OnMissing, resolve_path};
use crate::elf::Description;
use crate::image::{Image, Layer};
use crate::progress::Progress;
use crate::tree::ImagePath;

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
    nodes: BTreeMap<ImagePath, ViewNode>,
    texts: HashMap<Location, Arc<[u8]>>,
    descriptions: HashMap<Location, Arc<Description>>,
    pub(crate) layers: Vec<Layer>,
}

impl View {
    /// Merges the layers of `image`. Reads and verifies a layer once; its index is cached in
    /// `cache` by digest.
    pub fn of(image: &Image, cache: Option<&Path>, progress: &dyn Progress) -> Result<Self, BaseError> {
        Self::of_layers(&image.layers, cache, progress)
    }

    /// Merges `layers`, lowest first, as if there were none below.
    pub(crate) fn of_layers(
        layers: &[Layer],
        cache: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Self, BaseError> {
        let mut merged = Merged::default();
        for (number, layer) in (0..).zip(layers) {
            merged.add(number, index_cache::load_or_read(layer, cache, progress)?)?;
        }
        merged.finish();
        let Merged { nodes, texts, descriptions, .. } = merged;
        Ok(Self { nodes, texts, descriptions, layers: layers.to_vec() })
    }

    /// Returns the view of `scratch`, without files.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns the node at `path`, without following links.
    pub fn lookup(&self, path: &ImagePath) -> Option<&ViewNode> {
        self.nodes.get(path)
    }

    /// Resolves `path` through all links.
    ///
    /// # Errors
    /// [`BaseError::Missing`] for a missing path; [`BaseError::Circle`] and
    /// [`BaseError::NotADirectory`] as the kernel's `ELOOP` and `ENOTDIR`.
    pub fn resolve(&self, path: &ImagePath) -> Result<ImagePath, BaseError> {
        resolve_path(self, path.as_str(), FinalLink::Follow, OnMissing::Refuse)
    }

    /// Resolves `path` through all links. Returns the canonical path and its node.
    pub fn find(&self, path: &ImagePath) -> Option<(ImagePath, &ViewNode)> {
        let real = self.resolve(path).ok()?;
        let node = self.nodes.get(&real)?;
        Some((real, node))
    }

    /// Returns the destination of a new file at `path`: links among its existing directories are
    /// followed.
    pub fn destination(&self, path: &ImagePath) -> Result<ImagePath, BaseError> {
        resolve_path(self, path.as_str(), FinalLink::Keep, OnMissing::Allow)
    }

    /// Returns the attributes of the directory at `path`, through links.
    pub fn directory_attributes(&self, path: &ImagePath) -> Option<Attributes> {
        let (_, node) = self.find(path)?;
        (node.kind == NodeKind::Directory).then_some(Attributes {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
        })
    }

    /// Returns for each layer, lowest first, bytes and number of its visible regular files. Of hard
    /// links the first counts.
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

    /// Iterates over all paths and nodes, ordered by components; the root is first.
    pub fn iter(&self) -> impl Iterator<Item = (&ImagePath, &ViewNode)> {
        self.nodes.iter()
    }

    /// Iterates over everything below `directory`, ordered by components. Follows no link.
    pub fn below<'a>(
        &'a self,
        directory: &'a ImagePath,
    ) -> impl Iterator<Item = (&'a ImagePath, &'a ViewNode)> {
        merge::below(&self.nodes, directory)
    }

    /// Iterates over the entries of `directory`, in order. Follows no link.
    pub fn children<'a>(
        &'a self,
        directory: &'a ImagePath,
    ) -> impl Iterator<Item = (&'a ImagePath, &'a ViewNode)> {
        let first = merge::below(&self.nodes, directory).next();
        std::iter::successors(first, move |(path, _)| {
            // No name contains a NUL, so this is the first path after the subtree.
            let after = ImagePath::new(&format!("{}\u{1}", path.as_str())).ok()?;
            let next = self.nodes.range((Bound::Included(after), Bound::Unbounded)).next()?;
            next.0.starts_with(directory).then_some(next)
        })
    }

    /// Returns the content of a retained file, through links: accounts, configuration and cache of
    /// the loader, `os-release`, the package database, Python's `patchlevel.h`.
    pub fn retained_bytes(&self, path: &ImagePath) -> Option<&[u8]> {
        let (_, node) = self.find(path)?;
        self.texts.get(&node.location).map(|bytes| &**bytes)
    }

    /// Returns the content of a retained file as text.
    pub fn retained_text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.retained_bytes(&ImagePath::new(path).ok()?)?).ok()
    }

    /// Returns the first line of the script at `path`, without `#!`. Follows no link.
    pub(crate) fn interpreter_line(&self, path: &ImagePath) -> Option<String> {
        let node = self.nodes.get(path).filter(|node| node.kind == NodeKind::File)?;
        let text = self.texts.get(&node.location)?.strip_prefix(b"#!")?;
        let line = text.split(|byte| *byte == b'\n').next()?;
        Some(String::from_utf8_lossy(line).into_owned())
    }

    /// Returns the headers of the ELF file at `path`. Follows no link.
    pub fn description(&self, path: &ImagePath) -> Option<&Description> {
        let node = self.nodes.get(path).filter(|node| node.kind == NodeKind::File)?;
        self.descriptions.get(&node.location).map(|description| &**description)
    }

    /// Iterates over the headers of all described ELF files, in no order.
    pub(super) fn descriptions(&self) -> impl Iterator<Item = &Description> {
        self.descriptions.values().map(|description| &**description)
    }

    /// Returns the number of paths, including the root; 0 without layers.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns true if there is no path below the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }
}

impl LinkTree for View {
    fn link_node(&self, path: &ImagePath) -> Option<LinkNode<'_>> {
        self.nodes.get(path).map(LinkNode::from)
    }
}
