//! Contents of packages' files: ranges of one temporary file a package.

#![allow(clippy::disallowed_methods)] // The work directory is no input of a plan.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use md5::{Digest as _, Md5};

use crate::atomic_file::temporary_in;
use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::tree::{Content, ContentSource};

/// A file in which the contents of one package are collected.
#[derive(Debug)]
pub(super) struct Spool {
    file: io::BufWriter<File>,
    path: Arc<Path>,
    offset: u64,
}

/// A stored content.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    pub(super) content: Content,
    /// Computed on demand.
    pub(super) md5: Option<String>,
}

/// A range of a spool file.
#[derive(Debug)]
struct SpoolRange {
    path: Arc<Path>,
    offset: u64,
    size: u64,
    digest: Digest,
}

/// Demand for a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Omitted,
    Md5,
}

impl Spool {
    /// Makes the file number `index` in the directory `work`.
    pub(super) fn create(work: &Path, index: usize) -> Result<Self, FileError> {
        let file = temporary_in(work).map_err(FileError::of("write", work))?;
        let path: PathBuf = work.join(format!("package-{index}.data"));
        let file = file.persist(&path).map_err(|error| FileError::new("write", &path, error.error))?;
        Ok(Self { file: io::BufWriter::with_capacity(256 << 10, file), path: path.into(), offset: 0 })
    }

    /// Stores the bytes of `input`.
    pub(super) fn store(&mut self, input: &mut dyn Read, checksum: Checksum) -> io::Result<Spooled> {
        let (mut sha256, mut md5) = (Hasher::new(), Md5::new());
        let mut buffer = vec![0; 64 << 10];
        let mut size = 0;
        loop {
            let got = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..got).unwrap_or_default();
            sha256.update(bytes);
            if checksum == Checksum::Md5 {
                md5.update(bytes);
            }
            self.file.write_all(bytes)?;
            size += got as u64;
        }
        let range =
            SpoolRange { path: self.path.clone(), offset: self.offset, size, digest: sha256.finish() };
        self.offset += size;
        let md5 = (checksum == Checksum::Md5).then(|| hex(&md5.finalize()));
        Ok(Spooled { content: Content::External { size, source: Arc::new(range) }, md5 })
    }

    /// Writes buffered bytes.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        self.file.flush().map_err(|error| FileError::new("write", &*self.path, error))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl ContentSource for SpoolRange {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(Box::new(file.take(self.size)))
    }

    fn name(&self) -> String {
        self.digest.to_string()
    }
}
