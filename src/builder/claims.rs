//! What machines tell each other of the layers that they are making.
//!
//! A registry has nothing to lock with, so a claim is a word: who finds no layer and no fresh claim writes one and makes the layer, who
//! finds another's does something else meanwhile and then waits for it. Whoever is at it says so again and again: a build that
//! was killed falls silent, and is not waited for. Clocks may differ; with one that is far off every claim is old, and the same work is
//! done twice as without claims.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::cache::Claim;
use crate::progress::{Progress, Span};

/// How long a claim is believed.
const LASTS: Duration = Duration::from_secs(15);
/// How often it is made again.
pub(super) const RENEWAL: Duration = Duration::from_secs(5);
/// How soon is asked again, at first and at most. Some registries count requests.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// A build waits no longer than this for all that others make.
const PATIENCE: Duration = Duration::from_mins(3);

/// What this build has said, and what it makes of what others say.
#[derive(Debug)]
pub(super) struct Claims {
    /// Tells this process from others.
    by: u128,
    /// Claims are not believed any more in this build.
    ignored: AtomicBool,
    /// How long it has waited.
    waited: Mutex<Duration>,
}

/// What is known of a layer that is waited for.
pub(super) enum Word<T> {
    Done(T),
    Claimed,
    Nothing,
}

impl Claims {
    /// Those of this process: of its builds none waits for another.
    pub(super) fn of_process() -> Self {
        static BY: OnceLock<u128> = OnceLock::new();
        Self::of(*BY.get_or_init(chance))
    }

    fn of(by: u128) -> Self {
        Self { by, ignored: AtomicBool::new(false), waited: Mutex::default() }
    }

    /// The claim of this process, made now.
    #[allow(clippy::disallowed_methods)] // What is waited for decides nothing of a blob.
    pub(super) fn own(&self) -> Claim {
        Claim { by: self.by, at: SystemTime::now() }
    }

    /// Believes no claim from now on.
    pub(super) fn ignore(&self) {
        self.ignored.store(true, Ordering::Relaxed);
    }

    pub(super) fn are_heeded(&self) -> bool {
        !self.ignored.load(Ordering::Relaxed)
    }

    /// Whether another build may still be at it.
    pub(super) fn is_of_another(&self, claim: &Claim) -> bool {
        let age = claim.at.elapsed().unwrap_or_else(|ahead| ahead.duration());
        claim.by != self.by && age < LASTS
    }

    /// Asks until what was claimed is done, or the claim is old. Who has waited in vain once does not do it again. `what` is said while
    /// this waits.
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

/// Does `work`, and calls `renew` each time that `every` has passed, until it is done or `renew` says that it need not be called again.
#[allow(clippy::disallowed_methods)] // The plan is made: nothing is traced any more.
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

/// Each of these has keys of its own, and those of a process begin by chance.
fn chance() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

#[cfg(test)]
impl Claims {
    /// Those of another machine.
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
                assert_eq!(ours.is_of_another(&Claim { at, ..claim }), fresh, "{seconds}");
            }
        }
        assert!(!ours.is_of_another(&Claim { at: SystemTime::UNIX_EPOCH, ..claim }));
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
        // The work takes until the third time.
        renewing(Duration::from_millis(1), renew, || times.iter().take(3).for_each(drop));
        assert_eq!(count.into_inner(), 3);
    }
}
