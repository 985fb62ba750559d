//! [`ExtraLayer`]: files that a program adds to an image, in a layer of their own.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::PlannedLayer;
use super::directory::Directory;
use super::error::PlanError;
use crate::error::FileError;
use crate::traced_fs;
use crate::tree::{
    self, CONSTANT_TIME, Content, Entry, HostFile, ImagePath, KeyHasher, Kind, Owner, Time, Tree, TreeError,
};

/// Files, directories and links that the build itself does not add, in a layer of their own.
///
/// The layer lies above the environment and below the source, and counts towards no limit of the
/// settings. A method only describes an entry; the files of this machine are read by each build.
/// The last argument of a method is the path in the image.
///
/// - Missing parent directories belong to root, with mode 0755. A directory that a lower layer or
///   the base has keeps its owner and mode.
/// - On a base, paths lead through the base's links, and a file replaces the base's.
/// - Two entries with one path are an error, unless both are directories. So is an entry at a path
///   of the build's own: [`Self::replacing`] permits a file in place of another of the lower layers.
///   A file of the source is never replaced: exclude it from the source instead.
/// - The time of a file is [`CONSTANT_TIME`], unless [`Self::time`] sets
///   another.
///
/// ```
/// use ipo_oci::plan::ExtraLayer;
///
/// let models = ExtraLayer::new("models")
///     .directory("models", "/opt/models")
///     .bytes("2026-11\n", "/opt/models/VERSION")
///     .owner(1000, 1000)
///     .file_mode(0o640);
/// ```
#[derive(Debug, Clone)]
pub struct ExtraLayer {
    name: String,
    reason: String,
    items: Vec<ExtraItem>,
    owner: (u32, u32),
    file_mode: Option<u32>,
    directory_mode: u32,
    time: Time,
    replacing: bool,
}

#[derive(Debug, Clone)]
struct ExtraItem {
    /// Path in the image as given.
    path: String,
    source: ExtraSource,
}

#[derive(Debug, Clone)]
enum ExtraSource {
    File(PathBuf),
    Directory(PathBuf),
    EmptyDirectory,
    Bytes(Content),
    Symlink(String),
    Entry(Box<Entry>),
}

/// The entries of an [`ExtraLayer`].
#[derive(Debug, Clone)]
pub(crate) struct ExtraEntries {
    pub(crate) name: String,
    pub(crate) reason: String,
    /// True if a file may replace one of a lower layer.
    pub(crate) replacing: bool,
    pub(crate) entries: Vec<Entry>,
}

