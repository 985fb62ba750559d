//! [`BuildError`]: every way in which a build can fail.

use std::path::PathBuf;

use crate::error::{Advice, FileError};
use crate::layer::LayerError;
use crate::platform::Platform;
use crate::printable;
use crate::python::closure::{Missing, shown};
use crate::tree::ContentError;

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no such folder.
    #[error("project folder not found: {}", printable::path(.0))]
    NoProject(PathBuf),
    /// The project is to be in a folder.
    #[error("invalid project `{}`: not a folder", printable::path(.0))]
    ProjectNotFolder(PathBuf),
    /// An interpreter of this machine would be of no use there.
    #[error("an image from scratch for {0} needs an interpreter for {0}, and this machine's is for another")]
    NoInterpreterFor(Platform),
    /// A base for another platform.
    #[error("the base {base} is for {is}, and the image is to be for {wanted}")]
    BasePlatform {
        /// The base.
        base: String,
        /// What it is for.
        is: Box<Platform>,
        /// What is wanted.
        wanted: Box<Platform>,
    },
    /// A base whose libraries lack what compiled modules were made for.
    #[error("the base is too old for what is installed: {first}{}", and_others(*.others))]
    BaseTooOld {
        /// The first module, with what it needs.
        first: String,
        /// How many more there are.
        others: usize,
    },
    /// No environment was found, and none may or can be made.
    #[error("no virtual environment was found for {}", printable::path(.root))]
    NoEnvironment {
        /// The project.
        root: PathBuf,
        /// What to do.
        help: String,
    },
    /// The image would run something that is not in it.
    #[error("{what} is asked for, and {distribution} is not among what goes into the image")]
    NotInstalled {
        /// What asks for it: `loop = "uvloop"`.
        what: String,
        /// The distribution that is missing.
        distribution: String,
        /// What to do.
        help: String,
    },
    /// Something in the image requires distributions that are installed and not in it, ordered by name.
    #[error("left out of the image, though installed and required: {}", shown(.0))]
    LeftOut(Vec<Missing>),
    /// Nothing says what the project needs.
    #[error("nothing says what {} needs: there is neither [project] dependencies in pyproject.toml nor a requirements.txt", printable::path(.0))]
    NothingDeclared(PathBuf),
    /// A time that cannot be written.
    #[error("SOURCE_DATE_EPOCH {0} is not a time between 1970 and 9999")]
    Epoch(i64),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] crate::settings::SettingsError),
    /// A recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] crate::recipe::RecipeError),
    /// The source tree cannot go into an image.
    #[error(transparent)]
    Context(#[from] crate::context::ContextError),
    /// Source that the process loads is no source of its Python.
    #[error("cannot compile {path}: {reason}; {importer}")]
    SourceDoesNotCompile {
        /// The file, in the project's folder.
        path: String,
        /// The compiler's own words, with the line.
        reason: String,
        /// How the process comes to load it.
        importer: String,
    },
    /// The application was not found.
    #[error(transparent)]
    Application(#[from] crate::python::application::ApplicationError),
    /// The environment cannot go into an image.
    #[error(transparent)]
    Venv(#[from] crate::python::VenvError),
    /// What the project declares is not what is installed.
    #[error(transparent)]
    Closure(#[from] crate::python::ClosureError),
    /// No environment could be made.
    #[error(transparent)]
    Provision(#[from] crate::python::provision::ProvisionError),
    /// pip was asked for, and there is none.
    #[error("{0} is to hold pip, and neither the environment nor its interpreter has it")]
    NoPip(&'static str),
    /// The interpreter cannot go into an image.
    #[error(transparent)]
    Interpreter(#[from] crate::python::interpreter::InterpreterError),
    /// Bytecode could not be made.
    #[error(transparent)]
    Bytecode(#[from] crate::python::bytecode::BytecodeError),
    /// Shared libraries or files of the system are missing or wrong.
    #[error(transparent)]
    System(#[from] crate::system::SystemError),
    /// Two things want to be at one place.
    #[error(transparent)]
    Tree(#[from] crate::tree::TreeError),
    /// A place in the image is none.
    #[error(transparent)]
    Path(#[from] crate::tree::PathError),
    /// Content could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A layer could not be written.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The image could not be put together.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// The image could not be stored.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The image cannot start what it is told to start.
    #[error(transparent)]
    Start(#[from] crate::plan::StartError),
    /// A base that does not parse.
    #[error(transparent)]
    BaseReference(#[from] crate::base::BaseReferenceError),
    /// A base that cannot be read, or that the image does not fit.
    #[error(transparent)]
    Base(#[from] crate::base::BaseError),
    /// The lock cannot be used.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// A name of an image or a place for it is wrong.
    #[error(transparent)]
    Reference(#[from] crate::reference::ReferenceError),
}

impl BuildError {
    /// Whether bytecode that was found could not be read.
    pub(super) fn is_of_bytecode(&self) -> bool {
        let Self::Layer(LayerError::Content(error)) = self else { return false };
        let path = match error {
            ContentError::File(error) => &error.path,
            ContentError::Transform { path, .. }
            | ContentError::NotRegular(path)
            | ContentError::Changed(path) => path,
        };
        path.extension().is_some_and(|extension| extension == "pyc")
    }
}

fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (and one more)".to_owned(),
        more => format!(" (and {more} more)"),
    }
}

impl Advice for BuildError {
    fn help(&self) -> Option<String> {
        match self {
            Self::NoProject(_) | Self::ProjectNotFolder(_) => Some("name the folder that holds the project".to_owned()),
            Self::NoInterpreterFor(platform) => {
                Some(format!("name a base that has Python for {platform}: --base python:3.12-slim"))
            }
            Self::BasePlatform { wanted, .. } => {
                Some(format!("name a base for {wanted}, or build for the base's platform with --platform"))
            }
            Self::BaseTooOld { .. } => Some(
                "take a newer base, or install the environment's wheels on a system as old as the base".to_owned(),
            ),
            Self::BaseReference(error) => error.help(),
            Self::Base(error) => error.help(),
            Self::Lock(error) => error.help(),
            Self::NoEnvironment { help, .. } | Self::NotInstalled { help, .. } => Some(help.clone()),
            Self::LeftOut(left_out) => Some(format!(
                "this is a fault of ipo-oci, please report it; until it is mended, declare {} among the project's \
                 dependencies",
                left_out.iter().map(|left_out| &*left_out.name).collect::<Vec<_>>().join(", ")
            )),
            Self::NothingDeclared(_) => Some(
                "declare the dependencies, or take everything that is installed with distributions = \"installed\" in [tool.ipo-oci]"
                    .to_owned(),
            ),
            Self::Epoch(_) => Some("set it to a number of seconds since 1970, such as $(git log -1 --format=%ct)".to_owned()),
            Self::File(error) => error.help(),
            Self::Settings(error) => error.help(),
            Self::Recipe(error) => error.help(),
            Self::Context(error) => error.help(),
            Self::SourceDoesNotCompile { .. } => Some(
                "mend it, or make the environment with a Python that it is for; a file that nothing needs can be left out with .dockerignore"
                    .to_owned(),
            ),
            Self::Application(error) => error.help(),
            Self::Venv(error) => error.help(),
            Self::Closure(error) => error.help(),
            Self::Provision(error) => error.help(),
            Self::NoPip(_) => Some("install pip into the environment (`uv pip install pip`), or set pip = false".to_owned()),
            Self::Interpreter(error) => error.help(),
            Self::Bytecode(error) => error.help(),
            Self::System(error) => error.help(),
            Self::Tree(error) => error.help(),
            Self::Path(error) => error.help(),
            Self::Content(error) => error.help(),
            Self::Layer(error) => error.help(),
            Self::Image(error) => error.help(),
            Self::Store(error) => error.help(),
            Self::Reference(error) => error.help(),
            Self::Start(error) => error.help(),
        }
    }

    fn is_of_machine(&self) -> bool {
        matches!(self, Self::Provision(error) if error.is_of_machine())
    }
}
