//! [`FileListing`]: the files of a directory, listed once.
//!
//! A virtual environment has some ten thousand files. Several threads list directories and read
//! metadata relative to the open directory: `ignore`'s walker, with full paths, takes twice the
//! CPU time. A link to a file outside the directory is listed as that file (uv's
//! `--link-mode symlink` links into its cache), a link inside the directory stays a link, and a
//! link to a directory outside is listed as such, since flit installs editables so.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use super::error::VenvError;
use crate::error::FileError;
use crate::parallel::{cores, on_threads};
use crate::sync::{LockExt as _, wait};
use crate::traced_fs;
use crate::tree::HostFile;

/// The number of threads beyond which listing does not get faster.
const WALKERS: usize = 8;

/// Files and links by their path below the listed directory, ordered.
pub type FileListing = BTreeMap<String, ListingEntry>;

/// A file or a link in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListingEntry {
    /// A regular file, or a link to one outside the directory.
    File {
        /// The file; for a link, its target.
        file: HostFile,
        /// The owner's permission to execute it.
        execution: Execution,
    },
    /// A link to a path inside the directory.
    Link {
        /// The target, relative to the link's own directory.
        target: String,
    },
    /// A link to a directory outside.
    OutsideDirectory {
        /// The directory.
        target: PathBuf,
    },
    /// A dangling link.
    Dangling {
        /// The target, verbatim.
        target: PathBuf,
    },
}

/// The owner's permission to execute a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// `u+x` is set.
    Allowed,
    /// `u+x` is not set.
    Denied,
}

impl ListingEntry {
    /// Returns the regular file, if any.
    pub fn file(&self) -> Option<&HostFile> {
        match self {
            Self::File { file, .. } => Some(file),
            _ => None,
        }
    }
}

/// A cursor for lookups in nearly sorted order, most of them right after the previous one.
pub(crate) struct ListingCursor<'a> {
    listing: &'a FileListing,
    /// The entries after the last result.
    ahead: std::collections::btree_map::Range<'a, String, ListingEntry>,
}

impl<'a> ListingCursor<'a> {
    /// The number of steps before a lookup from the root, which costs about as much as twenty
    /// steps.
    const REACH: usize = 12;

    pub(crate) fn of(listing: &'a FileListing) -> Self {
        Self { listing, ahead: listing.range::<str, _>(..) }
    }

    /// Returns the entry at `path`.
    pub(crate) fn get(&mut self, path: &str) -> Option<&'a ListingEntry> {
        for (place, listed) in self.ahead.by_ref().take(Self::REACH) {
            match place.as_str().cmp(path) {
                Ordering::Less => {}
                Ordering::Equal => return Some(listed),
                Ordering::Greater => break,
            }
        }
        self.ahead = self.listing.range::<str, _>((Bound::Included(path), Bound::Unbounded));
        let (place, listed) = self.ahead.clone().next()?;
        (place == path).then_some(listed)
    }
}

impl Execution {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        if metadata.permissions().mode() & 0o100 == 0 { Self::Denied } else { Self::Allowed }
    }
}

/// Lists the directory `root`, a path without links.
pub fn list(root: &Path) -> Result<FileListing, VenvError> {
    let queue = DirectoryQueue::new(String::new());
    let work = || {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        while let Some(directory) = queue.take() {
            match list_directory(root, &directory, &mut found) {
                Ok(below) => queue.done(below),
                Err(error) => {
                    failures.push(error);
                    queue.stop();
                }
            }
        }
        (found, failures)
    };
    let parts = on_threads(cores().min(WALKERS), work);
    let (found, failures): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    // Threads race to the first failure: the smallest message is reported.
    match failures.into_iter().flatten().min_by_key(ToString::to_string) {
        Some(error) => Err(error),
        None => Ok(found.into_iter().flatten().collect()),
    }
}

/// Directories to list, shared by threads that add more of them.
struct DirectoryQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    directories: Vec<String>,
    /// The number of directories being listed.
    busy: usize,
    stopped: bool,
}

