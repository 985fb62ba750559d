//! The service of a project with the evidence for each answer, without an environment.

#![allow(clippy::disallowed_methods)] // No plan depends on lock files: an environment decides.

use std::collections::BTreeSet;
use std::path::Path;

use super::Builder;
use super::error::BuildError;
use super::hints::LazyHints;
use super::service::ServiceInputs;
use super::source::ListedSource;
use crate::plan::Finding;
use crate::python::normalize;
use crate::python::requirements::closure::{ClosureError, DeclaredDependencies, read_pyproject};
use crate::python::requirements::pyproject::Build;
use crate::recipe::Recipe;
use crate::service::dependencies::{FurtherRequirements, OptionalServer, further_requirements};
use crate::service::hints::command::{CommandKind, kind};
use crate::service::hints::{CommandHint, HintRole, Hints};
use crate::service::processes::{self, ProposedProcess};
use crate::service::proposal::static_files::{self, StaticFiles};
use crate::service::written_folders::WrittenFolders;
use crate::service::{Distributions, ProposedSetting, ProposedValue, with_implied};
use crate::traced_fs;

/// The largest lock file read, in bytes.
const LOCK_LIMIT: u64 = 32 << 20;

/// Returns the settings for distributions that the Dockerfile installs beside the project's dependencies,
/// with those for the optional `part` that a build selects without settings.
fn further_dependencies(
    hints: &Hints,
    recipe: &Recipe,
    part: Option<&OptionalServer>,
    included: &BTreeSet<String>,
) -> (Vec<ProposedSetting>, Option<String>) {
    let is_open = !recipe.is_selection_set && !included.is_empty();
    let dockerfile = hints.dockerfile.as_ref().filter(|_| is_open);
    let further = dockerfile.and_then(|dockerfile| {
        Some((&dockerfile.file, further_requirements(dockerfile, &|name| included.contains(name))?))
    });
    let Some((file, FurtherRequirements { portable: mut requirements, with_headers, line })) = further else {
        return (Vec::new(), None);
    };
    let open = (!with_headers.is_empty()).then(|| {
        format!(
            "{file}:{line} installs {}, whose build needs the headers of a system library: install those on this machine and \
             add the names to `with`, if the service uses them",
            with_headers.join(", ")
        )
    });
    let mut settings = Vec::new();
    if requirements.is_empty() {
        return (settings, open);
    }
    if let Some(part) = part {
        match part.key_and_values() {
            ("with", values) => drop(requirements.splice(0..0, values)),
            (key, values) => {
                let reason = format!("{} of the {part}", part.server);
                settings.push(ProposedSetting::new(&[key], ProposedValue::List(values), reason));
            }
        }
    }
    let reason = format!("{file}:{line}: {}", requirements.join(", "));
    settings.push(ProposedSetting::new(&["with"], ProposedValue::List(requirements), reason));
    (settings, open)
}

/// The service of a project, as far as it can be found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The answers with their evidence, in the order to print.
    pub findings: Vec<Finding>,
    /// The reason if there is no complete answer.
    pub error: Option<BuildError>,
    /// Settings that follow from the source: processes and prepared files.
    pub(crate) proposed: Vec<ProposedSetting>,
    /// The normalized names of the project's dependencies.
    pub(crate) dependencies: BTreeSet<String>,
    /// Advice that is no setting.
    pub(crate) open: Vec<String>,
}

/// Returns true if a command of the repository is that of the process `name`.
fn is_command_of(hint: &CommandHint, name: &str) -> bool {
    let does_its_work = hint
        .words
        .as_ref()
        .is_ok_and(|words| matches!(kind(words), CommandKind::Worker(known) if known == name));
    does_its_work
        || match &hint.role {
            HintRole::Release => name == "release",
            HintRole::Process(known) => known == name,
            HintRole::Web | HintRole::Prepare => false,
        }
}

/// Returns the text of a lock file that is not too large.
fn read(path: &Path) -> Option<String> {
    let file = fs_err::File::open(path).ok()?;
    String::from_utf8(traced_fs::read_limited(file, LOCK_LIMIT).ok()??).ok()
}

impl Builder {
    /// Finds the service of the project in its source, without an environment: the distributions are
    /// the declared dependencies.
    ///
    /// # Errors
    /// If the settings or the source cannot be read. A service that is not found is part of the result.
    pub fn explain(&self) -> Result<Explanation, BuildError> {
        self.explain_with(&LazyHints::of(&self.root))
    }

