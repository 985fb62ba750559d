//! [`Expression`]: the regular expression that the reference makes of a pattern, run in linear time.
//!
//! moby/patternmatcher writes the text of a regular expression and gives it to Go's `regexp`
//! package (RE2 syntax, <https://pkg.go.dev/regexp/syntax>, flags `Perl`). What a pattern means is
//! therefore decided by how Go reads that text, in odd corners too: `*` in brackets becomes
//! `[^/]*` and closes them, `\s` is white space. So the same text is made (`super::pattern`) and
//! read by Go's rules (`super::syntax`).
//!
//! Only what such a text can hold is read: there are no groups but `(.*/)?`. What remains is a flat row of steps for each
//! alternative, for which a state set that moves along the row is the whole machine: time is at most the length of the
//! path times that of the pattern, whatever the pattern. Rust's `regex` would need the same reading first (it knows
//! nested classes, `&&` and other escapes, which Go does not) and keeps caches for thousands of small patterns.

use super::syntax;

/// A compiled expression: it matches where one of its alternatives does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    rows: Vec<Row>,
}

/// One alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    steps: Vec<Step>,
    /// Literal text that every match begins with, and the same for its end: most paths fail there.
    prefix: String,
    suffix: String,
    /// Whether the match begins where the path begins. `^` stands in the first alternative only.
    begins: bool,
    /// Whether the match ends where the path ends. `$` stands in the last alternative only, and `\Q` can swallow it.
    ends: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// One character of the set.
    One(Set),
    /// One character of the set, or none.
    Maybe(Set),
    /// Any number of characters of the set.
    Many(Set),
    /// `(.*/)?`: nothing, or anything up to and with a slash.
    Folders,
    /// Nothing, at a certain kind of place.
    At(Place),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Set {
    Char(char),
    NotNewline,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    End,
    WordBoundary,
    NoWordBoundary,
}

impl Set {
    /// The character with this code. Go knows codes that are no characters; no path has one.
    pub(super) fn of_code(code: u32) -> Self {
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

impl Place {
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
    /// Reads the text of an expression as Go would; says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        Ok(Self { rows: syntax::parse(text)?.into_iter().map(Row::new).collect() })
    }

    /// Whether it matches `path`.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.rows.iter().any(|row| row.matches(path))
    }

    /// Whether some path that begins with `start` and goes on could match.
    pub(super) fn may_match_after(&self, start: &str) -> bool {
        self.rows.iter().any(|row| row.may_match_after(start))
    }
}

impl Row {
    fn new(mut steps: Vec<Step>) -> Self {
        let begins = steps.first() == Some(&Step::At(Place::Start));
        if begins {
            steps.remove(0);
        }
        let ends = steps.last() == Some(&Step::At(Place::End));
        if ends {
            steps.pop();
        }
        let literal = |step: &Step| match step {
            Step::One(Set::Char(c)) => Some(*c),
            _ => None,
        };
        let mut prefix = String::new();
        if begins {
            prefix.extend(steps.iter().map_while(literal));
        }
        let mut suffix: Vec<char> = Vec::new();
        if ends {
            suffix.extend(steps.iter().rev().map_while(literal));
            suffix.reverse();
        }
        Self { prefix, suffix: suffix.into_iter().collect(), steps, begins, ends }
    }

    fn matches(&self, path: &str) -> bool {
        if !path.starts_with(&self.prefix) || !path.ends_with(&self.suffix) {
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
        // What follows is not known: any step that is still to be taken may be.
        states.waiting() || !self.ends
    }
}

/// Which steps may come next. The state after the last step accepts.
struct States {
    /// The step is next.
    now: Vec<bool>,
    /// The step is `(.*/)?` and its `.*` is under way.
    inside: Vec<bool>,
    next: Vec<bool>,
    next_inside: Vec<bool>,
}

impl States {
    fn new(steps: &[Step]) -> Self {
        let none = vec![false; steps.len() + 1];
        let mut now = none.clone();
        now[0] = true;
        Self { now, inside: none.clone(), next: none.clone(), next_inside: none }
    }

    /// A match may begin here.
    fn begin(&mut self) {
        if let Some(first) = self.now.first_mut() {
            *first = true;
        }
    }

    fn accepting(&self) -> bool {
        self.now.last() == Some(&true)
    }

    /// Whether some step is still to be taken.
    fn waiting(&self) -> bool {
        self.now.iter().rev().skip(1).any(|&now| now) || self.inside.contains(&true)
    }

    /// Passes every step that needs no character. They all lead forward, so once along is enough.
    fn pass_empty_steps(&mut self, steps: &[Step], before: Option<char>, after: Option<char>) {
        for (index, step) in steps.iter().enumerate() {
            if !self.now[index] {
                continue;
            }
            match step {
                Step::One(_) => {}
                Step::Maybe(_) | Step::Many(_) => self.now[index + 1] = true,
                Step::Folders => {
                    self.inside[index] = true;
                    self.now[index + 1] = true;
                }
                Step::At(place) => {
                    if place.is_between(before, after) {
                        self.now[index + 1] = true;
                    }
                }
            }
        }
    }

    /// Goes on by one character; says whether anything is left that could match.
    fn take(&mut self, steps: &[Step], c: char) -> bool {
        self.next.fill(false);
        self.next_inside.fill(false);
        let mut alive = false;
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::One(set) | Step::Maybe(set) if self.now[index] && set.holds(c) => {
                    self.next[index + 1] = true;
                    alive = true;
                }
                Step::Many(set) if self.now[index] && set.holds(c) => {
                    self.next[index] = true;
                    alive = true;
                }
                Step::Folders if self.inside[index] && c != '\n' => {
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
