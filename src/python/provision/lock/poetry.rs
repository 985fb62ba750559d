//! `poetry.lock`, of Poetry 1 and 2.
//!
//! A lock of version 2.1 has the groups and the marker of each distribution; in older ones the
//! dependencies are followed from those of `pyproject.toml`. The format is described by
//! `poetry.packages.locker`.

use std::collections::BTreeMap;

use pep440_rs::Version;
use serde::Deserialize;
use toml::Value;

use super::walk::{DependencyEdge, Node, walk};
use super::{
    LockError, LockScope, Locked, LockedDistribution, LockedSource, directory, hash, repository, url_source,
    version_source,
};
use crate::python::metadata::name::normalize;
use crate::python::requirements::marker::Marker;
use crate::python::requirements::poetry::Constraint;
use crate::python::requirements::requirement::Requirement;

#[derive(Deserialize)]
struct PoetryLock {
    #[serde(default)]
    package: Vec<PoetryLockPackage>,
    metadata: PoetryLockMetadata,
}

#[derive(Deserialize)]
struct PoetryLockMetadata {
    #[serde(rename = "lock-version")]
    version: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, Vec<PoetryLockFile>>,
    #[serde(default)]
    hashes: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct PoetryLockFile {
    hash: String,
}

#[derive(Deserialize)]
struct PoetryLockPackage {
    name: String,
    version: String,
    #[serde(rename = "python-versions")]
    python: Option<String>,
    groups: Option<Vec<String>>,
    markers: Option<Markers>,
    #[serde(default)]
    develop: bool,
    #[serde(default)]
    files: Vec<PoetryLockFile>,
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
    source: Option<PoetryLockSource>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Markers {
    All(String),
    ByGroup(BTreeMap<String, String>),
}

#[derive(Deserialize)]
struct PoetryLockSource {
    r#type: String,
    url: String,
    resolved_reference: Option<String>,
    subdirectory: Option<String>,
}

/// Reads the distributions in `scope`.
pub(super) fn read(text: &str, scope: LockScope<'_>) -> Result<Locked, LockError> {
    let lock: PoetryLock = toml::from_str(text).map_err(|error| LockError(error.message().to_owned()))?;
    let version = lock.metadata.version.as_deref().unwrap_or("1.0");
    if !["1.", "2."].iter().any(|known| version.starts_with(known)) {
        return Err(LockError(format!("its version {version} is unknown")));
    }
    let mut locked = Locked::default();
    let has_groups = !lock.package.is_empty() && lock.package.iter().all(|package| package.groups.is_some());
    if has_groups {
        for package in &lock.package {
            if package.is_in(scope)? {
                let distribution = package.distribution(&lock.metadata, scope, &mut locked)?;
                locked.add(normalize(&package.name), distribution);
            }
        }
        return Ok(locked);
    }
    let mut nodes: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    let mut indexes = Locked::default();
    for package in &lock.package {
        let node = package.node(&lock.metadata, scope, &mut indexes)?;
        nodes.entry(normalize(&package.name)).or_default().push(node);
    }
    for (name, node) in walk(&nodes, roots(scope)?, (scope.environment, &scope.environment.python()))? {
        locked.add(name.to_owned(), node.distribution.clone());
    }
    locked.indexes = indexes.indexes;
    Ok(locked)
}

impl PoetryLockPackage {
    /// Returns true if a selected group needs the distribution in this environment.
    fn is_in(&self, scope: LockScope<'_>) -> Result<bool, LockError> {
        for group in self.groups.iter().flatten() {
            if group != "main" && !scope.groups.contains(&normalize(group)) {
                continue;
            }
            let marker = match &self.markers {
                None => None,
                Some(Markers::All(marker)) => Some(marker),
                Some(Markers::ByGroup(markers)) => markers.get(group),
            };
            if holds(marker.map(String::as_str), scope)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn distribution(
        &self,
        metadata: &PoetryLockMetadata,
        scope: LockScope<'_>,
        locked: &mut Locked,
    ) -> Result<LockedDistribution, LockError> {
        let of_lock = metadata.files.iter().filter(|(name, _)| normalize(name) == normalize(&self.name));
        let files = self.files.iter().chain(of_lock.flat_map(|(_, files)| files));
        let old = metadata.hashes.iter().filter(|(name, _)| normalize(name) == normalize(&self.name));
        let old = old.flat_map(|(_, hashes)| hashes).filter_map(|hex| hash(&format!("sha256:{hex}")));
        let hashes = files.filter_map(|file| hash(&file.hash)).chain(old).collect();
        let source = match &self.source {
            None => version_source(&self.name, &self.version)?,
            Some(source) => match source.r#type.as_str() {
                "legacy" => {
                    locked.indexes.insert(source.url.clone());
                    version_source(&self.name, &self.version)?
                }
                "git" | "hg" | "svn" => {
                    let commit = source.resolved_reference.as_deref().unwrap_or_default();
                    repository(&source.r#type, &source.url, commit, source.subdirectory.as_deref())?
                }
                "directory" | "file" => directory(scope.context, &source.url, self.develop)?,
                "url" => url_source(&source.url)?,
                other => return Err(LockError(format!("unknown source `{other}` of `{}`", self.name))),
            },
        };
        Ok(LockedDistribution { name: self.name.clone(), source, hashes })
    }

    fn node(
        &self,
        metadata: &PoetryLockMetadata,
        scope: LockScope<'_>,
        locked: &mut Locked,
    ) -> Result<Node, LockError> {
        let mut dependencies = Vec::new();
        for (name, value) in &self.dependencies {
            for (mut edge, is_optional) in edges(name, value)? {
                let needs = |requirements: &&Vec<String>| {
                    requirements.iter().any(|text| Requirement::first_name(text).as_ref() == Some(&edge.name))
                };
                if is_optional {
                    let of_extras = self.extras.iter().filter(|(_, requirements)| needs(requirements));
                    edge.of_extras = of_extras.map(|(extra, _)| normalize(extra)).collect();
                    if edge.of_extras.is_empty() && edge.marker.is_none() {
                        continue;
                    }
                }
                dependencies.push(edge);
            }
        }
        let distribution = match self.distribution(metadata, scope, locked) {
            Ok(distribution) => distribution,
            // A directory of another group may be missing.
            Err(_) if self.source.is_some() => LockedDistribution {
                name: self.name.clone(),
                source: LockedSource::Version(self.version.clone()),
                hashes: std::iter::empty().collect(),
            },
            Err(error) => return Err(error),
        };
        Ok(Node {
            distribution,
            version: self.version.parse::<Version>().ok(),
            python: self.python.as_deref().and_then(|python| python.parse::<Constraint>().ok()),
            dependencies,
        })
    }
}

/// Returns true if the marker holds, or if there is none.
fn holds(marker: Option<&str>, scope: LockScope<'_>) -> Result<bool, LockError> {
    let marker = marker.map(parse_marker).transpose()?;
    Ok(marker.is_none_or(|marker| marker.holds(scope.environment, scope.extras)))
}

pub(super) fn parse_marker(text: &str) -> Result<Marker, LockError> {
    text.parse().map_err(|error| LockError(format!("invalid marker `{text}`: {error}")))
}

/// Reads a dependency in the language of Poetry, with alternatives; the flag is `optional`.
fn edges(name: &str, value: &Value) -> Result<Vec<(DependencyEdge, bool)>, LockError> {
    let alternatives = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let edge = |value: &Value| -> Result<(DependencyEdge, bool), LockError> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let extras = value.get("extras").and_then(Value::as_array).into_iter().flatten();
        let versions = value.as_str().or(text("version"));
        let edge = DependencyEdge {
            name: normalize(name),
            extras: extras.filter_map(Value::as_str).map(normalize).collect(),
            marker: text("markers").map(parse_marker).transpose()?,
            versions: versions.and_then(|versions| versions.parse().ok()),
            python: text("python").and_then(|python| python.parse().ok()),
            of_extras: Vec::new(),
        };
        Ok((edge, value.get("optional").and_then(Value::as_bool) == Some(true)))
    };
    alternatives.iter().map(edge).collect()
}

/// Returns the declared dependencies in `scope`: with versions, which the declared requirements of
/// Poetry do not have.
fn roots(scope: LockScope<'_>) -> Result<Vec<DependencyEdge>, LockError> {
    let text = std::fs::read_to_string(scope.context.join("pyproject.toml")).unwrap_or_default();
    let file: toml::Table = text.parse().unwrap_or_default();
    let poetry = file.get("tool").and_then(|tool| tool.get("poetry"));
    let table = |keys: &[&str]| {
        let found = keys.iter().try_fold(poetry?, |value, key| value.get(key));
        found.and_then(Value::as_table)
    };
    let mut roots: Vec<DependencyEdge> = scope
        .declared
        .iter()
        .map(|requirement| DependencyEdge {
            name: requirement.name.clone(),
            extras: requirement.extras.clone(),
            marker: requirement.marker.clone(),
            versions: requirement.specifiers.as_ref().and_then(|versions| versions.to_string().parse().ok()),
            ..DependencyEdge::default()
        })
        .collect();
    let mut tables = vec![table(&["dependencies"])];
    for group in scope.groups {
        let all = table(&["group"]).into_iter().flatten();
        let of_group = all.filter(|(name, _)| normalize(name) == *group);
        tables.extend(of_group.map(|(_, table)| table.get("dependencies").and_then(Value::as_table)));
        tables.extend((group == "dev").then(|| table(&["dev-dependencies"])));
    }
    // The table's constraints replace the names without versions.
    for (name, value) in tables.into_iter().flatten().flatten() {
        let name = normalize(name);
        let is_declared = |edge: &DependencyEdge| edge.name == name && edge.versions.is_none();
        if roots.iter().any(is_declared) {
            roots.retain(|edge| !is_declared(edge));
            roots.extend(edges(&name, value)?.into_iter().map(|(edge, _)| edge));
        }
    }
    Ok(roots)
}
