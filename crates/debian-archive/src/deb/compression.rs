//! The compressions of deb(5), bounded.

use std::fmt;
use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::ar::{ArContent, ArMember};
use super::{DebError, DebLimits};

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
    let input: Box<dyn Read + 'a> = match suffix {
        "" => Box::new(content),
        ".gz" => Box::new(MultiGzDecoder::new(content)),
        ".xz" => {
            let kibibytes = u32::try_from(limits.decompressor_bytes >> 10).unwrap_or(u32::MAX);
            Box::new(XzReader::new_mem_limit(BufReader::with_capacity(64 << 10, content), true, kibibytes))
        }
        ".zst" => zstd(content, stem, limits)?,
        _ => return Err(DebError::Compression(name)),
    };
    Ok(Bounded { input, left: limit, limit })
}

fn zstd<'a>(
    content: ArContent<'a>,
    stem: &'static str,
    limits: &DebLimits,
) -> Result<Box<dyn Read + 'a>, DebError> {
    let failed = |cause| DebError::of_read(stem, cause);
    let mut decoder = zstd::stream::read::Decoder::new(content).map_err(failed)?;
    // The largest window is a power of two.
    decoder.window_log_max(limits.decompressor_bytes.max(1 << 10).ilog2().min(31)).map_err(failed)?;
    Ok(Box::new(decoder))
}

/// Reads a stream to its end, where its checksum is.
pub(super) fn drain(mut input: TarStream<'_>, member: &'static str) -> Result<(), DebError> {
    io::copy(&mut input, &mut io::sink()).map_err(|cause| DebError::of_read(member, cause))?;
    Ok(())
}
