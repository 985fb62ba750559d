//! Makes a virtual environment for a project without one.
//!
//! Sources are `uv.lock` (of the project or of its workspace), the lock of another tool, or the files of
//! the project's [`Declaration`]; the tool is uv if on `PATH`, else `python3 -m venv` and pip. A
//! project that cannot be built as a package runs from its source: its declared dependencies are
//! installed without it, with a warning. This is the only step of a build that runs a package
//! manager; it may use the network.
//!
//! Scripts contain the environment's path, so an environment is made at its final place: in the
//! cache, under a key of everything that decides its content. A lock file guards it meanwhile; a
//! manifest of its files (`Manifest`) marks it as complete and is verified before reuse. The
//! project's own source is installed in place (`-e`) and is not part of the key.

#![allow(clippy::disallowed_methods)] // No plan depends on these files: the finished environment is read through `traced_fs`.

mod chosen;
mod dependencies;
mod error;
mod install;
mod left_out;
mod lock;
pub(super) mod manifest;
mod pkg_resources;
mod python;
mod version_control;
mod wheels;
mod workspace;

pub use chosen::BaseInterpreter;
pub use error::ProvisionError;
pub(crate) use left_out::INSTALLERS;
pub(crate) use python::is_python_request;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use walkdir::WalkDir;

use self::chosen::ChosenInterpreter;
use self::error::{is_output_of_python, reason, shown};
pub use self::lock::LockKind;
use self::manifest::{Manifest, ManifestMatch};
use self::python::PythonDemands;
use self::version_control::BuildVersion;
pub use self::workspace::member_folder;
use self::workspace::{LockLookup, UvLock};
use crate::digest::Hasher;
use crate::error::FileError;
use crate::platform::Platform;
use crate::progress::{Activity, Progress, Step, Warning};
use crate::python::environment::config::Config;
use crate::python::environment::venv::{Runner, Venv};
use crate::python::environment::version::PythonVersion;
use crate::python::requirements::closure::{ClosureError, DeclaredDependencies, read_pyproject};
use crate::python::requirements::declaration::{Declaration, DefaultGroups, DependencySelection};
use crate::python::requirements::marker::Environment;
use crate::python::requirements::pyproject::PyProject;
use crate::python::requirements::requirements_txt;

/// The number of a tool's last lines in an error.
const LINES_SHOWN: usize = 20;

/// The number of folders or files in a proposal.
const PROPOSED: usize = 5;

/// The number of folders that are searched for a proposal.
const FOLDERS_SEARCHED: usize = 1000;

/// The number of characters of a tool's line in a warning.
const LINE_LENGTH: usize = 200;

/// The file from which an environment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisionSource {
    /// `uv.lock` of the project or of its workspace, without development dependencies.
    UvLock,
    /// The lock of another tool.
    Lock(LockKind),
    /// Requirement files.
    Requirements,
    /// `pyproject.toml`.
    PyProject,
    /// `Pipfile`.
    Pipfile,
    /// `setup.py` or `setup.cfg`.
    Setup,
}

impl ProvisionSource {
    /// Returns the name of the file.
    fn as_str(self) -> &'static str {
        match self {
            Self::UvLock => "uv.lock",
            Self::Lock(kind) => kind.file(),
            Self::Requirements => "requirements.txt",
            Self::PyProject => "pyproject.toml",
            Self::Pipfile => "Pipfile",
            Self::Setup => "setup.py",
        }
    }
}

/// Makes the environment of a project.
#[derive(Clone, Copy)]
pub struct Provision<'a> {
    /// The project's directory.
    pub context: &'a Path,
    /// The cache's directory; created if missing.
    pub cache: &'a Path,
    /// The dependencies to install.
    pub selection: &'a DependencySelection,
    /// The requested Python: a version or a range. Default: that of the project's files.
    pub python: Option<&'a str>,
    /// The version of Python in the Dockerfile's base image: preferred to the newest one.
    pub suggested_python: Option<&'a str>,
    /// The value of `PATH`, searched for tools and interpreters.
    pub path: Option<&'a OsStr>,
    /// Folders of Python installations, each in its own subfolder.
    pub installations: &'a [PathBuf],
    /// The Python of the image's base: used if the project allows its version, through an interpreter of this
    /// machine of the same minor version, or else itself.
    pub base_python: Option<BaseInterpreter<'a>>,
    /// Receives steps and warnings.
    pub progress: &'a dyn Progress,
}

