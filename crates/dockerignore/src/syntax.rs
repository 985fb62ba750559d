//! Parses the text of an expression as Go's `regexp/syntax` does with the flags `Perl`.
//!
//! <https://pkg.go.dev/regexp/syntax>. Only the output of `crate::pattern` is supported: no groups
//! but `(.*/)?`, and no repetition with `+` and `?`. Alternatives (`|`) and counted repetitions
//! (`{2}`) are included.

use std::iter::Peekable;
use std::str::Chars;

use crate::expression::{Assertion, MatchStep, Set};

const ESCAPE: &str = "unknown escape: a `\\` before a letter or digit";
const CLASS: &str = "unclosed `[`";
const RANGE: &str = "invalid range or unknown class in brackets";
const UNICODE: &str = "Unicode classes (`\\p`) are not supported";
const REPETITION: &str =
    "invalid repetition such as `{2}`: no operand, a second repetition, or wrong numbers";
const NESTED: &str = "nested repetitions are not supported";
const SIZE: &str = "too many repetitions";

/// The maximum length of a row. Counted repetitions write a step many times.
const STEPS_LIMIT: usize = 100_000;
/// The largest number of a counted repetition.
const MOST_REPEATED: usize = 1000;

/// Returns the alternatives of the expression `text`, each a row of steps.
///
/// # Errors
/// The reason for which Go would not compile the text, or this module does not support it.
pub(crate) fn parse(text: &str) -> Result<Vec<Vec<MatchStep>>, &'static str> {
    Parser { rest: text.chars().peekable() }.alternatives()
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
}

/// The operand of a counted repetition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RepeatOperand {
    /// Missing: the repetition comes first.
    Nothing,
    /// The last step.
    Step,
    /// Several steps, the result of a repetition.
    Repeated,
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

    fn alternatives(&mut self) -> Result<Vec<Vec<MatchStep>>, &'static str> {
        let mut rows = vec![Vec::new()];
        let mut last = RepeatOperand::Nothing;
        // True directly after a repetition: two in a row are an error.
        let mut repeated = false;
        while let Some(c) = self.rest.next() {
            if c == '|' {
                rows.push(Vec::new());
                (last, repeated) = (RepeatOperand::Nothing, false);
                continue;
            }
            let Some(steps) = rows.last_mut() else { break };
            if c == '{'
                && let Some((least, most)) = self.counts()?
            {
                if repeated || last == RepeatOperand::Nothing {
                    return Err(REPETITION);
                }
                if last == RepeatOperand::Repeated {
                    return Err(NESTED);
                }
                repeat(steps, least, most)?;
                (last, repeated) = (RepeatOperand::Repeated, true);
                continue;
            }
            let before = steps.len();
            let many = self.step(c, steps)?;
            // `\Q\E` is empty; the step before remains the operand.
            if steps.len() > before {
                last = RepeatOperand::Step;
            }
            repeated = many;
            if steps.len() > STEPS_LIMIT {
                return Err(SIZE);
            }
        }
        Ok(rows)
    }

    /// Reads the construct that begins with `c` into `steps`. Returns true if it ends in a
    /// repetition.
    fn step(&mut self, c: char, steps: &mut Vec<MatchStep>) -> Result<bool, &'static str> {
        let set = match c {
            '^' => {
                steps.push(MatchStep::At(Assertion::Start));
                return Ok(false);
            }
            '$' => {
                steps.push(MatchStep::At(Assertion::End));
                return Ok(false);
            }
            // Parentheses of the pattern are escaped: this is the text of `**`.
            '(' => {
                self.skip(".*/)?".len());
                steps.push(MatchStep::Folders);
                return Ok(true);
            }
            '.' => Set::NotNewline,
            '[' => self.class()?,
            '\\' => match self.escape(steps)? {
                Some(set) => set,
                None => return Ok(false),
            },
            c => Set::Char(c),
        };
        let many = self.rest.next_if_eq(&'*').is_some();
        steps.push(if many { MatchStep::Many(set) } else { MatchStep::One(set) });
        Ok(many)
    }

    /// Reads `n}`, `n,}` or `n,m}`; otherwise reads no input and returns `None`, since `{` is then
    /// literal.
    fn counts(&mut self) -> Result<Option<(usize, Option<usize>)>, &'static str> {
        let mut ahead = self.rest.clone();
        let Some(least) = number(&mut ahead) else { return Ok(None) };
        let most = match ahead.next_if_eq(&',') {
            None => Some(least),
            Some(_) if ahead.peek() == Some(&'}') => None,
            Some(_) => match number(&mut ahead) {
                Some(most) => Some(most),
                None => return Ok(None),
            },
        };
        if ahead.next() != Some('}') {
            return Ok(None);
        }
        if least > MOST_REPEATED || most.is_some_and(|most| most > MOST_REPEATED || most < least) {
            return Err(REPETITION);
        }
        self.rest = ahead;
        Ok(Some((least, most)))
    }

    /// Reads the rest of an escape outside brackets; `None` if it became steps.
    fn escape(&mut self, steps: &mut Vec<MatchStep>) -> Result<Option<Set>, &'static str> {
        let assertion = match self.rest.peek() {
            Some('A') => Assertion::Start,
            Some('z') => Assertion::End,
            Some('b') => Assertion::WordBoundary,
            Some('B') => Assertion::NoWordBoundary,
            Some('Q') => {
                self.skip(1);
                while self.rest.peek().is_some() && !self.starts_with("\\E") {
                    steps.extend(self.rest.next().map(|c| MatchStep::One(Set::Char(c))));
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
                return self.escaped_code().map(|code| Some(Set::of_code(code)));
            }
            None => return Err(ESCAPE),
        };
        self.skip(1);
        steps.push(MatchStep::At(assertion));
        Ok(None)
    }

    /// Returns the code of an escaped character, after the `\`. The code may be one that occurs in
    /// no path.
    fn escaped_code(&mut self) -> Result<u32, &'static str> {
        let c = self.rest.next().ok_or(ESCAPE)?;
        Ok(match c {
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
                    // A single digit other than zero would be a backreference.
                    None if first > 0 => return Err(ESCAPE),
                    None => 0,
                    Some(second) => match octal() {
                        None => first * 8 + second,
                        Some(third) => first * 64 + second * 8 + third,
                    },
                }
            }
            'x' if self.rest.next_if_eq(&'{').is_some() => self.braced_hex()?,
            'x' => {
                let mut hex = || self.rest.next().and_then(|c| c.to_digit(16)).ok_or(ESCAPE);
                hex()? * 16 + hex()?
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
            _ => return Err(ESCAPE),
        })
    }

    /// Reads the hexadecimal digits of `\x{…}`, after the brace.
    fn braced_hex(&mut self) -> Result<u32, &'static str> {
        let mut code = None;
        loop {
            match self.rest.next().ok_or(ESCAPE)? {
                '}' => return code.ok_or(ESCAPE),
                c => {
                    let digit = c.to_digit(16).ok_or(ESCAPE)?;
                    let next = code.unwrap_or(0) * 16 + digit;
                    code = Some(next).filter(|next| *next <= u32::from(char::MAX));
                    code.ok_or(ESCAPE)?;
                }
            }
        }
    }

    /// Reads a bracket class, after the opening bracket.
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
            let low = self.class_code()?;
            let mut high = low;
            if self.starts_with("-") && !self.starts_with("-]") {
                let mut ahead = self.rest.clone();
                ahead.next();
                if ahead.next().is_some() {
                    self.skip(1);
                    high = self.class_code()?;
                    if high < low {
                        return Err(RANGE);
                    }
                }
            }
            ranges.push((low, high));
        }
        self.skip(1);
        Ok(Set::Class { negated, ranges })
    }

    fn class_code(&mut self) -> Result<u32, &'static str> {
        match self.rest.next().ok_or(CLASS)? {
            '\\' => self.escaped_code(),
            c => Ok(u32::from(c)),
        }
    }

    /// Reads `[:name:]`; reads no input and returns `None` if it is not closed.
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

