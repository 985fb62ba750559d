//! Blobs whose bytes were looked at, remembered by the states of their files.
//!
//! To digest an image of 150 MB takes longer than all the rest of a build in which nothing changed. A file that had the
//! right digest when it had these times, this size and this number has it still; whoever writes to it changes its time. A
//! disk that loses bits shows nothing of this: `ipo-oci cache verify` reads everything.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::form;
use crate::digest::Digest;
use crate::tree::Stamp;

/// The form of a file.
pub(super) const FORM: &str = "ipo-oci verified 2\n";
/// So many files of one blob are remembered: the cache's own, and those in the layouts that were written last.
const MOST: usize = 16;

/// Device, inode, size, modification time. No change time: a new hard link to a file moves it.
pub(super) type Row = (u64, u64, u64, i64, i64);

/// Which files hold which blob.
#[derive(Debug, Clone)]
pub struct Verified(PathBuf);

impl Verified {
    /// What is remembered in the folder of all that is kept.
    pub fn new(cache: &Path) -> Self {
        Self(super::folder::root(cache).join("verified"))
    }

    /// Whether the file that `metadata` is of was found to have this digest, and not written to since.
    pub fn is_known(&self, digest: Digest, metadata: &Metadata) -> bool {
        metadata.is_file() && self.rows(digest).contains(&row(metadata))
    }

    /// Remembers that the file at `path`, which nobody writes to any more, has this digest. What cannot be remembered is read
    /// again.
    pub fn note(&self, digest: Digest, path: &Path) {
        let Ok(metadata) = fs_err::symlink_metadata(path) else { return };
        if !metadata.is_file() {
            return;
        }
        let mut rows = self.rows(digest);
        rows.retain(|known| *known != row(&metadata));
        rows.insert(0, row(&metadata));
        rows.truncate(MOST);
        let _ = form::save(FORM, &self.path(digest), &rows);
    }

    /// Marks a blob as used now: what was used last is removed last.
    pub fn mark_used(&self, digest: Digest) {
        mark_used(&self.path(digest));
    }

    /// Forgets a blob.
    pub fn forget(&self, digest: Digest) {
        let _ = fs_err::remove_file(self.path(digest));
    }

    fn rows(&self, digest: Digest) -> Vec<Row> {
        form::load(FORM, &self.path(digest)).unwrap_or_default()
    }

    fn path(&self, digest: Digest) -> PathBuf {
        super::folder::below(&self.0, digest)
    }
}

/// Marks what is kept in `file` as used now: what was used last is removed last.
pub(crate) fn mark_used(file: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let _ = utimensat(CWD, file, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Gives a file that is whole a time a second before its own, so that whoever writes to it from now on changes its time,
/// however coarse the clock of the file system is.
pub(crate) fn settle(file: &File) -> std::io::Result<()> {
    let modified = file.metadata()?.modified()?;
    file.set_modified(modified - Duration::from_secs(2))
}

fn row(metadata: &Metadata) -> Row {
    let stamp = Stamp::of(metadata);
    (stamp.device, stamp.inode, metadata.len(), stamp.modified.0, stamp.modified.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_believed_until_it_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let verified = Verified::new(folder.path());
        let digest = Digest::of(b"abc");
        let path = folder.path().join("blob");
        fs_err::write(&path, "abc").unwrap();
        settle(&File::options().write(true).open(&path).unwrap()).unwrap();
        let is_known = |digest| verified.is_known(digest, &fs_err::symlink_metadata(&path).unwrap());
        assert!(!is_known(digest));
        verified.note(digest, &path);
        assert!(is_known(digest) && !is_known(Digest::of(b"abd")));
        fs_err::hard_link(&path, folder.path().join("link")).unwrap();
        assert!(is_known(digest));
        fs_err::write(&path, "abd").unwrap();
        assert!(!is_known(digest));
    }

    #[test]
    fn the_latest_files_of_a_blob_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let verified = Verified::new(folder.path());
        let digest = Digest::of(b"");
        let files: Vec<_> = (0..=MOST).map(|number| folder.path().join(number.to_string())).collect();
        for file in &files {
            fs_err::write(file, "").unwrap();
            verified.note(digest, file);
        }
        let known = |path: &PathBuf| verified.is_known(digest, &fs_err::symlink_metadata(path).unwrap());
        assert!(!known(&files[0]) && files[1..].iter().all(known));
        verified.forget(digest);
        assert!(!known(&files[1]));
    }
}
