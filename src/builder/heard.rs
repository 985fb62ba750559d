//! [`Heard`]: keeps the warnings that pass. [`Unheard`]: lets those pass that are new.

use std::sync::{Mutex, PoisonError};

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

/// Tells of everything, and of no warning that was told before.
pub(super) struct Unheard<'a> {
    progress: &'a dyn Progress,
    told: Mutex<Vec<Warning>>,
}

impl<'a> Unheard<'a> {
    /// `told` is what was told before, in any order.
    pub(super) fn new(progress: &'a dyn Progress, told: Vec<Warning>) -> Self {
        Self { progress, told: Mutex::new(told) }
    }
}

impl Progress for Unheard<'_> {
    fn warn(&self, warning: Warning) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.iter().position(|known| *known == warning) {
            Some(index) => drop(told.swap_remove(index)),
            None => self.progress.warn(warning),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_not_told_again() {
        let told = Collected::default();
        let warning = |text: &str| Warning::new("subject", text);
        let again = Unheard::new(&told, vec![warning("one"), warning("two"), warning("two")]);
        for text in ["two", "three", "one", "one", "two"] {
            again.warn(warning(text));
        }
        assert_eq!(told.warnings(), [warning("three"), warning("one")]);
    }
}
