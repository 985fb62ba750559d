//! A file trace in the form in which it is stored, and its validation against the file system.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};
use serde::{Deserialize, Serialize};

use super::state::{Moment, State, nanoseconds};
use super::trace::{Follow, Look, Sight};
use crate::digest::{Digest, Hasher};
use crate::parallel::on_threads;

/// Number of paths in one unit of validation work.
const CHUNK: usize = 64;

/// A finished file trace: every observation once, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Looks {
    paths: Vec<(String, Follow, Sight)>,
    real: Vec<(String, Result<String, i32>)>,
    folders: Vec<Listed>,
}

/// A listed directory, with the files inspected while listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Listed {
    path: String,
    /// Names of the inspected files, separated by zero bytes.
    names: String,
    /// Stamp of the directory itself.
    state: State,
    /// Digest over the stamps of the files in `names`.
    states: Digest,
    /// Nanoseconds since 1970 after which any change of these files shows in their stamps.
    #[serde(skip)]
    settles: i128,
}

impl Listed {
    /// Describes a directory with stamp `state` and the inspected files in it.
    /// Returns `None` if a file was seen with two stamps or a path is not UTF-8.
    pub(super) fn new(path: &Path, state: State, mut files: Vec<(OsString, State)>) -> Option<Self> {
        files.sort_by(|one, other| one.0.cmp(&other.0));
        files.dedup();
        let mut hasher = Hasher::new();
        let mut names = String::new();
        let (mut settles, mut last) = (state.settles(), "");
        for (name, state) in &files {
            let name = name.to_str().filter(|name| *name != last)?;
            hasher.update(&state.bytes());
            settles = settles.max(state.settles());
            if !names.is_empty() {
                names.push('\0');
            }
            names.push_str(name);
            last = name;
        }
        Some(Self { path: path.to_str()?.to_owned(), state, names, states: hasher.finish(), settles })
    }

    fn still_holds(&self) -> rustix::io::Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, &*self.path, flags, Mode::empty())?;
        if State::from(&fstat(&folder)?) != self.state {
            return Ok(false);
        }
        let mut hasher = Hasher::new();
        for name in self.names.split('\0').filter(|name| !name.is_empty()) {
            let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            hasher.update(&State::from(&stat).bytes());
        }
        Ok(hasher.finish() == self.states)
    }
}

/// Builds the trace that [`super::Trace::finish`] returns.
pub(super) fn of(looks: Vec<Look>, moment: Moment) -> Option<Looks> {
    let mut paths: BTreeMap<(String, Follow), Sight> = BTreeMap::new();
    let mut real: BTreeMap<String, Result<String, i32>> = BTreeMap::new();
    let mut folders = BTreeSet::new();
    let mut settles = i128::MIN;
    for look in looks {
        match look {
            Look::Lost => return None,
            Look::Path(path, follow, sight) => {
                if let Sight::State(state) = sight {
                    settles = settles.max(state.settles());
                }
                match paths.entry((path, follow)) {
                    Entry::Vacant(slot) => drop(slot.insert(sight)),
                    Entry::Occupied(mut slot) => drop(slot.insert(slot.get().with(sight)?)),
                }
            }
            Look::Real(path, place) => {
                if *real.entry(path).or_insert_with(|| place.clone()) != place {
                    return None;
                }
            }
            Look::Folder(listed) => {
                settles = settles.max(listed.settles);
                folders.insert(listed);
            }
        }
    }
    if settles >= nanoseconds(moment) {
        return None;
    }
    Some(Looks {
        paths: paths.into_iter().map(|((path, follow), sight)| (path, follow, sight)).collect(),
        real: real.into_iter().collect(),
        folders: folders.into_iter().collect(),
    })
}

impl Sight {
    /// Merges two observations of one path. Returns `None` if they contradict each other.
    fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            // A stamp contains the file's type.
            (Self::State(_), Self::Kind(_)) if self.coarse() == other => Some(self),
            (Self::Kind(_), Self::State(_)) if other.coarse() == self => Some(other),
            _ => None,
        }
    }
}

impl Looks {
    /// Returns true if every observation can be repeated. Uses up to `threads` threads.
    pub(crate) fn still_hold(&self, threads: usize) -> bool {
        let (next, differs) = (AtomicUsize::new(0), AtomicBool::new(false));
        let chunks: Vec<Chunk<'_>> = (self.paths.chunks(CHUNK).map(Chunk::Paths))
            .chain(self.real.chunks(CHUNK).map(Chunk::Real))
            .chain(self.folders.iter().map(Chunk::Folder))
            .collect();
        on_threads(threads, || {
            while !differs.load(Ordering::Relaxed)
                && let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if !chunk.still_holds() {
                    differs.store(true, Ordering::Relaxed);
                }
            }
        });
        !differs.into_inner()
    }
}

/// A unit of validation work for one thread.
enum Chunk<'a> {
    Paths(&'a [(String, Follow, Sight)]),
    Real(&'a [(String, Result<String, i32>)]),
    Folder(&'a Listed),
}

impl Chunk<'_> {
    fn still_holds(&self) -> bool {
        match self {
            Self::Paths(paths) => paths.iter().all(|(path, follow, sight)| is_seen(path, *follow, *sight)),
            Self::Real(real) => real.iter().all(|(path, place)| is_real(path, place.as_deref())),
            Self::Folder(listed) => listed.still_holds().unwrap_or(false),
        }
    }
}

fn is_seen(path: &str, follow: Follow, sight: Sight) -> bool {
    let flags = match follow {
        Follow::Links => AtFlags::empty(),
        Follow::Never => AtFlags::SYMLINK_NOFOLLOW,
    };
    match (statat(CWD, path, flags), sight) {
        (Ok(stat), Sight::State(state)) => State::from(&stat) == state,
        (Ok(stat), Sight::Kind(_)) => Sight::State(State::from(&stat)).coarse() == sight,
        (Err(error), Sight::Error(before)) => error.raw_os_error() == before,
        _ => false,
    }
}

fn is_real(path: &str, place: Result<&str, &i32>) -> bool {
    match (std::fs::canonicalize(path), place) {
        (Ok(real), Ok(place)) => real == Path::new(place),
        (Err(error), Err(before)) => error.raw_os_error() == Some(*before),
        _ => false,
    }
}
