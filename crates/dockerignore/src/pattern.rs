//! [`Pattern`]: one pattern of an ignore file, parsed and matched as in moby/patternmatcher.
//!
//! <https://github.com/moby/patternmatcher>, `patternmatcher.go`, with Go's `path/filepath`
//! (`Clean` and the syntax of `Match`). Lines and `!` belong to [`crate::rule`], directories above a
//! path to [`crate::matcher`].

use crate::expression::Expression;

/// A cleaned, well-formed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    cleaned: String,
    kind: Matcher,
}

/// The matching method. The reference has shortcuts, which sometimes differ from the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    /// No wildcards: the path equals the pattern.
    Exact,
    /// `text**`: the path begins with the text.
    Prefix,
    /// `**text`: the path ends with the text, also in the middle of a name.
    Suffix,
    /// Anything else.
    Expression(Expression),
    /// An expression that Go cannot compile, with the reason. The reference fails at the first
    /// match.
    Broken(&'static str),
}

impl Pattern {
    /// Compiles `cleaned`.
    ///
    /// # Errors
    /// The reason for which the reference refuses the pattern before the first match.
    pub(crate) fn new(cleaned: String) -> Result<Self, &'static str> {
        check_syntax(&cleaned)?;
        let kind = compile(&cleaned).unwrap_or_else(Matcher::Broken);
        Ok(Self { cleaned, kind })
    }

    /// Returns the reason for which matching fails; `None` for nearly all patterns.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        match self.kind {
            Matcher::Broken(reason) => Some(reason),
            _ => None,
        }
    }

    /// Returns the cleaned pattern.
    pub(crate) fn as_str(&self) -> &str {
        &self.cleaned
    }

    /// Returns true if the pattern matches `path` itself; callers match its parents.
    pub(crate) fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Matcher::Exact => path == self.cleaned,
            Matcher::Prefix => path.as_bytes().starts_with(self.before_stars()),
            Matcher::Suffix => {
                let suffix = self.after_stars();
                path.as_bytes().ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path.as_bytes())
            }
            Matcher::Expression(expression) => expression.matches(path),
            Matcher::Broken(_) => false,
        }
    }

    /// Returns true if the pattern could match a path below `directory`.
    pub(crate) fn may_match_below(&self, directory: &str) -> bool {
        let start = format!("{directory}/");
        match &self.kind {
            Matcher::Exact => self.cleaned.starts_with(&start),
            Matcher::Prefix => {
                let prefix = self.before_stars();
                prefix.starts_with(start.as_bytes()) || start.as_bytes().starts_with(prefix)
            }
            // The reference walks on below a pattern that Go cannot compile.
            Matcher::Suffix | Matcher::Broken(_) => true,
            Matcher::Expression(expression) => expression.may_match_after(&start),
        }
    }

    /// Returns the size of the compiled expression, in steps; 0 for a shortcut.
    pub(crate) fn steps(&self) -> usize {
        match &self.kind {
            Matcher::Expression(expression) => expression.steps(),
            _ => 0,
        }
    }

    fn before_stars(&self) -> &[u8] {
        self.cleaned.as_bytes().get(..self.cleaned.len().saturating_sub(2)).unwrap_or_default()
    }

    /// Returns bytes, because the reference cuts through a byte order mark before the stars.
    fn after_stars(&self) -> &[u8] {
        self.cleaned.as_bytes().get(2..).unwrap_or_default()
    }
}

const BRACKET: &str = "unclosed `[`, or malformed expression in brackets";
const BACKSLASH: &str = "trailing `\\`";

