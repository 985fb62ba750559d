//! The Python interpreter that a virtual environment runs on: which one it is, and its files.
//!
//! Owns the layout of a CPython installation as CPython's own `Modules/getpath.py` finds it: a prefix
//! with `bin/python3.X` and a standard library `lib/python3.X` that holds `os.py`, with its C
//! modules in `lib-dynload`. Three kinds are told apart: a distribution's under `/usr`, one with
//! a prefix of its own (pyenv, python.org, Docker's `/usr/local`) and the standalone builds that uv installs.
//! Shared libraries outside the prefix, and search paths inside ELF files, are left to
//! [`crate::system`]; bytecode is left to the bytecode room, which gets [`PySource`]s.

mod discover;
mod executable;
mod files;
mod find;
mod rewrite;
mod trim;
mod version;

use std::path::PathBuf;

pub use executable::Architecture;
pub use files::{Headers, InterpreterFiles, InterpreterOptions, PySource, SitePackages};
pub use find::find;
pub use trim::{DEFAULT_TRIM, TrimPattern};
pub(crate) use version::{from_patchlevel as full_version_of_header, split as version_of_text};

use crate::error::{Advice, FileError};
use crate::printable;
use crate::progress::Warning;
use crate::python::venv::PythonVersion;
use crate::tree::ContentError;

/// An interpreter of this machine.
#[derive(Debug, Clone)]
pub struct Interpreter {
    /// The program itself, no link: `/usr/bin/python3.11`.
    pub executable: PathBuf,
    /// Its version in numbers.
    pub version: PythonVersion,
    /// The version as `platform.python_version()` gives it: `3.11.7`, `3.15.0a2`.
    pub full_version: String,
    /// `sys.base_prefix`: the directory that holds `bin` and `lib`.
    pub prefix: PathBuf,
    /// The standard library: `lib/python3.11` below the prefix, `lib64/python3.11` on Fedora.
    pub stdlib: PathBuf,
    /// Its C modules. A build may have all of them inside the program.
    pub lib_dynload: Option<PathBuf>,
    /// `libpython3.11.so.1.0` below the prefix, where the program needs one.
    pub libpython: Option<PathBuf>,
    /// The directory of `Python.h`, where it is installed.
    pub include: Option<PathBuf>,
    /// `sys.implementation.cache_tag`: `cpython-311`, the middle of the name of a `.pyc`.
    pub cache_tag: String,
    /// `sysconfig`'s `SOABI`: `cpython-311-x86_64-linux-gnu`, the middle of the name of a C module.
    pub soabi: Option<String>,
    /// How it is laid out.
    pub flavor: Flavor,
    /// What it runs on.
    pub architecture: Architecture,
    /// The prefix that its build configuration names, where that is another than [`Self::prefix`]:
    /// standalone builds say `/install`.
    pub configured_prefix: Option<String>,
    /// What a person should know about it.
    pub warnings: Vec<Warning>,
}

/// How an interpreter is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// Debian's and its descendants': under `/usr`, system modules in `dist-packages`.
    Debian,
    /// Another distribution's under `/usr`.
    System,
    /// A prefix of its own: pyenv, python.org's `make install`, Docker's `/usr/local`, Conda.
    Prefix,
    /// A standalone build (python-build-standalone), as uv and others install it: `lib` holds all
    /// it needs but the C library.
    Standalone,
}

/// An interpreter that cannot go into an image.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// The operating system refused something.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the interpreter could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The environment's link leads nowhere.
    #[error("the interpreter of the virtual environment is gone: {} points to {}, which is not there", printable::path(.link), printable::path(.target))]
    Dangling {
        /// The link that has no target.
        link: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// A copied environment whose base cannot be found.
    #[error("{} is a copy of an interpreter whose installation was not found{}", printable::path(.copy), at(.home.as_ref()))]
    NoBase {
        /// The copy.
        copy: PathBuf,
        /// Where `pyvenv.cfg` says that the base is.
        home: Option<PathBuf>,
    },
    /// A shim or wrapper.
    #[error("{} is a script, not the interpreter itself", printable::path(.0))]
    Script(PathBuf),
    /// Neither an ELF file nor a script.
    #[error("{} is not a program that Linux runs (ELF)", printable::path(.0))]
    NotExecutable(PathBuf),
    /// PyPy, GraalPy and the like.
    #[error("{} is {implementation}, and only CPython can be put into an image", printable::path(.executable))]
    OtherImplementation {
        /// The program.
        executable: PathBuf,
        /// What it is.
        implementation: String,
    },
    /// It is older than what is understood.
    #[error("{} is Python {version}, and 3.9 is the oldest that is supported", printable::path(.executable))]
    TooOld {
        /// The program.
        executable: PathBuf,
        /// Its version.
        version: String,
    },
    /// No `os.py` where CPython looks for it.
    #[error("{} has no standard library: there is no {}", printable::path(.executable), printable::path(.expected))]
    NoStandardLibrary {
        /// The program.
        executable: PathBuf,
        /// The landmark that should be there.
        expected: PathBuf,
    },
    /// Neither its name nor its files nor itself tell its version.
    #[error("cannot find out which version of Python {} is: {reason}", printable::path(.executable))]
    UnknownVersion {
        /// The program.
        executable: PathBuf,
        /// What happened when it was asked.
        reason: String,
    },
    /// A pattern of what to leave out makes no sense.
    #[error("`{pattern}` cannot be left out of the standard library: {reason}")]
    Pattern {
        /// As it was written.
        pattern: String,
        /// What is the matter with it.
        reason: &'static str,
    },
}

fn at(home: Option<&PathBuf>) -> String {
    home.map(|home| format!(" at {}, where its pyvenv.cfg says it is", home.display())).unwrap_or_default()
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
            Self::UnknownVersion { .. } => {
                Some("see whether it starts on this machine, or make the environment with another one".to_owned())
            }
            Self::Pattern { .. } => Some(
                "write a path below the standard library, such as `idlelib` or `lib-dynload/_tkinter*`".to_owned(),
            ),
        }
    }
}
