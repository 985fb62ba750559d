//! The errors of the module: [`MarshalError`] for one file, [`BytecodeError`] for a build step.

use std::path::PathBuf;

use crate::error::{Advice, FileError};
use crate::printable;
use crate::python::interpreter::RunError;
use crate::tree::{ContentError, ImagePath};

/// An invalid or unsupported `.pyc` file or marshalled code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarshalError {
    /// A file without a magic number.
    #[error("not a .pyc file")]
    NotBytecode,
    /// Bytecode of a Python with unsupported code objects.
    #[error("unsupported bytecode of {release} (magic number {magic}); CPython 3.9 to 3.15 are supported")]
    OtherPython {
        /// The magic number: the first two bytes of `importlib.util.MAGIC_NUMBER`.
        magic: u16,
        /// The release series of this number, if known: `Python 3.8`.
        release: String,
    },
    /// A header with flags outside PEP 552.
    #[error("unknown flags {0:#x} in the header")]
    Flags(u32),
    /// A time stamp in the header, with no source hash given to replace that.
    #[error("source hash not found: the header has a time stamp")]
    NoHash,
    /// A stream that ends in the middle of a value.
    #[error("unexpected end at byte {0}")]
    Truncated(usize),
    /// Bytes after the code.
    #[error("unexpected data after the code, at byte {0}")]
    Trailing(usize),
    /// A type written by no compiler, or absent from this version of the format.
    #[error("unknown type {kind:#04x} at byte {at}")]
    Type {
        /// The type's byte.
        kind: u8,
        /// The offset in bytes.
        at: usize,
    },
    /// A value with invalid bytes for its type.
    #[error("invalid {expected} at byte {at}")]
    Value {
        /// The expected type.
        expected: &'static str,
        /// The offset in bytes.
        at: usize,
    },
    /// A reference to an undefined value.
    #[error("invalid reference to value {index} at byte {at}")]
    Reference {
        /// The reference's number.
        index: u32,
        /// The offset in bytes.
        at: usize,
    },
    /// A value that contains itself. No compiler writes one.
    #[error("reference cycle at byte {0}")]
    Cycle(usize),
    /// A value nested more deeply than Python reads.
    #[error("nested more than {0} levels deep")]
    TooDeep(usize),
    /// A file larger than any compiler's output.
    #[error("{0} bytes exceed the size limit")]
    TooLarge(usize),
    /// Sets with too expensive an ordering.
    #[error("sets too complex to be ordered")]
    TooIntricate,
}

/// An error in preparing bytecode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BytecodeError {
    /// An unreadable source.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A cache directory that cannot be created or written.
    #[error("cannot use the bytecode cache: {0}")]
    Cache(FileError),
    /// An interpreter that does not start, or does not answer as Python.
    #[error("cannot run the interpreter {}", printable::path(.interpreter))]
    Interpreter {
        /// The interpreter.
        interpreter: PathBuf,
        /// The cause.
        source: RunError,
    },
    /// An interpreter of another version than its files have.
    #[error(
        "cannot run the interpreter {}: expected the magic number {expected}, found {found} of version {hexversion:#x}",
        printable::path(.interpreter)
    )]
    OtherMagic {
        /// The interpreter.
        interpreter: PathBuf,
        /// The magic number of its files.
        expected: u16,
        /// The magic number that it reports.
        found: u16,
        /// Its `sys.hexversion`.
        hexversion: u32,
    },
    /// An interpreter that ended or gave an invalid answer during compilation.
    #[error("cannot compile {path} with {}", printable::path(.interpreter))]
    Worker {
        /// The interpreter.
        interpreter: PathBuf,
        /// The last source sent.
        path: ImagePath,
        /// The cause.
        source: RunError,
    },
    /// Unsupported code from the interpreter: a bug of this program, or of the interpreter.
    #[error("cannot read the code of {path} compiled by {}: {error}", printable::path(.interpreter))]
    Compiled {
        /// The interpreter.
        interpreter: PathBuf,
        /// The source.
        path: ImagePath,
        /// The parse error.
        error: MarshalError,
    },
}

impl Advice for MarshalError {
    fn help(&self) -> Option<String> {
        match self {
            Self::OtherPython { .. } => {
                Some("make the virtual environment with CPython 3.9 to 3.15".to_owned())
            }
            _ => Some("delete the .pyc file, to compile its source again".to_owned()),
        }
    }
}

impl Advice for BytecodeError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Content(error) => error.help(),
            Self::Cache(_) => Some("name a writable directory for the cache".to_owned()),
            Self::Interpreter { .. } | Self::OtherMagic { .. } => Some(
                "check that the interpreter runs on this machine, or use `--bytecode keep` to \
                 include installed bytecode without running it"
                    .to_owned(),
            ),
            Self::Worker { .. } => Some(
                "run the interpreter on that file with `-m py_compile`, or use `--bytecode keep` to compile nothing"
                    .to_owned(),
            ),
            Self::Compiled { .. } => {
                Some("use `--bytecode keep` to compile nothing, and report this".to_owned())
            }
        }
    }
}