impl DirectoryQueue {
    fn new(first: String) -> Self {
        let state = QueueState { directories: vec![first], busy: 0, stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Returns the next directory, or `None` if all are listed.
    fn take(&self) -> Option<String> {
        let mut state = self.state.lock_forgiving();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(directory) = state.directories.pop() {
                state.busy += 1;
                return Some(directory);
            }
            if state.busy == 0 {
                return None;
            }
            state = wait(&self.changed, state);
        }
    }

    /// Marks a directory as listed and adds its subdirectories.
    fn done(&self, below: Vec<String>) {
        let mut state = self.state.lock_forgiving();
        state.busy -= 1;
        let waiting = below.len();
        state.directories.extend(below);
        if waiting > 0 || state.busy == 0 {
            self.changed.notify_all();
        }
    }

    /// Stops all threads.
    fn stop(&self) {
        self.state.lock_forgiving().stopped = true;
        self.changed.notify_all();
    }
}

/// Adds the entries of one directory to `found`. Returns its subdirectories.
fn list_directory(
    root: &Path,
    directory: &str,
    found: &mut Vec<(String, ListingEntry)>,
) -> Result<Vec<String>, VenvError> {
    let host = if directory.is_empty() { root.to_owned() } else { root.join(directory) };
    let mut below = Vec::new();
    for entry in traced_fs::read_dir(&host).map_err(FileError::of("list", &host))? {
        let entry = entry.map_err(FileError::of("list", &host))?;
        let path = || entry.path();
        let name = entry.file_name().into_string().map_err(|_| VenvError::NotUtf8(path()))?;
        let place = match directory {
            "" => name,
            directory => [directory, "/", &name].concat(),
        };
        let kind = entry.file_type().map_err(|error| FileError::new("read", path(), error))?;
        let listed = if kind.is_dir() {
            below.push(place);
            continue;
        } else if kind.is_symlink() {
            describe_link(root, &path())?
        } else if kind.is_file() {
            let metadata = entry.metadata().map_err(|error| FileError::new("read", path(), error))?;
            let execution = Execution::of(&metadata);
            ListingEntry::File { file: HostFile::with_metadata(path(), &metadata)?, execution }
        } else {
            return Err(VenvError::Special(path()));
        };
        found.push((place, listed));
    }
    Ok(below)
}

fn describe_link(root: &Path, path: &Path) -> Result<ListingEntry, VenvError> {
    let target = traced_fs::read_link(path).map_err(FileError::of("read", path))?;
    let Ok(real) = traced_fs::canonicalize(path) else {
        return Ok(ListingEntry::Dangling { target });
    };
    if let Ok(below) = real.strip_prefix(root) {
        // A relative link is kept verbatim; an absolute one would name the build machine.
        if target.is_relative() && stays_inside(root, path, &target) {
            return utf8(target).map(|target| ListingEntry::Link { target });
        }
        let depth = path.strip_prefix(root).map_or(0, |path| path.components().count().saturating_sub(1));
        return utf8("../".repeat(depth) + &utf8(below.to_path_buf())?)
            .map(|target| ListingEntry::Link { target });
    }
    let metadata = traced_fs::metadata(&real).map_err(FileError::of("read", &real))?;
    if metadata.is_dir() {
        return Ok(ListingEntry::OutsideDirectory { target: real });
    }
    let execution = Execution::of(&metadata);
    Ok(ListingEntry::File { file: HostFile::with_metadata(real, &metadata)?, execution })
}

/// Returns true if a relative link can be followed without leaving the root on the way.
fn stays_inside(root: &Path, link: &Path, target: &Path) -> bool {
    use std::path::Component;
    let Ok(below) = link.strip_prefix(root) else { return false };
    let mut depth = below.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    true
}

fn utf8(path: impl Into<PathBuf>) -> Result<String, VenvError> {
    path.into().into_os_string().into_string().map_err(|path| VenvError::NotUtf8(path.into()))
}

/// Returns true if the last component of `path` ends in `.extension`; case-sensitive, as in Python.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Reads a small file.
///
/// # Errors
/// [`VenvError::TooLarge`] above `limit` bytes.
pub(crate) fn read_bytes(file: &HostFile, limit: u64) -> Result<Vec<u8>, VenvError> {
    if file.size > limit {
        return Err(VenvError::TooLarge { path: file.path.to_path_buf(), size: file.size, limit });
    }
    Ok(file.read()?)
}

/// Reads a small file as text; bytes that are not UTF-8 are replaced.
///
/// # Errors
/// [`VenvError::TooLarge`] above `limit` bytes.
pub fn read_text(file: &HostFile, limit: u64) -> Result<String, VenvError> {
    let bytes = read_bytes(file, limit)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("root");
        fs_err::create_dir_all(root.join("a")).unwrap();
        (folder, root)
    }

