//! Independent verification of the selection: every requirement of an included distribution is
//! included.
//!
//! This module does not use `python::requirements::closure`, so a fault there cannot go
//! unnoticed. It reads metadata from the image's entries, line by line up to the first empty line,
//! and also detects installed distributions by directory names. Only names and markers are parsed
//! by shared code.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem;

use super::BuildError;
use super::selection::SelectedDistributions;
use crate::parallel::{cores, each};
use crate::plan::Pieces;
use crate::python::requirements::closure::{ClosureError, DeclaredRequirement, MissingRequirement};
use crate::python::requirements::marker::Environment;
use crate::python::requirements::requirement::Requirement;
use crate::python::requirements::requirements_txt::RequirementTarget;
use crate::python::{Venv, normalize};
use crate::tree::{ContentError, Entry, Kind};

/// Maximum number of threads; more do not read metadata faster.
const MAX_READERS: usize = 8;

/// The requirements of a distribution in the image, or of the project.
struct Requirer {
    /// Normalized name of the distribution; empty for the project.
    name: String,
    /// Name in errors: `FastAPI 0.110`, `requirements.txt:3`.
    by: String,
    requires: Vec<Required>,
}

/// A requirement.
struct Required {
    name: String,
    text: String,
    /// `None` if the text is not a requirement but begins with a name.
    read: Option<Requirement>,
}

/// Rejects an image with an unmet requirement. `allow_missing` contains normalized names.
///
/// # Errors
/// [`BuildError::ExcludedRequirements`] if the distribution is installed, else
/// [`ClosureError::Missing`] unless allowed.
pub(super) fn check(
    pieces: &Pieces,
    venv: &Venv,
    selected: &SelectedDistributions,
    allow_missing: &BTreeSet<String>,
) -> Result<(), BuildError> {
    let members: Vec<(&String, &Vec<Entry>)> =
        pieces.distributions.iter().filter(|(_, entries)| !entries.is_empty()).collect();
    let step = |(): &mut (), index: usize| -> Result<Option<Requirer>, ContentError> {
        members.get(index).map(|(name, entries)| Requirer::of(name, entries, venv)).transpose()
    };
    let read = each(members.len(), cores().min(MAX_READERS), || Ok(()), step)?;
    let all: Vec<Requirer> =
        read.into_iter().flatten().chain(selected.roots.iter().map(Requirer::of_root)).collect();
    let installed = installed(venv);
    let (mut excluded, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for (Required { name, text, read }, by) in needed(&all, &Environment::new(venv.version, &venv.machine)) {
        if pieces.distributions.get(name).is_some_and(|entries| !entries.is_empty()) {
            continue;
        }
        let fault = MissingRequirement { name: name.clone(), requirement: text.clone(), by: by.to_owned() };
        if installed.contains(name) {
            excluded.insert(fault);
        } else if read.is_some() && !allow_missing.contains(name) && selected.project.as_ref() != Some(name) {
            missing.insert(fault);
        }
    }
    if !excluded.is_empty() {
        return Err(BuildError::ExcludedRequirements(excluded.into_iter().collect()));
    }
    if missing.is_empty() { Ok(()) } else { Err(ClosureError::Missing(missing.into_iter().collect()).into()) }
}

impl Requirer {
    /// Reads the metadata among a distribution's entries. Without any there (`.egg-info`,
    /// `.egg-link`), uses the metadata parsed earlier.
    fn of(name: &str, entries: &[Entry], venv: &Venv) -> Result<Self, ContentError> {
        let mut requiring = Self { name: name.to_owned(), by: name.to_owned(), requires: Vec::new() };
        let Some(distribution) = venv.distribution(name) else { return Ok(requiring) };
        requiring.by = format!("{} {}", distribution.metadata.name, distribution.version);
        let place = format!("/{}/METADATA", distribution.info);
        let file = entries.iter().find_map(|entry| match &entry.kind {
            Kind::File(content) if entry.path.to_string().ends_with(&place) => Some(content),
            _ => None,
        });
        let texts = match file {
            Some(content) => {
                let (mut open, mut bytes) = (content.open()?, Vec::new());
                while open.read_some(&mut bytes)? > 0 {}
                // The description after the first empty line is most of the file.
                let empty = ["\n\n", "\n\r\n", "\r\r"];
                let end = empty.iter().filter_map(|empty| memmem::find(&bytes, empty.as_bytes())).min();
                bytes.truncate(end.unwrap_or(bytes.len()));
                required_by(&String::from_utf8_lossy(&bytes))
            }
            None => distribution.metadata.requires_dist.clone(),
        };
        requiring.requires = texts.into_iter().filter_map(Required::read).collect();
        Ok(requiring)
    }

    fn of_root(root: &DeclaredRequirement) -> Self {
        let requires = match &root.target {
            RequirementTarget::Named(requirement) => Some(Required {
                name: requirement.name.clone(),
                text: requirement.to_string(),
                read: Some((**requirement).clone()),
            }),
            RequirementTarget::Directory { .. } | RequirementTarget::Unnamed(_) => None,
        };
        Self { name: String::new(), by: root.declared_in.clone(), requires: requires.into_iter().collect() }
    }
}

impl Required {
    fn read(text: String) -> Option<Self> {
        let read = Requirement::parse_lenient(&text);
        let name = match &read {
            Some(requirement) => requirement.name.clone(),
            None => Requirement::first_name(&text)?,
        };
        Some(Self { name, text, read })
    }

    fn holds(&self, environment: &Environment, extras: &[String]) -> bool {
        let marker = self.read.as_ref().and_then(|requirement| requirement.marker.as_ref());
        marker.is_none_or(|marker| marker.holds(environment, extras))
    }
}

/// Returns the values of `Requires-Dist` before the first empty line, unfolded.
fn required_by(metadata: &str) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in metadata.replace("\r\n", "\n").split(['\n', '\r']).take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = values.last_mut().filter(|_| is_inside) {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        let value = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("requires-dist"));
        is_inside = value.is_some();
        values.extend(value.map(|(_, value)| value.trim().to_owned()));
    }
    values
}

