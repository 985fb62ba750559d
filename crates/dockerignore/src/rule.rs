//! [`Rule`]: a line that holds a pattern.
//!
//! moby/patternmatcher, `ignorefile/ignorefile.go` (`ReadAll`) and `patternmatcher.go` (`New`).

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::path::clean;
use crate::pattern::Pattern;

/// The maximum length of a line in bytes, comments included: the limit of the reference's scanner
/// (`bufio.Scanner`).
const LINE_LIMIT: usize = (64 << 10) - 1;
/// The UTF-8 byte order mark, which is skipped at the start of the file.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// The maximum length of a line in messages, in characters.
const SHOWN_LIMIT: usize = 200;

/// A line of an ignore file that holds a pattern.
///
/// `Display` prints the source, the line number and the line: `.dockerignore:3: !README.md`.
#[derive(Debug, Clone)]
pub struct Rule {
    source: Arc<str>,
    line: usize,
    written: String,
    effect: Effect,
    pattern: Pattern,
}

/// The effect of a rule on the paths that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Excludes the path.
    Excludes,
    /// Re-includes the path: the line begins with `!`.
    Reincludes,
}

impl Rule {
    /// Returns the name of the rule's file, as given to the parser.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the line number in the source, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns the line as written, without surrounding white space.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Returns the cleaned pattern, without `!`.
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// Returns the effect.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Returns true if the rule matches `path` itself; the directories above are not matched.
    ///
    /// A pattern that the reference cannot compile matches no path
    /// ([`Dockerignore::verdict`](crate::Dockerignore::verdict) returns the error).
    pub fn matches(&self, path: &str) -> bool {
        self.pattern.matches(path)
    }

    pub(crate) fn excludes(&self) -> bool {
        self.effect == Effect::Excludes
    }

    /// As [`Rule::matches`], with the error of a pattern that the reference cannot compile.
    pub(crate) fn try_matches(&self, path: &str) -> Result<bool, Error> {
        match self.pattern.broken() {
            None => Ok(self.pattern.matches(path)),
            Some(reason) => Err(self.error(reason)),
        }
    }

    pub(crate) fn may_match_below(&self, directory: &str) -> bool {
        self.pattern.may_match_below(directory)
    }

    /// Returns the size of the compiled pattern, in steps.
    pub(crate) fn steps(&self) -> usize {
        self.pattern.steps()
    }

    /// Returns the error of this line.
    pub(crate) fn error(&self, reason: &'static str) -> Error {
        line_error(&self.source, self.line, &self.written, reason)
    }

    /// Parses a line; returns `None` for blank lines and comments.
    pub(crate) fn read(source: &Arc<str>, number: usize, line: &[u8]) -> Result<Option<Self>, Error> {
        let wrong = |reason| line_error(source, number, &String::from_utf8_lossy(line), reason);
        if line.len() > LINE_LIMIT {
            return Err(wrong("longer than 65,535 bytes"));
        }
        let line = if number == 1 { line.strip_prefix(MARK).unwrap_or(line) } else { line };
        // In the reference, `#` begins a comment only as the first byte of a line; comments may
        // hold any bytes.
        if line.starts_with(b"#") {
            return Ok(None);
        }
        let written = std::str::from_utf8(line).map_err(|_| wrong("not UTF-8"))?.trim();
        if written.is_empty() {
            return Ok(None);
        }
        // The reference cleans twice, with `!` restored in between: so `/!foo` becomes a
        // re-inclusion and `!/` an error.
        let once = match written.strip_prefix('!') {
            Some(rest) => format!("!{}", clean_line(rest.trim())),
            None => clean_line(written),
        };
        let twice = clean(once.trim());
        if once.trim().is_empty() {
            return Ok(None);
        }
        let (effect, pattern) = match twice.strip_prefix('!') {
            Some("") => return Err(wrong("expected a pattern after `!`")),
            Some(rest) => (Effect::Reincludes, rest.to_owned()),
            None => (Effect::Excludes, twice),
        };
        let pattern = Pattern::new(pattern).map_err(wrong)?;
        Ok(Some(Self { source: source.clone(), line: number, written: written.to_owned(), effect, pattern }))
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.line, &self.written) == (&other.source, other.line, &other.written)
    }
}

impl Eq for Rule {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.written)
    }
}

/// Cleans a pattern and removes one leading slash.
fn clean_line(pattern: &str) -> String {
    if pattern.is_empty() {
        return String::new();
    }
    let cleaned = clean(pattern);
    match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => cleaned,
    }
}

fn line_error(source: &str, line: usize, text: &str, reason: &'static str) -> Error {
    Error::Line { file: source.to_owned(), line, text: shorten(text), reason }
}

/// Trims a line for a message, and cuts very long ones.
fn shorten(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(SHOWN_LIMIT) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
