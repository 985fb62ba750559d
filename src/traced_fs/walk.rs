//! Traced listing of one directory or a tree.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use walkdir::WalkDir;

use super::access::{Follow, ListedDirectory, TracedAccess};
use super::recorder::{self, TraceRecorder};
use super::stamp::FileStamp;

/// [`std::fs::ReadDir`].
#[derive(Debug)]
pub(crate) struct ReadDir {
    entries: std::fs::ReadDir,
    pending: Option<Rc<PendingListing>>,
}

/// [`std::fs::DirEntry`].
#[derive(Debug)]
pub(crate) struct DirEntry {
    entry: std::fs::DirEntry,
    pending: Option<Rc<PendingListing>>,
}

/// A directory listing in progress; recorded when its last entry is dropped.
#[derive(Debug)]
struct PendingListing {
    trace: TraceRecorder,
    path: PathBuf,
    /// Stamp of the directory from before the listing.
    stamp: FileStamp,
    /// Inspected files, with the stamps of links themselves.
    files: RefCell<Vec<(OsString, FileStamp)>>,
}

impl Drop for PendingListing {
    fn drop(&mut self) {
        let directory = ListedDirectory::new(&self.path, self.stamp, self.files.take());
        self.trace.add(directory.map_or(TracedAccess::Untraceable, TracedAccess::Listing));
    }
}

/// [`std::fs::read_dir`]. The order of entries is unspecified.
pub(crate) fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref();
    let pending = TraceRecorder::current().and_then(|trace| match std::fs::metadata(path) {
        // Read before the listing: a later entry changes this stamp.
        Ok(metadata) => {
            let (path, stamp) = (path.to_owned(), (&metadata).into());
            Some(Rc::new(PendingListing { trace, path, stamp, files: RefCell::default() }))
        }
        Err(error) => {
            recorder::record_stamp(path, Follow::Links, &Err(error));
            None
        }
    });
    let entries = std::fs::read_dir(path);
    if entries.is_err() && pending.is_some() {
        recorder::invalidate();
    }
    Ok(ReadDir { entries: entries?, pending })
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        if entry.is_err() {
            recorder::invalidate();
        }
        Some(entry.map(|entry| DirEntry { entry, pending: self.pending.clone() }))
    }
}

impl DirEntry {
    /// [`std::fs::DirEntry::path`].
    pub(crate) fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// [`std::fs::DirEntry::file_name`].
    pub(crate) fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// [`std::fs::DirEntry::file_type`].
    pub(crate) fn file_type(&self) -> io::Result<FileType> {
        self.entry.file_type()
    }

    /// [`std::fs::DirEntry::metadata`], of a link itself.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        let seen = self.entry.metadata();
        if let Some(pending) = &self.pending {
            match &seen {
                Ok(metadata) => pending.files.borrow_mut().push((self.file_name(), metadata.into())),
                // The file was removed meanwhile.
                Err(_) => pending.trace.add(TracedAccess::Untraceable),
            }
        }
        seen
    }
}

/// Iterator over a directory tree in order of names, parents first. Follows `root` if it is a link,
/// but no link below it.
#[derive(Debug)]
pub(crate) struct Walk(walkdir::IntoIter);

/// An entry of a [`Walk`].
#[derive(Debug)]
pub(crate) struct WalkedEntry(walkdir::DirEntry);

/// Walks `root` and everything below it.
pub(crate) fn walk(root: impl AsRef<Path>) -> Walk {
    Walk(WalkDir::new(root).sort_by_file_name().into_iter())
}

/// Like [`walk`], but follows links.
pub(crate) fn walk_through_links(root: impl AsRef<Path>) -> Walk {
    Walk(WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter())
}

impl Walk {
    /// Skips the rest of the directory that was yielded last.
    pub(crate) fn skip_current_dir(&mut self) {
        self.0.skip_current_dir();
    }
}

impl Iterator for Walk {
    type Item = walkdir::Result<WalkedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.next()?;
        if entry.is_err() {
            recorder::invalidate();
        }
        Some(entry.map(|entry| {
            // The directory may have been listed earlier. An entry added since is younger than the
            // moment before which the trace must be settled.
            if entry.file_type().is_dir() {
                let _ = recorder::probe(entry.path(), Follow::Links);
            } else if entry.path_is_symlink() {
                let _ = recorder::probe(entry.path(), Follow::Never);
                let _ = recorder::probe(entry.path(), Follow::Links);
            }
            WalkedEntry(entry)
        }))
    }
}

impl WalkedEntry {
    /// Returns the path, which begins with the root's.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns the last component of the path.
    pub(crate) fn file_name(&self) -> &std::ffi::OsStr {
        self.0.file_name()
    }

    /// Returns the file type; of a followed link, its target's.
    pub(crate) fn file_type(&self) -> FileType {
        self.0.file_type()
    }

    /// Returns the depth below the root, which has depth 0.
    pub(crate) fn depth(&self) -> usize {
        self.0.depth()
    }
}
