//! [`IgnoreFile`]: the patterns of one `.gitignore` or `info/exclude`, gitignore(5).
//!
//! The crate `ignore` matches. Its globs are richer than git's (`{a,b}`) and read brackets and `**`
//! differently in odd places, so each line is first rewritten into the part that both read in the
//! same way. The reference is git's `dir.c` and `wildmatch.c`; `tests/it/gitignore.rs` compares
//! with `git check-ignore`. Lines that are not UTF-8 match nothing here.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The largest file in bytes. Typical files have a few thousand.
pub(crate) const SIZE_LIMIT: u64 = 1 << 20;
/// The maximum number of patterns of all files together. Compiling takes up to 0.05 ms for each.
pub(crate) const PATTERNS_LIMIT: usize = 5_000;
/// The maximum length of a pattern in bytes; longer ones match nothing.
const LINE_LIMIT: usize = 4096;

/// The patterns of one file.
#[derive(Debug)]
pub(crate) struct IgnoreFile {
    /// The file as named in messages.
    name: String,
    matcher: Gitignore,
    lines: Vec<PatternLine>,
}

#[derive(Debug)]
struct PatternLine {
    number: usize,
    written: String,
    rewritten: String,
}

/// A line that ignores a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitIgnoreRule {
    /// The file of the line, relative to the worktree or in the repository's directory.
    pub file: String,
    /// Line number, from 1.
    pub line: usize,
    /// The line as written.
    pub pattern: String,
}

impl std::fmt::Display for GitIgnoreRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.pattern)
    }
}

/// The verdict of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ignored,
    /// A line with `!` matches.
    Included,
}

impl IgnoreFile {
    /// Parses a file, of which at most `limit` patterns are accepted.
    ///
    /// # Errors
    /// The reason for which the file is not read.
    pub(crate) fn parse(name: String, bytes: &[u8], limit: usize) -> Result<Self, &'static str> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut builder = GitignoreBuilder::new("");
        let mut lines = Vec::new();
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // In git, a line is a string of C.
            let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if line.starts_with('#') || line.len() > LINE_LIMIT {
                continue;
            }
            let written = without_trailing_spaces(line);
            for rewritten in rewrite(written) {
                if lines.len() == limit {
                    return Err("too many patterns");
                }
                if builder.add_line(None, &rewritten).is_ok() {
                    lines.push(PatternLine { number: index + 1, written: written.to_owned(), rewritten });
                }
            }
        }
        let matcher = builder.build().map_err(|_| "the patterns are too large together")?;
        Ok(Self { name, matcher, lines })
    }

    /// Returns the number of patterns.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns the line of a file that ignores everything beside it, as tools write into their
    /// caches: a single `*`.
    pub(crate) fn ignores_all(&self) -> Option<GitIgnoreRule> {
        match self.lines.as_slice() {
            [line] if line.rewritten == "**/*" => Some(self.rule_of(line)),
            _ => None,
        }
    }

    /// Returns the verdict on `path`, which is relative to the directory of the file; directories
    /// above are not matched. Returns `None` if no line matches.
    pub(crate) fn verdict(&self, path: &str, is_directory: bool) -> Option<Verdict> {
        match self.matcher.matched(Path::new(path), is_directory) {
            Match::None => None,
            Match::Ignore(_) => Some(Verdict::Ignored),
            Match::Whitelist(_) => Some(Verdict::Included),
        }
    }

    /// Returns the line that ignores `path`.
    pub(crate) fn rule(&self, path: &str, is_directory: bool) -> Option<GitIgnoreRule> {
        let Match::Ignore(glob) = self.matcher.matched(Path::new(path), is_directory) else { return None };
        // The last of several equal lines decides.
        let line = self.lines.iter().rfind(|line| line.rewritten == glob.original())?;
        Some(self.rule_of(line))
    }

    fn rule_of(&self, line: &PatternLine) -> GitIgnoreRule {
        GitIgnoreRule { file: self.name.clone(), line: line.number, pattern: line.written.clone() }
    }
}

