//! [`Heard`]: keeps the warnings that pass.

use crate::progress::{Collected, Edge, Progress, Transfer, Warning};

/// Tells of everything, and keeps the warnings.
pub(super) struct Heard<'a> {
    progress: &'a dyn Progress,
    kept: Collected,
    at_once: bool,
}

impl<'a> Heard<'a> {
    /// The warnings are told at once too.
    pub(super) fn of(progress: &'a dyn Progress) -> Self {
        Self { progress, kept: Collected::default(), at_once: true }
    }

    /// The warnings are only kept, for whoever asks for them.
    pub(super) fn to_tell_later(progress: &'a dyn Progress) -> Self {
        Self { at_once: false, ..Self::of(progress) }
    }

    /// What came.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.kept.warnings()
    }
}

impl Progress for Heard<'_> {
    fn warn(&self, warning: Warning) {
        if self.at_once {
            self.progress.warn(warning.clone());
        }
        self.kept.warn(warning);
    }

    fn step(&self, what: &str) {
        self.progress.step(what);
    }

    fn span(&self, what: &str, edge: Edge) {
        self.progress.span(what, edge);
    }

    fn transfer(&self, transfer: &Transfer<'_>) {
        self.progress.transfer(transfer);
    }
}