impl ExtraLayer {
    /// Starts a layer without entries. The name appears in the history and in reports.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            reason: "added by the program that built the image".to_owned(),
            items: Vec::new(),
            owner: (0, 0),
            file_mode: None,
            directory_mode: 0o755,
            time: Time::At(CONSTANT_TIME),
            replacing: false,
        }
    }

    /// Sets the reason for a separate layer, in a few words. Reports and the history contain it.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Adds the file `source` of this machine, through links.
    #[must_use]
    pub fn file(self, source: impl AsRef<Path>, path: impl Into<String>) -> Self {
        self.with(path, ExtraSource::File(source.as_ref().to_owned()))
    }

    /// Adds the directory `source` of this machine with everything in it. A relative link in it is
    /// kept if its target is in the directory too; other links, sockets, pipes and devices are
    /// errors.
    #[must_use]
    pub fn directory(self, source: impl AsRef<Path>, path: impl Into<String>) -> Self {
        self.with(path, ExtraSource::Directory(source.as_ref().to_owned()))
    }

    /// Adds an empty directory.
    #[must_use]
    pub fn empty_directory(self, path: impl Into<String>) -> Self {
        self.with(path, ExtraSource::EmptyDirectory)
    }

    /// Adds a file with these bytes.
    #[must_use]
    pub fn bytes(self, content: impl Into<Content>, path: impl Into<String>) -> Self {
        self.with(path, ExtraSource::Bytes(content.into()))
    }

    /// Adds a symbolic link to `target`, verbatim.
    #[must_use]
    pub fn symlink(self, target: impl Into<String>, path: impl Into<String>) -> Self {
        self.with(path, ExtraSource::Symlink(target.into()))
    }

    /// Adds an entry with its own user, group, mode and time.
    #[must_use]
    pub fn entry(self, entry: Entry) -> Self {
        let path = entry.path.to_string();
        self.with(path, ExtraSource::Entry(Box::new(entry)))
    }

    /// Sets user and group of all entries except those of [`Self::entry`]. Default: root.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// Sets the mode of all files except those of [`Self::entry`]. Default: 0755 if the owner may
    /// execute the file on this machine, else 0644.
    #[must_use]
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = Some(mode);
        self
    }

    /// Sets the mode of all new directories except those of [`Self::entry`]. Default: 0755.
    #[must_use]
    pub fn directory_mode(mut self, mode: u32) -> Self {
        self.directory_mode = mode;
        self
    }

    /// Sets the time of all files except those of [`Self::entry`]. [`Time::FromContent`] suits files
    /// that a server sends to browsers.
    #[must_use]
    pub fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Lets files and links of this layer replace files and links of the build's layers below.
    #[must_use]
    pub fn replacing(mut self) -> Self {
        self.replacing = true;
        self
    }

    fn with(mut self, path: impl Into<String>, source: ExtraSource) -> Self {
        self.items.push(ExtraItem { path: path.into(), source });
        self
    }

    /// Reads the metadata of all files, and returns the entries.
    pub(crate) fn entries(&self) -> Result<ExtraEntries, PlanError> {
        check_name(&self.name)?;
        let owner = Owner::Extra { layer: self.name.as_str().into() };
        let mut entries = Vec::new();
        for ExtraItem { path, source } in &self.items {
            let path =
                ImagePath::new(path).map_err(|cause| PlanError::Path { layer: self.name.clone(), cause })?;
            if path.is_root() && !matches!(source, ExtraSource::Directory(_)) {
                return Err(PlanError::Root { layer: self.name.clone() });
            }
            match source {
                ExtraSource::File(file) => {
                    let real = traced_fs::canonicalize(file).map_err(FileError::of("read", file))?;
                    entries.push(self.host_file(&real, path, &owner)?);
                }
                ExtraSource::Directory(folder) => self.add_directory(folder, &path, &owner, &mut entries)?,
                ExtraSource::EmptyDirectory => entries.push(self.new_directory(path, &owner)),
                ExtraSource::Bytes(content) => {
                    entries.push(self.new_file(path, content.clone(), 0o644, &owner));
                }
                ExtraSource::Symlink(target) => {
                    entries.push(self.owned(Entry::symlink(path, target.clone(), owner.clone())));
                }
                ExtraSource::Entry(entry) => {
                    let time = match (&entry.kind, entry.time) {
                        (Kind::File(_), time) | (_, time @ Time::At(_)) => time,
                        (_, Time::FromContent) => Time::At(CONSTANT_TIME),
                    };
                    entries.push(Entry { owner: owner.clone(), time, ..Entry::clone(entry) });
                }
            }
        }
        if entries.is_empty() {
            return Err(PlanError::EmptyLayer(self.name.clone()));
        }
        entries.iter().try_for_each(check_entry)?;
        Ok(ExtraEntries {
            name: self.name.clone(),
            reason: self.reason.clone(),
            replacing: self.replacing,
            entries,
        })
    }

    fn owned(&self, entry: Entry) -> Entry {
        let (uid, gid) = self.owner;
        Entry { uid, gid, ..entry }
    }

    fn new_directory(&self, path: ImagePath, owner: &Owner) -> Entry {
        self.owned(Entry::directory(path, owner.clone()).with_mode(self.directory_mode))
    }

    fn new_file(&self, path: ImagePath, content: Content, mode: u32, owner: &Owner) -> Entry {
        let mode = self.file_mode.unwrap_or(mode);
        self.owned(Entry::file(path, content, owner.clone()).with_mode(mode).with_time(self.time))
    }

    fn host_file(&self, file: &Path, path: ImagePath, owner: &Owner) -> Result<Entry, PlanError> {
        let metadata = traced_fs::symlink_metadata(file).map_err(FileError::of("read", file))?;
        if !metadata.is_file() {
            return Err(PlanError::NotAFile(file.to_owned()));
        }
        let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        let content = Content::Host(HostFile::with_metadata(file, &metadata).map_err(Box::new)?);
        Ok(self.new_file(path, content, mode, owner))
    }

    fn add_directory(
        &self,
        folder: &Path,
        path: &ImagePath,
        owner: &Owner,
        entries: &mut Vec<Entry>,
    ) -> Result<(), PlanError> {
        let root = traced_fs::canonicalize(folder).map_err(FileError::of("read", folder))?;
        if !traced_fs::metadata(&root).map_err(FileError::of("read", folder))?.is_dir() {
            return Err(PlanError::NotADirectory(folder.to_owned()));
        }
        for item in traced_fs::walk(&root) {
            let item = item.map_err(|error| {
                let path = error.path().unwrap_or(&root).to_owned();
                let cause = error.into_io_error().unwrap_or_else(|| io::Error::other("links go in a circle"));
                FileError::new("list", path, cause)
            })?;
            let host = item.path();
            let relative = host.strip_prefix(&root).unwrap_or(host);
            let text = relative.to_str().ok_or_else(|| PlanError::NotUtf8(host.to_owned()))?;
            let path =
                path.join(text).map_err(|cause| PlanError::Path { layer: self.name.clone(), cause })?;
            let kind = item.file_type();
            if kind.is_dir() {
                if !path.is_root() {
                    entries.push(self.new_directory(path, owner));
                }
            } else if kind.is_symlink() {
                let target = traced_fs::read_link(host).map_err(FileError::of("read", host))?;
                let leaves = || PlanError::LinkLeaves { link: host.to_owned(), target: target.clone() };
                let text =
                    target.to_str().filter(|_| tree::stays_inside(relative, &target)).ok_or_else(leaves)?;
                entries.push(self.owned(Entry::symlink(path, text, owner.clone())));
            } else if kind.is_file() {
                entries.push(self.host_file(host, path, owner)?);
            } else {
                return Err(PlanError::Special { path: host.to_owned(), kind: tree::special_name(kind) });
            }
        }
        Ok(())
    }
}

