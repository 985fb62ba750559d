//! Making the layers of a plan concurrently: from a cache, or written.
//!
//! One thread reads, hashes and rewrites the files of a layer, and a compressor runs idle at the
//! end of each. Two layers at a time keep the processors busy; more would only use memory. The
//! output does not depend on the number.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;
use std::thread;

use super::BuildError;
use super::content_scan::LayerSummary;
use super::layer_cache::{FileContents, LayerOutcome, LayerReuser};
use super::layer_job::{FinishedLayer, LayerOrigin, Task, WhenBusy, Writing, processors, write};
use super::remote_cache::UploadStatus;
use crate::layer::Compression;
use crate::parallel;
use crate::plan::PlannedLayer;
use crate::progress::{Activity, Span};
use crate::sync::LockExt as _;

/// Maximum number of layers written concurrently.
const MAX_LANES: usize = 2;

/// Maximum number of threads for cache lookups; more gain no time.
const MAX_LOOKUPS: usize = 4;

type LaneResult = Result<FinishedLayer, BuildError>;

/// Makes all layers of `planned`.
#[allow(clippy::disallowed_methods)] // The plan is complete, so there is no trace to keep.
pub(super) fn layers(
    planned: &[PlannedLayer],
    writing: &Writing<'_>,
    reuser: Option<&LayerReuser<'_>>,
) -> Result<Vec<FinishedLayer>, BuildError> {
    let looking = Span::begin(writing.progress, Activity::FindLayers);
    let total = planned.len();
    let task = |index: usize| planned.get(index).map(|planned| Task { index, total, planned });
    let look = |(): &mut (), index| {
        Ok::<_, Infallible>(
            reuser.zip(task(index)).and_then(|(reuser, task)| reuser.unchanged(task, writing)),
        )
    };
    let found = parallel::each(total, processors(writing).min(MAX_LOOKUPS), || Ok(()), look);
    let mut done: Vec<Option<LaneResult>> =
        found.unwrap_or_default().into_iter().map(|layer| layer.map(Ok)).collect();
    done.resize_with(total, || None);
    let mut left: VecDeque<Task<'_>> =
        (0..total).filter(|index| done[*index].is_none()).filter_map(task).collect();
    let reused = (0..total).filter(|index| done[*index].is_some()).filter_map(task);
    reused.for_each(|task| task.meter(writing).finish());
    drop(looking);
    left.rotate_left(reuser.map_or(0, |reuser| reuser.first_index(left.len())));
    // libzstd uses threads of its own for each layer, with about 16 MB each.
    let most = if matches!(writing.compression, Compression::Zstd(_)) { 1 } else { MAX_LANES };
    let lanes = processors(writing).min(most).min(left.len());
    let queue = Queue(Mutex::new(left));
    let outcomes: Vec<(usize, LaneResult)> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(|| lane(&queue, writing, reuser))).collect();
        let ended = lanes.into_iter().map(thread::ScopedJoinHandle::join);
        ended.flat_map(|lane| lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for (index, outcome) in outcomes {
        done[index] = Some(outcome);
    }
    // In the order of the plan, so that the first error is deterministic.
    done.into_iter().flatten().collect()
}

/// The layers to make.
struct Queue<'a>(Mutex<VecDeque<Task<'a>>>);

impl<'a> Queue<'a> {
    fn next(&self) -> Option<Task<'a>> {
        self.lock().pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Task<'a>>> {
        self.0.lock_forgiving()
    }
}

/// Makes layers until none is left or one fails.
fn lane(
    queue: &Queue<'_>,
    writing: &Writing<'_>,
    reuser: Option<&LayerReuser<'_>>,
) -> Vec<(usize, LaneResult)> {
    let mut outcomes = Vec::new();
    let mut others: VecDeque<(Task<'_>, Option<Box<FileContents>>)> = VecDeque::new();
    loop {
        let (task, contents, when_busy) = match queue.next() {
            Some(task) => (task, None, WhenBusy::Return),
            None => match others.pop_front() {
                Some((task, contents)) => (task, contents, WhenBusy::Wait),
                None => return outcomes,
            },
        };
        let Task { index, planned, .. } = task;
        let made = match reuser {
            None => write(task, writing).map(|(layer, _, known)| FinishedLayer {
                layer,
                origin: LayerOrigin::Written,
                seen: LayerSummary::of(&planned.tree, &known),
                cached: None,
                upload: UploadStatus::Done,
            }),
            Some(reuser) => match reuser.make(task, writing, when_busy, contents) {
                // Locked by another build: look for other work meanwhile.
                Ok(LayerOutcome::Busy(contents)) => {
                    others.push_back((task, contents));
                    continue;
                }
                Ok(LayerOutcome::Finished(made)) => Ok(*made),
                Err(error) => Err(error),
            },
        };
        match &made {
            Ok(made) if made.origin == LayerOrigin::Written => {}
            Ok(_) => task.meter(writing).finish(),
            Err(_) => {
                // Stops the other lane.
                queue.lock().clear();
                others.clear();
            }
        }
        outcomes.push((index, made));
    }
}
