//! Rewrites the library search path of a file in place, without moving a byte.
//!
//! An interpreter built for one prefix and installed in another finds its libraries through
//! `$ORIGIN/../lib`. The string keeps its offset and must not become longer; the rest of the old
//! string is filled with NULs, so no part of the build machine's path remains.

use std::collections::BTreeMap;
use std::path::Path;

use object::elf;
use object::read::elf::{FileHeader, SectionHeader};
use object::{BigEndian, LittleEndian};

use super::ElfError;
use super::header::{RawHeaders, SEARCH_PATH_LIMIT, text};
use super::machine::{ByteOrder, Class};
use super::source::{ElfBytes, Result};
use super::versions;
use crate::tree::Patch;

/// The largest accepted table of dynamic symbols or section headers, in bytes.
const TABLE_LIMIT: u64 = 64 << 20;

/// Dynamic entries other than search paths that refer to strings.
const NAMES: [(elf::DynamicTag, &str); 7] = [
    (elf::DT_NEEDED, "the name of a needed library"),
    (elf::DT_SONAME, "the library's own name"),
    (elf::DT_AUXILIARY, "the name of an auxiliary library"),
    (elf::DT_FILTER, "the name of a filtered library"),
    (elf::DT_CONFIG, "the name of a configuration file"),
    (elf::DT_AUDIT, "the name of an auditing library"),
    (elf::DT_DEPAUDIT, "the name of an auditing library"),
];

/// Returns the patches for `new` as the library search path of `file`: no patches if already set.
/// `DT_RUNPATH` and `DT_RPATH` are both set if both are present.
///
/// # Errors
/// [`ElfError::NoSearchPath`] if the file has neither, [`ElfError::DoesNotFit`] if `new` is longer
/// than the old path, [`ElfError::Shared`] if the linker stored another name in the same bytes.
pub fn rewrite_search_path(file: &Path, new: &str) -> std::result::Result<Vec<Patch>, ElfError> {
    let source = ElfBytes::open(file)?.ok_or_else(|| ElfError::NotElf(file.to_owned()))?;
    rewrite(&source, file, new)
}

/// Like [`rewrite_search_path`], for a file in memory. `file` is for errors.
pub fn rewrite_search_path_in(
    bytes: &[u8],
    file: &Path,
    new: &str,
) -> std::result::Result<Vec<Patch>, ElfError> {
    rewrite(&ElfBytes::memory(bytes), file, new)
}

fn rewrite(source: &ElfBytes<'_>, file: &Path, new: &str) -> std::result::Result<Vec<Patch>, ElfError> {
    let headers = RawHeaders::read(source)
        .map_err(|fault| fault.at(file))?
        .ok_or_else(|| ElfError::NotElf(file.to_owned()))?;
    // By offset in the string table: two entries may refer to one string.
    let mut paths = BTreeMap::new();
    for &(tag, at) in &headers.dynamic {
        if matches!(tag, elf::DT_RPATH | elf::DT_RUNPATH) {
            paths.insert(at, old_path(source, &headers, at).map_err(|fault| fault.at(file))?);
        }
    }
    if paths.is_empty() {
        return Err(ElfError::NoSearchPath(file.to_owned()));
    }
    let mut patches = Vec::new();
    let mut users = None;
    for (&at, (offset, old)) in &paths {
        if old.as_slice() == new.as_bytes() {
            continue;
        }
        if new.len() > old.len() || new.contains('\0') {
            return Err(ElfError::DoesNotFit {
                path: file.to_owned(),
                old: text(old.clone()),
                new: new.to_owned(),
            });
        }
        let inside = at..at + old.len() as u64;
        let overlaps = paths.range(at + 1..inside.end).next().map(|_| "another search path");
        let users = match &users {
            Some(users) => users,
            None => users.insert(names_in_use(source, &headers).map_err(|fault| fault.at(file))?),
        };
        let used = || users.iter().find(|(at, _)| inside.contains(at)).map(|(_, user)| *user);
        let continues = || {
            let before = at.checked_sub(1).and(offset.checked_sub(1))?;
            (source.read(before, 1, 1).ok()? != [0]).then_some("a longer string with the same end")
        };
        if let Some(user) = overlaps.or_else(used).or_else(continues) {
            return Err(ElfError::Shared { path: file.to_owned(), user });
        }
        let mut bytes = new.as_bytes().to_vec();
        bytes.resize(old.len(), 0);
        patches.push(Patch { offset: *offset, bytes });
    }
    Ok(patches)
}

