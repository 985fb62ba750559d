//! Checks of the images of a project.

use super::Builder;
use super::error::BuildError;
use super::selection::allow_missing;
use crate::check::{self, CheckOptions, CheckReport, CheckedImage, SourceFolder};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::reference::Name;

impl Builder {
    /// Plans the images of the selected processes, and checks each.
    ///
    /// # Errors
    /// If an image cannot be planned: faults that builds report as errors are errors here too.
    pub fn check(
        &self,
        options: &CheckOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<CheckReport>, BuildError> {
        let recipe = self.resolve()?;
        let plans = self.plan_all(progress)?;
        plans.iter().map(|plan| self.check_plan(plan, &recipe, options)).collect()
    }

    fn check_plan(
        &self,
        plan: &Plan,
        recipe: &Recipe,
        options: &CheckOptions,
    ) -> Result<CheckReport, BuildError> {
        let image = CheckedImage::of_plan(plan, Some(self.source_folder(recipe)))?;
        let image = image.allowing_missing(allow_missing(recipe));
        let subject = Name::new(&plan.name, &plan.tag)?.to_string();
        Ok(check::check(&subject, &image, options))
    }

    #[allow(clippy::disallowed_methods)] // No layer depends on the folder's canonical path.
    pub(super) fn source_folder(&self, recipe: &Recipe) -> SourceFolder {
        // The paths of listed files are canonical.
        let root = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        SourceFolder::new(root, recipe.workdir.clone()).with_ignore(self.ignore.clone())
    }
}

/// The check of an image before it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ImageCheck {
    /// An image with an error is not built. The setting `check.build` can still switch the check off.
    #[default]
    Required,
    /// The image is built without a check.
    Skipped,
}
