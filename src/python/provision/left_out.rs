//! Distributions that a lock leaves out although others require them.
//!
//! Poetry before 1.4 and Pipenv take pip, setuptools and wheel for parts of each environment, and do not
//! lock them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::lock::{LockKind, Locked};
use crate::python::environment::venv::Venv;
use crate::python::requirements::marker::Environment;
use crate::python::requirements::requirement::Requirement;

/// Tools for installation, which these locks leave out.
pub(crate) const INSTALLERS: [&str; 3] = ["pip", "setuptools", "wheel"];

/// The version of setuptools that is the first without `pkg_resources`, which distributions of the time
/// of such locks import.
pub(super) const WITHOUT_PKG_RESOURCES: &str = "82";

/// Returns the requirements of the distributions of `venv` that the lock leaves out, as lines of a
/// requirements file.
pub(super) fn requirements(
    kind: LockKind,
    locked: &Locked,
    venv: &Venv,
    environment: &Environment,
) -> String {
    if !matches!(kind, LockKind::Poetry | LockKind::Pipenv) {
        return String::new();
    }
    let mut lines = BTreeSet::new();
    for text in venv.distributions.iter().flat_map(|distribution| &distribution.metadata.requires_dist) {
        let Some(requirement) = Requirement::parse_lenient(text) else { continue };
        let Requirement { name, specifiers, marker, .. } = requirement;
        let applies = marker.is_none_or(|marker| marker.holds(environment, &[]));
        if applies && INSTALLERS.contains(&name.as_str()) && !locked.distributions.contains_key(&name) {
            let specifiers = specifiers.map(|specifiers| specifiers.to_string()).unwrap_or_default();
            lines.insert(format!("{name}{specifiers}"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::version::PythonVersion;
    use crate::python::testing::FakeVenv;

    #[test]
    fn lists_the_required_tools_that_the_lock_lacks() {
        let mut fake = FakeVenv::new();
        let requires = ["setuptools (>=21)", "click", "wheel; extra == 'dev'", "pip; python_version < '3'"];
        fake.install("a", "1", &requires, &[]);
        let venv = fake.open();
        let version = PythonVersion { major: 3, minor: 11, micro: None, free_threaded: false };
        let environment = Environment::new(version, "x86_64");
        let lines = |kind| requirements(kind, &Locked::default(), &venv, &environment);
        assert_eq!(lines(LockKind::Poetry), "setuptools<82\nsetuptools>=21\n");
        assert_eq!(lines(LockKind::Pipenv), lines(LockKind::Poetry));
        assert_eq!(lines(LockKind::Pdm), "");
    }
}
