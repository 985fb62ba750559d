//! [`Source`]: reads pieces of a file, or of bytes in memory, without ever reading all of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::ElfError;
use crate::disk;
use crate::error::FileError;

/// How much is read at once while looking for the end of a string.
const STEP: u64 = 256;

/// Where the bytes of an ELF file are.
#[derive(Debug)]
pub(super) struct Source<'a> {
    bytes: Bytes<'a>,
    len: u64,
}

#[derive(Debug)]
enum Bytes<'a> {
    File(File),
    Memory(&'a [u8]),
}

/// Why a piece could not be had.
#[derive(Debug)]
pub(super) enum Fault {
    /// The operating system refused.
    Io(io::Error),
    /// The file's own figures are impossible.
    Malformed(&'static str),
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// The error that names the file.
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

impl<'a> Source<'a> {
    /// Opens a file, following symbolic links; nothing where it is not a regular file.
    pub(super) fn open(path: &Path) -> std::result::Result<Option<Self>, FileError> {
        // Not blocking: a pipe under the name of a library must not hang the build.
        let file = disk::open_at_once(path).map_err(FileError::of("read", path))?;
        Self::of_file(file).map_err(FileError::of("read", path))
    }

    /// Reads from an open file; nothing where it is not a regular file.
    pub(super) fn of_file(file: File) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| Self { bytes: Bytes::File(file), len: metadata.len() }))
    }

    /// Reads from memory.
    pub(super) fn memory(bytes: &'a [u8]) -> Self {
        Self { bytes: Bytes::Memory(bytes), len: bytes.len() as u64 }
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `offset` on; `limit` is the most that a sound file can ask for.
    pub(super) fn read(&self, offset: u64, size: u64, limit: u64) -> Result<Vec<u8>> {
        let end = offset.checked_add(size).ok_or("an offset is out of range")?;
        if end > self.len {
            return Err("it ends before its own figures say".into());
        }
        if size > limit {
            return Err("a table is larger than any real one".into());
        }
        let size = usize::try_from(size).map_err(|_| "a table is larger than any real one")?;
        match &self.bytes {
            Bytes::File(file) => {
                let mut buffer = vec![0; size];
                file.read_exact_at(&mut buffer, offset).map_err(Fault::Io)?;
                Ok(buffer)
            }
            Bytes::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(|_| "an offset is out of range")?;
                let piece = bytes.get(start..).and_then(|rest| rest.get(..size));
                Ok(piece.ok_or("it ends before its own figures say")?.to_vec())
            }
        }
    }

    /// The bytes from `offset` up to a NUL, which must come before `end` and within `limit` bytes.
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
        Err("a string has no end".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pieces_and_strings_within_bounds() {
        let long = [vec![b'x'; 300], vec![0, b'y']].concat();
        let source = Source::memory(&long);
        assert_eq!(source.read(299, 3, 10).unwrap(), [b'x', 0, b'y']);
        assert_eq!(source.string(0, 302, 4096).unwrap().len(), 300);
        for refused in [source.read(300, 3, 10), source.read(u64::MAX, 2, 10), source.read(0, 20, 10)] {
            assert!(matches!(refused, Err(Fault::Malformed(_))));
        }
        for refused in [source.string(0, 300, 4096), source.string(0, 302, 299), source.string(301, 999, 99)]
        {
            assert!(matches!(refused, Err(Fault::Malformed("a string has no end"))));
        }
    }
}
