//! Releases: the file `InRelease` of a suite, its fields, the digests of its indexes, and its signature.
//!
//! Debian wiki, [DebianRepository/Format](https://wiki.debian.org/DebianRepository/Format); RFC 9580, section 7, for the
//! cleartext signature framework.
//!
//! ```text
//! -----BEGIN PGP SIGNED MESSAGE-----
//! Hash: SHA256
//!
//! Origin: Debian
//! Suite: oldstable
//! Codename: bookworm
//! Date: Sat, 17 May 2025 09:38:33 UTC
//! Acquire-By-Hash: yes
//! Architectures: all amd64 arm64
//! Components: main contrib
//! SHA256:
//!  0a4b… 8792254 main/binary-amd64/Packages.xz
//! -----BEGIN PGP SIGNATURE-----
//! ```

#[cfg(feature = "openpgp")]
mod keyring;

use std::collections::BTreeMap;

use deb822_fast::Deb822;
use jiff::fmt::rfc2822;

use crate::index::Sha256;
#[cfg(feature = "openpgp")]
pub use keyring::{FaultReason, Keyring, SignatureFault};

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// An invalid release, or one without a valid signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// A file without a signature.
    #[error("the release is not signed")]
    Unsigned,
    /// A violation of the cleartext signature framework.
    #[error("invalid clear signature: {0}")]
    Cleartext(&'static str),
    /// A violation of the format of fields.
    #[error("invalid release: {0}")]
    Syntax(String),
    /// No field of this name.
    #[error("invalid release: no field `{0}`")]
    Missing(&'static str),
    /// A field with an invalid value.
    #[error("invalid release: invalid field `{name}`: `{value}`")]
    Field {
        /// The name.
        name: &'static str,
        /// The value.
        value: String,
    },
    /// No key of a keyring could be read.
    #[error("invalid keyring: {0}")]
    #[cfg(feature = "openpgp")]
    Keyring(String),
    /// No valid signature by a trusted key.
    #[error("cannot verify the signature: {}", listed(.0))]
    #[cfg(feature = "openpgp")]
    Signature(Vec<SignatureFault>),
}

/// A clear-signed text, not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedText {
    text: String,
    armor: String,
}

/// An index named by a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexFile {
    /// The size in bytes.
    pub size: u64,
    /// The digest.
    pub sha256: Sha256,
}

/// The fields of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Release {
    /// `Debian`, `Ubuntu`, or the name of another archive.
    pub origin: Option<String>,
    /// `Debian-Security`.
    pub label: Option<String>,
    /// The suite, such as `stable`.
    pub suite: Option<String>,
    /// The code name, such as `bookworm`.
    pub codename: Option<String>,
    /// The version of a point release, such as `12.11`.
    pub version: Option<String>,
    /// The time of the release, in seconds since 1970.
    pub date: Option<i64>,
    /// The end of validity, in seconds since 1970.
    pub valid_until: Option<i64>,
    /// Indexes are also at `by-hash/SHA256/DIGEST`.
    pub acquire_by_hash: bool,
    /// Packages of `Architecture: all` are in the indexes of every architecture.
    pub all_in_every_architecture: bool,
    /// The architectures.
    pub architectures: Vec<String>,
    /// The components.
    pub components: Vec<String>,
    /// The indexes, by path below the release.
    pub files: BTreeMap<String, IndexFile>,
}

impl SignedText {
    /// Splits a clear-signed file. Text outside of the signature is refused, as by apt.
    pub fn split(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let invalid = ReleaseError::Cleartext;
        let all = std::str::from_utf8(bytes).map_err(|_| invalid("not UTF-8"))?;
        let mut lines = all.lines().map(|line| line.trim_end_matches([' ', '\t', '\r']));
        if lines.by_ref().find(|line| !line.is_empty()) != Some(BEGIN) {
            let is_signed = all.lines().any(|line| line.trim_end() == BEGIN);
            return Err(if is_signed {
                invalid("text before the signed one")
            } else {
                ReleaseError::Unsigned
            });
        }
        for header in lines.by_ref().take_while(|line| !line.is_empty()) {
            if !header.starts_with("Hash: ") {
                return Err(invalid("an unknown header"));
            }
        }
        let (mut text, mut is_complete) = (String::with_capacity(all.len()), false);
        for line in lines.by_ref() {
            if line == SIGNATURE {
                is_complete = true;
                break;
            }
            let line = match line.strip_prefix('-') {
                Some(escaped) => escaped.strip_prefix(' ').ok_or(invalid("an unescaped dash"))?,
                None => line,
            };
            text.push_str(line);
            text.push('\n');
        }
        if !is_complete {
            return Err(invalid("the file is cut short"));
        }
        let mut armor = format!("{SIGNATURE}\n");
        for line in lines.by_ref() {
            armor.push_str(line);
            armor.push('\n');
            if line == END {
                if lines.all(str::is_empty) {
                    return Ok(Self { text, armor });
                }
                return Err(invalid("text behind the signature"));
            }
        }
        Err(invalid("the file is cut short"))
    }

