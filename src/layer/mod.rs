//! Layers: a [`Tree`] as a compressed tar archive whose bytes follow from the tree alone.
//!
//! OCI image specification 1.1, `layer.md`. The same tree gives the same digests on every machine, with any
//! number of threads; memory does not grow with the size of a layer.

mod ahead;
mod archive;
mod compress;
mod identity;
mod pool;
mod read;
#[cfg(feature = "zstd")]
mod zstandard;

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::Receiver;
use std::thread;

use ahead::Ahead;
pub use compress::Compression;
use compress::{Piece, Pipeline};
use pool::Pool;
pub use read::{Duplicates, LayerReader, Limits, Located, Member, MemberKind, ReadError, Summary, locate};

use crate::digest::{Digest, Hasher};
use crate::error::{Advice, FileError};
use crate::tree::{ContentError, Entry, ImagePath, Tree};

/// More threads than this gain nothing: reading and hashing the archive is one thread's work.
const MOST_THREADS: usize = 16;

/// A layer that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A file of it could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The place it was written to failed.
    #[error("cannot write a layer: {0}")]
    Write(#[from] io::Error),
    /// The file for it could not be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// zstd was asked of a library that has none.
    #[error("this build of ipo-oci does not write zstd")]
    NoZstd,
    /// A time before 1970.
    #[error("{path} has the time {time}, which an archive cannot hold")]
    Time {
        /// The entry.
        path: ImagePath,
        /// Its time in seconds since 1970.
        time: i64,
    },
    /// A name that means a deletion.
    #[error("{0} cannot be in a layer: names that begin with `.wh.` delete what lies below")]
    Whiteout(ImagePath),
    /// A link that leads nowhere by its form alone.
    #[error("the target of the link {path} cannot be one: {reason}")]
    Target {
        /// The link.
        path: ImagePath,
        /// What is wrong with its target.
        reason: &'static str,
    },
    /// A file gave more or fewer bytes than it promised.
    #[error("{path} was to have {promised} bytes and had {came}")]
    Size {
        /// The entry.
        path: ImagePath,
        /// What it promised.
        promised: u64,
        /// What came.
        came: u64,
    },
}

impl Advice for LayerError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Content(error) => error.help(),
            Self::File(error) => error.help(),
            Self::Write(error) if error.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or point TMPDIR or --cache-dir at another disk".to_owned())
            }
            Self::Write(_) | Self::Size { .. } => None,
            Self::NoZstd => Some("compress with gzip, or build ipo-oci with its feature `zstd`".to_owned()),
            Self::Whiteout(_) => Some("rename it, or leave it out with a line in .dockerignore".to_owned()),
            Self::Target { .. } => {
                Some("remove the link, or leave it out with a line in .dockerignore".to_owned())
            }
            Self::Time { .. } => Some("set SOURCE_DATE_EPOCH to a time after 1970".to_owned()),
        }
    }
}

/// Sees the entries of a layer and their bytes as they are written.
pub trait Watch {
    /// The next bytes of the file `entry`.
    fn bytes(&mut self, entry: &Entry, bytes: &[u8]) {
        let _ = (entry, bytes);
    }

    /// The file `entry` is written; it had `size` bytes.
    fn end(&mut self, entry: &Entry, size: u64) {
        let _ = (entry, size);
    }
}

/// Sees nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWatch;

impl Watch for NoWatch {}

/// A layer that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Compressed bytes.
    pub size: u64,
    /// Digest of the archive.
    pub diff_id: Digest,
    /// Bytes of the archive.
    pub archive_size: u64,
    /// Bytes of the files in it.
    pub content_bytes: u64,
    /// Regular files in it.
    pub files: u64,
}

/// Writes `tree` as a layer to `sink`.
///
/// `threads` compress (default: one a processor); the bytes do not depend on it.
#[allow(clippy::disallowed_methods)] // The plan is made: nothing is traced any more.
pub fn write(
    tree: &Tree,
    compression: Compression,
    threads: Option<NonZero<usize>>,
    sink: &mut (dyn Write + Send),
    watch: &mut dyn Watch,
) -> Result<Written, LayerError> {
    let threads = threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
    let threads = threads.min(NonZero::new(MOST_THREADS).unwrap_or(threads));
    let mut blob = Counted::new(sink);
    if let Compression::Zstd(_) = compression
        && cfg!(not(feature = "zstd"))
    {
        return Err(LayerError::NoZstd);
    }
    let (written, (diff_id, archive_size)) = thread::scope(|scope| {
        let pool = Pool::start(scope, threads);
        let write = |pieces: &Receiver<Piece>| compressed(compression, threads, pieces, &mut blob);
        let mut pipeline = Pipeline::start(scope, &pool, compression, write);
        let files = Ahead::new(tree.iter(), &pool);
        let written = archive::write(tree, Some(files), &mut pipeline, watch)?;
        Ok::<_, LayerError>((written, pipeline.finish()?))
    })?;
    let (digest, size) = blob.finish();
    Ok(Written {
        digest,
        size,
        diff_id,
        archive_size,
        content_bytes: written.content_bytes,
        files: written.files,
    })
}

/// Writes the pieces of an archive to `sink`: gzip comes in members, zstd is compressed here by threads of its own.
fn compressed(
    compression: Compression,
    threads: NonZero<usize>,
    pieces: &Receiver<Piece>,
    sink: &mut dyn Write,
) -> io::Result<()> {
    match compression {
        #[cfg(feature = "zstd")]
        Compression::Zstd(level) => {
            let mut encoder = zstandard::writer(sink, level, threads)?;
            compress::write_all(pieces, &mut encoder)?;
            encoder.finish()?.flush()
        }
        _ => {
            let _ = threads;
            compress::write_all(pieces, sink)?;
            sink.flush()
        }
    }
}

/// Writes `tree` as a plain tar archive to `sink`: what holds whole images is made as layers are.
pub fn write_archive(tree: &Tree, sink: &mut dyn Write, watch: &mut dyn Watch) -> Result<(), LayerError> {
    archive::write(tree, None, sink, watch).map(|_| ())
}

/// Counts and digests what is written through it.
struct Counted<W> {
    inner: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W: Write> Counted<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::new(), bytes: 0 }
    }

    fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
