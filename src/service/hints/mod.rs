//! [`Hints`]: the commands, ports and packages that a repository already names for other tools: `Dockerfile`,
//! `Procfile`, `gunicorn.conf.py` and the files of platforms.
//!
//! Hints are evidence with file and line, and no settings: the caller decides and tells what became of each. Files are
//! read, nothing is run. A missing, unreadable or large file gives no hint and is no error.

pub(crate) mod command;
mod command_reader;
mod conditions;
pub(crate) mod dockerfile;
mod platforms;
mod python_files;
mod shell;
mod variable;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use dockerfile::Dockerfile;
pub(crate) use python_files::GunicornConfig;
pub(crate) use shell::{PORT, is_unread};

use self::command_reader::{CommandReader, Script, base_name, join};
use self::dockerfile::{BuiltFiles, Stage};
use self::platforms::PlatformFile;
use crate::service::server::{Server, ServerKind};
use crate::traced_fs;

/// The largest file read, in bytes.
const LIMIT: u64 = 512 << 10;
/// The longest text of an evidence, in characters.
const MAX_TEXT: usize = 160;
/// The most Dockerfiles beside the first one that are named.
const MOST_DOCKERFILES: usize = 5;
/// Names of Dockerfiles for development and tests.
const NO_PRODUCTION: [&str; 14] = [
    "dev",
    "development",
    "devel",
    "test",
    "tests",
    "testing",
    "local",
    "ci",
    "debug",
    "lint",
    "docs",
    "base",
    "playwright",
    "example",
];

/// The place of a hint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Evidence {
    /// The path from the project's root.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The text there, on one line and shortened.
    pub(crate) text: String,
}

/// A command that a file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandHint {
    pub(crate) role: HintRole,
    /// The program and its arguments, without programs that only start it. [`PORT`] stands for the port, and `${NAME}` or
    /// `$(…)` for a value that only a running container has. An error names the construct that needs a shell.
    pub(crate) words: Result<Vec<String>, String>,
    /// The folder in which the command runs, from the project's root; `None` for the root itself, or a folder that is
    /// not in the project.
    pub(crate) directory: Option<String>,
    /// Variables that the command line sets.
    pub(crate) env: Vec<(String, String)>,
    /// Programs that were in front and have an effect of their own: `ddtrace-run`, `newrelic-admin`.
    pub(crate) wrappers: Vec<String>,
    /// The default of the port's variable: `${PORT:-8000}`.
    pub(crate) port: Option<u16>,
    /// The parts that only a running container has: `${WORKERS}`, `$(…)`, options under a condition.
    pub(crate) unread: Vec<String>,
    pub(crate) evidence: Evidence,
}

/// The role of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HintRole {
    /// The service itself.
    Web,
    /// Once for each release, before the service: migrations.
    Release,
    /// Makes files of the image: `collectstatic`, `npm run build`.
    Prepare,
    /// Another process beside the service, with its name.
    Process(String),
}

/// The hints of a repository.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    /// Commands, in the order of belief: `Procfile`, Dockerfile, `app.json` and other platforms.
    pub(crate) commands: Vec<CommandHint>,
    /// The port of the service.
    pub(crate) port: Option<(u16, Evidence)>,
    /// The path of the health check, with a leading `/`.
    pub(crate) health_path: Option<(String, Evidence)>,
    /// Packages of a distribution that the Dockerfile's last stage installs.
    pub(crate) system_packages: Vec<(String, Evidence)>,
    /// The Python version of `runtime.txt` or of the Dockerfile's base image.
    pub(crate) python_version: Option<(String, Evidence)>,
    /// `gunicorn.conf.py`.
    pub(crate) gunicorn: Option<GunicornConfig>,
    /// The address in a configuration file that gunicorn reads, if it does not follow `PORT`.
    pub(crate) gunicorn_address: Option<Evidence>,
    /// The application in such a file: `wsgi_app`.
    pub(crate) gunicorn_application: Option<(String, Evidence)>,
    /// `.flaskenv`.
    pub(crate) flask_env: Vec<(String, String, Evidence)>,
    /// The Dockerfile.
    pub(crate) dockerfile: Option<Dockerfile>,
    /// Other Dockerfiles with a command, which are not read, with the command of each that serves.
    pub(crate) other_dockerfiles: Vec<(String, Option<Vec<String>>)>,
    /// The project's folders in the Dockerfile's `PYTHONPATH`, from the project's root; empty for the root itself.
    pub(crate) python_path: Option<(Vec<String>, Evidence)>,
    /// Files that other stages of the Dockerfile make for the last one.
    pub(crate) built: Vec<BuiltFiles>,
    /// Variables with a value in `ENV` and `ARG` of the Dockerfile, and in files of platforms.
    variables: BTreeMap<String, String>,
}

