//! IPO405: the modules that the `RECORD` of a distribution lists are in the image.
//!
//! PyPA specification "Recording installed projects". A distribution is installed for pip and `importlib.metadata` as soon
//! as its `.dist-info` exists, even if its package was deleted or was never copied.

use std::collections::BTreeMap;

use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::distributions::CheckedDistribution;
use crate::check::image::CheckedImage;
use crate::check::node::CheckedNode;
use crate::python::provision::INSTALLERS;
use crate::tree::ImagePath;

/// Top-level names that wheels contain by mistake or for development, and that images are freed of.
const DEVELOPMENT: [&str; 9] =
    ["benchmark", "benchmarks", "doc", "docs", "example", "examples", "test", "testing", "tests"];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if !reporter.wants(&["IPO405"]) {
        return;
    }
    for distribution in &image.distributions {
        if !image.lookup(&distribution.info).is_some_and(CheckedNode::is_own) {
            continue;
        }
        let missing = missing_modules(image, distribution);
        let [first, ..] = &missing[..] else { continue };
        let names: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
        let mut found = Diagnostic::new(
            "IPO405",
            format!("records {}, and the image has no module of that name", names.join(", ")),
        )
        .at_all(distribution.site.join(first).ok())
        .of(Some(&distribution.owner()))
        .with_help("install the distribution again, or remove it with `pip uninstall`, which removes its metadata too");
        // Images are freed of tools for installation in this way, and start without them.
        if INSTALLERS.contains(&&*distribution.name) {
            found = found.with_severity(Severity::Warning);
        }
        reporter.report(found);
    }
}

/// Returns the top-level modules and packages of which no recorded file is in the image.
fn missing_modules<'a>(image: &CheckedImage, distribution: &'a CheckedDistribution) -> Vec<&'a str> {
    let mut found: BTreeMap<&str, bool> = BTreeMap::new();
    for path in &distribution.files {
        let Some(relative) = path.strip_prefix(&distribution.site) else { continue };
        let Some(name) = module_name(relative) else { continue };
        let is_found = found.entry(name).or_default();
        *is_found = *is_found || has_module(image, path);
    }
    let missing = found.into_iter().filter(|(name, is_found)| !is_found && !DEVELOPMENT.contains(name));
    missing.map(|(name, _)| name).collect()
}

/// Returns the top-level name of a file with code below `site-packages`.
fn module_name(relative: &str) -> Option<&str> {
    let (first, is_package) = match relative.split_once('/') {
        Some((first, _)) => (first, true),
        None => (relative, false),
    };
    if !relative.ends_with(".py") && !relative.ends_with(".so") {
        return None;
    }
    let name = if is_package { first } else { first.split('.').next()? };
    // `numpy.libs` and `__pycache__` are no packages.
    let is_name = name.chars().all(|letter| letter == '_' || letter.is_alphanumeric());
    (is_name && name != "__pycache__").then_some(name)
}

/// Returns true if the file, or bytecode in its place, is in the image.
fn has_module(image: &CheckedImage, path: &ImagePath) -> bool {
    let has = |path: &ImagePath| image.has(path) || image.find(path).is_some();
    has(path) || ImagePath::new(&format!("{path}c")).is_ok_and(|bytecode| has(&bytecode))
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{SITE, TestImage};

    fn with(name: &str, record: &str) -> TestImage {
        TestImage::environment()
            .distribution(name, "1", "")
            .file(&format!("{SITE}/{name}-1.dist-info/RECORD"), record)
    }

    #[test]
    fn a_distribution_without_its_package_is_reported() {
        let image = with("a", "a/__init__.py,,\na/b.py,,\na-1.dist-info/RECORD,,\nc.py,,\n")
            .file(&format!("{SITE}/a/py.typed"), "")
            .file(&format!("{SITE}/c.py"), "");
        let path = format!("{SITE}/a");
        assert_eq!(
            image.found("IPO405"),
            [format!("IPO405 /{path}: records `a`, and the image has no module of that name")]
        );
    }

    #[test]
    fn each_missing_package_of_a_namespace_is_one_of_its_distribution() {
        let image = with("a", "space/a/__init__.py,,\n").file(&format!("{SITE}/space/b/__init__.py"), "");
        assert_eq!(image.found("IPO405").len(), 1);
    }

    #[test]
    fn a_distribution_without_a_part_of_its_files_is_accepted() {
        let record = "a/__init__.py,,\na/tests/test_a.py,,\ntests/__init__.py,,\nb.py,,\n_c.abi3.so,,\n\
                      a.libs/libx.so,,\n../../../bin/a,,\n__pycache__/b.cpython-311.pyc,,\n";
        let image = with("a", record)
            .file(&format!("{SITE}/a/__init__.py"), "")
            .file(&format!("{SITE}/b.pyc"), "")
            .file(&format!("{SITE}/_c.abi3.so"), "");
        assert_eq!(image.found("IPO405"), Vec::<String>::new());
        assert_eq!(with("stubs", "stubs-1.dist-info/METADATA,,\n").found("IPO405"), Vec::<String>::new());
    }

    #[test]
    fn a_tool_for_installation_without_its_package_is_a_warning() {
        let severities = |name: &str| {
            let found = with(name, "a/__init__.py,,\n").diagnostics("IPO405");
            found.iter().map(|found| format!("{:?}", found.severity)).collect::<Vec<_>>()
        };
        assert_eq!(
            (severities("pip"), severities("a")),
            (vec!["Warning".to_owned()], vec!["Error".to_owned()])
        );
    }
}
