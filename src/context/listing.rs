//! [`Listing`]: what a walk found, and the entries of an image that it becomes.

use std::path::Path;

use super::error::ContextError;
use super::marks::LeftOut;
use crate::tree::{Content, Entry, HostFile, ImagePath, Owner, Time};

/// What is kept of a source tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files, links and directories, ordered by path components: a directory comes right before
    /// what it holds. Every directory above something that is kept is there.
    pub files: Vec<SourceFile>,
    /// What is kept.
    pub kept: Totals,
    /// What the ignore file leaves out, as far as the walk was asked to count it.
    pub ignored: Totals,
    /// Environments and other things that are no source, in the order in which they were found.
    pub left_out: Vec<LeftOut>,
}

/// A number of files and links, and the bytes of the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Regular files and symbolic links; directories do not count.
    pub files: u64,
    /// The sizes of the regular files together, in bytes.
    pub bytes: u64,
}

/// One thing that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative to the context's root, components separated by `/`.
    pub path: String,
    /// What it is.
    pub kind: SourceKind,
}

/// What a kept thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// A regular file. Each name of a file with several is a file of its own.
    File {
        /// Where its bytes are.
        file: HostFile,
        /// Whether it may be executed.
        permission: Permission,
    },
    /// A directory, empty or not.
    Directory,
    /// A symbolic link with the target that it has in the image.
    Symlink(String),
}

/// What remains of a file's mode: who may write or read on the build machine decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// 0644.
    Plain,
    /// 0755, because its owner may execute it.
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
    /// Its size in bytes; 0 for directories and links.
    pub fn size(&self) -> u64 {
        match &self.kind {
            SourceKind::File { file, .. } => file.size,
            SourceKind::Directory | SourceKind::Symlink(_) => 0,
        }
    }
}

impl Listing {
    /// What stands at `path`, relative to the root.
    pub fn get(&self, path: &str) -> Option<&SourceFile> {
        let found = self.files.binary_search_by(|file| file.path.split('/').cmp(path.split('/')));
        found.ok().and_then(|index| self.files.get(index))
    }

    /// Takes things out that are no source, as [`Listing::remove`] does, and counts anew what is kept.
    pub fn leave_out(&mut self, things: Vec<LeftOut>) {
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

    /// Files that are large beside the rest, the largest first: more than 10 MB, or more than 1 MB and half of all.
    ///
    /// In twelve public services no file had 4 MB, and none of more than 1 MB a fifth of the source.
    pub fn outliers(&self) -> Vec<&SourceFile> {
        let total: u64 = self.files.iter().map(SourceFile::size).fold(0, u64::saturating_add);
        let is_large = |size: u64| size > 10_000_000 || size > 1_000_000 && size > total / 2;
        let mut large: Vec<&SourceFile> = self.files.iter().filter(|file| is_large(file.size())).collect();
        large.sort_by(|a, b| b.size().cmp(&a.size()).then_with(|| a.path.cmp(&b.path)));
        large
    }

    /// Takes `places` out, with what is below each, and the folders above one that hold nothing more: an image must not
    /// depend on whether a result of an earlier build was put there. What is kept is not counted again.
    pub fn remove(&mut self, places: &[&str]) {
        if places.is_empty() {
            return;
        }
        let below =
            |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let is_out = |path: &str| places.iter().any(|place| path == *place || below(path, place));
        let is_above = |path: &str| places.iter().any(|place| below(place, path));
        // From the last to the first: what a folder holds comes before it.
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

    /// The entries of an image with all of this below the directory `below`, owned by root.
    ///
    /// Directories, links and Python's sources have the time `time` in seconds since 1970. Other
    /// files have one that follows from their bytes, so that a static file that changes is never
    /// served from a cache ([`Time::FromContent`]); bytecode needs one known time of its source.
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
