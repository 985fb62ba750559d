//! [`Elf`]: the headers that matter for loading a file.
//!
//! Only program headers and the dynamic section are read: the loader uses no others, and section
//! headers may be stripped.

use std::path::Path;

use object::elf;
use object::pod::slice_from_all_bytes;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{BigEndian, Endian, LittleEndian};
use serde::{Deserialize, Serialize};

use super::ElfError;
use super::machine::{ByteOrder, Class, Machine};
use super::source::{ElfBytes, Fault, Result};

/// The largest accepted program header table, in bytes. Real ones have a dozen entries of 56.
const SEGMENTS_LIMIT: u64 = 256 << 10;
/// The largest accepted dynamic section, in bytes. Real ones have some forty entries of 16.
const DYNAMIC_LIMIT: u64 = 256 << 10;
/// The most `DT_NEEDED` entries of an accepted file.
const NEEDED_LIMIT: usize = 4096;
/// The kernel's limit for a path, in bytes (`PATH_MAX`).
pub(super) const NAME_LIMIT: u64 = 4096;
/// The longest accepted search path, in bytes. Nix writes several thousand.
pub(super) const SEARCH_PATH_LIMIT: u64 = 64 << 10;

/// The type of an ELF file (gABI, `e_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ElfKind {
    /// `ET_EXEC`: a program at a fixed address.
    Executable,
    /// `ET_DYN`: a shared library, or a program that can be loaded anywhere.
    Shared,
    /// `ET_REL`, `ET_CORE` and the rest, which are never loaded.
    Other,
}

/// The headers for loading an ELF file.
///
/// In names and paths, bytes that are not UTF-8 are replaced, so no file matches them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elf {
    /// The machine.
    pub machine: Machine,
    /// The type.
    pub kind: ElfKind,
    /// The program's loader (`PT_INTERP`): `/lib64/ld-linux-x86-64.so.2`. Most libraries have none.
    pub interpreter: Option<String>,
    /// The name of the loaded library (`DT_SONAME`).
    pub soname: Option<String>,
    /// The needed libraries (`DT_NEEDED`), in file order.
    pub needed: Vec<String>,
    /// `DT_RPATH`, split at colons. glibc ignores this path if `runpath` is not empty.
    pub rpath: Vec<String>,
    /// `DT_RUNPATH`, split at colons. An empty `DT_RUNPATH` gives one empty element.
    pub runpath: Vec<String>,
    /// `DF_1_NODEFLIB`: the default directories are not searched for this file's needs.
    pub skips_defaults: bool,
    /// `DF_1_PIE`: linked as a program.
    pub position_independent_executable: bool,
}

impl Elf {
    /// Returns whether the file is a program rather than a library.
    ///
    /// The C library names an interpreter too, to print its version: a file with an interpreter and
    /// a library's name is not a program.
    pub fn is_executable(&self) -> bool {
        self.kind == ElfKind::Executable
            || self.position_independent_executable
            || (self.kind == ElfKind::Shared && self.interpreter.is_some() && self.soname.is_none())
    }

    /// Returns whether the dynamic loader is involved at all; false for a static program.
    pub fn is_dynamic(&self) -> bool {
        self.interpreter.is_some() || !self.needed.is_empty() || self.soname.is_some()
    }
}

/// Reads the headers of the file at `path`, following symbolic links; `None` if the file is not
/// ELF.
///
/// # Errors
/// [`ElfError::File`] if the file cannot be read, [`ElfError::Malformed`] if the ELF header is
/// followed by invalid data.
pub fn read(path: &Path) -> std::result::Result<Option<Elf>, ElfError> {
    let Some(source) = ElfBytes::open(path)? else {
        return Ok(None);
    };
    describe(&source).map_err(|fault| fault.at(path))
}

/// Parses the headers of a file in memory; `None` if the bytes are not ELF. `path` is for errors.
pub fn parse(bytes: &[u8], path: &Path) -> std::result::Result<Option<Elf>, ElfError> {
    describe(&ElfBytes::memory(bytes)).map_err(|fault| fault.at(path))
}

