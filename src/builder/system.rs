//! What makes an image a system: shared libraries, accounts, certificates; all of it, or what a base lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BuildError;
use super::foundation::Foundation;
use super::runtime::Runtime;
use super::survey::Survey;
use crate::base::{self, Overlay};
use crate::elf::{self, Root, RootFiles as _};
use crate::plan::Pieces;
use crate::platform::Platform;
use crate::progress::{Progress, Warning};
use crate::python::Relocated;
use crate::recipe::Recipe;
use crate::system::{self, Programs, SharedLibraries, Wanted};
use crate::tree::{Content, Entry, ImagePath, Kind};

/// Libraries that need libraries that need libraries: more rounds than any real chain has.
const ROUNDS: usize = 32;

impl Survey<'_> {
    /// Fills in all that makes an image from nothing a system, and says what it runs on.
    pub(super) fn system(
        &self,
        runtime: &Runtime,
        relocated: &Relocated,
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<Platform, BuildError> {
        pieces.system = system_files(self.recipe, progress)?;
        pieces.environment.extend(system::accounts(&self.account)?);
        let mut libraries = self.libraries(runtime, relocated, pieces, progress)?;
        record(&mut libraries, pieces, progress)?;
        let (architecture, variant) = libraries.platform.unwrap_or_else(|| ("unknown".to_owned(), None));
        Ok(Platform::new("linux", &architecture, variant.as_deref()))
    }

    /// Fills in what `foundation` lacks, and fits everything into it.
    pub(super) fn system_on_base(
        &self,
        foundation: &Foundation,
        runtime: &Runtime,
        relocated: &Relocated,
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        pieces.system = foundation.lacking(system_files(self.recipe, progress)?);
        pieces.environment.extend(base::accounts(&foundation.view, &self.account)?.entries);
        let mut libraries = if runtime.host.is_some() {
            self.libraries(runtime, relocated, pieces, progress)?
        } else {
            SharedLibraries::default()
        };
        progress.step("finding what the base lacks");
        lacking(foundation, runtime, relocated, pieces, &mut libraries, progress)?;
        record(&mut libraries, pieces, progress)?;
        pieces.system.retain(|entry| !foundation.has_terms(&entry.path));
        Ok(())
    }

    /// The shared libraries of this machine that the image's programs need, with what they overwrite applied to `pieces`.
    fn libraries(
        &self,
        runtime: &Runtime,
        relocated: &Relocated,
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<SharedLibraries, BuildError> {
        progress.step("finding shared libraries");
        let Some(host) = &runtime.host else { return Ok(SharedLibraries::default()) };
        let of_interpreter = runtime.files.as_ref().map(|files| files.elf_files.clone()).unwrap_or_default();
        let bin = runtime.executable.parent().unwrap_or_default();
        let prefix = runtime.files.as_ref().map(|files| files.prefix.clone()).or_else(|| bin.parent());
        let prefix = prefix.unwrap_or_default();
        let of_environment = relocated.entries().filter_map(may_be_elf);
        let libraries = system::shared_libraries(&Programs {
            executable: &host.executable,
            prefix: (&host.prefix, &prefix),
            files: of_interpreter.into_iter().chain(of_environment).collect(),
            extra: &self.recipe.libraries,
        })?;
        if runtime.files.is_some() {
            system::apply(&libraries.patches, &mut pieces.interpreter);
        }
        for warning in &libraries.warnings {
            progress.warn(warning.clone());
        }
        Ok(libraries)
    }
}

fn system_files(recipe: &Recipe, progress: &dyn Progress) -> Result<Vec<Entry>, BuildError> {
    let wanted = Wanted { certificates: recipe.certificates.into(), time_zones: recipe.time_zones.into() };
    let (files, warnings) = system::files(Path::new("/"), wanted)?;
    for warning in warnings {
        progress.warn(warning);
    }
    Ok(files)
}

/// Accounts the libraries to the packages they came from, and puts them into the system's piece.
fn record(
    libraries: &mut SharedLibraries,
    pieces: &mut Pieces,
    progress: &dyn Progress,
) -> Result<(), BuildError> {
    let host_files: Vec<Arc<Path>> =
        pieces.interpreter.iter().chain(&pieces.system).filter_map(host_file).collect();
    let (packages, warnings) = system::record_packages(libraries, host_files.iter().map(|path| &**path))?;
    for warning in warnings {
        progress.warn(warning);
    }
    pieces.system.extend(packages);
    pieces.system.append(&mut libraries.entries);
    Ok(())
}

/// Leaves of `libraries` what the image needs and the base has not, at the place where the base's loader looks.
///
/// Each round asks the loader what is missing when what was found so far is there: a library that is added may need another.
fn lacking(
    foundation: &Foundation,
    runtime: &Runtime,
    relocated: &Relocated,
    pieces: &Pieces,
    libraries: &mut SharedLibraries,
    progress: &dyn Progress,
) -> Result<(), BuildError> {
    let mut planned: Vec<Entry> = pieces.interpreter.clone();
    planned.extend(relocated.entries().cloned());
    let executable = runtime.executable.to_string();
    let mut roots = Vec::new();
    let of_interpreter = runtime.files.iter().flat_map(|files| files.elf_files.iter().cloned());
    for (place, host) in of_interpreter.chain(relocated.entries().filter_map(may_be_elf)) {
        // A file that only looks like ELF is somebody's test data.
        let Ok(Some(header)) = elf::read(&host) else { continue };
        if header.is_dynamic() {
            let path = place.to_string();
            roots.push(if header.is_executable() {
                Root::new(path)
            } else {
                Root::loaded_by(path, &executable)
            });
        }
    }
    let mut candidates: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in std::mem::take(&mut libraries.entries) {
        candidates.entry(entry.path.file_name().unwrap_or_default().to_owned()).or_default().push(entry);
    }
    let home = foundation.library_home();
    let mut chosen: Vec<Entry> = Vec::new();
    let mut absent = BTreeSet::new();
    for _ in 0..ROUNDS {
        let files = Arc::new(Overlay::new(foundation.view.clone(), &planned)?);
        let found = base::missing_libraries(&files, &roots)?;
        let mut grown = false;
        for missing in &found.libraries {
            let name = missing.soname.rsplit('/').next().unwrap_or_default();
            match candidates.remove(name) {
                Some(entries) => {
                    for mut entry in entries {
                        if let (Some(home), Kind::File(_)) = (&home, &entry.kind) {
                            let place = home.join(name)?;
                            if let Some(host) = libraries.taken.remove(&entry.path) {
                                libraries.taken.insert(place.clone(), host);
                            }
                            entry.path = place;
                        }
                        planned.push(entry.clone());
                        chosen.push(entry);
                        grown = true;
                    }
                }
                None => {
                    absent.insert((missing.needed_by.clone(), missing.soname.clone()));
                }
            }
        }
        if !grown {
            if let Some(first) = found.versions.first() {
                return Err(BuildError::BaseTooOld {
                    first: first.to_string(),
                    others: found.versions.len() - 1,
                });
            }
            break;
        }
        absent.clear();
    }
    if runtime.files.is_some() {
        let more = ways_to_the_loader(foundation, runtime, &candidates, &chosen, &mut planned)?;
        chosen.extend(more);
    }
    libraries.taken.retain(|place, _| chosen.iter().any(|entry| entry.path == *place));
    libraries.entries = chosen;
    for (file, soname) in absent {
        let whose = if runtime.host.is_some() {
            "neither the base nor this machine has"
        } else {
            "the base does not have"
        };
        progress.warn(
            Warning::new(file.display().to_string(), format!("needs {soname}, which {whose}"))
                .with_help("take a base that has the library, if the module is used"),
        );
    }
    Ok(())
}

/// The links by which the kernel finds the loader that this machine's interpreter names, where the base does not have them:
/// it may be a base in which nothing runs. `others` are the entries of an image from nothing that were not chosen.
fn ways_to_the_loader(
    foundation: &Foundation,
    runtime: &Runtime,
    others: &BTreeMap<String, Vec<Entry>>,
    chosen: &[Entry],
    planned: &mut Vec<Entry>,
) -> Result<Vec<Entry>, BuildError> {
    let mut more = Vec::new();
    // `/lib64 -> usr/lib64`, for what lies there.
    for entry in others.values().flatten() {
        let Kind::Symlink(target) = &entry.kind else { continue };
        if entry.path.components().count() > 1 {
            continue;
        }
        let folder = ImagePath::new(target)?;
        let leads_there = chosen.iter().any(|other| other.path.starts_with(&folder));
        if leads_there && foundation.view.lookup(&entry.path).is_none() {
            more.push(entry.clone());
        }
    }
    planned.extend(more.iter().cloned());
    let Some(host) = &runtime.host else { return Ok(more) };
    let Some(loader) =
        elf::read(&host.executable).map_err(base::BaseError::from)?.and_then(|header| header.interpreter)
    else {
        return Ok(more);
    };
    let files = Overlay::new(foundation.view.clone(), planned)?;
    let place = ImagePath::new(&loader)?;
    let is_file =
        |entry: &&Entry| entry.path.file_name() == place.file_name() && matches!(entry.kind, Kind::File(_));
    if files.resolve(Path::new(&loader)).is_err()
        && let Some(file) = chosen.iter().find(is_file)
    {
        let link = Entry::symlink(place, format!("/{}", file.path.as_str()), file.owner.clone());
        planned.push(link.clone());
        more.push(link);
    }
    Ok(more)
}

/// Extension modules and programs of the environment. Whether a file is one, its first bytes say; these have the names.
fn may_be_elf(entry: &Entry) -> Option<(ImagePath, PathBuf)> {
    let Kind::File(Content::Host(file)) = &entry.kind else { return None };
    let name = entry.path.file_name()?;
    let likely = name.ends_with(".so") || name.contains(".so.") || entry.mode & 0o111 != 0;
    likely.then(|| (entry.path.clone(), file.path.to_path_buf()))
}

/// The file of this machine that an entry comes from.
fn host_file(entry: &Entry) -> Option<Arc<Path>> {
    match &entry.kind {
        Kind::File(content) => content.host_file().map(|file| file.path.clone()),
        _ => None,
    }
}
