//! Shared libraries: selects those of this machine for the image, their paths, and the rewritten
//! search paths with which the loader of an image without `ld.so.cache` finds all of them.
//!
//! The search is the loader's own ([`crate::elf`]). Libraries of the system all go to the directory
//! of the C library, one of the loader's default directories, under their requested names.
//! Files that move with the interpreter's prefix get a search path relative to themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SystemError;
use super::companions::companions;
use super::missing::{self, LibraryIndex};
use super::strip::{self, StripSymbols};
use crate::debian::Dpkg;
use crate::elf::{self, Elf, ElfError, Library, LibraryClosure, LoadRoot, Loader, Missing};
use crate::error::FileError;
use crate::parallel::{cores, each};
use crate::plural::counted;
use crate::printable;
use crate::progress::Warning;
use crate::traced_fs;
use crate::tree::{Content, Entry, HostFile, ImagePath, Kind, Owner, Patch};

/// Links that make the old directories part of `/usr`, as on every current distribution.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// The number of threads beyond which headers are not read any faster.
const READERS: usize = 8;

/// ELF files of an image, and the interpreter that loads them.
#[derive(Debug, Clone)]
pub struct Programs<'a> {
    /// The interpreter's executable on this machine.
    pub executable: &'a Path,
    /// The interpreter's prefix on this machine and in the image.
    pub prefix: (&'a Path, &'a ImagePath),
    /// Every file of the image that may be ELF: its path in the image and on this machine.
    pub files: Vec<(ImagePath, PathBuf)>,
    /// Libraries loaded at run time and named in no header. Absent ones are no error.
    pub extra: &'a [String],
}

/// The shared libraries of an image, with the changes that the loader needs.
#[derive(Debug, Clone, Default)]
pub struct SharedLibraries {
    /// The libraries, the loader, and links to them.
    pub entries: Vec<Entry>,
    /// Patches for files of the image by path.
    pub patches: BTreeMap<ImagePath, Vec<Patch>>,
    /// The included files of this machine, by path in the image.
    pub taken: BTreeMap<ImagePath, PathBuf>,
    /// Companion files of the libraries in [`Programs::extra`]: databases, configuration, plugins.
    pub data: Vec<Entry>,
    /// One line for each library with companion files.
    pub notes: Vec<String>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
    /// The interpreter's architecture by its OCI name, with the variant if there is one.
    pub platform: Option<(String, Option<String>)>,
}

/// Finds the libraries of `programs` on this machine.
pub fn shared_libraries(programs: &Programs<'_>) -> Result<SharedLibraries, SystemError> {
    let loader = Loader::host();
    let first = loader.resolve(&[LoadRoot::new(programs.executable)])?;
    let placed = Placed::new(programs)?;
    let home = LibraryHome::find(&first, programs.executable)?;

    let mut roots = vec![LoadRoot::new(programs.executable)];
    let mut planner = LibraryPlanner {
        placed: &placed,
        home: &home,
        searched: Vec::new(),
        result: SharedLibraries::default(),
        libraries: BTreeMap::new(),
    };
    let mut named = Vec::new();
    for name in programs.extra {
        if let Some(path) = home.named(name) {
            let real = real(&path)?;
            planner.library(name, &real)?;
            roots.push(LoadRoot::loaded_by(path.clone(), programs.executable));
            named.extend((!is_baseline_library(name)).then_some((name, path)));
        } else if !is_baseline_library(name) {
            planner.result.warnings.push(
                Warning::new(
                    name,
                    format!(
                        "is named in `libraries`, but not found in {} of this machine",
                        home.host.display()
                    ),
                )
                .with_help(format!(
                    "install its package (Debian: `apt-file search {name}`), or correct its name"
                )),
            );
        }
    }
    roots.extend(planner.companions(&loader, &named, programs)?);
    let read = |(): &mut (), index: usize| {
        // Malformed ELF files are usually test data of a distribution.
        let header = programs.files.get(index).and_then(|(_, host)| elf::read(host).ok()?);
        Ok::<_, Infallible>(header)
    };
    let headers = each(programs.files.len(), cores().min(READERS), || Ok(()), read);
    let mut preloaded = Vec::new();
    for ((place, host), header) in programs.files.iter().zip(headers.into_iter().flatten()) {
        let Some(header) = header else { continue };
        // A module that needs only libraries loaded by Python may still have a search path of this
        // machine.
        if !header.is_dynamic() && header.runpath.is_empty() && header.rpath.is_empty() {
            continue;
        }
        roots.push(if header.is_executable() {
            LoadRoot::new(host)
        } else {
            LoadRoot::loaded_by(host, programs.executable)
        });
        preloaded.extend(placed.real.get(host.as_path()).map(|real| (real.clone(), header.clone())));
        planner.searched.push((place.clone(), host.clone(), header));
    }
    loader.preload(preloaded);
    let closure = loader.resolve(&roots)?;
    for library in &closure.libraries {
        // The loader's `real` has no links.
        if placed.at(&library.real).is_none() && !missing::is_driver_library(&library.soname) {
            planner.library(&library.soname, &library.real)?;
        }
    }
    for path in &closure.loaders {
        planner.loader(path)?;
    }
    planner.missing(&closure, programs)?;
    planner.search_paths(&closure, programs)?;
    planner.finish(programs)
}

