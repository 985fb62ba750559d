//! [`Proposal`]: settings for what a repository's files for other tools say, for `ipo-oci init`.
//!
//! [`super::hints`] reads the files; this module decides which hints become settings. Defaults are not
//! proposed, and neither are keys that this version does not have. [`fates`] tells what became of each
//! instruction of a Dockerfile.

mod command;
mod environment;
mod fates;
mod run;
pub(crate) mod static_files;
mod system_packages;

use std::collections::BTreeSet;

use super::hints::command::{CommandKind, kind};
use super::hints::dockerfile::Dockerfile;
use super::hints::{CommandHint, Evidence, HintRole, Hints, PORT, is_unread};
use crate::python::normalize;
use crate::settings::{KEYS, Settings};

/// The most characters of an instruction that are printed.
const MAX_TEXT: usize = 90;

/// The folder of the application in an image.
const WORKDIR: &str = "/app";

/// The proposed settings of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proposal {
    /// The settings, in the order to write.
    pub settings: Vec<ProposedSetting>,
    /// The instructions of the Dockerfile, each with its fate.
    pub instructions: Vec<InstructionFate>,
    /// Hints that became no setting, with the way out.
    pub open: Vec<String>,
}

/// A setting with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProposedSetting {
    /// The keys below `[tool.ipo-oci]`: `["env", "A"]`.
    pub path: Vec<String>,
    /// The value.
    pub value: ProposedValue,
    /// The reason, in one line.
    pub reason: String,
}

impl ProposedSetting {
    /// Makes a setting.
    pub fn new(path: &[&str], value: ProposedValue, reason: impl Into<String>) -> Self {
        Self { path: path.iter().map(|&key| key.to_owned()).collect(), value, reason: reason.into() }
    }
}

/// The value of a proposed setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // The variants are types of TOML.
pub enum ProposedValue {
    Text(String),
    Number(u16),
    Boolean(bool),
    List(Vec<String>),
    Table(Vec<(String, ProposedValue)>),
    Tables(Vec<Vec<(String, ProposedValue)>>),
}

/// An instruction of a Dockerfile and its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstructionFate {
    /// The file, as named on the command line.
    pub file: String,
    /// Its first line, from 1.
    pub line: usize,
    /// The instruction on one line, shortened.
    pub text: String,
    /// The fate.
    pub fate: Fate,
    /// The settings, the reason, or the way out.
    pub reason: String,
}

/// The fate of an instruction, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fate {
    /// No image of ipo-oci needs it.
    NotNeeded,
    /// A setting has the same effect.
    TakenOver,
    /// The user has to act.
    NotPossible,
}

impl Fate {
    /// Returns the fate in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotNeeded => "not needed",
            Self::TakenOver => "taken over",
            Self::NotPossible => "not possible",
        }
    }
}

/// The facts that a proposal depends on besides the files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProposalContext<'a> {
    /// The hints of the repository.
    pub(crate) hints: &'a Hints,
    /// A build finds the service without settings.
    pub(crate) finds_service: bool,
    /// The project's own commands.
    pub(crate) scripts: &'a [String],
    /// The normalized names of the project's dependencies.
    pub(crate) dependencies: &'a BTreeSet<String>,
    /// The settings of the recipe, which need not be written.
    pub(crate) defaults: &'a Settings,
    /// Settings that follow from the source. Those of the repository's files take precedence.
    pub(crate) of_source: &'a [ProposedSetting],
}

impl ProposalContext<'_> {
    /// Proposes settings for the project.
    pub(crate) fn propose(&self) -> Proposal {
        let hints = self.hints;
        let mut proposer = Proposer::new(hints, self);
        proposer.proposal.open.extend(hints.dockerfile.as_ref().and_then(Dockerfile::refused));
        proposer.other_dockerfiles();
        proposer.service();
        proposer.container();
        proposer.processes();
        proposer.imports();
        for setting in self.of_source {
            let path: Vec<&str> = setting.path.iter().map(String::as_str).collect();
            proposer.set(&path, setting.value.clone(), setting.reason.clone());
        }
        proposer.rest();
        proposer.proposal.instructions = fates::of(hints, &proposer.proposal.settings);
        proposer.proposal
    }
}

/// Returns true if this version has the key.
fn has_key(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name)
}

/// Returns true if the settings have a command that collects static files.
fn prepares(settings: &[ProposedSetting]) -> bool {
    settings.iter().any(|setting| setting.path == ["prepare"])
}

/// Returns the place of a hint: `Dockerfile:8`.
fn place(evidence: &Evidence) -> String {
    format!("{}:{}", evidence.file, evidence.line)
}

/// Makes the proposal from the hints.
struct Proposer<'a> {
    hints: &'a Hints,
    context: &'a ProposalContext<'a>,
    proposal: Proposal,
}

