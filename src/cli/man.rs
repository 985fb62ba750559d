//! `ipo-oci man`: man pages, for packagers.

use std::path::Path;

use clap::Command;
use ipo_oci::error::FileError;

use super::failure::Failure;
use super::help::{self, Form};

/// Writes a page for the program and for each of its commands.
pub(super) fn write(program: Command, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(FileError::of("create", folder))?;
    let program = help::complete(program, Form::Long);
    clap_mangen::generate_to(program, folder)
        .map_err(|error| FileError::new("write in", folder, error).into())
}
