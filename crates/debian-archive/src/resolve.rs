//! The closure of wanted packages over `Pre-Depends`, `Depends` and, on demand, `Recommends`: Debian Policy, chapter 7.
//!
//! Each name has one candidate: the highest version of all suites, or the version that the request names. As apt does,
//! a resolution never takes another version than the candidate.
//!
//! Two searches follow each other. `marker` is apt's own, `pkgDepCache::MarkInstall`, and decides the same between
//! alternatives and providers of a virtual package. If its set has a conflict, `solver` searches for a set without one
//! by SAT (`resolvo`); alone, the solver takes other providers than apt, since it decides where the choice is smallest.
//!
//! Differences to apt: phased updates of Ubuntu are taken always, since an image is no machine of a phase; installed
//! packages are neither upgraded nor removed.

mod candidates;
mod error;
mod marker;
mod scripts;
mod solver;
mod universe;

use std::collections::BTreeSet;

use crate::index::{Installed, PackageRecord};
use candidates::Candidates;
pub use error::{ResolveError, UnmetDependency};
use marker::Marker;
pub use universe::Universe;

/// Packages to resolve.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The wanted packages: `NAME`, `NAME=VERSION`, or `?essential`, the packages with `Essential: yes`. The name may be
    /// that of a virtual package with one provider. As for `apt-get`, the order can decide between alternatives.
    pub wanted: &'a [String],
    /// Packages that are there already, as [`crate::index::parse_status`] reads them. They meet dependencies and stay as
    /// they are.
    pub installed: &'a [Installed],
    /// Recommended packages.
    pub recommends: Recommends,
    /// The architecture, `amd64`.
    pub architecture: &'a str,
    /// Dependencies of maintainer scripts.
    pub script_dependencies: ScriptDependencies,
}

/// Recommended packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recommends {
    /// Dependencies alone are followed.
    #[default]
    Omit,
    /// Recommended packages are installed where that is possible, as by `apt-get install`.
    Include,
}

/// Dependencies that maintainer scripts alone use, such as `debconf`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ScriptDependencies {
    /// They are not followed, since nothing runs the scripts. [`SCRIPT_DEPENDENCIES`] lists them. If the closure or the
    /// installed packages contain `dpkg` or `apt`, they are included: `apt` in the image finds its database consistent.
    #[default]
    Omit,
    /// They are followed as all others.
    Include,
}

pub use scripts::SCRIPT_DEPENDENCIES;

/// Returns the packages that the wanted packages need, sorted by name, without those that are installed.
pub fn resolve<'u>(
    universe: &'u Universe,
    request: &Request<'_>,
) -> Result<Vec<&'u PackageRecord>, ResolveError> {
    let managed = |name: &str| matches!(name, "dpkg" | "apt");
    if request.script_dependencies == ScriptDependencies::Omit
        && !request.installed.iter().any(|package| managed(&package.name))
    {
        let records = resolve_once(universe, request, Omitted::Stay)?;
        if !records.iter().any(|record| managed(&record.name)) {
            return Ok(records);
        }
        let request = Request { script_dependencies: ScriptDependencies::Include, ..*request };
        return resolve_once(universe, &request, Omitted::Install);
    }
    let request = Request { script_dependencies: ScriptDependencies::Include, ..*request };
    resolve_once(universe, &request, Omitted::Stay)
}

/// The dependencies of scripts that were omitted when the installed packages were resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Omitted {
    /// They stay omitted.
    Stay,
    /// They are installed with the first `dpkg` or `apt`.
    Install,
}

fn resolve_once<'u>(
    universe: &'u Universe,
    request: &Request<'_>,
    omitted: Omitted,
) -> Result<Vec<&'u PackageRecord>, ResolveError> {
    let mut candidates = Candidates::new(universe, request);
    let mut roots = roots(&mut candidates, request)?;
    if omitted == Omitted::Install {
        candidates.add_omitted(&mut roots)?;
    }
    let mut marker = Marker::new(&mut candidates, &roots);
    marker.run()?;
    let selected = if marker.is_consistent()? {
        marker.selected()
    } else if let Some(selected) = solver::solve(marker.candidates, &roots)? {
        selected
    } else {
        return Err(marker.explain()?);
    };
    let selected = candidates.reachable(&roots, &selected)?;
    let mut records: Vec<_> = selected
        .into_iter()
        .filter_map(|id| candidates.record(id))
        .map(|index| universe.record(index))
        .collect();
    records.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(records)
}

/// Returns the candidates of the wanted packages, in the order of the request.
fn roots(candidates: &mut Candidates<'_>, request: &Request<'_>) -> Result<Vec<usize>, ResolveError> {
    for wanted in request.wanted {
        if let Some((name, version)) = wanted.split_once('=') {
            candidates.pin(wanted, name.trim(), version.trim())?;
        }
    }
    let mut roots = Vec::new();
    for wanted in request.wanted {
        if wanted == "?essential" {
            roots.extend(candidates.essential());
        } else {
            let name = wanted.split_once('=').map_or(&**wanted, |(name, _)| name.trim());
            roots.push(candidates.named(name)?);
        }
    }
    let mut known = BTreeSet::new();
    roots.retain(|id| known.insert(*id));
    Ok(roots)
}

#[cfg(test)]
mod tests;
