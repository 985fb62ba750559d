//! [`Manifest`]: the files of a cached environment, as installed.
//!
//! Files are compared by their stamps, as in git's index; a file with another stamp is read and
//! compared by its fingerprint. An installer that hard-links files from a cache of its own changes
//! the change time of all of them whenever it makes another environment.

#![allow(clippy::disallowed_methods)] // Decides only if a cached environment is unchanged; plans read its files through `traced_fs`.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::atomic_file;
use crate::digest::{Digest, Fingerprint, Fingerprinter};
use crate::error::FileError;
use crate::parallel::{cores, each};
use crate::python::metadata::record;
use crate::sealed;
use crate::traced_fs::Moment;
use crate::tree::ContentStamp;

/// The header of the file. Raise the number with every change to [`ManifestEntry`].
const HEADER: &str = "ipo-oci environment 1\n";
/// The largest file read, in bytes. An environment of a million files has some 200 MB.
const MAX_SIZE: u64 = 1 << 30;

/// The entries below the environment's folder, by their path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest(BTreeMap<Vec<u8>, ManifestEntry>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum ManifestEntry {
    Directory,
    Link(Vec<u8>),
    File { bytes: Fingerprint, stamp: InstalledStamp },
}

/// A file's stamp; without times if a later change might not have altered them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct InstalledStamp {
    size: u64,
    is_executable: bool,
    times: Option<Times>,
}

/// Device, inode, modification and change time.
type Times = (u64, u64, Moment, Moment);

/// The result of comparing an environment with its manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ManifestMatch {
    /// Unchanged.
    Same,
    /// Unchanged, but some files have new stamps: the manifest with those.
    Moved(Manifest),
    /// This path was changed, removed or added.
    Different(PathBuf),
}

impl InstalledStamp {
    fn of(metadata: &Metadata, moment: Moment) -> Self {
        let stamp = ContentStamp::of(metadata);
        let times = (stamp.device, stamp.inode, stamp.modified, stamp.changed);
        Self {
            size: metadata.len(),
            is_executable: metadata.permissions().mode() & 0o111 != 0,
            times: stamp.is_settled_at(moment).then_some(times),
        }
    }

    /// Returns true if the stamp proves that the file of `metadata` is unchanged.
    fn proves_unchanged(self, metadata: &Metadata) -> bool {
        self.times.is_some() && self == Self::of(metadata, (i64::MAX, 0))
    }

    /// Returns true if size and permissions allow the file of `metadata` to be unchanged.
    fn may_be_unchanged(self, metadata: &Metadata) -> bool {
        let now = Self::of(metadata, (i64::MAX, 0));
        (self.size, self.is_executable) == (now.size, now.is_executable)
    }
}

impl Manifest {
    /// Reads all files below `root`. `moment` is a time before the call.
    pub(super) fn of(root: &Path, moment: Moment) -> Result<Self, FileError> {
        let mut found = Vec::new();
        for entry in WalkDir::new(root).min_depth(1) {
            let entry = entry.map_err(|error| FileError::new("read", root, error.into()))?;
            let path = entry.into_path();
            let metadata = path.symlink_metadata().map_err(FileError::of("read", &path))?;
            found.push((path, metadata));
        }
        let rows = each(
            found.len(),
            cores(),
            || Ok(Vec::new()),
            |buffer, index| {
                let (path, metadata) = &found[index];
                let row = if metadata.is_dir() {
                    ManifestEntry::Directory
                } else if metadata.is_symlink() {
                    ManifestEntry::Link(target(path)?)
                } else {
                    ManifestEntry::File {
                        bytes: read(path, buffer)?,
                        stamp: InstalledStamp::of(metadata, moment),
                    }
                };
                Ok((relative(root, path), row))
            },
        );
        rows.map(|rows| Self(rows.into_iter().collect()))
    }

    /// Loads the file `path`. Returns `None` if missing, damaged or of another name.
    pub(super) fn load(path: &Path) -> Option<Self> {
        if !path.symlink_metadata().is_ok_and(|file| file.is_file() && file.len() <= MAX_SIZE) {
            return None;
        }
        let bytes = fs_err::read(path).ok()?;
        postcard::from_bytes(sealed::open(HEADER, name(path), &bytes)?).ok()
    }

