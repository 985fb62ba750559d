//! The machine that an executable is for.

use std::path::Path;

use super::error::VenvError;
use crate::error::FileError;
use crate::traced_fs;

/// Returns the machine in an executable's ELF header (`e_machine`; System V ABI, "ELF Header"), or
/// an empty string if the file is not ELF.
pub(super) fn machine_of(executable: &Path) -> Result<String, VenvError> {
    use std::io::Read as _;
    let mut header = [0; 20];
    let mut file = traced_fs::open(executable).map_err(FileError::of("read", executable))?;
    let read = file.read_exact(&mut header);
    if read.as_ref().is_err_and(|error| error.kind() != std::io::ErrorKind::UnexpectedEof) {
        traced_fs::mark_unreliable();
    }
    if read.is_err() || !header.starts_with(b"\x7fELF") {
        return Ok(String::new());
    }
    let [.., low, high] = header;
    // Byte 4 is the class (2: 64 bits), byte 5 the byte order (2: big-endian).
    let machine =
        if header[5] == 2 { u16::from_be_bytes([low, high]) } else { u16::from_le_bytes([low, high]) };
    Ok(match (machine, header[4]) {
        (62, _) => "x86_64",
        (183, _) => "aarch64",
        (3, _) => "i686",
        (40, _) => "armv7l",
        (21, _) if header[5] == 1 => "ppc64le",
        (22, _) => "s390x",
        (243, 2) => "riscv64",
        (258, 2) => "loongarch64",
        _ => "",
    }
    .to_owned())
}
