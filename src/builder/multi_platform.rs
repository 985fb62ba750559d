//! Builds for several platforms.

use serde_json::json;

use super::{BuildError, Builder, Built};
use crate::image::Artifact;
use crate::plan::Plan;
use crate::platform::Platform;
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
        let one = Self { processes: self.first_process()?, ..self.clone() };
        let mut sets = one.build_processes(progress)?;
        Ok(sets.swap_remove(0))
    }

    /// Builds the images of all selected processes, at least one, for every platform in the settings.
    /// The layers of a platform are made once.
    pub fn build_processes(&self, progress: &dyn Progress) -> Result<Vec<BuiltSet>, BuildError> {
        let mut sets: Vec<BuiltSet> = Vec::new();
        for builder in self.of_each_platform()? {
            for (index, built) in builder.build_each(progress)?.into_iter().enumerate() {
                match sets.get_mut(index) {
                    Some(set) => set.rest.push(built),
                    None => sets.push(BuiltSet { first: built, rest: Vec::new() }),
                }
            }
        }
        Ok(sets)
    }

    /// Plans the image of every selected process for every platform in the settings, see
    /// [`Self::plan`].
    pub fn plan_all(&self, progress: &dyn Progress) -> Result<Vec<Plan>, BuildError> {
        let mut plans = Vec::new();
        for builder in self.of_each_platform()? {
            plans.extend(builder.plan_each(progress)?);
        }
        Ok(plans)
    }

    /// Returns this builder for each platform in the settings.
    fn of_each_platform(&self) -> Result<Vec<Self>, BuildError> {
        let platforms = self.resolve()?.platforms;
        if self.platform.is_some() || platforms.is_empty() {
            return Ok(vec![self.clone()]);
        }
        Ok(platforms.into_iter().map(|platform| self.clone().platform(platform)).collect())
    }
}

impl BuiltSet {
    /// Iterates over the images, in the order of platforms.
    pub fn images(&self) -> impl Iterator<Item = &Built> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Returns the image for this machine, or else the first one.
    pub fn for_this_machine(&self) -> &Built {
        let machine = Platform::of_this_program();
        self.images().find(|built| machine.runs(&built.image.platform)).unwrap_or(&self.first)
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

    /// Returns the name of the process: `web`, or one of the settings.
    pub fn process_name(&self) -> &str {
        self.first.process_name()
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
            "process": self.first.process_name(),
            "target": self.first.target.as_str(),
        }))
    }
}
