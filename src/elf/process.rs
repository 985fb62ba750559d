//! [`Process`]: one process as the loader fills it, breadth first, from a program or a library on.
//!
//! Follows glibc's `elf/dl-load.c` (`_dl_map_object`) and `elf/dl-deps.c`, and musl's
//! `ldso/dynlink.c` (`load_library`).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ElfError;
use super::closure::{FoundBy, Missing};
use super::directories::{Flavour, MUSL_DEFAULTS, glibc_defaults, is_musl_itself};
use super::loader::{Loader, Memory, Object};
use super::machine::{Class, Machine};
use super::token::{Tokens, expand};

/// A process: what is loaded, in the order of loading, on top of what `base` holds.
#[derive(Debug)]
pub(super) struct Process {
    base: Option<Arc<Process>>,
    main: PathBuf,
    machine: Machine,
    flavour: Flavour,
    /// The loader as the program names it, and its real path.
    interpreter: Option<(PathBuf, PathBuf)>,
    missing_interpreter: Option<String>,
    /// What `$LIB` stands for.
    lib: String,
    /// The directories that are searched last.
    defaults: Vec<PathBuf>,
    objects: Vec<Loaded>,
    records: Vec<Record>,
    /// The names that are taken, by `DT_NEEDED` or by `DT_SONAME`.
    names: HashMap<String, Hit>,
    /// The objects by real path: one file is loaded once.
    by_real: HashSet<PathBuf>,
    needs: Vec<Need>,
}

/// An object in the process.
#[derive(Debug)]
struct Loaded {
    /// The path it was found by, which is what others know it by.
    path: PathBuf,
    object: Arc<Object>,
    /// The object that needed it first.
    loader: Option<usize>,
    rpath: Vec<PathBuf>,
    runpath: Vec<PathBuf>,
    origin: PathBuf,
}

/// A library by a name and a path that it was found by.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) soname: String,
    pub(super) path: PathBuf,
    pub(super) real: PathBuf,
    pub(super) found_by: FoundBy,
}

/// One `DT_NEEDED` of a loaded object and what became of it.
#[derive(Debug)]
struct Need {
    name: String,
    needer: usize,
    hit: Option<Hit>,
}

/// The same, for those who look from outside.
#[derive(Debug)]
pub(super) struct Needed<'a> {
    /// The name that was asked for.
    pub(super) name: &'a str,
    /// The file that needs it, by the path it was found by.
    pub(super) by: &'a Path,
    /// That file without symbolic links.
    pub(super) by_real: &'a Path,
    /// Whether it is there.
    pub(super) is_met: bool,
    /// The library that it is, where it is one.
    pub(super) record: Option<&'a Record>,
}

/// What a name that is taken stands for.
#[derive(Debug, Clone, Copy)]
enum Hit {
    /// A library that was found.
    Record(usize),
    /// The program, its loader, or what the caller said is there.
    Given,
}

/// Where something was found.
type Found = (PathBuf, Arc<Object>, FoundBy);

impl Process {
    /// Starts the program at `path`, or looks at the library there as if it were one.
    pub(super) fn start(
        loader: &Loader,
        memory: &mut Memory,
        path: &Path,
        provided: &[String],
    ) -> Result<Self, ElfError> {
        let object = loader.object(memory, path)?;
        let elf = &object.elf;
        let flavour = match &elf.interpreter {
            Some(interpreter) if musl_architecture(interpreter).is_some() => Flavour::Musl,
            None if elf.needed.iter().any(|name| name.starts_with("libc.musl-")) => Flavour::Musl,
            _ => Flavour::Glibc,
        };
        let mut process = Self {
            base: None,
            main: object.real.clone(),
            machine: elf.machine,
            flavour,
            interpreter: None,
            missing_interpreter: None,
            lib: lib_token(loader, memory, elf.machine)?,
            defaults: Vec::new(),
            objects: Vec::new(),
            records: Vec::new(),
            names: provided.iter().map(|name| (name.clone(), Hit::Given)).collect(),
            by_real: HashSet::new(),
            needs: Vec::new(),
        };
        process.defaults = process.default_directories(loader, elf.interpreter.as_deref(), &elf.needed);
        if let Some(interpreter) = &elf.interpreter {
            process.add_interpreter(loader, memory, interpreter)?;
        }
        // The kernel tells the loader where the program really is, whatever link started it.
        let origin = if elf.is_executable() { object.real.clone() } else { path.to_owned() };
        process.run(loader, memory, path, &origin, &object)?;
        Ok(process)
    }

