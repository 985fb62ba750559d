//! [`Requirement`]: a dependency specifier.
//!
//! Follows the packaging specification "Dependency specifiers" (PEP 508,
//! <https://packaging.python.org/en/latest/specifications/dependency-specifiers/>), with versions
//! parsed by `pep440_rs`. `pep508_rs` 0.9.2 is not used: it panics on names such as `a-` and on
//! markers such as `'3' ~= os_name`, which leaves a process-wide lock poisoned, and keeps markers
//! in a global table that never shrinks. URLs are kept verbatim and `${VAR}` is not expanded.

use std::fmt;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

use super::error::RequirementError;
use super::marker::Marker;
use crate::python::metadata::name::normalize;

/// The longest requirement parsed, in bytes.
const MAX_LENGTH: usize = 64 << 10;

/// A dependency: a distribution, its extras, the allowed versions, and a condition.
///
/// ```text
/// uvicorn[standard] >=0.30,<1 ; python_version >= "3.9"
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The normalized name.
    pub name: String,
    /// The normalized names of the extras, in order.
    pub extras: Vec<String>,
    /// The allowed versions; `None` for all, and with a URL.
    pub specifiers: Option<VersionSpecifiers>,
    /// The URL to install from.
    pub url: Option<String>,
    /// The condition; `None` for always.
    pub marker: Option<Marker>,
    text: String,
}

impl Requirement {
    /// Parses a `Requires-Dist` of older tools, such as `foo (>1.0.*)`, without its versions.
    /// Returns `None` if even name, extras or marker are invalid.
    pub fn parse_lenient(text: &str) -> Option<Self> {
        if let Ok(requirement) = text.parse() {
            return Some(requirement);
        }
        let (head, marker) = text.split_once(';').unwrap_or((text, ""));
        let (name, rest) = split_name(head.trim());
        let extras = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let extras = extras.map(|(extras, _)| format!("[{extras}]")).unwrap_or_default();
        let marker = if marker.trim().is_empty() { String::new() } else { format!("; {marker}") };
        let mut requirement: Self = format!("{name}{extras}{marker}").parse().ok()?;
        text.trim().clone_into(&mut requirement.text);
        Some(requirement)
    }

    /// Returns the normalized name at the beginning of an otherwise invalid requirement.
    pub(crate) fn first_name(text: &str) -> Option<String> {
        let (name, _) = split_name(text.trim());
        is_name(name).then(|| normalize(name))
    }

    /// Returns true if an installed version is allowed, or cannot be parsed.
    pub fn allows(&self, version: &str) -> bool {
        match (&self.specifiers, version.parse::<Version>()) {
            (Some(specifiers), Ok(version)) => specifiers.contains(&version),
            _ => true,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let invalid = |reason: String| Err(RequirementError(reason));
        let text = text.trim();
        if text.len() > MAX_LENGTH {
            return invalid(format!("more than {MAX_LENGTH} bytes"));
        }
        let (name, rest) = split_name(text);
        if !is_name(name) {
            return invalid("expected a name of letters, digits, `-`, `_` and `.`".to_owned());
        }
        let (extras, rest) = split_extras(rest.trim_start())?;
        let rest = rest.trim_start();
        let (specifiers, url, marker) = if let Some(rest) = rest.strip_prefix('@') {
            // A URL may contain `;`: a marker needs white space before it.
            let rest = rest.trim_start();
            let (url, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            if url.is_empty() {
                return invalid("expected a URL after `@`".to_owned());
            }
            let after = after.trim_start();
            match after.strip_prefix(';') {
                Some(marker) => (None, Some(url.to_owned()), Some(marker)),
                None if after.is_empty() => (None, Some(url.to_owned()), None),
                None => return invalid(format!("unexpected `{after}` after the URL")),
            }
        } else {
            let (versions, marker) = match rest.split_once(';') {
                Some((versions, marker)) => (versions.trim(), Some(marker)),
                None => (rest.trim(), None),
            };
            (parse_specifiers(versions)?, None, marker)
        };
        let marker = marker.map(str::parse).transpose()?;
        Ok(Self { name: normalize(name), extras, specifiers, url, marker, text: text.to_owned() })
    }
}

fn parse_specifiers(text: &str) -> Result<Option<VersionSpecifiers>, RequirementError> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text).trim();
    if inner.is_empty() {
        return Ok(None);
    }
    match inner.parse() {
        Ok(specifiers) => Ok(Some(specifiers)),
        Err(_) => {
            Err(RequirementError(format!("invalid versions `{text}`: expected a list such as `>=1.2,<2`")))
        }
    }
}

