//! [`fate`]: the fate of a `RUN`.

use super::system_packages::programs;
use super::{Fate, MAX_TEXT, has_key};
use crate::service::hints::command::{CommandKind, kind};
use crate::service::hints::dockerfile::{Dockerfile, Instruction};
use crate::service::hints::{Hints, shortened};

pub(super) const ENVIRONMENT: &str = "the environment is made on this machine, with the project's lock";
/// Parts of commands that install Python distributions.
const INSTALLERS: [&str; 16] = [
    "pip install",
    "pip3 install",
    "pip wheel",
    "pip config",
    "uv sync",
    "uv pip",
    "uv venv",
    "uv python",
    "poetry",
    "pdm install",
    "pdm sync",
    "pipenv",
    "-m venv",
    "virtualenv",
    "astral.sh/uv",
    "requirements",
];
/// Parts of commands that install packages of a distribution.
const PACKAGES: [&str; 5] = ["apt-get", "apk add", "apk ", "dnf ", "yum "];
/// Parts of commands that make users and give them files.
const USERS: [&str; 5] = ["useradd", "adduser", "groupadd", "addgroup", "chown"];

/// The stage of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StageRole {
    /// Part of the image.
    Last,
    /// Makes files for another one.
    Other,
}

/// The reasons for a fate.
#[derive(Default)]
struct Reasons(Vec<(Fate, String)>);

impl Reasons {
    fn add(&mut self, fate: Fate, reason: impl Into<String>) {
        let reason = reason.into();
        if self.0.iter().all(|(_, known)| *known != reason) {
            self.0.push((fate, reason));
        }
    }

    /// Returns the worst fate, and all reasons, those for it first.
    fn finish(mut self) -> (Fate, String) {
        self.0.sort_by_key(|(fate, _)| std::cmp::Reverse(*fate));
        let Some((fate, _)) = self.0.first() else {
            return (Fate::NotNeeded, "no file of the service depends on it".to_owned());
        };
        let reasons: Vec<&str> = self.0.iter().map(|(_, reason)| reason.as_str()).collect();
        (*fate, reasons.join("; "))
    }
}

/// Returns the fate of a `RUN`, and the reasons.
pub(super) fn fate(
    hints: &Hints,
    dockerfile: &Dockerfile,
    run: &Instruction,
    (stage, collects_static_files): (StageRole, bool),
) -> (Fate, String) {
    let documents = run.here_documents.iter().map(|document| document.text.as_str());
    let instruction = run.text();
    let text = std::iter::once(instruction.as_str()).chain(documents).collect::<Vec<_>>().join("\n");
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let mut reasons = Reasons::default();
    if has(&INSTALLERS) {
        reasons.add(Fate::NotNeeded, ENVIRONMENT);
    }
    let packages: Vec<_> =
        hints.system_packages.iter().filter(|(_, evidence)| run.has_line(evidence.line)).cloned().collect();
    let programs: Vec<&str> = programs(&packages).collect();
    if !programs.is_empty() {
        let programs = programs.join(", ");
        let way = "set `base` to an image that has them, if the service starts them";
        reasons.add(Fate::NotPossible, format!("programs of {programs}: {way}"));
    } else if !packages.is_empty() || has(&PACKAGES) {
        reasons.add(Fate::NotNeeded, "shared libraries of the environment are taken from this machine");
    }
    if has(&USERS) {
        reasons.add(Fate::NotNeeded, "the process runs as user 1000, who owns no file of the image");
    }
    if text.contains("mkdir") && stage == StageRole::Last {
        reasons.add(Fate::NotNeeded, "`writable` names folders that the process writes to");
    }
    let is_covered = stage == StageRole::Other || has(&INSTALLERS) || !packages.is_empty();
    for step in dockerfile.steps_of(run) {
        match &step.words {
            Ok(words) if collects_static_files && words.iter().any(|word| word == "collectstatic") => {
                reasons.add(Fate::TakenOver, "prepare");
            }
            Ok(words) => command(&mut reasons, words, stage),
            Err(_) if is_covered => {}
            Err(problem) => {
                let reason = format!(
                    "no command runs in an image ({problem}): do it before a build, or on a base image"
                );
                reasons.add(Fate::NotPossible, reason);
            }
        }
    }
    reasons.finish()
}

fn command(reasons: &mut Reasons, words: &[String], stage: StageRole) {
    let shown = shortened(&words.join(" "), MAX_TEXT);
    match kind(words) {
        CommandKind::Preparation => {
            let way = if has_key("prepare") {
                "add it as [[tool.ipo-oci.prepare]]"
            } else {
                "run it before a build"
            };
            reasons.add(Fate::NotPossible, format!("`{shown}` makes files of the image: {way}"));
        }
        CommandKind::Migration => {
            reasons.add(Fate::NotPossible, "a migration belongs to a release, not to an image");
        }
        _ if stage == StageRole::Other || is_known(words) => {}
        _ => reasons.add(
            Fate::NotPossible,
            format!("no command runs in an image: do `{shown}` before a build, or on a base image"),
        ),
    }
}

/// Programs of `RUN` that another reason covers.
fn is_known(words: &[String]) -> bool {
    let known = [
        "pip",
        "pip3",
        "uv",
        "uvx",
        "poetry",
        "pdm",
        "pipenv",
        "pipx",
        "virtualenv",
        "useradd",
        "adduser",
        "groupadd",
        "addgroup",
        "usermod",
        "python",
        "sh",
        "bash",
        "tar",
        "unzip",
        "gpg",
        "locale-gen",
        "update-ca-certificates",
        "dpkg",
        "apt-mark",
        "apt-key",
        "xargs",
        "sort",
        "cut",
        "which",
        "dpkg-reconfigure",
        "npm",
        "yarn",
        "pnpm",
        "make",
        "strip",
    ];
    let Some((program, arguments)) = words.split_first() else { return true };
    match program.as_str() {
        "python" => arguments
            .iter()
            .any(|word| ["pip", "venv", "compileall", "-V", "--version"].contains(&word.as_str())),
        program => known.contains(&program),
    }
}
