//! Locked sets of Debian packages: each layer of packages by the names that were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::file::quoted;
use super::{Change, ChangeKind, Lock, LockReason};
use crate::digest::Digest;
use crate::error::Cause;
use crate::platform::Platform;

/// The question that a set of packages answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct PackageSetKey {
    /// The suite: `bookworm`.
    pub suite: String,
    /// The platform of the packages.
    pub platform: Platform,
    /// The names as requested, sorted: `libpq5`, `ffmpeg=7:5.1.6-0+deb12u1`, `?essential`.
    pub wanted: Vec<String>,
    /// True if recommended packages are included.
    pub recommends: bool,
    /// The packages of the layers below; `None` for the first layer.
    pub below: Option<Digest>,
}

/// A package of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct LockedDeb {
    /// The name.
    pub name: String,
    /// The version, as Debian writes it.
    pub version: String,
    /// `amd64`, or `all`.
    pub architecture: String,
    /// The suite of the archive that has it: `bookworm-security`.
    pub suite: String,
    /// The path below the root of that archive: `pool/main/…`.
    pub path: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// The SHA-256 of the file.
    pub sha256: Digest,
}

/// A locked set of packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LockedPackages {
    /// The packages, by name and architecture.
    pub packages: Vec<LockedDeb>,
    /// Reason for the set.
    pub reason: LockReason,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PackageSetTable {
    suite: String,
    platform: String,
    wanted: Vec<String>,
    #[serde(default)]
    recommends: bool,
    below: Option<Digest>,
    #[serde(default)]
    named: bool,
    packages: Vec<LockedDeb>,
}

impl PackageSetKey {
    /// Makes a key of the first layer.
    pub fn new(suite: &str, platform: &Platform, mut wanted: Vec<String>) -> Self {
        wanted.sort_unstable();
        wanted.dedup();
        Self { suite: suite.to_owned(), platform: platform.clone(), wanted, recommends: false, below: None }
    }

    /// Includes recommended packages.
    #[must_use]
    pub fn with_recommends(self, recommends: bool) -> Self {
        Self { recommends, ..self }
    }

    /// Sets the digest of the packages of the layers below.
    #[must_use]
    pub fn on(self, below: Option<Digest>) -> Self {
        Self { below, ..self }
    }
}

impl LockedDeb {
    /// Makes a package of a set.
    pub fn new(name: &str, version: &str, architecture: &str, sha256: Digest, size: u64) -> Self {
        let (name, version, architecture) = (name.to_owned(), version.to_owned(), architecture.to_owned());
        Self { name, version, architecture, suite: String::new(), path: String::new(), size, sha256 }
    }

    /// Sets the suite and path in the archive.
    #[must_use]
    pub fn at(mut self, suite: &str, path: &str) -> Self {
        (self.suite, self.path) = (suite.to_owned(), path.to_owned());
        self
    }
}

impl LockedPackages {
    /// Makes a set of packages.
    pub fn new(packages: Vec<LockedDeb>, reason: LockReason) -> Self {
        Self { packages, reason }
    }
}

impl Lock {
    /// Returns the packages of a set.
    pub fn packages(&self, key: &PackageSetKey) -> Option<&[LockedDeb]> {
        self.packages.get(key).map(|set| set.packages.as_slice())
    }

    /// Iterates over the sets, sorted.
    pub fn package_sets(&self) -> impl Iterator<Item = (&PackageSetKey, &LockedPackages)> {
        self.packages.iter()
    }

    /// Returns the suites with sets that were locked by name, sorted.
    pub fn named_suites(&self) -> BTreeSet<String> {
        let named = self.packages.iter().filter(|(_, set)| set.reason == LockReason::Named);
        named.map(|(key, _)| key.suite.clone()).collect()
    }

    /// Removes the sets of a suite that were locked by name. Returns false if there are none.
    pub fn remove_packages(&mut self, suite: &str) -> bool {
        let before = self.packages.len();
        self.packages.retain(|key, set| key.suite != suite || set.reason != LockReason::Named);
        self.packages.len() < before
    }

    /// Replaces all sets of packages, and returns the changes by package.
    pub fn replace_packages(&mut self, sets: BTreeMap<PackageSetKey, LockedPackages>) -> Vec<Change> {
        let old = by_name(&std::mem::replace(&mut self.packages, sets));
        let new = by_name(&self.packages);
        let change = |reference: &String, old: Option<&LockedDeb>, new: Option<&LockedDeb>| Change {
            reference: reference.clone(),
            kind: ChangeKind::Package {
                old: old.map(|package| package.version.clone()),
                new: new.map(|package| package.version.clone()),
                is_security: new.is_some_and(|package| package.suite.ends_with("-security")),
            },
        };
        let is_same = |old: Option<&LockedDeb>, new: &LockedDeb| {
            old.is_some_and(|old| old.version == new.version && old.sha256 == new.sha256)
        };
        let changed = new.iter().filter(|(name, package)| !is_same(old.get(*name), package));
        let changed = changed.map(|(name, package)| change(name, old.get(name), Some(package)));
        let removed = old.iter().filter(|(name, _)| !new.contains_key(*name));
        changed.chain(removed.map(|(name, package)| change(name, Some(package), None))).collect()
    }
}

