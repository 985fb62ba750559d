//! The index of one layer: its members, and the retained content of some.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use super::BaseError;
use super::retained::{Retained, retained_part};
use crate::digest::Digest;
use crate::elf::Description;
use crate::image::Layer;
use crate::layer::{Duplicates, LayerDigests, LayerReader, Limits, Member, MemberKind, ReadError};
use crate::progress::{Direction, Progress, Transfer, TransferState};

/// Maximum bytes of retained texts of one layer.
const RETAINED_LIMIT: u64 = 64 << 20;
/// Maximum number of ELF files described of one layer. A full desktop has about ten thousand.
const DESCRIBED_LIMIT: usize = 200_000;
/// Maximum length of a name or link target in bytes, as in the kernel (`PATH_MAX`).
const NAME_LIMIT: u64 = 4096;
/// Maximum bytes of names in one layer. A million real ones have a hundred megabytes.
const NAMES_LIMIT: u64 = 1 << 30;
/// ELF files up to this size in bytes are parsed in memory, larger ones through an anonymous file.
const MAX_IN_MEMORY_BYTES: u64 = 64 << 20;
/// Number of bytes retained of a file with [`Retained::Start`].
const START_BYTES: u64 = 256 << 10;
/// Number of bytes of a script that the kernel reads to find the interpreter (`BINPRM_BUF_SIZE`).
const MAX_LINE_BYTES: u64 = 256;

/// A layer's index: its members in order, with the retained content of some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayerIndex {
    pub(super) summary: LayerDigests,
    pub(super) members: Vec<Member>,
    /// Retained texts and the first lines of scripts, by member number.
    pub(super) texts: BTreeMap<u32, Vec<u8>>,
    /// Headers of ELF files for the loader, by member number.
    pub(super) descriptions: BTreeMap<u32, Description>,
}

/// A reader that reports progress: a layer may come from a network.
struct ReportingReader<'a, R> {
    source: R,
    name: &'a str,
    done_bytes: u64,
    total_bytes: u64,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for ReportingReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.done_bytes += got as u64;
        let &mut ReportingReader { name, done_bytes, total_bytes, progress, .. } = self;
        // The end of the stream ends the transfer; a layer that is too long is rejected later.
        let state = if got == 0 { TransferState::Done } else { TransferState::Running };
        progress.transfer(&Transfer {
            name,
            title: None,
            direction: Direction::Fetched,
            done_bytes,
            total_bytes,
            state,
        });
        Ok(got)
    }
}

impl LayerIndex {
    /// Reads a layer to its end and verifies it.
    pub(super) fn read(layer: &Layer, progress: &dyn Progress) -> Result<Self, BaseError> {
        let source = layer.blob.open().map_err(|cause| BaseError::Blob { layer: layer.digest, cause })?;
        // One byte more than promised suffices to detect another layer.
        let source = source.take(layer.size.saturating_add(1));
        let name = layer.digest.to_string();
        let source =
            ReportingReader { source, name: &name, done_bytes: 0, total_bytes: layer.size, progress };
        let failed = |cause| BaseError::Layer { layer: layer.digest, cause };
        let reader = LayerReader::of(source, Limits::default(), &layer.digest, &layer.diff_id);
        let index = Self::from_reader(reader.map_err(failed)?).map_err(failed)?;
        index.verify(layer)?;
        Ok(index)
    }

    /// Reads a layer to its end, without verification.
    pub(super) fn of(source: impl Read) -> Result<Self, ReadError> {
        Self::from_reader(LayerReader::new(source, Limits::default())?)
    }

