//! The settings of users.
//!
//! One type, [`Settings`], serves recipe files, `[tool.ipo-oci]` in `pyproject.toml`, environment
//! variables and flags: every key has the same meaning everywhere, and [`Settings::over`] merges
//! two levels. Defaults are applied by [`crate::recipe`], which makes a complete
//! [`crate::recipe::Recipe`].

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Advice, FileError};
use crate::platform::Platform;

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Invalid TOML, an unknown key or a value of the wrong type. The reason includes the line.
    #[error("cannot parse {file}: {reason}")]
    Toml {
        /// The file.
        file: String,
        /// The message of the parser, with line, column and the line itself.
        reason: String,
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
            Self::Toml { .. } => Some("see docs/settings.md for all keys and their types".to_owned()),
            Self::Value { help, .. } => Some(help.clone()),
        }
    }
}

impl SettingsError {
    /// Makes an error of an invalid value, with advice.
    pub fn value(what: &'static str, value: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Value { what, value: value.into(), help: help.into() }
    }

    /// Converts a TOML error in this file.
    ///
    /// The error of an unknown key suggests the nearest one, which a list of all keys would hide.
    pub fn toml(file: &Path, error: &toml::de::Error) -> Self {
        let mut reason = error.to_string().trim_end().to_owned();
        if let Some(unknown) = unknown_key(error.message()) {
            reason = reason.replace(error.message(), &unknown);
        }
        Self::Toml { file: file.display().to_string(), reason }
    }

    /// Makes an error of an unknown table `name`, which suggests `known`, with its line in the
    /// file.
    pub fn unknown(file: &Path, line: Option<usize>, name: &str, known: &str) -> Self {
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        Self::Toml {
            file: file.display().to_string(),
            reason: format!("{line}unknown table `{name}`; did you mean `{known}`?"),
        }
    }
}

/// Rewords serde's message about an unknown key.
fn unknown_key(message: &str) -> Option<String> {
    let (name, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let known = known.split('`').skip(1).step_by(2);
    Some(match nearest(name, known) {
        Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
        None => format!("unknown key `{name}`"),
    })
}

/// Returns the most similar of the `known` names; up to a third of the letters may differ.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase().replace('_', "-");
    let distance = |known: &str| strsim::damerau_levenshtein(&name, known);
    let near = known.map(|known| (distance(known), known)).min()?;
    (near.0 <= (near.1.chars().count() / 3).max(1)).then_some(near.1)
}

/// All settings; `None` means not set at this level. `docs/settings.md` describes each key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// The recipe to extend: `runtime`, `builder`, `dev`, or a file beside this one. Only in
    /// recipes.
    pub extends: Option<String>,
    /// A recipe file in place of the target's own. Only in `pyproject.toml`.
    pub recipe: Option<String>,
    /// Settings of single targets, by name. Only in `pyproject.toml`.
    pub target: BTreeMap<String, Settings>,
    /// One line about the purpose of the image.
    pub description: Option<String>,

    /// Name of the image, `agencyos` or `registry/team/agencyos`. Default: the project's name.
    pub name: Option<String>,
    /// Tag of the image. Default: `latest`.
    pub tag: Option<String>,
    /// Base image.
    pub base: Option<String>,
    /// Platforms of the image; several make an index.
    pub platform: Option<Platforms>,
    /// Mirrors to try first, by registry name.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// `UID[:GID]` of the process.
    pub user: Option<User>,
    /// Directory of the application in the image.
    pub workdir: Option<String>,
    /// Environment variables of the image.
    pub env: BTreeMap<String, String>,
    /// Labels and annotations of the image.
    pub labels: BTreeMap<String, String>,
    /// The stop signal.
    pub stop_signal: Option<String>,
    /// The command; `{app}`, `{venv}` and `{python}` are replaced.
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
    /// True if uvicorn trusts `X-Forwarded-*` from its trusted proxies.
    pub proxy_headers: Option<bool>,
    /// Seconds until running requests are aborted when the server stops.
    #[serde(deserialize_with = "whole_seconds")]
    pub graceful_timeout: Option<u16>,
    /// True if uvicorn restarts after changes of source files.
    pub reload: Option<bool>,
    /// The health check.
    pub healthcheck: Option<HealthcheckSetting>,

    /// Selection of the environment's distributions.
    pub distributions: Option<Selection>,
    /// Extras of the project whose requirements are included.
    pub extras: Option<List>,
    /// Distributions that may be required and not installed.
    pub allow_missing: Option<List>,
    /// Treatment of bytecode.
    pub bytecode: Option<Bytecode>,
    /// True if the environment must contain pip.
    pub pip: Option<bool>,
    /// True to include the interpreter's C headers.
    pub headers: Option<bool>,
    /// True to include the activation scripts of the environment.
    pub activate: Option<bool>,
    /// True if the process may install distributions into the environment.
    pub writable_environment: Option<bool>,

    /// Parts of the standard library to omit, as patterns relative to it.
    pub trim: Option<List>,
    /// Shared libraries that are loaded at run time without a reference in an ELF header.
    pub libraries: Option<List>,
    /// True to include the bundle of certificate authorities.
    pub certificates: Option<bool>,
    /// True to include the time zone database.
    pub time_zones: Option<bool>,

    /// Source files to exclude, as lines of a `.dockerignore`.
    pub exclude: Option<List>,

    /// Maximum number of layers.
    #[serde(deserialize_with = "count")]
    pub layers: Option<NonZeroU16>,
    /// Compression of layers.
    pub compression: Option<CompressionSetting>,
    /// Maximum size on disk; larger images fail the build.
    pub max_size: Option<Size>,
}

