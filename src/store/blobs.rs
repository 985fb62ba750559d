//! Adding files to a layout: complete, synced and verified, or not at all.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use crate::atomic_file::{TemporaryName, is_temporary};
use crate::cache::{VerifiedBlobs, settle};
use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::image::Blob;
use crate::progress::{Direction, Progress, Silent, Transfer, TransferState};
use crate::tree::{ContentStamp, HostFile};

/// The effect of adding a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlobUpdate {
    /// The blob was present and valid.
    Unchanged,
    /// A new file replaced a damaged one.
    Repaired,
    /// A new file.
    New,
}

/// Adds `blob` to `folder`, named by its digest.
///
/// An existing file is verified before reuse, unless unchanged since its last verification:
/// digesting costs less than an image with a damaged layer.
pub(super) fn add(
    folder: &Path,
    digest: Digest,
    size: u64,
    blob: &Blob,
    verified: Option<&VerifiedBlobs>,
    progress: &dyn Progress,
) -> Result<BlobUpdate, StoreError> {
    let path = folder.join(digest.hex());
    let existing = fs_err::symlink_metadata(&path).ok();
    if let Some(existing) = existing.as_ref().filter(|existing| existing.is_file() && existing.len() == size)
    {
        let is_known = matches!(blob, Blob::Verified { file, .. } if is_same(file, existing))
            || verified.is_some_and(|verified| verified.is_known(digest, existing));
        if is_known {
            return Ok(BlobUpdate::Unchanged);
        }
        if verify(&path, digest).is_ok() {
            return Ok(BlobUpdate::Unchanged);
        }
    }
    let temporary = TemporaryName::in_folder(folder).map_err(FileError::of("write in", folder))?;
    let mut expected_blob = ExpectedBlob { digest, size, progress };
    let mut is_own = true;
    match blob {
        Blob::Memory(bytes) => {
            fill(temporary.path(), &mut &**bytes, Path::new("memory"), &mut expected_blob)?;
        }
        Blob::Verified { file, .. } if share(file, temporary.path()) => is_own = false,
        // The file has no further writers, so a hard link equals a copy, at no cost.
        Blob::File(source) if link(source, temporary.path()) => {
            is_own = false;
            verify(temporary.path(), digest)?;
            let file = File::open(temporary.path()).map_err(FileError::of("read", source))?;
            file.sync_all().map_err(FileError::of("write", &path))?;
        }
        Blob::File(_) | Blob::Verified { .. } => {
            let source = blob.path().unwrap_or(&path);
            let mut file = File::open(source).map_err(FileError::of("read", source))?;
            fill(temporary.path(), &mut file, source, &mut expected_blob)?;
        }
        Blob::Source(source) => {
            let origin = PathBuf::from(digest.to_string());
            let mut reader = source.open(0).map_err(FileError::of("read", &origin))?;
            fill(temporary.path(), &mut reader, &origin, &mut expected_blob)?;
        }
    }
    let large = verified.filter(|_| !matches!(blob, Blob::Memory(_)));
    if large.is_some()
        && is_own
        && let Ok(file) = File::options().write(true).open(temporary.path())
    {
        // From now on, a write changes the file's time.
        let _ = settle(&file);
    }
    temporary.rename(&path).map_err(FileError::of("create", &path))?;
    // A hard link is recorded under its original name, and the owner of that file may be writing
    // right now.
    if let Some(verified) = large.filter(|_| is_own || matches!(blob, Blob::Verified { .. })) {
        verified.note(digest, &path);
    }
    Ok(if existing.is_some() { BlobUpdate::Repaired } else { BlobUpdate::New })
}

/// Replaces a file atomically.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = TemporaryName::in_folder(folder).map_err(FileError::of("write in", folder))?;
    let mut expected_blob =
        ExpectedBlob { digest: Digest::of(bytes), size: bytes.len() as u64, progress: &Silent };
    fill(temporary.path(), &mut &*bytes, Path::new("memory"), &mut expected_blob)?;
    let path = folder.join(name);
    Ok(temporary.rename(&path).map_err(FileError::of("create", &path))?)
}

