//! Carrying out a plan: layers, image and size report.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::BuildError;
use super::assemble::{Assembled, OtherImage};
use super::base::ResolvedBase;
use super::content_scan;
use super::layer_cache::LayerReuser;
use super::layer_job::{FinishedLayer, LayerOrigin, Writing};
use super::plan_cache::CachedLayer;
use super::remote_cache::RemoteCaches;
use super::write;
use crate::cache::{LayerCache, QuickRecord, RemoteCache};
use crate::error::FileError;
use crate::image::{
    Artifact, DOCKER_MANIFEST, Format, HistoryLine, IMAGE_MANIFEST, Image, ImageConfig, Layer,
};
use crate::parallel;
use crate::plan::{AppendedLayer, Plan, PlannedBase, PlannedLayer};
use crate::progress::{Meter, Progress, Unit};
use crate::recipe::{Target, WEB};
use crate::reference::{Name, Reference};
use crate::report::{GENERATOR, Kinds, LayerSize, SCHEMA, SizeReport, Tally};
use crate::staging::Staging;
use crate::store::{self, Access, Stored, WriteOptions};
use crate::traced_fs;
use crate::tree::KeyHasher;

/// A built image. Its layers are in a temporary directory removed on drop: store the image first.
#[derive(Debug)]
#[non_exhaustive]
pub struct Built {
    /// The image.
    pub image: Image,
    /// Sizes of its parts.
    pub report: SizeReport,
    /// Origin of each layer, in the order of the report.
    pub origins: Vec<LayerOrigin>,
    /// The name.
    pub name: Name,
    /// The port of its server.
    pub port: Option<u16>,
    pub(super) target: Target,
    /// Name of the process; `None` for `web`.
    process: Option<String>,
    environment: PlanOrigin,
    access: Access,
    _staging: Arc<Staging>,
    /// Holds a base made of a root file system.
    _work: Option<Arc<Staging>>,
}

/// Origin of the plan of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlanOrigin {
    /// The plan of an earlier build, since no input changed.
    Cached,
    /// The environment, read by this build.
    Read,
}

/// Name and reason of a layer.
struct LayerTitle {
    name: String,
    reason: String,
}

impl LayerTitle {
    fn of(planned: &PlannedLayer) -> Self {
        Self { name: planned.name.clone(), reason: planned.reason.clone() }
    }

    fn history(&self) -> HistoryLine {
        HistoryLine { created_by: format!("ipo-oci: {}", self.name), comment: self.reason.clone() }
    }
}

/// Context for carrying out a plan.
pub(super) struct BuildContext<'a> {
    pub(super) threads: Option<NonZero<usize>>,
    /// Directory for new layers.
    pub(super) staging: Arc<Staging>,
    /// Access for storing the image.
    pub(super) access: Access,
    /// The local layer cache.
    pub(super) cache: Option<&'a LayerCache>,
    /// Remote caches to read from.
    pub(super) from: &'a [Arc<dyn RemoteCache>],
    /// Remote caches to write to.
    pub(super) to: &'a [Arc<dyn RemoteCache>],
    /// The project's directory.
    pub(super) root: &'a Path,
}

