//! Leases: advisory marks in a remote cache for layers under construction.
//!
//! A registry has no locks, so a lease is advisory. A build that finds neither a layer nor a live
//! lease of another takes the lease and makes the layer; the others work on other layers, and then
//! wait. The holder renews its lease; a killed build's lease expires. With a clock far off every
//! lease counts as expired, and the work is repeated as it would be without leases.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::cache::Lease;
use crate::progress::{Progress, Span};

/// Time to live of a lease.
const LASTS: Duration = Duration::from_secs(15);
/// Interval of renewal.
pub(super) const RENEWAL: Duration = Duration::from_secs(5);
/// First and longest pause between polls. Some registries limit requests.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// Maximum total time that a build waits for others.
const PATIENCE: Duration = Duration::from_mins(3);

/// The leases of this build, and its trust in others'.
#[derive(Debug)]
pub(super) struct Claims {
    /// Identifies this process among the holders of leases.
    by: u128,
    /// Set once this build ignores all leases.
    ignored: AtomicBool,
    /// Total time waited.
    waited: Mutex<Duration>,
}

/// State of an awaited layer.
pub(super) enum Word<T> {
    Done(T),
    Claimed,
    Nothing,
}

impl Claims {
    /// Returns the leases of this process. Builds of one process do not wait for each other.
    pub(super) fn of_process() -> Self {
        static BY: OnceLock<u128> = OnceLock::new();
        Self::of(*BY.get_or_init(chance))
    }

    fn of(by: u128) -> Self {
        Self { by, ignored: AtomicBool::new(false), waited: Mutex::default() }
    }

    /// Makes a lease of this process, dated now.
    #[allow(clippy::disallowed_methods)] // Waiting decides no byte of a blob.
    pub(super) fn own(&self) -> Lease {
        Lease { by: self.by, at: SystemTime::now() }
    }

    /// Ignores all leases from now on.
    pub(super) fn ignore(&self) {
        self.ignored.store(true, Ordering::Relaxed);
    }

    pub(super) fn are_heeded(&self) -> bool {
        !self.ignored.load(Ordering::Relaxed)
    }

    /// Returns true if another build may still hold the lease.
    pub(super) fn is_of_another(&self, claim: &Lease) -> bool {
        let age = claim.at.elapsed().unwrap_or_else(|ahead| ahead.duration());
        claim.by != self.by && age < LASTS
    }

    /// Polls until the layer is done or the lease expires. After one wait in vain, later calls do
    /// not wait. `what` is the progress step during the wait.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        progress: &dyn Progress,
        mut ask: impl FnMut() -> Word<T>,
    ) -> Option<T> {
        let [mut pause, longest] = PAUSES;
        let mut waited = false;
        loop {
            match ask() {
                Word::Done(done) => return Some(done),
                Word::Claimed if self.are_heeded() && self.may_wait(pause) => {
                    if !waited {
                        progress.step(what);
                        waited = true;
                    }
                    let _span = Span::begin(progress, "waiting for others");
                    thread::sleep(pause);
                    pause = (pause * 2).min(longest);
                }
                Word::Claimed | Word::Nothing => {
                    if waited {
                        self.ignore();
                    }
                    return None;
                }
            }
        }
    }

    fn may_wait(&self, pause: Duration) -> bool {
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        *waited += pause;
        *waited < PATIENCE
    }
}

/// Runs `work` and calls `renew` at intervals of `every`, until the work is done or `renew` returns
/// false.
#[allow(clippy::disallowed_methods)] // The plan is complete, so there is no trace to keep.
pub(super) fn renewing<T>(every: Duration, renew: impl Fn() -> bool + Send, work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (working, ended) = mpsc::channel::<()>();
        scope.spawn(
            move || {
                while ended.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) && renew() {}
            },
        );
        let outcome = work();
        drop(working);
        outcome
    })
}

/// Returns a random number: each `RandomState` has its own keys, seeded randomly in each process.
fn chance() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

#[cfg(test)]
impl Claims {
    /// Leases of another machine.
    pub(super) fn of_another_machine() -> Self {
        Self::of(chance())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::progress::Silent;

    #[test]
    fn machines_are_told_apart_and_old_claims_are_not_believed() {
        let (ours, theirs) = (Claims::of_process(), Claims::of_another_machine());
        assert_eq!(ours.own().by, Claims::of_process().own().by);
        assert_ne!(ours.own().by, theirs.own().by);
        let claim = theirs.own();
        assert!(ours.is_of_another(&claim) && !theirs.is_of_another(&claim));
        let second = Duration::from_secs(1);
        for (seconds, fresh) in [(13, true), (16, false)] {
            for at in [SystemTime::now() - second * seconds, SystemTime::now() + second * seconds] {
                assert_eq!(ours.is_of_another(&Lease { at, ..claim }), fresh, "{seconds}");
            }
        }
        assert!(!ours.is_of_another(&Lease { at: SystemTime::UNIX_EPOCH, ..claim }));
    }

    #[test]
    fn who_waits_gets_what_comes_and_waits_in_vain_once() {
        let claims = Claims::of_process();
        let answers = |words: Vec<Word<u8>>| {
            let mut words = words.into_iter();
            move || words.next().unwrap_or(Word::Claimed)
        };
        let wait = |words| claims.wait("waiting", &Silent, answers(words));
        assert_eq!(wait(vec![Word::Done(1)]), Some(1));
        assert_eq!(wait(vec![Word::Nothing]), None);
        assert_eq!(wait(vec![Word::Claimed, Word::Claimed, Word::Done(2)]), Some(2));
        assert!(claims.are_heeded(), "nothing was in vain");
        assert_eq!(wait(vec![Word::Claimed, Word::Nothing]), None);
        assert!(!claims.are_heeded());
        assert_eq!(wait(vec![Word::Claimed, Word::Done(3)]), None, "it does not wait");
    }

    #[test]
    fn a_build_does_not_wait_for_ever() {
        let claims = Claims::of_process();
        *claims.waited.lock().unwrap() = PATIENCE;
        assert_eq!(claims.wait("waiting", &Silent, || Word::<u8>::Claimed), None);
    }

    #[test]
    fn what_is_renewed_is_so_until_it_need_not_be() {
        assert_eq!(renewing(RENEWAL, || panic!("it is done before that"), || 7), 7);
        let (renewed, times) = mpsc::channel();
        let count = AtomicUsize::new(0);
        let renew = || {
            renewed.send(()).unwrap();
            count.fetch_add(1, Ordering::Relaxed) < 2
        };
        // The work lasts until the third renewal.
        renewing(Duration::from_millis(1), renew, || times.iter().take(3).for_each(drop));
        assert_eq!(count.into_inner(), 3);
    }
}