/// Returns the file offset of the string, and the string.
fn old_path(source: &ElfBytes<'_>, headers: &RawHeaders, at: u64) -> Result<(u64, Vec<u8>)> {
    let (start, end) = headers.string_range(at)?;
    Ok((start, source.string(start, end, SEARCH_PATH_LIMIT)?))
}

/// Returns all used offsets of the string table, except those of search paths.
fn names_in_use(source: &ElfBytes<'_>, headers: &RawHeaders) -> Result<Vec<(u64, &'static str)>> {
    let mut users = Vec::new();
    for (tag, user) in NAMES {
        users.extend(headers.dynamic.iter().filter(|entry| entry.0 == tag).map(|entry| (entry.1, user)));
    }
    users
        .extend(versions::names(source, headers)?.into_iter().map(|at| (at, "the name of a symbol version")));
    users.extend(symbol_names(source, headers)?.into_iter().map(|at| (at, "the name of a symbol")));
    Ok(users)
}

/// Returns the offsets of the names of all dynamic symbols.
fn symbol_names(source: &ElfBytes<'_>, headers: &RawHeaders) -> Result<Vec<u64>> {
    let Some((offset, size)) = symbol_table(source, headers)? else {
        return Ok(Vec::new());
    };
    // Sym: the name is the first word in both classes.
    let step = if headers.machine.class == Class::Elf64 { 24 } else { 16 };
    let table = source.read(offset, size, TABLE_LIMIT)?;
    let name = |symbol: &[u8]| {
        let word = *symbol.first_chunk()?;
        Some(u64::from(match headers.machine.order {
            ByteOrder::Little => u32::from_le_bytes(word),
            ByteOrder::Big => u32::from_be_bytes(word),
        }))
    };
    Ok(table.chunks_exact(step).filter_map(name).collect())
}

/// Returns offset and size of the dynamic symbols. Section headers contain the size; without them
/// the size follows from the linkers' habit of placing the names right behind the symbols. Too
/// large a guess can only find a false user of the bytes, and refuse.
fn symbol_table(source: &ElfBytes<'_>, headers: &RawHeaders) -> Result<Option<(u64, u64)>> {
    let Some(address) = headers.value(elf::DT_SYMTAB) else {
        return Ok(None);
    };
    let section = match (headers.machine.class, headers.machine.order) {
        (Class::Elf32, ByteOrder::Little) => {
            symbol_section::<elf::FileHeader32<LittleEndian>>(source, LittleEndian)
        }
        (Class::Elf32, ByteOrder::Big) => symbol_section::<elf::FileHeader32<BigEndian>>(source, BigEndian),
        (Class::Elf64, ByteOrder::Little) => {
            symbol_section::<elf::FileHeader64<LittleEndian>>(source, LittleEndian)
        }
        (Class::Elf64, ByteOrder::Big) => symbol_section::<elf::FileHeader64<BigEndian>>(source, BigEndian),
    }?;
    if section.is_some() {
        return Ok(section);
    }
    let (offset, available) = headers.offset_of(address)?;
    let (strings, _) = headers.strings()?;
    match strings.checked_sub(offset) {
        Some(size) => Ok(Some((offset, size))),
        None => Ok(Some((offset, available.min(source.len().saturating_sub(offset))))),
    }
}

