//! Making an environment for a project that has none.
//!
//! From `uv.lock`, `requirements.txt` or `pyproject.toml`, in that order, with uv where it is there and else with
//! `python3 -m venv` and pip. This is the only step of a build that runs a package manager and may use
//! a network. Scripts in an environment name its place, so it is made where it stays: in the cache, under
//! a key of all that decides its content, with a lock beside it while it is made and a mark when it is
//! complete: a manifest of its files, which are compared to it
//! before they are used ([`Manifest`]). The project's own source is installed in place (`-e`) and so is no part of the key.

#![allow(clippy::disallowed_methods)] // What it makes is read afterwards.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::closure::{ClosureError, read_pyproject};
use super::manifest::{self, Manifest, Verdict};
use super::pyproject::{Build, PyProject};
use super::requirements::{self, RequirementsError};
use crate::digest::Hasher;
use crate::error::{Advice, FileError};
use crate::printable;
use crate::progress::{Progress, Warning};

/// How many of a tool's last lines an error shows.
const LINES: usize = 20;

/// What an environment is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `uv.lock`, without development dependencies.
    UvLock,
    /// `requirements.txt`.
    Requirements,
    /// `pyproject.toml`.
    PyProject,
}

/// A project that needs an environment.
#[derive(Clone, Copy)]
pub struct Provision<'a> {
    /// The project's directory.
    pub context: &'a Path,
    /// The cache's directory; it is made where it is not there.
    pub cache: &'a Path,
    /// The value of `PATH`, where tools are looked for.
    pub path: Option<&'a OsStr>,
    /// Hears what is done.
    pub progress: &'a dyn Progress,
}

/// Why an environment could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// What the project declares cannot be read.
    #[error(transparent)]
    Declared(#[from] ClosureError),
    /// There is nothing to install from.
    #[error("{} has neither a virtual environment nor a file to make one from", printable::path(.0))]
    NothingToInstall(PathBuf),
    /// Neither uv nor Python is there.
    #[error("cannot make a virtual environment: neither uv nor python3 is on PATH")]
    NoTool,
    /// A tool failed.
    #[error("`{command}` failed ({status}):\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines of what it said.
        output: String,
    },
}

impl Advice for ProvisionError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::File(error) => return error.help(),
            Self::Declared(error) => return error.help(),
            Self::NothingToInstall(_) => {
                "name a virtual environment with --venv, or list the dependencies in requirements.txt or pyproject.toml"
                    .to_owned()
            }
            Self::NoTool => "install uv or Python, or name a virtual environment with --venv".to_owned(),
            Self::Failed { .. } => {
                "make the virtual environment yourself and name it with --venv; --no-provision switches this step off"
                    .to_owned()
            }
        })
    }
}

impl From<RequirementsError> for ProvisionError {
    fn from(error: RequirementsError) -> Self {
        Self::Declared(error.into())
    }
}

/// Which tool makes the environment.
enum Tool {
    Uv(PathBuf),
    Python(PathBuf),
}

