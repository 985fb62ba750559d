//! The text of an expression, read as Go's `regexp/syntax` reads it with the flags `Perl`.
//!
//! <https://pkg.go.dev/regexp/syntax>. Only what `super::pattern` can have written is known.

use std::iter::Peekable;
use std::str::Chars;

use super::expression::{Place, Set, Step};

const ESCAPE: &str = "it holds a `\\` before a letter or digit that means nothing";
const CLASS: &str = "a `[` is not closed";
const RANGE: &str = "a range in brackets is upside down or names no class";
const UNICODE: &str = "it holds `\\p`, a Unicode class, which is not supported";

/// The steps of the expression `text`; says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<Step>, &'static str> {
    Parser { rest: text.chars().peekable() }.steps()
}

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