    /// Loads the library at `path` into the running program `base`.
    pub(super) fn load(
        loader: &Loader,
        memory: &mut Memory,
        base: Arc<Self>,
        path: &Path,
        object: &Arc<Object>,
        provided: &[String],
    ) -> Result<Self, ElfError> {
        let mut process = Self {
            main: object.real.clone(),
            machine: base.machine,
            flavour: base.flavour,
            interpreter: None,
            missing_interpreter: None,
            lib: base.lib.clone(),
            defaults: base.defaults.clone(),
            objects: Vec::new(),
            records: Vec::new(),
            names: provided.iter().map(|name| (name.clone(), Hit::Given)).collect(),
            by_real: HashSet::new(),
            needs: Vec::new(),
            base: Some(base),
        };
        if !process.is_loaded(&object.real) {
            process.run(loader, memory, path, path, object)?;
        }
        Ok(process)
    }

    /// The process that this one was loaded into.
    pub(super) fn base(&self) -> Option<&Self> {
        self.base.as_deref()
    }

    /// The real path of its first file.
    pub(super) fn main(&self) -> &Path {
        &self.main
    }

    pub(super) fn machine(&self) -> Machine {
        self.machine
    }

    /// The loader, as the program names it.
    pub(super) fn interpreter(&self) -> Option<&Path> {
        self.interpreter.as_ref().map(|(path, _)| path.as_path())
    }

    /// The loader that the program names and that is not there.
    pub(super) fn missing_interpreter(&self) -> Option<Missing> {
        let needed_by = self.objects.first()?.path.clone();
        Some(Missing { soname: self.missing_interpreter.clone()?, needed_by })
    }

