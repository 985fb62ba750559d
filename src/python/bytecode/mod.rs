//! Bytecode: one reproducible `.pyc` file per source, independent of compiler process and machine.
//!
//! Images get PEP 552's unchecked hash-based files, which Python accepts regardless of time stamps,
//! with the right source hash. Their code is rewritten in a canonical form ([`canonicalize`]): the
//! path in the image is the file name of every code object, and references, interned strings and
//! the order of frozensets follow from the code's value alone, while CPython's `marshal` depends on
//! reference counts and hash seeds of the compiling process. So pip, uv and `compileall` give one
//! result, and a wheel one layer.
//!
//! Bytecode of an installer is used if valid for its source and readable; the rest is compiled with
//! the environment's own interpreter and stored in a cache directory ([`entries`]). CPython 3.9 to
//! 3.15 are supported.
//!
//! Leaves to others the choice of sources for an image, and their owners.

mod canonical;
mod compile_memo;
mod compiler;
mod cross_compile;
mod error;
mod header;
mod link;
mod magic;
mod prepare;
mod read;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod validity;
mod value;
mod warnings;
mod write;

use std::path::{Path, PathBuf};

pub use canonical::{Canonical, InstalledSource, canonicalize};
pub use cross_compile::{CrossCompilation, cross_compilation};
pub use error::{BytecodeError, MarshalError};
pub(crate) use link::{PycHeader, PycLink, magic_of};
pub use prepare::{entries, prepare};
pub use warnings::warn_of_refused;

use serde::{Deserialize, Serialize};

use crate::progress::Progress;
use crate::tree::{Content, HostFile, ImagePath, Owner};

/// A `.py` file of the image.
#[derive(Debug, Clone)]
pub struct BytecodeSource {
    /// The path in the image. Files without the suffix `.py` get no bytecode.
    pub path: ImagePath,
    /// The source text.
    pub content: Content,
    /// The installer's bytecode: `__pycache__/x.cpython-311.pyc` beside the source. Used only if
    /// `content` is an unchanged file of this machine.
    pub pyc: Option<HostFile>,
    /// The owner of the source and its bytecode.
    pub owner: Owner,
}

/// The policy for bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BytecodeMode {
    /// Uses valid installed bytecode; compiles nothing.
    Keep,
    /// Also compiles missing or stale bytecode.
    #[default]
    Compile,
    /// No bytecode in the image.
    Strip,
}

/// The depth of the check of an installer's bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BytecodeCheck {
    /// Compares the header with the source's time and size and with this Python. Unreadable code is
    /// found on reading for the layer, as an error.
    Header,
    /// Parses the entire file, so that accepted bytecode is readable.
    #[default]
    Whole,
}

/// The interpreter that will run the bytecode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Python {
    /// The executable: the environment's `bin/python`.
    pub executable: PathBuf,
    /// Major and minor version.
    pub version: (u8, u8),
    /// `sys.implementation.cache_tag`: `cpython-311`.
    pub cache_tag: String,
    /// The first two bytes of `importlib.util.MAGIC_NUMBER`. If unknown, the interpreter is run to
    /// obtain them when needed.
    pub magic: Option<u16>,
    /// The level of `-O` and `PYTHONOPTIMIZE` at run time. Python reads only bytecode of its own
    /// level: `x.cpython-311.pyc` or `x.cpython-311.opt-1.pyc`.
    pub optimize: u8,
}

/// A source that does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The path of the source in the image.
    pub path: ImagePath,
    /// The compiler's message, with the line.
    pub reason: Option<String>,
}

/// The parameters of [`entries`].
#[derive(Clone, Copy)]
pub struct BytecodeRequest<'a> {
    /// The sources.
    pub sources: &'a [BytecodeSource],
    /// The interpreter for the bytecode.
    pub python: &'a Python,
    /// The policy.
    pub mode: BytecodeMode,
    /// The depth of checks.
    pub check: BytecodeCheck,
    /// The cache directory for compiled bytecode, created if absent. Can be deleted at any time
    /// between builds.
    pub cache: &'a Path,
    /// A directory for files rejected by the cache. Entries may refer to its files, so keep the
    /// directory as long as the entries.
    pub work: &'a Path,
    /// Receives steps and warnings.
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for BytecodeRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BytecodeRequest")
            .field("sources", &self.sources.len())
            .field("python", self.python)
            .field("mode", &self.mode)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Parses cache files with a valid seal or none, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    compile_memo::fuzz(bytes);
    store::fuzz(bytes);
}
