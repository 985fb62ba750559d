//! [`HealthFacts`]: the health check of an image, with the request that it makes, if any.
//!
//! Kubernetes, Cloud Run, Fly and Nomad check by requests of their own and ignore the check of an image, so the
//! request is read from the check: from the script of `ipo-oci` (`plan/process/healthcheck.py`), or from the
//! address in the command of others.

use std::sync::LazyLock;

use regex::Regex;

use crate::image::HealthCheck;

/// The health check of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HealthFacts {
    pub(super) check: HealthCheck,
    pub(super) probe: Probe,
}

/// The check that a command makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Probe {
    /// A request that has to succeed.
    Http(HttpProbe),
    /// Any answer below status 500 to a request of `/`: the check of `ipo-oci` without a path.
    Answer { port: Option<u16> },
    /// Something else.
    Program,
}

/// A request of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpProbe {
    pub(super) path: String,
    pub(super) port: Option<u16>,
    pub(super) is_tls: bool,
    /// The `Host` header.
    pub(super) host: String,
    /// Other header fields.
    pub(super) headers: Vec<(String, String)>,
}

impl HealthFacts {
    /// Finds the request of a check.
    pub(super) fn of(check: HealthCheck) -> Self {
        let probe = own_probe(&check.command).or_else(|| foreign_probe(&check.command));
        Self { probe: probe.unwrap_or(Probe::Program), check }
    }

    /// Returns the port that the check connects to, if known.
    pub(super) fn port(&self) -> Option<u16> {
        match &self.probe {
            Probe::Http(http) => http.port,
            Probe::Answer { port } => *port,
            Probe::Program => None,
        }
    }

    /// Returns true if the check must not be repeated in a document: it seems to contain a secret.
    pub(super) fn has_secret(&self) -> bool {
        static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(
                r"(?i)authorization|bearer |cookie|token|password|secret|api[-_]?key|://[^/\s]+:[^/\s]+@",
            )
            .ok()
        });
        let has = |text: &str| SECRET.as_ref().is_none_or(|secret| secret.is_match(text));
        self.check.command.iter().any(|word| has(word))
    }

    /// Describes the check in a few words.
    pub(super) fn summary(&self) -> String {
        let seconds = self.check.interval.as_secs_f64();
        match &self.probe {
            _ if self.has_secret() => format!("a program, every {seconds} s"),
            Probe::Http(http) => format!("GET {}, every {seconds} s", http.path),
            Probe::Answer { .. } => format!("any answer to GET / below status 500, every {seconds} s"),
            Probe::Program => format!("a program, every {seconds} s"),
        }
    }
}

/// Reads the script of `ipo-oci`.
fn own_probe(command: &[String]) -> Option<Probe> {
    let script =
        command.last().filter(|script| script.starts_with("import http.client, os, socket, ssl, sys\n"))?;
    let value = |begin: &str| script.lines().find_map(|line| line.trim().strip_prefix(begin));
    let path: String = serde_json::from_str(value("path = ")?).ok()?;
    let host: String =
        value("host = ")?.rsplit(" or ").next().and_then(|text| serde_json::from_str(text).ok())?;
    let ports = value("port = int(next(p for p in (")?
        .split(',')
        .filter_map(|text| serde_json::from_str::<String>(text.trim()).ok());
    let port = ports.filter_map(|port| port.parse().ok()).next_back();
    let headers = value("server.request(\"GET\", path, headers=")?.strip_suffix(')')?;
    let mut headers: std::collections::BTreeMap<String, String> = serde_json::from_str(headers).ok()?;
    headers.remove("User-Agent");
    if value("if not 200 <= status < 500:").is_some() {
        return Some(Probe::Answer { port });
    }
    let host = headers.remove("Host").unwrap_or(match host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        other => other.to_owned(),
    });
    let is_tls = value("elif True:").is_some();
    Some(Probe::Http(HttpProbe { path, port, is_tls, host, headers: headers.into_iter().collect() }))
}

/// Reads the address in the command of another builder, such as `curl -f http://localhost:8000/health || exit 1`.
fn foreign_probe(command: &[String]) -> Option<Probe> {
    static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"(https?)://(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::([0-9]{1,5}))?(/[^\s"'|;&)\\$]*)?"#,
        )
        .ok()
    });
    let line = command.join(" ");
    let mut found = ADDRESS.as_ref()?.captures_iter(&line);
    let address = found.next()?;
    // More than a plain request, such as header fields or variables, is beyond an address.
    if found.next().is_some()
        || ["$", " -H", "--header", " -X", "--request"].iter().any(|part| line.contains(part))
    {
        return None;
    }
    let is_tls = &address[1] == "https";
    let port = match address.get(3) {
        Some(port) => port.as_str().parse().ok()?,
        None if is_tls => 443,
        None => 80,
    };
    let host = match &address[2] {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        host => host.to_owned(),
    };
    let path = address.get(4).map_or("/", |path| path.as_str()).to_owned();
    Some(Probe::Http(HttpProbe { path, port: Some(port), is_tls, host, headers: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::RuntimeConfig;
    use serde_json::{Value, json};

    fn health(test: &Value) -> Option<HealthFacts> {
        let check = json!({ "Test": test, "Interval": 10_000_000_000_u64 });
        let config = RuntimeConfig::of(&json!({ "config": { "Healthcheck": check } })).ok()?;
        config.health_check().map(HealthFacts::of)
    }

    #[test]
    fn requests_of_other_builders_are_recognized() {
        for (line, expected) in [
            ("curl -f http://localhost:8000/health || exit 1", Some(("/health", 8000, "localhost"))),
            ("wget -qO- http://127.0.0.1/", Some(("/", 80, "127.0.0.1"))),
            ("curl --fail http://0.0.0.0:5000", Some(("/", 5000, "127.0.0.1"))),
            ("curl -H 'X: y' http://localhost/", None),
            ("curl http://localhost:8000/$PATH_OF_CHECK", None),
            ("pg_isready", None),
            ("curl http://db:5432/", None),
            ("curl http://localhost:99999/", None),
        ] {
            let found = health(&json!(["CMD-SHELL", line])).unwrap();
            let probe = match &found.probe {
                Probe::Http(http) => Some((http.path.as_str(), http.port.unwrap(), http.host.as_str())),
                _ => None,
            };
            assert_eq!(probe, expected, "{line}");
            assert!(found.check.is_shell && found.check.command[0] == "/bin/sh");
        }
    }

    #[test]
    fn disabled_checks_are_none() {
        for test in [json!(["NONE"]), json!([]), json!(["CMD"]), json!(null), json!(["CMD-SHELL"]), json!(1)]
        {
            assert_eq!(health(&test), None, "{test}");
        }
    }

    #[test]
    fn secrets_of_a_check_are_noticed() {
        let has = |line: &str| health(&json!(["CMD-SHELL", line])).unwrap().has_secret();
        assert!(has("curl -H 'Authorization: Bearer x' http://localhost/"));
        assert!(has("curl http://user:pass@localhost/") && has("check --token abc"));
        assert!(!has("curl -f http://localhost:8000/health"));
        assert!(!health(&json!(["CMD-SHELL", "check --token abc"])).unwrap().summary().contains("abc"));
    }
}