    /// Finds the service with these hints.
    pub(super) fn explain_with(&self, hints: &LazyHints<'_>) -> Result<Explanation, BuildError> {
        let mut recipe = self.resolve()?;
        let selected = self.select_server(&mut recipe, &mut [], None, hints);
        let (listing, _) = self.listing(&recipe, None)?;
        let (declared, unreadable) = match DeclaredDependencies::read(&self.root, &recipe.dependencies()) {
            Ok(declared) => (declared, None),
            Err(ClosureError::NothingDeclared(_)) => (DeclaredDependencies::default(), None),
            Err(error) => (DeclaredDependencies::default(), Some(error.into())),
        };
        let included = self.included(declared);
        let distributions =
            if included.is_empty() { Distributions::unknown() } else { Distributions::new(&included, &[]) };
        let hints = hints.get();
        let inputs = ServiceInputs {
            recipe: &recipe,
            project: &self.project,
            sources: &ListedSource(&listing),
            distributions: &distributions,
            hints,
            installed: &|_| Ok(None),
        };
        let (mut findings, error) = inputs.explain();
        let error = unreadable.or(error).map(|error| match self.with_ignored(error, &listing) {
            error @ BuildError::Application(_) if included.is_empty() => {
                self.declared_elsewhere(&recipe).unwrap_or(error)
            }
            error => selected.advise(error),
        });
        findings.extend(
            selected.warning.map(|warning| Finding::new("dependencies", warning.subject, warning.message)),
        );
        let has = |name: &str| included.contains(name);
        let mut processes = processes::propose(&ListedSource(&listing), &has);
        processes.retain(|process| {
            !recipe.processes.contains_key(&process.name)
                && !hints.commands.iter().any(|hint| is_command_of(hint, &process.name))
        });
        findings.extend(processes.iter().map(ProposedProcess::finding));
        let mut proposed: Vec<ProposedSetting> = processes.iter().map(ProposedProcess::setting).collect();
        let (further, of_headers) = further_dependencies(hints, &recipe, selected.part.as_ref(), &included);
        findings.extend(further.iter().filter(|setting| setting.path == ["with"]).map(|setting| {
            let evidence = format!("{}; not installed: ipo-oci init writes with", setting.reason);
            Finding::new("dependencies", "distributions of the Dockerfile", evidence)
        }));
        proposed.extend(further);
        if recipe.writable.is_empty()
            && let Some(folders) = WrittenFolders::find(&ListedSource(&listing))
        {
            findings.push(folders.finding());
            proposed.push(folders.setting());
        }
        let mut open = Vec::from_iter(of_headers);
        if recipe.prepare.is_empty() {
            match static_files::propose(&ListedSource(&listing), hints, &has) {
                Some(StaticFiles::Setting(setting)) => {
                    let evidence = format!("{}; ipo-oci init writes prepare", setting.reason);
                    findings.push(Finding::new("static files", "collectstatic", evidence));
                    proposed.push(setting);
                }
                Some(StaticFiles::Open(advice)) => {
                    findings.push(Finding::new("static files", "collectstatic", advice.clone()));
                    open.push(advice);
                }
                None => {}
            }
        }
        Ok(Explanation { findings, error, proposed, dependencies: included, open })
    }

    /// Returns the normalized names of the declared dependencies, and of those that they imply.
    fn included(&self, declared: DeclaredDependencies) -> BTreeSet<String> {
        let named = declared.into_named().map(|requirement| (requirement.name, requirement.extras));
        let mut names = with_implied(named);
        names.extend(self.locked());
        if !names.is_empty() {
            // A lock lists the project, which is only installed if it has a build system.
            let pyproject =
                read_pyproject(&self.root.join("pyproject.toml")).ok().flatten().unwrap_or_default();
            let own = normalize(&self.project.name);
            match pyproject.build {
                Build::Package => names.insert(own),
                Build::Virtual => names.remove(&own),
            };
        }
        names
    }

    /// Returns the normalized names of the distributions in a lock file, of any group.
    fn locked(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for file in ["uv.lock", "poetry.lock", "pdm.lock"] {
            let Some(text) = read(&self.root.join(file)) else { continue };
            // A complete parse of a lock takes longer than all of the rest.
            let mut is_package = false;
            for line in text.lines() {
                match line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) {
                    Some(name) if is_package => drop(names.insert(normalize(name))),
                    _ => {}
                }
                is_package = line == "[[package]]" || (is_package && !line.starts_with('['));
            }
        }
        let lock = read(&self.root.join("Pipfile.lock"));
        let lock = lock.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let packages = lock.as_ref().and_then(|lock| lock.get("default")?.as_object());
        names.extend(packages.into_iter().flatten().map(|(name, _)| normalize(name)));
        names
    }
}
