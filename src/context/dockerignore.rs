//! [`Dockerignore`]: which paths of a source tree an ignore file leaves out, and why.
//!
//! The reference is what BuildKit does: `ignorefile` and `patternmatcher` of moby/patternmatcher read
//! the lines and match them, `filter.go` of tonistiigi/fsutil applies them while it walks. The rules
//! in short:
//!
//! - Patterns are anchored at the root: `foo` does not match `a/foo`, `**/foo` does.
//! - The last line that matches decides; a line that matches a directory above a path matches the path.
//! - `!` takes back in what lines before it left out, below left-out directories too.
//!
//! It reads no file and walks nothing; that is `super::walk`'s.

use std::path::Path;
use std::sync::Arc;

use super::error::ContextError;
use super::pattern::{Pattern, clean};

/// The longest line in bytes, comments too; the reference reads with a scanner (`bufio.Scanner`) that takes no longer one.
const LINE_LIMIT: usize = (64 << 10) - 1;
/// The byte order mark, which is no part of the first line.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// The largest ignore file in bytes. Real ones have a few hundred.
pub(super) const FILE_LIMIT: u64 = 1 << 20;

/// The rules of an ignore file, in their order.
#[derive(Debug, Clone, Default)]
pub struct Dockerignore {
    rules: Vec<Rule>,
}

/// One line of an ignore file that says something.
#[derive(Debug, Clone)]
pub struct Rule {
    source: Arc<str>,
    line: usize,
    written: String,
    effect: Effect,
    pattern: Pattern,
}

/// What a line does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It leaves it out.
    Excludes,
    /// It begins with `!` and takes it back in.
    Reincludes,
}

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is part of the context.
    Kept,
    /// It is left out.
    Ignored,
}

/// What becomes of a path, and the line that decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// What becomes of it.
    pub fate: Fate,
    /// What decided; none where no line matches.
    pub decision: Option<Decision<'a>>,
}

/// The line that decided about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The line.
    pub rule: &'a Rule,
    /// The directory above the path that the line matches; none where it matches the path itself.
    pub parent: Option<String>,
}

impl Verdict<'_> {
    /// Kept, because nothing matches.
    pub(super) fn unmatched() -> Self {
        Self { fate: Fate::Kept, decision: None }
    }
}

impl Rule {
    /// The file or recipe that it stands in, for people.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its line there, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The line as it is written, without the white space around it.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The pattern in its clean form, without `!`.
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// What it does.
    pub fn effect(&self) -> Effect {
        self.effect
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.line, &self.written) == (&other.source, other.line, &other.written)
    }
}

impl Eq for Rule {}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.written)
    }
}

