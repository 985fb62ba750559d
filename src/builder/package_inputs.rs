//! The inputs and results of resolving Debian packages, with or without the feature `apt`.

use std::path::Path;

use crate::lock::{LockedDeb, PackageSetKey};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::recipe::Recipe;

/// The resolved packages of an image, by layer, each set with the question that it answers.
pub type PackageSets = Vec<(PackageSetKey, Vec<LockedDeb>)>;

/// The inputs of package layers.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "apt"), allow(dead_code))]
pub(super) struct PackageInputs<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) platform: &'a Platform,
    /// The environment, if there is one.
    pub(super) environment: Option<&'a Path>,
    pub(super) work: &'a Path,
    pub(super) progress: &'a dyn Progress,
}
