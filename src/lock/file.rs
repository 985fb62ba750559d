//! The lock's file format: reading, validating, and writing in the one canonical form.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::path::Path;

use serde::Deserialize;

use super::packages::{self, PackageSetTable};
use super::{Lock, LockError, LockReason, LockedBase, LockedImage, VERSION};
use crate::atomic_file::AtomicFile;
use crate::digest::Digest;
use crate::error::{Cause, FileError, PartError};
use crate::image::{Blob, Format, Image, is_manifest};
use crate::platform::Platform;
use crate::traced_fs;

/// Maximum size of a lock in bytes. The manifest and configuration of one base have about 20,000.
const LIMIT: u64 = 64 << 20;

#[derive(Deserialize)]
struct VersionHeader {
    version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LockDocument {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(default)]
    base: Vec<BaseTable>,
    #[serde(default)]
    apt: Vec<PackageSetTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BaseTable {
    reference: String,
    read_from: String,
    digest: Digest,
    #[serde(default)]
    named: bool,
    #[serde(default)]
    image: Vec<ImageTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ImageTable {
    platform: String,
    media_type: String,
    digest: Digest,
    size: u64,
    manifest: String,
    config: String,
}

impl Lock {
    /// Reads a lock. Returns `None` if the file does not exist.
    pub fn read(path: &Path) -> Result<Option<Self>, LockError> {
        let file = match traced_fs::open_regular(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::new("read", path, error).into()),
        };
        let mut text = String::new();
        file.take(LIMIT + 1).read_to_string(&mut text).map_err(FileError::of("read", path))?;
        Self::parse(path, &text).map(Some)
    }

    /// Parses a lock. `path` is for messages.
    ///
    /// # Errors
    /// If the text has another format, or contains a document with another digest than declared.
    pub fn parse(path: &Path, text: &str) -> Result<Self, LockError> {
        let file = path.display().to_string();
        if text.len() as u64 > LIMIT {
            return Err(LockError::TooLarge { file, limit: LIMIT });
        }
        let toml =
            |error: toml::de::Error| LockError::Parse { file: file.clone(), source: Box::new(error.into()) };
        // The version is checked first: another version may have other fields.
        let VersionHeader { version } = toml::from_str(text).map_err(toml)?;
        if version != VERSION {
            return Err(LockError::Version { file, found: version });
        }
        let document: LockDocument = toml::from_str(text).map_err(toml)?;
        let mut lock = Self::default();
        for table in document.base {
            let reference = table.reference.clone();
            let contradiction = |source| LockError::Contradiction {
                file: file.clone(),
                reference: reference.clone(),
                source,
            };
            let base = table.check().map_err(contradiction)?;
            if lock.bases.insert(reference.clone(), base).is_some() {
                return Err(contradiction("listed twice".into()));
            }
        }
        for table in document.apt {
            let reference = format!("apt:{}", table.suite());
            let contradiction = |source| LockError::Contradiction {
                file: file.clone(),
                reference: reference.clone(),
                source,
            };
            let (key, packages) = table.check().map_err(contradiction)?;
            if lock.packages.insert(key, packages).is_some() {
                return Err(contradiction("listed twice".into()));
            }
        }
        Ok(lock)
    }

    /// Returns the text of the file.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# The base images and Debian packages of this project, by digest. `ipo-oci lock` writes this file; commit it.\n\
             version = {VERSION}\n"
        );
        for (reference, base) in &self.bases {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n[[base]]\nreference = {}\nread-from = {}\ndigest = '{}'\n{}",
                quoted(reference),
                quoted(&base.read_from),
                base.digest,
                if base.reason == LockReason::Named { "named = true\n" } else { "" }
            );
            for (platform, image) in &base.images {
                let _ = write!(
                    text,
                    "\n[[base.image]]\nplatform = {}\nmedia-type = {}\ndigest = '{}'\nsize = {}\nmanifest = {}\nconfig = {}\n",
                    quoted(&platform.to_string()),
                    quoted(&image.media_type),
                    Digest::of(&image.manifest),
                    image.manifest.len(),
                    quoted(&String::from_utf8_lossy(&image.manifest)),
                    quoted(&String::from_utf8_lossy(&image.config)),
                );
            }
        }
        packages::write(&self.packages, &mut text);
        text
    }

    /// Writes the file atomically. Leaves a file with the same content untouched.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let text = self.to_toml();
        if std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let mut file = AtomicFile::beside(path)?;
        file.file().write_all(text.as_bytes()).map_err(FileError::of("write", path))?;
        Ok(file.persist(path)?)
    }
}

impl BaseTable {
    fn check(self) -> Result<LockedBase, Cause> {
        if self.reference.is_empty() {
            return Err("the reference is empty".into());
        }
        let pinned = self.reference.rsplit_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok());
        if pinned.is_some_and(|pinned| pinned != self.digest) {
            return Err(format!("the digest is {}, not the one in its name", self.digest).into());
        }
        let mut base = LockedBase {
            read_from: self.read_from,
            digest: self.digest,
            images: std::collections::BTreeMap::new(),
            reason: if self.named { LockReason::Named } else { LockReason::Project },
        };
        for table in self.image {
            let platform = table.platform.clone();
            let (platform, image) = table.check().map_err(|error| PartError::new(platform, error))?;
            if base.images.insert(platform.clone(), image).is_some() {
                return Err(format!("{platform} is listed twice").into());
            }
        }
        Ok(base)
    }
}

impl ImageTable {
    fn check(self) -> Result<(Platform, LockedImage), Cause> {
        let platform: Platform = self.platform.parse()?;
        let found = Digest::of(self.manifest.as_bytes());
        if found != self.digest || self.manifest.len() as u64 != self.size {
            return Err(format!(
                "the manifest is {found} with {} bytes, not {} with {}",
                self.manifest.len(),
                self.digest,
                self.size
            )
            .into());
        }
        let image = LockedImage {
            media_type: self.media_type,
            manifest: self.manifest.into_bytes().into(),
            config: self.config.into_bytes().into(),
        };
        let whole: Image = image.image(|_| Blob::Memory(Vec::new().into()))?;
        let docker = whole.format == Format::Docker;
        if !is_manifest(&image.media_type) || docker != (image.media_type == crate::image::DOCKER_MANIFEST) {
            return Err(format!("the manifest is not a `{}`", image.media_type.escape_debug()).into());
        }
        if !platform.runs(&whole.platform) {
            return Err(format!("the configuration is for {}", whole.platform).into());
        }
        Ok((platform, image))
    }
}

/// Quotes `text` as a TOML string on one line, literally if possible: embedded JSON stays readable.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().any(|c| c == '\'' || c.is_control()) {
        let mut quoted = String::from('"');
        for c in text.chars() {
            match c {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        quoted
    } else {
        format!("'{text}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_can_be_quoted(text in any::<String>()) {
            #[derive(Deserialize)]
            struct One { key: String }
            let quoted = quoted(&text);
            prop_assert!(!quoted.contains('\n'));
            let One { key } = toml::from_str(&format!("key = {quoted}")).unwrap();
            prop_assert_eq!(key, text);
        }
    }
}
