//! The plan cache: the layers below the source, as an earlier build made them.
//!
//! Planning an environment inspects every file of the environment, its interpreter and the system's
//! package database. If all of these are unchanged, the result comes from the cache: the layers,
//! and the facts that a plan needs. A [`FileTrace`] records the inspected files; the key contains the
//! other inputs of a [`Survey`]. A plan is not cached if a file changed so recently that another
//! change might go unnoticed.

use serde::{Deserialize, Serialize};

use super::foundation::compression;
use super::reuse;
use super::started::Answers;
use super::survey::{Facts, Survey};
use crate::cache::{LayerCache, QuickRecord};
use crate::digest::Digest;
use crate::disk::{FileTrace, TraceRecorder};
use crate::image::Layer;
use crate::parallel;
use crate::plan::source_layer::LowerLayers;
use crate::progress::{Progress, Span, Warning};
use crate::staging::Staging;
use crate::tree::{Fields, HostFile, Moment};

/// Maximum number of threads for validation; more are not faster.
const MOST_LOOKING: usize = 8;

/// The layers below the source, with the facts that a plan needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ground {
    pub(super) facts: Facts,
    pub(super) warnings: Vec<Warning>,
    pub(super) around: LowerLayers,
    /// Results of the program check in these layers.
    pub(super) answers: Answers,
    /// Digest of the source's ELF requirements, see [`super::system::needs_of_natives`].
    pub(super) natives: Digest,
    pub(super) layers: Vec<GroundLayer>,
}

/// A layer in the layer cache.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GroundLayer {
    pub(super) name: String,
    pub(super) why: String,
    pub(super) quick: QuickRecord,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Kept {
    looks: FileTrace,
    ground: Ground,
}

/// The plan cache, for one build.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) cache: &'a LayerCache,
    /// The build's own directory.
    pub(super) staging: &'a Staging,
}

/// A plan to be cached once its layers are made.
pub(super) struct Remembering {
    key: Digest,
    /// A time before any file was inspected.
    moment: Moment,
    trace: TraceRecorder,
    facts: Facts,
    warnings: Vec<Warning>,
    around: LowerLayers,
    answers: Answers,
    natives: Digest,
}

/// The state before planning starts.
pub(super) struct Beginning {
    key: Digest,
    moment: Moment,
    pub(super) trace: TraceRecorder,
}

impl Memory<'_> {
    /// Returns the key of `survey`; `None` if this program cannot be identified. A program that
    /// loads this library dynamically is identified by its own file and the library's version.
    pub(super) fn key(survey: &Survey<'_>) -> Option<Digest> {
        // Another program may reach another result from the same files.
        let program = std::env::current_exe().and_then(crate::disk::canonicalize).ok()?;
        let program = HostFile::new(program).ok()?;
        let mut fields = Fields::new("ground").text(env!("CARGO_PKG_VERSION"));
        fields.add(program.path.as_os_str().as_encoded_bytes());
        program.identify(&mut fields);
        // Equal metadata does not imply equal readability for two users.
        let groups = rustix::process::getgroups().ok()?;
        fields = fields.text(&format!(
            "{:?} {:?} {groups:?}",
            rustix::process::geteuid(),
            rustix::process::getegid()
        ));
        Some(survey.identify(fields)?.text(&compression(survey.recipe.compression).identity()).finish())
    }

    /// Returns the cached plan under `key` with its layers, if all its inputs are unchanged.
    pub(super) fn recall(
        &self,
        key: &Digest,
        survey: &Survey<'_>,
        progress: &dyn Progress,
    ) -> Option<(Ground, Vec<Layer>)> {
        let _span = Span::begin(progress, "looking whether anything changed");
        let Kept { looks, ground }: Kept = self.cache.cached_plan(key)?;
        if !looks.is_valid(parallel::cores().min(MOST_LOOKING)) {
            return None;
        }
        let compression = compression(survey.recipe.compression);
        let layers = ground.layers.iter().enumerate().map(|(index, layer)| {
            let place = self.staging.path().join(format!("ground-{index}"));
            reuse::held(self.cache, &layer.quick.record, compression, &place)
        });
        let layers = layers.collect::<Option<_>>()?;
        Some((ground, layers))
    }

    /// Starts recording a plan.
    pub(super) fn begin(&self, key: Digest) -> Option<Beginning> {
        Some(Beginning { key, moment: self.cache.moment()?, trace: TraceRecorder::default() })
    }
}

impl Beginning {
    /// Completes the recording with the result.
    pub(super) fn end(
        self,
        facts: Facts,
        warnings: Vec<Warning>,
        around: LowerLayers,
        (answers, natives): (Answers, Digest),
    ) -> Remembering {
        let Self { key, moment, trace } = self;
        Remembering { key, moment, trace, facts, warnings, around, answers, natives }
    }
}

impl Remembering {
    /// Caches the plan with its `layers`, unless an input changed so recently that another change
    /// might go unnoticed.
    pub(super) fn save(self, layers: Vec<GroundLayer>, cache: &LayerCache, progress: &dyn Progress) {
        let _span = Span::begin(progress, "keeping the plan");
        let Self { key, moment, trace, facts, warnings, around, answers, natives } = self;
        if let Some(looks) = trace.finish(moment) {
            let blobs: Vec<Digest> = layers.iter().map(|layer| layer.quick.record.digest).collect();
            let ground = Ground { facts, warnings, around, answers, natives, layers };
            cache.keep_cached_plan(&key, &blobs, &Kept { looks, ground });
        }
    }
}