fn symbol_section<H: FileHeader>(source: &ElfBytes<'_>, endian: H::Endian) -> Result<Option<(u64, u64)>> {
    let bytes = source.read(0, size_of::<H>() as u64, 64)?;
    let header = H::parse(bytes.as_slice()).map_err(|_| "invalid file header")?;
    let size = size_of::<H::SectionHeader>() as u64;
    let count = u64::from(header.e_shnum(endian));
    if count == 0 || u64::from(header.e_shentsize(endian)) != size {
        return Ok(None);
    }
    let table = source.read(header.e_shoff(endian).into(), count * size, TABLE_LIMIT)?;
    let sections: &[H::SectionHeader] =
        object::pod::slice_from_all_bytes(&table).map_err(|()| "invalid section headers")?;
    let symbols = sections.iter().find(|section| section.sh_type(endian) == elf::SHT_DYNSYM);
    Ok(symbols.map(|section| (section.sh_offset(endian).into(), section.sh_size(endian).into())))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{
        Fixture, I386, NEEDED, PPC, RPATH, RUNPATH, S390X, Sections, X86_64, library,
    };
    use super::super::header::parse;
    use super::*;

    fn rewritten(fixture: &Fixture, new: &str) -> std::result::Result<Vec<u8>, ElfError> {
        let mut bytes = fixture.bytes();
        for patch in rewrite_search_path_in(&bytes, Path::new("x"), new)? {
            let start = usize::try_from(patch.offset).unwrap();
            bytes[start..start + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        Ok(bytes)
    }

    fn holds(bytes: &[u8], text: &str) -> bool {
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn a_shorter_path_replaces_every_byte_of_the_old() {
        for machine in [X86_64, I386, S390X, PPC] {
            for sections in [Sections::Kept, Sections::Stripped] {
                let fixture =
                    Fixture { machine, sections, symbols: vec!["malloc"], ..library(&["libc.so.6"]) }
                        .with(RUNPATH, "/home/builder/prefix/lib");
                let before = parse(&fixture.bytes(), Path::new("x")).unwrap().unwrap();
                let bytes = rewritten(&fixture, "$ORIGIN/../lib").unwrap();
                assert_eq!(bytes.len(), fixture.bytes().len());
                let after = parse(&bytes, Path::new("x")).unwrap().unwrap();
                assert_eq!(after.runpath, ["$ORIGIN/../lib"]);
                assert_eq!(after, super::super::Elf { runpath: after.runpath.clone(), ..before });
                assert!(!holds(&bytes, "prefix"));
            }
        }
    }

    #[test]
    fn both_search_paths_are_set_once_each() {
        let fixture = library(&[]).with(RPATH, "/one/long/path").with(RUNPATH, "/another/path");
        let elf = parse(&rewritten(&fixture, "/new").unwrap(), Path::new("x")).unwrap().unwrap();
        assert_eq!((elf.rpath, elf.runpath), (vec!["/new".to_owned()], vec!["/new".to_owned()]));
        let fixture = library(&[]).with(RPATH, "/the/same").with(RUNPATH, "/the/same");
        let patches = rewrite_search_path_in(&fixture.bytes(), Path::new("x"), "/new").unwrap();
        assert_eq!(patches.len(), 1);
    }

    #[test]
    fn the_path_it_has_needs_no_patch() {
        let bytes = library(&[]).with(RUNPATH, "/lib").bytes();
        assert_eq!(rewrite_search_path_in(&bytes, Path::new("x"), "/lib").unwrap(), []);
    }

    #[test]
    fn rejects_impossible_rewrites() {
        let fixture = library(&["libc.so.6"]);
        assert!(matches!(rewritten(&fixture, "/lib"), Err(ElfError::NoSearchPath(_))));
        let fixture = fixture.with(RUNPATH, "/lib");
        assert!(matches!(rewritten(&fixture, "/lib64"), Err(ElfError::DoesNotFit { .. })));
        assert!(matches!(rewritten(&fixture, "a\0b"), Err(ElfError::DoesNotFit { .. })));
        let text = rewrite_search_path_in(b"#!/bin/sh", Path::new("x"), "");
        assert!(matches!(text, Err(ElfError::NotElf(_))));
    }

    #[test]
    fn rejects_shared_bytes() {
        let path = "/opt/python/lib";
        let plain = || library(&[]).with(RUNPATH, path);
        for sections in [Sections::Kept, Sections::Stripped] {
            for (fixture, expected) in [
                (plain().with(NEEDED, "lib"), "the name of a needed library"),
                (plain().with(super::super::fixture::SONAME, "thon/lib"), "the library's own name"),
                (Fixture { symbols: vec!["malloc", "lib"], ..plain() }, "the name of a symbol"),
                (Fixture { versions: vec![("libc.so.6", "lib")], ..plain() }, "the name of a symbol version"),
                (Fixture { versions: vec![("lib", "V_1")], ..plain() }, "the name of a symbol version"),
                (plain().with(RPATH, "lib").with(RUNPATH, path), "another search path"),
                (
                    Fixture { strings: vec![format!("x{path}")], ..plain() },
                    "a longer string with the same end",
                ),
            ] {
                let fixture = Fixture { sections, ..fixture };
                // Dynamic entries keep their order, and search paths move to the front.
                match rewritten(&fixture, "/new") {
                    Err(ElfError::Shared { user, .. }) => assert_eq!(user, expected),
                    other => panic!("{expected}: {other:?}"),
                }
            }
        }
        let fixture = Fixture { symbols: vec!["malloc", ""], ..plain().with(NEEDED, "other") };
        assert!(rewritten(&fixture, "/new").is_ok(), "an empty name needs a NUL only");
    }
}
