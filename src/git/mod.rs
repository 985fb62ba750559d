//! A git repository on this machine, read without git.
//!
//! [`GitDirectory`] finds the files described in gitrepository-layout(5), [`index`] the tracked
//! paths in gitformat-index(5), [`ignore_file`] the patterns of gitignore(5). Commits belong to
//! [`crate::project`].

#![allow(clippy::disallowed_methods)] // No layer of an environment depends on the reads here.

pub(crate) mod ignore_file;
pub(crate) mod index;

use std::path::{Path, PathBuf};

use crate::traced_fs;

/// The largest size of a file that names another: `.git` and `commondir`.
const POINTER_LIMIT: u64 = 64 << 10;

/// The directory `.git` of a repository, worktree or submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitDirectory {
    /// The directory that contains `.git`.
    pub(crate) worktree: PathBuf,
    /// `$GIT_DIR`: HEAD and index.
    pub(crate) git: PathBuf,
    /// `$GIT_COMMON_DIR`: branches and `info/exclude`, which all worktrees share.
    pub(crate) common: PathBuf,
}

impl GitDirectory {
    /// Finds the repository that contains the directory `root`, which is canonical.
    pub(crate) fn containing(root: &Path) -> Option<Self> {
        root.ancestors().find_map(Self::at)
    }

    /// Opens the repository whose `.git` is in `worktree`; `None` if `.git` names no repository.
    pub(crate) fn at(worktree: &Path) -> Option<Self> {
        let mut git = worktree.join(".git");
        if !git.is_dir() {
            // A worktree or submodule: `gitdir: PATH`.
            let text = read_text(&git)?;
            git = worktree.join(text.strip_prefix("gitdir:")?.trim());
        }
        let common = match read_text(&git.join("commondir")) {
            Some(text) => {
                let common = git.join(text.trim());
                common.canonicalize().unwrap_or(common)
            }
            None => git.clone(),
        };
        git.join("HEAD").symlink_metadata().ok()?;
        Some(Self { worktree: worktree.to_owned(), git, common })
    }
}

fn read_text(path: &Path) -> Option<String> {
    String::from_utf8(traced_fs::read_limited(traced_fs::open_regular(path).ok()?, POINTER_LIMIT).ok()??).ok()
}
