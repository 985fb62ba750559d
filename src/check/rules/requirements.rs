//! IPO401 to IPO403: the requirements of installed distributions are met inside the image, as
//! `pip check` and the extras of requirements demand.
//!
//! Follows the PyPA specifications "Dependency specifiers" (PEP 508) and "Core metadata"
//! (`Requires-Dist`, `Requires-Python`).

use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::{Operator, Version, VersionSpecifiers};

use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::distributions::CheckedDistribution;
use crate::check::image::CheckedImage;
use crate::check::node::CheckedNode;
use crate::check::pythons::CheckedPython;
use crate::python::requirements::marker::Environment;
use crate::python::requirements::requirement::Requirement;
use crate::python::{PythonVersion, normalize};
use crate::tree::ImagePath;

const CODES: [&str; 3] = ["IPO401", "IPO402", "IPO403"];
/// More than the third number of any release of Python.
const NEWEST_MICRO: u32 = 99;

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if !reporter.wants(&CODES) {
        return;
    }
    for (index, python) in image.pythons.iter().enumerate() {
        let installed = InstalledVersions::of(image, index, python);
        installed.check_requirements(reporter);
        installed.check_python(python.version, reporter);
    }
}

/// The distributions of one Python.
struct InstalledVersions<'a> {
    image: &'a CheckedImage,
    distributions: BTreeMap<&'a str, &'a CheckedDistribution>,
    /// Names of distributions whose metadata cannot be read.
    unreadable: BTreeSet<String>,
    requirements: Vec<(&'a CheckedDistribution, Vec<Requirement>)>,
    /// The oldest and the newest interpreter that the image may have.
    environments: [Environment; 2],
}

/// A requirement that applies, and the distribution with it.
struct AppliedRequirement<'a> {
    by: &'a CheckedDistribution,
    requirement: &'a Requirement,
    /// The requirement applies only to an extra.
    is_extra: bool,
}

impl<'a> InstalledVersions<'a> {
    fn of(image: &'a CheckedImage, index: usize, python: &CheckedPython) -> Self {
        let all: Vec<&CheckedDistribution> =
            image.distributions.iter().filter(|distribution| distribution.python == index).collect();
        let requirements = all
            .iter()
            .map(|distribution| {
                let texts = distribution.metadata.requires_dist.iter();
                (*distribution, texts.filter_map(|text| Requirement::parse_lenient(text)).collect())
            })
            .collect();
        let machine = image.platform.machine();
        let environment =
            |micro| Environment::new(PythonVersion { micro: Some(micro), ..python.version }, &machine);
        Self {
            image,
            distributions: all.iter().map(|distribution| (&*distribution.name, *distribution)).collect(),
            unreadable: unreadable(image, python),
            requirements,
            environments: match micro_of(image, python) {
                Some(micro) => [environment(micro), environment(micro)],
                None => [environment(0), environment(NEWEST_MICRO)],
            },
        }
    }

    fn check_requirements(&self, reporter: &mut Reporter<'_>) {
        let mut missing: BTreeMap<&str, Vec<AppliedRequirement<'_>>> = BTreeMap::new();
        let mut excluded: BTreeMap<&str, Vec<AppliedRequirement<'_>>> = BTreeMap::new();
        for applied in self.applied() {
            let name = applied.requirement.name.as_str();
            match self.distributions.get(name) {
                Some(found) if applied.requirement.allows(&found.version) => {}
                Some(_) => excluded.entry(name).or_default().push(applied),
                None if self.unreadable.contains(name) || self.image.allowed_missing.contains(name) => {}
                None => missing.entry(name).or_default().push(applied),
            }
        }
        for applied in missing.into_values() {
            self.report("IPO401", &applied, "which is not installed", reporter);
        }
        for (name, applied) in excluded {
            let version = self.distributions.get(name).map(|found| &*found.version).unwrap_or_default();
            self.report("IPO402", &applied, &format!("and {name} {version} is installed"), reporter);
        }
    }

