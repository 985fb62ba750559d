//! [`DependencyClosure`]: the installed distributions that a project needs.
//!
//! Requirements follow the packaging specification "Dependency specifiers" (PEP 508). Markers are
//! evaluated for the environment's interpreter ([`marker`](super::marker)), extras are followed.
//! Versions are not resolved: the installed ones are taken. A requirement without an installed
//! distribution is an error, unless the name is in `allow_missing`; an installed version excluded
//! by its requirement is a warning, as in `pip check`. An invalid `Requires-Dist` is a warning too,
//! and its first name is followed: pip and packaging refuse such a line, but its author meant to
//! require a distribution.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};

use super::declaration::{Declaration, DependencySelection};
use super::error::RequirementError;
use super::marker::Environment;
use super::pipfile::{Pipfile, PipfileError};
use super::pyproject::{PyProject, PyProjectError};
use super::requirement::Requirement;
use super::requirements_txt::{self, RequirementTarget, RequirementsError};
use crate::error::{Advice, FileError};
use crate::printable;
use crate::progress::Warning;
use crate::python::environment::distribution::{Distribution, DistributionOrigin};
use crate::python::environment::error::VenvError;
use crate::python::environment::listing::read_text;
use crate::python::environment::venv::Venv;
use crate::python::metadata::name::normalize;
use crate::traced_fs;
use crate::tree::HostFile;

/// The largest `pyproject.toml` read, in bytes.
const PYPROJECT_LIMIT: u64 = 16 << 20;

/// The number of missing requirements in an error.
const MISSING_NAMED: usize = 5;

/// A project's declared dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredDependencies {
    /// The project's normalized name, if any.
    pub project: Option<String>,
    /// The declared requirements with their origins.
    pub roots: Vec<DeclaredRequirement>,
    /// The requirements of the project's own extras, for extras that name each other (`app[dev]`).
    pub extras: BTreeMap<String, Vec<Requirement>>,
    /// The file that declares the dependencies.
    pub file: PathBuf,
    /// The source of the dependencies.
    pub source: DependencySource,
    /// Normalized names of distributions that may be required without being installed.
    pub allow_missing: BTreeSet<String>,
}

/// The source of a project's dependencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DependencySource {
    /// The declaring file.
    #[default]
    File,
    /// The metadata of the installed project: `dynamic = ["dependencies"]`.
    InstalledProject,
}

/// One declared requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredRequirement {
    /// The required distribution.
    pub target: RequirementTarget,
    /// The declaring file, with a line if known: `pyproject.toml`, `requirements.txt:3`.
    pub declared_in: String,
}

/// The distributions that a project needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DependencyClosure {
    /// Normalized names, each with a shortest path from a declared requirement.
    pub members: BTreeMap<String, RequirementChain>,
    /// Warnings about requirements and installed versions.
    pub warnings: Vec<Warning>,
}

/// The chain of requirements that leads to a distribution, from the declared one on. Displayed as
/// `requirements.txt:1: fastapi==0.110 → starlette<0.38`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequirementChain {
    /// The declaration of the first requirement.
    pub declared_in: String,
    /// The requirements, verbatim; the last one names the distribution itself.
    pub path: Vec<String>,
}

impl fmt::Display for RequirementChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.declared_in, self.path.join(" → "))
    }
}

/// A requirement without an installed distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingRequirement {
    /// The distribution's normalized name.
    pub name: String,
    /// The requirement, verbatim.
    pub requirement: String,
    /// The requiring file, or distribution with its version.
    pub by: String,
}

impl fmt::Display for MissingRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (`{}` of {})", self.name, self.requirement, self.by)
    }
}

