//! [`BaseReference`]: what `--base` says.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Advice;
use crate::reference::{Reference, ReferenceError};

/// What an image is built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseReference {
    /// Nothing: `scratch`.
    Scratch,
    /// A root file system in a directory or in a tar archive: `rootfs:PATH`.
    Rootfs(PathBuf),
    /// An image.
    Image(Reference),
}

/// A text that names no base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseReferenceError {
    /// `rootfs:` with nothing behind it.
    #[error("`rootfs:` names no directory and no archive")]
    NoPath,
    /// It names no image either.
    #[error(transparent)]
    Image(#[from] ReferenceError),
}

impl Advice for BaseReferenceError {
    fn help(&self) -> Option<String> {
        Some(
            "write scratch, rootfs:DIR, rootfs:FILE.tar, or an image: python:3.12-slim, docker://REGISTRY/NAME[:TAG], \
             oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE"
                .to_owned(),
        )
    }
}

impl FromStr for BaseReference {
    type Err = BaseReferenceError;

    fn from_str(text: &str) -> Result<Self, BaseReferenceError> {
        match (text, text.strip_prefix("rootfs:")) {
            ("scratch", _) => Ok(Self::Scratch),
            (_, Some("")) => Err(BaseReferenceError::NoPath),
            (_, Some(path)) => Ok(Self::Rootfs(path.into())),
            _ => Ok(Self::Image(text.parse()?)),
        }
    }
}

impl fmt::Display for BaseReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => f.write_str("scratch"),
            Self::Rootfs(path) => write!(f, "rootfs:{}", path.display()),
            Self::Image(reference) => reference.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in [
            "scratch",
            "rootfs:a/b",
            "rootfs:/x.tar.gz",
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
}
