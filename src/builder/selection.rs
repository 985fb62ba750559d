//! Selection of the environment's distributions for an image.

use std::collections::BTreeSet;
use std::path::Path;

use super::BuildError;
use crate::plan::PlannedDistribution;
use crate::progress::{Progress, Warning};
use crate::python::requirements::closure::{
    DeclaredDependencies, DeclaredRequirement, OptionalDependencies, all_installed,
};
use crate::python::{ClosureError, Venv, normalize};
use crate::recipe::Recipe;
use crate::service::Server;
use crate::service::server::ServerKind;
use crate::settings::{EventLoop, HttpProtocol, Selection};

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
            let optional = OptionalDependencies { extras: recipe.extras.clone(), groups: Vec::new() };
            let mut declared = DeclaredDependencies::read(root, &optional).map_err(|error| match error {
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
    let selected = SelectedDistributions { names, distributions, excluded, roots, project };
    selected.check(recipe, venv)?;
    if let Some(warning) = selected.slow_implementation_warning(recipe) {
        progress.warn(warning);
    }
    Ok(selected)
}

/// Returns the normalized names of requirements that need not be installed.
pub(super) fn allow_missing(recipe: &Recipe) -> BTreeSet<String> {
    recipe.allow_missing.iter().map(|name| normalize(name)).collect()
}

/// Returns the server of `recipe` if it is uvicorn.
fn uvicorn_of(recipe: &Recipe) -> Option<Server> {
    recipe.server().filter(|server| server.kind == ServerKind::Uvicorn)
}

impl SelectedDistributions {
    /// Warns if a faster event loop or HTTP implementation of uvicorn is missing and the settings
    /// do not choose one.
    fn slow_implementation_warning(&self, recipe: &Recipe) -> Option<Warning> {
        let server = uvicorn_of(recipe)?;
        let open = |chosen: bool, option, distribution| {
            !chosen && !server.has_option(option) && !self.names.contains(distribution)
        };
        let event_loop = open(recipe.event_loop.is_some(), "--loop", "uvloop");
        let http = open(recipe.http.is_some(), "--http", "httptools");
        let (lacking, instead, settings) = match (event_loop, http) {
            (true, true) => {
                ("uvloop and httptools are", "asyncio and h11", "loop = \"asyncio\" and http = \"h11\"")
            }
            (true, false) => ("uvloop is", "asyncio", "loop = \"asyncio\""),
            (false, true) => ("httptools is", "h11", "http = \"h11\""),
            (false, false) => return None,
        };
        let message = format!("{lacking} not in the image: uvicorn uses the slower {instead}");
        let help = format!("add uvicorn[standard] to the project's dependencies, or choose {settings}");
        Some(Warning::new("uvicorn", message).with_help(help))
    }

    /// Rejects an image without the programs that it runs.
    fn check(&self, recipe: &Recipe, venv: &Venv) -> Result<(), BuildError> {
        if uvicorn_of(recipe).is_none() {
            return Ok(());
        }
        let mut needed: Vec<(&str, String, &str)> =
            vec![("uvicorn", "run uvicorn".to_owned(), "or name another command with entrypoint")];
        if recipe.event_loop == Some(EventLoop::Uvloop) {
            needed.push(("uvloop", "use uvicorn's event loop uvloop".to_owned(), "or set --loop auto"));
        }
        if recipe.http == Some(HttpProtocol::Httptools) {
            let other = "or set --http auto";
            needed.push(("httptools", "use uvicorn's HTTP implementation httptools".to_owned(), other));
        }
        for (distribution, action, other) in needed {
            if self.names.contains(distribution) {
                continue;
            }
            let installed = venv.distribution(distribution).is_some();
            let first = match (distribution, installed) {
                (_, true) => {
                    format!("declare {distribution}, which is installed, as a dependency of the project")
                }
                ("uvicorn", false) => {
                    "add uvicorn[standard] to the project's dependencies and install it".to_owned()
                }
                (_, false) => format!(
                    "add uvicorn[standard] or {distribution} to the project's dependencies and install it"
                ),
            };
            return Err(BuildError::NotInstalled {
                action,
                distribution: distribution.to_owned(),
                help: format!("{first}, {other}"),
            });
        }
        Ok(())
    }
}
