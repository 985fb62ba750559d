//! A minimum throughput for cached layers: below, rebuilding is faster than waiting.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::image::{Blob, BlobSource};
use crate::reference::RemoteName;

/// The window of the measurement.
const WINDOW: Duration = Duration::from_secs(20);
/// The least bytes in a window: one megabit per second.
const MIN_BYTES: u64 = 20 * 125_000;

/// Returns `blob` with a minimum throughput: a slow read fails.
pub(super) fn with_min_throughput(blob: Blob) -> Blob {
    Blob::Source(Arc::new(MinThroughputBlob(blob)))
}

#[derive(Debug)]
struct MinThroughputBlob(Blob);

impl BlobSource for MinThroughputBlob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let window = ThroughputWindow { start: Duration::ZERO, bytes: 0 };
        Ok(Box::new(MinThroughputReader { inner: self.0.open_from(from)?, window, waited: Duration::ZERO }))
    }

    fn repository(&self) -> Option<RemoteName> {
        self.0.repository()
    }
}

/// The bytes in the current window. Counts the time spent waiting, not the reader's own.
struct ThroughputWindow {
    start: Duration,
    bytes: u64,
}

impl ThroughputWindow {
    /// Adds the bytes received until `now`; returns whether the throughput suffices.
    fn suffices(&mut self, now: Duration, bytes: u64) -> bool {
        self.bytes += bytes;
        if now.saturating_sub(self.start) < WINDOW {
            return true;
        }
        let suffices = self.bytes >= MIN_BYTES;
        *self = Self { start: now, bytes: 0 };
        suffices
    }
}

struct MinThroughputReader {
    inner: Box<dyn Read + Send>,
    window: ThroughputWindow,
    waited: Duration,
}

impl Read for MinThroughputReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        let read = self.inner.read(buffer)?;
        self.waited += started.elapsed();
        // The end of the data is always accepted.
        if read > 0 && !self.window.suffices(self.waited, read as u64) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the transfer is too slow"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_read_fails() {
        let second = Duration::from_secs;
        let mut window = ThroughputWindow { start: second(0), bytes: 0 };
        for now in 1..20 {
            assert!(window.suffices(second(now), 1), "it may begin slowly");
        }
        assert!(!window.suffices(second(20), 1));
        let mut window = ThroughputWindow { start: second(0), bytes: 0 };
        assert!((1..100).all(|now| window.suffices(second(now), 130_000)));
        assert!(!(100..150).all(|now| window.suffices(second(now), 100_000)));
    }

    #[test]
    fn the_bytes_are_unchanged() {
        let blob = with_min_throughput(Blob::Memory(b"abc".to_vec().into()));
        let mut text = String::new();
        blob.open_from(1).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bc");
    }
}