/// The header fields used by the loader, still as numbers.
#[derive(Debug)]
pub(super) struct RawHeaders {
    pub(super) machine: Machine,
    pub(super) kind: ElfKind,
    /// Offset and size of the interpreter's name.
    interpreter: Option<(u64, u64)>,
    /// Address, offset and size of the segments loaded from the file.
    loads: Vec<(u64, u64, u64)>,
    /// The dynamic section without its terminator.
    pub(super) dynamic: Vec<(elf::DynamicTag, u64)>,
}

impl RawHeaders {
    /// Reads the headers; `None` if the file is not ELF.
    pub(super) fn read(source: &ElfBytes<'_>) -> Result<Option<Self>> {
        let ident = match source.read(0, 16, 16) {
            Ok(ident) if ident.starts_with(&elf::ELFMAG) => ident,
            Err(Fault::Io(error)) => return Err(Fault::Io(error)),
            // Another file format, or a file shorter than an ELF header.
            Ok(_) | Err(Fault::Malformed(_)) => return Ok(None),
        };
        match (ident.get(4), ident.get(5)) {
            (Some(1), Some(1)) => Self::read_as::<elf::FileHeader32<LittleEndian>>(source, LittleEndian),
            (Some(1), Some(2)) => Self::read_as::<elf::FileHeader32<BigEndian>>(source, BigEndian),
            (Some(2), Some(1)) => Self::read_as::<elf::FileHeader64<LittleEndian>>(source, LittleEndian),
            (Some(2), Some(2)) => Self::read_as::<elf::FileHeader64<BigEndian>>(source, BigEndian),
            _ => Err("unknown class or byte order".into()),
        }
        .map(Some)
    }

    fn read_as<H: FileHeader>(source: &ElfBytes<'_>, endian: H::Endian) -> Result<Self> {
        let bytes = source.read(0, size_of::<H>() as u64, 64)?;
        let header = H::parse(bytes.as_slice()).map_err(|_| "invalid file header")?;
        let machine = Machine {
            class: if header.is_class_64() { Class::Elf64 } else { Class::Elf32 },
            order: if endian.is_big_endian() { ByteOrder::Big } else { ByteOrder::Little },
            number: header.e_machine(endian).0,
            flags: header.e_flags(endian).0,
        };
        let kind = match header.e_type(endian) {
            elf::ET_EXEC => ElfKind::Executable,
            elf::ET_DYN => ElfKind::Shared,
            _ => ElfKind::Other,
        };
        let mut headers = Self { machine, kind, interpreter: None, loads: Vec::new(), dynamic: Vec::new() };
        let count = u64::from(header.e_phnum(endian));
        let size = size_of::<H::ProgramHeader>() as u64;
        if kind == ElfKind::Other || count == 0 {
            return Ok(headers);
        }
        if u64::from(header.e_phentsize(endian)) != size {
            return Err("unexpected size of program headers".into());
        }
        let table = source.read(header.e_phoff(endian).into(), count * size, SEGMENTS_LIMIT)?;
        let segments: &[H::ProgramHeader] =
            slice_from_all_bytes(&table).map_err(|()| "invalid program headers")?;
        for segment in segments {
            let (offset, size) = segment.file_range(endian);
            match segment.p_type(endian) {
                elf::PT_LOAD => headers.loads.push((segment.p_vaddr(endian).into(), offset, size)),
                elf::PT_INTERP => headers.interpreter = Some((offset, size)),
                elf::PT_DYNAMIC => headers.dynamic = read_dynamic::<H>(source, endian, offset, size)?,
                _ => {}
            }
        }
        Ok(headers)
    }

    /// Returns the value of the first entry with this tag.
    pub(super) fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.dynamic.iter().find(|entry| entry.0 == tag).map(|entry| entry.1)
    }

    /// Returns the file offset of an address, and the number of bytes left in its segment.
    pub(super) fn offset_of(&self, address: u64) -> Result<(u64, u64)> {
        self.loads
            .iter()
            .find_map(|&(start, offset, size)| {
                let into = address.checked_sub(start).filter(|&into| into < size)?;
                Some((offset.checked_add(into)?, size - into))
            })
            .ok_or_else(|| "an address of the dynamic section is not in the file".into())
    }

    /// Returns offset and size of the dynamic string table.
    pub(super) fn strings(&self) -> Result<(u64, u64)> {
        let address = self.value(elf::DT_STRTAB).ok_or("string table of the dynamic section not found")?;
        let (offset, available) = self.offset_of(address)?;
        Ok((offset, self.value(elf::DT_STRSZ).unwrap_or(available).min(available)))
    }

    /// Returns the file offset of the string at `at` in the dynamic string table, and the offset of
    /// the table's end.
    pub(super) fn string_range(&self, at: u64) -> Result<(u64, u64)> {
        let (offset, size) = self.strings()?;
        let start =
            offset.checked_add(at).filter(|_| at < size).ok_or("a name is outside its string table")?;
        Ok((start, offset.saturating_add(size)))
    }
}

