//! A file trace in the form in which it is stored, and its validation against the file system.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};
use serde::{Deserialize, Serialize};

use super::recorder::{Follow, Observation, TracedAccess};
use super::stamp::{FileStamp, Moment, nanoseconds};
use crate::digest::{Digest, Hasher};
use crate::parallel::on_threads;

/// Number of paths in one unit of validation work.
const CHUNK: usize = 64;

/// A finished file trace: every observation once, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileTrace {
    paths: Vec<(String, Follow, Observation)>,
    real: Vec<(String, Result<String, i32>)>,
    directories: Vec<ListedDirectory>,
}

/// A listed directory, with the files inspected while listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ListedDirectory {
    path: String,
    /// Names of the inspected files, separated by zero bytes.
    names: String,
    /// Stamp of the directory itself.
    stamp: FileStamp,
    /// Digest over the stamps of the files in `names`.
    stamps: Digest,
    /// Nanoseconds since 1970 after which any change of these files shows in their stamps.
    #[serde(skip)]
    settles: i128,
}

impl ListedDirectory {
    /// Describes a directory with stamp `stamp` and the inspected files in it.
    /// Returns `None` if a file was seen with two stamps or a path is not UTF-8.
    pub(super) fn new(path: &Path, stamp: FileStamp, mut files: Vec<(OsString, FileStamp)>) -> Option<Self> {
        files.sort_by(|one, other| one.0.cmp(&other.0));
        files.dedup();
        let mut hasher = Hasher::new();
        let mut names = String::new();
        let (mut settles, mut last) = (stamp.settles(), "");
        for (name, stamp) in &files {
            let name = name.to_str().filter(|name| *name != last)?;
            hasher.update(&stamp.bytes());
            settles = settles.max(stamp.settles());
            if !names.is_empty() {
                names.push('\0');
            }
            names.push_str(name);
            last = name;
        }
        Some(Self { path: path.to_str()?.to_owned(), stamp, names, stamps: hasher.finish(), settles })
    }

    fn is_valid(&self) -> rustix::io::Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, &*self.path, flags, Mode::empty())?;
        if FileStamp::from(&fstat(&directory)?) != self.stamp {
            return Ok(false);
        }
        let mut hasher = Hasher::new();
        for name in self.names.split('\0').filter(|name| !name.is_empty()) {
            let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            hasher.update(&FileStamp::from(&stat).bytes());
        }
        Ok(hasher.finish() == self.stamps)
    }
}

/// Builds the trace that [`super::TraceRecorder::finish`] returns.
pub(super) fn from_accesses(accesses: Vec<TracedAccess>, moment: Moment) -> Option<FileTrace> {
    let mut paths: BTreeMap<(String, Follow), Observation> = BTreeMap::new();
    let mut real: BTreeMap<String, Result<String, i32>> = BTreeMap::new();
    let mut directories = BTreeSet::new();
    let mut settles = i128::MIN;
    for access in accesses {
        match access {
            TracedAccess::Untraceable => return None,
            TracedAccess::Path(path, follow, observation) => {
                if let Observation::Stamp(stamp) = observation {
                    settles = settles.max(stamp.settles());
                }
                match paths.entry((path, follow)) {
                    Entry::Vacant(slot) => drop(slot.insert(observation)),
                    Entry::Occupied(mut slot) => drop(slot.insert(slot.get().merge(observation)?)),
                }
            }
            TracedAccess::Canonical(path, place) => {
                if *real.entry(path).or_insert_with(|| place.clone()) != place {
                    return None;
                }
            }
            TracedAccess::Listing(directory) => {
                settles = settles.max(directory.settles);
                directories.insert(directory);
            }
        }
    }
    if settles >= nanoseconds(moment) {
        return None;
    }
    Some(FileTrace {
        paths: paths.into_iter().map(|((path, follow), observation)| (path, follow, observation)).collect(),
        real: real.into_iter().collect(),
        directories: directories.into_iter().collect(),
    })
}

impl Observation {
    /// Merges two observations of one path. Returns `None` if they contradict each other.
    fn merge(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            // A stamp contains the file's type.
            (Self::Stamp(_), Self::FileType(_)) if self.file_type_only() == other => Some(self),
            (Self::FileType(_), Self::Stamp(_)) if other.file_type_only() == self => Some(other),
            _ => None,
        }
    }
}

impl FileTrace {
    /// Returns true if every observation can be repeated. Uses up to `threads` threads.
    pub(crate) fn is_valid(&self, threads: usize) -> bool {
        let (next, differs) = (AtomicUsize::new(0), AtomicBool::new(false));
        let chunks: Vec<Chunk<'_>> = (self.paths.chunks(CHUNK).map(Chunk::Paths))
            .chain(self.real.chunks(CHUNK).map(Chunk::Real))
            .chain(self.directories.iter().map(Chunk::Directory))
            .collect();
        on_threads(threads, || {
            while !differs.load(Ordering::Relaxed)
                && let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if !chunk.is_valid() {
                    differs.store(true, Ordering::Relaxed);
                }
            }
        });
        !differs.into_inner()
    }
}

/// A unit of validation work for one thread.
enum Chunk<'a> {
    Paths(&'a [(String, Follow, Observation)]),
    Real(&'a [(String, Result<String, i32>)]),
    Directory(&'a ListedDirectory),
}

impl Chunk<'_> {
    fn is_valid(&self) -> bool {
        match self {
            Self::Paths(paths) => {
                paths.iter().all(|(path, follow, observation)| path_matches(path, *follow, *observation))
            }
            Self::Real(real) => real.iter().all(|(path, place)| canonical_matches(path, place.as_deref())),
            Self::Directory(directory) => directory.is_valid().unwrap_or(false),
        }
    }
}

fn path_matches(path: &str, follow: Follow, observation: Observation) -> bool {
    let flags = match follow {
        Follow::Links => AtFlags::empty(),
        Follow::Never => AtFlags::SYMLINK_NOFOLLOW,
    };
    match (statat(CWD, path, flags), observation) {
        (Ok(stat), Observation::Stamp(stamp)) => FileStamp::from(&stat) == stamp,
        (Ok(stat), Observation::FileType(_)) => {
            Observation::Stamp(FileStamp::from(&stat)).file_type_only() == observation
        }
        (Err(error), Observation::Error(before)) => error.raw_os_error() == before,
        _ => false,
    }
}

fn canonical_matches(path: &str, place: Result<&str, &i32>) -> bool {
    match (std::fs::canonicalize(path), place) {
        (Ok(real), Ok(place)) => real == Path::new(place),
        (Err(error), Err(before)) => error.raw_os_error() == Some(*before),
        _ => false,
    }
}
