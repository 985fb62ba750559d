//! Selects an interpreter for bytecode of a Python that is not on this machine: that of an image's
//! base.
//!
//! A `.pyc` is the same on every platform, and its format belongs to a minor version (CPython,
//! `Lib/importlib/_bootstrap_external.py`, `MAGIC_NUMBER`). So installed bytecode is usable, and
//! any interpreter of that minor version can compile the rest.

use std::path::PathBuf;

use super::magic::PycFormat;
use super::{BytecodeMode, Python};
use crate::progress::Warning;
use crate::python::environment::version::PythonVersion;

/// The way to obtain bytecode for an interpreter absent from this machine.
#[derive(Debug, Clone)]
pub struct CrossCompilation {
    /// The Python of the image, with the local executable that compiles for that Python.
    pub python: Python,
    /// The policy that is possible.
    pub mode: BytecodeMode,
    /// A warning about the consequences.
    pub warning: Option<Warning>,
}

/// Selects the policy for a Python of `version` if `wanted` is requested. `local` is an interpreter
/// of this machine of the same minor version, see
/// [`interpreter::find`](crate::python::interpreter::find).
///
/// Without such an interpreter, nothing is compiled and one warning is returned.
pub fn cross_compilation(
    version: PythonVersion,
    wanted: BytecodeMode,
    local: Option<PathBuf>,
) -> CrossCompilation {
    let PythonVersion { major, minor, free_threaded, .. } = version;
    let short = (u8::try_from(major).unwrap_or(0), u8::try_from(minor).unwrap_or(0));
    let threads = if free_threaded { "t" } else { "" };
    let format = PycFormat::of_version(short);
    let can_compile = local.is_some();
    let python = Python {
        // Never run if absent: the magic number is known.
        executable: local.unwrap_or_else(|| PathBuf::from(version.name())),
        version: short,
        cache_tag: format!("cpython-{major}{minor}{threads}"),
        magic: format.map(|format| format.magic),
        optimize: 0,
    };
    let warn = |message: String| Some(Warning::new("bytecode", message));
    let (mode, warning) = match (wanted, format) {
        (BytecodeMode::Strip, _) => (BytecodeMode::Strip, None),
        (_, None) => (
            BytecodeMode::Strip,
            warn(format!("cannot include bytecode of Python {major}.{minor}: not supported")),
        ),
        (BytecodeMode::Keep, Some(_)) => (BytecodeMode::Keep, None),
        (BytecodeMode::Compile, Some(_)) if can_compile => (BytecodeMode::Compile, None),
        (BytecodeMode::Compile, Some(_)) => {
            let message = format!(
                "cannot compile modules without installed bytecode: {} not found on this machine",
                version.name()
            );
            let help = format!(
                "install Python {major}.{minor} here, or let the installer compile (`uv pip install --compile-bytecode`)"
            );
            (BytecodeMode::Keep, warn(message).map(|warning| warning.with_help(help)))
        }
    };
    CrossCompilation { python, mode, warning }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str) -> PythonVersion {
        PythonVersion::from_name(name).unwrap()
    }

    #[test]
    fn a_local_interpreter_of_the_version_compiles() {
        let found = cross_compilation(
            version("python3.12"),
            BytecodeMode::Compile,
            Some("/usr/bin/python3.12".into()),
        );
        assert_eq!((found.mode, found.warning), (BytecodeMode::Compile, None));
        assert_eq!(found.python.executable, PathBuf::from("/usr/bin/python3.12"));
        assert_eq!((found.python.magic, found.python.version), (Some(3531), (3, 12)));
        assert_eq!(found.python.cache_tag, "cpython-312");
    }

    #[test]
    fn without_an_interpreter_only_installed_bytecode_is_used_with_one_warning() {
        for (wanted, mode, warns) in [
            (BytecodeMode::Compile, BytecodeMode::Keep, true),
            (BytecodeMode::Keep, BytecodeMode::Keep, false),
            (BytecodeMode::Strip, BytecodeMode::Strip, false),
        ] {
            let found = cross_compilation(version("python3.13t"), wanted, None);
            assert_eq!((found.mode, found.warning.is_some()), (mode, warns));
            assert_eq!(found.python.cache_tag, "cpython-313t");
            assert_eq!(found.python.magic, Some(3571));
        }
    }

    #[test]
    fn bytecode_of_an_unknown_version_is_excluded() {
        let found = cross_compilation(version("python3.99"), BytecodeMode::Compile, Some("/x".into()));
        assert_eq!((found.mode, found.warning.is_some()), (BytecodeMode::Strip, true));
    }
}
