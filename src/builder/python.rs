//! The Python of an image: this machine's or the base's.

use super::{BuildError, pip};
use crate::base::BasePython;
use crate::platform::Platform;
use crate::progress::{Activity, Progress, Step};
use crate::python::interpreter::{
    DevelopmentFiles, Interpreter, InterpreterFiles, InterpreterOptions, InterpreterSource, SitePackages,
};
use crate::python::{PythonVersion, Venv};
use crate::recipe::Recipe;
use crate::tree::{Entry, ImagePath};

/// The Python of an image.
pub(super) struct ImagePython {
    /// The executable in the image.
    pub(super) executable: ImagePath,
    /// The version.
    pub(super) version: PythonVersion,
    /// The environment's interpreter on this machine. Included in the image if the base has none;
    /// also compiles missing bytecode. `None` for an environment of another platform.
    pub(super) host: Option<Interpreter>,
    /// The interpreter's files for the image; `None` if the base has Python.
    pub(super) files: Option<InterpreterFiles>,
    /// pip's files, if the recipe wants pip and the environment lacks it.
    pub(super) pip: Option<(Vec<Entry>, Vec<InterpreterSource>)>,
}

/// Source of pip for the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipSource {
    /// The environment has pip, or the image needs none.
    None,
    /// The environment lacks pip: take the interpreter's.
    Interpreter,
}

impl ImagePython {
    /// Finds the Python for an image of `venv`, installed at `environment` in the image.
    pub(super) fn find(
        recipe: &Recipe,
        venv: &Venv,
        environment: &ImagePath,
        pip: PipSource,
        of_base: Option<BasePython>,
        platform: &Platform,
        progress: &dyn Progress,
    ) -> Result<Self, BuildError> {
        progress.step(&Step::new(Activity::ReadInterpreter));
        let host = Interpreter::discover(&venv.root.join("bin/python"), venv.config.home.as_deref());
        let host = match (host, &of_base) {
            // An environment of another platform may have been made with this machine's
            // interpreter, which then reveals no facts about it.
            (Ok(_), Some(_)) if *platform != Platform::of_this_program() => None,
            (Ok(host), _) => Some(host),
            // The base's Python runs the image; this machine's is optional.
            (Err(_), Some(_)) => None,
            (Err(error), None) => return Err(error.into()),
        };
        let mut files = match &host {
            Some(host) => Some(host.files(&InterpreterOptions {
                trim: recipe.trim.clone(),
                headers: if recipe.headers { DevelopmentFiles::Include } else { DevelopmentFiles::Exclude },
                site_packages: match pip {
                    PipSource::Interpreter => SitePackages::Pip,
                    PipSource::None => SitePackages::Exclude,
                },
            })?),
            None => None,
        };
        let borrowed = match (pip, &mut files) {
            (PipSource::None, _) => None,
            (PipSource::Interpreter, None) => return Err(BuildError::NoPip(recipe.target.as_str())),
            (PipSource::Interpreter, Some(files)) => {
                let site = environment.join(venv.site_packages.first().map_or("lib", String::as_str))?;
                Some(pip::take(files, &environment.join("bin")?, &site, recipe.target.as_str())?)
            }
        };
        if let Some(python) = of_base {
            return Ok(Self {
                executable: python.executable,
                version: venv.version,
                host,
                files: None,
                pip: borrowed,
            });
        }
        let Some(files) = files else { return Err(BuildError::NoPip(recipe.target.as_str())) };
        for warning in &files.warnings {
            progress.warn(warning.clone());
        }
        let executable = files.executable.clone();
        Ok(Self { executable, version: venv.version, host, files: Some(files), pip: borrowed })
    }
}
