//! What a user can set, wherever it is written.
//!
//! One type, [`Settings`], serves a recipe file, `[tool.ipo-oci]` in `pyproject.toml`, environment variables
//! and flags: every key means the same everywhere, and [`Settings::over`] lays one on top of another. Nothing is
//! decided here; [`crate::recipe`] turns the pile into a [`crate::recipe::Recipe`] in which nothing is open.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Advice, FileError};
use crate::platform::Platform;

/// A setting that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// TOML that does not parse, an unknown key or a value of the wrong type. The reason has the line.
    #[error("{file} is not right: {reason}")]
    Toml {
        /// The file.
        file: String,
        /// What the parser says, with line, column and the line itself.
        reason: String,
    },
    /// A value that parses and means nothing.
    #[error("`{value}` is no {what}")]
    Value {
        /// What it was meant to be: `size`, `user`.
        what: &'static str,
        /// What was written.
        value: String,
        /// What would be right.
        help: String,
    },
}

impl Advice for SettingsError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Toml { .. } => Some("docs/settings.md lists every key with its type".to_owned()),
            Self::Value { help, .. } => Some(help.clone()),
        }
    }
}

impl SettingsError {
    /// A value that means nothing, and what would be right.
    pub fn value(what: &'static str, value: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Value { what, value: value.into(), help: help.into() }
    }

    /// Words a TOML error as this file's.
    ///
    /// A list of all keys hides the one that was meant: of an unknown key, the nearest is named.
    pub fn toml(file: &Path, error: &toml::de::Error) -> Self {
        let mut reason = error.to_string().trim_end().to_owned();
        if let Some(unknown) = unknown_key(error.message()) {
            reason = reason.replace(error.message(), &unknown);
        }
        Self::Toml { file: file.display().to_string(), reason }
    }

    /// An unknown table called `name` where `known` is meant, and its line in the file.
    pub fn unknown(file: &Path, line: Option<usize>, name: &str, known: &str) -> Self {
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        Self::Toml {
            file: file.display().to_string(),
            reason: format!("{line}unknown table `{name}`; did you mean `{known}`?"),
        }
    }
}

/// The message of `serde` about an unknown key, in the words of this program.
fn unknown_key(message: &str) -> Option<String> {
    let (name, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let known = known.split('`').skip(1).step_by(2);
    Some(match nearest(name, known) {
        Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
        None => format!("unknown key `{name}`"),
    })
}

/// The one of `known` that was most likely meant by `name`: a third of its letters may be wrong.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase().replace('_', "-");
    let distance = |known: &str| strsim::damerau_levenshtein(&name, known);
    let near = known.map(|known| (distance(known), known)).min()?;
    (near.0 <= (near.1.chars().count() / 3).max(1)).then_some(near.1)
}

