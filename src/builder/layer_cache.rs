//! Reuse of layers: by the stamps of their files, else by content. New layers are cached.

use std::io;
use std::path::Path;

use super::BuildError;
use super::content_scan::{ContentObserver, LayerSummary};
use super::layer_job::{self, FinishedLayer, LayerOrigin, Task, WhenBusy, Writing};
use super::remote_cache::{
    ExpectedLayer, FetchedLayer, LayerUpload, LookupOutcome, RemoteCaches, UploadStatus,
};
use crate::cache::{self, FileDigest, FileDigests, LayerCache, QuickRecord, Record};
use crate::digest::Digest;
use crate::image::{Blob, Layer};
use crate::layer::{self, Compression, LayerError, Watch};
use crate::parallel;
use crate::progress::{Activity, Progress, Span, Warning};
use crate::python::relocate::paths::PathScanner;
use crate::tree::{Entry, KeyHasher, Kind, Moment, Tree};

/// Maximum number of threads for reading files; more gain no time.
const MAX_READERS: usize = 8;

/// The layers of earlier builds, for one image of one project.
pub(super) struct LayerReuser<'a> {
    cache: &'a LayerCache,
    remotes: RemoteCaches<'a>,
    /// Key prefix that separates this image's file digests from those of others.
    image: KeyHasher,
    scanner: String,
    /// A time before any file is read.
    moment: Option<Moment>,
}

/// Digests of a layer's files.
pub(super) struct FileContents {
    /// Content key of the layer.
    key: Option<Digest>,
    known: Vec<FileDigest>,
    /// Properties expected of a remote layer, if requested.
    expected: Option<ExpectedLayer>,
}

/// Outcome of making a layer.
pub(super) enum LayerOutcome {
    /// Done.
    Finished(Box<FinishedLayer>),
    /// Locked by another process or machine; with the facts found so far.
    Busy(Option<Box<FileContents>>),
}

impl<'a> LayerReuser<'a> {
    /// Prepares the reuse for the image identified by `image`. Files may be read from now on.
    pub(super) fn new(
        cache: &'a LayerCache,
        remotes: RemoteCaches<'a>,
        image: KeyHasher,
        scanner: &PathScanner,
    ) -> Self {
        Self { cache, remotes, image, scanner: scanner.identity(), moment: cache.moment() }
    }

    /// Returns the layer, if no input changed since the last build. Reads no file.
    pub(super) fn unchanged(&self, task: Task<'_>, writing: &Writing<'_>) -> Option<FinishedLayer> {
        let quick = self.cache.quick(&self.quick_key(task, writing))?;
        let layer = self.layer(&quick.record, task, writing)?;
        Some(self.finished(layer, quick, writing.progress))
    }

    /// Makes the result for a cached layer with the record `quick`.
    pub(super) fn finished(
        &self,
        layer: Layer,
        quick: QuickRecord,
        progress: &dyn Progress,
    ) -> FinishedLayer {
        let QuickRecord { record, key, found } = quick;
        let seen = LayerSummary { owners: record.owners.clone(), found };
        self.upload(layer, LayerOrigin::Cache, seen, (key, record), false, progress)
    }

    /// Waits for a concurrent upload of the same layer, and uploads it if that fails.
    pub(super) fn finish_upload(&self, made: &mut FinishedLayer, progress: &dyn Progress) {
        if made.upload == UploadStatus::Deferred
            && let Some((key, record)) = &made.cached
        {
            let (key, blob) = (*key, made.layer.blob.clone());
            made.layer.blob =
                self.remotes.upload_after_wait(&LayerUpload { key, record, blob, leased: false }, progress);
            made.upload = UploadStatus::Done;
        }
    }

