//! Pipeline of an archive to a blob: hashing, compression and writing on other threads than the
//! archive.
//!
//! gzip (RFC 1952) is written as **one member per block** of a fixed size, which section 2.2 of the
//! RFC allows and eStargz layers always use. So each block is compressed separately, by a library
//! for full buffers that is faster than any streaming one, and the bytes are a function of the
//! archive. `docs/decisions.md` has the figures.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use super::pool::{Pool, Reply};
use crate::compression::Compression;
use crate::digest::{Digest, Hasher};

/// Block size in bytes of the archive. Twice as many make a layer 0.3 % smaller, half as many 0.5 %
/// larger.
const BLOCK: usize = 512 << 10;

/// An archive in progress: one thread hashes the archive, the pool compresses blocks, and one
/// thread writes the result.
///
/// Dropping a pipeline without [`Pipeline::finish`] ends the threads and leaves the output
/// incomplete.
pub(super) struct Pipeline<'p, 'scope, 'env> {
    pool: &'p Pool<'env>,
    compression: Compression,
    block: Vec<u8>,
    blocks: u64,
    digested: Option<SyncSender<Block>>,
    digester: Option<ScopedJoinHandle<'scope, (Digest, u64)>>,
    ordered: Option<SyncSender<Piece>>,
    writer: Option<ScopedJoinHandle<'scope, io::Result<()>>>,
}

type Block = Arc<Vec<u8>>;

/// A unit of output, in the order of the archive.
pub(super) enum Piece {
    /// An uncompressed block.
    Block(Block),
    /// A block being compressed.
    Member(Reply<io::Result<Vec<u8>>>),
}

impl<'p, 'scope, 'env> Pipeline<'p, 'scope, 'env> {
    /// Starts the threads in `scope`. `write` receives all pieces on one of them.
    pub(super) fn start(
        scope: &'scope thread::Scope<'scope, 'env>,
        pool: &'p Pool<'env>,
        compression: Compression,
        write: impl FnOnce(&Receiver<Piece>) -> io::Result<()> + Send + 'scope,
    ) -> Self {
        // A few more blocks than threads are in flight, so that one slow block delays no other. The
        // limit bounds memory.
        let most = pool.threads() + pool.threads() / 2 + 1;
        let (digested, blocks) = sync_channel::<Block>(most);
        let digester = scope.spawn(move || {
            let mut hasher = Hasher::new();
            let mut size = 0;
            for block in blocks {
                hasher.update(&block);
                size += block.len() as u64;
            }
            (hasher.finish(), size)
        });
        let (ordered, pieces) = sync_channel(most);
        let writer = scope.spawn(move || write(&pieces));
        Self {
            pool,
            compression,
            block: Vec::with_capacity(BLOCK),
            blocks: 0,
            digested: Some(digested),
            digester: Some(digester),
            ordered: Some(ordered),
            writer: Some(writer),
        }
    }

    /// Sends the last block, waits for the output, and returns digest and size of the archive.
    pub(super) fn finish(mut self) -> io::Result<(Digest, u64)> {
        // An empty stream still needs one gzip member.
        let sent = if self.block.is_empty() && self.blocks > 0 { Ok(()) } else { self.send() };
        self.close().and(sent)?;
        let digester = self.digester.take().and_then(|digester| digester.join().ok());
        digester.ok_or_else(|| io::Error::other("the digest thread stopped"))
    }

    fn send(&mut self) -> io::Result<()> {
        let block: Block = Arc::new(std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK)));
        self.blocks += 1;
        let piece = match self.compression {
            Compression::None | Compression::Zstd(_) => Piece::Block(block.clone()),
            Compression::Gzip(level) => {
                let block = block.clone();
                Piece::Member(self.pool.submit(move |state| state.deflater.member(level, &block)))
            }
        };
        let sent = self.digested.as_ref().is_some_and(|digested| digested.send(block).is_ok())
            && self.ordered.as_ref().is_some_and(|ordered| ordered.send(piece).is_ok());
        if sent { Ok(()) } else { Err(self.close().err().unwrap_or_else(|| stopped("writer"))) }
    }

    /// Ends the threads, and returns the error of the writer.
    fn close(&mut self) -> io::Result<()> {
        self.digested = None;
        self.ordered = None;
        match self.writer.take() {
            Some(writer) => writer.join().unwrap_or_else(|_| Err(stopped("writer"))),
            None => Ok(()),
        }
    }
}

fn stopped(thread: &str) -> io::Error {
    io::Error::other(format!("the {thread} thread stopped"))
}

impl Write for Pipeline<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.send()?;
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all `pieces` to `sink`.
pub(super) fn write_all<W: Write + ?Sized>(pieces: &Receiver<Piece>, sink: &mut W) -> io::Result<()> {
    for piece in pieces {
        match piece {
            Piece::Block(block) => sink.write_all(&block)?,
            Piece::Member(reply) => sink.write_all(&reply.take().ok_or_else(|| stopped("compressor"))??)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::deflate::Deflater;
    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;
    use std::io::Read;
    use std::num::NonZero;

    fn write(
        input: &[u8],
        level: u32,
        threads: usize,
        sink: &mut (dyn Write + Send),
    ) -> io::Result<(Digest, u64)> {
        thread::scope(|scope| {
            let pool = Pool::start(scope, NonZero::new(threads).unwrap());
            let write = |pieces: &Receiver<Piece>| write_all(pieces, sink);
            let mut pipeline = Pipeline::start(scope, &pool, Compression::Gzip(level), write);
            pipeline.write_all(input)?;
            pipeline.finish()
        })
    }

    fn compressed(input: &[u8], level: u32, threads: usize) -> Vec<u8> {
        let mut sink = Vec::new();
        let written = write(input, level, threads, &mut sink).unwrap();
        assert_eq!(written, (Digest::of(input), input.len() as u64));
        sink
    }

    fn decompressed(bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        MultiGzDecoder::new(bytes).read_to_end(&mut output).unwrap();
        output
    }

    fn text(size: usize) -> Vec<u8> {
        (0..size).map(|i| b"abcdefgh"[(i * i / 7 + i / 1000) % 8]).collect()
    }

    #[test]
    fn round_trips_all_sizes() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77] {
            let input = text(size);
            assert!(decompressed(&compressed(&input, 6, 2)) == input, "{size}");
        }
    }

    #[test]
    fn reused_compressors_write_the_same_bytes() {
        let (one, other) = (text(BLOCK), text(BLOCK + 4321)[4321..].to_vec());
        for level in 1..=9 {
            let mut used = Deflater::default();
            used.member(level, &one).unwrap();
            let again = used.member(level, &other).unwrap();
            assert!(again == Deflater::default().member(level, &other).unwrap(), "{level}");
        }
    }

    #[test]
    fn bytes_do_not_depend_on_threads() {
        let input = text(5 * BLOCK + 12_345);
        let one = compressed(&input, 6, 1);
        for threads in [2, 3, 8] {
            assert!(compressed(&input, 6, threads) == one, "{threads}");
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn returns_the_error_of_a_full_disk() {
        let mut sink = Full;
        let error = write(&text(50 * BLOCK), 1, 2, &mut sink).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn round_trips_any_input(input in proptest::collection::vec(any::<u8>(), 0..2 * BLOCK), level in 1u32..=9) {
            prop_assert!(decompressed(&compressed(&input, level, 2)) == input);
        }
    }
}