impl Built {
    /// Makes the layers, and the images of the plan and of further processes.
    pub(super) fn all(
        assembled: Assembled,
        context: BuildContext<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<Self>, BuildError> {
        let Assembled { plan, below, pending_plan, recipe, scanner, base, others, .. } = assembled;
        let BuildContext { threads, staging, access, cache, from, to, root } = context;
        let planned_bytes = plan.layers.iter().map(|layer| layer.tree.size_hint()).sum();
        let writing = Writing {
            folder: staging.path(),
            compression: recipe.compression,
            threads,
            scanner: &scanner,
            progress,
            meter: Meter::new(progress, Unit::Bytes, planned_bytes),
        };
        let identity = identity(root, &plan)?;
        let reuser =
            cache.map(|cache| LayerReuser::new(cache, RemoteCaches::new(from, to), identity, &scanner));
        let environment = if below.is_empty() { PlanOrigin::Read } else { PlanOrigin::Cached };
        let (titles, mut made) = make_layers(&plan, below, &writing, reuser.as_ref())?;
        if let (Some(cache), Some(pending_plan)) = (cache, pending_plan)
            && let Some(layers) = cached_layers(&titles, &made, pending_plan.count)
        {
            pending_plan.save(layers, cache, progress);
        }
        if let Some(reuser) = &reuser {
            for made in &mut made {
                reuser.finish_upload(made, progress);
            }
        }
        let of_base = plan.base.as_ref().map_or(0, |base| base.layers.len());
        let mut origins = vec![LayerOrigin::Base; of_base];
        let (mut layers, mut tally, mut found) = (Vec::new(), Tally::new(), Vec::new());
        for (index, (FinishedLayer { layer, origin, seen, .. }, title)) in
            made.into_iter().zip(&titles).enumerate()
        {
            layers.push((layer, title.history()));
            origins.push(origin);
            seen.owners.iter().for_each(|owned| tally.add_owned(index, owned));
            found.extend(seen.found);
        }
        content_scan::warn(&found, progress);
        if let Some(reuser) = &reuser {
            reuser.warn(progress);
        }
        let first = OtherImage {
            name: plan.process_name.clone(),
            tag: plan.tag.clone(),
            process: plan.process.clone(),
        };
        let mut all = Vec::new();
        for OtherImage { name: process_name, tag, process } in std::iter::once(first).chain(others) {
            let port = process.port;
            let config = ImageConfig::new(&plan.platform, plan.created, process);
            let (annotations, layers) = (&config.process.labels, layers.clone());
            let image = match &base {
                None => Image::assemble(&config, layers, annotations)?,
                Some(ResolvedBase { image, name, .. }) => {
                    Image::on_base(image, &config, layers, annotations, name.as_ref())?
                }
            };
            let name = Name::new(&plan.name, &tag)?;
            let report = SizeReport {
                budget_bytes: recipe.max_size.map(|size| size.0),
                ..sizes(&plan, &image, &name, &titles, &tally)
            };
            let built = Self {
                image,
                report,
                origins: origins.clone(),
                name,
                port,
                target: plan.target,
                process: process_name,
                environment,
                access: access.clone(),
                _staging: staging.clone(),
                _work: plan.work.clone(),
            };
            all.push(built.append_layers(&plan.appended)?);
        }
        parallel::drop_in_background((plan.layers, base));
        Ok(all)
    }

    /// Puts finished layers on top of the image, lowest first, and into its report.
    ///
    /// # Errors
    /// As [`Image::append_layers`].
    pub fn append_layers(mut self, layers: &[AppendedLayer]) -> Result<Self, BuildError> {
        let lines = layers.iter().map(|layer| (layer.layer().clone(), layer.history().clone()));
        self.image = self.image.append_layers(lines.collect())?;
        for layer in layers {
            self.origins.push(LayerOrigin::Appended);
            self.report.disk_bytes += layer.disk_bytes();
            self.report.kinds.extra += layer.disk_bytes();
            self.report.files += layer.files();
            self.report.layers.push(LayerSize {
                name: layer.name().to_owned(),
                digest: layer.layer().digest,
                diff_id: layer.layer().diff_id,
                disk_bytes: layer.disk_bytes(),
                transfer_bytes: layer.layer().size,
                files: layer.files(),
                reason: layer.history().comment.clone(),
            });
        }
        self.report.digest = self.image.digest();
        self.report.transfer_bytes = self.image.transfer_bytes();
        Ok(self)
    }

    /// Writes the image to `destination`. Uses a tag in `destination` unchanged, unless `options`
    /// has a suffix.
    ///
    /// ```no_run
    /// # use ipo_oci::{builder::Builder, progress::Silent, store::WriteOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let built = Builder::from_project(".")?.build(&Silent)?;
    /// let stored = built.write_to(&"oci:dist/image:1.0".parse()?, &WriteOptions::default(), &Silent)?;
    /// println!("{stored}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_to(
        &self,
        destination: &Reference,
        options: &WriteOptions,
        progress: &dyn Progress,
    ) -> Result<Stored, BuildError> {
        self.write_artifact(&self.image.artifact()?, destination, options, progress)
    }

    /// Writes `artifact`, this image or an index of it, under this image's name.
    pub(super) fn write_artifact(
        &self,
        artifact: &Artifact,
        destination: &Reference,
        options: &WriteOptions,
        progress: &dyn Progress,
    ) -> Result<Stored, BuildError> {
        Ok(store::write(artifact, destination, &self.name, options, &self.access, progress)?)
    }

    /// Converts the image to the media types of `format`.
    ///
    /// # Errors
    /// For Docker's format with zstd layers.
    pub(super) fn with_format(mut self, format: Format) -> Result<Self, BuildError> {
        self.image = self.image.with_format(format)?;
        self.report.digest = self.image.digest();
        self.report.transfer_bytes = self.image.transfer_bytes();
        Ok(self)
    }

    /// Returns the name of the process: `web`, or one of the settings.
    pub fn process_name(&self) -> &str {
        self.process.as_deref().unwrap_or(WEB)
    }

    /// Formats the size report as text.
    pub fn size_report(&self) -> String {
        crate::report::text::render(&self.report)
    }

