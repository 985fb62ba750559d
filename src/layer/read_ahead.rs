//! [`ReadAhead`]: reads the files of a tree before the archive needs them.
//!
//! Opening, reading and rewriting thousands of small files is most of the cost of a layer beside
//! compression, so threads of the [`Pool`] read batches of files and return them in the order of
//! the tree. Large files are not held in memory: the archive streams them.

use std::collections::VecDeque;
use std::vec;

use super::LayerError;
use super::pool::{Pool, Reply};
use super::time::time_of_bytes;
use crate::tree::{Content, ContentError, Entry, Kind, Time};

/// The most bytes read in one job.
const BATCH_BYTES: u64 = 512 << 10;
/// The most files read in one job.
const BATCH_FILES: usize = 32;
/// The largest file that is read in full, in bytes.
const WHOLE_FILE_LIMIT: u64 = 512 << 10;

/// A file returned by [`ReadAhead`].
pub(super) enum PrefetchedFile {
    /// The file was read: its modification time and bytes.
    Whole(i64, Vec<u8>),
    /// The file is too large: the archive streams the content.
    Streamed,
}

/// Reads the files of a tree ahead, in order.
pub(super) struct ReadAhead<'p, 'env> {
    pool: &'p Pool<'env>,
    /// Entries not yet assigned to a job.
    rest: Box<dyn Iterator<Item = &'env Entry> + 'env>,
    /// A file that did not fit into the last job.
    next: Option<&'env Entry>,
    /// Jobs in progress, each with its expected bytes.
    jobs: VecDeque<(u64, Reply<Batch>)>,
    /// Sum of the bytes in `jobs`.
    waiting: u64,
    ready: vec::IntoIter<Result<PrefetchedFile, ContentError>>,
}

type Batch = Vec<Result<PrefetchedFile, ContentError>>;

impl<'p, 'env> ReadAhead<'p, 'env> {
    pub(super) fn new(entries: impl Iterator<Item = &'env Entry> + 'env, pool: &'p Pool<'env>) -> Self {
        let files = entries.filter(|entry| matches!(entry.kind, Kind::File(_)));
        Self {
            pool,
            rest: Box::new(files),
            next: None,
            jobs: VecDeque::new(),
            waiting: 0,
            ready: Vec::new().into_iter(),
        }
    }

    /// Returns the next file of the tree.
    pub(super) fn next(&mut self) -> Result<PrefetchedFile, LayerError> {
        loop {
            if let Some(file) = self.ready.next() {
                return Ok(file?);
            }
            self.fill();
            let Some((bytes, reply)) = self.jobs.pop_front() else { return Ok(PrefetchedFile::Streamed) };
            self.waiting -= bytes;
            let batch = reply.take().ok_or_else(|| std::io::Error::other("a reader thread stopped"))?;
            self.ready = batch.into_iter();
            // The threads read the next batches while this one is written.
            self.fill();
        }
    }

    /// Starts jobs up to the memory limit. A file that is larger than the limit, since its
    /// transformation needs all bytes, is read alone.
    fn fill(&mut self) {
        let most = BATCH_BYTES * (self.pool.threads() as u64 + 1);
        while self.jobs.is_empty() || self.waiting < most {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH_FILES {
                let Some(entry) = self.next.take().or_else(|| self.rest.next()) else { break };
                let size = buffered_bytes(entry);
                if !batch.is_empty() && bytes + size > BATCH_BYTES {
                    self.next = Some(entry);
                    break;
                }
                bytes += size;
                batch.push(entry);
            }
            if batch.is_empty() {
                return;
            }
            self.waiting += bytes;
            let reply = self.pool.submit(move |_| batch.into_iter().map(read).collect());
            self.jobs.push_back((bytes, reply));
        }
    }
}

/// Returns the bytes held in memory for `entry`.
fn buffered_bytes(entry: &Entry) -> u64 {
    match &entry.kind {
        Kind::File(content) if is_read_whole(content) => content.size_hint(),
        _ => 0,
    }
}

/// Returns true for content to read in full. Derived content is in memory anyway; content from
/// elsewhere may stream over a network.
fn is_read_whole(content: &Content) -> bool {
    match content {
        Content::Derived { .. } => true,
        Content::Host(file) | Content::Patched { file, .. } => file.size <= WHOLE_FILE_LIMIT,
        Content::Bytes(_) | Content::External { .. } => false,
    }
}

fn read(entry: &Entry) -> Result<PrefetchedFile, ContentError> {
    let Kind::File(content) = &entry.kind else { return Ok(PrefetchedFile::Streamed) };
    if !is_read_whole(content) {
        return Ok(PrefetchedFile::Streamed);
    }
    let bytes = content.read()?;
    let time = match entry.time {
        Time::At(time) => time,
        Time::FromContent => time_of_bytes(&bytes),
    };
    Ok(PrefetchedFile::Whole(time, bytes))
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::path::Path;

    use crate::layer::{self, Compression, LayerError, NoWatch, WrittenLayer};
    use crate::tree::{Content, ContentError, Entry, HostFile, ImagePath, Owner, Time, Tree};

    use super::{BATCH_FILES, WHOLE_FILE_LIMIT};

    /// Makes more files than are read at once, of all sizes, on disk and in memory.
    fn tree(folder: &Path) -> Tree {
        let mut tree = Tree::new();
        for number in 0..BATCH_FILES * 20 {
            let size = if number % 50 == 7 {
                usize::try_from(WHOLE_FILE_LIMIT).unwrap() + number
            } else {
                number * 97
            };
            let bytes = vec![u8::try_from(number % 251).unwrap(); size];
            let host = folder.join(number.to_string());
            fs_err::write(&host, &bytes).unwrap();
            let content: Content =
                if number % 3 == 0 { bytes.into() } else { Content::Host(HostFile::new(host).unwrap()) };
            let path = ImagePath::new(&format!("{number:04}")).unwrap();
            let time = if number % 2 == 0 { Time::FromContent } else { Time::At(1) };
            tree.insert(Entry::file(path, content, Owner::Source).with_time(time)).unwrap();
        }
        tree
    }

    fn written(tree: &Tree, threads: usize) -> Result<(WrittenLayer, Vec<u8>), LayerError> {
        let mut bytes = Vec::new();
        let written = layer::write(tree, Compression::None, NonZero::new(threads), &mut bytes, &mut NoWatch)?;
        Ok((written, bytes))
    }

    #[test]
    fn read_ahead_does_not_change_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree(folder.path());
        let mut plain = Vec::new();
        layer::write_archive(&tree, &mut plain, &mut NoWatch).unwrap();
        for threads in [1, 2, 7] {
            assert!(written(&tree, threads).unwrap().1 == plain, "{threads} threads");
        }
    }

    #[test]
    fn reports_the_first_error_in_tree_order() {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree(folder.path());
        for gone in ["317", "401", "407", "637"] {
            fs_err::write(folder.path().join(gone), "other").unwrap();
        }
        for threads in [1, 2, 7] {
            let error = written(&tree, threads).unwrap_err();
            let LayerError::Content(ContentError::Changed(path)) = &error else { panic!("{error}") };
            assert_eq!(path, &folder.path().join("317"), "{threads} threads");
        }
    }
}
