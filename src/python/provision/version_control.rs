//! Versions that a build backend takes from version control.
//!
//! A copy of a project without its repository has no version, and its build fails. It is built with an
//! assumed version, by the variables of the backends and their plugins.

use std::path::Path;
use std::process::Command;

use crate::progress::Warning;

/// The assumed version.
const ASSUMED: &str = "0.0.0";

/// Variables with the version to use, of setuptools-scm (and hatch-vcs), PDM, poetry-dynamic-versioning,
/// uv-dynamic-versioning and pbr.
const VARIABLES: [&str; 5] = [
    "SETUPTOOLS_SCM_PRETEND_VERSION",
    "PDM_BUILD_SCM_VERSION",
    "POETRY_DYNAMIC_VERSIONING_BYPASS",
    "UV_DYNAMIC_VERSIONING_BYPASS",
    "PBR_VERSION",
];

/// The version of a project whose build backend asks version control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BuildVersion {
    /// The version that the backend finds.
    Found,
    /// The assumed version.
    Assumed,
}

impl BuildVersion {
    /// Sets the variables of the backends.
    pub(super) fn configure(self, command: &mut Command) {
        if self == Self::Assumed {
            command.envs(VARIABLES.map(|name| (name, ASSUMED)));
        }
    }
}

/// Returns true for the output of a backend that found no version in version control.
pub(super) fn is_output_of_version(output: &str) -> bool {
    const MARKS: [&str; 4] = [
        // setuptools-scm
        "unable to detect version for",
        // Dunamai, of the plugins of Poetry and uv
        "Unable to detect version control system",
        "Cannot find the version from SCM",
        // pbr
        "Versioning for this project requires either an sdist",
    ];
    MARKS.iter().any(|mark| output.contains(mark))
}

/// Returns the files with the version that a build of the project writes into its source, as far as they
/// are there.
pub(super) fn written_files(context: &Path, pyproject: &str) -> Vec<String> {
    let file: toml::Table = pyproject.parse().unwrap_or_default();
    let named = [
        &["setuptools_scm", "version_file"][..],
        &["setuptools_scm", "write_to"],
        &["hatch", "build", "hooks", "vcs", "version-file"],
    ];
    let value = |keys: &[&str]| {
        let found = keys.iter().try_fold(file.get("tool")?, |value, key| value.get(key));
        found?.as_str().map(str::to_owned)
    };
    let files = named.into_iter().filter_map(value);
    files.filter(|file| context.join(file).is_file()).collect()
}

/// Returns the warning about the assumed version, for a reason.
pub(super) fn warning(reason: &str) -> Warning {
    let message = format!(
        "its version is in version control, and this is no repository: {ASSUMED} is assumed ({reason})"
    );
    Warning::new("pyproject.toml", message).with_help("build in a clone with its tags")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_builds_without_a_version() {
        for (output, expected) in [
            ("LookupError: setuptools-scm was unable to detect version for /app.", true),
            ("RuntimeError: Unable to detect version control system.", true),
            ("ConfigError: Cannot find the version from SCM or SCM isn't detected.", true),
            ("Exception: Versioning for this project requires either an sdist tarball, or", true),
            ("error: no such option: --version", false),
        ] {
            assert_eq!(is_output_of_version(output), expected, "{output}");
        }
    }

    #[test]
    fn finds_the_files_with_the_version() {
        let context = tempfile::tempdir().unwrap();
        fs_err::write(context.path().join("a.py"), "").unwrap();
        for (text, files) in [
            ("[tool.setuptools_scm]\nversion_file = 'a.py'", &["a.py"][..]),
            ("[tool.setuptools_scm]\nwrite_to = 'b.py'", &[]),
            ("[tool.hatch.build.hooks.vcs]\nversion-file = 'a.py'", &["a.py"]),
            ("[project]", &[]),
        ] {
            assert_eq!(written_files(context.path(), text), files, "{text}");
        }
    }
}
