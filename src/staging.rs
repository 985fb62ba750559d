//! [`Staging`]: the working folder of a build, which is removed even if the build is killed.

#![allow(clippy::disallowed_methods)] // No layer of an environment depends on the reads here.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Free space in bytes below which a disk counts as full: layers of hundreds of megabytes are
/// written there.
const MIN_FREE_BYTES: u64 = 256 << 20;

/// The prefix of the folders' names.
const PREFIX: &str = "build-";

/// The working folder of a build, removed on drop.
///
/// The build holds a lock on the folder. A folder without a lock was left by a killed build and is
/// removed by the next one.
#[derive(Debug)]
pub(crate) struct Staging {
    folder: tempfile::TempDir,
    _hold: Option<File>,
}

impl Staging {
    /// Makes a folder in `cache`, unless its disk is full.
    pub(crate) fn in_cache(cache: &Path) -> io::Result<Self> {
        for folder in abandoned(cache) {
            let _ = remove_tree(&folder);
        }
        let disk = rustix::fs::statvfs(cache)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < MIN_FREE_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let _lock = lock_cache(cache);
        tempfile::Builder::new().prefix(PREFIX).tempdir_in(cache).map(Self::new)
    }

    /// Makes a folder for temporary files outside the cache.
    pub(crate) fn temporary() -> io::Result<Self> {
        tempfile::Builder::new().prefix("ipo-oci-").tempdir().map(Self::new)
    }

    fn new(folder: tempfile::TempDir) -> Self {
        let hold = File::open(folder.path()).ok();
        let hold = hold.filter(|hold| flock(hold, FlockOperation::LockShared).is_ok());
        Self { folder, _hold: hold }
    }

    /// Returns the path of the folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes a folder, also one with folders that their owner may not change, such as those of a root file
/// system.
pub(crate) fn remove_tree(folder: &Path) -> io::Result<()> {
    if fs_err::remove_dir_all(folder).is_ok() {
        return Ok(());
    }
    let mut pending = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        let _ = fs_err::set_permissions(&folder, Permissions::from_mode(0o700));
        for entry in fs_err::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    fs_err::remove_dir_all(folder)
}

/// Returns true for the name of a working folder.
pub(crate) fn is_staging(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Returns the unlocked folders in `cache`.
pub(crate) fn abandoned(cache: &Path) -> Vec<PathBuf> {
    // A folder that is being created is locked before other builds look.
    let _lock = lock_cache(cache);
    let entries = fs_err::read_dir(cache).into_iter().flatten().flatten();
    let staging = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_staging));
    let unheld = |folder: &PathBuf| {
        File::open(folder).is_ok_and(|open| flock(&open, FlockOperation::NonBlockingLockExclusive).is_ok())
    };
    staging.map(|entry| entry.path()).filter(unheld).collect()
}

/// Locks out the creation and cleanup of working folders by other builds until dropped.
fn lock_cache(cache: &Path) -> Option<File> {
    let folder = File::open(cache).ok()?;
    flock(&folder, FlockOperation::LockExclusive).ok()?;
    Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_unlocked_folders_at_the_next_build() {
        let cache = tempfile::tempdir().unwrap();
        let first = Staging::in_cache(cache.path()).unwrap();
        let left = cache.path().join("build-left");
        fs_err::create_dir(&left).unwrap();
        fs_err::write(left.join("layer-0"), "x").unwrap();
        fs_err::create_dir(cache.path().join("layers")).unwrap();
        assert_eq!(abandoned(cache.path()), [left.as_path()]);
        let second = Staging::in_cache(cache.path()).unwrap();
        assert!(!left.exists() && first.path().exists() && second.path().exists());
        assert!(cache.path().join("layers").exists());
        drop((first, second));
        assert_eq!(fs_err::read_dir(cache.path()).unwrap().count(), 1);
    }
}