    /// Returns digests and names under the keys of buildx's `--metadata-file`, and the origin of
    /// each layer, which differs between builds of one image.
    pub fn metadata(&self) -> serde_json::Value {
        let layers = self.report.layers.iter().zip(&self.origins);
        let layers = layers.map(|(layer, origin)| {
            json!({
                "digest": layer.digest.to_string(),
                "name": layer.name,
                "origin": origin.as_str(),
            })
        });
        json!({
            "containerimage.digest": self.image.digest().to_string(),
            "containerimage.config.digest": self.image.config_digest().to_string(),
            "containerimage.descriptor": {
                "mediaType": match self.image.format {
                    Format::Oci => IMAGE_MANIFEST,
                    Format::Docker => DOCKER_MANIFEST,
                },
                "digest": self.image.digest().to_string(),
                "size": self.image.manifest.len(),
            },
            "environment": match self.environment {
                PlanOrigin::Cached => "cached",
                PlanOrigin::Read => "read",
            },
            "generator": GENERATOR,
            "image.name": self.name.to_string(),
            "layers": layers.collect::<Vec<_>>(),
            "process": self.process_name(),
            "target": self.target.as_str(),
        })
    }
}

/// Returns the identity of a project's image, whose layers replace those of an earlier build.
fn identity(root: &Path, plan: &Plan) -> Result<KeyHasher, BuildError> {
    let root = traced_fs::canonicalize(root).map_err(FileError::of("read", root))?;
    Ok(KeyHasher::new("image of a project")
        .text(&root.to_string_lossy())
        .text(plan.target.as_str())
        .text(&plan.platform.to_string()))
}

/// Makes the layers of a plan, lowest first: `below`, which the plan cache names, and the planned
/// ones.
fn make_layers(
    plan: &Plan,
    below: Vec<(CachedLayer, Layer)>,
    writing: &Writing<'_>,
    reuser: Option<&LayerReuser<'_>>,
) -> Result<(Vec<LayerTitle>, Vec<FinishedLayer>), BuildError> {
    let (mut titles, mut made) = (Vec::new(), Vec::new());
    for (CachedLayer { name, reason, quick }, layer) in below {
        titles.push(LayerTitle { name, reason });
        made.extend(reuser.map(|reuser| reuser.finished(layer, quick, writing.progress)));
    }
    titles.extend(plan.layers.iter().map(LayerTitle::of));
    made.extend(write::layers(&plan.layers, writing, reuser)?);
    Ok((titles, made))
}

/// Makes the size report of an image without a budget.
fn sizes(plan: &Plan, image: &Image, name: &Name, titles: &[LayerTitle], tally: &Tally) -> SizeReport {
    let names: Vec<String> = titles.iter().map(|title| title.name.clone()).collect();
    let below = plan.base.as_ref().map(base_sizes).unwrap_or_default();
    let base_bytes: u64 = below.iter().map(|layer| layer.disk_bytes).sum();
    let (mut disk_bytes, mut files) = tally.total();
    disk_bytes += base_bytes;
    files += below.iter().map(|layer| layer.files).sum::<u64>();
    let own = image.layers.iter().skip(below.len());
    let sizes = titles.iter().zip(own).enumerate().map(|(index, (title, layer))| {
        let (disk_bytes, files) = tally.layer(index);
        LayerSize {
            name: title.name.clone(),
            digest: layer.digest,
            diff_id: layer.diff_id,
            disk_bytes,
            transfer_bytes: layer.size,
            files,
            reason: title.reason.clone(),
        }
    });
    SizeReport {
        schema: SCHEMA,
        image: name.to_string(),
        target: plan.target.to_string(),
        digest: image.digest(),
        platform: plan.platform.to_string(),
        disk_bytes,
        transfer_bytes: image.transfer_bytes(),
        files,
        budget_bytes: None,
        layers: below.into_iter().chain(sizes).collect(),
        distributions: tally.distributions(&names),
        packages: tally.packages(),
        kinds: Kinds { base: base_bytes, ..tally.kinds() },
        source_files: Tally::source_files(plan.layers.iter().flat_map(|layer| layer.tree.iter())),
    }
}

/// Returns the base's layers for the report.
fn base_sizes(base: &PlannedBase) -> Vec<LayerSize> {
    let sizes = base.layers.iter().enumerate().map(|(index, layer)| LayerSize {
        name: format!("base {}", index + 1),
        digest: layer.digest,
        diff_id: layer.diff_id,
        disk_bytes: layer.disk_bytes,
        transfer_bytes: layer.transfer_bytes,
        files: layer.files,
        reason: format!("of the base {}", base.name),
    });
    sizes.collect()
}

/// Returns the lowest `count` layers for the cached plan. Returns `None` if one is not in the layer
/// cache.
fn cached_layers(titles: &[LayerTitle], made: &[FinishedLayer], count: usize) -> Option<Vec<CachedLayer>> {
    let layers = titles.iter().zip(made.get(..count)?).map(|(title, made)| {
        let (key, record) = made.cached.clone()?;
        let quick = QuickRecord { record, key, found: made.seen.found.clone() };
        Some(CachedLayer { name: title.name.clone(), reason: title.reason.clone(), quick })
    });
    layers.collect()
}
