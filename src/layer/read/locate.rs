//! [`locate`]: finds the files of an uncompressed archive, for reading in place and in any order.
//!
//! Only headers are read; the content of members is skipped. The same limits apply as to layers.

use std::collections::BTreeSet;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::header::{self, Extended, Numbers, Typeflag};
use super::{Limits, Member, MemberKind, RECORD, ReadError, padding};

/// Small, since headers are small and far apart.
const BUFFER: usize = 4 << 10;

/// A member of an archive, with the position of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Located {
    /// The member.
    pub member: Member,
    /// Offset of the first byte of the content.
    pub offset: u64,
}

/// Lists the members of the plain tar archive `source`, in order. Every member is complete.
///
/// # Errors
/// Fails for an invalid archive, and for a path that occurs twice unless all are directories:
/// readers disagree about duplicates.
pub fn locate<R: Read + Seek>(source: R, limits: Limits) -> Result<Vec<Located>, ReadError> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let length = source.seek(SeekFrom::End(0))?;
    if length > limits.archive_bytes {
        return Err(ReadError::Limit { what: "bytes", limit: limits.archive_bytes });
    }
    source.rewind()?;
    let mut scan = Scan { source, length, at: 0 };
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut global = Extended::default();
    let mut extended = Extended::default();
    let mut pending = false;
    loop {
        let at = scan.at;
        let broken = |reason: &str| ReadError::Broken { at, reason: reason.to_owned() };
        let record = scan.record()?.filter(|record| record.iter().any(|byte| *byte != 0));
        let Some(record) = record else {
            return if pending { Err(broken("extended header without a member")) } else { Ok(found) };
        };
        let numbers = Numbers::parse(&record).map_err(broken)?;
        if !matches!(numbers.typeflag, Typeflag::Member(_)) {
            let bytes = scan.read_extended_header(numbers.size, limits.header_bytes)?;
            pending = numbers.typeflag != Typeflag::GlobalPax;
            let into = if pending { &mut extended } else { &mut global };
            into.take(numbers.typeflag, &bytes).map_err(broken)?;
            if !pending {
                extended = global.clone();
            }
            continue;
        }
        if found.len() as u64 >= limits.members {
            return Err(ReadError::Limit { what: "members", limit: limits.members });
        }
        let member = header::member(&record, numbers, std::mem::replace(&mut extended, global.clone()), at)?;
        pending = false;
        let directory = member.kind == MemberKind::Directory;
        if !seen.insert(member.path.clone()) && !directory {
            return Err(ReadError::Twice(member.path));
        }
        let offset = scan.at;
        scan.skip(member.size)?;
        found.push(Located { member, offset });
    }
}

struct Scan<R> {
    source: BufReader<R>,
    length: u64,
    at: u64,
}

impl<R: Read + Seek> Scan<R> {
    /// Returns the next record of 512 bytes; `None` at the end of the archive.
    fn record(&mut self) -> Result<Option<[u8; 512]>, ReadError> {
        if self.at >= self.length {
            return Ok(None);
        }
        let mut record = [0; 512];
        self.room(RECORD)?;
        self.source.read_exact(&mut record)?;
        self.at += RECORD;
        Ok(Some(record))
    }

    /// Reads an extended header.
    fn read_extended_header(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, ReadError> {
        if size > limit {
            return Err(ReadError::Limit { what: "bytes of extended header", limit });
        }
        self.room(size)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.source.read_exact(&mut bytes)?;
        self.at += size;
        self.skip_exactly(padding(size))?;
        Ok(bytes)
    }

    /// Skips a member's bytes and padding.
    fn skip(&mut self, size: u64) -> Result<(), ReadError> {
        self.room(size)?;
        self.skip_exactly(size + padding(size))
    }

    fn skip_exactly(&mut self, bytes: u64) -> Result<(), ReadError> {
        // Some writers omit the padding of the last record.
        let to = (self.at + bytes).min(self.length);
        let step = i64::try_from(to - self.at)
            .map_err(|_| ReadError::Broken { at: self.at, reason: "ends within a file".to_owned() })?;
        self.source.seek_relative(step)?;
        self.at = to;
        Ok(())
    }

    /// Fails unless that many bytes follow.
    fn room(&self, bytes: u64) -> Result<(), ReadError> {
        if bytes <= self.length.saturating_sub(self.at) {
            return Ok(());
        }
        Err(ReadError::Broken { at: self.at, reason: "ends within a file".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn archive(members: &[(&str, u8, u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, flag, size, content) in members {
            let mut header = tar::Header::new_ustar();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(tar::EntryType::new(*flag));
            header.set_size(*size);
            header.set_cksum();
            bytes.extend(header.as_bytes());
            bytes.extend(*content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend([0; 1024]);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Located>, ReadError> {
        locate(Cursor::new(bytes), Limits { members: 10, archive_bytes: 1 << 20, header_bytes: 1000 })
    }

    #[test]
    fn finds_the_content_of_members() {
        let bytes = archive(&[
            ("d/", b'5', 0, b""),
            ("d/a", b'0', 3, b"abc"),
            ("d/", b'5', 0, b""),
            ("b", b'0', 1, b"x"),
        ]);
        let found = read(&bytes).unwrap();
        let files: Vec<_> = found
            .iter()
            .filter(|located| located.member.kind == MemberKind::File)
            .map(|located| {
                let from = usize::try_from(located.offset).unwrap();
                let to = from + usize::try_from(located.member.size).unwrap();
                (located.member.path.as_str(), &bytes[from..to])
            })
            .collect();
        assert_eq!(files, [("d/a", &b"abc"[..]), ("b", b"x")]);
    }

    #[test]
    fn long_names_belong_to_the_member_that_follows() {
        let long = "x/".repeat(150) + "y";
        let record = format!(" path={long}\n");
        let record = format!("{}{record}", record.len() + 3);
        let bytes = archive(&[
            ("pax", b'x', record.len() as u64, record.as_bytes()),
            ("short", b'0', 1, b"1"),
            ("next", b'0', 1, b"2"),
        ]);
        let names: Vec<_> = read(&bytes).unwrap().into_iter().map(|found| found.member.path).collect();
        assert_eq!(names.iter().map(crate::tree::ImagePath::as_str).collect::<Vec<_>>(), [&long, "next"]);
    }

    #[test]
    fn refuses_invalid_archives() {
        let good = archive(&[("a", b'0', 1000, &[1; 1000])]);
        // Two empty records end an archive; their absence is harmless.
        assert!(read(&good[..good.len() - 1024]).is_ok());
        for length in [1, 511, 513, 600, 1511] {
            assert!(matches!(read(&good[..length]), Err(ReadError::Broken { .. })), "{length}");
        }
        for members in [
            &[("a", b'0', 1 << 40, &b"x"[..])][..],
            &[("a", b'0', 3, &[7; 2000])],
            &[("../a", b'0', 0, b"")],
            &[("a", b'0', 0, b""), ("./a", b'0', 0, b"")],
            &[("a", b'x', 5000, &[b'1'; 5000])],
            &[("a", b'x', 0, b"")],
            &[("a", b'?', 0, b"")],
        ] {
            assert!(read(&archive(members)).is_err(), "{members:?}");
        }
        let many: Vec<String> = (0..11).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), b'0', 0, &b""[..])).collect();
        assert!(matches!(read(&archive(&many)), Err(ReadError::Limit { .. })));
        assert!(read(&archive(&many[..10])).is_ok());
    }
}
