//! [`LinkMap`]: the loader's link map of one process, filled breadth first from a program or
//! library.
//!
//! Follows glibc's `elf/dl-load.c` (`_dl_map_object`) and `elf/dl-deps.c`, and musl's
//! `ldso/dynlink.c` (`load_library`).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ElfError;
use super::defaults::{LoaderDefaults, LoaderKind, is_musl_itself};
use super::files::{ElfFiles, Object};
use super::found::{FoundBy, Missing};
use super::machine::Machine;
use super::search::{FoundLibrary, Loaded, search};

/// A process: the loaded objects in load order, after those of `base`.
#[derive(Debug)]
pub(super) struct LinkMap {
    base: Option<Arc<LinkMap>>,
    main: PathBuf,
    defaults: Arc<LoaderDefaults>,
    /// The loader as written in the program, and its real path.
    interpreter: Option<(PathBuf, PathBuf)>,
    missing_interpreter: Option<String>,
    objects: Vec<Loaded>,
    records: Vec<LibraryRecord>,
    /// The names already satisfied, by `DT_NEEDED` or by `DT_SONAME`.
    names: HashMap<String, Hit>,
    /// The objects by real path: one file is loaded once.
    by_real: HashSet<PathBuf>,
    needs: Vec<DtNeeded>,
}

/// A library by the name and path of a search.
#[derive(Debug)]
pub(super) struct LibraryRecord {
    pub(super) soname: String,
    pub(super) path: PathBuf,
    pub(super) real: PathBuf,
    pub(super) found_by: FoundBy,
}

/// One `DT_NEEDED` of a loaded object, with the result of its search.
#[derive(Debug)]
struct DtNeeded {
    name: String,
    needer: usize,
    hit: Option<Hit>,
}

/// A [`DtNeeded`] with its indices resolved.
#[derive(Debug)]
pub(super) struct ResolvedNeed<'a> {
    /// The requested name.
    pub(super) name: &'a str,
    /// The file that needs the library, by the path of its search.
    pub(super) by: &'a Path,
    /// The file that needs the library, without symbolic links.
    pub(super) by_real: &'a Path,
    /// True for a satisfied need.
    pub(super) is_met: bool,
    /// The library, unless the need is satisfied by another object.
    pub(super) record: Option<&'a LibraryRecord>,
}

/// The object behind a satisfied name.
#[derive(Debug, Clone, Copy)]
enum Hit {
    /// A library found by a search.
    Library(usize),
    /// The program, its loader, or a library declared present by the caller.
    Given,
}

impl LinkMap {
    /// Starts the program at `path`, or treats the library there as one.
    pub(super) fn start(files: &mut ElfFiles, path: &Path, provided: &[String]) -> Result<Self, ElfError> {
        let object = files.object(path)?;
        let defaults = Arc::new(LoaderDefaults::of(&object.elf, files)?);
        let mut map = Self::empty(None, defaults, &object, provided);
        if let Some(interpreter) = &object.elf.interpreter {
            map.add_interpreter(files, interpreter)?;
        }
        // The kernel passes the program's resolved path to the loader, regardless of links.
        let origin = if object.elf.is_executable() { &object.real } else { path };
        map.run(files, (path, origin), &object)?;
        Ok(map)
    }

    /// Loads the library at `path` into the running program `base`.
    pub(super) fn load(
        files: &mut ElfFiles,
        base: Arc<Self>,
        path: &Path,
        object: &Arc<Object>,
        provided: &[String],
    ) -> Result<Self, ElfError> {
        let defaults = base.defaults.clone();
        let mut map = Self::empty(Some(base), defaults, object, provided);
        if !map.is_loaded(&object.real) {
            map.run(files, (path, path), object)?;
        }
        Ok(map)
    }

    fn empty(
        base: Option<Arc<Self>>,
        defaults: Arc<LoaderDefaults>,
        main: &Object,
        provided: &[String],
    ) -> Self {
        Self {
            base,
            main: main.real.clone(),
            defaults,
            interpreter: None,
            missing_interpreter: None,
            objects: Vec::new(),
            records: Vec::new(),
            names: provided.iter().map(|name| (name.clone(), Hit::Given)).collect(),
            by_real: HashSet::new(),
            needs: Vec::new(),
        }
    }

    /// Returns the process into which this one was loaded.
    pub(super) fn base(&self) -> Option<&Self> {
        self.base.as_deref()
    }