fn read_dynamic<H: FileHeader>(
    source: &ElfBytes<'_>,
    endian: H::Endian,
    offset: u64,
    size: u64,
) -> Result<Vec<(elf::DynamicTag, u64)>> {
    let whole = size - size % size_of::<H::Dyn>() as u64;
    let table = source.read(offset, whole, DYNAMIC_LIMIT)?;
    let entries: &[H::Dyn] = slice_from_all_bytes(&table).map_err(|()| "invalid dynamic section")?;
    Ok(entries
        .iter()
        .map(|entry| (entry.tag(endian), entry.val(endian)))
        .take_while(|entry| entry.0 != elf::DT_NULL)
        .collect())
}

pub(super) fn describe(source: &ElfBytes<'_>) -> Result<Option<Elf>> {
    let Some(headers) = RawHeaders::read(source)? else {
        return Ok(None);
    };
    let interpreter = match headers.interpreter {
        Some((offset, size)) => Some(text(source.string(offset, offset.saturating_add(size), NAME_LIMIT)?)),
        None => None,
    };
    let flags = headers.value(elf::DT_FLAGS_1).unwrap_or(0);
    let mut described = Elf {
        machine: headers.machine,
        kind: headers.kind,
        interpreter,
        soname: None,
        needed: Vec::new(),
        rpath: Vec::new(),
        runpath: Vec::new(),
        skips_defaults: flags & elf::DF_1_NODEFLIB.0 != 0,
        position_independent_executable: flags & elf::DF_1_PIE.0 != 0,
    };
    for &(tag, at) in &headers.dynamic {
        let limit = match tag {
            elf::DT_NEEDED | elf::DT_SONAME => NAME_LIMIT,
            elf::DT_RPATH | elf::DT_RUNPATH => SEARCH_PATH_LIMIT,
            _ => continue,
        };
        let (start, end) = headers.string_range(at)?;
        let value = text(source.string(start, end, limit)?);
        match tag {
            elf::DT_NEEDED if described.needed.len() == NEEDED_LIMIT => {
                return Err("too many needed libraries".into());
            }
            elf::DT_NEEDED => described.needed.push(value),
            elf::DT_SONAME => described.soname = Some(value),
            elf::DT_RPATH => described.rpath = split(&value),
            _ => described.runpath = split(&value),
        }
    }
    Ok(Some(described))
}

fn split(path: &str) -> Vec<String> {
    path.split(':').map(str::to_owned).collect()
}

