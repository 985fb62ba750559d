//! `Pipfile.lock` (<https://pipenv.pypa.io/en/latest/pipfile.html>): JSON with one table a category.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::poetry::parse_marker;
use super::{
    LockError, LockScope, Locked, LockedDistribution, directory, hash, repository, url_source, version_source,
};
use crate::python::metadata::name::normalize;

#[derive(Deserialize)]
struct PipfileLock {
    #[serde(rename = "_meta")]
    meta: Meta,
    #[serde(flatten)]
    categories: BTreeMap<String, BTreeMap<String, PipfileLockPackage>>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "pipfile-spec")]
    spec: Option<u32>,
    #[serde(default)]
    sources: Vec<PipfileLockSource>,
}

#[derive(Deserialize)]
struct PipfileLockSource {
    name: Option<String>,
    url: String,
}

#[derive(Deserialize)]
struct PipfileLockPackage {
    version: Option<String>,
    #[serde(default)]
    hashes: Vec<String>,
    markers: Option<String>,
    index: Option<String>,
    git: Option<String>,
    r#ref: Option<String>,
    subdirectory: Option<String>,
    path: Option<String>,
    file: Option<String>,
    #[serde(default)]
    editable: bool,
}

/// Reads the distributions in `scope`.
pub(super) fn read(text: &str, scope: LockScope<'_>) -> Result<Locked, LockError> {
    let lock: PipfileLock = serde_json::from_str(text).map_err(|error| LockError(error.to_string()))?;
    if lock.meta.spec.is_some_and(|spec| spec != 6) {
        return Err(LockError("its version is unknown".to_owned()));
    }
    let mut locked = Locked::default();
    let category = |group: &String| if group == "dev" { "develop".to_owned() } else { group.clone() };
    for category in std::iter::once("default".to_owned()).chain(scope.groups.iter().map(category)) {
        let packages = lock.categories.get(&category);
        let packages =
            packages.ok_or_else(|| LockError(format!("it does not have the category `{category}`")))?;
        for (name, package) in packages {
            let marker = package.markers.as_deref().map(parse_marker).transpose()?;
            if !marker.is_none_or(|marker| marker.holds(scope.environment, scope.extras)) {
                continue;
            }
            // The first source is the default of the others.
            let index = lock.meta.sources.iter().skip(1).find(|source| source.name == package.index);
            locked.indexes.extend(index.filter(|_| package.index.is_some()).map(|source| source.url.clone()));
            locked.add(normalize(name), package.distribution(name, scope)?);
        }
    }
    Ok(locked)
}

impl PipfileLockPackage {
    fn distribution(&self, name: &str, scope: LockScope<'_>) -> Result<LockedDistribution, LockError> {
        let hashes = self.hashes.iter().filter_map(|text| hash(text)).collect();
        let source = if let Some(git) = &self.git {
            repository("git", git, self.r#ref.as_deref().unwrap_or_default(), self.subdirectory.as_deref())?
        } else if let Some(path) = &self.path {
            directory(scope.context, path, self.editable)?
        } else if let Some(file) = &self.file {
            if file.contains("://") { url_source(file)? } else { directory(scope.context, file, false)? }
        } else {
            let version = self.version.as_deref().unwrap_or_default();
            version_source(name, version.trim_start_matches('='))?
        };
        Ok(LockedDistribution { name: name.to_owned(), source, hashes })
    }
}