/// The tool that makes the environment.
#[derive(Clone)]
enum Tool {
    Uv(PathBuf),
    Python(PathBuf),
}

/// The environment to make, with its tool and the source of its wheels.
#[derive(Clone, Copy)]
struct Installation<'a> {
    tool: &'a Tool,
    python: &'a ChosenInterpreter,
    root: &'a Path,
    downloads: Downloads,
    /// True if another interpreter is tried after a failure.
    is_retried: bool,
    /// The version of a project whose build backend asks version control.
    version: BuildVersion,
}

impl Installation<'_> {
    /// Sets the variables of the installer.
    fn configure(&self, command: &mut Command) {
        self.downloads.configure(command);
        self.version.configure(command);
    }

    /// Runs `build`, which builds the project. If the build finds no version, runs it again with an
    /// assumed one, and returns a warning.
    fn with_version(
        &self,
        build: impl Fn(&Self) -> Result<(), ProvisionError>,
    ) -> Result<Option<Warning>, ProvisionError> {
        match build(self) {
            Err(error) if error.is_of_version() => match build(&self.with_assumed_version()) {
                Ok(()) => Ok(Some(version_control::warning(&error.line()))),
                Err(_) => Err(error),
            },
            outcome => outcome.map(|()| None),
        }
    }

    fn with_assumed_version(&self) -> Self {
        Self { version: BuildVersion::Assumed, ..*self }
    }
}

/// The source of wheels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Downloads {
    /// The tool's own cache, then the network.
    Cached,
    /// The network only.
    Fresh,
}

impl Downloads {
    /// Sets the variables of uv and pip for this source.
    fn configure(self, command: &mut Command) {
        if self == Self::Fresh {
            command.envs([("UV_NO_CACHE", "1"), ("PIP_NO_CACHE_DIR", "1")]);
        }
    }
}

impl<'a> Provision<'a> {
    /// Makes the environment of the project in `context`, in the folder `cache`, with its main
    /// dependencies and without a search path for tools.
    pub fn new(context: &'a Path, cache: &'a Path, progress: &'a dyn Progress) -> Self {
        static MAIN: DependencySelection = DependencySelection {
            extras: Vec::new(),
            groups: Vec::new(),
            default_groups: DefaultGroups::Included,
            requirements: Vec::new(),
            with: Vec::new(),
        };
        Self {
            context,
            cache,
            selection: &MAIN,
            python: None,
            suggested_python: None,
            path: None,
            installations: &[],
            base_python: None,
            progress,
        }
    }
}

