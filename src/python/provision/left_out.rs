//! Distributions that a lock leaves out although others require them.
//!
//! Poetry before 1.4 and Pipenv take pip, setuptools and wheel for parts of each environment, and do not
//! lock them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::lock::{LockKind, Locked};
use crate::python::metadata::core_metadata::Metadata;
use crate::python::requirements::marker::Environment;
use crate::python::requirements::requirement::Requirement;

/// The distributions that these locks leave out.
const LEFT_OUT: [&str; 3] = ["pip", "setuptools", "wheel"];

/// The version of setuptools that is the first without `pkg_resources`, which distributions of the time
/// of such locks import.
pub(super) const WITHOUT_PKG_RESOURCES: &str = "82";

/// Returns the requirements of the distributions in the environment `root` that the lock leaves out, as
/// lines of a requirements file.
pub(super) fn requirements(
    kind: LockKind,
    locked: &Locked,
    root: &Path,
    environment: &Environment,
) -> String {
    if !matches!(kind, LockKind::Poetry | LockKind::Pipenv) {
        return String::new();
    }
    let mut lines = BTreeSet::new();
    for file in metadata_files(root) {
        let metadata = std::fs::read(file).ok().and_then(|bytes| Metadata::parse(&bytes).ok());
        for text in metadata.iter().flat_map(|metadata| &metadata.requires_dist) {
            let Some(requirement) = Requirement::parse_lenient(text) else { continue };
            let Requirement { name, specifiers, marker, .. } = requirement;
            let applies = marker.is_none_or(|marker| marker.holds(environment, &[]));
            if applies && LEFT_OUT.contains(&name.as_str()) && !locked.distributions.contains_key(&name) {
                let specifiers = specifiers.map(|specifiers| specifiers.to_string()).unwrap_or_default();
                lines.insert(format!("{name}{specifiers}"));
            }
        }
    }
    if lines.iter().any(|line| line.starts_with("setuptools")) {
        lines.insert(format!("setuptools<{WITHOUT_PKG_RESOURCES}"));
    }
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

/// Lists the metadata files of the distributions in an environment.
pub(super) fn metadata_files(root: &Path) -> Vec<PathBuf> {
    let children = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let sites = children(root.join("lib")).into_iter().map(|python| python.join("site-packages"));
    let infos = sites.flat_map(children).filter(|path| path.extension().is_some_and(|it| it == "dist-info"));
    infos.map(|info| info.join("METADATA")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::version::PythonVersion;

    #[test]
    fn lists_the_required_tools_that_the_lock_lacks() {
        let root = tempfile::tempdir().unwrap();
        let info = root.path().join("lib/python3.13/site-packages/a-1.dist-info");
        fs_err::create_dir_all(&info).unwrap();
        let requires = ["setuptools (>=21)", "click", "wheel; extra == 'dev'", "pip; python_version < '3'"];
        let lines: String = requires.map(|text| format!("Requires-Dist: {text}\n")).concat();
        fs_err::write(info.join("METADATA"), format!("Name: a\nVersion: 1\n{lines}")).unwrap();
        let version = PythonVersion { major: 3, minor: 13, micro: None, free_threaded: false };
        let environment = Environment::new(version, "x86_64");
        let lines = |kind| requirements(kind, &Locked::default(), root.path(), &environment);
        assert_eq!(lines(LockKind::Poetry), "setuptools<82\nsetuptools>=21\n");
        assert_eq!(lines(LockKind::Pipenv), lines(LockKind::Poetry));
        assert_eq!(lines(LockKind::Pdm), "");
    }
}
