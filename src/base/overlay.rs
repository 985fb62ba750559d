//! Planned files over a base, as the image's loader will see them; and the base alone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BaseError;
use super::node::{NodeKind, ViewNode};
use super::resolve::{FinalLink, LinkNode, LinkTree, OnMissing, resolve_path};
use super::view::View;
use crate::elf::{self, Description, Elf, ElfError, FileKind, RootFiles, Versions};
use crate::error::FileError;
use crate::tree::{Content, Entry, ImagePath, Kind};

/// Planned entries on top of a base.
#[derive(Debug, Clone)]
pub struct Overlay {
    view: Arc<View>,
    planned: BTreeMap<ImagePath, Planned>,
    /// For the view of a complete image: the first layer that counts as planned.
    own: u32,
}

#[derive(Debug, Clone)]
enum Planned {
    Directory,
    File(Content),
    Link(String),
}

impl Overlay {
    /// Puts `entries` over `view`, at their destinations. Of two at one path, the later counts.
    pub fn new<'e>(view: Arc<View>, entries: impl IntoIterator<Item = &'e Entry>) -> Result<Self, BaseError> {
        let mut overlay = Self { view, planned: BTreeMap::new(), own: u32::MAX };
        entries.into_iter().try_for_each(|entry| overlay.add(entry))?;
        Ok(overlay)
    }

    /// Puts another entry over the view.
    pub fn add(&mut self, entry: &Entry) -> Result<(), BaseError> {
        let kind = match &entry.kind {
            Kind::Directory => Planned::Directory,
            Kind::File(content) => Planned::File(content.clone()),
            Kind::Symlink(target) => Planned::Link(target.clone()),
            Kind::HardLink(target) => Planned::Link(target.to_string()),
        };
        let path = self.view.destination(&entry.path)?;
        if matches!(kind, Planned::Directory) && self.view.lookup(&path).is_some() {
            return Ok(());
        }
        for parent in path.parents() {
            if self.view.lookup(&parent).is_none() {
                self.planned.entry(parent).or_insert(Planned::Directory);
            }
        }
        self.planned.insert(path, kind);
        Ok(())
    }

    /// Takes the files of a complete image; those from layer `own` on count as planned.
    pub fn with_own(view: Arc<View>, own: u32) -> Self {
        Self { view, planned: BTreeMap::new(), own }
    }

    /// Returns the base.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Returns true if the node at `path` was planned, not part of the base.
    pub fn is_planned(&self, path: &Path) -> bool {
        image_path(path).is_ok_and(|path| {
            self.planned.contains_key(&path)
                || self.view.lookup(&path).is_some_and(|node| node.layer >= self.own)
        })
    }

    fn content(&self, path: &ImagePath) -> Option<&Content> {
        match self.planned.get(path)? {
            Planned::File(content) => Some(content),
            Planned::Directory | Planned::Link(_) => None,
        }
    }
}

impl LinkTree for Overlay {
    fn link_node(&self, path: &ImagePath) -> Option<LinkNode<'_>> {
        Some(match self.planned.get(path) {
            Some(Planned::Directory) => LinkNode::Directory,
            Some(Planned::File(_)) => LinkNode::Other,
            Some(Planned::Link(target)) => LinkNode::Link(target),
            None => return self.view.link_node(path),
        })
    }
}

impl RootFiles for Overlay {
    fn resolve(&self, inside: &Path) -> io::Result<PathBuf> {
        resolve(self, inside)
    }

    fn kind(&self, inside: &Path) -> io::Result<FileKind> {
        match self.planned.get(&image_path(inside)?) {
            Some(Planned::Directory) => Ok(FileKind::Other),
            Some(Planned::File(_)) => Ok(FileKind::File),
            Some(Planned::Link(_)) => Ok(FileKind::Link),
            None => self.view.kind(inside),
        }
    }

    fn elf(&self, inside: &Path) -> Result<Option<Elf>, ElfError> {
        let path = image_path(inside).map_err(FileError::of("read", inside))?;
        match self.content(&path) {
            // A rewrite may change headers, such as the search path of a moved library.
            Some(Content::Host(file)) => elf::read(&file.path),
            Some(content) => elf::parse(&read(content, inside)?, inside),
            None => self.view.elf(inside),
        }
    }