    /// Returns the real path of the first file.
    pub(super) fn main(&self) -> &Path {
        &self.main
    }

    pub(super) fn machine(&self) -> Machine {
        self.defaults.machine
    }

    /// Returns the loader as written in the program.
    pub(super) fn interpreter(&self) -> Option<&Path> {
        self.interpreter.as_ref().map(|(path, _)| path.as_path())
    }

    /// Returns the program's loader if that file is missing.
    pub(super) fn missing_interpreter(&self) -> Option<Missing> {
        let needed_by = self.objects.first()?.path.clone();
        Some(Missing { soname: self.missing_interpreter.clone()?, needed_by })
    }

    /// Returns the needs of all objects but those of the base process.
    pub(super) fn needs(&self) -> impl Iterator<Item = ResolvedNeed<'_>> {
        self.needs.iter().filter_map(|need| {
            let needer = self.object(need.needer)?;
            Some(ResolvedNeed {
                name: &need.name,
                by: &needer.path,
                by_real: &needer.object.real,
                is_met: need.hit.is_some(),
                record: need.hit.and_then(|hit| match hit {
                    Hit::Library(record) => self.record(record),
                    Hit::Given => None,
                }),
            })
        })
    }

    /// Loads `object` and, breadth first, its dependencies.
    fn run(
        &mut self,
        files: &mut ElfFiles,
        places: (&Path, &Path),
        object: &Arc<Object>,
    ) -> Result<(), ElfError> {
        let below = self.object_count();
        // An object loaded at run time counts as loaded by the program, the first object.
        let loaded_by = (below > 0).then_some(0);
        self.add(Loaded::new(files, &self.defaults, places, object, loaded_by)?);
        if let Some(soname) = &object.elf.soname {
            self.names.entry(soname.clone()).or_insert(Hit::Given);
        }
        let mut next = below;
        while let Some(needer) = self.object(next) {
            let object = needer.object.clone();
            for name in &object.elf.needed {
                let hit = self.satisfy(files, next, name)?;
                self.needs.push(DtNeeded { name: name.clone(), needer: next, hit });
            }
            next += 1;
        }
        Ok(())
    }

    /// Satisfies one `DT_NEEDED`, if possible.
    fn satisfy(&mut self, files: &mut ElfFiles, needer: usize, name: &str) -> Result<Option<Hit>, ElfError> {
        if let Some(hit) = self.hit(name) {
            return Ok(Some(hit));
        }
        let is_glibc = self.defaults.loader == LoaderKind::Glibc;
        if !is_glibc && is_musl_itself(name) {
            return Ok(Some(Hit::Given));
        }
        let chain = std::iter::successors(self.object(needer), |object| self.object(object.parent?));
        let Some(found) = search(files, &self.defaults, chain, name)? else {
            return Ok(None);
        };
        let FoundLibrary { path, object, by: found_by } = found;
        if self.is_loader(&object) {
            self.names.insert(name.to_owned(), Hit::Given);
            return Ok(Some(Hit::Given));
        }
        let hit = Hit::Library(self.base.as_ref().map_or(0, |base| base.records.len()) + self.records.len());
        self.names.insert(name.to_owned(), hit);
        // An object found earlier by another name is loaded once, and known by both names.
        if !self.is_loaded(&object.real) {
            self.add(Loaded::new(files, &self.defaults, (&path, &path), &object, Some(needer))?);
            if let Some(soname) = object.elf.soname.as_ref().filter(|_| is_glibc) {
                self.names.entry(soname.clone()).or_insert(hit);
            }
        }
        self.records.push(LibraryRecord {
            soname: name.to_owned(),
            path,
            real: object.real.clone(),
            found_by,
        });
        Ok(Some(hit))
    }

    fn add(&mut self, loaded: Loaded) {
        self.by_real.insert(loaded.object.real.clone());
        self.objects.push(loaded);
    }

    fn add_interpreter(&mut self, files: &mut ElfFiles, interpreter: &str) -> Result<(), ElfError> {
        let path = PathBuf::from(interpreter);
        match files.library(&path, self.machine())? {
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

    fn record(&self, index: usize) -> Option<&LibraryRecord> {
        let below = self.base.as_ref().map_or(0, |base| base.records.len());
        match index.checked_sub(below) {
            Some(own) => self.records.get(own),
            None => self.base.as_ref()?.records.get(index),
        }
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
