//! Traced access to the files of this machine. Everything a plan depends on is read through this
//! module.
//!
//! The functions mirror those of [`std::fs`] and [`Path`]. While a [`TraceRecorder`] is active on a
//! thread, each access is recorded with its outcome, so a later build can validate the entire trace
//! ([`FileTrace`]) instead of planning again: a *verifying trace*, in the terms of build systems.
//! An access through another function would be missing from the trace: `clippy.toml` names the
//! functions of the standard library to avoid, and the modules that gather a plan's input deny
//! them.
//!
//! Reading a file is recorded as its stamp: mode, size, times, device and inode, as in git's index.
//! An unreadable file may become readable without a change of its stamp, so a trace that met one is
//! discarded. A caller that ignores a similar failure must call [`mark_unreliable`].

#![allow(clippy::disallowed_methods)] // This module wraps them.

mod access;
mod file_trace;
mod recorder;
mod stamp;
mod walk;

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

pub(crate) use file_trace::FileTrace;
pub(crate) use recorder::TraceRecorder;
pub use stamp::Moment;
pub(crate) use stamp::is_settled;
pub(crate) use walk::{WalkedEntry, read_dir, walk, walk_through_links};

use access::Follow;

/// [`std::fs::metadata`].
pub(crate) fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path);
    recorder::record_stamp(path, Follow::Links, &metadata);
    metadata
}

/// [`std::fs::symlink_metadata`].
pub(crate) fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    let metadata = std::fs::symlink_metadata(path);
    recorder::record_stamp(path, Follow::Never, &metadata);
    metadata
}

/// [`Path::is_file`].
pub(crate) fn is_file(path: impl AsRef<Path>) -> bool {
    kind(path.as_ref()).is_some_and(|kind| kind.is_file())
}

/// [`Path::is_dir`].
pub(crate) fn is_dir(path: impl AsRef<Path>) -> bool {
    kind(path.as_ref()).is_some_and(|kind| kind.is_dir())
}

/// [`Path::exists`].
pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    kind(path.as_ref()).is_some()
}

/// Returns the type of the file at `path`, of a link itself. Records less than
/// [`symlink_metadata`]: the type alone.
pub(crate) fn file_type(path: impl AsRef<Path>) -> io::Result<FileType> {
    let path = path.as_ref();
    let metadata = std::fs::symlink_metadata(path);
    recorder::record_file_type(path, Follow::Never, &metadata);
    metadata.map(|metadata| metadata.file_type())
}

/// Returns true if a file, directory or link (even a dangling one) has this name.
pub(crate) fn is_there(path: impl AsRef<Path>) -> bool {
    file_type(path).is_ok()
}

fn kind(path: &Path) -> Option<FileType> {
    let metadata = std::fs::metadata(path);
    recorder::record_file_type(path, Follow::Links, &metadata);
    metadata.ok().map(|metadata| metadata.file_type())
}

/// [`std::fs::canonicalize`].
pub(crate) fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    let canonical = std::fs::canonicalize(path);
    recorder::record_canonical(path, &canonical);
    canonical
}

/// [`std::fs::read_link`].
pub(crate) fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    // A link's target cannot be changed in place: a new link has a stamp of its own.
    let presence = recorder::probe(path, Follow::Never);
    let target = std::fs::read_link(path);
    // "Not a link" follows from the stamp.
    recorder::invalidate_on_error(presence, &target, |error| error.kind() == io::ErrorKind::InvalidInput);
    target
}

/// Opens a file for reading, through links.
pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OFlags::empty())
}

/// Opens a file for reading, without blocking on a named pipe.
pub(crate) fn open_nonblocking(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OFlags::NONBLOCK)
}

/// Like [`open_nonblocking`], but fails on a link.
pub(crate) fn open_no_follow(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OFlags::NONBLOCK | OFlags::NOFOLLOW)
}

/// Opens a regular file for reading, untraced. A named pipe could block forever.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Reads a complete file; `None` if the file has more than `limit` bytes.
pub(crate) fn read_limited(file: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let follow = if flags.contains(OFlags::NOFOLLOW) { Follow::Never } else { Follow::Links };
    let presence = recorder::probe(path, follow);
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    recorder::invalidate_on_error(presence, &file, |_| false);
    file
}

/// Discards the current trace, after a failure that the caller ignores and that may not recur
/// although every stamp is the same.
pub(crate) fn mark_unreliable() {
    recorder::invalidate();
}

/// Runs `work` untraced. Use only for caches that are validated against the files themselves.
pub(crate) fn untraced<T>(work: impl FnOnce() -> T) -> T {
    TraceRecorder::scoped(None, work)
}

#[cfg(test)]
mod tests;