impl Evidence {
    /// Returns the evidence of a line of a file.
    pub(super) fn line(file: &str, line: usize, text: &str) -> Self {
        Self { file: file.to_owned(), line, text: shortened(text, MAX_TEXT) }
    }

    /// Returns the evidence of the line with the byte `offset` of a file's text.
    pub(super) fn at(file: &str, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count();
        Self::line(file, line + 1, text.lines().nth(line).unwrap_or_default())
    }
}

/// Returns a text on one line, of at most `most` characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// Reads a file of the project as text. Invalid UTF-8 is replaced.
fn read_text(root: &Path, file: &str) -> Option<String> {
    if file.split('/').any(|part| part == "..") || file.starts_with('/') {
        return None;
    }
    let path = root.join(file);
    if !traced_fs::is_file(&path) {
        return None;
    }
    let opened = traced_fs::open_nonblocking(path).ok()?;
    let bytes = traced_fs::read_limited(opened, LIMIT).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A reader of a platform's file, given its name and text.
type ReadPlatformFile = fn(&str, &str) -> PlatformFile;

impl Hints {
    /// Reads the hints in a project's folder.
    pub(crate) fn read(root: &Path) -> Self {
        let mut found = find_dockerfiles(root).into_iter();
        let hints = Self::with_dockerfile(root, found.next());
        let served = |dockerfile: &Dockerfile| {
            let mut commands = command::hints(&dockerfile.steps(root), &HintRole::Web).into_iter();
            commands.find(|hint| hint.role == HintRole::Web)?.words.ok()
        };
        let others = found.map(|dockerfile| (dockerfile.file.clone(), served(&dockerfile)));
        Self { other_dockerfiles: others.collect(), ..hints }
    }

    /// Returns another Dockerfile that starts a server with another application.
    pub(crate) fn competing_dockerfile(&self) -> Option<(&str, &str)> {
        let own = self.dockerfile.as_ref()?;
        let is_own = |hint: &&CommandHint| hint.role == HintRole::Web && hint.evidence.file == own.file;
        let application = |words: &[String]| Some(Server::of(words)?.application()?.to_owned());
        let named = application(self.commands.iter().find(is_own)?.words.as_ref().ok()?)?;
        let differs = |words: &Vec<String>| application(words).is_some_and(|other| other != named);
        let mut others = self.other_dockerfiles.iter();
        let (other, _) = others.find(|(_, words)| words.as_ref().is_some_and(differs))?;
        Some((&own.file, other))
    }

    /// Reads the hints in a project's folder, with this Dockerfile.
    pub(crate) fn with_dockerfile(root: &Path, dockerfile: Option<Dockerfile>) -> Self {
        let mut hints = Self { dockerfile, ..Self::default() };
        hints.variables = hints.known_variables(root);
        hints.platform(root, read_text(root, "Procfile").map(|text| platforms::procfile("Procfile", &text)));
        hints.read_dockerfile(root);
        hints.built = hints.dockerfile.as_ref().map(|file| file.built_files(root)).unwrap_or_default();
        let files: [(&str, ReadPlatformFile); 6] = [
            ("app.json", platforms::json),
            ("heroku.yml", platforms::yaml),
            ("fly.toml", platforms::toml),
            ("railway.toml", platforms::toml),
            ("railway.json", platforms::json),
            ("render.yaml", platforms::yaml),
        ];
        for (file, read) in files {
            hints.platform(root, read_text(root, file).map(|text| read(file, &text)));
        }
        let gunicorn = ["gunicorn.conf.py", "gunicorn_conf.py", "gunicorn.py", "gunicorn_config.py"];
        hints.gunicorn = gunicorn.iter().find_map(|file| {
            let text = read_text(root, file)?;
            Some(GunicornConfig::parse(file, &text)).filter(|config| !config.settings.is_empty())
        });
        let bind = hints.gunicorn.as_ref().and_then(|config| config.setting("bind"));
        let bound =
            bind.and_then(|(bind, place)| Some((bind.rsplit_once(':')?.1.parse().ok()?, place.clone())));
        hints.port = hints.port.take().or(bound);
        let configs = hints.gunicorn_configs(root);
        hints.gunicorn_address = Self::gunicorn_address(&configs);
        let application = |config: &GunicornConfig| {
            config.setting("wsgi_app").map(|(application, place)| (application.to_owned(), place.clone()))
        };
        hints.gunicorn_application = configs.iter().chain(&hints.gunicorn).find_map(application);
        hints.flask_env = read_text(root, ".flaskenv")
            .map(|text| python_files::flaskenv(".flaskenv", &text))
            .unwrap_or_default();
        let runtime =
            read_text(root, "runtime.txt").and_then(|text| python_files::runtime("runtime.txt", &text));
        hints.python_version = runtime.or(hints.python_version.take());
        hints
    }

    /// Returns the variables with a value in the repository. Those of the Dockerfile take precedence.
    fn known_variables(&self, root: &Path) -> BTreeMap<String, String> {
        let read = |file: &str, read: ReadPlatformFile| read_text(root, file).map(|text| read(file, &text));
        let files = [read("app.json", platforms::json), read("fly.toml", platforms::toml)];
        let mut variables: BTreeMap<String, String> =
            files.into_iter().flatten().flat_map(|file| file.variables).collect();
        variables.extend(
            self.dockerfile.as_ref().and_then(Dockerfile::target).map(Stage::variables).unwrap_or_default(),
        );
        variables
    }

    /// Returns the first command with this role.
    pub(crate) fn command(&self, role: &HintRole) -> Option<&CommandHint> {
        self.commands.iter().find(|command| command.role == *role)
    }

    /// Reads `gunicorn.conf.py`, which gunicorn reads by itself, and files that a command names with `-c`.
    fn gunicorn_configs(&self, root: &Path) -> Vec<GunicornConfig> {
        let named = self.commands.iter().filter_map(|hint| {
            let server =
                Server::of(hint.words.as_ref().ok()?).filter(|it| it.kind == ServerKind::Gunicorn)?;
            let file = server.config_file()?;
            let file = match file.strip_prefix("python:") {
                Some(module) => format!("{}.py", module.replace('.', "/")),
                None => file.strip_prefix("file:").unwrap_or(file).trim_start_matches("./").to_owned(),
            };
            Some(hint.directory.as_ref().map_or(file.clone(), |folder| format!("{folder}/{file}")))
        });
        let files = std::iter::once("gunicorn.conf.py".to_owned()).chain(named);
        files.filter_map(|file| Some(GunicornConfig::parse(&file, &read_text(root, &file)?))).collect()
    }

    /// Returns the address in a configuration of gunicorn. One with the word `port` probably follows the variable.
    fn gunicorn_address(configs: &[GunicornConfig]) -> Option<Evidence> {
        configs.iter().find_map(|config| {
            let (_, _, evidence) = config.settings.iter().rfind(|(name, ..)| name == "bind")?;
            (!evidence.text.to_lowercase().contains("port")).then(|| evidence.clone())
        })
    }

    fn platform(&mut self, root: &Path, file: Option<PlatformFile>) {
        let Some(file) = file else { return };
        let find_script = |program: &str, folder: Option<&str>| project_script(root, program, folder);
        for (role, line, evidence) in file.commands {
            let steps = CommandReader::line(&line, &evidence, self.variables.clone(), &find_script);
            self.commands.extend(command::hints(&steps, &role));
        }
        self.port = self.port.take().or(file.port);
        self.health_path = self.health_path.take().or(file.health_path);
    }

    fn read_dockerfile(&mut self, root: &Path) {
        let Some(dockerfile) = &self.dockerfile else { return };
        let Some(stage) = dockerfile.target() else { return };
        let mut commands = command::hints(&dockerfile.steps(root), &HintRole::Web);
        let prepared = command::hints(&dockerfile.run_steps(), &HintRole::Prepare);
        commands.extend(prepared.into_iter().filter(|hint| {
            let kind = hint.words.as_ref().map_or(command::CommandKind::Other, |words| command::kind(words));
            kind == command::CommandKind::Preparation
        }));
        let directory = dockerfile.directory(root);
        for hint in &mut commands {
            hint.directory = match hint.directory.take() {
                Some(folder) if folder.starts_with('/') => dockerfile.project_folder(root, &folder),
                Some(folder) => Some(join(directory.as_deref(), &folder)),
                None => directory.clone(),
            };
            let words = hint.words.as_mut().map(Vec::as_mut_slice).unwrap_or_default();
            for word in words {
                dockerfile.localize(root, hint.directory.as_deref(), word);
            }
        }
        self.health_path = self.health_path.take().or_else(|| {
            let healthcheck = stage.healthcheck.as_ref()?;
            let path =
                healthcheck.path.clone().or_else(|| dockerfile.script_path(root, &healthcheck.command))?;
            Some((path, healthcheck.evidence.clone()))
        });
        let web = commands.iter().find(|hint| hint.role == HintRole::Web);
        let bound = web.and_then(|hint| {
            let bound = hint.words.as_ref().ok().and_then(|words| bound_port(words));
            Some((bound.or(hint.port)?, hint.evidence.clone()))
        });
        let env = stage.env.iter().find(|(name, ..)| name == "PORT");
        let env = env.and_then(|(_, value, place)| Some((value.parse().ok()?, place.clone())));
        let exposed = stage.ports.first().cloned();
        self.port = self.port.take().or(bound).or(exposed).or(env);
        self.system_packages.clone_from(&stage.packages);
        self.python_version = stage
            .base
            .as_ref()
            .and_then(|(base, place)| Some((python_files::image_version(base)?, place.clone())));
        self.python_path = dockerfile.python_path(root);
        self.commands.extend(commands);
    }
}

/// The beginnings of an address that is reachable from outside.
pub(crate) const ANY_HOST: [&str; 2] = ["0.0.0.0:", "[::]:"];

/// Returns the port that a command's options name: `--port 8000`, `-b 0.0.0.0:8000`.
fn bound_port(words: &[String]) -> Option<u16> {
    let port = |text: &str| {
        text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0)
    };
    let options = ["--port", "-p", "--bind", "-b", "--server.port", "--http", "--http-socket", "-P"];
    let is_waitress = words.first().is_some_and(|program| program == "waitress-serve");
    let named = words.iter().enumerate().skip(1).find_map(|(at, word)| match word.split_once('=') {
        Some(("--listen", value)) if is_waitress => port(value),
        Some((option, value)) if options.contains(&option) => port(value),
        _ if options.contains(&word.as_str()) => port(words.get(at + 1)?),
        _ if words[at - 1].starts_with("runserver") && word.contains(':') => port(word),
        _ => None,
    });
    // Options of other programs: `--hosts 0.0.0.0:5232,[::]:5232`.
    let any = |word: &str| ANY_HOST.iter().find_map(|host| word.strip_prefix(host)).and_then(port);
    named.or_else(|| words.iter().skip(1).flat_map(|word| word.split(['=', ','])).find_map(any))
}

