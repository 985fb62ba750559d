//! [`ImageFacts`]: the properties of an image that a deployment depends on.

use std::collections::BTreeMap;

use serde_json::Value;

use super::health::HealthFacts;
use crate::image::{RuntimeConfig, follows_port};
use crate::signal_names;

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

impl ImageFacts {
    /// Reads the configuration of an image.
    ///
    /// # Errors
    /// Returns the reason if the configuration is invalid.
    pub(super) fn of(config: &[u8]) -> Result<Self, String> {
        let document: Value = serde_json::from_slice(config).map_err(|error| error.to_string())?;
        let config = RuntimeConfig::of(&document).map_err(|error| error.to_string())?;
        let env: BTreeMap<String, String> = config.env().into_iter().collect();
        let command = config.command();
        let health = config.health_check().map(HealthFacts::of);
        let (ports, other_ports) = config.ports();
        Ok(Self {
            user: ProcessUser::of(config.user.as_deref().unwrap_or_default()),
            ports: server_first(ports, health.as_ref().and_then(HealthFacts::port), &env),
            other_ports,
            volumes: config.volumes().filter(|path| path.starts_with('/')).map(str::to_owned).collect(),
            grace: grace(&command, &env),
            is_own: is_own(&document),
            follows_port: follows_port(env.keys().map(String::as_str), &command),
            stop_signal: config
                .stop_signal
                .filter(|signal| !signal.is_empty())
                .map(|text| signal_name(&text)),
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

/// Returns the name of a signal, which an image may have as a number; real-time signals stay as written.
fn signal_name(text: &str) -> String {
    signal_names::number(text).and_then(signal_names::name).unwrap_or_else(|| text.to_owned())
}

/// Moves the port of the server to the front.
fn server_first(mut ports: Vec<u16>, checked: Option<u16>, env: &BTreeMap<String, String>) -> Vec<u16> {
    ports.retain(|port| *port > 0);
    let of_variable = env.get("PORT").and_then(|port| port.parse().ok());
    let server = [checked, of_variable].into_iter().flatten().find(|port| ports.contains(port));
    if let Some(at) = server.and_then(|server| ports.iter().position(|port| *port == server)) {
        ports[..=at].rotate_right(1);
    }
    ports
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
    fn signals_have_names() {
        for (text, name) in
            [("3", "SIGQUIT"), ("term", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGRTMIN+3", "SIGRTMIN+3")]
        {
            assert_eq!(signal_name(text), name);
        }
    }

    #[test]
    fn ranges_of_ports_are_not_listed() {
        let config = json!({ "config": { "ExposedPorts": { "3000-3003/tcp": {}, "80-81": {}, "53/udp": {}, "9-1/tcp": {} } } });
        let facts = ImageFacts::of(config.to_string().as_bytes()).unwrap();
        assert_eq!(facts.ports, [80, 3000]);
        assert_eq!(facts.other_ports, ["3001-3003", "53/udp", "81", "9-1/tcp"]);
    }

    #[test]
    fn an_empty_configuration_is_valid() {
        let facts = ImageFacts::of(b"{}").unwrap();
        assert_eq!((facts.user, facts.ports.len(), facts.health), (ProcessUser::Root, 0, None));
        assert!(ImageFacts::of(b"[").is_err() && ImageFacts::of(br#"{"config":{"Env":1}}"#).is_err());
    }
}
