//! [`RuntimeConfig`]: the part of a configuration that says how a container of the image runs.
//!
//! OCI image specification 1.1, `config.md`, and Docker's `Healthcheck` and `Shell` (moby,
//! `api/types/container`: `Config`). Missing values are Docker's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Docker's defaults of a health check.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;

/// The fields of a configuration that a container's process depends on, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RuntimeConfig {
    pub(crate) entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    pub(crate) working_dir: Option<String>,
    pub(crate) user: Option<String>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    pub(crate) stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, Value>>,
    healthcheck: Option<HealthFields>,
    shell: Option<Vec<String>>,
}

/// Docker's `HealthConfig`, with times in nanoseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HealthFields {
    test: Option<Vec<String>>,
    interval: Option<u64>,
    timeout: Option<u64>,
    start_period: Option<u64>,
    retries: Option<u32>,
}

/// A health check that runs a command in the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HealthCheck {
    /// The command, with the shell of a line.
    pub(crate) command: Vec<String>,
    /// True if a shell interprets the command.
    pub(crate) is_shell: bool,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) start_period: Duration,
    pub(crate) retries: u32,
}

impl RuntimeConfig {
    /// Reads the document of a configuration.
    pub(crate) fn of(document: &Value) -> serde_json::Result<Self> {
        match document.get("config") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(config) => Self::deserialize(config),
        }
    }

    /// Returns the command: entrypoint, then arguments.
    pub(crate) fn command(&self) -> Vec<String> {
        [&self.entrypoint, &self.cmd].into_iter().flatten().flatten().cloned().collect()
    }

    /// Returns the environment variables, in their order.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let pairs = self.env.iter().flatten().filter_map(|text| text.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Returns the exposed TCP ports, in ascending order, and others as written: those of other protocols (`53/udp`), and
    /// the rest of a range (`3001-3003`), which buildah writes.
    pub(crate) fn ports(&self) -> (Vec<u16>, Vec<String>) {
        let (mut ports, mut others) = (Vec::new(), Vec::new());
        for text in self.exposed_ports.iter().flat_map(BTreeMap::keys) {
            match text.split_once('/').unwrap_or((text, "tcp")) {
                (port, "tcp") => {
                    match port.split_once('-').map(|(first, last)| (first.parse(), last.parse())) {
                        None => ports.extend(port.parse::<u16>().ok()),
                        Some((Ok(first), Ok(last))) if first < last => {
                            ports.push(first);
                            let rest =
                                if first + 1 == last { String::new() } else { format!("{}-", first + 1) };
                            others.push(format!("{rest}{last}"));
                        }
                        Some(_) => others.push(text.clone()),
                    }
                }
                _ => others.push(text.clone()),
            }
        }
        ports.sort_unstable();
        (ports, others)
    }

    /// Iterates over the mount points, in the order of their names.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = &str> {
        self.volumes.iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Returns the health check, unless the image disables it.
    pub(crate) fn health_check(&self) -> Option<HealthCheck> {
        let fields = self.healthcheck.as_ref()?;
        let (command, is_shell) = match fields.test.as_deref()?.split_first()? {
            (kind, command) if kind == "CMD" && !command.is_empty() => (command.to_vec(), false),
            (kind, [line, ..]) if kind == "CMD-SHELL" => {
                let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
                let shell = self.shell.clone().filter(|shell| !shell.is_empty()).unwrap_or_else(default);
                ([shell, vec![line.clone()]].concat(), true)
            }
            _ => return None,
        };
        let time = |value: Option<u64>, default| {
            value.filter(|value| *value > 0).map_or(default, Duration::from_nanos)
        };
        Some(HealthCheck {
            command,
            is_shell,
            interval: time(fields.interval, INTERVAL),
            timeout: time(fields.timeout, TIMEOUT),
            start_period: time(fields.start_period, Duration::ZERO),
            retries: fields.retries.filter(|retries| *retries > 0).unwrap_or(RETRIES),
        })
    }
}

/// Returns true if the variable `PORT` probably determines the port of the server: the image sets the variable, or a
/// word of the command names it.
pub(crate) fn follows_port<'a>(mut variables: impl Iterator<Item = &'a str>, command: &[String]) -> bool {
    let names = ["$PORT", "${PORT", "\"PORT\"", "'PORT'"];
    variables.any(|name| name == "PORT")
        || command.iter().any(|word| names.iter().any(|name| word.contains(name)))
}
