//! [`VenvError`]: the errors of reading a virtual environment.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Advice, FileError};
use crate::platform::Platform;
use crate::plural::counted;
use crate::printable;
use crate::python::metadata::record::RecordError;
use crate::tree::{ContentError, PathError};

/// A distribution with compiled modules for another platform or Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignWheel {
    /// Its normalized name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The evidence: a tag, or a module.
    pub evidence: String,
}

impl fmt::Display for ForeignWheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.version, self.evidence)
    }
}

/// Errors of reading a virtual environment or of taking it into an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VenvError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file could not be read, or changed since it was listed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A name is invalid in paths of an image.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The path is missing or not a directory.
    #[error("virtual environment not found at {}: {reason}", printable::path(.path))]
    Absent {
        /// The searched path.
        path: PathBuf,
        /// The reason.
        reason: &'static str,
    },
    /// The directory is not a virtual environment.
    #[error("cannot use {} as a virtual environment: {found}", printable::path(.path))]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The kind of the directory.
        found: ForeignKind,
    },
    /// `bin/python` is missing.
    #[error("interpreter not found in the virtual environment {}: bin/python is missing", printable::path(.path))]
    NoInterpreter {
        /// The environment's directory.
        path: PathBuf,
    },
    /// A link on the way to the interpreter is dangling.
    #[error("interpreter of the virtual environment not found: {} links to {}, which does not exist", printable::path(.link), printable::path(.target))]
    Dangling {
        /// The last existing link.
        link: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// The interpreter's version is unknown or not CPython's.
    #[error("cannot use the interpreter of {}: {reason}", printable::path(.path))]
    Interpreter {
        /// The environment's directory.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The interpreter and the directory of packages have different versions.
    #[error("cannot use the virtual environment {}: it runs Python {interpreter}, and its packages are in {packages}", printable::path(.path))]
    OtherVersion {
        /// The environment's directory.
        path: PathBuf,
        /// `major.minor` of the interpreter.
        interpreter: String,
        /// The directory below the environment: `lib/python3.10/site-packages`.
        packages: String,
    },
    /// The image's base has another Python than the environment was made for.
    #[error("cannot use the virtual environment {}: it is for Python {environment}, and the base has Python {base}", printable::path(.path))]
    OtherPython {
        /// The environment's directory.
        path: PathBuf,
        /// The version of the environment: `3.11`, `3.13t`.
        environment: String,
        /// The version of the base's interpreter.
        base: String,
    },
    /// Compiled modules are for another platform.
    #[error("cannot use the virtual environment {}: it is not for {platform}: {}", printable::path(.path), wheels_named(.wheels))]
    ForeignWheels {
        /// The environment's directory.
        path: PathBuf,
        /// The image's platform.
        platform: Box<Platform>,
        /// The wheels for another platform, ordered by name.
        wheels: Vec<ForeignWheel>,
    },
    /// The directory of packages is missing.
    #[error("{expected} not found in the virtual environment {}", printable::path(.path))]
    NoSitePackages {
        /// The environment's directory.
        path: PathBuf,
        /// The missing directory below the environment.
        expected: String,
    },
    /// A file of a distribution violates its specification.
    #[error("cannot read {}: {reason}", printable::path(.path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The violated rule.
        reason: &'static str,
    },
    /// The RECORD of a distribution has an invalid row.
    #[error("cannot read {}", printable::path(.path))]
    Record {
        /// The file.
        path: PathBuf,
        /// The violated rule.
        source: RecordError,
    },
    /// Files listed in RECORD are missing.
    #[error("cannot include {distribution} {version}: incomplete, its RECORD lists {}", files_missing(.files, *.count))]
    MissingFiles {
        /// The distribution's name.
        distribution: String,
        /// Its version.
        version: String,
        /// The first missing files, below the environment.
        files: Vec<String>,
        /// The number of missing files.
        count: usize,
    },
    /// RECORD lists a file outside the environment.
    #[error(
        "cannot include {distribution} {version}: its RECORD lists `{row}`, which is outside the virtual environment"
    )]
    Escapes {
        /// The distribution's name.
        distribution: String,
        /// Its version.
        version: String,
        /// The path, verbatim.
        row: String,
    },
    /// Two versions of one distribution are installed.
    #[error("cannot include {distribution}: installed twice, in {} and {}", printable::path(.first), printable::path(.second))]
    Twice {
        /// The normalized name.
        distribution: String,
        /// One metadata directory.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A name in the environment is not UTF-8.
    #[error("invalid name {}: not UTF-8", printable::path(.0))]
    NotUtf8(PathBuf),
    /// The environment contains a device, socket or pipe.
    #[error("cannot include {}: neither a file, nor a directory, nor a link", printable::path(.0))]
    Special(PathBuf),
    /// A file exceeds the size limit of its kind.
    #[error("cannot read {}: {size} bytes exceed the limit of {limit}", printable::path(.path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// An editable install builds or finds its modules on the build machine at import.
    #[error(
        "cannot include {distribution}: an editable install of {backend}, which works only on the machine that built it ({file})"
    )]
    EditableLoader {
        /// The distribution's name.
        distribution: String,
        /// The build backend.
        backend: &'static str,
        /// The loader's file, below the environment.
        file: String,
    },
    /// The path in the image cannot be part of a script's first line.
    #[error("cannot place the virtual environment at {path}: {reason}")]
    Prefix {
        /// The path.
        path: String,
        /// The reason.
        reason: &'static str,
    },
    /// A compiled module of a distribution was overwritten by another one that is excluded with its
    /// libraries.
    #[error("cannot include {} {}: {}", .0.distribution, .0.version, .0.as_warning())]
    Overwritten(Box<Overwritten>),
    /// A selected distribution is not installed.
    #[error("distribution not found in the virtual environment: {0}")]
    NotInstalled(String),
}

