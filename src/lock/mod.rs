//! `ipo-oci.lock`: the base images of a project by digest, so that a build does not follow a tag that moves.
//!
//! `ipo-oci lock` writes it beside `pyproject.toml`, and it is committed. It holds what names the layers too, the manifest and the
//! configuration of each platform's image as text: with it a build knows what it builds on, and what digest comes of it,
//! with no network. The file is TOML and begins so:
//!
//! ```toml
//! # The base images of this project, by digest. `ipo-oci lock` writes this file; commit it.
//! version = 1
//!
//! [[base]]
//! reference = 'docker://docker.io/library/python:3.12-slim'
//! read-from = 'docker://mirror.example/library/python:3.12-slim'
//! digest = 'sha256:0f9c…'                  # what the reference stands for: an index, or the manifest itself
//! named = true                             # by `lock --base`, and not by the project; left out where it is not
//!
//! [[base.image]]
//! platform = 'linux/amd64'
//! media-type = 'application/vnd.oci.image.manifest.v1+json'
//! digest = 'sha256:77ad…'                  # of the manifest
//! size = 1745                              # of the manifest, in bytes
//! manifest = '{"schemaVersion":2,…}'
//! config = '{"architecture":"amd64",…}'
//! ```
//!
//! Bases are sorted by reference and images by platform; the same content is the same bytes. Nothing in the file is
//! believed: manifest and configuration have to have the digests that name them ([`Lock::parse`]). Fetching is left
//! to whoever calls [`update`].

#![allow(clippy::disallowed_methods)] // What it reads decides no layer of an environment.

mod file;
mod update;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use update::{Bases, Change, Found, Kind, update};

use crate::digest::Digest;
use crate::error::{Advice, FileError};
use crate::image::{Blob, Descriptor, Image, ImageError};
use crate::platform::Platform;
use crate::printable;
use crate::reference::{Reference, ReferenceError};

/// What the file is called, in the folder of the project.
pub const FILE_NAME: &str = "ipo-oci.lock";
/// The version of the format that is written, and the only one that is read.
pub const VERSION: i64 = 1;

/// Locked bases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    bases: BTreeMap<String, LockedBase>,
}

/// What a reference stood for when it was locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedBase {
    /// Where it was read: the reference itself, or a mirror of it.
    pub read_from: String,
    /// Digest of what the reference stood for: an index, or the manifest of the one image.
    pub digest: Digest,
    /// The image of each platform that was asked for.
    pub images: BTreeMap<Platform, LockedImage>,
    /// Why it is locked.
    pub origin: Origin,
}

/// Why a base is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// A target of the project stands on it. It goes when none does any more.
    #[default]
    Project,
    /// Somebody named it (`lock --base`), for builds that name it too. It stays until it is taken out by name.
    Named,
}

/// The image of one platform: its manifest and configuration, which fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedImage {
    /// Media type of the manifest.
    pub media_type: String,
    /// The manifest as it is stored.
    pub manifest: Arc<[u8]>,
    /// The configuration as it is stored.
    pub config: Arc<[u8]>,
}

/// What a build takes as a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// What is locked, and what the reference stands for now where nothing is.
    #[default]
    Any,
    /// What is locked and nothing else (`--locked`).
    Locked,
}

/// A lock that cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no TOML, or not of this form. The reason has the line.
    #[error("{file} is not right: {reason}")]
    Form {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// It was written by another version of this program.
    #[error("{file} has version {found} of the format, and this program knows version {VERSION}")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: i64,
    },
    /// What it holds is not what it says it holds.
    #[error("{file} is wrong about {reference}: {reason}")]
    Lies {
        /// The file.
        file: String,
        /// The base.
        reference: String,
        /// What does not fit.
        reason: String,
    },
    /// Only locked bases may be used, and this one is not locked.
    #[error("{reference} is not locked for {platform}")]
    NotLocked {
        /// The base.
        reference: String,
        /// The platform.
        platform: Platform,
        /// The platforms that it is locked for.
        locked_for: Vec<Platform>,
    },
    /// No base of this name is locked.
    #[error("{reference} is not in {}", .path.display())]
    NotThere {
        /// The base.
        reference: String,
        /// The file.
        path: PathBuf,
    },
    /// A base that cannot be locked.
    #[error("cannot lock {reference}: {error}")]
    Base {
        /// The base.
        reference: String,
        /// Why.
        error: Box<dyn Advice + Send + Sync>,
    },
    /// Something about it changed, and it may not be written.
    #[error("{} is out of date: {}", printable::path(.path), .changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    OutOfDate {
        /// The file.
        path: PathBuf,
        /// What changed.
        changes: Vec<Change>,
        /// The command that brings it up to date.
        command: String,
    },
}

