//! A minimum throughput for cached layers: below, rebuilding is faster than waiting.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::image::{Blob, BlobSource};
use crate::reference::RemoteName;
use crate::store::throughput::Throughput;

/// The window of the measurement.
const WINDOW: Duration = Duration::from_secs(20);
/// The least bytes per second: one megabit.
const MIN_BYTES_PER_SECOND: u32 = 125_000;

/// Returns `blob` with a minimum throughput: a slow read fails.
pub(super) fn with_min_throughput(blob: Blob) -> Blob {
    Blob::Source(Arc::new(MinThroughputBlob(blob)))
}

#[derive(Debug)]
struct MinThroughputBlob(Blob);

impl BlobSource for MinThroughputBlob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let throughput = Throughput::new(MIN_BYTES_PER_SECOND, WINDOW);
        Ok(Box::new(MinThroughputReader { inner: self.0.open_from(from)?, throughput }))
    }

    fn repository(&self) -> Option<RemoteName> {
        self.0.repository()
    }
}

struct MinThroughputReader {
    inner: Box<dyn Read + Send>,
    throughput: Throughput,
}

impl Read for MinThroughputReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        let read = self.inner.read(buffer)?;
        let suffices = self.throughput.add(started.elapsed(), read as u64);
        // The end of the data is always accepted.
        if read > 0 && !suffices {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the transfer is too slow"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_unchanged() {
        let blob = with_min_throughput(Blob::Memory(b"abc".to_vec().into()));
        let mut text = String::new();
        blob.open_from(1).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bc");
    }
}
