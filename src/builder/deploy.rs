//! The deployment of a project: its images, built and not stored, and its settings.

use super::{BuildError, Builder};
use crate::deploy::{DeployError, DeployOptions, DeployedImage, Deployment};
use crate::progress::Progress;

impl Builder {
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
