//! The inputs and results of resolving Debian packages, with or without the feature `apt`.

use std::path::Path;

use crate::base::View;
use crate::lock::{LockedDeb, PackageSetKey};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::python::{PythonVersion, Venv};
use crate::recipe::Recipe;

/// The resolved packages of an image, by layer, each set with the question that it answers.
pub type PackageSets = Vec<(PackageSetKey, Vec<LockedDeb>)>;

/// The Python of a suite that an image gets.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "apt"), allow(dead_code))]
pub(super) enum WantedPython<'a> {
    /// No Python: the environment brings its own.
    None,
    /// The Python of an environment, if the suite has its minor version.
    Of(PythonVersion),
    /// The default Python of the suite, or else the newest one, for whose full version the function returns true.
    Allowed(&'a dyn Fn(&str) -> bool),
}

impl WantedPython<'_> {
    /// Returns the Python of the environment in `folder`. That of `pip install --target` records no version.
    pub(super) fn of(folder: &Path) -> Self {
        Venv::version_of(folder).map_or(Self::Allowed(&|_| true), Self::Of)
    }
}

/// The inputs of package layers.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "apt"), allow(dead_code))]
pub(super) struct PackageInputs<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) platform: &'a Platform,
    /// The Python of the suite that an image on packages gets.
    pub(super) python: WantedPython<'a>,
    /// The same base for this machine, if the platform is another one.
    pub(super) native: Option<&'a View>,
    pub(super) work: &'a Path,
    pub(super) progress: &'a dyn Progress,
}
