//! Versions of packages, Debian Policy section 5.6.12: `[EPOCH:]UPSTREAM[-REVISION]`.
//!
//! Versions are compared as text, without a parsed form: an index holds 63,000 of them, and a resolution compares a few
//! hundred. `debversion` would parse each with a regular expression, compare digits as big integers and bring three
//! crates; a test compares the two.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A package's version. Equality is that of the order: `1.0` equals `1.0-0`.
#[derive(Debug, Clone)]
pub struct Version(Box<str>);

/// Text that is not a version.
#[derive(Debug, Clone, thiserror::Error)]
#[error("invalid version `{0}`")]
pub struct InvalidVersion(String);

/// Longest version. The longest in Debian has 60 letters.
const MAX_LENGTH: usize = 1024;

impl Version {
    /// Returns the version as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        if is_valid(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidVersion(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

/// Tells whether `text` is a version. The underscore is no letter of a version in the Policy, but of some archives.
pub(crate) fn is_valid(text: &str) -> bool {
    let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
    !rest.is_empty()
        && text.len() <= MAX_LENGTH
        && !epoch.is_empty()
        && epoch.len() <= 9
        && epoch.bytes().all(|byte| byte.is_ascii_digit())
        && !rest.ends_with('-')
        && !rest.starts_with('-')
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+:~-_".contains(&byte))
}

/// Compares two versions as dpkg does.
pub fn compare(left: &str, right: &str) -> Ordering {
    let ((left_epoch, left), (right_epoch, right)) = (epoch(left), epoch(right));
    let ((left, left_revision), (right, right_revision)) = (revision(left), revision(right));
    compare_digits(left_epoch.as_bytes(), right_epoch.as_bytes())
        .then_with(|| compare_part(left.as_bytes(), right.as_bytes()))
        .then_with(|| compare_part(left_revision.as_bytes(), right_revision.as_bytes()))
}

/// Splits the epoch, `0` by default, from the rest.
fn epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("0", version))
}

/// Splits the upstream version from the revision, `0` by default.
fn revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, "0"))
}

/// Compares upstream versions or revisions: alternately parts without digits and numbers.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    loop {
        let (left_text, left_rest) = split(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = split(right, |byte| !byte.is_ascii_digit());
        let (left_number, left_rest) = split(left_rest, u8::is_ascii_digit);
        let (right_number, right_rest) = split(right_rest, u8::is_ascii_digit);
        let order =
            compare_text(left_text, right_text).then_with(|| compare_digits(left_number, right_number));
        if order != Ordering::Equal || (left_rest.is_empty() && right_rest.is_empty()) {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
}

fn split(text: &[u8], part: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !part(byte)).unwrap_or(text.len()))
}

/// Compares parts without digits: a tilde sorts before the end, letters before other characters.
fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    (0..left.len().max(right.len()))
        .map(|index| weight(left.get(index)).cmp(&weight(right.get(index))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Compares numbers of any length.
fn compare_digits(left: &[u8], right: &[u8]) -> Ordering {
    let (_, left) = split(left, |byte| *byte == b'0');
    let (_, right) = split(right, |byte| *byte == b'0');
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_the_policy_says() {
        let ascending = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0~rc1-1",
            "1.0",
            "1.0-0.1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-2",
            "1.0a",
            "1.0+dfsg",
            "1.0.1",
            "1.9",
            "1.10",
            "2:0.1",
            "10:0",
        ];
        for (index, left) in ascending.iter().enumerate() {
            for (other, right) in ascending.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left} {right}");
            }
        }
        for (left, right) in
            [("1.0", "1.0-0"), ("1.0", "0:1.0"), ("1.00", "1.0"), ("1.0-01", "1.0-1"), ("1a", "1a0")]
        {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn refuses_text_that_is_no_version() {
        for text in ["", "1:", ":1", "a:1", "1-", "-1", "1 0", "1/0", "1.0)", "é", "9999999999:1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
        for text in ["1", "1:1.0-2", "1:2:3-4-5", "2.0.37+cvs.JCW_PRE2_2037-1"] {
            assert!(text.parse::<Version>().is_ok(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn orders_as_debversion(left in "([0-9]:)?[0-9][a-zA-Z0-9.+~]{0,6}(-[a-z0-9+.~]{1,4})?", right in "([0-9]:)?[0-9][a-zA-Z0-9.+~]{0,6}(-[a-z0-9+.~]{1,4})?") {
            let oracle = |text: &str| text.parse::<debversion::Version>().unwrap();
            proptest::prop_assert_eq!(compare(&left, &right), oracle(&left).cmp(&oracle(&right)));
        }
    }
}