/// Errors of computing the closure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClosureError {
    /// A file or the environment cannot be read.
    #[error(transparent)]
    File(#[from] VenvError),
    /// A `requirements.txt` cannot be read.
    #[error(transparent)]
    Requirements(#[from] RequirementsError),
    /// A `pyproject.toml` cannot be read.
    #[error("cannot read {}", printable::path(.path))]
    PyProject {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: PyProjectError,
    },
    /// A `Pipfile` cannot be read.
    #[error("cannot read {}", printable::path(.path))]
    Pipfile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: PipfileError,
    },
    /// The project declares no dependencies.
    #[error("dependencies not found: {} declares none", printable::path(.0))]
    NothingDeclared(PathBuf),
    /// The project has no such extra or group.
    #[error("{kind} `{name}` not found in {}", printable::path(.path))]
    NoSuch {
        /// The file.
        path: PathBuf,
        /// `extra` or `dependency group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A requirement of the setting `with` is invalid.
    #[error("invalid requirement `{requirement}` in `with`")]
    With {
        /// The requirement.
        requirement: String,
        /// The cause.
        source: RequirementError,
    },
    /// Requirements without an installed distribution, ordered by name.
    #[error("distribution not found in the virtual environment: {}", summarize_missing(.0))]
    Missing(Vec<MissingRequirement>),
}

impl Advice for ClosureError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::File(error) | Self::Requirements(RequirementsError::Venv(error)) => return error.help(),
            Self::Requirements(RequirementsError::Line { .. }) => {
                "correct the line; pip reads requirements such as `fastapi[standard]>=0.110`".to_owned()
            }
            Self::Requirements(RequirementsError::Depth(_)) => {
                "remove the `-r` line that closes the circle".to_owned()
            }
            Self::PyProject { .. } | Self::Pipfile { .. } => "correct the file".to_owned(),
            Self::NothingDeclared(_) => {
                "list the dependencies in [project.dependencies] of pyproject.toml or in requirements.txt, or name their \
                 file with --requirements"
                    .to_owned()
            }
            Self::With { .. } => {
                "write requirements such as `gunicorn` or `uvicorn[standard]>=0.30`".to_owned()
            }
            Self::NoSuch { .. } => "correct the name, or declare it in pyproject.toml".to_owned(),
            Self::Missing(missing) => {
                let names: Vec<_> = missing
                    .iter()
                    .take(MISSING_NAMED)
                    .map(|missing| format!("'{}'", installable(missing)))
                    .collect();
                format!(
                    "install the requirements, with `uv sync` or `pip install {}`, remove them, or allow them to be \
                     missing with --allow-missing {}",
                    names.join(" "),
                    missing.first().map_or("NAME", |missing| &missing.name)
                )
            }
        })
    }
}

