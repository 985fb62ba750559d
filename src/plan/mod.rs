//! What goes into an image and how it runs, decided and not yet written.
//!
//! A [`Plan`] is a value: it can be printed, measured and checked without anything of it being read or compressed.

pub(crate) mod above;
mod describe;
pub mod layers;
pub mod process;
pub mod start;

pub use layers::{Pieces, PlannedLayer};
pub use process::{Places, Probe, Process};
pub use start::StartError;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::platform::Platform;
use crate::recipe::Target;
use crate::staging::Staging;

/// An image before it is written.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the image, without its tag.
    pub name: String,
    /// Tag of the image.
    pub tag: String,
    /// Which of the project's images.
    pub target: Target,
    /// What it runs on.
    pub platform: Platform,
    /// What it stands on; nothing for an image from scratch.
    pub base: Option<PlannedBase>,
    /// The layers on top of that, lowest first.
    pub layers: Vec<PlannedLayer>,
    /// How it runs.
    pub process: Process,
    /// The time of the image, in seconds since 1970.
    pub created: i64,
    /// Why each distribution is in it: name, version, reason.
    pub distributions: Vec<PlannedDistribution>,
    /// Distributions that are installed and stay out.
    pub left_out: Vec<String>,
    /// Holds what was made for this plan and is not in a cache.
    pub(crate) work: Option<Arc<Staging>>,
}

/// The base of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBase {
    /// As the recipe names it.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<BaseLayer>,
}

/// A layer of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseLayer {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the archive in it.
    pub diff_id: Digest,
    /// Bytes of those of its files that are seen in the base.
    pub disk_bytes: u64,
    /// Bytes of the blob.
    pub transfer_bytes: u64,
    /// Those files.
    pub files: u64,
}

/// A distribution of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDistribution {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Why it is in: `declared`, `required by fastapi`.
    pub reason: String,
}
