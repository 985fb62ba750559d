//! [`ImageProcess`]: the process that an image's configuration defines.
//!
//! OCI image specification 1.1, `config.md`, and Docker's `Healthcheck` and `Shell` (moby,
//! `api/types/container`: `Config`). Missing values are Docker's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunError;
use super::signal::StopSignal;
use crate::image::DEFAULT_PATH;
use crate::tree::ImagePath;

/// Docker's defaults of a health check.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;

/// The process of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageProcess {
    /// The command with its arguments.
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: ImagePath,
    /// The user as written; empty for root.
    pub(super) user: String,
    /// Exposed TCP ports, in ascending order.
    pub(super) ports: Vec<u16>,
    pub(super) stop_signal: StopSignal,
    pub(super) volumes: Vec<ImagePath>,
    pub(super) health: Option<HealthCheck>,
}

/// A health check that runs a command in the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct HealthCheck {
    pub(super) command: Vec<String>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) start_period: Duration,
    pub(super) retries: u32,
}

/// The fields of the configuration that a start needs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Fields {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    stop_signal: Option<String>,
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

impl ImageProcess {
    /// Reads the configuration of an image.
    ///
    /// # Errors
    /// Fails if the configuration is invalid or has no command.
    pub(super) fn of(config: &[u8]) -> Result<Self, RunError> {
        let document: Value =
            serde_json::from_slice(config).map_err(|error| RunError::Config(error.to_string()))?;
        let fields = match document.get("config") {
            None | Some(Value::Null) => Fields::default(),
            Some(config) => {
                Fields::deserialize(config).map_err(|error| RunError::Config(error.to_string()))?
            }
        };
        let args: Vec<String> = [fields.entrypoint, fields.cmd].into_iter().flatten().flatten().collect();
        if args.is_empty() {
            return Err(RunError::NoCommand);
        }
        let path = |text: &str| ImagePath::new(text).map_err(|error| RunError::Config(error.to_string()));
        let stop_signal = match fields.stop_signal.as_deref() {
            None | Some("") => StopSignal::TERM,
            Some(text) => text
                .parse()
                .map_err(|()| RunError::Config(format!("unknown stop signal `{}`", text.escape_debug())))?,
        };
        let volumes = fields.volumes.unwrap_or_default();
        let mut env = pairs(fields.env.unwrap_or_default());
        if !env.iter().any(|(name, _)| name == "PATH") {
            env.insert(0, ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
        }
        Ok(Self {
            args,
            env,
            cwd: path(fields.working_dir.as_deref().unwrap_or_default())?,
            user: fields.user.unwrap_or_default(),
            ports: tcp_ports(&fields.exposed_ports.unwrap_or_default()),
            stop_signal,
            volumes: volumes.keys().map(|text| path(text)).collect::<Result<_, _>>()?,
            health: fields.healthcheck.and_then(|health| health_check(health, fields.shell)),
        })
    }

    /// Sets a variable, in place of the one with the same name.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Returns true if the variable `PORT` probably determines the port: the image sets the variable, or a
    /// word of the command names it.
    pub(super) fn follows_port(&self) -> bool {
        let names = ["$PORT", "${PORT", "\"PORT\"", "'PORT'"];
        self.env.iter().any(|(name, _)| name == "PORT")
            || self.args.iter().any(|word| names.iter().any(|name| word.contains(name)))
    }
}

fn pairs(env: Vec<String>) -> Vec<(String, String)> {
    let pair = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    env.into_iter().filter_map(pair).collect()
}

fn tcp_ports(exposed: &BTreeMap<String, Value>) -> Vec<u16> {
    let port = |text: &String| match text.split_once('/') {
        None => text.parse().ok(),
        Some((port, "tcp")) => port.parse().ok(),
        Some(_) => None,
    };
    let mut ports: Vec<u16> = exposed.keys().filter_map(port).collect();
    ports.sort_unstable();
    ports
}

/// Returns the health check, unless the image disables it.
fn health_check(fields: HealthFields, shell: Option<Vec<String>>) -> Option<HealthCheck> {
    let test = fields.test.unwrap_or_default();
    let command = match test.split_first()? {
        (kind, command) if kind == "CMD" => command.to_vec(),
        (kind, [line, ..]) if kind == "CMD-SHELL" => {
            let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
            let shell = shell.filter(|shell| !shell.is_empty()).unwrap_or_else(default);
            [shell, vec![line.clone()]].concat()
        }
        _ => return None,
    };
    let time =
        |value: Option<u64>, default| value.filter(|value| *value > 0).map_or(default, Duration::from_nanos);
    (!command.is_empty()).then(|| HealthCheck {
        command,
        interval: time(fields.interval, INTERVAL),
        timeout: time(fields.timeout, TIMEOUT),
        start_period: time(fields.start_period, Duration::ZERO),
        retries: fields.retries.filter(|retries| *retries > 0).unwrap_or(RETRIES),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn process(config: &Value) -> Result<ImageProcess, RunError> {
        ImageProcess::of(json!({ "config": config }).to_string().as_bytes())
    }

    #[test]
    fn reads_the_fields_of_a_start() {
        let process = process(&json!({
            "Entrypoint": ["/bin/app"], "Cmd": ["--port", "80"], "Env": ["A=1=2", "odd", "PATH=/x"],
            "WorkingDir": "/srv", "User": "app", "StopSignal": "SIGQUIT",
            "ExposedPorts": { "9000/tcp": {}, "80": {}, "53/udp": {} }, "Volumes": { "/data/": {} },
        }))
        .unwrap();
        assert_eq!(process.args, ["/bin/app", "--port", "80"]);
        assert_eq!(process.env, [("A".to_owned(), "1=2".to_owned()), ("PATH".to_owned(), "/x".to_owned())]);
        assert_eq!((process.cwd.to_string(), process.user.as_str()), ("/srv".to_owned(), "app"));
        assert_eq!((process.ports.as_slice(), process.stop_signal.number()), (&[80, 9000][..], 3));
        assert_eq!(process.volumes, [ImagePath::new("/data").unwrap()]);
        assert_eq!(process.health, None);
        assert!(!process.follows_port());
    }

    #[test]
    fn missing_values_are_dockers() {
        let process = process(&json!({ "Cmd": ["a"], "Env": null, "User": null })).unwrap();
        assert_eq!(process.env, [("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
        assert_eq!((process.cwd, process.stop_signal), (ImagePath::root(), StopSignal::TERM));
        for config in [json!(null), json!({}), json!({ "Entrypoint": null, "Cmd": [] })] {
            assert!(matches!(
                ImageProcess::of(json!({ "config": config }).to_string().as_bytes()),
                Err(RunError::NoCommand)
            ));
        }
    }

    #[test]
    fn reads_every_form_of_a_health_check() {
        let health = |healthcheck: Value, shell: Value| {
            process(&json!({ "Cmd": ["a"], "Healthcheck": healthcheck, "Shell": shell })).unwrap().health
        };
        let check = health(json!({ "Test": ["CMD", "x", "y"], "Interval": 5_000_000_000_u64 }), json!(null));
        let check = check.unwrap();
        assert_eq!((check.command, check.interval), (vec!["x".into(), "y".into()], Duration::from_secs(5)));
        assert_eq!((check.timeout, check.retries), (TIMEOUT, RETRIES));
        let check = health(json!({ "Test": ["CMD-SHELL", "a | b"], "Retries": 1 }), json!(null)).unwrap();
        assert_eq!((check.command.join(" ").as_str(), check.retries), ("/bin/sh -c a | b", 1));
        let check = health(json!({ "Test": ["CMD-SHELL", "a"] }), json!(["/bin/bash", "-ec"])).unwrap();
        assert_eq!(check.command, ["/bin/bash", "-ec", "a"]);
        for test in [json!(["NONE"]), json!([]), json!(null), json!(["CMD"]), json!(["CMD-SHELL"])] {
            assert_eq!(health(json!({ "Test": test }), json!(null)), None);
        }
    }

    #[test]
    fn refuses_invalid_configurations() {
        for config in [
            json!({ "Cmd": "a" }),
            json!({ "Cmd": ["a"], "StopSignal": "SIGNONE" }),
            json!({ "Cmd": ["a"], "WorkingDir": "../x" }),
            json!({ "Cmd": ["a"], "Volumes": { "/a\u{0}": {} } }),
        ] {
            assert!(matches!(process(&config), Err(RunError::Config(_))), "{config}");
        }
        assert!(matches!(ImageProcess::of(b"{"), Err(RunError::Config(_))));
    }

    #[test]
    fn a_command_or_a_variable_names_the_port() {
        let follows =
            |cmd: &str, env: Value| process(&json!({ "Cmd": [cmd], "Env": env })).unwrap().follows_port();
        assert!(follows("sh -c 'x --port ${PORT:-80}'", json!([])));
        assert!(follows("map(env.get, (\"PORT\", \"WEBSITES_PORT\"))", json!([])));
        assert!(follows("x", json!(["PORT=1"])));
        assert!(!follows("x $PATH", json!(["UVICORN_PORT=1"])));
    }
}
