//! [`PackageTree`]: the file system under construction, above the files of a base.

use std::collections::{BTreeMap, BTreeSet};

use super::{InstallError, LowerFiles, LowerNode};
use crate::tree::{Content, Entry, ImagePath, Kind, Owner};

/// The largest number of links in a path, as in Linux.
const LINK_LIMIT: usize = 40;

/// A node of the file system, with or without an entry of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TreeNode {
    Directory,
    File,
    Symlink(String),
    Other,
}

/// New entries above the files of a base.
pub(super) struct PackageTree<'a> {
    entries: BTreeMap<ImagePath, Entry>,
    below: Option<&'a dyn LowerFiles>,
}

impl<'a> PackageTree<'a> {
    pub(super) fn new(below: Option<&'a dyn LowerFiles>) -> Self {
        Self { entries: BTreeMap::new(), below }
    }

    /// Returns the node at `path`, without following links.
    pub(super) fn node(&self, path: &ImagePath) -> Option<TreeNode> {
        match self.entries.get(path) {
            Some(entry) => Some(match &entry.kind {
                Kind::Directory => TreeNode::Directory,
                Kind::Symlink(target) => TreeNode::Symlink(target.clone()),
                Kind::File(_) | Kind::HardLink(_) => TreeNode::File,
            }),
            None => self.lower_node(path),
        }
    }

    fn lower_node(&self, path: &ImagePath) -> Option<TreeNode> {
        Some(match self.below?.node(path)? {
            LowerNode::Directory => TreeNode::Directory,
            LowerNode::File => TreeNode::File,
            LowerNode::Symlink(target) => TreeNode::Symlink(target),
            LowerNode::Other => TreeNode::Other,
        })
    }

    /// Returns true if there are files below.
    pub(super) fn has_base(&self) -> bool {
        self.below.is_some()
    }

    /// Returns the place of `path` after the links in its parents, and with `FollowedLinks::All` at its end too. `..` in a
    /// target stops at the root.
    pub(super) fn resolve(&self, path: &str, follow: FollowedLinks) -> Option<ImagePath> {
        let mut pending: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut done = ImagePath::root();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    done = done.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = done.join(&name).ok()?;
            let is_last = pending.iter().all(String::is_empty);
            match self.node(&next) {
                Some(TreeNode::Symlink(target)) if !is_last || follow == FollowedLinks::All => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return None;
                    }
                    if target.starts_with('/') {
                        done = ImagePath::root();
                    }
                    pending.extend(target.split('/').rev().map(str::to_owned));
                }
                _ => done = next,
            }
        }
        Some(done)
    }

    /// Returns true if there is anything at `path` after the links in its parents.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.resolve(path, FollowedLinks::Parents).is_some_and(|path| self.node(&path).is_some())
    }

    /// Reads a file after all links; `None` if there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, InstallError> {
        let Some(path) = self.resolve(path, FollowedLinks::All) else { return Ok(None) };
        let entry = match self.entries.get(&path) {
            Some(Entry { kind: Kind::HardLink(first), .. }) => self.entries.get(first),
            other => other,
        };
        match (entry, self.below) {
            (Some(Entry { kind: Kind::File(content), .. }), _) => Ok(Some(content.read()?)),
            (None, Some(below)) if self.lower_node(&path) == Some(TreeNode::File) => {
                let failed = |error| crate::error::FileError::new("read", path.to_string(), error);
                Ok(Some(below.read(&path).map_err(failed)?))
            }
            _ => Ok(None),
        }
    }

    /// Reads a text file after all links; bytes that are not UTF-8 are replaced.
    pub(super) fn read_text(&self, path: &str) -> Result<Option<String>, InstallError> {
        Ok(self.read(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Returns the new entries by path.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Returns the new entry at `path`.
    pub(super) fn entry(&self, path: &ImagePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Returns the new entry at `path` for changes.
    pub(super) fn entry_mut(&mut self, path: &ImagePath) -> Option<&mut Entry> {
        self.entries.get_mut(path)
    }

    /// Adds an entry at its path, which no link changes, and replaces any entry there.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.path.clone(), entry);
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, path: &ImagePath) -> Option<Entry> {
        self.entries.remove(path)
    }

    /// Returns the new entries below a directory, by path.
    pub(super) fn below<'s>(&'s self, directory: &'s ImagePath) -> impl Iterator<Item = &'s Entry> {
        let entries = self.entries.range(directory..).map(|(_, entry)| entry);
        // A directory of the base has no new entry.
        let entries = entries.skip_while(|entry| entry.path == *directory);
        entries.take_while(|entry| entry.path.starts_with(directory))
    }

    /// Adds a file, unless something is at its path.
    pub(super) fn add_file(&mut self, path: &str, content: impl Into<Content>, owner: &Owner) {
        let place = self.resolve(path, FollowedLinks::Parents).filter(|path| self.node(path).is_none());
        if let Some(place) = place {
            self.insert(Entry::file(place, content.into(), owner.clone()));
        }
    }

    /// Replaces the content of a file and keeps its attributes; adds a missing one.
    pub(super) fn write_file(&mut self, path: &str, content: impl Into<Content>, owner: &Owner) {
        let Some(place) = self.resolve(path, FollowedLinks::All) else { return };
        match self.entries.get_mut(&place) {
            Some(entry) => entry.kind = Kind::File(content.into()),
            None => self.insert(Entry::file(place, content.into(), owner.clone())),
        }
    }

    /// Adds a symbolic link, unless something is at its path.
    pub(super) fn add_link(&mut self, path: &str, target: &str, owner: &Owner) {
        let place = self.resolve(path, FollowedLinks::Parents).filter(|path| self.node(path).is_none());
        if let Some(place) = place {
            self.insert(Entry::symlink(place, target, owner.clone()));
        }
    }

    /// Adds a directory with a mode and a group, unless something is at its path.
    pub(super) fn add_directory(&mut self, path: &str, mode: u32, gid: u32, owner: &Owner) {
        let place = self.resolve(path, FollowedLinks::Parents).filter(|path| self.node(path).is_none());
        if let Some(place) = place {
            let mut entry = Entry::directory(place, owner.clone()).with_mode(mode);
            entry.gid = gid;
            self.insert(entry);
        }
    }

    /// Returns the entries by path, with missing parents.
    pub(super) fn into_entries(mut self) -> Vec<Entry> {
        let parents: BTreeSet<ImagePath> = self.entries.keys().flat_map(ImagePath::parents).collect();
        for parent in parents {
            if self.node(&parent).is_none() {
                self.entries.insert(parent.clone(), Entry::directory(parent, Owner::System));
            }
        }
        self.entries.into_values().collect()
    }
}

/// The links that a lookup follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FollowedLinks {
    Parents,
    All,
}
