//! Checks of the images of a project: by themselves, and before a build.
//!
//! A build applies the rules whose faults it does not report anyway. Diagnostics about layers below the
//! source are cached with the plan of these layers; those about the source are made anew by each
//! build.

use super::Builder;
use super::assemble::Assembled;
use super::error::BuildError;
use super::selection::allow_missing;
use crate::check::{
    self, CheckOptions, CheckReport, CheckedImage, Diagnostic, Severity, SourceFolder, check_for_build,
};
use crate::plan::Plan;
use crate::printable;
use crate::progress::{Activity, Progress, Span, Warning};
use crate::recipe::Recipe;
use crate::reference::Name;
use crate::tree::Owner;

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

    fn source_folder(&self, recipe: &Recipe) -> SourceFolder {
        SourceFolder::new(self.root.clone(), recipe.workdir.clone())
    }

    /// Returns true if builds check the image.
    pub(super) fn checks(&self, recipe: &Recipe) -> bool {
        self.image_check == ImageCheck::Required && recipe.check.build
    }

    /// Checks the images of a build, and warns of the diagnostics.
    ///
    /// # Errors
    /// [`BuildError::Refused`] if there is an error among the selected diagnostics.
    pub(super) fn check_assembled(
        &self,
        assembled: &mut Assembled,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        let Assembled { plan, recipe, .. } = &*assembled;
        if !self.checks(recipe) {
            return Ok(());
        }
        let _span = Span::begin(progress, Activity::CheckImage);
        let options = CheckOptions::of_settings(&recipe.check, None)?;
        let folder = self.source_folder(recipe);
        let mut found = match &assembled.known {
            Some(known) => {
                let image = CheckedImage::of_upper_layers(plan, folder)?;
                let mut found = check_for_build(&image, &options);
                found.retain(|found| is_of_upper(found, &image));
                found.extend(known.iter().cloned());
                found
            }
            None => {
                let image = CheckedImage::of_plan(plan, Some(folder))?;
                let found = check_for_build(&image, &options);
                if let Some(pending) = &mut assembled.pending_plan {
                    pending.diagnostics =
                        Some(found.iter().filter(|found| !is_above(found, &image)).cloned().collect());
                }
                found
            }
        };
        for other in &assembled.others {
            let image = CheckedImage::of_process(&assembled.plan, &other.process)?;
            found.extend(check_for_build(&image, &options).into_iter().filter(is_of_source));
        }
        found.retain(|found| options.selection.includes_code(found.code));
        found.sort_by(|a, b| (a.severity, a.code, &a.path).cmp(&(b.severity, b.code, &b.path)));
        found.dedup();
        let (errors, warnings): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| found.severity == Severity::Error);
        warnings.iter().for_each(|found| progress.warn(warning(found)));
        if errors.is_empty() { Ok(()) } else { Err(BuildError::Refused(errors)) }
    }
}

fn is_of_source(found: &Diagnostic) -> bool {
    check::rule(found.code).is_some_and(check::Rule::is_of_source)
}

/// Returns true for a diagnostic of a complete image that depends on the source, the configuration, or
/// added files.
fn is_above(found: &Diagnostic, image: &CheckedImage) -> bool {
    let owner = found.path.as_ref().and_then(|path| image.owner(path));
    is_of_source(found) || matches!(owner, Some(Owner::Source | Owner::Extra { .. }))
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

/// Returns true for a diagnostic of the upper layers of an image that is right without the others.
fn is_of_upper(found: &Diagnostic, image: &CheckedImage) -> bool {
    match &found.path {
        Some(path) => image.has(path),
        None => is_of_source(found),
    }
}

/// Makes the warning about a diagnostic.
fn warning(found: &Diagnostic) -> Warning {
    let subject = match &found.path {
        Some(path) => printable::name(&path.to_string()),
        None => "image".to_owned(),
    };
    let others = match found.others.len() {
        0 => String::new(),
        1 => " (as is 1 more file)".to_owned(),
        more => format!(" (as are {more} more files)"),
    };
    let warning = Warning::new(subject, format!("{}{others} [{}]", found.message, found.code));
    match &found.help {
        Some(help) => warning.with_help(help),
        None => warning,
    }
}
