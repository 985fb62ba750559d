//! Moves an environment to its path in the image, without references to the build machine.
//!
//! The entries of a distribution depend only on its wheel and on the path in the image: not on the
//! installer, the project, the machine, or an explicit request by name. So one wheel has one layer
//! everywhere. To that end
//!
//! - `INSTALLER` is `ipo-oci`, `REQUESTED` and uv's `uv_cache.json` and `uv_build.json` are
//!   dropped, and `direct_url.json` is dropped for a local file, normalized for a remote one, and
//!   points into the image for an editable install;
//! - scripts are rewritten (`scripts`);
//! - `RECORD` has one row for each file in the image, sorted by path, with hash and size of the
//!   bytes there. Bytecode has no rows, since its presence depends on `--bytecode` and Python's own
//!   tools regard bytecode as a by-product;
//! - modes are 0644 and 0755, owners root, times constant.
//!
//! With `include-system-site-packages`, selected distributions of the base interpreter are placed
//! in the environment as if installed there, and the image's `pyvenv.cfg` has `false`.
//!
//! Leaves bytecode to [`crate::python::bytecode`]: [`Relocated::bytecode`] has the installers'
//! files, and [`Relocated::python_sources`] the input of the compiler. A `.pyc` in place of its
//! `.py` is a module and is retained.

mod editable;
mod environment;
mod info;
mod literals;
mod mapping;
mod overwritten;
pub mod paths;
mod pth;
mod scripts;
mod sources;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use self::mapping::Mapping;
#[cfg(test)]
pub(crate) use self::mapping::normalize;
pub use self::sources::{EditableEntries, EditableSource, SourcePlace};
use crate::parallel::{cores, each};
use crate::progress::Warning;
use crate::python::environment::distribution::{Distribution, is_bytecode_cache};
use crate::python::environment::error::VenvError;
use crate::python::environment::listing::{Execution, ListingCursor, ListingEntry, has_extension};
use crate::python::environment::venv::Venv;
use crate::python::metadata::entry_points::EntryPoint;
use crate::tree::{Content, Entry, HostFile, ImagePath, Kind, Owner};

/// The largest script that is rewritten, in bytes.
const SCRIPT_LIMIT: u64 = 16 << 20;

/// The number of threads beyond which entries are not made any faster.
const WORKERS: usize = 8;

/// The longest first line that every Linux kernel reads, in bytes (`BINPRM_BUF_SIZE` before 5.1).
const SHEBANG_LIMIT: usize = 127;

/// An environment and its path in the image.
#[derive(Debug, Clone)]
pub struct Relocation<'a> {
    /// The environment.
    pub venv: &'a Venv,
    /// The environment's directory in the image: `/app/.venv`.
    pub prefix: ImagePath,
    /// The interpreter's executable in the image: `/usr/local/bin/python3.11`. In a base image this
    /// must be the program itself, not a link: Python searches for its library above the directory
    /// in `pyvenv.cfg` (CPython, `Modules/getpath.py`).
    pub interpreter: ImagePath,
    /// The context's root in the image: `/app`.
    pub workdir: ImagePath,
    /// The context's root on this machine.
    pub context: &'a Path,
    /// The selected distributions.
    pub selection: DistributionSelection,
    /// The choice of `bin/activate`.
    pub activation: Activation,
}

/// A choice of an environment's distributions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DistributionSelection {
    /// All distributions, with those of the base interpreter if visible to the environment.
    All,
    /// The distributions of these normalized names.
    Only(BTreeSet<String>),
}

/// The choice of `bin/activate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Written, for images with interactive use.
    Include,
    /// Not written, for images without a shell.
    Exclude,
}