impl<'a> Proposer<'a> {
    fn new(hints: &'a Hints, context: &'a ProposalContext<'a>) -> Self {
        Self { hints, context, proposal: Proposal::default() }
    }

    fn set(&mut self, path: &[&str], value: ProposedValue, reason: impl Into<String>) {
        let setting = ProposedSetting::new(path, value, reason);
        if self.proposal.settings.iter().all(|known| known.path != setting.path) {
            self.proposal.settings.push(setting);
        }
    }

    /// Names the Dockerfiles that are not read.
    fn other_dockerfiles(&mut self) {
        let files: Vec<&str> = self.hints.other_dockerfiles.iter().map(|(file, _)| file.as_str()).collect();
        let (Some(read), Some(first)) = (&self.hints.dockerfile, files.first()) else { return };
        self.proposal.open.push(format!(
            "{} is read, and not {}: to take over another, run `ipo-oci init --from {first}`",
            read.file,
            files.join(", ")
        ));
    }

    /// Proposes the application, the port and the health check.
    fn service(&mut self) {
        let default_port = self.context.defaults.port.map_or(8000, std::num::NonZeroU16::get);
        if let Some((port, evidence)) = self.hints.port.as_ref().filter(|(port, _)| *port != default_port) {
            self.set(
                &["port"],
                ProposedValue::Number(*port),
                format!("{}: {}", place(evidence), evidence.text),
            );
        }
        if let Some(web) = self.hints.command(&HintRole::Web) {
            match &web.words {
                Ok(words) => self.web(words, web),
                Err(problem) => self.proposal.open.push(format!(
                    "the command of {} needs a shell: {problem}; an image has none, so write the words to `entrypoint` if \
                     the build's own command does not do",
                    place(&web.evidence)
                )),
            }
            for wrapper in &web.wrappers {
                self.proposal.open.push(format!(
                    "{wrapper} of {} is not part of the command: write `entrypoint` with it to keep it",
                    place(&web.evidence)
                ));
            }
        }
        self.healthcheck();
    }

    fn web(&mut self, words: &[String], web: &CommandHint) {
        let at = place(&web.evidence);
        if !web.unread.is_empty() {
            self.proposal.open.push(format!(
                "{at}: {} is unknown before a container starts: give the value by a variable of the server, or write it to \
                 [tool.ipo-oci]",
                web.unread.join(", ")
            ));
        }
        let found = command::settings(words);
        if !self.context.finds_service {
            if let Some(application) = &found.application {
                let reason = format!("{at}: the application");
                self.set(&["app"], ProposedValue::Text(application.clone()), reason);
            } else if !words.iter().any(|word| is_unread(word)) {
                let port = self.hints.port.as_ref().map_or(8000, |(port, _)| *port).to_string();
                let words = image_words(words).iter().map(|word| word.replace(PORT, &port)).collect();
                self.set(&["entrypoint"], ProposedValue::List(words), format!("{at}: the command"));
            }
        }
        for (path, value, option) in found.settings {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let default = match (path.as_slice(), &value) {
                (["workers"], ProposedValue::Number(workers)) => {
                    self.context.defaults.workers.is_some_and(|default| default.get() == *workers)
                }
                _ => false,
            };
            if !default {
                self.set(&path, value, format!("{at}: {option}"));
            }
        }
        for (name, value) in &web.env {
            if environment::is_for_images(name) && !environment::is_secret(name, value) {
                self.set(
                    &["env", name],
                    ProposedValue::Text(value.clone()),
                    format!("{at}: set by the command line"),
                );
            }
        }
    }

    fn healthcheck(&mut self) {
        let check = self.hints.dockerfile.as_ref().and_then(|file| file.target()?.healthcheck.as_ref());
        let times: Vec<(&str, &str)> =
            check.iter().flat_map(|check| check.flags.iter()).filter_map(|flag| times(flag)).collect();
        let Some((path, evidence)) = &self.hints.health_path else { return };
        let reason = format!("{}: {}", place(evidence), evidence.text);
        if times.is_empty() {
            return self.set(&["healthcheck"], ProposedValue::Text(path.clone()), reason);
        }
        self.set(&["healthcheck", "path"], ProposedValue::Text(path.clone()), reason);
        for (name, value) in times {
            let value = match value.parse() {
                Ok(number) if name == "retries" => ProposedValue::Number(number),
                _ => ProposedValue::Text(value.to_owned()),
            };
            self.set(&["healthcheck", name], value, format!("{}: --{name}", place(evidence)));
        }
    }