fn split_extras(text: &str) -> Result<(Vec<String>, &str), RequirementError> {
    let Some(rest) = text.strip_prefix('[') else { return Ok((Vec::new(), text)) };
    let Some((extras, rest)) = rest.split_once(']') else {
        return Err(RequirementError("the `[` of the extras is not closed".to_owned()));
    };
    let mut names = Vec::new();
    for extra in extras.split(',').map(str::trim) {
        if is_name(extra) {
            names.push(normalize(extra));
        } else if !(extra.is_empty() && extras.trim().is_empty()) {
            return Err(RequirementError(format!("invalid extra `{extra}`")));
        }
    }
    Ok((names, rest))
}

fn split_name(text: &str) -> (&str, &str) {
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    text.split_at(text.find(|character| !is_part(character)).unwrap_or(text.len()))
}

/// Returns true if `text` is a name: letters, digits, `-`, `_` and `.`, the first and last a letter
/// or digit.
fn is_name(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    edge(text.bytes().next()) && edge(text.bytes().last()) && split_name(text).1.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Requirement {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn parses_the_parts_of_a_requirement() {
        let full = read("Uvicorn [Standard, b_c] >= 0.30, < 1 ; python_version >= '3.9'");
        assert_eq!(
            (full.name.as_str(), full.extras.as_slice()),
            ("uvicorn", &["standard".to_owned(), "b-c".to_owned()][..])
        );
        assert!(full.allows("0.30.1") && !full.allows("1.0") && full.allows("what"));
        assert!(full.marker.is_some());
        assert_eq!(full.to_string(), "Uvicorn [Standard, b_c] >= 0.30, < 1 ; python_version >= '3.9'");
        assert!(read("a (>=1.0)").allows("1.1"));
        assert!(!read("a==1.*").allows("2"));
        assert!(read("a[]").extras.is_empty());
        assert!(read("A.B_c").name == "a-b-c" && read("a").specifiers.is_none());
        let direct = read("a[x] @ https://h/a.whl#sha256=0;1 ; os_name == 'posix'");
        assert_eq!(direct.url.as_deref(), Some("https://h/a.whl#sha256=0;1"));
        assert!(direct.marker.is_some());
    }

    #[test]
    fn explains_invalid_requirements() {
        for (text, part) in [
            ("", "expected a name"),
            ("a-", "expected a name"),
            ("./a", "expected a name"),
            ("a b", "invalid versions `b`"),
            ("a[x", "not closed"),
            ("a[x-]", "invalid extra `x-`"),
            ("a[x,]", "invalid extra ``"),
            ("a @ ", "expected a URL"),
            ("a @ b c", "unexpected `c` after"),
            ("a>1.0.*", "invalid versions"),
            ("a; b", "marker"),
        ] {
            let error = text.parse::<Requirement>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!("a".repeat(MAX_LENGTH + 1).parse::<Requirement>().is_err());
    }

    #[test]
    fn parses_old_requirements_leniently() {
        let old = Requirement::parse_lenient("foo [x] (>1.0.*) ; python_version > '3'").unwrap();
        assert_eq!((old.name.as_str(), old.extras.len(), old.marker.is_some()), ("foo", 1, true));
        assert!(Requirement::parse_lenient("???").is_none());
        assert!(Requirement::parse_lenient("foo; nonsense").is_none());
    }

    proptest! {
        #[test]
        fn parses_any_text(text in "(?s)[a-z]?[a-z0-9 ;=<>!~.*'()@é,\\[\\]_-]{0,40}") {
            let _ = text.parse::<Requirement>();
            let _ = Requirement::parse_lenient(&text);
        }

        #[test]
        fn compares_any_versions(
            specifiers in "[a-z0-9.*+!<>=~, ]{0,20}", version in "[0-9a-z.+!-]{0,12}"
        ) {
            if let Ok(requirement) = format!("a{specifiers}").parse::<Requirement>() {
                requirement.allows(&version);
            }
        }
    }
}
