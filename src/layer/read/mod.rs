//! Reading a layer back: its members with their metadata, and the digests of what was read.
//!
//! OCI image specification 1.1, `layer.md`; POSIX ustar and PAX (IEEE 1003.1-2017, `pax`), with the long names of GNU
//! tar. A layer comes from anywhere, so nothing in it is believed: every number has a limit ([`Limits`]), memory does not
//! grow with what the archive says, and names that are absolute, that climb or that come twice are errors. Nothing is
//! ever unpacked here.

mod header;
mod locate;
mod names;

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

pub use header::MemberKind;
use header::{Extended, Numbers, Typeflag};
pub use locate::{Located, locate};

use crate::digest::{Digest, Hasher};
use crate::error::Advice;
use crate::tree::{ImagePath, PathError};

const RECORD: u64 = 512;

/// How much of a layer is read before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members.
    pub members: u64,
    /// Bytes of the archive, not compressed.
    pub archive_bytes: u64,
    /// Bytes of one extended header or long name.
    pub header_bytes: u64,
}

impl Default for Limits {
    /// Two million members, a terabyte, and a megabyte of extended header.
    fn default() -> Self {
        Self { members: 2_000_000, archive_bytes: 1 << 40, header_bytes: 1 << 20 }
    }
}

/// What becomes of a path that a layer has twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// It is an error: nothing that makes layers carefully writes one, and readers disagree about which counts.
    #[default]
    Refuse,
    /// Both are given, in their order: runtimes let the last one win, and images of others have them.
    Give,
}

