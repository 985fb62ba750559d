//! [`Content`]: where the bytes of a file come from.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Advice, FileError};

/// The largest file that is transformed in memory, in bytes. Bytecode and scripts are far smaller.
const TRANSFORM_LIMIT: u64 = 256 << 20;

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
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// Size or times moved between listing and reading.
    #[error("{} changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The bytes could not be rewritten.
    #[error("cannot rewrite {}: {reason}", .path.display())]
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
    reader: Box<dyn Read + Send>,
    origin: Option<HostFile>,
    name: PathBuf,
    seen: u64,
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
        let metadata = std::fs::symlink_metadata(&path).map_err(FileError::of("read", &path))?;
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
    pub fn read(&self) -> Result<Vec<u8>, ContentError> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0).min(1 << 26));
        let mut open = self.open()?;
        while open.read_some(&mut bytes)? > 0 {}
        Ok(bytes)
    }

    fn open(&self) -> Result<OpenContent, ContentError> {
        use std::os::unix::fs::OpenOptionsExt;
        // Not blocking: a pipe that took the file's place must not hang the build.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path)
            .map_err(FileError::of("read", &self.path))?;
        let now = file.metadata().map_err(FileError::of("read", &self.path))?;
        if !now.is_file() || now.len() != self.size || !self.stamp.is_content_of(Stamp::of(&now)) {
            return Err(ContentError::Changed(self.path.to_path_buf()));
        }
        Ok(OpenContent {
            size: self.size,
            reader: Box::new(Checked { file, stamp: self.stamp, left: self.size }),
            origin: Some(self.clone()),
            name: PathBuf::new(),
            seen: 0,
        })
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

    /// Begins to read. The size of what comes is exact, also for derived files.
    pub fn open(&self) -> Result<OpenContent, ContentError> {
        match self {
            Self::Bytes(bytes) => Ok(OpenContent::memory(bytes.clone())),
            Self::Host(file) => file.open(),
            Self::Patched { file, patches } => {
                let mut open = file.open()?;
                open.reader = Box::new(Patching { inner: open.reader, patches: patches.clone(), at: 0 });
                Ok(open)
            }
            Self::Derived { file, transform } => {
                let failed = |reason| ContentError::Transform { path: file.path.to_path_buf(), reason };
                if file.size > TRANSFORM_LIMIT {
                    return Err(failed(TransformError(format!(
                        "it has {} bytes, more than the {TRANSFORM_LIMIT} that are rewritten in memory",
                        file.size
                    ))));
                }
                let bytes = transform.apply(file.read()?).map_err(failed)?;
                Ok(OpenContent::memory(bytes.into()))
            }
            Self::Elsewhere { size, source } => {
                let name = PathBuf::from(source.name());
                let reader = source.open().map_err(FileError::of("read", &name))?;
                // One byte more than was promised shows that there are too many.
                let reader = Box::new(reader.take(size.saturating_add(1)));
                Ok(OpenContent { size: *size, reader, origin: None, name, seen: 0 })
            }
        }
    }

    /// Reads it whole; the caller knows that it is small.
    pub fn read(&self) -> Result<Vec<u8>, ContentError> {
        if let Self::Bytes(bytes) = self {
            return Ok(bytes.to_vec());
        }
        let mut bytes = Vec::new();
        let mut open = self.open()?;
        while open.read_some(&mut bytes)? > 0 {}
        Ok(bytes)
    }
}

impl OpenContent {
    fn memory(bytes: Arc<[u8]>) -> Self {
        Self {
            size: bytes.len() as u64,
            reader: Box::new(Cursor::new(bytes)),
            origin: None,
            name: PathBuf::new(),
            seen: 0,
        }
    }

    /// Appends some bytes to `buffer`, up to 256 KiB, and says how many; 0 at the end.
    ///
    /// # Errors
    /// [`ContentError::Changed`] when the file turns out to be another than the one described.
    pub fn read_some(&mut self, buffer: &mut Vec<u8>) -> Result<usize, ContentError> {
        const PIECE: u64 = 256 << 10;
        let got = (&mut self.reader).take(PIECE).read_to_end(buffer).map_err(|error| self.explain(error))?;
        self.seen += got as u64;
        Ok(got)
    }

    /// Turns an error of its reader back into one that names the file.
    fn explain(&self, error: io::Error) -> ContentError {
        let path = self.origin.as_ref().map_or_else(|| self.name.clone(), |file| file.path.to_path_buf());
        if error.get_ref().is_some_and(
            <dyn std::error::Error + std::marker::Send + std::marker::Sync + 'static>::is::<FileChanged>,
        ) {
            ContentError::Changed(path)
        } else {
            FileError::new("read", path, error).into()
        }
    }
}

/// Carries "the file changed" through [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("the file changed")]
struct FileChanged;

/// Reads exactly the bytes that were promised, and looks at the end whether they are still the same file's.
struct Checked {
    file: File,
    stamp: Stamp,
    left: u64,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let changed = || io::Error::other(FileChanged);
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            let now = self.file.metadata()?;
            return if self.stamp.is_content_of(Stamp::of(&now)) { Ok(0) } else { Err(changed()) };
        }
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.file.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(changed());
        }
        self.left -= got as u64;
        Ok(got)
    }
}

/// Overwrites the patched places while the bytes pass.
struct Patching {
    inner: Box<dyn Read + Send>,
    patches: Arc<[Patch]>,
    at: u64,
}

impl Read for Patching {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        let (start, end) = (self.at, self.at + got as u64);
        for patch in self.patches.iter() {
            let patch_end = patch.offset + patch.bytes.len() as u64;
            let (from, to) = (patch.offset.max(start), patch_end.min(end));
            if from < to {
                // Both differences fit: they lie inside the buffer or inside the patch.
                let [into, to_into, out, to_out] =
                    [from - start, to - start, from - patch.offset, to - patch.offset]
                        .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
                buffer[into..to_into].copy_from_slice(&patch.bytes[out..to_out]);
            }
        }
        self.at = end;
        Ok(got)
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
