//! A minimum throughput of transfers: bytes counted against the time spent waiting for them.

use std::time::Duration;

/// The bytes of a transfer in the current window of waiting time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Throughput {
    min_bytes_per_second: u32,
    window: Duration,
    waited: Duration,
    bytes: u64,
    /// Set by the first byte. The time before the first byte is the peer's processing, with a
    /// timeout of its own.
    begun: bool,
}

impl Throughput {
    /// Starts a measurement. `window` is the waiting time between checks.
    pub(super) fn new(min_bytes_per_second: u32, window: Duration) -> Self {
        Self { min_bytes_per_second, window, waited: Duration::ZERO, bytes: 0, begun: false }
    }

    /// Starts anew.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.min_bytes_per_second, self.window);
    }

    /// Counts bytes that took `waited`; returns false if a window ends with too few.
    pub(super) fn add(&mut self, waited: Duration, bytes: u64) -> bool {
        if self.begun {
            self.waited += waited;
        }
        self.begun |= bytes > 0;
        self.bytes += bytes;
        if self.waited < self.window {
            return true;
        }
        let least = self.waited.saturating_mul(self.min_bytes_per_second).as_secs();
        let suffices = self.bytes >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        suffices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stalling_peer_fails_after_one_window() {
        let mut throughput = Throughput::new(1000, 30 * SECOND);
        assert!(throughput.add(29 * SECOND, 200), "time to think");
        assert!((1..30).all(|_| throughput.add(SECOND, 1)));
        assert!(!throughput.add(SECOND, 1));
    }

    #[test]
    fn a_slow_line_is_accepted() {
        let mut throughput = Throughput::new(1000, 30 * SECOND);
        assert!((0..1000).all(|_| throughput.add(SECOND, 1100)));
        throughput.restart();
        assert!(throughput.add(SECOND, 1) && throughput.add(29 * SECOND, 0));
        assert!(throughput.add(SECOND, 40_000), "what was held up may come at once");
    }

    #[test]
    fn a_transfer_that_slows_down_fails() {
        let mut throughput = Throughput::new(125_000, 20 * SECOND);
        assert!((1..100).all(|_| throughput.add(SECOND, 130_000)));
        assert!(!(100..150).all(|_| throughput.add(SECOND, 100_000)));
    }
}