    /// Proposes the properties of the container: user, folders, variables, labels.
    fn container(&mut self) {
        let Some(stage) = self.hints.dockerfile.as_ref().and_then(Dockerfile::target) else { return };
        if let Some((signal, evidence)) = &stage.stop_signal
            && Some(signal) != self.context.defaults.stop_signal.as_ref()
        {
            self.set(&["stop-signal"], ProposedValue::Text(signal.clone()), place(evidence));
        }
        if let Some((user, evidence)) = stage.user.as_ref().filter(|(user, _)| fates::is_numeric(user)) {
            let id = user.split(':').next().unwrap_or_default();
            let is_default = self
                .context
                .defaults
                .user
                .is_some_and(|default| default.to_string().split(':').next() == Some(id));
            if id != "0" && !is_default {
                self.set(&["user"], ProposedValue::Text(user.clone()), place(evidence));
            }
        }
        let is_below = |path: &str| path.starts_with(&format!("{}/", stage.workdir.trim_end_matches('/')));
        let has_paths = stage.volumes.iter().any(|(volume, _)| is_below(volume))
            || stage.env.iter().any(|(name, value, _)| environment::is_for_images(name) && is_below(value));
        if stage.workdir != WORKDIR && stage.workdir != "/" && has_paths {
            let reason = "folder of the application in the Dockerfile, which a volume or a variable names";
            self.set(&["workdir"], ProposedValue::Text(stage.workdir.clone()), reason);
        }
        for (name, value, evidence) in &stage.env {
            if environment::is_for_images(name) && !environment::is_secret(name, value) && !value.is_empty() {
                self.set(&["env", name], ProposedValue::Text(value.clone()), place(evidence));
            }
        }
        for (name, value, evidence) in &stage.labels {
            if fates::is_own_label(name) {
                self.set(&["labels", name], ProposedValue::Text(value.clone()), place(evidence));
            }
        }
        self.folders();
    }

    /// Proposes the folders from which the commands of settings import.
    fn imports(&mut self) {
        let Some((folders, evidence)) = &self.hints.python_path else { return };
        let has = |key: &str| {
            self.proposal.settings.iter().find(|setting| setting.path.first().is_some_and(|k| k == key))
        };
        if has("entrypoint").or_else(|| has("process")).is_none() {
            return;
        }
        let workdir = match has("workdir").map(|setting| &setting.value) {
            Some(ProposedValue::Text(workdir)) => workdir.trim_end_matches('/').to_owned(),
            _ => WORKDIR.to_owned(),
        };
        let path =
            |folder: &String| if folder.is_empty() { workdir.clone() } else { format!("{workdir}/{folder}") };
        let value = folders.iter().map(path).collect::<Vec<_>>().join(":");
        self.set(&["env", "PYTHONPATH"], ProposedValue::Text(value), place(evidence));
    }

    fn folders(&mut self) {
        let Some(stage) = self.hints.dockerfile.as_ref().and_then(Dockerfile::target) else { return };
        if let Some((_, evidence)) = stage.volumes.first() {
            let volumes: Vec<String> =
                stage.volumes.iter().map(|(volume, _)| volume.trim_end_matches('/').to_owned()).collect();
            if has_key("writable") {
                let reason = format!("{}: folders that the process writes to", place(evidence));
                self.set(&["writable"], ProposedValue::List(volumes.clone()), reason);
            }
            if has_key("volumes") {
                let reason = format!("{}: {}", place(evidence), evidence.text);
                self.set(&["volumes"], ProposedValue::List(volumes), reason);
            }
        }
        let of_server = self.hints.port.as_ref().map(|(port, _)| *port);
        let more: Vec<_> = stage.ports.iter().filter(|(port, _)| Some(*port) != of_server).collect();
        if let Some((_, evidence)) = more.first().filter(|_| has_key("ports")) {
            let ports = more.iter().map(|(port, _)| port.to_string()).collect();
            self.set(
                &["ports"],
                ProposedValue::List(ports),
                format!("{}: {}", place(evidence), evidence.text),
            );
        }
    }

    /// Proposes the commands beside the service. Of several before it, the migration is the release step.
    fn processes(&mut self) {
        let is_migration = |hint: &&CommandHint| {
            hint.role == HintRole::Release
                && hint.words.as_ref().is_ok_and(|words| kind(words) == CommandKind::Migration)
        };
        let migration = self.hints.commands.iter().find(is_migration);
        let others = self.hints.commands.iter().filter(|hint| Some(*hint) != migration);
        for hint in migration.into_iter().chain(others) {
            match &hint.role {
                HintRole::Release => self.process("release", hint),
                // A command for the first deployment alone.
                HintRole::Process(name) if name == "postdeploy" => {}
                HintRole::Process(name) => self.process(name, hint),
                HintRole::Web | HintRole::Prepare => {}
            }
        }
    }

