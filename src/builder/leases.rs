//! Leases: advisory marks in a remote cache for layers under construction.
//!
//! A registry has no locks, so a lease is advisory. A build that finds neither a layer nor a live
//! lease of another takes the lease and makes the layer; the others work on other layers, and then
//! wait. The holder renews its lease; a killed build's lease expires. With a clock far off every
//! lease counts as expired, and the work is repeated as it would be without leases.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::cache::Lease;
use crate::progress::{Activity, Progress, Span, Step};
use crate::sync::LockExt as _;

/// Time to live of a lease.
const LEASE_TTL: Duration = Duration::from_secs(15);
/// Interval of renewal.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(5);
/// First and longest pause between polls. Some registries limit requests.
const POLL_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// Maximum total time that a build waits for others.
const MAX_WAIT: Duration = Duration::from_mins(3);

/// The leases of this build, and its trust in others'.
#[derive(Debug)]
pub(super) struct Leases {
    /// Identifies this process among the holders of leases.
    by: u128,
    /// Set once this build ignores all leases.
    ignored: AtomicBool,
    /// Total time waited.
    waited: Mutex<Duration>,
}

/// State of an awaited layer.
pub(super) enum LeaseStatus<T> {
    Done(T),
    Held,
    Free,
}

impl Leases {
    /// Returns the leases of this process. Builds of one process do not wait for each other.
    pub(super) fn of_process() -> Self {
        static BY: OnceLock<u128> = OnceLock::new();
        Self::of(*BY.get_or_init(random))
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

    pub(super) fn are_respected(&self) -> bool {
        !self.ignored.load(Ordering::Relaxed)
    }

    /// Returns true if another build may still hold the lease.
    pub(super) fn is_of_another(&self, lease: &Lease) -> bool {
        let age = lease.at.elapsed().unwrap_or_else(|ahead| ahead.duration());
        lease.by != self.by && age < LEASE_TTL
    }

    /// Polls until the layer is done or the lease expires. After one wait in vain, later calls do
    /// not wait. `what` is the work of the other build, for the progress.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        progress: &dyn Progress,
        mut poll: impl FnMut() -> LeaseStatus<T>,
    ) -> Option<T> {
        let [mut pause, longest] = POLL_PAUSES;
        let mut waited = false;
        loop {
            match poll() {
                LeaseStatus::Done(done) => return Some(done),
                LeaseStatus::Held if self.are_respected() && self.may_wait(pause) => {
                    if !waited {
                        progress.step(&Step::on(Activity::Wait, what));
                        waited = true;
                    }
                    let _span = Span::begin(progress, Activity::Wait);
                    thread::sleep(pause);
                    pause = (pause * 2).min(longest);
                }
                LeaseStatus::Held | LeaseStatus::Free => {
                    if waited {
                        self.ignore();
                    }
                    return None;
                }
            }
        }
    }

    fn may_wait(&self, pause: Duration) -> bool {
        let mut waited = self.waited.lock_forgiving();
        *waited += pause;
        *waited < MAX_WAIT
    }
}

/// Runs `work` and calls `renew` at intervals of `every`, until the work is done or `renew` returns
/// false.
#[allow(clippy::disallowed_methods)] // The plan is complete, so there is no trace to keep.
pub(super) fn run_with_renewal<T>(
    every: Duration,
    renew: impl Fn() -> bool + Send,
    work: impl FnOnce() -> T,
) -> T {
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
fn random() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

#[cfg(test)]
impl Leases {
    /// Leases of another machine.
    pub(super) fn of_another_machine() -> Self {
        Self::of(random())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::progress::Silent;

    #[test]
    fn expired_leases_and_own_leases_are_ignored() {
        let (ours, theirs) = (Leases::of_process(), Leases::of_another_machine());
        assert_eq!(ours.own().by, Leases::of_process().own().by);
        assert_ne!(ours.own().by, theirs.own().by);
        let lease = theirs.own();
        assert!(ours.is_of_another(&lease) && !theirs.is_of_another(&lease));
        let second = Duration::from_secs(1);
        for (seconds, fresh) in [(13, true), (16, false)] {
            for at in [SystemTime::now() - second * seconds, SystemTime::now() + second * seconds] {
                assert_eq!(ours.is_of_another(&Lease { at, ..lease }), fresh, "{seconds}");
            }
        }
        assert!(!ours.is_of_another(&Lease { at: SystemTime::UNIX_EPOCH, ..lease }));
    }

    #[test]
    fn a_second_wait_in_vain_is_skipped() {
        let leases = Leases::of_process();
        let answers = |statuses: Vec<LeaseStatus<u8>>| {
            let mut statuses = statuses.into_iter();
            move || statuses.next().unwrap_or(LeaseStatus::Held)
        };
        let wait = |statuses| leases.wait("waiting", &Silent, answers(statuses));
        assert_eq!(wait(vec![LeaseStatus::Done(1)]), Some(1));
        assert_eq!(wait(vec![LeaseStatus::Free]), None);
        assert_eq!(wait(vec![LeaseStatus::Held, LeaseStatus::Held, LeaseStatus::Done(2)]), Some(2));
        assert!(leases.are_respected(), "no wait in vain yet");
        assert_eq!(wait(vec![LeaseStatus::Held, LeaseStatus::Free]), None);
        assert!(!leases.are_respected());
        assert_eq!(wait(vec![LeaseStatus::Held, LeaseStatus::Done(3)]), None, "it does not wait");
    }

    #[test]
    fn the_total_wait_is_bounded() {
        let leases = Leases::of_process();
        *leases.waited.lock().unwrap() = MAX_WAIT;
        assert_eq!(leases.wait("waiting", &Silent, || LeaseStatus::<u8>::Held), None);
    }

    #[test]
    fn renewal_stops_with_the_work_or_the_lease() {
        assert_eq!(run_with_renewal(RENEW_EVERY, || panic!("it is done before that"), || 7), 7);
        let (renewed, times) = mpsc::channel();
        let count = AtomicUsize::new(0);
        let renew = || {
            renewed.send(()).unwrap();
            count.fetch_add(1, Ordering::Relaxed) < 2
        };
        // The work lasts until the third renewal.
        run_with_renewal(Duration::from_millis(1), renew, || times.iter().take(3).for_each(drop));
        assert_eq!(count.into_inner(), 3);
    }
}
