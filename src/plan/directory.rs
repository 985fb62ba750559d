//! [`Directory`]: the attributes of a directory that an upper layer repeats.

use serde::{Deserialize, Serialize};

use crate::tree::{Entry, ImagePath, Kind, Owner, Time};

/// A directory of a lower layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directory {
    pub(super) path: ImagePath,
    mode: u32,
    user: u32,
    group: u32,
    time: i64,
    owner: Owner,
}

impl Directory {
    /// Describes the directory `entry`; `None` for other entries.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let (Kind::Directory, Time::At(time)) = (&entry.kind, entry.time) else { return None };
        Some(Self {
            path: entry.path.clone(),
            mode: entry.mode,
            user: entry.uid,
            group: entry.gid,
            time,
            owner: entry.owner.clone(),
        })
    }

    /// Returns the directory as an entry.
    pub(crate) fn entry(&self) -> Entry {
        let Self { path, mode, user, group, time, owner } = self;
        let entry = Entry::directory(path.clone(), owner.clone()).with_mode(*mode).with_time(Time::At(*time));
        Entry { uid: *user, gid: *group, ..entry }
    }
}
