//! [`Stage`]: the state after the instructions of a stage.

use std::collections::BTreeMap;

use super::lines::{HereDocument, Instruction};
use super::{packages, url, words};
use crate::service::hints::Evidence;
use crate::service::hints::command_reader::{base_name, join};
use crate::service::hints::shell::ShellParameters;

/// A stage of a Dockerfile, with all that it inherits from an earlier stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    /// The name after `AS`, in lower case.
    pub(crate) name: Option<String>,
    /// Indices of the stage and of the stages that it is built on, the first one first.
    pub(crate) chain: Vec<usize>,
    /// The line of its `FROM`.
    line: usize,
    /// The image below all of them, with its `FROM`.
    pub(crate) base: Option<(String, Evidence)>,
    pub(crate) entrypoint: Option<(CommandForm, Evidence)>,
    pub(crate) cmd: Option<(CommandForm, Evidence)>,
    /// TCP ports of `EXPOSE`.
    pub(crate) ports: Vec<(u16, Evidence)>,
    pub(crate) healthcheck: Option<HealthcheckInstruction>,
    pub(crate) user: Option<(String, Evidence)>,
    /// An absolute path.
    pub(crate) workdir: String,
    /// Names and values of `ENV`, in the order of their first definition.
    pub(crate) env: Vec<(String, String, Evidence)>,
    pub(crate) stop_signal: Option<(String, Evidence)>,
    pub(crate) volumes: Vec<(String, Evidence)>,
    pub(crate) labels: Vec<(String, String, Evidence)>,
    pub(crate) copies: Vec<Copy>,
    /// Packages that `RUN` installs.
    pub(crate) packages: Vec<(String, Evidence)>,
    /// Build arguments with their defaults.
    args: BTreeMap<String, String>,
}

/// The exec form or the shell form of `CMD` or `ENTRYPOINT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandForm {
    /// The JSON form.
    Exec(Vec<String>),
    /// Text for a shell.
    Shell(String),
}

/// A `HEALTHCHECK` with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthcheckInstruction {
    /// The command's text.
    pub(crate) command: String,
    /// The path of the URL in the command.
    pub(crate) path: Option<String>,
    /// The port of the URL.
    pub(crate) port: Option<u16>,
    /// `--interval=30s` and the others.
    pub(crate) flags: Vec<String>,
    pub(crate) evidence: Evidence,
}

/// A `COPY` or `ADD`.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) sources: Vec<String>,
    /// An absolute path.
    pub(crate) destination: String,
    /// The stage or image of `--from`.
    pub(crate) from: Option<String>,
    documents: Vec<HereDocument>,
    pub(crate) evidence: Evidence,
}

impl Copy {
    /// Returns the here-document that becomes the file with this name.
    pub(super) fn document(&self, name: &str) -> Option<&HereDocument> {
        let is_file = base_name(&self.destination) == name;
        self.documents.iter().find(|document| is_file || document.name == name)
    }
}

/// Variables of `ENV` and `ARG` as the shell of `RUN` has them.
pub(super) struct Variables<'a>(pub(super) &'a Stage);

impl ShellParameters for Variables<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name)
    }

    fn arguments(&self) -> &[String] {
        &[]
    }
}

impl Stage {
    /// Returns the stage with this index that begins with an image.
    pub(super) fn from_image(base: String, from: Evidence, index: usize, name: Option<String>) -> Self {
        let (line, workdir) = (from.line, "/".to_owned());
        Self { name, chain: vec![index], line, base: Some((base, from)), workdir, ..Self::default() }
    }

    /// Returns the stage with this index that begins with an earlier one.
    pub(super) fn on(parent: &Self, line: usize, index: usize, name: Option<String>) -> Self {
        let mut stage = parent.clone();
        stage.chain.push(index);
        (stage.line, stage.name) = (line, name);
        stage.args = BTreeMap::new();
        stage
    }

    /// Returns true if the stage with this index is part of this one.
    pub(crate) fn has(&self, index: Option<usize>) -> bool {
        index.is_some_and(|index| self.chain.contains(&index))
    }

    fn variable(&self, name: &str) -> Option<String> {
        let env = self.env.iter().find(|(known, ..)| known == name);
        env.map(|(_, value, _)| value.clone()).or_else(|| self.args.get(name).cloned())
    }