/// A layer that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its bytes did not come, or are no stream of its compression.
    #[error("cannot read the layer: {0}")]
    Io(#[from] io::Error),
    /// It is compressed with something else.
    #[error("the layer is compressed with {0}, which this version does not read")]
    Compression(&'static str),
    /// It is no tar archive, or a broken one.
    #[error("the layer is no good tar archive: at byte {at} {reason}")]
    Broken {
        /// Where the member begins, in bytes of the archive.
        at: u64,
        /// What is wrong.
        reason: String,
    },
    /// A name that leads out of the image.
    #[error("the layer has the unsafe name `{}`", .0.escape_debug())]
    Unsafe(String),
    /// A path that it has already.
    #[error("the layer has {0} twice")]
    Twice(ImagePath),
    /// It is larger than what is read.
    #[error("the layer has more than {limit} {what}")]
    Limit {
        /// Of what there is too much.
        what: &'static str,
        /// How much of it is read.
        limit: u64,
    },
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
pub struct Member {
    /// Where it stands in the image.
    pub path: ImagePath,
    /// What it is.
    pub kind: MemberKind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time in whole seconds since 1970.
    pub mtime: i64,
    /// Bytes of a regular file; 0 for all else.
    pub size: u64,
}

/// What a layer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Digest of the bytes as they came.
    pub digest: Digest,
    /// Bytes as they came.
    pub size: u64,
    /// Digest of the archive.
    pub diff_id: Digest,
    /// Bytes of the archive.
    pub archive_size: u64,
}

/// A layer that is being read, member after member.
///
/// After [`LayerReader::next_member`] gave a file, its bytes come from [`Read`]; what is not read is skipped.
pub struct LayerReader<R: Read> {
    archive: Archive<R>,
    limits: Limits,
    /// Bytes of the member that were not read yet, and what fills its last record.
    left: u64,
    padding: u64,
    members: u64,
    /// The first half of the SHA-256 of every path: memory does not follow the length of names.
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
    /// Begins to read a layer: a tar archive, plain, in gzip of one member or several, or (with the feature `zstd`) in zstd of
    /// one frame or several.
    pub fn new(source: R, limits: Limits) -> Result<Self, ReadError> {
        Self::with(source, limits, Hasher::new(), Hasher::new())
    }

    /// The same, for a summary whose digests have the algorithms of `digest` and `diff_id`.
    pub fn of(source: R, limits: Limits, digest: &Digest, diff_id: &Digest) -> Result<Self, ReadError> {
        Self::with(source, limits, Hasher::like(digest), Hasher::like(diff_id))
    }

    fn with(source: R, limits: Limits, blob: Hasher, archive: Hasher) -> Result<Self, ReadError> {
        Ok(Self {
            archive: Archive::new(source, limits.archive_bytes, blob, archive)?,
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

    /// The same reader with another mind about paths that come twice.
    #[must_use]
    pub fn with_duplicates(mut self, duplicates: Duplicates) -> Self {
        self.duplicates = duplicates;
        self
    }

    /// The next member; none at the end of the archive.
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
                // Some writers leave the two empty records out.
                if pending {
                    return Err(broken("it ends after an extended header"));
                }
                self.ended = Ended::Yes;
                return Ok(None);
            };
            if record.iter().all(|byte| *byte == 0) {
                if pending {
                    return Err(broken("an extended header belongs to nothing"));
                }
                self.ended = Ended::Yes;
                return Ok(None);
            }
            let numbers = Numbers::parse(&record).map_err(broken)?;
            match numbers.typeflag {
                Typeflag::Pax | Typeflag::GlobalPax | Typeflag::LongName | Typeflag::LongLink => {
                    // Readers do not agree on what becomes of the first.
                    if pending && numbers.typeflag == Typeflag::GlobalPax {
                        return Err(broken(
                            "a global header stands between an extended header and its member",
                        ));
                    }
                    let bytes = self.small(numbers.size)?;
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
                    self.remember(&member)?;
                    return Ok(Some(member));
                }
            }
        }
    }

    /// Reads to the end of the bytes, and says what they were. Members that are left are checked like the others.
    pub fn finish(mut self) -> Result<Summary, ReadError> {
        while self.next_member()?.is_some() {}
        // What follows the end counts for the digests; tar fills up with empty records.
        let mut buffer = vec![0; 64 << 10];
        while self.archive.read(&mut buffer)? > 0 {}
        self.archive.finish()
    }

    fn remember(&mut self, member: &Member) -> Result<(), ReadError> {
        if self.duplicates == Duplicates::Give {
            return Ok(());
        }
        // What deletes a path may stand beside what puts something there.
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

    /// The bytes of an extended header.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, ReadError> {
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

    /// Passes over what was not read of the member.
    fn skip(&mut self) -> Result<(), ReadError> {
        let mut buffer = [0; 16 << 10];
        while self.read(&mut buffer)? > 0 {}
        let padding = std::mem::take(&mut self.padding);
        let at = self.archive.at;
        let mut left = usize::try_from(padding).unwrap_or(0);
        while left > 0 {
            let got = self.archive.read(buffer.get_mut(..left).unwrap_or_default())?;
            if got == 0 {
                return Err(ReadError::Broken { at, reason: "it ends within a record".to_owned() });
            }
            left -= got;
        }
        Ok(())
    }
}

impl<R: Read> Read for LayerReader<R> {
    /// The bytes of the member that came last.
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

/// The bytes of the archive, decompressed, counted and digested.
struct Archive<R: Read> {
    source: Source<R>,
    hasher: Hasher,
    at: u64,
    limit: u64,
}

enum Source<R: Read> {
    Plain(BufReader<Digested<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Digested<R>>>>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Digested<R>>>),
}

impl<R: Read> Archive<R> {
    fn new(source: R, limit: u64, blob: Hasher, archive: Hasher) -> Result<Self, ReadError> {
        let digested = Digested { inner: source, hasher: blob, bytes: 0 };
        let mut source = BufReader::with_capacity(64 << 10, digested);
        let source = match source.fill_buf()? {
            [0x1f, 0x8b, ..] => Source::Gzip(Box::new(MultiGzDecoder::new(source))),
            // A frame, or one that is skipped (RFC 8878, sections 3.1.1 and 3.1.2).
            #[cfg(feature = "zstd")]
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Source::Zstd(super::zstandard::reader(source)?)
            }
            #[cfg(not(feature = "zstd"))]
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                return Err(ReadError::Compression("zstd"));
            }
            [b'B', b'Z', b'h', ..] => return Err(ReadError::Compression("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(ReadError::Compression("xz")),
            _ => Source::Plain(source),
        };
        Ok(Self { source, hasher: archive, at: 0, limit })
    }

    /// The next record of 512 bytes; none where the archive ends.
    fn record(&mut self) -> Result<Option<[u8; 512]>, ReadError> {
        let (mut record, at) = ([0; 512], self.at);
        let mut filled = 0;
        while let Some(rest) = record.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(ReadError::Broken { at, reason: "it ends within a record".to_owned() }),
                got => filled += got,
            }
        }
        Ok(Some(record))
    }

    fn finish(self) -> Result<Summary, ReadError> {
        let mut rest = match self.source {
            Source::Plain(reader) => reader,
            Source::Gzip(reader) => reader.into_inner(),
            #[cfg(feature = "zstd")]
            Source::Zstd(reader) => reader.finish(),
        };
        io::copy(&mut rest, &mut io::sink())?;
        let Digested { hasher, bytes, .. } = rest.into_inner();
        Ok(Summary {
            digest: hasher.finish(),
            size: bytes,
            diff_id: self.hasher.finish(),
            archive_size: self.at,
        })
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = loop {
            let got = match &mut self.source {
                Source::Plain(reader) => reader.read(buffer),
                Source::Gzip(reader) => reader.read(buffer),
                #[cfg(feature = "zstd")]
                Source::Zstd(reader) => reader.read(buffer),
            };
            match got {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                got => break got?,
            }
        };
        self.hasher.update(buffer.get(..got).unwrap_or_default());
        self.at += got as u64;
        if self.at > self.limit {
            let reason = format!("it has more than {} bytes", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        Ok(got)
    }
}

/// Digests what is read through it.
struct Digested<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> Read for Digested<R> {
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