    fn from_reader(reader: LayerReader<impl Read>) -> Result<Self, ReadError> {
        let mut reader = reader.with_duplicates(Duplicates::Allow);
        let (mut members, mut texts, mut descriptions) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (mut retained_bytes, mut names) = (0, 0);
        while let Some(member) = reader.next_member()? {
            // The reader's limit on members is far below.
            let place = u32::try_from(members.len()).unwrap_or(u32::MAX);
            names += name_bytes(&member)?;
            if names > NAMES_LIMIT {
                return Err(ReadError::Limit { what: "bytes of names", limit: NAMES_LIMIT });
            }
            if member.kind == MemberKind::File {
                match retained_part(&member) {
                    Some(Retained::Text) if retained_bytes + member.size <= RETAINED_LIMIT => {
                        retained_bytes += member.size;
                        texts.insert(place, read_all(&mut reader)?);
                    }
                    Some(Retained::Start) if retained_bytes + START_BYTES <= RETAINED_LIMIT => {
                        let mut start = Vec::new();
                        (&mut reader).take(START_BYTES).read_to_end(&mut start)?;
                        retained_bytes += start.len() as u64;
                        texts.insert(place, start);
                    }
                    Some(Retained::Description) if descriptions.len() < DESCRIBED_LIMIT => {
                        match describe(&mut reader, &member)? {
                            Some(ProgramContent::Elf(found)) => drop(descriptions.insert(place, *found)),
                            Some(ProgramContent::Script(line))
                                if retained_bytes + MAX_LINE_BYTES <= RETAINED_LIMIT =>
                            {
                                retained_bytes += line.len() as u64;
                                texts.insert(place, line);
                            }
                            Some(ProgramContent::Script(_)) | None => {}
                        }
                    }
                    _ => {}
                }
            }
            members.push(member);
        }
        Ok(Self { summary: reader.finish()?, members, texts, descriptions })
    }

    /// Verifies that this index is of the image's `layer`.
    pub(super) fn verify(&self, layer: &Layer) -> Result<(), BaseError> {
        let different = |what, expected: &dyn ToString, found: &dyn ToString| {
            Err(BaseError::Mismatch { what, expected: expected.to_string(), found: found.to_string() })
        };
        let LayerDigests { digest, size, diff_id, .. } = self.summary;
        if size != layer.size {
            return different("the size", &layer.size, &size);
        }
        let same = |found: Digest, expected: Digest, what| {
            if found == expected { Ok(()) } else { different(what, &expected, &found) }
        };
        same(digest, layer.digest, "the digest")?;
        same(diff_id, layer.diff_id, "the diff ID")
    }
}

/// Returns the bytes of a member's names, each within its limit.
fn name_bytes(member: &Member) -> Result<u64, ReadError> {
    let target = match &member.kind {
        MemberKind::Symlink(target) => target.len(),
        MemberKind::HardLink(target) => target.as_str().len(),
        _ => 0,
    };
    let (path, target) = (member.path.as_str().len() as u64, target as u64);
    if path.max(target) > NAME_LIMIT {
        return Err(ReadError::Limit { what: "bytes in a name", limit: NAME_LIMIT });
    }
    Ok(path + target)
}

fn read_all(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Retained content of a program.
enum ProgramContent {
    /// The headers of an ELF file.
    Elf(Box<Description>),
    /// The first line of a script, with its `#!`.
    Script(Vec<u8>),
}

/// Returns the headers of an ELF member, or the first line of a script. Ignores a broken ELF file,
/// as the loader does.
fn describe(reader: &mut impl Read, member: &Member) -> io::Result<Option<ProgramContent>> {
    let mut magic = Vec::with_capacity(4);
    reader.take(4).read_to_end(&mut magic)?;
    if magic.starts_with(b"#!") {
        let rest = MAX_LINE_BYTES - magic.len() as u64;
        reader.take(rest).read_to_end(&mut magic)?;
        let end = memchr::memchr(b'\n', &magic).unwrap_or(magic.len());
        magic.truncate(end);
        return Ok((member.mode & 0o111 != 0).then_some(ProgramContent::Script(magic)));
    }
    if magic != *b"\x7fELF" {
        return Ok(None);
    }
    let path = Path::new(member.path.as_str());
    let mut rest = magic.as_slice().chain(reader);
    let described = if member.size <= MAX_IN_MEMORY_BYTES {
        Description::of_bytes(&read_all(&mut rest)?, path)
    } else {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut rest, &mut file)?;
        Description::of_file(file, path)
    };
    Ok(described.ok().flatten().map(|found| ProgramContent::Elf(Box::new(found))))
}
