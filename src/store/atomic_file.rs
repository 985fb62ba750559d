//! [`AtomicFile`]: a file that appears under its name when complete and synced.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::blobs::{TEMPORARY_PREFIX, sync_folder};
use crate::error::FileError;

/// The mode of ordinary files, before the umask.
const MODE: u32 = 0o666;

/// A file being written.
///
/// On file systems with `O_TMPFILE`, the file has no name until complete, so a killed process
/// leaves no trace. Elsewhere, the file has a recognizable temporary name.
#[derive(Debug)]
pub(super) struct AtomicFile {
    folder: PathBuf,
    file: TemporaryFile,
}

#[derive(Debug)]
enum TemporaryFile {
    Unnamed(File),
    Named(tempfile::NamedTempFile),
}

impl AtomicFile {
    /// Makes a new file for `folder`.
    pub(super) fn new(folder: &Path) -> Result<Self, FileError> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let unnamed = rustix::fs::open(folder, flags, Mode::from_raw_mode(MODE)).map(File::from).ok();
        // Naming the file later needs `/proc`.
        let unnamed = unnamed.filter(|file| fs_err::symlink_metadata(proc_path(file)).is_ok());
        let file = if let Some(file) = unnamed {
            TemporaryFile::Unnamed(file)
        } else {
            let permissions = std::fs::Permissions::from_mode(MODE);
            let named = tempfile::Builder::new()
                .prefix(TEMPORARY_PREFIX)
                .permissions(permissions)
                .tempfile_in(folder);
            TemporaryFile::Named(named.map_err(|error| FileError::new("write in", folder, error))?)
        };
        Ok(Self { folder: folder.to_owned(), file })
    }

    /// Returns the file to write to.
    pub(super) fn file(&mut self) -> &mut File {
        match &mut self.file {
            TemporaryFile::Unnamed(file) => file,
            TemporaryFile::Named(file) => file.as_file_mut(),
        }
    }

    /// Syncs the file and moves it to `path`, in the same folder, replacing any file there.
    pub(super) fn persist(mut self, path: &Path) -> Result<(), FileError> {
        self.file().sync_all().map_err(FileError::of("write", path))?;
        let failed = |error| FileError::new("create", path, error);
        match self.file {
            TemporaryFile::Named(file) => {
                file.persist(path).map_err(|error| failed(error.error))?;
            }
            TemporaryFile::Unnamed(file) => {
                // A link cannot replace a file, so the file briefly gets a temporary name first.
                let made = tempfile::Builder::new()
                    .prefix(TEMPORARY_PREFIX)
                    .make_in(&self.folder, |name| {
                        Ok(rustix::fs::linkat(CWD, proc_path(&file), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
                    })
                    .map_err(failed)?;
                made.into_temp_path().persist(path).map_err(|error| failed(error.error))?;
            }
        }
        sync_folder(&self.folder)
    }
}

/// Returns the name of an open file in `/proc`.
fn proc_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_file_appears_when_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs_err::write(&path, "old").unwrap();
        let names = || fs_err::read_dir(folder.path()).unwrap().count();
        let mut atomic = AtomicFile::new(folder.path()).unwrap();
        atomic.file().write_all(b"new").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        if matches!(atomic.file, TemporaryFile::Unnamed(_)) {
            assert_eq!(names(), 1);
        }
        atomic.persist(&path).unwrap();
        assert_eq!((fs_err::read(&path).unwrap(), names()), (b"new".to_vec(), 1));
        drop(AtomicFile::new(folder.path()).unwrap());
        assert_eq!(names(), 1);
    }
}
