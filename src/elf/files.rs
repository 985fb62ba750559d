//! [`ElfFiles`]: the files of a root file system, each read once.

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::ElfError;
use super::cache::{self, LibraryCache};
use super::header::{Elf, ElfKind};
use super::machine::Machine;
use super::root::{FileKind, RootFiles, shorten};
use crate::error::FileError;

/// The largest accepted text file, in bytes.
const TEXT_LIMIT: u64 = 64 << 10;

/// The files read so far. The maps are never iterated, so their order is not observable.
#[derive(Debug)]
pub(super) struct ElfFiles {
    root: Arc<dyn RootFiles>,
    cache: Arc<LibraryCache>,
    /// Directories without links, by requested path.
    directories: HashMap<PathBuf, Option<PathBuf>>,
    /// Files by any path; `None` marks a path without a loadable ELF file.
    objects: HashMap<PathBuf, Option<Arc<Object>>>,
}

/// A loadable file.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) elf: Elf,
    /// The path without symbolic links.
    pub(super) real: PathBuf,
}

impl ElfFiles {
    pub(super) fn new(root: Arc<dyn RootFiles>) -> Self {
        let cache = read_limited(&*root, Path::new("/etc/ld.so.cache"), cache::LIMIT)
            .map(|bytes| LibraryCache::parse(&bytes))
            .unwrap_or_default();
        Self { root, cache: Arc::new(cache), directories: HashMap::new(), objects: HashMap::new() }
    }

    /// Returns the loader's index, empty if the system has none.
    pub(super) fn cache(&self) -> Arc<LibraryCache> {
        self.cache.clone()
    }

    /// Returns the content of a small text file, if the file exists.
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        String::from_utf8(read_limited(&*self.root, path, TEXT_LIMIT)?).ok()
    }

    /// Returns the path without symbolic links; the file must exist.
    pub(super) fn real(&self, path: &Path) -> Result<PathBuf, ElfError> {
        Ok(self.root.resolve(path).map_err(FileError::of("find", path))?)
    }

    /// Like [`ElfFiles::real`], for a file. Most files are no links and their directories are known
    /// already.
    fn real_file(&mut self, path: &Path) -> Result<PathBuf, ElfError> {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Some(parent) = self.directory(parent)?
        {
            let inside = parent.join(name);
            if matches!(self.root.kind(&inside), Ok(FileKind::File)) {
                return Ok(inside);
            }
        }
        self.real(path)
    }

    /// Returns the ELF file at `path`, which the caller named.
    pub(super) fn object(&mut self, path: &Path) -> Result<Arc<Object>, ElfError> {
        let real = self.real_file(path)?;
        if let Some(Some(object)) = self.objects.get(&real) {
            return Ok(object.clone());
        }
        let elf = self.root.elf(&real)?.ok_or_else(|| ElfError::NotElf(path.to_owned()))?;
        let object = Arc::new(Object { elf, real: real.clone() });
        self.objects.insert(real, Some(object.clone()));
        Ok(object)
    }

    /// Returns the library at `path`, if `machine` can load that file.
    pub(super) fn library(&mut self, path: &Path, machine: Machine) -> Result<Option<Arc<Object>>, ElfError> {
        if !self.objects.contains_key(path) {
            let object = self.try_object(path)?;
            self.objects.insert(path.to_owned(), object);
        }
        let object = self.objects.get(path).cloned().flatten();
        Ok(object.filter(|object| object.elf.kind != ElfKind::Other && object.elf.machine.runs_with(machine)))
    }

    fn try_object(&mut self, path: &Path) -> Result<Option<Arc<Object>>, ElfError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        // Most candidates do not exist: one lookup in a directory with known links.
        let Some(parent) = self.directory(parent)? else {
            return Ok(None);
        };
        let inside = parent.join(name);
        let real = match self.root.kind(&inside) {
            Ok(FileKind::File) => inside,
            Ok(FileKind::Link) => match absent(self.root.resolve(&inside), path)? {
                Some(real) => real,
                None => return Ok(None),
            },
            Ok(FileKind::Other) => return Ok(None),
            Err(error) => return absent(Err(error), path).map(|_: Option<()>| None),
        };
        if let Some(known) = self.objects.get(&real) {
            return Ok(known.clone());
        }
        let object = match self.root.elf(&real) {
            Ok(elf) => elf.map(|elf| Arc::new(Object { elf, real: real.clone() })),
            Err(ElfError::File(error)) => absent(Err(error.source), path)?,
            Err(_) => None,
        };
        self.objects.insert(real, object.clone());
        Ok(object)
    }

    /// Returns the directory without symbolic links, if there is one.
    pub(super) fn directory(&mut self, path: &Path) -> Result<Option<PathBuf>, ElfError> {
        if let Some(known) = self.directories.get(path) {
            return Ok(known.clone());
        }
        let real = self.look_for_directory(path)?;
        self.directories.insert(path.to_owned(), real.clone());
        Ok(real)
    }

    /// Resolves a directory. Most are no links and their parents are known already.
    fn look_for_directory(&mut self, path: &Path) -> Result<Option<PathBuf>, ElfError> {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Some(parent) = self.directory(parent)?
        {
            let inside = parent.join(name);
            if matches!(self.root.kind(&inside), Ok(FileKind::Other)) {
                return Ok(Some(inside));
            }
        }
        absent(self.root.resolve(path), path)
    }

    /// Adds headers read earlier, of the file at `real`, a path without links.
    pub(super) fn preload(&mut self, real: PathBuf, elf: Elf) {
        self.objects
            .entry(real)
            .or_insert_with_key(|real| Some(Arc::new(Object { elf, real: real.clone() })));
    }

    /// Shortens a path to the same directory: `/x/numpy/../numpy.libs` is `/x/numpy.libs`, unless
    /// `numpy` is a link.
    pub(super) fn shorten(&mut self, path: &Path) -> Result<PathBuf, ElfError> {
        let short = shorten(path);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        if !climbs {
            return Ok(short);
        }
        match self.directory(path)? {
            Some(real) if self.directory(&short)?.as_ref() != Some(&real) => Ok(real),
            _ => Ok(short),
        }
    }
}

/// Turns a missing file into `None`. The loader skips the same errors, but a failing disk is an
/// error for a build.
fn absent<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>, ElfError> {
    use io::ErrorKind as Reason;
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                Reason::NotFound | Reason::NotADirectory | Reason::PermissionDenied
            ) || matches!(error.kind(), Reason::InvalidInput | Reason::InvalidFilename)
                || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(FileError::new("read", path, error).into()),
    }
}

fn read_limited(root: &dyn RootFiles, path: &Path, limit: u64) -> Option<Vec<u8>> {
    root.bytes(&root.resolve(path).ok()?, limit)
}
