//! The layers of a plan: taken from the cache, or written, side by side.
//!
//! Reading, hashing and rewriting a layer's files is one thread's work, and a layer's compressor runs empty at its end. Two
//! layers at a time keep the processors busy; more would only hold more in memory. What comes out does not depend on it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::BuildError;
use super::built::encoding;
use super::reuse::{Attempt, Looked, Reuse};
use super::shared::Delivery;
use super::watch::{Observer, Seen};
use crate::cache::{Known, Record};
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{Blob, Layer};
use crate::layer::{self, Compression, Written};
use crate::parallel;
use crate::plan::PlannedLayer;
use crate::progress::{Progress, Span};
use crate::python::relocate::paths::PathScanner;

/// Layers that are written at the same time, at most.
const LANES: usize = 2;

/// More threads than this gain nothing when layers are looked for.
const MOST_LOOKING: usize = 4;

/// How layers are written, and into which folder.
pub(super) struct Writing<'a> {
    pub(super) folder: &'a Path,
    pub(super) compression: Compression,
    pub(super) threads: Option<NonZero<usize>>,
    pub(super) scanner: &'a PathScanner,
    pub(super) progress: &'a dyn Progress,
}

/// A layer of the plan that is still to be made.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) index: usize,
    /// How many layers there are.
    pub(super) total: usize,
    pub(super) planned: &'a PlannedLayer,
}

impl Task<'_> {
    /// Says what is done about the layer, as long as what it gives is there.
    pub(super) fn step<'w>(&self, what: &str, writing: &Writing<'w>) -> Span<'w> {
        let (number, total, name) = (self.index + 1, self.total, &self.planned.name);
        writing.progress.step(&format!("{what} layer {number} of {total}: {name}"));
        Span::begin(writing.progress, format!("{what} layers"))
    }
}

/// Where a layer of an image that was built comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LayerOrigin {
    /// The base image.
    Base,
    /// The cache folder: an earlier build, or another process, has written the layer.
    Cache,
    /// A cache of other machines.
    Remote,
    /// This build has written the layer.
    Written,
}

/// A layer that is there.
pub(super) struct Made {
    pub(super) layer: Layer,
    pub(super) origin: LayerOrigin,
    /// What is in it.
    pub(super) seen: Seen,
    /// What the cache has of it: its content key and record.
    pub(super) kept: Option<(Digest, Record)>,
    /// Whether others have it.
    pub(super) delivery: Delivery,
}

type Done = Result<Made, BuildError>;

/// Makes all of `planned`.
#[allow(clippy::disallowed_methods)] // The plan is made: nothing is traced any more.
pub(super) fn layers(
    planned: &[PlannedLayer],
    writing: &Writing<'_>,
    reuse: Option<&Reuse<'_>>,
) -> Result<Vec<Made>, BuildError> {
    let looking = Span::begin(writing.progress, "looking for layers");
    let total = planned.len();
    let task = |index: usize| planned.get(index).map(|planned| Task { index, total, planned });
    let look = |(): &mut (), index| {
        Ok::<_, Infallible>(reuse.zip(task(index)).and_then(|(reuse, task)| reuse.unchanged(task, writing)))
    };
    let found = parallel::each(total, processors(writing).min(MOST_LOOKING), || Ok(()), look);
    let mut done: Vec<Option<Done>> =
        found.unwrap_or_default().into_iter().map(|layer| layer.map(Ok)).collect();
    done.resize_with(total, || None);
    let mut left: VecDeque<Task<'_>> =
        (0..total).filter(|index| done[*index].is_none()).filter_map(task).collect();
    drop(looking);
    left.rotate_left(reuse.map_or(0, |reuse| reuse.first(left.len())));
    // libzstd has threads of its own for each layer, and holds some 16 MB for each of them.
    let most = if matches!(writing.compression, Compression::Zstd(_)) { 1 } else { LANES };
    let lanes = processors(writing).min(most).min(left.len());
    let queue = Queue(Mutex::new(left));
    let outcomes: Vec<(usize, Done)> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(|| lane(&queue, writing, reuse))).collect();
        let ended = lanes.into_iter().map(thread::ScopedJoinHandle::join);
        ended.flat_map(|lane| lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for (index, outcome) in outcomes {
        done[index] = Some(outcome);
    }
    // In the order of the plan, so that the first error is the same every time.
    done.into_iter().flatten().collect()
}

pub(super) fn processors(writing: &Writing<'_>) -> usize {
    writing.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// What is left to do.
struct Queue<'a>(Mutex<VecDeque<Task<'a>>>);

impl<'a> Queue<'a> {
    fn next(&self) -> Option<Task<'a>> {
        self.lock().pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Task<'a>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes one layer after another until none is left or one has failed.
fn lane(queue: &Queue<'_>, writing: &Writing<'_>, reuse: Option<&Reuse<'_>>) -> Vec<(usize, Done)> {
    let mut outcomes = Vec::new();
    let mut others: VecDeque<(Task<'_>, Option<Box<Looked>>)> = VecDeque::new();
    loop {
        let (task, looked, patience) = match queue.next() {
            Some(task) => (task, None, Patience::None),
            None => match others.pop_front() {
                Some((task, looked)) => (task, looked, Patience::Waiting),
                None => return outcomes,
            },
        };
        let Task { index, planned, .. } = task;
        let made = match reuse {
            None => write(task, writing).map(|(layer, _, known)| Made {
                layer,
                origin: LayerOrigin::Written,
                seen: Seen::of(&planned.tree, &known),
                kept: None,
                delivery: Delivery::Done,
            }),
            Some(reuse) => match reuse.make(task, writing, patience, looked) {
                // Another one makes it: there may be something to do meanwhile.
                Ok(Attempt::Busy(looked)) => {
                    others.push_back((task, looked));
                    continue;
                }
                Ok(Attempt::Made(made)) => Ok(*made),
                Err(error) => Err(error),
            },
        };
        if made.is_err() {
            // The other lane need not begin another.
            queue.lock().clear();
            others.clear();
        }
        outcomes.push((index, made));
    }
}

/// Whether to wait for another process or machine that makes the same layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// There may be other work.
    None,
    /// There is nothing else to do.
    Waiting,
}

/// Writes a layer into the build's folder.
pub(super) fn write(
    task: Task<'_>,
    writing: &Writing<'_>,
) -> Result<(Layer, Written, Vec<Known>), BuildError> {
    let _span = task.step("writing", writing);
    let path = writing.folder.join(format!("layer-{}", task.index));
    let file = std::fs::File::create(&path).map_err(FileError::of("create", &path))?;
    let mut sink = BufWriter::with_capacity(1 << 20, file);
    let mut observer = Observer::new(writing.scanner);
    let written =
        layer::write(&task.planned.tree, writing.compression, writing.threads, &mut sink, &mut observer)?;
    sink.flush().map_err(FileError::of("write", &path))?;
    let layer = Layer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        encoding: encoding(writing.compression),
        blob: Blob::File(path),
    };
    Ok((layer, written, observer.finish()))
}
