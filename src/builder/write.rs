//! The layers of a plan, written side by side.
//!
//! Reading, hashing and rewriting a layer's files is one thread's work, and a layer's compressor runs empty at its end. Two
//! layers at a time keep the processors busy; more would only hold more in memory. What comes out does not depend on it.

use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::BuildError;
use super::built::encoding;
use super::watch::Observer;
use crate::error::FileError;
use crate::image::{Blob, Layer};
use crate::layer::{self, Compression};
use crate::plan::PlannedLayer;
use crate::progress::Progress;
use crate::python::relocate::paths::PathScanner;
use crate::report::Tally;

/// Layers that are written at the same time, at most.
const LANES: usize = 2;

/// How layers are written, and into which folder.
pub(super) struct Writing<'a> {
    pub(super) folder: &'a Path,
    pub(super) compression: Compression,
    pub(super) threads: Option<NonZero<usize>>,
    pub(super) scanner: &'a PathScanner,
    pub(super) progress: &'a dyn Progress,
}

/// A layer that was written, with what was seen of it.
type Outcome<'a> = (usize, Result<(Layer, Observer<'a>), BuildError>);

/// Writes all of `planned`, and counts their bytes.
pub(super) fn layers(
    planned: &[PlannedLayer],
    writing: &Writing<'_>,
) -> Result<(Vec<Layer>, Tally), BuildError> {
    let processors = writing.threads.or_else(|| thread::available_parallelism().ok());
    let lanes = processors.map_or(1, NonZero::get).min(LANES).min(planned.len());
    let next = AtomicUsize::new(0);
    let mut outcomes: Vec<Outcome<'_>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(|| lane(planned, &next, writing))).collect();
        let ended = lanes.into_iter().map(thread::ScopedJoinHandle::join);
        ended.flat_map(|lane| lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    // In the order of the plan, so that the first error and the order of warnings are the same every time.
    outcomes.sort_by_key(|(index, _)| *index);
    let mut layers = Vec::new();
    let mut observers = Vec::new();
    for (_, outcome) in outcomes {
        let (layer, observer) = outcome?;
        layers.push(layer);
        observers.push(observer);
    }
    Ok((layers, Observer::finish(observers, writing.progress)))
}

/// Writes one layer after another until none is left or one has failed.
fn lane<'a>(planned: &[PlannedLayer], next: &AtomicUsize, writing: &Writing<'a>) -> Vec<Outcome<'a>> {
    let mut outcomes = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(layer) = planned.get(index) else { return outcomes };
        writing.progress.step(&format!("layer {} of {}: {}", index + 1, planned.len(), layer.name));
        let mut observer = Observer::new(writing.scanner, index);
        let written = write(layer, index, writing, &mut observer).map(|layer| (layer, observer));
        if written.is_err() {
            // The other lane need not begin another.
            next.store(planned.len(), Ordering::Relaxed);
        }
        outcomes.push((index, written));
    }
}

fn write(
    planned: &PlannedLayer,
    index: usize,
    writing: &Writing<'_>,
    observer: &mut Observer<'_>,
) -> Result<Layer, BuildError> {
    let path = writing.folder.join(format!("layer-{index}"));
    let file = std::fs::File::create(&path).map_err(FileError::of("create", &path))?;
    let mut sink = BufWriter::with_capacity(1 << 20, file);
    let written = layer::write(&planned.tree, writing.compression, writing.threads, &mut sink, observer)?;
    sink.flush().map_err(FileError::of("write", &path))?;
    Ok(Layer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        encoding: encoding(writing.compression),
        blob: Blob::File(path),
    })
}
