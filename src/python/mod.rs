//! Python packaging: virtual environments, installed distributions, and their entries in an image.
//!
//! | module | owns |
//! |---|---|
//! | [`venv`] | finding and opening a virtual environment |
//! | [`distribution`] | the installed distributions, from [`metadata`], [`record`], [`wheel`], [`entry_points`] and [`direct_url`] |
//! | [`platform_tags`] | wheels built for another platform |
//! | [`relocate`] | the environment's entries at their path in the image |
//! | [`closure`] | the distributions needed by a project's declared dependencies |
//! | [`application`] | the application object for uvicorn |
//! | [`bytecode`] | a `.pyc` for every source |
//! | [`interpreter`] | the interpreter behind the environment, and its files |
//! | [`provision`] | making an environment for a project without one |
//!
//! Helpers: [`config`] reads `pyvenv.cfg`, `headers` reads header fields, [`listing`] lists files,
//! `archive` reads zipped eggs, [`name`] normalizes names; [`pyproject`] and [`requirements`] read
//! a project's declared dependencies as [`requirement`]s with [`marker`]s.
//!
//! This module knows no layers and images, reads no environment variables and prints nothing.

pub mod application;
mod archive;
pub mod bytecode;
pub mod closure;
pub mod config;
pub mod direct_url;
pub mod distribution;
pub mod entry_points;
pub mod error;
mod headers;
pub mod imports;
pub mod interpreter;
mod legacy;
pub mod listing;
mod manifest;
pub mod marker;
pub mod metadata;
pub mod module;
pub mod name;
pub mod platform_tags;
pub mod provision;
pub mod pyproject;
pub mod record;
pub mod relocate;
pub mod requirement;
pub mod requirements;
mod scheme;
#[cfg(test)]
pub(crate) mod testing;
pub mod venv;
pub mod wheel;

pub use closure::{ClosureError, DeclaredDependencies, DependencyClosure};
pub use distribution::Distribution;
pub use error::VenvError;
pub use name::normalize;
pub use relocate::{Activation, DistributionSelection, EditableSource, ModuleSource, Relocated, Relocation};
pub use venv::{PythonVersion, Runner, Venv};

/// Feeds untrusted bytes to the private parsers, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    relocate::fuzz(bytes);
    bytecode::fuzz(bytes);
    manifest::fuzz(bytes);
    legacy::fuzz(bytes);
    requirements::fuzz(bytes);
}
