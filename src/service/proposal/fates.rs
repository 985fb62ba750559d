//! [`of`]: the fate of each instruction of a Dockerfile.

use super::run::{self, ENVIRONMENT, StageRole};
use super::{
    Fate, InstructionFate, MAX_TEXT, ProposedSetting, ProposedValue, WORKDIR, environment, has_key, place,
    prepares,
};
use crate::service::hints::dockerfile::{BuiltFiles, Copy, Dockerfile, Instruction, Stage};
use crate::service::hints::{CommandHint, Evidence, HintRole, Hints, shortened};

/// Returns the instructions of the Dockerfile with their fates.
pub(super) fn of(hints: &Hints, settings: &[ProposedSetting]) -> Vec<InstructionFate> {
    let Some(dockerfile) = &hints.dockerfile else { return Vec::new() };
    let judge = Judge { hints, dockerfile, settings };
    let fates = dockerfile.instructions.iter().map(|(instruction, stage)| {
        let (fate, reason) = judge.fate(instruction, *stage);
        let text = shortened(&instruction.text(), MAX_TEXT);
        InstructionFate { file: dockerfile.file.clone(), line: instruction.line, text, fate, reason }
    });
    fates.collect()
}

/// Returns true for a user given as numbers.
pub(super) fn is_numeric(user: &str) -> bool {
    let mut parts = user.split(':');
    !user.is_empty() && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns true for a label that is not set from the project's metadata.
pub(super) fn is_own_label(name: &str) -> bool {
    let of_metadata = [
        "title",
        "version",
        "description",
        "licenses",
        "authors",
        "url",
        "source",
        "documentation",
        "revision",
        "created",
    ];
    match name.strip_prefix("org.opencontainers.image.") {
        Some(name) => !of_metadata.contains(&name),
        None => !name.starts_with("org.label-schema.") && name != "maintainer",
    }
}

const SOURCE: &str = "the source is taken along, except for what .dockerignore and `exclude` keep out";

struct Judge<'a> {
    hints: &'a Hints,
    dockerfile: &'a Dockerfile,
    settings: &'a [ProposedSetting],
}

