//! Identities of entries and file stamps: the basis of all cache keys.
//!
//! A [`KeyHasher`] is fed field by field, each with its length, so that two different lists of fields
//! never hash alike.

use serde::Serialize;

use super::{Content, ContentStamp, Entry, HostFile, Kind, Owner, Time};
use crate::digest::{Digest, Hasher};
use crate::traced_fs;
pub use crate::traced_fs::Moment;

/// An identity under construction: a hash over fields.
#[derive(Debug, Clone)]
pub struct KeyHasher(Hasher);

impl KeyHasher {
    /// Starts an identity. `what` separates the domains of different identities.
    pub fn new(what: &str) -> Self {
        Self(Hasher::new()).text(what)
    }

    /// Adds a text.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.add(text.as_bytes());
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.add(&number.to_le_bytes());
        self
    }

    /// Adds a value in its serialized form with the names of its fields, so that a new field enters
    /// the identity by itself. `None` if JSON cannot represent the value.
    pub(crate) fn value(mut self, value: &impl Serialize) -> Option<Self> {
        self.add(&serde_json::to_vec(value).ok()?);
        Some(self)
    }

    /// Adds bytes, with their length.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        let mut bytes = [0; 64];
        for (room, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            room.copy_from_slice(&number.to_le_bytes());
        }
        self.add(bytes.get(..N * 8).unwrap_or(&bytes));
    }

    /// Returns the identity.
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl ContentStamp {
    /// Returns true if the file changed so long before `moment` that any later change alters the
    /// stamp. Facts about an unsettled file must not be cached: the file can change again under the
    /// same stamp ("racily clean" in git).
    pub fn is_settled_at(self, moment: Moment) -> bool {
        traced_fs::is_settled(self.modified, self.changed, moment)
    }
}

impl HostFile {
    /// Adds the file's stamp: device, inode, size and times.
    pub fn identify(&self, fields: &mut KeyHasher) {
        let ContentStamp { device, inode, modified, changed } = self.stamp;
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::cast_unsigned);
        fields.numbers([device, inode, self.size, times[0], times[1], times[2], times[3]]);
    }
}

impl Content {
    /// Adds everything that decides the bytes as far as known without reading them; for a file of
    /// this machine, its stamp and the changes to apply.
    pub fn identify(&self, fields: &mut KeyHasher) {
        match self {
            Self::Bytes(bytes) => {
                fields.add(b"bytes");
                fields.add(bytes);
            }
            Self::Host(file) => {
                fields.add(b"host");
                file.identify(fields);
            }
            Self::Patched { file, patches } => {
                fields.add(b"patched");
                file.identify(fields);
                for patch in patches.iter() {
                    fields.numbers([patch.offset]);
                    fields.add(&patch.bytes);
                }
            }
            Self::Derived { file, transform } => {
                fields.add(b"derived");
                file.identify(fields);
                fields.add(transform.identity().as_bytes());
            }
            Self::External { size, source } => {
                fields.add(b"elsewhere");
                fields.numbers([*size]);
                fields.add(source.name().as_bytes());
            }
        }
    }
}

