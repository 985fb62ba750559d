//! [`StopSignal`]: a signal by name or number, as in `StopSignal` of an image's configuration.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StopSignal(i32);

/// Numbers of the real-time signals that a program may use with glibc.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The signals of Linux on x86 and ARM, from 1 (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

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
        let name = usize::try_from(self.0 - 1).ok().and_then(|index| NAMES.get(index));
        match name {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl FromStr for StopSignal {
    type Err = ();

    /// Parses `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(number) = text.parse() {
            return if (1..=*REAL_TIME.end()).contains(&number) { Ok(Self(number)) } else { Err(()) };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            return Ok(Self(i32::try_from(index).map_err(|_| ())? + 1));
        }
        let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(""), _) => *REAL_TIME.start(),
            (_, Some("")) => *REAL_TIME.end(),
            (Some(more), _) => more.strip_prefix('+').and_then(|n| n.parse::<i32>().ok()).ok_or(())? + 34,
            (_, Some(less)) => 64 - less.strip_prefix('-').and_then(|n| n.parse::<i32>().ok()).ok_or(())?,
            (None, None) => return Err(()),
        };
        if REAL_TIME.contains(&real_time) { Ok(Self(real_time)) } else { Err(()) }
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
        ] {
            let signal: StopSignal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, shown));
        }
        for text in ["", "0", "65", "SIG", "TERMINATE", "RTMIN+", "RTMIN+99", "RTMAX-99", "-1"] {
            assert!(text.parse::<StopSignal>().is_err(), "{text}");
        }
    }
}
