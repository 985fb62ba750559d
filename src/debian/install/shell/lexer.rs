//! Tokens of the shell language.

use std::collections::BTreeMap;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScriptToken {
    Word(ScriptWord),
    /// `;`, `&&`, `(` …; a newline is `\n`.
    Operator(&'static str),
    /// `>` and its like, whose target is the next word. Here-documents are dropped.
    Redirect {
        writes: bool,
    },
}

/// A word, in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ScriptWord {
    parts: Vec<ExpansionPart>,
    is_quoted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ExpansionPart {
    Text(String),
    Variable(String),
    Unknown,
}

/// The longest value of a word, in bytes.
const VALUE_LIMIT: usize = 4096;

const OPERATORS: [&str; 9] = [";;", "&&", "||", "\n", ";", "&", "|", "(", ")"];

impl ScriptWord {
    /// Returns the value if all parts are constant and it is not long: each assignment could double it.
    pub(super) fn value(&self, variables: &BTreeMap<String, String>) -> Option<String> {
        let mut value = String::new();
        for part in &self.parts {
            match part {
                ExpansionPart::Text(text) => value.push_str(text),
                ExpansionPart::Variable(name) => value.push_str(variables.get(name)?),
                ExpansionPart::Unknown => return None,
            }
            if value.len() > VALUE_LIMIT {
                return None;
            }
        }
        Some(value)
    }

    /// Returns true for `$@` and `$*`.
    pub(super) fn is_arguments(&self) -> bool {
        let mut parts =
            self.parts.iter().filter(|part| !matches!(part, ExpansionPart::Text(text) if text.is_empty()));
        matches!((parts.next(), parts.next()), (Some(ExpansionPart::Variable(name)), None) if name == "@")
    }

    /// Returns an unquoted word's text: keywords are such.
    pub(super) fn keyword(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [ExpansionPart::Text(text)] if !self.is_quoted => Some(text),
            _ => None,
        }
    }

    /// Splits `NAME=VALUE`.
    pub(super) fn assignment(&self) -> Option<(String, Self)> {
        let Some((ExpansionPart::Text(first), rest)) = self.parts.split_first() else { return None };
        let (name, value) = first.split_once('=')?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(is_name) {
            return None;
        }
        let mut parts = vec![ExpansionPart::Text(value.to_owned())];
        parts.extend_from_slice(rest);
        Some((name.to_owned(), Self { parts, is_quoted: self.is_quoted }))
    }

    fn push(&mut self, letter: char) {
        match self.parts.last_mut() {
            Some(ExpansionPart::Text(text)) => text.push(letter),
            _ => self.parts.push(ExpansionPart::Text(letter.to_string())),
        }
    }
}

/// Splits a script into tokens. An unfinished quote ends with the script.
pub(super) fn tokens(script: &str) -> Vec<ScriptToken> {
    let mut lexer = ScriptLexer { rest: script, tokens: Vec::new(), documents: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct ScriptLexer<'a> {
    rest: &'a str,
    tokens: Vec<ScriptToken>,
    /// The ends of here-documents that begin on this line.
    documents: Vec<String>,
}

impl ScriptLexer<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    fn eat(&mut self, text: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(text) else { return false };
        self.rest = rest;
        true
    }

    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.eat("\\\n") || matches!(first, ' ' | '\t' | '\r') && self.next().is_some() {
            return true;
        }
        if first == '#' {
            self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
            return true;
        }
        if let Some(operator) = OPERATORS.into_iter().find(|operator| self.rest.starts_with(operator)) {
            self.rest = &self.rest[operator.len()..];
            self.tokens.push(ScriptToken::Operator(operator));
            if operator == "\n" {
                self.skip_documents();
            }
            return true;
        }
        let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if self.rest[digits..].starts_with(['<', '>']) {
            self.rest = &self.rest[digits..];
            self.redirect();
            return true;
        }
        let word = self.word();
        self.tokens.push(ScriptToken::Word(word));
        true
    }

    fn redirect(&mut self) {
        if self.eat("<<") {
            let _ = self.eat("-");
            while self.eat(" ") {}
            let word = self.word();
            self.documents.push(word.value(&BTreeMap::new()).unwrap_or_default());
            return;
        }
        let writes = self.rest.starts_with('>');
        while self.rest.starts_with(['<', '>', '|']) {
            let _ = self.next();
        }
        // `>&2` names a descriptor.
        if self.eat("&") {
            let _ = self.word();
            return;
        }
        self.tokens.push(ScriptToken::Redirect { writes });
    }

    fn skip_documents(&mut self) {
        for end in std::mem::take(&mut self.documents) {
            while !self.rest.is_empty() {
                let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
                self.rest = rest;
                if line.trim_start_matches('\t') == end {
                    break;
                }
            }
        }
    }

    fn word(&mut self) -> ScriptWord {
        let mut word = ScriptWord::default();
        let mut in_quotes = false;
        while let Some(letter) = self.rest.chars().next() {
            let is_end = " \t\r\n;&|()<>".contains(letter);
            if is_end && !in_quotes {
                break;
            }
            let _ = self.next();
            match letter {
                '"' => {
                    in_quotes = !in_quotes;
                    word.is_quoted = true;
                    word.parts.push(ExpansionPart::Text(String::new()));
                }
                '\'' if !in_quotes => {
                    word.is_quoted = true;
                    let end = self.rest.find('\'').unwrap_or(self.rest.len());
                    word.parts.push(ExpansionPart::Text(self.rest[..end].to_owned()));
                    self.rest = &self.rest[end..];
                    let _ = self.next();
                }
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(escaped) => word.push(escaped),
                },
                '`' => {
                    self.rest = self.rest.split_once('`').map_or("", |(_, rest)| rest);
                    word.parts.push(ExpansionPart::Unknown);
                }
                '$' => {
                    let part = self.dollar();
                    word.parts.push(part);
                }
                letter => word.push(letter),
            }
        }
        word
    }

    /// Reads an expansion after its `$`.
    fn dollar(&mut self) -> ExpansionPart {
        if self.rest.starts_with('(') {
            let before = self.rest;
            self.skip_brackets('(', ')');
            // A script for another architecture than the system's is not among a base's.
            return match &before[..before.len() - self.rest.len()] {
                "(dpkg --print-architecture)" => ExpansionPart::Variable("DPKG_MAINTSCRIPT_ARCH".to_owned()),
                _ => ExpansionPart::Unknown,
            };
        }
        if self.rest.starts_with('{') {
            let before = self.rest;
            self.skip_brackets('{', '}');
            let inner = &before[1..before.len() - self.rest.len()];
            let inner = inner.strip_suffix('}').unwrap_or(inner);
            let name = inner.strip_suffix(":-").or_else(|| inner.strip_suffix('-')).unwrap_or(inner);
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return if is_name { ExpansionPart::Variable(name.to_owned()) } else { ExpansionPart::Unknown };
        }
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let mut end = self.rest.len() - rest.len();
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            end = 1;
        }
        if end == 0 {
            return match self.next() {
                Some('@' | '*') => ExpansionPart::Variable("@".to_owned()),
                _ => ExpansionPart::Unknown,
            };
        }
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        ExpansionPart::Variable(name)
    }

    fn skip_brackets(&mut self, open: char, close: char) {
        let mut depth = 0usize;
        while let Some(letter) = self.next() {
            if letter == open {
                depth += 1;
            } else if letter == close {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
        }
    }
}
