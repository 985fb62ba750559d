//! The environment of a project: found, or made.

use std::path::PathBuf;

use super::{BuildError, Builder, Provisioning};
use crate::progress::Progress;
use crate::python::venv;

impl Builder {
    /// The folder of the environment: the one that was named, `.venv` in the project, the active one, or one that is
    /// made in the cache folder.
    pub(super) fn environment(&self, progress: &dyn Progress) -> Result<PathBuf, BuildError> {
        let found = venv::find(self.venv.as_deref(), &self.root, self.active_venv.as_deref());
        if let Some(folder) = found {
            return Ok(folder);
        }
        let _ = progress;
        let help = match self.provisioning {
            Provisioning::Never => {
                "make one (`uv sync`, or `python3 -m venv .venv` and pip), name it with --venv, or leave --no-provision out"
            }
            Provisioning::WhenMissing => {
                "make one (`uv sync`, or `python3 -m venv .venv` and pip), or name it with --venv"
            }
        };
        Err(BuildError::NoEnvironment { root: self.root.clone(), help: help.to_owned() })
    }
}
