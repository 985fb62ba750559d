//! Searches for one library as the loader does, in the order of ld.so(8).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ElfError;
use super::defaults::{LoaderDefaults, LoaderKind};
use super::files::{ElfFiles, Object};
use super::found::FoundBy;

/// An object in a process.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The path of its search, by which other objects know this one.
    pub(super) path: PathBuf,
    pub(super) object: Arc<Object>,
    /// The index of the object that first needed this one.
    pub(super) parent: Option<usize>,
    /// The value of `$ORIGIN`.
    origin: PathBuf,
    rpath: Vec<PathBuf>,
    runpath: Vec<PathBuf>,
}

/// The result of a search.
#[derive(Debug)]
pub(super) struct FoundLibrary {
    pub(super) path: PathBuf,
    pub(super) object: Arc<Object>,
    pub(super) by: FoundBy,
}

impl Loaded {
    /// Creates the object found at `path`; `$ORIGIN` is the directory of `origin`.
    pub(super) fn new(
        files: &mut ElfFiles,
        defaults: &LoaderDefaults,
        (path, origin): (&Path, &Path),
        object: &Arc<Object>,
        parent: Option<usize>,
    ) -> Result<Self, ElfError> {
        let origin = files.shorten(origin.parent().unwrap_or(Path::new("/")))?;
        let mut expand = |list: &[String]| -> Result<Vec<PathBuf>, ElfError> {
            let mut paths = Vec::with_capacity(list.len());
            for element in list {
                paths.extend(defaults.path_of(files, &origin, element)?);
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

/// Searches for the library `name`. `chain` is the object that needs the library, followed by the
/// object that loaded that one, up to the first.
pub(super) fn search<'a>(
    files: &mut ElfFiles,
    defaults: &LoaderDefaults,
    chain: impl Iterator<Item = &'a Loaded> + Clone,
    name: &str,
) -> Result<Option<FoundLibrary>, ElfError> {
    let machine = defaults.machine;
    let Some(needer) = chain.clone().next() else {
        return Ok(None);
    };
    if name.contains('/') {
        let Some(path) = defaults.path_of(files, &needer.origin, name)? else {
            return Ok(None);
        };
        let object = files.library(&path, machine)?;
        return Ok(object.map(|object| FoundLibrary { path, object, by: FoundBy::Path }));
    }
    let cache = files.cache();
    let mut look = |path: PathBuf, by| -> Result<Option<FoundLibrary>, ElfError> {
        let object = files.library(&path, machine)?;
        Ok(object.map(|object| FoundLibrary { path, object, by }))
    };
    for (directory, found_by) in named_directories(defaults.loader, needer, chain) {
        if let Some(found) = look(directory.join(name), found_by)? {
            return Ok(Some(found));
        }
    }
    let is_glibc = defaults.loader == LoaderKind::Glibc;
    let skips_defaults = is_glibc && needer.object.elf.skips_defaults;
    if is_glibc {
        let is_default =
            |path: &Path| defaults.directories.iter().any(|default| path.parent() == Some(default));
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
    for directory in &defaults.directories {
        if let Some(found) = look(directory.join(name), FoundBy::Default)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns the directories listed in the files themselves, in search order.
fn named_directories<'a>(
    loader: LoaderKind,
    needer: &'a Loaded,
    chain: impl Iterator<Item = &'a Loaded>,
) -> Vec<(&'a PathBuf, FoundBy)> {
    let rpath = |object: &'a Loaded| object.rpath.iter().map(|directory| (directory, FoundBy::Rpath));
    let runpath = |object: &'a Loaded| object.runpath.iter().map(|directory| (directory, FoundBy::Runpath));
    match loader {
        // musl treats both tags alike, and inherits both.
        LoaderKind::Musl => chain
            .flat_map(|object| {
                let (old, new) =
                    if object.has_runpath() { (None, Some(object)) } else { (Some(object), None) };
                old.into_iter().flat_map(rpath).chain(new.into_iter().flat_map(runpath))
            })
            .collect(),
        LoaderKind::Glibc if needer.has_runpath() => runpath(needer).collect(),
        LoaderKind::Glibc => chain.filter(|object| !object.has_runpath()).flat_map(rpath).collect(),
    }
}
