//! Contents and processes of images: the built-in recipes in `layers/*.toml`, and those of users.
//!
//! A recipe is a file of [`Settings`] that may extend another with `extends`. [`Recipe::resolve`]
//! merges settings, in order of precedence: flags, environment variables, `pyproject.toml`, the
//! recipe. The result is a complete [`Recipe`]. A recipe named on the command line takes precedence
//! over `pyproject.toml` ([`Recipe::resolve_named`]).

#![allow(clippy::disallowed_methods)] // Cache keys contain the values of the recipe.

mod defaults;
#[cfg(test)]
mod documents;
mod schema;
mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub use defaults::default_text;
pub use schema::schema;
pub use tables::{ResolvedApt, ResolvedCheck, ResolvedFile, ResolvedPrepare, WEB};

use serde::Serialize;

use crate::compression::Compression;
use crate::error::{Advice, FileError};
use crate::platform::Platform;
use crate::printable;
use crate::python::requirements::declaration::{DefaultGroups, DependencySelection};
use crate::service::Server;
use crate::settings::{
    Bytecode, DeployTable, EventLoop, HealthcheckSetting, HttpProtocol, List, OneOrMore, Ports, ProcessTable,
    PythonRequest, Seconds, Selection, ServerName, Settings, SettingsError, Size, User,
};
use crate::signal_names;
use crate::suggest::{nearest, with_nearest};
use crate::tree::{ImagePath, PathError};

/// The word of a command in place of which the command of the service is inserted.
pub(crate) const SERVICE: &str = "{service}";

/// The longest chain of recipes that extend one another.
const MAX_CHAIN: usize = 16;

/// An image of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Target {
    /// The image for production.
    Runtime,
    /// The image that compiles and changes dependencies.
    Builder,
    /// The runtime with all installed distributions and automatic reload.
    Dev,
}

impl Target {
    /// All targets.
    pub const ALL: [Self; 3] = [Self::Runtime, Self::Builder, Self::Dev];

    /// Returns the name in settings and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Builder => "builder",
            Self::Dev => "dev",
        }
    }

    /// Returns the suffix of the target's tags; the runtime's is empty.
    pub fn tag_suffix(self) -> &'static str {
        match self {
            Self::Runtime => "",
            Self::Builder => "-builder",
            Self::Dev => "-dev",
        }
    }

    /// Returns the settings of the built-in recipe, with those of the recipes that it extends.
    #[doc(hidden)]
    pub fn settings(self) -> Result<Settings, RecipeError> {
        Ok(builtin(self, MAX_CHAIN)?.all())
    }

    /// Returns the text of the built-in recipe, a commented TOML file.
    pub fn text(self) -> &'static str {
        match self {
            Self::Runtime => include_str!("../../layers/runtime.toml"),
            Self::Builder => include_str!("../../layers/builder.toml"),
            Self::Dev => include_str!("../../layers/dev.toml"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Target {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        Self::ALL.into_iter().find(|target| target.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str);
            SettingsError::value("target", text, with_nearest("write runtime, builder or dev", text, known))
        })
    }
}

/// An invalid recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// A file or value is invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Recipes that extend one another in a cycle, or too many.
    #[error("cannot resolve recipe {}: `extends` forms a cycle or a chain of more than {MAX_CHAIN}", printable::path(.0))]
    Cycle(PathBuf),
    /// A key in a file that cannot set it.
    #[error("cannot set `{key}` in {}", printable::path(.file))]
    Misplaced {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// The advice.
        help: &'static str,
    },
    /// A required key that no file sets.
    #[error("missing key `{0}` in the recipe")]
    Missing(&'static str),
    /// A required key that a table does not set.
    #[error("missing key `{key}` in `{table}`")]
    MissingIn {
        /// The table.
        table: String,
        /// The key.
        key: &'static str,
    },
    /// A process that no settings define.
    #[error("process `{}` not found", printable::name(.name))]
    NoProcess {
        /// The name.
        name: String,
        /// A similar name.
        near: Option<String>,
        /// All names.
        known: Vec<String>,
    },
    /// An invalid path.
    #[error("invalid `{key}`: {reason}")]
    Path {
        /// The key.
        key: &'static str,
        /// The reason.
        reason: PathError,
    },
}

