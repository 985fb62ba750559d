//! `pdm.lock` (<https://pdm-project.org/latest/usage/lockfile/>).
//!
//! With the strategy `inherit_metadata`, each distribution has its groups and marker; without it, the
//! dependencies are followed from the declared ones. PDM's groups include the project's extras.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::poetry::parse_marker;
use super::walk::{DependencyEdge, Node, walk};
use super::{
    LockError, LockScope, Locked, LockedDistribution, directory, hash, repository, url_source, version_source,
};
use crate::python::metadata::name::normalize;
use crate::python::requirements::requirement::Requirement;

#[derive(Deserialize)]
struct PdmLock {
    #[serde(default)]
    package: Vec<PdmLockPackage>,
    metadata: PdmLockMetadata,
}

#[derive(Deserialize)]
struct PdmLockMetadata {
    lock_version: Option<String>,
    #[serde(default)]
    strategy: Vec<String>,
    groups: Option<Vec<String>>,
    #[serde(default)]
    files: BTreeMap<String, Vec<PdmLockFile>>,
}

#[derive(Deserialize)]
struct PdmLockFile {
    hash: Option<String>,
}

#[derive(Deserialize)]
struct PdmLockPackage {
    name: String,
    version: Option<String>,
    #[serde(default)]
    extras: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    marker: Option<String>,
    requires_python: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    files: Vec<PdmLockFile>,
    git: Option<String>,
    revision: Option<String>,
    subdirectory: Option<String>,
    path: Option<String>,
    #[serde(default)]
    editable: bool,
    url: Option<String>,
}

/// Reads the distributions in `scope`.
pub(super) fn read(text: &str, scope: LockScope<'_>) -> Result<Locked, LockError> {
    let lock: PdmLock = toml::from_str(text).map_err(|error| LockError(error.message().to_owned()))?;
    let version = lock.metadata.lock_version.as_deref().unwrap_or("4");
    if !["2", "3", "4"].contains(&version.split('.').next().unwrap_or_default()) {
        return Err(LockError(format!("its version {version} is unknown")));
    }
    let is_selected = |group: &String| {
        let group = normalize(group);
        group == "default" || scope.groups.contains(&group) || scope.extras.contains(&group)
    };
    if let Some(groups) = &lock.metadata.groups {
        let known: Vec<String> = groups.iter().map(|group| normalize(group)).collect();
        if let Some(missing) = scope.groups.iter().chain(scope.extras).find(|group| !known.contains(group)) {
            return Err(LockError(format!("it does not have the group `{missing}`")));
        }
    }
    let mut locked = Locked::default();
    if lock.metadata.strategy.iter().any(|strategy| strategy == "inherit_metadata") {
        for package in lock.package.iter().filter(|package| package.groups.iter().any(is_selected)) {
            let marker = package.marker.as_deref().map(parse_marker).transpose()?;
            if marker.is_none_or(|marker| marker.holds(scope.environment, scope.extras)) {
                locked.add(normalize(&package.name), package.distribution(&lock.metadata, scope)?);
            }
        }
        return Ok(locked);
    }
    let mut nodes: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    for package in &lock.package {
        let node = package.node(&lock.metadata, scope)?;
        let known = nodes.entry(normalize(&package.name)).or_default();
        // A distribution with extras is listed once more, with the dependencies of the extras.
        match known.iter_mut().find(|known| known.version == node.version) {
            Some(known) => known.dependencies.extend(node.dependencies),
            None => known.push(node),
        }
    }
    let roots = scope.declared.iter().map(|requirement| edge(requirement, &[])).collect();
    for (name, node) in walk(&nodes, roots, (scope.environment, &scope.environment.python()))? {
        locked.add(name.to_owned(), node.distribution.clone());
    }
    Ok(locked)
}

/// Returns the dependency of a distribution, or of its extras.
fn edge(requirement: &Requirement, of_extras: &[String]) -> DependencyEdge {
    DependencyEdge {
        name: requirement.name.clone(),
        extras: requirement.extras.clone(),
        marker: requirement.marker.clone(),
        versions: requirement.specifiers.as_ref().and_then(|versions| versions.to_string().parse().ok()),
        python: None,
        of_extras: of_extras.to_vec(),
    }
}

impl PdmLockPackage {
    fn distribution(
        &self,
        metadata: &PdmLockMetadata,
        scope: LockScope<'_>,
    ) -> Result<LockedDistribution, LockError> {
        let version = self.version.as_deref().unwrap_or_default();
        let of_lock = metadata.files.get(&format!("{} {version}", self.name)).into_iter().flatten();
        let files = self.files.iter().chain(of_lock);
        let hashes = files.filter_map(|file| hash(file.hash.as_deref()?)).collect();
        let source = if let Some(git) = &self.git {
            repository(
                "git",
                git,
                self.revision.as_deref().unwrap_or_default(),
                self.subdirectory.as_deref(),
            )?
        } else if let Some(path) = &self.path {
            directory(scope.context, path, self.editable)?
        } else if let Some(url) = &self.url {
            url_source(url)?
        } else {
            version_source(&self.name, version)?
        };
        Ok(LockedDistribution { name: self.name.clone(), source, hashes })
    }

    fn node(&self, metadata: &PdmLockMetadata, scope: LockScope<'_>) -> Result<Node, LockError> {
        let of_extras: Vec<String> = self.extras.iter().map(|extra| normalize(extra)).collect();
        let dependencies = self.dependencies.iter().map(|text| {
            let parsed: Result<Requirement, _> = text.parse();
            parsed
                .map(|requirement| edge(&requirement, &of_extras))
                .map_err(|reason| LockError(format!("invalid requirement `{text}`: {reason}")))
        });
        Ok(Node {
            distribution: self.distribution(metadata, scope)?,
            version: self.version.as_deref().and_then(|version| version.parse().ok()),
            python: self.requires_python.as_deref().and_then(|python| python.parse().ok()),
            dependencies: dependencies.collect::<Result<_, _>>()?,
        })
    }
}
