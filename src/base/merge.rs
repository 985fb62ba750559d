//! Merging layers (OCI image specification 1.1, `layer.md`, "Applying Changesets").
//!
//! If the specification is silent, this module follows Docker and containerd, which unpack each
//! layer into a directory of its own and join them with overlayfs: deletions apply to lower layers
//! only, in any order of members; a directory that a layer needs and lacks replaces a link of a
//! lower layer; a link of the same layer is followed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::BaseError;
use super::layer_index::LayerIndex;
use super::node::{Location, NodeKind, ViewNode};
use super::resolve::{LinkNode, LinkTree};
use crate::digest::Digest;
use crate::elf::Description;
use crate::layer::{Member, MemberKind};
use crate::tree::ImagePath;

/// Maximum number of paths in an image.
const PATHS_LIMIT: u64 = 4_000_000;
/// Maximum bytes of their names. Implied directories have names too.
const NAMES_LIMIT: u64 = 2 << 30;
/// Maximum number of symbolic links on the way to one member.
const LINKS_LIMIT: usize = 40;

/// The files of an image during the merge.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) nodes: BTreeMap<ImagePath, ViewNode>,
    pub(super) texts: HashMap<Location, Arc<[u8]>>,
    pub(super) descriptions: HashMap<Location, Arc<Description>>,
    names: u64,
    /// The parent of the previous member, as written and as resolved: members of one directory are
    /// adjacent.
    near: Option<(ImagePath, ImagePath)>,
}

/// The layer being added.
#[derive(Debug, Clone, Copy)]
struct Top {
    layer: u32,
    digest: Digest,
}

impl Top {
    fn unpackable(self, path: &ImagePath, reason: &'static str) -> BaseError {
        BaseError::Unpackable { layer: self.digest, path: path.clone(), reason }
    }
}

impl Merged {
    /// Adds a layer on top of the previous ones.
    pub(super) fn add(&mut self, layer: u32, index: LayerIndex) -> Result<(), BaseError> {
        let top = Top { layer, digest: index.summary.digest };
        self.near = None;
        if self.nodes.is_empty() {
            self.nodes.insert(ImagePath::root(), ViewNode::implied(layer));
        }
        for member in &index.members {
            match member.kind {
                MemberKind::Whiteout => self.remove(&member.path),
                MemberKind::Opaque => self.remove_below(&member.path),
                _ => {}
            }
        }
        for (place, member) in (0..).zip(index.members) {
            if !matches!(member.kind, MemberKind::Whiteout | MemberKind::Opaque) {
                self.add_member(top, Location { layer, member: place }, member)?;
            } else if member.kind == MemberKind::Opaque {
                // An opaque marker implies its directory, as in overlayfs.
                self.directory(top, &member.path)?;
            }
        }
        let here = |member| Location { layer, member };
        self.texts.extend(index.texts.into_iter().map(|(place, text)| (here(place), text.into())));
        self.descriptions
            .extend(index.descriptions.into_iter().map(|(place, found)| (here(place), Arc::new(found))));
        Ok(())
    }

    /// Drops retained content of hidden files.
    pub(super) fn finish(&mut self) {
        let mut seen = std::collections::HashSet::new();
        for node in self.nodes.values().filter(|node| node.kind == NodeKind::File) {
            if self.texts.contains_key(&node.location) || self.descriptions.contains_key(&node.location) {
                seen.insert(node.location);
            }
        }
        self.texts.retain(|location, _| seen.contains(location));
        self.descriptions.retain(|location, _| seen.contains(location));
    }

    fn add_member(&mut self, top: Top, location: Location, member: Member) -> Result<(), BaseError> {
        let kind = match member.kind {
            MemberKind::Directory => NodeKind::Directory,
            MemberKind::Symlink(target) => NodeKind::Symlink(target.into()),
            MemberKind::Device => NodeKind::Device,
            MemberKind::HardLink(target) => return self.link(top, &member.path, &target),
            _ => NodeKind::File,
        };
        let node = ViewNode {
            kind,
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            size: member.size,
            layer: top.layer,
            location,
        };
        self.insert(top, &member.path, node)
    }

    /// Adds another name of an existing file. The new name keeps the file if the first is replaced.
    fn link(&mut self, top: Top, path: &ImagePath, target: &ImagePath) -> Result<(), BaseError> {
        let found = match self.nodes.get(target) {
            Some(node) => Some(node.clone()),
            None => self.real_parent(top, target).and_then(|real| self.nodes.get(&real)).cloned(),
        };
        let node = found.ok_or_else(|| top.unpackable(path, "is a hard link to a missing file"))?;
        if node.kind == NodeKind::Directory {
            return Err(top.unpackable(path, "is a hard link to a directory"));
        }
        // A link to itself has no effect.
        if path == target {
            return Ok(());
        }
        self.insert(top, path, ViewNode { layer: top.layer, ..node })
    }

