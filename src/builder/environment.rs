//! The environment of a project: found or made.

use std::path::{Path, PathBuf};

use super::base::ResolvedBase;
use super::hints::LazyHints;
use super::{BuildError, Builder, Provisioning};
use crate::platform::Platform;
use crate::progress::{Progress, Silent};
use crate::python::environment::venv;
use crate::python::provision::{BaseInterpreter, Provision};
use crate::python::requirements::declaration::DependencySelection;
use crate::recipe::Recipe;
use crate::service::dependencies::further_requirements;
use crate::service::hints::Hints;
use crate::settings::PythonRequest;

impl Builder {
    /// Returns the directory of an environment that need not be made.
    pub(super) fn existing_environment(&self, platform: &Platform) -> Option<PathBuf> {
        let named = self.venvs.get(platform).or(self.venv.as_ref());
        venv::find(named.map(PathBuf::as_path), &self.root, self.active_venv.as_deref())
    }

    /// Makes an environment in the cache directory or else in `work`, for the Python of `base` if it has one.
    pub(super) fn make_environment(
        &self,
        recipe: &Recipe,
        hints: &LazyHints<'_>,
        base: Option<&ResolvedBase>,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, BuildError> {
        let cache = self.cache.as_deref().unwrap_or(work);
        let of_base = base.and_then(|base| base.view.pythons(base.path()).into_iter().next());
        let version = of_base.as_ref().and_then(|python| python.full_version.clone());
        let unpack = || {
            let (base, python) = (base?, of_base.as_ref()?);
            let headers = self.python_headers(recipe, python, work, progress);
            base.interpreter((python, headers), cache, progress)
        };
        let selection = recipe.dependencies();
        let provision = Provision {
            cache,
            base_python: version
                .as_deref()
                .map(|full_version| BaseInterpreter { full_version, unpack: &unpack }),
            progress,
            ..self.provision(recipe, &selection, hints)
        };
        let make = "make one (`python3 -m venv .venv` and pip, or `uv sync`), name it with --venv";
        let help = match self.provisioning {
            Provisioning::Never => format!("{make}, or omit --no-provision"),
            Provisioning::WhenMissing => {
                if let Some(folder) = provision.run_declared()? {
                    return Ok(folder);
                }
                let of_dockerfile = || requirements_of_dockerfile(hints.get());
                provision.proposal().or_else(of_dockerfile).unwrap_or_else(|| {
                    format!("{make}, or add a uv.lock, requirements.txt or pyproject.toml to have one made")
                })
            }
        };
        Err(BuildError::NoEnvironment { root: self.root.clone(), help })
    }

    /// Returns true if the project and the settings allow a Python of the full version `version` for an environment
    /// to be made.
    pub(super) fn allows_python(&self, recipe: &Recipe, hints: &LazyHints<'_>, version: &str) -> bool {
        let selection = recipe.dependencies();
        self.provision(recipe, &selection, hints).allows_python(version)
    }

    /// Describes the environment to be made.
    fn provision<'a>(
        &'a self,
        recipe: &'a Recipe,
        selection: &'a DependencySelection,
        hints: &'a LazyHints<'_>,
    ) -> Provision<'a> {
        Provision {
            selection,
            python: recipe.python.as_ref().map(PythonRequest::as_str),
            suggested_python: hints.get().python_version.as_ref().map(|(version, _)| version.as_str()),
            path: Some(&self.search_path),
            installations: &self.installations,
            ..Provision::new(&self.root, &self.root, &Silent)
        }
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

/// Returns advice for a project whose Dockerfile alone names its dependencies.
fn requirements_of_dockerfile(hints: &Hints) -> Option<String> {
    let dockerfile = hints.dockerfile.as_ref()?;
    let found = further_requirements(dockerfile, &|_| false)?;
    let (line, requirements) = (found.line, found.portable.iter().chain(&found.with_headers));
    let lines: Vec<String> = requirements.map(|requirement| format!("`{requirement}`")).collect();
    Some(format!(
        "add a requirements.txt with {}, which {}:{line} installs",
        lines.join(", "),
        dockerfile.file
    ))
}
