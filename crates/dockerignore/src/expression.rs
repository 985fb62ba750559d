//! [`Expression`]: the regular expression into which the reference translates a pattern, matched in
//! linear time.
//!
//! moby/patternmatcher builds the text of a regular expression for Go's `regexp` package (RE2
//! syntax, <https://pkg.go.dev/regexp/syntax>, flags `Perl`). Patterns therefore follow Go's
//! reading of that text, also in odd corners: `*` in brackets becomes `[^/]*` and closes them, `\s`
//! is white space. So `crate::pattern` builds the same text and `crate::syntax` parses it by Go's
//! rules.
//!
//! Only constructs that occur in such texts are supported: there are no groups but `(.*/)?`. Each
//! alternative is then a flat row of steps, matched by a state set that moves along the row: time
//! is at most the length of the path times the length of the pattern. Rust's `regex` would need the
//! same parser first (its syntax has nested classes, `&&` and escapes unknown to Go) and allocates
//! caches for thousands of small patterns.

use crate::syntax;

/// A compiled expression, which matches if one of its alternatives does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expression {
    alternatives: Vec<Alternative>,
}

/// One alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Alternative {
    steps: Vec<MatchStep>,
    /// Literal text at the start of every match, its last characters from the end, and the longest
    /// literal text within: cheap tests that most paths fail.
    prefix: String,
    tail: Vec<Set>,
    literal: String,
    /// True if a match begins at the start of the path. Only the first alternative has `^`.
    begins: bool,
    /// True if a match ends at the end of the path. Only the last alternative has `$`, and `\Q` can
    /// swallow the `$`.
    ends: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MatchStep {
    /// One character of the set.
    One(Set),
    /// One character of the set, or none.
    Maybe(Set),
    /// Any number of characters of the set.
    Many(Set),
    /// `(.*/)?`: empty, or any text up to and including a slash.
    Folders,
    /// An empty match at a certain position.
    At(Assertion),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Set {
    Char(char),
    NotNewline,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assertion {
    Start,
    End,
    WordBoundary,
    NoWordBoundary,
}

impl Set {
    /// Returns the set of one code. Go accepts codes that are not characters; no path contains
    /// them.
    pub(crate) fn of_code(code: u32) -> Self {
        match char::from_u32(code) {
            Some(c) => Self::Char(c),
            None => Self::Class { negated: false, ranges: vec![(code, code)] },
        }
    }

    fn holds(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::NotNewline => c != '\n',
            Self::Class { negated, ranges } => {
                let code = u32::from(c);
                ranges.iter().any(|&(low, high)| low <= code && code <= high) != *negated
            }
        }
    }
}

impl Assertion {
    fn is_between(self, before: Option<char>, after: Option<char>) -> bool {
        let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        match self {
            Self::Start => before.is_none(),
            Self::End => after.is_none(),
            Self::WordBoundary => word(before) != word(after),
            Self::NoWordBoundary => word(before) == word(after),
        }
    }
}

impl Expression {
    /// Parses the text of an expression as Go would. The error is the reason of a failure.
    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        Ok(Self { alternatives: syntax::parse(text)?.into_iter().map(Alternative::new).collect() })
    }

    /// Returns the number of steps of all alternatives.
    pub(crate) fn steps(&self) -> usize {
        self.alternatives.iter().map(|alternative| alternative.steps.len()).sum()
    }

    /// Returns true if the expression matches `path`.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.alternatives.iter().any(|alternative| alternative.matches(path))
    }

    /// Returns true if a longer path that begins with `start` could match.
    pub(crate) fn may_match_after(&self, start: &str) -> bool {
        self.alternatives.iter().any(|alternative| alternative.may_match_after(start))
    }
}

impl Alternative {
    fn new(mut steps: Vec<MatchStep>) -> Self {
        let begins = steps.first() == Some(&MatchStep::At(Assertion::Start));
        if begins {
            steps.remove(0);
        }
        let ends = steps.last() == Some(&MatchStep::At(Assertion::End));
        if ends {
            steps.pop();
        }
        let literal = |step: &MatchStep| match step {
            MatchStep::One(Set::Char(c)) => Some(*c),
            _ => None,
        };
        let mut prefix = String::new();
        if begins {
            prefix.extend(steps.iter().map_while(literal));
        }
        let one = |step: &MatchStep| match step {
            MatchStep::One(set) => Some(set.clone()),
            _ => None,
        };
        let tail = if ends { steps.iter().rev().map_while(one).collect() } else { Vec::new() };
        // The steps are a flat row, so each run of single characters is in every match.
        let runs = steps.split(|step| literal(step).is_none());
        let runs = runs.map(|run| run.iter().filter_map(literal).collect::<String>());
        let literal = runs.max_by_key(String::len).unwrap_or_default();
        Self { steps, prefix, tail, literal, begins, ends }
    }