/// Everything that can be set; what is `None` is not set here. `docs/settings.md` describes each key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// A recipe to build on: `runtime`, `builder`, `dev`, or a file beside this one. Only in recipes.
    pub extends: Option<String>,
    /// A recipe file to use instead of the target's own. Only in `pyproject.toml`.
    pub recipe: Option<String>,
    /// Settings for one target alone, by its name. Only in `pyproject.toml`.
    pub target: BTreeMap<String, Settings>,
    /// One line that says what the image is for.
    pub description: Option<String>,

    /// Name of the image, `agencyos` or `registry/team/agencyos`. Default: the project's name.
    pub name: Option<String>,
    /// Tag of the image. Default: `latest`.
    pub tag: Option<String>,
    /// What the image stands on.
    pub base: Option<String>,
    /// What the image is built for; several make an index.
    pub platform: Option<Platforms>,
    /// Where a registry's images are looked for first, by its name.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// `UID[:GID]` of the process.
    pub user: Option<User>,
    /// Directory of the application in the image.
    pub workdir: Option<String>,
    /// Environment variables of the image.
    pub env: BTreeMap<String, String>,
    /// Labels and annotations of the image.
    pub labels: BTreeMap<String, String>,
    /// Signal that stops the process.
    pub stop_signal: Option<String>,
    /// The command that runs; `{app}`, `{venv}` and `{python}` are filled in.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments that `docker run` replaces.
    pub cmd: Option<Vec<String>>,

    /// The application as `MODULE:ATTRIBUTE`.
    pub app: Option<String>,
    /// Address that uvicorn listens on.
    pub host: Option<String>,
    /// Port that uvicorn listens on.
    #[serde(deserialize_with = "count")]
    pub port: Option<NonZeroU16>,
    /// Number of uvicorn's workers.
    #[serde(deserialize_with = "count")]
    pub workers: Option<NonZeroU16>,
    /// uvicorn's event loop.
    #[serde(rename = "loop")]
    pub event_loop: Option<EventLoop>,
    /// uvicorn's HTTP protocol implementation.
    pub http: Option<HttpProtocol>,
    /// Whether uvicorn believes `X-Forwarded-*` of the proxies it trusts.
    pub proxy_headers: Option<bool>,
    /// Seconds that running requests get when the server stops.
    #[serde(deserialize_with = "whole_seconds")]
    pub graceful_timeout: Option<u16>,
    /// Whether uvicorn restarts when a source file changes.
    pub reload: Option<bool>,
    /// The health check.
    pub healthcheck: Option<HealthcheckSetting>,

    /// Which distributions of the environment go in.
    pub distributions: Option<Selection>,
    /// Extras of the project whose requirements go in too.
    pub extras: Option<List>,
    /// Distributions that may be required and not installed.
    pub allow_missing: Option<List>,
    /// What to do about bytecode.
    pub bytecode: Option<Bytecode>,
    /// Whether pip has to be in the environment.
    pub pip: Option<bool>,
    /// Whether the interpreter's C headers go in.
    pub headers: Option<bool>,
    /// Whether the shell scripts that activate the environment go in.
    pub activate: Option<bool>,
    /// Whether the process may add distributions to the environment.
    pub writable_environment: Option<bool>,

    /// What is left out of the standard library, as patterns relative to it.
    pub trim: Option<List>,
    /// Shared libraries that are loaded at run time without being named in an ELF header.
    pub libraries: Option<List>,
    /// Whether the bundle of certificate authorities goes in.
    pub certificates: Option<bool>,
    /// Whether the time zone database goes in.
    pub time_zones: Option<bool>,

    /// What of the source tree stays out of the image, as lines of a `.dockerignore`.
    pub exclude: Option<List>,

    /// The number of layers at most.
    #[serde(deserialize_with = "count")]
    pub layers: Option<NonZeroU16>,
    /// How layers are compressed.
    pub compression: Option<Compression>,
    /// The size on disk over which the build fails.
    pub max_size: Option<Size>,
}

/// A list: `["a", "b"]` replaces the list below it, `{ add = ["c"] }` is put behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// All of the list.
    Replace(Vec<String>),
    /// More items for the list below.
    Add(Vec<String>),
}

/// Platforms in the order in which they are written, each once: `linux/amd64,linux/arm64`. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platforms(Vec<Platform>);

/// A user, and a group where one is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Group number; the user's where none is written.
    pub gid: u32,
}

/// uvicorn's `--loop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLoop {
    /// uvloop; has to be installed.
    Uvloop,
    /// The standard library's.
    Asyncio,
    /// uvloop where it is installed.
    Auto,
}

/// uvicorn's `--http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpProtocol {
    /// httptools; has to be installed.
    Httptools,
    /// h11, which uvicorn always brings.
    H11,
    /// httptools where it is installed.
    Auto,
}

/// Which distributions of the environment go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// What the project declares, and what that requires.
    Declared,
    /// All that is installed.
    Installed,
}

/// What is done about bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bytecode {
    /// What the installer compiled is used; nothing is compiled.
    Keep,
    /// What is missing is compiled.
    Compile,
    /// None goes in.
    Strip,
}

/// How layers are compressed: `gzip`, `gzip:9`, `zstd`, `zstd:19`, `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip at a level of 1 to 9.
    Gzip(u32),
    /// zstd at a level of 1 to 19.
    Zstd(i32),
}

/// The health check as it is written: a path, `false`, or a table.
#[derive(Debug, Clone, PartialEq)]
pub enum HealthcheckSetting {
    /// None.
    Off,
    /// One with these properties; what is not set comes from below.
    On(HealthcheckTable),
}

