//! [`Loader`]: the loader as others see it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::ElfError;
use super::closure::{Closure, Collector, Root};
use super::files::Files;
use super::header::Elf;
use super::process::Process;
use super::root::{FileRoot, RootFiles};
use crate::error::FileError;

/// The dynamic loader of one root file system, as far as finding libraries goes.
///
/// It takes `LD_LIBRARY_PATH` and `LD_PRELOAD` for unset, for the image will not have the build
/// machine's. Builds of a library for some processors only (`glibc-hwcaps`) are passed over for the
/// one that runs on all. It remembers the files it has read: a loader is made once, and used for all roots.
#[derive(Debug)]
pub struct Loader {
    root: Arc<dyn RootFiles>,
    memory: Mutex<Memory>,
}

/// What was learnt so far.
#[derive(Debug)]
struct Memory {
    files: Files,
    /// Programs with all their libraries, by their real path.
    programs: HashMap<PathBuf, Arc<Process>>,
    /// The same by the path that they are named by.
    named: HashMap<PathBuf, Arc<Process>>,
}

impl Loader {
    /// The loader of this machine.
    pub fn host() -> Self {
        Self::of(Arc::new(FileRoot::host()))
    }

    /// The loader of a root file system that lies in the directory `root`. Paths that go in and come out
    /// are the ones that a program in it would see; [`Loader::on_disk`] says where they are.
    pub fn at_root(root: &Path) -> Result<Self, ElfError> {
        Ok(Self::of(Arc::new(FileRoot::at(root).map_err(FileError::of("open", root))?)))
    }

    /// The loader of any root file system, such as an image's.
    pub fn of(root: Arc<dyn RootFiles>) -> Self {
        let memory =
            Memory { files: Files::new(root.clone()), programs: HashMap::new(), named: HashMap::new() };
        Self { root, memory: Mutex::new(memory) }
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
                collector.add(&Process::start(&mut memory.files, &path, &root.provided)?);
                continue;
            };
            let program = memory.program(executable)?;
            let object = memory.files.object(&path)?;
            if object.elf.machine.runs_with(program.machine()) {
                collector.add(&Process::load(&mut memory.files, program, &path, &object, &root.provided)?);
            } else {
                collector.add_foreign(&root.path);
            }
        }
        Ok(collector.finish())
    }

    /// Takes in headers that were read already, of files at paths without links.
    pub(crate) fn know(&self, headers: impl IntoIterator<Item = (PathBuf, Elf)>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for (real, elf) in headers {
            memory.files.know(real, elf);
        }
    }

    /// Where the path `inside` of the root file system is on this machine, its links resolved
    /// within the root.
    pub fn on_disk(&self, inside: &Path) -> Result<PathBuf, ElfError> {
        let resolved = self.root.resolve(inside).map_err(FileError::of("find", inside))?;
        let elsewhere = || io::Error::other("it is in an image, and not on this machine");
        Ok(self.root.on_disk(&resolved).ok_or_else(elsewhere).map_err(FileError::of("find", inside))?)
    }
}

impl Memory {
    /// The process of a program, with its libraries.
    fn program(&mut self, path: &Path) -> Result<Arc<Process>, ElfError> {
        if let Some(program) = self.named.get(path) {
            return Ok(program.clone());
        }
        let absolute = std::path::absolute(path).map_err(FileError::of("find", path))?;
        let real = self.files.real(&absolute)?;
        let program = match self.programs.get(&real) {
            Some(program) => program.clone(),
            None => Arc::new(Process::start(&mut self.files, &real, &[])?),
        };
        self.programs.insert(real, program.clone());
        self.named.insert(path.to_owned(), program.clone());
        Ok(program)
    }
}