impl Provision<'_> {
    /// Returns the file from which the environment would be made, if any.
    pub fn origin(&self) -> Result<Option<ProvisionSource>, ProvisionError> {
        self.pyproject()?;
        Ok(self.origin_beside(&workspace::find(self.context)))
    }

    /// Returns advice for a project without a file to install from: the folders or requirement files
    /// that have dependencies.
    pub fn proposal(&self) -> Option<String> {
        let commands = |words: Vec<String>, command: &dyn Fn(&String) -> String| {
            let more = if words.len() > PROPOSED { " and others" } else { "" };
            let shown: Vec<String> =
                words.iter().take(PROPOSED).map(|word| format!("`{}`", command(word))).collect();
            (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
        };
        let (for_tools, files): (Vec<String>, Vec<String>) =
            self.text_files().into_iter().partition(|file| is_for_development(file));
        let name_files = |files: Vec<String>| {
            let shown = commands(files, &|file| format!("--requirements {file}"))?;
            Some(format!("name a requirement file: {shown}"))
        };
        let folders = || {
            let shown = commands(folders_with_dependencies(self.context), &|folder| {
                format!("ipo-oci build {}", shown_below(self.context, folder))
            });
            shown.map(|shown| format!("build the folder with the dependencies: {shown}"))
        };
        name_files(files).or_else(folders).or_else(|| name_files(for_tools))
    }

    fn origin_beside(&self, lock: &LockLookup) -> Option<ProvisionSource> {
        let is_there = |name| self.context.join(name).is_file();
        let is_locked = |kind: &LockKind| is_there(kind.file());
        if self.selection.requirements.is_empty() && matches!(lock, LockLookup::Lock(_)) {
            return Some(ProvisionSource::UvLock);
        }
        Some(match self.declaration()? {
            Declaration::Requirements(_) => ProvisionSource::Requirements,
            Declaration::PyLock => ProvisionSource::Lock(LockKind::PyLock),
            Declaration::Pipfile if is_locked(&LockKind::Pipenv) => ProvisionSource::Lock(LockKind::Pipenv),
            Declaration::Pipfile => ProvisionSource::Pipfile,
            Declaration::Setup => ProvisionSource::Setup,
            Declaration::PyProject => {
                // Poetry's lock may be left over from a project of Poetry.
                let is_current = |kind: &LockKind| {
                    *kind != LockKind::Poetry || dependencies::is_of_poetry(&self.pyproject_text())
                };
                let mut kinds = [LockKind::PyLock, LockKind::Poetry, LockKind::Pdm].into_iter();
                match kinds.find(|kind| is_locked(kind) && is_current(kind)) {
                    Some(kind) => ProvisionSource::Lock(kind),
                    None if is_there("requirements.txt") => ProvisionSource::Requirements,
                    None => ProvisionSource::PyProject,
                }
            }
        })
    }

    fn declaration(&self) -> Option<Declaration> {
        let project = self.pyproject().unwrap_or_default();
        Declaration::find(self.context, self.selection, &project)
    }

    /// Returns the requirement files, relative to the project if they are below it.
    fn requirement_files(&self) -> Vec<PathBuf> {
        let files = match self.declaration() {
            Some(Declaration::Requirements(files)) => files,
            _ => vec![self.context.join("requirements.txt")],
        };
        let relative = |file: PathBuf| file.strip_prefix(self.context).map(Path::to_path_buf).unwrap_or(file);
        files.into_iter().map(relative).collect()
    }

    /// Returns the normalized names of the selected groups.
    fn groups(&self) -> Vec<String> {
        self.selection.groups_of(&self.pyproject().unwrap_or_default())
    }

    /// Returns the directory of an environment with the project's declared dependencies: a complete
    /// one from the cache, or a new one.
    pub fn run(&self) -> Result<PathBuf, ProvisionError> {
        let folder = self.run_declared()?;
        folder.ok_or_else(|| ProvisionError::NothingToInstall(self.context.to_path_buf()))
    }

    /// Returns the directory of an environment as [`Self::run`] does; `None` for a project without a file
    /// to install from.
    pub fn run_declared(&self) -> Result<Option<PathBuf>, ProvisionError> {
        self.pyproject()?;
        let found = workspace::find(self.context);
        let Some(mut origin) = self.origin_beside(&found) else { return Ok(None) };
        let has_names =
            !self.selection.extras.is_empty() || !self.groups().is_empty() || !self.selection.with.is_empty();
        if has_names
            && let Err(error @ (ClosureError::NoSuch { .. } | ClosureError::With { .. })) =
                DeclaredDependencies::read(self.context, self.selection)
        {
            return Err(error.into());
        }
        let uv = self.find("uv");
        if origin == ProvisionSource::UvLock && uv.is_none() {
            origin = self.origin_beside(&LockLookup::None).unwrap_or(ProvisionSource::PyProject);
        }
        self.warn_about_locks(&found, uv.is_some());
        let uv_lock = match (&found, origin) {
            (LockLookup::Lock(lock), ProvisionSource::UvLock) => Some(lock),
            _ => None,
        };
        let demands = self.demands(uv_lock);
        let lock_file = match origin {
            ProvisionSource::UvLock => uv_lock.map(|lock| lock.root.join("uv.lock")),
            ProvisionSource::Lock(kind) => Some(self.context.join(kind.file())),
            _ => None,
        };
        let mut first_error = None;
        let folder = self.cache.join("venv");
        fs_err::create_dir_all(&folder).map_err(FileError::of("create", &folder))?;
        let (pythons, warning) = self.pythons(&demands, uv.is_some(), lock_file.as_deref())?;
        if let Some(warning) = warning {
            self.progress.warn(warning);
        }
        let of_base = self.version_of_base(&pythons);
        let mut others = VecDeque::from(pythons);
        while let Some(python) = others.pop_front() {
            let tool = self.tool(uv.as_deref(), &python)?;
            let identity = self.interpreter(&tool, &python);
            others.retain(|other| !other.has_identity(&identity));
            let name = self.key(origin, &identity, &found)?;
            let next = others.front();
            // A distribution that does not support this Python is not built again by each build.
            let unusable = folder.join(format!("{name}.unusable"));
            let reason = match next.and_then(|_| std::fs::read_to_string(&unusable).ok()) {
                Some(reason) => reason,
                None => {
                    match self.run_with(&tool, (&python, next.is_some()), (&folder, &name), origin, &demands)
                    {
                        Ok(root) => return Ok(Some(root)),
                        Err(error) if next.is_some() && error.is_of_python() => {
                            let reason = error.line();
                            std::fs::write(&unusable, &reason).map_err(FileError::of("write", &unusable))?;
                            first_error.get_or_insert(error);
                            reason
                        }
                        Err(error) => return Err(first_error.unwrap_or(error).on_base(of_base)),
                    }
                }
            };
            if let Some(ChosenInterpreter::Program(next)) = next {
                self.progress.warn(python.failed(&reason, next));
            }
        }
        Err(first_error.unwrap_or(ProvisionError::NoTool))
    }

    /// Returns the tool that makes an environment of an interpreter.
    fn tool(&self, uv: Option<&Path>, python: &ChosenInterpreter) -> Result<Tool, ProvisionError> {
        Ok(match (uv, python, self.find("python3")) {
            (Some(uv), ..) => Tool::Uv(uv.to_owned()),
            (None, ChosenInterpreter::Program(interpreter) | ChosenInterpreter::OfBase(interpreter), _) => {
                Tool::Python(interpreter.executable.clone())
            }
            (None, _, Some(python3)) => Tool::Python(python3),
            (None, _, None) => return Err(ProvisionError::NoTool),
        })
    }

    /// Returns the directory of the environment `name` with the interpreter `python`.
    fn run_with(
        &self,
        tool: &Tool,
        (python, is_retried): (&ChosenInterpreter, bool),
        (folder, name): (&Path, &str),
        origin: ProvisionSource,
        demands: &PythonDemands,
    ) -> Result<PathBuf, ProvisionError> {
        let at = |suffix: &str| folder.join(format!("{name}{suffix}"));
        let (root, lock, complete) = (at(""), at(".lock"), at(".complete"));
        let lock_file = open_lock(&lock).map_err(FileError::of("create", &lock))?;
        lock_file.lock().map_err(FileError::of("lock", &lock))?;
        let (reason_file, written_file) = (at(".reason"), at(".written"));
        if self.has_files(&written_file) && self.is_unchanged(&root, &complete)? {
            for warning in load_warnings(&reason_file) {
                self.progress.warn(warning);
            }
            return Ok(root);
        }
        let make = |downloads| -> Result<Vec<Warning>, ProvisionError> {
            for left in [&complete, &reason_file, &written_file, &root] {
                remove(left)?;
            }
            let version = BuildVersion::Found;
            let installation = Installation { tool, python, root: &root, downloads, is_retried, version };
            let mut warnings = self.make(&installation, origin, demands)?;
            let with = self.selection.with.iter().map(|requirement| format!("{requirement}\n"));
            self.install_lines(&installation, &with.collect::<String>())?;
            if matches!(python, ChosenInterpreter::OfBase(_)) {
                // Images with pip take it from the interpreter, which this one does not have.
                self.install_lines(&installation, "pip")?;
            }
            if !matches!(origin, ProvisionSource::UvLock | ProvisionSource::Lock(_)) {
                warnings.extend(self.pkg_resources(&installation)?);
            }
            Ok(warnings)
        };
        let mut warnings = make(Downloads::Cached)?;
        if !manifest::mismatched_files(&root).is_empty() {
            // An installer may link files from a damaged cache of its own.
            warnings = make(Downloads::Fresh)?;
            for path in manifest::mismatched_files(&root) {
                let message = "differs from its RECORD, also after a new download";
                self.progress.warn(Warning::new(path.display().to_string(), message));
            }
        }
        if !warnings.is_empty() {
            save_warnings(&warnings, &reason_file)?;
            for warning in warnings {
                self.progress.warn(warning);
            }
        }
        let written = version_control::written_files(self.context, &self.pyproject_text());
        if !written.is_empty() {
            std::fs::write(&written_file, written.join("\n"))
                .map_err(FileError::of("write", &written_file))?;
        }
        let manifest = Manifest::of(&root, manifest::moment(folder)?)?;
        manifest.save(&complete)?;
        Ok(root)
    }

    /// Installs an older setuptools if a distribution needs its module `pkg_resources`.
    fn pkg_resources(&self, installation: &Installation<'_>) -> Result<Option<Warning>, ProvisionError> {
        let environment = marker_environment(installation.root);
        let platform = Platform::of_this_program();
        let by_base =
            || Venv::open_for(installation.root, &Runner::Base { platform: &platform, python: None });
        let venv = Venv::open(installation.root).or_else(|_| by_base()).ok();
        let importer = venv.and_then(|venv| pkg_resources::importer(&venv, &environment));
        let Some(name) = importer else { return Ok(None) };
        let older = format!("setuptools<{}", left_out::WITHOUT_PKG_RESOURCES);
        self.install_lines(installation, &older)?;
        let message =
            format!("{older} is installed: {name} imports pkg_resources, which the newest does not have");
        let help = format!("upgrade {name}, or declare {older}");
        Ok(Some(Warning::new("setuptools", message).with_help(help)))
    }

    /// Returns true if the source still has the files that the project's build wrote into it.
    fn has_files(&self, written: &Path) -> bool {
        let names = std::fs::read_to_string(written).unwrap_or_default();
        names.lines().all(|name| self.context.join(name).is_file())
    }

    /// Returns true if the environment is complete and its files are unchanged since.
    fn is_unchanged(&self, root: &Path, complete: &Path) -> Result<bool, ProvisionError> {
        let Some(manifest) = Manifest::load(complete) else { return Ok(false) };
        let folder = complete.parent().unwrap_or(complete);
        match manifest.verify(root, manifest::moment(folder)?) {
            ManifestMatch::Same => {}
            ManifestMatch::Moved(manifest) => manifest.save(complete)?,
            ManifestMatch::Different(path) => {
                let message = "was changed since the environment was made; making the environment again";
                self.progress.warn(Warning::new(path.display().to_string(), message));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Warns about locks that are not used.
    fn warn_about_locks(&self, found: &LockLookup, has_uv: bool) {
        let warn = |subject: String, message: &str, help: &str| {
            self.progress.warn(Warning::new(subject, message).with_help(help));
        };
        match (found, has_uv) {
            (LockLookup::Lock(UvLock { root, .. }), false) => {
                let own = root == self.context;
                let lock = if own { PathBuf::from("uv.lock") } else { root.join("uv.lock") };
                let message = "is not used, because uv is not on PATH: other versions may be installed";
                warn(lock.display().to_string(), message, "install uv");
            }
            (LockLookup::NotListed(lock), _) => warn(
                lock.display().to_string(),
                "is not used, because it does not list this project: other versions may be installed",
                "make the project a member of the workspace and run `uv lock`, or give it a lock of its own",
            ),
            _ => {}
        }
    }

    fn pyproject_text(&self) -> String {
        std::fs::read_to_string(self.context.join("pyproject.toml")).unwrap_or_default()
    }

    fn pyproject(&self) -> Result<PyProject, ProvisionError> {
        Ok(read_pyproject(&self.context.join("pyproject.toml"))?.unwrap_or_default())
    }

    /// Returns the environment's name: a digest of everything that decides its content, which is
    /// the files, the interpreter, the tool, and the project's directory, since its source is used
    /// in place.
    fn key(
        &self,
        origin: ProvisionSource,
        interpreter: &str,
        found: &LockLookup,
    ) -> Result<String, ProvisionError> {
        let mut hasher = Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        add(b"7");
        add(origin.as_str().as_bytes());
        for names in [&self.selection.extras, &self.groups()] {
            add(&(names.len() as u64).to_le_bytes());
            for name in names {
                add(name.as_bytes());
            }
        }
        for requirement in &self.selection.with {
            add(b"with");
            add(requirement.as_bytes());
        }
        add(interpreter.as_bytes());
        let context = std::fs::canonicalize(self.context).map_err(FileError::of("read", self.context))?;
        add(context.as_os_str().as_encoded_bytes());
        if origin == ProvisionSource::Requirements {
            for file in self.requirement_files() {
                for (file, text) in requirements_txt::texts(&self.context.join(file))? {
                    add(file.as_os_str().as_encoded_bytes());
                    add(text.as_bytes());
                }
            }
        }
        let mut names: Vec<String> =
            ["uv.lock", "pyproject.toml", ".python-version"].map(str::to_owned).into();
        match origin {
            ProvisionSource::Lock(kind) => names.extend([kind.file().to_owned(), "Pipfile".to_owned()]),
            ProvisionSource::Pipfile => names.push("Pipfile".to_owned()),
            // A build may read its dependencies from any file.
            ProvisionSource::Setup | ProvisionSource::PyProject => {
                names.extend(["setup.py", "setup.cfg"].map(str::to_owned));
                names.extend(self.text_files());
            }
            ProvisionSource::UvLock | ProvisionSource::Requirements => {}
        }
        for name in names {
            let path = self.context.join(&name);
            if path.is_file() {
                add(name.as_bytes());
                add(&std::fs::read(&path).map_err(FileError::of("read", &path))?);
            }
        }
        if let (LockLookup::Lock(UvLock { root, projects, .. }), ProvisionSource::UvLock) = (found, origin) {
            let of_workspace = ["uv.lock", "pyproject.toml", ".python-version"].map(|name| root.join(name));
            let of_members = projects.iter().map(|project| project.join("pyproject.toml"));
            for path in of_workspace.into_iter().chain(of_members).filter(|path| path.is_file()) {
                add(path.as_os_str().as_encoded_bytes());
                add(&std::fs::read(&path).map_err(FileError::of("read", &path))?);
            }
        }
        Ok(hasher.finish().hex().chars().take(32).collect())
    }

    /// Lists the text files in the project and in its folder `requirements`.
    fn text_files(&self) -> Vec<String> {
        let mut found: Vec<String> = ["", "requirements/"]
            .into_iter()
            .flat_map(|folder| {
                let files = std::fs::read_dir(self.context.join(folder)).into_iter().flatten().flatten();
                files.filter_map(move |file| Some(format!("{folder}{}", file.file_name().to_str()?)))
            })
            .filter(|name| name.starts_with("require") && (name.ends_with(".txt") || name.ends_with(".in")))
            .collect();
        found.sort();
        found
    }

    /// Returns the identity of the interpreter that the tool would use. If uv has yet to download
    /// one, the files determine its version.
    fn interpreter(&self, tool: &Tool, python: &ChosenInterpreter) -> String {
        let name = if matches!(tool, Tool::Uv(_)) { "uv" } else { "pip" };
        match python {
            ChosenInterpreter::Default => {}
            ChosenInterpreter::Program(interpreter) | ChosenInterpreter::OfBase(interpreter) => {
                return format!("{name} {} {}", interpreter.full_version, interpreter.executable.display());
            }
            ChosenInterpreter::Download(request) => return format!("{name} {request}"),
        }
        let python = match tool {
            Tool::Python(python) => Some(python.clone()),
            Tool::Uv(uv) => {
                let mut command = self.command(uv);
                command.args(["python", "find", "--system"]);
                self.execute(command).ok().map(|path| PathBuf::from(path.trim()))
            }
        };
        let script = "import os, sys; print(sys.version, os.path.realpath(sys.executable))";
        let identity = python.and_then(|python| self.output_of(&python, script));
        format!("{name} {}", identity.unwrap_or_default())
    }

    /// Runs a script by an interpreter, without the user's settings.
    fn output_of(&self, python: &Path, script: &str) -> Option<String> {
        let mut command = self.command(python);
        command.args(["-I", "-c", script]);
        self.execute(command).ok()
    }

    /// Returns a command that runs in the context, without variables of an active environment.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.context).stdin(Stdio::null());
        for name in ["VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "CONDA_PREFIX"] {
            command.env_remove(name);
        }
        if let Some(path) = self.path {
            command.env("PATH", path);
        }
        command
    }

    /// Runs a command and returns its standard output.
    fn execute(&self, mut command: Command) -> Result<String, ProvisionError> {
        let line = command_line(&command);
        self.progress.step(&Step::on(Activity::Run, line.as_str()));
        let failed = |status: String, output: String| {
            let lines: Vec<&str> = output.lines().collect();
            let reason =
                Some(reason(&lines)).filter(|line| !line.is_empty()).unwrap_or_else(|| status.clone());
            let is_of_version = version_control::is_output_of_version(&output);
            let is_of_python = !is_of_version && is_output_of_python(&output);
            let command = line.clone();
            ProvisionError::Failed {
                command,
                status,
                output: shown(&lines),
                reason,
                is_of_python,
                is_of_version,
            }
        };
        let output =
            command.output().map_err(|error| failed("cannot be started".to_owned(), error.to_string()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let all = stdout + &String::from_utf8_lossy(&output.stderr);
        Err(failed(output.status.to_string(), all))
    }

    /// Returns the executable file `name` on `PATH`.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let is_executable = |path: &PathBuf| {
            std::fs::metadata(path)
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        };
        std::env::split_paths(self.path?)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name))
            .find(is_executable)
    }
}

