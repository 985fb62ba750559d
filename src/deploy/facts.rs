//! [`ImageFacts`]: the properties of an image that a deployment depends on.
//!
//! OCI image specification 1.1, `config.md`, and Docker's `Healthcheck` and `Shell` (moby,
//! `api/types/container`: `Config`). Missing values are Docker's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::health::HealthFacts;

/// The properties of an image that a deployment depends on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageFacts {
    pub(super) user: ProcessUser,
    /// Exposed TCP ports, that of the server first.
    pub(super) ports: Vec<u16>,
    /// Exposed ports of other protocols: `53/udp`.
    pub(super) other_ports: Vec<String>,
    pub(super) health: Option<HealthFacts>,
    /// Mount points, in the order of their names.
    pub(super) volumes: Vec<String>,
    /// Seconds in which the server ends running requests, if known.
    pub(super) grace: Option<u32>,
    pub(super) stop_signal: Option<String>,
    /// The program with its arguments.
    pub(super) command: Vec<String>,
    /// True for an image that `ipo-oci` built: its root file system can be read-only.
    pub(super) is_own: bool,
    /// True if the server listens on the port in the variable `PORT`.
    pub(super) follows_port: bool,
}

/// The user of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProcessUser {
    Root,
    Numeric { uid: u32, gid: Option<u32> },
    Named(String),
}

/// The fields of a configuration that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DeployFields {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, Value>>,
    healthcheck: Option<Value>,
    shell: Option<Vec<String>>,
}

impl ImageFacts {
    /// Reads the configuration of an image.
    ///
    /// # Errors
    /// Returns the reason if the configuration is invalid.
    pub(super) fn of(config: &[u8]) -> Result<Self, String> {
        let document: Value = serde_json::from_slice(config).map_err(|error| error.to_string())?;
        let fields = match document.get("config") {
            None | Some(Value::Null) => DeployFields::default(),
            Some(config) => DeployFields::deserialize(config).map_err(|error| error.to_string())?,
        };
        let env: BTreeMap<String, String> = fields
            .env
            .unwrap_or_default()
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let command: Vec<String> = [fields.entrypoint, fields.cmd].into_iter().flatten().flatten().collect();
        let health = fields.healthcheck.as_ref().and_then(|check| HealthFacts::of(check, fields.shell));
        let (ports, other_ports) = ports(
            &fields.exposed_ports.unwrap_or_default(),
            health.as_ref().and_then(HealthFacts::port),
            &env,
        );
        Ok(Self {
            user: ProcessUser::of(fields.user.as_deref().unwrap_or_default()),
            ports,
            other_ports,
            volumes: fields
                .volumes
                .unwrap_or_default()
                .into_keys()
                .filter(|path| path.starts_with('/'))
                .collect(),
            grace: grace(&command, &env),
            stop_signal: fields.stop_signal.filter(|signal| !signal.is_empty()),
            is_own: is_own(&document),
            follows_port: env.contains_key("PORT") || command.iter().any(|word| names_port(word)),
            health,
            command,
        })
    }

    /// Returns the port of the server.
    pub(super) fn port(&self) -> Option<u16> {
        self.ports.first().copied()
    }
}

impl ProcessUser {
    fn of(text: &str) -> Self {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        match (user, user.parse::<u32>()) {
            ("" | "root", _) | (_, Ok(0)) => Self::Root,
            (_, Ok(uid)) => Self::Numeric { uid, gid: group.and_then(|group| group.parse().ok()) },
            (name, Err(_)) => Self::Named(name.to_owned()),
        }
    }
}