impl Provision<'_> {
    /// What an environment would be made from; none where there is nothing.
    pub fn origin(&self) -> Option<Origin> {
        [
            ("uv.lock", Origin::UvLock),
            ("requirements.txt", Origin::Requirements),
            ("pyproject.toml", Origin::PyProject),
        ]
        .into_iter()
        .find_map(|(name, origin)| self.context.join(name).is_file().then_some(origin))
    }

    /// The directory of an environment with what the project declares: one that was made before, or a
    /// new one.
    pub fn run(&self) -> Result<PathBuf, ProvisionError> {
        let mut origin =
            self.origin().ok_or_else(|| ProvisionError::NothingToInstall(self.context.to_path_buf()))?;
        let tool = match (self.find("uv"), self.find("python3")) {
            (Some(uv), _) => Tool::Uv(uv),
            (None, Some(python)) => Tool::Python(python),
            (None, None) => return Err(ProvisionError::NoTool),
        };
        if origin == Origin::UvLock && matches!(tool, Tool::Python(_)) {
            let other = self.context.join("requirements.txt").is_file();
            origin = if other { Origin::Requirements } else { Origin::PyProject };
            self.progress.warn(
                Warning::new(
                    "uv.lock",
                    "is not used, because uv is not on PATH: other versions may be installed",
                )
                .with_help("install uv"),
            );
        }
        let folder = self.cache.join("venv");
        fs_err::create_dir_all(&folder).map_err(FileError::of("create", &folder))?;
        let name = self.key(origin, &tool)?;
        let at = |suffix: &str| folder.join(format!("{name}{suffix}"));
        let (root, lock, complete) = (at(""), at(".lock"), at(".complete"));
        let lock_file = open_lock(&lock).map_err(FileError::of("create", &lock))?;
        lock_file.lock().map_err(FileError::of("lock", &lock))?;
        if self.is_as_made(&root, &complete)? {
            return Ok(root);
        }
        for left in [&complete, &root] {
            let removed = if left.is_dir() && !left.is_symlink() {
                std::fs::remove_dir_all(left)
            } else {
                std::fs::remove_file(left)
            };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FileError::new("remove", left.clone(), error).into());
                }
                _ => {}
            }
        }
        match &tool {
            Tool::Uv(uv) => self.with_uv(uv, origin, &root)?,
            Tool::Python(python) => self.with_pip(python, origin, &root)?,
        }
        let manifest = Manifest::of(&root, manifest::moment(&folder)?)?;
        manifest.save(&complete)?;
        Ok(root)
    }

    /// Whether the environment is complete, and its files are those that were installed.
    fn is_as_made(&self, root: &Path, complete: &Path) -> Result<bool, ProvisionError> {
        let Some(manifest) = Manifest::load(complete) else { return Ok(false) };
        let folder = complete.parent().unwrap_or(complete);
        match manifest.verify(root, manifest::moment(folder)?) {
            Verdict::Same => {}
            Verdict::Moved(manifest) => manifest.save(complete)?,
            Verdict::Different(path) => {
                let message = "is not as it was when the environment was made, which is made again";
                self.progress.warn(Warning::new(path.display().to_string(), message));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn with_uv(&self, uv: &Path, origin: Origin, root: &Path) -> Result<(), ProvisionError> {
        if origin == Origin::UvLock {
            let mut command = self.command(uv);
            command
                .args(["sync", "--frozen", "--no-dev", "--color", "never"])
                .env("UV_PROJECT_ENVIRONMENT", root);
            return self.execute(command).map(drop);
        }
        let mut command = self.command(uv);
        command.args(["venv", "--color", "never"]).arg(root);
        self.execute(command)?;
        let mut command = self.command(uv);
        command.args(["pip", "install", "--color", "never", "--python"]).arg(root.join("bin/python"));
        match (origin, self.pyproject()?.build) {
            (Origin::Requirements, _) => command.args(["-r", "requirements.txt"]),
            (_, Build::Package) => command.args(["-e", "."]),
            (_, Build::Virtual) => command.args(["-r", "pyproject.toml"]),
        };
        self.execute(command).map(drop)
    }

    fn with_pip(&self, python: &Path, origin: Origin, root: &Path) -> Result<(), ProvisionError> {
        let mut command = self.command(python);
        command.args(["-m", "venv"]).arg(root);
        self.execute(command)?;
        let mut command = self.command(&root.join("bin/python"));
        command.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-color"]);
        let project = self.pyproject()?;
        match (origin, project.build) {
            (Origin::Requirements, _) => command.args(["-r", "requirements.txt"]),
            (_, Build::Package) => command.args(["-e", "."]),
            (_, Build::Virtual) => {
                let needed = project.dependencies.unwrap_or_default();
                if needed.is_empty() {
                    return Ok(());
                }
                command.args(needed.iter().map(ToString::to_string))
            }
        };
        self.execute(command).map(drop)
    }

    fn pyproject(&self) -> Result<PyProject, ProvisionError> {
        Ok(read_pyproject(&self.context.join("pyproject.toml"))?.unwrap_or_default())
    }

    /// A name for all that decides the environment's content: the files, the interpreter, the tool,
    /// and where the project lies, since its source is used in place.
    fn key(&self, origin: Origin, tool: &Tool) -> Result<String, ProvisionError> {
        let mut hasher = Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        add(format!("1 {origin:?}").as_bytes());
        add(self.interpreter(tool).as_bytes());
        let context = std::fs::canonicalize(self.context).map_err(FileError::of("read", self.context))?;
        add(context.as_os_str().as_encoded_bytes());
        if origin == Origin::Requirements {
            for (file, text) in requirements::texts(&self.context.join("requirements.txt"))? {
                add(file.as_os_str().as_encoded_bytes());
                add(text.as_bytes());
            }
        }
        for name in ["uv.lock", "pyproject.toml", ".python-version"] {
            let path = self.context.join(name);
            if path.is_file() {
                add(name.as_bytes());
                add(&std::fs::read(&path).map_err(FileError::of("read", &path))?);
            }
        }
        Ok(hasher.finish().hex().chars().take(32).collect())
    }

    /// What the interpreter that the tool would take says of itself. Where uv has yet to get one, the files
    /// say which.
    fn interpreter(&self, tool: &Tool) -> String {
        let python = match tool {
            Tool::Python(python) => Some(python.clone()),
            Tool::Uv(uv) => {
                let mut command = self.command(uv);
                command.args(["python", "find", "--system"]);
                self.execute(command).ok().map(|path| PathBuf::from(path.trim()))
            }
        };
        let asked = python.and_then(|python| {
            let mut command = self.command(&python);
            command.args([
                "-I",
                "-c",
                "import os, sys; print(sys.version, os.path.realpath(sys.executable))",
            ]);
            self.execute(command).ok()
        });
        let tool = if matches!(tool, Tool::Uv(_)) { "uv" } else { "pip" };
        format!("{tool} {}", asked.unwrap_or_default())
    }

    /// A command that works in the context and does not see another active environment.
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

    /// Runs a command and gives its standard output.
    fn execute(&self, mut command: Command) -> Result<String, ProvisionError> {
        let line = command_line(&command);
        self.progress.step(&line);
        let failed =
            |status: String, output: String| ProvisionError::Failed { command: line.clone(), status, output };
        let output =
            command.output().map_err(|error| failed("it cannot be run".to_owned(), error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let all = said + &String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = all.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n");
        Err(failed(output.status.to_string(), last))
    }

    /// The executable file `name` on `PATH`.
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

/// Opens a lock, whatever has its name: nobody waits for the other end of a pipe.
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

/// The command as one would type it, without the directories of its program.
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
mod tests {
    use super::*;
    use crate::progress::{Collected, Silent};

    /// A folder with `bin`, `app` and `cache`, and tools that write down how they were called and make
    /// the environment's directory.
    fn folder(tools: &[&str], files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "app"] {
            fs_err::create_dir(folder.path().join(name)).unwrap();
        }
        let script = format!(
            "#!/bin/sh\n\
             printf '%s %s\\n' \"${{0##*/}}\" \"$*\" >> '{base}/calls'\n\
             for last; do :; done\n\
             case \"$*\" in\n\
             *fail*) echo one; echo two >&2; exit 3;;\n\
             'sync '*) last=$UV_PROJECT_ENVIRONMENT;;\n\
             'venv '*|'-m venv '*) ;;\n\
             *) exit 0;;\n\
             esac\n\
             /bin/mkdir -p \"$last/bin\"\n\
             echo > \"$last/pyvenv.cfg\"\n\
             /bin/cp \"$0\" \"$last/bin/python\"\n",
            base = folder.path().display()
        );
        for tool in tools {
            let path = folder.path().join("bin").join(tool);
            fs_err::write(&path, &script).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (name, text) in files {
            fs_err::write(folder.path().join("app").join(name), text).unwrap();
        }
        folder
    }

    fn run(folder: &Path, progress: &dyn Progress) -> Result<PathBuf, ProvisionError> {
        let path = folder.join("bin");
        Provision {
            context: &folder.join("app"),
            cache: &folder.join("cache"),
            path: Some(path.as_os_str()),
            progress,
        }
        .run()
    }

    /// The calls that install, with the environment's place left out.
    fn calls(folder: &Path, root: &Path) -> Vec<String> {
        let calls = fs_err::read_to_string(folder.join("calls")).unwrap_or_default();
        calls
            .lines()
            .filter(|line| !line.contains("python find") && !line.contains("-I -c"))
            .map(|line| line.replace(&root.display().to_string(), "ROOT"))
            .collect()
    }

    const PYPROJECT: (&str, &str) = ("pyproject.toml", "[project]\nname='x'\ndependencies=['click>=8']\n");

    #[test]
    fn which_commands_make_it() {
        for (tools, files, expected) in [
            (
                &["uv", "python3"][..],
                &[("uv.lock", ""), ("requirements.txt", "a"), PYPROJECT][..],
                &["uv sync --frozen --no-dev --color never"][..],
            ),
            (
                &["uv"],
                &[("requirements.txt", "a"), PYPROJECT],
                &[
                    "uv venv --color never ROOT",
                    "uv pip install --color never --python ROOT/bin/python -r requirements.txt",
                ],
            ),
            (
                &["uv"],
                &[PYPROJECT],
                &[
                    "uv venv --color never ROOT",
                    "uv pip install --color never --python ROOT/bin/python -r pyproject.toml",
                ],
            ),
            (
                &["python3"],
                &[("requirements.txt", "a")],
                &[
                    "python3 -m venv ROOT",
                    "python -m pip install --disable-pip-version-check --no-input --no-color -r requirements.txt",
                ],
            ),
            (
                &["python3"],
                &[PYPROJECT],
                &[
                    "python3 -m venv ROOT",
                    "python -m pip install --disable-pip-version-check --no-input --no-color click>=8",
                ],
            ),
            (
                &["python3"],
                &[("pyproject.toml", "[build-system]\nrequires=[]\n[project]\nname='x'")],
                &[
                    "python3 -m venv ROOT",
                    "python -m pip install --disable-pip-version-check --no-input --no-color -e .",
                ],
            ),
        ] {
            let folder = folder(tools, files);
            let root = run(folder.path(), &Silent).unwrap();
            assert_eq!(calls(folder.path(), &root), expected);
        }
    }

    #[test]
    fn it_is_made_once_until_something_changes() {
        let folder = folder(
            &["uv"],
            &[("requirements.txt", "-r more.txt\n-c limits.txt"), ("more.txt", "a"), ("limits.txt", "a<2")],
        );
        let first = run(folder.path(), &Silent).unwrap();
        let made = calls(folder.path(), &first).len();
        assert_eq!(run(folder.path(), &Silent).unwrap(), first);
        assert_eq!(calls(folder.path(), &first).len(), made);
        for name in ["more.txt", "limits.txt"] {
            fs_err::write(folder.path().join("app").join(name), "a<3").unwrap();
            assert_ne!(run(folder.path(), &Silent).unwrap(), first, "{name}");
        }
    }

    #[test]
    fn what_was_begun_and_not_completed_is_made_again() {
        let folder = folder(&["uv"], &[("requirements.txt", "a")]);
        let root = run(folder.path(), &Silent).unwrap();
        fs_err::remove_file(root.with_extension("complete")).unwrap();
        fs_err::write(root.join("rest"), "").unwrap();
        assert_eq!(run(folder.path(), &Silent).unwrap(), root);
        assert!(!root.join("rest").exists() && root.with_extension("complete").exists());
    }

    #[test]
    fn a_tool_that_fails_is_shown() {
        let folder =
            folder(&["python3"], &[("pyproject.toml", "[project]\nname='x'\ndependencies=['fail']")]);
        let error = run(folder.path(), &Silent).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("`python -m pip install") && text.ends_with("one\ntwo"), "{text}");
        assert!(error.help().unwrap().contains("--no-provision"));
    }

    #[test]
    fn without_tool_file_or_uv() {
        let nothing = folder(&["uv"], &[]);
        assert!(matches!(run(nothing.path(), &Silent), Err(ProvisionError::NothingToInstall(_))));
        let no_tool = folder(&[], &[("requirements.txt", "a")]);
        assert!(matches!(run(no_tool.path(), &Silent), Err(ProvisionError::NoTool)));
        let no_uv = folder(&["python3"], &[("uv.lock", ""), PYPROJECT]);
        let progress = Collected::default();
        run(no_uv.path(), &progress).unwrap();
        assert_eq!(progress.warnings()[0].subject, "uv.lock");
    }
}
