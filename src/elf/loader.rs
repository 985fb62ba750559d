//! [`Loader`]: finds libraries as the dynamic loader of a root file system would.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::ElfError;
use super::cache::{self, LibraryCache};
use super::closure::{Closure, Collector, Root};
use super::header::{self, Elf, Kind};
use super::machine::Machine;
use super::process::Process;
use super::root::{FileRoot, shorten};
use crate::error::FileError;

/// The dynamic loader of one root file system, as far as finding libraries goes.
///
/// It takes `LD_LIBRARY_PATH` and `LD_PRELOAD` for unset, for the image will not have the build
/// machine's. Builds of a library for some processors only (`glibc-hwcaps`) are passed over for the
/// one that runs on all. It remembers the files it has read: a loader is made once, and used for all roots.
#[derive(Debug)]
pub struct Loader {
    root: FileRoot,
    cache: LibraryCache,
    memory: Mutex<Memory>,
}

/// What was read so far. Only ever looked up, so its order is nowhere to be seen.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Directories without links, by the name they were looked for by.
    directories: HashMap<PathBuf, Option<PathBuf>>,
    /// Files by any path; nothing where no loadable ELF file is.
    objects: HashMap<PathBuf, Option<Arc<Object>>>,
    /// Programs with all their libraries, by their real path.
    programs: HashMap<PathBuf, Arc<Process>>,
}

/// A file that can be loaded.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) elf: Elf,
    /// Its path without symbolic links.
    pub(super) real: PathBuf,
}

impl Loader {
    /// The loader of this machine.
    pub fn host() -> Self {
        Self::new(FileRoot::host())
    }

    /// The loader of a root file system that lies in the directory `root`. Paths that go in and come out
    /// are the ones that a program in it would see; [`Loader::on_disk`] says where they are.
    pub fn at_root(root: &Path) -> Result<Self, ElfError> {
        Ok(Self::new(FileRoot::at(root).map_err(FileError::of("open", root))?))
    }

    fn new(root: FileRoot) -> Self {
        let cache = read_limited(&root, Path::new("/etc/ld.so.cache"), cache::LIMIT)
            .map(|bytes| LibraryCache::parse(&bytes))
            .unwrap_or_default();
        Self { root, cache, memory: Mutex::default() }
    }

    /// Finds what all `roots` need.
    ///
    /// # Errors
    /// When a root or an executable cannot be read or is not an ELF file. A library that is not
    /// there, not readable, not for the machine or broken is passed over as by the loader, and
    /// named in [`Closure::missing`] when no other is found.
    pub fn resolve(&self, roots: &[Root]) -> Result<Closure, ElfError> {
        // What a panic left behind is still true: it only remembers files.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut collector = Collector::default();
        for root in roots {
            let path = std::path::absolute(&root.path).map_err(FileError::of("find", &root.path))?;
            let Some(executable) = &root.executable else {
                collector.add(&Process::start(self, &mut memory, &path, &root.provided)?);
                continue;
            };
            let program = self.program(&mut memory, executable)?;
            let object = self.object(&mut memory, &path)?;
            if object.elf.machine.runs_with(program.machine()) {
                collector.add(&Process::load(self, &mut memory, program, &path, &object, &root.provided)?);
            } else {
                collector.add_foreign(&root.path);
            }
        }
        Ok(collector.finish())
    }

    /// Where the path `inside` of the root file system is on this machine, its links resolved
    /// within the root.
    pub fn on_disk(&self, inside: &Path) -> Result<PathBuf, ElfError> {
        let resolved = self.root.resolve(inside).map_err(FileError::of("find", inside))?;
        Ok(self.root.on_disk(&resolved))
    }

    pub(super) fn cache(&self) -> &LibraryCache {
        &self.cache
    }

