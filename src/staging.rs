//! [`Staging`]: the folder in which one build works, and what becomes of it when the build is killed.

#![allow(clippy::disallowed_methods)] // What it reads decides no layer of an environment.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A disk with less room than this is as good as full: layers of some hundred megabytes are written there.
const LEAST_ROOM: u64 = 256 << 20;

/// What the name of such a folder begins with.
const PREFIX: &str = "build-";

/// A build's own folder, which goes with it.
///
/// It is held as long as the build lives: what nobody holds was left by one that was killed, and the next build removes it.
#[derive(Debug)]
pub(crate) struct Staging {
    folder: tempfile::TempDir,
    _hold: Option<File>,
}

impl Staging {
    /// A folder in `cache`, if its disk is not full.
    pub(crate) fn in_cache(cache: &Path) -> io::Result<Self> {
        for folder in abandoned(cache) {
            let _ = fs_err::remove_dir_all(folder);
        }
        let disk = rustix::fs::statvfs(cache)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < LEAST_ROOM {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let _alone = alone(cache);
        tempfile::Builder::new().prefix(PREFIX).tempdir_in(cache).map(Self::new)
    }

    /// A folder where temporary files are.
    pub(crate) fn elsewhere() -> io::Result<Self> {
        tempfile::Builder::new().prefix("ipo-oci-").tempdir().map(Self::new)
    }

    fn new(folder: tempfile::TempDir) -> Self {
        let hold = File::open(folder.path()).ok();
        let hold = hold.filter(|hold| flock(hold, FlockOperation::LockShared).is_ok());
        Self { folder, _hold: hold }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Whether a folder with this name is a build's.
pub(crate) fn is_staging(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The folders in `cache` that nobody holds.
pub(crate) fn abandoned(cache: &Path) -> Vec<PathBuf> {
    // One that is just being made is held before anybody looks.
    let _alone = alone(cache);
    let entries = fs_err::read_dir(cache).into_iter().flatten().flatten();
    let staging = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_staging));
    let unheld = |folder: &PathBuf| {
        File::open(folder).is_ok_and(|open| flock(&open, FlockOperation::NonBlockingLockExclusive).is_ok())
    };
    staging.map(|entry| entry.path()).filter(unheld).collect()
}

/// Keeps others from making such folders, or looking for them, as long as it is there.
fn alone(cache: &Path) -> Option<File> {
    let folder = File::open(cache).ok()?;
    flock(&folder, FlockOperation::LockExclusive).ok()?;
    Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_goes_with_the_next_build() {
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