    /// Returns the signed text. Nothing else of the file has a meaning.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the signed bytes: lines without white space at the end, separated by CR and LF.
    #[cfg(feature = "openpgp")]
    fn canonical(&self) -> String {
        let text = self.text.strip_suffix('\n').unwrap_or(&self.text);
        text.replace('\n', "\r\n")
    }
}

impl Release {
    /// Parses the text of a release.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let fields: Deb822 =
            text.parse().map_err(|error: deb822_fast::Error| ReleaseError::Syntax(error.to_string()))?;
        let mut paragraphs = fields.iter();
        let (Some(fields), None) = (paragraphs.next(), paragraphs.next()) else {
            return Err(ReleaseError::Syntax("expected one paragraph".to_owned()));
        };
        let optional =
            |name| fields.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let words = |name| -> Vec<String> {
            fields.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let date = |name| optional(name).map(|value| date(name, &value)).transpose();
        let digests = fields.get("SHA256").ok_or(ReleaseError::Missing("SHA256"))?;
        Ok(Self {
            origin: optional("Origin"),
            label: optional("Label"),
            suite: optional("Suite"),
            codename: optional("Codename"),
            version: optional("Version"),
            date: date("Date")?,
            valid_until: date("Valid-Until")?,
            acquire_by_hash: optional("Acquire-By-Hash").as_deref() == Some("yes"),
            all_in_every_architecture: words("No-Support-for-Architecture-all")
                .iter()
                .any(|word| word == "Packages"),
            architectures: words("Architectures"),
            // Debian's security archive named its components `updates/main`.
            components: words("Components")
                .into_iter()
                .map(|name| name.strip_prefix("updates/").map_or(name.clone(), str::to_owned))
                .collect(),
            files: files(digests)?,
        })
    }

    /// Returns true if the suite has this name, as suite or code name.
    pub fn is_named(&self, suite: &str) -> bool {
        [&self.suite, &self.codename].into_iter().flatten().any(|name| name == suite)
    }
}

/// Parses the lines `DIGEST SIZE PATH`.
fn files(lines: &str) -> Result<BTreeMap<String, IndexFile>, ReleaseError> {
    let mut files = BTreeMap::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_ascii_whitespace();
        let file = (|| {
            let sha256 = words.next()?.parse().ok()?;
            let size = words.next()?.parse().ok()?;
            let path = words.next()?;
            let is_below = !path.starts_with('/') && path.split('/').all(|part| part != "..");
            (is_below && words.next().is_none()).then(|| (path.to_owned(), IndexFile { size, sha256 }))
        })();
        let (path, file) =
            file.ok_or_else(|| ReleaseError::Field { name: "SHA256", value: line.to_owned() })?;
        files.insert(path, file);
    }
    Ok(files)
}

/// Parses a date such as `Sat, 17 May 2025 09:38:33 UTC`. Ubuntu pads hours with a space.
fn date(name: &'static str, value: &str) -> Result<i64, ReleaseError> {
    let words = value.split_whitespace().map(|word| match word {
        "UTC" => "+0000".to_owned(),
        word if word.contains(':') && word.len() == "0:00:00".len() => format!("0{word}"),
        word => word.to_owned(),
    });
    let parsed = rfc2822::parse(&words.collect::<Vec<_>>().join(" "));
    let seconds = parsed.map(|time| time.timestamp().as_second());
    seconds.map_err(|_| ReleaseError::Field { name, value: value.to_owned() })
}

