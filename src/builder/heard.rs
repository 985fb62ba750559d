//! A `Progress` that records the warnings it forwards.

use std::sync::{Mutex, PoisonError};

use crate::progress::{Collected, Edge, Progress, Transfer, Warning};

/// Forwards all events, and records warnings.
pub(super) struct Heard<'a> {
    progress: &'a dyn Progress,
    kept: Collected,
    at_once: bool,
    /// Warnings reported earlier, in any order.
    before: Mutex<Vec<Warning>>,
}

impl<'a> Heard<'a> {
    /// Makes a recorder that forwards warnings.
    pub(super) fn of(progress: &'a dyn Progress) -> Self {
        Self { progress, kept: Collected::default(), at_once: true, before: Mutex::default() }
    }

    /// Makes a recorder that holds warnings back.
    pub(super) fn to_tell_later(progress: &'a dyn Progress) -> Self {
        Self { at_once: false, ..Self::of(progress) }
    }

    /// Makes a recorder that neither forwards nor records the warnings `before`.
    pub(super) fn after(progress: &'a dyn Progress, before: Vec<Warning>) -> Self {
        Self { before: Mutex::new(before), ..Self::of(progress) }
    }

    /// Returns the recorded warnings.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.kept.warnings()
    }
}

impl Progress for Heard<'_> {
    fn warn(&self, warning: Warning) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = before.iter().position(|known| *known == warning) {
            before.swap_remove(index);
            return;
        }
        drop(before);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_not_told_again() {
        let told = Collected::default();
        let warning = |text: &str| Warning::new("subject", text);
        let again = Heard::after(&told, vec![warning("one"), warning("two"), warning("two")]);
        for text in ["two", "three", "one", "one", "two"] {
            again.warn(warning(text));
        }
        assert_eq!(told.warnings(), [warning("three"), warning("one")]);
    }
}
