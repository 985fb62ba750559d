//! [`ArchiveFile`]: a tar archive with members read in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Cause, FileError, PartError};
use crate::image::{Blob, BlobSource};
use crate::layer::{Limits, MemberKind, ReadError, locate};
use crate::store::StoreError;
use crate::store::files::JSON_LIMIT;
use crate::store::files::LayoutFiles;
use crate::tree::ImagePath;

/// Archives have few members, however large: three a layer, and some for the image.
const LIMITS: Limits = Limits { members: 100_000, archive_bytes: 1 << 42, header_bytes: 64 << 10 };
/// The limit for chains of links. `docker save` links repeated layers.
const MOST_LINKS: usize = 4;

/// A tar archive with members read in place.
#[derive(Debug)]
pub(in crate::store) struct ArchiveFile {
    /// The display name.
    shown: PathBuf,
    file: Arc<File>,
    members: BTreeMap<ImagePath, ArchiveMember>,
}

#[derive(Debug)]
enum ArchiveMember {
    File { offset: u64, size: u64 },
    Link(Option<ImagePath>),
}

impl ArchiveFile {
    /// Opens the archive at `path`. A compressed archive or a pipe is spooled to an unnamed
    /// temporary file, which disappears with the process.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| FileError::new("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(StoreError::Folder(path.to_owned()));
        }
        let mut start = [0; 6];
        if metadata.is_file() {
            let read = file.read_at(&mut start, 0).map_err(failed)?;
            if is_tar(start.get(..read).unwrap_or_default()) {
                return Self::scan(path.to_owned(), file);
            }
        }
        Self::spool(path, file)
    }

    /// Reads an archive from standard input.
    pub(in crate::store) fn standard_input() -> Result<Self, StoreError> {
        let input = io::stdin();
        if input.is_terminal() {
            return Err(StoreError::Terminal);
        }
        Self::spool(Path::new("standard input"), input.lock())
    }

    /// Spools an archive from a stream, plain or compressed with gzip.
    pub(in crate::store) fn spool(shown: &Path, source: impl Read) -> Result<Self, StoreError> {
        let mut source = BufReader::with_capacity(256 << 10, source);
        let start = source.fill_buf().map_err(FileError::of("read", shown))?;
        let file = match start {
            [0x1f, 0x8b, ..] => temporary(shown, MultiGzDecoder::new(source), "invalid gzip stream")?,
            start => {
                let compression = match start {
                    [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
                    [b'B', b'Z', b'h', ..] => Some("bzip2"),
                    [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("xz"),
                    _ => None,
                };
                if let Some(compression) = compression {
                    let reason = format!("unsupported compression {compression}; decompress it first");
                    return Err(StoreError::Archive { path: shown.to_owned(), source: reason.into() });
                }
                temporary(shown, source, "")?
            }
        };
        Self::scan(shown.to_owned(), file)
    }

    fn scan(shown: PathBuf, file: File) -> Result<Self, StoreError> {
        let found = locate(&file, LIMITS).map_err(|error| {
            #[allow(clippy::match_wildcard_for_single_variants)]
            // Other variants concern layers only.
            let reason = match error {
                ReadError::Io(error) => return FileError::new("read", &shown, error).into(),
                ReadError::Broken { at, reason } => {
                    format!("invalid tar archive: at byte {at} {reason}")
                }
                ReadError::Unsafe(name) => format!("unsafe member name `{}`", name.escape_debug()),
                ReadError::Twice(path) => format!("duplicate member {path}"),
                ReadError::Limit { what, limit } => format!("more than {limit} {what}"),
                error => error.to_string(),
            };
            StoreError::Archive { path: shown.clone(), source: reason.into() }
        })?;
        let members = found.into_iter().filter_map(|found| {
            let path = found.member.path;
            let member = match found.member.kind {
                MemberKind::File => ArchiveMember::File { offset: found.offset, size: found.member.size },
                MemberKind::Symlink(target) => ArchiveMember::Link(beside(&path, &target)),
                MemberKind::HardLink(target) => ArchiveMember::Link(Some(target)),
                _ => return None,
            };
            Some((path, member))
        });
        let members: BTreeMap<_, _> = members.collect();
        if members.is_empty() {
            return Err(StoreError::Archive { path: shown, source: "no files".into() });
        }
        Ok(Self { members, shown, file: file.into() })
    }

    /// Finds a member, following links.
    pub(in crate::store) fn section(&self, name: &str) -> Result<Option<Section>, StoreError> {
        let wrong = |reason: &str| self.invalid(format!("{}: {reason}", name.escape_debug()));
        let mut path = ImagePath::new(name).map_err(|_| wrong("unsafe name"))?;
        for _ in 0..=MOST_LINKS {
            match self.members.get(&path) {
                Some(ArchiveMember::File { offset, size }) => {
                    return Ok(Some(Section { file: self.file.clone(), offset: *offset, size: *size }));
                }
                Some(ArchiveMember::Link(Some(target))) => path = target.clone(),
                Some(ArchiveMember::Link(None)) => {
                    return Err(wrong("the link leads out of the archive"));
                }
                None => return Ok(None),
            }
        }
        Err(wrong("circular links"))
    }

    /// Returns the names of all files and links, in order.
    pub(in crate::store) fn names(&self) -> Vec<String> {
        self.members.keys().map(|path| path.as_str().to_owned()).collect()
    }

    /// Returns the archive itself.
    pub(in crate::store) fn whole(&self) -> Result<Blob, StoreError> {
        let metadata = self.file.metadata().map_err(FileError::of("read", &self.shown))?;
        Ok(Blob::Source(Arc::new(Section { file: self.file.clone(), offset: 0, size: metadata.len() })))
    }

    /// Returns whether a member has this name.
    pub(in crate::store) fn has(&self, name: &str) -> bool {
        ImagePath::new(name).is_ok_and(|path| self.members.contains_key(&path))
    }
}

impl LayoutFiles for ArchiveFile {
    fn path(&self) -> &Path {
        &self.shown
    }

    fn small(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(section) = self.section(name)? else { return Ok(None) };
        if section.size > JSON_LIMIT {
            return Err(self.invalid(format!("{name} is larger than {JSON_LIMIT} bytes")));
        }
        let mut bytes = Vec::new();
        section.reader(0).read_to_end(&mut bytes).map_err(FileError::of("read", &self.shown))?;
        Ok(Some(bytes))
    }

    fn file(&self, name: &str) -> Result<Option<(Blob, u64)>, StoreError> {
        let section = self.section(name)?;
        Ok(section.map(|section| (Blob::Source(Arc::new(section.clone())), section.size)))
    }

    fn invalid(&self, cause: impl Into<Cause>) -> StoreError {
        StoreError::Archive { path: self.shown.clone(), source: cause.into() }
    }
}

/// A section of a file.
#[derive(Debug, Clone)]
pub(in crate::store) struct Section {
    file: Arc<File>,
    offset: u64,
    pub(in crate::store) size: u64,
}

impl Section {
    pub(in crate::store) fn reader(&self, from: u64) -> SectionReader {
        let from = from.min(self.size);
        SectionReader { file: self.file.clone(), at: self.offset + from, left: self.size - from }
    }
}

impl BlobSource for Section {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.reader(from)))
    }
}

