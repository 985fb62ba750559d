//! [`Ground`]: the layers below the source, as an earlier build made them.
//!
//! To plan an environment is to look at every file of it, of its interpreter and of the system's package database. Where
//! all of that looks as it did, what came of it is taken from the cache: the layers, and what a plan has to know of them. What
//! was looked at is in a [`Looks`]; what else a [`Survey`] knows is in the key. A file that had just changed when it was
//! looked at could change again without showing it, so nothing is remembered then.

use serde::{Deserialize, Serialize};

use super::foundation::compression;
use super::reuse;
use super::started::Answers;
use super::survey::{Facts, Survey};
use crate::cache::{LayerCache, Quick};
use crate::digest::Digest;
use crate::disk::{Looks, Trace};
use crate::image::Layer;
use crate::parallel;
use crate::plan::above::Surroundings;
use crate::progress::{Progress, Span, Warning};
use crate::staging::Staging;
use crate::tree::{Fields, HostFile, Moment};

/// More threads than this do not look faster.
const MOST_LOOKING: usize = 8;

/// The layers below the source, and what is known of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ground {
    pub(super) facts: Facts,
    pub(super) warnings: Vec<Warning>,
    pub(super) around: Surroundings,
    /// What the programs that the image starts need of the layers.
    pub(super) answers: Answers,
    /// What the ELF files of the source needed, see [`super::system::needs_of_natives`].
    pub(super) natives: Digest,
    pub(super) layers: Vec<GroundLayer>,
}

/// A layer that is in the cache.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GroundLayer {
    pub(super) name: String,
    pub(super) why: String,
    pub(super) quick: Quick,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    looks: Looks,
    ground: Ground,
}

/// Where grounds are remembered, for one build.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) cache: &'a LayerCache,
    /// The build's own folder.
    pub(super) staging: &'a Staging,
}

/// What a build needs to remember its ground when its layers are made.
pub(super) struct Remembering {
    key: Digest,
    /// No file was looked at before.
    moment: Moment,
    trace: Trace,
    facts: Facts,
    warnings: Vec<Warning>,
    around: Surroundings,
    answers: Answers,
    natives: Digest,
}

/// What is known before anything is looked at.
pub(super) struct Beginning {
    key: Digest,
    moment: Moment,
    pub(super) trace: Trace,
}

impl Memory<'_> {
    /// The key of what `survey` finds; nothing where this program cannot be told from others. A program that loads this
    /// library when it runs is told by its own file and the library's version.
    pub(super) fn key(survey: &Survey<'_>) -> Option<Digest> {
        // Another program may find something else in the same files.
        let program = std::env::current_exe().and_then(crate::disk::canonicalize).ok()?;
        let program = HostFile::new(program).ok()?;
        let mut fields = Fields::new("ground").text(env!("CARGO_PKG_VERSION"));
        fields.add(program.path.as_os_str().as_encoded_bytes());
        program.identify(&mut fields);
        // What looks the same to two users need not be readable for both.
        let groups = rustix::process::getgroups().ok()?;
        fields = fields.text(&format!(
            "{:?} {:?} {groups:?}",
            rustix::process::geteuid(),
            rustix::process::getegid()
        ));
        Some(survey.identify(fields)?.text(&compression(survey.recipe.compression).identity()).finish())
    }

    /// The ground under `key` with its layers, if all that it depends on looks as it did.
    pub(super) fn recall(
        &self,
        key: &Digest,
        survey: &Survey<'_>,
        progress: &dyn Progress,
    ) -> Option<(Ground, Vec<Layer>)> {
        let _span = Span::begin(progress, "looking whether anything changed");
        let Kept { looks, ground }: Kept = self.cache.ground(key)?;
        if !looks.still_hold(parallel::cores().min(MOST_LOOKING)) {
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

    /// Begins to look.
    pub(super) fn begin(&self, key: Digest) -> Option<Beginning> {
        Some(Beginning { key, moment: self.cache.moment()?, trace: Trace::default() })
    }
}

impl Beginning {
    /// All was looked at, and this was found.
    pub(super) fn end(
        self,
        facts: Facts,
        warnings: Vec<Warning>,
        around: Surroundings,
        (answers, natives): (Answers, Digest),
    ) -> Remembering {
        let Self { key, moment, trace } = self;
        Remembering { key, moment, trace, facts, warnings, around, answers, natives }
    }
}

impl Remembering {
    /// Remembers the ground with its `layers`, unless something changed so lately that it could change again unseen.
    pub(super) fn save(self, layers: Vec<GroundLayer>, cache: &LayerCache, progress: &dyn Progress) {
        let _span = Span::begin(progress, "keeping the plan");
        let Self { key, moment, trace, facts, warnings, around, answers, natives } = self;
        if let Some(looks) = trace.finish(moment) {
            let blobs: Vec<Digest> = layers.iter().map(|layer| layer.quick.record.digest).collect();
            let ground = Ground { facts, warnings, around, answers, natives, layers };
            cache.keep_ground(&key, &blobs, &Kept { looks, ground });
        }
    }
}