/// Applies [`SharedLibraries::patches`] to `entries`, and strips symbols and debugging information
/// from the interpreter's own files if large enough (see `system/strip.rs`).
pub fn apply(patches: &BTreeMap<ImagePath, Vec<Patch>>, entries: &mut [Entry]) {
    for entry in entries {
        let Kind::File(Content::Host(file)) = &entry.kind else { continue };
        let patches: Arc<[Patch]> = patches.get(&entry.path).cloned().unwrap_or_default().into();
        let content = if entry.owner == Owner::Interpreter && strip::should_strip(&entry.path, file) {
            let transform = Arc::new(StripSymbols { patches });
            Content::Derived { file: file.clone(), transform }
        } else if patches.is_empty() {
            continue;
        } else {
            Content::Patched { file: file.clone(), patches }
        };
        entry.kind = Kind::File(content);
    }
}

/// Returns whether recipes name the library as a need of every image, see `layers/runtime.toml`.
pub(crate) fn is_baseline_library(name: &str) -> bool {
    ["libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"].contains(&name)
}

fn real(path: &Path) -> Result<PathBuf, FileError> {
    traced_fs::canonicalize(path).map_err(|error| FileError::new("read", path, error))
}

/// A resolver of links. Each directory is resolved once: ten thousand files share few directories.
#[derive(Default)]
struct RealPaths(HashMap<PathBuf, PathBuf>);

impl RealPaths {
    fn of(&mut self, path: &Path) -> Result<PathBuf, FileError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return real(path) };
        let is_plain = || traced_fs::file_type(path).is_ok_and(|kind| !kind.is_symlink());
        if !path.is_absolute() || !is_plain() {
            return real(path);
        }
        if let Some(known) = self.0.get(parent) {
            return Ok(known.join(name));
        }
        let found = self.of(parent)?;
        let real = found.join(name);
        self.0.insert(parent.to_owned(), found);
        Ok(real)
    }
}

/// The files of the image by their path on this machine.
struct Placed<'a> {
    by_real: BTreeMap<PathBuf, ImagePath>,
    /// The requested paths, and the same without links. Never iterated.
    real: HashMap<&'a Path, PathBuf>,
}

impl<'a> Placed<'a> {
    fn new(programs: &'a Programs<'_>) -> Result<Self, FileError> {
        let mut placed = Self { by_real: BTreeMap::new(), real: HashMap::new() };
        let mut paths = RealPaths::default();
        for (place, host) in &programs.files {
            let real = paths.of(host)?;
            // The first path wins: a library and a link to the library are one file.
            placed.by_real.entry(real.clone()).or_insert_with(|| place.clone());
            placed.real.insert(host, real);
        }
        Ok(placed)
    }

