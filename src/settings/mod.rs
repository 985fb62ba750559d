//! The settings of users.
//!
//! One type, [`Settings`], serves recipe files, `[tool.ipo-oci]` in `pyproject.toml`, environment
//! variables and flags: every key has the same meaning everywhere, and [`Settings::over`] merges
//! two levels. Each key is declared once, in this module ([`KEYS`]): the flags, the tables of
//! `docs/settings.md` and the JSON schema follow from the declaration. Defaults are applied by
//! [`crate::recipe`], which makes a complete [`crate::recipe::Recipe`].

mod deploy;
mod healthcheck;
mod key;
mod tables;
mod value;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::Path;

pub use deploy::{Cpu, DEPLOY_KEYS, DEPLOY_PROCESS_KEYS, DeployProcessTable, DeployTable};
pub use healthcheck::{HEALTHCHECK_KEYS, HealthcheckSetting, HealthcheckTable};
pub use key::{Flag, Key, KeyGroup, KeyPlace, Repetition};
use key::{SettingField, declare};
pub use tables::{
    APT_KEYS, AptTable, CHECK_KEYS, CheckTable, FILE_KEYS, FileMode, FileTable, PREPARE_KEYS, PROCESS_KEYS,
    Places, Ports, PrepareTable, ProcessTable,
};
pub use value::{
    Bytecode, EventLoop, HttpProtocol, List, OneOrMore, Platforms, PythonRequest, Seconds, Selection,
    ServerName, Size, User, WorkloadKind, human_size,
};
use value::{count, whole_seconds};

use crate::compression::Compression;
use crate::error::{Advice, FileError, TomlError};

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Invalid TOML, an unknown key or a value of the wrong type.
    #[error("cannot parse {file}")]
    Toml {
        /// The file.
        file: String,
        /// The parser's error.
        source: Box<TomlError>,
    },
    /// A table that would be ignored.
    #[error("cannot parse {file}: line {line}: unknown table `{name}`; did you mean `{known}`?")]
    UnknownTable {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The table.
        name: String,
        /// The known table with a similar name.
        known: String,
    },
    /// A well-formed but invalid value.
    #[error("invalid {what} `{value}`")]
    Value {
        /// The kind of value: `size`, `user`.
        what: &'static str,
        /// The value as written.
        value: String,
        /// The advice.
        help: String,
    },
}

impl Advice for SettingsError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Toml { .. } | Self::UnknownTable { .. } => {
                Some("run `ipo-oci help settings` for all keys and their types".to_owned())
            }
            Self::Value { help, .. } => Some(help.clone()),
        }
    }
}

impl SettingsError {
    /// Makes an error of an invalid value, with advice.
    pub fn value(what: &'static str, value: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Value { what, value: value.into(), help: help.into() }
    }

    /// Makes an error of an invalid file.
    pub(crate) fn toml(file: &Path, error: toml::de::Error) -> Self {
        Self::Toml { file: file.display().to_string(), source: Box::new(error.into()) }
    }
}