impl Advice for RecipeError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Settings(error) => error.help(),
            Self::Cycle(_) => {
                Some("end the chain with runtime, builder or dev, or without `extends`".to_owned())
            }
            Self::Misplaced { help, .. } => Some((*help).to_owned()),
            Self::Missing(_) => Some("set it, or begin the recipe with extends = \"runtime\"".to_owned()),
            Self::MissingIn { table, key } => Some(format!("set `{key}` in [tool.ipo-oci.{table}]")),
            Self::NoProcess { name, near, known } => Some(match near {
                Some(near) => format!("write --process {near}"),
                None => format!(
                    "write one of {}, or add [tool.ipo-oci.process.{name}] with its `command`",
                    known.join(", ")
                ),
            }),
            Self::Path { reason, .. } => reason.help(),
        }
    }
}

/// The contents and process of an image, without open choices.
///
/// The fields are those of [`Settings`], described there and in `docs/settings.md`.
#[allow(missing_docs, clippy::struct_excessive_bools)] // One flag per choice, named as in the settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Recipe {
    pub target: Target,
    pub description: String,
    pub name: Option<String>,
    pub tag: String,
    pub base: String,
    /// The platforms of the image; empty for the machine's own.
    pub platforms: Vec<Platform>,
    pub mirrors: BTreeMap<String, Vec<String>>,
    pub user: User,
    pub workdir: ImagePath,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// The command whose options set the level of the bytecode: that of the image, or for a process
    /// that of `web`, since all processes share their layers.
    pub compiled_for: Vec<String>,
    pub ports: Vec<String>,
    pub volumes: Vec<ImagePath>,
    pub writable: Vec<ImagePath>,
    /// The process; `None` for `web`.
    pub process: Option<String>,
    #[serde(skip)]
    pub processes: BTreeMap<String, ProcessTable>,
    pub app: Option<String>,
    /// `None` if not set: the server is chosen for the application.
    pub server: Option<ServerName>,
    pub host: String,
    pub port: u16,
    /// The service of the project, if its command was inserted.
    pub(crate) service: Option<InsertedService>,
    /// True if the port is set outside the recipe.
    pub is_port_set: bool,
    /// True if the stop signal is set outside the recipe.
    pub is_stop_signal_set: bool,
    /// True if extras, groups or requirement files are set outside the recipe.
    pub is_selection_set: bool,
    pub workers: u16,
    /// `None` if not set: uvloop if installed.
    pub event_loop: Option<EventLoop>,
    /// `None` if not set: httptools if installed.
    pub http: Option<HttpProtocol>,
    pub proxy_headers: bool,
    pub graceful_timeout: u16,
    pub reload: bool,
    pub healthcheck: Option<ResolvedHealthcheck>,
    pub distributions: Selection,
    pub python: Option<PythonRequest>,
    pub extras: Vec<String>,
    pub groups: Vec<String>,
    pub default_groups: bool,
    pub requirements: Vec<String>,
    pub with: Vec<String>,
    pub allow_missing: Vec<String>,
    pub bytecode: Bytecode,
    pub pip: bool,
    pub headers: bool,
    pub activate: bool,
    pub writable_environment: bool,
    pub packages: Vec<String>,
    pub apt: ResolvedApt,
    pub trim: Vec<String>,
    pub libraries: Vec<String>,
    pub certificates: bool,
    pub time_zones: bool,
    pub files: Vec<ResolvedFile>,
    pub prepare: Vec<ResolvedPrepare>,
    pub dockerignore: Vec<String>,
    pub exclude: Vec<String>,
    pub layers: u16,
    pub compression: Compression,
    pub max_size: Option<Size>,
    pub check: ResolvedCheck,
    /// The deployment, which no plan depends on.
    #[serde(skip)]
    pub deploy: DeployTable,
}