    /// Writes the file `path`.
    pub(super) fn save(&self, path: &Path) -> Result<(), FileError> {
        let save = || -> io::Result<()> {
            let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
            atomic_file::replace(path, &sealed::seal(HEADER, name(path), &body))
        };
        save().map_err(FileError::of("write", path))
    }

    /// Compares the environment in `root` with the manifest. `moment` is a time before the call.
    ///
    /// Removes bytecode that Python has written since, because no record relates it to a source.
    pub(super) fn verify(mut self, root: &Path, moment: Moment) -> ManifestMatch {
        let (mut seen, mut moved) = (0, Vec::new());
        for entry in WalkDir::new(root).min_depth(1) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return ManifestMatch::Different(error.path().unwrap_or(root).to_owned()),
            };
            let path = entry.path();
            let Ok(metadata) = path.symlink_metadata() else {
                return ManifestMatch::Different(path.to_owned());
            };
            let Some(row) = self.0.get(&relative(root, path)) else {
                if is_left_by_python(path, &metadata) {
                    continue;
                }
                return ManifestMatch::Different(path.to_owned());
            };
            seen += 1;
            let is_same = match row {
                ManifestEntry::Directory => metadata.is_dir(),
                ManifestEntry::Link(to) => {
                    metadata.is_symlink() && target(path).is_ok_and(|target| target == *to)
                }
                ManifestEntry::File { stamp, .. }
                    if metadata.is_file() && stamp.proves_unchanged(&metadata) =>
                {
                    true
                }
                ManifestEntry::File { stamp, .. }
                    if metadata.is_file() && stamp.may_be_unchanged(&metadata) =>
                {
                    moved.push((path.to_owned(), metadata));
                    true
                }
                ManifestEntry::File { .. } => false,
            };
            if !is_same {
                return ManifestMatch::Different(path.to_owned());
            }
        }
        if seen < self.0.len() {
            let gone = self.0.keys().map(|path| root.join(std::ffi::OsStr::from_bytes(path)));
            let mut gone = gone.filter(|path| path.symlink_metadata().is_err());
            return ManifestMatch::Different(gone.next().unwrap_or_else(|| root.to_owned()));
        }
        if moved.is_empty() {
            return ManifestMatch::Same;
        }
        let bytes = each(
            moved.len(),
            cores(),
            || Ok(Vec::new()),
            |buffer, index| {
                let (path, _) = &moved[index];
                read(path, buffer).map_err(|_| path.clone())
            },
        );
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(path) => return ManifestMatch::Different(path),
        };
        for ((path, metadata), now) in moved.into_iter().zip(bytes) {
            match self.0.get_mut(&relative(root, &path)) {
                Some(ManifestEntry::File { bytes, stamp }) if *bytes == now => {
                    *stamp = InstalledStamp::of(&metadata, moment);
                }
                _ => return ManifestMatch::Different(path),
            }
        }
        ManifestMatch::Moved(self)
    }
}

/// Returns the files whose bytes differ from their RECORD: either the installer's cache is damaged,
/// or the wheel's RECORD is wrong. Files recorded by several distributions are skipped, since the
/// last one installed has overwritten the others.
pub(super) fn mismatched_files(root: &Path) -> Vec<PathBuf> {
    let mut recorded: BTreeMap<String, Option<String>> = BTreeMap::new();
    for file in WalkDir::new(root.join("lib")).min_depth(4).max_depth(4).into_iter().flatten() {
        let is_record = file.file_name() == "RECORD"
            && file
                .path()
                .parent()
                .and_then(Path::extension)
                .is_some_and(|extension| extension == "dist-info");
        let site = file.path().ancestors().nth(2).and_then(|site| site.strip_prefix(root).ok()?.to_str());
        let (true, Some(site), Ok(text)) = (is_record, site, fs_err::read(file.path())) else { continue };
        for row in record::parse(&text).unwrap_or_default() {
            let hash = row.hash.filter(|hash| hash.starts_with("sha256="));
            if let Some(place) = record::resolve(&row.path, site, &[&root.to_string_lossy()]) {
                recorded.entry(place).and_modify(|hash| *hash = None).or_insert(hash);
            }
        }
    }
    let recorded: Vec<(PathBuf, String)> =
        recorded.into_iter().filter_map(|(place, hash)| Some((root.join(place), hash?))).collect();
    let differs = |(path, hash): &(PathBuf, String)| {
        let digest = std::fs::File::open(path).and_then(|mut file| Digest::of_reader(&mut file));
        digest.is_ok_and(|(digest, _)| record::hash_column(&digest) != *hash)
    };
    let start = || Ok::<_, std::convert::Infallible>(());
    let found = each(recorded.len(), cores(), start, |(), index| {
        Ok(recorded.get(index).filter(|row| differs(row)).map(|(path, _)| path.clone()))
    });
    found.unwrap_or_default().into_iter().flatten().collect()
}

