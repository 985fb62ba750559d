//! [`LayerReader`]: reads a layer member by member, and computes its digests.
//!
//! OCI image specification 1.1, `layer.md`; POSIX ustar and PAX (IEEE 1003.1-2017, `pax`), with the
//! long names of GNU tar. Layers are untrusted: every number has a limit ([`Limits`]), memory does
//! not grow with sizes in the archive, and climbing and duplicate names are errors. This module
//! never unpacks files.

mod header;
mod locate;
mod names;
mod raw;

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

pub use header::MemberKind;
use header::{Extended, Numbers, Typeflag};
pub use locate::{Located, locate};
pub(crate) use raw::{Oddity, RawKind, RawMember, read_raw};

use crate::digest::{Digest, Hasher};
use crate::error::Advice;
use crate::tree::{ImagePath, PathError};

const RECORD: u64 = 512;

/// Limits beyond which a layer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Number of members.
    pub members: u64,
    /// Size of the uncompressed archive in bytes.
    pub archive_bytes: u64,
    /// Size of one extended header or long name in bytes.
    pub header_bytes: u64,
}

impl Default for Limits {
    /// Two million members, a terabyte, and a megabyte of extended header.
    fn default() -> Self {
        Self { members: 2_000_000, archive_bytes: 1 << 40, header_bytes: 1 << 20 }
    }
}

/// The treatment of a path that occurs twice in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// An error: careful tools never write duplicates, and readers disagree about which one counts.
    #[default]
    Refuse,
    /// Both are returned in order: container runtimes keep the last one, and third-party images
    /// contain them.
    Allow,
}

/// An error of reading a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading or decompressing failed.
    #[error("cannot read the layer: {0}")]
    Io(io::Error),
    /// The compression is not supported.
    #[error("cannot read the layer: compression {0} is not supported")]
    Compression(&'static str),
    /// The bytes are not a tar archive, or a broken one.
    #[error("invalid tar archive of the layer: at byte {at}: {reason}")]
    Broken {
        /// Offset of the member in the archive.
        at: u64,
        /// The reason.
        reason: String,
    },
    /// A name that leads out of the image.
    #[error("invalid name `{}` in the layer: unsafe", .0.escape_debug())]
    Unsafe(String),
    /// A duplicate path.
    #[error("duplicate path {0} in the layer")]
    Twice(ImagePath),
    /// A limit is exceeded.
    #[error("cannot read the layer: more than {limit} {what}")]
    Limit {
        /// The limited quantity.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Advice for ReadError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Io(_) | Self::Broken { .. } => "fetch or build the image again".to_owned(),
            Self::Compression(_) => "copy the image with gzip layers, for example with skopeo".to_owned(),
            Self::Unsafe(_) | Self::Twice(_) | Self::Limit { .. } => {
                "do not use this image unless you know who made it".to_owned()
            }
        })
    }
}

/// A member of a layer, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Path in the image.
    pub path: ImagePath,
    /// The type.
    pub kind: MemberKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// User ID.
    pub uid: u64,
    /// Group ID.
    pub gid: u64,
    /// Modification time in full seconds since 1970.
    pub mtime: i64,
    /// Size of a regular file in bytes; 0 for other members.
    pub size: u64,
}

/// The digests and sizes of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerDigests {
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Size of the uncompressed archive in bytes.
    pub archive_size: u64,
}

/// A reader of the members of a layer.
///
/// After [`LayerReader::next_member`] returned a file, [`Read`] yields its bytes; unread bytes are
/// skipped.
pub struct LayerReader<R: Read> {
    archive: TarArchive<R>,
    limits: Limits,
    /// Unread bytes of the member, and its padding.
    left: u64,
    padding: u64,
    members: u64,
    /// The first half of the SHA-256 of every path, so that memory does not depend on the length of
    /// names.
    seen: HashSet<[u8; 16]>,
    duplicates: Duplicates,
    global: Extended,
    ended: Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    No,
    Yes,
}

impl<R: Read> std::fmt::Debug for LayerReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerReader").field("members", &self.members).finish_non_exhaustive()
    }
}

impl<R: Read> LayerReader<R> {
    /// Opens a layer: a tar archive, uncompressed, in gzip of one or more members, or (with the
    /// feature `zstd`) in zstd of one or more frames.
    pub fn new(source: R, limits: Limits) -> Result<Self, ReadError> {
        Self::with(source, limits, Hasher::new(), Hasher::new())
    }