/// Files recorded by a selected distribution and overwritten by one that is not selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwritten {
    /// The name of the selected distribution.
    pub distribution: String,
    /// Its version.
    pub version: String,
    /// The name of the distribution that overwrote the files.
    pub by: String,
    /// Its version.
    pub by_version: String,
    /// One of the files, below the environment.
    pub file: String,
    /// The number of further files.
    pub others: usize,
}

impl Overwritten {
    /// Returns the clause whose subject is the selected distribution or one of its files.
    pub(in crate::python) fn as_warning(&self) -> String {
        let Self { by, by_version, file, others, .. } = self;
        let more = match *others {
            0 => String::new(),
            others => format!(" and {}", counted(others as u64, "more file")),
        };
        format!("{by} {by_version}, which is left out, overwrote {file}{more}")
    }

    pub(in crate::python) fn help(&self) -> String {
        let Self { distribution, by, .. } = self;
        format!(
            "declare {by} in place of {distribution}, or uninstall {by} and install {distribution} again, with \
             `uv pip install --reinstall {distribution}` or `pip install --force-reinstall {distribution}`"
        )
    }
}

/// Directories mistaken for a virtual environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignKind {
    /// With `conda-meta`.
    #[error("conda environment")]
    Conda,
    /// With `Scripts`, or an interpreter that ends in `.exe`.
    #[error("made on Windows")]
    Windows,
    /// Without `pyvenv.cfg`.
    #[error("pyvenv.cfg not found")]
    NoConfig,
    /// With the distributions of its interpreter, by `--system-site-packages`.
    #[error("made with --system-site-packages")]
    SystemSitePackages,
}