/// Removes the leftovers of killed builds. Call with the lock held.
pub(super) fn remove_leftovers(folder: &Path) -> Result<(), StoreError> {
    let entries = fs_err::read_dir(folder).map_err(|error| FileError::new("list", folder, error))?;
    for entry in entries.flatten() {
        if is_temporary(entry.file_name()) {
            // An undeletable leftover is harmless.
            let _ = fs_err::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Checks the file's digest.
pub(super) fn verify(path: &Path, expected: Digest) -> Result<(), StoreError> {
    let mut file = File::open(path).map_err(FileError::of("read", path))?;
    let (found, _) = expected.recomputed_from(&mut file).map_err(FileError::of("read", path))?;
    if found == expected { Ok(()) } else { Err(StoreError::Digest { expected, found }) }
}

/// Returns the name of a blob in progress reports.
pub(super) fn display_name(digest: &Digest) -> String {
    digest.to_string().chars().take(19).collect()
}

/// A blob being copied: its expected digest and size, and the progress to report to.
struct ExpectedBlob<'a> {
    digest: Digest,
    size: u64,
    progress: &'a dyn Progress,
}

/// Copies `source` to `path`; fails if the digest differs.
fn fill(
    path: &Path,
    source: &mut dyn Read,
    origin: &Path,
    expected_blob: &mut ExpectedBlob<'_>,
) -> Result<(), StoreError> {
    // The error shows the folder: the temporary name means little to a user.
    let folder = path.parent().unwrap_or(path);
    let mut file = File::create_new(path).map_err(FileError::of("write in", folder))?;
    // One byte too many is enough to detect an endless source before the disk is full.
    let mut source = source.take(expected_blob.size.saturating_add(1));
    let mut hasher = Hasher::like(&expected_blob.digest);
    let mut buffer = vec![0; 256 << 10];
    let mut done_bytes = 0;
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FileError::new("read", origin, error).into()),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        hasher.update(bytes);
        file.write_all(bytes).map_err(FileError::of("write in", folder))?;
        done_bytes += read as u64;
        let (name, total_bytes) = (&display_name(&expected_blob.digest), expected_blob.size);
        let state = if done_bytes < total_bytes { TransferState::Running } else { TransferState::Done };
        let direction = Direction::Fetched;
        expected_blob.progress.transfer(&Transfer {
            name,
            title: None,
            direction,
            done_bytes,
            total_bytes,
            state,
        });
    }
    let (found, expected) = (hasher.finish(), expected_blob.digest);
    if found != expected {
        return Err(StoreError::Digest { expected, found });
    }
    Ok(file.sync_all().map_err(FileError::of("write in", folder))?)
}

/// Returns whether `there` has the file stamp of the file's verification.
fn is_same(file: &HostFile, existing: &Metadata) -> bool {
    existing.is_file() && existing.len() == file.size && file.stamp.is_content_of(ContentStamp::of(existing))
}

/// Shares a verified file at `path` without reading: as a reflink or a hard link, if the file
/// system can. Returns whether it did.
fn share(file: &HostFile, path: &Path) -> bool {
    let done = clone(&file.path, path) || link(&file.path, path);
    // Check the result: the file may have changed since its verification.
    let right = done && fs_err::symlink_metadata(&*file.path).is_ok_and(|now| is_same(file, &now));
    if done && !right {
        let _ = fs_err::remove_file(path);
    }
    right
}

/// Makes `path` a reflink of `source`, copy-on-write (btrfs, XFS, APFS).
fn clone(source: &Path, path: &Path) -> bool {
    let cloned = File::open(source).and_then(|source| {
        let file = reflink(&source, path)?;
        settle(&file)?;
        file.sync_all()
    });
    if cloned.is_err() {
        let _ = fs_err::remove_file(path);
    }
    cloned.is_ok()
}

#[cfg(target_os = "linux")]
fn reflink(source: &File, path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    rustix::fs::ioctl_ficlone(&file, source)?;
    Ok(file)
}

