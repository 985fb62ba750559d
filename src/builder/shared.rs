//! Layers that other machines have made, and those that they can have.
//!
//! Nothing that comes from there is believed. The archive's digest is computed from the files at hand, so a record that
//! says another is of another layer; a blob is digested and decompressed before it is used. A cache that failed or lied is not asked again in
//! this build, and whoever builds is told once.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::{Record, SharedCache, SharedError};
use crate::digest::Digest;
use crate::image::Blob;
use crate::layer::{Duplicates, LayerReader, Limits, ReadError};
use crate::progress::{Progress, Span, Warning};
use crate::reference::RemoteName;

/// The caches that a build shares with others.
pub(super) struct Shared<'a> {
    from: Vec<Peer<'a>>,
    to: Vec<Peer<'a>>,
}

struct Peer<'a> {
    cache: &'a Arc<dyn SharedCache>,
    /// Why it is not asked any more.
    given_up: Mutex<Option<String>>,
}

/// What a layer has to be.
pub(super) struct Wanted {
    pub(super) key: Digest,
    pub(super) diff_id: Digest,
    pub(super) archive_size: u64,
}

/// A layer that another machine has made, in a file of this one.
pub(super) struct Fetched {
    pub(super) record: Record,
    pub(super) file: PathBuf,
    pub(super) repository: Option<RemoteName>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(from: &'a [Arc<dyn SharedCache>], to: &'a [Arc<dyn SharedCache>]) -> Self {
        let peers = |caches: &'a [Arc<dyn SharedCache>]| {
            caches.iter().map(|cache| Peer { cache, given_up: Mutex::default() }).collect()
        };
        Self { from: peers(from), to: peers(to) }
    }

    /// Whether there is anybody to ask.
    pub(super) fn asks(&self) -> bool {
        self.from.iter().any(Peer::is_good)
    }

    /// The layer, from the first cache that has it; it is written to `file`.
    pub(super) fn fetch(&self, wanted: &Wanted, file: &Path, progress: &dyn Progress) -> Option<Fetched> {
        self.from.iter().filter(|peer| peer.is_good()).find_map(|peer| {
            let (record, blob) = peer.note(peer.cache.find(&wanted.key))??;
            if (record.diff_id, record.archive_size) != (wanted.diff_id, wanted.archive_size) {
                peer.give_up("it has another layer than it says".to_owned());
                return None;
            }
            let _span = Span::begin(progress, "fetching layers");
            progress.step(&format!("fetching {} from {}", record.name, peer.cache.name()));
            match fetch(&record, &blob, file) {
                Ok(()) => Some(Fetched { record, file: file.to_owned(), repository: blob.repository() }),
                Err(reason) => {
                    peer.give_up(reason);
                    None
                }
            }
        })
    }

    /// Whether machines that build the same at the same time do well to begin with different layers.
    pub(super) fn is_shared_work(&self) -> bool {
        self.asks() && self.to.iter().any(Peer::is_good)
    }

    /// Gives a layer to the caches that take it, at once: another machine may be about to make it. The blob it gives back
    /// knows which repository holds it now.
    pub(super) fn offer(&self, key: Digest, record: &Record, blob: Blob, progress: &dyn Progress) -> Blob {
        let mut holder = blob.repository();
        for peer in self.to.iter().filter(|peer| peer.is_good()) {
            let _span = Span::begin(progress, "giving layers to others");
            if peer.note(peer.cache.keep(&key, record, &blob)).is_some() && holder.is_none() {
                holder = peer.cache.repository();
            }
        }
        match blob {
            Blob::Known { file, .. } => Blob::Known { file, repository: holder },
            blob => blob,
        }
    }

    /// Tells of the caches that were of no use.
    pub(super) fn warn(&self, progress: &dyn Progress) {
        for peer in self.from.iter().chain(&self.to) {
            if let Some(reason) = &*peer.lock() {
                progress.warn(
                    Warning::new(peer.cache.name(), format!("this cache was not used further: {reason}"))
                        .with_help("the image is right without it, and took longer"),
                );
            }
        }
    }
}

impl Peer<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_good(&self) -> bool {
        self.lock().is_none()
    }

    fn give_up(&self, reason: String) {
        self.lock().get_or_insert(reason);
    }

    fn note<T>(&self, outcome: Result<T, SharedError>) -> Option<T> {
        outcome.map_err(|error| self.give_up(error.to_string())).ok()
    }
}

/// Writes the blob to `file`, if it is what the record says and the archive in it is too.
fn fetch(record: &Record, blob: &Blob, file: &Path) -> Result<(), String> {
    let outcome = write_checked(record, blob, file);
    if outcome.is_err() {
        let _ = fs_err::remove_file(file);
    }
    outcome.map_err(|error| match error {
        Some(error) => error.to_string(),
        None => "the bytes of a layer are not those of its digest".to_owned(),
    })
}

fn write_checked(record: &Record, blob: &Blob, file: &Path) -> Result<(), Option<ReadError>> {
    let failed = |error: io::Error| Some(ReadError::from(error));
    let source = blob.open().map_err(failed)?.take(record.size.saturating_add(1));
    let mut out = io::BufWriter::with_capacity(1 << 20, fs_err::File::create(file).map_err(failed)?);
    let limits = Limits { archive_bytes: record.archive_size.saturating_add(1), ..Limits::default() };
    let summary = {
        let source = Copied { source, out: &mut out };
        let mut reader = LayerReader::new(source, limits)?.with_duplicates(Duplicates::Give);
        while reader.next_member()?.is_some() {}
        reader.finish()?
    };
    out.flush().map_err(failed)?;
    let expected = (record.digest, record.size, record.diff_id, record.archive_size);
    let found = (summary.digest, summary.size, summary.diff_id, summary.archive_size);
    if found == expected { Ok(()) } else { Err(None) }
}

/// Writes what is read through it to a file too.
struct Copied<R, W> {
    source: R,
    out: W,
}

impl<R: Read, W: Write> Read for Copied<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.out.write_all(buffer.get(..got).unwrap_or_default())?;
        Ok(got)
    }
}
