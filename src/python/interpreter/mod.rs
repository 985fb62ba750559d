//! The Python interpreter of a virtual environment: its version and its files.
//!
//! Owns the layout of a CPython installation as found by CPython's own `Modules/getpath.py`: a
//! prefix with `bin/python3.X` and the standard library `lib/python3.X` with `os.py`, and C modules
//! in `lib-dynload`. Three kinds of installation are distinguished: a distribution's under `/usr`,
//! one with its own prefix (pyenv, python.org, Docker's `/usr/local`) and the standalone builds
//! installed by uv. Leaves shared libraries outside the prefix, and search paths inside ELF files,
//! to [`crate::system`], and bytecode to [`crate::python::bytecode`], which gets
//! [`InterpreterSource`]s.

mod discover;
mod executable;
mod files;
mod find;
mod rewrite;
mod run_error;
mod search;
mod trim;
mod unpacked;
mod version;

use std::path::PathBuf;

pub use executable::Architecture;
pub use files::{DevelopmentFiles, InterpreterFiles, InterpreterOptions, InterpreterSource, SitePackages};
pub use find::find;
pub use run_error::RunError;
#[cfg(feature = "apt")]
pub(crate) use search::MINORS;
pub use search::{FoundInterpreters, InterpreterSearch};
pub use trim::{DEFAULT_TRIM, TrimPattern};
pub(crate) use version::{from_patchlevel as full_version_of_header, split as version_of_text};

use crate::error::{Advice, FileError};
use crate::printable;
use crate::progress::Warning;
use crate::python::environment::version::PythonVersion;
use crate::tree::ContentError;

/// An interpreter of this machine.
#[derive(Debug, Clone)]
pub struct Interpreter {
    /// The program itself, without links: `/usr/bin/python3.11`.
    pub executable: PathBuf,
    /// The version as numbers.
    pub version: PythonVersion,
    /// The version as `platform.python_version()` gives it: `3.11.7`, `3.15.0a2`.
    pub full_version: String,
    /// `sys.base_prefix`: the directory with `bin` and `lib`.
    pub prefix: PathBuf,
    /// The standard library: `lib/python3.11` below the prefix, `lib64/python3.11` on Fedora.
    pub stdlib: PathBuf,
    /// The C modules' directory. A build may have all of them inside the program.
    pub lib_dynload: Option<PathBuf>,
    /// `libpython3.11.so.1.0` below the prefix, if the program needs one.
    pub libpython: Option<PathBuf>,
    /// The directory of `Python.h`, if installed.
    pub include: Option<PathBuf>,
    /// `sys.implementation.cache_tag`: `cpython-311`, the tag in the name of a `.pyc`.
    pub cache_tag: String,
    /// `sysconfig`'s `SOABI`: `cpython-311-x86_64-linux-gnu`, the tag in the name of a C module.
    pub soabi: Option<String>,
    /// The layout.
    pub flavor: Flavor,
    /// The architecture.
    pub architecture: Architecture,
    /// The prefix in the build configuration, if different from [`Self::prefix`]: `/install` for
    /// standalone builds.
    pub configured_prefix: Option<String>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// The layout of an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// Debian's and its descendants': under `/usr`, system modules in `dist-packages`.
    Debian,
    /// Another distribution's under `/usr`.
    System,
    /// A prefix of its own: pyenv, python.org's `make install`, Docker's `/usr/local`, Conda.
    Prefix,
    /// A standalone build (python-build-standalone), as installed by uv and others: `lib` has
    /// everything but the C library.
    Standalone,
}

/// An error in finding or collecting an interpreter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterpreterError {
    /// A failed operation of the operating system.
    #[error(transparent)]
    File(#[from] FileError),
    /// An unreadable file of the interpreter.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A dangling link in the environment.
    #[error("interpreter of the virtual environment not found: {} points to {}, which does not exist", printable::path(.link), printable::path(.target))]
    Dangling {
        /// The link without a target.
        link: PathBuf,
        /// The missing target.
        target: PathBuf,
    },
    /// A copied environment without a base.
    #[error("installation of the copied interpreter {} not found{}", printable::path(.copy), at(.home.as_ref()))]
    NoBase {
        /// The copy.
        copy: PathBuf,
        /// The base's directory according to `pyvenv.cfg`.
        home: Option<PathBuf>,
    },
    /// A shim or wrapper.
    #[error("cannot use {} as the interpreter: a script", printable::path(.0))]
    Script(PathBuf),
    /// Neither an ELF file nor a script.
    #[error("cannot use {} as the interpreter: not an ELF program", printable::path(.0))]
    NotExecutable(PathBuf),
    /// PyPy, GraalPy and similar interpreters.
    #[error("unsupported interpreter {}: {implementation} is not CPython", printable::path(.executable))]
    OtherImplementation {
        /// The program.
        executable: PathBuf,
        /// The implementation's name.
        implementation: String,
    },
    /// A version older than the oldest supported one.
    #[error("unsupported interpreter {}: Python {version} is older than 3.9", printable::path(.executable))]
    TooOld {
        /// The program.
        executable: PathBuf,
        /// The version.
        version: String,
    },
    /// A standard library without CPython's landmark `os.py`.
    #[error("standard library of {} not found: {} does not exist", printable::path(.executable), printable::path(.expected))]
    NoStandardLibrary {
        /// The program.
        executable: PathBuf,
        /// The missing landmark.
        expected: PathBuf,
    },
    /// A version found neither by name, nor by running the program.
    #[error("cannot determine the Python version of {}", printable::path(.executable))]
    UnknownVersion {
        /// The program.
        executable: PathBuf,
        /// The failure of the run.
        source: RunError,
    },
    /// A micro version found neither in files, nor by running the program.
    #[error(
        "cannot determine the Python version of {}: it does not run on this machine, and neither patchlevel.h nor pyvenv.cfg was found",
        printable::path(.0)
    )]
    UnknownMicroVersion(PathBuf),
    /// An invalid trim pattern.
    #[error("invalid trim pattern `{pattern}`: {reason}")]
    Pattern {
        /// The pattern as written.
        pattern: String,
        /// The defect.
        reason: &'static str,
    },
}

fn at(home: Option<&PathBuf>) -> String {
    home.map(|home| format!(" in {}, the home in its pyvenv.cfg", home.display())).unwrap_or_default()
}

impl Advice for InterpreterError {
    fn help(&self) -> Option<String> {
        const AGAIN: &str = "make the environment again (`uv venv --clear` or `python3 -m venv --clear .venv`) and \
                             install the dependencies into it";
        match self {
            Self::File(error) => error.help(),
            Self::Content(error) => error.help(),
            Self::Dangling { .. } | Self::NoBase { .. } => Some(AGAIN.to_owned()),
            Self::Script(_) | Self::NotExecutable(_) => {
                Some(format!("{AGAIN}, with the interpreter itself instead of a shim or wrapper"))
            }
            Self::OtherImplementation { .. } => Some(format!("{AGAIN}, with CPython")),
            Self::TooOld { .. } => Some(format!("{AGAIN}, with Python 3.9 or newer")),
            Self::NoStandardLibrary { .. } => Some(
                "install the rest of this Python (Debian: apt-get install python3), or make the environment with \
                 another one"
                    .to_owned(),
            ),
            Self::UnknownVersion { .. } | Self::UnknownMicroVersion(_) => {
                Some("check that the interpreter starts on this machine, or make the environment with another one".to_owned())
            }
            Self::Pattern { .. } => Some(
                "write a path below the standard library, such as `idlelib` or `lib-dynload/_tkinter*`".to_owned(),
            ),
        }
    }
}