impl Dockerignore {
    /// No rules: everything is kept.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the bytes of an ignore file; `name` is what messages call it.
    ///
    /// # Errors
    /// [`ContextError::IgnoreLine`] for a line that means nothing, and
    /// [`ContextError::IgnoreTooLarge`] for a file of more than 1 MiB.
    pub fn parse(name: &Path, bytes: &[u8]) -> Result<Self, ContextError> {
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(ContextError::IgnoreTooLarge { file: name.to_owned(), limit: FILE_LIMIT });
        }
        let source: Arc<str> = name.to_string_lossy().into();
        let mut rules = Vec::new();
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            rules.extend(Rule::read(&source, index + 1, line)?);
        }
        Ok(Self { rules })
    }

    /// Reads patterns that a recipe or setting lists, each as if it were a line of an ignore file;
    /// `name` is what messages call the list.
    ///
    /// # Errors
    /// [`ContextError::IgnoreLine`] with the text of a pattern that means nothing.
    pub fn from_lines(name: &str, lines: &[impl AsRef<str>]) -> Result<Self, ContextError> {
        let source: Arc<str> = name.into();
        let mut rules = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            rules.extend(Rule::read(&source, index + 1, line.as_ref().as_bytes())?);
        }
        Ok(Self { rules })
    }

    /// These rules with `defaults` before them, so that these have the last word.
    #[must_use]
    pub fn after(mut self, mut defaults: Self) -> Self {
        defaults.rules.append(&mut self.rules);
        defaults
    }

    /// The rules in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides about `path`: relative to the context's root, components separated by `/`.
    ///
    /// # Errors
    /// [`ContextError::IgnoreLine`] for a line that has to be asked and whose regular expression Go cannot compile.
    pub fn verdict(&self, path: &str) -> Result<Verdict<'_>, ContextError> {
        let (fate, _) = self.judge_all(path)?;
        Ok(Verdict { fate, decision: self.decision(path, fate) })
    }

    /// Judges the directories above `path`, outermost first, then `path` itself.
    fn judge_all(&self, path: &str) -> Result<(Fate, Hits), ContextError> {
        let mut hits = Hits::default();
        let mut fate = Fate::Kept;
        for prefix in prefixes(path) {
            let above = std::mem::take(&mut hits);
            fate = self.judge(prefix, &above, &mut hits)?;
        }
        Ok((fate, hits))
    }

    /// Whether a walk that meets the directory `directory` may leave all of it unread: it is ignored,
    /// and no `!` line can reach anything below it.
    pub fn may_prune(&self, directory: &str) -> bool {
        let judged = self.judge_all(directory);
        judged.is_ok_and(|(fate, hits)| fate == Fate::Ignored && self.may_prune_judged(directory, &hits))
    }

    /// The same for a directory that was judged ignored with `hits`.
    pub(super) fn may_prune_judged(&self, directory: &str, hits: &Hits) -> bool {
        // The last rule that ignores the directory ignores all below it, whatever stands before.
        let last = self.rules.iter().zip(&hits.0).rposition(|(rule, &hit)| hit && rule.excludes());
        let later = self.rules.get(last.map_or(0, |last| last + 1)..).unwrap_or_default();
        later.iter().all(|rule| rule.excludes() || !rule.pattern.may_match_below(directory))
    }

    /// What becomes of `path`, whose directory was judged with `above`; notes in `hits` which rules
    /// match it or a directory above it.
    ///
    /// As in the reference, a rule that could change nothing is not asked, and so does not count for
    /// what is below either.
    pub(super) fn judge(&self, path: &str, above: &Hits, hits: &mut Hits) -> Result<Fate, ContextError> {
        hits.0.clear();
        let mut ignored = false;
        for (index, rule) in self.rules.iter().enumerate() {
            let inherited = above.0.get(index).copied().unwrap_or(false);
            let hit = inherited || rule.excludes() != ignored && rule.matches(path)?;
            hits.0.push(hit);
            if hit {
                ignored = rule.excludes();
            }
        }
        Ok(if ignored { Fate::Ignored } else { Fate::Kept })
    }

    /// Whether the line that decides about `path` is a `!` line that matches `path` itself.
    pub fn insists_on(&self, path: &str) -> bool {
        let decision = self.decision(path, Fate::Kept);
        decision.is_some_and(|it| it.rule.effect == Effect::Reincludes && it.parent.is_none())
            && self.verdict(path).is_ok_and(|verdict| verdict.fate == Fate::Kept)
    }

    /// The last line that matches `path` or a directory above it and says what its fate is.
    fn decision(&self, path: &str, fate: Fate) -> Option<Decision<'_>> {
        let fitting = |rule: &&Rule| rule.excludes() == (fate == Fate::Ignored);
        self.rules.iter().rev().filter(fitting).find_map(|rule| {
            if rule.pattern.matches(path) {
                return Some(Decision { rule, parent: None });
            }
            let parent = prefixes(path).find(|prefix| rule.pattern.matches(prefix))?;
            Some(Decision { rule, parent: Some(parent.to_owned()) })
        })
    }
}

/// Which rules match a path or a directory above it.
#[derive(Debug, Clone, Default)]
pub(super) struct Hits(Vec<bool>);

impl Rule {
    fn excludes(&self) -> bool {
        self.effect == Effect::Excludes
    }

    fn matches(&self, path: &str) -> Result<bool, ContextError> {
        match self.pattern.broken() {
            None => Ok(self.pattern.matches(path)),
            Some(reason) => Err(ContextError::IgnoreLine {
                file: self.source.to_string(),
                line: self.line,
                text: shorten(&self.written),
                reason,
            }),
        }
    }

    /// Reads a line; none where it says nothing.
    fn read(source: &Arc<str>, number: usize, line: &[u8]) -> Result<Option<Self>, ContextError> {
        let wrong = |reason| ContextError::IgnoreLine {
            file: source.to_string(),
            line: number,
            text: shorten(&String::from_utf8_lossy(line)),
            reason,
        };
        if line.len() > LINE_LIMIT {
            return Err(wrong("it has more than 65,535 bytes"));
        }
        let line = if number == 1 { line.strip_prefix(MARK).unwrap_or(line) } else { line };
        // A comment is one only where `#` is the first byte, and it may hold anything.
        if line.starts_with(b"#") {
            return Ok(None);
        }
        let written = std::str::from_utf8(line).map_err(|_| wrong("it is not UTF-8"))?.trim();
        if written.is_empty() {
            return Ok(None);
        }
        // The reference cleans twice, with `!` put back in between: this is where `/!foo` becomes a
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
            Some("") => return Err(wrong("`!` has to be followed by a pattern")),
            Some(rest) => (Effect::Reincludes, rest.to_owned()),
            None => (Effect::Excludes, twice),
        };
        let pattern = Pattern::new(pattern).map_err(wrong)?;
        Ok(Some(Self { source: source.clone(), line: number, written: written.to_owned(), effect, pattern }))
    }
}

/// Cleans a pattern and takes one leading slash.
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

/// The directories above `path`, outermost first, and `path` itself.
pub(super) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).chain(std::iter::once(path))
}

/// A line for a message, cut where nobody reads on.
fn shorten(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
