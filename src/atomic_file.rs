//! Files that appear under their name when complete: a temporary file in the same folder is renamed.
//!
//! | function | synced | for |
//! |---|---|---|
//! | [`write_text`], `write_output`, `AtomicFile` | file and folder | files that a user names |
//! | `replace` | no | small files of a cache, whose seal exposes damage after a crash |
//! | `temporary_in`, `TemporaryName`, `persist` | by the caller | blobs |
//!
//! All temporary files have one prefix, so that later builds recognize those of a killed process.

#![allow(clippy::disallowed_methods)] // No layer of an environment depends on the accesses here.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};
use tempfile::NamedTempFile;

use crate::error::FileError;

/// Name prefix of temporary files.
const PREFIX: &str = ".ipo-oci-";
/// The mode of ordinary files, before the umask.
const MODE: u32 = 0o666;

/// A file being written, for a user.
///
/// On file systems with `O_TMPFILE`, the file has no name until complete, so a killed process
/// leaves no trace. Elsewhere, the file has a recognizable temporary name.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    folder: PathBuf,
    file: TemporaryFile,
}

#[derive(Debug)]
enum TemporaryFile {
    Unnamed(File),
    Named(tempfile::NamedTempFile),
}

impl AtomicFile {
    /// Makes a file for the folder of `path`.
    pub(crate) fn beside(path: &Path) -> Result<Self, FileError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let file = if let Some(file) = unnamed(folder) {
            TemporaryFile::Unnamed(file)
        } else {
            let named = temporary_with_mode(folder, MODE);
            TemporaryFile::Named(named.map_err(|error| FileError::new("write in", folder, error))?)
        };
        Ok(Self { folder: folder.to_owned(), file })
    }

    /// Returns the file to write to.
    pub(crate) fn file(&mut self) -> &mut File {
        match &mut self.file {
            TemporaryFile::Unnamed(file) => file,
            TemporaryFile::Named(file) => file.as_file_mut(),
        }
    }

    /// Syncs the file and moves it to `path`, in the same folder, replacing any file there.
    pub(crate) fn persist(mut self, path: &Path) -> Result<(), FileError> {
        self.file().sync_all().map_err(FileError::of("write", path))?;
        let failed = |error| FileError::new("create", path, error);
        match self.file {
            TemporaryFile::Named(file) => {
                file.persist(path).map_err(|error| failed(error.error))?;
            }
            TemporaryFile::Unnamed(file) => {
                // A link cannot replace a file, so the file briefly gets a temporary name first.
                let made = tempfile::Builder::new()
                    .prefix(PREFIX)
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

/// Writes an output file of a user: atomically; in place if a device or pipe, which must not be
/// replaced by a file, or an open file of a process (`/dev/stdout`). A link stays, its target is
/// replaced.
pub(crate) fn write_output<E: From<FileError>>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |error| FileError::new("open", path, error);
    let target = match fs_err::metadata(path) {
        Ok(metadata) if !metadata.is_file() || path.starts_with("/dev") || path.starts_with("/proc") => {
            return fill(&mut File::options().write(true).truncate(true).open(path).map_err(failed)?);
        }
        Ok(_) => path.canonicalize().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed(error).into()),
    };
    let mut file = AtomicFile::beside(&target)?;
    fill(file.file())?;
    Ok(file.persist(&target)?)
}

/// Writes a text file of a user, such as a report, like an image archive: atomically, or in place
/// if a device or pipe. A file that cannot be replaced, in a folder without write permission or
/// bind-mounted by itself, is written in place too.
pub fn write_text(path: &Path, text: &str) -> Result<(), FileError> {
    let outcome =
        write_output(path, |file| file.write_all(text.as_bytes()).map_err(FileError::of("write", path)));
    match outcome {
        Err(error) if is_of_replacement(&error.source) && path.is_file() => {
            std::fs::write(path, text).map_err(FileError::of("write", path))
        }
        outcome => outcome,
    }
}

/// Returns true for the errors of a rename that do not concern writing in place.
fn is_of_replacement(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// Makes an empty temporary file in `folder`, which only its user may read.
pub(crate) fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder)
}