    /// As [`LayerReader::new`], with the digest algorithms of `digest` and `diff_id`.
    pub fn of(source: R, limits: Limits, digest: &Digest, diff_id: &Digest) -> Result<Self, ReadError> {
        Self::with(source, limits, Hasher::like(digest), Hasher::like(diff_id))
    }

    fn with(source: R, limits: Limits, blob: Hasher, archive: Hasher) -> Result<Self, ReadError> {
        Ok(Self {
            archive: TarArchive::new(source, limits.archive_bytes, blob, archive)?,
            limits,
            left: 0,
            padding: 0,
            members: 0,
            seen: HashSet::new(),
            duplicates: Duplicates::default(),
            global: Extended::default(),
            ended: Ended::No,
        })
    }

    /// Sets the treatment of duplicate paths.
    #[must_use]
    pub fn with_duplicates(mut self, duplicates: Duplicates) -> Self {
        self.duplicates = duplicates;
        self
    }

    /// Returns the next member; `None` at the end of the archive.
    pub fn next_member(&mut self) -> Result<Option<Member>, ReadError> {
        self.skip()?;
        let mut extended = self.global.clone();
        let mut pending = false;
        loop {
            if self.ended == Ended::Yes {
                return Ok(None);
            }
            let at = self.archive.at;
            let broken = |reason: &str| ReadError::Broken { at, reason: reason.to_owned() };
            let Some(record) = self.archive.record()? else {
                // Some writers omit the two empty records.
                if pending {
                    return Err(broken("ends after an extended header"));
                }
                self.ended = Ended::Yes;
                return Ok(None);
            };
            if record.iter().all(|byte| *byte == 0) {
                if pending {
                    return Err(broken("extended header without a member"));
                }
                self.ended = Ended::Yes;
                return Ok(None);
            }
            let numbers = Numbers::parse(&record).map_err(broken)?;
            match numbers.typeflag {
                Typeflag::Pax | Typeflag::GlobalPax | Typeflag::LongName | Typeflag::LongLink => {
                    // Readers disagree about the fate of the first header.
                    if pending && numbers.typeflag == Typeflag::GlobalPax {
                        return Err(broken("global header between an extended header and its member"));
                    }
                    let bytes = self.read_extended_header(numbers.size)?;
                    pending = numbers.typeflag != Typeflag::GlobalPax;
                    let into = if pending { &mut extended } else { &mut self.global };
                    into.take(numbers.typeflag, &bytes).map_err(broken)?;
                    if !pending {
                        extended = self.global.clone();
                    }
                }
                Typeflag::Member(_) => {
                    self.members += 1;
                    if self.members > self.limits.members {
                        return Err(ReadError::Limit { what: "members", limit: self.limits.members });
                    }
                    let member = header::member(&record, numbers, extended, at)?;
                    self.left = member.size;
                    self.padding = padding(member.size);
                    self.check_duplicate(&member)?;
                    return Ok(Some(member));
                }
            }
        }
    }

    /// Reads to the end, and returns the digests. The remaining members are checked too.
    pub fn finish(mut self) -> Result<LayerDigests, ReadError> {
        while self.next_member()?.is_some() {}
        // Bytes after the end marker count for the digests; tar pads with empty records.
        let mut buffer = vec![0; 64 << 10];
        while self.archive.read(&mut buffer)? > 0 {}
        self.archive.finish()
    }

    fn check_duplicate(&mut self, member: &Member) -> Result<(), ReadError> {
        if self.duplicates == Duplicates::Allow {
            return Ok(());
        }
        // A whiteout may occur beside an entry of the same path.
        let mark = match member.kind {
            MemberKind::Whiteout => "\0w",
            MemberKind::Opaque => "\0o",
            _ => "",
        };
        let digest = Digest::of(format!("{}{mark}", member.path.as_str()).as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_bytes()[..16]);
        if self.seen.insert(key) { Ok(()) } else { Err(ReadError::Twice(member.path.clone())) }
    }

