//! Determines an installation's Python version from its files, or else by running the interpreter.

use std::path::Path;
use std::process::{Command, Stdio};

use super::RunError;
use crate::python::environment::version::PythonVersion;
use crate::traced_fs;

/// The output of [`VERSION_SCRIPT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VersionOutput {
    /// `sys.implementation.name`.
    pub(super) implementation: String,
    /// `platform.python_version()`.
    pub(super) full_version: String,
    /// `sys.implementation.cache_tag`.
    pub(super) cache_tag: String,
    /// `sys.abiflags`; contains `t` for a free-threaded build.
    pub(super) abi_flags: String,
}

impl VersionOutput {
    /// Returns the version as numbers.
    pub(super) fn version(&self) -> Option<PythonVersion> {
        let free_threaded = self.abi_flags.contains('t');
        split(&self.full_version).map(|version| PythonVersion { free_threaded, ..version })
    }
}

/// Uses `sys.version_info` alone, without an import from the standard library.
const VERSION_SCRIPT: &str = "import sys
v = sys.version_info
mark = {'alpha': 'a', 'beta': 'b', 'candidate': 'rc'}.get(v[3], '')
print(sys.implementation.name)
print('%d.%d.%d%s' % (v[0], v[1], v[2], mark and mark + str(v[4])))
print(sys.implementation.cache_tag)
print(getattr(sys, 'abiflags', ''))";

/// Runs [`VERSION_SCRIPT`], isolated from the user's settings (`-I -S`, no environment).
///
/// The output depends on the executable alone, which is traced earlier. Success depends on more: a
/// library, or the system's limits.
pub(super) fn query(executable: &Path) -> Result<VersionOutput, RunError> {
    run(executable).inspect_err(|_| traced_fs::mark_unreliable())
}

#[allow(clippy::disallowed_methods)] // See above.
fn run(executable: &Path) -> Result<VersionOutput, RunError> {
    let process = Command::new(executable)
        .args(["-I", "-S", "-B", "-c", VERSION_SCRIPT])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .output()?;
    if !process.status.success() {
        let message = String::from_utf8_lossy(&process.stderr);
        let printed = message.trim().lines().next_back().unwrap_or_default().to_owned();
        return Err(RunError::Ended { status: process.status, printed });
    }
    parse_output(&String::from_utf8_lossy(&process.stdout)).ok_or(RunError::Output)
}

fn parse_output(text: &str) -> Option<VersionOutput> {
    let mut lines = text.lines().map(|line| line.trim_end().to_owned());
    let mut next = || lines.next();
    let output = VersionOutput {
        implementation: next()?,
        full_version: next()?,
        cache_tag: next()?,
        abi_flags: next().unwrap_or_default(),
    };
    split(&output.full_version).map(|_| output)
}

/// Returns `PY_VERSION` of a `patchlevel.h`, without the `+` of a build from a working tree.
pub(crate) fn from_patchlevel(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("#define PY_VERSION"))?;
    let version = line.strip_prefix([' ', '\t'])?.trim().trim_matches('"').trim_end_matches('+');
    split(version).map(|_| version.to_owned())
}

/// Returns the version in a `pyvenv.cfg`: `version` of venv and virtualenv, `version_info` of uv.
pub(super) fn from_pyvenv(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let known = matches!(key.trim().to_ascii_lowercase().as_str(), "version" | "version_info");
        // virtualenv writes `3.11.7.final.0`.
        let value = value.trim().split(".final").next().unwrap_or_default();
        (known && split(value).is_some()).then(|| value.to_owned())
    })
}

/// Parses a version such as `3.11.7` or `3.15.0a2`.
pub(crate) fn split(version: &str) -> Option<PythonVersion> {
    let mut parts = version.splitn(3, '.');
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let micro =
        parts.next().map(|micro| micro.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    Some(PythonVersion {
        major,
        minor,
        micro: micro.and_then(|micro| micro.parse().ok()),
        free_threaded: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_patchlevel_headers() {
        let header = "/* */\n#define PY_MICRO_VERSION\t7\n#define PY_VERSION      \t\"3.11.7\"\n";
        assert_eq!(from_patchlevel(header).as_deref(), Some("3.11.7"));
        assert_eq!(from_patchlevel("#define PY_VERSION \"3.15.0a2+\"").as_deref(), Some("3.15.0a2"));
        assert_eq!(from_patchlevel("#define PY_VERSION_HEX 1"), None);
        assert_eq!(from_patchlevel("#define PY_VERSION \"later\""), None);
    }

    #[test]
    fn reads_pyvenv_of_every_tool() {
        let cases = [
            ("home = /usr/bin\nversion = 3.11.2\n", Some("3.11.2")),
            ("version_info = 3.12.1", Some("3.12.1")),
            ("version_info = 3.11.7.final.0", Some("3.11.7")),
            ("uv = 0.9.1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(from_pyvenv(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_output_without_a_version_is_none() {
        assert!(parse_output("cpython\n3.11.7\ncpython-311\n\n").is_some());
        assert!(parse_output("cpython\nthree\ncpython-311\n").is_none());
        assert!(parse_output("").is_none());
    }
}
