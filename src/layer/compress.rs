//! Compresses a stream on several threads into bytes that do not depend on how many there were.
//!
//! gzip (RFC 1952) is written as **one member**: some readers stop after the first. The stream is cut into blocks of a
//! fixed size; each is deflated (RFC 1951) by a compressor of its own, which is given the 32 KiB before the block as its
//! dictionary and ends on a byte boundary, so the pieces simply follow one another. A fresh compressor a block is not
//! waste: one that is reset keeps state that changes the bytes.

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};

/// Bytes of input in one block. Larger blocks compress no better (the dictionary sees to that), smaller ones cost.
const BLOCK: usize = 512 << 10;

/// How far back deflate can look (RFC 1951, section 2).
const WINDOW: usize = 32 << 10;

/// Magic, method, no flags, no time, no extra flags, unknown operating system (RFC 1952, section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What a layer is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Nothing.
    None,
    /// gzip at a level from 1 to 9.
    Gzip(u32),
    /// zstd at a level from 1 to 19. Needs the feature `zstd`.
    Zstd(i32),
}

/// A stream whose parts are compressed by other threads and written by yet another.
///
/// Dropping it without [`Pipeline::finish`] ends the threads; what was written stays unfinished.
pub(super) struct Pipeline<'scope> {
    block: Vec<u8>,
    previous: Arc<Vec<u8>>,
    jobs: Option<SyncSender<Job>>,
    ordered: Option<SyncSender<Receiver<Done>>>,
    writer: Option<ScopedJoinHandle<'scope, io::Result<()>>>,
}

struct Job {
    block: Arc<Vec<u8>>,
    previous: Arc<Vec<u8>>,
    last: Last,
    reply: SyncSender<Done>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    No,
    Yes,
}

struct Done {
    bytes: io::Result<Vec<u8>>,
    crc: Crc,
}

impl<'scope> Pipeline<'scope> {
    /// Starts `threads` compressors and a writer to `sink` in `scope`.
    pub(super) fn start<'env, W: Write + Send + ?Sized>(
        scope: &'scope thread::Scope<'scope, 'env>,
        compression: Compression,
        threads: NonZero<usize>,
        sink: &'scope mut W,
    ) -> Self {
        let threads = threads.get();
        let (jobs, queue) = sync_channel::<Job>(threads);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = queue.clone();
            scope.spawn(move || {
                loop {
                    // A thread that died while it held the lock left the queue as it was.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { break };
                    // Nobody waits for the answer once the writer has failed.
                    let _ = job.reply.send(job.run(compression));
                }
            });
        }
        // As many blocks wait for the writer as there are at work: memory is bounded by this.
        let (ordered, results) = sync_channel::<Receiver<Done>>(threads * 2);
        let writer = scope.spawn(move || write_all(compression, &results, sink));
        Self {
            block: Vec::with_capacity(BLOCK),
            previous: Arc::default(),
            jobs: Some(jobs),
            ordered: Some(ordered),
            writer: Some(writer),
        }
    }

    /// Compresses what is left and waits until all is written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let sent = self.send(Last::Yes);
        self.close().and(sent)
    }

    fn send(&mut self, last: Last) -> io::Result<()> {
        let block = Arc::new(std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK)));
        let (reply, result) = sync_channel(1);
        let job =
            Job { block: block.clone(), previous: std::mem::replace(&mut self.previous, block), last, reply };
        let ordered = self.ordered.as_ref().is_some_and(|ordered| ordered.send(result).is_ok());
        let queued = ordered && self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if queued {
            Ok(())
        } else {
            Err(self.close().err().unwrap_or_else(|| io::Error::other("the writer stopped")))
        }
    }

    /// Lets the threads end, and says what the writer met.
    fn close(&mut self) -> io::Result<()> {
        self.jobs = None;
        self.ordered = None;
        match self.writer.take() {
            Some(writer) => writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer died"))),
            None => Ok(()),
        }
    }
}

