//! Recording: the trace of a thread and the observations in it.
//!
//! The active trace is a thread-local, as in the query system of rustc: a hundred functions access
//! files, and an explicit parameter would be forgotten in one of them. `parallel.rs` passes the
//! trace on to worker threads.

use std::cell::RefCell;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Looks;
use super::looks::{self, Listed};
use super::state::{Moment, State};

thread_local! {
    static CURRENT: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// A file trace that is being recorded. Clones share one trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<Look>>>);

/// Handling of a link in the last component of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) enum Follow {
    Links,
    Never,
}

/// One recorded access. A path that is not UTF-8 cannot be recorded.
#[derive(Debug)]
pub(super) enum Look {
    /// The metadata of a path, or a part of them.
    Path(String, Follow, Sight),
    /// The canonical form of a path.
    Real(String, Result<String, i32>),
    /// A listed directory, with some of the files in it.
    Folder(Listed),
    /// An access that cannot be validated later; invalidates the trace.
    Lost,
}

/// Outcome of one access to a path. Errors are `errno` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Sight {
    /// The stamp.
    State(State),
    /// The file type only: the `S_IFMT` bits of the mode.
    Kind(u32),
    /// The error.
    Error(i32),
}

impl Sight {
    /// `S_IFMT`, the bits of a mode that hold the file type (inode(7)).
    pub(super) const KIND: u32 = 0o170_000;

    fn whole(seen: &io::Result<Metadata>) -> Option<Self> {
        match seen {
            Ok(metadata) => Some(Self::State(metadata.into())),
            Err(error) => error.raw_os_error().map(Self::Error),
        }
    }

    /// Reduces a stamp to the file type.
    pub(super) fn coarse(self) -> Self {
        match self {
            Self::State(state) => Self::Kind(state.mode & Self::KIND),
            other => other,
        }
    }
}

impl Trace {
    /// Returns the trace that is active on this thread.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Runs `work` with `trace` as the active trace of this thread, or with none.
    pub(crate) fn keep_if<T>(trace: Option<&Self>, work: impl FnOnce() -> T) -> T {
        /// Restores the previous trace, also after a panic.
        struct Before(Option<Trace>);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _before = Before(CURRENT.replace(trace.cloned()));
        work()
    }

    /// Finishes the trace. Returns `None` if it cannot be validated later: an observation changed
    /// while recording, or a file changed so shortly before `moment` that another change would not
    /// show. `moment` precedes the first access.
    pub(crate) fn finish(&self, moment: Moment) -> Option<Looks> {
        let looks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        looks::of(looks, moment)
    }

    pub(super) fn add(&self, look: Look) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(look);
    }
}

/// Calls `then` with the active trace of this thread, if any.
fn traced(then: impl FnOnce(&Trace)) {
    CURRENT.with_borrow(|trace| {
        if let Some(trace) = trace {
            then(trace);
        }
    });
}

/// Records the stamp of `path`.
pub(super) fn state(path: &Path, follow: Follow, seen: &io::Result<Metadata>) {
    sight(path, follow, seen, |sight| sight);
}

/// Records the file type of `path`.
pub(super) fn kind(path: &Path, follow: Follow, seen: &io::Result<Metadata>) {
    sight(path, follow, seen, Sight::coarse);
}

fn sight(path: &Path, follow: Follow, seen: &io::Result<Metadata>, part: fn(Sight) -> Sight) {
    traced(|trace| {
        let look = |sight| Some(Look::Path(path.to_str()?.to_owned(), follow, part(sight)));
        trace.add(Sight::whole(seen).and_then(look).unwrap_or(Look::Lost));
    });
}

/// Reads and records the stamp of `path`, and returns its presence. Does neither without an active
/// trace.
pub(super) fn look(path: &Path, follow: Follow) -> Found {
    let mut found = Found::Nothing;
    traced(|_| {
        let seen = match follow {
            Follow::Links => std::fs::metadata(path),
            Follow::Never => std::fs::symlink_metadata(path),
        };
        state(path, follow, &seen);
        if seen.is_ok() {
            found = Found::Something;
        }
    });
    found
}

/// Outcome of [`look`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Something,
    /// The file is missing, or no trace is active.
    Nothing,
}

/// Invalidates the trace if an existing file could not be read, unless its stamp implies the error
/// (`expected`).
pub(super) fn unless_good<T>(found: Found, had: &io::Result<T>, expected: fn(&io::Error) -> bool) {
    if found == Found::Something && had.as_ref().is_err_and(|error| !expected(error)) {
        lose();
    }
}

/// Invalidates the active trace of this thread.
pub(super) fn lose() {
    traced(|trace| trace.add(Look::Lost));
}

/// Records the canonical form of `path`.
pub(super) fn real(path: &Path, real: &io::Result<PathBuf>) {
    traced(|trace| {
        let look = || {
            let real = match real {
                Ok(real) => Ok(real.to_str()?.to_owned()),
                Err(error) => Err(error.raw_os_error()?),
            };
            Some(Look::Real(path.to_str()?.to_owned(), real))
        };
        trace.add(look().unwrap_or(Look::Lost));
    });
}
