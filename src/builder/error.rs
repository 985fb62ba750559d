//! Errors of a build.

use std::path::PathBuf;

use crate::check::Diagnostic;
use crate::error::{Advice, FileError};
use crate::layer::LayerError;
use crate::platform::Platform;
use crate::plural::counted;
use crate::printable;
use crate::python::requirements::closure::{MissingRequirement, summarize_missing};
use crate::service::ServiceError;
use crate::tree::ContentError;

/// Cause of a failed build.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The project's directory does not exist.
    #[error("project folder not found: {}", printable::path(.0))]
    NoProject(PathBuf),
    /// The project is not a directory.
    #[error("invalid project `{}`: not a folder", printable::path(.0))]
    ProjectNotFolder(PathBuf),
    /// An image from scratch for a platform other than this machine's.
    #[error("cannot build an image from scratch for {0}: this machine's interpreter is for another platform")]
    NoInterpreterFor(Platform),
    /// The base has another platform.
    #[error("cannot build for {wanted}: the base {base} is for {is}")]
    BasePlatform {
        /// The base.
        base: String,
        /// Its platform.
        is: Box<Platform>,
        /// The platform to build for.
        wanted: Box<Platform>,
    },
    /// The base's libraries lack symbol versions that compiled modules need.
    #[error("cannot use the base: too old for the environment: {first}{}", and_others(*.others))]
    BaseTooOld {
        /// The first module and its requirement.
        first: String,
        /// The number of further ones.
        others: usize,
    },
    /// No environment was found, and none may or can be made.
    #[error("virtual environment not found for {}", printable::path(.root))]
    NoEnvironment {
        /// The project.
        root: PathBuf,
        /// The advice.
        help: String,
    },
    /// A program or option needs a distribution that the image lacks.
    #[error("cannot {action}: {distribution} is not in the image")]
    NotInstalled {
        /// The requested action: `use uvicorn's event loop uvloop`.
        action: String,
        /// The missing distribution.
        distribution: String,
        /// The advice.
        help: String,
    },
    /// Installed and required distributions that the image lacks, ordered by name.
    #[error("cannot exclude distributions that are installed and required: {}", summarize_missing(.0))]
    ExcludedRequirements(Vec<MissingRequirement>),
    /// The project declares no dependencies.
    #[error("dependencies not found for {}: neither [project] dependencies in pyproject.toml nor a requirements.txt", printable::path(.0))]
    NothingDeclared(PathBuf),
    /// A time outside the supported range.
    #[error("invalid SOURCE_DATE_EPOCH `{0}`: not a time between 1970 and 9999")]
    Epoch(i64),
    /// Reading or writing a file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Debian packages cannot be had or installed.
    #[cfg(feature = "apt")]
    #[error(transparent)]
    Apt(#[from] crate::apt::AptError),
    /// Debian packages were requested of a build without the feature `apt`.
    #[error("cannot install Debian packages: ipo-oci was built without the feature `apt`")]
    NoApt,
    /// Invalid settings.
    #[error(transparent)]
    Settings(#[from] crate::settings::SettingsError),
    /// An invalid recipe.
    #[error(transparent)]
    Recipe(#[from] crate::recipe::RecipeError),
    /// A command that makes files for the image failed.
    #[error(transparent)]
    Prepare(#[from] super::prepare::PrepareError),
    /// A file of the setting `files` is not on this machine.
    #[error("file not found: {}, named by `files`", printable::path(.0))]
    AddedFileMissing(PathBuf),
    /// A path begins with `~`, and the home directory is unknown.
    #[error("cannot find {}: the home directory is unknown", printable::name(.0))]
    NoHome(String),
    /// An error in the source tree.
    #[error(transparent)]
    Context(#[from] crate::context::ContextError),
    /// A source file that the process loads does not compile.
    #[error("cannot compile {path}: {reason}; {importer}")]
    SourceDoesNotCompile {
        /// The file, in the project's directory.
        path: String,
        /// The compiler's message, with the line.
        reason: String,
        /// The importing module.
        importer: String,
    },
    /// The application was not found.
    #[error(transparent)]
    Application(#[from] crate::python::application::ApplicationError),
    /// No server runs the application.
    #[error(transparent)]
    Service(ServiceError),
    /// The environment cannot be used.
    #[error(transparent)]
    Venv(#[from] crate::python::VenvError),
    /// The installed distributions do not satisfy the declared dependencies.
    #[error(transparent)]
    Closure(#[from] crate::python::ClosureError),
    /// Making an environment failed.
    #[error(transparent)]
    Provision(#[from] crate::python::provision::ProvisionError),
    /// The recipe wants pip, and there is none.
    #[error("pip not found for the {0} image: neither in the environment nor beside its interpreter")]
    NoPip(&'static str),
    /// The interpreter cannot be used.
    #[error(transparent)]
    Interpreter(#[from] crate::python::interpreter::InterpreterError),
    /// Compiling failed.
    #[error(transparent)]
    Bytecode(#[from] crate::python::bytecode::BytecodeError),
    /// Shared libraries or system files are missing or invalid.
    #[error(transparent)]
    System(#[from] crate::system::SystemError),
    /// Two entries conflict at one path.
    #[error(transparent)]
    Tree(#[from] crate::tree::TreeError),
    /// An invalid path of the image.
    #[error(transparent)]
    Path(#[from] crate::tree::PathError),
    /// Reading content failed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Writing a layer failed.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// Assembling the image failed.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// Storing the image failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// An invalid addition or change to the plan.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    /// The image lacks a program that it starts.
    #[error(transparent)]
    Start(#[from] crate::plan::StartError),
    /// The check found errors.
    #[error("cannot build the image: {}", refusal(.0))]
    Refused(Vec<Diagnostic>),
    /// The image cannot be checked.
    #[error(transparent)]
    Check(#[from] crate::check::CheckError),
    /// The deployment cannot be described.
    #[error(transparent)]
    Deploy(#[from] crate::deploy::DeployError),
    /// An invalid base reference.
    #[error(transparent)]
    BaseReference(#[from] crate::base::BaseReferenceError),
    /// The base cannot be read, or does not fit.
    #[error(transparent)]
    Base(#[from] crate::base::BaseError),
    /// The lock cannot be used.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// An invalid image name or destination.
    #[error(transparent)]
    Reference(#[from] crate::reference::ReferenceError),
}

impl BuildError {
    /// Returns true if existing bytecode could not be parsed.
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

/// Lists the diagnostics that refuse an image, one a line if there are several.
fn refusal(found: &[Diagnostic]) -> String {
    let lines: Vec<String> = found.iter().map(Diagnostic::to_string).collect();
    match lines.as_slice() {
        [one] => one.clone(),
        many => format!("the check found {}\n{}", counted(many.len() as u64, "error"), many.join("\n")),
    }
}

fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (and one more)".to_owned(),
        more => format!(" (and {more} more)"),
    }
}

impl From<ServiceError> for BuildError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Application(error) => Self::Application(error),
            error => Self::Service(error),
        }
    }
}

impl Advice for BuildError {
    fn help(&self) -> Option<String> {
        match self {
            Self::NoProject(_) | Self::ProjectNotFolder(_) => Some("name the project's directory".to_owned()),
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
            Self::ExcludedRequirements(excluded) => Some(format!(
                "report this as a bug of ipo-oci; until it is fixed, declare {} among the project's dependencies",
                excluded.iter().map(|excluded| &*excluded.name).collect::<Vec<_>>().join(", ")
            )),
            Self::NothingDeclared(_) => Some(
                "declare the dependencies, or take everything that is installed with distributions = \"installed\" in [tool.ipo-oci]"
                    .to_owned(),
            ),
            Self::Epoch(_) => Some("set it to a number of seconds since 1970, such as $(git log -1 --format=%ct)".to_owned()),
            Self::File(error) => error.help(),
            Self::Settings(error) => error.help(),
            Self::Recipe(error) => error.help(),
            Self::Prepare(error) => error.help(),
            #[cfg(feature = "apt")]
            Self::Apt(error) => error.help(),
            Self::NoApt => Some("build ipo-oci with its feature `apt`, or name another base".to_owned()),
            Self::AddedFileMissing(_) => {
                Some("correct `from`, which is relative to the project, or make the file first".to_owned())
            }
            Self::NoHome(_) => Some("set HOME, or write the whole path".to_owned()),
            Self::Context(error) => error.help(),
            Self::SourceDoesNotCompile { .. } => Some(
                "fix it, make the environment with a matching Python, or exclude the file with .dockerignore if it is not needed"
                    .to_owned(),
            ),
            Self::Application(error) => error.help(),
            Self::Service(error) => error.help(),
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
            Self::Plan(error) => error.help(),
            Self::Start(error) => error.help(),
            Self::Refused(found) => {
                let code = found.first().map_or("CODE", |found| found.code);
                let way_out = found.first().and_then(|found| found.help.as_deref());
                let way_out = way_out.map(|help| format!("{help}; ")).unwrap_or_default();
                Some(format!(
                    "{way_out}`ipo-oci check --explain {code}` gives the reason; a rule is left out with `ignore` in [tool.ipo-oci.check], all with --no-check"
                ))
            }
            Self::Check(error) => error.help(),
            Self::Deploy(error) => error.help(),
        }
    }

    fn is_of_machine(&self) -> bool {
        matches!(self, Self::Provision(error) if error.is_of_machine())
    }
}
