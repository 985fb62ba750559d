//! [`Content`]: where the bytes of a file come from.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk;
use crate::error::{Advice, FileError};
use crate::printable;

/// The largest file that is transformed in memory, in bytes. Bytecode and scripts are far smaller.
pub(crate) const TRANSFORM_LIMIT: u64 = 256 << 20;

/// Bytes that are read at a time, of a file that is not read whole.
const PIECE: usize = 256 << 10;

/// Where the bytes of a file come from. Nothing is read before [`Content::open`].
#[derive(Debug, Clone)]
pub enum Content {
    /// Bytes in memory, for what is made here.
    Bytes(Arc<[u8]>),
    /// A file of this machine as it is.
    Host(HostFile),
    /// A file of this machine with some bytes overwritten; its size stays.
    Patched {
        /// The file.
        file: HostFile,
        /// What is overwritten, in the order of offsets, without overlap.
        patches: Arc<[Patch]>,
    },
    /// A file of this machine turned into other bytes, of a size that is known when it is read.
    Derived {
        /// The file.
        file: HostFile,
        /// What makes the new bytes from the old.
        transform: Arc<dyn Transform>,
    },
    /// Bytes that have to be asked for: a member of an archive, a blob of a registry.
    Elsewhere {
        /// How many there are.
        size: u64,
        /// Who gives them.
        source: Arc<dyn ContentSource>,
    },
}

/// Gives the bytes of a file that is not one of this machine, as often as it is asked.
pub trait ContentSource: fmt::Debug + Send + Sync {
    /// The bytes from the beginning.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;

    /// What it is known by, such as a digest: two of one name give the same bytes. Errors call it so.
    fn name(&self) -> String;
}

/// Bytes to put at an offset of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Bytes from the file's start.
    pub offset: u64,
    /// What stands there afterwards.
    pub bytes: Vec<u8>,
}

/// Turns the bytes of a file into others. The same input gives the same output, always.
pub trait Transform: fmt::Debug + Send + Sync {
    /// The new bytes.
    fn apply(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError>;

    /// Names all that decides the result beside the input: the kind of transformation, its
    /// revision and its parameters. Two transforms with one identity give the same bytes.
    fn identity(&self) -> String;

    /// A second file that it reads, whose state its identity names.
    fn reads(&self) -> Option<&HostFile> {
        None
    }
}

/// Why a [`Transform`] could not do its work, in one sentence without the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransformError(pub String);

/// A regular file of this machine, with what tells whether it is still the same when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFile {
    /// Where it is.
    pub path: Arc<Path>,
    /// Its size in bytes.
    pub size: u64,
    /// What changes when the file does.
    pub stamp: Stamp,
}

/// What a file system changes when a file's content changes; git's index remembers the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The device that holds the file.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Modification time: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Change time: seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// Content that could not be read, or not as it was described.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is a directory, a device, a socket or a pipe.
    #[error("{} is not a regular file", printable::path(.0))]
    NotRegular(PathBuf),
    /// Size or times moved between listing and reading.
    #[error("{} changed while it was read", printable::path(.0))]
    Changed(PathBuf),
    /// The bytes could not be rewritten.
    #[error("cannot rewrite {}: {reason}", printable::path(.path))]
    Transform {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: TransformError,
    },
}

impl Advice for ContentError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::NotRegular(_) => Some("leave it out with a line in .dockerignore".to_owned()),
            Self::Changed(_) => Some(
                "build again when nothing writes to it, or leave it out with a line in .dockerignore"
                    .to_owned(),
            ),
            Self::Transform { .. } => None,
        }
    }
}

/// Content that is being read.
pub struct OpenContent {
    /// How many bytes will come.
    pub size: u64,
    reader: Reader,
}

enum Reader {
    /// Bytes, and how many of them were given.
    Memory(Arc<[u8]>, usize),
    Host(Checked),
    Patched(Checked, Arc<[Patch]>),
    /// With its name.
    Elsewhere(Box<dyn Read + Send>, PathBuf),
}

impl fmt::Debug for OpenContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenContent").field("size", &self.size).finish_non_exhaustive()
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

