//! [`read_raw`]: reads a layer as written, and reports oddities instead of refusing them.
//!
//! For the verification of an image, which must not stop at the first fault. The limits of
//! [`LayerReader`](super::LayerReader) apply.

use std::io::{self, Read};

use tar::Header;

use super::header::{Extended, Numbers, Typeflag};
use super::names::field;
use super::{Limits, RECORD, TarArchive, padding};
use crate::digest::{Digest, Hasher};

/// The field of a GNU sparse header that announces more sparse headers, and that field in these
/// (GNU tar manual, "Basic Tar Format": `isextended`).
const SPARSE_CONTINUES: (usize, usize) = (482, 504);

/// The type of a member as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A hard link.
    HardLink,
    /// A character or block device with its numbers.
    Device(u32, u32),
    /// A named pipe.
    Fifo,
    /// A sparse file in GNU's old form.
    Sparse,
    /// A type that POSIX does not define.
    Unknown(u8),
}

/// A member as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawMember {
    /// The name; invalid UTF-8 is replaced.
    pub(crate) name: String,
    /// The type.
    pub(crate) kind: RawKind,
    /// The target of a link.
    pub(crate) link: String,
    /// The bytes of the member's content.
    pub(crate) size: u64,
}

/// A property of an archive that readers treat differently, or that hides bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// The compressed stream is invalid.
    Compression(String),
    /// Bytes after the compressed stream.
    AfterCompression,
    /// The archive is invalid; the rest is not read.
    Broken(u64, String),
    /// A limit is exceeded; the rest is not read.
    Limit(&'static str, u64),
    /// An extended header is invalid or has no member.
    Extended(u64, String),
    /// A name or link target is not UTF-8.
    NotUtf8(String),
    /// Fewer than two empty records at the end.
    MissingEnd(u8),
    /// Bytes other than zero after the end.
    AfterEnd(u64),
    /// Bytes other than zero between two members.
    Padding(String),
}

/// The digests of a layer, read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawEnd {
    /// Digest of the blob.
    pub(crate) digest: Digest,
    /// Size of the blob in bytes.
    pub(crate) size: u64,
    /// Digest of the archive, and its size; `None` if not decompressed to the end.
    pub(crate) archive: Option<(Digest, u64)>,
}

/// Reads a layer to its end, with the digest algorithms of `digest` and `diff_id`.
///
/// # Errors
/// Only if `source` cannot be read.
pub(crate) fn read_raw<R: Read>(
    source: R,
    limits: Limits,
    digest: &Digest,
    diff_id: &Digest,
    visit: &mut dyn FnMut(Result<RawMember, Oddity>),
) -> io::Result<RawEnd> {
    let (blob, archive) = (Hasher::like(digest), Hasher::like(diff_id));
    let archive = match TarArchive::new(source, limits.archive_bytes, blob, archive) {
        Ok(archive) => archive,
        Err(error) => return Err(io::Error::other(error)),
    };
    let mut reader =
        RawReader { archive, limits, members: 0, global: Extended::default(), buffer: vec![0; 64 << 10] };
    let outcome = reader.members(visit);
    let complete = match outcome.and_then(|()| reader.rest()) {
        Ok(trailing) => {
            if trailing > 0 {
                visit(Err(Oddity::AfterEnd(trailing)));
            }
            true
        }
        Err(Stop::Broken(at, reason)) => {
            visit(Err(Oddity::Broken(at, reason)));
            reader.rest().is_ok()
        }
        Err(Stop::Limit(what, limit)) => {
            visit(Err(Oddity::Limit(what, limit)));
            false
        }
        Err(Stop::Io(error)) => {
            let oddity = match error.to_string() {
                _ if error.kind() == io::ErrorKind::FileTooLarge => {
                    Oddity::Limit("bytes", limits.archive_bytes)
                }
                text if text.contains("invalid gzip header") && reader.archive.at > 0 => {
                    Oddity::AfterCompression
                }
                text => Oddity::Compression(text),
            };
            let complete = oddity == Oddity::AfterCompression;
            visit(Err(oddity));
            complete
        }
    };
    // The digest of the blob is computed even if the archive is broken.
    let end = reader.archive.finish().map_err(io::Error::other)?;
    let archive = complete.then_some((end.diff_id, end.archive_size));
    Ok(RawEnd { digest: end.digest, size: end.size, archive })
}

