//! A minimum throughput for cached layers: below, rebuilding is faster than waiting.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::image::{Blob, BlobSource};
use crate::reference::RemoteName;

/// The window of the measurement.
const WINDOW: Duration = Duration::from_secs(20);
/// The least bytes in a window: one megabit per second.
const LEAST_BYTES: u64 = 20 * 125_000;

/// Returns `blob` with a minimum throughput: a slow read fails.
pub(super) fn hurry(blob: Blob) -> Blob {
    Blob::Source(Arc::new(Hurried(blob)))
}

#[derive(Debug)]
struct Hurried(Blob);

impl BlobSource for Hurried {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let pace = Pace { begun: Duration::ZERO, bytes: 0 };
        Ok(Box::new(Reader { inner: self.0.open_from(from)?, pace, waited: Duration::ZERO }))
    }

    fn repository(&self) -> Option<RemoteName> {
        self.0.repository()
    }
}

/// The bytes in the current window. Counts the time spent waiting, not the reader's own.
struct Pace {
    begun: Duration,
    bytes: u64,
}

impl Pace {
    /// Adds the bytes received until `now`; returns whether the throughput suffices.
    fn suffices(&mut self, now: Duration, bytes: u64) -> bool {
        self.bytes += bytes;
        if now.saturating_sub(self.begun) < WINDOW {
            return true;
        }
        let suffices = self.bytes >= LEAST_BYTES;
        *self = Self { begun: now, bytes: 0 };
        suffices
    }
}

struct Reader {
    inner: Box<dyn Read + Send>,
    pace: Pace,
    waited: Duration,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let asked = Instant::now();
        let read = self.inner.read(buffer)?;
        self.waited += asked.elapsed();
        // The end of the data is always accepted.
        if read > 0 && !self.pace.suffices(self.waited, read as u64) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it comes too slowly"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_slowly_is_given_up() {
        let second = Duration::from_secs;
        let mut pace = Pace { begun: second(0), bytes: 0 };
        for now in 1..20 {
            assert!(pace.suffices(second(now), 1), "it may begin slowly");
        }
        assert!(!pace.suffices(second(20), 1));
        let mut pace = Pace { begun: second(0), bytes: 0 };
        assert!((1..100).all(|now| pace.suffices(second(now), 130_000)));
        assert!(!(100..150).all(|now| pace.suffices(second(now), 100_000)));
    }

    #[test]
    fn a_hurried_blob_is_the_same() {
        let blob = hurry(Blob::Memory(b"abc".to_vec().into()));
        let mut text = String::new();
        blob.open_from(1).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bc");
    }
}