    /// Uploads the cached layer to remote caches.
    fn upload(
        &self,
        mut layer: Layer,
        origin: LayerOrigin,
        seen: LayerSummary,
        (key, record): (Digest, Record),
        leased: bool,
        progress: &dyn Progress,
    ) -> FinishedLayer {
        let upload = LayerUpload { key, record: &record, blob: layer.blob, leased };
        let (blob, upload_status) = self.remotes.upload(upload, progress);
        layer.blob = blob;
        FinishedLayer { layer, origin, seen, cached: Some((key, record)), upload: upload_status }
    }

    /// Takes the layer with the same content from a cache, or writes and caches it. `contents` holds
    /// facts from an earlier attempt.
    pub(super) fn make(
        &self,
        task: Task<'_>,
        writing: &Writing<'_>,
        when_busy: WhenBusy,
        mut contents: Option<Box<FileContents>>,
    ) -> Result<LayerOutcome, BuildError> {
        let hint = cache::hint(&task.planned.tree, writing.compression);
        let made = |made| Ok(LayerOutcome::Finished(Box::new(made)));
        if let Some(taken) = self.take(&hint, &mut contents, task, writing)? {
            return made(taken);
        }
        if when_busy == WhenBusy::Wait
            && let Some(expected) = contents.as_ref().and_then(|contents| contents.expected)
        {
            // Before taking the local lock, which would block other processes.
            self.remotes.wait(expected.key, &task.planned.name, writing.progress);
        }
        let _making = match when_busy {
            WhenBusy::Wait => self.cache.lock_build(&hint),
            WhenBusy::Return => match self.cache.try_lock_build(&hint) {
                Err(_) => return Ok(LayerOutcome::Busy(contents)),
                Ok(making) => making,
            },
        };
        // Another process may have made it meanwhile.
        if let Some(taken) = self.take(&hint, &mut contents, task, writing)? {
            return made(taken);
        }
        if self.remotes.can_read() {
            let contents = match contents.filter(|contents| contents.expected.is_some()) {
                Some(contents) => contents,
                None => Box::new(Self::hash_archive(task, writing)?),
            };
            if let Some(expected) = contents.expected {
                let file = writing.folder.join(format!("layer-{}", task.index));
                return match self.remotes.look_up(expected, &file, writing.progress) {
                    LookupOutcome::Fetched(fetched) => {
                        made(self.fetched_layer(*fetched, expected.key, &contents, &hint, task, writing))
                    }
                    LookupOutcome::Leased => Ok(LayerOutcome::Busy(Some(contents))),
                    LookupOutcome::NotFound => {
                        let write = || self.write(task, writing, &hint, Some(expected.key));
                        self.remotes.with_lease(expected.key, write).and_then(made)
                    }
                };
            }
        }
        self.write(task, writing, &hint, None).and_then(made)
    }

    /// Writes, caches and uploads the layer. `leased` is the key of the lease that this build
    /// holds.
    fn write(
        &self,
        task: Task<'_>,
        writing: &Writing<'_>,
        hint: &Digest,
        leased: Option<Digest>,
    ) -> Result<FinishedLayer, BuildError> {
        let (mut layer, written, known) = layer_job::write(task, writing)?;
        let seen = LayerSummary::of(&task.planned.tree, &known);
        let Some(key) = cache::content_key(&task.planned.tree, writing.compression, &known) else {
            let origin = LayerOrigin::Written;
            return Ok(FinishedLayer { layer, origin, seen, cached: None, upload: UploadStatus::Done });
        };
        let record = Record::new(&task.planned.name, &written, seen.owners.clone());
        let keeping = Span::begin(writing.progress, Activity::CacheLayer);
        if let Blob::File(file) = layer.blob {
            layer.blob = self.cache.keep(&key, hint, &record, file);
        }
        self.store_quick_record(task, writing, key, record.clone(), &seen);
        self.save_file_digests(self.contents(task), task, &known);
        drop(keeping);
        let leased = leased == Some(key);
        Ok(self.upload(layer, LayerOrigin::Written, seen, (key, record), leased, writing.progress))
    }