impl Advice for LockError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Form { .. } | Self::Lies { .. } => {
                Some("take it from version control again, or remove it and run `ipo-oci lock`".to_owned())
            }
            Self::Version { .. } => {
                Some("use the version of ipo-oci that wrote it, or lock again".to_owned())
            }
            Self::NotLocked { reference, platform, locked_for } => {
                // Those that are locked already stay so.
                let platforms: Vec<_> =
                    locked_for.iter().chain([platform]).map(Platform::to_string).collect();
                let platforms = platforms.join(",");
                Some(format!(
                    "run `ipo-oci lock --base {reference} --platform {platforms}` and commit {FILE_NAME}, or build without --locked"
                ))
            }
            Self::NotThere { .. } => Some(format!("name it as {FILE_NAME} does")),
            Self::Base { error, .. } => error.help(),
            Self::OutOfDate { command, .. } => Some(format!("run `{command}` and commit {FILE_NAME}")),
        }
    }
}

/// How a base is called in the lock: its reference in full. `scratch` and a root file system have nothing to lock.
///
/// # Errors
/// When it names no image.
pub fn key(base: &str) -> Result<Option<String>, ReferenceError> {
    if base == "scratch" || base.starts_with("rootfs:") {
        return Ok(None);
    }
    Ok(Some(base.parse::<Reference>()?.to_string()))
}

impl Lock {
    /// What is locked under a reference in its full form (`docker://docker.io/library/python:3.12`).
    pub fn get(&self, reference: &str) -> Option<&LockedBase> {
        self.bases.get(reference)
    }

    /// The bases with their references, sorted.
    pub fn bases(&self) -> impl Iterator<Item = (&str, &LockedBase)> {
        self.bases.iter().map(|(reference, base)| (reference.as_str(), base))
    }

    /// Locks a base, in place of what was locked under its reference.
    pub fn insert(&mut self, reference: impl Into<String>, base: LockedBase) {
        self.bases.insert(reference.into(), base);
    }

    /// The references that somebody named, sorted.
    pub fn named(&self) -> Vec<String> {
        let named = self.bases.iter().filter(|(_, base)| base.origin == Origin::Named);
        named.map(|(reference, _)| reference.clone()).collect()
    }

    /// Says why a base is locked.
    pub fn set_origin(&mut self, reference: &str, origin: Origin) {
        if let Some(base) = self.bases.get_mut(reference) {
            base.origin = origin;
        }
    }

    /// The platforms that a base is locked for.
    pub fn platforms(&self, reference: &str) -> Vec<Platform> {
        self.get(reference).map(|base| base.images.keys().cloned().collect()).unwrap_or_default()
    }

    /// Takes a base out.
    pub fn remove(&mut self, reference: &str) -> Option<LockedBase> {
        self.bases.remove(reference)
    }

    /// How what a reference stands for now differs from what is locked; nothing where it is the same or not locked.
    pub fn moved(&self, reference: &str, now: Digest) -> Option<Change> {
        let old = self.get(reference)?.digest;
        let kind = Kind::Moved { old, new: now };
        (old != now).then(|| Change { reference: reference.to_owned(), kind })
    }
}

impl LockedBase {
    /// The image for a platform: its own, or one that runs on it.
    pub fn image(&self, platform: &Platform) -> Option<&LockedImage> {
        let near = || self.images.iter().find(|(there, _)| platform.runs(there)).map(|(_, image)| image);
        self.images.get(platform).or_else(near)
    }
}

impl LockedImage {
    /// What is known of an image without its layers.
    pub fn of(image: &Image) -> Result<Self, ImageError> {
        Ok(Self {
            media_type: image.artifact()?.descriptor.media_type,
            manifest: image.manifest.clone(),
            config: image.config.clone(),
        })
    }

    /// How an index or a registry names it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), Digest::of(&self.manifest), self.manifest.len() as u64)
    }

    /// The image, whose layers are where `blob` says. Nothing is fetched.
    pub fn image(&self, blob: impl Fn(Digest) -> Blob) -> Result<Image, ImageError> {
        Image::from_stored(self.manifest.to_vec(), self.config.to_vec(), blob)
    }
}

impl Policy {
    /// The locked image that a build stands on; nothing where the reference has to be asked.
    ///
    /// # Errors
    /// When only locked bases may be used and this one is not locked for this platform.
    pub fn choose<'a>(
        self,
        lock: Option<&'a Lock>,
        reference: &str,
        platform: &Platform,
    ) -> Result<Option<(&'a LockedBase, &'a LockedImage)>, LockError> {
        let base = lock.and_then(|lock| lock.get(reference));
        let found = base.and_then(|base| Some((base, base.image(platform)?)));
        match (self, found) {
            (Self::Locked, None) => {
                let locked_for = lock.map(|lock| lock.platforms(reference)).unwrap_or_default();
                Err(LockError::NotLocked {
                    reference: reference.to_owned(),
                    platform: platform.clone(),
                    locked_for,
                })
            }
            (_, found) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests;