    fn insert(&mut self, top: Top, path: &ImagePath, node: ViewNode) -> Result<(), BaseError> {
        let Some(parent) = path.parent() else {
            if node.kind != NodeKind::Directory {
                return Err(top.unpackable(path, "is not a directory"));
            }
            self.nodes.insert(ImagePath::root(), node);
            return Ok(());
        };
        let real = self.directory(top, &parent)?;
        let path =
            if real == parent { path.clone() } else { real.join(path.file_name().unwrap_or_default())? };
        let is_directory = |nodes: &BTreeMap<_, ViewNode>| {
            nodes.get(&path).is_some_and(|node| node.kind == NodeKind::Directory)
        };
        if node.kind != NodeKind::Directory && is_directory(&self.nodes) {
            self.remove_below(&path);
            self.near = None;
        }
        self.add_node(path, node)
    }

    fn add_node(&mut self, path: ImagePath, node: ViewNode) -> Result<(), BaseError> {
        let bytes = path.as_str().len() as u64;
        if self.nodes.insert(path, node).is_none() {
            self.names += bytes;
        }
        let limits =
            [("paths", self.nodes.len() as u64, PATHS_LIMIT), ("bytes of names", self.names, NAMES_LIMIT)];
        match limits.into_iter().find(|(_, found, limit)| found > limit) {
            Some((what, _, limit)) => Err(BaseError::Limit { what, limit }),
            None => Ok(()),
        }
    }

    /// Returns the destination directory of a member at `wanted`, created if missing.
    fn directory(&mut self, top: Top, wanted: &ImagePath) -> Result<ImagePath, BaseError> {
        if let Some((written, real)) = &self.near
            && written == wanted
        {
            return Ok(real.clone());
        }
        let mut at = ImagePath::root();
        let mut ahead: Vec<String> = wanted.components().map(str::to_owned).collect();
        ahead.reverse();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                at = at.parent().unwrap_or_default();
                continue;
            }
            let next = at.join(&name)?;
            match self.nodes.get(&next) {
                Some(ViewNode { kind: NodeKind::Directory, .. }) => at = next,
                Some(ViewNode { kind: NodeKind::Symlink(target), layer, .. }) if *layer == top.layer => {
                    links += 1;
                    if links > LINKS_LIMIT {
                        return Err(top.unpackable(wanted, "is behind a loop of links"));
                    }
                    if target.starts_with('/') {
                        at = ImagePath::root();
                    }
                    let names = target.split('/').filter(|name| !matches!(*name, "" | "."));
                    ahead.extend(names.rev().map(str::to_owned));
                }
                Some(node) if node.layer == top.layer => {
                    return Err(top.unpackable(&next, "is not a directory, but the parent of another member"));
                }
                _ => {
                    self.add_node(next.clone(), ViewNode::implied(top.layer))?;
                    at = next;
                }
            }
        }
        self.near = Some((wanted.clone(), at.clone()));
        Ok(at)
    }

    /// Resolves a path of the layer through the links among its directories.
    fn real_parent(&self, top: Top, path: &ImagePath) -> Option<ImagePath> {
        let layer = OwnLinks { nodes: &self.nodes, layer: top.layer };
        super::resolve::resolve_path(
            &layer,
            path.as_str(),
            super::resolve::FinalLink::Keep,
            super::resolve::OnMissing::Refuse,
        )
        .ok()
    }

    fn remove(&mut self, path: &ImagePath) {
        if path.is_root() {
            return;
        }
        self.remove_below(path);
        self.remove_node(path);
    }

    fn remove_below(&mut self, directory: &ImagePath) {
        let below: Vec<ImagePath> = below(&self.nodes, directory).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.remove_node(&path);
        }
    }

    fn remove_node(&mut self, path: &ImagePath) {
        if self.nodes.remove(path).is_some() {
            self.names -= path.as_str().len() as u64;
        }
    }
}

/// Follows links of one layer only.
struct OwnLinks<'a> {
    nodes: &'a BTreeMap<ImagePath, ViewNode>,
    layer: u32,
}

impl LinkTree for OwnLinks<'_> {
    fn link_node(&self, path: &ImagePath) -> Option<LinkNode<'_>> {
        let node = self.nodes.get(path)?;
        Some(match &node.kind {
            NodeKind::Directory => LinkNode::Directory,
            NodeKind::Symlink(target) if node.layer == self.layer => LinkNode::Link(target),
            _ => LinkNode::Other,
        })
    }
}

/// Iterates over the nodes below a directory, at any depth.
pub(super) fn below<'a>(
    nodes: &'a BTreeMap<ImagePath, ViewNode>,
    directory: &'a ImagePath,
) -> impl Iterator<Item = (&'a ImagePath, &'a ViewNode)> {
    // A directory comes right before its content.
    nodes
        .range::<ImagePath, _>((Bound::Excluded(directory), Bound::Unbounded))
        .take_while(move |(path, _)| path.starts_with(directory))
}