    #[test]
    fn cursor_finds_paths_in_any_order() {
        let (_folder, root) = folder();
        let names: Vec<String> = (10..60).map(|number| format!("a/{number}")).collect();
        for name in &names {
            fs_err::write(root.join(name), "").unwrap();
        }
        let listing = list(&root).unwrap();
        let mut cursor = ListingCursor::of(&listing);
        let order = names.iter().chain(names.iter().rev()).chain(names.iter().step_by(17));
        for name in order {
            assert_eq!(cursor.get(name), listing.get(name), "{name}");
            assert!(cursor.get(&format!("{name}0")).is_none());
            assert_eq!(cursor.get("a/10"), listing.get("a/10"));
        }
        assert!(cursor.get("z").is_none() && cursor.get("").is_none());
    }

    #[test]
    fn hidden_and_ignored_files_are_listed() {
        let (_folder, root) = folder();
        fs_err::write(root.join(".gitignore"), "*").unwrap();
        fs_err::write(root.join("a/.hidden"), "").unwrap();
        let listing = list(&root).unwrap();
        assert_eq!(listing.keys().collect::<Vec<_>>(), [".gitignore", "a/.hidden"]);
    }

    #[test]
    fn classifies_links_by_target() {
        let (folder, root) = folder();
        let outside = folder.path().canonicalize().unwrap().join("cache");
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(outside.join("file"), "x").unwrap();
        symlink(outside.join("file"), root.join("a/cached")).unwrap();
        symlink(&outside, root.join("editable")).unwrap();
        symlink("a", root.join("inside")).unwrap();
        symlink(root.join("a"), root.join("a/absolute")).unwrap();
        symlink("../root/a", root.join("around")).unwrap();
        symlink("/nowhere/at/all", root.join("gone")).unwrap();
        let listing = list(&root).unwrap();
        assert_eq!(&*listing["a/cached"].file().unwrap().path, outside.join("file"));
        assert_eq!(listing["editable"], ListingEntry::OutsideDirectory { target: outside });
        assert_eq!(listing["inside"], ListingEntry::Link { target: "a".into() });
        assert_eq!(listing["a/absolute"], ListingEntry::Link { target: "../a".into() });
        assert_eq!(listing["around"], ListingEntry::Link { target: "a".into() });
        assert_eq!(listing["gone"], ListingEntry::Dangling { target: "/nowhere/at/all".into() });
    }

    #[test]
    fn refuses_special_files_by_name() {
        let (_folder, root) = folder();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("a/socket")).unwrap();
        assert!(matches!(list(&root), Err(VenvError::Special(path)) if path.ends_with("a/socket")));
    }

    #[test]
    fn refuses_names_that_are_not_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let (_folder, root) = folder();
        fs_err::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        assert!(matches!(list(&root), Err(VenvError::NotUtf8(_))));
    }

    #[test]
    fn refuses_a_file_above_the_limit() {
        let (_folder, root) = folder();
        fs_err::write(root.join("a/b"), "12345").unwrap();
        let file = HostFile::new(root.join("a/b")).unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        assert!(matches!(read_text(&file, 4), Err(VenvError::TooLarge { size: 5, .. })));
    }
}
