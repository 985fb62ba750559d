//! [`Constraint`]: a version constraint of Poetry.
//!
//! Follows Poetry's documentation, "Dependency specification"
//! (<https://python-poetry.org/docs/dependency-specification/>): caret, tilde and wildcard
//! requirements, and alternatives separated by `||`. Requirements of PEP 440 are constraints too.

use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

/// The longest constraint parsed, in bytes.
const MAX_LENGTH: usize = 4 << 10;

/// The allowed versions of a distribution or of Python: `^3.9`, `>=1,<2 || ==3.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint(Vec<VersionSpecifiers>);

/// An invalid constraint, as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid version constraint `{0}`")]
pub struct ConstraintError(String);

impl Constraint {
    /// Returns true if the constraint allows a version.
    pub fn allows(&self, version: &Version) -> bool {
        self.0.iter().any(|specifiers| specifiers.contains(version))
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let invalid = || ConstraintError(text.chars().take(80).collect());
        if text.len() > MAX_LENGTH {
            return Err(invalid());
        }
        // Poetry accepts `|` too.
        let alternatives = text.split('|').filter(|part| !part.trim().is_empty());
        let parsed: Option<Vec<VersionSpecifiers>> = alternatives.map(specifiers).collect();
        parsed.filter(|alternatives| !alternatives.is_empty()).map(Self).ok_or_else(invalid)
    }
}

/// Converts one alternative, parts separated by commas or white space, to specifiers of PEP 440.
fn specifiers(text: &str) -> Option<VersionSpecifiers> {
    let mut parts: Vec<String> = Vec::new();
    let mut operator = String::new();
    for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
        // `>= 1` has white space after its operator.
        if word.chars().all(|c| "<>=!~^".contains(c)) {
            word.clone_into(&mut operator);
            continue;
        }
        parts.push(specifier(&format!("{}{word}", std::mem::take(&mut operator)))?);
    }
    let is_whole = operator.is_empty();
    parts.retain(|part| !part.is_empty());
    is_whole.then(|| parts.join(",").parse().ok()).flatten()
}

/// Converts one part; the empty text allows every version.
fn specifier(part: &str) -> Option<String> {
    if part == "*" {
        return Some(String::new());
    }
    let version = part.trim_start_matches(['<', '>', '=', '!', '~', '^']);
    let operator = part.get(..part.len() - version.len())?;
    let release = || -> Option<Vec<u64>> { Some(version.parse::<Version>().ok()?.release().to_vec()) };
    let below = |last: usize| -> Option<String> {
        let mut release = release()?;
        release.resize(last + 1, 0);
        *release.get_mut(last)? += 1;
        let upper: Vec<String> = release.iter().map(u64::to_string).collect();
        Some(format!(">={version},<{}", upper.join(".")))
    };
    match operator {
        "^" => {
            let release = release()?;
            let first = release.iter().position(|part| *part > 0);
            below(first.unwrap_or(release.len() - 1))
        }
        "~" => below((release()?.len() - 1).min(1)),
        "" | "=" => Some(format!("=={version}")),
        "~=" if release()?.len() == 1 => below(0),
        _ => Some(part.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn follows_poetrys_documentation() {
        for (constraint, allowed, refused) in [
            ("^1.2.3", &["1.2.3", "1.9"][..], &["1.2.2", "2.0"][..]),
            ("^0.2.3", &["0.2.4"], &["0.3.0", "0.2.2"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4"]),
            ("^0.0", &["0.0.9"], &["0.1"]),
            ("^0", &["0.9"], &["1.0"]),
            ("^3.9", &["3.9", "3.13.1"], &["3.8", "4.0"]),
            ("~1.2.3", &["1.2.9"], &["1.3"]),
            ("~1.2", &["1.2.9"], &["1.3"]),
            ("~1", &["1.9"], &["2"]),
            ("*", &["0", "99"], &[]),
            ("1.2.*", &["1.2.9"], &["1.3"]),
            ("1.2", &["1.2.0"], &["1.2.1"]),
            (">= 1.2, <1.5", &["1.4"], &["1.5"]),
            (">=1.2 <1.5", &["1.4"], &["1.5"]),
            ("<3.9 || >=3.11", &["3.8", "3.11"], &["3.10"]),
            ("!=3.9.*,>=3.8", &["3.8", "3.10"], &["3.9.1"]),
            ("~=1.4.2", &["1.4.9"], &["1.5"]),
        ] {
            let parsed: Constraint = constraint.parse().unwrap();
            for (versions, is_allowed) in [(allowed, true), (refused, false)] {
                for version in versions {
                    assert_eq!(
                        parsed.allows(&version.parse().unwrap()),
                        is_allowed,
                        "{constraint} {version}"
                    );
                }
            }
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in ["", "||", "latest", ">=", "^", "1.2 >", "^x", &"1,".repeat(4096)] {
            assert!(text.parse::<Constraint>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parses_any_text(text in "[0-9.*^~<>=!|, a-]{0,40}") {
            let _ = text.parse::<Constraint>();
        }
    }
}
