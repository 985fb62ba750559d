//! [`Dockerfile`]: the facts of a Dockerfile's last stage: command, port, health check, packages.
//!
//! Follows the Dockerfile reference (<https://docs.docker.com/reference/dockerfile/>). Nothing is built: build
//! arguments have their defaults, and instructions that the base image brings are unknown.

mod built;
pub(crate) mod lines;
mod stage;
mod url;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub(crate) use built::BuiltFiles;
pub(crate) use lines::Instruction;
use stage::Variables;
pub(crate) use stage::{CommandForm, Copy, Stage};

use super::command_reader::{CommandReader, CommandStep, Script, base_name, join};
use super::shell::{ShellParameters, Token, lex};
use super::{Evidence, NO_PRODUCTION, read_text};
use crate::error::FileError;
use crate::traced_fs;

/// A Dockerfile.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dockerfile {
    /// Its path from the project's root.
    pub(crate) file: String,
    /// All instructions, each with the index of its stage; `None` before the first `FROM`.
    pub(crate) instructions: Vec<(Instruction, Option<usize>)>,
    /// The stages, each with all that it inherits from an earlier one.
    pub(crate) stages: Vec<Stage>,
    /// The reason if BuildKit refuses the file.
    pub(crate) problem: Option<String>,
}

impl Dockerfile {
    /// Returns a sentence about a file that BuildKit refuses.
    pub(crate) fn refused(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!("cannot parse {}: {problem}; its later instructions are not read", self.file))
    }

    /// Reads a file, named in messages by its path below `root`, if it is there.
    pub(crate) fn read(root: &Path, path: &Path) -> Result<Self, FileError> {
        let bytes =
            traced_fs::open_regular(path).and_then(|file| traced_fs::read_limited(file, super::LIMIT));
        let bytes = bytes.and_then(|bytes| bytes.ok_or_else(|| io::Error::other("the file is too large")));
        let bytes = bytes.map_err(|error| FileError::new("read", path, error))?;
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        Ok(Self::parse(name.trim_start_matches("./"), &String::from_utf8_lossy(&bytes)))
    }

    /// Reads the text of a Dockerfile.
    pub(crate) fn parse(file: &str, text: &str) -> Self {
        let parsed = lines::parse(text);
        let mut dockerfile =
            Self { file: file.to_owned(), problem: parsed.problem.clone(), ..Self::default() };
        let mut global: BTreeMap<String, String> = BTreeMap::new();
        for instruction in parsed.instructions {
            if instruction.keyword == "FROM" && !instruction.is_onbuild {
                let stage = dockerfile.begin_stage(&instruction, &global, parsed.escape);
                dockerfile.stages.push(stage);
            } else if let Some(stage) = dockerfile.stages.last_mut() {
                let evidence = evidence(file, &instruction);
                stage.apply(&instruction, evidence, &global, parsed.escape);
            } else if instruction.keyword == "ARG" {
                for (name, value) in words::pairs(&instruction.arguments, parsed.escape) {
                    let value = value
                        .map(|value| words::expand(&value, parsed.escape, &|name| global.get(name).cloned()));
                    global.insert(name, value.unwrap_or_default());
                }
            }
            let stage = dockerfile.stages.len().checked_sub(1);
            dockerfile.instructions.push((instruction, stage));
        }
        dockerfile
    }

    fn begin_stage(&self, from: &Instruction, global: &BTreeMap<String, String>, escape: char) -> Stage {
        let given = words::split(&from.arguments, escape);
        let lookup = |name: &str| global.get(name).cloned();
        let base = given.first().map(|base| words::expand(base, escape, &lookup)).unwrap_or_default();
        let name = match given.as_slice() {
            [_, keyword, name, ..] if keyword.eq_ignore_ascii_case("as") => Some(name.to_lowercase()),
            _ => None,
        };
        let index = self.stages.len();
        match self.stage_named(&base) {
            Some(parent) => Stage::on(&self.stages[parent], from.line, index, name),
            None => Stage::from_image(base, evidence(&self.file, from), index, name),
        }
    }

    /// Returns the index of the stage with this name.
    fn stage_named(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        self.stages.iter().rposition(|stage| stage.name.as_ref() == Some(&name))
    }

    /// Returns the stage that is built without `--target`: the last one.
    pub(crate) fn target(&self) -> Option<&Stage> {
        self.stages.last()
    }

    /// Returns the commands that a container of the last stage starts, with those of scripts in the project.
    pub(super) fn steps(&self, root: &Path) -> Vec<CommandStep> {
        let Some(stage) = self.target() else { return Vec::new() };
        // A container has no build arguments, but their defaults are the best guess.
        let variables = stage.variables();
        let find_script = |program: &str, folder: Option<&str>| self.script(root, program, folder);
        let (text, words) = match (&stage.entrypoint, &stage.cmd) {
            (Some((CommandForm::Shell(text), evidence)), _)
            | (None, Some((CommandForm::Shell(text), evidence))) => (Some((text, evidence)), None),
            (None, Some((CommandForm::Exec(words), evidence)))
            | (Some((CommandForm::Exec(words), evidence)), None) => (None, Some((words.clone(), evidence))),
            (Some((CommandForm::Exec(first), entrypoint)), Some((second, evidence))) => {
                let more = match second {
                    CommandForm::Exec(words) => words.clone(),
                    CommandForm::Shell(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
                };
                let evidence = if more.is_empty() { entrypoint } else { evidence };
                (None, Some(([first.clone(), more].concat(), evidence)))
            }
            (None, None) => return Vec::new(),
        };
        match (text, words) {
            (Some((text, evidence)), _) => CommandReader::line(text, evidence, variables, &find_script),
            (_, Some((words, evidence))) => CommandReader::words(words, evidence, variables, &find_script),
            _ => Vec::new(),
        }
    }

    /// Returns the commands of `RUN` instructions in the last stage.
    pub(super) fn run_steps(&self) -> Vec<CommandStep> {
        let Some(stage) = self.target() else { return Vec::new() };
        let instructions = self.instructions.iter().filter(|(_, index)| stage.has(*index));
        let runs =
            instructions.filter(|(instruction, _)| instruction.keyword == "RUN" && !instruction.is_onbuild);
        runs.flat_map(|(instruction, _)| self.steps_of(instruction)).collect()
    }

    /// Returns the `RUN` instructions of all stages.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Instruction> {
        let own = self.instructions.iter().map(|(instruction, _)| instruction);
        own.filter(|instruction| instruction.keyword == "RUN")
    }

    /// Returns the `RUN` instructions of the stages that are not for development and tests.
    pub(crate) fn production_runs(&self) -> impl Iterator<Item = &Instruction> {
        let is_production = |stage: &Option<usize>| {
            let name = stage.and_then(|stage| self.stages.get(stage)?.name.as_deref()).unwrap_or_default();
            let mut words = name.split(['.', '-', '_']);
            !words.any(|word| word != "base" && NO_PRODUCTION.contains(&word))
        };
        let own = self.instructions.iter().filter(move |(_, stage)| is_production(stage));
        own.map(|(instruction, _)| instruction).filter(|instruction| instruction.keyword == "RUN")
    }

    /// Returns the words of all programs in a `RUN`, with the variables of the last stage. Words with
    /// another construct of a shell are left out.
    pub(crate) fn programs_in(&self, run: &Instruction) -> Vec<Vec<String>> {
        let (None, Some(stage)) = (&run.words, self.target()) else {
            return run.words.clone().into_iter().collect();
        };
        let tokens = lex(&script_text(run)).unwrap_or_default();
        let commands = tokens.split(|token| matches!(token, Token::Operator(..)));
        let fields = |token: &Token| match token {
            Token::Word(word) => word.fields(&Variables(stage)).unwrap_or_default(),
            Token::Operator(..) => Vec::new(),
        };
        commands.map(|command| command.iter().flat_map(fields).collect()).collect()
    }

    /// Returns the commands of a `RUN`, with the variables of the last stage.
    pub(crate) fn steps_of(&self, run: &Instruction) -> Vec<CommandStep> {
        let evidence = evidence(&self.file, run);
        let variables = self.target().map(Stage::variables).unwrap_or_default();
        match &run.words {
            Some(words) => CommandReader::words(words.clone(), &evidence, variables, &|_, _| None),
            None => CommandReader::line(&script_text(run), &evidence, variables, &|_, _| None),
        }
    }

    /// Returns the project's folder that is the working directory of a container.
    pub(super) fn directory(&self, root: &Path) -> Option<String> {
        self.project_folder(root, &self.target()?.workdir)
    }

    /// Returns the project's folder at a path in the image, from the project's root; `None` for the root itself.
    pub(super) fn project_folder(&self, root: &Path, path: &str) -> Option<String> {
        self.project_path(root, path).filter(|folder| !folder.is_empty())
    }

    /// Returns the project's folder at a path in the image, from the project's root; empty for the root.
    fn project_path(&self, root: &Path, path: &str) -> Option<String> {
        let found = self.sources(root, self.stages.len().checked_sub(1)?, path, 0);
        found.into_iter().find(|folder| traced_fs::is_dir(root.join(folder)))
    }

    /// Returns the project's folders in the variable `PYTHONPATH`, from the project's root, with its place.
    pub(super) fn python_path(&self, root: &Path) -> Option<(Vec<String>, Evidence)> {
        let stage = self.target()?;
        let (_, value, evidence) = stage.env.iter().rfind(|(name, ..)| name == "PYTHONPATH")?;
        let mut folders = Vec::new();
        for part in value.split(':').filter(|part| !part.is_empty() && !part.contains('$')) {
            let folder = self.project_path(root, &join(Some(&stage.workdir), part));
            folders.extend(folder.filter(|folder| !folders.contains(folder)));
        }
        (!folders.is_empty()).then(|| (folders, evidence.clone()))
    }

    /// Writes a word that is the image's path of a project's file from the folder in which the command runs.
    pub(super) fn localize(&self, root: &Path, folder: Option<&str>, word: &mut String) {
        let Some(last) = self.stages.len().checked_sub(1).filter(|_| word.starts_with('/')) else { return };
        let files = self.sources(root, last, word, 0);
        if let Some(file) = files.into_iter().find(|file| traced_fs::is_file(root.join(file))) {
            let above = folder.unwrap_or_default();
            strip(&file, above).unwrap_or(&file).clone_into(word);
        }
    }

    /// Returns the path that a script of the project requests, if a health check's command starts one.
    pub(super) fn script_path(&self, root: &Path, command: &str) -> Option<String> {
        let workdir = &self.target()?.workdir;
        command.split_whitespace().filter(|word| word.contains('.')).find_map(|word| {
            let path = join(Some(workdir), word);
            let files = self.sources(root, self.stages.len() - 1, &path, 0);
            let text = files.iter().find_map(|file| read_text(root, file))?;
            Some(url::find(&text, &|_| None)?.path)
        })
    }

    /// Returns the script of the project behind a path in the image.
    pub(super) fn script(&self, root: &Path, program: &str, folder: Option<&str>) -> Option<Script> {
        let stage = self.target()?;
        let is_path = program.contains('/') || program.ends_with(".sh");
        let name = base_name(program);
        if let Some(document) = stage.copies.iter().rev().find_map(|copy| copy.document(name)) {
            let mut lines = String::new();
            // Lines of the text have the numbers of the Dockerfile's.
            (1..document.line).for_each(|_| lines.push('\n'));
            return Some(Script { file: self.file.clone(), text: lines + &document.text });
        }
        let folder = join(Some(&stage.workdir), folder.unwrap_or_default());
        let path = join(Some(&folder), program);
        let mut candidates = self.sources(root, self.stages.len() - 1, &path, 0);
        if is_path {
            let known = ["", "docker/", "scripts/", "bin/", "deploy/", ".docker/", "deployment/", "backend/"];
            candidates.extend(known.iter().map(|folder| format!("{folder}{name}")));
        } else {
            // A name without a path is searched in PATH: only a copied file can be one.
            candidates.retain(|candidate| base_name(candidate) == name && name.contains(['.', '-', '_']));
            for folder in ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin"] {
                candidates.extend(self.sources(root, self.stages.len() - 1, &format!("{folder}/{name}"), 0));
            }
        }
        candidates.into_iter().find_map(|file| {
            let text = read_text(root, &file)?;
            let first = text.lines().next().unwrap_or_default();
            let is_script = first.starts_with("#!") || file.ends_with(".sh");
            (is_script && !file.ends_with(".py")).then_some(Script { file, text })
        })
    }

    /// Returns the paths of the project that `COPY` and `ADD` may have put at a path in the image.
    fn sources(&self, root: &Path, stage: usize, path: &str, depth: usize) -> Vec<String> {
        let mut found = Vec::new();
        let Some(stage) = self.stages.get(stage).filter(|_| depth < 8) else { return found };
        for copy in stage.copies.iter().rev() {
            for source in copy.sources.iter().rev() {
                let source = join(None, source);
                let source =
                    if copy.from.is_some() { source.as_str() } else { source.trim_start_matches('/') };
                let in_folder = || strip(path, &copy.destination);
                let in_stage = |source: String| match &copy.from {
                    None => vec![source],
                    Some(from) => match self.stage_named(from).or_else(|| from.parse().ok()) {
                        Some(from) => self.sources(root, from, &source, depth + 1),
                        None => Vec::new(),
                    },
                };
                let is_folder = match &copy.from {
                    None => source.is_empty() || traced_fs::is_dir(root.join(source)),
                    Some(_) => true,
                };
                if is_folder && let Some(rest) = in_folder() {
                    let separator = if source.is_empty() || rest.is_empty() { "" } else { "/" };
                    found.extend(in_stage(format!("{source}{separator}{rest}")));
                }
                let file = format!("{}/{}", copy.destination.trim_end_matches('/'), base_name(source));
                if !is_folder && (copy.destination == path || file == path) {
                    found.extend(in_stage(source.to_owned()));
                }
            }
        }
        found
    }
}

