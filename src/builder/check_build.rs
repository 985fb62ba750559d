//! The check before a build.
//!
//! A build applies the rules whose faults it does not report anyway. Diagnostics about layers below the
//! source are cached with the plan of these layers. Those about the files of the upper layers and the
//! configuration are made anew by each build. The rules of [`WHOLE`] compare the source with the layers
//! below: a build with a cached plan looks for the mark of an image without such a fault, and plans the
//! lower layers again only if there is none.

use serde::{Deserialize, Serialize};

use super::assemble::Assembled;
use super::error::BuildError;
use super::selection::allow_missing;
use super::{Builder, ImageCheck};
use crate::cache::LayerCache;
use crate::check::{
    self, CheckOptions, CheckedImage, Diagnostic, Severity, WHOLE, check_for_build, check_only, lower_key,
};
use crate::digest::Digest;
use crate::plan::Process;
use crate::printable;
use crate::progress::{Activity, Progress, Silent, Span, Warning};
use crate::python::bytecode::BytecodeCheck;
use crate::recipe::Recipe;
use crate::tree::Owner;

/// The rule on the configuration alone.
const CONFIGURATION: &str = "IPO606";

/// The check of layers that are cached with their plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CheckedLayers {
    /// Diagnostics about their files.
    diagnostics: Vec<Diagnostic>,
    /// Key of these layers for the rules of [`WHOLE`].
    key: Digest,
}

/// The mark of an image without a fault by the rules of [`WHOLE`]. It lives as long as the lower layers.
#[derive(Serialize, Deserialize)]
pub(super) struct Faultless;

impl Faultless {
    fn is_kept(key: &Digest, cache: Option<&LayerCache>) -> bool {
        cache.is_some_and(|cache| cache.cached_plan::<Self>(key).is_some())
    }

    /// Marks the images `keys`, whose lower layers are `blobs`.
    pub(super) fn keep(keys: &[Digest], blobs: &[Digest], cache: &LayerCache) {
        for key in keys {
            cache.keep_cached_plan(key, blobs, &Self);
        }
    }
}

impl Builder {
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
        cache: Option<&LayerCache>,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        if !self.checks(&assembled.recipe) {
            return Ok(());
        }
        let _span = Span::begin(progress, Activity::CheckImage);
        let options = CheckOptions::of_settings(&assembled.recipe.check, None)?;
        let mut found = match assembled.known.take() {
            Some(known) => self.check_upper_layers(known, assembled, &options, cache)?,
            None => self.check_complete(assembled, &options)?,
        };
        found.retain(|found| options.selection.includes_code(found.code));
        found.sort_by(|a, b| (a.severity, a.code, &a.path).cmp(&(b.severity, b.code, &b.path)));
        found.dedup();
        let (errors, warnings): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| found.severity == Severity::Error);
        for found in &warnings {
            progress.warn(warning(found));
        }
        if errors.is_empty() { Ok(()) } else { Err(BuildError::Refused(errors)) }
    }

    /// Checks a complete plan.
    fn check_complete(
        &self,
        assembled: &mut Assembled,
        options: &CheckOptions,
    ) -> Result<Vec<Diagnostic>, BuildError> {
        let Assembled { plan, recipe, .. } = &*assembled;
        let image = CheckedImage::of_plan(plan, Some(self.source_folder(recipe)))?;
        let mut image = image.allowing_missing(allow_missing(recipe));
        let mut found = check_for_build(&image, options);
        let diagnostics = found.iter().filter(|found| !is_above(found, &image)).cloned().collect();
        let below = CheckedLayers { diagnostics, key: lower_key(&image) };
        found.extend(of_other_processes(assembled, &mut image, |_| true)?);
        let is_faultless = !found.iter().any(|found| is_of_whole(found, &image));
        let marks = match &assembled.pending_plan {
            Some(_) if is_faultless => {
                vec![stamp_key(&below.key, assembled)?, module_key(&below.key, assembled, &image)?]
            }
            _ => Vec::new(),
        };
        if let Some(pending) = &mut assembled.pending_plan {
            pending.checked = Some(below);
            pending.marks = marks;
        }
        Ok(found)
    }

    /// Checks the upper layers of a plan, whose lower layers are cached.
    fn check_upper_layers(
        &self,
        known: CheckedLayers,
        assembled: &Assembled,
        options: &CheckOptions,
        cache: Option<&LayerCache>,
    ) -> Result<Vec<Diagnostic>, BuildError> {
        let folder = self.source_folder(&assembled.recipe);
        let mut image = CheckedImage::of_upper_layers(&assembled.plan, folder)?;
        let mut found = check_for_build(&image, options);
        found.retain(|found| is_of_upper(found, &image));
        found.extend(known.diagnostics);
        found.extend(of_other_processes(assembled, &mut image, |code| code == CONFIGURATION)?);
        if !WHOLE.iter().any(|code| options.selection.includes_code(code)) {
            return Ok(found);
        }
        let stamps = stamp_key(&known.key, assembled)?;
        if Faultless::is_kept(&stamps, cache) {
            return Ok(found);
        }
        let modules = module_key(&known.key, assembled, &image)?;
        let faults =
            if Faultless::is_kept(&modules, cache) { Vec::new() } else { self.faults_of_whole(assembled)? };
        if let Some(cache) = cache.filter(|_| faults.is_empty()) {
            let blobs: Vec<Digest> = assembled.below.iter().map(|(_, layer)| layer.digest).collect();
            Faultless::keep(&[stamps, modules], &blobs, cache);
        }
        found.extend(faults);
        Ok(found)
    }

    /// Plans all layers, and applies the rules of [`WHOLE`].
    fn faults_of_whole(&self, assembled: &Assembled) -> Result<Vec<Diagnostic>, BuildError> {
        let mut complete = self.assemble(None, BytecodeCheck::Header, &Silent)?;
        complete.others.clone_from(&assembled.others);
        let folder = self.source_folder(&complete.recipe);
        let mut image = CheckedImage::of_plan(&complete.plan, Some(folder))?;
        let mut faults = check_only(&image, &WHOLE);
        faults.extend(of_other_processes(&complete, &mut image, |code| WHOLE.contains(&code))?);
        faults.retain(|found| is_of_whole(found, &image));
        Ok(faults)
    }
}

