//! File stamps: metadata that changes whenever a file does, and the age from which they are
//! reliable.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

/// Seconds and nanoseconds since 1970, as in `struct stat`.
pub type Moment = (i64, i64);

/// Nanoseconds by which a file's last change must precede a moment for any later change to show in
/// its times: file systems take timestamps from a clock that ticks every few milliseconds.
const TICK: i64 = 50_000_000;
/// The same for file systems with timestamps in seconds. FAT, the coarsest, counts in steps
/// of two.
const COARSE_TICK: i64 = 2_000_000_000;

/// Returns true if any change of a file with these times after `moment` would alter them. As with
/// git's index ("racy git"), facts about any other file must not be cached: the file can change
/// once more and keep its times.
pub(crate) fn is_settled(modified: Moment, changed: Moment, moment: Moment) -> bool {
    settles(modified, changed) < nanoseconds(moment)
}

/// Nanoseconds since 1970 from which a file with these times is settled.
fn settles(modified: Moment, changed: Moment) -> i128 {
    // The change time moves with every change and no program can set it. A fraction proves that the
    // file system keeps it in nanoseconds, so it suffices alone: a wheel may contain modification
    // times of next year.
    let (last, tick) = if changed.1 == 0 { (modified.max(changed), COARSE_TICK) } else { (changed, TICK) };
    nanoseconds(last) + i128::from(tick)
}

pub(super) fn nanoseconds((seconds, nanoseconds): Moment) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// A file's stamp: its metadata without names and access time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FileStamp {
    pub(super) mode: u32,
    size: u64,
    device: u64,
    inode: u64,
    modified: Moment,
    changed: Moment,
}

impl From<&Metadata> for FileStamp {
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

impl From<&Stat> for FileStamp {
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap, clippy::cast_sign_loss)] // Widths vary.
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

impl FileStamp {
    /// Nanoseconds since 1970 from which any change alters the stamp.
    pub(super) fn settles(&self) -> i128 {
        settles(self.modified, self.changed)
    }

    /// The fields as bytes, for hashing.
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
