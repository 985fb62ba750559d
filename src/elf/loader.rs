//! [`Loader`]: the public entry point of the search.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::ElfError;
use super::closure::{Collector, LibraryClosure, LoadRoot};
use super::files::ElfFiles;
use super::header::Elf;
use super::link_map::LinkMap;
use super::root::{FileRoot, RootFiles};
use crate::error::FileError;
use crate::sync::LockExt as _;

/// The dynamic loader of one root file system, as far as the search for libraries is concerned.
///
/// `LD_LIBRARY_PATH` and `LD_PRELOAD` count as unset, since the build machine's values do not reach
/// the image. Builds for some processors only (`glibc-hwcaps`) are less preferred than the general
/// build. Files are read once per loader: create one and use that for all roots.
#[derive(Debug)]
pub struct Loader {
    root: Arc<dyn RootFiles>,
    memo: Mutex<LoaderMemo>,
}

/// The files and programs read so far.
#[derive(Debug)]
struct LoaderMemo {
    files: ElfFiles,
    /// Programs with all their libraries, by real path.
    programs: HashMap<PathBuf, Arc<LinkMap>>,
    /// The same programs, by requested path.
    named: HashMap<PathBuf, Arc<LinkMap>>,
}

impl Loader {
    /// Returns the loader of this machine.
    pub fn host() -> Self {
        Self::of(Arc::new(FileRoot::host()))
    }

    /// Returns the loader of the root file system in the directory `root`. All paths are as seen
    /// from inside the root; [`Loader::on_disk`] maps them to this machine.
    pub fn at_root(root: &Path) -> Result<Self, ElfError> {
        Ok(Self::of(Arc::new(FileRoot::at(root).map_err(FileError::of("open", root))?)))
    }

    /// Returns the loader of any root file system, such as an image's.
    pub fn of(root: Arc<dyn RootFiles>) -> Self {
        let memo = LoaderMemo {
            files: ElfFiles::new(root.clone()),
            programs: HashMap::new(),
            named: HashMap::new(),
        };
        Self { root, memo: Mutex::new(memo) }
    }

    /// Finds the libraries needed by all `roots`.
    ///
    /// # Errors
    /// If a root or an executable cannot be read or is not an ELF file. Libraries that are absent,
    /// unreadable, broken or for another machine are skipped as by the loader, and listed in
    /// [`LibraryClosure::missing`] if no other is found.
    pub fn resolve(&self, roots: &[LoadRoot]) -> Result<LibraryClosure, ElfError> {
        // A poisoned lock is harmless: the content is only a memo of files.
        let mut memo = self.memo.lock_forgiving();
        let mut collector = Collector::default();
        for root in roots {
            let path = std::path::absolute(&root.path).map_err(FileError::of("find", &root.path))?;
            let Some(executable) = &root.executable else {
                collector.add(&LinkMap::start(&mut memo.files, &path, &root.provided)?);
                continue;
            };
            let program = memo.program(executable)?;
            let object = memo.files.object(&path)?;
            if object.elf.machine.runs_with(program.machine()) {
                collector.add(&LinkMap::load(&mut memo.files, program, &path, &object, &root.provided)?);
            } else {
                collector.add_foreign(&root.path);
            }
        }
        Ok(collector.finish())
    }

    /// Adds headers read earlier, of files at paths without links.
    pub(crate) fn preload(&self, headers: impl IntoIterator<Item = (PathBuf, Elf)>) {
        let mut memo = self.memo.lock_forgiving();
        for (real, elf) in headers {
            memo.files.preload(real, elf);
        }
    }

    /// Returns the path on this machine of `inside`; links are resolved within the root.
    pub fn on_disk(&self, inside: &Path) -> Result<PathBuf, ElfError> {
        let resolved = self.root.resolve(inside).map_err(FileError::of("find", inside))?;
        let elsewhere = || io::Error::other("the file is in an image, not on this machine");
        Ok(self.root.on_disk(&resolved).ok_or_else(elsewhere).map_err(FileError::of("find", inside))?)
    }
}

impl LoaderMemo {
    /// Returns the process of a program, with its libraries.
    fn program(&mut self, path: &Path) -> Result<Arc<LinkMap>, ElfError> {
        if let Some(program) = self.named.get(path) {
            return Ok(program.clone());
        }
        let absolute = std::path::absolute(path).map_err(FileError::of("find", path))?;
        let real = self.files.real(&absolute)?;
        let program = match self.programs.get(&real) {
            Some(program) => program.clone(),
            None => Arc::new(LinkMap::start(&mut self.files, &real, &[])?),
        };
        self.programs.insert(real, program.clone());
        self.named.insert(path.to_owned(), program.clone());
        Ok(program)
    }
}
