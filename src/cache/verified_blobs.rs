//! VerifiedBlobs blobs, remembered by their file stamps.
//!
//! Digesting an image of 150 MB takes longer than the rest of an unchanged build. A file with the
//! same device, inode, size and modification time as at its last verification is trusted; any write
//! changes the time. Silent corruption on disk goes unnoticed: `ipo-oci cache verify` reads
//! everything.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::codec;
use crate::digest::Digest;
use crate::tree::ContentStamp;

/// The format line.
pub(super) const FORMAT: &str = "ipo-oci verified 2\n";
/// Files remembered for each blob: the cache's own, and those of the layouts written last.
const MOST: usize = 16;

/// Device, inode, size, modification time. No change time: a new hard link changes that.
pub(super) type VerifiedRow = (u64, u64, u64, i64, i64);

/// The table of verified files, by digest.
#[derive(Debug, Clone)]
pub struct VerifiedBlobs(PathBuf);

impl VerifiedBlobs {
    /// Opens the table of the cache folder `cache`.
    pub fn new(cache: &Path) -> Self {
        Self(super::paths::root(cache).join("verified"))
    }

    /// Returns whether the file of `metadata` was verified with this digest and is unchanged since.
    pub fn is_known(&self, digest: Digest, metadata: &Metadata) -> bool {
        metadata.is_file() && self.rows(digest).contains(&row(metadata))
    }

    /// Records the file at `path`, which has no more writers, as verified. An unrecorded file is
    /// read again.
    pub fn note(&self, digest: Digest, path: &Path) {
        let Ok(metadata) = fs_err::symlink_metadata(path) else { return };
        if !metadata.is_file() {
            return;
        }
        let mut rows = self.rows(digest);
        rows.retain(|known| *known != row(&metadata));
        rows.insert(0, row(&metadata));
        rows.truncate(MOST);
        let _ = codec::save(FORMAT, &self.path(digest), &rows);
    }

    /// Marks a blob as used now, for least-recently-used pruning.
    pub fn mark_used(&self, digest: Digest) {
        mark_used(&self.path(digest));
    }

    /// Forgets a blob.
    pub fn forget(&self, digest: Digest) {
        let _ = fs_err::remove_file(self.path(digest));
    }

    fn rows(&self, digest: Digest) -> Vec<VerifiedRow> {
        codec::load(FORMAT, &self.path(digest)).unwrap_or_default()
    }

    fn path(&self, digest: Digest) -> PathBuf {
        super::paths::below(&self.0, digest)
    }
}

/// Marks `file` as used now, for least-recently-used pruning.
pub(crate) fn mark_used(file: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let _ = utimensat(CWD, file, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Sets the modification time of a complete file two seconds back, so that any later write changes
/// the time, however coarse the file system's clock.
pub(crate) fn settle(file: &File) -> std::io::Result<()> {
    let modified = file.metadata()?.modified()?;
    file.set_modified(modified - Duration::from_secs(2))
}

fn row(metadata: &Metadata) -> VerifiedRow {
    let stamp = ContentStamp::of(metadata);
    (stamp.device, stamp.inode, metadata.len(), stamp.modified.0, stamp.modified.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_trusted_until_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let verified = VerifiedBlobs::new(folder.path());
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
    fn the_latest_files_of_a_blob_are_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let verified = VerifiedBlobs::new(folder.path());
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
