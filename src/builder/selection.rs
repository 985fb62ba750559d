//! Selection of the environment's distributions for an image.

use std::collections::BTreeSet;
use std::path::Path;

use super::BuildError;
use crate::plan::PlannedDistribution;
use crate::progress::Progress;
use crate::python::requirements::closure::{DeclaredDependencies, DeclaredRequirement, all_installed};
use crate::python::{ClosureError, Venv, normalize};
use crate::recipe::Recipe;
use crate::settings::Selection;

/// The selected and excluded distributions.
#[derive(Debug)]
pub(super) struct SelectedDistributions {
    /// Normalized names of the selected ones.
    pub(super) names: BTreeSet<String>,
    /// The same with versions and reasons.
    pub(super) distributions: Vec<PlannedDistribution>,
    /// Normalized names of the excluded ones.
    pub(super) excluded: Vec<String>,
    /// The project's declared requirements; empty if everything installed is selected.
    pub(super) roots: Vec<DeclaredRequirement>,
    /// Normalized name of the project, if any.
    pub(super) project: Option<String>,
}

/// Selects the distributions of `venv` that `recipe` and the project in `root` need.
pub(super) fn select(
    recipe: &Recipe,
    root: &Path,
    venv: &Venv,
    progress: &dyn Progress,
) -> Result<SelectedDistributions, BuildError> {
    let (mut roots, mut project) = (Vec::new(), None);
    let mut reasons: Vec<(String, String)> = match recipe.distributions {
        Selection::Installed => {
            all_installed(venv).into_iter().map(|name| (name, "installed".to_owned())).collect()
        }
        Selection::Declared => {
            let mut declared =
                DeclaredDependencies::read(root, &recipe.dependencies()).map_err(|error| match error {
                    ClosureError::NothingDeclared(_) => BuildError::NothingDeclared(root.to_owned()),
                    other => other.into(),
                })?;
            declared.allow_missing = allow_missing(recipe);
            let closure = declared.closure(venv)?;
            (roots, project) = (declared.roots, declared.project);
            for warning in closure.warnings {
                progress.warn(warning);
            }
            closure.members.into_iter().map(|(name, reason)| (name, reason.to_string())).collect()
        }
    };
    reasons.sort();
    let names: BTreeSet<String> = reasons.iter().map(|(name, _)| name.clone()).collect();
    let distributions = reasons
        .into_iter()
        .map(|(name, reason)| {
            let version = venv.distribution(&name).map(|found| found.version.to_string()).unwrap_or_default();
            PlannedDistribution { name, version, reason }
        })
        .collect();
    let excluded = all_installed(venv).into_iter().filter(|name| !names.contains(name)).collect();
    Ok(SelectedDistributions { names, distributions, excluded, roots, project })
}

/// Returns the normalized names of requirements that need not be installed.
pub(super) fn allow_missing(recipe: &Recipe) -> BTreeSet<String> {
    recipe.allow_missing.iter().map(|name| normalize(name)).collect()
}