#[cfg(feature = "openpgp")]
fn listed(faults: &[SignatureFault]) -> String {
    if faults.is_empty() {
        return "no signature".to_owned();
    }
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn release(fields: &str) -> Result<Release, String> {
        Release::parse(fields).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_of_a_release() {
        let release = release(&format!(
            "Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: bookworm-security\n\
             Date: Sat, 17 May 2025 09:38:33 UTC\nValid-Until: Sat, 24 May 2025 09:38:33 +0000\nAcquire-By-Hash: yes\n\
             Architectures: all amd64\nComponents: updates/main updates/contrib\nDescription: x\n\
             No-Support-for-Architecture-all: Packages\nMD5Sum:\n 0 1 main/x\nSHA256:\n {DIGEST} 0 main/binary-amd64/Packages\n  \
             {DIGEST}    17 main/binary-amd64/Packages.xz\n"
        ))
        .unwrap();
        assert_eq!((release.date, release.valid_until), (Some(1_747_474_713), Some(1_748_079_513)));
        assert_eq!(
            (release.architectures.len(), release.components.join(" ")),
            (2, "main contrib".to_owned())
        );
        assert!(release.acquire_by_hash && release.all_in_every_architecture);
        assert!(
            release.is_named("bookworm-security")
                && release.is_named("stable-security")
                && !release.is_named("x")
        );
        assert_eq!(date("Date", "Sat, 28 Nov 2026  2:55:34 UTC").unwrap(), 1_795_834_534);
        let file = release.files["main/binary-amd64/Packages.xz"];
        assert_eq!((file.size, file.sha256.to_string().as_str()), (17, DIGEST));
    }

    #[test]
    fn invalid_releases() {
        for (fields, expected) in [
            ("", "invalid release: expected one paragraph"),
            ("Suite: x\n", "invalid release: no field `SHA256`"),
            ("Suite: x\n\nSuite: y\n", "invalid release: expected one paragraph"),
            ("Date: today\nSHA256:\n", "invalid release: invalid field `Date`: `today`"),
            ("SHA256:\n 00 1 main/x\n", "invalid release: invalid field `SHA256`: `00 1 main/x`"),
        ] {
            assert_eq!(release(fields).unwrap_err(), expected);
        }
        for path in ["/etc/passwd", "../x", "main/../../x", "a b", ""] {
            let error = release(&format!("SHA256:\n {DIGEST} 1 {path}\n")).unwrap_err();
            assert!(error.starts_with("invalid release: invalid field `SHA256`"), "{error}");
        }
    }

    #[test]
    fn signed_texts_are_unescaped() {
        let file = format!(
            "{BEGIN}\nHash: SHA256\n\nA: b  \r\n- - c\n- -----BEGIN\n{SIGNATURE}\n\nabc\n=x\n{END}\n\n"
        );
        let signed = SignedText::split(file.as_bytes()).unwrap();
        assert_eq!(signed.text(), "A: b\n- c\n-----BEGIN\n");
        assert_eq!(signed.armor, format!("{SIGNATURE}\n\nabc\n=x\n{END}\n"));
    }

    #[test]
    fn text_outside_of_the_signature_is_refused() {
        let body = format!("{BEGIN}\nHash: SHA256\n\nA: b\n{SIGNATURE}\n\nabc\n{END}\n");
        for (file, expected) in [
            ("A: b\n".to_owned(), "the release is not signed"),
            (String::new(), "the release is not signed"),
            (format!("Suite: x\n{body}"), "invalid clear signature: text before the signed one"),
            (format!("{body}Suite: x\n"), "invalid clear signature: text behind the signature"),
            (format!("{body}{body}"), "invalid clear signature: text behind the signature"),
            (body.replace("Hash: SHA256", "Suite: x"), "invalid clear signature: an unknown header"),
            (body.replace("A: b", "-A: b"), "invalid clear signature: an unescaped dash"),
            (body.replace(END, ""), "invalid clear signature: the file is cut short"),
            (body.replace(SIGNATURE, ""), "invalid clear signature: an unescaped dash"),
            (body[..54].to_owned(), "invalid clear signature: the file is cut short"),
        ] {
            assert_eq!(SignedText::split(file.as_bytes()).unwrap_err().to_string(), expected, "{file}");
        }
    }
}
