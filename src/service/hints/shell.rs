//! [`lex`]: the words and operators of a shell's command line or script, and [`Word::fields`]: the words
//! after expansion.
//!
//! Follows POSIX.1-2024, Shell Command Language, sections 2.2 (quoting), 2.3 (token recognition) and 2.6.2
//! (parameter expansion). No command is run. The crates `shlex` and `shell-words` return words without
//! their quotes, so that an operator in quotes, as in `echo "a | b"`, equals an operator; the parsers of
//! `brush` and `yash` bring a shell's dependencies or the GPL.

use super::variable::{ValueRule, reference};

/// The deepest nesting of `${A:-${B:-…}}` that is replaced.
const MAX_DEPTH: usize = 16;
/// The text that stands for the port in a command.
pub(crate) const PORT: &str = "{port}";
/// The variables in which platforms give the port.
const PORT_VARIABLES: [&str; 2] = ["PORT", "WEBSITES_PORT"];

/// A token of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(Word),
    /// `&&`, `|`, `>`, … or the end of a line, with its offset in bytes.
    Operator(&'static str, usize),
}

/// A word before expansion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    parts: Vec<WordPart>,
    /// The offset of its first byte.
    pub(super) offset: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum WordPart {
    /// Text, in quotes or not.
    Text { text: String, is_quoted: bool },
    /// The text behind a `$`.
    Variable { text: String, is_quoted: bool },
    /// A construct that needs a shell.
    Construct(&'static str),
}

/// The effect of an array's assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArrayAssignment {
    /// `NAME=(…)`.
    Replace,
    /// `NAME+=(…)`.
    Append,
}

/// The parameters of a shell: variables, and the arguments of a script.
pub(super) trait ShellParameters {
    /// Returns the value of a variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// Returns the arguments of the script.
    fn arguments(&self) -> &[String];
    /// Returns the elements of an array.
    fn array(&self, _: &str) -> Option<&[String]> {
        None
    }
    /// Returns the text for a value that only a running container has, `${NAME}` or `$(…)`, or else the
    /// name of the construct.
    fn unread(&self, _: &str, construct: &str) -> Result<String, String> {
        Err(construct.to_owned())
    }
    /// Takes note of the default of the port's variable.
    fn port_default(&self, _: &str) {}
}

/// Returns true if a word has a part that only a running container has.
pub(crate) fn is_unread(word: &str) -> bool {
    word.contains("${") || word.contains("$(")
}

/// Splits the text into words and operators.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), word: None, documents: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

