//! Distributions that import `pkg_resources`, which setuptools has no more.
//!
//! gunicorn before 21 and others require setuptools of any version and import its module `pkg_resources`,
//! which ended with setuptools 82. The official images of Python have an older setuptools, which pip
//! keeps; a new environment would get the newest.

use std::path::Path;

use crate::python::environment::distribution::Distribution;
use crate::python::environment::venv::Venv;
use crate::python::requirements::marker::Environment;
use crate::python::requirements::requirement::Requirement;

/// Returns the name of a distribution of `venv` that requires setuptools and imports `pkg_resources`, if
/// the installed setuptools does not have that.
pub(super) fn importer(venv: &Venv, environment: &Environment) -> Option<String> {
    let setuptools = venv.distribution("setuptools")?;
    if setuptools.files.keys().any(|place| place.ends_with("/pkg_resources/__init__.py")) {
        return None;
    }
    let requires_setuptools = |distribution: &&Distribution| {
        let texts = distribution.metadata.requires_dist.iter();
        let mut requirements = texts.filter_map(|text| Requirement::parse_lenient(text));
        requirements.any(|one| {
            one.name == setuptools.name.as_ref()
                && one.marker.as_ref().is_none_or(|marker| marker.holds(environment, &[]))
        })
    };
    let imports_it = |distribution: &&Distribution| {
        let mut modules = distribution.files.keys().filter(|place| place.ends_with(".py"));
        modules.any(|place| imports(&venv.root.join(place)))
    };
    let found = venv.distributions.iter().filter(requires_setuptools).find(imports_it)?;
    Some(found.name.to_string())
}

fn imports(file: &Path) -> bool {
    let text = std::fs::read(file).unwrap_or_default();
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_start);
    lines.any(|line| {
        [&b"import pkg_resources"[..], b"from pkg_resources"].iter().any(|start| line.starts_with(start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::version::PythonVersion;
    use crate::python::testing::FakeVenv;

    #[test]
    fn finds_a_distribution_that_needs_an_older_setuptools() {
        let version = PythonVersion { major: 3, minor: 11, micro: None, free_threaded: false };
        let environment = Environment::new(version, "x86_64");
        let found = |requires: &str, module: &str, other: &[(&str, &str)]| {
            let mut fake = FakeVenv::new();
            fake.install("a", "1", &[requires], &[("a.py", module)]);
            fake.install("setuptools", "82", &[], &[&[("setuptools/__init__.py", "")], other].concat());
            importer(&fake.open(), &environment)
        };
        let (requires, module) = ("setuptools (>=3.0)", "import os\nimport pkg_resources\n");
        assert_eq!(found(requires, module, &[]).as_deref(), Some("a"));
        assert_eq!(found(requires, "try:\n    from pkg_resources import x\n", &[]).as_deref(), Some("a"));
        assert_eq!(found(requires, "import os\n", &[]), None);
        assert_eq!(found("setuptools; extra == 'x'", module, &[]), None);
        assert_eq!(found(requires, module, &[("pkg_resources/__init__.py", "")]), None);
    }
}