    fn at(&self, real: &Path) -> Option<&ImagePath> {
        self.by_real.get(real)
    }
}

/// The directory of the C library, without links on this machine, and in the image.
struct LibraryHome {
    host: PathBuf,
    image: ImagePath,
}

impl LibraryHome {
    fn find(closure: &LibraryClosure, executable: &Path) -> Result<Self, SystemError> {
        let is_libc = |library: &&Library| {
            library.soname == "libc.so.6"
                || library.soname.starts_with("libc.musl-")
                || library.soname == "libc.so"
        };
        let libc = closure.libraries.iter().find(is_libc);
        let missing = || SystemError::NoLibc(executable.to_owned());
        let host = real(&libc.ok_or_else(missing)?.real)?.parent().ok_or_else(missing)?.to_owned();
        Ok(Self { image: in_usr(&host)?, host })
    }

    /// Returns the library of this name in the directory.
    fn named(&self, name: &str) -> Option<PathBuf> {
        let path = self.host.join(name);
        traced_fs::is_file(&path).then_some(path)
    }
}

/// Maps a path of this machine to an image in which `/lib` and similar directories are links into
/// `/usr`.
fn in_usr(host: &Path) -> Result<ImagePath, SystemError> {
    let text = host.to_str().ok_or_else(|| SystemError::NotUtf8(host.to_owned()))?;
    let path = ImagePath::new(text)?;
    let merged = path.components().next().is_some_and(|first| MERGED.contains(&first));
    Ok(if merged { ImagePath::new("usr")?.join(path.as_str())? } else { path })
}

struct LibraryPlanner<'a> {
    placed: &'a Placed<'a>,
    home: &'a LibraryHome,
    /// ELF files of the image with their headers.
    searched: Vec<(ImagePath, PathBuf, Elf)>,
    result: SharedLibraries,
    /// Libraries in the home directory, by name.
    libraries: BTreeMap<String, PathBuf>,
}

