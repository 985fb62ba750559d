//! Layers: writes a [`Tree`] as a compressed tar archive, and reads layers.
//!
//! OCI image specification 1.1, `layer.md`. The bytes are a function of the tree: the same digests
//! on every machine, with any number of threads. Memory does not grow with the size of a layer.

mod archive;
mod compress;
mod deflate;
mod identity;
mod pool;
mod read;
mod read_ahead;
mod time;
#[cfg(feature = "zstd")]
mod zstandard;

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::Receiver;
use std::thread;

pub use crate::compression::Compression;
use compress::{Piece, Pipeline};
use pool::Pool;
pub use read::{
    Duplicates, LayerDigests, LayerReader, Limits, Located, Member, MemberKind, ReadError, locate,
};
pub(crate) use read::{Oddity, RawKind, RawMember, read_raw};
use read_ahead::ReadAhead;

use crate::digest::{Digest, Hasher};
use crate::error::{Advice, FileError};
use crate::tree::{ContentError, Entry, ImagePath, Tree};

/// The most useful threads: reading and hashing the archive is the work of one thread.
const MAX_THREADS: usize = 16;

/// An error of writing a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A file could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The output failed.
    #[error("cannot write a layer: {0}")]
    Write(io::Error),
    /// The output file could not be created.
    #[error(transparent)]
    File(#[from] FileError),
    /// zstd was requested of a build without the feature.
    #[error("cannot write zstd: ipo-oci was built without the feature `zstd`")]
    NoZstd,
    /// A modification time before 1970.
    #[error("invalid time `{time}` of {path}: before 1970")]
    Time {
        /// The entry.
        path: ImagePath,
        /// Its time in seconds since 1970.
        time: i64,
    },
    /// The name of a whiteout.
    #[error("invalid name {0}: `.wh.` marks deletions in layers")]
    Whiteout(ImagePath),
    /// An invalid link target.
    #[error("invalid target of link {path}: {reason}")]
    Target {
        /// The link.
        path: ImagePath,
        /// The reason.
        reason: &'static str,
    },
    /// A file had more or fewer bytes than expected.
    #[error("size mismatch of {path}: expected {promised} bytes, found {came}")]
    Size {
        /// The entry.
        path: ImagePath,
        /// The expected size in bytes.
        promised: u64,
        /// The actual size in bytes.
        came: u64,
    },
}

impl From<io::Error> for LayerError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
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

/// An observer of entries and their bytes during a write.
pub trait Watch {
    /// Called with the next bytes of the file `entry`.
    fn bytes(&mut self, entry: &Entry, bytes: &[u8]) {
        let _ = (entry, bytes);
    }

    /// Called after the file `entry` with `size` bytes was written.
    fn end(&mut self, entry: &Entry, size: u64) {
        let _ = (entry, size);
    }
}

/// A [`Watch`] that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWatch;

impl Watch for NoWatch {}

/// The result of writing a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenLayer {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Size of the compressed bytes.
    pub size: u64,
    /// Digest of the archive.
    pub diff_id: Digest,
    /// Size of the archive in bytes.
    pub archive_size: u64,
    /// Bytes of all files in the layer.
    pub content_bytes: u64,
    /// Number of regular files in the layer.
    pub files: u64,
}

/// Writes `tree` as a layer to `sink`.
///
/// `threads` compress (default: one per processor); the bytes do not depend on the number.
#[allow(clippy::disallowed_methods)] // The plan is complete: writing is not traced.
pub fn write(
    tree: &Tree,
    compression: Compression,
    threads: Option<NonZero<usize>>,
    sink: &mut (dyn Write + Send),
    watch: &mut dyn Watch,
) -> Result<WrittenLayer, LayerError> {
    let threads = threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
    let threads = threads.min(NonZero::new(MAX_THREADS).unwrap_or(threads));
    let mut blob = HashingWriter::new(sink);
    if let Compression::Zstd(_) = compression
        && cfg!(not(feature = "zstd"))
    {
        return Err(LayerError::NoZstd);
    }
    let (written, (diff_id, archive_size)) = thread::scope(|scope| {
        let pool = Pool::start(scope, threads);
        let write = |pieces: &Receiver<Piece>| compressed(compression, threads, pieces, &mut blob);
        let mut pipeline = Pipeline::start(scope, &pool, compression, write);
        let files = ReadAhead::new(tree.iter(), &pool);
        let written = archive::write(tree, Some(files), &mut pipeline, watch)?;
        Ok::<_, LayerError>((written, pipeline.finish()?))
    })?;
    let (digest, size) = blob.finish();
    Ok(WrittenLayer {
        digest,
        size,
        diff_id,
        archive_size,
        content_bytes: written.content_bytes,
        files: written.files,
    })
}

/// Writes the pieces of an archive to `sink`: gzip arrives in members, zstd is compressed here by
/// threads of its own.
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

/// Writes `tree` as a plain tar archive to `sink`, for archives of complete images.
pub fn write_archive(tree: &Tree, sink: &mut dyn Write, watch: &mut dyn Watch) -> Result<(), LayerError> {
    archive::write(tree, None, sink, watch).map(|_| ())
}

/// A writer that counts and hashes.
struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::new(), bytes: 0 }
    }

    fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<W: Write> Write for HashingWriter<W> {
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
