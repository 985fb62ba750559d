//! Strips symbols and debugging information from the interpreter's own files.
//!
//! Interpreters compiled by their user (pyenv, `make install`) contain them: 27 of 42 MB of pyenv's
//! 3.11, measured, and half of the size of a small service. Bytes mapped by the loader are
//! unchanged, and so are the dynamic symbols used by extension modules and profilers. Follows the
//! gABI (file header, section headers, program headers) for 64-bit little-endian files; others are
//! unchanged.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use object::elf::{self, FileHeader64, SectionHeader64};
use object::pod::{bytes_of, bytes_of_slice};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::read::{ReadCache, ReadRef};
use object::{LittleEndian, U16, U32, U64};

use crate::traced_fs;
use crate::tree::{HostFile, ImagePath, Patch, Transform, TransformError};

/// The smallest saving for which a file is rewritten, in bytes.
const MIN_SAVING: u64 = 4096;

/// The largest file stripped, in bytes, since its content is held in memory. A libpython with all
/// debugging information has some 30 MB.
const LIMIT: u64 = 200 << 20;

const ENDIAN: LittleEndian = LittleEndian;

/// Keeps loaded sections with their headers only; patches are applied first.
#[derive(Debug)]
pub(super) struct StripSymbols {
    pub(super) patches: Arc<[Patch]>,
}

impl Transform for StripSymbols {
    fn apply(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
        for patch in self.patches.iter() {
            let place = usize::try_from(patch.offset)
                .ok()
                .and_then(|start| bytes.get_mut(start..start.checked_add(patch.bytes.len())?));
            let place =
                place.ok_or_else(|| TransformError("the file became shorter during the build".into()))?;
            place.copy_from_slice(&patch.bytes);
        }
        let stripped = StripPlan::of(&*bytes).and_then(|plan| plan.write(&bytes));
        stripped.ok_or_else(|| TransformError("the section headers changed during the build".into()))
    }

    fn identity(&self) -> String {
        let mut identity = String::from("elf-strip/1");
        for patch in self.patches.iter() {
            let _ = write!(identity, ";{:x}=", patch.offset);
            for byte in &patch.bytes {
                let _ = write!(identity, "{byte:02x}");
            }
        }
        identity
    }
}

/// Returns whether `file`, at `path` in the image, is an ELF file that shrinks by stripping. False
/// for unreadable files: the writer of the layer reports the same error.
pub(super) fn should_strip(path: &ImagePath, file: &HostFile) -> bool {
    let name = path.file_name().unwrap_or_default();
    let library = name.ends_with(".so") || name.contains(".so.");
    let program = path.parent().is_some_and(|folder| folder.file_name() == Some("bin"));
    // Only the tables are read, a small part of the file.
    (library || program)
        && file.size <= LIMIT
        && open(&file.path).is_ok_and(|file| shrinks_by_stripping(&ReadCache::new(file)))
}

/// Opens without blocking: a FIFO in place of the file must not hang the build.
fn open(path: &Path) -> io::Result<File> {
    traced_fs::open_no_follow(path)
}

fn shrinks_by_stripping<'a>(bytes: impl ReadRef<'a>) -> bool {
    let size = bytes.len().unwrap_or_default();
    StripPlan::of(bytes).is_some_and(|plan| plan.end.saturating_add(MIN_SAVING) < size)
}

/// The retained part of a file.
struct StripPlan<'a> {
    header: &'a FileHeader64<LittleEndian>,
    sections: &'a [SectionHeader64<LittleEndian>],
    names: Vec<&'a [u8]>,
    /// The end of the bytes that are mapped or describe mapped ones.
    end: u64,
}

impl<'a> StripPlan<'a> {
    /// Returns `None` for another class or byte order, for a file without sections, and for loaded
    /// sections after unloaded ones: symbols refer to sections by index, so only the last can be
    /// removed.
    fn of(bytes: impl ReadRef<'a>) -> Option<Self> {
        let header = FileHeader64::<LittleEndian>::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        if header.e_type(endian) != elf::ET_DYN && header.e_type(endian) != elf::ET_EXEC {
            return None;
        }
        let all = header.section_headers(endian, bytes).ok()?;
        // Indices from 0xff00 on are stored elsewhere; no interpreter has so many sections.
        if all.len() < 2 || all.len() != usize::from(header.e_shnum(endian)) {
            return None;
        }
        let loaded =
            |section: &SectionHeader64<LittleEndian>| section.sh_flags(endian).0 & elf::SHF_ALLOC.0 != 0;
        let count = 1 + all.get(1..)?.iter().take_while(|section| loaded(section)).count();
        let (sections, rest) = all.split_at_checked(count)?;
        if rest.iter().any(loaded) {
            return None;
        }
        let names = header.section_strings(endian, bytes, all).ok()?;
        let names = sections.iter().map(|section| section.name(endian, names).ok()).collect::<Option<_>>()?;

        let segments = header.program_headers(endian, bytes).ok()?;
        let table = header.e_phoff(endian).checked_add(size_of_val(segments) as u64)?;
        let mut end = table.max(size_of::<FileHeader64<LittleEndian>>() as u64);
        for segment in segments {
            end = end.max(segment.p_offset(endian).checked_add(segment.p_filesz(endian))?);
        }
        for section in sections.iter().filter(|section| section.sh_type(endian) != elf::SHT_NOBITS) {
            end = end.max(section.sh_offset(endian).checked_add(section.sh_size(endian))?);
        }
        (end <= bytes.len().ok()?).then_some(Self { header, sections, names, end })
    }