impl LibraryPlanner<'_> {
    /// Adds the library `real` to the home directory under its requested name.
    fn library(&mut self, name: &str, real: &Path) -> Result<(), SystemError> {
        let name = name.rsplit('/').next().unwrap_or(name);
        match self.libraries.get(name) {
            None => {
                self.libraries.insert(name.to_owned(), real.to_owned());
                let place = self.home.image.join(name)?;
                self.copy(place, real)
            }
            Some(other) if other == real => Ok(()),
            Some(other) => {
                let message =
                    format!("{} and {} have this name; the first is used", other.display(), real.display());
                self.result.warnings.push(Warning::new(name, message));
                Ok(())
            }
        }
    }

    /// Adds the companions of the libraries `named`. Returns the plugins among them as roots.
    fn companions(
        &mut self,
        loader: &Loader,
        named: &[(&String, PathBuf)],
        programs: &Programs<'_>,
    ) -> Result<Vec<LoadRoot>, SystemError> {
        let mut roots = Vec::new();
        if named.is_empty() {
            return Ok(roots);
        }
        let Some(dpkg) = Dpkg::open(Path::new("/"))? else { return Ok(roots) };
        let mut seen = BTreeSet::new();
        for (name, path) in named {
            let needs =
                loader.resolve(&[LoadRoot::new(path)])?.libraries.into_iter().map(|library| library.real);
            let libraries: Vec<PathBuf> = std::iter::once(real(path)?).chain(needs).collect();
            let found = companions(&dpkg, &libraries)?;
            if let Some(note) = found.note(name) {
                self.result.notes.push(note);
            }
            self.result.warnings.extend(found.warnings(name));
            for file in found.files {
                if seen.insert(file.clone()) {
                    roots.extend(self.companion(&file, programs)?);
                }
            }
        }
        Ok(roots)
    }

    fn companion(&mut self, file: &Path, programs: &Programs<'_>) -> Result<Option<LoadRoot>, SystemError> {
        let place = in_usr(file)?;
        if traced_fs::file_type(file).is_ok_and(|kind| kind.is_symlink()) {
            let target = traced_fs::read_link(file).map_err(|error| FileError::new("read", file, error))?;
            if let Some(target) = target.to_str() {
                self.result.data.push(Entry::symlink(place, target, Owner::System));
            }
            return Ok(None);
        }
        let content = Content::Host(HostFile::new(file)?);
        self.result.data.push(Entry::file(place.clone(), content, Owner::System));
        self.result.taken.insert(place, file.to_owned());
        // Malformed ELF files are data.
        let is_plugin = elf::read(file).ok().flatten().is_some_and(|header| header.is_dynamic());
        Ok(is_plugin.then(|| LoadRoot::loaded_by(file, programs.executable)))
    }

    fn copy(&mut self, place: ImagePath, real: &Path) -> Result<(), SystemError> {
        let content = Content::Host(HostFile::new(real)?);
        self.result.entries.push(Entry::executable(place.clone(), content, Owner::System));
        self.result.taken.insert(place, real.to_owned());
        Ok(())
    }

    /// Adds the loader at the path requested by programs; the file itself is beside the C library,
    /// which needs the loader by name.
    fn loader(&mut self, path: &Path) -> Result<(), SystemError> {
        let place = in_usr(path)?;
        let name = place.file_name().unwrap_or_default().to_owned();
        let file = self.home.image.join(&name)?;
        self.library(&name, &real(path)?)?;
        if place != file {
            let folder = place.parent().unwrap_or_default();
            self.result.entries.push(Entry::symlink(place, file.relative_to(&folder), Owner::System));
        }
        Ok(())
    }

    /// Reports missing libraries: an error for the interpreter, a warning for an extension module,
    /// since many wheels contain modules for hardware or databases not in use.
    fn missing(&mut self, closure: &LibraryClosure, programs: &Programs<'_>) -> Result<(), SystemError> {
        let own: BTreeSet<PathBuf> = [programs.executable.to_owned()].into();
        let mut missing = Vec::new();
        for Missing { soname, needed_by: file } in &closure.missing {
            let vital = own.contains(file) || soname.starts_with("libpython");
            let place = self.placed.at(&real(file)?);
            if vital && place.is_none_or(|place| place.starts_with(programs.prefix.1)) {
                return Err(SystemError::MissingLibrary { file: file.clone(), soname: soname.clone() });
            }
            let needed_by = place.map_or_else(|| file.clone(), |place| place.to_string().into());
            missing.push(Missing { soname: soname.clone(), needed_by });
        }
        missing.sort();
        missing.dedup();
        let files: Vec<(String, &Elf)> =
            self.searched.iter().map(|(place, _, header)| (place.to_string(), header)).collect();
        let index = LibraryIndex::of(files.iter().map(|(place, header)| (place.as_str(), *header)));
        self.result.warnings.extend(index.warnings(
            &missing,
            "this machine does not have",
            "install the missing libraries on this machine if the files are used, and build again",
        ));
        let foreign = closure.foreign.iter().map(|file| match self.placed.at(&real(file)?) {
            Some(place) => Ok(place.to_string()),
            None => Ok(printable::path(file)),
        });
        let foreign = foreign.collect::<Result<Vec<String>, SystemError>>()?;
        self.result.warnings.extend(foreign_warning(&foreign));
        Ok(())
    }

    /// Sets search paths so that files of the image find libraries of the image.
    fn search_paths(&mut self, closure: &LibraryClosure, programs: &Programs<'_>) -> Result<(), SystemError> {
        // The needs satisfied by files of the image, by needing file.
        let mut needs: BTreeMap<&Path, Vec<(&str, &ImagePath)>> = BTreeMap::new();
        for library in &closure.libraries {
            let Some(place) = self.placed.at(&library.real) else { continue };
            for by in &library.needed_by {
                needs.entry(by).or_default().push((&library.soname, place));
            }
        }
        let mut links: BTreeMap<ImagePath, ImagePath> = BTreeMap::new();
        for (place, host, header) in &self.searched {
            let folder = place.parent().unwrap_or_default();
            let old: Vec<&str> = if header.runpath.is_empty() { &header.rpath } else { &header.runpath }
                .iter()
                .map(String::as_str)
                .collect();
            let mut search: Vec<ImagePath> = old.iter().filter_map(|entry| expand(entry, &folder)).collect();
            let new = moved_search_path(&old, &folder, programs);
            let is_moved = place.starts_with(programs.prefix.1) && !old.is_empty() && new != old.join(":");
            if is_moved && let Some(patches) = search_path_patches(host, &new)? {
                search = new.split(':').filter_map(|entry| expand(entry, &folder)).collect();
                if !patches.is_empty() {
                    self.result.patches.insert(place.clone(), patches);
                }
            }
            for (soname, target) in needs.get(host.as_path()).into_iter().flatten() {
                let folder_of_target = target.parent().unwrap_or_default();
                let found = search.contains(&folder_of_target) || folder_of_target == self.home.image;
                // Libraries of the executable satisfy the modules that it loads, by name; the link
                // is harmless.
                if !found && !soname.contains('/') {
                    links.insert(self.home.image.join(soname)?, (*target).clone());
                }
            }
        }
        for (link, target) in links {
            if !self.result.taken.contains_key(&link) {
                let relative = target.relative_to(&self.home.image);
                self.result.entries.push(Entry::symlink(link, relative, Owner::System));
            }
        }
        Ok(())
    }

    fn finish(mut self, programs: &Programs<'_>) -> Result<SharedLibraries, SystemError> {
        let usr = ImagePath::new("usr")?;
        let lib64 = usr.join("lib64")?;
        for name in MERGED {
            let directory = usr.join(name)?;
            if name == "lib64" && !self.result.entries.iter().any(|entry| entry.path.starts_with(&lib64)) {
                continue;
            }
            self.result.entries.push(Entry::directory(directory, Owner::System));
            self.result.entries.push(Entry::symlink(
                ImagePath::new(name)?,
                format!("usr/{name}"),
                Owner::System,
            ));
        }
        if let Some(header) = elf::read(programs.executable)? {
            self.result.platform = header
                .machine
                .platform()
                .map(|platform| (platform.architecture.to_owned(), platform.variant.map(str::to_owned)));
        }
        Ok(self.result)
    }
}

