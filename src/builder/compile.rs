//! The bytecode of everything that goes into an image.

use std::path::Path;

use super::runtime::Runtime;
use super::{BuildError, Builder};
use crate::plan::Pieces;
use crate::progress::{Progress, Warning};
use crate::python::bytecode::{self, Mode, Python};
use crate::python::interpreter::PySource;
use crate::python::{PythonVersion, Relocated};
use crate::recipe::Recipe;
use crate::settings;
use crate::tree::{Kind, Owner};

impl Builder {
    /// Fills in the bytecode of every module.
    pub(super) fn bytecode(
        &self,
        recipe: &Recipe,
        runtime: &Runtime,
        modules: &[bytecode::Source],
        pieces: &mut Pieces,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        let Some(interpreter) = &runtime.host else {
            progress.warn(Warning::new(
                "bytecode",
                "nothing of this machine runs the environment, so none is made",
            ));
            return Ok(());
        };
        let mode = match recipe.bytecode {
            settings::Bytecode::Keep => Mode::Keep,
            settings::Bytecode::Compile => Mode::Compile,
            settings::Bytecode::Strip => Mode::Strip,
        };
        let cache =
            self.cache.as_deref().filter(|cache| fs_err::create_dir_all(cache).is_ok()).unwrap_or(work);
        progress.step("preparing bytecode");
        let made = bytecode::entries(&bytecode::Request {
            sources: modules,
            python: &Python {
                executable: interpreter.executable.clone(),
                version: short(interpreter.version),
                cache_tag: interpreter.cache_tag.clone(),
                magic: None,
            },
            mode,
            cache: &cache.join("bytecode"),
            progress,
        })?;
        for entry in made {
            let piece = match &entry.owner {
                Owner::Distribution { name, .. } => pieces.distributions.entry(name.to_string()).or_default(),
                Owner::Interpreter => &mut pieces.interpreter,
                Owner::Source => &mut pieces.source,
                Owner::Package { .. } | Owner::Environment | Owner::System => &mut pieces.environment,
            };
            piece.push(entry);
        }
        Ok(())
    }
}

/// Every module of the image with the bytecode that an installer made of it.
pub(super) fn modules(
    runtime: &Runtime,
    relocated: &Relocated,
    pip: Vec<PySource>,
    pieces: &Pieces,
) -> Vec<bytecode::Source> {
    let of_base = |source: PySource, owner| bytecode::Source {
        path: source.path,
        content: source.content,
        pyc: source.pyc,
        owner,
    };
    let sources = runtime.files.iter().flat_map(|files| &files.sources);
    let of_interpreter = sources.map(|source| of_base(source.clone(), Owner::Interpreter));
    let pip_owner = pieces.distributions.get("pip").and_then(|entries| entries.first());
    let pip_owner = pip_owner.map_or(Owner::Environment, |entry| entry.owner.clone());
    let of_pip = pip.into_iter().map(|source| of_base(source, pip_owner.clone()));
    let of_environment = relocated.python_sources(relocated.entries()).into_iter().map(|source| {
        bytecode::Source { path: source.path, content: source.content, pyc: source.pyc, owner: source.owner }
    });
    let of_project = pieces.source.iter().filter_map(|entry| match &entry.kind {
        Kind::File(content) if entry.path.as_str().ends_with(".py") => Some(bytecode::Source {
            path: entry.path.clone(),
            content: content.clone(),
            pyc: None,
            owner: entry.owner.clone(),
        }),
        _ => None,
    });
    of_interpreter.chain(of_pip).chain(of_environment).chain(of_project).collect()
}

/// Major and minor of a version, which fit a byte for every Python there will be.
fn short(version: PythonVersion) -> (u8, u8) {
    (u8::try_from(version.major).unwrap_or(u8::MAX), u8::try_from(version.minor).unwrap_or(u8::MAX))
}