impl Word {
    /// Returns the text if no part of it is quoted or expanded: a keyword or the name of a command.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [WordPart::Text { text, is_quoted: false }] => Some(text),
            _ => None,
        }
    }

    /// Returns the name if the word is an assignment, `NAME=VALUE`, and the value.
    pub(super) fn assignment(&self) -> Option<(String, Self)> {
        let Some(WordPart::Text { text, is_quoted: false }) = self.parts.first() else { return None };
        let (name, value) = text.split_once('=')?;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|first: char| !first.is_ascii_digit());
        let mut parts = vec![WordPart::Text { text: value.to_owned(), is_quoted: true }];
        parts.extend(self.parts.iter().skip(1).map(|part| match part {
            // The value of an assignment is not split.
            WordPart::Variable { text, .. } => WordPart::Variable { text: text.clone(), is_quoted: true },
            part => part.clone(),
        }));
        is_name.then(|| (name.to_owned(), Self { parts, offset: self.offset }))
    }

    /// Returns the name of the array that is assigned, `NAME=(`, or extended, `NAME+=(`, by a word before
    /// a parenthesis.
    pub(super) fn array_assignment(&self) -> Option<(&str, ArrayAssignment)> {
        let name = self.literal()?.strip_suffix('=')?;
        let (name, assignment) = match name.strip_suffix('+') {
            Some(name) => (name, ArrayAssignment::Append),
            None => (name, ArrayAssignment::Replace),
        };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then_some((name, assignment))
    }

    /// Returns true if the word is or has the script's arguments, `"$@"`.
    pub(super) fn has_arguments(&self) -> bool {
        self.parts.iter().any(|part| match part {
            WordPart::Variable { text, .. } => {
                matches!(reference(text), Some(found) if found.name == "@" || found.name == "*")
            }
            _ => false,
        })
    }

    /// Returns true if the word has the elements of this array, or the arguments for `@`.
    pub(super) fn names(&self, array: &str) -> bool {
        self.parts.iter().any(|part| match part {
            WordPart::Variable { text, .. } => reference(text).is_some_and(|found| {
                found.name == array && (found.rule == ValueRule::Elements || array == "@")
            }),
            _ => false,
        })
    }

    /// Returns true if the word has the elements of an array.
    fn has_elements(&self) -> bool {
        self.parts.iter().any(|part| match part {
            WordPart::Variable { text, .. } => {
                matches!(reference(text), Some(found) if found.rule == ValueRule::Elements)
            }
            _ => false,
        })
    }

    /// Expands the word to zero, one or more words. An error names the construct that needs a shell.
    pub(super) fn fields(&self, values: &dyn ShellParameters) -> Result<Vec<String>, String> {
        let mut fields: Vec<String> = Vec::new();
        // The field in progress; an empty one counts if it has quotes.
        let mut field: Option<String> = None;
        let starts_option =
            matches!(self.parts.first(), Some(WordPart::Text { text, .. }) if text.starts_with('-'));
        for part in &self.parts {
            match part {
                WordPart::Text { text, is_quoted } => {
                    // A pattern that matches no file stands for itself: `--forwarded-allow-ips=*`.
                    if !is_quoted && text.contains('*') && !starts_option && text.len() > 1 {
                        return Err("the pattern `*`".to_owned());
                    }
                    field.get_or_insert_default().push_str(text);
                }
                WordPart::Construct(HOME) => return Err(HOME.to_owned()),
                WordPart::Construct(construct) => {
                    field.get_or_insert_default().push_str(&values.unread("$(…)", construct)?);
                }
                WordPart::Variable { text, is_quoted } => {
                    let Some(found) = reference(text) else { continue };
                    let elements = match found.rule {
                        ValueRule::Elements => values.array(found.name),
                        _ => (found.name == "@" || found.name == "*").then(|| values.arguments()),
                    };
                    if let Some(elements) = elements {
                        let mut arguments = elements.iter();
                        if let Some(first) = arguments.next() {
                            field.get_or_insert_default().push_str(first);
                        }
                        for argument in arguments {
                            fields.extend(field.replace(argument.clone()));
                        }
                        continue;
                    }
                    let value = value(text, values, 0)?;
                    if *is_quoted {
                        field.get_or_insert_default().push_str(&value);
                        continue;
                    }
                    if value.starts_with(char::is_whitespace) {
                        fields.extend(field.take());
                    }
                    for (index, part) in value.split_whitespace().enumerate() {
                        if index > 0 {
                            fields.extend(field.take());
                        }
                        field.get_or_insert_default().push_str(part);
                    }
                    if value.ends_with(char::is_whitespace) {
                        fields.extend(field.take());
                    }
                }
            }
        }
        // `"$@"` without arguments is no word, and neither is an array without elements.
        let is_nothing = (self.has_arguments() && values.arguments().is_empty()) || self.has_elements();
        fields.extend(field.filter(|field| !(is_nothing && field.is_empty())));
        Ok(fields)
    }

    /// Expands the word to one text.
    pub(super) fn value(&self, values: &dyn ShellParameters) -> Result<String, String> {
        Ok(self.fields(values)?.join(" "))
    }
}

