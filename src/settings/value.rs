//! The types of values: lists, platforms, users, compressions, sizes, time spans and words.
//!
//! Each implements [`SettingValue`], its form in the reference, in TOML and as a flag.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::key::SettingField;
use super::{Settings, SettingsError};
use crate::compression::Compression;
use crate::error::Advice as _;
use crate::platform::Platform;
use crate::python::provision::is_python_request;
use crate::suggest::with_nearest;

/// A type of values of settings.
pub(super) trait SettingValue: Sized {
    /// The form of a value, as Markdown.
    const FORM: &'static str;

    /// Returns the JSON schema of a value in TOML.
    fn schema() -> Value;

    /// Merges the values of two levels; `self` takes precedence.
    fn over(self, _below: Self) -> Self {
        self
    }

    /// Reads the text of a flag that already had the value `before`.
    fn read(text: &str, before: Option<Self>) -> Result<Self, SettingsError>;
}

/// A list: `["a", "b"]` replaces the inherited list, `{ add = ["c"] }` appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// The complete list.
    Replace(Vec<String>),
    /// Items to append to the inherited list.
    Add(Vec<String>),
}

/// One string or a list: `"a"`, `["a", "b"]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
pub enum OneOrMore {
    /// One.
    One(String),
    /// A list.
    More(Vec<String>),
}

/// Distinct platforms in the given order, at least one: `linux/amd64,linux/arm64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platforms(Vec<Platform>);

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// KeyGroup ID; defaults to the user ID.
    pub gid: u32,
}

/// Declares an enum of words, which have the same names in TOML and as flags.
macro_rules! words {
    ($(
        $(#[doc = $about:literal])+
        pub enum $name:ident: $noun:literal {
            $(#[doc = $doc:literal] $variant:ident = $word:literal,)+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $(
                #[doc = $doc]
                #[serde(rename = $word)]
                $variant,
            )+
        }

        impl $name {
            /// All words, in the order of the reference.
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name in settings.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl FromStr for $name {
            type Err = SettingsError;

            fn from_str(text: &str) -> Result<Self, SettingsError> {
                Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or_else(|| {
                    let words: Vec<&str> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    let help = with_nearest(&format!("write {}", alternatives(&words)), text, words);
                    SettingsError::value($noun, text, help)
                })
            }
        }

        impl SettingValue for $name {
            const FORM: &'static str = concat!($(", `", $word, "`"),+).split_at(2).1;

            fn schema() -> Value {
                json!({ "oneOf": [$({ "const": $word, "description": $doc.trim().trim_end_matches('.') }),+] })
            }

            fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
                text.parse()
            }
        }
    )+};
}

words! {
    /// uvicorn's `--loop`.
    pub enum EventLoop: "event loop" {
        /// uvloop, which must be installed.
        Uvloop = "uvloop",
        /// The standard library's event loop.
        Asyncio = "asyncio",
        /// uvloop, if installed.
        Auto = "auto",
    }

    /// uvicorn's `--http`.
    pub enum HttpProtocol: "HTTP implementation" {
        /// httptools, which must be installed.
        Httptools = "httptools",
        /// h11, a dependency of uvicorn.
        H11 = "h11",
        /// httptools, if installed.
        Auto = "auto",
    }

    /// The server of the image.
    pub enum ServerName: "server" {
        /// uvicorn, for ASGI.
        Uvicorn = "uvicorn",
        /// gunicorn, for WSGI, and with a worker of another distribution for ASGI and aiohttp.
        Gunicorn = "gunicorn",
        /// Hypercorn, for ASGI and WSGI.
        Hypercorn = "hypercorn",
        /// Granian, for ASGI and WSGI.
        Granian = "granian",
        /// Daphne, for ASGI.
        Daphne = "daphne",
        /// Waitress, for WSGI.
        Waitress = "waitress",
        /// uWSGI, for WSGI.
        Uwsgi = "uwsgi",
        /// FastAPI's command, which starts uvicorn.
        Fastapi = "fastapi",
        /// Sanic's own server.
        Sanic = "sanic",
        /// aiohttp's own server.
        Aiohttp = "aiohttp",
    }

    /// The purpose of a process in a deployment.
    pub enum WorkloadKind: "kind of process" {
        /// Serves a port.
        Service = "service",
        /// Runs without a port.
        Worker = "worker",
        /// Runs to its end before a new version starts.
        Release = "release",
        /// Runs to its end at times of a schedule.
        Cron = "cron",
    }

    /// Selection of the environment's distributions.
    pub enum Selection: "selection" {
        /// The declared dependencies of the project, with their own dependencies.
        Declared = "declared",
        /// All installed distributions.
        Installed = "installed",
    }

    /// Treatment of bytecode.
    pub enum Bytecode: "bytecode mode" {
        /// Include bytecode from the installer, and compile none.
        Keep = "keep",
        /// Compile missing bytecode.
        Compile = "compile",
        /// Include no bytecode.
        Strip = "strip",
    }
}

/// A requested version of Python: `3.12`, `3.12.1`, or a range such as `>=3.11,<3.13`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PythonRequest(String);

impl PythonRequest {
    /// Returns the request as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PythonRequest {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let help = "write a version or a range, such as 3.12 or >=3.11,<3.13";
        let request = Some(text).filter(|text| is_python_request(text));
        request
            .map(|text| Self(text.to_owned()))
            .ok_or_else(|| SettingsError::value("Python version", text, help))
    }
}

