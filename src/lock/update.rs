//! Updating a lock: resolving references and listing the changes.

use std::collections::BTreeMap;
use std::fmt;

use super::{Lock, LockError, LockedBase, LockedImage};
use crate::digest::Digest;
use crate::error::Advice;
use crate::image::{Artifact, Image, ImageError};
use crate::platform::Platform;

/// Resolves bases: from a registry, a layout, an archive.
pub trait ResolveBase {
    /// Error of resolving a base.
    type Error: Advice + Send + Sync + 'static;

    /// Resolves `reference` now.
    fn open(&mut self, reference: &str) -> Result<ResolvedReference, Self::Error>;
}

/// A resolved reference.
#[derive(Debug, Clone)]
pub struct ResolvedReference {
    /// The index or the manifest.
    pub artifact: Artifact,
    /// The reference that was read: the base's own, or a mirror's.
    pub read_from: String,
}

impl<E, F> ResolveBase for F
where
    E: Advice + Send + Sync + 'static,
    F: FnMut(&str) -> Result<ResolvedReference, E>,
{
    type Error = E;

    fn open(&mut self, reference: &str) -> Result<ResolvedReference, E> {
        self(reference)
    }
}

/// A change to one entry of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The base.
    pub reference: String,
    /// The change.
    pub kind: ChangeKind,
}

/// Kind of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The base was not locked before.
    Added {
        /// Its digest.
        digest: Digest,
    },
    /// The reference resolves to another digest.
    Moved {
        /// The locked digest.
        old: Digest,
        /// The current digest.
        new: Digest,
    },
    /// The digest is the same; the platforms or the mirror are new.
    Adjusted {
        /// Its digest.
        digest: Digest,
        /// The platforms locked now.
        platforms: Vec<Platform>,
    },
    /// The base is no longer used.
    Removed,
    /// A Debian package has another version.
    Package {
        /// The locked version; `None` for an added package.
        old: Option<String>,
        /// The current version; `None` for a removed package.
        new: Option<String>,
        /// True if the current version is that of a suite with security updates.
        is_security: bool,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reference = &self.reference;
        match &self.kind {
            ChangeKind::Added { digest } => write!(f, "{reference} is {digest}"),
            ChangeKind::Moved { old, new } => write!(f, "{reference} moved from {old} to {new}"),
            ChangeKind::Adjusted { digest, platforms } => {
                let platforms: Vec<_> = platforms.iter().map(Platform::to_string).collect();
                write!(f, "{reference} is still {digest}, now for {}", platforms.join(", "))
            }
            ChangeKind::Removed => write!(f, "{reference} is no longer used"),
            ChangeKind::Package { old, new, is_security } => {
                match (old, new) {
                    (Some(old), Some(new)) => write!(f, "{reference} changed from {old} to {new}")?,
                    (Some(old), None) => write!(f, "{reference} {old} is no longer used")?,
                    (None, new) => write!(f, "{reference} is {}", new.as_deref().unwrap_or_default())?,
                }
                if *is_security { f.write_str(" (security)") } else { Ok(()) }
            }
        }
    }
}

/// Locks `references` (full) at their current digests, each for `platforms`, and returns the
/// changes. Other entries stay. Changes nothing if a reference cannot be resolved.
pub fn update<B: ResolveBase>(
    lock: &mut Lock,
    references: &[String],
    platforms: &[Platform],
    bases: &mut B,
) -> Result<Vec<Change>, LockError> {
    let mut updated = lock.clone();
    let mut changes = Vec::new();
    for reference in references {
        let failed =
            |error: Box<dyn Advice + Send + Sync>| LockError::Base { reference: reference.clone(), error };
        let ResolvedReference { artifact, read_from } =
            bases.open(reference).map_err(|error| failed(Box::new(error)))?;
        let images = platforms.iter().map(|platform| Ok((platform.clone(), image_of(&artifact, platform)?)));
        let images = images.collect::<Result<BTreeMap<_, _>, ImageError>>();
        let images = images.map_err(|error| failed(Box::new(error)))?;
        let reason = lock.get(reference).map(|base| base.reason).unwrap_or_default();
        let base = LockedBase { read_from, digest: artifact.digest(), images, reason };
        let kind = match lock.get(reference) {
            None => Some(ChangeKind::Added { digest: base.digest }),
            Some(old) if *old == base => None,
            Some(old) if old.digest == base.digest => Some(ChangeKind::Adjusted {
                digest: base.digest,
                platforms: base.images.keys().cloned().collect(),
            }),
            Some(old) => Some(ChangeKind::Moved { old: old.digest, new: base.digest }),
        };
        changes.extend(kind.map(|kind| Change { reference: reference.clone(), kind }));
        updated.insert(reference.clone(), base);
    }
    *lock = updated;
    Ok(changes)
}

impl Lock {
    /// Removes every base except `references`, and returns the changes.
    pub fn retain(&mut self, references: &[String]) -> Vec<Change> {
        let (kept, removed): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.bases).into_iter().partition(|(name, _)| references.contains(name));
        self.bases = kept;
        removed.into_keys().map(|reference| Change { reference, kind: ChangeKind::Removed }).collect()
    }
}

fn image_of(artifact: &Artifact, platform: &Platform) -> Result<LockedImage, ImageError> {
    let image = Image::from_artifact(artifact.for_platform(platform)?)?;
    // The platform of an image outside an index is in its configuration only.
    if !platform.runs(&image.platform) {
        return Err(ImageError::Platform { wanted: platform.clone(), there: vec![image.platform] });
    }
    LockedImage::of(&image)
}
