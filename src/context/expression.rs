//! [`Expression`]: the regular expression that the reference makes of a pattern, run in linear time.
//!
//! moby/patternmatcher writes the text of a regular expression and gives it to Go's `regexp`
//! package (RE2 syntax, <https://pkg.go.dev/regexp/syntax>, flags `Perl`). What a pattern means is
//! therefore decided by how Go reads that text, in odd corners too: `*` in brackets becomes
//! `[^/]*` and closes them, `\s` is white space. So the same text is made (`super::pattern`) and
//! read here by Go's rules.
//!
//! Only what such a text can hold is read: there are no groups but `(.*/)?`, no alternatives and no
//! counted repetitions. What remains is a flat row of steps, for which a state set that moves along
//! the row is the whole machine: time is at most the length of the path times that of the pattern,
//! whatever the pattern. Rust's `regex` would need the same reading first (it knows nested classes,
//! `&&` and other escapes, which Go does not) and keeps caches for thousands of small patterns.

use std::iter::Peekable;
use std::str::Chars;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    steps: Vec<Step>,
    /// Literal text that every match begins with, and the same for its end: most paths fail there.
    prefix: String,
    suffix: String,
    /// Whether the match ends where the path ends. Only `\Q` can swallow the closing `$`.
    ends: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// One character of the set.
    One(Set),
    /// Any number of characters of the set.
    Many(Set),
    /// `(.*/)?`: nothing, or anything up to and with a slash.
    Folders,
    /// Nothing, at a certain kind of place.
    At(Place),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Set {
    Char(char),
    NotNewline,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    End,
    WordBoundary,
    NoWordBoundary,
}

impl Set {
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
        let mut parser = Parser { rest: text.chars().peekable() };
        let mut steps = parser.steps()?;
        // The text begins with `^`, which says nothing more: matching starts at the start.
        if steps.first() == Some(&Step::At(Place::Start)) {
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
        let prefix: String = steps.iter().map_while(literal).collect();
        let mut suffix: Vec<char> = Vec::new();
        if ends {
            suffix.extend(steps.iter().rev().map_while(literal));
            suffix.reverse();
        }
        Ok(Self { prefix, suffix: suffix.into_iter().collect(), steps, ends })
    }

