//! [`PreparedFiles`]: the files that commands of a project made for its images.
//!
//! A folder of the cache holds the files of one command, beside a sealed record of them. A reused
//! folder has exactly the recorded files: those with the stamp of the time when they were made are
//! trusted, all others are read.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::{codec, mark_used};
use crate::digest::{Digest, Fingerprinter};
use crate::error::FileError;
use crate::tree::{self, ContentStamp};

/// The format line of the record.
pub(super) const FORMAT: &str = "ipo-oci prepared 1\n";
/// The folder in the cache.
pub(super) const FOLDER: &str = "prepared";
/// The files, in the folder of a command.
const OUTPUT: &str = "out";
/// The record beside them.
const RECORD: &str = "record";

/// One recorded path: relative to the folder, with its file, link target or nothing.
pub(super) type PreparedRow = (String, PreparedKind);

/// The kind of a recorded path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PreparedKind {
    Directory,
    Symlink(String),
    /// Size, device, inode, times and fingerprint.
    File(u64, u64, u64, [(i64, i64); 2], [u8; 32]),
}

/// A path that an image cannot have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableFile {
    #[error(transparent)]
    File(#[from] FileError),
    /// A socket, a named pipe or a device.
    #[error("invalid output `{path}`: a {kind}")]
    Special { path: String, kind: &'static str },
    /// A link out of the folder.
    #[error("invalid output `{path}`: a link to {target}, out of the folder")]
    Leaves { path: String, target: String },
    /// There are no files.
    #[error("missing output")]
    None,
    /// A name that is not UTF-8.
    #[error("invalid output `{0}`: its name is not UTF-8")]
    Name(String),
}

/// The prepared files of a cache folder.
#[derive(Debug, Clone)]
pub(crate) struct PreparedFiles(PathBuf);

impl PreparedFiles {
    /// Opens those of the cache folder `cache`.
    pub(crate) fn new(cache: &Path) -> Self {
        Self(cache.join(FOLDER))
    }

    /// Returns the folder with the files under `key`, if they are as recorded. Removes damaged ones.
    pub(crate) fn get(&self, key: &Digest) -> Option<PathBuf> {
        let folder = self.0.join(key.hex());
        let record: Vec<PreparedRow> = codec::load(FORMAT, &folder.join(RECORD))?;
        let output = folder.join(OUTPUT);
        if !is_as_recorded(&output, &record) {
            let _ = fs_err::remove_dir_all(&folder);
            return None;
        }
        mark_used(&folder);
        Some(output)
    }

    /// Records the files in `made`, a folder named `out` with no more writers, and moves its parent
    /// folder into the cache. Returns the place of the files: `made` if the cache cannot take them.
    pub(crate) fn keep(&self, key: &Digest, made: &Path) -> Result<PathBuf, UnusableFile> {
        let record = record(made)?;
        if record.iter().all(|(_, kind)| *kind == PreparedKind::Directory) {
            return Err(UnusableFile::None);
        }
        let Some(parent) = made.parent() else { return Ok(made.to_owned()) };
        let folder = self.0.join(key.hex());
        let kept = codec::save(FORMAT, &parent.join(RECORD), &record)
            .and_then(|()| fs_err::create_dir_all(&self.0))
            // Another build may have made the same.
            .and_then(|()| if self.get(key).is_some() { Ok(()) } else { fs_err::rename(parent, &folder) });
        Ok(if kept.is_ok() { folder.join(OUTPUT) } else { made.to_owned() })
    }
}

/// Describes all files of a folder, and gives them the usual permissions.
fn record(folder: &Path) -> Result<Vec<PreparedRow>, UnusableFile> {
    let mut rows = Vec::new();
    for item in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let item = item.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            FileError::new("list", path, error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into()))
        })?;
        let path = item.path();
        let relative = path.strip_prefix(folder).unwrap_or(path);
        let shown = relative.to_string_lossy().into_owned();
        let name = relative.to_str().ok_or_else(|| UnusableFile::Name(shown.clone()))?;
        let kind = item.file_type();
        let kind = if kind.is_dir() {
            set_mode(path, 0o755)?;
            PreparedKind::Directory
        } else if kind.is_symlink() {
            let target = fs_err::read_link(path).map_err(FileError::of("read", path))?;
            let leaves =
                || UnusableFile::Leaves { path: shown.clone(), target: target.display().to_string() };
            let text = target.to_str().filter(|_| tree::stays_inside(relative, &target));
            PreparedKind::Symlink(text.ok_or_else(leaves)?.to_owned())
        } else if kind.is_file() {
            let metadata = item.metadata().map_err(io::Error::from).map_err(FileError::of("read", path))?;
            let is_program = metadata.permissions().mode() & 0o100 != 0;
            set_mode(path, if is_program { 0o755 } else { 0o644 })?;
            described(path).map_err(FileError::of("read", path))?
        } else {
            return Err(UnusableFile::Special { path: shown, kind: tree::special_name(kind) });
        };
        rows.push((name.to_owned(), kind));
    }
    Ok(rows)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    let permissions = std::fs::Permissions::from_mode(mode);
    fs_err::set_permissions(path, permissions).map_err(FileError::of("change", path))
}

