//! [`Slice`]: what is kept of one layer.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use super::BaseError;
use super::keep::{self, Keep};
use crate::digest::Digest;
use crate::elf::Description;
use crate::image::Layer;
use crate::layer::{Duplicates, LayerReader, Limits, Member, MemberKind, ReadError, Summary};
use crate::progress::{Direction, Progress, Transfer, TransferState};

/// The most bytes of small texts that are kept of one layer.
const KEPT_LIMIT: u64 = 64 << 20;
/// The most ELF files that are described of one layer. A whole desktop has some ten thousand.
const DESCRIBED_LIMIT: usize = 200_000;
/// The longest name or target of a link, in bytes, as for the kernel (`PATH_MAX`).
const NAME_LIMIT: u64 = 4096;
/// The most bytes of names in one layer. A million real ones have a hundred megabytes.
const NAMES_LIMIT: u64 = 1 << 30;
/// ELF files up to this size are read in memory, larger ones by way of a file without a name.
const IN_MEMORY: u64 = 64 << 20;
/// Bytes of a file whose first part is kept.
const START: u64 = 256 << 10;
/// Bytes of a script that the kernel looks at to find its interpreter (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

/// What is kept of one layer: its members in their order, and of some of them what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) summary: Summary,
    pub(super) members: Vec<Member>,
    /// Small files that decide something, and the first lines of scripts, by the place of their member.
    pub(super) texts: BTreeMap<u32, Vec<u8>>,
    /// ELF files that a loader could be asked about, by the place of their member.
    pub(super) descriptions: BTreeMap<u32, Description>,
}

/// Tells how far a layer is read: it may come over a network.
struct Told<'a, R> {
    source: R,
    name: &'a str,
    done_bytes: u64,
    total_bytes: u64,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.done_bytes += got as u64;
        let &mut Told { name, done_bytes, total_bytes, progress, .. } = self;
        // The end of the stream says that it is over; a layer that is too long is refused later.
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

impl Slice {
    /// Reads a layer to its end, and verifies it.
    pub(super) fn read(layer: &Layer, progress: &dyn Progress) -> Result<Self, BaseError> {
        let source = layer.blob.open().map_err(|source| BaseError::Blob { layer: layer.digest, source })?;
        // A byte more than was promised is enough to know that it is another.
        let source = source.take(layer.size.saturating_add(1));
        let name = layer.digest.to_string();
        let source = Told { source, name: &name, done_bytes: 0, total_bytes: layer.size, progress };
        let failed = |source| BaseError::Layer { layer: layer.digest, source };
        let reader = LayerReader::of(source, Limits::default(), &layer.digest, &layer.diff_id);
        let slice = Self::from_reader(reader.map_err(failed)?).map_err(failed)?;
        slice.verify(layer)?;
        Ok(slice)
    }

    /// Reads a layer to its end.
    pub(super) fn of(source: impl Read) -> Result<Self, ReadError> {
        Self::from_reader(LayerReader::new(source, Limits::default())?)
    }

    fn from_reader(reader: LayerReader<impl Read>) -> Result<Self, ReadError> {
        let mut reader = reader.with_duplicates(Duplicates::Give);
        let (mut members, mut texts, mut descriptions) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (mut kept, mut names) = (0, 0);
        while let Some(member) = reader.next_member()? {
            // The reader's limit on members is far below.
            let place = u32::try_from(members.len()).unwrap_or(u32::MAX);
            names += name_bytes(&member)?;
            if names > NAMES_LIMIT {
                return Err(ReadError::Limit { what: "bytes of names", limit: NAMES_LIMIT });
            }
            if member.kind == MemberKind::File {
                match keep::what(&member) {
                    Some(Keep::Text) if kept + member.size <= KEPT_LIMIT => {
                        kept += member.size;
                        texts.insert(place, whole(&mut reader)?);
                    }
                    Some(Keep::Start) if kept + START <= KEPT_LIMIT => {
                        let mut start = Vec::new();
                        (&mut reader).take(START).read_to_end(&mut start)?;
                        kept += start.len() as u64;
                        texts.insert(place, start);
                    }
                    Some(Keep::Description) if descriptions.len() < DESCRIBED_LIMIT => {
                        match describe(&mut reader, &member)? {
                            Some(Described::Elf(found)) => drop(descriptions.insert(place, *found)),
                            Some(Described::Script(line)) if kept + FIRST_LINE <= KEPT_LIMIT => {
                                kept += line.len() as u64;
                                texts.insert(place, line);
                            }
                            Some(Described::Script(_)) | None => {}
                        }
                    }
                    _ => {}
                }
            }
            members.push(member);
        }
        Ok(Self { summary: reader.finish()?, members, texts, descriptions })
    }

    /// Whether it is the layer that the image means.
    pub(super) fn verify(&self, layer: &Layer) -> Result<(), BaseError> {
        let different = |what, expected: &dyn ToString, found: &dyn ToString| {
            Err(BaseError::Different { what, expected: expected.to_string(), found: found.to_string() })
        };
        let Summary { digest, size, diff_id, .. } = self.summary;
        if size != layer.size {
            return different("its size", &layer.size, &size);
        }
        let same = |found: Digest, expected: Digest, what| {
            if found == expected { Ok(()) } else { different(what, &expected, &found) }
        };
        same(digest, layer.digest, "its digest")?;
        same(diff_id, layer.diff_id, "its diff id")
    }
}

/// The bytes of a member's names, each of which has a limit.
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

fn whole(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is kept of a program.
enum Described {
    /// The headers of an ELF file.
    Elf(Box<Description>),
    /// The first line of a script, with its `#!`.
    Script(Vec<u8>),
}

/// The headers of the member, where it is ELF and not broken: the loader passes over what is. The first line of a script.
fn describe(reader: &mut impl Read, member: &Member) -> io::Result<Option<Described>> {
    let mut magic = Vec::with_capacity(4);
    reader.take(4).read_to_end(&mut magic)?;
    if magic.starts_with(b"#!") {
        let rest = FIRST_LINE - magic.len() as u64;
        reader.take(rest).read_to_end(&mut magic)?;
        let end = memchr::memchr(b'\n', &magic).unwrap_or(magic.len());
        magic.truncate(end);
        return Ok((member.mode & 0o111 != 0).then_some(Described::Script(magic)));
    }
    if magic != *b"\x7fELF" {
        return Ok(None);
    }
    let path = Path::new(member.path.as_str());
    let mut rest = magic.as_slice().chain(reader);
    let described = if member.size <= IN_MEMORY {
        Description::of_bytes(&whole(&mut rest)?, path)
    } else {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut rest, &mut file)?;
        Description::of_file(file, path)
    };
    Ok(described.ok().flatten().map(|found| Described::Elf(Box::new(found))))
}