/// Accepts the patterns that Go's `filepath.Match(pattern, ".")` accepts.
///
/// The reference calls `Match` only for its error. Go returns at the first chunk without a match
/// and leaves the rest unread, so `a*/[` is accepted here, while a chunk is always read to its end.
fn check_syntax(pattern: &str) -> Result<(), &'static str> {
    let mut name = ".";
    let mut rest = pattern;
    while !rest.is_empty() {
        let unstarred = rest.trim_start_matches('*');
        let star = unstarred.len() < rest.len();
        let chunk;
        (chunk, rest) = unstarred.split_at(chunk_end(unstarred));
        if star && chunk.is_empty() {
            return Ok(());
        }
        let is_last = rest.is_empty();
        let fits = |after: Option<&str>| after.is_some_and(|after| after.is_empty() || !is_last);
        let mut after = match_chunk(chunk, name)?;
        if !fits(after) && star && name == "." {
            // The star matches the dot.
            after = match_chunk(chunk, "")?;
        }
        match after {
            Some(rest) if fits(after) => name = rest,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Returns the end of the leading part without a star outside brackets.
fn chunk_end(pattern: &str) -> usize {
    let mut in_brackets = false;
    let mut chars = pattern.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            '*' if !in_brackets => return at,
            _ => {}
        }
    }
    pattern.len()
}

/// Returns the rest of `name` after `chunk`; `None` if they do not match, which is decided only
/// after the whole chunk is read.
fn match_chunk<'a>(chunk: &str, name: &'a str) -> Result<Option<&'a str>, &'static str> {
    let mut chars = chunk.chars().peekable();
    let mut name = Some(name.chars());
    while let Some(c) = chars.next() {
        let mut next = || {
            let next = name.as_mut().and_then(Iterator::next);
            name = name.take().filter(|_| next.is_some());
            next
        };
        let matches = match c {
            '[' => {
                let own = next();
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = 0;
                let mut found = false;
                while ranges == 0 || chars.next_if_eq(&']').is_none() {
                    let low = class_char(&mut chars)?;
                    let high = match chars.next_if_eq(&'-') {
                        Some(_) => class_char(&mut chars)?,
                        None => low,
                    };
                    found |= own.is_some_and(|own| low <= own && own <= high);
                    ranges += 1;
                }
                found != negated
            }
            '?' => next().is_some_and(|own| own != '/'),
            '\\' => {
                let escaped = chars.next().ok_or(BACKSLASH)?;
                next() == Some(escaped)
            }
            c => next() == Some(c),
        };
        if !matches {
            name = None;
        }
    }
    Ok(name.map(|rest| rest.as_str()))
}

/// Reads one character of a class, escaped or not; another character has to follow.
fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, &'static str> {
    let c = match chars.next() {
        None | Some('-' | ']') => return Err(BRACKET),
        Some('\\') => chars.next().ok_or(BRACKET)?,
        Some(c) => c,
    };
    chars.peek().map(|_| c).ok_or(BRACKET)
}

/// Chooses a shortcut or builds the text of the expression, as the reference does.
fn compile(pattern: &str) -> Result<Matcher, &'static str> {
    let mut text = String::from("^");
    let mut kind = Shape::Exact;
    // The reference's scanner drops a leading byte order mark.
    let mut chars = pattern.strip_prefix('\u{feff}').unwrap_or(pattern).chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    text.push_str("(.*/)?");
                    kind = Shape::Expression;
                } else if kind == Shape::Exact {
                    kind = Shape::Prefix;
                } else {
                    text.push_str(".*");
                    kind = Shape::Expression;
                }
                if first {
                    kind = Shape::Suffix;
                }
            }
            '*' => {
                text.push_str("[^/]*");
                kind = Shape::Expression;
            }
            '?' => {
                text.push_str("[^/]");
                kind = Shape::Expression;
            }
            // The reference intends to escape `|`, `{` and `}` too, but its table has eight bits a
            // row and loses them. So they keep their meaning if the pattern is an expression for
            // another reason.
            '.' | '+' | '(' | ')' | '$' => {
                text.push('\\');
                text.push(c);
            }
            '\\' => {
                text.push('\\');
                if let Some(escaped) = chars.next() {
                    text.push(escaped);
                    kind = Shape::Expression;
                }
            }
            '[' | ']' => {
                text.push(c);
                kind = Shape::Expression;
            }
            c => text.push(c),
        }
        first = false;
    }
    Ok(match kind {
        Shape::Exact => Matcher::Exact,
        Shape::Prefix => Matcher::Prefix,
        Shape::Suffix => Matcher::Suffix,
        Shape::Expression => {
            text.push('$');
            Matcher::Expression(Expression::new(&text)?)
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Exact,
    Prefix,
    Suffix,
    Expression,
}