/// Opens a `.gitignore`, which git does not follow if it is a link.
pub(crate) fn open(path: &Path) -> Option<File> {
    let file = crate::traced_fs::open_no_follow(path).ok()?;
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

/// Removes trailing spaces, unless a backslash precedes them.
fn without_trailing_spaces(line: &str) -> &str {
    let mut end = 0;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' => {}
            '\\' => match chars.next() {
                Some((at, escaped)) => end = at + escaped.len_utf8(),
                // A lone backslash at the end protects the spaces before.
                None => return line,
            },
            c => end = at + c.len_utf8(),
        }
    }
    &line[..end]
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PatternToken {
    Literal(char),
    Slash,
    /// `?`
    Any,
    /// `*`
    Star,
    /// `**` between slashes.
    Directories,
    /// `**` directly behind the literal start of a path, which git compares first: `a/b**`.
    Glued,
    Brackets {
        negated: bool,
        members: Vec<u8>,
    },
}

/// Rewrites a line for the crate `ignore`; empty for lines that match nothing.
fn rewrite(line: &str) -> Vec<String> {
    let (negation, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest),
        None => ("", line),
    };
    let (only_directories, pattern) = match pattern.strip_suffix('/') {
        Some(rest) => ("/", rest),
        None => ("", pattern),
    };
    let is_path = pattern.contains('/');
    let pattern = if is_path { pattern.strip_prefix('/').unwrap_or(pattern) } else { pattern };
    let Some(tokens) = tokens(pattern, is_path) else { return Vec::new() };
    let variants = match tokens.iter().position(|token| *token == PatternToken::Glued) {
        None => vec![tokens],
        Some(at) => {
            let (start, rest) = (&tokens[..at], &tokens[at + 1..]);
            let across = [PatternToken::Star, PatternToken::Slash, PatternToken::Directories];
            match rest {
                [] => vec![[start, &[PatternToken::Star]].concat(), [start, &across].concat()],
                rest => vec![[start, &rest[1..]].concat(), [start, &across, rest].concat()],
            }
        }
    };
    let anchor = if is_path { "/" } else { "**/" };
    variants
        .into_iter()
        .filter(|tokens| !has_empty_component(tokens))
        .filter_map(|tokens| Some(format!("{negation}{anchor}{}{only_directories}", glob(&tokens)?)))
        .collect()
}

/// Returns true for patterns with two slashes in a row or one at an end: no path has that.
fn has_empty_component(tokens: &[PatternToken]) -> bool {
    tokens.split(|token| *token == PatternToken::Slash).any(<[PatternToken]>::is_empty)
}

/// Splits a pattern; `None` if the pattern matches nothing.
fn tokens(pattern: &str, is_path: bool) -> Option<Vec<PatternToken>> {
    let literal_length = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let at = pattern.len() - rest.len();
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                tokens.push(if escaped == '/' {
                    PatternToken::Slash
                } else {
                    PatternToken::Literal(escaped)
                });
            }
            '/' => tokens.push(PatternToken::Slash),
            '?' => tokens.push(PatternToken::Any),
            '*' => {
                let after = rest.trim_start_matches('*');
                let is_double = after.len() < rest.len();
                rest = after;
                let ends = after.is_empty() || after.starts_with('/') || after.starts_with("\\/");
                let starts = at == 0 || pattern[..at].ends_with('/');
                tokens.push(match is_path && is_double && ends {
                    true if starts => PatternToken::Directories,
                    true if at == literal_length => PatternToken::Glued,
                    _ => PatternToken::Star,
                });
            }
            '[' => {
                let (token, after) = brackets(rest)?;
                tokens.push(token);
                rest = after;
            }
            c => tokens.push(PatternToken::Literal(c)),
        }
    }
    // `**/**` is `**`.
    let is_again = |three: &[PatternToken]| {
        matches!(
            three,
            [PatternToken::Directories | PatternToken::Glued, PatternToken::Slash, PatternToken::Directories]
        )
    };
    while let Some(at) = tokens.windows(3).position(is_again) {
        tokens.drain(at + 1..at + 3);
    }
    Some(tokens)
}

