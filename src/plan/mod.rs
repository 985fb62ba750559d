//! The plan of an image: the entries of each layer and the configuration.
//!
//! A [`Plan`] is a value: printing, measuring and checking one reads and compresses no file. It can
//! be changed ([`Plan::add_layer`], [`Plan::layer_mut`], its fields) before it is carried out.

mod appended;
mod change;
pub(crate) mod check;
pub(crate) mod context;
mod describe;
pub(crate) mod directory;
mod error;
pub(crate) mod extra;
pub(crate) mod launcher;
pub(crate) mod layers;
pub(crate) mod process;
pub(crate) mod source_layer;
mod source_mounts;
pub(crate) mod start;

pub use crate::image::Process;
pub use crate::service::Finding;
pub use appended::AppendedLayer;
pub use describe::{SCHEMA, to_json};
pub use error::PlanError;
pub use extra::ExtraLayer;
pub use source_mounts::SourceMount;
pub use start::{RequiredProgram, Role, StartError, StartFault};

pub(crate) use layers::Pieces;
pub(crate) use process::CommandPaths;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use context::PlanContext;

use crate::digest::Digest;
use crate::platform::Platform;
use crate::recipe::Target;
use crate::staging::Staging;
use crate::tree::Tree;

/// An image before it is written.
///
/// A program may change a plan, and build it with
/// [`Builder::build_plan`](crate::builder::Builder::build_plan), which checks the changes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// Name of the image, without the tag.
    pub name: String,
    /// Tag of the image.
    pub tag: String,
    /// Name of the process; `None` for `web`.
    pub process_name: Option<String>,
    /// The target of the project.
    pub target: Target,
    /// The platform.
    pub platform: Platform,
    /// The base; `None` for an image from scratch.
    pub base: Option<PlannedBase>,
    /// The layers above the base, lowest first.
    pub layers: Vec<PlannedLayer>,
    /// Finished layers on top of these, lowest first.
    pub appended: Vec<AppendedLayer>,
    /// The configuration.
    pub process: Process,
    /// Time of the image, in seconds since 1970.
    pub created: i64,
    /// The distributions of the image, with reasons.
    pub distributions: Vec<PlannedDistribution>,
    /// Installed distributions that are excluded.
    pub excluded: Vec<String>,
    /// The evidence for the service, if its command was found.
    pub service: Vec<Finding>,
    /// Temporary files that the plan refers to and no cache holds.
    pub(crate) work: Option<Arc<Staging>>,
    pub(crate) context: PlanContext,
}

/// One layer of a plan.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedLayer {
    /// Name: `system`, `numpy`, `source`.
    pub name: String,
    /// Reason for a separate layer, in a few words.
    pub reason: String,
    /// The entries.
    pub tree: Tree,
}

impl PlannedLayer {
    /// Makes a layer without entries.
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into(), tree: Tree::new() }
    }
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
#[non_exhaustive]
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
#[non_exhaustive]
pub struct PlannedDistribution {
    /// Normalized name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Reason: `declared`, `required by fastapi`.
    pub reason: String,
}