    /// Reports requirements of one name once, with those that apply without an extra first.
    fn report(
        &self,
        code: &'static str,
        applied: &[AppliedRequirement<'_>],
        fault: &str,
        reporter: &mut Reporter<'_>,
    ) {
        let is_own = |applied: &&AppliedRequirement<'_>| {
            self.image.lookup(&applied.by.info).is_some_and(CheckedNode::is_own)
        };
        let mut own: Vec<&AppliedRequirement<'_>> = applied.iter().filter(is_own).collect();
        own.sort_by_key(|applied| applied.is_extra || is_of_system(applied.by));
        let Some(first) = own.first() else { return };
        let mut paths: Vec<ImagePath> = Vec::new();
        for applied in &own {
            if !paths.contains(&applied.by.info) {
                paths.push(applied.by.info.clone());
            }
        }
        let mut found = Diagnostic::new(code, format!("requires `{}`, {fault}", first.requirement))
            .of(Some(&first.by.owner()))
            .at_all(paths)
            .with_help("install the environment from its lock or requirements: `uv sync`, `pip install`");
        if first.is_extra || is_of_system(first.by) {
            found = found.with_severity(Severity::Warning);
        }
        reporter.report(found);
    }

    /// Returns the requirements that apply. Extras of one may make others apply.
    fn applied(&self) -> Vec<AppliedRequirement<'_>> {
        let mut extras: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        loop {
            let (mut applied, mut is_changed) = (Vec::new(), false);
            for (by, requirements) in &self.requirements {
                let own = extras.get(&*by.name).cloned().unwrap_or_default();
                for requirement in requirements.iter().filter(|requirement| self.applies(requirement, &own)) {
                    let is_extra = !own.is_empty() && !self.applies(requirement, &[]);
                    applied.push(AppliedRequirement { by, requirement, is_extra });
                    let known = extras.entry(requirement.name.as_str()).or_default();
                    let new = requirement.extras.iter().filter(|extra| !known.contains(extra));
                    let new: Vec<String> = new.cloned().collect();
                    is_changed |= !new.is_empty();
                    known.extend(new);
                }
            }
            if !is_changed {
                return applied;
            }
        }
    }

    fn applies(&self, requirement: &Requirement, extras: &[String]) -> bool {
        let marker = requirement.marker.as_ref();
        marker.is_none_or(|marker| {
            self.environments.iter().all(|environment| marker.holds(environment, extras))
        })
    }

    fn check_python(&self, version: PythonVersion, reporter: &mut Reporter<'_>) {
        for distribution in self.distributions.values() {
            let is_own = self.image.lookup(&distribution.info).is_some_and(CheckedNode::is_own);
            let text = distribution.metadata.requires_python.as_deref().filter(|_| is_own);
            let Some(specifiers) = text.and_then(|text| text.parse::<VersionSpecifiers>().ok()) else {
                continue;
            };
            let Some(severity) = python_fault(&specifiers, version) else { continue };
            let severity = if is_of_system(distribution) { Severity::Warning } else { severity };
            reporter.report(
                Diagnostic::new(
                    "IPO403",
                    format!("requires Python `{specifiers}`, and the interpreter is Python {version}"),
                )
                .at(&distribution.info)
                .of(Some(&distribution.owner()))
                .with_severity(severity)
                .with_help("use a base with that Python, or another version of the distribution"),
            );
        }
    }
}

/// Returns the severity of `Requires-Python` that excludes every release of `version`: a Python that
/// is too new often works.
fn python_fault(specifiers: &VersionSpecifiers, version: PythonVersion) -> Option<Severity> {
    let release = |micro| Version::new([u64::from(version.major), u64::from(version.minor), micro]);
    let micros = match version.micro {
        Some(micro) => vec![u64::from(micro)],
        None => vec![0, u64::from(NEWEST_MICRO)],
    };
    let excluded = |micro: &u64| specifiers.iter().find(|specifier| !specifier.contains(&release(*micro)));
    let faults: Option<Vec<_>> = micros.iter().map(excluded).collect();
    let is_upper = |operator: &Operator| {
        matches!(
            operator,
            Operator::LessThan | Operator::LessThanEqual | Operator::NotEqual | Operator::NotEqualStar
        )
    };
    let faults = faults?;
    Some(if faults.iter().all(|fault| is_upper(fault.operator())) {
        Severity::Warning
    } else {
        Severity::Error
    })
}