/// Decodes a name; bytes that are not UTF-8 are replaced.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{
        self, I386, NEEDED, PPC, RPATH, RUNPATH, S390X, Sections, X86_64, library, program,
    };
    use super::*;
    use proptest::prelude::*;

    fn described(bytes: &[u8]) -> Elf {
        parse(bytes, Path::new("x")).unwrap().unwrap()
    }

    fn reason(bytes: &[u8]) -> &'static str {
        match parse(bytes, Path::new("x")) {
            Err(ElfError::Malformed { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_every_class_and_byte_order() {
        for machine in [X86_64, I386, S390X, PPC] {
            let fixture =
                fixture::Fixture { machine, ..program("/lib/ld.so.1", &["liba.so.1", "libc.so.6"]) };
            let elf = described(&fixture.with(RUNPATH, "$ORIGIN/../lib:/opt").bytes());
            assert_eq!(elf.machine, machine);
            assert_eq!(elf.interpreter.as_deref(), Some("/lib/ld.so.1"));
            assert_eq!(elf.needed, ["liba.so.1", "libc.so.6"]);
            assert_eq!(elf.runpath, ["$ORIGIN/../lib", "/opt"]);
            assert!(elf.rpath.is_empty() && elf.soname.is_none());
            assert!(elf.is_executable() && elf.is_dynamic());
        }
    }

    #[test]
    fn distinguishes_programs_from_libraries() {
        let library = library(&[]).with(fixture::SONAME, "libc.so.6");
        assert!(!described(&library.bytes()).is_executable());
        let library = fixture::Fixture { interpreter: Some("/lib/ld.so"), ..library };
        assert!(!described(&library.bytes()).is_executable(), "the C library names an interpreter too");
        let fixed = fixture::Fixture { kind: 2, ..fixture::library(&[]) };
        assert!(described(&fixed.bytes()).is_executable() && !described(&fixed.bytes()).is_dynamic());
        let object = fixture::Fixture { kind: 1, ..program("/lib/ld.so", &["x"]) };
        assert_eq!(described(&object.bytes()).kind, ElfKind::Other);
    }

    #[test]
    fn an_empty_search_path_is_one_element() {
        let elf = described(&library(&[]).with(RUNPATH, "").with(RPATH, "/a").bytes());
        assert_eq!((elf.rpath, elf.runpath), (vec!["/a".to_owned()], vec![String::new()]));
    }

    #[test]
    fn needs_no_section_headers() {
        let stripped = fixture::Fixture { sections: Sections::Stripped, ..library(&["a"]) };
        assert_eq!(described(&stripped.bytes()).needed, ["a"]);
    }

    #[test]
    fn other_files_are_none() {
        for bytes in [&b""[..], b"\x7fEL", b"#!/bin/sh\nexec something long enough\n", b"\x7fELF"] {
            assert_eq!(parse(bytes, Path::new("x")).unwrap(), None);
        }
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), None);
        assert!(matches!(read(&directory.path().join("absent")), Err(ElfError::File(_))));
    }

    #[test]
    fn names_the_defect() {
        let bytes = library(&["a"]).bytes();
        assert_eq!(reason(&bytes[..40]), "unexpected end of file");
        assert_eq!(reason(&bytes[..300]), "unexpected end of file");
        let changed = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            bytes
        };
        assert_eq!(reason(&changed(4, 9)), "unknown class or byte order");
        assert_eq!(reason(&changed(6, 9)), "invalid file header");
        assert_eq!(reason(&changed(54, 9)), "unexpected size of program headers");
        let outside = library(&[]).with(RUNPATH, "/a");
        let mut far = outside.bytes();
        // The offset of the search path in the string table.
        let tag = far.windows(16).position(|entry| entry[..8] == RUNPATH.to_le_bytes()).unwrap();
        far[tag + 8..tag + 12].copy_from_slice(&0xffff_u32.to_le_bytes());
        assert_eq!(reason(&far), "a name is outside its string table");
        let many: Vec<String> = (0..5000).map(|number| format!("lib{number}.so")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(reason(&library(&many).bytes()), "too many needed libraries");
        assert_eq!(NEEDED, elf::DT_NEEDED.0.cast_unsigned());
    }

    proptest! {
        #[test]
        fn never_panics_on_damage(changes in prop::collection::vec((0usize..900, any::<u8>()), 1..12), cut in 0usize..900) {
            for machine in [X86_64, PPC] {
                let fixture = fixture::Fixture {
                    machine,
                    versions: vec![("libc.so.6", "GLIBC_2.34")],
                    ..program("/lib/ld.so.1", &["liba.so.1"])
                };
                let mut bytes = fixture.with(RUNPATH, "/opt/lib").bytes();
                for (at, value) in &changes {
                    if let Some(byte) = bytes.get_mut(*at) {
                        *byte = *value;
                    }
                }
                bytes.truncate(bytes.len().saturating_sub(cut / 3));
                let _ = parse(&bytes, Path::new("x"));
                let _ = super::super::rewrite_search_path_in(&bytes, Path::new("x"), "/lib");
                let _ = super::super::versions::read_needs(&ElfBytes::memory(&bytes));
            }
        }

        #[test]
        fn never_panics_on_noise(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&[b"\x7fELF".as_slice(), &bytes].concat(), Path::new("x"));
        }
    }
}