/// Returns the value of the variable behind a `$`.
fn value(text: &str, values: &dyn ShellParameters, depth: usize) -> Result<String, String> {
    let found = reference(text).filter(|_| depth < MAX_DEPTH);
    let Some(found) = found else { return Err("a nested substitution".to_owned()) };
    if PORT_VARIABLES.contains(&found.name) {
        if let ValueRule::Default(default) = found.rule {
            values.port_default(default);
        }
        return Ok(PORT.to_owned());
    }
    let index = found.name.parse::<usize>().ok().filter(|index| *index > 0);
    let known = match (index, found.name) {
        (Some(index), _) => values.arguments().get(index - 1).cloned(),
        (None, "#") => Some(values.arguments().len().to_string()),
        (None, name) => values.variable(name),
    };
    let is_argument = index.is_some();
    match (found.rule, known.filter(|known| !known.is_empty())) {
        (ValueRule::Plain | ValueRule::Default(_), Some(known)) => Ok(known),
        (ValueRule::Default(word), None) | (ValueRule::Alternative(word), Some(_)) => {
            expand(word, values, depth)
        }
        (ValueRule::Alternative(_), None) => Ok(String::new()),
        (ValueRule::WithoutPrefix(prefix), Some(known)) => {
            Ok(known.strip_prefix(prefix).unwrap_or(&known).to_owned())
        }
        (ValueRule::Substring(offset, length), Some(known)) => {
            Ok(known.chars().skip(offset).take(length).collect())
        }
        (ValueRule::Plain | ValueRule::WithoutPrefix(_) | ValueRule::Substring(..), None) if is_argument => {
            Ok(String::new())
        }
        _ => values.unread(&format!("${{{}}}", found.name), &format!("the variable `${}`", found.name)),
    }
}

/// Expands the word of a reference.
fn expand(word: &str, values: &dyn ShellParameters, depth: usize) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '"' | '\'' | '\\' => {}
            '`' => return values.unread("$(…)", SUBSTITUTION),
            '$' if rest.starts_with('(') => return values.unread("$(…)", SUBSTITUTION),
            '$' => match reference(rest) {
                Some(found) => {
                    expanded.push_str(&value(&rest[..found.length], values, depth + 1)?);
                    rest = &rest[found.length..];
                }
                None => expanded.push(c),
            },
            _ => expanded.push(c),
        }
    }
    Ok(expanded)
}

const SUBSTITUTION: &str = "the substitution `$(…)`";
const HOME: &str = "the home folder `~`";

