//! The image configuration (OCI image specification 1.1, `config.md`).
//!
//! The types of `oci-spec` are used as far as they suffice. Its configuration lacks Docker's
//! `Healthcheck`, which the specification reserves and Docker honors under either media type, so
//! this module adds the field to the JSON. Keys are sorted, because the maps of the crate have no
//! order.

use std::collections::BTreeMap;
use std::time::Duration;

use oci_spec::image::{
    Arch, Config, ConfigBuilder, HistoryBuilder, ImageConfigurationBuilder, Os, RootFsBuilder,
};
use serde_json::{Value, json};

use super::ImageError;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::settings::User;
use crate::tree::ImagePath;

/// The configuration of an image: platform, time and process.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ImageConfig {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v7` for 32-bit ARM.
    pub variant: Option<String>,
    /// Creation time in seconds since 1970.
    pub created: i64,
    /// The process of a container.
    pub process: Process,
}

/// `PATH` of a container whose image does not set the variable, as container engines set it.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The process of a container, with the labels: `config` of the image configuration.
///
/// On a base, a field without a value leaves the base's in effect, except the health check's.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Process {
    /// User and group.
    pub user: Option<User>,
    /// Working directory.
    pub workdir: Option<ImagePath>,
    /// Variables as name and value, in the order in which they are written.
    pub env: Vec<(String, String)>,
    /// The command.
    pub entrypoint: Vec<String>,
    /// Arguments of the command, which `docker run IMAGE ARGS` replaces.
    pub cmd: Vec<String>,
    /// TCP port of a server.
    pub port: Option<u16>,
    /// Further exposed ports: `9000/tcp`, `53/udp`.
    pub exposed_ports: Vec<String>,
    /// Mount points of volumes.
    pub volumes: Vec<ImagePath>,
    /// Signal that stops the process.
    pub stop_signal: Option<String>,
    /// Docker's health check.
    pub healthcheck: Option<Healthcheck>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Docker's health check (moby, `api/types/container`: `HealthConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// `CMD` and the command, `CMD-SHELL` and a shell command line, or `NONE`.
    pub test: Vec<String>,
    /// Time between checks.
    pub interval: Duration,
    /// Time limit of a check.
    pub timeout: Duration,
    /// Time after the start in which failures do not count.
    pub start_period: Duration,
    /// Time between checks in the start period.
    pub start_interval: Duration,
    /// Consecutive failures that make the container unhealthy.
    pub retries: u32,
}

/// One line of an image's history; every layer has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The command or tool that made the layer.
    pub created_by: String,
    /// A comment.
    pub comment: String,
}

impl ImageConfig {
    /// Makes the configuration of an image for `platform` that was created at `created` and starts
    /// `process`.
    pub fn new(platform: &Platform, created: i64, process: Process) -> Self {
        let Platform { os, architecture, variant } = platform.clone();
        Self { os, architecture, variant, created, process }
    }

    /// Returns the configuration as JSON with sorted keys, for layers with these diff IDs, lowest
    /// first.
    pub fn to_json(&self, layers: &[(Digest, HistoryLine)]) -> Result<Vec<u8>, ImageError> {
        let created = rfc3339(self.created)?;
        let history = layers.iter().map(|(_, line)| {
            HistoryBuilder::default()
                .created(created.clone())
                .created_by(line.created_by.clone())
                .comment(line.comment.clone())
                .build()
        });
        let root_fs = RootFsBuilder::default()
            .typ("layers")
            .diff_ids(layers.iter().map(|(diff_id, _)| diff_id.to_string()).collect::<Vec<_>>())
            .build()?;
        let image = ImageConfigurationBuilder::default()
            .created(created.clone())
            .os(Os::from(self.os.as_str()))
            .architecture(Arch::from(self.architecture.as_str()))
            .config(self.process.to_spec()?)
            .rootfs(root_fs)
            .history(history.collect::<Result<Vec<_>, _>>()?)
            .build()?;
        let mut json = serde_json::to_value(&image)?;
        if let (Some(check), Some(config)) =
            (&self.process.healthcheck, json.get_mut("config").and_then(Value::as_object_mut))
        {
            config.insert("Healthcheck".to_owned(), check.to_json());
        }
        if let (Some(variant), Some(image)) = (&self.variant, json.as_object_mut()) {
            image.insert("variant".to_owned(), Value::from(variant.as_str()));
        }
        json.sort_all_objects();
        Ok(serde_json::to_vec(&json)?)
    }
}

