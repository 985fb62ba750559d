//! What can go wrong with bytecode.

use std::path::PathBuf;

use crate::error::{Advice, FileError};
use crate::printable;
use crate::tree::{ContentError, ImagePath};

/// A `.pyc` file, or marshalled code, that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarshalError {
    /// It does not begin with a magic number.
    #[error("it is not a .pyc file")]
    NotBytecode,
    /// It is the bytecode of a Python whose code objects are not known here.
    #[error("it is bytecode of {release} (magic number {magic}); CPython 3.9 to 3.15 are understood")]
    OtherPython {
        /// The magic number, as `importlib.util.MAGIC_NUMBER` has it in its first two bytes.
        magic: u16,
        /// The release series that used it, as far as it is known: `Python 3.8`.
        release: String,
    },
    /// Its header has a flag that PEP 552 does not know.
    #[error("its header has unknown flags ({0:#x})")]
    Flags(u32),
    /// It carries a time stamp, and no source hash was given to put in its place.
    #[error("it carries a time stamp and no source hash")]
    NoHash,
    /// It ends in the middle of a value.
    #[error("it ends too early, at byte {0}")]
    Truncated(usize),
    /// Something follows the code.
    #[error("something follows the code at byte {0}")]
    Trailing(usize),
    /// A type that no compiler writes, or that this version of the format does not have.
    #[error("it holds a value of the unknown type {kind:#04x} at byte {at}")]
    Type {
        /// The type's byte.
        kind: u8,
        /// Bytes from the start.
        at: usize,
    },
    /// A value whose bytes cannot be a value of its type.
    #[error("it holds a broken {what} at byte {at}")]
    Value {
        /// What it should be.
        what: &'static str,
        /// Bytes from the start.
        at: usize,
    },
    /// A reference to a value that is not there.
    #[error("it refers to value {index}, which is not there, at byte {at}")]
    Reference {
        /// The reference's number.
        index: u32,
        /// Bytes from the start.
        at: usize,
    },
    /// A value that holds itself. No compiler makes one.
    #[error("it holds a value that refers to itself at byte {0}")]
    Cycle(usize),
    /// Nested more deeply than Python reads.
    #[error("it is nested more than {0} levels deep")]
    TooDeep(usize),
    /// Larger than any compiler's output.
    #[error("it has {0} bytes, more than are read")]
    TooLarge(usize),
    /// Sets whose elements take too long to put in order.
    #[error("its sets are too intricate to be put in order")]
    TooIntricate,
}

/// Why bytecode could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum BytecodeError {
    /// A source that could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The cache directory cannot be made or written.
    #[error("the bytecode cache cannot be used: {0}")]
    Cache(#[source] FileError),
    /// The interpreter does not start, or not as an interpreter.
    #[error("cannot run the interpreter {}: {reason}", printable::path(.interpreter))]
    Interpreter {
        /// The interpreter.
        interpreter: PathBuf,
        /// What the system or the interpreter said.
        reason: String,
    },
    /// The interpreter ended or spoke nonsense in the middle of the work.
    #[error(
        "the interpreter {} failed while it compiled {path}: {reason}",
        printable::path(.interpreter)
    )]
    Worker {
        /// The interpreter.
        interpreter: PathBuf,
        /// The source that it was given last.
        path: ImagePath,
        /// How it ended and what it printed.
        reason: String,
    },
    /// What the interpreter compiled is not understood. A bug of this program, or of the interpreter.
    #[error("the code that {} made of {path} is not understood: {source}", printable::path(.interpreter))]
    Compiled {
        /// The interpreter.
        interpreter: PathBuf,
        /// The source.
        path: ImagePath,
        /// Why.
        source: MarshalError,
    },
}

impl Advice for MarshalError {
    fn help(&self) -> Option<String> {
        match self {
            Self::OtherPython { .. } => {
                Some("make the virtual environment with CPython 3.9 to 3.15".to_owned())
            }
            _ => Some("delete the .pyc file; it is compiled anew from its source".to_owned()),
        }
    }
}

impl Advice for BytecodeError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Content(error) => error.help(),
            Self::Cache(_) => Some("name a writable directory for the cache".to_owned()),
            Self::Interpreter { .. } => Some(
                "check that it runs on this machine; `--bytecode keep` takes what is compiled already, \
                 without running it"
                    .to_owned(),
            ),
            Self::Worker { .. } => Some(
                "run it by hand on that file with `-m py_compile`; `--bytecode keep` compiles nothing"
                    .to_owned(),
            ),
            Self::Compiled { .. } => {
                Some("`--bytecode keep` compiles nothing; please report this".to_owned())
            }
        }
    }
}
