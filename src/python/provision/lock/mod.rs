//! Locks of other tools, as requirements with exact versions.
//!
//! | module | file |
//! |---|---|
//! | [`poetry`] | `poetry.lock` |
//! | [`pdm`] | `pdm.lock` |
//! | [`pipenv`] | `Pipfile.lock` |
//! | [`pylock`] | `pylock.toml` (PEP 751) |
//!
//! Each reads the distributions that the environment needs; the installer gets them with version and
//! hashes and without their dependencies, so nothing is resolved again. Reading needs no tool of the
//! lock, so that the result does not depend on the tools of a machine.

mod pdm;
mod pipenv;
mod poetry;
mod pylock;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::python::requirements::marker::Environment;
use crate::python::requirements::requirement::Requirement;
use crate::traced_fs;

/// The largest lock read, in bytes.
const LIMIT: u64 = 64 << 20;

/// The kind of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// `poetry.lock`.
    Poetry,
    /// `pdm.lock`.
    Pdm,
    /// `Pipfile.lock`.
    Pipenv,
    /// `pylock.toml`.
    PyLock,
}

/// The dependencies to take from a lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockScope<'a> {
    /// The project's directory.
    pub(super) context: &'a Path,
    /// The variables of markers.
    pub(super) environment: &'a Environment,
    /// Normalized names of the extras.
    pub(super) extras: &'a [String],
    /// Normalized names of the groups beside the main dependencies.
    pub(super) groups: &'a [String],
    /// The declared requirements.
    pub(super) declared: &'a [Requirement],
}

/// The distributions of a lock that an environment needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Locked {
    /// The distributions, by their normalized names.
    pub(super) distributions: BTreeMap<String, LockedDistribution>,
    /// Package indexes in addition to the installer's own.
    pub(super) indexes: BTreeSet<String>,
}

/// One distribution of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LockedDistribution {
    /// The name as written.
    pub(super) name: String,
    pub(super) source: LockedSource,
    /// Hashes of its files: `sha256:…`.
    pub(super) hashes: BTreeSet<String>,
}

/// The source of a locked distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LockedSource {
    /// An exact version on a package index.
    Version(String),
    /// A URL of an archive or repository.
    Url(String),
    /// A directory of this machine.
    Directory {
        /// The path, absolute if the project's is.
        path: String,
        /// True if the source is used in place.
        is_editable: bool,
    },
}

/// The reason that a lock cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct LockError(pub(super) String);

impl LockKind {
    /// Returns the name of the file.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Poetry => "poetry.lock",
            Self::Pdm => "pdm.lock",
            Self::Pipenv => "Pipfile.lock",
            Self::PyLock => "pylock.toml",
        }
    }

    /// Returns the command that writes the file again.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Poetry => "poetry lock",
            Self::Pdm => "pdm lock",
            Self::Pipenv => "pipenv lock",
            Self::PyLock => "uv export --format pylock.toml -o pylock.toml",
        }
    }

    /// Reads the distributions in `scope` from the lock in the project's directory.
    pub(super) fn read(self, scope: LockScope<'_>) -> Result<Locked, LockError> {
        let path = scope.context.join(self.file());
        let bytes = traced_fs::open_regular(&path).and_then(|file| traced_fs::read_limited(file, LIMIT));
        let bytes = bytes.map_err(|error| LockError(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| LockError(format!("more than {LIMIT} bytes")))?;
        let text = String::from_utf8(bytes).map_err(|error| LockError(error.to_string()))?;
        match self {
            Self::Poetry => poetry::read(&text, scope),
            Self::Pdm => pdm::read(&text, scope),
            Self::Pipenv => pipenv::read(&text, scope),
            Self::PyLock => pylock::read(&text, scope),
        }
    }
}