    /// Warns about errors of the caches.
    pub(super) fn warn(&self, progress: &dyn Progress) {
        if let Some(trouble) = self.cache.first_failure() {
            progress.warn(
                Warning::new("layer cache", format!("cannot store new layers: {trouble}"))
                    .with_help("name another directory with --cache-dir: the next build repeats this work"),
            );
        }
        self.remotes.warn(progress);
    }

    /// Hashes the files of a layer and the uncompressed archive: its digest must be known before a
    /// remote lookup.
    fn hash_archive(task: Task<'_>, writing: &Writing<'_>) -> Result<FileContents, BuildError> {
        let _span = task.step(Activity::ReadLayer, writing);
        let tree = &task.planned.tree;
        let mut observer = ContentObserver::new(writing.scanner);
        let archive = layer::write(tree, Compression::None, writing.threads, &mut io::sink(), &mut observer)?;
        let known = observer.finish();
        let key = cache::content_key(tree, writing.compression, &known);
        let (diff_id, archive_size) = (archive.diff_id, archive.archive_size);
        Ok(FileContents { key, known, expected: key.map(|key| ExpectedLayer { key, diff_id, archive_size }) })
    }

    /// Makes the result for a layer fetched from a remote cache.
    fn fetched_layer(
        &self,
        fetched: FetchedLayer,
        key: Digest,
        contents: &FileContents,
        hint: &Digest,
        task: Task<'_>,
        writing: &Writing<'_>,
    ) -> FinishedLayer {
        let seen = LayerSummary::of(&task.planned.tree, &contents.known);
        // The local summary is more reliable than the remote one.
        let record =
            Record { name: task.planned.name.clone(), owners: seen.owners.clone(), ..fetched.record };
        let blob = match self.cache.keep(&key, hint, &record, fetched.file) {
            Blob::Verified { file, .. } => Blob::Verified { file, repository: fetched.repository },
            blob => blob,
        };
        let layer = record.layer(writing.compression, blob);
        self.store_quick_record(task, writing, key, record.clone(), &seen);
        self.save_file_digests(self.contents(task), task, &contents.known);
        self.upload(layer, LayerOrigin::Remote, seen, (key, record), false, writing.progress)
    }

    /// Returns the index, among `count` layers, to begin with.
    pub(super) fn first_index(&self, count: usize) -> usize {
        self.remotes.first_index(count)
    }

    /// Returns the contents of a layer's files. Reads those not in the cache.
    fn read_contents(&self, task: Task<'_>, writing: &Writing<'_>) -> Result<FileContents, BuildError> {
        let _span = task.step(Activity::ReadLayer, writing);
        let contents = self.contents(task);
        let known = read_unknown(&task.planned.tree, &contents, writing)?;
        self.save_file_digests(contents, task, &known);
        let key = cache::content_key(&task.planned.tree, writing.compression, &known);
        Ok(FileContents { key, known, expected: None })
    }

    /// Returns the layer, if the cache has one with the same content. Reads files only if the cache
    /// has one with the same names.
    fn take(
        &self,
        hint: &Digest,
        contents: &mut Option<Box<FileContents>>,
        task: Task<'_>,
        writing: &Writing<'_>,
    ) -> Result<Option<FinishedLayer>, BuildError> {
        if !self.cache.is_hinted(hint) {
            return Ok(None);
        }
        let contents = match contents {
            Some(contents) => contents,
            None => contents.insert(Box::new(self.read_contents(task, writing)?)),
        };
        Ok(self.find_by_content(contents, task, writing))
    }

    fn find_by_content(
        &self,
        contents: &FileContents,
        task: Task<'_>,
        writing: &Writing<'_>,
    ) -> Option<FinishedLayer> {
        let key = contents.key?;
        let record = self.cache.record(&key)?;
        let layer = self.layer(&record, task, writing)?;
        let seen = LayerSummary::of(&task.planned.tree, &contents.known);
        self.store_quick_record(task, writing, key, record.clone(), &seen);
        Some(self.upload(layer, LayerOrigin::Cache, seen, (key, record), false, writing.progress))
    }