    fn write(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = bytes.get(..usize::try_from(self.end).ok()?)?.to_vec();
        let mut strings = vec![0];
        let mut sections = self.sections.to_vec();
        for (section, name) in sections.iter_mut().zip(&self.names).skip(1) {
            section.sh_name = U32::new(ENDIAN, append(&mut strings, name)?);
            // The section referred to may be removed; references among loaded sections keep their
            // indices.
            if usize::try_from(section.sh_link.get(ENDIAN)).ok()? >= self.sections.len() {
                section.sh_link = U32::new(ENDIAN, 0);
            }
        }
        let own_name = append(&mut strings, b".shstrtab")?;
        let strings_at = out.len() as u64;
        out.extend_from_slice(&strings);
        out.resize(out.len().next_multiple_of(8), 0);
        let mut table = *self.sections.first()?;
        table.sh_name = U32::new(ENDIAN, own_name);
        table.sh_type = U32::new(ENDIAN, elf::SHT_STRTAB);
        table.sh_offset = U64::new(ENDIAN, strings_at);
        table.sh_size = U64::new(ENDIAN, strings.len() as u64);
        table.sh_addralign = U64::new(ENDIAN, 1);
        sections.push(table);

        let mut header = *self.header;
        header.e_shoff = U64::new(ENDIAN, out.len() as u64);
        header.e_shnum = U16::new(ENDIAN, u16::try_from(sections.len()).ok()?);
        header.e_shstrndx = U16::new(ENDIAN, elf::SymbolSection(u16::try_from(self.sections.len()).ok()?));
        out.extend_from_slice(bytes_of_slice(&sections));
        let start = bytes_of(&header);
        out.get_mut(..start.len())?.copy_from_slice(start);
        Some(out)
    }
}

/// Appends a name to a string table and returns its offset.
fn append(strings: &mut Vec<u8>, name: &[u8]) -> Option<u32> {
    let at = u32::try_from(strings.len()).ok()?;
    strings.extend_from_slice(name);
    strings.push(0);
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strip(bytes: Vec<u8>, patches: Vec<Patch>) -> Result<Vec<u8>, TransformError> {
        StripSymbols { patches: patches.into() }.apply(bytes)
    }

    /// Reads this test program, with symbols and possibly debugging information.
    fn this_program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn keeps_loaded_sections_and_drops_symbols() {
        let before = this_program();
        assert!(shrinks_by_stripping(&*before));
        let after = strip(before.clone(), Vec::new()).unwrap();
        assert!(after.len() < before.len());
        assert!(!shrinks_by_stripping(&*after));
        let header = FileHeader64::<LittleEndian>::parse(&*after).unwrap();
        for segment in header.program_headers(ENDIAN, &*after).unwrap() {
            // The file header itself changed; it is at the start of the first segment.
            let start = usize::try_from(segment.p_offset(ENDIAN)).unwrap().max(64);
            let end = usize::try_from(segment.p_offset(ENDIAN) + segment.p_filesz(ENDIAN)).unwrap().max(64);
            assert!(before[start..end] == after[start..end]);
        }
        let sections = header.sections(ENDIAN, &*after).unwrap();
        assert!(sections.section_by_name(ENDIAN, b".dynsym").is_some());
        assert!(sections.section_by_name(ENDIAN, b".symtab").is_none());
    }

    #[test]
    fn stripping_twice_is_stripping_once() {
        let once = strip(this_program(), Vec::new()).unwrap();
        assert!(strip(once.clone(), Vec::new()).unwrap() == once);
    }

    #[test]
    fn applies_patches_and_names_them() {
        let patches = vec![Patch { offset: 2000, bytes: b"abc".to_vec() }];
        assert_eq!(&strip(this_program(), patches.clone()).unwrap()[2000..2003], b"abc");
        let identity = StripSymbols { patches: patches.into() }.identity();
        assert_eq!(identity, "elf-strip/1;7d0=616263");
        let outside = vec![Patch { offset: u64::MAX, bytes: vec![1] }];
        assert!(strip(this_program(), outside).is_err());
    }

    #[test]
    fn rejects_unsupported_files() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0; 64]] {
            assert!(!shrinks_by_stripping(bytes));
            assert!(strip(bytes.to_vec(), Vec::new()).is_err());
        }
    }

    proptest! {
        #[test]
        fn survives_damage(damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8), cut: usize) {
            // A small program, with the headers hit as often as the rest.
            let mut bytes = std::fs::read("/usr/bin/env").unwrap();
            let size = bytes.len();
            for (at, value) in damage {
                let table = size - size.min(2000);
                let at = match at % 3 { 0 => at % 64, 1 => table + at % (size - table), _ => at % size };
                bytes[at] = value;
            }
            if cut % 4 == 0 {
                bytes.truncate(cut % size);
            }
            let _ = strip(bytes, Vec::new());
        }
    }
}