declare! {
    /// All settings; `None` means not set at this level. `docs/settings.md` describes each key.
    pub struct Settings with KEYS;

    /// Recipe to build on: `runtime`, `builder`, `dev`, or a file in the same folder.
    extends: Option<String> = "extends", Scope, place(KeyPlace::Recipe);
    /// Recipe file in place of the target's own, relative to the project.
    recipe: Option<String> = "recipe", Scope, place(KeyPlace::Project),
        flag(Flag::new("recipe", "FILE").variable("IPO_OCI_RECIPE").shared());
    /// Settings of the targets `runtime`, `builder` and `dev` alone, as tables `target.NAME`.
    target: BTreeMap<String, Settings> = "target", Scope, form("table of tables"), place(KeyPlace::Project);

    /// Name of the image.
    name: Option<String> = "name", Image, default("the project's name, else `app`"),
        flag(Flag::new("tag", "NAME[:TAG]").short('t').variable("IPO_OCI_TAG").shared()
            .repeated(Repetition::RepeatedOrCommas));
    /// Tag of the image.
    tag: Option<String> = "tag", Image, default("`latest`"),
        flag(Flag::new("tag", "NAME[:TAG]").short('t').variable("IPO_OCI_TAG").shared()
            .repeated(Repetition::RepeatedOrCommas));
    /// Purpose of the recipe, in one line.
    description: Option<String> = "description", Image, default("the recipe's");
    /// Base image.
    base: Option<String> = "base", Image,
        flag(Flag::new("base", "REF").variable("IPO_OCI_BASE").common()
            .details("A base is read from a registry, a layout, an archive or a root file system (rootfs:PATH), or made \
                from Debian packages (apt:SUITE)."));
    /// Platforms.
    platform: Option<Platforms> = "platform", Image, default("this machine's"),
        flag(Flag::new("platform", "PLATFORM,…").variable("IPO_OCI_PLATFORM").common().details(
            "Written OS/ARCHITECTURE[/VARIANT], such as linux/amd64,linux/arm64. Several platforms make an index.",
        ));
    /// Mirrors to try first when a base is read, by the name of the registry.
    mirrors: BTreeMap<String, Vec<String>> = "mirrors", Image,
        flag(Flag::new("registry-mirror", "REGISTRY=MIRROR").variable("IPO_OCI_REGISTRY_MIRROR").shared()
            .repeated(Repetition::RepeatedOrCommas));
    /// User and group of the process, as numbers.
    user: Option<User> = "user", Image,
        flag(Flag::new("user", "UID[:GID]").variable("IPO_OCI_USER"));
    /// Folder of the application in the image.
    workdir: Option<String> = "workdir", Image, form("path in the image");
    /// Environment variables of the image.
    env: BTreeMap<String, String> = "env", Image,
        flag(Flag::new("env", "K=V").short('e').help("Environment variable of the image")
            .repeated(Repetition::Repeated));
    /// Labels and annotations of the image.
    labels: BTreeMap<String, String> = "labels", Image, default("see below"),
        flag(Flag::new("label", "K=V").short('l').help("Label of the image").repeated(Repetition::Repeated));
    /// Signal that stops the process.
    stop_signal: Option<String> = "stop-signal", Image;
    /// Command; `{service}`, `{app}`, `{venv}`, `{python}`, `{host}` and `{port}` are replaced.
    entrypoint: Option<Vec<String>> = "entrypoint", Image,
        flag(Flag::new("entrypoint", "COMMAND").variable("IPO_OCI_ENTRYPOINT")
            .details("Words as in a shell, or a JSON array; {app}, {venv} and {python} are replaced."));
    /// Arguments of the command, which the arguments of `docker run` replace.
    cmd: Option<Vec<String>> = "cmd", Image, default("`[]`"),
        flag(Flag::new("cmd", "WORDS").variable("IPO_OCI_CMD").details("Words as in a shell, or a JSON array."));
    /// Ports to expose in addition to the server's.
    ports: Option<Ports> = "ports", Image, default("`[]`");
    /// Mount points of volumes, which engines make as anonymous volumes.
    volumes: Option<List> = "volumes", Image, form("list of paths in the image"), default("`[]`");
    /// Directories that the process may write to.
    writable: Option<List> = "writable", Image, form("list of paths in the image"), default("`[]`");
    /// Processes of the project with images of their own, as tables `process.NAME`.
    process: BTreeMap<String, ProcessTable> = "process", Image, default("`web` alone");
    /// Deployment of the images, which no image depends on.
    deploy: DeployTable = "deploy", Image, default("see below");

    /// Application.
    app: Option<String> = "app", Server, form("`MODULE:ATTRIBUTE`"), default("found in the source"),
        flag(Flag::new("app", "MODULE:ATTR").variable("IPO_OCI_APP").common());
    /// Server of the application.
    server: Option<ServerName> = "server", Server, form("name of a server"),
        default("chosen for the application"),
        flag(Flag::new("server", "NAME").variable("IPO_OCI_SERVER"));
    /// Address that the server listens on.
    host: Option<String> = "host", Server;
    /// Port of the server.
    #[serde(deserialize_with = "count")]
    port: Option<NonZeroU16> = "port", Server,
        flag(Flag::new("port", "N").variable("IPO_OCI_PORT"));
    /// Number of the server's workers.
    #[serde(deserialize_with = "count")]
    workers: Option<NonZeroU16> = "workers", Server,
        flag(Flag::new("workers", "N").variable("IPO_OCI_WORKERS"));
    /// uvicorn's event loop: `uvloop`, `asyncio` or `auto`.
    event_loop: Option<EventLoop> = "loop", Server, default("uvloop if in the image"),
        flag(Flag::new("loop", "LOOP").variable("IPO_OCI_LOOP"));
    /// uvicorn's HTTP implementation: `httptools`, `h11` or `auto`.
    http: Option<HttpProtocol> = "http", Server, default("httptools if in the image"),
        flag(Flag::new("http", "HTTP").variable("IPO_OCI_HTTP"));
    /// True if the server trusts `X-Forwarded-*` from its trusted proxies.
    proxy_headers: Option<bool> = "proxy-headers", Server;
    /// Seconds until running requests are aborted when the server stops.
    #[serde(deserialize_with = "whole_seconds")]
    graceful_timeout: Option<u16> = "graceful-timeout", Server;
    /// True if the server restarts after changes of source files.
    reload: Option<bool> = "reload", Server, default("`false`");
    /// Health check.
    healthcheck: Option<HealthcheckSetting> = "healthcheck", Server,
        flag(Flag::new("healthcheck", "PATH").variable("IPO_OCI_HEALTHCHECK")
            .help("Path that the health check requests"));

    /// Version of Python for a new environment.
    python: Option<PythonRequest> = "python", Python,
        default("that of `.python-version` or the newest that `requires-python` allows"),
        flag(Flag::new("python", "VERSION").variable("IPO_OCI_PYTHON")
            .details("A version or a range, such as 3.12 or >=3.11,<3.13, of an interpreter on this machine."));
    /// Selection of the environment's distributions.
    distributions: Option<Selection> = "distributions", Python;
    /// Extras of the project whose requirements are included.
    extras: Option<List> = "extras", Python, default("`[]`"),
        flag(Flag::new("extra", "NAME").variable("IPO_OCI_EXTRAS").repeated(Repetition::RepeatedOrCommas)
            .help("Extra of the project whose requirements are included"));
    /// Groups of dependencies that are included.
    groups: Option<List> = "groups", Python, default("`[]`"),
        flag(Flag::new("group", "NAME").variable("IPO_OCI_GROUPS").repeated(Repetition::RepeatedOrCommas)
            .help("Group of dependencies that is included"));
    /// True to include uv's default groups, without `dev`.
    default_groups: Option<bool> = "default-groups", Python, default("`true`");
    /// Requirement files in place of the project's declared dependencies.
    requirements: Option<OneOrMore> = "requirements", Python,
        default("`requirements.txt`, `requirements/prod.txt` and others"),
        flag(Flag::new("requirements", "FILE").variable("IPO_OCI_REQUIREMENTS")
            .repeated(Repetition::RepeatedOrCommas).help("Requirement file in place of the declared dependencies"));
    /// Requirements beside the project's declared dependencies.
    with: Option<List> = "with", Python, default("`[]`"),
        flag(Flag::new("with", "REQUIREMENT").variable("IPO_OCI_WITH").repeated(Repetition::Repeated)
            .help("Requirement beside the project's declared dependencies")
            .details("Such as a server that only the deployment needs: gunicorn or \"uvicorn[standard]>=0.30\"."));
    /// Distributions that may be required but not installed.
    allow_missing: Option<List> = "allow-missing", Python, default("`[]`"),
        flag(Flag::new("allow-missing", "NAME").variable("IPO_OCI_ALLOW_MISSING")
            .repeated(Repetition::RepeatedOrCommas).help("Distribution that may be required but not installed"));
    /// Treatment of bytecode: `keep`, `compile` or `strip`.
    bytecode: Option<Bytecode> = "bytecode", Python,
        flag(Flag::new("bytecode", "MODE").variable("IPO_OCI_BYTECODE"));
    /// True to include pip in the environment.
    pip: Option<bool> = "pip", Python;
    /// True to include the interpreter's C headers.
    headers: Option<bool> = "headers", Python;
    /// True to include the activation scripts of the environment.
    activate: Option<bool> = "activate", Python;
    /// True if the process may install distributions into the environment.
    writable_environment: Option<bool> = "writable-environment", Python;

    /// Debian packages to install.
    packages: Option<List> = "packages", System, form("list of Debian packages"), default("`[]`"),
        flag(Flag::new("apt-package", "NAME").variable("IPO_OCI_PACKAGES").repeated(Repetition::RepeatedOrCommas)
            .help("Debian package to install"));
    /// Debian packages of bases, and their archives.
    apt: AptTable = "apt", System, default("see below");
    /// Parts of the standard library to omit, as patterns relative to it.
    trim: Option<List> = "trim", System, form("list of patterns");
    /// Shared libraries that are loaded at run time without a reference in an ELF header.
    libraries: Option<List> = "libraries", System, form("list of file names");
    /// True to include the bundle of certificate authorities.
    certificates: Option<bool> = "certificates", System;
    /// True to include the time zone database.
    time_zones: Option<bool> = "time-zones", System;

    /// Files and folders of this machine for the image.
    files: Option<Vec<FileTable>> = "files", Source, default("`[]`");
    /// Commands that make files for the image before it is planned.
    prepare: Option<Vec<PrepareTable>> = "prepare", Source, default("`[]`");
    /// Source files to exclude if there is no `.dockerignore`, as its lines.
    dockerignore: Option<List> = "dockerignore", Source, form("lines of a `.dockerignore`");
    /// Source files to exclude, as lines of a `.dockerignore`.
    exclude: Option<List> = "exclude", Source, form("lines of a `.dockerignore`");

    /// Maximum number of layers.
    #[serde(deserialize_with = "count")]
    layers: Option<NonZeroU16> = "layers", Layers,
        flag(Flag::new("layers", "N").variable("IPO_OCI_LAYERS"));
    /// Compression of layers: `gzip[:LEVEL]`, `zstd[:LEVEL]` or `none`.
    compression: Option<Compression> = "compression", Layers,
        flag(Flag::new("compression", "METHOD").variable("IPO_OCI_COMPRESSION"));
    /// Maximum size on disk; a larger image fails the build.
    max_size: Option<Size> = "max-size", Layers,
        flag(Flag::new("max-size", "SIZE").variable("IPO_OCI_MAX_SIZE").common()
            .help("Fail with exit code 3 if the image is larger")
            .details("The size is that on disk, such as 120MB or 1.5GiB."));
    /// Check of images.
    check: CheckTable = "check", Layers, default("see below");
}

impl Settings {
    /// Parses a recipe file, which contains only settings.
    pub fn parse(file: &Path, text: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|error| SettingsError::toml(file, error))
    }

    /// Merges two levels; these settings take precedence over `below`.
    ///
    /// Values and lists replace those below, except lists with `add` ([`List`]); `env`, `labels`
    /// and `mirrors` are merged by key, and the health check's table by property.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self { extends: None, target: BTreeMap::new(), ..self.merged(below) }
    }
}

#[cfg(test)]
mod tests;