/// An environment's entries in the image.
#[derive(Debug, Clone, Default)]
pub struct Relocated {
    /// `pyvenv.cfg`, the links to the interpreter, `bin/activate`.
    pub environment: Vec<Entry>,
    /// The entries of each distribution, by normalized name, ordered by path. Each path is in one
    /// of them.
    pub distributions: BTreeMap<String, Vec<Entry>>,
    /// The entries of files in the environment that belong to no distribution.
    pub unowned: Vec<Entry>,
    /// Sources of editable installs, needed in the image too.
    pub sources: Vec<EditableSource>,
    /// The folder of the commands: no file in it is a module.
    pub commands: ImagePath,
    /// The installers' bytecode on this machine, by the module's path in the image.
    pub bytecode: BTreeMap<ImagePath, HostFile>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// A module of the image with its installed bytecode.
#[derive(Debug, Clone)]
pub struct ModuleSource {
    /// The path of the `.py` in the image.
    pub path: ImagePath,
    /// The source text.
    pub content: Content,
    /// The bytecode, if compiled from the same bytes by an installer.
    pub pyc: Option<HostFile>,
    /// The owner.
    pub owner: Owner,
}

impl Relocated {
    /// Returns the modules among `entries`, each with its installed bytecode.
    pub fn python_sources<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>) -> Vec<ModuleSource> {
        let is_module = |path: &ImagePath| {
            has_extension(path.as_str(), "py") && path.parent().as_ref() != Some(&self.commands)
        };
        entries
            .into_iter()
            .filter_map(|entry| match &entry.kind {
                Kind::File(content) if is_module(&entry.path) => Some(ModuleSource {
                    path: entry.path.clone(),
                    content: content.clone(),
                    // Bytecode of a rewritten file is of other bytes.
                    pyc: self
                        .bytecode
                        .get(&entry.path)
                        .filter(|_| matches!(content, Content::Host(_)))
                        .cloned(),
                    owner: entry.owner.clone(),
                }),
                _ => None,
            })
            .collect()
    }

    /// Returns all entries, in an arbitrary order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.environment.iter().chain(self.distributions.values().flatten()).chain(&self.unowned)
    }
}

impl Relocation<'_> {
    /// Creates the entries. Only scripts and small metadata files are read.
    pub fn run(&self) -> Result<Relocated, VenvError> {
        self.check_prefix()?;
        let (python, mapping) = (format!("{}/bin/python", self.prefix), self.mapping()?);
        let relocator = || Relocator {
            relocation: self,
            python: &python,
            mapping: &mapping,
            relocated: Relocated::default(),
            taken: HashSet::new(),
        };
        let selected = self.selected()?;
        let owners = owners(self.venv, &selected);
        let warnings = overwritten::check(self.venv, &selected, &owners)?;
        let (parts, taken) = parts(self.venv, &selected, &owners);
        let made = each(
            parts.len(),
            cores().min(WORKERS),
            || Ok(()),
            |(), index| {
                let mut relocator = relocator();
                if let (Some(distribution), Some(parts)) = (selected.get(index), parts.get(index)) {
                    relocator.distribution(distribution, parts)?;
                }
                Ok::<_, VenvError>(relocator.relocated)
            },
        )?;
        let mut relocator = Relocator { taken, ..relocator() };
        relocator.relocated.environment = environment::entries(self)?;
        relocator.relocated.warnings = warnings;
        for mut result in made {
            relocator.relocated.distributions.append(&mut result.distributions);
            relocator.relocated.sources.append(&mut result.sources);
            relocator.relocated.warnings.append(&mut result.warnings);
        }
        relocator.unowned()?;
        relocator.bytecode()?;
        let mut relocated = relocator.relocated;
        relocated.commands = self.prefix.join("bin")?;
        relocated.sources.sort();
        relocated.sources.dedup();
        Ok(relocated)
    }

    fn check_prefix(&self) -> Result<(), VenvError> {
        let path = self.prefix.to_string();
        let reason = if path.contains(|character: char| character.is_whitespace() || character.is_control()) {
            "a script's first line cannot contain white space in a path"
        } else if path.len() + "#!/bin/python -E".len() > SHEBANG_LIMIT {
            "the path is too long for a script's first line"
        } else {
            return Ok(());
        };
        Err(VenvError::Prefix { path, reason })
    }

    fn selected(&self) -> Result<Vec<&Distribution>, VenvError> {
        match &self.selection {
            DistributionSelection::All => Ok(self.venv.distributions.iter().collect()),
            DistributionSelection::Only(names) => names
                .iter()
                .map(|name| self.venv.distribution(name).ok_or_else(|| VenvError::NotInstalled(name.clone())))
                .collect(),
        }
    }

    /// Returns the mapping of the environment, of the context, and of outside editable projects to
    /// the environment's `src`.
    fn mapping(&self) -> Result<Mapping, VenvError> {
        let mut mapping = Mapping::default();
        mapping.add(&self.venv.root, &self.prefix);
        mapping.add(&self.venv.given, &self.prefix);
        mapping.add(self.context, &self.workdir);
        for distribution in &self.venv.distributions {
            if let Some(root) = distribution.editable_root()
                && mapping.map(root).is_none()
            {
                mapping.add(root, &self.prefix.join("src")?.join(&distribution.name)?);
            }
        }
        Ok(mapping)
    }
}

