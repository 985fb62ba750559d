//! One layer to make, and the result: the job that `write.rs` schedules and `layer_cache.rs` saves.

use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::path::Path;
use std::thread;

use super::BuildError;
use super::content_scan::{ContentObserver, LayerSummary};
use super::remote_cache::UploadStatus;
use crate::cache::{FileDigest, Record};
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{Blob, Layer};
use crate::layer::{self, Compression, WrittenLayer};
use crate::plan::PlannedLayer;
use crate::progress::{Progress, Span};
use crate::python::relocate::paths::PathScanner;

/// Parameters of writing layers.
pub(super) struct Writing<'a> {
    pub(super) folder: &'a Path,
    pub(super) compression: Compression,
    pub(super) threads: Option<NonZero<usize>>,
    pub(super) scanner: &'a PathScanner,
    pub(super) progress: &'a dyn Progress,
}

/// A planned layer to be made.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) index: usize,
    /// Number of layers.
    pub(super) total: usize,
    pub(super) planned: &'a PlannedLayer,
}

impl Task<'_> {
    /// Reports a step on this layer, and begins a span for the work.
    pub(super) fn step<'w>(&self, what: &str, writing: &Writing<'w>) -> Span<'w> {
        let (number, total, name) = (self.index + 1, self.total, &self.planned.name);
        writing.progress.step(&format!("{what} layer {number} of {total}: {name}"));
        Span::begin(writing.progress, format!("{what} layers"))
    }
}

/// Origin of a layer in a built image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LayerOrigin {
    /// The base image.
    Base,
    /// The local cache: an earlier build, or another process, wrote the layer.
    Cache,
    /// A remote cache.
    Remote,
    /// Written by this build.
    Written,
    /// A finished layer of another tool.
    Appended,
}

/// A finished layer.
pub(super) struct FinishedLayer {
    pub(super) layer: Layer,
    pub(super) origin: LayerOrigin,
    /// Summary of its content.
    pub(super) seen: LayerSummary,
    /// Content key and record, if the layer is cached.
    pub(super) cached: Option<(Digest, Record)>,
    /// State of its upload to remote caches.
    pub(super) upload: UploadStatus,
}

pub(super) fn processors(writing: &Writing<'_>) -> usize {
    writing.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// Behavior if another process or machine is making the same layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenBusy {
    /// Return, since there may be other work.
    Return,
    /// Wait.
    Wait,
}

/// Writes a layer into the build's directory.
pub(super) fn write(
    task: Task<'_>,
    writing: &Writing<'_>,
) -> Result<(Layer, WrittenLayer, Vec<FileDigest>), BuildError> {
    let _span = task.step("writing", writing);
    let path = writing.folder.join(format!("layer-{}", task.index));
    let file = std::fs::File::create(&path).map_err(FileError::of("create", &path))?;
    let mut sink = BufWriter::with_capacity(1 << 20, file);
    let mut observer = ContentObserver::new(writing.scanner);
    let written =
        layer::write(&task.planned.tree, writing.compression, writing.threads, &mut sink, &mut observer)?;
    sink.flush().map_err(FileError::of("write", &path))?;
    let layer = Layer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        encoding: writing.compression.encoding(),
        blob: Blob::File(path),
    };
    Ok((layer, written, observer.finish()))
}
