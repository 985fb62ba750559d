//! `ipo-oci.lock`: the base images of a project by digest, so that a build does not follow a moving
//! tag.
//!
//! `ipo-oci lock` writes the file beside `pyproject.toml`; commit it. The lock contains the
//! manifest and configuration of each platform's image as text, and with them the digests of the
//! layers: a build can plan, and compute the digest of its image, without a network. The file is
//! TOML:
//!
//! ```toml
//! # The base images and Debian packages of this project, by digest. `ipo-oci lock` writes this file; commit it.
//! version = 1
//!
//! [[base]]
//! reference = 'docker://docker.io/library/python:3.12-slim'
//! read-from = 'docker://mirror.example/library/python:3.12-slim'
//! digest = 'sha256:0f9c…'                  # of the index, or of the single manifest
//! named = true                             # by `lock --base`, not by the project; omitted otherwise
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
//! Sets of Debian packages follow, one for each layer that installs some:
//!
//! ```toml
//! [[apt]]
//! suite = 'bookworm'
//! platform = 'linux/amd64'
//! wanted = ['base-files', 'libc6', 'python3']  # as requested
//! below = 'sha256:9d1e…'                       # the packages of the layers below, if there are any
//! packages = [
//!     { name = 'libc6', version = '2.36-9+deb12u10', architecture = 'amd64', suite = 'bookworm',
//!       path = 'pool/main/g/glibc/libc6_2.36-9+deb12u10_amd64.deb', size = 2757616, sha256 = 'sha256:…' },
//! ]
//! ```
//!
//! Bases are sorted by reference and images by platform, so equal content has equal bytes. Manifest
//! and configuration are verified against their digests ([`Lock::parse`]). The caller of [`update()`]
//! fetches them.

#![allow(clippy::disallowed_methods)] // The lock decides no layer of an environment.

mod file;
mod packages;
mod update;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use packages::{LockedDeb, LockedPackages, PackageSetKey};
pub use update::{Change, ChangeKind, ResolveBase, ResolvedReference, update};

use crate::digest::Digest;
use crate::error::{Advice, FileError, TomlError, chain};
use crate::image::{Blob, Descriptor, Image, ImageError};
use crate::platform::Platform;
use crate::printable;
use crate::reference::{Reference, ReferenceError};

/// File name of the lock, in the project's folder.
pub const FILE_NAME: &str = "ipo-oci.lock";
/// The format version: written, and the only one accepted.
pub const VERSION: i64 = 1;

/// The locked bases and Debian packages of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    bases: BTreeMap<String, LockedBase>,
    packages: BTreeMap<PackageSetKey, LockedPackages>,
}

/// A base as it was resolved when it was locked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockedBase {
    /// The reference that was read: the base's own, or a mirror's.
    pub read_from: String,
    /// Digest of the resolved index or single manifest.
    pub digest: Digest,
    /// The image of each locked platform.
    pub images: BTreeMap<Platform, LockedImage>,
    /// Reason for the entry.
    pub reason: LockReason,
}

/// Reason for a locked base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LockReason {
    /// A target of the project uses the base. The entry is removed with the last such target.
    #[default]
    Project,
    /// Named with `lock --base`, for builds that name the base too. The entry stays until it is
    /// removed by name.
    Named,
}

/// The image of one platform: its manifest and its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockedImage {
    /// Media type of the manifest.
    pub media_type: String,
    /// The manifest, byte for byte.
    pub manifest: Arc<[u8]>,
    /// The configuration, byte for byte.
    pub config: Arc<[u8]>,
}

/// Source of the digest of a build's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Policy {
    /// The lock, or the reference itself for a base that is not locked.
    #[default]
    Any,
    /// The lock only (`--locked`).
    Locked,
}

/// An error of reading, writing or applying a lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Reading or writing the file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not TOML, or has another structure.
    #[error("cannot parse {file}")]
    Parse {
        /// The file.
        file: String,
        /// The parser's error.
        source: Box<TomlError>,
    },
    /// A file that is larger than any lock.
    #[error("cannot parse {file}: more than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit.
        limit: u64,
    },
    /// The file has the format of another version of this program.
    #[error("cannot read {file}: its format has version {found}, not {VERSION}")]
    Version {
        /// The file.
        file: String,
        /// Its format version.
        found: i64,
    },
    /// An entry contradicts itself: a digest, size or platform does not match.
    #[error("invalid entry `{reference}` in {file}")]
    Contradiction {
        /// The file.
        file: String,
        /// The base.
        reference: String,
        /// The contradiction.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// `--locked` is set and the base is not locked for the platform.
    #[error("base not found in the lock: {reference} for {platform}")]
    NotLocked {
        /// The base.
        reference: String,
        /// The platform.
        platform: Platform,
        /// The platforms for which the base is locked.
        locked_for: Vec<Platform>,
    },
    /// `--locked` is set and a layer of packages is not locked.
    #[error("Debian packages not found in the lock: {} of {} for {}", .0.wanted.join(", "), .0.suite, .0.platform)]
    PackagesNotLocked(Box<PackageSetKey>),
    /// The base to remove is not locked.
    #[error("base not found in {}: {reference}", .path.display())]
    NotInLock {
        /// The base.
        reference: String,
        /// The file.
        path: PathBuf,
    },
    /// A base could not be resolved.
    #[error("cannot lock {reference}: {}", chain(&**.error))]
    Base {
        /// The base.
        reference: String,
        /// The cause.
        error: Box<dyn Advice + Send + Sync>,
    },
    /// The lock is out of date, and `--check` forbids writing.
    #[error("cannot use {}: out of date: {}", printable::path(.path), .changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    OutOfDate {
        /// The file.
        path: PathBuf,
        /// The changes since.
        changes: Vec<Change>,
        /// The command that updates the file.
        command: String,
    },
}

