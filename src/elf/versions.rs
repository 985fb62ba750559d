//! Reads symbol versions: those needed of each library (`.gnu.version_r`) and those defined.
//!
//! Follows the Linux Standard Base, core, "Symbol Versioning". The tables are the same for both
//! classes; only the byte order differs.

use std::path::Path;

use object::elf;
use serde::{Deserialize, Serialize};

use super::ElfError;
use super::header::{NAME_LIMIT, RawHeaders, text};
use super::machine::ByteOrder;
use super::source::{ElfBytes, Result};

/// The largest accepted version table, in bytes. Real ones have a few thousand.
const TABLE_LIMIT: u64 = 256 << 10;
/// The most entries read.
const ENTRIES_LIMIT: usize = 16 << 10;

/// The versions that a file needs of one library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionNeed {
    /// The library's name: `libc.so.6`.
    pub soname: String,
    /// The versions, in file order: `GLIBC_2.34`.
    pub versions: Vec<String>,
}

/// Reads the library versions needed by the file at `path`. Empty if the file is not ELF or needs
/// none.
pub fn version_needs(path: &Path) -> std::result::Result<Vec<VersionNeed>, ElfError> {
    let Some(source) = ElfBytes::open(path)? else {
        return Ok(Vec::new());
    };
    read_needs(&source).map_err(|fault| fault.at(path))
}

/// The symbol versions of a file: needed and defined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The needed versions (`DT_VERNEED`), without optional ones (`VER_FLG_WEAK`).
    pub needs: Vec<VersionNeed>,
    /// The defined versions (`DT_VERDEF`): `GLIBC_2.34`, and the library's own name. Empty for a
    /// library without versions, which the loader accepts for any need.
    pub defines: Vec<String>,
}

impl Versions {
    pub(super) fn read(source: &ElfBytes<'_>) -> Result<Self> {
        let Some(headers) = RawHeaders::read(source)? else {
            return Ok(Self::default());
        };
        let read = |at: u64| -> Result<String> {
            let (start, end) = headers.string_range(at)?;
            Ok(text(source.string(start, end, NAME_LIMIT)?))
        };
        let mut defines = defined(source, &headers)?.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        defines.sort_unstable();
        defines.dedup();
        let needs = needs_of(source, |flags| flags & u64::from(elf::VER_FLG_WEAK.0) == 0)?;
        Ok(Self { needs, defines })
    }
}

/// Reads the symbol versions of the file at `path`. Empty if the file is not ELF or has none.
pub fn versions(path: &Path) -> std::result::Result<Versions, ElfError> {
    let Some(source) = ElfBytes::open(path)? else {
        return Ok(Versions::default());
    };
    Versions::read(&source).map_err(|fault| fault.at(path))
}

pub(super) fn read_needs(source: &ElfBytes<'_>) -> Result<Vec<VersionNeed>> {
    needs_of(source, |_| true)
}

/// Returns the needs with accepted flags (`vna_flags`).
fn needs_of(source: &ElfBytes<'_>, accepts: impl Fn(u64) -> bool) -> Result<Vec<VersionNeed>> {
    let Some(headers) = RawHeaders::read(source)? else {
        return Ok(Vec::new());
    };
    let mut needs = Vec::new();
    for (file, names) in needed(source, &headers)? {
        let read = |at: u64| -> Result<String> {
            let (start, end) = headers.string_range(at)?;
            Ok(text(source.string(start, end, NAME_LIMIT)?))
        };
        let accepted = names.into_iter().filter(|(_, flags)| accepts(*flags)).map(|(name, _)| name);
        let versions = accepted.map(read).collect::<Result<_>>()?;
        needs.push(VersionNeed { soname: read(file)?, versions });
    }
    Ok(needs)
}

/// Returns all offsets of the string table used by version tables.
pub(super) fn names(source: &ElfBytes<'_>, headers: &RawHeaders) -> Result<Vec<u64>> {
    let mut names = Vec::new();
    for (file, versions) in needed(source, headers)? {
        names.push(file);
        names.extend(versions.into_iter().map(|(name, _)| name));
    }
    names.extend(defined(source, headers)?);
    Ok(names)
}

/// A library's name as an offset into the string table, and its versions with their flags.
type RawVersionNeed = (u64, Vec<(u64, u64)>);

/// Reads library and version names of `DT_VERNEED`.
fn needed(source: &ElfBytes<'_>, headers: &RawHeaders) -> Result<Vec<RawVersionNeed>> {
    let Some(table) = Table::read(source, headers, elf::DT_VERNEED)? else {
        return Ok(Vec::new());
    };
    // Verneed: version 2, count 2, file 4, aux 4, next 4. Vernaux: hash 4, flags 2, other 2, name 4, next 4.
    let mut left = ENTRIES_LIMIT;
    let mut needs = Vec::new();
    let mut at = 0;
    loop {
        let mut names = Vec::new();
        let mut aux = at + table.u32(at + 8)?;
        for _ in 0..table.u16(at + 2)? {
            left = left.checked_sub(1).ok_or("too many symbol versions")?;
            names.push((table.u32(aux + 8)?, table.u16(aux + 4)?));
            match table.u32(aux + 12)? {
                0 => break,
                next => aux += next,
            }
        }
        left = left.checked_sub(1).ok_or("too many symbol versions")?;
        needs.push((table.u32(at + 4)?, names));
        match table.u32(at + 12)? {
            0 => return Ok(needs),
            next => at += next,
        }
    }
}

