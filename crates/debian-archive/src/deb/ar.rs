//! The outer archive. deb(5) allows plain names in 60-byte headers and nothing else, which is less than the crate `ar`
//! reads: its tables of long names allocate as many bytes as a header states.

use std::io::{self, Read};

use super::DebError;

const MAGIC: &[u8] = b"!<arch>\n";

/// An `ar` archive that is read from its start to its end.
#[derive(Debug)]
pub(super) struct Ar<R> {
    input: R,
    /// Bytes of the last member, with its padding, that were not read.
    rest: u64,
}

/// A member.
pub(super) struct ArMember<'a> {
    pub(super) name: String,
    pub(super) content: ArContent<'a>,
}

/// The bytes of a member.
pub(super) struct ArContent<'a> {
    input: &'a mut dyn Read,
    size: u64,
    /// Of the archive: the bytes to skip before the next header.
    rest: &'a mut u64,
}

impl<R: Read> Ar<R> {
    /// Checks the magic.
    pub(super) fn open(mut input: R) -> Result<Self, DebError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => Ok(Self { input, rest: 0 }),
            Ok(()) => Err(DebError::NotAnArchive),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DebError::NotAnArchive),
            Err(cause) => Err(DebError::Read { member: "debian-binary", cause }),
        }
    }

    /// Returns the next member, which should be `expected`. Members with a leading underscore are skipped, as deb(5)
    /// demands.
    pub(super) fn next_member(&mut self, expected: &'static str) -> Result<ArMember<'_>, DebError> {
        loop {
            let (name, size) = self.header(expected)?;
            self.rest = size + size % 2;
            if !name.starts_with('_') {
                return Ok(ArMember {
                    name,
                    content: ArContent { input: &mut self.input, size, rest: &mut self.rest },
                });
            }
        }
    }

    /// Reads a header: the name and size of the next member.
    fn header(&mut self, expected: &'static str) -> Result<(String, u64), DebError> {
        let failed = |cause| DebError::of_read(expected, cause);
        let skipped = io::copy(&mut self.input.by_ref().take(self.rest), &mut io::sink()).map_err(failed)?;
        // Some writers omit the padding at the end of the file.
        if skipped + 1 < self.rest {
            return Err(DebError::Truncated(expected));
        }
        let mut header = Vec::with_capacity(60);
        self.input.by_ref().take(60).read_to_end(&mut header).map_err(failed)?;
        if header.is_empty() {
            return Err(DebError::Missing(expected));
        }
        let Ok(header) = <[u8; 60]>::try_from(header) else {
            return Err(DebError::Truncated(expected));
        };
        if !header.ends_with(b"`\n") {
            return Err(DebError::Header);
        }
        let text = |field: &[u8]| Some(std::str::from_utf8(field).ok()?.trim_end_matches(' ').to_owned());
        let name = text(&header[..16]).ok_or(DebError::Header)?;
        let size = text(&header[48..58]).filter(|size| size.bytes().all(|byte| byte.is_ascii_digit()));
        let size = size.and_then(|size| size.parse().ok()).ok_or(DebError::Header)?;
        // GNU's `ar` ends names with a slash.
        Ok((name.strip_suffix('/').unwrap_or(&name).to_owned(), size))
    }
}

impl Read for ArContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.size).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let got = self.input.read(buffer)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.size -= got as u64;
        *self.rest -= got as u64;
        Ok(got)
    }
}