/// The properties of a health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HealthcheckTable {
    /// What is asked for. Without one, `/` is, and any answer below 500 counts as healthy.
    pub path: Option<String>,
    /// The `Host` of the request, for an application that answers no other.
    pub host: Option<String>,
    /// More header fields of the request.
    pub headers: BTreeMap<String, String>,
    /// Time between two checks: `10s`.
    pub interval: Option<Seconds>,
    /// Time after which a check has failed.
    pub timeout: Option<Seconds>,
    /// Time in which failures do not count.
    pub start_period: Option<Seconds>,
    /// Time between two checks in the start period, for engines that know it.
    pub start_interval: Option<Seconds>,
    /// Failures in a row that make the container unhealthy.
    #[serde(deserialize_with = "failures")]
    pub retries: Option<u32>,
}

/// A time span, written `10s`, `500ms`, `1m 30s` or as a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub std::time::Duration);

/// A number of bytes, written `120MB`, `1.5 GiB` or `4096B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Size(pub u64);

impl Settings {
    /// Reads a file that holds nothing but settings: a recipe.
    pub fn parse(file: &Path, text: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|error| SettingsError::toml(file, &error))
    }

    /// These settings where they say something, and `below` where they do not.
    ///
    /// Values and lists replace, but for a list that is added to ([`List`]); `env` and `labels` are joined by key, and a health
    /// check's table by property.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            extends: None,
            target: BTreeMap::new(),
            recipe: self.recipe.or(below.recipe),
            description: self.description.or(below.description),
            name: self.name.or(below.name),
            tag: self.tag.or(below.tag),
            base: self.base.or(below.base),
            platform: self.platform.or(below.platform),
            user: self.user.or(below.user),
            workdir: self.workdir.or(below.workdir),
            env: joined(below.env, self.env),
            labels: joined(below.labels, self.labels),
            mirrors: joined(below.mirrors, self.mirrors),
            stop_signal: self.stop_signal.or(below.stop_signal),
            entrypoint: self.entrypoint.or(below.entrypoint),
            cmd: self.cmd.or(below.cmd),
            app: self.app.or(below.app),
            host: self.host.or(below.host),
            port: self.port.or(below.port),
            workers: self.workers.or(below.workers),
            event_loop: self.event_loop.or(below.event_loop),
            http: self.http.or(below.http),
            proxy_headers: self.proxy_headers.or(below.proxy_headers),
            graceful_timeout: self.graceful_timeout.or(below.graceful_timeout),
            reload: self.reload.or(below.reload),
            healthcheck: HealthcheckSetting::over(self.healthcheck, below.healthcheck),
            distributions: self.distributions.or(below.distributions),
            extras: List::over(self.extras, below.extras),
            allow_missing: List::over(self.allow_missing, below.allow_missing),
            bytecode: self.bytecode.or(below.bytecode),
            pip: self.pip.or(below.pip),
            headers: self.headers.or(below.headers),
            activate: self.activate.or(below.activate),
            writable_environment: self.writable_environment.or(below.writable_environment),
            trim: List::over(self.trim, below.trim),
            libraries: List::over(self.libraries, below.libraries),
            certificates: self.certificates.or(below.certificates),
            time_zones: self.time_zones.or(below.time_zones),
            exclude: List::over(self.exclude, below.exclude),
            layers: self.layers.or(below.layers),
            compression: self.compression.or(below.compression),
            max_size: self.max_size.or(below.max_size),
        }
    }
}

fn joined<V>(mut below: BTreeMap<String, V>, above: BTreeMap<String, V>) -> BTreeMap<String, V> {
    below.extend(above);
    below
}

impl List {
    fn over(above: Option<Self>, below: Option<Self>) -> Option<Self> {
        match (above, below) {
            (Some(Self::Add(more)), Some(Self::Replace(all))) => Some(Self::Replace(extended(all, more))),
            (Some(Self::Add(more)), Some(Self::Add(some))) => Some(Self::Add(extended(some, more))),
            (above, below) => above.or(below),
        }
    }

    /// The items, with nothing below them.
    pub fn into_items(self) -> Vec<String> {
        match self {
            Self::Replace(items) | Self::Add(items) => items,
        }
    }
}

