//! Layers from the cache: by the states of their files, else by their bytes; and what is made is kept.

use std::io;
use std::path::Path;

use super::BuildError;
use super::built::encoding;
use super::shared::{Shared, Wanted};
use super::watch::{Observer, Seen};
use super::write::{self, Made, Patience, Task, Writing};
use crate::cache::{self, Contents, Known, LayerCache, Quick, Record};
use crate::digest::Digest;
use crate::image::{Blob, Layer};
use crate::layer::{self, Compression, LayerError, Watch};
use crate::parallel;
use crate::progress::{Progress, Span, Warning};
use crate::python::relocate::paths::PathScanner;
use crate::tree::{Entry, Fields, Kind, Moment, Tree};

/// More threads than this gain nothing when files are read.
const MOST_READERS: usize = 8;

/// The layers of earlier builds, for one image of one project.
pub(super) struct Reuse<'a> {
    cache: &'a LayerCache,
    shared: Shared<'a>,
    /// What keeps the memory of this image's files apart from those of others.
    image: Fields,
    scanner: String,
    /// No file is read before this.
    moment: Option<Moment>,
}

/// What the files of a layer hold.
struct Looked {
    /// Its content key.
    key: Option<Digest>,
    known: Vec<Known>,
}

/// What came of making a layer.
pub(super) enum Attempt {
    /// It is there.
    Made(Box<Made>),
    /// Another process is making one of the same names.
    Busy,
}

impl<'a> Reuse<'a> {
    /// For the image that `image` tells from others on this machine. Its files are read from now on.
    pub(super) fn new(
        cache: &'a LayerCache,
        shared: Shared<'a>,
        image: Fields,
        scanner: &PathScanner,
    ) -> Self {
        Self { cache, shared, image, scanner: scanner.identity(), moment: cache.moment() }
    }

    /// The layer, if nothing that decides it has changed since it was last made here. No file is read.
    pub(super) fn unchanged(&self, task: Task<'_>, writing: &Writing<'_>) -> Option<Made> {
        let quick = self.cache.quick(&self.quick_key(task, writing))?;
        let layer = self.layer(&quick.record, task, writing)?;
        Some(self.known(layer, quick, writing.progress))
    }

    /// A layer of the cache that is as `quick` says.
    pub(super) fn known(&self, mut layer: Layer, quick: Quick, progress: &dyn Progress) -> Made {
        let Quick { record, key, found } = quick;
        layer.blob = self.shared.offer(key, &record, layer.blob, progress);
        Made { layer, seen: Seen { owners: record.owners.clone(), found }, kept: Some((key, record)) }
    }

    /// The layer: from the cache if it has one of the same bytes, else it is made and kept.
    pub(super) fn make(
        &self,
        task: Task<'_>,
        writing: &Writing<'_>,
        patience: Patience,
    ) -> Result<Attempt, BuildError> {
        let hint = cache::hint(&task.planned.tree, writing.compression);
        let mut looked = None;
        if self.cache.is_hinted(&hint) {
            let looked = looked.insert(self.look(task, writing)?);
            if let Some(made) = self.take(looked, task, writing) {
                return Ok(Attempt::Made(Box::new(made)));
            }
        }
        let _making = match patience {
            Patience::Waiting => self.cache.wait_to_make(&hint),
            Patience::None => match self.cache.try_to_make(&hint) {
                Err(_) => return Ok(Attempt::Busy),
                Ok(making) => making,
            },
        };
        // It may have been made meanwhile.
        if self.cache.is_hinted(&hint) {
            let looked = match looked {
                Some(looked) => looked,
                None => self.look(task, writing)?,
            };
            if let Some(made) = self.take(&looked, task, writing) {
                return Ok(Attempt::Made(Box::new(made)));
            }
        }
        if self.shared.asks()
            && let Some(made) = self.fetched_layer(task, writing, &hint)?
        {
            return Ok(Attempt::Made(Box::new(made)));
        }
        let (mut layer, written, known) = write::write(task, writing)?;
        let seen = Seen::of(&task.planned.tree, &known);
        let mut kept = None;
        if let Some(key) = cache::content_key(&task.planned.tree, writing.compression, &known) {
            let record = Record::new(&task.planned.name, &written, seen.owners.clone());
            let _span = Span::begin(writing.progress, "keeping layers");
            if let Blob::File(file) = layer.blob {
                layer.blob = self.cache.keep(&key, &hint, &record, file);
            }
            layer.blob = self.shared.offer(key, &record, layer.blob, writing.progress);
            self.remember(task, writing, key, record.clone(), &seen);
            self.note_all(self.contents(task), task, &known);
            kept = Some((key, record));
        }
        Ok(Attempt::Made(Box::new(Made { layer, seen, kept })))
    }

    /// Says what keeps the cache from doing its work.
    pub(super) fn warn(&self, progress: &dyn Progress) {
        if let Some(trouble) = self.cache.trouble() {
            progress.warn(
                Warning::new("the cache of layers", format!("nothing new can be kept: {trouble}")).with_help(
                    "the next build does this one's work again; name another folder with --cache-dir",
                ),
            );
        }
        self.shared.warn(progress);
    }