/// Resolves an element of a search path for a file in `folder` of the image.
fn expand(entry: &str, folder: &ImagePath) -> Option<ImagePath> {
    let rest = entry.strip_prefix("$ORIGIN").or_else(|| entry.strip_prefix("${ORIGIN}"));
    let Some(rest) = rest else {
        return entry.starts_with('/').then(|| ImagePath::new(entry).ok()).flatten();
    };
    let mut path = folder.clone();
    for part in rest.split('/') {
        path = match part {
            "" | "." => path,
            ".." => path.parent()?,
            name => path.join(name).ok()?,
        };
    }
    Some(path)
}

/// Returns the search path of a file moved with the interpreter: paths in the old prefix become
/// relative to the file, relative ones stay, and other directories of this machine are dropped,
/// since their libraries are copied to the home directory.
fn moved_search_path(old: &[&str], folder: &ImagePath, programs: &Programs<'_>) -> String {
    let (host, image) = programs.prefix;
    let mut new: Vec<String> = Vec::new();
    for entry in old {
        let translated = if entry.starts_with('$') {
            Some((*entry).to_owned())
        } else {
            let below = Path::new(entry).strip_prefix(host).ok().and_then(Path::to_str);
            below.and_then(|below| image.join(below).ok()).map(|place| {
                match place.relative_to(folder).as_str() {
                    "." => "$ORIGIN".to_owned(),
                    relative => format!("$ORIGIN/{relative}"),
                }
            })
        };
        new.extend(translated.filter(|entry| !new.contains(entry)));
    }
    // An empty element would be the working directory of the process.
    if new.is_empty() { "$ORIGIN".to_owned() } else { new.join(":") }
}