impl From<Vec<String>> for List {
    fn from(items: Vec<String>) -> Self {
        Self::Replace(items)
    }
}

/// `items` with those of `more` behind them that are not the last already: what stands last wins in a list of patterns.
fn extended(mut items: Vec<String>, more: Vec<String>) -> Vec<String> {
    items.retain(|item| !more.contains(item));
    items.extend(more);
    items
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Added {
            add: Vec<String>,
        }
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings, or { add = [\"…\"] }")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<List, A::Error> {
                Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(list)).map(List::Replace)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<List, A::Error> {
                let Added { add } = Added::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(List::Add(add))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl HealthcheckSetting {
    fn over(above: Option<Self>, below: Option<Self>) -> Option<Self> {
        match (above, below) {
            (Some(Self::On(above)), Some(Self::On(below))) => Some(Self::On(HealthcheckTable {
                path: above.path.or(below.path),
                host: above.host.or(below.host),
                headers: joined(below.headers, above.headers),
                interval: above.interval.or(below.interval),
                timeout: above.timeout.or(below.timeout),
                start_period: above.start_period.or(below.start_period),
                start_interval: above.start_interval.or(below.start_interval),
                retries: above.retries.or(below.retries),
            })),
            (above, below) => above.or(below),
        }
    }

    /// One that asks for `path`.
    pub fn path(path: impl Into<String>) -> Self {
        Self::On(HealthcheckTable { path: Some(path.into()), ..HealthcheckTable::default() })
    }
}

impl HealthcheckTable {
    /// Refuses a path or a header field that no request can have.
    pub fn check(&self) -> Result<(), SettingsError> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let is_value = |value: &str| value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if let Some(name) = self.headers.keys().find(|name| !is_name(name)) {
            return Err(SettingsError::value("name of a header field", name, "write it as X-Check"));
        }
        if let Some(value) = self.headers.values().chain(&self.host).find(|value| !is_value(value)) {
            return Err(SettingsError::value(
                "value of a header field",
                value,
                "write it in ASCII, on one line",
            ));
        }
        match &self.path {
            Some(path) if !path.starts_with('/') || path.contains(char::is_whitespace) => {
                Err(SettingsError::value("path of a health check", path, "begin it with a slash: /health"))
            }
            _ => Ok(()),
        }
    }
}

/// A path, or `false`.
impl FromStr for HealthcheckSetting {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        if text == "false" {
            return Ok(Self::Off);
        }
        let table = HealthcheckTable { path: Some(text.to_owned()), ..HealthcheckTable::default() };
        table.check().map(|()| Self::On(table))
    }
}

impl<'de> Deserialize<'de> for HealthcheckSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = HealthcheckSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as \"/health\", `false`, or a table")
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Self::Value, E> {
                Ok(if on {
                    HealthcheckSetting::On(HealthcheckTable::default())
                } else {
                    HealthcheckSetting::Off
                })
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Self::Value, E> {
                path.parse().map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                HealthcheckTable::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(HealthcheckSetting::On)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl FromStr for User {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let wrong = || {
            SettingsError::value(
                "user",
                text,
                "write numbers, `UID` or `UID:GID`, such as 1000:1000: an image made from nothing has no names to look up",
            )
        };
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        Ok(Self { uid: uid.parse().map_err(|_| wrong())?, gid: gid.parse().map_err(|_| wrong())? })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl EventLoop {
    /// As uvicorn calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uvloop => "uvloop",
            Self::Asyncio => "asyncio",
            Self::Auto => "auto",
        }
    }
}

impl HttpProtocol {
    /// As uvicorn calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Httptools => "httptools",
            Self::H11 => "h11",
            Self::Auto => "auto",
        }
    }
}

impl Compression {
    /// The level of a plain `gzip`: the last that gains more than it costs (docs/decisions.md has the measurement).
    const USUAL_LEVEL: u32 = 5;
    /// The level of a plain `zstd`: its own usual one.
    const USUAL_ZSTD_LEVEL: i32 = 3;
}

