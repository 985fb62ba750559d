//! A minimum throughput for connections: a peer that sends a byte a second fails like a silent one.
//!
//! `ureq`'s timeouts for reads and writes restart with every byte, so slow bodies, TLS records and
//! header lines never time out. [`Guard`] wraps the socket below TLS and counts bytes against the
//! time spent waiting for them, excluding the consumer's own time.

use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// The least bytes per second of waiting; a common value of Git's `http.lowSpeedLimit`.
const MIN_BYTES_PER_SECOND: u32 = 1000;

/// A connector that wraps every connection in a [`Guard`].
#[derive(Debug)]
pub(super) struct GuardConnector {
    /// The waiting time between measurements.
    pub(super) window: Duration,
}

/// A transport with a minimum throughput in both directions.
#[derive(Debug)]
pub(super) struct Guard<T> {
    inner: T,
    received: Throughput,
    sent: Throughput,
}

/// Bytes of one direction and the time spent waiting, since the direction last changed.
#[derive(Debug, Clone, Copy)]
struct Throughput {
    window: Duration,
    waited: Duration,
    bytes: u64,
    /// Set by the first byte. The time before the first byte is the peer's processing, with a
    /// timeout of its own.
    begun: bool,
}

impl<In: Transport> Connector<In> for GuardConnector {
    type Out = Guard<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let idle = Throughput::new(self.window);
        Ok(chained.map(|inner| Guard { inner, received: idle, sent: idle }))
    }
}

impl<T: Transport> Transport for Guard<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.received = Throughput::new(self.received.window);
        let begin = Instant::now();
        self.inner.transmit_output(amount, timeout)?;
        self.sent.add(begin.elapsed(), amount as u64).then_some(()).ok_or(Error::Timeout(Timeout::PerWrite))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.sent = Throughput::new(self.sent.window);
        let before = self.inner.buffers().input().len();
        let begin = Instant::now();
        let progress = self.inner.await_input(timeout)?;
        let arrived = self.inner.buffers().input().len().saturating_sub(before);
        let suffices = self.received.add(begin.elapsed(), arrived as u64);
        // The end of the data is always accepted.
        if progress && !suffices { Err(Error::Timeout(Timeout::PerRead)) } else { Ok(progress) }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl Throughput {
    fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, bytes: 0, begun: false }
    }

    /// Counts bytes that took `waited`; returns false if a window ends with too few.
    fn add(&mut self, waited: Duration, bytes: u64) -> bool {
        if self.begun {
            self.waited += waited;
        }
        self.begun |= bytes > 0;
        self.bytes += bytes;
        if self.waited < self.window {
            return true;
        }
        let least = self.waited.saturating_mul(MIN_BYTES_PER_SECOND).as_secs();
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
        let mut throughput = Throughput::new(30 * SECOND);
        assert!(throughput.add(29 * SECOND, 200), "time to think");
        assert!((1..30).all(|_| throughput.add(SECOND, 1)));
        assert!(!throughput.add(SECOND, 1));
    }

    #[test]
    fn a_slow_line_is_accepted() {
        let mut throughput = Throughput::new(30 * SECOND);
        assert!((0..1000).all(|_| throughput.add(SECOND, 1100)));
        let mut throughput = Throughput::new(30 * SECOND);
        assert!(throughput.add(SECOND, 1) && throughput.add(29 * SECOND, 0));
        assert!(throughput.add(SECOND, 40_000), "what was held up may come at once");
    }
}
