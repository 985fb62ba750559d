//! Settings that are tables themselves: `files`, `prepare`, `process`, `check` and `apt`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::deploy::{DeployProcessTable, DeployTable};
use super::key::{Key, KeyGroup, SettingField, declare};
use super::value::{SettingValue, count, toml_error};
use super::{HealthcheckSetting, List, Seconds, SettingsError, Size, User};

declare! {
    /// A file or folder of this machine for the image: `[[tool.ipo-oci.files]]`.
    pub struct FileTable with FILE_KEYS;

    /// File or folder of this machine, relative to the project; `~` is the home folder.
    from: Option<String> = "from", Files, form("path"), default("required");
    /// Path in the image, relative to `workdir`; with a slash at the end, the folder of the file.
    to: Option<String> = "to", Files, form("path in the image"), default("required");
    /// User and group, as numbers.
    owner: Option<User> = "owner", Files, default("`0:0`, below `writable` the image's user");
    /// Mode of the files in octal; folders may be entered by everyone who may read them.
    mode: Option<FileMode> = "mode", Files, default("`\"0755\"` for programs, else `\"0644\"`");
    /// Name of the layer.
    layer: Option<String> = "layer", Files, default("`files`; from 4 MB, one of its own");
}

declare! {
    /// A command that makes files for the image: `[[tool.ipo-oci.prepare]]`.
    pub struct PrepareTable with PREPARE_KEYS;

    /// Name of the layer with the results.
    name: Option<String> = "name", Prepare, default("required");
    /// Command, without a shell; `{out}`, `{venv}` and `{python}` are replaced.
    command: Option<Vec<String>> = "command", Prepare, default("required");
    /// Files that the result depends on, as patterns of a `.dockerignore`.
    inputs: Option<Vec<String>> = "inputs", Prepare, form("list of patterns"), default("the whole source");
    /// Place of the results in the image; as a table, a place for each path below `$IPO_OCI_OUT`.
    to: Option<Places> = "to", Prepare, default("required");
    /// Environment variables of the command.
    env: BTreeMap<String, String> = "env", Prepare;
    /// Time limit.
    timeout: Option<Seconds> = "timeout", Prepare, default("`10m`");
}

declare! {
    /// A process of the project, which has an image of its own: `[tool.ipo-oci.process.NAME]`.
    pub struct ProcessTable with PROCESS_KEYS;

    /// Command; `{app}`, `{venv}` and `{python}` are replaced.
    command: Option<Vec<String>> = "command", Process, default("required, except for `web`");
    /// Health check.
    healthcheck: Option<HealthcheckSetting> = "healthcheck", Process, default("`false`, except for `web`");
    /// Environment variables, in addition to those of the image.
    env: BTreeMap<String, String> = "env", Process;
    /// Signal that stops the process.
    stop_signal: Option<String> = "stop-signal", Process, default("the image's");
    /// Port of a server.
    #[serde(deserialize_with = "count")]
    port: Option<NonZeroU16> = "port", Process, default("the image's");
}

declare! {
    /// The check of images: `[tool.ipo-oci.check]`.
    #[derive(Eq)]
    pub struct CheckTable with CHECK_KEYS;

    /// Rules to apply: codes, beginnings of codes, names.
    select: Option<List> = "select", Check, form("list of rules"), default("all");
    /// Rules to leave out; the longer code of both takes precedence.
    ignore: Option<List> = "ignore", Check, form("list of rules"), default("`[]`");
    /// False to build without a check.
    build: Option<bool> = "build", Check, default("`true`");
    /// Size on disk from which a layer is reported.
    max_layer_size: Option<Size> = "max-layer-size", Check;
    /// Size on disk from which a distribution is reported.
    max_distribution_size: Option<Size> = "max-distribution-size", Check;
}

declare! {
    /// Debian packages: `[tool.ipo-oci.apt]`.
    #[derive(Eq)]
    pub struct AptTable with APT_KEYS;

    /// Packages of an `apt:` base, the same for all targets.
    base: Option<List> = "base", Apt, form("list of packages");
    /// Packages that a target adds to an `apt:` base.
    tools: Option<List> = "tools", Apt, form("list of packages"), default("`[]`");
    /// True to install recommended packages.
    recommends: Option<bool> = "recommends", Apt, default("`false`");
    /// Files of packages to leave out, as patterns of absolute paths; `!` lines take files back.
    exclude: Option<List> = "exclude", Apt, form("list of patterns");
    /// Mirrors of the archive, tried in order.
    mirrors: Option<List> = "mirrors", Apt, form("list of addresses"), default("the machine's");
    /// Components of the archive at the mirrors.
    components: Option<List> = "components", Apt, default("`main`, of Ubuntu also `universe`");
    /// Archives in place of mirrors, as lines of a `sources.list`.
    sources: Option<List> = "sources", Apt, form("lines of a `sources.list`"), default("the machine's");
    /// Files with the keys of the archives, relative to the project.
    keyrings: Option<List> = "keyrings", Apt, form("list of paths"), default("the machine's");
    /// True to accept archives without a valid signature.
    unsigned: Option<bool> = "unsigned", Apt, default("`false`");
}