/// A service that was found in the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InsertedService {
    /// Variables from which the program reads its port, beside those of a known server.
    pub(crate) port_variables: Vec<String>,
}

/// A health check without open choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResolvedHealthcheck {
    /// The requested path. Without one, `/` is requested, and any response below 500 counts as
    /// healthy.
    pub path: Option<String>,
    /// Header fields of the request, beside `User-Agent`.
    pub headers: BTreeMap<String, String>,
    /// Time between checks.
    pub interval: Duration,
    /// Time limit of a check.
    pub timeout: Duration,
    /// Time after the start in which failures do not count.
    pub start_period: Duration,
    /// Time between checks in the start period.
    pub start_interval: Duration,
    /// Consecutive failures that make the container unhealthy.
    pub retries: u32,
    /// True if the check is set outside the recipe, so that it applies to any kind of command.
    pub explicit: bool,
}

/// Returns true for a signal that engines accept: a number, or a name with or without `SIG`.
pub(crate) fn is_signal(text: &str) -> bool {
    signal_names::number(text).is_some()
}

/// Refuses variables, words and signals that no process can get.
fn check_process(all: &Settings) -> Result<(), RecipeError> {
    if let Some(key) = all.env.keys().find(|key| key.is_empty() || key.contains(['=', '\0'])) {
        return Err(SettingsError::value("environment variable name", key, "leave out `=`").into());
    }
    let words = all.entrypoint.iter().chain(&all.cmd).flatten();
    if let Some(text) = all.env.values().chain(words).find(|text| text.contains('\0')) {
        // execve(2) ends a string there.
        return Err(SettingsError::value("word that a process can get", text, "leave out `\\0`").into());
    }
    if let Some(signal) = all.stop_signal.as_ref().filter(|signal| !is_signal(signal)) {
        let name = signal.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let help =
            with_nearest("write a name or number of signal(7), such as SIGTERM", name, signal_names::names());
        return Err(SettingsError::value("signal", signal, help).into());
    }
    Ok(())
}

fn selects_dependencies(settings: &Settings) -> bool {
    settings.extras.is_some() || settings.groups.is_some() || settings.requirements.is_some()
}

impl ResolvedHealthcheck {
    fn resolve(setting: HealthcheckSetting) -> Result<Option<Self>, RecipeError> {
        let HealthcheckSetting::On(table) = setting else { return Ok(None) };
        table.check()?;
        // A check that is enabled over a disabled one has no inherited times.
        let seconds = |time: Option<Seconds>, usual| time.map_or(Duration::from_secs(usual), |time| time.0);
        let mut headers = table.headers;
        headers.extend(table.host.map(|host| ("Host".to_owned(), host)));
        Ok(Some(Self {
            path: table.path,
            headers,
            interval: seconds(table.interval, 10),
            timeout: seconds(table.timeout, 5),
            start_period: seconds(table.start_period, 20),
            start_interval: seconds(table.start_interval, 1),
            retries: table.retries.unwrap_or(3),
            explicit: false,
        }))
    }
}

impl Recipe {
    /// Resolves the recipe of `target` below `above`, the merged settings.
    ///
    /// `file` is a recipe in place of the built-in one.
    pub fn resolve(target: Target, file: Option<&Path>, above: Settings) -> Result<Self, RecipeError> {
        let below = match file {
            Some(file) => load(file, MAX_CHAIN)?.all(),
            None => builtin(target, MAX_CHAIN)?.all(),
        };
        let (asked, is_port_set) = (enables_check(&above), above.port.is_some());
        let is_stop_signal_set = above.stop_signal.is_some();
        let is_selection_set = selects_dependencies(&above);
        let recipe = Self::complete(target, above.over(below))?.with_explicit_check(asked);
        Ok(Self { is_port_set, is_stop_signal_set, is_selection_set, ..recipe })
    }

