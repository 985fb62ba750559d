//! `pylock.toml` (PEP 751,
//! <https://packaging.python.org/en/latest/specifications/pylock-toml/>).
//!
//! Extras and groups are conditions of the format's own: `'fast' in extras`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::poetry::parse_marker;
use super::{
    LockError, LockScope, Locked, LockedDistribution, directory, hash, repository, url_source, version_source,
};
use crate::python::metadata::name::normalize;

/// The prefix of a group among the extras.
const GROUP: &str = "group:";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PylockToml {
    #[serde(rename = "lock-version")]
    version: String,
    #[serde(default)]
    default_groups: Vec<String>,
    #[serde(default)]
    packages: Vec<PylockPackage>,
}

#[derive(Deserialize)]
struct PylockPackage {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    vcs: Option<Vcs>,
    directory: Option<PylockDirectory>,
    archive: Option<PylockArchive>,
    sdist: Option<Hashed>,
    #[serde(default)]
    wheels: Vec<Hashed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Vcs {
    r#type: String,
    url: Option<String>,
    commit_id: String,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
struct PylockDirectory {
    path: String,
    #[serde(default)]
    editable: bool,
}

#[derive(Deserialize)]
struct PylockArchive {
    url: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Hashed {
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// Reads the distributions in `scope`.
pub(super) fn read(text: &str, scope: LockScope<'_>) -> Result<Locked, LockError> {
    let lock: PylockToml = toml::from_str(text).map_err(|error| LockError(error.message().to_owned()))?;
    if !lock.version.starts_with("1.") {
        return Err(LockError(format!("its version {} is unknown", lock.version)));
    }
    let groups = if scope.groups.is_empty() { &lock.default_groups } else { scope.groups };
    let groups = groups.iter().map(|group| normalize(&format!("{GROUP}{group}")));
    let selected: Vec<String> = scope.extras.iter().cloned().chain(groups).collect();
    let mut locked = Locked::default();
    for package in &lock.packages {
        let marker = package.marker.as_deref().map(|marker| parse_marker(&with_extra(marker))).transpose()?;
        if marker.is_none_or(|marker| marker.holds(scope.environment, &selected)) {
            locked.add(normalize(&package.name), package.distribution(scope)?);
        }
    }
    Ok(locked)
}

/// Writes the conditions on extras and groups of a marker with the variable `extra`.
fn with_extra(marker: &str) -> String {
    let mut text = marker.to_owned();
    for (variable, prefix) in [("extras", ""), ("dependency_groups", GROUP)] {
        for (quote, operator, comparison) in
            [('\'', " not in ", "!="), ('"', " not in ", "!="), ('\'', " in ", "=="), ('"', " in ", "==")]
        {
            let end = format!("{quote}{operator}{variable}");
            while let Some(at) = text.find(&end) {
                let Some(start) = text.get(..at).and_then(|before| before.rfind(quote)) else { break };
                let name = text.get(start + 1..at).unwrap_or_default().to_owned();
                text.replace_range(start..at + end.len(), &format!("extra {comparison} '{prefix}{name}'"));
            }
        }
    }
    text
}

impl PylockPackage {
    fn distribution(&self, scope: LockScope<'_>) -> Result<LockedDistribution, LockError> {
        let files = self.wheels.iter().chain(&self.sdist);
        let hashes = files.flat_map(|file| &file.hashes);
        let hashes = hashes.filter_map(|(algorithm, hex)| hash(&format!("{algorithm}:{hex}"))).collect();
        let source = if let Some(Vcs { r#type, url, commit_id, subdirectory }) = &self.vcs {
            let url = url.as_deref().unwrap_or_default();
            repository(r#type, url, commit_id, subdirectory.as_deref())?
        } else if let Some(PylockDirectory { path, editable }) = &self.directory {
            directory(scope.context, path, *editable)?
        } else if let Some(archive) = &self.archive {
            match (&archive.url, &archive.path) {
                (Some(url), _) => url_source(url)?,
                (None, Some(path)) => directory(scope.context, path, false)?,
                (None, None) => return Err(LockError(format!("`{}` has no source", self.name))),
            }
        } else {
            version_source(&self.name, self.version.as_deref().unwrap_or_default())?
        };
        Ok(LockedDistribution { name: self.name.clone(), source, hashes })
    }
}