/// Returns the rest of a path below a folder; empty for the folder itself.
fn strip<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// Returns the shell's text of `RUN`: the arguments, or the here-document that is the entire command.
fn script_text(instruction: &Instruction) -> String {
    match instruction.here_documents.first() {
        Some(document) if instruction.arguments.starts_with("<<") => document.text.clone(),
        _ => instruction.arguments.clone(),
    }
}

fn evidence(file: &str, instruction: &Instruction) -> Evidence {
    Evidence {
        file: file.to_owned(),
        line: instruction.line,
        text: super::shortened(&instruction.text(), super::MAX_TEXT),
    }
}

/// Programs that install packages of a distribution, with the word that does.
const INSTALLERS: [(&str, &str); 6] = [
    ("apt-get", "install"),
    ("apt", "install"),
    ("apk", "add"),
    ("dnf", "install"),
    ("microdnf", "install"),
    ("yum", "install"),
];
/// Their flags with a value in the next word.
const VALUES: [&str; 9] = [
    "-t",
    "--target-release",
    "--virtual",
    "-o",
    "--option",
    "--repository",
    "-X",
    "--allow-untrusted-repo",
    "-c",
];

/// Returns the packages that a command installs, with the offsets of their names.
fn packages(text: &str, values: &dyn ShellParameters) -> Vec<(String, usize)> {
    let Ok(tokens) = lex(text) else { return Vec::new() };
    let mut found = Vec::new();
    for command in tokens.split(|token| matches!(token, Token::Operator(..))) {
        let words: Vec<_> = command
            .iter()
            .filter_map(|token| match token {
                Token::Word(word) => Some(word),
                Token::Operator(..) => None,
            })
            .collect();
        let name = |at: usize| words.get(at).and_then(|word| word.literal()).map(base_name);
        let installer =
            (0..words.len()).find_map(|at| INSTALLERS.iter().find(|(program, _)| name(at) == Some(program)));
        let Some((_, verb)) = installer else { continue };
        let Some(start) = (0..words.len()).find(|at| name(*at) == Some(verb)) else { continue };
        let mut is_value = false;
        for word in &words[start + 1..] {
            let skipped = std::mem::take(&mut is_value);
            // A pattern for a version, `libpq5=15.*`, stays as written.
            let literal = || word.literal().map(|word| vec![word.to_owned()]);
            let Some(fields) = word.fields(values).ok().or_else(literal) else { continue };
            for field in fields {
                if field.starts_with('-') {
                    is_value = VALUES.contains(&field.as_str());
                    continue;
                }
                let package = field.split(['=', '<', '>', '~', '@']).next().unwrap_or_default();
                let is_name = package.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && package.chars().all(|c| c.is_ascii_alphanumeric() || "+-._:".contains(c));
                if is_name && !skipped {
                    found.push((package.to_owned(), word.offset));
                }
            }
        }
    }
    found
}