impl Advice for LockError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Parse { .. } | Self::TooLarge { .. } | Self::Contradiction { .. } => {
                Some("restore it from version control, or remove it and run `ipo-oci lock`".to_owned())
            }
            Self::Version { .. } => {
                Some("use the version of ipo-oci that wrote it, or lock again".to_owned())
            }
            Self::NotLocked { reference, platform, locked_for } => {
                // Platforms that are locked already stay so.
                let platforms: Vec<_> =
                    locked_for.iter().chain([platform]).map(Platform::to_string).collect();
                let platforms = platforms.join(",");
                Some(format!(
                    "run `ipo-oci lock --base {reference} --platform {platforms}` and commit {FILE_NAME}, or build without --locked"
                ))
            }
            Self::PackagesNotLocked(key) => Some(format!(
                "run `ipo-oci lock`, with --base apt:{} if the project does not name this base, and commit {FILE_NAME}",
                key.suite
            )),
            Self::NotInLock { .. } => Some(format!("name it as {FILE_NAME} does")),
            Self::Base { error, .. } => error.help(),
            Self::OutOfDate { command, .. } => Some(format!("run `{command}` and commit {FILE_NAME}")),
        }
    }
}

/// Returns the lock's key of a base: its full reference. `None` for `scratch` and root file systems, which are never
/// locked, and for Debian packages, which have keys of their own ([`PackageSetKey`]).
///
/// # Errors
/// If `base` is not a valid reference.
pub fn key(base: &str) -> Result<Option<String>, ReferenceError> {
    if base == "scratch" || ["rootfs:", "apt:"].iter().any(|scheme| base.starts_with(scheme)) {
        return Ok(None);
    }
    Ok(Some(base.parse::<Reference>()?.to_string()))
}

impl Lock {
    /// Returns the entry of a full reference (`docker://docker.io/library/python:3.12`).
    pub fn get(&self, reference: &str) -> Option<&LockedBase> {
        self.bases.get(reference)
    }

    /// Iterates over the bases, sorted by reference.
    pub fn bases(&self) -> impl Iterator<Item = (&str, &LockedBase)> {
        self.bases.iter().map(|(reference, base)| (reference.as_str(), base))
    }

    /// Locks a base, and replaces the entry of its reference.
    pub fn insert(&mut self, reference: impl Into<String>, base: LockedBase) {
        self.bases.insert(reference.into(), base);
    }

    /// Returns the references with [`LockReason::Named`], sorted.
    pub fn named(&self) -> Vec<String> {
        let named = self.bases.iter().filter(|(_, base)| base.reason == LockReason::Named);
        named.map(|(reference, _)| reference.clone()).collect()
    }

    /// Sets the reason for an entry.
    pub fn set_reason(&mut self, reference: &str, reason: LockReason) {
        if let Some(base) = self.bases.get_mut(reference) {
            base.reason = reason;
        }
    }

    /// Returns the platforms for which a base is locked.
    pub fn platforms(&self, reference: &str) -> Vec<Platform> {
        self.get(reference).map(|base| base.images.keys().cloned().collect()).unwrap_or_default()
    }

    /// Removes the entry of a base.
    pub fn remove(&mut self, reference: &str) -> Option<LockedBase> {
        self.bases.remove(reference)
    }

    /// Compares the locked digest with the current one. Returns `None` if they are equal or the
    /// reference is not locked.
    pub fn moved(&self, reference: &str, now: Digest) -> Option<Change> {
        let old = self.get(reference)?.digest;
        let kind = ChangeKind::Moved { old, new: now };
        (old != now).then(|| Change { reference: reference.to_owned(), kind })
    }
}

impl LockedBase {
    /// Returns the image for a platform: its own, or a compatible one.
    pub fn image(&self, platform: &Platform) -> Option<&LockedImage> {
        let near = || self.images.iter().find(|(there, _)| platform.runs(there)).map(|(_, image)| image);
        self.images.get(platform).or_else(near)
    }
}

impl LockedImage {
    /// Takes the manifest and configuration of an image.
    pub fn of(image: &Image) -> Result<Self, ImageError> {
        Ok(Self {
            media_type: image.artifact()?.descriptor.media_type,
            manifest: image.manifest.clone(),
            config: image.config.clone(),
        })
    }

    /// Returns the descriptor of the manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), Digest::of(&self.manifest), self.manifest.len() as u64)
    }

    /// Returns the image, with its layers from `blob`. Fetches no layer.
    pub fn image(&self, blob: impl Fn(Digest) -> Blob) -> Result<Image, ImageError> {
        Image::from_stored(self.manifest.to_vec(), self.config.to_vec(), blob)
    }
}

impl Policy {
    /// Returns the locked image of a base, or `None` if the reference must be resolved.
    ///
    /// # Errors
    /// With [`Policy::Locked`], if the base is not locked for this platform.
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