    fn with_explicit_check(mut self, asked: bool) -> Self {
        if let Some(check) = &mut self.healthcheck {
            check.explicit = asked || check.path.is_some();
        }
        self
    }

    /// Resolves the recipe of `target` in `file`, given explicitly for this build: its settings
    /// take precedence over those of the `project`, and `flags` over both.
    pub fn resolve_named(
        target: Target,
        file: &Path,
        flags: Settings,
        project: Settings,
    ) -> Result<Self, RecipeError> {
        let Chain { files, builtin } = load(file, MAX_CHAIN)?;
        let levels = [&flags, &files, &project];
        let asked = levels.into_iter().any(enables_check);
        let is_port_set = levels.into_iter().any(|settings| settings.port.is_some());
        let is_stop_signal_set = levels.into_iter().any(|settings| settings.stop_signal.is_some());
        let is_selection_set = levels.into_iter().any(selects_dependencies);
        let all = flags.over(files).over(project).over(builtin);
        let recipe = Self::complete(target, all)?.with_explicit_check(asked);
        Ok(Self { is_port_set, is_stop_signal_set, is_selection_set, ..recipe })
    }

    /// Refuses keys that have no meaning in the settings of a project in `file`.
    pub fn refuse_misplaced(file: &Path, settings: &Settings) -> Result<(), RecipeError> {
        let wrong = |key, help| Err(RecipeError::Misplaced { file: file.to_owned(), key, help });
        if std::iter::once(settings).chain(settings.target.values()).any(|table| table.extends.is_some()) {
            return wrong(
                "extends",
                "name a recipe file with recipe = \"FILE\", and let that extend another",
            );
        }
        if settings.target.values().any(|table| !table.target.is_empty()) {
            return wrong("target", "write [tool.ipo-oci.target.NAME] for one target alone");
        }
        Ok(())
    }