/// Returns the patches that set the search path of a file; `None` if the file cannot have this path.
fn search_path_patches(file: &Path, new: &str) -> Result<Option<Vec<Patch>>, ElfError> {
    match elf::rewrite_search_path(file, new) {
        Ok(patches) => Ok(Some(patches)),
        Err(ElfError::NoSearchPath(_) | ElfError::DoesNotFit { .. } | ElfError::Shared { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns one warning for all ELF files for other machines: some wheels contain a library for each.
fn foreign_warning(files: &[String]) -> Option<Warning> {
    let first = files.first()?;
    let others = match files.len() - 1 {
        0 => String::new(),
        more => format!(", as {} of the environment", counted(more as u64, "more file")),
    };
    Some(
        Warning::new(first.clone(), format!("is for another machine than the interpreter{others}")).with_help(
            "nothing is to be done if the distribution has a file for this machine as well; else install it again here",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    #[test]
    fn files_for_other_machines_are_reported_once() {
        let files = ["/a_arm64.so", "/a_armv7.so", "/a_riscv64.so"].map(str::to_owned);
        assert!(foreign_warning(&[]).is_none());
        let text = foreign_warning(&files).unwrap().to_string();
        assert!(
            text.starts_with("/a_arm64.so: is for another machine") && text.contains("2 more files"),
            "{text}"
        );
        assert!(!foreign_warning(&files[..1]).unwrap().to_string().contains("more file"));
    }

    #[test]
    fn system_paths_are_in_usr() {
        for (host, image) in [
            ("/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
            ("/lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
            ("/usr/lib/libz.so.1", "usr/lib/libz.so.1"),
            ("/opt/lib/x.so", "opt/lib/x.so"),
        ] {
            assert_eq!(in_usr(Path::new(host)).unwrap(), path(image));
        }
    }

    #[test]
    fn search_paths_are_expanded_from_the_file() {
        let folder = path("usr/local/lib/python3.11/lib-dynload");
        for (entry, expected) in [
            ("$ORIGIN", Some("usr/local/lib/python3.11/lib-dynload")),
            ("${ORIGIN}/../..", Some("usr/local/lib")),
            ("/opt/x/", Some("opt/x")),
            ("relative", None),
            ("$ORIGIN/../../../../../../..", None),
        ] {
            assert_eq!(expand(entry, &folder), expected.map(path), "{entry}");
        }
    }

    #[test]
    fn a_search_path_moves_with_its_file() {
        let image = path("usr/local");
        let programs = Programs {
            executable: Path::new("/x"),
            prefix: (Path::new("/home/u/.pyenv/versions/3.11.7"), &image),
            files: Vec::new(),
            extra: &[],
        };
        let new = |old: &[&str], folder| moved_search_path(old, &path(folder), &programs);
        assert_eq!(new(&["/home/u/.pyenv/versions/3.11.7/lib"], "usr/local/bin"), "$ORIGIN/../lib");
        assert_eq!(new(&["/home/u/.pyenv/versions/3.11.7/lib"], "usr/local/lib"), "$ORIGIN");
        assert_eq!(new(&["$ORIGIN/x", "/opt/ssl/lib", "$ORIGIN/x"], "usr/local/bin"), "$ORIGIN/x");
        assert_eq!(new(&["/opt/ssl/lib"], "usr/local/bin"), "$ORIGIN");
    }
}