    /// A layer of the same bytes that another machine has made.
    fn fetched_layer(
        &self,
        task: Task<'_>,
        writing: &Writing<'_>,
        hint: &Digest,
    ) -> Result<Option<Made>, BuildError> {
        let span = task.step("reading", writing);
        let tree = &task.planned.tree;
        let mut observer = Observer::new(writing.scanner);
        // What the archive is, is known before anybody is asked for it compressed.
        let archive = layer::write(tree, Compression::None, writing.threads, &mut io::sink(), &mut observer)?;
        let known = observer.finish();
        drop(span);
        let Some(key) = cache::content_key(tree, writing.compression, &known) else { return Ok(None) };
        let wanted = Wanted { key, diff_id: archive.diff_id, archive_size: archive.archive_size };
        let file = writing.folder.join(format!("layer-{}", task.index));
        let Some(fetched) = self.shared.fetch(&wanted, &file, writing.progress) else { return Ok(None) };
        let seen = Seen::of(tree, &known);
        // What is in it is known here better than there.
        let record =
            Record { name: task.planned.name.clone(), owners: seen.owners.clone(), ..fetched.record };
        let blob = match self.cache.keep(&key, hint, &record, fetched.file) {
            Blob::Known { file, .. } => Blob::Known { file, repository: fetched.repository },
            blob => blob,
        };
        let blob = self.shared.offer(key, &record, blob, writing.progress);
        let layer = layer_of(&record, writing.compression, blob);
        self.remember(task, writing, key, record.clone(), &seen);
        self.note_all(self.contents(task), task, &known);
        Ok(Some(Made { layer, seen, kept: Some((key, record)) }))
    }

    /// With which of `count` layers to begin. Machines that share what they make and build the same at the same time begin with
    /// different ones, and find there what another has made meanwhile. It decides nothing but that.
    pub(super) fn first(&self, count: usize, writing: &Writing<'_>) -> usize {
        if count == 0 || !self.shared.is_shared_work() {
            return 0;
        }
        // The name of a build's folder is by chance.
        let name = Digest::of(writing.folder.as_os_str().as_encoded_bytes());
        usize::from(name.as_bytes()[0]) % count
    }

    /// What the files of a layer hold. Those that are not known are read.
    fn look(&self, task: Task<'_>, writing: &Writing<'_>) -> Result<Looked, BuildError> {
        let _span = task.step("reading", writing);
        let contents = self.contents(task);
        let known = read_unknown(&task.planned.tree, &contents, writing)?;
        self.note_all(contents, task, &known);
        let key = cache::content_key(&task.planned.tree, writing.compression, &known);
        Ok(Looked { key, known })
    }

    /// The layer of these bytes, if the cache has one.
    fn take(&self, looked: &Looked, task: Task<'_>, writing: &Writing<'_>) -> Option<Made> {
        let key = looked.key?;
        let record = self.cache.record(&key)?;
        let mut layer = self.layer(&record, task, writing)?;
        let seen = Seen::of(&task.planned.tree, &looked.known);
        layer.blob = self.shared.offer(key, &record, layer.blob, writing.progress);
        self.remember(task, writing, key, record.clone(), &seen);
        Some(Made { layer, seen, kept: Some((key, record)) })
    }

    fn layer(&self, record: &Record, task: Task<'_>, writing: &Writing<'_>) -> Option<Layer> {
        let place = writing.folder.join(format!("layer-{}", task.index));
        held(self.cache, record, writing.compression, &place)
    }

    fn quick_key(&self, task: Task<'_>, writing: &Writing<'_>) -> Digest {
        cache::quick_key(&task.planned.tree, writing.compression, &self.scanner)
    }

    /// Remembers the layer under the states of its files, unless one of them could change without showing it.
    fn remember(&self, task: Task<'_>, writing: &Writing<'_>, key: Digest, record: Record, seen: &Seen) {
        let settled = |moment| {
            let contents = task.planned.tree.iter().filter_map(|entry| match &entry.kind {
                Kind::File(content) => content.host_file(),
                _ => None,
            });
            contents.into_iter().all(|file| file.stamp.is_settled_at(moment))
        };
        if self.moment.is_some_and(settled) {
            let quick = Quick { record, key, found: seen.found.clone() };
            self.cache.remember(&self.quick_key(task, writing), &quick);
        }
    }

    fn contents(&self, task: Task<'_>) -> Contents {
        self.cache.contents(&self.image.clone().text(&task.planned.name).text(&self.scanner).finish())
    }

    fn note_all(&self, mut contents: Contents, task: Task<'_>, known: &[Known]) {
        let Some(moment) = self.moment else { return };
        for (entry, known) in files(&task.planned.tree).zip(known) {
            if let Kind::File(content) = &entry.kind {
                contents.note(content, known, moment);
            }
        }
        self.cache.note_trouble(contents.save());
    }
}

/// The layer of `record` as the cache has it, under the name `place` of the build's own.
pub(super) fn held(
    cache: &LayerCache,
    record: &Record,
    compression: Compression,
    place: &Path,
) -> Option<Layer> {
    let blob = cache.hold(cache.blob(record.digest, record.size)?, place);
    Some(layer_of(record, compression, Blob::Known { file: blob, repository: None }))
}

fn layer_of(record: &Record, compression: Compression, blob: Blob) -> Layer {
    let Record { digest, size, diff_id, .. } = *record;
    Layer { digest, size, diff_id, encoding: encoding(compression), blob }
}

fn files(tree: &Tree) -> impl Iterator<Item = &Entry> {
    tree.iter().filter(|entry| matches!(entry.kind, Kind::File(_)))
}

/// What is known of all files of `tree`; those of which nothing is known are read, several at a time.
fn read_unknown(tree: &Tree, contents: &Contents, writing: &Writing<'_>) -> Result<Vec<Known>, BuildError> {
    let entries: Vec<&Entry> = files(tree).collect();
    let threads = write::processors(writing).min(MOST_READERS);
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
                _ => Err(LayerError::Write(io::Error::other("only files have bytes"))),
            }
        },
    )?;
    Ok(known)
}

fn read_one(entry: &Entry, scanner: &PathScanner, buffer: &mut Vec<u8>) -> Result<Known, LayerError> {
    let mut observer = Observer::new(scanner);
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
    known.ok_or_else(|| LayerError::Write(io::Error::other("only files have bytes")))
}
