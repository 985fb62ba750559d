//! What machines tell each other of the layers that they are making.
//!
//! A registry has nothing to lock with, so a claim is a word: who finds no layer and no fresh claim writes one and makes the layer, who
//! finds another's does something else meanwhile and then waits for it. Claims get old: a build that was killed takes its word
//! with it. Clocks may differ; with one that is far off, everything is old, and the same work is done twice as without claims.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::cache::Claim;
use crate::progress::{Progress, Span};

/// So long takes a small layer, with all that a busy machine and a far registry add to it.
const LEAST: Duration = Duration::from_secs(10);
/// At least so much of a layer is compressed and sent in a second.
const BYTES_PER_SECOND: u64 = 10_000_000;
/// How soon is asked again, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// What this build has said, and what it makes of what others say.
#[derive(Debug)]
pub(super) struct Claims {
    /// Tells this build from others.
    by: u128,
    /// Claims are not believed any more in this build.
    ignored: AtomicBool,
}

/// What is known of a layer that is waited for.
pub(super) enum Word<T> {
    Done(T),
    Claimed,
    Nothing,
}

impl Default for Claims {
    fn default() -> Self {
        // Each of these has keys of its own, and those of a process begin by chance.
        let chance = || u128::from(RandomState::new().build_hasher().finish());
        Self { by: chance() << 64 | chance(), ignored: AtomicBool::new(false) }
    }
}

impl Claims {
    /// The claim of this build, made now.
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
    pub(super) fn is_fresh(&self, claim: &Claim, archive_size: u64) -> bool {
        let age = claim.at.elapsed().unwrap_or_else(|ahead| ahead.duration());
        claim.by != self.by && age < lasts(archive_size)
    }

    /// Asks until what was claimed is done, or the claim is old. Who has waited in vain once does not do it again.
    pub(super) fn wait<T>(
        &self,
        archive_size: u64,
        progress: &dyn Progress,
        mut ask: impl FnMut() -> Word<T>,
    ) -> Option<T> {
        let begun = Instant::now();
        let [mut pause, longest] = PAUSES;
        let mut waited = false;
        loop {
            match ask() {
                Word::Done(done) => return Some(done),
                Word::Claimed if self.are_heeded() && begun.elapsed() < lasts(archive_size) => {
                    let _span = Span::begin(progress, "waiting for others");
                    thread::sleep(pause);
                    pause = (pause * 2).min(longest);
                    waited = true;
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
}

/// How long a claim on a layer of that size is believed.
fn lasts(archive_size: u64) -> Duration {
    LEAST + Duration::from_secs(archive_size / BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn builds_are_told_apart_and_old_claims_are_not_believed() {
        let (ours, theirs) = (Claims::default(), Claims::default());
        assert_ne!(ours.own().by, theirs.own().by);
        let claim = theirs.own();
        assert!(ours.is_fresh(&claim, 0) && !theirs.is_fresh(&claim, 0));
        let second = Duration::from_secs(1);
        for (seconds, size, fresh) in
            [(9, 0, true), (11, 0, false), (19, 100_000_000, true), (21, 100_000_000, false)]
        {
            for at in [SystemTime::now() - second * seconds, SystemTime::now() + second * seconds] {
                assert_eq!(ours.is_fresh(&Claim { at, ..claim }, size), fresh, "{seconds}");
            }
        }
        let far = Claim { at: SystemTime::UNIX_EPOCH, ..claim };
        assert!(!ours.is_fresh(&far, u64::from(u32::MAX)));
    }

    #[test]
    fn who_waits_gets_what_comes_and_waits_in_vain_once() {
        let claims = Claims::default();
        let answers = |words: Vec<Word<u8>>| {
            let mut words = words.into_iter();
            move || words.next().unwrap_or(Word::Claimed)
        };
        let wait = |words| claims.wait(0, &Silent, answers(words));
        assert_eq!(wait(vec![Word::Done(1)]), Some(1));
        assert_eq!(wait(vec![Word::Nothing]), None);
        assert_eq!(wait(vec![Word::Claimed, Word::Claimed, Word::Done(2)]), Some(2));
        assert!(claims.are_heeded(), "nothing was in vain");
        assert_eq!(wait(vec![Word::Claimed, Word::Nothing]), None);
        assert!(!claims.are_heeded());
        assert_eq!(wait(vec![Word::Claimed, Word::Done(3)]), None, "it does not wait");
    }
}
