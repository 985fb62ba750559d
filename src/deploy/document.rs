//! YAML with comments, written in one form: YAML 1.2 in block style, which parsers of YAML 1.1 read equally.
//!
//! No serializer of serde writes comments, which tell a person what is left to decide.

use std::fmt::Write as _;

/// A value of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum YamlNode {
    Map(YamlMap),
    List(Vec<YamlNode>),
    Text(String),
    Number(i64),
    Bool(bool),
}

/// A mapping, in the order of insertion.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct YamlMap {
    entries: Vec<YamlEntry>,
    /// Comments before the next entry.
    pending: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct YamlEntry {
    comments: Vec<String>,
    key: String,
    value: YamlNode,
    /// Comment at the end of the line of the key.
    trailing: Option<String>,
    /// True if the entry is a comment itself.
    is_disabled: bool,
}

/// The longest line of a comment.
const WIDTH: usize = 100;

impl YamlMap {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds an entry.
    #[must_use]
    pub(super) fn set(mut self, key: impl Into<String>, value: impl Into<YamlNode>) -> Self {
        self.insert(key, value);
        self
    }

    /// Adds an entry with a mapping or list, unless empty.
    #[must_use]
    pub(super) fn set_filled(self, key: impl Into<String>, value: impl Into<YamlNode>) -> Self {
        let value = value.into();
        if value.is_empty() { self } else { self.set(key, value) }
    }

    /// Adds an entry as a comment, for a person to enable.
    #[must_use]
    pub(super) fn set_disabled(mut self, key: impl Into<String>, value: impl Into<YamlNode>) -> Self {
        self.insert(key, value);
        if let Some(last) = self.entries.last_mut() {
            last.is_disabled = true;
        }
        self
    }

    /// Adds a comment above the next entry.
    #[must_use]
    pub(super) fn note(mut self, text: impl Into<String>) -> Self {
        self.pending.push(text.into());
        self
    }

    /// Adds a comment above the first entry.
    #[must_use]
    pub(super) fn with_first_note(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.entries.first_mut() {
            first.comments.insert(0, text.into());
        }
        self
    }

    /// Adds a comment at the end of the last entry's line.
    #[must_use]
    pub(super) fn trailing(mut self, text: impl Into<String>) -> Self {
        if let Some(last) = self.entries.last_mut() {
            last.trailing = Some(text.into());
        }
        self
    }

    pub(super) fn insert(&mut self, key: impl Into<String>, value: impl Into<YamlNode>) {
        self.entries.push(YamlEntry {
            comments: std::mem::take(&mut self.pending),
            key: key.into(),
            value: value.into(),
            trailing: None,
            is_disabled: false,
        });
    }

    /// Formats the mapping as a document.
    pub(super) fn to_yaml(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, depth: usize) {
        for entry in &self.entries {
            for note in &entry.comments {
                comment(text, depth, note);
            }
            if entry.is_disabled {
                let mut disabled = String::new();
                entry.write(&mut disabled, 0);
                for line in disabled.lines() {
                    let _ = writeln!(text, "{}# {line}", indent(depth));
                }
            } else {
                entry.write(text, depth);
            }
        }
        for note in &self.pending {
            comment(text, depth, note);
        }
    }

    /// Returns true if the mapping has neither entries nor comments.
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl YamlEntry {
    fn write(&self, text: &mut String, depth: usize) {
        let _ = write!(text, "{}{}:", indent(depth), scalar(&self.key));
        let trailing = self.trailing.as_ref().map(|note| format!(" # {}", one_line(note)));
        let trailing = trailing.unwrap_or_default();
        match &self.value {
            YamlNode::Map(map) if map.is_empty() && map.pending.is_empty() => {
                let _ = writeln!(text, " {{}}{trailing}");
            }
            YamlNode::Map(map) => {
                let _ = writeln!(text, "{trailing}");
                map.write(text, depth + 1);
            }
            YamlNode::List(items) if items.is_empty() => {
                let _ = writeln!(text, " []{trailing}");
            }
            YamlNode::List(items)
                if items.iter().all(YamlNode::is_short) && line_length(items) < WIDTH / 2 =>
            {
                let items: Vec<String> = items.iter().map(YamlNode::inline).collect();
                let _ = writeln!(text, " [{}]{trailing}", items.join(", "));
            }
            YamlNode::List(items) => {
                let _ = writeln!(text, "{trailing}");
                for item in items {
                    item.write_item(text, depth + 1);
                }
            }
            YamlNode::Text(block) if is_block(block) => {
                let _ = writeln!(text, " |-{trailing}");
                write_block(text, block, depth + 1);
            }
            value => {
                let _ = writeln!(text, " {}{trailing}", value.inline());
            }
        }
    }
}

impl YamlNode {
    fn is_empty(&self) -> bool {
        match self {
            Self::Map(map) => map.is_empty(),
            Self::List(items) => items.is_empty(),
            _ => false,
        }
    }

    /// Returns true for a scalar of one line.
    fn is_short(&self) -> bool {
        match self {
            Self::Map(_) | Self::List(_) => false,
            Self::Text(text) => !is_block(text),
            Self::Number(_) | Self::Bool(_) => true,
        }
    }

    fn inline(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            // Only scalars are written in a line.
            Self::Map(_) | Self::List(_) => String::new(),
        }
    }