/// Returns a shell script that a command line of the project names.
fn project_script(root: &Path, program: &str, folder: Option<&str>) -> Option<Script> {
    if !program.contains('/') && !program.ends_with(".sh") {
        return None;
    }
    let file = join(folder, program.strip_prefix("/app/").unwrap_or(program));
    let text = read_text(root, &file)?;
    let first = text.lines().next().unwrap_or_default();
    let is_script = (first.starts_with("#!") && first.contains("sh")) || file.ends_with(".sh");
    is_script.then_some(Script { file, text })
}

/// Returns the Dockerfiles of the service: those with a command, in the project's folder first, then in usual folders;
/// for production first. Without a command, there is one.
fn find_dockerfiles(root: &Path) -> Vec<Dockerfile> {
    let mut files: Vec<String> = ["Dockerfile", "Containerfile"].map(str::to_owned).to_vec();
    for folder in ["", "docker", ".docker", "deploy", "deployment", "build"] {
        files.extend(listed(root, folder));
    }
    files.push("compose/production/django/Dockerfile".to_owned());
    let (mut found, mut without_command): (Vec<Dockerfile>, _) = (Vec::new(), None);
    for file in files {
        if found.len() > MOST_DOCKERFILES || found.iter().any(|known| known.file == file) {
            continue;
        }
        let Some(text) = read_text(root, &file) else { continue };
        let dockerfile = Dockerfile::parse(&file, &text);
        match dockerfile.target() {
            Some(stage) if stage.cmd.is_some() || stage.entrypoint.is_some() => found.push(dockerfile),
            Some(_) => drop(without_command.get_or_insert(dockerfile)),
            None => {}
        }
    }
    if found.is_empty() { without_command.into_iter().collect() } else { found }
}