/// Returns true if the folder has exactly the recorded files.
fn is_as_recorded(folder: &Path, record: &[PreparedRow]) -> bool {
    let mut expected = record.iter();
    let walk = WalkDir::new(folder).min_depth(1).sort_by_file_name();
    for item in walk {
        let (Ok(item), Some((name, kind))) = (item, expected.next()) else { return false };
        let path = item.path();
        if path.strip_prefix(folder).ok() != Some(Path::new(name)) {
            return false;
        }
        let is_same = match kind {
            PreparedKind::Directory => item.file_type().is_dir(),
            PreparedKind::Symlink(target) => {
                item.path_is_symlink()
                    && fs_err::read_link(path).is_ok_and(|found| found == Path::new(target))
            }
            PreparedKind::File(..) => {
                let unread = item.metadata().is_ok_and(|metadata| {
                    metadata.is_file() && is_stamp_of(kind, &ContentStamp::of(&metadata), metadata.len())
                });
                unread
                    || item.file_type().is_file()
                        && described(path).is_ok_and(|found| is_content_of(kind, &found))
            }
        };
        if !is_same {
            return false;
        }
    }
    expected.next().is_none()
}

fn is_stamp_of(kind: &PreparedKind, stamp: &ContentStamp, size: u64) -> bool {
    let PreparedKind::File(known, device, inode, times, _) = kind else { return false };
    (*known, *device, *inode, *times) == (size, stamp.device, stamp.inode, [stamp.modified, stamp.changed])
}

fn is_content_of(kind: &PreparedKind, other: &PreparedKind) -> bool {
    match (kind, other) {
        (PreparedKind::File(size, .., known), PreparedKind::File(other, .., found)) => {
            (size, known) == (other, found)
        }
        _ => false,
    }
}

/// Reads a file.
fn described(path: &Path) -> io::Result<PreparedKind> {
    let mut file = crate::traced_fs::open_regular(path)?;
    let metadata: Metadata = file.metadata()?;
    let mut fingerprinter = Fingerprinter::default();
    let mut piece = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let got = io::Read::read(&mut file, &mut piece)?;
        if got == 0 {
            break;
        }
        size += got as u64;
        fingerprinter.update(piece.get(..got).unwrap_or_default());
    }
    let stamp = ContentStamp::of(&metadata);
    let times = [stamp.modified, stamp.changed];
    Ok(PreparedKind::File(size, stamp.device, stamp.inode, times, *fingerprinter.take().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(cache: &Path) -> PathBuf {
        let folder = cache.join("build-1/out");
        fs_err::create_dir_all(folder.join("css")).unwrap();
        fs_err::write(folder.join("css/site.css"), "a {}").unwrap();
        std::os::unix::fs::symlink("site.css", folder.join("css/link.css")).unwrap();
        folder
    }

    /// A change of kept files.
    type Change = fn(&Path);

    #[test]
    fn kept_files_are_found_until_they_change() {
        let cache = tempfile::tempdir().unwrap();
        let prepared = PreparedFiles::new(cache.path());
        let key = Digest::of(b"key");
        assert_eq!(prepared.get(&key), None);
        let changes: [Change; 6] = [
            |out| fs_err::write(out.join("css/site.css"), "b {}").unwrap(),
            |out| fs_err::write(out.join("new"), "").unwrap(),
            |out| fs_err::remove_file(out.join("css/link.css")).unwrap(),
            |out| fs_err::remove_dir_all(out.join("css")).unwrap(),
            |out| {
                fs_err::remove_file(out.join("css/link.css")).unwrap();
                std::os::unix::fs::symlink("other.css", out.join("css/link.css")).unwrap();
            },
            |out| fs_err::write(out.parent().unwrap().join("record"), "x").unwrap(),
        ];
        for change in changes {
            let kept = prepared.keep(&key, &made(cache.path())).unwrap();
            assert!(kept.starts_with(cache.path().join("prepared")));
            assert_eq!(prepared.get(&key).as_ref(), Some(&kept));
            // The same content with another stamp.
            fs_err::write(kept.join("css/site.css"), "a {}").unwrap();
            assert_eq!(prepared.get(&key).as_ref(), Some(&kept));
            change(&kept);
            assert_eq!(prepared.get(&key), None);
        }
    }

    #[test]
    fn refuses_files_that_no_image_can_have() {
        let cache = tempfile::tempdir().unwrap();
        let prepared = PreparedFiles::new(cache.path());
        let folder = made(cache.path());
        std::os::unix::fs::symlink("../../secret", folder.join("css/leaves")).unwrap();
        let error = prepared.keep(&Digest::of(b"key"), &folder).unwrap_err().to_string();
        assert!(error.contains("`css/leaves`: a link to ../../secret"), "{error}");
        fs_err::remove_file(folder.join("css/leaves")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(folder.join("s")).unwrap();
        let error = prepared.keep(&Digest::of(b"key"), &folder).unwrap_err().to_string();
        assert_eq!(error, "invalid output `s`: a socket");
        drop(socket);
        assert_eq!(prepared.get(&Digest::of(b"key")), None);
    }
}