    /// Whether it matches `path`.
    pub(super) fn matches(&self, path: &str) -> bool {
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
            if !states.take(&self.steps, c) {
                return false;
            }
            before = Some(c);
        }
    }

    /// Whether some path that begins with `start` and goes on could match.
    pub(super) fn may_match_after(&self, start: &str) -> bool {
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
                Step::Many(_) => self.now[index + 1] = true,
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
                Step::One(set) if self.now[index] && set.holds(c) => {
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

const ESCAPE: &str = "it holds a `\\` before a letter or digit that means nothing";
const CLASS: &str = "a `[` is not closed";
const RANGE: &str = "a range in brackets is upside down or names no class";
const UNICODE: &str = "it holds `\\p`, a Unicode class, which is not supported";

/// Reads an expression's text as `regexp/syntax` does.
struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn starts_with(&self, text: &str) -> bool {
        let mut rest = self.rest.clone();
        text.chars().all(|c| rest.next() == Some(c))
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.rest.next();
        }
    }

    fn steps(&mut self) -> Result<Vec<Step>, &'static str> {
        let mut steps = Vec::new();
        while let Some(c) = self.rest.next() {
            let set = match c {
                '^' => {
                    steps.push(Step::At(Place::Start));
                    continue;
                }
                '$' => {
                    steps.push(Step::At(Place::End));
                    continue;
                }
                // Parentheses of the pattern are escaped: this is the text of `**`.
                '(' => {
                    self.skip(".*/)?".len());
                    steps.push(Step::Folders);
                    continue;
                }
                '.' => Set::NotNewline,
                '[' => self.class()?,
                '\\' => match self.escape(&mut steps)? {
                    Some(set) => set,
                    None => continue,
                },
                c => Set::Char(c),
            };
            steps.push(match self.rest.next_if_eq(&'*') {
                Some(_) => Step::Many(set),
                None => Step::One(set),
            });
        }
        Ok(steps)
    }

    /// What follows a `\` outside brackets; none where it became steps of its own.
    fn escape(&mut self, steps: &mut Vec<Step>) -> Result<Option<Set>, &'static str> {
        let place = match self.rest.peek() {
            Some('A') => Place::Start,
            Some('z') => Place::End,
            Some('b') => Place::WordBoundary,
            Some('B') => Place::NoWordBoundary,
            Some('Q') => {
                self.skip(1);
                while self.rest.peek().is_some() && !self.starts_with("\\E") {
                    steps.extend(self.rest.next().map(|c| Step::One(Set::Char(c))));
                }
                self.skip(2);
                return Ok(None);
            }
            Some('p' | 'P') => return Err(UNICODE),
            Some(letter) => {
                if let Some((negated, ranges)) = perl_class(*letter) {
                    self.skip(1);
                    return Ok(Some(Set::Class { negated, ranges: codes(ranges).collect() }));
                }
                return self.escaped_char().map(|c| Some(Set::Char(c)));
            }
            None => return Err(ESCAPE),
        };
        self.skip(1);
        steps.push(Step::At(place));
        Ok(None)
    }

    /// The character that is written as `\` (already read) and something.
    fn escaped_char(&mut self) -> Result<char, &'static str> {
        let c = self.rest.next().ok_or(ESCAPE)?;
        let code = match c {
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '0'..='7' => {
                let mut octal = || self.rest.next_if(|c| c.is_digit(8)).and_then(|c| c.to_digit(8));
                let first = c.to_digit(8).ok_or(ESCAPE)?;
                match octal() {
                    // A digit but zero on its own would refer back to a group.
                    None if first > 0 => return Err(ESCAPE),
                    None => 0,
                    Some(second) => match octal() {
                        None => first * 8 + second,
                        Some(third) => first * 64 + second * 8 + third,
                    },
                }
            }
            'x' => {
                let mut hex = || self.rest.next().and_then(|c| c.to_digit(16)).ok_or(ESCAPE);
                hex()? * 16 + hex()?
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(c),
            _ => return Err(ESCAPE),
        };
        char::from_u32(code).ok_or(ESCAPE)
    }

    /// What stands in brackets; the opening one is read already.
    fn class(&mut self) -> Result<Set, &'static str> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        let mut first = true;
        while first || self.rest.peek() != Some(&']') {
            first = false;
            if self.starts_with("[:")
                && let Some(name) = self.class_name()
            {
                let (negated, named) = posix_class(&name).ok_or(RANGE)?;
                extend(&mut ranges, negated, named);
                continue;
            }
            if self.starts_with("\\p") || self.starts_with("\\P") {
                return Err(UNICODE);
            }
            if self.starts_with("\\") {
                let mut ahead = self.rest.clone();
                ahead.next();
                if let Some((negated, named)) = ahead.next().and_then(perl_class) {
                    self.skip(2);
                    extend(&mut ranges, negated, named);
                    continue;
                }
            }
            let low = self.class_char()?;
            let mut high = low;
            if self.starts_with("-") && !self.starts_with("-]") {
                let mut ahead = self.rest.clone();
                ahead.next();
                if ahead.next().is_some() {
                    self.skip(1);
                    high = self.class_char()?;
                    if high < low {
                        return Err(RANGE);
                    }
                }
            }
            ranges.push((u32::from(low), u32::from(high)));
        }
        self.skip(1);
        Ok(Set::Class { negated, ranges })
    }

    fn class_char(&mut self) -> Result<char, &'static str> {
        match self.rest.next().ok_or(CLASS)? {
            '\\' => self.escaped_char(),
            c => Ok(c),
        }
    }

    /// Reads `[:name:]`; none, and nothing read, where it is not closed.
    fn class_name(&mut self) -> Option<String> {
        let mut ahead = self.rest.clone();
        ahead.next();
        ahead.next();
        let mut name = String::new();
        loop {
            match ahead.next()? {
                ':' if ahead.peek() == Some(&']') => break,
                c => name.push(c),
            }
        }
        ahead.next();
        self.rest = ahead;
        Some(name)
    }
}

/// First and last characters.
type Ranges = &'static [(char, char)];

const DIGIT: Ranges = &[('0', '9')];
const SPACE: Ranges = &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
const WORD: Ranges = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// `\d` and its like: the ranges, and whether everything else is meant.
fn perl_class(letter: char) -> Option<(bool, Ranges)> {
    let ranges = match letter.to_ascii_lowercase() {
        'd' => DIGIT,
        's' => SPACE,
        'w' => WORD,
        _ => return None,
    };
    Some((letter.is_ascii_uppercase(), ranges))
}

/// `[:alpha:]` and its like, by the name between the colons.
fn posix_class(name: &str) -> Option<(bool, Ranges)> {
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let ranges: Ranges = match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => DIGIT,
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => WORD,
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    };
    Some((negated, ranges))
}

fn codes(ranges: Ranges) -> impl Iterator<Item = (u32, u32)> {
    ranges.iter().map(|&(low, high)| (u32::from(low), u32::from(high)))
}

/// Adds `named`, or everything but it, to `ranges`.
fn extend(ranges: &mut Vec<(u32, u32)>, negated: bool, named: Ranges) {
    if !negated {
        ranges.extend(codes(named));
        return;
    }
    let mut from = 0;
    for (low, high) in codes(named) {
        if from < low {
            ranges.push((from, low - 1));
        }
        from = high + 1;
    }
    ranges.push((from, u32::from(char::MAX)));
}