impl Judge<'_> {
    fn fate(&self, instruction: &Instruction, stage: Option<usize>) -> (Fate, String) {
        let target = self.dockerfile.target();
        let is_target = target.is_some_and(|target| target.has(stage));
        if instruction.is_onbuild {
            let reason = "it takes effect in images that are built on this one: do it in their projects";
            return (Fate::NotPossible, reason.to_owned());
        }
        match (instruction.keyword.as_str(), target) {
            ("ARG", _) => (Fate::NotNeeded, "its default is in the values that are taken over".to_owned()),
            ("FROM", _) if !is_target => self.other_stage(stage),
            ("RUN", _) if !is_target => self.run(instruction, StageRole::Other),
            (_, Some(target)) if is_target => self.in_target(instruction, target),
            _ => {
                let name = stage.and_then(|stage| self.dockerfile.stages.get(stage)?.name.clone());
                let name = name.unwrap_or_else(|| stage.unwrap_or_default().to_string());
                (Fate::NotNeeded, format!("stage `{name}` is not the last one"))
            }
        }
    }

    fn run(&self, instruction: &Instruction, stage: StageRole) -> (Fate, String) {
        run::fate(self.hints, self.dockerfile, instruction, (stage, prepares(self.settings)))
    }

    fn other_stage(&self, stage: Option<usize>) -> (Fate, String) {
        let base = stage.and_then(|stage| self.dockerfile.stages.get(stage)?.base.as_ref());
        let name = base.map_or("", |(name, _)| name.split([':', '@']).next().unwrap_or_default());
        match name.rsplit('/').next() {
            Some("node" | "bun" | "deno") => (
                Fate::NotPossible,
                "it makes files with another language: make them before a build, inside the source or as `files`".to_owned(),
            ),
            Some("uv" | "python" | "poetry") => (Fate::NotNeeded, ENVIRONMENT.to_owned()),
            _ => (Fate::NotNeeded, "it is not the last stage".to_owned()),
        }
    }

    fn in_target(&self, instruction: &Instruction, stage: &Stage) -> (Fate, String) {
        let taken = self.taken(instruction);
        let is_last =
            |evidence: Option<&Evidence>| evidence.is_some_and(|last| last.line == instruction.line);
        let replaced = || (Fate::NotNeeded, "a later one replaces it".to_owned());
        let or = |reason: &str| match taken.as_slice() {
            [] => (Fate::NotNeeded, reason.to_owned()),
            taken => (Fate::TakenOver, taken.join(", ")),
        };
        match instruction.keyword.as_str() {
            "FROM" => self.base(stage, instruction),
            "RUN" => {
                let (fate, reason) = self.run(instruction, StageRole::Last);
                if taken.is_empty() {
                    return (fate, reason);
                }
                (fate.max(Fate::TakenOver), format!("{}; {reason}", taken.join(", ")))
            }
            "COPY" | "ADD" => self.copy(instruction, stage),
            "ENV" => self.env(instruction, stage, &taken),
            "CMD" | "ENTRYPOINT" => {
                let evidence = if instruction.keyword == "CMD" { &stage.cmd } else { &stage.entrypoint };
                if is_last(evidence.as_ref().map(|(_, evidence)| evidence)) {
                    self.command(taken)
                } else {
                    replaced()
                }
            }
            "EXPOSE" => or("the server's port is exposed"),
            "HEALTHCHECK" => {
                let check = stage.healthcheck.as_ref();
                if is_last(check.map(|check| &check.evidence)) {
                    or("an image has a check that requests a path of the server")
                } else if check.is_some() {
                    replaced()
                } else {
                    (Fate::NotPossible, "write `healthcheck = false` for an image without a check".to_owned())
                }
            }
            "USER" => match &stage.user {
                Some((user, evidence)) if is_last(Some(evidence)) => user_fate(user, &taken),
                _ => replaced(),
            },
            "WORKDIR" => {
                if let Some(workdir) = self.settings.iter().find(|setting| setting.path == ["workdir"]) {
                    (Fate::TakenOver, shown(workdir))
                } else {
                    (Fate::NotNeeded, format!("the source is in {WORKDIR}"))
                }
            }
            "VOLUME" => {
                let keys: Vec<String> = self
                    .settings
                    .iter()
                    .filter(|setting| ["volumes", "writable"].contains(&setting.path[0].as_str()))
                    .map(shown)
                    .collect();
                if keys.is_empty() {
                    (
                        Fate::NotPossible,
                        "an image has no folder that user 1000 may write to: mount one with that owner"
                            .to_owned(),
                    )
                } else {
                    (Fate::TakenOver, keys.join(", "))
                }
            }
            "STOPSIGNAL" => or("it is the default"),
            "LABEL" => or("labels come from the project's metadata"),
            "MAINTAINER" => (Fate::NotNeeded, "labels come from `authors` of [project]".to_owned()),
            "SHELL" => (Fate::NotNeeded, "an image needs no shell".to_owned()),
            keyword => (Fate::NotPossible, format!("`{keyword}` is no instruction")),
        }
    }

    /// Returns the settings that an instruction is the reason for.
    fn taken(&self, instruction: &Instruction) -> Vec<String> {
        let at = format!("{}:{}", self.dockerfile.file, instruction.line);
        let is_of = |setting: &&ProposedSetting| {
            setting.reason.strip_prefix(&at).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        self.settings.iter().filter(is_of).map(shown).collect()
    }

    fn base(&self, stage: &Stage, from: &Instruction) -> (Fate, String) {
        match &stage.base {
            Some((base, evidence)) if evidence.line == from.line => {
                let reason = if self.hints.python_version.is_some() {
                    format!(
                        "the image has this machine's Python; set `base = \"{base}\"` to build on that image"
                    )
                } else {
                    format!("an image needs none; set `base = \"{base}\"` if programs of it are needed")
                };
                (Fate::NotNeeded, reason)
            }
            _ => (Fate::NotNeeded, "it continues another stage".to_owned()),
        }
    }

    fn command(&self, taken: Vec<String>) -> (Fate, String) {
        let hints = || self.hints.commands.iter().filter(|hint| is_of_dockerfile(hint));
        let web = hints().find(|hint| hint.role == HintRole::Web);
        if let Some(CommandHint { words: Err(problem), .. }) = web {
            return (
                Fate::NotPossible,
                format!("it needs a shell ({problem}): write its words to `entrypoint`"),
            );
        }
        let mut reasons = Vec::new();
        if let Some(CommandHint { words: Ok(words), .. }) = web {
            reasons.push(format!("evidence for the service: `{}`", words.join(" ")));
        }
        reasons.extend(taken);
        let processes = hints().filter_map(|hint| match &hint.role {
            HintRole::Release => Some("release"),
            HintRole::Process(name) => Some(name.as_str()),
            _ => None,
        });
        let mut names: Vec<&str> = processes.collect();
        names.dedup();
        let is_set = |name: &&str| {
            self.settings.iter().any(
                |setting| matches!(setting.path.as_slice(), [key, of, ..] if key == "process" && of == name),
            )
        };
        names.retain(is_set);
        reasons.extend(names.iter().map(|name| format!("process.{name}")));
        if reasons.is_empty() {
            return (Fate::NotPossible, "no command was found in it: write `entrypoint`".to_owned());
        }
        (Fate::TakenOver, reasons.join(", "))
    }

    fn env(&self, instruction: &Instruction, stage: &Stage, taken: &[String]) -> (Fate, String) {
        let at = format!("{}:{}", self.dockerfile.file, instruction.line);
        let here = || stage.env.iter().filter(|(.., evidence)| place(evidence) == at);
        let secrets: Vec<&str> = here()
            .filter(|(name, value, _)| environment::is_secret(name, value))
            .map(|(name, ..)| name.as_str())
            .collect();
        let mut reasons = Vec::new();
        let mut fate = Fate::NotNeeded;
        if !secrets.is_empty() {
            fate = Fate::NotPossible;
            reasons.push(format!("{}: give a secret to the container, not to the image", secrets.join(", ")));
        }
        if !taken.is_empty() {
            fate = fate.max(Fate::TakenOver);
            let words = if secrets.is_empty() { "" } else { "taken over: " };
            reasons.push(format!("{words}{}", taken.join(", ")));
        }
        let others: Vec<&str> = here()
            .map(|(name, ..)| name.as_str())
            .filter(|name| !secrets.contains(name))
            .filter(|name| !self.settings.iter().any(|setting| setting.path == ["env", name]))
            .collect();
        if !others.is_empty() {
            reasons.push(format!("{}: set by a build, or for installers", others.join(", ")));
        }
        if reasons.is_empty() {
            reasons.push("a later one replaces it".to_owned());
        }
        (fate, reasons.join("; "))
    }

    fn copy(&self, instruction: &Instruction, stage: &Stage) -> (Fate, String) {
        let is_of = |copy: &&Copy| copy.evidence.line == instruction.line;
        let Some(copy) = stage.copies.iter().find(is_of) else { return (Fate::NotNeeded, SOURCE.to_owned()) };
        let destination = copy.destination.trim_end_matches('/');
        if let Some(from) = &copy.from {
            let is_environment = copy.sources.iter().chain([&copy.destination]).any(|path| {
                ["venv", "site-packages", "/usr/local/bin", "/.local", "/wheels", "/install", "python"]
                    .iter()
                    .any(|part| path.contains(part))
            });
            let stage = self.dockerfile.stages.iter().find(|stage| stage.name.as_deref() == Some(from));
            let image = stage.and_then(|stage| stage.base.as_ref()).map_or(from, |(image, _)| image);
            let is_tool = image.contains("/uv:") || image.ends_with("/uv") || image.contains("poetry");
            if is_environment || is_tool {
                return (Fate::NotNeeded, ENVIRONMENT.to_owned());
            }
            let is_project = self.dockerfile.stages.iter().any(|stage| {
                stage.name.as_deref() == Some(from.as_str())
                    && stage
                        .copies
                        .iter()
                        .any(|copy| copy.from.is_none() && copy.sources.iter().any(|source| source == "."))
            });
            if is_project {
                return (Fate::NotNeeded, SOURCE.to_owned());
            }
            let is_of = |built: &&BuiltFiles| built.evidence.line == instruction.line;
            if let Some(built) = self.hints.built.iter().find(is_of) {
                let reason = format!(
                    "{} makes {}: run it before a build, and add {}",
                    built.maker(),
                    built.from,
                    built.table()
                );
                return (Fate::NotPossible, reason);
            }
            let way = if has_key("files") {
                "add them as [[tool.ipo-oci.files]]"
            } else {
                "put them into the source"
            };
            return (Fate::NotPossible, format!("files of `{from}`: make them before a build, and {way}"));
        }
        let workdir = stage.workdir.trim_end_matches('/');
        let is_source =
            workdir.is_empty() || destination == workdir || destination.starts_with(&format!("{workdir}/"));
        let is_dependencies = !copy.sources.is_empty()
            && copy.sources.iter().all(|source| {
                source.contains("requirements") || source.ends_with(".lock") || source.contains("pyproject")
            });
        let is_script = copy.sources.iter().all(|source| {
            source.ends_with(".sh") || source.contains("entrypoint") || source.ends_with("/start")
        });
        if is_source {
            (Fate::NotNeeded, SOURCE.to_owned())
        } else if is_dependencies {
            (Fate::NotNeeded, ENVIRONMENT.to_owned())
        } else if is_script {
            (Fate::NotNeeded, "an image has no shell; the commands of the script are read".to_owned())
        } else if has_key("files") {
            let from = copy.sources.first().map_or("", String::as_str);
            let to = &copy.destination;
            (
                Fate::NotPossible,
                format!("add [[tool.ipo-oci.files]] with from = \"{from}\", to = \"{to}\" if it is needed"),
            )
        } else {
            (Fate::NotPossible, format!("files outside of {WORKDIR}: put them on a base image"))
        }
    }
}