    /// Returns the variables of `RUN`.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let env = self.env.iter().map(|(name, value, _)| (name.clone(), value.clone()));
        self.args.clone().into_iter().chain(env).collect()
    }

    /// Applies an instruction. Unknown instructions and those of `ONBUILD` change nothing.
    pub(super) fn apply(
        &mut self,
        instruction: &Instruction,
        evidence: Evidence,
        global: &BTreeMap<String, String>,
        escape: char,
    ) {
        if instruction.is_onbuild {
            return;
        }
        let arguments = instruction.arguments.as_str();
        let expand = |word: &str| words::expand(word, escape, &|name| self.variable(name));
        let one = || expand(arguments.trim());
        match instruction.keyword.as_str() {
            "ARG" => {
                for (name, value) in words::pairs(arguments, escape) {
                    let value = match value {
                        Some(value) => words::expand(&value, escape, &|name| self.variable(name)),
                        None => global.get(&name).cloned().unwrap_or_default(),
                    };
                    self.args.insert(name, value);
                }
            }
            "ENV" => {
                let pairs = words::pairs(arguments, escape).into_iter();
                let pairs: Vec<_> =
                    pairs.map(|(name, value)| (name, expand(&value.unwrap_or_default()))).collect();
                for (name, value) in pairs {
                    match self.env.iter_mut().find(|(known, ..)| *known == name) {
                        Some(known) => (known.1, known.2) = (value, evidence.clone()),
                        None => self.env.push((name, value, evidence.clone())),
                    }
                }
            }
            "LABEL" => {
                let pairs = words::pairs(arguments, escape).into_iter();
                let pairs: Vec<_> = pairs
                    .map(|(name, value)| {
                        (expand(&name), expand(&value.unwrap_or_default()), evidence.clone())
                    })
                    .collect();
                self.labels.extend(pairs);
            }
            "WORKDIR" => self.workdir = join(Some(&self.workdir), &one()),
            "USER" => self.user = Some((one(), evidence)),
            "STOPSIGNAL" => self.stop_signal = Some((one(), evidence)),
            "CMD" => self.cmd = Some((command(instruction), evidence)),
            "ENTRYPOINT" => {
                self.entrypoint = Some((command(instruction), evidence));
                // An inherited command is reset, one of this stage stays.
                self.cmd = self.cmd.take().filter(|(_, cmd)| cmd.line > self.line);
            }
            "EXPOSE" => {
                let words = words::split(arguments, escape);
                let ports: Vec<u16> = words.iter().filter_map(|word| port(&expand(word))).collect();
                let new = ports.into_iter().filter(|port| self.ports.iter().all(|(known, _)| known != port));
                let new: Vec<_> = new.map(|port| (port, evidence.clone())).collect();
                self.ports.extend(new);
            }
            "VOLUME" => {
                let given = instruction.words.clone().unwrap_or_else(|| words::split(arguments, escape));
                let volumes: Vec<_> = given.iter().map(|volume| (expand(volume), evidence.clone())).collect();
                self.volumes.extend(volumes);
            }
            "HEALTHCHECK" => self.healthcheck = self.healthcheck(instruction, evidence),
            "COPY" | "ADD" => self.copy(instruction, evidence, escape),
            "RUN" => self.run(instruction, &evidence),
            _ => {}
        }
    }

    fn healthcheck(&self, instruction: &Instruction, evidence: Evidence) -> Option<HealthcheckInstruction> {
        let (keyword, command) =
            instruction.arguments.split_once(char::is_whitespace).unwrap_or((&instruction.arguments, ""));
        if !keyword.eq_ignore_ascii_case("CMD") {
            return None;
        }
        let command = match &instruction.words {
            Some(words) => words.join(" "),
            None => command.trim().to_owned(),
        };
        let found = url::find(&command, &|name| self.variable(name));
        let (path, port) = found.map_or((None, None), |found| (Some(found.path), found.port));
        Some(HealthcheckInstruction { command, path, port, flags: instruction.flags.clone(), evidence })
    }

    fn copy(&mut self, instruction: &Instruction, evidence: Evidence, escape: char) {
        let given = instruction.words.clone().unwrap_or_else(|| words::split(&instruction.arguments, escape));
        let expand = |word: &String| words::expand(word, escape, &|name| self.variable(name));
        let Some((destination, sources)) = given.split_last() else { return };
        let expanded = expand(destination);
        let mut destination = join(Some(&self.workdir), &expanded);
        let sources: Vec<String> = sources.iter().map(expand).collect();
        if (expanded.ends_with('/') || sources.len() > 1) && destination != "/" {
            destination.push('/');
        }
        self.copies.push(Copy {
            sources: sources.into_iter().filter(|source| !source.contains("<<")).collect(),
            destination,
            from: instruction.flag("from").map(|from| expand(&from.to_owned())),
            documents: instruction.here_documents.clone(),
            evidence,
        });
    }

    fn run(&mut self, instruction: &Instruction, evidence: &Evidence) {
        let mut found = Vec::new();
        let at = |line: usize| Evidence { line, ..evidence.clone() };
        for (package, offset) in packages(&instruction.arguments, &Variables(self)) {
            found.push((package, at(instruction.line_at(offset))));
        }
        for document in &instruction.here_documents {
            for (package, offset) in packages(&document.text, &Variables(self)) {
                let before = document.text.get(..offset).unwrap_or_default();
                found.push((package, at(document.line + before.matches('\n').count())));
            }
        }
        for (package, evidence) in found {
            if self.packages.iter().all(|(known, _)| *known != package) {
                self.packages.push((package, evidence));
            }
        }
    }
}

fn command(instruction: &Instruction) -> CommandForm {
    match &instruction.words {
        Some(words) => CommandForm::Exec(words.clone()),
        None => CommandForm::Shell(instruction.arguments.clone()),
    }
}

/// Parses an argument of `EXPOSE`: `8000`, `8000/tcp`, the first of `8000-8010`.
fn port(text: &str) -> Option<u16> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let first = port.split('-').next()?;
    first.parse().ok().filter(|port| *port > 0 && protocol.eq_ignore_ascii_case("tcp"))
}