    fn complete(target: Target, all: Settings) -> Result<Self, RecipeError> {
        fn require<T>(key: &'static str, value: Option<T>) -> Result<T, RecipeError> {
            value.ok_or(RecipeError::Missing(key))
        }
        check_process(&all)?;
        let workdir = require("workdir", all.workdir)?;
        let healthcheck = ResolvedHealthcheck::resolve(require("healthcheck", all.healthcheck)?)?;
        let workdir =
            ImagePath::new(&workdir).map_err(|reason| RecipeError::Path { key: "workdir", reason })?;
        tables::check_processes(&all.process)?;
        let (entrypoint, cmd) = (require("entrypoint", all.entrypoint)?, all.cmd.unwrap_or_default());
        let paths = |key, list: Option<List>| {
            tables::directories(key, list.map(List::into_items).unwrap_or_default(), &workdir)
        };
        Ok(Self {
            target,
            description: require("description", all.description)?,
            name: all.name,
            tag: all.tag.unwrap_or_else(|| "latest".to_owned()),
            base: require("base", all.base)?,
            platforms: all.platform.map(|platforms| platforms.as_slice().to_vec()).unwrap_or_default(),
            user: require("user", all.user)?,
            volumes: paths("volumes", all.volumes)?,
            writable: paths("writable", all.writable)?,
            files: tables::resolve_each(all.files, |file| ResolvedFile::resolve(file, &workdir))?,
            prepare: tables::resolve_each(all.prepare, |table| ResolvedPrepare::resolve(table, &workdir))?,
            workdir,
            env: all.env,
            labels: all.labels,
            mirrors: all.mirrors,
            stop_signal: require("stop-signal", all.stop_signal)?,
            compiled_for: entrypoint.iter().chain(&cmd).cloned().collect(),
            entrypoint,
            cmd,
            ports: all.ports.map(Ports::into_vec).unwrap_or_default(),
            process: None,
            processes: all.process,
            app: all.app,
            server: all.server,
            service: None,
            is_port_set: false,
            is_stop_signal_set: false,
            is_selection_set: false,
            host: require("host", all.host)?,
            port: require("port", all.port)?.get(),
            workers: require("workers", all.workers)?.get(),
            event_loop: all.event_loop,
            http: all.http,
            proxy_headers: require("proxy-headers", all.proxy_headers)?,
            graceful_timeout: require("graceful-timeout", all.graceful_timeout)?,
            reload: all.reload.unwrap_or(false),
            healthcheck,
            distributions: require("distributions", all.distributions)?,
            python: all.python,
            extras: all.extras.map(List::into_items).unwrap_or_default(),
            groups: all.groups.map(List::into_items).unwrap_or_default(),
            default_groups: all.default_groups.unwrap_or(true),
            requirements: all.requirements.map(OneOrMore::into_items).unwrap_or_default(),
            with: all.with.map(List::into_items).unwrap_or_default(),
            allow_missing: all.allow_missing.map(List::into_items).unwrap_or_default(),
            bytecode: require("bytecode", all.bytecode)?,
            pip: require("pip", all.pip)?,
            headers: require("headers", all.headers)?,
            activate: require("activate", all.activate)?,
            writable_environment: require("writable-environment", all.writable_environment)?,
            packages: all.packages.map(List::into_items).unwrap_or_default(),
            apt: ResolvedApt::resolve(all.apt),
            trim: require("trim", all.trim.map(List::into_items))?,
            libraries: require("libraries", all.libraries.map(List::into_items))?,
            certificates: require("certificates", all.certificates)?,
            time_zones: require("time-zones", all.time_zones)?,
            dockerignore: all.dockerignore.map(List::into_items).unwrap_or_default(),
            exclude: require("exclude", all.exclude.map(List::into_items))?,
            layers: require("layers", all.layers)?.get(),
            compression: require("compression", all.compression)?,
            max_size: all.max_size,
            check: ResolvedCheck::resolve(all.check),
            deploy: all.deploy,
        })
    }

    /// Selects the dependencies that the image needs.
    pub(crate) fn select(&mut self, selection: DependencySelection) {
        self.extras = selection.extras;
        self.groups = selection.groups;
        self.requirements =
            selection.requirements.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        self.with = selection.with;
    }

    /// Returns the dependencies that the image needs.
    pub(crate) fn dependencies(&self) -> DependencySelection {
        DependencySelection {
            extras: self.extras.clone(),
            groups: self.groups.clone(),
            default_groups: if self.default_groups {
                DefaultGroups::Included
            } else {
                DefaultGroups::Excluded
            },
            requirements: self.requirements.iter().map(PathBuf::from).collect(),
            with: self.with.clone(),
        }
    }

    /// Returns the command line of the image.
    pub fn command(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }

    /// Returns true if the command names the application by `{app}`, so that it has to be found.
    pub fn names_application(&self) -> bool {
        self.entrypoint.iter().chain(&self.cmd).any(|word| word.contains("{app}"))
    }

    /// Returns true if the command is that of the service, `{service}`, which has to be found.
    pub fn starts_service(&self) -> bool {
        self.entrypoint.iter().chain(&self.cmd).any(|word| word == SERVICE)
    }

    /// Returns the recipe with the words of a service's command in place of `{service}`.
    #[must_use]
    pub(crate) fn with_command(&self, words: &[String], port_variables: &[String]) -> Self {
        let fill = |command: &[String]| -> Vec<String> {
            let filled =
                command.iter().map(|word| if word == SERVICE { words } else { std::slice::from_ref(word) });
            filled.flatten().cloned().collect()
        };
        let service = InsertedService { port_variables: port_variables.to_vec() };
        let service = self.starts_service().then_some(service);
        Self { entrypoint: fill(&self.entrypoint), cmd: fill(&self.cmd), service, ..self.clone() }
    }

