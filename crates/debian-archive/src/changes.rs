//! Changes between two locked sets of packages, and updates of security suites.

use std::collections::BTreeMap;
use std::fmt;

use crate::resolve::Universe;
use crate::version;

/// A package of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked<'a> {
    /// The package.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
}

/// The change of one package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The package.
    pub name: &'a str,
    /// The versions.
    pub kind: ChangeKind<'a>,
    /// The change brings a version of a security suite: the new one, or one between the old and the new.
    pub security: bool,
}

/// The versions before and after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChangeKind<'a> {
    Added { version: &'a str },
    Removed { version: &'a str },
    Upgraded { from: &'a str, to: &'a str },
    Downgraded { from: &'a str, to: &'a str },
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match self.kind {
            ChangeKind::Added { version } => write!(formatter, "add {name} {version}")?,
            ChangeKind::Removed { version } => write!(formatter, "remove {name} {version}")?,
            ChangeKind::Upgraded { from, to } => write!(formatter, "upgrade {name} {from} -> {to}")?,
            ChangeKind::Downgraded { from, to } => write!(formatter, "downgrade {name} {from} -> {to}")?,
        }
        formatter.write_str(if self.security { " (security)" } else { "" })
    }
}

/// Returns the changes from one lock to another, sorted by name. `security_suites` are values of
/// [`crate::index::PackageRecord::suite_index`].
pub fn compare<'a>(
    before: &[Locked<'a>],
    after: &[Locked<'a>],
    universe: &Universe,
    security_suites: &[usize],
) -> Vec<Change<'a>> {
    let mut names: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for locked in before {
        names.entry(locked.name).or_default().0 = Some(locked.version);
    }
    for locked in after {
        names.entry(locked.name).or_default().1 = Some(locked.version);
    }
    let changes = names.into_iter().filter_map(|(name, versions)| {
        let kind = match versions {
            (None, Some(version)) => ChangeKind::Added { version },
            (Some(version), None) => ChangeKind::Removed { version },
            (Some(from), Some(to)) => match version::compare(from, to) {
                std::cmp::Ordering::Less => ChangeKind::Upgraded { from, to },
                std::cmp::Ordering::Greater => ChangeKind::Downgraded { from, to },
                std::cmp::Ordering::Equal => return None,
            },
            (None, None) => return None,
        };
        let security = match kind {
            ChangeKind::Upgraded { from, to } => {
                security_versions(universe, name, security_suites).any(|version| {
                    version::compare(version, from).is_gt() && version::compare(version, to).is_le()
                })
            }
            _ => false,
        };
        Some(Change { name, kind, security })
    });
    changes.collect()
}

/// Returns upgrades of locked packages to the highest version of a security suite.
pub fn security_updates<'a>(
    locked: &[Locked<'a>],
    universe: &'a Universe,
    security_suites: &[usize],
) -> Vec<Change<'a>> {
    let updates = locked.iter().filter_map(|locked| {
        // The versions of a name are sorted, the highest first.
        let to = security_versions(universe, locked.name, security_suites).next()?;
        version::compare(to, locked.version).is_gt().then_some(Change {
            name: locked.name,
            kind: ChangeKind::Upgraded { from: locked.version, to },
            security: true,
        })
    });
    updates.collect()
}

fn security_versions<'a>(
    universe: &'a Universe,
    name: &str,
    security_suites: &[usize],
) -> impl Iterator<Item = &'a str> {
    universe
        .versions(name)
        .filter(|record| security_suites.contains(&record.suite_index))
        .map(|record| record.version.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index;

    fn universe() -> Universe {
        let record = |name: &str, version: &str| {
            let digest = "0".repeat(64);
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: a\nSize: 1\nSHA256: {digest}\n"
            )
        };
        let mut records = index::parse(record("a", "3").as_bytes(), 0).unwrap();
        records.extend(index::parse(record("a", "2").as_bytes(), 1).unwrap());
        records.extend(index::parse(record("b", "1.1").as_bytes(), 1).unwrap());
        Universe::new(records)
    }

    fn locked(text: &str) -> Vec<Locked<'_>> {
        let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(name, version)| Locked { name, version }).collect()
    }

    fn lines(changes: &[Change<'_>]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_each_change_and_those_of_security_suites() {
        let (before, after) = (locked("a=1 b=1 c=1 d=1.10 e=1"), locked("a=3 b=1.1 d=1.9 e=1-0 f=1"));
        assert_eq!(
            lines(&compare(&before, &after, &universe(), &[1])),
            [
                "upgrade a 1 -> 3 (security)",
                "upgrade b 1 -> 1.1 (security)",
                "remove c 1",
                "downgrade d 1.10 -> 1.9",
                "add f 1"
            ]
        );
        assert_eq!(lines(&compare(&locked("a=2"), &locked("a=3"), &universe(), &[1])), ["upgrade a 2 -> 3"]);
    }

    #[test]
    fn names_versions_of_security_suites_that_a_lock_lacks() {
        let universe = universe();
        let updates = security_updates(&locked("a=1 b=1.1 c=1"), &universe, &[1]);
        assert_eq!(lines(&updates), ["upgrade a 1 -> 2 (security)"]);
        assert_eq!(security_updates(&locked("a=1"), &universe, &[]), []);
    }
}