/// A reader of a section, independent of other readers.
#[derive(Debug)]
pub(in crate::store) struct SectionReader {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.file.read_at(buffer.get_mut(..want).unwrap_or_default(), self.at)?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive was truncated"));
        }
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// Returns whether a file can be read in place: no known compression.
fn is_tar(start: &[u8]) -> bool {
    !matches!(
        start,
        [0x1f, 0x8b, ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [b'B', b'Z', b'h', ..]
            | [0xfd, b'7', b'z', b'X', b'Z', ..]
    )
}

/// Spools `source` to an unnamed temporary file.
fn temporary(shown: &Path, mut source: impl Read, broken: &str) -> Result<File, StoreError> {
    let folder = std::env::temp_dir();
    let mut file = tempfile::tempfile().map_err(FileError::of("write in", &folder))?;
    let mut buffer = vec![0; 256 << 10];
    let mut total: u64 = 0;
    loop {
        let got = match source.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if !broken.is_empty() && error.raw_os_error().is_none() => {
                let source = PartError::new(broken, error).into();
                return Err(StoreError::Archive { path: shown.to_owned(), source });
            }
            Err(error) => return Err(FileError::new("read", shown, error).into()),
        };
        total += got as u64;
        if total > LIMITS.archive_bytes {
            let reason = format!("more than {} bytes", LIMITS.archive_bytes);
            return Err(StoreError::Archive { path: shown.to_owned(), source: reason.into() });
        }
        file.write_all(buffer.get(..got).unwrap_or_default()).map_err(FileError::of("write in", &folder))?;
    }
}

/// Resolves a symbolic link at `path`; `None` outside the archive.
fn beside(path: &ImagePath, target: &str) -> Option<ImagePath> {
    if target.starts_with('/') {
        return None;
    }
    let mut at = path.parent()?;
    for component in target.split('/') {
        at = match component {
            "" | "." => at,
            ".." => at.parent()?,
            name => at.join(name).ok()?,
        };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_within_the_archive() {
        let leads = |path: &str, target: &str| {
            beside(&ImagePath::new(path).unwrap(), target).map(|path| path.as_str().to_owned())
        };
        assert_eq!(leads("a/layer.tar", "../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(leads("a", "./b").as_deref(), Some("b"));
        for (path, target) in [("a/b", "../../c"), ("a", "/etc/passwd"), ("a", "../a")] {
            assert_eq!(leads(path, target), None, "{path} {target}");
        }
    }
}