/// Operators, longest first.
const OPERATORS: [&str; 20] = [
    "<<<", "&>>", "<<-", ";;", "&&", "||", "|&", ">>", "<<", "<&", ">&", ">|", "<>", "&>", ";", "&", "|",
    "(", ")", "<",
];

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    word: Option<Word>,
    /// Here-documents that begin at the end of the line.
    documents: Vec<(String, bool)>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let start = self.at;
            let Some(c) = self.next() else { break };
            match c {
                '\n' => {
                    self.end_word();
                    self.tokens.push(Token::Operator("\n", start));
                    self.skip_documents();
                }
                _ if c.is_whitespace() => self.end_word(),
                '#' if self.word.is_none() => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some('\r') if self.rest().starts_with('\n') => self.at += 1,
                    Some(next) => self.push(next, true, start),
                },
                '\'' => {
                    let Some(end) = self.rest().find('\'') else {
                        return Err("a quote that does not end".to_owned());
                    };
                    let quoted = &self.rest()[..end];
                    self.at += end + 1;
                    self.push_text(quoted, true, start);
                }
                '"' => self.double_quoted(start)?,
                '$' => self.dollar(false, start)?,
                '`' => self.backquoted(start)?,
                '~' if self.word.is_none() => self.construct(HOME, start),
                _ if "&|;()<>".contains(c) => {
                    self.at = start;
                    self.operator();
                }
                _ => self.push(c, false, start),
            }
        }
        self.end_word();
        Ok(())
    }

    fn double_quoted(&mut self, start: usize) -> Result<(), String> {
        self.push_text("", true, start);
        loop {
            match self.next() {
                None => return Err("a quote that does not end".to_owned()),
                Some('"') => return Ok(()),
                Some('\\') => match self.next() {
                    Some('\n') => {}
                    Some(next) => {
                        if !"$`\"\\".contains(next) {
                            self.push('\\', true, start);
                        }
                        self.push(next, true, start);
                    }
                    None => return Err("a quote that does not end".to_owned()),
                },
                Some('$') => self.dollar(true, start)?,
                Some('`') => self.backquoted(start)?,
                Some(c) => self.push(c, true, start),
            }
        }
    }

    fn dollar(&mut self, is_quoted: bool, start: usize) -> Result<(), String> {
        let rest = self.rest();
        if rest.starts_with('(') {
            let construct = if rest.starts_with("((") { "the arithmetic `$((…))`" } else { SUBSTITUTION };
            self.at += parenthesized(rest).ok_or("a parenthesis that does not end")?;
            self.construct(construct, start);
        } else if let Some(found) = reference(rest) {
            let text = rest[..found.length].to_owned();
            self.at += found.length;
            self.part(WordPart::Variable { text, is_quoted }, start);
        } else {
            self.push('$', is_quoted, start);
        }
        Ok(())
    }

    fn backquoted(&mut self, start: usize) -> Result<(), String> {
        loop {
            match self.next() {
                None => return Err("a quote that does not end".to_owned()),
                Some('\\') => drop(self.next()),
                Some('`') => break,
                Some(_) => {}
            }
        }
        self.construct("the substitution `` `…` ``", start);
        Ok(())
    }

    fn operator(&mut self) {
        let start = self.at;
        let rest = self.rest();
        let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)).unwrap_or(">");
        self.at += operator.len();
        let is_redirection = operator.contains(['<', '>']);
        // A file descriptor belongs to the operator: `2>&1`.
        let is_descriptor = self
            .word
            .as_ref()
            .and_then(Word::literal)
            .is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
        if is_redirection && is_descriptor {
            self.word = None;
        }
        self.end_word();
        if operator == "<<" || operator == "<<-" {
            let rest = self.rest().trim_start_matches([' ', '\t', '-']);
            let end = rest.find(|c: char| c.is_whitespace() || ";&|<>()".contains(c)).unwrap_or(rest.len());
            let name = rest[..end].replace(['"', '\'', '\\'], "");
            self.documents.push((name, operator == "<<-"));
        }
        self.tokens.push(Token::Operator(operator, start));
    }

    fn skip_documents(&mut self) {
        for (name, strips_tabs) in std::mem::take(&mut self.documents) {
            while self.at < self.text.len() {
                let line = self.rest().split_inclusive('\n').next().unwrap_or_default();
                self.at += line.len();
                let line = line.trim_end_matches(['\n', '\r']);
                let line = if strips_tabs { line.trim_start_matches('\t') } else { line };
                if line == name {
                    break;
                }
            }
        }
    }

    fn part(&mut self, part: WordPart, start: usize) {
        self.word.get_or_insert_with(|| Word { parts: Vec::new(), offset: start }).parts.push(part);
    }

    fn construct(&mut self, construct: &'static str, start: usize) {
        self.part(WordPart::Construct(construct), start);
    }

    fn push(&mut self, c: char, is_quoted: bool, start: usize) {
        self.push_text(c.encode_utf8(&mut [0; 4]), is_quoted, start);
    }

    fn push_text(&mut self, more: &str, is_quoted: bool, start: usize) {
        let word = self.word.get_or_insert_with(|| Word { parts: Vec::new(), offset: start });
        match word.parts.last_mut() {
            Some(WordPart::Text { text, is_quoted: last }) if *last == is_quoted => text.push_str(more),
            _ => word.parts.push(WordPart::Text { text: more.to_owned(), is_quoted }),
        }
    }

    fn end_word(&mut self) {
        self.tokens.extend(self.word.take().map(Token::Word));
    }
}

/// Returns the number of bytes up to the parenthesis that closes the first one.
fn parenthesized(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote != Some('\'') => is_escaped = true,
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            _ if quote.is_some() => {}
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}
