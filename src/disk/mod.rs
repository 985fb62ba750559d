//! The way to the files of this machine: what a plan depends on is looked at through here, and nowhere else.
//!
//! The functions are those of [`std::fs`] and [`Path`], and do the same. While a [`Trace`] is kept on a thread, each look
//! goes into it with what was seen, so that a later build can ask whether all of it still looks the same, see [`Looks`].
//! A look that went another way would be missed there: `clippy.toml` names the functions of the standard library that do, and
//! the rooms that find out what a plan depends on deny them.
//!
//! Reading a file is traced as looking at its state: size, times, device and inode, as git's index has them. What is there and
//! cannot be opened may be had the next time without looking otherwise, so such a trace is of no use. Whoever passes over
//! another failure of that kind says so with [`unsure`].

#![allow(clippy::disallowed_methods)] // They are what this door leads to.

mod looks;
mod state;
mod trace;
mod walk;

use std::fs::{File, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

pub(crate) use looks::Looks;
pub use state::Moment;
pub(crate) use state::is_settled;
pub(crate) use trace::Trace;
pub(crate) use walk::{Visited, read_dir, walk, walk_through_links};

use trace::Follow;

/// [`std::fs::metadata`].
pub(crate) fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    let seen = std::fs::metadata(path);
    trace::state(path, Follow::Links, &seen);
    seen
}

/// [`std::fs::symlink_metadata`].
pub(crate) fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    let seen = std::fs::symlink_metadata(path);
    trace::state(path, Follow::Never, &seen);
    seen
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

/// What a path names, a link itself: no more than the type in [`std::fs::symlink_metadata`].
pub(crate) fn file_type(path: impl AsRef<Path>) -> io::Result<FileType> {
    let path = path.as_ref();
    let seen = std::fs::symlink_metadata(path);
    trace::kind(path, Follow::Never, &seen);
    seen.map(|metadata| metadata.file_type())
}

/// Whether anything has this name, be it a link that leads nowhere.
pub(crate) fn is_there(path: impl AsRef<Path>) -> bool {
    file_type(path).is_ok()
}

fn kind(path: &Path) -> Option<FileType> {
    let seen = std::fs::metadata(path);
    trace::kind(path, Follow::Links, &seen);
    seen.ok().map(|metadata| metadata.file_type())
}

/// [`std::fs::canonicalize`].
pub(crate) fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    let real = std::fs::canonicalize(path);
    trace::real(path, &real);
    real
}

/// [`std::fs::read_link`].
pub(crate) fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    // What a link says cannot be changed: another link takes its place, with a state of its own.
    let found = trace::look(path, Follow::Never);
    let target = std::fs::read_link(path);
    // To be no link is a matter of the state.
    trace::unless_good(found, &target, |error| error.kind() == io::ErrorKind::InvalidInput);
    target
}

/// Opens a file for reading. Links are followed.
pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OFlags::empty())
}

/// Opens a file for reading, without waiting for anybody to write to a pipe.
pub(crate) fn open_at_once(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OFlags::NONBLOCK)
}

/// The same for a file that must not be a link.
pub(crate) fn open_itself(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OFlags::NONBLOCK | OFlags::NOFOLLOW)
}

fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let follow = if flags.contains(OFlags::NOFOLLOW) { Follow::Never } else { Follow::Links };
    let found = trace::look(path, follow);
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    trace::unless_good(found, &file, |_| false);
    file
}

/// Says that something failed, was passed over, and may not fail the next time though everything looks the same.
pub(crate) fn unsure() {
    trace::lose();
}

/// Does `work` without tracing it: a memory of what was found out earlier says nothing that the files do not say.
pub(crate) fn untraced<T>(work: impl FnOnce() -> T) -> T {
    Trace::keep_if(None, work)
}

#[cfg(test)]
mod tests;
