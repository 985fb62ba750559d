//! The shared libraries that the files of an image need, and where they stand in it.
//!
//! What is needed and where this machine has it is [`crate::elf::Loader`]'s answer. This module decides
//! the places: a library that is in the image already is used there; one below the interpreter's prefix or
//! the environment moves with it; every other goes to a directory in which the image's loader looks by itself, for an image has no
//! `ld.so.cache`. The loader itself stands where programs name it (`PT_INTERP`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::SystemError;
use super::place::{Moved, image_path, lexical, merged_links, moved};
use super::search::{self, Placed};
use crate::elf::{self, Closure, ElfError, FoundBy, Library, Loader, Root};
use crate::error::FileError;
use crate::progress::Warning;
use crate::tree::{Content, Entry, HostFile, ImagePath, Owner, Patch};

/// Libraries that glibc and C++ programs open by name while they run, so that no header tells of them: the
/// unwinder that `pthread_exit` and `pthread_cancel` use, and the name service of glibc before 2.34.
pub const OPENED_BY_NAME: &[&str] =
    &["libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];

/// What libraries are wanted for.
#[derive(Debug, Clone, Copy)]
pub struct LibraryRequest<'a> {
    /// The interpreter on this machine, into whose process extension modules are loaded.
    pub executable: &'a Path,
    /// Programs, libraries and extension modules that are in the image already, and where they are on
    /// this machine. The interpreter is among them. What turns out to be no ELF file is passed over.
    pub placed: &'a [(ImagePath, PathBuf)],
    /// What stands elsewhere in the image than here: the interpreter's prefix, the environment.
    pub moved: &'a [Moved],
    /// Libraries to take along that are opened by name; those that are not there are no error.
    pub opened: &'a [String],
}