/// Makes an empty temporary file in `folder` with a mode, of which the umask takes bits away.
pub(crate) fn temporary_with_mode(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let permissions = std::fs::Permissions::from_mode(mode);
    tempfile::Builder::new().prefix(PREFIX).permissions(permissions).tempfile_in(folder)
}

/// Makes an empty temporary file in the folder of `path`, which is made if missing.
pub(crate) fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(path);
    match temporary_in(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs_err::create_dir_all(folder)?;
            temporary_in(folder)
        }
        other => other,
    }
}

/// Renames a finished file to `path`. A directory in the way is removed, as anything in a cache may
/// be.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    let Err(failed) = file.persist(path) else { return Ok(()) };
    if !matches!(failed.error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists) {
        return Err(failed.error);
    }
    std::fs::remove_dir_all(path)?;
    failed.file.persist(path).map(drop).map_err(|failed| failed.error)
}

/// Replaces a file of a cache, without a sync. Its folder is made if missing.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = temporary_beside(path)?;
    file.write_all(bytes)?;
    persist(file, path)
}

/// An unused temporary name in a folder; a file there is removed on drop.
pub(crate) struct TemporaryName(PathBuf);

impl TemporaryName {
    /// Finds a name in `folder`.
    pub(crate) fn in_folder(folder: &Path) -> io::Result<Self> {
        // The file is removed: a link or a file with ordinary permissions takes its place.
        let path = temporary_in(folder)?.into_temp_path();
        let name = path.to_path_buf();
        path.close()?;
        Ok(Self(name))
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Renames the file at this name, replacing any file at `to`.
    pub(crate) fn rename(self, to: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, to)
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns true for the name of a temporary file.
pub(crate) fn is_temporary(name: impl AsRef<OsStr>) -> bool {
    name.as_ref().as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Syncs the names in `folder` to disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::of("write", folder))
}

/// Makes a file without a name, if the system and the file system can.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder, flags, Mode::from_bits_retain(MODE)).map(File::from).ok()?;
    // Naming the file later needs `/proc`.
    fs_err::symlink_metadata(proc_path(&file)).is_ok().then_some(file)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_folder: &Path) -> Option<File> {
    None
}

/// Returns the name of an open file in `/proc`.
fn proc_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_appears_when_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs_err::write(&path, "old").unwrap();
        let names = || fs_err::read_dir(folder.path()).unwrap().count();
        let mut atomic = AtomicFile::beside(&path).unwrap();
        atomic.file().write_all(b"new").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        if matches!(atomic.file, TemporaryFile::Unnamed(_)) {
            assert_eq!(names(), 1);
        }
        atomic.persist(&path).unwrap();
        assert_eq!((fs_err::read(&path).unwrap(), names()), (b"new".to_vec(), 1));
        drop(AtomicFile::beside(&path).unwrap());
        assert_eq!(names(), 1);
    }

    #[test]
    fn a_text_in_a_read_only_folder_is_written_in_place() {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs_err::write(&path, "a longer text of before").unwrap();
        fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
        let file = path.clone();
        // Root writes anywhere; the capability is dropped on this thread alone.
        let outcome = std::thread::spawn(move || {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::DAC_OVERRIDE);
            set_capabilities(None, sets).unwrap();
            (write_text(&file, "new"), write_text(&file.with_file_name("other"), "new"))
        });
        let (existing, missing) = outcome.join().unwrap();
        fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        existing.unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"new");
        assert_eq!(missing.unwrap_err().source.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn persist_replaces_files_directories_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let replace = || {
            let mut file = NamedTempFile::new_in(folder.path()).unwrap();
            file.write_all(b"new").unwrap();
            persist(file, &path).unwrap();
            assert_eq!(fs_err::read(&path).unwrap(), b"new");
            assert!(fs_err::symlink_metadata(&path).unwrap().is_file());
            crate::sealed::remove(&path);
            assert!(fs_err::symlink_metadata(&path).is_err());
        };
        replace();
        fs_err::create_dir_all(path.join("below")).unwrap();
        replace();
        std::os::unix::fs::symlink(folder.path(), &path).unwrap();
        replace();
        assert!(folder.path().exists());
    }
}
