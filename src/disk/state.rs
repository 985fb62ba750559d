//! [`State`]: what tells one state of a file from another.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

/// Seconds and nanoseconds since 1970, as a file system has them.
pub type Moment = (i64, i64);

/// How much earlier than a moment a file has to have changed so that a later change shows in its times: file systems
/// take the time from a clock that stands still for some milliseconds.
const TICK: i64 = 50_000_000;
/// The same where the file system keeps whole seconds; the coarsest, FAT, keeps every other one.
const COARSE_TICK: i64 = 2_000_000_000;

/// Whether a file with these times changed so long before `moment` that a change after it would show. As with git's index,
/// what is found out about another file is not to be remembered: it can change once more and keep its times.
pub(crate) fn is_settled(modified: Moment, changed: Moment, moment: Moment) -> bool {
    settles(modified, changed) < nanoseconds(moment)
}

/// When a file with these times is settled, in nanoseconds since 1970.
fn settles(modified: Moment, changed: Moment) -> i128 {
    // The change time cannot be set by a program and moves with every change, so where its fraction shows that the file system
    // keeps it, it tells alone: a wheel may hold modification times of next year.
    let (last, tick) = if changed.1 == 0 { (modified.max(changed), COARSE_TICK) } else { (changed, TICK) };
    nanoseconds(last) + i128::from(tick)
}

pub(super) fn nanoseconds((seconds, nanoseconds): Moment) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// What a file system knows of a file, without its names and the time of the last access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) mode: u32,
    size: u64,
    device: u64,
    inode: u64,
    modified: Moment,
    changed: Moment,
}

impl From<&Metadata> for State {
    fn from(metadata: &Metadata) -> Self {
        Self {
            mode: metadata.mode(),
            size: metadata.size(),
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl From<&Stat> for State {
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap, clippy::cast_sign_loss)] // Their widths are the machine's.
    fn from(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode as u32,
            size: stat.st_size as u64,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

impl State {
    /// From when on a change shows, in nanoseconds since 1970.
    pub(super) fn settles(&self) -> i128 {
        settles(self.modified, self.changed)
    }

    /// Its fields, to be digested.
    pub(super) fn bytes(&self) -> [u8; 60] {
        let mut bytes = [0; 60];
        let numbers = [
            self.size,
            self.device,
            self.inode,
            self.modified.0.cast_unsigned(),
            self.modified.1.cast_unsigned(),
            self.changed.0.cast_unsigned(),
            self.changed.1.cast_unsigned(),
        ];
        let (mode, rest) = bytes.split_at_mut(4);
        mode.copy_from_slice(&self.mode.to_le_bytes());
        for (room, number) in rest.chunks_exact_mut(8).zip(numbers) {
            room.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}