/// Indexes the packages of all sets by suite, name and architecture: `bookworm: libc6:amd64`.
fn by_name(sets: &BTreeMap<PackageSetKey, LockedPackages>) -> BTreeMap<String, LockedDeb> {
    let packages = sets.iter().flat_map(|(key, set)| set.packages.iter().map(move |package| (key, package)));
    let name = |key: &PackageSetKey, package: &LockedDeb| {
        format!("{}: {}:{}", key.suite, package.name, package.architecture)
    };
    packages.map(|(key, package)| (name(key, package), package.clone())).collect()
}

impl PackageSetTable {
    /// Returns the suite, for messages.
    pub(super) fn suite(&self) -> &str {
        &self.suite
    }

    /// Checks a set as read from a file.
    pub(super) fn check(self) -> Result<(PackageSetKey, LockedPackages), Cause> {
        let Self { suite, platform, wanted, recommends, below, named, packages } = self;
        let platform: Platform = platform.parse()?;
        let key =
            PackageSetKey { recommends, below, ..PackageSetKey::new(&suite, &platform, wanted.clone()) };
        if key.wanted != wanted {
            return Err("the requested packages are not sorted".into());
        }
        for pair in packages.windows(2) {
            if let [first, second] = pair
                && (&first.name, &first.architecture) >= (&second.name, &second.architecture)
            {
                return Err(format!("the package {} is listed twice or not sorted", second.name).into());
            }
        }
        for LockedDeb { name, path, .. } in &packages {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(format!("`{}` is not the name of a package", name.escape_debug()).into());
            }
            let is_outside = path.starts_with('/') || path.split('/').any(|part| part == "..");
            if is_outside || path.contains(|c: char| c.is_control() || c == ' ') {
                return Err(format!("`{}` is not a path in an archive", path.escape_debug()).into());
            }
        }
        let reason = if named { LockReason::Named } else { LockReason::Project };
        Ok((key, LockedPackages { packages, reason }))
    }
}

/// Appends the tables of all sets to `text`.
pub(super) fn write(sets: &BTreeMap<PackageSetKey, LockedPackages>, text: &mut String) {
    for (key, LockedPackages { packages, reason }) in sets {
        let wanted: Vec<String> = key.wanted.iter().map(|name| quoted(name)).collect();
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n[[apt]]\nsuite = {}\nplatform = {}\nwanted = [{}]\n",
            quoted(&key.suite),
            quoted(&key.platform.to_string()),
            wanted.join(", ")
        );
        if key.recommends {
            text.push_str("recommends = true\n");
        }
        if let Some(below) = key.below {
            let _ = writeln!(text, "below = '{below}'");
        }
        if *reason == LockReason::Named {
            text.push_str("named = true\n");
        }
        text.push_str("packages = [\n");
        for package in packages {
            let LockedDeb { name, version, architecture, suite, path, size, sha256 } = package;
            let _ = writeln!(
                text,
                "    {{ name = {}, version = {}, architecture = {}, suite = {}, path = {}, size = {size}, sha256 = '{sha256}' }},",
                quoted(name),
                quoted(version),
                quoted(architecture),
                quoted(suite),
                quoted(path),
            );
        }
        text.push_str("]\n");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lock() -> Lock {
        let mut lock = Lock::default();
        let platform: Platform = "linux/amd64".parse().unwrap();
        let key = PackageSetKey::new("bookworm", &platform, vec!["libpq5".into(), "?essential".into()]);
        let package = |name: &str, version: &str, suite: &str| {
            LockedDeb::new(name, version, "amd64", Digest::of(name.as_bytes()), 7)
                .at(suite, &format!("pool/main/{name}_{version}.deb"))
        };
        let bottom = vec![package("libc6", "2.36-9", "bookworm"), package("libpq5", "15.1", "bookworm")];
        let above = PackageSetKey { recommends: true, below: Some(Digest::of(b"x")), ..key.clone() };
        let git = LockedPackages::new(vec![package("git", "1:2.39", "bookworm")], LockReason::Named);
        lock.replace_packages([(key, LockedPackages::new(bottom, LockReason::Project)), (above, git)].into());
        lock
    }

    #[test]
    fn sets_are_read_as_written() {
        let lock = lock();
        let text = lock.to_toml();
        assert_eq!(Lock::parse(Path::new("x"), &text).unwrap(), lock, "{text}");
    }

    #[test]
    fn damaged_sets_are_refused() {
        let text = lock().to_toml();
        for (from, to) in [
            ("'libc6'", "'Lib C'"),
            ("'libc6'", "'zz'"),
            ("pool/main/libc6", "../libc6"),
            ("['?essential', 'libpq5']", "['libpq5', '?essential']"),
            ("linux/amd64", "linux"),
            ("size = 7", "size = -7"),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text, "{from}");
            assert!(Lock::parse(Path::new("x"), &damaged).is_err(), "{from}");
        }
    }

    #[test]
    fn changes_name_versions() {
        let mut lock = lock();
        let mut sets = lock.packages.clone();
        assert_eq!(lock.replace_packages(sets.clone()), []);
        let first = &mut sets.values_mut().next().unwrap().packages;
        first[0].version = "2.36-10".into();
        first[0].suite = "bookworm-security".into();
        first.pop();
        let changes = lock.replace_packages(sets);
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            changes,
            [
                "bookworm: libc6:amd64 changed from 2.36-9 to 2.36-10 (security)",
                "bookworm: libpq5:amd64 15.1 is no longer used",
            ]
        );
    }
}
