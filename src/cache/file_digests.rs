//! Fingerprints of files, keyed by their file stamps; git's index holds the same.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::codec;
use crate::digest::{Digest, Fingerprint};
use crate::tree::{Content, KeyHasher, Moment};

/// The format line. Raise the number with every change to [`FileDigest`] or to the identity of a
/// content.
pub(super) const FORMAT: &str = "ipo-oci contents 3\n";

/// A content's identity, then the fields of [`FileDigest`].
pub(super) type FileDigestRow = ([u8; 32], [u8; 32], u64, Option<String>);

/// Facts about a file's bytes as they go into the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// The fingerprint of the bytes.
    pub fingerprint: Fingerprint,
    /// The number of bytes.
    pub size: u64,
    /// The path of the build machine found in the bytes, if any.
    pub found: Option<String>,
}

/// Facts about the files of one layer.
#[derive(Debug)]
pub struct FileDigests {
    path: PathBuf,
    before: HashMap<Digest, FileDigest>,
    now: Vec<(Digest, FileDigest)>,
}

impl FileDigests {
    /// Loads the file at `path`; a missing file is an empty table.
    pub(super) fn load(path: PathBuf) -> Self {
        let rows: Vec<FileDigestRow> = codec::load(FORMAT, &path).unwrap_or_default();
        let before = rows.into_iter().map(|(identity, fingerprint, size, found)| {
            let known = FileDigest { fingerprint: Fingerprint::from_bytes(fingerprint), size, found };
            (Digest::from_bytes(identity), known)
        });
        Self { path, before: before.collect(), now: Vec::new() }
    }

    /// Looks `content` up without reading the file's bytes.
    pub fn get(&self, content: &Content) -> Option<FileDigest> {
        self.before.get(&identity(content)).cloned()
    }

    /// Records `known`, learned by reading after `moment`, unless the file may have changed since
    /// without a new file stamp.
    pub fn note(&mut self, content: &Content, known: &FileDigest, moment: Moment) {
        let mut files = content.host_files().peekable();
        if files.peek().is_some() && files.all(|file| file.stamp.is_settled_at(moment)) {
            self.now.push((identity(content), known.clone()));
        }
    }

    /// Replaces the file with the recorded facts.
    pub fn save(mut self) -> std::io::Result<()> {
        self.now.sort_unstable_by_key(|(identity, _)| *identity);
        self.now.dedup_by_key(|(identity, _)| *identity);
        let same = self.now.len() == self.before.len()
            && self.now.iter().all(|(identity, known)| self.before.get(identity) == Some(known));
        if same {
            return Ok(());
        }
        let rows = self.now.into_iter().filter_map(|(identity, known)| {
            Some((identity.sha256()?, *known.fingerprint.as_bytes(), known.size, known.found))
        });
        codec::save(FORMAT, &self.path, &rows.collect::<Vec<_>>())
    }
}

fn identity(content: &Content) -> Digest {
    let mut fields = KeyHasher::new("content");
    content.identify(&mut fields);
    fields.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::HostFile;

    #[test]
    fn a_file_is_found_until_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (memory, file) = (folder.path().join("memory"), folder.path().join("file"));
        fs_err::write(&file, "x").unwrap();
        let content = |path: &PathBuf| Content::Host(HostFile::new(path.clone()).unwrap());
        let known =
            FileDigest { fingerprint: Fingerprint::of(b"x"), size: 1, found: Some("/home/me".to_owned()) };
        let late = (i64::MAX, 0);
        let mut contents = FileDigests::load(memory.clone());
        contents.note(&content(&file), &known, late);
        contents.save().unwrap();
        assert_eq!(FileDigests::load(memory.clone()).get(&content(&file)), Some(known));
        fs_err::write(&file, "yz").unwrap();
        assert_eq!(FileDigests::load(memory).get(&content(&file)), None);
    }

    #[test]
    fn a_file_changed_during_reading_is_not_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let (memory, file) = (folder.path().join("memory"), folder.path().join("file"));
        fs_err::write(&file, "x").unwrap();
        let file = HostFile::new(file).unwrap();
        let moment = file.stamp.changed;
        let content = Content::Host(file);
        let known = FileDigest { fingerprint: Fingerprint::of(b"x"), size: 1, found: None };
        let mut contents = FileDigests::load(memory.clone());
        contents.note(&content, &known, moment);
        contents.note(&"in memory".into(), &known, (i64::MAX, 0));
        contents.save().unwrap();
        let contents = FileDigests::load(memory);
        assert_eq!((contents.get(&content), contents.get(&"in memory".into())), (None, None));
    }
}