/// A list: `["a", "b"]` replaces the inherited list, `{ add = ["c"] }` appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// The complete list.
    Replace(Vec<String>),
    /// Items to append to the inherited list.
    Add(Vec<String>),
}

/// Distinct platforms in the given order, at least one: `linux/amd64,linux/arm64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platforms(Vec<Platform>);

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// Group ID; defaults to the user ID.
    pub gid: u32,
}

/// uvicorn's `--loop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLoop {
    /// uvloop, which must be installed.
    Uvloop,
    /// The standard library's event loop.
    Asyncio,
    /// uvloop, if installed.
    Auto,
}

/// uvicorn's `--http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpProtocol {
    /// httptools, which must be installed.
    Httptools,
    /// h11, a dependency of uvicorn.
    H11,
    /// httptools, if installed.
    Auto,
}

/// Selection of the environment's distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// The declared dependencies of the project, with their own dependencies.
    Declared,
    /// All installed distributions.
    Installed,
}

/// Treatment of bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bytecode {
    /// Include bytecode from the installer, and compile none.
    Keep,
    /// Compile missing bytecode.
    Compile,
    /// Include no bytecode.
    Strip,
}

/// Compression of layers: `gzip`, `gzip:9`, `zstd`, `zstd:19`, `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionSetting {
    /// No compression.
    None,
    /// gzip at a level of 1 to 9.
    Gzip(u32),
    /// zstd at a level of 1 to 19.
    Zstd(i32),
}

/// A health check setting: a path, `false`, or a table.
#[derive(Debug, Clone, PartialEq)]
pub enum HealthcheckSetting {
    /// No health check.
    Off,
    /// A health check with these properties; missing ones are inherited.
    On(HealthcheckTable),
}

/// The properties of a health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HealthcheckTable {
    /// The requested path. Without one, `/` is requested, and any response below 500 counts as
    /// healthy.
    pub path: Option<String>,
    /// The `Host` header, for applications that respond to no other.
    pub host: Option<String>,
    /// More header fields of the request.
    pub headers: BTreeMap<String, String>,
    /// Time between checks: `10s`.
    pub interval: Option<Seconds>,
    /// Time limit of a check.
    pub timeout: Option<Seconds>,
    /// Time after the start in which failures do not count.
    pub start_period: Option<Seconds>,
    /// Time between checks in the start period, for engines with support.
    pub start_interval: Option<Seconds>,
    /// Consecutive failures that make the container unhealthy.
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
    /// Parses a recipe file, which contains only settings.
    pub fn parse(file: &Path, text: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|error| SettingsError::toml(file, &error))
    }

    /// Merges two levels; these settings take precedence over `below`.
    ///
    /// Values and lists replace those below, except lists with `add` ([`List`]); `env`, `labels`
    /// and `mirrors` are merged by key, and the health check's table by property.
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
            env: merged(below.env, self.env),
            labels: merged(below.labels, self.labels),
            mirrors: merged(below.mirrors, self.mirrors),
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

fn merged<V>(mut below: BTreeMap<String, V>, above: BTreeMap<String, V>) -> BTreeMap<String, V> {
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

    /// Returns the items, without an inherited list.
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

/// Appends `more` to `items` and removes earlier duplicates: in a list of patterns, the last match
/// takes precedence.
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
                headers: merged(below.headers, above.headers),
                interval: above.interval.or(below.interval),
                timeout: above.timeout.or(below.timeout),
                start_period: above.start_period.or(below.start_period),
                start_interval: above.start_interval.or(below.start_interval),
                retries: above.retries.or(below.retries),
            })),
            (above, below) => above.or(below),
        }
    }

    /// Makes a health check that requests `path`.
    pub fn path(path: impl Into<String>) -> Self {
        Self::On(HealthcheckTable { path: Some(path.into()), ..HealthcheckTable::default() })
    }
}

