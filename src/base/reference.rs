//! The syntax of `--base`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Advice;
use crate::reference::{Reference, ReferenceError};
use crate::suggest::with_nearest;
use crate::tree::ImagePath;

/// The base of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseReference {
    /// No base: `scratch`.
    Scratch,
    /// A root file system in a directory or a tar archive: `rootfs:PATH`.
    Rootfs(PathBuf),
    /// Debian packages of a suite: `apt:bookworm`.
    Apt(AptSuite),
    /// An image.
    Image(Reference),
}

/// The name of a suite of a Debian archive, such as `bookworm` or `noble`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AptSuite(String);

/// An invalid base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseReferenceError {
    /// `rootfs:` without a path.
    #[error("invalid base `rootfs:`: no path")]
    NoPath,
    /// `apt:` without the name of a suite.
    #[error("invalid base `apt:{0}`: not the name of a suite")]
    Suite(String),
    /// An invalid image reference.
    #[error(transparent)]
    Image(#[from] ReferenceError),
}

impl Advice for BaseReferenceError {
    fn help(&self) -> Option<String> {
        let help = "write scratch, apt:SUITE, rootfs:DIR, rootfs:FILE.tar, or an image: python:3.12-slim, \
                    docker://REGISTRY/NAME[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE";
        match self {
            Self::Image(ReferenceError::Place(text)) => {
                let transport = text.split(':').next().unwrap_or_default();
                let known =
                    TRANSPORTS.into_iter().chain(["rootfs", "apt"]).filter(|known| *known != transport);
                Some(with_nearest(help, transport, known))
            }
            Self::Suite(_) => {
                Some("write the code name of a suite, such as apt:bookworm or apt:trixie".to_owned())
            }
            _ => Some(help.to_owned()),
        }
    }
}

impl FromStr for BaseReference {
    type Err = BaseReferenceError;

    fn from_str(text: &str) -> Result<Self, BaseReferenceError> {
        match (text, text.strip_prefix("rootfs:")) {
            ("scratch", _) => Ok(Self::Scratch),
            (_, Some("")) => Err(BaseReferenceError::NoPath),
            (_, Some(path)) => Ok(Self::Rootfs(path.into())),
            _ if text.starts_with("apt:") => {
                Ok(Self::Apt(text.strip_prefix("apt:").unwrap_or_default().parse()?))
            }
            _ => Ok(Self::Image(text.parse()?)),
        }
    }
}

impl fmt::Display for BaseReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => f.write_str("scratch"),
            Self::Rootfs(path) => write!(f, "rootfs:{}", path.display()),
            Self::Apt(suite) => write!(f, "apt:{suite}"),
            Self::Image(reference) => reference.fmt(f),
        }
    }
}

impl AptSuite {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AptSuite {
    type Err = BaseReferenceError;

    fn from_str(text: &str) -> Result<Self, BaseReferenceError> {
        // Suites with a slash, such as `stable/updates`, have not been made since bullseye.
        let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts && text.chars().all(is_valid) && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(BaseReferenceError::Suite(text.to_owned()))
        }
    }
}

impl fmt::Display for AptSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file or directory of an image: `oci:dist/image:3.0.0:/etc/passwd`.
///
/// The path begins at the last `:/` after a valid reference. A tag cannot begin with a slash, so
/// this is unambiguous; the colon of a transport does not count (`oci:/dir`, `docker://name`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    /// The image.
    pub image: Reference,
    /// The path, if given.
    pub path: Option<ImagePath>,
}

/// The transports, without the colon.
const TRANSPORTS: [&str; 5] = ["oci", "oci-archive", "docker-archive", "docker-daemon", "docker"];

impl FromStr for FileReference {
    type Err = BaseReferenceError;

    fn from_str(text: &str) -> Result<Self, BaseReferenceError> {
        for (at, _) in text.rmatch_indices(":/") {
            let (image, path) = text.split_at(at);
            if TRANSPORTS.contains(&image) {
                continue;
            }
            if let (Ok(image), Ok(path)) = (image.parse(), ImagePath::new(path.get(1..).unwrap_or_default()))
            {
                return Ok(Self { image, path: Some(path) });
            }
        }
        Ok(Self { image: text.parse()?, path: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_round_trips() {
        for text in [
            "scratch",
            "rootfs:a/b",
            "rootfs:/x.tar.gz",
            "apt:bookworm",
            "oci:dir:tag",
            "docker://docker.io/library/python:3.12",
        ] {
            assert_eq!(text.parse::<BaseReference>().unwrap().to_string(), text);
        }
        assert!(matches!("python:3.12-slim".parse(), Ok(BaseReference::Image(_))));
        for text in ["", "rootfs:", "oci:", "Scratch"] {
            let error = text.parse::<BaseReference>().unwrap_err();
            assert!(error.help().is_some(), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_is_distinguished_from_a_tag_and_a_local_path() {
        for (text, image, path) in [
            ("oci:dir", "oci:dir", None),
            ("oci:/a/dir", "oci:/a/dir", None),
            ("oci:/a/dir:tag:/etc/passwd", "oci:/a/dir:tag", Some("/etc/passwd")),
            ("oci:/a/dir:/etc", "oci:/a/dir", Some("/etc")),
            ("python:3.12:/", "docker://docker.io/library/python:3.12", Some("/")),
            ("docker://h:5000/a", "docker://h:5000/a", None),
            ("docker://h:5000/a:/b", "docker://h:5000/a", Some("/b")),
        ] {
            let found: FileReference = text.parse().unwrap();
            let shown = (found.image.to_string(), found.path.map(|path| path.to_string()));
            assert_eq!(shown, (image.to_owned(), path.map(str::to_owned)), "{text}");
        }
        assert!("oci:dir:/../x".parse::<FileReference>().is_err());
    }
}