/// Returns the TCP ports, the server's first, and the other ports.
fn ports(
    exposed: &BTreeMap<String, Value>,
    checked: Option<u16>,
    env: &BTreeMap<String, String>,
) -> (Vec<u16>, Vec<String>) {
    let (mut ports, mut others) = (Vec::new(), Vec::new());
    for text in exposed.keys() {
        match text.split_once('/').unwrap_or((text, "tcp")) {
            (port, "tcp") => ports.extend(port.parse::<u16>().ok().filter(|port| *port > 0)),
            _ => others.push(text.clone()),
        }
    }
    ports.sort_unstable();
    let of_variable = env.get("PORT").and_then(|port| port.parse().ok());
    let server = [checked, of_variable].into_iter().flatten().find(|port| ports.contains(port));
    if let Some(at) = server.and_then(|server| ports.iter().position(|port| *port == server)) {
        ports[..=at].rotate_right(1);
    }
    (ports, others)
}

/// Returns the seconds in which the server ends running requests: an option of gunicorn, hypercorn or uvicorn, or uvicorn's
/// variable.
fn grace(command: &[String], env: &BTreeMap<String, String>) -> Option<u32> {
    const OPTIONS: [&str; 3] =
        ["--graceful-timeout", "--timeout-graceful-shutdown", "--workers-kill-timeout"];
    let of_option = command.iter().enumerate().find_map(|(at, word)| {
        let (name, value) =
            word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        let value = value.or_else(|| command.get(at + 1).map(String::as_str));
        OPTIONS.contains(&name).then(|| value?.parse().ok()).flatten()
    });
    of_option.or_else(|| env.get("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN")?.parse().ok())
}

fn is_own(document: &Value) -> bool {
    let history = document.get("history").and_then(Value::as_array);
    history.into_iter().flatten().any(|line| {
        line.get("created_by").and_then(Value::as_str).is_some_and(|text| text.starts_with("ipo-oci: "))
    })
}

fn names_port(word: &str) -> bool {
    ["$PORT", "${PORT", "\"PORT\"", "'PORT'"].iter().any(|name| word.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(config: &Value) -> ImageFacts {
        ImageFacts::of(json!({ "config": config }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_port_of_the_server_is_first() {
        let exposed = json!({ "9000/tcp": {}, "8000": {}, "53/udp": {}, "x/tcp": {} });
        let facts = |env: Value| facts(&json!({ "ExposedPorts": exposed, "Env": env }));
        assert_eq!(facts(json!([])).ports, [8000, 9000]);
        assert_eq!(facts(json!(["PORT=9000"])).ports, [9000, 8000]);
        assert_eq!(facts(json!(["PORT=1"])).other_ports, ["53/udp"]);
    }

    #[test]
    fn users_are_numbers_names_or_root() {
        let user = |text: &str| facts(&json!({ "User": text })).user;
        for root in ["", "root", "0", "0:0", "root:1000"] {
            assert_eq!(user(root), ProcessUser::Root, "{root}");
        }
        assert_eq!(user("1000:100"), ProcessUser::Numeric { uid: 1000, gid: Some(100) });
        assert_eq!(user("1000"), ProcessUser::Numeric { uid: 1000, gid: None });
        assert_eq!(user("app:app"), ProcessUser::Named("app".to_owned()));
    }

    #[test]
    fn the_graceful_timeout_is_in_the_command_or_a_variable() {
        let grace = |cmd: Value, env: Value| facts(&json!({ "Cmd": cmd, "Env": env })).grace;
        assert_eq!(grace(json!(["gunicorn", "--graceful-timeout", "7"]), json!([])), Some(7));
        assert_eq!(grace(json!(["uvicorn", "--timeout-graceful-shutdown=9"]), json!([])), Some(9));
        assert_eq!(grace(json!(["uvicorn"]), json!(["UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN=8"])), Some(8));
        assert_eq!(grace(json!(["gunicorn", "--graceful-timeout"]), json!([])), None);
    }

    #[test]
    fn an_empty_configuration_is_valid() {
        let facts = ImageFacts::of(b"{}").unwrap();
        assert_eq!((facts.user, facts.ports.len(), facts.health), (ProcessUser::Root, 0, None));
        assert!(ImageFacts::of(b"[").is_err() && ImageFacts::of(br#"{"config":{"Env":1}}"#).is_err());
    }
}
