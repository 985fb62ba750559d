//! Rewrites string literals of a Python module that contain a path of the build machine.
//!
//! Editable installs of several directories are a module with a table of paths: setuptools'
//! `__editable___NAME_finder.py` (`MAPPING = {'pkg': '/src/pkg'}` and `NAMESPACES`), and the
//! `editables` library's `_editable_impl_NAME.py` (`F.map_module('pkg', '/src/pkg/__init__.py')`).
//! String literals are parsed by Python's lexical rules (The Python Language Reference, section
//! 2.4.1), and replaced if they contain a path with a counterpart in the image. All other bytes are
//! unchanged.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::mapping::Mapping;
use crate::traced_fs;
use crate::tree::ImagePath;

/// The result for a module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RewrittenModule {
    /// The new text; `None` if unchanged.
    pub(crate) text: Option<String>,
    /// The paths in the module, with their paths in the image.
    pub(crate) paths: Vec<(PathBuf, ImagePath)>,
    /// Absolute paths of this machine without a counterpart in the image.
    pub(crate) unmapped: Vec<String>,
}

/// Rewrites the literals of `text`.
pub(crate) fn relocate(text: &str, mapping: &Mapping) -> RewrittenModule {
    let mut result = RewrittenModule::default();
    let mut new = String::with_capacity(text.len());
    let mut changed = false;
    let mut rest = text;
    while let Some(at) = rest.find(['#', '\'', '"']) {
        let (before, from) = rest.split_at(at);
        new.push_str(before);
        let (token, after) = if from.starts_with('#') {
            from.split_at(from.find('\n').unwrap_or(from.len()))
        } else {
            from.split_at(literal_end(from))
        };
        let value = plain_value(token, before).filter(|value| value.starts_with('/') && value.len() > 1);
        match value.as_deref().map(|value| (value, mapping.map(Path::new(value)))) {
            Some((value, Some(image))) => {
                new.push_str(&repr(&image.to_string()));
                result.paths.push((value.into(), image));
                changed = true;
            }
            other => {
                if let Some((value, None)) = other
                    && traced_fs::exists(Path::new(value))
                {
                    result.unmapped.push(value.to_owned());
                }
                new.push_str(token);
            }
        }
        rest = after;
    }
    new.push_str(rest);
    result.text = changed.then_some(new);
    result
}

/// Returns the length of the literal that begins `text`, in bytes; an unclosed literal ends with
/// the line or text.
fn literal_end(text: &str) -> usize {
    let quote = text.get(..1).unwrap_or_default();
    let triple = quote.repeat(3);
    let close = if text.starts_with(&triple) { triple.as_str() } else { quote };
    let mut at = close.len();
    while let Some(rest) = text.get(at..) {
        if rest.starts_with(close) {
            return at + close.len();
        }
        match rest.chars().next() {
            None => break,
            Some('\n') if close.len() == 1 => return at,
            Some('\\') => at += 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            Some(character) => at += character.len_utf8(),
        }
    }
    text.len()
}

/// Returns the value of a one-line literal without prefix; `None` for others and for escapes not
/// written by `repr` in a path.
fn plain_value(token: &str, before: &str) -> Option<String> {
    let quote = token.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    if before.ends_with(|previous: char| previous.is_alphanumeric() || previous == '_') {
        return None;
    }
    let inner = token.strip_prefix(quote)?.strip_suffix(quote)?;
    if inner.starts_with(quote) {
        return None;
    }
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        value.push(match character {
            '\\' => match characters.next()? {
                same @ ('\\' | '\'' | '"') => same,
                code @ ('x' | 'u' | 'U') => {
                    let digits = match code {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let number: String = characters.by_ref().take(digits).collect();
                    char::from_u32(u32::from_str_radix(&number, 16).ok()?)?
                }
                _ => return None,
            },
            other => other,
        });
    }
    Some(value)
}

/// Returns the literal for `value`, as Python's `repr` writes one for a path.
fn repr(value: &str) -> String {
    let quote = if value.contains('\'') && !value.contains('"') { '"' } else { '\'' };
    let mut literal = String::from(quote);
    for character in value.chars() {
        match character {
            '\\' => literal.push_str("\\\\"),
            character if character == quote => literal.extend(['\\', character]),
            character if character.is_control() => {
                let _ = write!(literal, "\\U{:08x}", u32::from(character));
            }
            character => literal.push(character),
        }
    }
    literal.push(quote);
    literal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mapping() -> Mapping {
        let mut mapping = Mapping::default();
        mapping.add(Path::new("/no/x"), &ImagePath::new("/app").unwrap());
        mapping
    }

    #[test]
    fn tables_of_setuptools_and_editables() {
        let finder = "MAPPING: dict[str, str] = {'a': '/no/x/src/a', 'b': \"/no/x/it's/b\"}\n\
                      NAMESPACES: dict[str, list[str]] = {'n': ['/no/x/src/n']}\n# '/no/x'\n";
        let result = relocate(finder, &mapping());
        assert_eq!(
            result.text.as_deref(),
            Some(
                "MAPPING: dict[str, str] = {'a': '/app/src/a', 'b': \"/app/it's/b\"}\n\
                 NAMESPACES: dict[str, list[str]] = {'n': ['/app/src/n']}\n# '/no/x'\n"
            )
        );
        assert_eq!(result.paths.len(), 3);
        let editables = "F.map_module('a', '/no/x/a/__init__.py')";
        assert_eq!(
            relocate(editables, &mapping()).text.as_deref(),
            Some("F.map_module('a', '/app/a/__init__.py')")
        );
    }

    #[test]
    fn literals_that_are_no_paths_stay() {
        for text in [
            "\"\"\"'/no/x/a'\"\"\"",
            "f'/no/x/a'",
            "'/'",
            "'a/no/x'",
            "'/no/x/a",
            "'\\n/no/x'",
            "# it's '/no/x'",
            "",
        ] {
            assert_eq!(relocate(text, &mapping()).text, None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "(?s)['\"\\\\#\na-z/é]{0,60}") {
            let result = relocate(&text, &Mapping::default());
            prop_assert_eq!(result.text, None);
        }

        #[test]
        fn a_path_survives_its_literal(path in "[^\0]{0,20}") {
            prop_assert_eq!(plain_value(&repr(&path), ""), Some(path));
        }
    }
}
