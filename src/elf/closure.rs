//! [`LibraryClosure`]: all libraries needed by a set of files, with the files that need them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::found::{FoundBy, Missing};
use super::link_map::LinkMap;

/// A file to resolve, as a process of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRoot {
    /// The program, library or extension module. `$ORIGIN` is the directory of this path as written
    /// for a library, and the directory of the resolved file for a program.
    pub path: PathBuf,
    /// The program that loads this file at run time: Python for an extension module. The program's
    /// libraries are loaded first and satisfy needs of this file.
    pub executable: Option<PathBuf>,
    /// Libraries already in the process for a reason not recorded in any header.
    pub provided: Vec<String>,
}

impl LoadRoot {
    /// Creates a root for a program, or for a library by itself.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), executable: None, provided: Vec::new() }
    }

    /// Creates a root for a library or extension module loaded by `executable` at run time.
    pub fn loaded_by(path: impl Into<PathBuf>, executable: impl Into<PathBuf>) -> Self {
        Self { executable: Some(executable.into()), ..Self::new(path) }
    }

    /// Adds the library `soname` to those already in the process.
    #[must_use]
    pub fn with_provided(mut self, soname: impl Into<String>) -> Self {
        self.provided.push(soname.into());
        self
    }
}

/// The needs of all roots, ordered by path. A root is listed only if another root needs that file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LibraryClosure {
    /// The shared libraries, one element per path and name, including those of the roots'
    /// executables.
    pub libraries: Vec<Library>,
    /// The missing libraries. A root loaded by another root is judged by the search in that
    /// process.
    pub missing: Vec<Missing>,
    /// The programs' loaders (`PT_INTERP`), as written in the programs.
    pub loaders: Vec<PathBuf>,
    /// The roots not resolved because their machine differs from their executable's.
    pub foreign: Vec<PathBuf>,
}

/// A needed shared library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The requested name.
    pub soname: String,
    /// The path found by the loader, usually a symbolic link.
    pub path: PathBuf,
    /// The path without symbolic links.
    pub real: PathBuf,
    /// The files that need this library, ordered.
    pub needed_by: Vec<PathBuf>,
    /// The rule that led to this path.
    pub found_by: FoundBy,
}

/// Collects processes into a [`LibraryClosure`].
#[derive(Debug, Default)]
pub(super) struct Collector {
    libraries: BTreeMap<(PathBuf, String), CollectedLibrary>,
    missing: BTreeSet<Missing>,
    /// The needs that roots by themselves do not satisfy, with the roots' real paths.
    alone: BTreeMap<Missing, PathBuf>,
    /// The needs satisfied in the process of another file, by real path.
    satisfied: BTreeSet<(PathBuf, String)>,
    loaders: BTreeSet<PathBuf>,
    foreign: BTreeSet<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct CollectedLibrary {
    real: PathBuf,
    found_by: FoundBy,
    needed_by: BTreeSet<PathBuf>,
}

impl Collector {
    /// Adds the needs of a process and of its base process.
    pub(super) fn add(&mut self, map: &LinkMap) {
        if let Some(base) = map.base()
            && self.seen.insert(base.main().to_owned())
        {
            self.add(base);
        }
        for need in map.needs() {
            let is_root = need.by_real == map.main();
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
                .or_insert_with(|| CollectedLibrary {
                    real: record.real.clone(),
                    found_by: record.found_by,
                    needed_by: BTreeSet::new(),
                })
                .needed_by
                .insert(need.by.to_owned());
        }
        self.missing.extend(map.missing_interpreter());
        self.loaders.extend(map.interpreter().map(Path::to_owned));
    }

    /// Adds a root for another machine than its executable's.
    pub(super) fn add_foreign(&mut self, path: &Path) {
        self.foreign.insert(path.to_owned());
    }

    pub(super) fn finish(mut self) -> LibraryClosure {
        // Wheels contain libraries that find each other only through the module that loads them. As
        // a root, such a library lacks dependencies that are present wherever it is really loaded.
        let alone = std::mem::take(&mut self.alone).into_iter();
        let truly =
            alone.filter(|(missing, real)| !self.satisfied.contains(&(real.clone(), missing.soname.clone())));
        self.missing.extend(truly.map(|(missing, _)| missing));
        let library = |((path, soname), collected): ((PathBuf, String), CollectedLibrary)| Library {
            soname,
            path,
            real: collected.real,
            needed_by: collected.needed_by.into_iter().collect(),
            found_by: collected.found_by,
        };
        LibraryClosure {
            libraries: self.libraries.into_iter().map(library).collect(),
            missing: self.missing.into_iter().collect(),
            loaders: self.loaders.into_iter().collect(),
            foreign: self.foreign.into_iter().collect(),
        }
    }
}
