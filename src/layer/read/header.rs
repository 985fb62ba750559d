//! Parses a record of a tar archive into a member, with overrides from extended headers.

use std::io;

use tar::Header;

use super::names::{field, image_path, text};
use super::{Member, ReadError};
use crate::tree::ImagePath;

/// The type of a member of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link with its target, verbatim.
    Symlink(String),
    /// Another name of a file of the image.
    HardLink(ImagePath),
    /// A character or block device, or a named pipe, which images of services do not need.
    Device,
    /// Deletes the member's path from the layers below (`layer.md`, "Whiteouts").
    Whiteout,
    /// Deletes the content of the member's directory in the layers below.
    Opaque,
}

/// The type flag of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typeflag {
    /// A PAX header for the next member.
    Pax,
    /// A PAX header for all following members.
    GlobalPax,
    /// GNU tar's long name of the next member.
    LongName,
    /// GNU tar's long link target of the next member.
    LongLink,
    /// A member.
    Member(u8),
}

/// The numeric fields of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) typeflag: Typeflag,
    pub(super) size: u64,
    pub(super) mode: u32,
    uid: u64,
    gid: u64,
    mtime: i64,
}

/// Overrides from extended headers for the next member.
#[derive(Debug, Clone, Default)]
pub(super) struct Extended {
    pub(super) path: Option<String>,
    pub(super) link: Option<String>,
    pub(super) size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
}

impl Numbers {
    pub(super) fn parse(record: &[u8; 512]) -> Result<Self, &'static str> {
        let header = Header::from_byte_slice(record);
        // POSIX, "ustar Interchange Format": the sum of all bytes, with the checksum field as
        // spaces.
        let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum();
        let own: u32 = header.as_old().cksum.iter().map(|byte| u32::from(*byte)).sum();
        if header.cksum().map_err(|_| "checksum is not a number")? != sum - own + 8 * u32::from(b' ') {
            return Err("wrong checksum");
        }
        let typeflag = match header.entry_type().as_byte() {
            b'x' => Typeflag::Pax,
            b'g' => Typeflag::GlobalPax,
            b'L' => Typeflag::LongName,
            b'K' => Typeflag::LongLink,
            flag => Typeflag::Member(flag),
        };
        let old = header.as_old();
        Ok(Self {
            typeflag,
            size: number(&old.size, header.entry_size()).ok_or("size is not a number")?,
            // Some writers include the file type, which is not part of the mode.
            mode: number(&old.mode, header.mode()).ok_or("mode is not a number")? & 0o7777,
            uid: number(&old.uid, header.uid()).ok_or("owner is not a number")?,
            gid: number(&old.gid, header.gid()).ok_or("group is not a number")?,
            mtime: number(&old.mtime, header.mtime()).ok_or("time is not a number")?.cast_signed(),
        })
    }
}

/// Returns a numeric field of a record; an empty field is zero.
fn number<N: Default>(field: &[u8], parsed: io::Result<N>) -> Option<N> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Some(N::default()) } else { parsed.ok() }
}

impl Extended {
    /// Adds the values of one extended header.
    pub(super) fn take(&mut self, typeflag: Typeflag, bytes: &[u8]) -> Result<(), &'static str> {
        match typeflag {
            Typeflag::LongName => self.path = Some(text(field(bytes))?),
            Typeflag::LongLink => self.link = Some(text(field(bytes))?),
            _ => self.records(bytes)?,
        }
        Ok(())
    }

    /// Parses `LENGTH KEY=VALUE\n` records. Values may contain any bytes, line ends too, so the
    /// lengths decide.
    fn records(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        const WRONG: &str = "extended header does not consist of `LENGTH KEY=VALUE` records";
        while !bytes.is_empty() {
            let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or(WRONG)?;
            let digits =
                bytes.get(..space).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(WRONG)?;
            if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(WRONG);
            }
            let length: usize = digits.parse().map_err(|_| WRONG)?;
            let (record, rest) = bytes.split_at_checked(length).ok_or(WRONG)?;
            let record =
                record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or(WRONG)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
            let (key, value) = record.split_at_checked(equals).ok_or(WRONG)?;
            self.record(key, value.get(1..).unwrap_or_default())?;
            bytes = rest;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const NUMBER: &str = "invalid number in an extended header";
        const KNOWN: [&[u8]; 6] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"];
        if key.starts_with(b"GNU.sparse.") {
            return Err("sparse files are not supported");
        }
        // Other keys are skipped; extended attributes may hold any bytes.
        if !KNOWN.contains(&key) {
            return Ok(());
        }
        // An empty value resets an earlier header (POSIX, "pax Extended Header").
        let word = if value.is_empty() { None } else { Some(text(value)?) };
        let number = || word.as_deref().map(str::parse).transpose().map_err(|_| NUMBER);
        match key {
            b"path" => self.path = word,
            b"linkpath" => self.link = word,
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => {
                // Fractions of a second may follow.
                let seconds = word.as_deref().and_then(|time| time.split('.').next());
                self.mtime = seconds.map(str::parse).transpose().map_err(|_| NUMBER)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Builds a member from its record, which begins at byte `at`.
pub(super) fn member(
    record: &[u8; 512],
    numbers: Numbers,
    extended: Extended,
    at: u64,
) -> Result<Member, ReadError> {
    let broken = |reason: &str| ReadError::Broken { at, reason: reason.to_owned() };
    let header = Header::from_byte_slice(record);
    let name = match extended.path {
        Some(path) => path,
        None => text(&header.path_bytes()).map_err(broken)?,
    };
    let link = || match &extended.link {
        Some(link) => Ok(link.clone()),
        None => text(&header.link_name_bytes().unwrap_or_default()).map_err(broken),
    };
    let size = extended.size.unwrap_or(numbers.size);
    let path = image_path(&name)?;
    let Typeflag::Member(flag) = numbers.typeflag else { return Err(broken("expected a member")) };
    let (path, kind) = match flag {
        // Before POSIX, a directory was a file with a trailing slash.
        0 if name.ends_with('/') => (path, MemberKind::Directory),
        0 | b'0' | b'7' => whiteout(path)?,
        b'1' => (path, MemberKind::HardLink(image_path(&link()?)?)),
        b'2' => (path, MemberKind::Symlink(link()?)),
        b'3' | b'4' | b'6' => (path, MemberKind::Device),
        b'5' => (path, MemberKind::Directory),
        b'S' => return Err(broken("sparse files are not supported")),
        _ => return Err(broken("unknown type of member")),
    };
    let has_bytes = matches!(kind, MemberKind::File | MemberKind::Whiteout | MemberKind::Opaque);
    Ok(Member {
        path,
        kind,
        mode: numbers.mode,
        uid: extended.uid.unwrap_or(numbers.uid),
        gid: extended.gid.unwrap_or(numbers.gid),
        mtime: extended.mtime.unwrap_or(numbers.mtime),
        // Links and directories have no bytes, whatever their size field (POSIX, "size").
        size: if has_bytes { size } else { 0 },
    })
}

/// Classifies a regular file by name: a whiteout or a file.
fn whiteout(path: ImagePath) -> Result<(ImagePath, MemberKind), ReadError> {
    let name = path.file_name().unwrap_or_default();
    let Some(gone) = name.strip_prefix(".wh.") else { return Ok((path, MemberKind::File)) };
    let parent = path.parent().unwrap_or_default();
    if gone == ".wh..opq" {
        return Ok((parent, MemberKind::Opaque));
    }
    Ok((parent.join(gone)?, MemberKind::Whiteout))
}
