//! [`Draft`]: a file that takes its place when all of it is on the disk, and is nothing before.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::blobs::{TEMPORARY, sync_folder};
use crate::error::FileError;

/// What every file may be, less the umask: an image archive is a file like others.
const MODE: u32 = 0o666;

/// A file that is being written.
///
/// Where the file system can do it, it has no name until it is whole, so whoever ends this process leaves nothing. Elsewhere
/// it has a name that shows what it is.
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
    /// A new file that will stand in `folder`.
    pub(super) fn new(folder: &Path) -> Result<Self, FileError> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let nameless = rustix::fs::open(folder, flags, Mode::from_raw_mode(MODE)).map(File::from).ok();
        // It is given a name through this folder.
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

    /// Where its bytes go.
    pub(super) fn file(&mut self) -> &mut File {
        match &mut self.file {
            Kind::Nameless(file) => file,
            Kind::Named(file) => file.as_file_mut(),
        }
    }

    /// Takes the place of what is at `path`, in the same folder.
    pub(super) fn persist(mut self, path: &Path) -> Result<(), FileError> {
        self.file().sync_all().map_err(FileError::of("write", path))?;
        let failed = |error| FileError::new("create", path, error);
        match self.file {
            Kind::Named(file) => {
                file.persist(path).map_err(|error| failed(error.error))?;
            }
            Kind::Nameless(file) => {
                // A link takes nobody's place, so it gets a name of its own first; that is there for a moment only.
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

/// The name that the system gives an open file.
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