impl ExtraEntries {
    /// Adds everything that decides the layer except the bytes of files.
    pub(crate) fn identify(&self, fields: &mut KeyHasher) {
        fields.add(self.name.as_bytes());
        fields.add(&[u8::from(self.replacing)]);
        fields.add(&(self.entries.len() as u64).to_le_bytes());
        self.entries.iter().for_each(|entry| entry.identify(fields));
    }

    /// Makes the layer with directories that an earlier build planned for the same paths.
    pub(crate) fn into_layer(self, directories: &[Directory]) -> Result<PlannedLayer, TreeError> {
        let mut tree = Tree::new();
        let files = self.entries.into_iter().filter(|entry| !entry.is_directory());
        directories.iter().map(Directory::entry).chain(files).try_for_each(|entry| tree.insert(entry))?;
        Ok(PlannedLayer { name: self.name, reason: self.reason, tree })
    }
}

/// Refuses a name of a layer that history and reports cannot show.
pub(super) fn check_name(name: &str) -> Result<(), PlanError> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(PlanError::LayerName(name.to_owned()));
    }
    Ok(())
}

/// Refuses an entry that no layer of a plan can have.
pub(super) fn check_entry(entry: &Entry) -> Result<(), PlanError> {
    if let Kind::HardLink(_) = entry.kind {
        return Err(PlanError::HardLink(entry.path.clone()));
    }
    if entry.mode > 0o7777 {
        return Err(PlanError::Mode { path: entry.path.clone(), mode: entry.mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_owners_are_those_of_the_layer() {
        let own = Entry::file(ImagePath::new("c").unwrap(), "x".into(), Owner::Source).with_mode(0o600);
        let layer = ExtraLayer::new("l")
            .bytes("x", "/a")
            .empty_directory("/b")
            .symlink("a", "/d")
            .entry(own)
            .owner(7, 8)
            .file_mode(0o640)
            .directory_mode(0o750);
        let entries = layer.entries().unwrap().entries;
        let facts: Vec<_> =
            entries.iter().map(|entry| (entry.path.as_str(), entry.uid, entry.gid, entry.mode)).collect();
        assert_eq!(facts, [("a", 7, 8, 0o640), ("b", 7, 8, 0o750), ("d", 7, 8, 0o777), ("c", 0, 0, 0o600)]);
        assert!(entries.iter().all(|entry| entry.owner == Owner::Extra { layer: "l".into() }));
    }
}