    /// Reads an extended header.
    fn read_extended_header(&mut self, size: u64) -> Result<Vec<u8>, ReadError> {
        let limit = self.limits.header_bytes;
        if size > limit {
            return Err(ReadError::Limit { what: "bytes of extended header", limit });
        }
        self.left = size;
        self.padding = padding(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        self.skip()?;
        Ok(bytes)
    }

    /// Skips the unread bytes of the member.
    fn skip(&mut self) -> Result<(), ReadError> {
        let mut buffer = [0; 16 << 10];
        while self.read(&mut buffer)? > 0 {}
        let padding = std::mem::take(&mut self.padding);
        let at = self.archive.at;
        let mut left = usize::try_from(padding).unwrap_or(0);
        while left > 0 {
            let got = self.archive.read(buffer.get_mut(..left).unwrap_or_default())?;
            if got == 0 {
                return Err(ReadError::Broken { at, reason: "ends within a record".to_owned() });
            }
            left -= got;
        }
        Ok(())
    }
}

impl<R: Read> Read for LayerReader<R> {
    /// Reads bytes of the current member.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.archive.read(buffer.get_mut(..want).unwrap_or_default())?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the layer ends within a file"));
        }
        self.left -= got as u64;
        Ok(got)
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % RECORD
}

/// The bytes of the archive: decompressed, counted and hashed.
struct TarArchive<R: Read> {
    source: Decompressor<R>,
    hasher: Hasher,
    at: u64,
    limit: u64,
}

enum Decompressor<R: Read> {
    Plain(BufReader<HashingReader<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<HashingReader<R>>>>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::read::Decoder<'static, BufReader<HashingReader<R>>>),
}

impl<R: Read> TarArchive<R> {
    fn new(source: R, limit: u64, blob: Hasher, archive: Hasher) -> Result<Self, ReadError> {
        let digested = HashingReader { inner: source, hasher: blob, bytes: 0 };
        let mut source = BufReader::with_capacity(64 << 10, digested);
        let source = match source.fill_buf()? {
            [0x1f, 0x8b, ..] => Decompressor::Gzip(Box::new(MultiGzDecoder::new(source))),
            // A frame, or a skippable frame (RFC 8878, sections 3.1.1 and 3.1.2).
            #[cfg(feature = "zstd")]
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Decompressor::Zstd(super::zstandard::reader(source)?)
            }
            #[cfg(not(feature = "zstd"))]
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                return Err(ReadError::Compression("zstd"));
            }
            [b'B', b'Z', b'h', ..] => return Err(ReadError::Compression("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(ReadError::Compression("xz")),
            _ => Decompressor::Plain(source),
        };
        Ok(Self { source, hasher: archive, at: 0, limit })
    }

    /// Returns the next record of 512 bytes; `None` at the end of the archive.
    fn record(&mut self) -> Result<Option<[u8; 512]>, ReadError> {
        let (mut record, at) = ([0; 512], self.at);
        let mut filled = 0;
        while let Some(rest) = record.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(ReadError::Broken { at, reason: "ends within a record".to_owned() }),
                got => filled += got,
            }
        }
        Ok(Some(record))
    }

    fn finish(self) -> Result<LayerDigests, ReadError> {
        let mut rest = match self.source {
            Decompressor::Plain(reader) => reader,
            Decompressor::Gzip(reader) => reader.into_inner(),
            #[cfg(feature = "zstd")]
            Decompressor::Zstd(reader) => reader.finish(),
        };
        io::copy(&mut rest, &mut io::sink())?;
        let HashingReader { hasher, bytes, .. } = rest.into_inner();
        Ok(LayerDigests {
            digest: hasher.finish(),
            size: bytes,
            diff_id: self.hasher.finish(),
            archive_size: self.at,
        })
    }
}

impl<R: Read> Read for TarArchive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = loop {
            let got = match &mut self.source {
                Decompressor::Plain(reader) => reader.read(buffer),
                Decompressor::Gzip(reader) => reader.read(buffer),
                #[cfg(feature = "zstd")]
                Decompressor::Zstd(reader) => reader.read(buffer),
            };
            match got {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                got => break got?,
            }
        };
        self.hasher.update(buffer.get(..got).unwrap_or_default());
        self.at += got as u64;
        if self.at > self.limit {
            let reason = format!("larger than {} bytes", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        Ok(got)
    }
}

/// A reader that hashes and counts.
struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..got).unwrap_or_default());
        self.bytes += got as u64;
        Ok(got)
    }
}

impl From<PathError> for ReadError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Escapes(name) | PathError::Nul(name) => Self::Unsafe(name),
        }
    }
}

#[cfg(test)]
mod tests;
