//! [`Closure`]: all the libraries that some files need, and who needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::process::Process;

/// A file whose libraries are asked for. Each is resolved as a process of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The program, library or extension module. `$ORIGIN` in a library means the directory of this
    /// path as it is written; in a program, the directory that the program really is in.
    pub path: PathBuf,
    /// The program that loads it while it runs: Python for an extension module. The program's
    /// libraries are loaded before, and satisfy what they can.
    pub executable: Option<PathBuf>,
    /// Names of libraries that will be in the process for a reason that no header tells.
    pub provided: Vec<String>,
}

impl Root {
    /// A program, or a library that is looked at by itself.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), executable: None, provided: Vec::new() }
    }

    /// A library or extension module that `executable` loads while it runs.
    pub fn loaded_by(path: impl Into<PathBuf>, executable: impl Into<PathBuf>) -> Self {
        Self { executable: Some(executable.into()), ..Self::new(path) }
    }

    /// The same root in a process that has the library `soname` already.
    #[must_use]
    pub fn with_provided(mut self, soname: impl Into<String>) -> Self {
        self.provided.push(soname.into());
        self
    }
}

/// All that some roots need, ordered by path. The roots themselves are not in it, unless one needs another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// The shared libraries, each once for every path and name that it is found by. The libraries
    /// of the roots' executables are among them.
    pub libraries: Vec<Library>,
    /// What was not found. A root that another root loads is judged by what it finds there.
    pub missing: Vec<Missing>,
    /// The loaders that start the programs (`PT_INTERP`), as the programs name them.
    pub loaders: Vec<PathBuf>,
    /// Roots that were not resolved because they are for another machine than their executable.
    pub foreign: Vec<PathBuf>,
}

/// A shared library that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The name it was asked for by.
    pub soname: String,
    /// Where the loader finds it: usually a symbolic link.
    pub path: PathBuf,
    /// The file itself.
    pub real: PathBuf,
    /// The files that need it, ordered.
    pub needed_by: Vec<PathBuf>,
    /// What made the loader look there.
    pub found_by: FoundBy,
}

/// What made the loader look where it found a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FoundBy {
    /// The name that was asked for is a path.
    Path,
    /// `DT_RPATH` of the file that needs it or of what loaded that file.
    Rpath,
    /// `DT_RUNPATH` of the file that needs it.
    Runpath,
    /// `ld.so.cache`. An image without one has the library only if it is in a default directory.
    Cache,
    /// The directories that the loader knows by itself.
    Default,
}

/// A library that was not found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Missing {
    /// The name it was asked for by.
    pub soname: String,
    /// The file that needs it.
    pub needed_by: PathBuf,
}

/// Collects processes into a [`Closure`].
#[derive(Debug, Default)]
pub(super) struct Collector {
    libraries: BTreeMap<(PathBuf, String), Draft>,
    missing: BTreeSet<Missing>,
    /// What roots by themselves do not find, with their real paths.
    alone: BTreeMap<Missing, PathBuf>,
    /// By real path: what a library finds in the process of another.
    satisfied: BTreeSet<(PathBuf, String)>,
    loaders: BTreeSet<PathBuf>,
    foreign: BTreeSet<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Draft {
    real: PathBuf,
    found_by: FoundBy,
    needed_by: BTreeSet<PathBuf>,
}

impl Collector {
    /// Adds what a process holds, and what the process below it holds.
    pub(super) fn add(&mut self, process: &Process) {
        if let Some(base) = process.base()
            && self.seen.insert(base.main().to_owned())
        {
            self.add(base);
        }
        for need in process.needs() {
            let is_root = need.by_real == process.main();
            if !need.is_met {
                let missing = Missing { soname: need.name.to_owned(), needed_by: need.by.to_owned() };
                if is_root {
                    self.alone.insert(missing, need.by_real.to_owned());
                } else {
                    self.missing.insert(missing);
                }
                continue;
            }
            if !is_root {
                self.satisfied.insert((need.by_real.to_owned(), need.name.to_owned()));
            }
            let Some(record) = need.record else { continue };
            self.libraries
                .entry((record.path.clone(), record.soname.clone()))
                .or_insert_with(|| Draft {
                    real: record.real.clone(),
                    found_by: record.found_by,
                    needed_by: BTreeSet::new(),
                })
                .needed_by
                .insert(need.by.to_owned());
        }
        self.missing.extend(process.missing_interpreter());
        self.loaders.extend(process.interpreter().map(Path::to_owned));
    }

    /// Adds a root that cannot be loaded by its executable.
    pub(super) fn add_foreign(&mut self, path: &Path) {
        self.foreign.insert(path.to_owned());
    }

    pub(super) fn finish(mut self) -> Closure {
        // Wheels bring libraries that find each other only through the module that loads them. Given as
        // a root, such a library lacks what it has wherever it is really loaded.
        let alone = std::mem::take(&mut self.alone).into_iter();
        let truly =
            alone.filter(|(missing, real)| !self.satisfied.contains(&(real.clone(), missing.soname.clone())));
        self.missing.extend(truly.map(|(missing, _)| missing));
        let library = |((path, soname), draft): ((PathBuf, String), Draft)| Library {
            soname,
            path,
            real: draft.real,
            needed_by: draft.needed_by.into_iter().collect(),
            found_by: draft.found_by,
        };
        Closure {
            libraries: self.libraries.into_iter().map(library).collect(),
            missing: self.missing.into_iter().collect(),
            loaders: self.loaders.into_iter().collect(),
            foreign: self.foreign.into_iter().collect(),
        }
    }
}