    /// Returns the server that the command starts, if known. The server of `{service}` is not.
    pub(crate) fn known_server(&self) -> Option<Server> {
        Server::of(&self.command())
    }

    /// Returns true if the image listens on a port: it runs a known server, or names an application.
    pub fn serves(&self) -> bool {
        self.starts_service() || self.names_application() || self.known_server().is_some()
    }
}

/// A chain of recipes that extend one another.
#[derive(Default)]
struct Chain {
    /// The merged settings of the files.
    files: Settings,
    /// The settings of the built-in recipe at the end of the chain, if any.
    builtin: Settings,
}

impl Chain {
    fn all(self) -> Settings {
        self.files.over(self.builtin)
    }
}

/// Returns true for settings that enable a health check outside the recipe.
fn enables_check(settings: &Settings) -> bool {
    matches!(&settings.healthcheck, Some(HealthcheckSetting::On(_)))
}

fn builtin(target: Target, left: usize) -> Result<Chain, RecipeError> {
    let name = PathBuf::from(format!("layers/{target}.toml"));
    let settings = Settings::parse(&name, target.text())?;
    let below = extended(&settings, &name, left)?;
    Ok(Chain { builtin: settings.over(below.all()), files: Settings::default() })
}

fn load(file: &Path, left: usize) -> Result<Chain, RecipeError> {
    let text = fs_err::read_to_string(file)
        .map_err(|error| SettingsError::File(FileError::new("read", file, error)))?;
    let settings = Settings::parse(file, &text)?;
    let misplaced = match (&settings.recipe, settings.target.is_empty()) {
        (Some(_), _) => Some("recipe"),
        (None, false) => Some("target"),
        (None, true) => None,
    };
    if let Some(key) = misplaced {
        let help = "write `extends` to build on another recipe, and tables of a target in pyproject.toml";
        return Err(RecipeError::Misplaced { file: file.to_owned(), key, help });
    }
    let below = extended(&settings, file, left)?;
    Ok(Chain { files: settings.over(below.files), builtin: below.builtin })
}

