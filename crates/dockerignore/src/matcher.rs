//! [`Dockerignore`]: the rules of an ignore file, which decide about paths.
//!
//! moby/patternmatcher, `patternmatcher.go` (`MatchesUsingParentResults`), and `filter.go` of
//! tonistiigi/fsutil.

use std::sync::Arc;

use crate::error::Error;
use crate::path::prefixes;
use crate::rule::{Effect, Rule};

/// The largest size of all compiled patterns, in steps. Counted repetitions (`a{1000}*`) write a
/// step many times; all others have at most one for each character.
const STEPS_LIMIT: usize = 2 << 20;

/// The rules of an ignore file, in order.
///
/// Paths are relative to the root, with `/` between components, and [clean](crate::clean()).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dockerignore {
    rules: Vec<Rule>,
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
#[non_exhaustive]
pub struct Verdict<'a> {
    /// The outcome.
    pub fate: Fate,
    /// The deciding rule; `None` if no rule matches.
    pub decision: Option<Decision<'a>>,
}

/// The rule that decided about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The directory above the path that the rule matches; `None` if the rule matches the path
    /// itself.
    pub parent: Option<String>,
}

/// For each rule: true if the rule matches a path or a directory above.
pub(crate) type Hits = Vec<bool>;

impl Dockerignore {
    /// The largest ignore file in bytes, 1 MiB. Typical files have a few hundred.
    pub const SIZE_LIMIT: u64 = 1 << 20;

    /// Returns an empty list of rules: every path is kept.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Parses the bytes of an ignore file; `name` appears in messages.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a file of more than [`Dockerignore::SIZE_LIMIT`], and
    /// [`Error::Line`] for a line that the reference refuses when it reads the file.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > Self::SIZE_LIMIT {
            return Err(Error::TooLarge { file: name.to_owned(), limit: Self::SIZE_LIMIT });
        }
        Self::read(name, bytes.split(|&byte| byte == b'\n'))
    }

    /// Parses patterns, each as a line of an ignore file; `name` appears in messages.
    ///
    /// # Errors
    /// [`Error::Line`] with the text of an invalid pattern.
    pub fn from_lines(name: &str, lines: &[impl AsRef<str>]) -> Result<Self, Error> {
        Self::read(name, lines.iter().map(|line| line.as_ref().as_bytes()))
    }

    fn read<'a>(name: &str, lines: impl Iterator<Item = &'a [u8]>) -> Result<Self, Error> {
        let source: Arc<str> = name.into();
        let mut rules = Vec::new();
        let mut steps = 0;
        for (index, line) in lines.enumerate() {
            let Some(rule) = Rule::read(&source, index + 1, line)? else { continue };
            steps += rule.steps();
            if steps > STEPS_LIMIT {
                return Err(rule.error("too many repetitions in this file"));
            }
            rules.push(rule);
        }
        Ok(Self { rules })
    }

    /// Puts `defaults` before these rules, which take precedence.
    #[must_use]
    pub fn after(mut self, mut defaults: Self) -> Self {
        defaults.rules.append(&mut self.rules);
        defaults
    }

    /// Returns the rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the outcome for `path`.
    ///
    /// # Errors
    /// [`Error::Line`] for a rule that the reference cannot compile (`[z-a]`), if the rule could
    /// change the outcome: the reference compiles a rule when it is first matched.
    pub fn fate(&self, path: &str) -> Result<Fate, Error> {
        Ok(self.judge_all(path)?.0)
    }

    /// Returns the outcome for `path`, with the rule that decides. The root, `.`, is always kept.
    ///
    /// # Errors
    /// As [`Dockerignore::fate`].
    pub fn verdict(&self, path: &str) -> Result<Verdict<'_>, Error> {
        let fate = self.fate(path)?;
        Ok(Verdict { fate, decision: self.decision(path, fate) })
    }

    /// Returns true if a walk may skip all of `directory`: the directory is ignored, and no `!`
    /// rule can match a path below.
    pub fn may_prune(&self, directory: &str) -> bool {
        let judged = self.judge_all(directory);
        judged.is_ok_and(|(fate, hits)| fate == Fate::Ignored && self.all_below_ignored(directory, &hits))
    }

    /// Returns true if the deciding rule is a `!` rule that matches `path` itself.
    pub fn reincludes(&self, path: &str) -> bool {
        let decision = self.decision(path, Fate::Kept);
        decision.is_some_and(|it| it.rule.effect() == Effect::Reincludes && it.parent.is_none())
            && self.fate(path) == Ok(Fate::Kept)
    }

    /// Judges the directories above `path`, outermost first, then `path` itself.
    fn judge_all(&self, path: &str) -> Result<(Fate, Hits), Error> {
        let mut hits = Hits::new();
        let mut fate = Fate::Kept;
        if is_root(path) {
            return Ok((fate, hits));
        }
        for prefix in prefixes(path) {
            (fate, hits) = self.judge(prefix, &hits)?;
        }
        Ok((fate, hits))
    }

    /// Judges `path`, whose parent directory was judged with `above`. Returns the rules that match
    /// the path or a directory above.
    ///
    /// As in the reference, a rule that could not change the outcome is not evaluated, and so does
    /// not count for descendants either.
    pub(crate) fn judge(&self, path: &str, above: &Hits) -> Result<(Fate, Hits), Error> {
        let mut hits = Hits::with_capacity(self.rules.len());
        let mut ignored = false;
        for (index, rule) in self.rules.iter().enumerate() {
            let inherited = above.get(index).copied().unwrap_or(false);
            let hit = inherited || rule.excludes() != ignored && rule.try_matches(path)?;
            hits.push(hit);
            if hit {
                ignored = rule.excludes();
            }
        }
        Ok((if ignored { Fate::Ignored } else { Fate::Kept }, hits))
    }

    /// Returns true if all paths below `directory`, which is ignored with `hits`, are ignored.
    pub(crate) fn all_below_ignored(&self, directory: &str, hits: &Hits) -> bool {
        // The last rule that ignores the directory ignores everything below, whatever precedes the
        // rule.
        let last = self.rules.iter().zip(hits).rposition(|(rule, &hit)| hit && rule.excludes());
        let later = self.rules.get(last.map_or(0, |last| last + 1)..).unwrap_or_default();
        later.iter().all(|rule| rule.excludes() || !rule.may_match_below(directory))
    }

    /// Finds the last rule that matches `path` or a directory above and whose effect leads to
    /// `fate`.
    fn decision(&self, path: &str, fate: Fate) -> Option<Decision<'_>> {
        if is_root(path) {
            return None;
        }
        let fitting = |rule: &&Rule| rule.excludes() == (fate == Fate::Ignored);
        self.rules.iter().rev().filter(fitting).find_map(|rule| {
            if rule.matches(path) {
                return Some(Decision { rule, parent: None });
            }
            let parent = prefixes(path).find(|prefix| rule.matches(prefix))?;
            Some(Decision { rule, parent: Some(parent.to_owned()) })
        })
    }
}

fn is_root(path: &str) -> bool {
    matches!(path, "" | ".")
}
