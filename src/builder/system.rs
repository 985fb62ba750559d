//! System files of an image: shared libraries, accounts, certificates; or the ones a base lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BuildError;
use super::base::ResolvedBase;
use super::planner::EnvironmentPlanner;
use super::python::ImagePython;
use crate::base::{self, Overlay};
use crate::digest::Digest;
use crate::elf::{self, Elf, LoadRoot, RootFiles as _};
use crate::plan::Pieces;
use crate::platform::Platform;
use crate::plural::counted;
use crate::progress::{Activity, Progress, Step, Warning};
use crate::python::Relocated;
use crate::recipe::Recipe;
use crate::system::{self, LibraryIndex, OptionalFiles, Programs, SharedLibraries};
use crate::tree::{Content, Entry, ImagePath, KeyHasher, Kind};

/// Maximum length of a chain of libraries that need each other, far beyond real ones.
const MAX_ROUNDS: usize = 32;

/// The users of libraries: the image's Python, its environment, and ELF files of the source.
pub(super) struct LibraryUsers<'a> {
    pub(super) python: &'a ImagePython,
    /// Potential ELF files of interpreter and environment: paths in the image and on this machine.
    pub(super) programs: &'a [(ImagePath, PathBuf)],
    pub(super) natives: &'a [Entry],
    /// Libraries named in the recipe.
    pub(super) named: &'a [String],
}

/// Libraries of this machine to add to an image on a base.
struct LibrarySelection<'a> {
    /// Directory of the base's loader.
    home: Option<ImagePath>,
    /// Available entries by library name.
    candidates: BTreeMap<String, Vec<Entry>>,
    libraries: &'a mut SharedLibraries,
    /// The files of the image. Not shared while entries are added, so that no addition copies them.
    files: Arc<Overlay>,
    chosen: Vec<Entry>,
}

impl LibrarySelection<'_> {
    /// Adds the library `name`, if this machine has it, and returns its path.
    fn take(&mut self, name: &str) -> Result<Option<ImagePath>, BuildError> {
        let Some(entries) = self.candidates.remove(name) else { return Ok(None) };
        let mut place = None;
        for mut entry in entries {
            if let (Some(home), Kind::File(_)) = (&self.home, &entry.kind) {
                let at = home.join(name)?;
                if let Some(host) = self.libraries.taken.remove(&entry.path) {
                    self.libraries.taken.insert(at.clone(), host);
                }
                entry.path = at;
            }
            place = Some(entry.path.clone());
            self.choose(entry)?;
        }
        Ok(place)
    }

    fn choose(&mut self, entry: Entry) -> Result<(), BuildError> {
        Arc::make_mut(&mut self.files).add(&entry)?;
        self.chosen.push(entry);
        Ok(())
    }

    /// Adds the libraries named in the recipe that the base lacks, with their data files. Returns
    /// the roots for the loader.
    fn take_named(
        &mut self,
        base: &ResolvedBase,
        users: &LibraryUsers<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<LoadRoot>, BuildError> {
        let executable = users.python.executable.to_string();
        let mut roots = Vec::new();
        for name in users.named.iter().filter(|name| !system::is_baseline_library(name)) {
            if base.has_library(name) {
                continue;
            }
            if let Some(place) = self.take(name)? {
                roots.push(LoadRoot::loaded_by(place.to_string(), &executable));
            } else {
                progress.warn(
                    Warning::new(
                        name,
                        "is named in `libraries`, and neither the base nor this machine has it",
                    )
                    .with_help("install its package in the base or on this machine, or correct its name"),
                );
            }
        }
        if roots.is_empty() {
            return Ok(roots);
        }
        for entry in std::mem::take(&mut self.libraries.data) {
            if base.view.find(&entry.path).is_some() {
                continue;
            }
            if let Some((place, host)) = may_be_elf(&entry) {
                roots.extend(root(&place, &host, &executable).map(|(root, _)| root));
            }
            self.choose(entry)?;
        }
        Ok(roots)
    }

    /// Adds links to the loader of this machine's interpreter that the base lacks: the base may
    /// contain no programs.
    fn take_links_to_loader(&mut self, base: &ResolvedBase, python: &ImagePython) -> Result<(), BuildError> {
        let mut links = Vec::new();
        // `/lib64 -> usr/lib64`, for files there.
        for entry in self.candidates.values().flatten() {
            let Kind::Symlink(target) = &entry.kind else { continue };
            if entry.path.components().count() > 1 {
                continue;
            }
            let folder = ImagePath::new(target)?;
            let leads_there = self.chosen.iter().any(|other| other.path.starts_with(&folder));
            if leads_there && base.view.lookup(&entry.path).is_none() {
                links.push(entry.clone());
            }
        }
        links.into_iter().try_for_each(|link| self.choose(link))?;
        let Some(host) = &python.host else { return Ok(()) };
        let header = elf::read(&host.executable).map_err(base::BaseError::from)?;
        let Some(loader) = header.and_then(|header| header.interpreter) else { return Ok(()) };
        if self.files.resolve(Path::new(&loader)).is_ok() {
            return Ok(());
        }
        let place = ImagePath::new(&loader)?;
        let is_file = |entry: &&Entry| {
            entry.path.file_name() == place.file_name() && matches!(entry.kind, Kind::File(_))
        };
        let Some(file) = self.chosen.iter().find(is_file) else { return Ok(()) };
        self.choose(Entry::symlink(place, format!("/{}", file.path.as_str()), file.owner.clone()))
    }
}

