//! Recording: the trace of a thread and the observations in it.
//!
//! The active trace is a thread-local, as in the query system of rustc: a hundred functions access
//! files, and an explicit parameter would be forgotten in one of them. `parallel.rs` passes the
//! trace on to worker threads.

use std::cell::RefCell;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::access::{Follow, Observation, TracedAccess};
use super::file_trace::{self, FileTrace};
use super::stamp::Moment;
use crate::sync::LockExt as _;

thread_local! {
    static CURRENT: RefCell<Option<TraceRecorder>> = const { RefCell::new(None) };
}

/// A file trace that is being recorded. Clones share one trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceRecorder(Arc<Mutex<Vec<TracedAccess>>>);

impl TraceRecorder {
    /// Returns the trace that is active on this thread.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Runs `work` with `trace` as the active trace of this thread, or with none.
    pub(crate) fn scoped<T>(trace: Option<&Self>, work: impl FnOnce() -> T) -> T {
        /// Restores the previous trace, also after a panic.
        struct Before(Option<TraceRecorder>);
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
    pub(crate) fn finish(&self, moment: Moment) -> Option<FileTrace> {
        let accesses = std::mem::take(&mut *self.0.lock_forgiving());
        file_trace::from_accesses(accesses, moment)
    }

    pub(super) fn add(&self, access: TracedAccess) {
        self.0.lock_forgiving().push(access);
    }
}

/// Calls `then` with the active trace of this thread, if any.
fn traced(then: impl FnOnce(&TraceRecorder)) {
    CURRENT.with_borrow(|trace| {
        if let Some(trace) = trace {
            then(trace);
        }
    });
}

/// Records the stamp of `path`.
pub(super) fn record_stamp(path: &Path, follow: Follow, seen: &io::Result<Metadata>) {
    record(path, follow, seen, |observation| observation);
}

/// Records the file type of `path`.
pub(super) fn record_file_type(path: &Path, follow: Follow, seen: &io::Result<Metadata>) {
    record(path, follow, seen, Observation::file_type_only);
}

fn record(path: &Path, follow: Follow, seen: &io::Result<Metadata>, part: fn(Observation) -> Observation) {
    traced(|trace| {
        let access =
            |observation| Some(TracedAccess::Path(path.to_str()?.to_owned(), follow, part(observation)));
        trace.add(Observation::of(seen).and_then(access).unwrap_or(TracedAccess::Untraceable));
    });
}

/// Reads and records the stamp of `path`, and returns its presence. Does neither without an active
/// trace.
pub(super) fn probe(path: &Path, follow: Follow) -> Presence {
    let mut presence = Presence::Missing;
    traced(|_| {
        let seen = match follow {
            Follow::Links => std::fs::metadata(path),
            Follow::Never => std::fs::symlink_metadata(path),
        };
        record_stamp(path, follow, &seen);
        if seen.is_ok() {
            presence = Presence::Exists;
        }
    });
    presence
}

/// Outcome of [`probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Exists,
    /// The file is missing, or no trace is active.
    Missing,
}

/// Invalidates the trace if an existing file could not be read, unless its stamp implies the error
/// (`expected`).
pub(super) fn invalidate_on_error<T>(
    presence: Presence,
    result: &io::Result<T>,
    expected: fn(&io::Error) -> bool,
) {
    if presence == Presence::Exists && result.as_ref().is_err_and(|error| !expected(error)) {
        invalidate();
    }
}

/// Invalidates the active trace of this thread.
pub(super) fn invalidate() {
    traced(|trace| trace.add(TracedAccess::Untraceable));
}

/// Records the canonical form of `path`.
pub(super) fn record_canonical(path: &Path, canonical: &io::Result<PathBuf>) {
    traced(|trace| {
        let access = || {
            let canonical = match canonical {
                Ok(path) => Ok(path.to_str()?.to_owned()),
                Err(error) => Err(error.raw_os_error()?),
            };
            Some(TracedAccess::Canonical(path.to_str()?.to_owned(), canonical))
        };
        trace.add(access().unwrap_or(TracedAccess::Untraceable));
    });
}