/// Assigns files recorded by several selected distributions: to the first with the file's size, or
/// else to the first of all. Never iterated.
fn owners<'a>(venv: &Venv, selected: &[&'a Distribution]) -> HashMap<&'a str, usize> {
    let count = selected.iter().map(|distribution| distribution.files.len()).sum();
    let mut owners: HashMap<&str, usize> = HashMap::with_capacity(count);
    let fits = |index: usize, place: &str| {
        let recorded = selected.get(index).and_then(|distribution| distribution.files.get(place)?.size);
        let actual = venv.listing.get(place).and_then(ListingEntry::file).map(|file| file.size);
        recorded.is_none() || recorded == actual
    };
    for (index, distribution) in selected.iter().enumerate() {
        for place in distribution.files.keys() {
            let owner = owners.entry(place).or_insert(index);
            if *owner != index && !fits(*owner, place) && fits(index, place) {
                *owner = index;
            }
        }
    }
    owners
}

/// A part of a distribution, before its entry is made.
#[derive(Debug)]
enum DistributionPart<'a> {
    /// A command, which is rewritten.
    Command(&'a EntryPoint),
    /// A file, by its path below the environment.
    File(&'a str, &'a ListingEntry),
    /// A file of the environment itself, which is dropped.
    Refused(&'a str),
}

/// Returns the paths written by each of the `selected`, in the order of writing, and the set of all
/// these paths. Each path belongs to one distribution, even if recorded by several.
fn parts<'a>(
    venv: &'a Venv,
    selected: &[&'a Distribution],
    owners: &HashMap<&'a str, usize>,
) -> (Vec<Vec<DistributionPart<'a>>>, HashSet<Cow<'a, str>>) {
    let mut taken: HashSet<Cow<'a, str>> = HashSet::with_capacity(owners.len());
    let mut listing = ListingCursor::of(&venv.listing);
    let mut of_one = |index: usize, distribution: &&'a Distribution| {
        let mut parts = Vec::with_capacity(distribution.files.len() + distribution.entry_points.len());
        for point in &distribution.entry_points {
            let place = format!("bin/{}", point.name);
            if !environment::is_environment_file(&place) && taken.insert(place.into()) {
                parts.push(DistributionPart::Command(point));
            }
        }
        for place in distribution.files.keys() {
            let name = place.strip_prefix(&distribution.info).and_then(|rest| rest.strip_prefix('/'));
            if name.is_some_and(info::is_rewritten) {
                continue;
            }
            if environment::is_environment_file(place) {
                parts.push(DistributionPart::Refused(place));
                continue;
            }
            let Some(listed) = listing.get(place) else { continue };
            if owners.get(place.as_str()) == Some(&index) && taken.insert(place.into()) {
                parts.push(DistributionPart::File(place, listed));
            }
        }
        parts
    };
    let parts =
        selected.iter().enumerate().map(|(index, distribution)| of_one(index, distribution)).collect();
    (parts, taken)
}

