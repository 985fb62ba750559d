//! [`LazyHints`]: the hints of a repository, read once and only if a step needs them.

use std::path::Path;
use std::sync::OnceLock;

use crate::service::hints::Hints;

/// The hints of a repository.
pub(super) struct LazyHints<'a> {
    root: &'a Path,
    hints: OnceLock<Hints>,
}

impl<'a> LazyHints<'a> {
    /// Makes the hints of the project in this folder.
    pub(super) fn of(root: &'a Path) -> Self {
        Self { root, hints: OnceLock::new() }
    }

    /// Makes the hints of the project in this folder from hints that are known.
    pub(super) fn known(root: &'a Path, hints: Hints) -> Self {
        Self { root, hints: hints.into() }
    }

    /// Returns the hints. The first call reads them.
    pub(super) fn get(&self) -> &Hints {
        self.hints.get_or_init(|| Hints::read(self.root))
    }
}