/// Returns the Dockerfiles in a folder, those for production first.
fn listed(root: &Path, folder: &str) -> Vec<String> {
    let Ok(entries) = traced_fs::read_dir(root.join(folder)) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let suffix = |name: &str| {
        let name = name.to_lowercase();
        let known = ["dockerfile", "containerfile"];
        known.iter().find_map(|known| {
            let rest = name.strip_prefix(known).or_else(|| name.strip_suffix(known))?;
            (rest.is_empty() || rest.starts_with(['.', '-', '_']) || rest.ends_with(['.', '-', '_']))
                .then(|| rest.trim_matches(['.', '-', '_']).to_owned())
        })
    };
    let is_production =
        |suffix: &String| !suffix.split(['.', '-', '_']).any(|part| NO_PRODUCTION.contains(&part));
    let mut found: Vec<(bool, String)> = names
        .filter(|name| !name.ends_with(".dockerignore"))
        .filter_map(|name| {
            let suffix = suffix(&name).filter(is_production)?;
            Some((!(suffix.is_empty() || suffix.starts_with("prod")), name))
        })
        .collect();
    found.sort_unstable();
    let separator = if folder.is_empty() { "" } else { "/" };
    found.into_iter().map(|(_, name)| format!("{folder}{separator}{name}")).collect()
}