impl std::fmt::Debug for Provision<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provision")
            .field("context", &self.context)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Opens a lock file without blocking. Replaces anything that cannot be opened, such as a named pipe.
fn open_lock(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let open =
        || std::fs::File::options().create(true).truncate(false).write(true).custom_flags(flags).open(path);
    open().or_else(|_| {
        crate::sealed::remove(path);
        open()
    })
}

/// Returns the folder of a project below `context` as an argument of the command.
fn shown_below(context: &Path, folder: &str) -> String {
    if context.components().eq([Component::CurDir]) {
        folder.to_owned()
    } else {
        context.join(folder).display().to_string()
    }
}

/// Returns true for a requirement file of development tools: `requirements-dev.txt`.
fn is_for_development(file: &str) -> bool {
    const WORDS: [&str; 9] =
        ["dev", "develop", "development", "test", "tests", "testing", "docs", "lint", "ci"];
    file.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// Lists the folders of the first three levels below `context` that declare dependencies, without those
/// of tests, documentation and examples.
fn folders_with_dependencies(context: &Path) -> Vec<String> {
    let is_left_out = |name: &str| {
        name.starts_with(['.', '_', '{'])
            || matches!(
                name,
                "node_modules" | "docs" | "doc" | "tests" | "test" | "examples" | "venv" | "env"
            )
    };
    let walk = WalkDir::new(context).min_depth(1).max_depth(3).sort_by_file_name().into_iter();
    let folders = walk.filter_entry(|entry| {
        entry.file_type().is_dir() && !entry.file_name().to_str().is_none_or(is_left_out)
    });
    let mut found: Vec<String> = Vec::new();
    for folder in folders.flatten().take(FOLDERS_SEARCHED) {
        let path = folder.path();
        let Some(name) = path.strip_prefix(context).ok().and_then(Path::to_str) else { continue };
        let is_below = found.iter().any(|outer| Path::new(name).starts_with(outer));
        let project = read_pyproject(&path.join("pyproject.toml")).ok().flatten().unwrap_or_default();
        if !is_below && Declaration::find(path, &DependencySelection::default(), &project).is_some() {
            found.push(name.to_owned());
        }
    }
    found
}

/// Saves the warnings about an environment.
fn save_warnings(warnings: &[Warning], file: &Path) -> Result<(), FileError> {
    let fields: Vec<(&String, &String, &Option<String>)> =
        warnings.iter().map(|warning| (&warning.subject, &warning.message, &warning.help)).collect();
    let text = serde_json::to_string(&fields).map_err(|error| FileError::new("write", file, error.into()))?;
    std::fs::write(file, text).map_err(FileError::of("write", file))
}

/// Returns the saved warnings about an environment.
fn load_warnings(file: &Path) -> Vec<Warning> {
    let text = if file.is_file() { std::fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    let fields: Vec<(String, String, Option<String>)> = serde_json::from_str(&text).unwrap_or_default();
    let warning =
        |(subject, message, help): (String, String, _)| Warning { help, ..Warning::new(subject, message) };
    fields.into_iter().map(warning).collect()
}

/// Returns the marker variables of a new environment.
fn marker_environment(root: &Path) -> Environment {
    let config = std::fs::read_to_string(root.join("pyvenv.cfg")).unwrap_or_default();
    let (major, minor, micro) = Config::parse(&config).version.unwrap_or((3, 9, None));
    let version = PythonVersion { major, minor, micro, free_threaded: false };
    Environment::new(version, std::env::consts::ARCH)
}

/// Removes a file or folder, if present.
fn remove(path: &Path) -> Result<(), FileError> {
    let is_folder = path.is_dir() && !path.is_symlink();
    let removed = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Returns the command as typed in a shell, without the directories of its program.
fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(OsString::from);
    words.fold(String::new(), |mut line, word| {
        let word = word.to_string_lossy();
        let space = if line.is_empty() { "" } else { " " };
        let quoted = word.is_empty() || word.contains([' ', '\'', '"', '$', ';', '*', '<', '>', '&', '|']);
        let _ = if quoted {
            write!(line, "{space}'{}'", word.replace('\'', r"'\''"))
        } else {
            write!(line, "{space}{word}")
        };
        line
    })
}

#[cfg(test)]
mod tests;