    fn process(&mut self, name: &str, hint: &CommandHint) {
        let at = place(&hint.evidence);
        let given = match &hint.words {
            Ok(words) => words,
            Err(problem) => {
                return self.proposal.open.push(format!(
                    "the command `{name}` of {at} needs a shell: {problem}; write it without one to \
                     [tool.ipo-oci.process.{name}]"
                ));
            }
        };
        if !hint.unread.is_empty() {
            return self.proposal.open.push(format!(
                "the command `{name}` of {at} has {}, unknown before a container starts; write it to \
                 [tool.ipo-oci.process.{name}]",
                hint.unread.join(", ")
            ));
        }
        let words = image_words(given);
        if !has_key("process") || words.iter().any(|word| word.contains(PORT)) {
            return;
        }
        if !self.is_python(given) {
            let program = given.first().map_or("", String::as_str);
            return self.proposal.open.push(format!(
                "the command `{name}` of {at} starts {program}, which is no program of the environment: set `base` to an image \
                 that has it, and write [tool.ipo-oci.process.{name}]"
            ));
        }
        let is_known =
            self.proposal.settings.iter().any(|setting| setting.path == ["process", name, "command"]);
        if is_known && name == "release" && !self.is_proposed(&words) {
            let text = given.join(" ");
            self.proposal.open.push(format!(
                "{at}: `{text}` is a further command before the service; the process `release` has one"
            ));
        }
        self.set(&["process", name, "command"], ProposedValue::List(words), at.clone());
        for (variable, value) in &hint.env {
            if !is_known && environment::is_for_images(variable) && !environment::is_secret(variable, value) {
                let value = ProposedValue::Text(value.clone());
                self.set(&["process", name, "env", variable], value, at.clone());
            }
        }
    }

    /// Returns true if the environment probably has the program of a command.
    fn is_python(&self, words: &[String]) -> bool {
        let Some(program) = words.first() else { return false };
        program == "python"
            || self.context.scripts.contains(program)
            || self.context.dependencies.contains(&normalize(program))
            || !matches!(kind(words), CommandKind::Other | CommandKind::Preparation)
    }

    fn is_proposed(&self, words: &[String]) -> bool {
        let is_same = |setting: &ProposedSetting| setting.value == ProposedValue::List(words.to_vec());
        self.proposal.settings.iter().any(is_same)
    }

    /// Names the hints that need an action of the user.
    fn rest(&mut self) {
        let mut seen: Vec<&Vec<String>> = Vec::new();
        for hint in self.hints.commands.iter().filter(|hint| hint.role == HintRole::Prepare) {
            let Ok(words) = &hint.words else { continue };
            let is_taken = static_files::collects(hint) && prepares(&self.proposal.settings);
            if seen.contains(&words) || is_taken {
                continue;
            }
            seen.push(words);
            let way =
                if has_key("prepare") { "add it as [[tool.ipo-oci.prepare]], or run it" } else { "run it" };
            self.proposal.open.push(format!(
                "`{}` of {} makes files of the image: {way} before a build",
                words.join(" "),
                place(&hint.evidence)
            ));
        }
        for built in &self.hints.built {
            self.proposal.open.push(format!(
                "{}: {} makes {}: run it before a build, and add {}",
                place(&built.evidence),
                built.maker(),
                built.from,
                built.table()
            ));
        }
        let programs: Vec<&str> = system_packages::programs(&self.hints.system_packages).collect();
        if let Some((first, evidence)) = self.hints.system_packages.first().filter(|_| !programs.is_empty()) {
            let _ = first;
            self.proposal.open.push(format!(
                "the Dockerfile installs {} ({} and below): shared libraries that the environment loads are taken from this \
                 machine; for programs, set `base` to an image that has them",
                programs.join(", "),
                place(evidence)
            ));
        }
    }
}

/// Returns the words of a command as settings write them: `{python}` for the interpreter, and a program of the
/// environment below `{venv}`.
pub(crate) fn image_words(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    if let Some(program) = words.first_mut() {
        if program == "python" {
            "{python}".clone_into(program);
        } else if !program.contains(['/', '{']) {
            *program = format!("{{venv}}/bin/{program}");
        }
    }
    words
}

/// Returns a flag of `HEALTHCHECK` that is a property of the setting, and its value.
fn times(flag: &str) -> Option<(&str, &str)> {
    let (name, value) = flag.strip_prefix("--")?.split_once('=')?;
    let is_known = ["interval", "timeout", "start-period", "start-interval"].contains(&name);
    let digits = value.strip_suffix(['s', 'm', 'h']).unwrap_or_default();
    let is_time = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_count = name == "retries" && value.parse::<u16>().is_ok();
    ((is_known && is_time) || is_count).then_some((name, value))
}

#[cfg(test)]
mod tests;
