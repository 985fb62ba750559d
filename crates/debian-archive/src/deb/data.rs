//! The data archive: the files of a package.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::EntryType;

use super::tarball::{self, TarMember, relative};
use super::{DebError, DebLimits};

/// A file, directory or link of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataMember {
    /// Path relative to the root, without `.` and `..`: `usr/bin/env`; empty for the root directory.
    pub path: String,
    /// The type of the member.
    pub kind: DataKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Name of the user, empty if the archive has only the number.
    pub user: String,
    /// Name of the group, empty if the archive has only the number.
    pub group: String,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
}

/// The type of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
    },
    /// A symbolic link with its target, verbatim.
    Symlink(String),
    /// Another name of a file before it, whose path is in the form of [`DataMember::path`].
    HardLink(String),
}

/// Calls `visit` with each member.
pub(super) fn read(
    input: &mut dyn Read,
    limits: &DebLimits,
    visit: &mut dyn FnMut(DataMember, &mut dyn Read) -> io::Result<()>,
) -> Result<(), DebError> {
    // True for a regular file or another name of one.
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    tarball::each(input, "data.tar", limits, &mut |member, content| {
        let path = member.relative_path()?;
        let invalid = |reason| DebError::Path { path: member.path.clone(), reason };
        let kind = kind(&member, &path, &seen)?;
        let now = match kind {
            DataKind::Directory => Seen::Directory,
            DataKind::File { .. } | DataKind::HardLink(_) => Seen::File,
            DataKind::Symlink(_) => Seen::Symlink,
        };
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        if parents.into_iter().any(|parent| matches!(seen.get(parent), Some(Seen::File | Seen::Symlink))) {
            return Err(invalid("below a file or link of the package"));
        }
        match seen.insert(path.clone(), now) {
            Some(before) if (before, now) != (Seen::Directory, Seen::Directory) => {
                return Err(invalid("twice in the package"));
            }
            _ => {}
        }
        let id = |number: u64| u32::try_from(number).map_err(|_| invalid("owner exceeds 32 bits"));
        let made = DataMember {
            kind,
            mode: member.mode,
            uid: id(member.uid)?,
            gid: id(member.gid)?,
            user: member.user.clone(),
            group: member.group.clone(),
            mtime: member.mtime,
            path,
        };
        let mut content = content.take(member.size);
        let mut content = Watched { input: &mut content, failure: None, left: member.size };
        match visit(made, &mut content) {
            Ok(()) => Ok(()),
            // The visitor may pass the reader's own error on.
            Err(cause) => Err(content.failure.unwrap_or(DebError::Visit(cause))),
        }
    })
}

/// The kinds of paths for checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Directory,
    File,
    Symlink,
}

fn kind(member: &TarMember, path: &str, seen: &BTreeMap<String, Seen>) -> Result<DataKind, DebError> {
    let invalid = |reason| Err(DebError::Path { path: member.path.clone(), reason });
    let is_file = matches!(member.kind, EntryType::Regular | EntryType::Continuous);
    if !is_file && member.size != 0 {
        return invalid("a member without content has a size");
    }
    if path.is_empty() && member.kind != EntryType::Directory {
        return invalid("the root is not a directory");
    }
    match member.kind {
        EntryType::Directory => Ok(DataKind::Directory),
        // Old tar archives mark directories by a slash.
        EntryType::Regular if member.path.ends_with('/') => invalid("a file with a directory's path"),
        EntryType::Regular | EntryType::Continuous => Ok(DataKind::File { size: member.size }),
        EntryType::Symlink if member.target.is_empty() || member.target.contains('\0') => {
            invalid("a symbolic link without a target")
        }
        EntryType::Symlink => Ok(DataKind::Symlink(member.target.clone())),
        EntryType::Link => match relative(&member.target) {
            Ok(target) if seen.get(&target) == Some(&Seen::File) => Ok(DataKind::HardLink(target)),
            Ok(_) => invalid("a hard link to a path that is not a file before it"),
            Err(_) => invalid("a hard link to a path outside the package"),
        },
        EntryType::Char | EntryType::Block => invalid("a device node"),
        EntryType::Fifo => invalid("a named pipe"),
        EntryType::GNUSparse => invalid("a sparse file"),
        _ => invalid("an unknown type of member"),
    }
}

/// The content of a member: keeps the reader's own failure apart from the visitor's, and refuses an early end.
struct Watched<'a> {
    input: &'a mut dyn Read,
    left: u64,
    failure: Option<DebError>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let cause = match self.input.read(buffer) {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(got) => {
                self.left = self.left.saturating_sub(got as u64);
                return Ok(got);
            }
            Err(cause) => cause,
        };
        let kind = cause.kind();
        self.failure = Some(DebError::of_read("data.tar", cause));
        Err(kind.into())
    }
}