/// The permissions of a file, written in octal: `"0640"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FileMode(pub u32);

/// Places in an image: one for everything, or one for each path of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    /// The place of everything.
    One(String),
    /// The places by path in the folder.
    Each(BTreeMap<String, String>),
}

/// Ports to expose, each `8080` or `53/udp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports(Vec<String>);

/// Implements a list of tables as a setting, which only files can have.
macro_rules! list_of_tables {
    ($($type:ty = $definition:literal;)*) => {$(
        impl SettingValue for Vec<$type> {
            const FORM: &'static str = "list of tables";

            fn schema() -> Value {
                json!({ "type": "array", "items": { "$ref": concat!("#/definitions/", $definition) } })
            }

            fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
                Err(SettingsError::value("table", text, "write it in pyproject.toml"))
            }
        }
    )*};
}

list_of_tables! {
    FileTable = "file";
    PrepareTable = "prepare";
}

/// Implements tables by name as a setting, which only files can have; tables of one name are merged.
macro_rules! tables_by_name {
    ($($type:ty = $definition:literal;)*) => {$(
        impl SettingField for BTreeMap<String, $type> {
            const FORM: &'static str = "table of tables";

            fn schema() -> Value {
                let table = json!({ "$ref": concat!("#/definitions/", $definition) });
                json!({ "type": "object", "additionalProperties": table })
            }

            fn over(self, mut below: Self) -> Self {
                for (name, above) in self {
                    let under = below.remove(&name).unwrap_or_default();
                    below.insert(name, above.merged(under));
                }
                below
            }

            fn set(&mut self, text: &str) -> Result<(), SettingsError> {
                Err(SettingsError::value("table", text, "write it in pyproject.toml"))
            }
        }
    )*};
}

tables_by_name! {
    ProcessTable = "process";
    DeployProcessTable = "deploy-process";
}

/// Implements a table as a setting, which only files can have; levels are merged by key.
macro_rules! merged_table {
    ($($type:ty = $definition:literal;)*) => {$(
        impl SettingField for $type {
            const FORM: &'static str = "table";

            fn schema() -> Value {
                json!({ "$ref": concat!("#/definitions/", $definition) })
            }

            fn over(self, below: Self) -> Self {
                self.merged(below)
            }

            fn set(&mut self, text: &str) -> Result<(), SettingsError> {
                Err(SettingsError::value("table", text, "write it in pyproject.toml"))
            }
        }
    )*};
}

merged_table! {
    CheckTable = "check";
    AptTable = "apt";
    DeployTable = "deploy";
}

impl FromStr for FileMode {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal = !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| is_octal && *mode <= 0o7777);
        mode.map(Self).ok_or_else(|| {
            SettingsError::value("mode", text, "write up to four octal digits in quotes, such as \"0640\"")
        })
    }
}

impl SettingValue for FileMode {
    const FORM: &'static str = "octal number in quotes";

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^(0o)?[0-7]{1,5}$" })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FileModeVisitor;
        impl serde::de::Visitor<'_> for FileModeVisitor {
            type Value = FileMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mode in quotes such as \"0640\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FileMode, E> {
                text.parse().map_err(toml_error)
            }
        }
        deserializer.deserialize_any(FileModeVisitor)
    }
}