impl FromStr for Compression {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let (kind, level) = match text.split_once(':') {
            Some((kind, level)) => (kind, Some(level)),
            None => (text, None),
        };
        match (kind, level.map(str::parse::<u32>)) {
            ("none", None) => Ok(Self::None),
            ("gzip", None) => Ok(Self::Gzip(Self::USUAL_LEVEL)),
            ("gzip", Some(Ok(level @ 1..=9))) => Ok(Self::Gzip(level)),
            ("zstd", None) => Ok(Self::Zstd(Self::USUAL_ZSTD_LEVEL)),
            ("zstd", Some(Ok(level @ 1..=19))) => Ok(Self::Zstd(level.cast_signed())),
            _ => Err(SettingsError::value(
                "compression",
                text,
                "write gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none",
            )),
        }
    }
}

impl Platforms {
    /// The platforms.
    pub fn as_slice(&self) -> &[Platform] {
        &self.0
    }

    fn add(&mut self, text: &str) -> Result<(), SettingsError> {
        let help = "write linux and an architecture, such as linux/amd64 or linux/arm64";
        let wrong = || SettingsError::value("platform of an image", text, help);
        let platform: Platform = text.trim().parse().map_err(|_| wrong())?;
        if platform.os != "linux" {
            return Err(wrong());
        }
        if !self.0.contains(&platform) {
            self.0.push(platform);
        }
        Ok(())
    }
}

impl FromStr for Platforms {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let mut platforms = Self(Vec::new());
        text.split(',').try_for_each(|text| platforms.add(text))?;
        Ok(platforms)
    }
}

impl<'de> Deserialize<'de> for Platforms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Platforms;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a platform such as \"linux/amd64\", or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Platforms, E> {
                text.parse().map_err(in_toml)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Platforms, A::Error> {
                let mut platforms = Platforms(Vec::new());
                while let Some(text) = list.next_element::<String>()? {
                    platforms.add(&text).map_err(in_toml)?;
                }
                if platforms.0.is_empty() {
                    return Err(serde::de::Error::invalid_length(0, &self));
                }
                Ok(platforms)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Implements reading a whole number from TOML, with an error that says what is expected.
macro_rules! whole_number {
    ($($name:ident: $type:ty, $expecting:literal);* $(;)?) => {$(
        fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$type>, D::Error> {
            struct Visitor;
            impl serde::de::Visitor<'_> for Visitor {
                type Value = $type;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str($expecting)
                }

                fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                    let wrong = || E::invalid_value(serde::de::Unexpected::Signed(number), &self);
                    number.to_string().parse().map_err(|_| wrong())
                }
            }
            deserializer.deserialize_any(Visitor).map(Some)
        }
    )*};
}

whole_number! {
    count: NonZeroU16, "a whole number from 1 to 65535, without quotes";
    whole_seconds: u16, "a whole number of seconds from 0 to 65535, without quotes";
    failures: u32, "a whole number, without quotes";
}

/// An error with its way out, as the parser of TOML takes it.
fn in_toml<E: serde::de::Error>(error: SettingsError) -> E {
    match error.help() {
        Some(help) => E::custom(format!("{error}: {help}")),
        None => E::custom(error),
    }
}

impl FromStr for Size {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let wrong =
            || SettingsError::value("size", text, "write a number with B, kB, MB, GB, KiB, MiB or GiB");
        let trimmed = text.trim();
        // `12` is more likely 12 MB than 12 bytes. Nothing is nothing in every unit.
        if trimmed.parse::<f64>().is_ok_and(|number| number > 0.0) {
            let help = format!("write its unit: {trimmed}MB for megabytes, {trimmed}B for bytes");
            return Err(SettingsError::value("size", text, help));
        }
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let number: f64 = trimmed[..digits].parse().map_err(|_| wrong())?;
        let unit = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        let bytes = number * unit;
        if !(bytes.is_finite() && (0.0..1e18).contains(&bytes)) {
            return Err(wrong());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked in the line above.
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&human_size(self.0))
    }
}

/// `83.5 MB`: decimal units, as Docker shows sizes.
pub fn human_size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = ["kB", "MB", "GB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // Rounded first, so that 999,999 bytes are 1.0 MB and not 1000.0 kB.
    while value >= 999.95 {
        let Some(larger) = units.next() else { break };
        (value, unit) = (value / 1000.0, larger);
    }
    format!("{value:.1} {unit}")
}