/// Returns true for a distribution of the operating system, which its package manager completes.
fn is_of_system(distribution: &CheckedDistribution) -> bool {
    distribution.site.file_name() == Some("dist-packages")
}

/// Returns the third number of the interpreter's version, from its header file.
fn micro_of(image: &CheckedImage, python: &CheckedPython) -> Option<u32> {
    let header = format!("include/{}/patchlevel.h", python.version.name());
    let (path, _) = image.find(&python.prefix.as_ref()?.join(&header).ok()?)?;
    let text = image.text(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("#define PY_MICRO_VERSION"))?;
    line.trim().parse().ok()
}

/// Returns the names in file names of metadata and eggs, whose version may be unknown.
fn unreadable(image: &CheckedImage, python: &CheckedPython) -> BTreeSet<String> {
    let sites = python.sites.iter().chain(&python.added);
    let names = sites.flat_map(|site| image.children(site)).filter_map(|(path, _)| {
        let (stem, kind) = path.file_name()?.rsplit_once('.')?;
        matches!(kind, "dist-info" | "egg-info" | "egg" | "egg-link")
            .then(|| normalize(stem.split('-').next().unwrap_or(stem)))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{SITE, TestImage};

    fn found(image: &TestImage) -> Vec<String> {
        let texts = image.diagnostics("IPO4").into_iter().map(|found| {
            let path = found.path.map(|path| path.to_string()).unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            format!("{} {:?} {name}: {}", found.code, found.severity, found.message)
        });
        texts.collect()
    }

    #[test]
    fn met_requirements_are_accepted() {
        let headers = "Requires-Dist: b>=1\nRequires-Dist: C_d (<3)\nRequires-Dist: win; sys_platform == 'win32'\n\
                       Requires-Dist: tests; extra == 'test'\nRequires-Dist: old; python_full_version < '3.11.3'\n\
                       Requires-Dist: egg\nRequires-Dist: broken>=7\nRequires-Dist: e @ https://x.example/e.whl\n\
                       Requires-Dist: local==2.0\nRequires-Python: >=3.9,!=3.9.7\n";
        let image = TestImage::environment()
            .distribution("a", "1", headers)
            .distribution("b", "2.0rc1", "")
            .distribution("c.d", "2", "Requires-Python: >=3.11.4\n")
            .distribution("e", "1", "")
            .distribution("local", "2.0+cpu", "")
            .file(&format!("{SITE}/egg-1.0-py3.11.egg/EGG-INFO/PKG-INFO"), "")
            .file(&format!("{SITE}/broken-1.dist-info/RECORD"), "");
        assert_eq!(found(&image), Vec::<String>::new());
    }

    #[test]
    fn unmet_requirements_are_reported_by_name() {
        let image = TestImage::environment()
            .distribution("a", "1", "Requires-Dist: gone>=1\nRequires-Dist: c[fast]>=2\n")
            .distribution("b", "1", "Requires-Dist: gone\nRequires-Python: >=3.12\n")
            .distribution("c", "1", "Requires-Dist: quick; extra == 'fast'\nRequires-Python: <3.11\n");
        assert_eq!(
            found(&image),
            [
                "IPO401 Error a-1.dist-info: requires `gone>=1`, which is not installed",
                "IPO403 Error b-1.dist-info: requires Python `>=3.12`, and the interpreter is Python 3.11",
                "IPO401 Warning c-1.dist-info: requires `quick; extra == 'fast'`, which is not installed",
                "IPO402 Warning a-1.dist-info: requires `c[fast]>=2`, and c 1 is installed",
                "IPO403 Warning c-1.dist-info: requires Python `<3.11`, and the interpreter is Python 3.11",
            ]
        );
        assert_eq!(image.diagnostics("IPO401")[0].others.len(), 1);
    }

    #[test]
    fn markers_of_the_third_number_follow_the_interpreter() {
        for (micro, missing) in [(2, 1), (7, 0)] {
            let image = TestImage::environment()
                .distribution("a", "1", "Requires-Dist: old; python_full_version < '3.11.3'\n")
                .file(
                    "usr/local/include/python3.11/patchlevel.h",
                    &format!("#define PY_MICRO_VERSION        {micro}\n"),
                );
            assert_eq!(found(&image).len(), missing, "{micro}");
        }
    }
}
