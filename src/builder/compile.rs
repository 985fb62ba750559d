//! Bytecode of the modules in an image.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BuildError;
use super::python::ImagePython;
use crate::plan::Pieces;
use crate::progress::{Activity, Progress, Span, Step};
use crate::python::bytecode::{self, BytecodeCheck, BytecodeMode, Python, Refused};
use crate::python::interpreter::{self, InterpreterSource};
use crate::python::{PythonVersion, Relocated};
use crate::recipe::Recipe;
use crate::settings;
use crate::tree::{Content, Entry, ImagePath, Kind, Owner};

/// The compiling Python and the treatment of bytecode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Compiler {
    python: Python,
    mode: BytecodeMode,
    /// True if bytecode that an installer made does not count: another patch release may have compiled it.
    ignores_installed: bool,
}

/// The set of modules to compile. Separate caches keep the environment's bytecode across changes of
/// the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModuleSet {
    /// The modules of environment and interpreter.
    Environment,
    /// The modules of the project.
    Source,
}

/// The places of a Python that compiles.
pub(super) struct CompilerSearch<'a> {
    /// The search path.
    pub(super) path: &'a OsStr,
    /// Makes the Python of the base a program of this machine, if possible.
    pub(super) of_base: &'a dyn Fn() -> Option<PathBuf>,
    /// True if the base's Python compiles even if this machine has one of its version: the bytecode then depends on
    /// the base alone.
    pub(super) prefers_base: bool,
}

impl Compiler {
    /// Makes the compiler for an image with the Python `python`. If that Python is not installed
    /// on this machine, searches another of its version. `base_level` is the base's `PYTHONOPTIMIZE`.
    pub(super) fn of(
        recipe: &Recipe,
        python: &ImagePython,
        search: &CompilerSearch<'_>,
        base_level: Option<&str>,
        progress: &dyn Progress,
    ) -> Self {
        let mode = match recipe.bytecode {
            settings::Bytecode::Keep => BytecodeMode::Keep,
            settings::Bytecode::Compile => BytecodeMode::Compile,
            settings::Bytecode::Strip => BytecodeMode::Strip,
        };
        let optimize = optimization(recipe, base_level);
        if search.prefers_base
            && mode == BytecodeMode::Compile
            && let Some(program) = (search.of_base)()
        {
            let compiler = Self::cross((python.version, mode), Some(program), optimize, progress);
            return Self { ignores_installed: true, ..compiler };
        }
        if let Some(interpreter) = &python.host {
            let python = Python {
                executable: interpreter.executable.clone(),
                version: short(interpreter.version),
                cache_tag: interpreter.cache_tag.clone(),
                magic: None,
                optimize,
            };
            return Self { python, mode, ignores_installed: false };
        }
        let local = interpreter::find(python.version, search.path).or_else(search.of_base);
        Self::cross((python.version, mode), local, optimize, progress)
    }

    /// Makes the compiler for a Python of `version` that the image has, run by `program`.
    #[cfg(feature = "apt")]
    pub(super) fn of_version(
        recipe: &Recipe,
        version: PythonVersion,
        program: Option<PathBuf>,
        progress: &dyn Progress,
    ) -> Self {
        Self::cross((version, BytecodeMode::Compile), program, optimization(recipe, None), progress)
    }

    fn cross(
        (version, mode): (PythonVersion, BytecodeMode),
        local: Option<PathBuf>,
        optimize: u8,
        progress: &dyn Progress,
    ) -> Self {
        let found = bytecode::cross_compilation(version, mode, local);
        if let Some(warning) = found.warning {
            progress.warn(warning);
        }
        let python = Python { optimize, ..found.python };
        Self { python, mode: found.mode, ignores_installed: false }
    }

    /// Forgets the bytecode of installers if it does not count.
    pub(super) fn forget_installed(&self, modules: &mut [bytecode::BytecodeSource]) {
        if self.ignores_installed {
            for module in modules {
                module.pyc = None;
            }
        }
    }

    /// Compiles `sources`, and returns the bytecode and the modules that do not compile. Caches
    /// bytecode in `cache` if possible, else in `work`.
    pub(super) fn bytecode(
        &self,
        (modules, sources): (ModuleSet, &[bytecode::BytecodeSource]),
        check: BytecodeCheck,
        (cache, work): (&Path, &Path),
        progress: &dyn Progress,
    ) -> Result<(Vec<Entry>, Vec<Refused>), BuildError> {
        let activity = match modules {
            ModuleSet::Environment => Activity::PrepareBytecode,
            ModuleSet::Source => Activity::PrepareSourceBytecode,
        };
        progress.step(&Step::new(activity));
        let _span = Span::begin(progress, activity);
        let below = |folder: &Path| match modules {
            ModuleSet::Environment => folder.join("bytecode"),
            ModuleSet::Source => folder.join("bytecode/source"),
        };
        Ok(bytecode::prepare(&bytecode::BytecodeRequest {
            sources,
            python: &self.python,
            mode: self.mode,
            check,
            cache: &below(cache),
            work: &below(work),
            progress,
        })?)
    }
}