impl FromStr for Seconds {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let wrong = || SettingsError::value("time span", text, "write it as 10s, 500ms or 1m");
        if let Ok(seconds) = text.parse::<u32>() {
            return Ok(Self(std::time::Duration::from_secs(seconds.into())));
        }
        let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
        std::time::Duration::try_from(span).map(Self).map_err(|_| wrong())
    }
}

/// Implements reading from a string in TOML through [`FromStr`].
macro_rules! from_text {
    ($($type:ty: $expecting:literal),* $(,)?) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(in_toml)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    )*};
}

from_text! {
    User: "a user such as \"1000:1000\"",
    Compression: "gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none",
    Size: "a size such as \"120MB\"",
    Seconds: "a time span such as \"10s\"",
}

/// Implements [`FromStr`] for enums of words, through the same names that TOML knows.
macro_rules! words {
    ($($type:ty, $what:literal, $help:literal, { $($word:literal => $value:path),* $(,)? });* $(;)?) => {$(
        impl FromStr for $type {
            type Err = SettingsError;

            fn from_str(text: &str) -> Result<Self, SettingsError> {
                match text {
                    $($word => Ok($value),)*
                    _ => Err(SettingsError::value($what, text, $help)),
                }
            }
        }
    )*};
}

words! {
    EventLoop, "event loop", "write uvloop, asyncio or auto",
        { "uvloop" => Self::Uvloop, "asyncio" => Self::Asyncio, "auto" => Self::Auto };
    HttpProtocol, "HTTP implementation", "write httptools, h11 or auto",
        { "httptools" => Self::Httptools, "h11" => Self::H11, "auto" => Self::Auto };
    Bytecode, "way to treat bytecode", "write keep, compile or strip",
        { "keep" => Self::Keep, "compile" => Self::Compile, "strip" => Self::Strip };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("recipe.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = parse("port = 80\nprot = 80\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("prot"), "{error}");
        let error = parse("[healthcheck]\npath = \"/\"\nevery = 3\n").unwrap_err();
        assert!(error.contains("every") && error.contains("line 3"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_an_error_with_its_line() {
        for text in [
            "\nport = 70000",
            "\nport = 0",
            "\nuser = \"bob\"",
            "\nmax-size = \"12 parsec\"",
            "\nhealthcheck = 3",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_suggests_the_nearest() {
        for (text, suggestion) in [
            ("prot = 80", "unknown key `prot`; did you mean `port`?"),
            ("max_size = '1MB'", "did you mean `max-size`?"),
            ("Workers = 3", "did you mean `workers`?"),
            ("certificate = true", "did you mean `certificates`?"),
            ("[healthcheck]\nretrys = 3", "did you mean `retries`?"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(suggestion) && !error.contains("expected one of"), "{error}");
        }
        let error = parse("colour = 'red'").unwrap_err();
        assert!(error.ends_with("unknown key `colour`"), "{error}");
    }

    #[test]
    fn a_number_in_quotes_is_told_to_be_one() {
        for (text, expected) in [
            ("workers = '3'", "a whole number from 1 to 65535, without quotes"),
            ("layers = 0", "a whole number from 1 to 65535"),
            ("graceful-timeout = -1", "a whole number of seconds from 0 to 65535"),
            ("[healthcheck]\nretries = '3'", "a whole number, without quotes"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("u16"), "{error}");
        }
    }

    #[test]
    fn lists_replace_or_are_added_to() {
        let items = |above: &str, below: &str| {
            parse(above).unwrap().over(parse(below).unwrap()).libraries.map(List::into_items)
        };
        let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>());
        let below = "libraries = ['a', 'b']";
        assert_eq!(items("libraries = ['c']", below), list(&["c"]));
        assert_eq!(items("libraries = { add = ['c'] }", below), list(&["a", "b", "c"]));
        assert_eq!(items("libraries.add = ['c', 'a']", below), list(&["b", "c", "a"]));
        assert_eq!(items("", below), list(&["a", "b"]));
        assert_eq!(items("libraries.add = ['c']", ""), list(&["c"]));
        // Three on one another, whichever two are laid on each other first.
        let [one, two, three] = ["exclude.add = ['c']", "exclude.add = ['b']", "exclude = ['a']"]
            .map(|text| parse(text).unwrap());
        let left = one.clone().over(two.clone()).over(three.clone());
        assert_eq!(left, one.over(two.over(three)));
        assert_eq!(left.exclude.unwrap().into_items(), ["a", "b", "c"]);
        for wrong in ["trim = { remove = ['a'] }", "trim = 'a'", "trim = [1]"] {
            let error = parse(&format!("\n{wrong}")).unwrap_err();
            assert!(error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn a_health_check_is_a_path_a_table_or_off() {
        let read = |text| parse(text).unwrap().healthcheck.unwrap();
        assert_eq!(read("healthcheck = \"/up\""), HealthcheckSetting::path("/up"));
        assert_eq!(read("healthcheck = false"), HealthcheckSetting::Off);
        let HealthcheckSetting::On(table) = read("[healthcheck]\ninterval = \"1m 30s\"\ntimeout = 3") else {
            panic!("it is on")
        };
        assert_eq!(table.interval.unwrap().0.as_secs(), 90);
    }

    #[test]
    fn what_is_above_wins_and_tables_join() {
        let above = parse("port = 1\nenv.A = \"above\"\nhealthcheck = \"/a\"").unwrap();
        let below =
            parse("port = 2\nworkers = 3\nenv = {A = \"below\", B = \"below\"}\nhealthcheck.retries = 9")
                .unwrap();
        let both = above.over(below);
        assert_eq!(both.port.unwrap().get(), 1);
        assert_eq!(both.workers.unwrap().get(), 3);
        assert_eq!(both.env["A"], "above");
        assert_eq!(both.env["B"], "below");
        let Some(HealthcheckSetting::On(table)) = both.healthcheck else { panic!("it is on") };
        assert_eq!((table.path.as_deref(), table.retries), (Some("/a"), Some(9)));
    }

    #[test]
    fn platforms_are_one_or_a_list() {
        let read = |text: &str| {
            let platforms = parse(text)?.platform.unwrap();
            Ok::<_, String>(platforms.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(read("platform = \"linux/aarch64\"").unwrap(), ["linux/arm64"]);
        for list in ["\"linux/amd64, linux/arm64,linux/amd64\"", "[\"linux/amd64\", \"linux/arm64\"]"] {
            assert_eq!(read(&format!("platform = {list}")).unwrap(), ["linux/amd64", "linux/arm64"]);
        }
        for wrong in ["3", "[]", "\"\"", "\"amd64\"", "\"windows/amd64\"", "[\"linux/amd64\", \"x\"]"] {
            let error = read(&format!("\nplatform = {wrong}")).unwrap_err();
            assert!(error.contains("line 2") && error.contains("linux/amd64"), "{error}");
        }
    }

    #[test]
    fn sizes_are_read_in_decimal_and_binary_units() {
        for (text, bytes) in
            [("120MB", 120_000_000), ("1.5 GiB", 1_610_612_736), ("4096B", 4096), ("2k", 2000), ("0", 0)]
        {
            assert_eq!(text.parse::<Size>().unwrap().0, bytes, "{text}");
        }
        for text in ["", "MB", "-1", "1 XB", "1e3", "9999999999GB", "..", "1,5MB", "12", "1.5"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_the_unit_that_fits() {
        for (bytes, text) in [
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_999, "1.0 MB"),
            (5_000_000_000_000, "5000.0 GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn compression_is_named_with_a_level() {
        assert_eq!("gzip".parse::<Compression>().unwrap(), Compression::Gzip(5));
        assert_eq!("gzip:1".parse::<Compression>().unwrap(), Compression::Gzip(1));
        assert_eq!("zstd".parse::<Compression>().unwrap(), Compression::Zstd(3));
        assert_eq!("zstd:19".parse::<Compression>().unwrap(), Compression::Zstd(19));
        for text in ["gzip:0", "gzip:10", "gzip:", "none:1", "zstd:0", "zstd:20", "zstd:-1", "lz4"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,30}") {
            let _ = text.parse::<Size>();
            let _ = text.parse::<User>();
            let _ = text.parse::<Seconds>();
            let _ = text.parse::<Compression>();
            let _ = text.parse::<Platforms>();
            let _ = parse(&text);
        }
    }
}