    fn write_item(&self, text: &mut String, depth: usize) {
        match self {
            Self::Map(map) => {
                let mut inner = String::new();
                map.write(&mut inner, depth + 1);
                // The first line that is no comment begins with the dash.
                let begin = indent(depth + 1);
                let mut is_begun = false;
                for line in inner.lines() {
                    if !is_begun && !line.trim_start().starts_with('#') {
                        let _ = writeln!(text, "{}- {}", indent(depth), &line[begin.len()..]);
                        is_begun = true;
                    } else if is_begun {
                        let _ = writeln!(text, "{line}");
                    } else {
                        let _ = writeln!(text, "{}{}", indent(depth), line.trim_start());
                    }
                }
            }
            Self::Text(block) if is_block(block) => {
                let _ = writeln!(text, "{}- |-", indent(depth));
                write_block(text, block, depth + 1);
            }
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::inline).collect();
                let _ = writeln!(text, "{}- [{}]", indent(depth), items.join(", "));
            }
            value => {
                let _ = writeln!(text, "{}- {}", indent(depth), value.inline());
            }
        }
    }
}

impl From<YamlMap> for YamlNode {
    fn from(map: YamlMap) -> Self {
        Self::Map(map)
    }
}

impl From<&str> for YamlNode {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for YamlNode {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for YamlNode {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for YamlNode {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

macro_rules! from_numbers {
    ($($type:ty),*) => {$(
        impl From<$type> for YamlNode {
            fn from(number: $type) -> Self {
                Self::Number(i64::from(number))
            }
        }
    )*};
}
from_numbers!(i64, u32, u16, i32);

impl<T: Into<YamlNode>> From<Vec<T>> for YamlNode {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<YamlNode>, const N: usize> From<[T; N]> for YamlNode {
    fn from(items: [T; N]) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

fn line_length(items: &[YamlNode]) -> usize {
    items.iter().map(|item| item.inline().len() + 2).sum()
}

/// Writes a comment, wrapped at spaces. An indented one, such as a command, stays in one line.
pub(super) fn comment(text: &mut String, depth: usize, note: &str) {
    if note.starts_with(' ') {
        let _ = writeln!(text, "{}# {}", indent(depth), one_line(note));
        return;
    }
    let width = WIDTH - 2 * depth;
    let mut line = String::new();
    for word in one_line(note).split(' ') {
        if !line.is_empty() && line.chars().count() + word.chars().count() + 3 > width {
            let _ = writeln!(text, "{}#{line}", indent(depth));
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{}#{line}", indent(depth));
}

/// Returns text that cannot end a comment: names in it are of outside input.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' || c == '\u{85}' { ' ' } else { c })
        .collect()
}

/// Returns true for text of several lines that a literal block can hold (YAML 1.2.2, 8.1.2).
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with(['\n', ' '])
        && text
            .chars()
            .all(|c| c == '\n' || (!c.is_control() && c != '\u{feff}' && c != '\u{2028}' && c != '\u{2029}'))
}

fn write_block(text: &mut String, block: &str, depth: usize) {
    for line in block.split('\n') {
        if line.is_empty() {
            text.push('\n');
        } else {
            let _ = writeln!(text, "{}{line}", indent(depth));
        }
    }
}

/// Returns text as a scalar: plain if every parser reads it as the same string, else in double quotes.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn is_plain(text: &str) -> bool {
    // YAML 1.1 reads these as booleans and null.
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "~"];
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "/_.-@:+".contains(c);
    begins && !is_word && text.chars().all(is_safe) && !text.ends_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_read_as_the_same_string() {
        for plain in ["web", "/tmp", "ghcr.io/team/api@sha256:ab", "unless-stopped", "app.main:app"] {
            assert_eq!(scalar(plain), plain);
        }
        for (text, quoted) in [
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("No", "\"No\""),
            ("8000", "\"8000\""),
            ("0x1", "\"0x1\""),
            ("1e3", "\"1e3\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("key:", "\"key:\""),
            ("-x", "\"-x\""),
            ("a\"\\\n\u{7}\u{85}", "\"a\\\"\\\\\\n\\u0007\\u0085\""),
            ("*a", "\"*a\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(scalar(text), quoted);
        }
    }

    #[test]
    fn documents_have_comments_and_one_form() {
        let item = YamlMap::new().note("about").set("name", "a").set("value", "1");
        let document = YamlMap::new()
            .note("first")
            .set("name", "x")
            .trailing("3.0.0")
            .set("empty", YamlMap::new())
            .set("list", ["a", "b"])
            .set("maps", vec![item])
            .set_disabled("later", YamlMap::new().set("a", 1u16))
            .set("script", "a\n  b\n\nc")
            .note("last\nline");
        assert_eq!(
            document.to_yaml(),
            "# first\nname: x # 3.0.0\nempty: {}\nlist: [a, b]\nmaps:\n  # about\n  - name: a\n    value: \"1\"\n\
             # later:\n#   a: 1\nscript: |-\n  a\n    b\n\n  c\n# last line\n"
        );
    }

    #[test]
    fn long_comments_are_wrapped() {
        let mut text = String::new();
        comment(&mut text, 1, &"word ".repeat(40));
        assert!(
            text.lines().count() > 1
                && text.lines().all(|line| line.starts_with("  # word") && line.len() <= WIDTH)
        );
    }
}