impl Locked {
    /// Returns the declared requirements that the lock does not fulfill.
    pub(super) fn stale(&self, scope: LockScope<'_>) -> Vec<String> {
        let applies = |requirement: &&Requirement| {
            requirement.marker.as_ref().is_none_or(|marker| marker.holds(scope.environment, scope.extras))
        };
        let is_missing = |requirement: &&Requirement| match self.distributions.get(&requirement.name) {
            Some(LockedDistribution { source: LockedSource::Version(version), .. }) => {
                !requirement.allows(version)
            }
            Some(_) => false,
            None => true,
        };
        let missing = scope.declared.iter().filter(applies).filter(is_missing);
        missing.map(ToString::to_string).collect()
    }

    /// Returns the requirements with hashes and those without: pip requires all or none of a file's
    /// requirements to have hashes.
    pub(super) fn requirements(&self) -> [String; 2] {
        let mut files = [String::new(), String::new()];
        let [hashed, other] = &mut files;
        for LockedDistribution { name, source, hashes } in self.distributions.values() {
            let _ = match source {
                LockedSource::Version(version) if hashes.is_empty() => writeln!(other, "{name}=={version}"),
                LockedSource::Version(version) => {
                    let hashes: String = hashes.iter().fold(String::new(), |mut text, hash| {
                        let _ = write!(text, " --hash={hash}");
                        text
                    });
                    writeln!(hashed, "{name}=={version}{hashes}")
                }
                LockedSource::Url(url) => writeln!(other, "{name} @ {url}"),
                LockedSource::Directory { path, is_editable: true } => writeln!(other, "-e {path}"),
                LockedSource::Directory { path, is_editable: false } => writeln!(other, "{path}"),
            };
        }
        files
    }

    /// Adds a distribution; of several with one name, the first is kept.
    fn add(&mut self, key: String, distribution: LockedDistribution) {
        self.distributions.entry(key).or_insert(distribution);
    }
}

/// Returns a hash in the form of pip, unless its algorithm is not one of pip's.
fn hash(text: &str) -> Option<String> {
    let (algorithm, hex) = text.split_once(':')?;
    let is_known = matches!(algorithm, "sha256" | "sha384" | "sha512");
    (is_known && !hex.is_empty() && hex.bytes().all(|c| c.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// Returns true for a text that is one word of a requirements file.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic())
}

/// Returns a directory of a lock as a requirement, relative to the folder of the lock.
fn directory(context: &Path, path: &str, is_editable: bool) -> Result<LockedSource, LockError> {
    let whole = context.join(path);
    if !whole.exists() {
        return Err(LockError(format!("`{path}` does not exist")));
    }
    let path = whole.to_str().filter(|path| !path.contains(['\n', '\r', '#', '\\']));
    let path = path.ok_or_else(|| LockError(format!("unsupported path `{}`", whole.display())))?;
    Ok(LockedSource::Directory { path: path.to_owned(), is_editable })
}

/// Returns a repository at a commit as a URL of a requirement.
fn repository(
    kind: &str,
    url: &str,
    commit: &str,
    subdirectory: Option<&str>,
) -> Result<LockedSource, LockError> {
    let subdirectory = subdirectory.map(|path| format!("#subdirectory={path}")).unwrap_or_default();
    // git's own short form of an SSH address is not a URL.
    let url = match url.split_once(':') {
        Some((host, path)) if !url.contains("://") => format!("ssh://{host}/{path}"),
        _ => url.to_owned(),
    };
    url_source(&format!("{kind}+{url}@{commit}{subdirectory}"))
}

fn url_source(url: &str) -> Result<LockedSource, LockError> {
    if is_word(url) {
        Ok(LockedSource::Url(url.to_owned()))
    } else {
        Err(LockError(format!("invalid URL `{}`", url.escape_debug())))
    }
}

/// Returns the name and version of a distribution, if they are words.
fn version_source(name: &str, version: &str) -> Result<LockedSource, LockError> {
    if is_word(name) && version.parse::<pep440_rs::Version>().is_ok() {
        Ok(LockedSource::Version(version.to_owned()))
    } else {
        Err(LockError(format!("invalid version `{}` of `{}`", version.escape_debug(), name.escape_debug())))
    }
}

#[cfg(test)]
mod tests;
