//! Names and numbers of signals (signal(7)), in the forms that engines accept (`moby/sys/signal`).

/// The signals of Linux on x86 and ARM, from 1.
pub(crate) const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Second names of signals.
const ALIASES: [(&str, i32); 3] = [("CLD", 17), ("IOT", 6), ("POLL", 29)];
/// Numbers of the real-time signals that a program may use with glibc.
const REAL_TIME: (i32, i32) = (34, 64);

/// Returns all names, without those of real-time signals.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(ALIASES.map(|(name, _)| name))
}

/// Returns `SIGTERM` for 15; `None` for a real-time signal.
pub(crate) fn name(number: i32) -> Option<String> {
    let index = usize::try_from(number.checked_sub(1)?).ok()?;
    Some(format!("SIG{}", NAMES.get(index)?))
}

/// Returns the number of `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `SIGRTMAX-3`.
pub(crate) fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=REAL_TIME.1).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char, most: i32| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse().ok().filter(|offset| (0..=most).contains(offset)),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(REAL_TIME.0 + offset(rest, '+', 15)?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return Some(REAL_TIME.1 - offset(rest, '-', 14)?);
    }
    let known = (1..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number);
    known.or_else(|| ALIASES.into_iter().find(|(alias, _)| *alias == name).map(|(_, number)| number))
}
