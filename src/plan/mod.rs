//! What goes into an image and how it runs, decided and not yet written.
//!
//! A [`Plan`] is a value: it can be printed, measured and checked without anything of it being read or compressed.

mod describe;
pub mod layers;
pub mod process;

pub use layers::{Pieces, PlannedLayer};
pub use process::{Places, Probe, Process};

use std::sync::Arc;

use crate::platform::Platform;
use crate::recipe::Target;

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
    /// The layers, lowest first.
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
    pub(crate) _work: Option<Arc<tempfile::TempDir>>,
}

/// A distribution of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDistribution {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Why it is in: `declared`, `required by fastapi`.
    pub reason: String,
}
