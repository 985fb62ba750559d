//! Python packaging: virtual environments, installed distributions, and their entries in an image.
//!
//! Each group uses only groups above it in this table, except that [`provision`] and [`relocate`]
//! do not know each other.
//!
//! | group | owns |
//! |---|---|
//! | [`metadata`] | the files that describe an installed distribution: `METADATA`, `RECORD`, `WHEEL`, … |
//! | [`environment`] | finding and opening a virtual environment; its distributions |
//! | [`requirements`] | declared dependencies, and the distributions that they need |
//! | [`interpreter`] | the interpreters of this machine, and the files of one |
//! | [`provision`] | making an environment for a project without one |
//! | [`relocate`] | the environment's entries at their path in the image |
//! | [`bytecode`] | a `.pyc` for every source |
//! | `removed` | what Python removed from its standard library |
//! | [`application`] | the application object for uvicorn, and the modules that it imports |
//!
//! This module knows no layers and images, reads no environment variables and prints nothing.

pub mod application;
pub mod bytecode;
pub mod environment;
pub mod interpreter;
pub mod metadata;
pub mod provision;
pub mod relocate;
pub(crate) mod removed;
pub mod requirements;
#[cfg(test)]
pub(crate) mod testing;

pub use environment::distribution::Distribution;
pub use environment::error::VenvError;
pub use environment::venv::{Runner, Venv};
pub use environment::version::PythonVersion;
pub use metadata::name::normalize;
pub use relocate::{Activation, DistributionSelection, EditableSource, ModuleSource, Relocated, Relocation};
pub use requirements::closure::{ClosureError, DeclaredDependencies, DependencyClosure};
pub use requirements::pyproject::PyProjectError;

/// Feeds untrusted bytes to the private parsers, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    relocate::fuzz(bytes);
    bytecode::fuzz(bytes);
    provision::manifest::fuzz(bytes);
    for requirement in environment::legacy::requires_dist(&String::from_utf8_lossy(bytes)) {
        let _ = requirements::requirement::Requirement::parse_lenient(&requirement);
    }
    requirements::requirements_txt::fuzz(bytes);
}
