//! [`TomlError`]: the error of an invalid TOML document.

use std::fmt;

use crate::suggest::nearest;

/// An invalid TOML document: the parser's message, with line, column and the line itself.
///
/// The message about an unknown key suggests the nearest one, which a list of all keys would hide.
#[derive(Debug, Clone, PartialEq)]
pub struct TomlError {
    /// The parser's error.
    pub error: toml::de::Error,
}

impl From<toml::de::Error> for TomlError {
    fn from(error: toml::de::Error) -> Self {
        Self { error }
    }
}

impl fmt::Display for TomlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.error.message();
        let text = self.error.to_string();
        let text = text.trim_end();
        match unknown_key(message).or_else(|| unknown_value(message)) {
            Some(reworded) => f.write_str(&text.replace(message, &reworded)),
            None => f.write_str(text),
        }
    }
}

impl std::error::Error for TomlError {}

/// Rewords serde's message about an unknown key.
fn unknown_key(message: &str) -> Option<String> {
    let (name, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let known = known.split('`').skip(1).step_by(2);
    Some(match nearest(name, known) {
        Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
        None => format!("unknown key `{name}`"),
    })
}

/// Rewords serde's message about an unknown value of an enum, if a known one is similar.
fn unknown_value(message: &str) -> Option<String> {
    let (value, known) = message.strip_prefix("unknown variant `")?.split_once('`')?;
    let near = nearest(value, known.split('`').skip(1).step_by(2))?;
    Some(format!("unknown value `{value}`; did you mean `{near}`?"))
}
