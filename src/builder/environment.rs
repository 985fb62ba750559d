//! The environment of a project: found or made.

use std::path::{Path, PathBuf};

use super::hints::LazyHints;
use super::{BuildError, Builder, Provisioning};
use crate::platform::Platform;
use crate::progress::{Progress, Silent};
use crate::python::environment::venv;
use crate::python::provision::Provision;
use crate::recipe::Recipe;
use crate::settings::PythonRequest;

impl Builder {
    /// Returns the directory of an environment that need not be made.
    pub(super) fn existing_environment(&self, platform: &Platform) -> Option<PathBuf> {
        let named = self.venvs.get(platform).or(self.venv.as_ref());
        venv::find(named.map(PathBuf::as_path), &self.root, self.active_venv.as_deref())
    }

    /// Returns the directory of the environment: the named one, `.venv` in the project, the active
    /// one, or one made in the cache directory or else in `work`.
    pub(super) fn environment(
        &self,
        (platform, recipe): (&Platform, &Recipe),
        hints: &LazyHints<'_>,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, BuildError> {
        if let Some(folder) = self.existing_environment(platform) {
            return Ok(folder);
        }
        let suggested = hints.get().python_version.as_ref().map(|(version, _)| version.as_str());
        let provision = Provision {
            context: &self.root,
            cache: self.cache.as_deref().unwrap_or(work),
            selection: &recipe.dependencies(),
            python: recipe.python.as_ref().map(PythonRequest::as_str),
            suggested_python: suggested,
            path: Some(&self.search_path),
            installations: &self.installations,
            progress,
        };
        let make = "make one (`python3 -m venv .venv` and pip, or `uv sync`), name it with --venv";
        let help = match self.provisioning {
            Provisioning::Never => format!("{make}, or omit --no-provision"),
            Provisioning::WhenMissing => {
                if let Some(folder) = provision.run_declared()? {
                    return Ok(folder);
                }
                provision.proposal().unwrap_or_else(|| {
                    format!("{make}, or add a uv.lock, requirements.txt or pyproject.toml to have one made")
                })
            }
        };
        Err(BuildError::NoEnvironment { root: self.root.clone(), help })
    }

    /// Returns the error of a project whose dependencies are declared elsewhere, such as in folders below
    /// it.
    pub(super) fn declared_elsewhere(&self, recipe: &Recipe) -> Option<BuildError> {
        if venv::find(None, &self.root, self.active_venv.as_deref()).is_some() {
            return None;
        }
        let selection = recipe.dependencies();
        let provision =
            Provision { selection: &selection, ..Provision::new(&self.root, &self.root, &Silent) };
        if provision.origin().ok()?.is_some() {
            return None;
        }
        let help = provision.proposal()?;
        Some(BuildError::NoEnvironment { root: self.root.clone(), help })
    }
}