impl Write for Pipeline<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A block is sent only when more follows, so that the last one is known as such.
        if self.block.len() == BLOCK {
            self.send(Last::No)?;
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Job {
    fn run(&self, compression: Compression) -> Done {
        let mut crc = Crc::new();
        let bytes = match compression {
            // zstd has threads of its own and does not come by here.
            Compression::None | Compression::Zstd(_) => Ok(self.block.to_vec()),
            Compression::Gzip(level) => {
                crc.update(&self.block);
                self.deflate(level)
            }
        };
        Done { bytes, crc }
    }

    fn deflate(&self, level: u32) -> io::Result<Vec<u8>> {
        let mut deflate = Compress::new(Level::new(level), false);
        let window = &self.previous[self.previous.len().saturating_sub(WINDOW)..];
        if !window.is_empty() {
            deflate.set_dictionary(window).map_err(io::Error::other)?;
        }
        let flush = if self.last == Last::Yes { FlushCompress::Finish } else { FlushCompress::Sync };
        // Room for the worst case at once: a flush that finds no room left is begun again and leaves another marker,
        // and then the bytes would follow from how the vector grows. Pages that are not used cost nothing.
        let mut bytes = Vec::with_capacity(self.block.len() + self.block.len() / 8 + 1024);
        loop {
            let read = usize::try_from(deflate.total_in()).map_err(io::Error::other)?;
            let status = deflate.compress_vec(&self.block[read..], &mut bytes, flush)?;
            let all_read = deflate.total_in() == self.block.len() as u64;
            // A flush is complete when there was room left for more.
            if status == Status::StreamEnd
                || (self.last == Last::No && all_read && bytes.len() < bytes.capacity())
            {
                return Ok(bytes);
            }
            bytes.reserve(bytes.capacity().max(1024));
        }
    }
}

fn write_all<W: Write + ?Sized>(
    compression: Compression,
    results: &Receiver<Receiver<Done>>,
    sink: &mut W,
) -> io::Result<()> {
    let gzip = matches!(compression, Compression::Gzip(_));
    if gzip {
        sink.write_all(&HEADER)?;
    }
    let mut crc = Crc::new();
    for result in results {
        let done = result.recv().map_err(|_| io::Error::other("a compressor died"))?;
        sink.write_all(&done.bytes?)?;
        crc.combine(&done.crc);
    }
    if gzip {
        sink.write_all(&crc.sum().to_le_bytes())?;
        sink.write_all(&crc.amount().to_le_bytes())?;
    }
    sink.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    fn compressed(input: &[u8], level: u32, threads: usize) -> Vec<u8> {
        let mut sink = Vec::new();
        thread::scope(|scope| {
            let threads = NonZero::new(threads).unwrap();
            let mut pipeline = Pipeline::start(scope, Compression::Gzip(level), threads, &mut sink);
            pipeline.write_all(input).unwrap();
            pipeline.finish().unwrap();
        });
        sink
    }

    fn text(size: usize) -> Vec<u8> {
        (0..size).map(|i| b"abcdefgh"[(i * i / 7 + i / 1000) % 8]).collect()
    }

    #[test]
    fn one_member_holds_everything() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77] {
            let input = text(size);
            let mut output = Vec::new();
            // This reader stops after the first member.
            GzDecoder::new(&compressed(&input, 6, 2)[..]).read_to_end(&mut output).unwrap();
            assert!(output == input, "{size}");
        }
    }

    #[test]
    fn the_number_of_threads_does_not_show() {
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
    fn a_full_disk_ends_it_with_the_disks_own_error() {
        let mut sink = Full;
        let error = thread::scope(|scope| {
            let mut pipeline =
                Pipeline::start(scope, Compression::Gzip(1), NonZero::new(2).unwrap(), &mut sink);
            let input = text(BLOCK);
            for _ in 0..50 {
                pipeline.write_all(&input)?;
            }
            pipeline.finish()
        })
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn everything_comes_back(input in proptest::collection::vec(any::<u8>(), 0..2 * BLOCK), level in 1u32..=9) {
            let mut output = Vec::new();
            GzDecoder::new(&compressed(&input, level, 2)[..]).read_to_end(&mut output).unwrap();
            prop_assert!(output == input);
        }
    }
}