/// Name of the variable with the optimization level.
pub(super) const PYTHONOPTIMIZE: &str = "PYTHONOPTIMIZE";

/// Returns the optimization level of the image's Python: the maximum of `PYTHONOPTIMIZE` and the
/// number of `-O` in the command (CPython, `Python/initconfig.c`: an invalid number counts as 1).
pub(super) fn optimization(recipe: &Recipe, base_level: Option<&str>) -> u8 {
    let variable = recipe.env.get(PYTHONOPTIMIZE).map(String::as_str).or(base_level).unwrap_or_default();
    let of_variable = match variable {
        "" => 0,
        text => text.trim().parse().ok().filter(|level| *level >= 0).unwrap_or(1),
    };
    let command = &recipe.compiled_for;
    let python = command.iter().position(|word| {
        let program = word.rsplit('/').next().unwrap_or(word);
        program == "{python}" || program.starts_with("python")
    });
    let options =
        command.iter().skip(python.map_or(usize::MAX, |at| at + 1)).take_while(|word| word.starts_with('-'));
    let of_command = options
        .take_while(|word| !word.starts_with("-m") && !word.starts_with("-c"))
        .filter(|word| !word.starts_with("--"))
        .map(|word| i32::try_from(word.matches('O').count()).unwrap_or(0))
        .sum::<i32>();
    u8::try_from(of_variable.max(of_command)).unwrap_or(u8::MAX)
}

/// Adds bytecode to the pieces of its modules.
pub(super) fn distribute(bytecode: Vec<Entry>, pieces: &mut Pieces) {
    for entry in bytecode {
        let piece = match &entry.owner {
            Owner::Distribution { name, .. } => pieces.distributions.entry(name.to_string()).or_default(),
            Owner::Interpreter => &mut pieces.interpreter,
            Owner::Source => &mut pieces.source,
            Owner::Package { .. } | Owner::Environment | Owner::System | Owner::Extra { .. } => {
                &mut pieces.environment
            }
        };
        piece.push(entry);
    }
}

/// Returns the modules of environment and interpreter, with the bytecode that an installer made.
/// Takes those of the interpreter out of `python`; `pip` are those of pip with their owner.
pub(super) fn environment_modules(
    python: &mut ImagePython,
    relocated: &Relocated,
    (pip, pip_owner): (Vec<InterpreterSource>, Option<Owner>),
) -> Vec<bytecode::BytecodeSource> {
    let of_base = |source: InterpreterSource, owner| bytecode::BytecodeSource {
        path: source.path,
        content: source.content,
        pyc: source.pyc,
        owner,
    };
    let sources = python.files.iter_mut().flat_map(|files| std::mem::take(&mut files.sources));
    let of_interpreter = sources.map(|source| of_base(source, Owner::Interpreter));
    let pip_owner = pip_owner.unwrap_or(Owner::Environment);
    let of_pip = pip.into_iter().map(|source| of_base(source, pip_owner.clone()));
    let of_environment =
        relocated.python_sources(relocated.entries()).into_iter().map(|source| bytecode::BytecodeSource {
            path: source.path,
            content: source.content,
            pyc: source.pyc,
            owner: source.owner,
        });
    of_interpreter.chain(of_pip).chain(of_environment).collect()
}

/// Returns the modules of a project's source.
pub(super) fn source_modules(source: &[Entry]) -> Vec<bytecode::BytecodeSource> {
    let python: BTreeMap<&ImagePath, &Content> = source
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::File(content) if entry.path.as_str().ends_with(".py") => Some((&entry.path, content)),
            _ => None,
        })
        .collect();
    let of_project = source.iter().filter(|entry| entry.path.as_str().ends_with(".py")).filter_map(|entry| {
        match &entry.kind {
            Kind::File(content) => Some((entry, content)),
            // Python searches bytecode beside the link, not beside its target.
            Kind::Symlink(target) => link_target(&entry.path, target)
                .and_then(|target| python.get(&target).copied())
                .map(|content| (entry, content)),
            _ => None,
        }
    });
    let of_project = of_project.map(|(entry, content)| bytecode::BytecodeSource {
        path: entry.path.clone(),
        content: content.clone(),
        pyc: None,
        owner: entry.owner.clone(),
    });
    of_project.collect()
}

/// Resolves a link's target lexically.
fn link_target(link: &ImagePath, target: &str) -> Option<ImagePath> {
    let folder = link.parent().filter(|_| !target.starts_with('/')).unwrap_or_default();
    let mut parts: Vec<&str> = folder.components().collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    ImagePath::new(&parts.join("/")).ok()
}

/// Returns major and minor version, saturated to a byte.
fn short(version: PythonVersion) -> (u8, u8) {
    (u8::try_from(version.major).unwrap_or(u8::MAX), u8::try_from(version.minor).unwrap_or(u8::MAX))
}