impl<'de> Deserialize<'de> for PythonRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(toml_error)
    }
}

impl SettingValue for PythonRequest {
    const FORM: &'static str = "version or range";

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["3.12", ">=3.11,<3.13"] })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
    }
}

/// A time span, written `10s`, `500ms`, `1m 30s` or as a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub std::time::Duration);

/// A number of bytes, written `120MB`, `1.5 GiB` or `4096B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Size(pub u64);

impl<T: SettingValue> SettingField for Option<T> {
    const FORM: &'static str = T::FORM;

    fn schema() -> Value {
        T::schema()
    }

    fn over(self, below: Self) -> Self {
        match (self, below) {
            (Some(above), Some(below)) => Some(above.over(below)),
            (above, below) => above.or(below),
        }
    }

    fn set(&mut self, text: &str) -> Result<(), SettingsError> {
        *self = Some(T::read(text, self.take())?);
        Ok(())
    }
}

impl SettingField for BTreeMap<String, String> {
    const FORM: &'static str = "table of strings";

    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": { "type": "string" } })
    }

    fn over(self, mut below: Self) -> Self {
        below.extend(self);
        below
    }

    fn set(&mut self, text: &str) -> Result<(), SettingsError> {
        let (key, value) = pair(text)?;
        self.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}

impl SettingField for BTreeMap<String, Vec<String>> {
    const FORM: &'static str = "table of lists of strings";

    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": Vec::<String>::schema() })
    }

    fn over(self, mut below: Self) -> Self {
        below.extend(self);
        below
    }

    fn set(&mut self, text: &str) -> Result<(), SettingsError> {
        let (key, value) = pair(text)?;
        self.entry(key.to_owned()).or_default().push(value.to_owned());
        Ok(())
    }
}

impl SettingField for BTreeMap<String, Settings> {
    const FORM: &'static str = "table";

    fn schema() -> Value {
        json!({ "type": "object" })
    }

    fn over(self, _below: Self) -> Self {
        self
    }

    fn set(&mut self, text: &str) -> Result<(), SettingsError> {
        Err(SettingsError::value("table", text, "write it in pyproject.toml"))
    }
}

/// Splits `KEY=VALUE`.
fn pair(text: &str) -> Result<(&str, &str), SettingsError> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.ok_or_else(|| SettingsError::value("pair", text, "write it as KEY=VALUE"))
}