impl Entry {
    /// Adds all fields except the content: path, kind, link target, mode, user, group, time, owner.
    pub fn identify(&self, fields: &mut KeyHasher) {
        fields.add(self.path.as_str().as_bytes());
        let (kind, target) = match &self.kind {
            Kind::Directory => (0, ""),
            Kind::File(_) => (1, ""),
            Kind::Symlink(target) => (2, target.as_str()),
            Kind::HardLink(target) => (3, target.as_str()),
        };
        let (rule, time) = match self.time {
            Time::At(time) => (0, time.cast_unsigned()),
            Time::FromContent => (1, 0),
        };
        let numbers = [self.mode, self.uid, self.gid].map(u64::from);
        fields.numbers([kind, numbers[0], numbers[1], numbers[2], rule, time]);
        fields.add(target.as_bytes());
        let (owner, name, version) = match &self.owner {
            Owner::Distribution { name, version } => (0, &**name, &**version),
            Owner::Package { name, version } => (1, &**name, &**version),
            Owner::Interpreter => (2, "", ""),
            Owner::Environment => (3, "", ""),
            Owner::Source => (4, "", ""),
            Owner::System => (5, "", ""),
            Owner::Extra { layer } => (6, &**layer, ""),
        };
        fields.numbers([owner]);
        fields.add(name.as_bytes());
        fields.add(version.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{ImagePath, Patch};

    fn identity(entry: &Entry) -> Digest {
        let mut fields = KeyHasher::new("test");
        entry.identify(&mut fields);
        if let Kind::File(content) = &entry.kind {
            content.identify(&mut fields);
        }
        fields.finish()
    }

    fn host(stamp: ContentStamp, size: u64) -> HostFile {
        HostFile { path: std::path::Path::new("x").into(), size, stamp }
    }

    #[test]
    fn every_field_changes_the_identity() {
        let stamp = ContentStamp { device: 1, inode: 2, modified: (3, 4), changed: (5, 6) };
        let path = |text: &str| ImagePath::new(text).unwrap();
        let base = Entry::file(path("a"), Content::Host(host(stamp, 7)), Owner::Source);
        let with = |change: &dyn Fn(&mut Entry)| {
            let mut entry = base.clone();
            change(&mut entry);
            identity(&entry)
        };
        let content =
            |file: HostFile| with(&move |entry| entry.kind = Kind::File(Content::Host(file.clone())));
        let mut seen = vec![
            identity(&base),
            with(&|entry| entry.path = path("b")),
            with(&|entry| entry.mode = 0o755),
            with(&|entry| entry.uid = 1),
            with(&|entry| entry.gid = 1),
            with(&|entry| entry.time = Time::At(9)),
            with(&|entry| entry.time = Time::FromContent),
            with(&|entry| entry.owner = Owner::System),
            with(&|entry| entry.kind = Kind::Directory),
            with(&|entry| entry.kind = Kind::Symlink("x".to_owned())),
            with(&|entry| entry.kind = Kind::HardLink(path("x"))),
            with(&|entry| entry.kind = Kind::File("x".into())),
            content(host(stamp, 8)),
            content(host(ContentStamp { device: 9, ..stamp }, 7)),
            content(host(ContentStamp { inode: 9, ..stamp }, 7)),
            content(host(ContentStamp { modified: (3, 9), ..stamp }, 7)),
            content(host(ContentStamp { changed: (5, 9), ..stamp }, 7)),
            with(&|entry| {
                let patches = [Patch { offset: 0, bytes: vec![1] }].into();
                entry.kind = Kind::File(Content::Patched { file: host(stamp, 7), patches });
            }),
        ];
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all);
        assert_eq!(identity(&base), identity(&base.clone()));
    }

    #[test]
    fn a_file_is_settled_when_a_change_would_show() {
        let at = |modified, changed| ContentStamp { device: 1, inode: 1, modified, changed };
        for (stamp, moment, settled) in [
            (at((5, 1), (5, 1)), (6, 0), true),
            (at((5, 1), (5, 1)), (5, 1), false),
            (at((5, 1), (5, 1)), (5, 49_000_000), false),
            (at((5, 1), (5, 1)), (5, 51_000_000), true),
            // An old modification time was set; the change time reveals the write.
            (at((1, 0), (5, 1)), (5, 2), false),
            // A future time is ignored, unless it is the only one.
            (at((9, 0), (5, 1)), (7, 0), true),
            (at((9, 0), (5, 0)), (8, 0), false),
            // File systems with full seconds.
            (at((5, 0), (5, 0)), (6, 999_999_999), false),
            (at((5, 0), (5, 0)), (7, 1), true),
        ] {
            assert_eq!(stamp.is_settled_at(moment), settled, "{stamp:?} {moment:?}");
        }
    }
}
