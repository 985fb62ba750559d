//! Words of a Dockerfile's instructions: quotes, escapes and variables.
//!
//! Follows the section "Environment replacement" of the Dockerfile reference
//! (<https://docs.docker.com/reference/dockerfile/#environment-replacement>).

use crate::service::hints::variable::{ValueRule, reference};

/// The deepest nesting of `${A:-${B:-…}}` that is replaced.
const MAX_DEPTH: usize = 16;

/// Splits arguments at blanks outside of quotes. The words keep their quotes.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        word.push(c);
        match quote {
            _ if c == escape && quote != Some('\'') => word.extend(characters.next()),
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Splits the arguments of `ENV`, `ARG` and `LABEL` into names and values, the values as written. The
/// form `ENV NAME VALUE` has one value, which may have blanks.
pub(super) fn pairs(text: &str, escape: char) -> Vec<(String, Option<String>)> {
    let words = split(text, escape);
    let is_old_form = words.len() > 1 && words.first().is_some_and(|first| !first.contains('='));
    if is_old_form && let Some((name, value)) = text.trim().split_once(char::is_whitespace) {
        return vec![(name.to_owned(), Some(value.trim().to_owned()))];
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word.clone(), None),
    };
    words.iter().map(pair).collect()
}

/// Removes quotes and escapes from a word, and replaces variables. A variable without a value is empty.
pub(super) fn expand(word: &str, escape: char, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    expand_to(word, escape, lookup, 0)
}

fn expand_to(word: &str, escape: char, lookup: &dyn Fn(&str) -> Option<String>, depth: usize) -> String {
    let mut value = String::new();
    let mut quote = None;
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match quote {
            Some('\'') if c == '\'' => quote = None,
            Some('\'') => value.push(c),
            _ if c == escape => {
                let Some(next) = rest.chars().next() else { break };
                rest = &rest[next.len_utf8()..];
                if quote == Some('"') && next != '"' && next != '$' && next != escape {
                    value.push(c);
                }
                value.push(next);
            }
            Some('"') if c == '"' => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ if c == '$' => match reference(rest) {
                Some(found) if depth < MAX_DEPTH => {
                    rest = &rest[found.length..];
                    let known = lookup(found.name);
                    let is_set = known.as_ref().is_some_and(|known| !known.is_empty());
                    match found.rule {
                        ValueRule::Default(word) if !is_set => {
                            value.push_str(&expand_to(word, escape, lookup, depth + 1));
                        }
                        ValueRule::Alternative(word) => {
                            if is_set {
                                value.push_str(&expand_to(word, escape, lookup, depth + 1));
                            }
                        }
                        _ => value.push_str(&known.unwrap_or_default()),
                    }
                }
                _ => value.push(c),
            },
            _ => value.push(c),
        }
    }
    value
}