    fn layer(&self, record: &Record, task: Task<'_>, writing: &Writing<'_>) -> Option<Layer> {
        let place = writing.folder.join(format!("layer-{}", task.index));
        linked_layer(self.cache, record, writing.compression, &place)
    }

    fn quick_key(&self, task: Task<'_>, writing: &Writing<'_>) -> Digest {
        cache::quick_key(&task.planned.tree, writing.compression, &self.scanner)
    }

    /// Caches the layer under the stamps of its files, unless one could change without a new stamp.
    fn store_quick_record(
        &self,
        task: Task<'_>,
        writing: &Writing<'_>,
        key: Digest,
        record: Record,
        seen: &LayerSummary,
    ) {
        let settled = |moment| {
            let mut contents = task.planned.tree.iter().filter_map(|entry| match &entry.kind {
                Kind::File(content) => Some(content),
                _ => None,
            });
            contents.all(|content| content.host_files().all(|file| file.stamp.is_settled_at(moment)))
        };
        if self.moment.is_some_and(settled) {
            let quick = QuickRecord { record, key, found: seen.found.clone() };
            self.cache.remember(&self.quick_key(task, writing), &quick);
        }
    }

    fn contents(&self, task: Task<'_>) -> FileDigests {
        self.cache.file_digests(&self.image.clone().text(&task.planned.name).text(&self.scanner).finish())
    }

    fn save_file_digests(&self, mut contents: FileDigests, task: Task<'_>, known: &[FileDigest]) {
        let Some(moment) = self.moment else { return };
        for (entry, known) in files(&task.planned.tree).zip(known) {
            if let Kind::File(content) = &entry.kind {
                contents.note(content, known, moment);
            }
        }
        self.cache.record_failure(contents.save());
    }
}

/// Returns the layer of `record` from the cache, linked at `place` in the build's directory.
pub(super) fn linked_layer(
    cache: &LayerCache,
    record: &Record,
    compression: Compression,
    place: &Path,
) -> Option<Layer> {
    let blob = cache.hold(cache.blob(record.digest, record.size)?, place);
    Some(record.layer(compression, Blob::Verified { file: blob, repository: None }))
}

fn files(tree: &Tree) -> impl Iterator<Item = &Entry> {
    tree.iter().filter(|entry| matches!(entry.kind, Kind::File(_)))
}

/// Returns the contents of all files of `tree`. Reads those not in `contents`, in parallel.
fn read_unknown(
    tree: &Tree,
    contents: &FileDigests,
    writing: &Writing<'_>,
) -> Result<Vec<FileDigest>, BuildError> {
    let entries: Vec<&Entry> = files(tree).collect();
    let threads = layer_job::processors(writing).min(MAX_READERS);
    let known = parallel::each(
        entries.len(),
        threads,
        || Ok::<_, LayerError>(Vec::new()),
        |buffer, index| {
            let entry = entries[index];
            match &entry.kind {
                Kind::File(content) => match contents.get(content) {
                    Some(known) => Ok(known),
                    None => read_one(entry, writing.scanner, buffer),
                },
                _ => Err(LayerError::Write(io::Error::other("only files have content"))),
            }
        },
    )?;
    Ok(known)
}

fn read_one(entry: &Entry, scanner: &PathScanner, buffer: &mut Vec<u8>) -> Result<FileDigest, LayerError> {
    let mut observer = ContentObserver::new(scanner);
    if let Kind::File(content) = &entry.kind {
        let mut open = content.open()?;
        let mut came = 0;
        loop {
            buffer.clear();
            if open.read_some(buffer)? == 0 {
                break;
            }
            came += buffer.len() as u64;
            observer.bytes(entry, buffer);
        }
        if came != open.size {
            return Err(LayerError::Size { path: entry.path.clone(), promised: open.size, came });
        }
        observer.end(entry, came);
    }
    let known = observer.finish().pop();
    known.ok_or_else(|| LayerError::Write(io::Error::other("only files have content")))
}