    fn versions(&self, inside: &Path) -> Result<Versions, ElfError> {
        let path = image_path(inside).map_err(FileError::of("read", inside))?;
        match self.content(&path) {
            Some(Content::Host(file)) => elf::versions(&file.path),
            Some(content) => {
                let found = Description::of_bytes(&read(content, inside)?, inside)?;
                Ok(found.map(|description| description.versions).unwrap_or_default())
            }
            None => self.view.versions(inside),
        }
    }

    fn bytes(&self, inside: &Path, limit: u64) -> Option<Vec<u8>> {
        match self.content(&image_path(inside).ok()?) {
            Some(content) if content.size_hint() > limit => None,
            Some(content) => content.read().ok().filter(|bytes| bytes.len() as u64 <= limit),
            None => self.view.bytes(inside, limit),
        }
    }

    fn on_disk(&self, inside: &Path) -> Option<PathBuf> {
        Some(self.content(&image_path(inside).ok()?)?.host_file()?.path.to_path_buf())
    }
}

impl RootFiles for View {
    fn resolve(&self, inside: &Path) -> io::Result<PathBuf> {
        resolve(self, inside)
    }

    fn kind(&self, inside: &Path) -> io::Result<FileKind> {
        let node = self.lookup(&image_path(inside)?).ok_or(io::ErrorKind::NotFound)?;
        Ok(match node.kind {
            NodeKind::File => FileKind::File,
            NodeKind::Symlink(_) => FileKind::Link,
            NodeKind::Directory | NodeKind::Device => FileKind::Other,
        })
    }

    fn elf(&self, inside: &Path) -> Result<Option<Elf>, ElfError> {
        let path = image_path(inside).map_err(FileError::of("read", inside))?;
        Ok(self.description(&path).map(|description| description.elf.clone()))
    }

    fn versions(&self, inside: &Path) -> Result<Versions, ElfError> {
        let path = image_path(inside).map_err(FileError::of("read", inside))?;
        Ok(self.description(&path).map(|description| description.versions.clone()).unwrap_or_default())
    }

    fn bytes(&self, inside: &Path, limit: u64) -> Option<Vec<u8>> {
        let bytes = self.retained_bytes(&image_path(inside).ok()?)?;
        (bytes.len() as u64 <= limit).then(|| bytes.to_vec())
    }

    fn on_disk(&self, _: &Path) -> Option<PathBuf> {
        None
    }
}

/// Resolves a path of the image for the loader.
fn resolve(files: &dyn LinkTree, inside: &Path) -> io::Result<PathBuf> {
    let text = inside.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    match resolve_path(files, text, FinalLink::Follow, OnMissing::Refuse) {
        Ok(path) => Ok(PathBuf::from(path.to_string())),
        Err(BaseError::Missing(_)) => Err(io::ErrorKind::NotFound.into()),
        Err(BaseError::NotADirectory(_)) => Err(io::ErrorKind::NotADirectory.into()),
        Err(BaseError::Circle(_)) => Err(rustix::io::Errno::LOOP.into()),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
    }
}

fn image_path(inside: &Path) -> io::Result<ImagePath> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    ImagePath::new(inside.to_str().ok_or(io::ErrorKind::InvalidInput)?).map_err(invalid)
}

fn read(content: &Content, inside: &Path) -> Result<Vec<u8>, ElfError> {
    content.read().map_err(|error| FileError::new("read", inside, io::Error::other(error)).into())
}

/// Reduces a [`ViewNode`] to the kind that path resolution needs.
impl<'a> From<&'a ViewNode> for LinkNode<'a> {
    fn from(node: &'a ViewNode) -> Self {
        match &node.kind {
            NodeKind::Directory => LinkNode::Directory,
            NodeKind::Symlink(target) => LinkNode::Link(target),
            NodeKind::File | NodeKind::Device => LinkNode::Other,
        }
    }
}
