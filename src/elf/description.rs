//! [`Description`]: all that is known of an ELF file, taken once and kept.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ElfError;
use super::header::{self, Elf};
use super::source::Source;
use super::versions::Versions;
use crate::error::FileError;

/// The headers of an ELF file with its symbol versions: what stands for a file that lies in a layer, so that the loader
/// can be asked without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its headers.
    pub elf: Elf,
    /// Its symbol versions.
    pub versions: Versions,
}

impl Description {
    /// Of a file in memory; nothing where it is not ELF. `path` is for errors.
    pub fn of_bytes(bytes: &[u8], path: &Path) -> Result<Option<Self>, ElfError> {
        Self::read(&Source::memory(bytes), path)
    }

    /// Of a file that is open; nothing where it is not ELF. `path` is for errors.
    pub fn of_file(file: File, path: &Path) -> Result<Option<Self>, ElfError> {
        let source = Source::of_file(file).map_err(FileError::of("read", path))?;
        source.map_or(Ok(None), |source| Self::read(&source, path))
    }

    fn read(source: &Source<'_>, path: &Path) -> Result<Option<Self>, ElfError> {
        let Some(elf) = header::describe(source).map_err(|fault| fault.at(path))? else {
            return Ok(None);
        };
        let versions = Versions::read(source).map_err(|fault| fault.at(path))?;
        Ok(Some(Self { elf, versions }))
    }
}
