//! [`LoaderDefaults`]: a loader's built-in defaults, which hold before any file is read.

use std::path::{Path, PathBuf};

use super::ElfError;
use super::dst::{DstValues, expand};
use super::files::ElfFiles;
use super::header::Elf;
use super::machine::{Class, Machine};

/// The built-in defaults of a process's loader.
#[derive(Debug)]
pub(super) struct LoaderDefaults {
    pub(super) machine: Machine,
    pub(super) loader: LoaderKind,
    /// The directories searched last.
    pub(super) directories: Vec<PathBuf>,
    /// The value of `$LIB`.
    lib: String,
}

/// The C library of the loader, which decides the search order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LoaderKind {
    /// The GNU C library's `ld.so`.
    Glibc,
    /// musl's `ld-musl-*.so.1`.
    Musl,
}

impl LoaderDefaults {
    /// Returns the defaults of `elf`'s loader; for a library, of the loader implied by its
    /// dependencies.
    pub(super) fn of(elf: &Elf, files: &mut ElfFiles) -> Result<Self, ElfError> {
        let (machine, interpreter) = (elf.machine, elf.interpreter.as_deref());
        let architecture = match interpreter {
            Some(interpreter) => musl_architecture(interpreter),
            None => elf.needed.iter().find_map(|name| name.strip_prefix("libc.musl-")?.split('.').next()),
        };
        let lib = lib_token(files, machine)?;
        Ok(match architecture {
            None => Self { machine, loader: LoaderKind::Glibc, directories: glibc_directories(machine), lib },
            Some(architecture) => {
                let directories = musl_directories(files, interpreter, architecture);
                Self { machine, loader: LoaderKind::Musl, directories, lib }
            }
        })
    }

    /// Expands `text` for an object in the directory `origin`. Relative paths give `None`: they
    /// depend on the working directory of the process, which is unknown here.
    pub(super) fn path_of(
        &self,
        files: &mut ElfFiles,
        origin: &Path,
        text: &str,
    ) -> Result<Option<PathBuf>, ElfError> {
        let Some(origin) = origin.to_str() else {
            return Ok(None);
        };
        let tokens = DstValues { origin, lib: &self.lib, platform: self.machine.platform_token() };
        match expand(text, tokens).map(PathBuf::from) {
            Some(path) if path.is_absolute() => files.shorten(&path).map(Some),
            _ => Ok(None),
        }
    }
}

/// Returns glibc's default directories. The first two are added by Debian's builds; every build has
/// either `lib64` or `lib`, and the other one does not exist.
fn glibc_directories(machine: Machine) -> Vec<PathBuf> {
    let mut directories = Vec::with_capacity(6);
    if let Some(multiarch) = machine.multiarch() {
        directories.extend(["/lib", "/usr/lib"].map(|lib| Path::new(lib).join(multiarch)));
    }
    if machine.class == Class::Elf64 {
        directories.extend(["/lib64", "/usr/lib64"].map(PathBuf::from));
    }
    directories.extend(["/lib", "/usr/lib"].map(PathBuf::from));
    directories
}

/// The directories searched by musl's loader in the absence of its path file.
const MUSL_DIRECTORIES: &str = "/lib:/usr/local/lib:/usr/lib";

/// Returns whether musl's loader resolves `name` to itself, regardless of files in any directory.
/// These are the parts of the C library that other systems have in separate files
/// (`ldso/dynlink.c`, `load_library`).
pub(super) fn is_musl_itself(name: &str) -> bool {
    let part = name.strip_prefix("lib").and_then(|rest| rest.split_once('.')).map(|(part, _)| part);
    matches!(part, Some("c" | "pthread" | "rt" | "m" | "dl" | "util" | "xnet"))
}

/// Returns musl's default directories. The path file is found relative to the loader:
/// `/lib/ld-musl-x86_64.so.1` reads `/etc/ld-musl-x86_64.path`.
fn musl_directories(files: &ElfFiles, interpreter: Option<&str>, architecture: &str) -> Vec<PathBuf> {
    let prefix = interpreter.and_then(|path| Path::new(path).parent()?.parent());
    let name = format!("etc/ld-musl-{architecture}.path");
    let listed = files.text(&prefix.unwrap_or(Path::new("/")).join(name));
    let listed = listed.as_deref().unwrap_or(MUSL_DIRECTORIES);
    listed.split([':', '\n']).filter(|path| path.starts_with('/')).map(PathBuf::from).collect()
}

/// Returns the architecture in the name of musl's loader.
fn musl_architecture(interpreter: &str) -> Option<&str> {
    interpreter.rsplit('/').next()?.strip_prefix("ld-musl-")?.split('.').next()
}

/// Returns the value of `$LIB` in this root, a choice made when the root's loader was built.
fn lib_token(files: &mut ElfFiles, machine: Machine) -> Result<String, ElfError> {
    if let Some(multiarch) = machine.multiarch() {
        let lib = format!("lib/{multiarch}");
        if files.directory(&Path::new("/").join(&lib))?.is_some() {
            return Ok(lib);
        }
    }
    let has_lib64 = machine.class == Class::Elf64 && files.directory(Path::new("/lib64"))?.is_some();
    Ok(if has_lib64 { "lib64" } else { "lib" }.to_owned())
}