    /// The content of a small text file, where it is there.
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        String::from_utf8(read_limited(&self.root, path, 64 << 10)?).ok()
    }

    /// The process of a program, with its libraries.
    fn program(&self, memory: &mut Memory, path: &Path) -> Result<Arc<Process>, ElfError> {
        let path = std::path::absolute(path).map_err(FileError::of("find", path))?;
        let real = self.root.resolve(&path).map_err(FileError::of("find", &path))?;
        if let Some(program) = memory.programs.get(&real) {
            return Ok(program.clone());
        }
        let program = Arc::new(Process::start(self, memory, &real, &[])?);
        memory.programs.insert(real, program.clone());
        Ok(program)
    }

    /// The file at `path`, which was named by the caller and has to be ELF.
    pub(super) fn object(&self, memory: &mut Memory, path: &Path) -> Result<Arc<Object>, ElfError> {
        let real = self.root.resolve(path).map_err(FileError::of("find", path))?;
        if let Some(Some(object)) = memory.objects.get(&real) {
            return Ok(object.clone());
        }
        let elf =
            header::read(&self.root.on_disk(&real))?.ok_or_else(|| ElfError::NotElf(path.to_owned()))?;
        let object = Arc::new(Object { elf, real: real.clone() });
        memory.objects.insert(real, Some(object.clone()));
        Ok(object)
    }

    /// The library at `path`, if one that `machine` can load is there.
    pub(super) fn library(
        &self,
        memory: &mut Memory,
        path: &Path,
        machine: Machine,
    ) -> Result<Option<Arc<Object>>, ElfError> {
        if !memory.objects.contains_key(path) {
            let object = self.try_object(memory, path)?;
            memory.objects.insert(path.to_owned(), object);
        }
        let object = memory.objects.get(path).cloned().flatten();
        Ok(object.filter(|object| object.elf.kind != Kind::Other && object.elf.machine.runs_with(machine)))
    }

    fn try_object(&self, memory: &mut Memory, path: &Path) -> Result<Option<Arc<Object>>, ElfError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        // Most candidates are not there: one look in a directory whose links are known already.
        let Some(parent) = self.directory(memory, parent)? else {
            return Ok(None);
        };
        let inside = parent.join(name);
        let real = match std::fs::symlink_metadata(self.root.on_disk(&inside)) {
            Ok(metadata) if metadata.is_file() => inside,
            Ok(metadata) if metadata.is_symlink() => match absent(self.root.resolve(&inside), path)? {
                Some(real) => real,
                None => return Ok(None),
            },
            Ok(_) => return Ok(None),
            Err(error) => return absent(Err(error), path).map(|_: Option<()>| None),
        };
        if let Some(known) = memory.objects.get(&real) {
            return Ok(known.clone());
        }
        let object = match header::read(&self.root.on_disk(&real)) {
            Ok(elf) => elf.map(|elf| Arc::new(Object { elf, real: real.clone() })),
            Err(ElfError::File(error)) => absent(Err(error.source), path)?,
            Err(_) => None,
        };
        memory.objects.insert(real, object.clone());
        Ok(object)
    }

    /// The directory without symbolic links; nothing where there is none.
    pub(super) fn directory(&self, memory: &mut Memory, path: &Path) -> Result<Option<PathBuf>, ElfError> {
        if let Some(known) = memory.directories.get(path) {
            return Ok(known.clone());
        }
        let real = absent(self.root.resolve(path), path)?;
        memory.directories.insert(path.to_owned(), real.clone());
        Ok(real)
    }

    /// The same directory by a shorter name: `/x/numpy/../numpy.libs` is `/x/numpy.libs`, unless
    /// `numpy` is a link to somewhere else.
    pub(super) fn shorten(&self, memory: &mut Memory, path: &Path) -> Result<PathBuf, ElfError> {
        let short = shorten(path);
        let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
        if !climbs {
            return Ok(short);
        }
        match self.directory(memory, path)? {
            Some(real) if self.directory(memory, &short)?.as_ref() != Some(&real) => Ok(real),
            _ => Ok(short),
        }
    }
}

/// Turns "there is none" into `None`. What the loader passes over, a build may too; a disk that
/// fails it may not.
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

fn read_limited(root: &FileRoot, path: &Path, limit: u64) -> Option<Vec<u8>> {
    let path = root.on_disk(&root.resolve(path).ok()?);
    if !std::fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}