fn name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}

fn relative(root: &Path, path: &Path) -> Vec<u8> {
    path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes().to_vec()
}

fn target(path: &Path) -> Result<Vec<u8>, FileError> {
    let target = std::fs::read_link(path).map_err(FileError::of("read", path))?;
    Ok(target.into_os_string().into_encoded_bytes())
}

/// Returns the fingerprint of a file, read through `buffer`.
fn read(path: &Path, buffer: &mut Vec<u8>) -> Result<Fingerprint, FileError> {
    use io::Read as _;
    buffer.resize(256 << 10, 0);
    let read = |buffer: &mut [u8]| -> io::Result<Fingerprint> {
        let mut file = std::fs::File::open(path)?;
        let mut fingerprinter = Fingerprinter::default();
        loop {
            let got = file.read(buffer)?;
            if got == 0 {
                return Ok(fingerprinter.take());
            }
            fingerprinter.update(buffer.get(..got).unwrap_or_default());
        }
    };
    read(buffer).map_err(FileError::of("read", path))
}

/// Returns true for files that Python leaves in an environment when it runs. Removes bytecode.
fn is_left_by_python(path: &Path, metadata: &Metadata) -> bool {
    let is_cache = |path: &Path| path.file_name().is_some_and(|name| name == "__pycache__");
    if metadata.is_dir() {
        return is_cache(path);
    }
    let is_bytecode = path.extension().is_some_and(|extension| extension == "pyc");
    is_bytecode && path.parent().is_some_and(is_cache) && std::fs::remove_file(path).is_ok()
}

/// Returns the current time of the file system of `folder`.
pub(super) fn moment(folder: &Path) -> Result<Moment, FileError> {
    let now = || {
        let file = tempfile::tempfile_in(folder)?;
        let metadata = file.metadata()?;
        io::Result::Ok((metadata.mtime(), metadata.mtime_nsec()))
    };
    now().map_err(FileError::of("write in", folder))
}

