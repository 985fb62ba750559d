//! [`ChosenInterpreter`]: the interpreters that are tried for a new environment, in their order: that of the
//! base alone, if there is one and the project allows it, or else those of this machine that
//! [`PythonDemands`] prefers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::python::{self, PythonChoice, PythonDemands};
use super::wheels::LockedWheels;
use super::workspace::{self, LockLookup, UvLock};
use super::{Provision, ProvisionError};
use crate::printable;
use crate::progress::Warning;
use crate::python::interpreter::{self, FoundInterpreters, Interpreter, InterpreterSearch};
use crate::python::requirements::declaration::Declaration;

/// The number of interpreters that are tried.
const PYTHONS_TRIED: usize = 5;

/// The Python of an image's base, for which an environment is made.
#[derive(Clone, Copy)]
pub struct BaseInterpreter<'a> {
    /// The full version, such as `3.11.2`.
    pub full_version: &'a str,
    /// Makes the interpreter startable on this machine, if possible.
    pub unpack: &'a dyn Fn() -> Option<Interpreter>,
}

/// The interpreter chosen for the environment.
#[derive(Clone)]
pub(super) enum ChosenInterpreter {
    /// The tool's own choice.
    Default,
    /// A program of this machine.
    Program(Box<Interpreter>),
    /// The base's, started by a script.
    OfBase(Box<Interpreter>),
    /// A version that uv may download, in the form of `--python`.
    Download(String),
}

impl ChosenInterpreter {
    /// Returns true for the program with an identity of [`Provision::interpreter`].
    pub(super) fn has_identity(&self, identity: &str) -> bool {
        match self {
            Self::Program(program) | Self::OfBase(program) => {
                identity.contains(&format!(" {} ", program.full_version))
            }
            Self::Default | Self::Download(_) => false,
        }
    }

    /// Returns the warning that another interpreter is tried.
    pub(super) fn failed(&self, reason: &str, next: &Interpreter) -> Warning {
        let failed = match self {
            Self::Program(failed) | Self::OfBase(failed) => format!("Python {}", failed.full_version),
            Self::Default | Self::Download(_) => "the default Python".to_owned(),
        };
        let message = format!("cannot be used ({reason}); Python {} is tried", next.full_version);
        Warning::new(failed, message).with_help("choose the version in .python-version or with --python")
    }

    /// Returns the arguments of uv that choose the interpreter.
    pub(super) fn uv_arguments(&self) -> Vec<OsString> {
        match self {
            Self::Default => Vec::new(),
            Self::Program(interpreter) | Self::OfBase(interpreter) => {
                vec!["--python".into(), interpreter.executable.clone().into()]
            }
            Self::Download(request) => vec!["--python".into(), request.into()],
        }
    }
}

