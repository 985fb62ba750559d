//! [`Dockerignore`]: matches paths of a source tree against an ignore file, and explains each
//! verdict.
//!
//! The reference is BuildKit: `ignorefile` and `patternmatcher` of moby/patternmatcher parse and
//! match lines, `filter.go` of tonistiigi/fsutil applies them during a walk. The rules in short:
//!
//! - Patterns are anchored at the root: `foo` does not match `a/foo`, `**/foo` does.
//! - The last matching line decides; a line that matches a directory above a path matches the path.
//! - `!` re-includes paths excluded by earlier lines, also below excluded directories.
//!
//! This module reads no files; `super::walk` lists the tree.

use std::path::Path;
use std::sync::Arc;

use super::error::ContextError;
use super::pattern::{Pattern, clean};

/// The maximum length of a line in bytes, comments included: the limit of the reference's scanner
/// (`bufio.Scanner`).
const LINE_LIMIT: usize = (64 << 10) - 1;
/// The UTF-8 byte order mark, which is skipped at the start of the file.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// The largest ignore file in bytes. Typical files have a few hundred.
pub(super) const FILE_LIMIT: u64 = 1 << 20;

/// The rules of an ignore file, in order.
#[derive(Debug, Clone, Default)]
pub struct Dockerignore {
    rules: Vec<Rule>,
}

/// A line of an ignore file that holds a pattern.
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

/// The outcome for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The path is part of the context.
    Kept,
    /// The path is excluded.
    Ignored,
}

/// The outcome for a path, with the deciding rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The outcome.
    pub fate: Fate,
    /// The deciding rule; `None` if no rule matches.
    pub decision: Option<Decision<'a>>,
}

/// The rule that decided about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The ancestor directory that the rule matches; `None` if the rule matches the path itself.
    pub parent: Option<String>,
}

impl Verdict<'_> {
    /// Returns the verdict for a path without matching rules: kept.
    pub(super) fn unmatched() -> Self {
        Self { fate: Fate::Kept, decision: None }
    }
}

impl Rule {
    /// Returns the name of the file or recipe of the rule, for messages.
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
    /// Returns an empty list of rules: every path is kept.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Parses the bytes of an ignore file; `name` appears in messages.
    ///
    /// # Errors
    /// [`ContextError::IgnoreLine`] for an invalid line, and [`ContextError::IgnoreTooLarge`] for a
    /// file of more than 1 MiB.
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

    /// Parses the patterns of a recipe or setting, each as a line of an ignore file; `name` appears
    /// in messages.
    ///
    /// # Errors
    /// [`ContextError::IgnoreLine`] with the text of an invalid pattern.
    pub fn from_lines(name: &str, lines: &[impl AsRef<str>]) -> Result<Self, ContextError> {
        let source: Arc<str> = name.into();
        let mut rules = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            rules.extend(Rule::read(&source, index + 1, line.as_ref().as_bytes())?);
        }
        Ok(Self { rules })
    }

    /// Prepends `defaults`, over which these rules take precedence.
    #[must_use]
    pub fn after(mut self, mut defaults: Self) -> Self {
        defaults.rules.append(&mut self.rules);
        defaults
    }

    /// Returns the rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the verdict for `path`, which is relative to the context's root with `/` between
    /// components.
    ///
    /// # Errors
    /// [`ContextError::IgnoreLine`] for a rule whose regular expression Go cannot compile, if the
    /// rule has to be matched.
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

    /// Returns true if a walk may skip all of `directory`: the directory is ignored, and no `!`
    /// rule can match anything below.
    pub fn may_prune(&self, directory: &str) -> bool {
        let judged = self.judge_all(directory);
        judged.is_ok_and(|(fate, hits)| fate == Fate::Ignored && self.may_prune_judged(directory, &hits))
    }

    /// As [`Self::may_prune`], for a directory judged as ignored with `hits`.
    pub(super) fn may_prune_judged(&self, directory: &str, hits: &Hits) -> bool {
        // The last rule that ignores the directory ignores everything below, whatever precedes the
        // rule.
        let last = self.rules.iter().zip(&hits.0).rposition(|(rule, &hit)| hit && rule.excludes());
        let later = self.rules.get(last.map_or(0, |last| last + 1)..).unwrap_or_default();
        later.iter().all(|rule| rule.excludes() || !rule.pattern.may_match_below(directory))
    }

    /// Judges `path`, whose parent directory was judged with `above`, and records in `hits` the
    /// rules that match the path or one of its ancestors.
    ///
    /// As in the reference, a rule that could not change the outcome is not evaluated, and so does
    /// not count for descendants either.
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

    /// Returns true if the deciding rule is a `!` rule that matches `path` itself.
    pub fn reincludes(&self, path: &str) -> bool {
        let decision = self.decision(path, Fate::Kept);
        decision.is_some_and(|it| it.rule.effect == Effect::Reincludes && it.parent.is_none())
            && self.verdict(path).is_ok_and(|verdict| verdict.fate == Fate::Kept)
    }

    /// Finds the last rule that matches `path` or an ancestor and whose effect leads to `fate`.
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

/// For each rule: true if the rule matches a path or one of its ancestors.
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

    /// Parses a line; returns `None` for blank lines and comments.
    fn read(source: &Arc<str>, number: usize, line: &[u8]) -> Result<Option<Self>, ContextError> {
        let wrong = |reason| ContextError::IgnoreLine {
            file: source.to_string(),
            line: number,
            text: shorten(&String::from_utf8_lossy(line)),
            reason,
        };
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

/// Returns the directories above `path`, outermost first, and `path` itself.
pub(super) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).chain(std::iter::once(path))
}

/// Trims a line for a message, and cuts very long ones.
fn shorten(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
