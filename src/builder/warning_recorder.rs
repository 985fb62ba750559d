//! A `Progress` that records the warnings it forwards.

use std::sync::Mutex;

use crate::progress::{Activity, Edge, Progress, Step, Transfer, Warning, WarningCollector};
use crate::sync::LockExt as _;

/// Forwards all events, and records warnings.
pub(super) struct WarningRecorder<'a> {
    progress: &'a dyn Progress,
    recorded: WarningCollector,
    forwards: bool,
    /// Warnings reported earlier, in any order.
    ignored: Mutex<Vec<Warning>>,
}

impl<'a> WarningRecorder<'a> {
    /// Makes a recorder that forwards warnings.
    pub(super) fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, recorded: WarningCollector::default(), forwards: true, ignored: Mutex::default() }
    }

    /// Makes a recorder that holds warnings back.
    pub(super) fn deferring(progress: &'a dyn Progress) -> Self {
        Self { forwards: false, ..Self::new(progress) }
    }

    /// Makes a recorder that neither forwards nor records the warnings in `ignored`.
    pub(super) fn ignoring(progress: &'a dyn Progress, ignored: Vec<Warning>) -> Self {
        Self { ignored: Mutex::new(ignored), ..Self::new(progress) }
    }

    /// Returns the recorded warnings.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.recorded.warnings()
    }
}

impl Progress for WarningRecorder<'_> {
    fn warn(&self, warning: Warning) {
        let mut ignored = self.ignored.lock_forgiving();
        if let Some(index) = ignored.iter().position(|known| *known == warning) {
            ignored.swap_remove(index);
            return;
        }
        drop(ignored);
        if self.forwards {
            self.progress.warn(warning.clone());
        }
        self.recorded.warn(warning);
    }

    fn step(&self, step: &Step<'_>) {
        self.progress.step(step);
    }

    fn advance(&self, step: &Step<'_>) {
        self.progress.advance(step);
    }

    fn span(&self, activity: Activity, edge: Edge) {
        self.progress.span(activity, edge);
    }

    fn transfer(&self, transfer: &Transfer<'_>) {
        self.progress.transfer(transfer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_warnings_are_not_forwarded_again() {
        let forwarded = WarningCollector::default();
        let warning = |text: &str| Warning::new("subject", text);
        let again =
            WarningRecorder::ignoring(&forwarded, vec![warning("one"), warning("two"), warning("two")]);
        for text in ["two", "three", "one", "one", "two"] {
            again.warn(warning(text));
        }
        assert_eq!(forwarded.warnings(), [warning("three"), warning("one")]);
    }
}