/// What the files of an image need beside themselves.
#[derive(Debug, Clone, Default)]
pub struct SharedLibraries {
    /// Libraries, the loader, and links, ordered by path.
    pub entries: Vec<Entry>,
    /// What changes in files that were in the image already: their search paths.
    pub patches: BTreeMap<ImagePath, Vec<Patch>>,
    /// The directory of the image that has the libraries of the system.
    pub directory: ImagePath,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// Finds and places the libraries.
///
/// # Errors
/// When the interpreter itself needs a library that is not there, or a file cannot be read. What an extension
/// module lacks is a warning: many wheels bring modules for libraries that are optional.
pub fn shared_libraries(
    loader: &Loader,
    request: &LibraryRequest<'_>,
) -> Result<SharedLibraries, SystemError> {
    let mut warnings = Vec::new();
    let placed = read_placed(request, &mut warnings)?;
    let own = loader.resolve(&[Root::new(request.executable)])?;
    if let Some(missing) = own.missing.first() {
        return Err(SystemError::MissingLibrary {
            file: missing.needed_by.clone(),
            soname: missing.soname.clone(),
        });
    }
    let roots: Vec<Root> = placed
        .iter()
        .map(|file| {
            if file.elf.is_executable() {
                Root::new(&file.host)
            } else {
                Root::loaded_by(&file.host, request.executable)
            }
        })
        .collect();
    let closure = loader.resolve(&roots)?;
    let directory = system_directory(&own, &closure);

    let mut placer = Placer::new(loader, request, directory.clone(), placed, warnings);
    for library in &closure.libraries {
        placer.library(library)?;
    }
    let opened = placer.opened(&closure)?;
    for library in &opened.libraries {
        placer.library(library)?;
    }
    let loaders: BTreeSet<&PathBuf> = own.loaders.iter().chain(&closure.loaders).collect();
    for path in &loaders {
        placer.program_loader(path)?;
    }
    let missing: Vec<_> = closure.missing.iter().chain(&opened.missing).collect();
    placer.report_missing(&missing);

    let in_process: BTreeSet<String> = own.libraries.iter().map(|library| library.soname.clone()).collect();
    let links = search::complete(
        &mut placer.placed,
        request.moved,
        &search::Surroundings {
            in_process: &in_process,
            found: &[&closure.libraries, &opened.libraries],
            directory: &directory,
            defaults: &placer.defaults,
            standing: &placer.standing,
        },
    )?;
    placer.finish(links, &loaders)
}

/// Reads the headers of what is in the image; what is broken is named and passed over.
fn read_placed(
    request: &LibraryRequest<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Placed>, SystemError> {
    let mut placed = Vec::with_capacity(request.placed.len());
    for (image, host) in request.placed {
        match elf::read(host) {
            Ok(Some(elf)) if elf.kind != elf::Kind::Other => {
                placed.push(Placed::new(image.clone(), host.clone(), elf));
            }
            Ok(_) => {}
            Err(error @ ElfError::Malformed { .. }) if host != request.executable => {
                let message = format!("{error}; it goes into the image as it is");
                warnings.push(Warning::new(image.to_string(), message));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(placed)
}

/// Where the image's loader looks by itself: the directory of the C library, which the loader was built with.
fn system_directory(own: &Closure, all: &Closure) -> ImagePath {
    let is_libc = |library: &&Library| {
        library.soname.starts_with("libc.so") || library.soname.starts_with("libc.musl-")
    };
    let found = own.libraries.iter().chain(&all.libraries).find(is_libc);
    let loader = own.loaders.first().or(all.loaders.first());
    found
        .map(|library| library.path.as_path())
        .or(loader.map(PathBuf::as_path))
        .and_then(image_path)
        .and_then(|path| path.parent())
        .unwrap_or_else(|| ImagePath::new("usr/lib").unwrap_or_default())
}

/// Decides place after place.
struct Placer<'a> {
    loader: &'a Loader,
    request: &'a LibraryRequest<'a>,
    /// Where the libraries of the system go that cannot stay where they are.
    directory: ImagePath,
    /// The directories that the image's loader is known to search.
    defaults: BTreeSet<ImagePath>,
    /// Programs and libraries in the image whose search paths matter.
    placed: Vec<Placed>,
    /// Where each file of this machine stands in the image.
    places: BTreeMap<PathBuf, ImagePath>,
    /// Every path that is taken in the image.
    standing: BTreeSet<ImagePath>,
    entries: Vec<Entry>,
    warnings: Vec<Warning>,
}

impl<'a> Placer<'a> {
    fn new(
        loader: &'a Loader,
        request: &'a LibraryRequest<'a>,
        directory: ImagePath,
        placed: Vec<Placed>,
        warnings: Vec<Warning>,
    ) -> Self {
        let places = placed.iter().map(|file| (real(&file.host), file.image.clone())).collect();
        Self {
            standing: request.placed.iter().map(|(image, _)| image.clone()).collect(),
            defaults: BTreeSet::from([directory.clone()]),
            loader,
            request,
            directory,
            placed,
            places,
            entries: Vec::new(),
            warnings,
        }
    }

    fn library(&mut self, library: &Library) -> Result<(), SystemError> {
        let disk = self.loader.on_disk(&library.real)?;
        if self.places.contains_key(&disk) {
            return Ok(());
        }
        let by_file = matches!(library.found_by, FoundBy::Path | FoundBy::Rpath | FoundBy::Runpath);
        if by_file && let Some(place) = moved(&self.moves(), &library.path) {
            return self.moves_along(place, &disk);
        }
        let name = library.soname.rsplit('/').next().unwrap_or(&library.soname);
        let place = self.system_place(library).and_then(|directory| directory.join(name).ok());
        let Some(place) = place else { return Ok(()) };
        self.system_file(place, &disk, Mode::Library)
    }

    /// What really moves: a directory that stands in one place here and there needs no thought.
    fn moves(&self) -> Vec<Moved> {
        search::real_moves(self.request.moved)
    }

    /// A library below the interpreter's prefix or the environment that nobody listed.
    fn moves_along(&mut self, place: ImagePath, disk: &Path) -> Result<(), SystemError> {
        let Some(elf) = elf::read(disk)? else { return Ok(()) };
        if !self.standing.insert(place.clone()) {
            return Ok(());
        }
        self.places.insert(disk.to_owned(), place.clone());
        let content = Content::Host(HostFile::new(disk)?);
        self.entries.push(Entry::executable(place.clone(), content, Owner::Interpreter));
        self.placed.push(Placed::new(place, disk.to_owned(), elf));
        Ok(())
    }

    /// The directory for a library of the system: its own where the loader finds it there by itself.
    fn system_place(&mut self, library: &Library) -> Option<ImagePath> {
        let own = image_path(&library.path)?.parent()?;
        if library.found_by == FoundBy::Default {
            self.defaults.insert(own.clone());
        }
        Some(if self.defaults.contains(&own) { own } else { self.directory.clone() })
    }

    fn system_file(&mut self, place: ImagePath, disk: &Path, mode: Mode) -> Result<(), SystemError> {
        if !self.standing.insert(place.clone()) {
            let message = "two libraries have this name, and the first was taken";
            self.warnings.push(
                Warning::new(place.to_string(), message)
                    .with_help(format!("the other is {}", disk.display())),
            );
            return Ok(());
        }
        self.places.insert(disk.to_owned(), place.clone());
        let content = Content::Host(HostFile::new(disk)?);
        let entry = match mode {
            Mode::Library => Entry::file(place, content, Owner::System),
            Mode::Program => Entry::executable(place, content, Owner::System),
        };
        self.entries.push(entry);
        Ok(())
    }

    /// The libraries that are opened by name, wherever the others were found, and what they need.
    fn opened(&mut self, closure: &Closure) -> Result<Closure, SystemError> {
        let mut directories: Vec<&Path> = closure
            .libraries
            .iter()
            .filter(|library| matches!(library.found_by, FoundBy::Cache | FoundBy::Default))
            .filter_map(|library| library.path.parent())
            .collect();
        let libc = self.directory.to_string();
        directories.push(Path::new(&libc));
        directories.sort();
        directories.dedup();
        let mut roots = Vec::new();
        let mut found = Vec::new();
        for name in self.request.opened {
            let candidates = directories.iter().map(|directory| directory.join(name));
            for path in candidates {
                let Ok(disk) = self.loader.on_disk(&path) else { continue };
                if !disk.is_file() || elf::read(&disk)?.is_none() {
                    continue;
                }
                roots.push(Root::loaded_by(&path, self.request.executable));
                found.push(Library {
                    soname: name.clone(),
                    real: path.clone(),
                    path,
                    needed_by: Vec::new(),
                    found_by: FoundBy::Cache,
                });
                break;
            }
        }
        let mut opened = self.loader.resolve(&roots)?;
        opened.libraries.extend(found);
        Ok(opened)
    }

    /// The dynamic loader where programs name it.
    fn program_loader(&mut self, path: &Path) -> Result<(), SystemError> {
        let Some(place) = image_path(path) else { return Ok(()) };
        let disk = self.loader.on_disk(path)?;
        // It may be in as a library of the same file: musl's is the C library too.
        if let Some(standing) = self.places.get(&disk) {
            if *standing != place && self.standing.insert(place.clone()) {
                let folder = place.parent().unwrap_or_default();
                let target = standing.relative_to(&folder);
                self.entries.retain_mut(|entry| {
                    if entry.path == *standing {
                        entry.mode = 0o755;
                    }
                    true
                });
                self.entries.push(Entry::symlink(place, target, Owner::System));
            } else if let Some(entry) = self.entries.iter_mut().find(|entry| entry.path == place) {
                entry.mode = 0o755;
            }
            return Ok(());
        }
        self.system_file(place, &disk, Mode::Program)
    }

    /// One warning for each library that is missing and that nothing in the image has.
    fn report_missing(&mut self, missing: &[&elf::Missing]) {
        let provided: BTreeSet<&str> = self
            .placed
            .iter()
            .flat_map(|file| file.elf.soname.as_deref().into_iter().chain(file.image.file_name()))
            .collect();
        let mut by_name = BTreeMap::<&str, BTreeSet<&Path>>::new();
        for missing in missing {
            if !provided.contains(missing.soname.as_str()) {
                by_name.entry(&missing.soname).or_default().insert(&missing.needed_by);
            }
        }
        for (soname, needed_by) in by_name {
            let mut files = needed_by.iter().map(|path| path.display().to_string());
            let first = files.next().unwrap_or_default();
            let others = match needed_by.len() {
                0 | 1 => String::new(),
                more => format!(" and {} more", more - 1),
            };
            let message = format!(
                "is needed by {first}{others} and is not on this machine, so importing that will fail"
            );
            self.warnings.push(Warning::new(soname, message).with_help(format!(
                "install it{} if the application uses that module",
                debian_package(soname).map(|name| format!(" (Debian: probably {name})")).unwrap_or_default()
            )));
        }
    }

    fn finish(
        mut self,
        links: Vec<search::Link>,
        loaders: &BTreeSet<&PathBuf>,
    ) -> Result<SharedLibraries, SystemError> {
        for link in links {
            if let Some(place) = self.places.get(&self.loader.on_disk(&link.real)?).cloned()
                && self.standing.insert(link.place.clone())
            {
                let folder = link.place.parent().unwrap_or_default();
                let target = place.relative_to(&folder);
                self.entries.push(Entry::symlink(link.place, target, Owner::System));
            }
        }
        let mut names = vec!["bin", "lib", "sbin"];
        if loaders.iter().any(|path| path.starts_with("/lib64"))
            || self.standing.iter().any(|path| path.as_str().starts_with("usr/lib64/"))
        {
            names.push("lib64");
        }
        self.entries.extend(merged_links(&names));
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        let patches = self
            .placed
            .into_iter()
            .filter(|file| !file.patches.is_empty())
            .map(|file| (file.image, file.patches))
            .collect();
        Ok(SharedLibraries {
            entries: self.entries,
            patches,
            directory: self.directory,
            warnings: self.warnings,
        })
    }
}

/// How a file of the system is used.
enum Mode {
    Library,
    /// The kernel starts it, and refuses where it may not be executed.
    Program,
}

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| lexical(path))
}

/// The package that has a library by Debian's rule for names (Debian Policy, 8.1): `libpq.so.5` is in `libpq5`.
pub(super) fn debian_package(soname: &str) -> Option<String> {
    let (name, version) = soname.split_once(".so.")?;
    let separator = if name.ends_with(|c: char| c.is_ascii_digit()) { "-" } else { "" };
    let version = version.split('.').next().filter(|version| !version.is_empty())?;
    Some(format!("{}{separator}{version}", name.to_lowercase().replace('_', "-")))
}

/// Whether the interpreter's own symbols and debugging information stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Symbols {
    /// They stay, as on this machine.
    Keep,
    /// They go from the interpreter's files: what a debugger reads, not what Python or a profiler needs.
    #[default]
    Strip,
}

impl SharedLibraries {
    /// Changes the search paths of `entries` that were in the image before, and strips the interpreter's.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn apply<'e>(
        &self,
        entries: impl IntoIterator<Item = &'e mut Entry>,
        symbols: Symbols,
    ) -> Result<(), SystemError> {
        entries.into_iter().try_for_each(|entry| search::apply(entry, &self.patches, symbols))
    }

    /// The same for its own [`Self::entries`], which hold what moved along.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn apply_to_own(&mut self, symbols: Symbols) -> Result<(), SystemError> {
        let patches = &self.patches;
        self.entries.iter_mut().try_for_each(|entry| search::apply(entry, patches, symbols))
    }
}

impl From<ElfError> for SystemError {
    fn from(error: ElfError) -> Self {
        match error {
            ElfError::File(error) => Self::File(FileError { ..error }),
            other => Self::Elf(other),
        }
    }
}
