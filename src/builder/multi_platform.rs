//! Builds for several platforms.

use serde_json::json;

use super::{BuildError, Builder, Built};
use crate::image::Artifact;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::reference::{Name, Reference};
use crate::report::GENERATOR;
use crate::store::{Stored, WriteOptions};

/// The images of one target, one for each platform. A single image is stored directly, several
/// under an index.
#[derive(Debug)]
pub struct BuiltSet {
    first: Built,
    rest: Vec<Built>,
}

impl Builder {
    /// Builds the image for every platform in the settings, by default for this machine's.
    pub fn build_all(&self, progress: &dyn Progress) -> Result<BuiltSet, BuildError> {
        let platforms = self.resolve()?.platforms;
        let mut platforms = platforms.into_iter();
        let (Some(first), None) = (platforms.next(), &self.platform) else {
            return Ok(BuiltSet { first: self.build(progress)?, rest: Vec::new() });
        };
        let build = |platform| self.clone().platform(platform).build(progress);
        Ok(BuiltSet { first: build(first)?, rest: platforms.map(build).collect::<Result<_, _>>()? })
    }
}

impl Builder {
    /// Plans the image for every platform in the settings, see [`Self::plan`].
    pub fn plan_all(&self, progress: &dyn Progress) -> Result<Vec<Plan>, BuildError> {
        let platforms = self.resolve()?.platforms;
        if platforms.len() < 2 || self.platform.is_some() {
            return Ok(vec![self.plan(progress)?]);
        }
        platforms.into_iter().map(|platform| self.clone().platform(platform).plan(progress)).collect()
    }
}

impl BuiltSet {
    /// Iterates over the images, in the order of platforms.
    pub fn images(&self) -> impl Iterator<Item = &Built> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Returns the single image, or an index of the images.
    pub fn artifact(&self) -> Result<Artifact, BuildError> {
        if self.rest.is_empty() {
            return Ok(self.first.image.artifact()?);
        }
        let artifacts = self.images().map(|built| built.image.artifact());
        Ok(Artifact::index_of(artifacts.collect::<Result<_, _>>()?)?)
    }

    /// Writes the image or index to `destination`.
    pub fn write_to(
        &self,
        destination: &Reference,
        options: &WriteOptions,
        progress: &dyn Progress,
    ) -> Result<Stored, BuildError> {
        self.first.write_artifact(&self.artifact()?, destination, options, progress)
    }

    /// Returns the name.
    pub fn name(&self) -> &Name {
        &self.first.name
    }

    /// Returns digests and names under the keys of buildx's `--metadata-file`.
    pub fn metadata(&self) -> Result<serde_json::Value, BuildError> {
        if self.rest.is_empty() {
            return Ok(self.first.metadata());
        }
        let index = self.artifact()?;
        Ok(json!({
            "containerimage.digest": index.digest().to_string(),
            "containerimage.descriptor": {
                "mediaType": index.descriptor.media_type,
                "digest": index.digest().to_string(),
                "size": index.bytes.len(),
            },
            "generator": GENERATOR,
            "image.name": self.first.name.to_string(),
            "target": self.first.target.as_str(),
        }))
    }
}