#[cfg(target_os = "macos")]
fn reflink(source: &File, path: &Path) -> io::Result<File> {
    rustix::fs::fclonefileat(source, rustix::fs::CWD, path, rustix::fs::CloneFlags::empty())?;
    File::options().write(true).open(path)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn reflink(_source: &File, _path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Hard-links `source` to `path` if the link equals a copy. Returns whether it did.
#[allow(clippy::disallowed_methods)] // The source is a work file of this build.
fn link(source: &Path, path: &Path) -> bool {
    // A work file with restricted permissions would become a blob with restricted permissions.
    let fit =
        fs_err::symlink_metadata(source).is_ok_and(|file| file.is_file() && file.mode() & 0o444 == 0o444);
    fit && std::fs::hard_link(source, path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(folder: &Path) -> usize {
        fs_err::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_blob_with_another_digest_leaves_nothing() {
        let (work, into) = (folder(), folder());
        let file = work.path().join("blob");
        fs_err::write(&file, "two").unwrap();
        for blob in [Blob::Memory(b"two".to_vec().into()), Blob::File(file)] {
            let error = add(into.path(), Digest::of(b"one"), 3, &blob, None, &Silent).unwrap_err();
            assert!(matches!(error, StoreError::Digest { .. }), "{error}");
            assert_eq!(names(into.path()), 0);
        }
    }

    #[test]
    fn a_damaged_blob_is_replaced_and_a_good_one_left() {
        let into = folder();
        let digest = Digest::of(b"one");
        let path = into.path().join(digest.hex());
        let blob = Blob::Memory(b"one".to_vec().into());
        assert_eq!(add(into.path(), digest, 3, &blob, None, &Silent).unwrap(), BlobUpdate::New);
        let inode = fs_err::metadata(&path).unwrap().ino();
        assert_eq!(add(into.path(), digest, 3, &blob, None, &Silent).unwrap(), BlobUpdate::Unchanged);
        assert_eq!(fs_err::metadata(&path).unwrap().ino(), inode);
        for damage in ["two", "longer", ""] {
            fs_err::write(&path, damage).unwrap();
            assert_eq!(add(into.path(), digest, 3, &blob, None, &Silent).unwrap(), BlobUpdate::Repaired);
            assert_eq!(fs_err::read(&path).unwrap(), b"one");
        }
        fs_err::remove_file(&path).unwrap();
        fs_err::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert_eq!(add(into.path(), digest, 3, &blob, None, &Silent).unwrap(), BlobUpdate::Repaired);
        assert!(fs_err::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_file_is_linked_unless_others_could_not_read_it() {
        let (work, into) = (folder(), folder());
        for (mode, links) in [(0o644, 2), (0o600, 1)] {
            let file = work.path().join("blob");
            let text = format!("{mode}");
            fs_err::write(&file, &text).unwrap();
            fs_err::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            let digest = Digest::of(text.as_bytes());
            add(into.path(), digest, text.len() as u64, &Blob::File(file.clone()), None, &Silent).unwrap();
            assert_eq!(fs_err::metadata(into.path().join(digest.hex())).unwrap().nlink(), links, "{mode:o}");
            fs_err::remove_file(file).unwrap();
        }
    }

    /// A source that never ends.
    #[derive(Debug)]
    struct Endless;

    impl crate::image::BlobSource for Endless {
        fn open(&self, _: u64) -> std::io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(std::io::repeat(7)))
        }
    }

    #[test]
    fn an_endless_source_is_refused() {
        let into = folder();
        let blob = Blob::Source(std::sync::Arc::new(Endless));
        let error = add(into.path(), Digest::of(b"7"), 1, &blob, None, &Silent).unwrap_err();
        assert!(matches!(error, StoreError::Digest { .. }), "{error}");
        assert_eq!(names(into.path()), 0);
    }

    #[test]
    fn an_unreadable_source_is_named() {
        let into = folder();
        let blob = Blob::File("not/there".into());
        let error = add(into.path(), Digest::of(b""), 0, &blob, None, &Silent).unwrap_err();
        assert!(error.to_string().contains("not/there"), "{error}");
        assert_eq!(names(into.path()), 0);
    }
}
