//! The plan cache: the layers below the source, as an earlier build made them.
//!
//! Planning an environment inspects every file of the environment, its interpreter and the system's
//! package database. If all of these are unchanged, the result comes from the cache: the layers,
//! and the facts that a plan needs. A [`FileTrace`] records the inspected files; the key contains
//! the other inputs of an [`EnvironmentPlanner`]. A plan is not cached if a file changed so
//! recently that another change might go unnoticed.

use serde::{Deserialize, Serialize};

use super::check_build::{CheckedLayers, Faultless};
use super::environment_plan::EnvironmentFacts;
use super::layer_cache;
use super::planned_files::RecordedAnswers;
use super::planner::EnvironmentPlanner;
use crate::cache::{LayerCache, QuickRecord};
use crate::digest::Digest;
use crate::image::Layer;
use crate::parallel;
use crate::plan::PlannedLayer;
use crate::plan::directory::Directory;
use crate::plan::source_layer::LowerLayers;
use crate::progress::{Activity, Progress, Span, Warning};
use crate::staging::Staging;
use crate::traced_fs::{FileTrace, TraceRecorder};
use crate::tree::{HostFile, KeyHasher, Moment};

/// Maximum number of threads for validation; more are not faster.
const MAX_THREADS: usize = 8;

/// The layers below the source, with the facts that a plan needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CachedPlan {
    pub(super) facts: EnvironmentFacts,
    /// The check of these layers; `None` if they were built without one.
    pub(super) checked: Option<CheckedLayers>,
    pub(super) warnings: Vec<Warning>,
    pub(super) lower_layers: LowerLayers,
    /// Results of the program check in these layers.
    pub(super) answers: RecordedAnswers,
    /// Digest of the source's ELF requirements, see [`super::system::loader_requirements`].
    pub(super) natives: Digest,
    pub(super) layers: Vec<CachedLayer>,
    /// The directories of each layer that a program adds.
    pub(super) extra: Vec<Vec<Directory>>,
}

/// A layer in the layer cache.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CachedLayer {
    pub(super) name: String,
    pub(super) reason: String,
    pub(super) quick: QuickRecord,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct StoredPlan {
    trace: FileTrace,
    plan: CachedPlan,
}

/// The plan cache, for one build.
#[derive(Clone, Copy)]
pub(super) struct PlanCache<'a> {
    pub(super) cache: &'a LayerCache,
    /// The build's own directory.
    pub(super) staging: &'a Staging,
}

/// A plan to be cached once its layers are made.
pub(super) struct PendingPlan {
    key: Digest,
    /// A time before any file was inspected.
    moment: Moment,
    trace: TraceRecorder,
    facts: EnvironmentFacts,
    pub(super) checked: Option<CheckedLayers>,
    /// Keys of the image, if the check found no fault in the source.
    pub(super) marks: Vec<Digest>,
    warnings: Vec<Warning>,
    lower_layers: LowerLayers,
    answers: RecordedAnswers,
    natives: Digest,
    /// Number of layers of the environment.
    pub(super) count: usize,
    extra: Vec<Vec<Directory>>,
}

/// The state before planning starts.
pub(super) struct PlanRecorder {
    key: Digest,
    moment: Moment,
    pub(super) trace: TraceRecorder,
}

impl PlanCache<'_> {
    /// Returns the key of `planner`; `None` if this program cannot be identified. A program that
    /// loads this library dynamically is identified by its own file and the library's version.
    pub(super) fn key(planner: &EnvironmentPlanner<'_>) -> Option<Digest> {
        // Another program may reach another result from the same files.
        let program = std::env::current_exe().and_then(crate::traced_fs::canonicalize).ok()?;
        let program = HostFile::new(program).ok()?;
        let mut fields = KeyHasher::new("ground").text(env!("CARGO_PKG_VERSION"));
        fields.add(program.path.as_os_str().as_encoded_bytes());
        program.identify(&mut fields);
        // Equal metadata does not imply equal readability for two users.
        let groups = rustix::process::getgroups().ok()?;
        let groups: Vec<u32> = groups.into_iter().map(rustix::process::Gid::as_raw).collect();
        let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        fields = fields.value(&(user, groups))?;
        Some(planner.identify(fields)?.text(&planner.recipe.compression.identity()).finish())
    }

    /// Returns the cached plan under `key` with its layers, if all its inputs are unchanged.
    pub(super) fn load(
        &self,
        key: &Digest,
        planner: &EnvironmentPlanner<'_>,
        progress: &dyn Progress,
    ) -> Option<(CachedPlan, Vec<Layer>)> {
        let _span = Span::begin(progress, Activity::ValidatePlan);
        let StoredPlan { trace, plan }: StoredPlan = self.cache.cached_plan(key)?;
        if !trace.is_valid(parallel::cores().min(MAX_THREADS)) {
            return None;
        }
        let compression = planner.recipe.compression;
        let layers = plan.layers.iter().enumerate().map(|(index, layer)| {
            let place = self.staging.path().join(format!("ground-{index}"));
            layer_cache::linked_layer(self.cache, &layer.quick.record, compression, &place)
        });
        let layers = layers.collect::<Option<_>>()?;
        Some((plan, layers))
    }

    /// Starts recording a plan.
    pub(super) fn record(&self, key: Digest) -> Option<PlanRecorder> {
        Some(PlanRecorder { key, moment: self.cache.moment()?, trace: TraceRecorder::default() })
    }
}

impl PlanRecorder {
    /// Completes the recording with the result; `extra` are the added layers above the first `count`
    /// of the plan.
    pub(super) fn finish(
        self,
        facts: EnvironmentFacts,
        warnings: Vec<Warning>,
        lower_layers: LowerLayers,
        (answers, natives): (RecordedAnswers, Digest),
        (count, extra): (usize, &[PlannedLayer]),
    ) -> PendingPlan {
        let Self { key, moment, trace } = self;
        let directories = |layer: &PlannedLayer| layer.tree.iter().filter_map(Directory::of).collect();
        let extra = extra.iter().map(directories).collect();
        PendingPlan {
            key,
            moment,
            trace,
            facts,
            checked: None,
            marks: Vec::new(),
            warnings,
            lower_layers,
            answers,
            natives,
            count,
            extra,
        }
    }
}

impl PendingPlan {
    /// Caches the plan with its `layers`, unless an input changed so recently that another change
    /// might go unnoticed.
    pub(super) fn save(self, layers: Vec<CachedLayer>, cache: &LayerCache, progress: &dyn Progress) {
        let _span = Span::begin(progress, Activity::CachePlan);
        let Self {
            key,
            moment,
            trace,
            facts,
            checked,
            marks,
            warnings,
            lower_layers,
            answers,
            natives,
            count: _,
            extra,
        } = self;
        if let Some(trace) = trace.finish(moment) {
            let blobs: Vec<Digest> = layers.iter().map(|layer| layer.quick.record.digest).collect();
            let plan = CachedPlan { facts, checked, warnings, lower_layers, answers, natives, layers, extra };
            cache.keep_cached_plan(&key, &blobs, &StoredPlan { trace, plan });
            Faultless::keep(&marks, &blobs, cache);
        }
    }
}
