//! [`CheckedConfig`]: the configuration of an image, as rules read it.
//!
//! OCI image specification 1.1, `config.md`, and Docker's `Healthcheck`. Missing fields and fields
//! of another type are empty.

use serde_json::Value;

/// The process of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CheckedConfig {
    /// `User` as written: `1000`, `app`, `1000:1000`.
    pub(crate) user: Option<String>,
    /// `WorkingDir`.
    pub(crate) workdir: Option<String>,
    /// `Env`, in order.
    pub(crate) env: Vec<(String, String)>,
    /// `Entrypoint`.
    pub(crate) entrypoint: Vec<String>,
    /// `Cmd`.
    pub(crate) cmd: Vec<String>,
    /// `Healthcheck.Test`: `CMD` and a command, `CMD-SHELL` and a line, or `NONE`.
    pub(crate) healthcheck: Vec<String>,
    /// `Labels`.
    pub(crate) labels: Vec<(String, String)>,
    /// Mount points in `Volumes`.
    pub(crate) volumes: Vec<String>,
    /// `created_by` and `comment` of each history line.
    pub(crate) history: Vec<String>,
}

impl CheckedConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// If the bytes are not JSON.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let json: Value = serde_json::from_slice(bytes)?;
        let config = json.get("config").unwrap_or(&Value::Null);
        let text = |key: &str| {
            config.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let labels = config.get("Labels").and_then(Value::as_object).into_iter().flatten();
        let volumes = config.get("Volumes").and_then(Value::as_object).into_iter().flatten();
        let history = json.get("history").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            user: text("User"),
            workdir: text("WorkingDir"),
            env: strings(config.get("Env"))
                .iter()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            entrypoint: strings(config.get("Entrypoint")),
            cmd: strings(config.get("Cmd")),
            healthcheck: strings(config.get("Healthcheck").and_then(|check| check.get("Test"))),
            labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.into()))).collect(),
            volumes: volumes.map(|(path, _)| path.clone()).collect(),
            history: history
                .flat_map(|line| ["created_by", "comment"].map(|key| line.get(key)))
                .filter_map(|text| text.and_then(Value::as_str).map(str::to_owned))
                .collect(),
        })
    }

    /// Returns the value of an environment variable.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the words of the command: entry point and arguments.
    pub(crate) fn command(&self) -> Vec<String> {
        [self.entrypoint.clone(), self.cmd.clone()].concat()
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