fn processes(assembled: &Assembled) -> Vec<&Process> {
    let others = assembled.others.iter().map(|other| &other.process);
    std::iter::once(&assembled.plan.process).chain(others).collect()
}

fn stamp_key(lower: &Digest, assembled: &Assembled) -> Result<Digest, BuildError> {
    Ok(check::stamp_key(lower, &assembled.plan, &processes(assembled))?)
}

fn module_key(lower: &Digest, assembled: &Assembled, image: &CheckedImage) -> Result<Digest, BuildError> {
    Ok(check::module_key(lower, &assembled.plan, &processes(assembled), image)?)
}

/// Returns the diagnostics of the rules `wanted`, of those that depend on the configuration, about the
/// images of further processes.
fn of_other_processes(
    assembled: &Assembled,
    image: &mut CheckedImage,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Diagnostic>, BuildError> {
    let codes: Vec<&str> = WHOLE.into_iter().chain([CONFIGURATION]).filter(|code| wanted(code)).collect();
    let mut found = Vec::new();
    for other in &assembled.others {
        image.set_process(&assembled.plan, &other.process)?;
        found.extend(check_only(image, &codes));
    }
    Ok(found)
}

/// Returns true for a diagnostic of a complete image that depends on the source, the configuration, or
/// added files.
fn is_above(found: &Diagnostic, image: &CheckedImage) -> bool {
    found.code == CONFIGURATION || is_of_whole(found, image) || is_of_upper_file(found, image)
}

/// Returns true for a diagnostic that compares the upper layers with those below.
fn is_of_whole(found: &Diagnostic, image: &CheckedImage) -> bool {
    WHOLE.contains(&found.code) && (found.path.is_none() || is_of_upper_file(found, image))
}

fn is_of_upper_file(found: &Diagnostic, image: &CheckedImage) -> bool {
    let owner = found.path.as_ref().and_then(|path| image.owner(path));
    matches!(owner, Some(Owner::Source | Owner::Extra { .. }))
}

/// Returns true for a diagnostic of the upper layers of an image that is right without the others.
fn is_of_upper(found: &Diagnostic, image: &CheckedImage) -> bool {
    match &found.path {
        _ if WHOLE.contains(&found.code) => false,
        Some(path) => image.has(path),
        None => found.code == CONFIGURATION,
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
