//! [`Description`]: headers and symbol versions of an ELF file, for the library index of a layer.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ElfError;
use super::header::{self, Elf};
use super::source::ElfBytes;
use super::versions::Versions;
use crate::error::FileError;

/// The headers of an ELF file with its symbol versions. Replaces the file's bytes in library
/// searches, so that files inside a layer can be resolved without extraction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The headers.
    pub elf: Elf,
    /// The symbol versions.
    pub versions: Versions,
}

impl Description {
    /// Describes a file in memory; `None` if the bytes are not ELF. `path` is for errors.
    pub fn of_bytes(bytes: &[u8], path: &Path) -> Result<Option<Self>, ElfError> {
        Self::read(&ElfBytes::memory(bytes), path)
    }

    /// Describes an open file; `None` if the file is not ELF. `path` is for errors.
    pub fn of_file(file: File, path: &Path) -> Result<Option<Self>, ElfError> {
        let source = ElfBytes::of_file(file).map_err(FileError::of("read", path))?;
        source.map_or(Ok(None), |source| Self::read(&source, path))
    }

    fn read(source: &ElfBytes<'_>, path: &Path) -> Result<Option<Self>, ElfError> {
        let Some(elf) = header::describe(source).map_err(|fault| fault.at(path))? else {
            return Ok(None);
        };
        let versions = Versions::read(source).map_err(|fault| fault.at(path))?;
        Ok(Some(Self { elf, versions }))
    }
}
