//! One layer to make, and the result: the job that `write.rs` schedules and `layer_cache.rs` saves.

use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::path::Path;
use std::thread;

use super::BuildError;
use super::content_scan::{ContentObserver, LayerMeter, LayerSummary};
use super::remote_cache::UploadStatus;
use crate::cache::{FileDigest, Record};
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{Blob, Layer};
use crate::layer::{self, Compression, WrittenLayer};
use crate::plan::PlannedLayer;
use crate::progress::{Activity, Meter, Progress, Span, Step};
use crate::python::relocate::paths::PathScanner;

/// Parameters of writing layers.
pub(super) struct Writing<'a> {
    pub(super) folder: &'a Path,
    pub(super) compression: Compression,
    pub(super) threads: Option<NonZero<usize>>,
    pub(super) scanner: &'a PathScanner,
    pub(super) progress: &'a dyn Progress,
    /// The bytes of the layers made so far.
    pub(super) meter: Meter<'a>,
}

/// A planned layer to be made.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) index: usize,
    /// Number of layers.
    pub(super) total: usize,
    pub(super) planned: &'a PlannedLayer,
}

impl<'a> Task<'a> {
    /// Reports a step on this layer, and begins a span for the work.
    pub(super) fn step<'w>(&self, activity: Activity, writing: &Writing<'w>) -> Span<'w> {
        writing.progress.step(&self.described(activity).counted(writing.meter.count()));
        Span::begin(writing.progress, activity)
    }

    /// Starts counting the bytes of this layer.
    pub(super) fn meter(&self, writing: &'a Writing<'a>) -> LayerMeter<'a> {
        LayerMeter::new(self.described(Activity::WriteLayer), self.planned.tree.size_hint(), &writing.meter)
    }

    fn described(&self, activity: Activity) -> Step<'a> {
        let step = Step::on(activity, self.planned.name.as_str());
        step.numbered(self.index as u64 + 1, self.total as u64)
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

impl LayerOrigin {
    /// Returns the origin's name in the metadata file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Cache => "cached",
            Self::Remote => "remote",
            Self::Written => "written",
            Self::Appended => "appended",
        }
    }
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
pub(super) fn write<'a>(
    task: Task<'a>,
    writing: &'a Writing<'a>,
) -> Result<(Layer, WrittenLayer, Vec<FileDigest>), BuildError> {
    let _span = task.step(Activity::WriteLayer, writing);
    let path = writing.folder.join(format!("layer-{}", task.index));
    let file = std::fs::File::create(&path).map_err(FileError::of("create", &path))?;
    let mut sink = BufWriter::with_capacity(1 << 20, file);
    let mut observer = ContentObserver::new(writing.scanner).with_meter(task.meter(writing));
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
