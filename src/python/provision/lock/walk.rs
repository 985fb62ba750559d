//! The distributions that a lock without groups selects for the declared dependencies.
//!
//! Older locks list every distribution for every group and platform. The dependencies are followed from
//! the declared ones, with markers and extras, as the tool of the lock does it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pep440_rs::Version;

use super::{LockError, LockedDistribution};
use crate::python::requirements::marker::{Environment, Marker};
use crate::python::requirements::poetry::Constraint;

/// A distribution of a lock with its dependencies.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) distribution: LockedDistribution,
    /// The version, for constraints.
    pub(super) version: Option<Version>,
    /// The versions of Python that it is locked for.
    pub(super) python: Option<Constraint>,
    pub(super) dependencies: Vec<DependencyEdge>,
}

/// A dependency on a distribution.
#[derive(Debug, Clone, Default)]
pub(super) struct DependencyEdge {
    /// The normalized name.
    pub(super) name: String,
    /// The normalized extras.
    pub(super) extras: Vec<String>,
    pub(super) marker: Option<Marker>,
    pub(super) versions: Option<Constraint>,
    /// The versions of Python that need it.
    pub(super) python: Option<Constraint>,
    /// Extras that need it; empty if it is always needed.
    pub(super) of_extras: Vec<String>,
}

/// Follows the dependencies from `roots`. Missing roots are left to the check of the declared
/// requirements; any other missing distribution is an error.
pub(super) fn walk<'n>(
    nodes: &'n BTreeMap<String, Vec<Node>>,
    roots: Vec<DependencyEdge>,
    (environment, python): (&Environment, &Version),
) -> Result<Vec<(&'n str, &'n Node)>, LockError> {
    let mut queue: VecDeque<(DependencyEdge, Option<&str>, Vec<String>)> =
        roots.into_iter().map(|edge| (edge, None, Vec::new())).collect();
    let mut seen: BTreeMap<&str, (&Node, BTreeSet<String>)> = BTreeMap::new();
    while let Some((edge, by, extras)) = queue.pop_front() {
        let applies = edge.marker.as_ref().is_none_or(|marker| marker.holds(environment, &extras))
            && edge.python.as_ref().is_none_or(|versions| versions.allows(python))
            && (edge.of_extras.is_empty() || edge.of_extras.iter().any(|extra| extras.contains(extra)));
        if !applies {
            continue;
        }
        let Some((name, candidates)) = nodes.get_key_value(&edge.name) else {
            match by {
                None => continue,
                Some(by) => {
                    return Err(LockError(format!("`{}`, which {by} requires, is not in it", edge.name)));
                }
            }
        };
        let allows = |node: &&Node| {
            let is_allowed = |version: &Version| edge.versions.as_ref().is_none_or(|it| it.allows(version));
            node.version.as_ref().is_none_or(is_allowed)
                && node.python.as_ref().is_none_or(|constraint| constraint.allows(python))
        };
        let Some(node) = candidates.iter().find(allows).or(candidates.first()) else { continue };
        let is_new = !seen.contains_key(name.as_str());
        let (node, known) = seen.entry(name).or_insert((node, BTreeSet::new()));
        let before = known.len();
        known.extend(edge.extras);
        if is_new || known.len() > before {
            let extras: Vec<String> = known.iter().cloned().collect();
            let node: &Node = node;
            queue.extend(
                node.dependencies.iter().map(|edge| (edge.clone(), Some(name.as_str()), extras.clone())),
            );
        }
    }
    Ok(seen.into_iter().map(|(name, (node, _))| (name, node)).collect())
}