/// Reads brackets after the opening one, as git's `wildmatch`; returns the rest of the pattern.
fn brackets(pattern: &str) -> Option<(PatternToken, &str)> {
    let bytes = pattern.as_bytes();
    let byte = |at: usize| bytes.get(at).copied();
    let mut at = 0;
    let negated = matches!(byte(0), Some(b'!' | b'^'));
    if negated {
        at += 1;
    }
    let mut members = Vec::new();
    let mut before: Option<u8> = None;
    loop {
        let current = byte(at)?;
        match current {
            b'\\' => {
                at += 1;
                let escaped = byte(at)?;
                members.push(escaped);
                before = Some(escaped);
            }
            b'-' if before.is_some() && bytes.get(at + 1).is_some_and(|&next| next != b']') => {
                at += 1;
                if byte(at)? == b'\\' {
                    at += 1;
                }
                members.extend(before.unwrap_or_default()..=byte(at)?);
                before = None;
            }
            b'[' if bytes.get(at + 1) == Some(&b':') => {
                let close = at + 2 + pattern.get(at + 2..)?.find(']')?;
                if let Some(name) = pattern[at + 2..close].strip_suffix(':') {
                    members.extend((0..128u8).filter(class(name)?));
                    at = close;
                    before = None;
                } else {
                    // No class, but a plain set.
                    members.push(b'[');
                    before = Some(b'[');
                }
            }
            plain => {
                members.push(plain);
                before = Some(plain);
            }
        }
        at += 1;
        if byte(at)? == b']' {
            break;
        }
    }
    // Git compares bytes. No character outside of ASCII is a single one.
    members.retain(u8::is_ascii);
    members.sort_unstable();
    members.dedup();
    Some((PatternToken::Brackets { negated, members }, &pattern[at + 1..]))
}