/// Joins words: `a, b or c`.
fn alternatives(words: &[&str]) -> String {
    match words {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        words => words.concat(),
    }
}

impl SettingValue for bool {
    const FORM: &'static str = "boolean";

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse().map_err(|_| SettingsError::value("boolean", text, "write true or false"))
    }
}

impl SettingValue for String {
    const FORM: &'static str = "string";

    fn schema() -> Value {
        json!({ "type": "string" })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        Ok(text.to_owned())
    }
}

impl SettingValue for Vec<String> {
    const FORM: &'static str = "list of strings";

    fn schema() -> Value {
        json!({ "type": "array", "items": { "type": "string" } })
    }

    /// Reads a command: a JSON array, or words as in a shell.
    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        let wrong = |help: &str| SettingsError::value("command", text, help);
        if text.trim_start().starts_with('[') {
            return serde_json::from_str(text)
                .map_err(|_| wrong("write a JSON array of strings, such as [\"python\", \"-m\", \"app\"]"));
        }
        shell_words(text).ok_or_else(|| wrong("close the quote, or write a JSON array of strings"))
    }
}

/// Splits words as a POSIX shell does, without expansions (Shell Command Language, 2.2 Quoting).
/// Returns `None` for an open quote.
fn shell_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        quoted => word.push(quoted),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        quoted => word.push(quoted),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next()?),
            character if character.is_ascii_whitespace() => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Some(words)
}

impl OneOrMore {
    /// Returns the items.
    pub fn into_items(self) -> Vec<String> {
        match self {
            Self::One(item) => vec![item],
            Self::More(items) => items,
        }
    }
}

impl SettingValue for OneOrMore {
    const FORM: &'static str = "string, or a list";

    fn schema() -> Value {
        json!({ "anyOf": [String::schema(), Vec::<String>::schema()] })
    }

    fn read(text: &str, before: Option<Self>) -> Result<Self, SettingsError> {
        let mut items = before.map(Self::into_items).unwrap_or_default();
        items.push(text.to_owned());
        Ok(Self::More(items))
    }
}

impl SettingValue for List {
    const FORM: &'static str = "list of strings";

    fn schema() -> Value {
        let items = Vec::<String>::schema();
        let mut added = items.clone();
        added["description"] = "Items to append to the inherited list".into();
        json!({ "anyOf": [
            items,
            {
                "type": "object",
                "properties": { "add": added },
                "required": ["add"],
                "additionalProperties": false,
            },
        ] })
    }

    fn over(self, below: Self) -> Self {
        match (self, below) {
            (Self::Add(more), Self::Replace(all)) => Self::Replace(extended(all, more)),
            (Self::Add(more), Self::Add(some)) => Self::Add(extended(some, more)),
            (above, _) => above,
        }
    }

    fn read(text: &str, before: Option<Self>) -> Result<Self, SettingsError> {
        let mut items = before.map(Self::into_items).unwrap_or_default();
        items.push(text.to_owned());
        Ok(Self::Replace(items))
    }
}

impl List {
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
        struct ListVisitor;
        impl<'de> serde::de::Visitor<'de> for ListVisitor {
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
        deserializer.deserialize_any(ListVisitor)
    }
}

impl SettingValue for User {
    const FORM: &'static str = "`UID[:GID]`";

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "string", "pattern": "^[0-9]+(:[0-9]+)?$" },
            { "type": "integer", "minimum": 0, "maximum": u32::MAX },
        ] })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
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