impl Process {
    /// Sets an environment variable, in place of the one with the same name, if any.
    pub fn set_env(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.env.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.env.push((name, value)),
        }
    }

    /// Returns the user in its written form; empty if not set.
    pub(super) fn user_text(&self) -> String {
        self.user.map(|user| user.to_string()).unwrap_or_default()
    }

    /// Returns the working directory in its written form; empty if not set.
    pub(super) fn workdir_text(&self) -> String {
        self.workdir.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Returns all exposed ports, the server's first.
    pub(super) fn ports(&self) -> Vec<String> {
        let port = self.port.map(|port| format!("{port}/tcp"));
        port.into_iter().chain(self.exposed_ports.iter().cloned()).collect()
    }

    /// Returns the fields that the specification has.
    fn to_spec(&self) -> Result<Config, ImageError> {
        let mut config = ConfigBuilder::default()
            .user(self.user_text())
            .working_dir(self.workdir_text())
            .env(self.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>());
        if !self.entrypoint.is_empty() {
            config = config.entrypoint(self.entrypoint.clone());
        }
        if !self.cmd.is_empty() {
            config = config.cmd(self.cmd.clone());
        }
        let ports = self.ports();
        if !ports.is_empty() {
            config = config.exposed_ports(ports);
        }
        if !self.volumes.is_empty() {
            config = config.volumes(self.volumes.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        if let Some(signal) = &self.stop_signal {
            config = config.stop_signal(signal.clone());
        }
        if !self.labels.is_empty() {
            config =
                config.labels(self.labels.clone().into_iter().collect::<std::collections::HashMap<_, _>>());
        }
        Ok(config.build()?)
    }
}

impl Healthcheck {
    pub(super) fn to_json(&self) -> Value {
        // Docker's field is a signed number.
        let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        json!({
            "Test": self.test,
            "Interval": nanoseconds(self.interval),
            "Timeout": nanoseconds(self.timeout),
            "StartPeriod": nanoseconds(self.start_period),
            "StartInterval": nanoseconds(self.start_interval),
            "Retries": self.retries,
        })
    }
}

/// Formats a time in UTC by RFC 3339: `1980-01-01T00:00:01Z`.
pub fn rfc3339(seconds: i64) -> Result<String, ImageError> {
    let time = jiff::Timestamp::from_second(seconds).map_err(|_| ImageError::Time(seconds))?;
    Ok(time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ImageConfig {
        ImageConfig {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            created: crate::tree::CONSTANT_TIME,
            process: Process {
                user: Some(User { uid: 1000, gid: 1000 }),
                env: vec![("B".to_owned(), "2".to_owned()), ("A".to_owned(), "1=1".to_owned())],
                port: Some(8000),
                exposed_ports: vec!["53/udp".to_owned()],
                volumes: vec![ImagePath::new("/data").unwrap()],
                labels: ('a'..='z').map(|c| (c.to_string(), c.to_string())).collect(),
                healthcheck: Some(Healthcheck {
                    test: vec!["CMD".to_owned(), "x".to_owned()],
                    interval: Duration::from_millis(1500),
                    timeout: Duration::from_secs(2),
                    start_period: Duration::ZERO,
                    start_interval: Duration::from_secs(1),
                    retries: 3,
                }),
                ..Process::default()
            },
            ..ImageConfig::default()
        }
    }

    fn layers() -> Vec<(Digest, HistoryLine)> {
        let line = HistoryLine { created_by: "ipo-oci: system".to_owned(), comment: "why".to_owned() };
        vec![(Digest::of(b"1"), line)]
    }

    #[test]
    fn contains_dockers_fields() {
        let json: Value = serde_json::from_slice(&config().to_json(&layers()).unwrap()).unwrap();
        assert_eq!(json["created"], "1980-01-01T00:00:01Z");
        assert_eq!(json["config"]["Healthcheck"]["Interval"], 1_500_000_000_u64);
        assert_eq!(json["config"]["ExposedPorts"], json!({ "53/udp": {}, "8000/tcp": {} }));
        assert_eq!(json["config"]["Env"], json!(["B=2", "A=1=1"]));
        assert_eq!(
            json["history"].as_array().unwrap().len(),
            json["rootfs"]["diff_ids"].as_array().unwrap().len()
        );
        assert_eq!(json["config"]["Volumes"], json!({ "/data": {} }));
        assert!(json["config"].get("Entrypoint").is_none());
    }

    #[test]
    fn the_same_configuration_has_the_same_bytes() {
        let first = config().to_json(&layers()).unwrap();
        for _ in 0..20 {
            assert_eq!(config().to_json(&layers()).unwrap(), first);
        }
    }

    #[test]
    fn refuses_unrepresentable_times() {
        assert!(matches!(rfc3339(i64::MAX), Err(ImageError::Time(_))));
    }
}
