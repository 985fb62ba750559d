//! [`StopSignal`]: a signal by name or number, as in `StopSignal` of an image's configuration.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::signal_names::{self, NAMES};

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StopSignal(i32);

/// Signals that are never ignored on purpose, and those that no program can handle.
const UNCHANGED: [&str; 6] = ["ILL", "FPE", "KILL", "SEGV", "PIPE", "STOP"];

/// Handles the signals that this process was started to ignore, so that the programs that it starts have
/// their defaults: execve(2) keeps an ignored signal, and resets a handled one. Shells ignore SIGINT and
/// SIGQUIT for commands in the background, and Python then stops at neither.
pub(super) fn stop_ignoring() {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    for (number, name) in (1..).zip(NAMES) {
        if mask >> (number - 1) & 1 == 1 && !UNCHANGED.contains(&name) {
            // Without a handler, the signal stays ignored.
            let _ = signal_hook::flag::register(number, Arc::new(AtomicBool::new(false)));
        }
    }
}

impl StopSignal {
    /// `SIGTERM`, the default.
    pub(super) const TERM: Self = Self(15);
    /// `SIGKILL`.
    pub(super) const KILL: Self = Self(9);

    /// Returns the number.
    pub(super) fn number(self) -> i32 {
        self.0
    }

    /// Returns the exit code of a shell and of a runtime for a process that the signal ended.
    pub(super) fn exit_code(self) -> i32 {
        128 + self.0
    }
}

impl std::fmt::Display for StopSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match signal_names::name(self.0) {
            Some(name) => f.write_str(&name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl FromStr for StopSignal {
    type Err = ();

    /// Parses `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
    fn from_str(text: &str) -> Result<Self, ()> {
        signal_names::number(text).map(Self).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_and_numbers() {
        for (text, number, shown) in [
            ("SIGTERM", 15, "SIGTERM"),
            ("quit", 3, "SIGQUIT"),
            ("2", 2, "SIGINT"),
            ("SIGRTMIN+3", 37, "signal 37"),
            ("RTMAX-1", 63, "signal 63"),
            ("SIGRTMIN", 34, "signal 34"),
            ("SIGIOT", 6, "SIGABRT"),
            ("poll", 29, "SIGIO"),
        ] {
            let signal: StopSignal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, shown));
        }
        for text in ["", "0", "65", "SIG", "TERMINATE", "RTMIN+", "RTMIN+99", "RTMAX-99", "-1"] {
            assert!(text.parse::<StopSignal>().is_err(), "{text}");
        }
    }
}