impl SettingValue for Places {
    const FORM: &'static str = "path in the image, or a table of them";

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "string" },
            { "type": "object", "additionalProperties": { "type": "string" }, "minProperties": 1 },
        ] })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        Ok(Self::One(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlacesVisitor;
        impl<'de> serde::de::Visitor<'de> for PlacesVisitor {
            type Value = Places;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a path in the image such as \"/app/static\", or { \"static\" = \"/app/static\" }",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Places, E> {
                Ok(Places::One(text.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Places, A::Error> {
                let places = BTreeMap::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                if places.is_empty() {
                    return Err(serde::de::Error::invalid_length(0, &self));
                }
                Ok(Places::Each(places))
            }
        }
        deserializer.deserialize_any(PlacesVisitor)
    }
}

impl Ports {
    /// Returns the ports in the form of an image's configuration: `8080/tcp`.
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }

    fn add(&mut self, text: &str) -> Result<(), SettingsError> {
        let wrong = || SettingsError::value("port", text, "write a number from 1 to 65535, or one with /udp");
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let number: NonZeroU16 = number.parse().map_err(|_| wrong())?;
        // OCI image specification, `config.md`, "ExposedPorts"; Docker knows SCTP as well.
        if !matches!(protocol, "tcp" | "udp" | "sctp") {
            return Err(wrong());
        }
        let port = format!("{number}/{protocol}");
        if !self.0.contains(&port) {
            self.0.push(port);
        }
        Ok(())
    }
}

impl SettingValue for Ports {
    const FORM: &'static str = "list of `PORT` or `PORT/PROTOCOL`";

    fn schema() -> Value {
        json!({ "type": "array", "items": { "anyOf": [
            { "type": "string", "pattern": "^[0-9]{1,5}(/(tcp|udp|sctp))?$" },
            { "type": "integer", "minimum": 1, "maximum": u16::MAX },
        ] } })
    }

    fn read(text: &str, before: Option<Self>) -> Result<Self, SettingsError> {
        let mut ports = before.unwrap_or_default();
        ports.add(text)?;
        Ok(ports)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        #[serde(expecting = "expected a port such as \"8080\" or \"53/udp\"")]
        enum Port {
            Number(i64),
            Text(String),
        }
        struct PortsVisitor;
        impl<'de> serde::de::Visitor<'de> for PortsVisitor {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of ports such as [\"8080\", \"53/udp\"]")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Ports, A::Error> {
                let mut ports = Ports::default();
                while let Some(port) = list.next_element()? {
                    let text = match port {
                        Port::Number(number) => number.to_string(),
                        Port::Text(text) => text,
                    };
                    ports.add(&text).map_err(toml_error)?;
                }
                Ok(ports)
            }
        }
        deserializer.deserialize_any(PortsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(std::path::Path::new("test"), text).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {cause}")
        })
    }

    #[test]
    fn modes_are_octal() {
        for (text, mode) in [("0640", 0o640), ("755", 0o755), ("0o4755", 0o4755), ("0", 0)] {
            assert_eq!(text.parse::<FileMode>().unwrap(), FileMode(mode), "{text}");
        }
        for text in ["", "+7", "rw", "0888", "17777", "-1"] {
            assert!(text.parse::<FileMode>().is_err(), "{text}");
        }
        assert!(parse("[[files]]\nfrom = 'a'\nto = '/a'\nmode = 420").unwrap_err().contains("in quotes"));
    }

    #[test]
    fn ports_are_numbers_with_a_protocol() {
        let ports = parse("ports = ['8080', 9000, '53/udp', '8080/tcp']").unwrap().ports.unwrap();
        assert_eq!(ports.into_vec(), ["8080/tcp", "9000/tcp", "53/udp"]);
        for wrong in ["['0']", "['x']", "['53/icmp']", "[70000]", "8080", "[1.5]"] {
            assert!(parse(&format!("ports = {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn results_have_one_place_or_several() {
        let to = |text: &str| {
            let settings = parse(&format!("[[prepare]]\nname = 'a'\ncommand = ['a']\nto = {text}"));
            settings.map(|settings| settings.prepare.unwrap()[0].to.clone().unwrap())
        };
        assert_eq!(to("'/a'").unwrap(), Places::One("/a".to_owned()));
        assert_eq!(to("{x = '/y'}").unwrap(), Places::Each([("x".to_owned(), "/y".to_owned())].into()));
        assert!(to("{}").is_err() && to("1").is_err());
    }

    #[test]
    fn processes_are_merged_by_name_and_key() {
        let above = parse("[process.worker]\nport = 1\nenv.A = '1'").unwrap();
        let below = parse("[process.worker]\ncommand = ['w']\nport = 2\nenv.B = '2'\n[process.x]").unwrap();
        let merged = above.over(below).process;
        assert_eq!(merged.keys().collect::<Vec<_>>(), ["worker", "x"]);
        let worker = &merged["worker"];
        assert_eq!(worker.port.map(NonZeroU16::get), Some(1));
        assert_eq!((worker.command.clone().unwrap(), worker.env.len()), (vec!["w".to_owned()], 2));
        assert!(parse("[process.worker]\ncomand = ['w']").unwrap_err().contains("did you mean `command`"));
    }
}
