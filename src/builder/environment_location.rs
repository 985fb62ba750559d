//! [`EnvironmentLocation`]: the place of an environment on this machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::python::Venv;

/// Location of an environment on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EnvironmentLocation {
    pub(super) root: PathBuf,
    /// The path as given.
    pub(super) given: PathBuf,
}

impl EnvironmentLocation {
    /// Returns the location of an opened environment.
    pub(super) fn of(venv: &Venv) -> Self {
        Self { root: venv.root.clone(), given: venv.given.clone() }
    }
}
