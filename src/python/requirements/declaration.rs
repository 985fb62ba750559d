//! [`Declaration`]: the files that declare a project's dependencies.
//!
//! One rule for making an environment and for selecting its distributions: the first of
//! `pyproject.toml` with dependencies, a requirement file ([`REQUIREMENT_FILES`]), `Pipfile`,
//! `pyproject.toml` with dynamic or without dependencies, `setup.py` or `setup.cfg`, and
//! `pylock.toml`.

use std::path::{Path, PathBuf};

use super::pyproject::PyProject;
use crate::traced_fs;

/// The requirement files of a project, in the order of precedence.
pub const REQUIREMENT_FILES: [&str; 14] = [
    "requirements.txt",
    "requirements/prod.txt",
    "requirements/production.txt",
    "requirements/deploy.txt",
    "requirements/requirements.txt",
    "requirements/main.txt",
    "requirements/base.txt",
    "requirements/common.txt",
    "requirements/default.txt",
    "requirements-prod.txt",
    "requirements-production.txt",
    "requirements_prod.txt",
    "requirements.prod.txt",
    "requirements-base.txt",
];

/// The chosen dependencies of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DependencySelection {
    /// Extras of the project.
    pub extras: Vec<String>,
    /// Groups of `[dependency-groups]` and of Poetry, or categories of Pipenv.
    pub groups: Vec<String>,
    /// The treatment of the default groups.
    pub default_groups: DefaultGroups,
    /// Requirement files in place of the project's declared dependencies, relative to the project.
    pub requirements: Vec<PathBuf>,
    /// Requirements beside the project's declared dependencies.
    pub with: Vec<String>,
}

/// The treatment of uv's `default-groups`, without the group `dev`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DefaultGroups {
    /// As `uv sync --no-dev` installs them.
    #[default]
    Included,
    /// As with `--no-default-groups`.
    Excluded,
}

/// The files that declare a project's dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declaration {
    /// `[project] dependencies` or Poetry's table, or the metadata of the built project.
    PyProject,
    /// Requirement files.
    Requirements(Vec<PathBuf>),
    /// Pipenv's `Pipfile`.
    Pipfile,
    /// `setup.py` or `setup.cfg`: the metadata of the built project.
    Setup,
    /// `pylock.toml` alone.
    PyLock,
}

impl Declaration {
    /// Finds the files of the project in `context`, whose `pyproject.toml` is `project`.
    pub fn find(context: &Path, selection: &DependencySelection, project: &PyProject) -> Option<Self> {
        if !selection.requirements.is_empty() {
            let files = selection.requirements.iter().map(|file| context.join(file));
            return Some(Self::Requirements(files.collect()));
        }
        let is_there = |name: &str| traced_fs::is_file(context.join(name));
        let dependencies = project.dependencies.as_deref();
        if dependencies.is_some_and(|dependencies| !dependencies.is_empty()) {
            return Some(Self::PyProject);
        }
        if let Some(file) = REQUIREMENT_FILES.into_iter().find(|name| is_there(name)) {
            return Some(Self::Requirements(vec![context.join(file)]));
        }
        if is_there("Pipfile") {
            return Some(Self::Pipfile);
        }
        if dependencies.is_some() || project.name.is_some() {
            return Some(Self::PyProject);
        }
        if is_there("setup.py") || is_there("setup.cfg") && has_metadata(&context.join("setup.cfg")) {
            return Some(Self::Setup);
        }
        if is_there("pylock.toml") {
            return Some(Self::PyLock);
        }
        (!project.groups.is_empty()).then_some(Self::PyProject)
    }
}

impl DependencySelection {
    /// Returns the normalized names of all selected groups of `project`.
    pub fn groups_of(&self, project: &PyProject) -> Vec<String> {
        let defaults: &[String] = match self.default_groups {
            DefaultGroups::Included => &project.default_groups,
            DefaultGroups::Excluded => &[],
        };
        let mut all = Vec::new();
        for group in defaults.iter().chain(&self.groups) {
            let group = crate::python::metadata::name::normalize(group);
            if !all.contains(&group) {
                all.push(group);
            }
        }
        all
    }
}

/// Returns true for a `setup.cfg` that describes a distribution; many only configure other tools.
fn has_metadata(path: &Path) -> bool {
    const LIMIT: u64 = 1 << 20;
    let bytes = traced_fs::open_regular(path).and_then(|file| traced_fs::read_limited(file, LIMIT));
    let text = bytes.ok().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.is_some_and(|text| text.lines().any(|line| matches!(line.trim_end(), "[metadata]" | "[options]")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::folder;

    #[test]
    fn the_first_file_with_dependencies_declares() {
        let requirements = |name: &str| format!("Requirements({name})");
        for (files, expected) in [
            (&[][..], "none".to_owned()),
            (&[("pyproject.toml", "[tool.x]")], "none".to_owned()),
            (&[("requirements.txt", ""), ("Pipfile", "")], requirements("requirements.txt")),
            (
                &[("pyproject.toml", "[project]\nname='x'\ndependencies=['a']"), ("requirements.txt", "")],
                "PyProject".to_owned(),
            ),
            (
                &[("pyproject.toml", "[project]\nname='x'"), ("requirements.txt", "")],
                requirements("requirements.txt"),
            ),
            (&[("pyproject.toml", "[project]\nname='x'"), ("setup.py", "")], "PyProject".to_owned()),
            (&[("pyproject.toml", "[build-system]"), ("setup.py", "")], "Setup".to_owned()),
            (&[("pyproject.toml", "[dependency-groups]\na=['b']")], "PyProject".to_owned()),
            (
                &[("requirements/base.txt", ""), ("requirements/prod.txt", ""), ("requirements/dev.txt", "")],
                requirements("requirements/prod.txt"),
            ),
            (&[("requirements-prod.txt", ""), ("setup.py", "")], requirements("requirements-prod.txt")),
            (&[("requirements/dev.txt", ""), ("Pipfile", "")], "Pipfile".to_owned()),
            (&[("setup.cfg", "[flake8]\n")], "none".to_owned()),
            (&[("setup.cfg", "[metadata]\nname = x\n")], "Setup".to_owned()),
            (&[("pylock.toml", "")], "PyLock".to_owned()),
        ] {
            let folder = folder(files);
            let pyproject = fs_err::read_to_string(folder.path().join("pyproject.toml")).unwrap_or_default();
            let project = PyProject::parse(&pyproject).unwrap();
            let found = Declaration::find(folder.path(), &DependencySelection::default(), &project);
            let found = match found {
                None => "none".to_owned(),
                Some(Declaration::Requirements(files)) => {
                    requirements(files[0].strip_prefix(folder.path()).unwrap().to_str().unwrap())
                }
                Some(other) => format!("{other:?}"),
            };
            assert_eq!(found, expected, "{files:?}");
        }
    }

    #[test]
    fn named_requirement_files_take_precedence() {
        let project = PyProject::parse("[project]\nname='x'\ndependencies=['a']").unwrap();
        let selection =
            DependencySelection { requirements: vec!["ops/api.txt".into()], ..Default::default() };
        let found = Declaration::find(Path::new("/p"), &selection, &project);
        assert_eq!(found, Some(Declaration::Requirements(vec!["/p/ops/api.txt".into()])));
    }
}
