//! Where the loaders look when a file says nothing about it.

use super::machine::{Class, Machine};

/// Whose loader starts a program; the two search differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Flavour {
    /// The GNU C library's `ld.so`.
    Glibc,
    /// musl's `ld-musl-*.so.1`.
    Musl,
}

/// The directories that glibc's loader searches last. The first two are what Debian's builds add;
/// of `lib64` and `lib` every build knows one, and the other distribution's is not there.
pub(super) fn glibc_defaults(machine: Machine) -> Vec<String> {
    let mut directories = Vec::with_capacity(6);
    if let Some(multiarch) = machine.multiarch() {
        directories.extend([format!("/lib/{multiarch}"), format!("/usr/lib/{multiarch}")]);
    }
    if machine.class == Class::Elf64 {
        directories.extend(["/lib64", "/usr/lib64"].map(str::to_owned));
    }
    directories.extend(["/lib", "/usr/lib"].map(str::to_owned));
    directories
}

/// The directories that musl's loader searches when its path file is not there.
pub(super) const MUSL_DEFAULTS: &str = "/lib:/usr/local/lib:/usr/lib";

/// Names that musl's loader takes for itself, whatever stands in a directory: the parts of the C
/// library that other systems have in files of their own (`ldso/dynlink.c`, `load_library`).
pub(super) fn is_musl_itself(name: &str) -> bool {
    let part = name.strip_prefix("lib").and_then(|rest| rest.split_once('.')).map(|(part, _)| part);
    matches!(part, Some("c" | "pthread" | "rt" | "m" | "dl" | "util" | "xnet"))
}