/// The reason for which the members end early.
enum Stop {
    Broken(u64, String),
    Limit(&'static str, u64),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct RawReader<R: Read> {
    archive: TarArchive<R>,
    limits: Limits,
    members: u64,
    global: Extended,
    buffer: Vec<u8>,
}

impl<R: Read> RawReader<R> {
    /// Reads all members, and the empty records behind.
    fn members(&mut self, visit: &mut dyn FnMut(Result<RawMember, Oddity>)) -> Result<(), Stop> {
        let mut extended = self.global.clone();
        let mut pending = None;
        loop {
            let at = self.archive.at;
            let record = self.record()?;
            let empty = record.is_none_or(|record| record.iter().all(|byte| *byte == 0));
            let Some(record) = record.filter(|_| !empty) else {
                if let Some(at) = pending {
                    visit(Err(Oddity::Extended(at, "no member follows".to_owned())));
                }
                if record.is_none() {
                    visit(Err(Oddity::MissingEnd(0)));
                } else {
                    match self.record()? {
                        None => visit(Err(Oddity::MissingEnd(1))),
                        Some(second) if second.iter().any(|byte| *byte != 0) => {
                            visit(Err(Oddity::AfterEnd(RECORD)));
                        }
                        Some(_) => {}
                    }
                }
                return Ok(());
            };
            let numbers = Numbers::parse(&record).map_err(|reason| Stop::Broken(at, reason.to_owned()))?;
            let Typeflag::Member(flag) = numbers.typeflag else {
                let bytes = self.extended(numbers.size)?;
                let global = numbers.typeflag == Typeflag::GlobalPax;
                if global && pending.is_some() {
                    let reason = "a global header before the member".to_owned();
                    visit(Err(Oddity::Extended(at, reason)));
                }
                let into = if global { &mut self.global } else { &mut extended };
                if let Err(reason) = into.take(numbers.typeflag, &bytes) {
                    visit(Err(Oddity::Extended(at, reason.to_owned())));
                }
                pending = if global { None } else { Some(at) };
                if global {
                    extended = self.global.clone();
                }
                continue;
            };
            self.members += 1;
            if self.members > self.limits.members {
                return Err(Stop::Limit("members", self.limits.members));
            }
            pending = None;
            let own = std::mem::replace(&mut extended, self.global.clone());
            let member = member(&record, numbers.size, flag, own, visit);
            if member.kind == RawKind::Sparse && record.get(SPARSE_CONTINUES.0) == Some(&1) {
                while self.record()?.is_some_and(|more| more.get(SPARSE_CONTINUES.1) == Some(&1)) {}
            }
            let (size, name) = (member.size, member.name.clone());
            visit(Ok(member));
            self.skip(size)?;
            if self.skip(padding(size))? {
                visit(Err(Oddity::Padding(name)));
            }
        }
    }

    /// Returns the next record; `None` at the end.
    fn record(&mut self) -> Result<Option<[u8; 512]>, Stop> {
        let (mut record, at) = ([0; 512], self.archive.at);
        let mut filled = 0;
        while let Some(rest) = record.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.archive.read(rest)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Stop::Broken(at, "ends within a record".to_owned())),
                got => filled += got,
            }
        }
        Ok(Some(record))
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>, Stop> {
        if size > self.limits.header_bytes {
            return Err(Stop::Limit("bytes of extended header", self.limits.header_bytes));
        }
        let at = self.archive.at;
        let mut bytes = Vec::new();
        (&mut self.archive).take(size).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < size {
            return Err(Stop::Broken(at, "ends within an extended header".to_owned()));
        }
        self.skip(padding(size))?;
        Ok(bytes)
    }

    /// Skips bytes. Returns whether any was not zero.
    fn skip(&mut self, size: u64) -> Result<bool, Stop> {
        let at = self.archive.at;
        let (mut left, mut odd) = (size, false);
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = self.buffer.get_mut(..most).unwrap_or_default();
            let got = self.archive.read(piece)?;
            if got == 0 {
                return Err(Stop::Broken(at, "ends within a member".to_owned()));
            }
            // Only padding is shorter than a record.
            odd |= size < RECORD && piece.iter().take(got).any(|byte| *byte != 0);
            left -= got as u64;
        }
        Ok(odd)
    }

    /// Reads to the end. Returns the number of bytes other than zero.
    fn rest(&mut self) -> Result<u64, Stop> {
        let mut odd = 0;
        loop {
            let got = self.archive.read(&mut self.buffer)?;
            if got == 0 {
                return Ok(odd);
            }
            odd += self.buffer.iter().take(got).filter(|byte| **byte != 0).count() as u64;
        }
    }
}

/// Builds a member from its record.
fn member(
    record: &[u8; 512],
    size: u64,
    flag: u8,
    extended: Extended,
    visit: &mut dyn FnMut(Result<RawMember, Oddity>),
) -> RawMember {
    let header = Header::from_byte_slice(record);
    let mut text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            visit(Err(Oddity::NotUtf8(text.clone().into_owned())));
        }
        text.into_owned()
    };
    let name = extended.path.unwrap_or_else(|| text(field(&header.path_bytes())));
    let link = extended.link;
    let link = link.unwrap_or_else(|| text(field(&header.link_name_bytes().unwrap_or_default())));
    let device = || {
        let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
        RawKind::Device(number(header.device_major()), number(header.device_minor()))
    };
    let kind = match flag {
        // Before POSIX, a directory was a file with a trailing slash.
        0 if name.ends_with('/') => RawKind::Directory,
        0 | b'0' | b'7' => RawKind::File,
        b'1' => RawKind::HardLink,
        b'2' => RawKind::Symlink,
        b'3' | b'4' => device(),
        b'5' => RawKind::Directory,
        b'6' => RawKind::Fifo,
        b'S' => RawKind::Sparse,
        other => RawKind::Unknown(other),
    };
    // Links and directories have no bytes, whatever their size field (POSIX, "size").
    let has_bytes = matches!(kind, RawKind::File | RawKind::Sparse | RawKind::Unknown(_));
    let size = if has_bytes { extended.size.unwrap_or(size) } else { 0 };
    RawMember { name, kind, link, size }
}