    fn matches(&self, path: &str) -> bool {
        let mut last = path.chars().rev();
        let has_tail = self.tail.iter().all(|set| last.next().is_some_and(|c| set.holds(c)));
        if !has_tail || !path.starts_with(&self.prefix) || !path.contains(&self.literal) {
            return false;
        }
        let mut states = States::new(&self.steps);
        let mut before = None;
        let mut rest = path.chars();
        loop {
            let after = rest.clone().next();
            states.pass_empty_steps(&self.steps, before, after);
            if states.accepting() && (!self.ends || after.is_none()) {
                return true;
            }
            let Some(c) = rest.next() else { return false };
            if !states.take(&self.steps, c) && self.begins {
                return false;
            }
            if !self.begins {
                states.begin();
            }
            before = Some(c);
        }
    }

    fn may_match_after(&self, start: &str) -> bool {
        if !self.begins {
            return true;
        }
        let mut states = States::new(&self.steps);
        let mut before = None;
        for c in start.chars() {
            states.pass_empty_steps(&self.steps, before, Some(c));
            if states.accepting() && !self.ends {
                return true;
            }
            if !states.take(&self.steps, c) {
                return false;
            }
            before = Some(c);
        }
        // The rest of the path is unknown: any pending step may match.
        states.waiting() || !self.ends
    }
}

/// The set of steps that may come next. The state after the last step accepts.
struct States {
    /// True if the step is next.
    now: Vec<bool>,
    /// True if the step is `(.*/)?` and its `.*` is in progress.
    inside: Vec<bool>,
    next: Vec<bool>,
    next_inside: Vec<bool>,
}

impl States {
    fn new(steps: &[MatchStep]) -> Self {
        let none = vec![false; steps.len() + 1];
        let mut now = none.clone();
        now[0] = true;
        Self { now, inside: none.clone(), next: none.clone(), next_inside: none }
    }

    /// Starts a match at the current position.
    fn begin(&mut self) {
        if let Some(first) = self.now.first_mut() {
            *first = true;
        }
    }

    fn accepting(&self) -> bool {
        self.now.last() == Some(&true)
    }

    /// Returns true if a step is pending.
    fn waiting(&self) -> bool {
        self.now.iter().rev().skip(1).any(|&now| now) || self.inside.contains(&true)
    }

    /// Passes every step that needs no character. All of them lead forward, so one pass is enough.
    fn pass_empty_steps(&mut self, steps: &[MatchStep], before: Option<char>, after: Option<char>) {
        for (index, step) in steps.iter().enumerate() {
            if !self.now[index] {
                continue;
            }
            match step {
                MatchStep::One(_) => {}
                MatchStep::Maybe(_) | MatchStep::Many(_) => self.now[index + 1] = true,
                MatchStep::Folders => {
                    self.inside[index] = true;
                    self.now[index + 1] = true;
                }
                MatchStep::At(assertion) => {
                    if assertion.is_between(before, after) {
                        self.now[index + 1] = true;
                    }
                }
            }
        }
    }

    /// Advances by one character; returns false once no match is possible.
    fn take(&mut self, steps: &[MatchStep], c: char) -> bool {
        self.next.fill(false);
        self.next_inside.fill(false);
        let mut alive = false;
        for (index, step) in steps.iter().enumerate() {
            match step {
                MatchStep::One(set) | MatchStep::Maybe(set) if self.now[index] && set.holds(c) => {
                    self.next[index + 1] = true;
                    alive = true;
                }
                MatchStep::Many(set) if self.now[index] && set.holds(c) => {
                    self.next[index] = true;
                    alive = true;
                }
                MatchStep::Folders if self.inside[index] && c != '\n' => {
                    self.next_inside[index] = true;
                    alive = true;
                }
                _ => {}
            }
            if c == '/' && self.inside[index] {
                self.next[index + 1] = true;
            }
        }
        std::mem::swap(&mut self.now, &mut self.next);
        std::mem::swap(&mut self.inside, &mut self.next_inside);
        alive
    }
}