impl SettingValue for Compression {
    const FORM: &'static str =
        "`gzip` (level 5), `gzip:1` to `gzip:9`, `zstd` (level 3), `zstd:1` to `zstd:19`, `none`";

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^(gzip(:[1-9])?|zstd(:([1-9]|1[0-9]))?|none)$" })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
    }
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
            ("gzip", None) => Ok(Self::Gzip(Self::USUAL_GZIP_LEVEL)),
            ("gzip", Some(Ok(level @ 1..=9))) => Ok(Self::Gzip(level)),
            ("zstd", None) => Ok(Self::Zstd(Self::USUAL_ZSTD_LEVEL)),
            ("zstd", Some(Ok(level @ 1..=19))) => Ok(Self::Zstd(level.cast_signed())),
            _ => Err(SettingsError::value(
                "compression",
                text,
                with_nearest(
                    "write gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none",
                    kind,
                    ["gzip", "zstd", "none"].into_iter().filter(|known| *known != kind),
                ),
            )),
        }
    }
}

impl SettingValue for Platforms {
    const FORM: &'static str = "`OS/ARCHITECTURE[/VARIANT]`, or a list";

    fn schema() -> Value {
        let platform = json!({ "type": "string", "pattern": "^ *linux/" });
        json!({ "anyOf": [platform, { "type": "array", "items": platform, "minItems": 1 }] })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
    }
}

impl Platforms {
    /// Returns the platforms.
    pub fn as_slice(&self) -> &[Platform] {
        &self.0
    }

    fn add(&mut self, text: &str) -> Result<(), SettingsError> {
        let wrong = || {
            let help = "write linux and an architecture, such as linux/amd64 or linux/arm64";
            let near = Platform::nearest(text.trim());
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            SettingsError::value("platform", text, format!("{help}{near}"))
        };
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
        struct PlatformsVisitor;
        impl<'de> serde::de::Visitor<'de> for PlatformsVisitor {
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
        deserializer.deserialize_any(PlatformsVisitor)
    }
}

/// Implements parsing of a complete number in TOML, with an error about the expected range, and as a flag.
macro_rules! whole_number {
    ($($name:ident: $type:ty, $form:literal, $least:literal, $most:expr, $expecting:literal);* $(;)?) => {$(
        pub(super) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$type>, D::Error> {
            struct WholeNumberVisitor;
            impl serde::de::Visitor<'_> for WholeNumberVisitor {
                type Value = $type;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(concat!($expecting, ", without quotes"))
                }

                fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                    let wrong = || E::invalid_value(serde::de::Unexpected::Signed(number), &self);
                    number.to_string().parse().map_err(|_| wrong())
                }
            }
            deserializer.deserialize_any(WholeNumberVisitor).map(Some)
        }

        impl SettingValue for $type {
            const FORM: &'static str = $form;

            fn schema() -> Value {
                json!({ "type": "integer", "minimum": $least, "maximum": $most })
            }

            fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
                let wrong = |_| SettingsError::value("number", text, concat!("write ", $expecting));
                text.parse().map_err(wrong)
            }
        }
    )*};
}

whole_number! {
    count: NonZeroU16, "1 to 65535", 1, u16::MAX, "a whole number from 1 to 65535";
    whole_seconds: u16, "seconds", 0, u16::MAX, "a whole number of seconds from 0 to 65535";
    failures: u32, "integer", 0, u32::MAX, "a whole number";
}

/// Converts an error for the TOML parser, including the help.
pub(super) fn toml_error<E: serde::de::Error>(error: SettingsError) -> E {
    match error.help() {
        Some(help) => E::custom(format!("{error}: {help}")),
        None => E::custom(error),
    }
}

impl SettingValue for Size {
    const FORM: &'static str = "size";

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "string", "pattern": "^\\s*([0-9.]+\\s*([kKmMgG]?[bB]|[kKmMgG]([iI][bB])?)|0+)\\s*$" },
            { "const": 0 },
        ] })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
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

impl SettingValue for Seconds {
    const FORM: &'static str = "time";

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "string", "pattern": "[0-9]" },
            { "type": "integer", "minimum": 0, "maximum": u32::MAX },
        ] })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
    }
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
                struct FromStrVisitor;
                impl serde::de::Visitor<'_> for FromStrVisitor {
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
                deserializer.deserialize_any(FromStrVisitor)
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
