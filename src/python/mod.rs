//! Python's world: the virtual environment, what is installed in it, and its way into an image.
//!
//! | module | holds |
//! |---|---|
//! | [`venv`] | finding and opening a virtual environment |
//! | [`distribution`] | what is installed in it, from [`metadata`], [`record`], [`wheel`], [`entry_points`] and [`direct_url`] |
//! | [`foreign`] | wheels that are not for the image's platform |
//! | [`relocate`] | the environment's entries at their place in the image |
//! | [`closure`] | which distributions a project's declared dependencies need |
//! | [`application`] | the object that uvicorn is given |
//! | [`bytecode`] | a `.pyc` for every source |
//! | [`interpreter`] | the interpreter behind the environment, and its files |
//! | [`provision`] | making an environment where a project has none |
//!
//! The rest serves these: [`config`] reads `pyvenv.cfg`, `headers` reads files of header fields, [`listing`] lists the files, `archive` reads those in a
//! zipped egg, [`name`] normalises
//! names, [`pyproject`] and [`requirements`] read what a project declares as [`requirement`]s, whose conditions are
//! [`marker`]s.
//!
//! Nothing here knows layers or images, reads the process's environment or prints.

pub mod application;
mod archive;
pub mod bytecode;
pub mod closure;
pub mod config;
pub mod direct_url;
pub mod distribution;
pub mod entry_points;
pub mod error;
pub mod foreign;
mod headers;
pub mod imports;
pub mod interpreter;
mod layout;
mod legacy;
pub mod listing;
mod manifest;
pub mod marker;
pub mod metadata;
pub mod module;
pub mod name;
pub mod provision;
pub mod pyproject;
pub mod record;
pub mod relocate;
pub mod requirement;
pub mod requirements;
#[cfg(test)]
pub(crate) mod testing;
pub mod venv;
pub mod wheel;

pub use closure::{Closure, ClosureError, Declared};
pub use distribution::Distribution;
pub use error::VenvError;
pub use name::normalize;
pub use relocate::{Activation, EditableSource, PythonSource, Relocated, Relocation, Selection};
pub use venv::{PythonVersion, Runner, Venv};

/// Reads what is private here and comes from outside, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    relocate::fuzz(bytes);
    bytecode::fuzz(bytes);
    manifest::fuzz(bytes);
    legacy::fuzz(bytes);
    requirements::fuzz(bytes);
}