/// Reads version names of `DT_VERDEF`, as offsets into the string table.
fn defined(source: &ElfBytes<'_>, headers: &RawHeaders) -> Result<Vec<u64>> {
    let Some(table) = Table::read(source, headers, elf::DT_VERDEF)? else {
        return Ok(Vec::new());
    };
    // Verdef: version 2, flags 2, index 2, count 2, hash 4, aux 4, next 4. Verdaux: name 4, next 4.
    let mut names = Vec::new();
    let mut at = 0;
    for _ in 0..ENTRIES_LIMIT {
        let mut aux = at + table.u32(at + 12)?;
        for _ in 0..table.u16(at + 6)? {
            if names.len() == ENTRIES_LIMIT {
                return Err("too many symbol versions".into());
            }
            names.push(table.u32(aux)?);
            match table.u32(aux + 4)? {
                0 => break,
                next => aux += next,
            }
        }
        match table.u32(at + 16)? {
            0 => return Ok(names),
            next => at += next,
        }
    }
    Err("too many symbol versions".into())
}

/// A version table: a list in which each element has the offset of the next.
struct Table {
    bytes: Vec<u8>,
    order: ByteOrder,
}

impl Table {
    fn read(source: &ElfBytes<'_>, headers: &RawHeaders, tag: elf::DynamicTag) -> Result<Option<Self>> {
        let Some(address) = headers.value(tag) else {
            return Ok(None);
        };
        let (offset, available) = headers.offset_of(address)?;
        // The table's size is only in section headers.
        let size = available.min(TABLE_LIMIT).min(source.len().saturating_sub(offset));
        let bytes = source.read(offset, size, TABLE_LIMIT)?;
        Ok(Some(Self { bytes, order: headers.machine.order }))
    }

    fn u16(&self, at: u64) -> Result<u64> {
        let bytes = self.chunk(at)?;
        Ok(match self.order {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        }
        .into())
    }

    fn u32(&self, at: u64) -> Result<u64> {
        let bytes = self.chunk(at)?;
        Ok(match self.order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
        .into())
    }

    fn chunk<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let rest = usize::try_from(at).ok().and_then(|at| self.bytes.get(at..));
        Ok(*rest.and_then(<[u8]>::first_chunk).ok_or("a version table exceeds its segment")?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, I386, PPC, S390X, X86_64, library};
    use super::*;

    const VERSIONS: [(&str, &str); 3] =
        [("libc.so.6", "GLIBC_2.34"), ("libc.so.6", "GLIBC_2.2.5"), ("libm.so.6", "GLIBC_2.29")];

    fn needs(bytes: &[u8]) -> Vec<(String, Vec<String>)> {
        let needs = read_needs(&ElfBytes::memory(bytes)).unwrap();
        needs.into_iter().map(|need| (need.soname, need.versions)).collect()
    }

    #[test]
    fn reads_every_class_and_byte_order() {
        let expected =
            VERSIONS.map(|(soname, version)| (soname.to_owned(), vec![version.to_owned()])).to_vec();
        for machine in [X86_64, I386, S390X, PPC] {
            let fixture = Fixture { machine, versions: VERSIONS.to_vec(), ..library(&["libc.so.6"]) };
            assert_eq!(needs(&fixture.bytes()), expected);
        }
        let fixture = Fixture { defines: vec!["X_1", "X_2"], versions: VERSIONS.to_vec(), ..library(&[]) };
        for machine in [X86_64, S390X] {
            let bytes = Fixture { machine, ..fixture.clone() }.bytes();
            assert_eq!(Versions::read(&ElfBytes::memory(&bytes)).unwrap().defines, ["X_1", "X_2"]);
        }
        assert_eq!(needs(&library(&[]).bytes()), []);
        assert_eq!(needs(b"no ELF"), []);
    }

    #[test]
    fn the_c_library_defines_the_versions_of_programs() {
        let libc = crate::elf::Loader::host().on_disk(Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
        let Ok(Some(source)) = libc.and_then(|path| Ok(ElfBytes::open(&path)?)) else { return };
        let versions = Versions::read(&source).unwrap();
        assert!(versions.defines.iter().any(|version| version == "GLIBC_2.2.5"), "{versions:?}");
        assert!(versions.needs.iter().any(|need| need.soname.starts_with("ld-linux")), "{versions:?}");
    }

    #[test]
    fn a_list_that_leaves_its_segment_is_an_error() {
        let mut bytes = Fixture { versions: VERSIONS.to_vec(), ..library(&[]) }.bytes();
        // The offset from the first library to the next.
        let first = [1, 0, 1, 0];
        let table = (0..bytes.len()).find(|&at| bytes[at..].starts_with(&first) && at % 8 == 0 && at > 64);
        let next = table.unwrap() + 12;
        assert_eq!(bytes[next], 32);
        bytes[next..next + 4].copy_from_slice(&0x00ff_ffff_u32.to_le_bytes());
        assert!(read_needs(&ElfBytes::memory(&bytes)).is_err());
    }
}