/// Returns true for commands of the Dockerfile or of a script that it starts.
fn is_of_dockerfile(hint: &CommandHint) -> bool {
    !["Procfile", "app.json", "heroku.yml", "fly.toml", "railway.toml", "railway.json", "render.yaml"]
        .contains(&hint.evidence.file.as_str())
        && hint.role != HintRole::Prepare
}

fn user_fate(user: &str, taken: &[String]) -> (Fate, String) {
    if !taken.is_empty() {
        return (Fate::TakenOver, taken.join(", "));
    }
    match user.split(':').next() {
        Some("root" | "0") => (
            Fate::NotPossible,
            "the process runs as user 1000; set `user = \"0:0\"` if it must be root".to_owned(),
        ),
        _ => (Fate::NotNeeded, "the process runs as user 1000".to_owned()),
    }
}

/// Returns a setting as one line of TOML, without the table's name.
pub(super) fn shown(setting: &ProposedSetting) -> String {
    let value = match &setting.value {
        ProposedValue::Text(text) => format!("{text:?}"),
        ProposedValue::Number(number) => number.to_string(),
        ProposedValue::Boolean(boolean) => boolean.to_string(),
        ProposedValue::List(words) => format!("{words:?}"),
        ProposedValue::Table(_) | ProposedValue::Tables(_) => "a table".to_owned(),
    };
    format!("{} = {value}", setting.path.join("."))
}
