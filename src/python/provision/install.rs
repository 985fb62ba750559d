//! Installs the dependencies of a project into a new environment, by the source of its dependencies.

#![allow(clippy::disallowed_methods)] // No plan depends on these files: the finished environment is read through `traced_fs`.

use std::fmt::Write as _;
use std::path::Path;

use super::chosen::{ChosenInterpreter, no_interpreter};
use super::dependencies::{self, Dependencies, STAND_IN};
use super::error::ProvisionError;
use super::lock::{LockError, LockKind, LockScope, Locked};
use super::python::PythonDemands;
use super::{
    Installation, Provision, ProvisionSource, Tool, left_out, marker_environment, remove, version_control,
};
use crate::error::FileError;
use crate::progress::Warning;
use crate::python::environment::config::Config;
use crate::python::environment::venv::Venv;
use crate::python::metadata::name::normalize;
use crate::python::requirements::closure::{ClosureError, DeclaredDependencies, read_pipfile};
use crate::python::requirements::declaration::DefaultGroups;
use crate::python::requirements::pyproject::Build;
use crate::python::requirements::requirement::Requirement;
use crate::python::requirements::requirements_txt;

impl Provision<'_> {
    /// Makes the environment. Returns the warnings about it, which are repeated when it is reused.
    pub(super) fn make(
        &self,
        installation: &Installation<'_>,
        origin: ProvisionSource,
        demands: &PythonDemands,
    ) -> Result<Vec<Warning>, ProvisionError> {
        let mut command = match installation.tool {
            Tool::Uv(uv)
                if origin == ProvisionSource::UvLock
                    && !matches!(installation.python, ChosenInterpreter::Download(_)) =>
            {
                return Ok(self.sync(uv, installation)?.into_iter().collect());
            }
            Tool::Uv(uv) => self.command(uv),
            Tool::Python(python) => self.command(python),
        };
        match installation.tool {
            Tool::Uv(_) => {
                command.args(["venv", "--color", "never"]).args(installation.python.uv_arguments())
            }
            Tool::Python(_) => command.args(["-m", "venv"]),
        };
        command.arg(installation.root);
        match (self.execute(command), installation.python) {
            (Err(ProvisionError::Failed { .. }), ChosenInterpreter::Download(_)) => {
                return Err(no_interpreter(demands, &self.interpreters().interpreters));
            }
            (outcome, _) => outcome?,
        };
        let warning = match (origin, installation.tool) {
            (ProvisionSource::UvLock, Tool::Uv(uv)) => {
                return Ok(self.sync(uv, installation)?.into_iter().collect());
            }
            (ProvisionSource::Lock(kind), _) => return self.locked(installation, kind),
            (ProvisionSource::Pipfile, _) => return self.pipfile(installation).map(|()| Vec::new()),
            (ProvisionSource::Requirements, _) => self.requirements(installation)?,
            _ => self.project(installation)?,
        };
        self.install_groups(installation)?;
        Ok(warning.into_iter().collect())
    }

    /// Installs the contents of a lock without its tool. If that fails, the declared dependencies are
    /// installed.
    fn locked(
        &self,
        installation: &Installation<'_>,
        kind: LockKind,
    ) -> Result<Vec<Warning>, ProvisionError> {
        let declared = DeclaredDependencies::read(self.context, self.selection)?;
        let declared: Vec<Requirement> = declared.into_named().collect();
        let extras: Vec<String> = self.selection.extras.iter().map(|extra| normalize(extra)).collect();
        let (environment, groups) = (marker_environment(installation.root), self.groups());
        let scope = LockScope {
            context: self.context,
            environment: &environment,
            extras: &extras,
            groups: &groups,
            declared: &declared,
        };
        let unfollowed = |reason: String| {
            let message = format!("cannot be followed ({reason}): other versions may be installed");
            let help =
                format!("run `{}`, and check that its distributions can be installed here", kind.command());
            Warning::new(kind.file(), message).with_help(help)
        };
        let locked = match kind.read(scope) {
            Ok(locked) => locked,
            Err(LockError(reason)) => {
                let mut warnings = vec![unfollowed(reason)];
                warnings.extend(self.unlocked(installation, kind)?);
                return Ok(warnings);
            }
        };
        let mut warnings = Vec::new();
        let stale = locked.stale(scope);
        if let Some(first) = stale.first() {
            let more = match stale.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!("does not have `{first}`{more}: other versions may be installed");
            warnings.push(Warning::new(kind.file(), message).with_help(format!("run `{}`", kind.command())));
        }
        let outcome = self.install_locked(installation, &locked).and_then(|()| {
            let Ok(venv) = Venv::open(installation.root) else { return Ok(()) };
            let lines = left_out::requirements(kind, &locked, &venv, &environment);
            self.install_lines(installation, &lines)
        });
        match outcome {
            Ok(()) => {}
            Err(error) if installation.is_retried && error.is_of_python() => return Err(error),
            Err(error @ ProvisionError::Failed { .. }) => {
                warnings = vec![unfollowed(error.line())];
                // The declared dependencies may fail for the same reason.
                warnings.extend(self.unlocked(installation, kind).map_err(|_| error)?);
                return Ok(warnings);
            }
            Err(error) => return Err(error),
        }
        if !stale.is_empty() {
            warnings.extend(self.unlocked(installation, kind)?);
        } else if kind != LockKind::Pipenv && self.pyproject()?.build == Build::Package {
            let outcome = installation.with_version(|it| self.install(it, &["--no-deps", "-e", "."]));
            warnings.extend(outcome.unwrap_or_else(|error| Some(project_warning(&error.line()))));
        }
        Ok(warnings)
    }

    fn install_locked(&self, installation: &Installation<'_>, locked: &Locked) -> Result<(), ProvisionError> {
        let mut options = vec!["--no-deps"];
        // Hashes prevent that another index replaces a distribution.
        if matches!(installation.tool, Tool::Uv(_)) && !locked.indexes.is_empty() {
            options.extend(["--index-strategy", "unsafe-best-match"]);
        }
        options.extend(locked.indexes.iter().flat_map(|index| ["--extra-index-url", index]));
        locked.requirements().iter().try_for_each(|text| self.install_text(installation, text, &options))
    }

    /// Installs the declared dependencies of a project whose lock is not followed.
    fn unlocked(
        &self,
        installation: &Installation<'_>,
        kind: LockKind,
    ) -> Result<Vec<Warning>, ProvisionError> {
        let mut warnings = Vec::new();
        if kind == LockKind::Pipenv {
            self.pipfile(installation)?;
        } else {
            warnings.extend(self.project(installation)?);
            self.install_groups(installation)?;
        }
        warnings.extend(self.pkg_resources(installation)?);
        Ok(warnings)
    }

    /// Installs the packages of `Pipfile`.
    fn pipfile(&self, installation: &Installation<'_>) -> Result<(), ProvisionError> {
        let path = self.context.join("Pipfile");
        let packages = read_pipfile(&path)?.packages(self.context, &self.groups());
        let packages = packages
            .map_err(|name| ClosureError::NoSuch { path: path.clone(), kind: "category", name })?
            .map_err(|source| ClosureError::Pipfile { path: path.clone(), source })?;
        let lines = packages.into_iter().map(|package| package.line + "\n").collect::<String>();
        self.install_lines(installation, &lines)
    }

    /// Installs the selected groups of `pyproject.toml`.
    fn install_groups(&self, installation: &Installation<'_>) -> Result<(), ProvisionError> {
        let (groups, text) = (self.groups(), self.pyproject_text());
        if groups.is_empty() {
            return Ok(());
        }
        // uv resolves the sources of the groups' dependencies.
        if matches!(installation.tool, Tool::Uv(_)) && dependencies::are_standard_groups(&text, &groups) {
            let arguments: Vec<&str> = groups.iter().flat_map(|group| ["--group", group]).collect();
            return self.install(installation, &arguments);
        }
        for dependencies in dependencies::of_groups(&text, self.context, &groups) {
            match dependencies {
                Dependencies::Lines(lines) => self.install_lines(installation, &lines)?,
                Dependencies::Poetry(text) => self.install_poetry(installation, &text)?,
            }
        }
        Ok(())
    }

    /// Installs the contents of `uv.lock`, without the project if that cannot be built.
    fn sync(&self, uv: &Path, installation: &Installation<'_>) -> Result<Option<Warning>, ProvisionError> {
        let groups = self.groups();
        let is_default =
            self.selection.groups.is_empty() && self.selection.default_groups == DefaultGroups::Included;
        let sync = |installation: &Installation<'_>, more: &[&str]| {
            let mut command = self.command(uv);
            command.args(["sync", "--frozen"]);
            if is_default {
                command.arg("--no-dev");
            } else {
                command.arg("--no-default-groups");
                command.args(groups.iter().flat_map(|group| ["--group", group]));
            }
            command
                .args(["--color", "never"])
                .args(installation.python.uv_arguments())
                .args(more)
                .args(self.selection.extras.iter().flat_map(|extra| ["--extra", extra]))
                .env("UV_PROJECT_ENVIRONMENT", installation.root);
            installation.configure(&mut command);
            self.execute(command).map(drop)
        };
        installation.with_version(|installation| sync(installation, &[])).or_else(|error| {
            sync(installation, &["--no-install-project"]).map(|()| Some(project_warning(&error.line())))
        })
    }

    /// Installs the requirement files; if they name the project and that cannot be built, the rest of
    /// them.
    fn requirements(&self, installation: &Installation<'_>) -> Result<Option<Warning>, ProvisionError> {
        let files = self.requirement_files();
        let names: Vec<String> = files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        let arguments: Vec<&str> = names.iter().flat_map(|file| ["-r", file]).collect();
        let error = match installation.with_version(|it| self.install(it, &arguments)) {
            Ok(Some(warning)) => return Ok(Some(warning)),
            Ok(None) if self.selection.requirements.is_empty() => return self.install_declared(installation),
            Ok(None) => return Ok(None),
            Err(error) => error,
        };
        let (mut others, mut is_named) = (String::new(), false);
        for file in &files {
            let file = self.context.join(file);
            match requirements_txt::without(&file, self.context)? {
                Some(lines) => {
                    is_named = true;
                    others += &lines;
                }
                None => {
                    let _ = writeln!(others, "-r {}", file.display());
                }
            }
        }
        if !is_named || !self.dependencies(installation)? {
            return Err(error);
        }
        self.install_lines(installation, &others)?;
        Ok(Some(project_warning(&error.line())))
    }

    /// Installs the dependencies that `pyproject.toml` declares beside `requirements.txt`: the image needs
    /// both.
    fn install_declared(&self, installation: &Installation<'_>) -> Result<Option<Warning>, ProvisionError> {
        if !dependencies::declares(&self.pyproject_text(), &self.selection.extras) {
            return Ok(None);
        }
        match self.dependencies(installation) {
            Err(error @ ProvisionError::Failed { .. }) => {
                let message =
                    format!("requirements.txt is installed, and its dependencies are not ({})", error.line());
                Ok(Some(Warning::new("pyproject.toml", message).with_help(
                    "make requirements.txt and [project] dependencies agree, or name a virtual environment with --venv",
                )))
            }
            outcome => outcome.map(|_| None),
        }
    }

    /// Installs the project, or its declared dependencies if it is not a package or cannot be
    /// built.
    fn project(&self, installation: &Installation<'_>) -> Result<Option<Warning>, ProvisionError> {
        if matches!(installation.tool, Tool::Python(_))
            && let Some(name) = dependencies::uv_only_dependency(&self.pyproject_text())
        {
            return Err(ProvisionError::OnlyUv { name });
        }
        if self.pyproject()?.build == Build::Virtual && self.dependencies(installation)? {
            return Ok(None);
        }
        let project = match &self.selection.extras[..] {
            [] => ".".to_owned(),
            extras => format!(".[{}]", extras.join(",")),
        };
        let build = |installation: &Installation<'_>| self.install(installation, &["-e", &project]);
        let Err(error) = build(installation) else { return Ok(None) };
        let (is_of_version, assumed) = (error.is_of_version(), installation.with_assumed_version());
        if self.dependencies(installation)? {
            // Without its dependencies: those that are built would take the version as well.
            let is_built = is_of_version && self.install(&assumed, &["--no-deps", "-e", "."]).is_ok();
            let warning = if is_built { version_control::warning } else { project_warning };
            return Ok(Some(warning(&error.line())));
        }
        if is_of_version && build(&assumed).is_ok() {
            return Ok(Some(version_control::warning(&error.line())));
        }
        Err(error)
    }

    /// Installs the declared dependencies without the project. Returns false if only a build can
    /// determine them, or if the project refuses this Python.
    fn dependencies(&self, installation: &Installation<'_>) -> Result<bool, ProvisionError> {
        let text = self.pyproject_text();
        let config = std::fs::read_to_string(installation.root.join("pyvenv.cfg")).unwrap_or_default();
        let version = Config::parse(&config).version;
        let version = version.map(|(major, minor, micro)| format!("{major}.{minor}.{}", micro.unwrap_or(0)));
        if version.is_some_and(|version| !dependencies::allows_python(&text, &version)) {
            return Ok(false);
        }
        match Dependencies::of(&text, self.context, &self.selection.extras) {
            None => return Ok(false),
            // uv resolves the sources of the project's dependencies if it can read the file.
            Some(Dependencies::Lines(_))
                if matches!(installation.tool, Tool::Uv(_)) && dependencies::has_name_and_version(&text) =>
            {
                let extras = self.selection.extras.iter().flat_map(|extra| ["--extra", extra]);
                self.install(
                    installation,
                    &["-r", "pyproject.toml"].into_iter().chain(extras).collect::<Vec<_>>(),
                )?;
            }
            Some(Dependencies::Lines(lines)) => self.install_lines(installation, &lines)?,
            Some(Dependencies::Poetry(text)) => self.install_poetry(installation, &text)?,
        }
        Ok(true)
    }

    pub(super) fn install_lines(
        &self,
        installation: &Installation<'_>,
        lines: &str,
    ) -> Result<(), ProvisionError> {
        self.install_text(installation, lines, &[])
    }

    /// Installs the lines of a requirements file with `options` of the installer.
    fn install_text(
        &self,
        installation: &Installation<'_>,
        lines: &str,
        options: &[&str],
    ) -> Result<(), ProvisionError> {
        if lines.trim().is_empty() {
            return Ok(());
        }
        let file = installation.root.with_extension("txt");
        std::fs::write(&file, lines).map_err(FileError::of("write", &file))?;
        let outcome = self.install(installation, &[options, &["-r", &file.to_string_lossy()]].concat());
        remove(&file)?;
        outcome
    }

    /// Installs the dependencies of the stand-in project, which declares only Poetry's
    /// dependencies.
    fn install_poetry(&self, installation: &Installation<'_>, pyproject: &str) -> Result<(), ProvisionError> {
        let folder = installation.root.with_extension("poetry");
        remove(&folder)?;
        fs_err::create_dir(&folder).map_err(FileError::of("create", &folder))?;
        let file = folder.join("pyproject.toml");
        let module = folder.join(format!("{}.py", STAND_IN.replace('-', "_")));
        for (file, text) in [(&file, pyproject), (&module, "")] {
            std::fs::write(file, text).map_err(FileError::of("write", file))?;
        }
        let outcome = match installation.tool {
            Tool::Uv(_) => self.install(installation, &["-r", &file.to_string_lossy()]),
            Tool::Python(_) => self.install(installation, &[&folder.to_string_lossy()]).and_then(|()| {
                let mut command = self.command(&installation.root.join("bin/python"));
                command.args(["-m", "pip", "uninstall", "--disable-pip-version-check", "--yes", STAND_IN]);
                self.execute(command).map(drop)
            }),
        };
        remove(&folder)?;
        outcome
    }

    /// Runs the installer with `arguments` for the environment.
    fn install(&self, installation: &Installation<'_>, arguments: &[&str]) -> Result<(), ProvisionError> {
        let python = installation.root.join("bin/python");
        let mut command = match installation.tool {
            Tool::Uv(uv) => {
                let mut command = self.command(uv);
                command.args(["pip", "install", "--color", "never", "--python"]).arg(python);
                command
            }
            Tool::Python(_) => {
                let options = ["--disable-pip-version-check", "--no-input", "--no-color"];
                let mut command = self.command(&python);
                command.args(["-m", "pip", "install"]).args(options);
                command
            }
        };
        command.args(arguments);
        installation.configure(&mut command);
        self.execute(command).map(drop)
    }
}

/// Returns the warning about a project that is not installed, for a reason.
fn project_warning(reason: &str) -> Warning {
    let message =
        format!("the project cannot be built; its dependencies are installed without it ({reason})");
    Warning::new("pyproject.toml", message)
        .with_help("correct its [build-system], or remove that table if the project is run from its source")
}