impl Stamp {
    /// Reads it from a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether `now` is of the same file with the same content. The change time does not count: it moves when
    /// another hard link to the file is made, as uv makes one in each environment that it installs a wheel into, and
    /// so while another job on the machine installs something.
    pub fn is_content_of(self, now: Self) -> bool {
        (self.device, self.inode, self.modified) == (now.device, now.inode, now.modified)
    }
}

impl HostFile {
    /// Describes the regular file at `path`; a symbolic link is not followed.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, ContentError> {
        let path = path.into();
        let metadata = disk::symlink_metadata(&path).map_err(FileError::of("read", &path))?;
        Self::with_metadata(path, &metadata)
    }

    /// Describes the regular file at `path` whose metadata is known already.
    pub fn with_metadata(path: impl Into<PathBuf>, metadata: &Metadata) -> Result<Self, ContentError> {
        let path = path.into();
        if !metadata.is_file() {
            return Err(ContentError::NotRegular(path));
        }
        Ok(Self { path: path.into(), size: metadata.len(), stamp: Stamp::of(metadata) })
    }

    /// Reads it whole; the caller knows that it is small.
    ///
    /// One look at the file after reading it is enough to know that it is, and stayed, the one described. Most files
    /// of an environment are tiny, so every call to the system shows.
    pub fn read(&self) -> Result<Vec<u8>, ContentError> {
        let file = self.open_file()?;
        let mut bytes = Vec::new();
        let outcome = loop {
            let left = self.size.saturating_sub(bytes.len() as u64);
            // One byte more than is left, so that a file that grew is noticed without another call.
            bytes.reserve_exact(usize::try_from(left).unwrap_or(usize::MAX).min(1 << 26) + 1);
            match append(&file, &mut bytes) {
                Ok(got) if got as u64 >= left || got == 0 => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        self.check(&file)?;
        if outcome.is_err() {
            // Whoever passes over it gets the bytes the next time, perhaps.
            disk::unsure();
        }
        outcome.map_err(FileError::of("read", &self.path))?;
        if bytes.len() as u64 == self.size { Ok(bytes) } else { Err(self.changed()) }
    }

    /// Its first bytes: `most` of them, or all that there are.
    pub fn read_start(&self, most: usize) -> Result<Vec<u8>, ContentError> {
        let file = self.open_file()?;
        let mut bytes = Vec::with_capacity(most);
        let outcome = loop {
            match append(&file, &mut bytes) {
                Ok(1..) if bytes.len() < most => {}
                outcome => break outcome,
            }
        };
        self.check(&file)?;
        if outcome.is_err() {
            disk::unsure();
        }
        outcome.map_err(FileError::of("read", &self.path))?;
        bytes.truncate(most);
        Ok(bytes)
    }

    fn open(&self) -> Result<Checked, ContentError> {
        let file = self.open_file()?;
        self.check(&file)?;
        Ok(Checked { origin: self.clone(), file, at: 0 })
    }

    fn open_file(&self) -> Result<File, FileError> {
        // Not blocking: a pipe that took the file's place must not hang the build.
        disk::open_itself(&self.path).map_err(FileError::of("read", &self.path))
    }

    /// Refuses an open file that is not the one described.
    fn check(&self, file: &File) -> Result<(), ContentError> {
        let now = file.metadata().map_err(FileError::of("read", &self.path))?;
        if now.is_file() && now.len() == self.size && self.stamp.is_content_of(Stamp::of(&now)) {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> ContentError {
        ContentError::Changed(self.path.to_path_buf())
    }
}

/// Reads once, into the room that `buffer` has, which is more than none.
fn append(file: &File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match rustix::io::read(file, rustix::buffer::spare_capacity(buffer)) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

impl Content {
    /// Its size in bytes; for a derived file the size before it is derived.
    pub fn size_hint(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Host(file) | Self::Patched { file, .. } | Self::Derived { file, .. } => file.size,
            Self::Elsewhere { size, .. } => *size,
        }
    }

    /// The file of this machine that it comes from.
    pub fn host_file(&self) -> Option<&HostFile> {
        match self {
            Self::Bytes(_) | Self::Elsewhere { .. } => None,
            Self::Host(file) | Self::Patched { file, .. } | Self::Derived { file, .. } => Some(file),
        }
    }

    /// All files of this machine that decide its bytes.
    pub fn host_files(&self) -> impl Iterator<Item = &HostFile> {
        let second = match self {
            Self::Derived { transform, .. } => transform.reads(),
            _ => None,
        };
        self.host_file().into_iter().chain(second)
    }

    /// Begins to read. The size of what comes is exact, also for derived files.
    pub fn open(&self) -> Result<OpenContent, ContentError> {
        let memory = |bytes: Arc<[u8]>| (bytes.len() as u64, Reader::Memory(bytes, 0));
        let (size, reader) = match self {
            Self::Bytes(bytes) => memory(bytes.clone()),
            Self::Host(file) => (file.size, Reader::Host(file.open()?)),
            Self::Patched { file, patches } => (file.size, Reader::Patched(file.open()?, patches.clone())),
            Self::Derived { file, transform } => memory(derived(file, &**transform)?.into()),
            Self::Elsewhere { size, source } => {
                let name = PathBuf::from(source.name());
                let reader = source.open().map_err(FileError::of("read", &name))?;
                // One byte more than was promised shows that there are too many.
                (*size, Reader::Elsewhere(Box::new(reader.take(size.saturating_add(1))), name))
            }
        };
        Ok(OpenContent { size, reader })
    }

    /// Reads it whole; the caller knows that it is small.
    pub fn read(&self) -> Result<Vec<u8>, ContentError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
            Self::Host(file) => file.read(),
            Self::Patched { file, patches } => {
                let mut bytes = file.read()?;
                patch(patches, &mut bytes, 0);
                Ok(bytes)
            }
            Self::Derived { file, transform } => derived(file, &**transform),
            Self::Elsewhere { .. } => {
                let mut bytes = Vec::new();
                let mut open = self.open()?;
                while open.read_some(&mut bytes)? > 0 {}
                Ok(bytes)
            }
        }
    }
}

fn derived(file: &HostFile, transform: &dyn Transform) -> Result<Vec<u8>, ContentError> {
    let failed = |reason| ContentError::Transform { path: file.path.to_path_buf(), reason };
    if file.size > TRANSFORM_LIMIT {
        return Err(failed(TransformError(format!(
            "it has {} bytes, more than the {TRANSFORM_LIMIT} that are rewritten in memory",
            file.size
        ))));
    }
    transform.apply(file.read()?).map_err(failed)
}

impl OpenContent {
    /// Appends some bytes to `buffer`, up to 256 KiB or what room it has, and says how many; 0 at the end.
    ///
    /// # Errors
    /// [`ContentError::Changed`] when the file turns out to be another than the one described.
    pub fn read_some(&mut self, buffer: &mut Vec<u8>) -> Result<usize, ContentError> {
        match &mut self.reader {
            Reader::Memory(bytes, at) => {
                let rest = bytes.get(*at..).unwrap_or_default();
                let piece = rest.get(..PIECE).unwrap_or(rest);
                buffer.extend_from_slice(piece);
                *at += piece.len();
                Ok(piece.len())
            }
            Reader::Host(file) => file.read_some(buffer),
            Reader::Patched(file, patches) => {
                let (at, before) = (file.at, buffer.len());
                let got = file.read_some(buffer)?;
                patch(patches, buffer.get_mut(before..).unwrap_or_default(), at);
                Ok(got)
            }
            Reader::Elsewhere(reader, name) => {
                let got = reader.take(PIECE as u64).read_to_end(buffer);
                Ok(got.map_err(FileError::of("read", name))?)
            }
        }
    }
}

/// Reads exactly the bytes that were promised, and looks at the end whether they are still the same file's.
struct Checked {
    origin: HostFile,
    file: File,
    /// Bytes that were read.
    at: u64,
}

impl Checked {
    fn read_some(&mut self, buffer: &mut Vec<u8>) -> Result<usize, ContentError> {
        let left = self.origin.size.saturating_sub(self.at);
        if left == 0 {
            self.origin.check(&self.file)?;
            return Ok(0);
        }
        buffer.reserve(usize::try_from(left).unwrap_or(PIECE).min(PIECE));
        let got = append(&self.file, buffer).map_err(FileError::of("read", &self.origin.path))?;
        if got == 0 || got as u64 > left {
            return Err(self.origin.changed());
        }
        self.at += got as u64;
        Ok(got)
    }
}

/// Overwrites the patched places of the bytes that begin at `start`.
fn patch(patches: &[Patch], bytes: &mut [u8], start: u64) {
    let end = start + bytes.len() as u64;
    for patch in patches {
        let patch_end = patch.offset + patch.bytes.len() as u64;
        let (from, to) = (patch.offset.max(start), patch_end.min(end));
        if from < to {
            // All differences fit: they lie inside the bytes or inside the patch.
            let [into, to_into, out, to_out] =
                [from - start, to - start, from - patch.offset, to - patch.offset]
                    .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
            bytes[into..to_into].copy_from_slice(&patch.bytes[out..to_out]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file_with(bytes: &[u8]) -> (tempfile::TempDir, HostFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let file = HostFile::new(path).unwrap();
        (folder, file)
    }

    #[derive(Debug)]
    struct Double;

    impl Transform for Double {
        fn apply(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
            Ok(bytes.repeat(2))
        }

        fn identity(&self) -> String {
            "double".to_owned()
        }
    }

    #[test]
    fn notices_a_file_that_changed_before_it_was_read() {
        let (_folder, file) = file_with(b"one");
        std::fs::write(&file.path, b"three").unwrap();
        assert!(matches!(Content::Host(file).read(), Err(ContentError::Changed(_))));
    }

    #[test]
    fn a_new_hard_link_changes_nothing() {
        let (folder, file) = file_with(b"one");
        let content = Content::Host(file.clone());
        let mut open = content.open().unwrap();
        // The change time moves with the clock, not faster.
        while HostFile::new(&*file.path).unwrap().stamp == file.stamp {
            let link = folder.path().join("link");
            std::fs::hard_link(&file.path, &link).unwrap();
            std::fs::remove_file(&link).unwrap();
        }
        let mut bytes = Vec::new();
        while open.read_some(&mut bytes).unwrap() > 0 {}
        assert_eq!(bytes, b"one");
        assert_eq!(content.read().unwrap(), b"one");
    }

    #[test]
    fn notices_a_file_that_grows_while_it_is_read() {
        let (_folder, file) = file_with(&vec![b'x'; 300 << 10]);
        let mut open = Content::Host(file.clone()).open().unwrap();
        let mut bytes = Vec::new();
        open.read_some(&mut bytes).unwrap();
        std::fs::write(&file.path, vec![b'y'; 400 << 10]).unwrap();
        let mut outcome = Ok(1);
        while matches!(outcome, Ok(1..)) {
            outcome = open.read_some(&mut bytes);
        }
        assert!(matches!(outcome, Err(ContentError::Changed(_))));
    }

    #[test]
    fn a_link_that_took_the_place_of_a_file_is_not_followed() {
        let (folder, file) = file_with(b"one");
        std::fs::remove_file(&file.path).unwrap();
        std::os::unix::fs::symlink(folder.path(), &file.path).unwrap();
        assert!(Content::Host(file).read().is_err());
        assert!(matches!(HostFile::new(folder.path().join("file")), Err(ContentError::NotRegular(_))));
    }

    #[test]
    fn a_derived_file_says_its_new_size() {
        let (_folder, file) = file_with(b"ab");
        let content = Content::Derived { file, transform: Arc::new(Double) };
        assert_eq!(content.open().unwrap().size, 4);
        assert_eq!(content.read().unwrap(), b"abab");
    }

    proptest! {
        #[test]
        fn patches_land_where_they_should(size in 1usize..700_000, at in 0usize..700_000, with in proptest::collection::vec(any::<u8>(), 0..300)) {
            let at = at % size;
            let with = &with[..with.len().min(size - at)];
            let (_folder, file) = file_with(&vec![7; size]);
            let patches = vec![Patch { offset: at as u64, bytes: with.to_vec() }];
            let mut expected = vec![7; size];
            expected[at..at + with.len()].copy_from_slice(with);
            let content = Content::Patched { file, patches: patches.into() };
            prop_assert!(content.read().unwrap() == expected);
        }
    }
}
