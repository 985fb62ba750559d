//! A minimum throughput for connections: a peer that sends a byte a second fails like a silent one.
//!
//! `ureq`'s timeouts for reads and writes restart with every byte, so slow bodies, TLS records and
//! header lines never time out. [`Guard`] wraps the socket below TLS and counts bytes against the
//! time spent waiting for them, excluding the consumer's own time.

use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

use crate::store::throughput::Throughput;

/// The least bytes per second of waiting; a common value of Git's `http.lowSpeedLimit`.
const MIN_BYTES_PER_SECOND: u32 = 1000;

/// A connector that wraps every connection in a [`Guard`].
#[derive(Debug)]
pub(crate) struct GuardConnector {
    /// The waiting time between measurements.
    pub(crate) window: Duration,
}

/// A transport with a minimum throughput in both directions, measured since the direction last
/// changed.
#[derive(Debug)]
pub(crate) struct Guard<T> {
    inner: T,
    received: Throughput,
    sent: Throughput,
}

impl<In: Transport> Connector<In> for GuardConnector {
    type Out = Guard<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let idle = Throughput::new(MIN_BYTES_PER_SECOND, self.window);
        Ok(chained.map(|inner| Guard { inner, received: idle, sent: idle }))
    }
}

impl<T: Transport> Transport for Guard<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.received.restart();
        let begin = Instant::now();
        self.inner.transmit_output(amount, timeout)?;
        self.sent.add(begin.elapsed(), amount as u64).then_some(()).ok_or(Error::Timeout(Timeout::PerWrite))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.sent.restart();
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