/// Returns the recipe that `settings` extend: a built-in one, or a file beside `file`.
fn extended(settings: &Settings, file: &Path, left: usize) -> Result<Chain, RecipeError> {
    let Some(name) = &settings.extends else { return Ok(Chain::default()) };
    let left = left.checked_sub(1).ok_or_else(|| RecipeError::Cycle(file.to_owned()))?;
    match name.parse::<Target>() {
        Ok(target) => builtin(target, left),
        Err(unknown) => {
            let is_similar = nearest(name, Target::ALL.map(Target::as_str)).is_some();
            match load(&file.parent().unwrap_or(Path::new("")).join(name), left) {
                Err(RecipeError::Settings(SettingsError::File(error)))
                    if is_similar && error.source.kind() == std::io::ErrorKind::NotFound =>
                {
                    Err(unknown.into())
                }
                chain => chain,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_recipes_are_complete() {
        for target in Target::ALL {
            let recipe = Recipe::resolve(target, None, Settings::default()).unwrap();
            assert_eq!(recipe.user, User { uid: 1000, gid: 1000 }, "{target}");
        }
    }

    #[test]
    fn targets_differ() {
        let recipe = |target| Recipe::resolve(target, None, Settings::default()).unwrap();
        let (runtime, builder, dev) = (recipe(Target::Runtime), recipe(Target::Builder), recipe(Target::Dev));
        assert_eq!((runtime.workers, runtime.reload, runtime.pip), (4, false, false));
        assert!(dev.reload && dev.distributions == Selection::Installed && dev.serves());
        assert!(builder.pip && builder.headers && builder.healthcheck.is_none() && !builder.serves());
    }

    #[test]
    fn recipes_extend_others() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("base.toml"), "extends = \"dev\"\nport = 1\nworkers = 2").unwrap();
        let own = folder.path().join("own.toml");
        fs_err::write(&own, "extends = \"base.toml\"\nport = 3").unwrap();
        let recipe = Recipe::resolve(Target::Runtime, Some(&own), Settings::default()).unwrap();
        assert_eq!((recipe.port, recipe.workers, recipe.reload), (3, 2, true));
    }

    #[test]
    fn named_recipes_take_precedence_over_the_project() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs_err::write(&path, text).unwrap();
            path
        };
        let settings = |text: &str| Settings::parse(Path::new("test"), text).unwrap();
        file("base.toml", "extends = 'runtime'\nworkers = 2\nlibraries.add = ['base.so']");
        let own = file("own.toml", "extends = 'base.toml'\nport = 3\nlibraries.add = ['own.so']");
        let project =
            settings("port = 9000\nworkers = 9\nlayers = 5\nlibraries = ['project.so']\nenv.A = '1'");
        let recipe = |flags: &str| {
            Recipe::resolve_named(Target::Runtime, &own, settings(flags), project.clone()).unwrap()
        };
        let named = recipe("");
        assert_eq!((named.port, named.workers, named.layers), (3, 2, 5));
        assert_eq!(named.libraries, ["project.so", "base.so", "own.so"]);
        assert_eq!(named.env["A"], "1");
        assert_eq!(named.http, None, "nobody chose one");
        assert_eq!(recipe("port = 7").port, 7);
        let below = Recipe::resolve(Target::Runtime, Some(&own), project).unwrap();
        assert_eq!((below.port, below.workers), (9000, 9));
    }

    #[test]
    fn refuses_misplaced_keys() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.toml");
        for text in ["recipe = 'x.toml'", "[target.dev]\nport = 1"] {
            fs_err::write(&own, text).unwrap();
            let error = Recipe::resolve(Target::Runtime, Some(&own), Settings::default()).unwrap_err();
            assert!(matches!(error, RecipeError::Misplaced { .. }), "{error}");
        }
        for text in ["extends = 'dev'", "[target.dev]\nextends = 'dev'", "[target.dev.target.dev]\nport = 1"]
        {
            let settings = Settings::parse(Path::new("test"), text).unwrap();
            assert!(Recipe::refuse_misplaced(Path::new("pyproject.toml"), &settings).is_err(), "{text}");
        }
    }

    #[test]
    fn what_no_process_can_get_is_refused() {
        let resolve = |text: &str| {
            let above: Settings = toml::from_str(text).unwrap();
            Recipe::resolve(Target::Runtime, None, above).map(|recipe| recipe.stop_signal)
        };
        for text in [
            "env.A = \"x\\u0000y\"",
            "entrypoint = [\"a\\u0000\"]",
            "cmd = [\"\\u0000\"]",
            "stop-signal = \"SIGFOO\"",
            "stop-signal = \"\"",
            "stop-signal = \"65\"",
            "stop-signal = \"SIGRTMIN+99\"",
        ] {
            let error = resolve(text).unwrap_err();
            assert!(error.help().is_some(), "{text}: {error}");
        }
        for signal in ["SIGTERM", "term", "QUIT", "9", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX-14"] {
            assert_eq!(resolve(&format!("stop-signal = \"{signal}\"")).unwrap(), signal);
        }
    }

    #[test]
    fn a_recipe_that_extends_itself_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.toml");
        fs_err::write(&own, "extends = \"own.toml\"").unwrap();
        let error = Recipe::resolve(Target::Runtime, Some(&own), Settings::default()).unwrap_err();
        assert!(matches!(error, RecipeError::Cycle(_)), "{error}");
    }

    #[test]
    fn standalone_recipes_must_be_complete() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.toml");
        fs_err::write(&own, "port = 80").unwrap();
        let error = Recipe::resolve(Target::Runtime, Some(&own), Settings::default()).unwrap_err();
        assert!(matches!(error, RecipeError::Missing(_)), "{error}");
    }
}
