//! Debian packages in a build without the feature `apt`: errors.

use std::path::Path;

use super::package_inputs::{PackageInputs, PackageSets};
use super::{BuildError, Builder};
use crate::base::{BasePython, BaseReference, PythonFile, View};
use crate::image::Image;
use crate::progress::Progress;
use crate::recipe::Recipe;

#[allow(clippy::unused_self)] // The interface of the feature.
impl Builder {
    /// Resolves no packages.
    ///
    /// # Errors
    /// If the project names packages.
    pub fn resolve_packages(&self, _: &dyn Progress) -> Result<PackageSets, BuildError> {
        let recipe = self.resolve()?;
        let is_made = matches!(recipe.base.parse::<BaseReference>()?, BaseReference::Apt(_));
        if is_made || !recipe.packages.is_empty() { Err(BuildError::NoApt) } else { Ok(Vec::new()) }
    }

    pub(super) fn python_headers(
        &self,
        _: &Recipe,
        _: &BasePython,
        _: &Path,
        _: &dyn Progress,
    ) -> Vec<PythonFile> {
        Vec::new()
    }

    pub(super) fn native_base(&self, _: &BaseReference, _: PackageInputs<'_>) -> Option<View> {
        None
    }

    pub(super) fn install_packages(
        &self,
        _: &BaseReference,
        _: Option<(Image, &View)>,
        _: PackageInputs<'_>,
    ) -> Result<Image, BuildError> {
        Err(BuildError::NoApt)
    }
}
