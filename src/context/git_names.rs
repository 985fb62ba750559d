//! [`GitNames`]: files of git in the source tree.

use std::collections::HashSet;
use std::ffi::OsStr;

/// Names in the source tree that matter to git, found by a walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GitNames {
    /// Directories with a `.gitignore`.
    pub(super) ignore_files: HashSet<String>,
    /// Directories with a `.git`: submodules and other repositories.
    pub(super) repositories: HashSet<String>,
}

impl GitNames {
    /// Records the entry `name` of `directory`.
    pub(super) fn record(&mut self, directory: &str, name: &OsStr) {
        if name == ".gitignore" {
            self.ignore_files.insert(directory.to_owned());
        } else if name == ".git" && !directory.is_empty() {
            self.repositories.insert(directory.to_owned());
        }
    }
}
