//! A file trace in the form in which it is stored, and its validation against the file system.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, CWD, statat};
use serde::{Deserialize, Serialize};

use super::access::{Follow, ListedDirectory, Observation, TracedAccess};
use super::stamp::{FileStamp, Moment, nanoseconds};
use crate::threads::on_threads;

/// Number of paths in one unit of validation work.
const CHUNK: usize = 64;

/// A finished file trace: every observation once, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileTrace {
    paths: Vec<(String, Follow, Observation)>,
    real: Vec<(String, Result<String, i32>)>,
    directories: Vec<ListedDirectory>,
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