impl Advice for VenvError {
    fn help(&self) -> Option<String> {
        let again = "make it again, with `uv sync` or `python3 -m venv` and pip";
        Some(match self {
            Self::File(error) => return error.help(),
            Self::Content(ContentError::Changed(_)) => {
                "build again when nothing installs into the virtual environment".to_owned()
            }
            Self::Content(error) => return error.help(),
            Self::Path(error) => return error.help(),
            Self::Absent { .. } => {
                "name a virtual environment with --venv, or make one with `uv venv` or `python3 -m venv .venv`"
                    .to_owned()
            }
            Self::Foreign { found: ForeignKind::Conda, .. } => {
                "make a virtual environment with `uv venv` or `python3 -m venv` and install with pip: conda's \
                 packages are not taken into images"
                    .to_owned()
            }
            Self::Foreign { found: ForeignKind::Windows, .. } => {
                "make the virtual environment on Linux: its compiled modules must be Linux's".to_owned()
            }
            Self::Foreign { found: ForeignKind::SystemSitePackages, .. } => {
                "make it without --system-site-packages, since no lock names the distributions of this machine's \
                 Python: `uv sync`, or `python3 -m venv .venv` and pip; without an environment, a build makes one"
                    .to_owned()
            }
            Self::Foreign { found: ForeignKind::NoConfig, .. } => {
                "name the directory that holds pyvenv.cfg with --venv".to_owned()
            }
            Self::NoInterpreter { .. } | Self::OtherVersion { .. } | Self::NoSitePackages { .. } => {
                format!("{again}: the environment is broken, or was made for another Python")
            }
            Self::Dangling { target, .. } => {
                format!("install that Python at {} again, or {again}", target.display())
            }
            Self::OtherPython { environment, base, .. } => format!(
                "make it with the base's version, such as with `uv venv --python {base}`, or choose a base with Python \
                 {environment}"
            ),
            Self::ForeignWheels { platform, .. } => format!(
                "name an environment that was made for it with --venv {platform}=DIR: on such a machine, or with \
                 `uv pip install --python-platform {}-unknown-linux-gnu`",
                platform.machine()
            ),
            Self::Interpreter { .. } => "use a virtual environment of CPython 3.9 to 3.15".to_owned(),
            Self::Malformed { .. } | Self::Record { .. } | Self::TooLarge { .. } => {
                "install the distribution again, with `uv pip install --reinstall` or \
                 `pip install --force-reinstall`"
                    .to_owned()
            }
            Self::MissingFiles { distribution, version, .. } => format!(
                "install it again: `uv pip install --reinstall {distribution}=={version}` or \
                 `pip install --force-reinstall {distribution}=={version}`"
            ),
            Self::Escapes { distribution, .. } => {
                format!("install {distribution} again from a source you trust; files of an image come from the environment")
            }
            Self::Twice { distribution, .. } => {
                format!("uninstall and install {distribution} again, so that one version is left")
            }
            Self::NotUtf8(_) => "rename it: the paths of an image are UTF-8".to_owned(),
            Self::Special(_) => "remove it from the virtual environment".to_owned(),
            Self::EditableLoader { distribution, .. } => {
                format!("install {distribution} without -e (with uv: `uv sync --no-editable`)")
            }
            Self::Overwritten(overwritten) => overwritten.help(),
            Self::Prefix { .. } => "choose another working directory for the image".to_owned(),
            Self::NotInstalled(name) => {
                format!("install it, with `uv add {name}` or `pip install {name}`, or leave it out")
            }
        })
    }
}

/// The number of wheels in an error.
const WHEELS_SHOWN: usize = 5;

fn wheels_named(wheels: &[ForeignWheel]) -> String {
    let mut named: Vec<_> = wheels.iter().take(WHEELS_SHOWN).map(ToString::to_string).collect();
    if let Some(more) = wheels.len().checked_sub(WHEELS_SHOWN).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

/// Lists the first files and the number of the rest.
fn files_missing(files: &[String], count: usize) -> String {
    let shown = files.join(", ");
    match count.saturating_sub(files.len()) {
        0 if count == 1 => format!("{shown}, which is missing"),
        0 => format!("{shown}, which are missing"),
        more => format!("{shown} and {}, which are missing", counted(more as u64, "more file")),
    }
}