/// Returns the applicable requirements and their origins. Extras of a requirement may make further
/// ones apply.
fn needed<'a>(all: &'a [Requirer], environment: &Environment) -> Vec<(&'a Required, &'a str)> {
    let mut extras: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    loop {
        let (mut holding, mut changed) = (Vec::new(), false);
        for requiring in all {
            let own = extras.get(requiring.name.as_str()).cloned().unwrap_or_default();
            for required in requiring.requires.iter().filter(|required| required.holds(environment, &own)) {
                holding.push((required, requiring.by.as_str()));
                let known = extras.entry(&required.name).or_default();
                for extra in required.read.iter().flat_map(|requirement| &requirement.extras) {
                    if !known.contains(extra) {
                        known.push(extra.clone());
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            return holding;
        }
    }
}

/// Returns the normalized names of installed distributions: by the names of metadata directories
/// and files in site-packages, and by the parsed metadata.
fn installed(venv: &Venv) -> BTreeSet<String> {
    let of_place = |place: &str| {
        let below = venv.site_packages.iter().find_map(|site| place.strip_prefix(site.as_str()));
        let first = below?.strip_prefix('/')?.split('/').next()?;
        let (stem, kind) = first.rsplit_once('.')?;
        let is_info = matches!(kind, "dist-info" | "egg-info") && !stem.starts_with('~');
        is_info.then(|| normalize(stem.split('-').next().unwrap_or(stem)))
    };
    let read = venv.distributions.iter().map(|distribution| distribution.name.to_string());
    venv.listing.keys().filter_map(|place| of_place(place)).chain(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Advice;
    use crate::python::testing::FakeVenv;
    use crate::tree::{Content, HostFile, ImagePath, Owner};

    /// Checks an image with the distributions `within` of an environment, for a project that
    /// declares `roots`.
    fn checked(venv: &Venv, within: &[&str], roots: &[&str]) -> Result<(), BuildError> {
        let mut pieces = Pieces::default();
        for name in within {
            let place = format!("{}/METADATA", venv.distribution(name).unwrap().info);
            let file = HostFile::new(venv.root.join(&place)).unwrap();
            let path = ImagePath::new(&format!("/app/.venv/{place}")).unwrap();
            let entry = Entry::file(path, Content::Host(file), Owner::Environment);
            pieces.distributions.insert((*name).to_owned(), vec![entry]);
        }
        let root = |text: &&str| DeclaredRequirement {
            target: RequirementTarget::Named(Box::new(text.parse().unwrap())),
            declared_in: "pyproject.toml".to_owned(),
        };
        let selected = SelectedDistributions {
            names: BTreeSet::new(),
            distributions: Vec::new(),
            excluded: Vec::new(),
            roots: roots.iter().map(root).collect(),
            project: Some("app".to_owned()),
        };
        check(&pieces, venv, &selected, &["may-be-missing".to_owned()].into())
    }

    #[test]
    fn an_installed_but_excluded_requirement_is_an_error() {
        let mut fake = FakeVenv::new();
        let requires = ["B>=1", "may_be_missing", "pip; sys_platform == 'win32'", "c; extra == 'x'", "???"];
        fake.install("a", "1", &requires, &[]);
        for name in ["b", "c", "pip"] {
            fake.install(name, "1", &[], &[]);
        }
        let venv = fake.open();
        checked(&venv, &["a", "b"], &["a", "app[dev]"]).unwrap();
        let error = checked(&venv, &["a"], &["a"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot exclude distributions that are installed and required: b (`B>=1` of a 1)"
        );
        assert!(error.help().unwrap().contains("declare b"));
        // A requested extra.
        let error = checked(&venv, &["a", "b"], &["a[X]"]).unwrap_err();
        assert!(error.to_string().ends_with("c (`c; extra == 'x'` of a 1)"), "{error}");
        let error = checked(&venv, &["b"], &["pip"]).unwrap_err();
        assert!(error.to_string().ends_with("pip (`pip` of pyproject.toml)"), "{error}");
    }

    #[test]
    fn a_requirement_not_installed_is_missing() {
        let mut fake = FakeVenv::new();
        fake.install("a", "1", &["gone"], &[]);
        let error = checked(&fake.open(), &["a"], &[]).unwrap_err();
        assert!(
            matches!(&error, BuildError::Closure(ClosureError::Missing(missing)) if missing[0].name == "gone")
        );
    }

    #[test]
    fn a_distribution_is_detected_by_its_directory() {
        let mut fake = FakeVenv::new();
        fake.install("a", "1", &["b.c"], &[]);
        fake.install("b.c", "1", &[], &[]);
        let mut venv = fake.open();
        venv.distributions.retain(|distribution| &*distribution.name == "a");
        assert!(matches!(checked(&venv, &["a"], &[]), Err(BuildError::ExcludedRequirements(_))));
    }

    #[test]
    fn metadata_ends_at_the_first_empty_line() {
        let text = "Name: a\r\nno header\r\nRequires-Dist: b;\r\n  x\r\n \r\nLicense: c\r\n d\r\nREQUIRES-DIST:e\r\n\r\n\
                    Requires-Dist: f\r\n";
        assert_eq!(required_by(text), ["b; x ", "e"]);
        assert_eq!(required_by("Requires-Dist: a\rRequires-Dist: b\r\rRequires-Dist: c"), ["a", "b"]);
    }
}