impl Provision<'_> {
    /// Returns true if the project allows an environment with a Python of the full version `version`.
    pub(crate) fn allows_python(&self, version: &str) -> bool {
        let found = workspace::find(self.context);
        let lock = match &found {
            LockLookup::Lock(lock) if self.selection.requirements.is_empty() => Some(lock),
            _ => None,
        };
        self.demands(lock).allow(version, || self.interpreters().interpreters)
    }

    /// Reads the demands on the version of Python.
    pub(super) fn demands(&self, uv_lock: Option<&UvLock>) -> PythonDemands {
        let is_of_pipenv = matches!(self.declaration(), Some(Declaration::Pipfile));
        PythonDemands::read(self.context, (uv_lock, is_of_pipenv), self.python).suggest(self.suggested_python)
    }

    /// Returns the interpreter for the Python of the base, if the project allows its version.
    fn python_of_base(
        &self,
        demands: &PythonDemands,
        interpreters: &[Interpreter],
        can_make: impl Fn(&Interpreter) -> bool,
    ) -> Option<(ChosenInterpreter, Option<Warning>)> {
        let BaseInterpreter { full_version, unpack } = self.base_python?;
        if !demands.allow(full_version, || interpreters.to_vec()) {
            return None;
        }
        let minor = |version: &str| {
            interpreter::version_of_text(version).map(|version| (version.major, version.minor))
        };
        let is_same = |one: &&Interpreter| {
            minor(&one.full_version) == minor(full_version) && !one.version.free_threaded
        };
        let same: Vec<Interpreter> = interpreters.iter().filter(is_same).cloned().collect();
        let (fitting, warning) = match demands.choose(&same) {
            PythonChoice::Any(fitting) => (fitting, None),
            PythonChoice::Fitting(fitting, warning) => (fitting, warning),
            PythonChoice::None => (Vec::new(), None),
        };
        if let Some(interpreter) = fitting.first() {
            return Some((ChosenInterpreter::Program(Box::new((*interpreter).clone())), warning));
        }
        let unpacked = unpack().filter(can_make)?;
        let warning = match demands.choose(std::slice::from_ref(&unpacked)) {
            PythonChoice::Fitting(_, warning) => warning,
            PythonChoice::Any(_) | PythonChoice::None => None,
        };
        Some((ChosenInterpreter::OfBase(Box::new(unpacked)), warning))
    }

    /// Returns the version of the base's Python if it is the only one to try: with an older interpreter of this machine,
    /// the environment would not fit the base.
    pub(super) fn version_of_base(&self, pythons: &[ChosenInterpreter]) -> Option<&str> {
        let version = self.base_python?.full_version;
        match pythons {
            [ChosenInterpreter::OfBase(_)] => Some(version),
            [ChosenInterpreter::Program(one)] => {
                let of_base = interpreter::version_of_text(version)?;
                let is_same = (one.version.major, one.version.minor) == (of_base.major, of_base.minor);
                is_same.then_some(version)
            }
            _ => None,
        }
    }

    /// Returns the interpreters to try, the preferred one first.
    pub(super) fn pythons(
        &self,
        demands: &PythonDemands,
        has_uv: bool,
        lock_file: Option<&Path>,
    ) -> Result<(Vec<ChosenInterpreter>, Option<Warning>), ProvisionError> {
        let found = self.interpreters();
        // Debian has `venv` without `ensurepip` in a package of its own.
        let can_make = |interpreter: &Interpreter| has_uv || interpreter.stdlib.join("ensurepip").is_dir();
        let interpreters: Vec<Interpreter> = found.interpreters.into_iter().filter(&can_make).collect();
        if let Some((python, warning)) = self.python_of_base(demands, &interpreters, can_make) {
            return Ok((vec![python], warning));
        }
        let program = |interpreter: &Interpreter| ChosenInterpreter::Program(Box::new(interpreter.clone()));
        match (demands.choose(&interpreters), demands.for_uv()) {
            (PythonChoice::Any(others), _) => {
                let others = others.into_iter().map(program);
                let all = std::iter::once(ChosenInterpreter::Default).chain(others);
                Ok((all.take(PYTHONS_TRIED).collect(), None))
            }
            (PythonChoice::Fitting(mut fitting, warning), _) => {
                if let [_, _, ..] = fitting[..] {
                    let lock = lock_file.and_then(python::read_text);
                    demands.prefer(&mut fitting, &LockedWheels::find(&lock.unwrap_or_default()));
                }
                Ok((fitting.into_iter().take(PYTHONS_TRIED).map(program).collect(), warning))
            }
            (PythonChoice::None, Some(request)) if has_uv => {
                Ok((vec![ChosenInterpreter::Download(request)], None))
            }
            (PythonChoice::None, _) => Err(no_interpreter(demands, &interpreters)),
        }
    }

    /// Finds the interpreters of this machine. Shims are run for the program that they start.
    pub(super) fn interpreters(&self) -> FoundInterpreters {
        let path = self.path.unwrap_or_default();
        let mut found = InterpreterSearch { path, installations: self.installations }.run();
        for script in std::mem::take(&mut found.scripts) {
            let program = self.output_of(&script, "import os, sys; print(os.path.realpath(sys.executable))");
            let program = program.map(|program| PathBuf::from(program.trim()));
            if let Some(Ok(interpreter)) = program.map(|program| Interpreter::discover(&program, None)) {
                found.add(interpreter);
            }
        }
        found
    }
}

/// Makes the error of a machine without a fitting interpreter.
pub(super) fn no_interpreter(demands: &PythonDemands, interpreters: &[Interpreter]) -> ProvisionError {
    let all: Vec<String> = interpreters
        .iter()
        .map(|interpreter| {
            format!("{} ({})", interpreter.full_version, printable::path(&interpreter.executable))
        })
        .collect();
    let found = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    let install = demands.version_to_install();
    ProvisionError::NoInterpreter { demanded: demands.describe(), found, install }
}
