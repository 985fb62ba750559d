//! The plan of an image: the entries of each layer and the configuration.
//!
//! A [`Plan`] is a value: printing, measuring and checking one reads and compresses no file.

mod describe;
pub mod layers;
pub mod process;
pub(crate) mod source_layer;
pub mod start;

pub use describe::{SCHEMA, to_json};
pub use layers::{Pieces, PlannedLayer};
pub use process::{Places, Process};
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
    /// Name of the image, without the tag.
    pub name: String,
    /// Tag of the image.
    pub tag: String,
    /// The target of the project.
    pub target: Target,
    /// The platform.
    pub platform: Platform,
    /// The base; `None` for an image from scratch.
    pub base: Option<PlannedBase>,
    /// The layers source_layer the base, lowest first.
    pub layers: Vec<PlannedLayer>,
    /// The configuration.
    pub process: Process,
    /// Time of the image, in seconds since 1970.
    pub created: i64,
    /// The distributions of the image, with reasons.
    pub distributions: Vec<PlannedDistribution>,
    /// Installed distributions that are excluded.
    pub excluded: Vec<String>,
    /// Temporary files that the plan refers to and no cache holds.
    pub(crate) work: Option<Arc<Staging>>,
}

/// The base of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBase {
    /// Name in the recipe.
    pub name: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// The layers, lowest first.
    pub layers: Vec<BaseLayer>,
}

/// A layer of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseLayer {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Bytes of the files that no upper layer of the base hides.
    pub disk_bytes: u64,
    /// Bytes of the blob.
    pub transfer_bytes: u64,
    /// Number of the files counted in `disk_bytes`.
    pub files: u64,
}

/// A distribution of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDistribution {
    /// Normalized name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Reason: `declared`, `required by fastapi`.
    pub reason: String,
}
