//! [`Listing`]: the result of a walk, and its conversion into entries of an image.

use std::path::Path;

use super::error::ContextError;
use super::git_names::GitNames;
use super::markers::ExcludedPath;
use crate::tree::{Content, Entry, HostFile, ImagePath, Owner, Time};

/// The kept part of a source tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files, links and directories, ordered by path components: a directory comes right before its
    /// content. All ancestors of kept files are included.
    pub files: Vec<SourceFile>,
    /// Totals of the kept files.
    pub kept: Totals,
    /// Totals of the files excluded by the ignore file, as far as the walk counted them.
    pub ignored: Totals,
    /// Paths excluded by the rules of [`Context::with_fallback`](super::Context::with_fallback), without
    /// those below an excluded directory.
    pub ignored_by_default: Vec<String>,
    /// Environments and other directories that are not source, in walk order.
    pub left_out: Vec<ExcludedPath>,
    /// Files of git seen by the walk.
    pub(super) git_names: GitNames,
}

/// A number of files and links, and the bytes of the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of regular files and symbolic links; directories do not count.
    pub files: u64,
    /// Total size of the regular files in bytes.
    pub bytes: u64,
}

/// A kept file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the context's root, with `/` between components.
    pub path: String,
    /// The type of the file.
    pub kind: SourceKind,
}

/// The type of a kept file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// A regular file. Each name of a file with several hard links counts as a file.
    File {
        /// The file on this machine.
        file: HostFile,
        /// The permission in the image.
        permission: Permission,
    },
    /// A directory, empty or not.
    Directory,
    /// A symbolic link with its target in the image.
    Symlink(String),
}

/// The permission bits that survive: read and write permissions of the build machine are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// 0644.
    Plain,
    /// 0755: the file is executable by its owner.
    Executable,
}

impl Totals {
    /// Counts one file or link of `bytes`.
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl SourceFile {
    /// Returns the size in bytes; 0 for directories and links.
    pub fn size(&self) -> u64 {
        match &self.kind {
            SourceKind::File { file, .. } => file.size,
            SourceKind::Directory | SourceKind::Symlink(_) => 0,
        }
    }
}

impl Listing {
    /// Returns the file at `path`, relative to the root.
    pub fn get(&self, path: &str) -> Option<&SourceFile> {
        let found = self.files.binary_search_by(|file| file.path.split('/').cmp(path.split('/')));
        found.ok().and_then(|index| self.files.get(index))
    }

    /// Removes `things` as [`Listing::remove`] does, and recomputes [`Listing::kept`].
    pub fn exclude(&mut self, things: Vec<ExcludedPath>) {
        if things.is_empty() {
            return;
        }
        let places: Vec<&str> = things.iter().map(|thing| thing.path.as_str()).collect();
        self.remove(&places);
        self.kept = Totals::default();
        for file in self.files.iter().filter(|file| !matches!(file.kind, SourceKind::Directory)) {
            self.kept.add(file.size());
        }
        self.left_out.extend(things);
    }

    /// Returns files that are large relative to the rest, largest first: more than 10 MB, or more
    /// than 1 MB and half of the total.
    ///
    /// In twelve public services, no file had 4 MB, and no file of more than 1 MB was a fifth of
    /// the source.
    pub fn outliers(&self) -> Vec<&SourceFile> {
        let total: u64 = self.files.iter().map(SourceFile::size).fold(0, u64::saturating_add);
        let is_large = |size: u64| size > 10_000_000 || size > 1_000_000 && size > total / 2;
        let mut large: Vec<&SourceFile> = self.files.iter().filter(|file| is_large(file.size())).collect();
        large.sort_by(|a, b| b.size().cmp(&a.size()).then_with(|| a.path.cmp(&b.path)));
        large
    }

    /// Removes `places` with their contents, and ancestor directories left empty: an image must not
    /// depend on the output of an earlier build in the tree. [`Listing::kept`] stays unchanged.
    pub fn remove(&mut self, places: &[&str]) {
        if places.is_empty() {
            return;
        }
        let below =
            |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let is_out = |path: &str| places.iter().any(|place| path == *place || below(path, place));
        let is_above = |path: &str| places.iter().any(|place| below(place, path));
        // Reverse order: a directory precedes its content.
        let mut kept: Vec<SourceFile> = Vec::with_capacity(self.files.len());
        for file in std::mem::take(&mut self.files).into_iter().rev() {
            let is_empty = file.kind == SourceKind::Directory
                && !kept.last().is_some_and(|next| below(&next.path, &file.path));
            let goes = is_out(&file.path) || is_empty && is_above(&file.path);
            if !goes {
                kept.push(file);
            }
        }
        kept.reverse();
        self.files = kept;
    }

    /// Returns the listing as entries below the directory `below`, owned by root.
    ///
    /// Directories, links and Python sources get `time`, in seconds since 1970: bytecode needs a
    /// known time of its source. The time of other files follows from their bytes, so that browsers
    /// never serve a changed static file from a cache ([`Time::FromContent`]).
    pub fn entries(&self, below: &ImagePath, time: i64) -> Result<Vec<Entry>, ContextError> {
        self.files.iter().map(|file| file.entry(below, time)).collect()
    }
}

impl SourceFile {
    fn entry(&self, below: &ImagePath, time: i64) -> Result<Entry, ContextError> {
        let path = below.join(&self.path)?;
        let at = Time::At(time);
        Ok(match &self.kind {
            SourceKind::Directory => Entry::directory(path, Owner::Source).with_time(at),
            SourceKind::Symlink(target) => Entry::symlink(path, target.clone(), Owner::Source).with_time(at),
            SourceKind::File { file, permission } => {
                let content = Content::Host(file.clone());
                let is_python = Path::new(&self.path).extension().is_some_and(|extension| extension == "py");
                let time = if is_python { at } else { Time::FromContent };
                match permission {
                    Permission::Plain => Entry::file(path, content, Owner::Source),
                    Permission::Executable => Entry::executable(path, content, Owner::Source),
                }
                .with_time(time)
            }
        })
    }
}
