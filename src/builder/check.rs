//! Checks of the images of a project, before they are built.

use super::Builder;
use super::error::BuildError;
use crate::check::{CheckReport, CheckedImage, RuleSelection, SourceFolder, check};
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
        selection: &RuleSelection,
        progress: &dyn Progress,
    ) -> Result<Vec<CheckReport>, BuildError> {
        let recipe = self.resolve()?;
        let plans = self.plan_all(progress)?;
        plans.iter().map(|plan| self.check_plan(plan, &recipe, selection)).collect()
    }

    fn check_plan(
        &self,
        plan: &Plan,
        recipe: &Recipe,
        selection: &RuleSelection,
    ) -> Result<CheckReport, BuildError> {
        let source = SourceFolder::new(self.root.clone(), recipe.workdir.clone());
        let image = CheckedImage::of_plan(plan, Some(source))?;
        let subject = Name::new(&plan.name, &plan.tag)?.to_string();
        Ok(check(&subject, &image, selection))
    }
}
