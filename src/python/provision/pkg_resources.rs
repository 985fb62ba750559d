//! Distributions that import `pkg_resources`, which setuptools has no more.
//!
//! gunicorn before 21 and others require setuptools of any version and import its module `pkg_resources`,
//! which ended with setuptools 82. The official images of Python have an older setuptools, which pip
//! keeps; a new environment would get the newest.

use std::path::Path;

use super::left_out::metadata_files;
use crate::python::metadata::core_metadata::Metadata;
use crate::python::requirements::marker::Environment;
use crate::python::requirements::requirement::Requirement;

/// Returns the name of a distribution in the environment `root` that requires setuptools and imports
/// `pkg_resources`, if the installed setuptools does not have that.
pub(super) fn importer(root: &Path, environment: &Environment) -> Option<String> {
    metadata_files(root).into_iter().find_map(|file| {
        let info = file.parent()?;
        let site = info.parent()?;
        if !site.join("setuptools").is_dir() || site.join("pkg_resources").exists() {
            return None;
        }
        let metadata = Metadata::parse(&std::fs::read(&file).ok()?).ok()?;
        let requirements = metadata.requires_dist.iter().filter_map(|text| Requirement::parse_lenient(text));
        let mut applicable = requirements
            .filter(|one| one.marker.as_ref().is_none_or(|marker| marker.holds(environment, &[])));
        applicable.any(|one| one.name == "setuptools").then_some(())?;
        let record = std::fs::read_to_string(info.join("RECORD")).ok()?;
        let mut modules =
            record.lines().filter_map(|line| line.split(',').next().filter(|path| path.ends_with(".py")));
        modules.any(|path| imports(&site.join(path))).then_some(metadata.name)
    })
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

    #[test]
    fn finds_a_distribution_that_needs_an_older_setuptools() {
        let version = PythonVersion { major: 3, minor: 11, micro: None, free_threaded: false };
        let environment = Environment::new(version, "x86_64");
        let found = |requires: &str, module: &str, other: Option<&str>| {
            let root = tempfile::tempdir().unwrap();
            let site = root.path().join("lib/python3.11/site-packages");
            for (path, text) in [
                ("a-1.dist-info/METADATA", format!("Name: a\nVersion: 1\n{requires}\n").as_str()),
                ("a-1.dist-info/RECORD", "a.py,,\n"),
                ("a.py", module),
                ("setuptools/__init__.py", ""),
            ]
            .into_iter()
            .chain(other.map(|path| (path, "")))
            {
                fs_err::create_dir_all(site.join(path).parent().unwrap()).unwrap();
                fs_err::write(site.join(path), text).unwrap();
            }
            importer(root.path(), &environment)
        };
        let (requires, module) = ("Requires-Dist: setuptools (>=3.0)", "import os\nimport pkg_resources\n");
        assert_eq!(found(requires, module, None).as_deref(), Some("a"));
        assert_eq!(found(requires, "try:\n    from pkg_resources import x\n", None).as_deref(), Some("a"));
        assert_eq!(found(requires, "import os\n", None), None);
        assert_eq!(found("Requires-Dist: setuptools; extra == 'x'", module, None), None);
        assert_eq!(found(requires, module, Some("pkg_resources/__init__.py")), None);
    }
}
