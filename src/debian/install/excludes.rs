//! Paths that are left out, as by dpkg's options `--path-exclude` and `--path-include` (dpkg(1), "Path filtering").

use regex::Regex;

/// Rules in order, of which the last one that matches a path decides.
#[derive(Debug, Clone, Default)]
pub struct PathRules(Vec<PathRule>);

#[derive(Debug, Clone)]
struct PathRule {
    pattern: Regex,
    action: Action,
    /// The pattern up to its first wildcard.
    literal: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Exclude,
    Include,
}

/// The kind of a path, as far as rules distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    /// A directory or symbolic link, which an included path may be below.
    Parent,
    File,
}

impl PathRules {
    /// Parses patterns: absolute paths with `*`, `?` and `[…]`, which also match slashes (fnmatch(3)). A pattern
    /// after `!` includes.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let rules = patterns.into_iter().filter_map(|text| {
            let text = text.as_ref();
            let (action, pattern) = match text.strip_prefix('!') {
                Some(pattern) => (Action::Include, pattern),
                None => (Action::Exclude, text),
            };
            let literal = pattern.split(['*', '?', '[', '\\']).next().unwrap_or_default();
            Some(PathRule {
                pattern: Regex::new(&expression(pattern)).ok()?,
                action,
                literal: literal.trim_end_matches('/').to_owned(),
            })
        });
        Self(rules.collect())
    }

    /// Returns true if the rules leave out `path`, which is absolute.
    pub(super) fn excludes(&self, path: &str, kind: PathKind) -> bool {
        let decided = self.0.iter().rev().find(|rule| rule.pattern.is_match(path));
        let is_excluded = decided.is_some_and(|rule| rule.action == Action::Exclude);
        // dpkg keeps more directories than necessary, so that no included path lacks its parent.
        let may_hold = |rule: &PathRule| rule.action == Action::Include && path.starts_with(&rule.literal);
        is_excluded && !(kind == PathKind::Parent && self.0.iter().any(may_hold))
    }
}

/// Translates a pattern of fnmatch(3) without flags. An unfinished bracket is an ordinary character.
fn expression(pattern: &str) -> String {
    let mut regex = "(?s)^".to_owned();
    let mut rest = pattern.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(&rest.next().unwrap_or('\\').to_string())),
            '[' => match bracket(rest.as_str()) {
                Some((set, after)) => {
                    regex.push_str(&set);
                    rest = after.chars();
                }
                None => regex.push_str(r"\["),
            },
            letter => regex.push_str(&regex::escape(&letter.to_string())),
        }
    }
    regex.push('$');
    regex
}

/// Translates `a-z]` or `!a-z]`, and returns the rest.
fn bracket(text: &str) -> Option<(String, &str)> {
    let (negation, body) = match text.strip_prefix(['!', '^']) {
        Some(body) => ("^", body),
        None => ("", text),
    };
    // A bracket right after the start is a member of the set.
    let first = body.chars().next()?.len_utf8();
    let end = first + body.get(first..)?.find(']')?;
    let mut set = format!("[{negation}");
    for letter in body.get(..end)?.chars() {
        if letter != '-' && !letter.is_alphanumeric() {
            set.push('\\');
        }
        set.push(letter);
    }
    set.push(']');
    Some((set, body.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&str], path: &str, kind: PathKind) -> bool {
        PathRules::new(patterns).excludes(path, kind)
    }

    const DOCUMENTATION: [&str; 2] = ["/usr/share/doc/*", "!/usr/share/doc/*/copyright"];

    #[test]
    fn the_last_matching_rule_decides() {
        assert!(excludes(&DOCUMENTATION, "/usr/share/doc/a/changelog.gz", PathKind::File));
        assert!(!excludes(&DOCUMENTATION, "/usr/share/doc/a/copyright", PathKind::File));
        assert!(!excludes(&DOCUMENTATION, "/usr/bin/a", PathKind::File));
        assert!(excludes(&["!/a/b", "/a/*"], "/a/b", PathKind::File));
    }

    #[test]
    fn keeps_directories_that_an_included_path_may_be_below() {
        assert!(!excludes(&DOCUMENTATION, "/usr/share/doc/a", PathKind::Parent));
        assert!(excludes(&["/usr/share/man/*"], "/usr/share/man/man1", PathKind::Parent));
        assert!(!excludes(&["/usr/share/man/*"], "/usr/share/man", PathKind::Parent));
    }

    #[test]
    fn matches_as_fnmatch_does() {
        for (pattern, path, matches) in [
            ("/a*d", "/a/b/d", true),
            ("/a?b", "/a/b", true),
            ("/[ab]c", "/bc", true),
            ("/[!ab]c", "/bc", false),
            ("/[a-c]", "/b", true),
            ("/[]a]", "/]", true),
            ("/[a", "/[a", true),
            (r"/\*", "/*", true),
            (r"/\*", "/x", false),
            ("/a.b", "/axb", false),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(excludes(&[pattern], path, PathKind::File), matches, "{pattern} {path}");
        }
    }
}