impl HealthcheckTable {
    /// Refuses a path or header field that is invalid in HTTP.
    pub fn check(&self) -> Result<(), SettingsError> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let is_value = |value: &str| value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if let Some(name) = self.headers.keys().find(|name| !is_name(name)) {
            return Err(SettingsError::value("header name", name, "write it as X-Check"));
        }
        if let Some(value) = self.headers.values().chain(&self.host).find(|value| !is_value(value)) {
            return Err(SettingsError::value("header value", value, "write it in ASCII, on one line"));
        }
        match &self.path {
            Some(path) if !path.starts_with('/') || path.contains(char::is_whitespace) => {
                Err(SettingsError::value("health check path", path, "begin it with a slash: /health"))
            }
            _ => Ok(()),
        }
    }
}

/// Parses a path, or `false`.
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
                "write numbers, `UID` or `UID:GID`, such as 1000:1000, since scratch images have no user names",
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
    /// Returns uvicorn's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uvloop => "uvloop",
            Self::Asyncio => "asyncio",
            Self::Auto => "auto",
        }
    }
}

impl HttpProtocol {
    /// Returns uvicorn's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Httptools => "httptools",
            Self::H11 => "h11",
            Self::Auto => "auto",
        }
    }
}

impl CompressionSetting {
    /// The default gzip level: the last with a gain above its cost (measured in docs/decisions.md).
    const USUAL_LEVEL: u32 = 5;
    /// The default zstd level, also that of zstd itself.
    const USUAL_ZSTD_LEVEL: i32 = 3;
}

impl FromStr for CompressionSetting {
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
    /// Returns the platforms.
    pub fn as_slice(&self) -> &[Platform] {
        &self.0
    }

    fn add(&mut self, text: &str) -> Result<(), SettingsError> {
        let help = "write linux and an architecture, such as linux/amd64 or linux/arm64";
        let wrong = || SettingsError::value("platform", text, help);
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
                text.parse().map_err(toml_error)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Platforms, A::Error> {
                let mut platforms = Platforms(Vec::new());
                while let Some(text) = list.next_element::<String>()? {
                    platforms.add(&text).map_err(toml_error)?;
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

/// Implements parsing of a whole number in TOML, with an error about the expected range.
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

/// Converts an error for the TOML parser, including the help.
fn toml_error<E: serde::de::Error>(error: SettingsError) -> E {
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
        // `12` more likely means 12 MB than 12 bytes. Zero needs no unit.
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
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked above.
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&human_size(self.0))
    }
}

/// Formats a size in decimal units, as Docker does: `83.5 MB`.
pub fn human_size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = ["kB", "MB", "GB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // Rounded before the comparison, so that 999,999 bytes become 1.0 MB instead of 1000.0 kB.
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

/// Implements parsing of a TOML string with [`FromStr`].
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
                        text.parse().map_err(toml_error)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    )*};
}

from_text! {
    User: "a user such as \"1000:1000\"",
    CompressionSetting: "gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none",
    Size: "a size such as \"120MB\"",
    Seconds: "a time span such as \"10s\"",
}

/// Implements [`FromStr`] for enums, with the same names as in TOML.
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
    Bytecode, "bytecode mode", "write keep, compile or strip",
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
    fn explains_quoted_numbers() {
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
        // Three levels; the order of the merges is irrelevant.
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
    fn upper_settings_take_precedence_and_tables_merge() {
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
        assert_eq!("gzip".parse::<CompressionSetting>().unwrap(), CompressionSetting::Gzip(5));
        assert_eq!("gzip:1".parse::<CompressionSetting>().unwrap(), CompressionSetting::Gzip(1));
        assert_eq!("zstd".parse::<CompressionSetting>().unwrap(), CompressionSetting::Zstd(3));
        assert_eq!("zstd:19".parse::<CompressionSetting>().unwrap(), CompressionSetting::Zstd(19));
        for text in ["gzip:0", "gzip:10", "gzip:", "none:1", "zstd:0", "zstd:20", "zstd:-1", "lz4"] {
            assert!(text.parse::<CompressionSetting>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in ".{0,30}") {
            let _ = text.parse::<Size>();
            let _ = text.parse::<User>();
            let _ = text.parse::<Seconds>();
            let _ = text.parse::<CompressionSetting>();
            let _ = text.parse::<Platforms>();
            let _ = parse(&text);
        }
    }
}