    /// Who needs what, without the needs inside the process below.
    pub(super) fn needs(&self) -> impl Iterator<Item = Needed<'_>> {
        self.needs.iter().filter_map(|need| {
            let needer = self.object(need.needer)?;
            Some(Needed {
                name: &need.name,
                by: &needer.path,
                by_real: &needer.object.real,
                is_met: need.hit.is_some(),
                record: need.hit.and_then(|hit| match hit {
                    Hit::Record(record) => self.record(record),
                    Hit::Given => None,
                }),
            })
        })
    }

    /// Loads `object` and, breadth first, all that is needed from there on.
    fn run(
        &mut self,
        loader: &Loader,
        memory: &mut Memory,
        path: &Path,
        origin: &Path,
        object: &Arc<Object>,
    ) -> Result<(), ElfError> {
        let below = self.object_count();
        // What a library is loaded by counts as the first object, the program itself.
        let loaded_by = (below > 0).then_some(0);
        self.add(loader, memory, (path, origin), object, loaded_by)?;
        if let Some(soname) = &object.elf.soname {
            self.names.entry(soname.clone()).or_insert(Hit::Given);
        }
        let mut next = below;
        while let Some(needer) = self.object(next) {
            let object = needer.object.clone();
            for name in &object.elf.needed {
                self.need(loader, memory, next, name)?;
            }
            next += 1;
        }
        Ok(())
    }

    /// Satisfies one `DT_NEEDED`.
    fn need(
        &mut self,
        loader: &Loader,
        memory: &mut Memory,
        needer: usize,
        name: &str,
    ) -> Result<(), ElfError> {
        let need = |hit| Need { name: name.to_owned(), needer, hit };
        let is_libc = || self.flavour == Flavour::Musl && is_musl_itself(name);
        if let Some(hit) = self.hit(name).or_else(|| is_libc().then_some(Hit::Given)) {
            self.needs.push(need(Some(hit)));
            return Ok(());
        }
        let Some((path, object, found_by)) = self.search(loader, memory, needer, name)? else {
            self.needs.push(need(None));
            return Ok(());
        };
        if self.is_loader(&object) {
            self.names.insert(name.to_owned(), Hit::Given);
            self.needs.push(need(Some(Hit::Given)));
            return Ok(());
        }
        let record = self.base.as_ref().map_or(0, |base| base.record_count()) + self.records.len();
        let origin = path.clone();
        self.records.push(Record {
            soname: name.to_owned(),
            path: path.clone(),
            real: object.real.clone(),
            found_by,
        });
        self.needs.push(need(Some(Hit::Record(record))));
        self.names.insert(name.to_owned(), Hit::Record(record));
        // Found by another name before: loaded once, known by both.
        if !self.is_loaded(&object.real) {
            self.add(loader, memory, (&path, &origin), &object, Some(needer))?;
            if let Some(soname) = object.elf.soname.as_ref().filter(|_| self.flavour == Flavour::Glibc) {
                self.names.entry(soname.clone()).or_insert(Hit::Record(record));
            }
        }
        Ok(())
    }

    /// Looks for a library in the order of ld.so(8).
    fn search(
        &self,
        loader: &Loader,
        memory: &mut Memory,
        needer: usize,
        name: &str,
    ) -> Result<Option<Found>, ElfError> {
        let Some(object) = self.object(needer) else {
            return Ok(None);
        };
        if name.contains('/') {
            let Some(path) = self.path_of(loader, memory, &object.origin, name)? else {
                return Ok(None);
            };
            let library = loader.library(memory, &path, self.machine)?;
            return Ok(library.map(|object| (path, object, FoundBy::Path)));
        }
        for (directory, found_by) in self.search_paths(needer) {
            let path = directory.join(name);
            if let Some(library) = loader.library(memory, &path, self.machine)? {
                return Ok(Some((path, library, found_by)));
            }
        }
        let skips_defaults = object.object.elf.skips_defaults;
        if self.flavour == Flavour::Glibc {
            for path in loader.cache().lookup(name, self.machine).map(Path::new) {
                let is_default =
                    path.parent().is_some_and(|parent| self.defaults.iter().any(|default| default == parent));
                if skips_defaults && is_default {
                    continue;
                }
                if let Some(library) = loader.library(memory, path, self.machine)? {
                    return Ok(Some((path.to_owned(), library, FoundBy::Cache)));
                }
            }
        }
        if skips_defaults && self.flavour == Flavour::Glibc {
            return Ok(None);
        }
        for directory in &self.defaults {
            let path = directory.join(name);
            if let Some(library) = loader.library(memory, &path, self.machine)? {
                return Ok(Some((path, library, FoundBy::Default)));
            }
        }
        Ok(None)
    }

    /// The directories that the files themselves name, in the order in which they are searched.
    fn search_paths(&self, needer: usize) -> Vec<(&PathBuf, FoundBy)> {
        let mut paths = Vec::new();
        let chain = || std::iter::successors(self.object(needer), |object| self.object(object.loader?));
        let Some(object) = self.object(needer) else {
            return paths;
        };
        if self.flavour == Flavour::Musl {
            // musl makes no difference between the two, and inherits both.
            for object in chain() {
                let (list, found_by) = if object.object.elf.runpath.is_empty() {
                    (&object.rpath, FoundBy::Rpath)
                } else {
                    (&object.runpath, FoundBy::Runpath)
                };
                paths.extend(list.iter().map(|directory| (directory, found_by)));
            }
            return paths;
        }
        if object.object.elf.runpath.is_empty() {
            for object in chain().filter(|object| object.object.elf.runpath.is_empty()) {
                paths.extend(object.rpath.iter().map(|directory| (directory, FoundBy::Rpath)));
            }
        }
        paths.extend(object.runpath.iter().map(|directory| (directory, FoundBy::Runpath)));
        paths
    }

    fn add(
        &mut self,
        loader: &Loader,
        memory: &mut Memory,
        (path, origin): (&Path, &Path),
        object: &Arc<Object>,
        loaded_by: Option<usize>,
    ) -> Result<(), ElfError> {
        let origin = match origin.parent() {
            Some(parent) => loader.shorten(memory, parent)?,
            None => PathBuf::from("/"),
        };
        let mut expand_all = |list: &[String]| -> Result<Vec<PathBuf>, ElfError> {
            let mut paths = Vec::with_capacity(list.len());
            for element in list {
                paths.extend(self.path_of(loader, memory, &origin, element)?);
            }
            Ok(paths)
        };
        let (rpath, runpath) = (expand_all(&object.elf.rpath)?, expand_all(&object.elf.runpath)?);
        self.by_real.insert(object.real.clone());
        let (path, object) = (path.to_owned(), object.clone());
        self.objects.push(Loaded { path, object, loader: loaded_by, rpath, runpath, origin });
        Ok(())
    }

    /// The path that `text` means to an object in the directory `origin`. A relative one depends on
    /// where a process is started, which nobody knows here: it means nothing.
    fn path_of(
        &self,
        loader: &Loader,
        memory: &mut Memory,
        origin: &Path,
        text: &str,
    ) -> Result<Option<PathBuf>, ElfError> {
        let Some(origin) = origin.to_str() else {
            return Ok(None);
        };
        let tokens = Tokens { origin, lib: &self.lib, platform: self.machine.platform_token() };
        match expand(text, tokens).map(PathBuf::from) {
            Some(path) if path.is_absolute() => loader.shorten(memory, &path).map(Some),
            _ => Ok(None),
        }
    }

    fn add_interpreter(
        &mut self,
        loader: &Loader,
        memory: &mut Memory,
        interpreter: &str,
    ) -> Result<(), ElfError> {
        let path = PathBuf::from(interpreter);
        match loader.library(memory, &path, self.machine)? {
            Some(object) => {
                let name = object.elf.soname.clone();
                let file_name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
                let names = [Some(interpreter.to_owned()), name.or(file_name)];
                self.names.extend(names.into_iter().flatten().map(|name| (name, Hit::Given)));
                self.interpreter = Some((path, object.real.clone()));
            }
            None => self.missing_interpreter = Some(interpreter.to_owned()),
        }
        Ok(())
    }

    fn default_directories(
        &self,
        loader: &Loader,
        interpreter: Option<&str>,
        needed: &[String],
    ) -> Vec<PathBuf> {
        if self.flavour == Flavour::Glibc {
            return glibc_defaults(self.machine).into_iter().map(PathBuf::from).collect();
        }
        // The loader's own directory has `etc` beside it: `/lib/ld-musl-x86_64.so.1` reads
        // `/etc/ld-musl-x86_64.path`.
        let prefix = interpreter.and_then(|path| Path::new(path).parent()?.parent());
        let architecture = interpreter
            .and_then(musl_architecture)
            .or_else(|| needed.iter().find_map(|name| name.strip_prefix("libc.musl-")?.split('.').next()));
        let listed = architecture.and_then(|architecture| {
            let name = format!("etc/ld-musl-{architecture}.path");
            loader.text(&prefix.unwrap_or(Path::new("/")).join(name))
        });
        let listed = listed.as_deref().unwrap_or(MUSL_DEFAULTS);
        listed.split([':', '\n']).filter(|path| path.starts_with('/')).map(PathBuf::from).collect()
    }

    fn object(&self, index: usize) -> Option<&Loaded> {
        let below = self.base.as_ref().map_or(0, |base| base.objects.len());
        match index.checked_sub(below) {
            Some(own) => self.objects.get(own),
            None => self.base.as_ref()?.objects.get(index),
        }
    }

    fn object_count(&self) -> usize {
        self.base.as_ref().map_or(0, |base| base.objects.len()) + self.objects.len()
    }

    fn record(&self, index: usize) -> Option<&Record> {
        let below = self.base.as_ref().map_or(0, |base| base.record_count());
        match index.checked_sub(below) {
            Some(own) => self.records.get(own),
            None => self.base.as_ref()?.records.get(index),
        }
    }

    fn record_count(&self) -> usize {
        self.records.len()
    }

    fn hit(&self, name: &str) -> Option<Hit> {
        self.names.get(name).or_else(|| self.base.as_ref()?.names.get(name)).copied()
    }

    fn is_loaded(&self, real: &Path) -> bool {
        self.by_real.contains(real) || self.base.as_ref().is_some_and(|base| base.by_real.contains(real))
    }

    fn is_loader(&self, object: &Object) -> bool {
        let interpreter = self.interpreter.as_ref().or_else(|| self.base.as_ref()?.interpreter.as_ref());
        interpreter.is_some_and(|(_, real)| *real == object.real)
    }
}

/// The architecture in the name of musl's loader.
fn musl_architecture(interpreter: &str) -> Option<&str> {
    interpreter.rsplit('/').next()?.strip_prefix("ld-musl-")?.split('.').next()
}

/// What `$LIB` stands for in this root: it was decided when its loader was built.
fn lib_token(loader: &Loader, memory: &mut Memory, machine: Machine) -> Result<String, ElfError> {
    if let Some(multiarch) = machine.multiarch() {
        let lib = format!("lib/{multiarch}");
        if loader.directory(memory, &Path::new("/").join(&lib))?.is_some() {
            return Ok(lib);
        }
    }
    let has_lib64 = machine.class == Class::Elf64 && loader.directory(memory, Path::new("/lib64"))?.is_some();
    Ok(if has_lib64 { "lib64" } else { "lib" }.to_owned())
}
