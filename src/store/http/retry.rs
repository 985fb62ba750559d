//! [`Backoff`]: the retry budget and the waits of one operation.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZero;
use std::time::Duration;

use jiff::fmt::rfc2822;
use ureq::http::{HeaderMap, header};

use crate::store::registry::{RegistryError, RetryPolicy};

/// The attempts and the waiting time left for one operation.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    attempts_left: u32,
    waiting_left: Duration,
    next: Duration,
    longest: Duration,
    /// Set after a peer stalled.
    stalled: bool,
}

/// The decision about a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    /// Retry after this wait.
    After(Duration),
    /// Give up.
    GiveUp,
}

impl Backoff {
    pub(crate) fn new(retry: &RetryPolicy) -> Self {
        Self {
            attempts_left: retry.attempts.get() - 1,
            waiting_left: retry.total_wait,
            next: retry.first_wait,
            longest: retry.longest_wait,
            stalled: false,
        }
    }

    /// Makes a budget of one attempt, for places with an alternative.
    pub(crate) fn once(retry: &RetryPolicy) -> Self {
        Self::new(&RetryPolicy { attempts: NonZero::<u32>::MIN, ..*retry })
    }

    /// Decides after a failure. `asked` is the wait requested by the server.
    ///
    /// The wait is between half and all of the exponential step, so that many clients do not return
    /// at the same moment. No blob depends on this randomness.
    pub(crate) fn after_failure(&mut self, asked: Option<Duration>) -> RetryDecision {
        if self.attempts_left == 0 {
            return RetryDecision::GiveUp;
        }
        let half = self.next / 2;
        let wait = asked.unwrap_or_else(|| half + half.mul_f64(chance()));
        if wait > self.waiting_left {
            return RetryDecision::GiveUp;
        }
        self.attempts_left -= 1;
        self.waiting_left -= wait;
        self.next = (self.next * 2).min(self.longest);
        RetryDecision::After(wait)
    }

    /// Charges time lost to a stalled peer to the waiting time, so that stalls end regardless of
    /// the attempts left. The first stall always allows one more attempt.
    pub(crate) fn charge(&mut self, lost: Duration) {
        if lost.is_zero() {
            return;
        }
        let least = if self.stalled { Duration::ZERO } else { self.next };
        self.stalled = true;
        self.waiting_left = self.waiting_left.saturating_sub(lost).max(least);
    }

    /// Waits after `error` if another attempt is allowed.
    pub(crate) fn wait(&mut self, error: &RegistryError, asked: Option<Duration>) -> RetryDecision {
        self.charge(error.lost());
        let decision = self.after_failure(asked);
        if let RetryDecision::After(wait) = decision {
            std::thread::sleep(wait);
        }
        decision
    }
}

/// Returns a random number from 0 to 1; each hasher of the standard library has its own seed.
fn chance() -> f64 {
    let number = RandomState::new().hash_one(0) >> 32;
    number as f64 / f64::from(u32::MAX)
}

/// Returns whether a retry after this status may succeed.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Returns the requested wait (RFC 9110, section 10.2.3).
///
/// A date is compared with the response's own date: the clocks of two machines differ.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| rfc2822::parse(text).ok().map(|time| time.timestamp());
    let (until, now) = (date(text)?, date(headers.get(header::DATE)?.to_str().ok()?)?);
    Some(Duration::from_secs(u64::try_from(until.as_second() - now.as_second()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let mut backoff = Backoff::new(&RetryPolicy::default());
        let mut waits = Vec::new();
        while let RetryDecision::After(wait) = backoff.after_failure(None) {
            waits.push(wait.as_millis());
        }
        assert_eq!(waits.len(), 4);
        for (wait, most) in waits.iter().zip([500, 1000, 2000, 4000]) {
            assert!((most / 2..=most).contains(wait), "{waits:?}");
        }
    }

    #[test]
    fn the_total_wait_is_limited() {
        let minute = Some(Duration::from_mins(1));
        let mut backoff = Backoff::new(&RetryPolicy::default());
        assert_eq!(backoff.after_failure(minute), RetryDecision::After(Duration::from_mins(1)));
        assert_eq!(backoff.after_failure(minute), RetryDecision::After(Duration::from_mins(1)));
        assert_eq!(backoff.after_failure(minute), RetryDecision::GiveUp);
    }

    #[test]
    fn a_peer_that_stalls_is_tried_for_two_minutes_and_at_least_twice() {
        for (lost, attempts) in [(30, 4), (60, 2), (600, 2), (1, 5)] {
            let mut backoff = Backoff::new(&RetryPolicy::default());
            let mut tried = 1;
            loop {
                backoff.charge(Duration::from_secs(lost));
                if backoff.after_failure(None) == RetryDecision::GiveUp {
                    break;
                }
                tried += 1;
            }
            assert_eq!(tried, attempts, "{lost} s each");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let asked = |retry: &str, date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, retry.parse().unwrap());
            headers.insert(header::DATE, date.parse().unwrap());
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        let now = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(asked("7", now), Some(7));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:09 GMT", now), Some(9));
        assert_eq!(asked("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(0));
        for (retry, date) in [("soon", now), ("-1", now), ("Wed, 21 Oct 2015 07:28:09 GMT", "today")] {
            assert_eq!(asked(retry, date), None);
        }
    }
}
