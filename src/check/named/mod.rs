//! Libraries and programs that Python code names at run time, and that no header of a file names.
//!
//! `known.rs` lists distributions with the libraries and programs that their modules need, each read in
//! their source. `calls.rs` finds other libraries in source: `ctypes.CDLL("libfoo.so.1")`. `lookup.rs`
//! answers as the loader and `ctypes.util.find_library` of the image do.

mod calls;
mod known;
mod lookup;

pub(super) use calls::{LoadCall, find as find_calls, may_load};
pub(super) use known::{KnownLibrary, LIBRARIES, PROGRAMS};
pub(super) use lookup::{Answer, LibraryFiles};