/// Returns true if two paths lead to the same file or folder.
fn is_same(one: &Path, other: &Path) -> bool {
    match (traced_fs::canonicalize(one), traced_fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Returns the requirement without its marker, for a command line.
fn installable(missing: &MissingRequirement) -> &str {
    missing.requirement.split(';').next().unwrap_or(&missing.name).trim()
}

/// Lists the first requirements and the number of the rest.
pub(crate) fn summarize_missing(missing: &[MissingRequirement]) -> String {
    let mut text: Vec<String> = missing.iter().take(MISSING_NAMED).map(ToString::to_string).collect();
    if missing.len() > MISSING_NAMED {
        text.push(format!("and {} more", missing.len() - MISSING_NAMED));
    }
    text.join(", ")
}

impl DeclaredDependencies {
    /// Returns the declared requirements of distributions by their names.
    pub fn into_named(self) -> impl Iterator<Item = Requirement> {
        self.roots.into_iter().filter_map(|root| match root.target {
            RequirementTarget::Named(requirement) => Some(*requirement),
            _ => None,
        })
    }

    /// Reads the dependencies of the project in `context` that `selection` includes, from the files of
    /// its [`Declaration`]. `dynamic` dependencies are those of the installed project.
    pub fn read(context: &Path, selection: &DependencySelection) -> Result<Self, ClosureError> {
        let path = context.join("pyproject.toml");
        let project = read_pyproject(&path)?.unwrap_or_default();
        let mut declared = Self { file: path.clone(), project: project.name.clone(), ..Self::default() };
        let groups = selection.groups_of(&project);
        let no_such =
            |kind, name: &str| ClosureError::NoSuch { path: path.clone(), kind, name: name.to_owned() };
        let mut are_groups_read = false;
        match Declaration::find(context, selection, &project) {
            Some(Declaration::Requirements(files)) => {
                for line in files
                    .iter()
                    .map(|file| requirements_txt::read(file))
                    .collect::<Result<Vec<_>, _>>()?
                    .concat()
                {
                    let file = line.file.strip_prefix(context).unwrap_or(&line.file).display().to_string();
                    declared.roots.push(DeclaredRequirement {
                        target: line.target,
                        declared_in: format!("{file}:{}", line.line),
                    });
                }
                declared.file = files.into_iter().next().unwrap_or(path.clone());
            }
            Some(Declaration::PyProject) => match &project.dependencies {
                Some(dependencies) => declared.add(dependencies),
                None if project.name.is_some() => declared.source = DependencySource::InstalledProject,
                None => {}
            },
            Some(Declaration::Pipfile) => {
                declared.file = context.join("Pipfile");
                let packages = read_pipfile(&declared.file)?.packages(context, &groups);
                let packages = packages.map_err(|group| ClosureError::NoSuch {
                    path: declared.file.clone(),
                    kind: "category",
                    name: group,
                })?;
                let invalid = |source| ClosureError::Pipfile { path: declared.file.clone(), source };
                let packages = packages.map_err(invalid)?;
                declared.roots.extend(packages.into_iter().map(|package| DeclaredRequirement {
                    target: package.target,
                    declared_in: "Pipfile".to_owned(),
                }));
                are_groups_read = true;
            }
            Some(Declaration::Setup) => {
                let setup = ["setup.py", "setup.cfg"].map(|name| context.join(name));
                declared.file = setup.into_iter().find(|file| traced_fs::is_file(file)).unwrap_or_default();
                declared.source = DependencySource::InstalledProject;
            }
            Some(Declaration::PyLock) => {
                declared.file = context.join("pylock.toml");
                let text = read_limited(&declared.file)?;
                declared.roots.extend(locked_names(&text).into_iter().map(|requirement| {
                    DeclaredRequirement {
                        target: RequirementTarget::Named(Box::new(requirement)),
                        declared_in: "pylock.toml".to_owned(),
                    }
                }));
            }
            None if groups.is_empty() => return Err(ClosureError::NothingDeclared(context.to_path_buf())),
            None => {}
        }
        for extra in &selection.extras {
            let requirements =
                project.extras.get(&normalize(extra)).ok_or_else(|| no_such("extra", extra))?;
            declared.add(requirements);
        }
        for group in groups.iter().filter(|_| !are_groups_read) {
            let requirements = project.groups.get(group).ok_or_else(|| no_such("dependency group", group))?;
            declared.add(requirements);
        }
        declared.add_settings(&selection.with)?;
        declared.extras = project.extras;
        Ok(declared)
    }

    /// Adds the requirements of the setting `with`.
    fn add_settings(&mut self, with: &[String]) -> Result<(), ClosureError> {
        for text in with {
            let requirement =
                text.parse().map_err(|source| ClosureError::With { requirement: text.clone(), source })?;
            self.roots.push(DeclaredRequirement {
                target: RequirementTarget::Named(Box::new(requirement)),
                declared_in: "the setting `with`".to_owned(),
            });
        }
        Ok(())
    }

    /// Adds requirements of `pyproject.toml`.
    fn add(&mut self, requirements: &[Requirement]) {
        self.roots.extend(requirements.iter().map(|requirement| DeclaredRequirement {
            target: RequirementTarget::Named(Box::new(requirement.clone())),
            declared_in: "pyproject.toml".to_owned(),
        }));
    }

    /// Returns the distributions of `venv` needed by the project.
    ///
    /// # Errors
    /// [`ClosureError::Missing`] names all requirements without an installed distribution.
    pub fn closure(&self, venv: &Venv) -> Result<DependencyClosure, ClosureError> {
        let mut search = ClosureSearch::new(venv, self);
        let named = self.project.clone().filter(|project| venv.distribution(project).is_some());
        let installed = match self.source {
            // `setup.py` has no name that can be read.
            DependencySource::InstalledProject => {
                named.or_else(|| search.installed_from(self.file.parent().unwrap_or(Path::new(""))))
            }
            DependencySource::File => named,
        };
        if let Some(project) = installed {
            let file = self.file.file_name().unwrap_or_default().to_string_lossy();
            let declared_in = if self.source == DependencySource::File { "pyproject.toml" } else { &*file };
            let reason =
                RequirementChain { declared_in: declared_in.to_owned(), path: vec![project.clone()] };
            search.need(&project, &[], reason);
        } else if self.source == DependencySource::InstalledProject {
            return Err(ClosureError::NothingDeclared(self.file.clone()));
        }
        for root in &self.roots {
            search.root(root)?;
        }
        search.finish()
    }
}

/// Returns the names of all distributions installed in the environment and of the base
/// interpreter's distributions they need: the contents of an image for development. Requirements
/// without an installed distribution are ignored.
pub fn all_installed(venv: &Venv) -> BTreeSet<String> {
    let declared = DeclaredDependencies::default();
    let mut search = ClosureSearch::new(venv, &declared);
    for distribution in venv
        .distributions
        .iter()
        .filter(|distribution| distribution.origin == DistributionOrigin::Environment)
    {
        let reason =
            RequirementChain { declared_in: String::new(), path: vec![distribution.name.to_string()] };
        search.need(&distribution.name, &[], reason);
    }
    search.run();
    search.closure.members.into_keys().collect()
}

pub(crate) fn read_pyproject(path: &Path) -> Result<Option<PyProject>, ClosureError> {
    if !traced_fs::is_there(path) {
        return Ok(None);
    }
    PyProject::parse(&read_limited(path)?)
        .map(Some)
        .map_err(|source| ClosureError::PyProject { path: path.to_path_buf(), source })
}

pub(in crate::python) fn read_pipfile(path: &Path) -> Result<Pipfile, ClosureError> {
    Pipfile::parse(&read_limited(path)?)
        .map_err(|source| ClosureError::Pipfile { path: path.to_path_buf(), source })
}

fn read_limited(path: &Path) -> Result<String, VenvError> {
    let real = traced_fs::canonicalize(path).map_err(FileError::of("read", path))?;
    read_text(&HostFile::new(real)?, PYPROJECT_LIMIT)
}

/// Returns the distributions of a `pylock.toml` (PEP 751) that are always needed, with their markers;
/// those of its extras and groups have markers of its own language.
fn locked_names(text: &str) -> Vec<Requirement> {
    let file: toml::Table = text.parse().unwrap_or_default();
    let packages = file.get("packages").and_then(toml::Value::as_array).into_iter().flatten();
    let requirement = |package: &toml::Value| {
        let name = package.get("name")?.as_str()?;
        match package.get("marker").and_then(toml::Value::as_str) {
            Some(marker) => format!("{name} ; {marker}").parse().ok(),
            None => name.parse().ok(),
        }
    };
    packages.filter_map(requirement).collect()
}

/// A breadth-first search: the first path to a distribution is a shortest one.
struct ClosureSearch<'a> {
    venv: &'a Venv,
    declared: &'a DeclaredDependencies,
    environment: Environment,
    extras: BTreeMap<String, BTreeSet<String>>,
    own_extras: BTreeSet<String>,
    queue: VecDeque<String>,
    missing: BTreeSet<MissingRequirement>,
    closure: DependencyClosure,
}

impl<'a> ClosureSearch<'a> {
    fn new(venv: &'a Venv, declared: &'a DeclaredDependencies) -> Self {
        Self {
            venv,
            declared,
            environment: Environment::new(venv.version, &venv.machine),
            extras: BTreeMap::new(),
            own_extras: BTreeSet::new(),
            queue: VecDeque::new(),
            missing: BTreeSet::new(),
            closure: DependencyClosure::default(),
        }
    }

    fn root(&mut self, root: &DeclaredRequirement) -> Result<(), ClosureError> {
        match &root.target {
            RequirementTarget::Named(requirement) => {
                let reason = RequirementChain { declared_in: root.declared_in.clone(), path: Vec::new() };
                self.require(requirement, &[], &reason, &root.declared_in);
            }
            RequirementTarget::Directory { path, extras } => {
                let named = match self.installed_from(path) {
                    Some(name) => Some(name),
                    None => read_pyproject(&path.join("pyproject.toml"))?.and_then(|project| project.name),
                };
                let extras =
                    if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
                match named.and_then(|name| format!("{name}{extras}").parse().ok()) {
                    Some(requirement) => {
                        let reason =
                            RequirementChain { declared_in: root.declared_in.clone(), path: Vec::new() };
                        self.require(&requirement, &[], &reason, &root.declared_in);
                    }
                    None if self.declared.file.parent().is_some_and(|context| is_same(context, path)) => {
                        // The project itself: its source is in the image anyway.
                        self.unnamed(root, &path.display().to_string());
                    }
                    None => self.not_installed(root, &path.display().to_string()),
                }
            }
            RequirementTarget::Unnamed(target) => {
                let came_from = |distribution: &&Distribution| {
                    distribution.direct_url.as_ref().is_some_and(|origin| origin.matches_url(target))
                };
                match self.venv.distributions.iter().find(came_from) {
                    Some(distribution) => {
                        let reason = RequirementChain {
                            declared_in: root.declared_in.clone(),
                            path: vec![target.clone()],
                        };
                        self.need(&distribution.name, &[], reason);
                    }
                    None => self.not_installed(root, target),
                }
            }
        }
        Ok(())
    }

    fn unnamed(&mut self, root: &DeclaredRequirement, target: &str) {
        self.closure.warnings.push(
            Warning::new(
                &root.declared_in,
                format!("has no distribution name for `{target}`, which is left out"),
            )
            .with_help("write `NAME @ URL`, or add `#egg=NAME`"),
        );
    }

    fn not_installed(&mut self, root: &DeclaredRequirement, target: &str) {
        self.missing.insert(MissingRequirement {
            name: target.to_owned(),
            requirement: target.to_owned(),
            by: root.declared_in.clone(),
        });
    }

    /// Returns the distribution that uses the source in `path` in place, or was installed from it.
    fn installed_from(&self, path: &Path) -> Option<String> {
        let uses = |distribution: &&Distribution| {
            distribution.local_origin().is_some_and(|root| is_same(root, path))
        };
        self.venv.distributions.iter().find(uses).map(|distribution| distribution.name.to_string())
    }

    /// Follows one requirement of `by`, evaluated with the requiring extras `extras`, after the
    /// chain `reason`.
    fn require(&mut self, requirement: &Requirement, extras: &[String], reason: &RequirementChain, by: &str) {
        if requirement.marker.as_ref().is_some_and(|marker| !marker.holds(&self.environment, extras)) {
            return;
        }
        let name = requirement.name.clone();
        let text = requirement.to_string();
        let mut chain = reason.clone();
        chain.path.push(text.clone());
        // A project's extra may require the project with another of its extras.
        if self.declared.project.as_ref() == Some(&name) && self.venv.distribution(&name).is_none() {
            let declared = self.declared;
            for extra in &requirement.extras {
                if self.own_extras.insert(extra.clone())
                    && let Some(requirements) = declared.extras.get(extra)
                {
                    for requirement in requirements {
                        self.require(requirement, extras, &chain, by);
                    }
                }
            }
            return;
        }
        let Some(distribution) = self.venv.distribution(&name) else {
            if !self.declared.allow_missing.contains(&name) {
                self.missing.insert(MissingRequirement { name, requirement: text, by: by.to_owned() });
            }
            return;
        };
        self.compare_version(requirement, distribution, by);
        self.need(&name, &requirement.extras, chain);
    }

    fn compare_version(&mut self, requirement: &Requirement, distribution: &Distribution, by: &str) {
        if !requirement.allows(&distribution.version) {
            let warning = Warning::new(
                format!("{} {}", distribution.metadata.name, distribution.version),
                format!("is installed, but {by} requires `{requirement}`"),
            )
            .with_help("install the declared versions, with `uv sync` or `pip install -r requirements.txt`");
            if !self.closure.warnings.contains(&warning) {
                self.closure.warnings.push(warning);
            }
        }
    }

    /// Records that an installed distribution is needed with these extras, and queues it (again) if
    /// that adds any.
    fn need(&mut self, name: &str, extras: &[String], reason: RequirementChain) {
        let is_new = !self.closure.members.contains_key(name);
        let known = self.extras.entry(name.to_owned()).or_default();
        let before = known.len();
        known.extend(extras.iter().cloned());
        if is_new || known.len() > before {
            self.queue.push_back(name.to_owned());
        }
        self.closure.members.entry(name.to_owned()).or_insert(reason);
    }

    fn run(&mut self) {
        while let Some(name) = self.queue.pop_front() {
            let Some(distribution) = self.venv.distribution(&name) else { continue };
            let Some(reason) = self.closure.members.get(&name).cloned() else { continue };
            let extras: Vec<String> = self.extras.get(&name).into_iter().flatten().cloned().collect();
            let by = format!("{} {}", distribution.metadata.name, distribution.version);
            for text in &distribution.metadata.requires_dist {
                match Requirement::parse_lenient(text) {
                    Some(requirement) => self.require(&requirement, &extras, &reason, &by),
                    None => self.require_unreadable(text, &reason, &by),
                }
            }
        }
    }

    /// Follows an invalid `Requires-Dist` to the distribution named first in it.
    fn require_unreadable(&mut self, text: &str, reason: &RequirementChain, by: &str) {
        let name = Requirement::first_name(text).filter(|name| self.venv.distribution(name).is_some());
        let outcome = match &name {
            Some(name) => format!("{name} is included"),
            None => "ignored".to_owned(),
        };
        let warning = Warning::new(by, format!("has the invalid requirement `{text}`: {outcome}"))
            .with_help("report it to its author, or install another version");
        if !self.closure.warnings.contains(&warning) {
            self.closure.warnings.push(warning);
        }
        if let Some(name) = name {
            let mut chain = reason.clone();
            chain.path.push(text.to_owned());
            self.need(&name, &[], chain);
        }
    }

    fn finish(mut self) -> Result<DependencyClosure, ClosureError> {
        self.run();
        if self.missing.is_empty() {
            Ok(self.closure)
        } else {
            Err(ClosureError::Missing(self.missing.into_iter().collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::testing::FakeVenv;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            fs_err::write(folder.path().join(path), text).unwrap();
        }
        folder
    }

    fn closure(
        files: &[(&str, &str)],
        optional: &DependencySelection,
        installed: &[(&str, &str, &[&str])],
    ) -> Result<DependencyClosure, ClosureError> {
        let folder = project(files);
        let mut fake = FakeVenv::new();
        for (name, version, requires) in installed {
            fake.install(name, version, requires, &[]);
        }
        DeclaredDependencies::read(folder.path(), optional)?.closure(&fake.open())
    }

    fn names(closure: &DependencyClosure) -> Vec<&str> {
        closure.members.keys().map(String::as_str).collect()
    }

    const PIP: (&str, &str, &[&str]) = ("pip", "23", &[]);

    #[test]
    fn follows_requirements_markers_and_extras() {
        let closure = closure(
            &[(
                "pyproject.toml",
                "[project]\nname='app'\ndependencies=['Web_Server[fast]>=1', 'win; sys_platform==\"win32\"']",
            )],
            &DependencySelection::default(),
            &[
                (
                    "web-server",
                    "1.2",
                    &[
                        "click",
                        "loop; extra == 'fast'",
                        "slow; extra == 'slow'",
                        "web-server[more]; extra == 'fast'",
                        "deep; extra == 'more'",
                    ],
                ),
                ("click", "8", &["colorama; platform_system == 'Windows'"]),
                ("loop", "0.1", &["click"]),
                ("deep", "1", &["web-server"]),
                PIP,
            ],
        )
        .unwrap();
        assert_eq!(names(&closure), ["click", "deep", "loop", "web-server"]);
        assert_eq!(closure.warnings, []);
        let why = closure.members["click"].to_string();
        assert_eq!(why, "pyproject.toml: Web_Server[fast]>=1 → click");
    }

    #[test]
    fn names_missing_requirements_with_their_origin() {
        let error = closure(
            &[("requirements.txt", "fastapi\n# x\norjson>=3\n")],
            &DependencySelection::default(),
            &[("FastAPI", "0.110", &["starlette<0.38,>=0.37", "absent; python_version < '3'"])],
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "distribution not found in the virtual environment: orjson (`orjson>=3` of requirements.txt:3), \
             starlette (`starlette<0.38,>=0.37` of FastAPI 0.110)"
        );
        assert!(error.help().unwrap().contains("pip install 'orjson>=3' 'starlette<0.38,>=0.37'"));
    }

    #[test]
    fn allows_listed_requirements_to_be_missing() {
        let folder = project(&[("requirements.txt", "a\nabsent")]);
        let mut fake = FakeVenv::new();
        fake.install("a", "1", &["Also.Absent; python_version > '3'"], &[]);
        let mut declared =
            DeclaredDependencies::read(folder.path(), &DependencySelection::default()).unwrap();
        assert!(
            declared.closure(&fake.open()).unwrap_err().help().unwrap().contains("--allow-missing absent")
        );
        declared.allow_missing = ["absent", "also-absent"].map(str::to_owned).into();
        assert_eq!(names(&declared.closure(&fake.open()).unwrap()), ["a"]);
    }

    #[test]
    fn follows_the_name_in_an_invalid_requirement_with_a_warning() {
        let requires = ["b; nonsense", "absent; nonsense", "???", "c (>2.*)"];
        let installed = [("a", "1", &requires[..]), ("b", "1", &[]), ("c", "1", &[])];
        let closure =
            closure(&[("requirements.txt", "a")], &DependencySelection::default(), &installed).unwrap();
        assert_eq!(names(&closure), ["a", "b", "c"]);
        let messages: Vec<_> = closure.warnings.iter().map(|warning| &*warning.message).collect();
        assert_eq!(
            messages,
            [
                "has the invalid requirement `b; nonsense`: b is included",
                "has the invalid requirement `absent; nonsense`: ignored",
                "has the invalid requirement `???`: ignored",
            ]
        );
    }

    #[test]
    fn warns_about_an_excluded_version() {
        let closure =
            closure(&[("requirements.txt", "a==2")], &DependencySelection::default(), &[("a", "1", &[])])
                .unwrap();
        assert_eq!(
            closure.warnings[0].to_string(),
            "a 1: is installed, but requirements.txt:1 requires `a==2`"
        );
    }

    #[test]
    fn includes_selected_extras_and_groups() {
        let files = [(
            "pyproject.toml",
            "[project]\nname='app'\ndependencies=['a']\n[project.optional-dependencies]\nall=['app[s3]']\ns3=['boto']\n\
             [dependency-groups]\ndev=['pytest']",
        )];
        let installed: [(&str, &str, &[&str]); 3] =
            [("a", "1", &[]), ("boto", "1", &[]), ("pytest", "1", &[])];
        let with = |extras: &[&str], groups: &[&str]| DependencySelection {
            extras: extras.iter().map(|name| (*name).to_owned()).collect(),
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
            ..DependencySelection::default()
        };
        for (optional, expected) in [
            (with(&[], &[]), &["a"][..]),
            (with(&["All"], &[]), &["a", "boto"]),
            (with(&[], &["dev"]), &["a", "pytest"]),
        ] {
            assert_eq!(names(&closure(&files, &optional, &installed).unwrap()), expected);
        }
        let error = closure(&files, &with(&["none"], &[]), &installed).unwrap_err();
        assert!(error.to_string().starts_with("extra `none` not found in "), "{error}");
    }

    #[test]
    fn includes_the_installed_project() {
        let dynamic = [("pyproject.toml", "[project]\nname='My.App'\ndynamic=['dependencies']")];
        let installed: [(&str, &str, &[&str]); 2] = [("my-app", "1", &["a"]), ("a", "1", &[])];
        let found = closure(&dynamic, &DependencySelection::default(), &installed).unwrap();
        assert_eq!(names(&found), ["a", "my-app"]);
        let error = closure(&dynamic, &DependencySelection::default(), &[]).unwrap_err();
        assert!(matches!(error, ClosureError::NothingDeclared(_)));
    }

    #[test]
    fn reads_the_declaring_file() {
        let installed: [(&str, &str, &[&str]); 2] = [("a", "1", &[]), ("b", "1", &[])];
        let optional = DependencySelection::default();
        for (files, expected) in [
            (
                &[("pyproject.toml", "[project]\nname='x'\ndependencies=['a']"), ("requirements.txt", "b")][..],
                &["a"][..],
            ),
            (&[("pyproject.toml", "[project]\nname='x'"), ("requirements.txt", "b")], &["b"]),
            (&[("pyproject.toml", "[tool.x]"), ("requirements.txt", "b")], &["b"]),
            (&[("requirements.txt", "b")], &["b"]),
            (&[("pyproject.toml", "[project]\nname='x'")], &[]),
            (&[("pyproject.toml", "[tool.poetry.dependencies]\na='^1'\npython='*'")], &["a"]),
        ] {
            assert_eq!(names(&closure(files, &optional, &installed).unwrap()), expected, "{files:?}");
        }
        assert!(matches!(closure(&[], &optional, &[]), Err(ClosureError::NothingDeclared(_))));
    }

    #[test]
    fn all_installed_covers_the_environment() {
        let mut fake = FakeVenv::new();
        fake.install("a", "1", &["not-there"], &[]);
        fake.install("pip", "1", &[], &[]);
        assert_eq!(all_installed(&fake.open()), ["a", "pip"].map(str::to_owned).into());
    }

    #[test]
    fn finds_the_distribution_installed_from_a_path_or_url() {
        let mut fake = FakeVenv::new();
        let folder = project(&[]);
        fs_err::create_dir(folder.path().join("lib")).unwrap();
        let from_folder = format!(
            r#"{{"url":"file://{}","dir_info":{{}}}}"#,
            folder.path().canonicalize().unwrap().join("lib").display()
        );
        let from_repository = r#"{"url":"https://h/r.git","vcs_info":{"vcs":"git","commit_id":"00"}}"#;
        fake.install("a", "1", &["b"], &[("a-1.dist-info/direct_url.json", &from_folder)]);
        fake.install("b", "1", &[], &[]);
        fake.install("c", "1", &[], &[("c-1.dist-info/direct_url.json", from_repository)]);
        let file = folder.path().join("requirements.txt");
        fs_err::write(&file, "./lib\ngit+https://h/r.git@main\n").unwrap();
        let read = || {
            DeclaredDependencies::read(folder.path(), &DependencySelection::default())
                .unwrap()
                .closure(&fake.open())
        };
        let found = read().unwrap();
        assert_eq!(found.members.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(found.warnings, []);
        // A source that nothing was installed from is missing, not ignored.
        fs_err::write(&file, "git+https://h/other.git\n").unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("git+https://h/other.git") && error.contains("requirements.txt:1"), "{error}");
    }
}
