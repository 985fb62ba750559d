//! Reads the interpreter's executable: its architecture and its need for `libpython`.
//!
//! Parses the gABI's file header, program headers and dynamic section with `object`. Leaves the
//! search for libraries to the loader in [`crate::elf`].

use std::path::Path;

use object::read::elf::FileHeader;
use object::read::{FileKind, ReadCache, ReadRef};
use object::{Endianness, elf};

use super::InterpreterError;
use crate::error::FileError;
use crate::traced_fs;

/// The most entries of a dynamic section that are read. Real ones have some forty.
const DYNAMIC_LIMIT: usize = 4096;

/// The instruction set of a program, as the number in the ELF header (`e_machine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Architecture(pub u16);

impl Architecture {
    /// Returns the name in an image's configuration (`GOARCH`), if there is one: `amd64`, `arm64`.
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

/// The headers of an executable.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) architecture: Architecture,
    /// The file names of the needed libraries, without directories.
    pub(super) needed: Vec<String>,
}

/// Reads the headers of the program at `path`.
pub(super) fn read(path: &Path) -> Result<Executable, InterpreterError> {
    let mut file = traced_fs::open(path).map_err(FileError::of("read", path))?;
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

/// Returns the needed libraries; none for a statically linked program or for invalid tables.
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