/// Applies a counted repetition to the last of `steps`.
fn repeat(steps: &mut Vec<MatchStep>, least: usize, most: Option<usize>) -> Result<(), &'static str> {
    let Some(step) = steps.pop() else { return Err(REPETITION) };
    let set = match step {
        MatchStep::One(set) => set,
        // For these, repeating once equals repeating often, and zero times equals no step.
        step => {
            let is_optional = matches!(step, MatchStep::Many(_) | MatchStep::Maybe(_) | MatchStep::Folders);
            if least > 0 || is_optional && most != Some(0) {
                steps.push(step);
            }
            return Ok(());
        }
    };
    if steps.len() + most.unwrap_or(least) > STEPS_LIMIT {
        return Err(SIZE);
    }
    steps.extend(std::iter::repeat_n(MatchStep::One(set.clone()), least));
    match most {
        None => steps.push(MatchStep::Many(set)),
        Some(most) => steps.extend(std::iter::repeat_n(MatchStep::Maybe(set), most - least)),
    }
    Ok(())
}

/// Reads a number without leading zeros; more than nine digits become `usize::MAX`.
fn number(ahead: &mut Peekable<Chars<'_>>) -> Option<usize> {
    let mut digits = String::new();
    while let Some(digit) = ahead.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some(if digits.len() > 9 { usize::MAX } else { digits.parse().ok()? })
}

/// Pairs of first and last characters.
type Ranges = &'static [(char, char)];

const DIGIT: Ranges = &[('0', '9')];
const SPACE: Ranges = &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
const WORD: Ranges = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// Returns the ranges of a class such as `\d`, and true if the class is negated.
fn perl_class(letter: char) -> Option<(bool, Ranges)> {
    let ranges = match letter.to_ascii_lowercase() {
        'd' => DIGIT,
        's' => SPACE,
        'w' => WORD,
        _ => return None,
    };
    Some((letter.is_ascii_uppercase(), ranges))
}

/// Returns the class `[:name:]`.
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

/// Adds `named`, or its complement, to `ranges`.
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
