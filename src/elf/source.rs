//! [`ElfBytes`]: bounded reads from an ELF file or from bytes in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::ElfError;
use crate::error::FileError;
use crate::traced_fs;

/// The size of one read during the search for a string's end, in bytes.
const STEP: u64 = 256;

/// The bytes of an ELF file.
#[derive(Debug)]
pub(super) struct ElfBytes<'a> {
    bytes: Bytes<'a>,
    len: u64,
}

#[derive(Debug)]
enum Bytes<'a> {
    File(File),
    Memory(&'a [u8]),
}

/// A failed read, without the file's path.
#[derive(Debug)]
pub(super) enum Fault {
    /// A failed operation of the operating system.
    Io(io::Error),
    /// Impossible offsets or sizes in the file.
    Malformed(&'static str),
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// Adds the file's path.
    pub(super) fn at(self, path: &Path) -> ElfError {
        match self {
            Self::Io(source) => FileError::new("read", path, source).into(),
            Self::Malformed(reason) => ElfError::Malformed { path: path.to_owned(), reason },
        }
    }
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Self {
        Self::Malformed(reason)
    }
}

impl<'a> ElfBytes<'a> {
    /// Opens a file, following symbolic links; `None` unless a regular file.
    pub(super) fn open(path: &Path) -> std::result::Result<Option<Self>, FileError> {
        // Non-blocking: a FIFO under the name of a library must not hang the build.
        let file = traced_fs::open_nonblocking(path).map_err(FileError::of("read", path))?;
        Self::of_file(file).map_err(FileError::of("read", path))
    }

    /// Reads from an open file; `None` unless a regular file.
    pub(super) fn of_file(file: File) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| Self { bytes: Bytes::File(file), len: metadata.len() }))
    }

    /// Reads from memory.
    pub(super) fn memory(bytes: &'a [u8]) -> Self {
        Self { bytes: Bytes::Memory(bytes), len: bytes.len() as u64 }
    }

    /// Returns the size in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns `size` bytes from `offset` on; `limit` is the largest size in a valid file.
    pub(super) fn read(&self, offset: u64, size: u64, limit: u64) -> Result<Vec<u8>> {
        let end = offset.checked_add(size).ok_or("an offset is out of range")?;
        if end > self.len {
            return Err("unexpected end of file".into());
        }
        if size > limit {
            return Err("a table exceeds the size limit".into());
        }
        let size = usize::try_from(size).map_err(|_| "a table exceeds the size limit")?;
        match &self.bytes {
            Bytes::File(file) => {
                let mut buffer = vec![0; size];
                file.read_exact_at(&mut buffer, offset).map_err(Fault::Io)?;
                Ok(buffer)
            }
            Bytes::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(|_| "an offset is out of range")?;
                let piece = bytes.get(start..).and_then(|rest| rest.get(..size));
                Ok(piece.ok_or("unexpected end of file")?.to_vec())
            }
        }
    }

    /// Returns the bytes from `offset` up to a NUL, which must precede `end` and come within
    /// `limit` bytes.
    pub(super) fn string(&self, offset: u64, end: u64, limit: u64) -> Result<Vec<u8>> {
        let end = end.min(self.len).min(offset.saturating_add(limit));
        let (mut string, mut at) = (Vec::new(), offset);
        while at < end {
            let piece = self.read(at, STEP.min(end - at), STEP)?;
            if let Some(nul) = memchr::memchr(0, &piece) {
                string.extend_from_slice(piece.get(..nul).unwrap_or_default());
                return Ok(string);
            }
            at += piece.len() as u64;
            string.extend_from_slice(&piece);
        }
        Err("a string has no terminating NUL".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pieces_and_strings_within_bounds() {
        let long = [vec![b'x'; 300], vec![0, b'y']].concat();
        let source = ElfBytes::memory(&long);
        assert_eq!(source.read(299, 3, 10).unwrap(), [b'x', 0, b'y']);
        assert_eq!(source.string(0, 302, 4096).unwrap().len(), 300);
        for refused in [source.read(300, 3, 10), source.read(u64::MAX, 2, 10), source.read(0, 20, 10)] {
            assert!(matches!(refused, Err(Fault::Malformed(_))));
        }
        for refused in [source.string(0, 300, 4096), source.string(0, 302, 299), source.string(301, 999, 99)]
        {
            assert!(matches!(refused, Err(Fault::Malformed("a string has no terminating NUL"))));
        }
    }
}
