//! Bytecode: a `.pyc` file for every source, the same whoever compiled it and wherever.
//!
//! Python takes a `.pyc` of PEP 552's unchecked kind whatever the time stamps of an image are, so that
//! is what goes in, with the right source hash. Its code is written anew in a canonical form
//! ([`canonicalize`]): the path in the image as file name in every code object, and references,
//! interned strings and the order of frozensets decided by the code's value alone, where CPython's
//! `marshal` lets reference counts and hash seeds of the compiling process show. So pip, uv and
//! `compileall` give one result, and a wheel one layer.
//!
//! What an installer compiled is used if it belongs to its source and can be read; the rest is compiled
//! with the environment's own interpreter and kept in a cache directory ([`entries`]). CPython 3.9 to
//! 3.15 is known.
//!
//! Left to others: which sources go into an image, and who owns them.

mod canonical;
mod elsewhere;
mod error;
mod header;
mod interpreter;
mod magic;
mod memo;
mod prepare;
mod read;
mod remarks;
mod store;
#[cfg(test)]
mod tests;
mod validity;
mod value;
mod write;

use std::path::{Path, PathBuf};

pub use canonical::{Canonical, SourceOf, canonicalize};
pub use elsewhere::{Elsewhere, elsewhere};
pub use error::{BytecodeError, MarshalError};
pub use prepare::{entries, prepare};
pub use remarks::warn_of_refused;

use serde::{Deserialize, Serialize};

use crate::progress::Progress;
use crate::tree::{Content, HostFile, ImagePath, Owner};

/// A `.py` file that goes into the image.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it stands in the image. What does not end in `.py` gets no bytecode.
    pub path: ImagePath,
    /// Its bytes.
    pub content: Content,
    /// The bytecode that an installer left: `__pycache__/x.cpython-311.pyc` beside it. It is used only if
    /// `content` is a file of this machine as it is.
    pub pyc: Option<HostFile>,
    /// To whom it, and its bytecode, is accounted.
    pub owner: Owner,
}

/// What to do about bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Take what is there and valid; compile nothing.
    Keep,
    /// Compile what is missing or stale, too.
    #[default]
    Compile,
    /// No bytecode in the image.
    Strip,
}

/// How much of an installer's bytecode is looked at before it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Whether it names the time and size of its source, and this Python. Whether its code can be read shows when it is:
    /// then it is an error.
    Header,
    /// All of it: what is taken can be read.
    #[default]
    Whole,
}

/// The interpreter that will run the bytecode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Python {
    /// The program: the environment's `bin/python`.
    pub executable: PathBuf,
    /// Major and minor version.
    pub version: (u8, u8),
    /// `sys.implementation.cache_tag`: `cpython-311`.
    pub cache_tag: String,
    /// The first two bytes of `importlib.util.MAGIC_NUMBER`; the interpreter is asked when it is
    /// needed and not known.
    pub magic: Option<u16>,
    /// The level of `-O` and `PYTHONOPTIMIZE` that it will run with. Python looks for bytecode of its own level alone:
    /// `x.cpython-311.pyc` or `x.cpython-311.opt-1.pyc`.
    pub optimize: u8,
}

/// A source that does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The source in the image.
    pub path: ImagePath,
    /// The compiler's own words, with the line.
    pub reason: Option<String>,
}

/// What bytecode is wanted.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The sources.
    pub sources: &'a [Source],
    /// Whose bytecode.
    pub python: &'a Python,
    /// What to do.
    pub mode: Mode,
    /// How much is looked at.
    pub check: Check,
    /// A directory for what was compiled, which may not exist yet. It can be deleted at any time
    /// between builds.
    pub cache: &'a Path,
    /// A directory for what cannot be kept there. The entries are of files in it, as long as it is there.
    pub work: &'a Path,
    /// Who hears of it.
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("sources", &self.sources.len())
            .field("python", self.python)
            .field("mode", &self.mode)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Reads what a cache has of bytecode, behind a right seal or none, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    memo::fuzz(bytes);
    store::fuzz(bytes);
}
