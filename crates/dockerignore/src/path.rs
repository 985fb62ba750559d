//! Paths as text: relative to the root, with `/` between components.

use std::fmt::Write as _;

/// Returns the shortest path that is lexically equivalent to `path`, as Go's `filepath.Clean` on
/// Unix: the form that [`Dockerignore::verdict`](crate::Dockerignore::verdict) expects.
///
/// ```
/// assert_eq!(dockerignore::clean("./a//b/../c/"), "a/c");
/// assert_eq!(dockerignore::clean(""), ".");
/// assert_eq!(dockerignore::clean("../a"), "../a");
/// ```
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Returns a line that matches exactly `path` and the paths below it. `path` is relative and
/// [clean](clean()).
///
/// ```
/// assert_eq!(dockerignore::escape("data/a[1].csv"), r"data/a\[1\].csv");
/// assert_eq!(dockerignore::escape("#notes "), r"\#notes\x{20}");
/// ```
pub fn escape(path: &str) -> String {
    // White space at both ends of a line is removed.
    let start = path.len() - path.trim_start().len();
    let end = path.trim_end().len();
    let mut line = String::with_capacity(path.len());
    for (at, c) in path.char_indices() {
        match c {
            // `#` and `!` are special only at the start of a line.
            '#' | '!' if at == 0 => line.extend(['\\', c]),
            // The last three keep their meaning in an expression, into which an escape turns the
            // pattern.
            '*' | '?' | '[' | ']' | '\\' | '^' | '|' | '{' | '}' => line.extend(['\\', c]),
            // The byte order mark is skipped at the start of a pattern.
            c if at < start || at >= end || c.is_control() || at == 0 && c == '\u{feff}' => {
                let _ = write!(line, "\\x{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

/// Returns the directories above `path`, outermost first, and `path` itself.
pub(crate) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).chain(std::iter::once(path))
}
