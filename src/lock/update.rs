//! Locking: asking what references stand for now, and saying what changed.

use std::collections::BTreeMap;
use std::fmt;

use super::{Lock, LockError, LockedBase, LockedImage};
use crate::digest::Digest;
use crate::error::Advice;
use crate::image::{Artifact, Image, ImageError};
use crate::platform::Platform;

/// Opens bases: a registry, a layout, an archive.
pub trait Bases {
    /// Why one cannot be opened.
    type Error: Advice + Send + Sync + 'static;

    /// What `reference` stands for now.
    fn open(&mut self, reference: &str) -> Result<Found, Self::Error>;
}

/// What a reference stands for.
#[derive(Debug, Clone)]
pub struct Found {
    /// The index or the manifest.
    pub artifact: Artifact,
    /// Where it was read: the reference, or a mirror of it.
    pub read_from: String,
}

impl<E, F> Bases for F
where
    E: Advice + Send + Sync + 'static,
    F: FnMut(&str) -> Result<Found, E>,
{
    type Error = E;

    fn open(&mut self, reference: &str) -> Result<Found, E> {
        self(reference)
    }
}

/// Something that locking again changed about one base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The base.
    pub reference: String,
    /// What changed.
    pub kind: Kind,
}

/// What changed about a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// It was not locked before.
    Added {
        /// What it is.
        digest: Digest,
    },
    /// The reference stands for something else now.
    Moved {
        /// What it was.
        old: Digest,
        /// What it is.
        new: Digest,
    },
    /// It is what it was, for other platforms or read from another place.
    Adjusted {
        /// What it is.
        digest: Digest,
        /// The platforms that are locked now.
        platforms: Vec<Platform>,
    },
    /// It is no longer used.
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reference = &self.reference;
        match &self.kind {
            Kind::Added { digest } => write!(f, "{reference} is {digest}"),
            Kind::Moved { old, new } => write!(f, "{reference} moved from {old} to {new}"),
            Kind::Adjusted { digest, platforms } => {
                let platforms: Vec<_> = platforms.iter().map(Platform::to_string).collect();
                write!(f, "{reference} is still {digest}, now for {}", platforms.join(", "))
            }
            Kind::Removed => write!(f, "{reference} is no longer used"),
        }
    }
}

/// Locks `references` (in their full form) as they are now, each for `platforms`, and says what changed. Other bases
/// stay as they are locked. When one cannot be opened, nothing changes.
pub fn update<B: Bases>(
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
        let Found { artifact, read_from } = bases.open(reference).map_err(|error| failed(Box::new(error)))?;
        let images = platforms.iter().map(|platform| Ok((platform.clone(), image_of(&artifact, platform)?)));
        let images = images.collect::<Result<BTreeMap<_, _>, ImageError>>();
        let images = images.map_err(|error| failed(Box::new(error)))?;
        let origin = lock.get(reference).map(|base| base.origin).unwrap_or_default();
        let base = LockedBase { read_from, digest: artifact.digest(), images, origin };
        let kind = match lock.get(reference) {
            None => Some(Kind::Added { digest: base.digest }),
            Some(old) if *old == base => None,
            Some(old) if old.digest == base.digest => {
                Some(Kind::Adjusted { digest: base.digest, platforms: base.images.keys().cloned().collect() })
            }
            Some(old) => Some(Kind::Moved { old: old.digest, new: base.digest }),
        };
        changes.extend(kind.map(|kind| Change { reference: reference.clone(), kind }));
        updated.insert(reference.clone(), base);
    }
    *lock = updated;
    Ok(changes)
}

impl Lock {
    /// Takes out every base but `references`, and says which.
    pub fn retain(&mut self, references: &[String]) -> Vec<Change> {
        let (kept, removed): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.bases).into_iter().partition(|(name, _)| references.contains(name));
        self.bases = kept;
        removed.into_keys().map(|reference| Change { reference, kind: Kind::Removed }).collect()
    }
}

fn image_of(artifact: &Artifact, platform: &Platform) -> Result<LockedImage, ImageError> {
    let image = Image::from_artifact(artifact.for_platform(platform)?)?;
    // An image that is in no index says only in its configuration what it runs on.
    if !platform.runs(&image.platform) {
        return Err(ImageError::Platform { wanted: platform.clone(), there: vec![image.platform] });
    }
    LockedImage::of(&image)
}