/// Decodes a manifest without its seal, and compares a folder with it.
pub(in crate::python) fn fuzz(bytes: &[u8]) {
    if let Ok(manifest) = postcard::from_bytes::<Manifest>(bytes) {
        let _ = manifest.verify(Path::new("/nowhere"), (0, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const LATE: Moment = (i64::MAX, 0);

    fn environment() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("env");
        fs_err::create_dir_all(root.join("lib/a/__pycache__")).unwrap();
        fs_err::create_dir_all(root.join("bin")).unwrap();
        fs_err::write(root.join("lib/a/__init__.py"), "x = 1").unwrap();
        fs_err::write(root.join("lib/a/__pycache__/__init__.cpython-311.pyc"), "pyc").unwrap();
        fs_err::write(root.join("pyvenv.cfg"), "home = /usr/bin").unwrap();
        symlink("/usr/bin/python3", root.join("bin/python")).unwrap();
        (folder, root)
    }

    #[test]
    fn matches_an_unchanged_environment() {
        let (folder, root) = environment();
        let manifest = Manifest::of(&root, LATE).unwrap();
        let file = folder.path().join("env.complete");
        manifest.save(&file).unwrap();
        assert_eq!(Manifest::load(&file), Some(manifest.clone()));
        assert_eq!(manifest.clone().verify(&root, LATE), ManifestMatch::Same);
        // Another link to a file changes its change time.
        fs_err::hard_link(root.join("pyvenv.cfg"), folder.path().join("link")).unwrap();
        let ManifestMatch::Moved(moved) = manifest.clone().verify(&root, LATE) else { panic!() };
        assert_eq!(moved.verify(&root, LATE), ManifestMatch::Same);
        // Python ran in it.
        let python = root.join("lib/__pycache__");
        fs_err::create_dir(&python).unwrap();
        fs_err::write(python.join("b.cpython-311.pyc"), "").unwrap();
        assert!(matches!(manifest.verify(&root, LATE), ManifestMatch::Moved(_)));
        assert_eq!(fs_err::read_dir(python).unwrap().count(), 0);
    }

    #[test]
    fn detects_every_change() {
        type Tampering = (&'static str, &'static str, fn(&Path));
        let module = "lib/a/__init__.py";
        let changes: [Tampering; 8] = [
            ("flipped", module, |root| fs_err::write(root.join("lib/a/__init__.py"), "x = 2").unwrap()),
            ("grown", module, |root| fs_err::write(root.join("lib/a/__init__.py"), "x = 1\n").unwrap()),
            ("gone", module, |root| fs_err::remove_file(root.join("lib/a/__init__.py")).unwrap()),
            ("added", "lib/b.py", |root| fs_err::write(root.join("lib/b.py"), "").unwrap()),
            ("added folder", "lib/b", |root| fs_err::create_dir(root.join("lib/b")).unwrap()),
            ("another link", "bin/python", |root| {
                fs_err::remove_file(root.join("bin/python")).unwrap();
                symlink("/usr/bin/python4", root.join("bin/python")).unwrap();
            }),
            ("a link to the same", "pyvenv.cfg", |root| {
                fs_err::rename(root.join("pyvenv.cfg"), root.with_extension("cfg")).unwrap();
                symlink(root.with_extension("cfg"), root.join("pyvenv.cfg")).unwrap();
            }),
            ("executable", "pyvenv.cfg", |root| {
                let mode = std::fs::Permissions::from_mode(0o755);
                fs_err::set_permissions(root.join("pyvenv.cfg"), mode).unwrap();
            }),
        ];
        for (name, path, change) in changes {
            for moment in [LATE, (0, 0)] {
                let (_folder, root) = environment();
                let manifest = Manifest::of(&root, moment).unwrap();
                change(&root);
                assert_eq!(manifest.verify(&root, LATE), ManifestMatch::Different(root.join(path)), "{name}");
            }
        }
    }

    #[test]
    fn finds_files_that_differ_from_their_record() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("lib/python3.11/site-packages");
        let hash = record::hash_column(&Digest::of(b"right"));
        for (info, rows) in [
            (
                "a-1.dist-info",
                format!("a.py,{hash},5\nb.py,{hash},5\nboth.py,{hash},5\ngone.py,{hash},5\na.pyc,,\n"),
            ),
            ("c-1.dist-info", format!("both.py,{hash},5\n../../../bin/c,{hash},5\nodd.py,md5=x,5\n")),
        ] {
            fs_err::create_dir_all(site.join(info)).unwrap();
            fs_err::write(site.join(info).join("RECORD"), rows).unwrap();
        }
        fs_err::create_dir(folder.path().join("bin")).unwrap();
        for (place, text) in [
            ("a.py", "right"),
            ("b.py", "wrong"),
            ("both.py", "x"),
            ("../../../bin/c", "x"),
            ("odd.py", "x"),
            ("a.pyc", ""),
        ] {
            fs_err::write(site.join(place), text).unwrap();
        }
        let wrong = [folder.path().join("bin/c"), site.join("b.py")];
        assert_eq!(mismatched_files(folder.path()), wrong);
    }

    #[test]
    fn reads_files_with_unsettled_times_again() {
        let (_folder, root) = environment();
        let manifest = Manifest::of(&root, (0, 0)).unwrap();
        let ManifestMatch::Moved(settled) = manifest.verify(&root, LATE) else { panic!() };
        assert_eq!(settled.verify(&root, LATE), ManifestMatch::Same);
    }
}
