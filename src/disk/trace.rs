//! [`Trace`]: what was looked at, and what was seen.
//!
//! The trace that is kept belongs to a thread, as the compiler's query system has it: a hundred places look at files, and
//! a trace that each had to be handed would be forgotten at one of them. Threads that help get it from `parallel.rs`.

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

/// What was looked at while it was kept. Its clones are one trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<Look>>>);

/// Whether a look goes through a link at the end of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) enum Follow {
    Links,
    Never,
}

/// One look. Paths that are not UTF-8 cannot be kept.
#[derive(Debug)]
pub(super) enum Look {
    /// At what a path names.
    Path(String, Follow, Sight),
    /// At where a path really is.
    Real(String, Result<String, i32>),
    /// At a directory with some of the files in it.
    Folder(Listed),
    /// At something that may look the same and be otherwise.
    Lost,
}

/// What was seen of a path. The errors are the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Sight {
    /// Its state.
    State(State),
    /// No more than what kind of file it is: the bits of its mode that say so.
    Kind(u32),
    /// Nothing.
    Error(i32),
}

impl Sight {
    /// The bits of a mode that say what kind of file it is (inode(7)).
    pub(super) const KIND: u32 = 0o170_000;

    fn whole(seen: &io::Result<Metadata>) -> Option<Self> {
        match seen {
            Ok(metadata) => Some(Self::State(metadata.into())),
            Err(error) => error.raw_os_error().map(Self::Error),
        }
    }

    /// No more than the kind.
    pub(super) fn coarse(self) -> Self {
        match self {
            Self::State(state) => Self::Kind(state.mode & Self::KIND),
            other => other,
        }
    }
}

impl Trace {
    /// The trace that this thread keeps.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Does `work`, and takes in what it looks at on this thread, if there is a trace to take it in.
    pub(crate) fn keep_if<T>(trace: Option<&Self>, work: impl FnOnce() -> T) -> T {
        /// Puts back what was kept before, also when `work` panics.
        struct Before(Option<Trace>);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _before = Before(CURRENT.replace(trace.cloned()));
        work()
    }

    /// All that was seen, if it can be asked for again: nothing was seen in two states, and nothing could have changed
    /// since `moment`, when the first look had not been made, without showing it.
    pub(crate) fn finish(&self, moment: Moment) -> Option<Looks> {
        let looks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        looks::of(looks, moment)
    }

    pub(super) fn add(&self, look: Look) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(look);
    }
}

/// Does something about the trace of this thread, if it keeps one.
fn traced(then: impl FnOnce(&Trace)) {
    CURRENT.with_borrow(|trace| {
        if let Some(trace) = trace {
            then(trace);
        }
    });
}

/// Takes in the state of what `path` names.
pub(super) fn state(path: &Path, follow: Follow, seen: &io::Result<Metadata>) {
    sight(path, follow, seen, |sight| sight);
}

/// Takes in what kind of file `path` names.
pub(super) fn kind(path: &Path, follow: Follow, seen: &io::Result<Metadata>) {
    sight(path, follow, seen, Sight::coarse);
}

fn sight(path: &Path, follow: Follow, seen: &io::Result<Metadata>, part: fn(Sight) -> Sight) {
    traced(|trace| {
        let look = |sight| Some(Look::Path(path.to_str()?.to_owned(), follow, part(sight)));
        trace.add(Sight::whole(seen).and_then(look).unwrap_or(Look::Lost));
    });
}

/// Looks at the state of what `path` names, only to take it in. Says whether anything was found.
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

/// Whether something was there when it was looked at for a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Something,
    /// Or nobody asked.
    Nothing,
}

/// Gives the trace up if what was found could not be had, unless that was to be `expected` of its state.
pub(super) fn unless_good<T>(found: Found, had: &io::Result<T>, expected: fn(&io::Error) -> bool) {
    if found == Found::Something && had.as_ref().is_err_and(|error| !expected(error)) {
        lose();
    }
}

/// Gives the trace of this thread up.
pub(super) fn lose() {
    traced(|trace| trace.add(Look::Lost));
}

/// Takes in where a path really is.
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
