//! The compressions of deb(5), bounded.

use std::fmt;
use std::io::{self, BufReader, Read};

use super::ar::ArMember;
use super::{DebError, DebLimits};
use crate::compression::ArchiveCompression;

/// More bytes than the limit, which it holds.
#[derive(Debug)]
pub(super) struct LimitReached(pub(super) u64);

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} bytes", self.0)
    }
}

impl std::error::Error for LimitReached {}

/// A stream that fails after a number of bytes.
pub(super) struct Bounded<R> {
    input: R,
    left: u64,
    limit: u64,
}

/// The bytes of a tar archive, decompressed.
pub(super) type TarStream<'a> = Bounded<Box<dyn Read + 'a>>;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        self.left = self
            .left
            .checked_sub(got as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, LimitReached(self.limit)))?;
        Ok(got)
    }
}

/// Opens `control.tar` or `data.tar`, whose compression is the suffix of its name.
pub(super) fn open<'a>(
    member: ArMember<'a>,
    stem: &'static str,
    limits: &DebLimits,
) -> Result<TarStream<'a>, DebError> {
    let ArMember { name, content } = member;
    let Some(suffix) = name.strip_prefix(stem) else {
        return Err(DebError::Order { found: name, expected: stem });
    };
    let limit = if stem == "control.tar" { limits.control_bytes } else { limits.data_bytes };
    let Some(compression) = ArchiveCompression::of_ending(suffix) else {
        return Err(DebError::Compression(name));
    };
    let content = BufReader::with_capacity(64 << 10, content);
    let input = compression.reader(content, limits.decompressor_bytes);
    let input = input.map_err(|cause| DebError::of_read(stem, cause))?;
    Ok(Bounded { input, left: limit, limit })
}

/// Reads a stream to its end, where its checksum is.
pub(super) fn drain(mut input: TarStream<'_>, member: &'static str) -> Result<(), DebError> {
    io::copy(&mut input, &mut io::sink()).map_err(|cause| DebError::of_read(member, cause))?;
    Ok(())
}
