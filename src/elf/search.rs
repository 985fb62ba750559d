//! The loader's search for one library, in the order of ld.so(8).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ElfError;
use super::closure::FoundBy;
use super::conventions::{Conventions, Flavour};
use super::files::{Files, Object};

/// An object in a process.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The path it was found by, which is what others know it by.
    pub(super) path: PathBuf,
    pub(super) object: Arc<Object>,
    /// The object that needed it first, by its place in the process.
    pub(super) parent: Option<usize>,
    /// What `$ORIGIN` stands for.
    origin: PathBuf,
    rpath: Vec<PathBuf>,
    runpath: Vec<PathBuf>,
}

/// Where a library was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) object: Arc<Object>,
    pub(super) by: FoundBy,
}

impl Loaded {
    /// The object that was found at `path`; the directory of `origin` is what `$ORIGIN` stands for.
    pub(super) fn new(
        files: &mut Files,
        conventions: &Conventions,
        (path, origin): (&Path, &Path),
        object: &Arc<Object>,
        parent: Option<usize>,
    ) -> Result<Self, ElfError> {
        let origin = files.shorten(origin.parent().unwrap_or(Path::new("/")))?;
        let mut expand = |list: &[String]| -> Result<Vec<PathBuf>, ElfError> {
            let mut paths = Vec::with_capacity(list.len());
            for element in list {
                paths.extend(conventions.path_of(files, &origin, element)?);
            }
            Ok(paths)
        };
        let (rpath, runpath) = (expand(&object.elf.rpath)?, expand(&object.elf.runpath)?);
        Ok(Self { path: path.to_owned(), object: object.clone(), parent, origin, rpath, runpath })
    }

    fn has_runpath(&self) -> bool {
        !self.object.elf.runpath.is_empty()
    }
}

/// Looks for the library `name`. `chain` is the object that needs it, what loaded that object, and
/// so on up to the first.
pub(super) fn search<'a>(
    files: &mut Files,
    conventions: &Conventions,
    chain: impl Iterator<Item = &'a Loaded> + Clone,
    name: &str,
) -> Result<Option<Found>, ElfError> {
    let machine = conventions.machine;
    let Some(needer) = chain.clone().next() else {
        return Ok(None);
    };
    if name.contains('/') {
        let Some(path) = conventions.path_of(files, &needer.origin, name)? else {
            return Ok(None);
        };
        let object = files.library(&path, machine)?;
        return Ok(object.map(|object| Found { path, object, by: FoundBy::Path }));
    }
    let cache = files.cache();
    let mut look = |path: PathBuf, by| -> Result<Option<Found>, ElfError> {
        let object = files.library(&path, machine)?;
        Ok(object.map(|object| Found { path, object, by }))
    };
    for (directory, found_by) in named_directories(conventions.flavour, needer, chain) {
        if let Some(found) = look(directory.join(name), found_by)? {
            return Ok(Some(found));
        }
    }
    let is_glibc = conventions.flavour == Flavour::Glibc;
    let skips_defaults = is_glibc && needer.object.elf.skips_defaults;
    if is_glibc {
        let is_default =
            |path: &Path| conventions.defaults.iter().any(|default| path.parent() == Some(default));
        for path in cache.lookup(name, machine).map(Path::new) {
            if skips_defaults && is_default(path) {
                continue;
            }
            if let Some(found) = look(path.to_owned(), FoundBy::Cache)? {
                return Ok(Some(found));
            }
        }
    }
    if skips_defaults {
        return Ok(None);
    }
    for directory in &conventions.defaults {
        if let Some(found) = look(directory.join(name), FoundBy::Default)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The directories that the files themselves name, in the order in which they are searched.
fn named_directories<'a>(
    flavour: Flavour,
    needer: &'a Loaded,
    chain: impl Iterator<Item = &'a Loaded>,
) -> Vec<(&'a PathBuf, FoundBy)> {
    let rpath = |object: &'a Loaded| object.rpath.iter().map(|directory| (directory, FoundBy::Rpath));
    let runpath = |object: &'a Loaded| object.runpath.iter().map(|directory| (directory, FoundBy::Runpath));
    match flavour {
        // musl makes no difference between the two, and inherits both.
        Flavour::Musl => chain
            .flat_map(|object| {
                let (old, new) =
                    if object.has_runpath() { (None, Some(object)) } else { (Some(object), None) };
                old.into_iter().flat_map(rpath).chain(new.into_iter().flat_map(runpath))
            })
            .collect(),
        Flavour::Glibc if needer.has_runpath() => runpath(needer).collect(),
        Flavour::Glibc => chain.filter(|object| !object.has_runpath()).flat_map(rpath).collect(),
    }
}
