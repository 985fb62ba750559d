//! What the interpreter's own file says: that it is an ELF program, for which machine, and whether
//! it needs `libpython`.
//!
//! The gABI's file header, program headers and dynamic section, by way of `object`. How libraries
//! are found is the loader's matter and not of interest here.

use std::path::Path;

use object::read::elf::FileHeader;
use object::read::{FileKind, ReadCache, ReadRef};
use object::{Endianness, elf};

use super::InterpreterError;
use crate::disk;
use crate::error::FileError;

/// The most entries of a dynamic section that are looked at. Real ones have some forty.
const DYNAMIC_LIMIT: usize = 4096;

/// The instruction set of a program, by its number in the ELF header (`e_machine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Architecture(pub u16);

impl Architecture {
    /// The name in an image's configuration (`GOARCH`), where it has one: `amd64`, `arm64`.
    pub fn oci_name(self) -> Option<&'static str> {
        Some(match elf::Machine(self.0) {
            elf::EM_X86_64 => "amd64",
            elf::EM_AARCH64 => "arm64",
            elf::EM_386 => "386",
            elf::EM_ARM => "arm",
            elf::EM_PPC64 => "ppc64le",
            elf::EM_S390 => "s390x",
            elf::EM_RISCV => "riscv64",
            elf::EM_LOONGARCH => "loong64",
            _ => return None,
        })
    }
}

/// What was read from a program.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) architecture: Architecture,
    /// File names, without directories, of the libraries it needs.
    pub(super) needed: Vec<String>,
}

/// Reads the headers of the program at `path`.
pub(super) fn read(path: &Path) -> Result<Executable, InterpreterError> {
    let mut file = disk::open(path).map_err(FileError::of("read", path))?;
    let cache = ReadCache::new(&mut file);
    let executable = match FileKind::parse(&cache) {
        Ok(FileKind::Elf64) => read_header::<elf::FileHeader64<Endianness>, _>(&cache),
        Ok(FileKind::Elf32) => read_header::<elf::FileHeader32<Endianness>, _>(&cache),
        _ => None,
    };
    executable.ok_or_else(|| {
        let script = (&cache).read_bytes_at(0, 2).is_ok_and(|start| start == b"#!");
        if script {
            InterpreterError::Script(path.to_owned())
        } else {
            InterpreterError::NotExecutable(path.to_owned())
        }
    })
}

fn read_header<'data, E, R>(data: R) -> Option<Executable>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = E::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let e_type = header.e_type(endian);
    if e_type != elf::ET_EXEC && e_type != elf::ET_DYN {
        return None;
    }
    Some(Executable {
        architecture: Architecture(header.e_machine(endian).0),
        needed: needed(header, endian, data).unwrap_or_default(),
    })
}

/// A program that is linked statically has none; neither does one whose tables make no sense.
fn needed<'data, E, R>(header: &E, endian: E::Endian, data: R) -> Option<Vec<String>>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let table = header.sections(endian, data).ok()?.dynamic_table(endian, data).ok()?;
    let needed = table.iter().take(DYNAMIC_LIMIT).filter(|entry| entry.tag == elf::DT_NEEDED);
    let names = needed.filter_map(|entry| {
        let name = std::str::from_utf8(table.string(entry).ok()?).ok()?;
        Some(name.rsplit('/').next().unwrap_or(name).to_owned())
    });
    Some(names.collect())
}