/// Returns the potential ELF files of interpreter and environment: paths in the image and on this
/// machine.
pub(super) fn programs(python: &ImagePython, relocated: &Relocated) -> Vec<(ImagePath, PathBuf)> {
    let of_interpreter = python.files.iter().flat_map(|files| files.elf_files.iter().cloned());
    of_interpreter.chain(relocated.entries().filter_map(may_be_elf)).collect()
}

impl EnvironmentPlanner<'_> {
    /// Adds the system files of an image from scratch, and returns its platform.
    pub(super) fn system(
        &self,
        users: &LibraryUsers<'_>,
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<Platform, BuildError> {
        pieces.system = system_files(self.recipe, progress)?;
        pieces.environment.extend(system::accounts(&self.account)?);
        let mut libraries = self.libraries(users, pieces, progress)?;
        let data = std::mem::take(&mut libraries.data).into_iter();
        libraries
            .entries
            .extend(data.filter(|entry| !pieces.system.iter().any(|other| other.path == entry.path)));
        record(&mut libraries, pieces, progress)?;
        let (architecture, variant) = libraries.platform.unwrap_or_else(|| ("unknown".to_owned(), None));
        Ok(Platform::new("linux", &architecture, variant.as_deref()))
    }

    /// Adds the system files that `base` lacks.
    pub(super) fn system_on_base(
        &self,
        base: &ResolvedBase,
        users: &LibraryUsers<'_>,
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        pieces.system = base.missing_entries(system_files(self.recipe, progress)?);
        pieces.environment.extend(base::accounts(&base.view, &self.account)?.entries);
        let mut libraries = if users.python.host.is_some() {
            self.libraries(users, pieces, progress)?
        } else {
            SharedLibraries::default()
        };
        progress.step(&Step::new(Activity::FindMissing));
        add_missing_libraries(base, users, pieces, &mut libraries, progress)?;
        record(&mut libraries, pieces, progress)?;
        pieces.system.retain(|entry| !base.has_license_file(&entry.path));
        Ok(())
    }

    /// Finds the shared libraries of this machine that the image's programs need. Applies patches
    /// to `pieces`.
    fn libraries(
        &self,
        users: &LibraryUsers<'_>,
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<SharedLibraries, BuildError> {
        progress.step(&Step::new(Activity::FindLibraries));
        let python = users.python;
        let Some(host) = &python.host else { return Ok(SharedLibraries::default()) };
        let bin = python.executable.parent().unwrap_or_default();
        let prefix = python.files.as_ref().map(|files| files.prefix.clone()).or_else(|| bin.parent());
        let prefix = prefix.unwrap_or_default();
        let of_source = loadable(&host.executable, users.natives, progress)?;
        let libraries = system::shared_libraries(&Programs {
            executable: &host.executable,
            prefix: (&host.prefix, &prefix),
            files: users.programs.iter().cloned().chain(of_source).collect(),
            extra: &self.recipe.libraries,
        })?;
        for note in &libraries.notes {
            progress.step(&Step::on(Activity::Note, note));
        }
        if python.files.is_some() {
            system::apply(&libraries.patches, &mut pieces.interpreter);
        }
        for warning in &libraries.warnings {
            progress.warn(warning.clone());
        }
        Ok(libraries)
    }
}

fn system_files(recipe: &Recipe, progress: &dyn Progress) -> Result<Vec<Entry>, BuildError> {
    let wanted =
        OptionalFiles { certificates: recipe.certificates.into(), time_zones: recipe.time_zones.into() };
    let (files, warnings) = system::files(Path::new("/"), wanted)?;
    for warning in warnings {
        progress.warn(warning);
    }
    Ok(files)
}

/// Attributes the libraries to their packages, and adds them to the system piece.
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

/// Reduces `libraries` to those the image needs and the base lacks, in the base's loader directory.
///
/// Iterates until the loader finds all that is available: an added library may need another.
fn add_missing_libraries(
    base: &ResolvedBase,
    users: &LibraryUsers<'_>,
    pieces: &Pieces,
    libraries: &mut SharedLibraries,
    progress: &dyn Progress,
) -> Result<(), BuildError> {
    let LibraryUsers { python, programs, natives, .. } = *users;
    let executable = python.executable.to_string();
    let (mut roots, mut headers) = (Vec::new(), Vec::new());
    for (place, host) in programs {
        if let Some((root, header)) = root(place, host, &executable) {
            roots.push(root);
            headers.push((place.to_string(), header));
        }
    }
    let planned = pieces.environment_entries().chain(natives);
    let files = Arc::new(Overlay::new(base.view.clone(), planned)?);
    for (place, host) in natives.iter().filter_map(may_be_elf) {
        let Some((root, header)) = root(&place, &host, &executable) else { continue };
        match base::check_loadable(&files, &root) {
            Ok(()) => {
                roots.push(root);
                headers.push((place.to_string(), header));
            }
            // The source may contain builds for several architectures.
            Err(error) => progress.warn(
                Warning::new(place.to_string(), error.to_string())
                    .with_help("exclude it with a line in .dockerignore, if unused"),
            ),
        }
    }
    let mut candidates: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in std::mem::take(&mut libraries.entries) {
        candidates.entry(entry.path.file_name().unwrap_or_default().to_owned()).or_default().push(entry);
    }
    let home = base.library_directory();
    let mut selection = LibrarySelection { home, candidates, libraries, files, chosen: Vec::new() };
    roots.extend(selection.take_named(base, users, progress)?);
    let mut absent = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let found = base::missing_libraries(&selection.files, &roots)?;
        let mut grown = false;
        for missing in &found.libraries {
            let name = missing.soname.rsplit('/').next().unwrap_or_default();
            if selection.take(name)?.is_some() {
                grown = true;
            } else {
                absent.insert(missing.clone());
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
    if python.files.is_some() {
        selection.take_links_to_loader(base, python)?;
    }
    let LibrarySelection { libraries, chosen, .. } = selection;
    let places: BTreeSet<&ImagePath> = chosen.iter().map(|entry| &entry.path).collect();
    libraries.taken.retain(|place, _| places.contains(place));
    libraries.entries = chosen;
    let subject = if python.host.is_some() {
        "neither the base nor this machine has"
    } else {
        "the base does not have"
    };
    let present = LibraryIndex::of(headers.iter().map(|(place, header)| (place.as_str(), header)));
    let help = "use a base with the missing libraries, if the files are used";
    for warning in present.warnings(&Vec::from_iter(absent), subject, help) {
        progress.warn(warning);
    }
    Ok(())
}

/// Returns the root for the loader and the header of an ELF file; `None` if the file needs no
/// libraries.
fn root(place: &ImagePath, host: &Path, executable: &str) -> Option<(LoadRoot, Elf)> {
    // A broken ELF file may be test data.
    let header = elf::read(host).ok()??;
    let path = place.to_string();
    let root =
        if header.is_executable() { LoadRoot::new(path) } else { LoadRoot::loaded_by(path, executable) };
    header.is_dynamic().then_some((root, header))
}

/// Returns the `natives` for the architecture of `executable`: paths in the image and on this
/// machine.
fn loadable(
    executable: &Path,
    natives: &[Entry],
    progress: &dyn Progress,
) -> Result<Vec<(ImagePath, PathBuf)>, BuildError> {
    let machine = elf::read(executable).map_err(base::BaseError::from)?.map(|header| header.machine);
    let (mut good, mut foreign) = (Vec::new(), Vec::new());
    for (place, host) in natives.iter().filter_map(may_be_elf) {
        let own = elf::read(&host).ok().flatten().map(|header| header.machine);
        match (own, machine) {
            (Some(own), Some(machine)) if !own.runs_with(machine) => foreign.push(place),
            _ => good.push((place, host)),
        }
    }
    if let Some(first) = foreign.first() {
        let others = match foreign.len() - 1 {
            0 => String::new(),
            more => format!(", as {} of the source", counted(more as u64, "more file")),
        };
        progress.warn(
            Warning::new(first.to_string(), format!("is for another machine than the interpreter{others}"))
                .with_help("exclude it with a line in .dockerignore, if unused"),
        );
    }
    Ok(good)
}

/// Returns the ELF files among `entries` that involve the loader.
pub(super) fn loader_files<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Entry> {
    entries.into_iter().filter(|entry| loader_file(entry).is_some()).cloned().collect()
}

fn loader_file(entry: &Entry) -> Option<(PathBuf, Elf)> {
    let (_, host) = may_be_elf(entry)?;
    let header = elf::read(&host).ok()??;
    let needs = header.is_dynamic() || !header.runpath.is_empty() || !header.rpath.is_empty();
    needs.then_some((host, header))
}

/// Hashes the requirements of the ELF files in the source and the added layers: layers planned for
/// other requirements may lack a library.
pub(super) fn loader_requirements<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Digest {
    let mut fields = KeyHasher::new("natives");
    for entry in entries {
        if let Some((host, header)) = loader_file(entry) {
            let versions = elf::versions(&host).ok();
            fields.add(entry.path.as_str().as_bytes());
            fields.add(host.as_os_str().as_encoded_bytes());
            // Consists of text and numbers, so this cannot fail.
            fields.add(&serde_json::to_vec(&(header, versions)).unwrap_or_default());
        }
    }
    fields.finish()
}

/// Returns the file if its name or mode suggests ELF: extension modules and programs. The first
/// bytes decide.
fn may_be_elf(entry: &Entry) -> Option<(ImagePath, PathBuf)> {
    let Kind::File(Content::Host(file)) = &entry.kind else { return None };
    let name = entry.path.file_name()?;
    let likely = name.ends_with(".so") || name.contains(".so.") || entry.mode & 0o111 != 0;
    likely.then(|| (entry.path.clone(), file.path.to_path_buf()))
}

/// Returns the file of this machine behind an entry.
fn host_file(entry: &Entry) -> Option<Arc<Path>> {
    match &entry.kind {
        Kind::File(content) => content.host_file().map(|file| file.path.clone()),
        _ => None,
    }
}
