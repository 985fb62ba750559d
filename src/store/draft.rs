//! [`Draft`]: a file that appears under its name when complete and synced.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::blobs::{TEMPORARY, sync_folder};
use crate::error::FileError;

/// The mode of ordinary files, before the umask.
const MODE: u32 = 0o666;

/// A file being written.
///
/// On file systems with `O_TMPFILE`, the file has no name until complete, so a killed process
/// leaves no trace. Elsewhere, the file has a recognizable temporary name.
#[derive(Debug)]
pub(super) struct Draft {
    folder: PathBuf,
    file: Kind,
}

#[derive(Debug)]
enum Kind {
    Nameless(File),
    Named(tempfile::NamedTempFile),
}

impl Draft {
    /// Makes a new file for `folder`.
    pub(super) fn new(folder: &Path) -> Result<Self, FileError> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let nameless = rustix::fs::open(folder, flags, Mode::from_raw_mode(MODE)).map(File::from).ok();
        // Naming the file later needs `/proc`.
        let nameless = nameless.filter(|file| fs_err::symlink_metadata(at(file)).is_ok());
        let file = if let Some(file) = nameless {
            Kind::Nameless(file)
        } else {
            let permissions = std::fs::Permissions::from_mode(MODE);
            let named =
                tempfile::Builder::new().prefix(TEMPORARY).permissions(permissions).tempfile_in(folder);
            Kind::Named(named.map_err(|error| FileError::new("write in", folder, error))?)
        };
        Ok(Self { folder: folder.to_owned(), file })
    }

    /// Returns the file to write to.
    pub(super) fn file(&mut self) -> &mut File {
        match &mut self.file {
            Kind::Nameless(file) => file,
            Kind::Named(file) => file.as_file_mut(),
        }
    }

    /// Syncs the file and moves it to `path`, in the same folder, replacing any file there.
    pub(super) fn persist(mut self, path: &Path) -> Result<(), FileError> {
        self.file().sync_all().map_err(FileError::of("write", path))?;
        let failed = |error| FileError::new("create", path, error);
        match self.file {
            Kind::Named(file) => {
                file.persist(path).map_err(|error| failed(error.error))?;
            }
            Kind::Nameless(file) => {
                // A link cannot replace a file, so the file briefly gets a temporary name first.
                let made = tempfile::Builder::new()
                    .prefix(TEMPORARY)
                    .make_in(&self.folder, |name| {
                        Ok(rustix::fs::linkat(CWD, at(&file), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
                    })
                    .map_err(failed)?;
                made.into_temp_path().persist(path).map_err(|error| failed(error.error))?;
            }
        }
        sync_folder(&self.folder)
    }
}

/// Returns the name of an open file in `/proc`.
fn at(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn nothing_is_there_before_all_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs_err::write(&path, "old").unwrap();
        let names = || fs_err::read_dir(folder.path()).unwrap().count();
        let mut draft = Draft::new(folder.path()).unwrap();
        draft.file().write_all(b"new").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        if matches!(draft.file, Kind::Nameless(_)) {
            assert_eq!(names(), 1);
        }
        draft.persist(&path).unwrap();
        assert_eq!((fs_err::read(&path).unwrap(), names()), (b"new".to_vec(), 1));
        drop(Draft::new(folder.path()).unwrap());
        assert_eq!(names(), 1);
    }
}