/// Returns the instructions of a Dockerfile as JSON, for `benches/dockerfiles`.
pub fn dockerfile_instructions(text: &str) -> serde_json::Value {
    let parsed = dockerfile::lines::parse(text);
    let instructions = parsed.instructions.iter().map(|instruction| {
        let documents = instruction.here_documents.iter().map(|document| (&document.name, &document.text));
        serde_json::json!({
            "keyword": instruction.keyword,
            "onbuild": instruction.is_onbuild,
            "flags": instruction.flags,
            "words": instruction.words,
            "arguments": instruction.arguments,
            "lines": (instruction.line, instruction.last_line),
            "documents": documents.collect::<Vec<_>>(),
        })
    });
    serde_json::json!({ "instructions": instructions.collect::<Vec<_>>(), "problem": parsed.problem })
}

/// Feeds untrusted text to the readers, for a fuzz target.
pub fn fuzz(text: &str) {
    let dockerfile = Dockerfile::parse("Dockerfile", text);
    let none = Path::new("/nonexistent");
    let _ = command::hints(&dockerfile.steps(none), &HintRole::Web);
    let _ = command::hints(&dockerfile.run_steps(), &HintRole::Prepare);
    let _ = dockerfile.directory(none);
    for (role, line, evidence) in platforms::procfile("Procfile", text).commands {
        let _ = command::hints(&CommandReader::line(&line, &evidence, BTreeMap::new(), &|_, _| None), &role);
    }
    let script = Script { file: "start.sh".to_owned(), text: text.to_owned() };
    let find = |name: &str, _: Option<&str>| (base_name(name) == "start.sh").then(|| script.clone());
    let words = ["./start.sh", "gunicorn", "a:b"].map(str::to_owned).to_vec();
    let _ = command::hints(
        &CommandReader::words(words, &Evidence::default(), BTreeMap::new(), &find),
        &HintRole::Web,
    );
    let _ = platforms::json("app.json", text);
    let _ = platforms::toml("fly.toml", text);
    let _ = platforms::yaml("render.yaml", text);
    let _ = GunicornConfig::parse("gunicorn.conf.py", text);
    let _ = python_files::flaskenv(".flaskenv", text);
    let _ = python_files::image_version(text);
}
