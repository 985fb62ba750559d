//! The deployment of a project: its images, built and not stored, and its settings.

use std::path::Path;

use dockerignore::Fate;

use super::{BuildError, Builder, ignore_defaults};
use crate::context::{Context, ContextError, PathExplanation};
use crate::deploy::{DeployError, DeployOptions, DeployedImage, Deployment};
use crate::error::FileError;
use crate::progress::Progress;

impl Builder {
    /// Returns true if a file at `path`, which need not exist, would be source, and so part of the images.
    ///
    /// # Errors
    /// If the settings or the ignore file are invalid.
    pub fn is_source(&self, path: &Path) -> Result<bool, BuildError> {
        let recipe = self.resolve()?;
        let context = Context::open(&self.root, self.ignore.clone())?.with_workdir(recipe.workdir.clone());
        let context = ignore_defaults::with_rules(context, &recipe, &[])?;
        let path = std::path::absolute(path).map_err(FileError::of("find", path))?;
        Ok(match context.explain(&path) {
            Ok(PathExplanation::Rules(verdict)) => verdict.fate == Fate::Kept,
            Ok(_) | Err(ContextError::Outside(_)) => false,
            Err(error) => return Err(error.into()),
        })
    }

    /// Builds the images of the selected processes for their digests, and joins them with `[tool.ipo-oci.deploy]`.
    /// Nothing is stored but cached layers: a build with the same settings pushes images with these digests.
    ///
    /// # Errors
    /// If an image cannot be built, or [`BuildError::Deploy`] if the deployment cannot be described.
    pub fn deployment(
        &self,
        options: &DeployOptions,
        progress: &dyn Progress,
    ) -> Result<Deployment, BuildError> {
        let recipe = self.resolve()?;
        let known = recipe.process_names();
        if let Some(name) = recipe.deploy.process.keys().find(|name| !known.contains(name)) {
            return Err(DeployError::NoProcess { name: name.clone(), known }.into());
        }
        let sets = self.build_processes(progress)?;
        let mut images = Vec::new();
        for set in &sets {
            let digest = set.artifact()?.digest();
            let image = set.images().next().map(|built| &built.image);
            images.extend(image.map(|image| {
                DeployedImage::new(set.process_name(), set.name().clone(), digest, image)
                    .writable(recipe.writable.clone())
            }));
        }
        Ok(Deployment::of(&images, &recipe.deploy, options)?)
    }
}