/// Returns the test of a class of POSIX.
fn class(name: &str) -> Option<fn(&u8) -> bool> {
    Some(match name {
        "alnum" => u8::is_ascii_alphanumeric,
        "alpha" => u8::is_ascii_alphabetic,
        "blank" => |byte| matches!(byte, b' ' | b'\t'),
        "cntrl" => u8::is_ascii_control,
        "digit" => u8::is_ascii_digit,
        "graph" => u8::is_ascii_graphic,
        "lower" => u8::is_ascii_lowercase,
        "print" => |byte| byte.is_ascii_graphic() || *byte == b' ',
        "punct" => u8::is_ascii_punctuation,
        "space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        "upper" => u8::is_ascii_uppercase,
        "xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

/// Writes tokens as a glob of the crate `ignore`; `None` if they match nothing.
fn glob(tokens: &[PatternToken]) -> Option<String> {
    let mut glob = String::new();
    for token in tokens {
        match token {
            PatternToken::Slash => glob.push('/'),
            PatternToken::Any => glob.push('?'),
            PatternToken::Star | PatternToken::Glued => glob.push('*'),
            PatternToken::Directories => glob.push_str("**"),
            // In brackets, a backslash is one; at the end of a line, the crate removes it.
            PatternToken::Literal('\\') => glob.push_str("[\\]"),
            PatternToken::Literal(c) if c.is_alphanumeric() || matches!(c, '.' | '_' | '-') => glob.push(*c),
            PatternToken::Literal(c) => glob.extend(['\\', *c]),
            PatternToken::Brackets { negated, members } => write_brackets(&mut glob, *negated, members)?,
        }
    }
    Some(glob)
}

/// Writes a set, which never matches a slash. Members with a meaning in brackets get a place
/// without it.
fn write_brackets(glob: &mut String, negated: bool, members: &[u8]) -> Option<()> {
    let is_special = |byte: &u8| matches!(byte, b'/' | b']' | b'[' | b'!' | b'^' | b'-');
    let has = |byte: u8| members.contains(&byte);
    let mut set = String::new();
    set.extend(has(b']').then_some(']'));
    set.extend(members.iter().filter(|byte| !is_special(byte)).map(|&byte| char::from(byte)));
    set.extend(negated.then_some('/'));
    set.extend(has(b'[').then_some('['));
    set.extend([b'^', b'!'].into_iter().filter(|&byte| has(byte)).map(char::from));
    set.extend(has(b'-').then_some('-'));
    match set.as_str() {
        "" => return None,
        // `^` or `!` in the first place would negate.
        "^" | "!" => {
            glob.push('\\');
            glob.push_str(&set);
        }
        "^!" => glob.push_str("{\\^,\\!}"),
        "^-" => glob.push_str("[-^]"),
        "!-" => glob.push_str("[-!]"),
        "^!-" => glob.push_str("[-^!]"),
        set => {
            let _ = write!(glob, "[{}{set}]", if negated { "!" } else { "" });
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> IgnoreFile {
        IgnoreFile::parse(".gitignore".to_owned(), lines.join("\n").as_bytes(), PATTERNS_LIMIT).unwrap()
    }

    fn is_ignored(file: &IgnoreFile, path: &str) -> bool {
        file.verdict(path.trim_end_matches('/'), path.ends_with('/')) == Some(Verdict::Ignored)
    }

    /// The verdicts of git 2.47 (`tests/it/gitignore.rs` compares more). A slash at the end of a
    /// path stands for a directory.
    #[test]
    fn follows_git() {
        for (lines, ignored, others) in [
            (&["foo"] as &[&str], &["foo", "a/foo", "foo/"] as &[&str], &["foox", "a/foo/b"] as &[&str]),
            (&["/foo"], &["foo"], &["a/foo"]),
            (&["a/foo"], &["a/foo"], &["b/a/foo"]),
            (&["foo/"], &["foo/", "a/foo/"], &["foo"]),
            (&["*.log", "!keep.log"], &["a.log", "a/b.log"], &["keep.log", "a/keep.log"]),
            (&["a/*.log"], &["a/b.log"], &["a/c/b.log"]),
            (&["**/b/c"], &["b/c", "a/b/c"], &["c"]),
            (&["a/**/c"], &["a/c", "a/b/c", "a/b/b/c"], &["c"]),
            (&["a/**"], &["a/b", "a/b/c"], &["a/"]),
            (&["a/b**/c"], &["a/bc", "a/bx/c", "a/b/x/c"], &["a/b", "a/c"]),
            (&["{a,b}"], &["{a,b}"], &["a", "b"]),
            (&["[!a]"], &["b", "x/b"], &["a", "bb"]),
            (&["x[[:digit:]]"], &["x1"], &["xa", "xd"]),
            (&["[^!]"], &["a", "^"], &["!"]),
            (&["[!^]x"], &["ax", "!x"], &["^x"]),
            (&["[\\]]", "[a-c-]"], &["]", "b", "-"], &["\\", "d"]),
            (&["\\#a", "\\!b"], &["#a", "!b"], &["a", "b"]),
            (&["# a", "#b"], &[], &["# a", "#b"]),
            (&["a  ", "b\\ "], &["a", "b "], &["a  ", "b"]),
            (&["\u{feff}a", "b\r"], &["a", "b"], &["b\r"]),
            (&["!", "/", "//", "a//b", "a\\", "[a", "[[:x:]]"], &[], &["a", "b", "a/b", "[a", "x"]),
            (&["a?c"], &["abc"], &["a/c", "aéc"]),
        ] {
            let file = parse(lines);
            for path in ignored {
                assert!(is_ignored(&file, path), "{lines:?} ignores {path}");
            }
            for path in others {
                assert!(!is_ignored(&file, path), "{lines:?} does not ignore {path}");
            }
        }
    }

    #[test]
    fn names_the_last_line_that_matches() {
        let file = parse(&["# logs", "*.log", "a/b**/c", "*.log"]);
        assert_eq!(file.rule("x.log", false).unwrap().to_string(), ".gitignore:4: *.log");
        assert_eq!(file.rule("a/bx/c", false).unwrap().to_string(), ".gitignore:3: a/b**/c");
        assert_eq!(file.rule("x", false), None);
    }

    #[test]
    fn refuses_files_without_measure() {
        let many = "a*b?c\n".repeat(PATTERNS_LIMIT + 1);
        let parse = |bytes: &[u8]| IgnoreFile::parse(String::new(), bytes, PATTERNS_LIMIT);
        assert_eq!(parse(many.as_bytes()).unwrap_err(), "too many patterns");
        // Binary data and endless lines match nothing.
        let mut binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        binary.extend([&b"\n"[..], &b"*a".repeat(100_000), &b"\n"[..], &b"[".repeat(3000)].concat());
        let file = parse(&binary).unwrap();
        assert_eq!(file.verdict("a", false), None);
    }
}