/// The state of a relocation: of one distribution, or of all files without a distribution.
struct Relocator<'a> {
    relocation: &'a Relocation<'a>,
    /// The interpreter in the first line of scripts.
    python: &'a str,
    mapping: &'a Mapping,
    relocated: Relocated,
    /// Paths below the environment that have an entry. Never iterated.
    taken: HashSet<Cow<'a, str>>,
}

impl Relocator<'_> {
    fn distribution(
        &mut self,
        distribution: &Distribution,
        parts: &[DistributionPart<'_>],
    ) -> Result<(), VenvError> {
        let owner = distribution.owner();
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        if distribution.editable_root().is_some() {
            editable::refuse_loaders(distribution)?;
        }
        for part in parts {
            match *part {
                DistributionPart::Command(point) => {
                    let place = format!("bin/{}", point.name);
                    let script = scripts::console_script(self.python, point);
                    let entry = Entry::executable(self.at(&place)?, script.into(), owner.clone());
                    entries.insert(place, entry);
                }
                DistributionPart::Refused(place) => self.relocated.warnings.push(Warning::new(
                    format!("{} {}", distribution.metadata.name, distribution.version),
                    format!("excluded {place}, a file of the environment itself"),
                )),
                DistributionPart::File(place, listed) => {
                    if let Some(entry) = self.entry(place, listed, &owner, Some(distribution))? {
                        entries.insert(place.to_owned(), entry);
                    }
                }
            }
        }
        self.linked_metadata(distribution, &mut entries)?;
        info::write(self, distribution, &mut entries)?;
        let entries = entries.into_values().collect();
        self.relocated.distributions.insert(distribution.name.to_string(), entries);
        Ok(())
    }

    /// Returns the entry for one file of the environment.
    fn entry(
        &mut self,
        place: &str,
        listed: &ListingEntry,
        owner: &Owner,
        distribution: Option<&Distribution>,
    ) -> Result<Option<Entry>, VenvError> {
        let path = self.at(place)?;
        let (file, execution) = match listed {
            ListingEntry::File { file, execution } => (file, *execution),
            ListingEntry::Link { target } => {
                return Ok(Some(Entry::symlink(path, target.clone(), owner.clone())));
            }
            ListingEntry::OutsideDirectory { target } => {
                return self.linked_source(place, path, target, owner, distribution);
            }
            ListingEntry::Dangling { target } => {
                let message = format!("excluded this link to {}, which does not exist", target.display());
                self.relocated.warnings.push(Warning::new(self.host(place), message));
                return Ok(None);
            }
        };
        if place.starts_with("bin/") {
            let content = self.script(place, file)?;
            return Ok(Some(Entry::executable(path, content, owner.clone())));
        }
        let content =
            self.module_or_path(place, file, distribution)?.unwrap_or_else(|| Content::Host(file.clone()));
        let new = if execution == Execution::Allowed { Entry::executable } else { Entry::file };
        Ok(Some(new(path, content, owner.clone())))
    }

    /// Returns a script's content for the image.
    fn script(&self, place: &str, file: &HostFile) -> Result<Content, VenvError> {
        let unchanged = Content::Host(file.clone());
        if file.size > SCRIPT_LIMIT {
            return Ok(unchanged);
        }
        let mut bytes = Vec::new();
        let mut open = unchanged.open()?;
        open.read_some(&mut bytes)?;
        if !bytes.starts_with(b"#!") {
            return Ok(unchanged);
        }
        while open.read_some(&mut bytes)? > 0 {}
        let name = place.rsplit('/').next().unwrap_or(place);
        let Some(script) = scripts::relocate(self.python, name, &bytes) else { return Ok(unchanged) };
        // Scripts written by `setup.py develop` run a script of the source.
        if memchr::memmem::find(&script, b"\n# EASY-INSTALL-DEV-SCRIPT: ").is_some()
            && let Ok(text) = std::str::from_utf8(&script)
            && let Some(text) = literals::relocate(text, self.mapping).text
        {
            return Ok(text.into());
        }
        Ok(script.into())
    }

    /// Adds all files recorded by no distribution, selected or not.
    fn unowned(&mut self) -> Result<(), VenvError> {
        let venv = self.relocation.venv;
        let count = venv.distributions.iter().map(|distribution| distribution.files.len()).sum();
        let mut recorded: HashSet<&str> = HashSet::with_capacity(count);
        let mut commands: BTreeSet<String> = BTreeSet::new();
        let mut directories: Vec<String> = Vec::new();
        for distribution in &venv.distributions {
            recorded.extend(distribution.files.keys().map(String::as_str));
            commands.extend(distribution.entry_points.iter().map(|point| format!("bin/{}", point.name)));
            // `pip install -e git+…` puts its checkout into the environment.
            let root = distribution.editable_root().and_then(|root| root.strip_prefix(&venv.root).ok());
            directories.extend(root.and_then(Path::to_str).map(|root| format!("{root}/")));
        }
        for (place, listed) in &venv.listing {
            let in_site = venv
                .site_packages
                .iter()
                .find_map(|site| place.strip_prefix(site.as_str())?.strip_prefix('/'));
            if recorded.contains(place.as_str())
                || commands.contains(place)
                || directories.iter().any(|directory| place.starts_with(directory))
                || environment::is_environment_file(place)
                || is_bytecode_cache(place)
                || in_site.is_some_and(|name| environment::is_tool_litter(name) || name.starts_with('~'))
                || leads_to_interpreter(venv, place, listed)
                || !self.taken.insert(place.into())
            {
                continue;
            }
            if let Some(entry) = self.entry(place, listed, &Owner::Environment, None)? {
                self.relocated.unowned.push(entry);
            }
        }
        Ok(())
    }

    /// Pairs the included modules with their bytecode in `__pycache__`.
    fn bytecode(&mut self) -> Result<(), VenvError> {
        let venv = self.relocation.venv;
        let threads = if venv.version.free_threaded { "t" } else { "" };
        let suffix = format!(".cpython-{}{}{threads}.pyc", venv.version.major, venv.version.minor);
        let mut found = Vec::new();
        for (place, listed) in &venv.listing {
            let Some(file) = listed.file().filter(|_| place.ends_with(&suffix)) else { continue };
            let Some((directory, name)) = place.rsplit_once("/__pycache__/") else { continue };
            let Some(stem) = name.strip_suffix(&suffix) else { continue };
            let module = [directory, "/", stem, ".py"].concat();
            if self.taken.contains(module.as_str()) {
                found.push((self.at(&module)?, file.clone()));
            }
        }
        self.relocated.bytecode = found.into_iter().collect();
        Ok(())
    }

    /// Returns the path in the image of a path below the environment.
    fn at(&self, place: &str) -> Result<ImagePath, VenvError> {
        Ok(self.relocation.prefix.join(place)?)
    }

    /// Returns the path on this machine of a path below the environment, for messages.
    fn host(&self, place: &str) -> String {
        self.relocation.venv.given.join(place).display().to_string()
    }
}

/// Returns whether a file in `bin` is the interpreter under another name.
fn leads_to_interpreter(venv: &Venv, place: &str, listed: &ListingEntry) -> bool {
    let interpreter = venv.interpreter.as_deref();
    place.starts_with("bin/") && listed.file().is_some_and(|file| Some(&*file.path) == interpreter)
}

/// Rewrites scripts, `.pth` files and literals, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Some(script) = scripts::relocate("/app/.venv/bin/python", "tool", bytes) {
        assert!(script.starts_with(b"#!/app/.venv/bin/python"), "a script of another interpreter");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (site, root) =
        (Path::new("/home/me/.venv/lib/python3.11/site-packages"), Path::new("/home/me/.venv"));
    let mut mapping = Mapping::default();
    if let Ok(image) = ImagePath::new("app/.venv") {
        mapping.add(root, &image);
    }
    let _ = pth::relocate(text, site, root, &mapping);
    let _ = literals::relocate(text, &mapping);
}
