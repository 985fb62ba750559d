//! [`Pattern`]: one pattern of an ignore file, as moby/patternmatcher reads and matches it.
//!
//! <https://github.com/moby/patternmatcher>, `patternmatcher.go`, with Go's `path/filepath` (`Clean`
//! and the syntax that `Match` accepts). It knows nothing of lines, `!` or parent directories; those
//! are `super::dockerignore`'s.

use super::expression::Expression;

/// A pattern that was cleaned and found to be well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    cleaned: String,
    kind: Kind,
}

/// The reference has short cuts, and they do not always mean what the expression would.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// No wildcard: the path is the pattern.
    Exact,
    /// `text**`: the path begins with the text.
    Prefix,
    /// `**text`: the path ends with the text, in the middle of a name too.
    Suffix,
    /// Anything else.
    Expression(Expression),
}

impl Pattern {
    /// Compiles `cleaned`; says what is wrong with it.
    pub(super) fn new(cleaned: String) -> Result<Self, &'static str> {
        check_syntax(&cleaned)?;
        let kind = compile(&cleaned)?;
        Ok(Self { cleaned, kind })
    }

    /// The pattern in its clean form.
    pub(super) fn as_str(&self) -> &str {
        &self.cleaned
    }

    /// Whether it matches `path` itself; its parents are the caller's to ask for.
    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => path == self.cleaned,
            Kind::Prefix => path.as_bytes().starts_with(self.before_stars()),
            Kind::Suffix => {
                let suffix = self.after_stars();
                path.as_bytes().ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path.as_bytes())
            }
            Kind::Expression(expression) => expression.matches(path),
        }
    }

    /// Whether it could match anything below the directory `directory`.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        let start = format!("{directory}/");
        match &self.kind {
            Kind::Exact => self.cleaned.starts_with(&start),
            Kind::Prefix => {
                let prefix = self.before_stars();
                prefix.starts_with(start.as_bytes()) || start.as_bytes().starts_with(prefix)
            }
            Kind::Suffix => true,
            Kind::Expression(expression) => expression.may_match_after(&start),
        }
    }

    fn before_stars(&self) -> &[u8] {
        self.cleaned.as_bytes().get(..self.cleaned.len().saturating_sub(2)).unwrap_or_default()
    }

    /// Bytes, because a byte order mark may stand before the stars: the reference cuts through it.
    fn after_stars(&self) -> &[u8] {
        self.cleaned.as_bytes().get(2..).unwrap_or_default()
    }
}

/// Go's `filepath.Clean`: the shortest path that means the same by its text alone.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

const BRACKET: &str = "a `[` is not closed, or what stands in brackets is not well formed";
const BACKSLASH: &str = "it ends in a `\\` that escapes nothing";

/// The syntax that Go's `filepath.Match` accepts; patterns that it refuses are errors.
fn check_syntax(pattern: &str) -> Result<(), &'static str> {
    let mut rest = pattern;
    while !rest.is_empty() {
        rest = rest.trim_start_matches('*');
        let (chunk, after) = rest.split_at(chunk_end(rest));
        check_chunk(chunk)?;
        rest = after;
    }
    Ok(())
}

/// Where the part without a star outside brackets ends.
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

fn check_chunk(chunk: &str) -> Result<(), &'static str> {
    let mut chars = chunk.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '[' => {
                chars.next_if_eq(&'^');
                let mut ranges = 0;
                while ranges == 0 || chars.next_if_eq(&']').is_none() {
                    check_class_char(&mut chars)?;
                    if chars.next_if_eq(&'-').is_some() {
                        check_class_char(&mut chars)?;
                    }
                    ranges += 1;
                }
            }
            '\\' => {
                chars.next().ok_or(BACKSLASH)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// One character of a class, perhaps escaped; something has to follow it.
fn check_class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<(), &'static str> {
    match chars.next() {
        None | Some('-' | ']') => return Err(BRACKET),
        Some('\\') => {
            chars.next().ok_or(BRACKET)?;
        }
        Some(_) => {}
    }
    chars.peek().map(|_| ()).ok_or(BRACKET)
}

/// Chooses the short cut or writes the text of the expression, as the reference does.
fn compile(pattern: &str) -> Result<Kind, &'static str> {
    let mut text = String::from("^");
    let mut kind = Shape::Exact;
    // The reference reads with a scanner that drops a byte order mark at the start.
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
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
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
        Shape::Exact => Kind::Exact,
        Shape::Prefix => Kind::Prefix,
        Shape::Suffix => Kind::Suffix,
        Shape::Expression => {
            text.push('$');
            Kind::Expression(Expression::new(&text)?)
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
