//! Settings of deployments: `[tool.ipo-oci.deploy]`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::key::{Key, KeyGroup, SettingField, declare};
use super::value::{SettingValue, count, toml_error};
use super::{List, Seconds, SettingsError, Size, WorkloadKind};

declare! {
    /// The deployment of a project: `[tool.ipo-oci.deploy]`.
    #[derive(Eq)]
    pub struct DeployTable with DEPLOY_KEYS;

    /// Instances of each service and worker.
    #[serde(deserialize_with = "count")]
    replicas: Option<NonZeroU16> = "replicas", Deploy, default("`1`; kubernetes, ecs, nomad: `2` of a service");
    /// Largest number of instances of a service, for targets that scale by load.
    #[serde(deserialize_with = "count")]
    max_replicas: Option<NonZeroU16> = "max-replicas", Deploy;
    /// Processors of an instance.
    cpu: Option<Cpu> = "cpu", Deploy, default("a comment");
    /// Memory of an instance.
    memory: Option<Size> = "memory", Deploy, default("a comment");
    /// Environment variables, in addition to those of the image; no secrets.
    env: BTreeMap<String, String> = "env", Deploy;
    /// Environment variables with secret values, by name.
    secrets: Option<List> = "secrets", Deploy, form("list of names"), default("`[]`");
    /// Secrets that are files in `/run/secrets`, by name.
    secret_files: Option<List> = "secret-files", Deploy, form("list of names"), default("`[]`");
    /// Files of environment variables on the machine that runs the container.
    env_files: Option<List> = "env-files", Deploy, form("list of paths"), default("`[]`");
    /// Host names of `web`.
    hosts: Option<List> = "hosts", Deploy, form("list of host names"), default("`[]`");
    /// Gateway of a Kubernetes cluster that routes `hosts`.
    gateway: Option<String> = "gateway", Deploy, form("`NAME` or `NAMESPACE/NAME`"), default("an Ingress");
    /// Time from the stop signal to the kill.
    stop_timeout: Option<Seconds> = "stop-timeout", Deploy,
        default("2 s more than the server's graceful timeout; workers: `30s`");
    /// Values of single processes, as tables `deploy.process.NAME`.
    process: BTreeMap<String, DeployProcessTable> = "process", Deploy;
}

declare! {
    /// The deployment of a process: `[tool.ipo-oci.deploy.process.NAME]`.
    #[derive(Eq)]
    pub struct DeployProcessTable with DEPLOY_PROCESS_KEYS;

    /// Purpose of the process.
    kind: Option<WorkloadKind> = "kind", DeployProcess, default("see below");
    /// Times of a cron process: minute, hour, day of the month, month, day of the week.
    schedule: Option<String> = "schedule", DeployProcess, form("five fields of a crontab");
    /// Instances.
    #[serde(deserialize_with = "count")]
    replicas: Option<NonZeroU16> = "replicas", DeployProcess, default("that of `deploy`");
    /// Largest number of instances.
    #[serde(deserialize_with = "count")]
    max_replicas: Option<NonZeroU16> = "max-replicas", DeployProcess, default("that of `deploy`, for a service");
    /// Processors of an instance.
    cpu: Option<Cpu> = "cpu", DeployProcess, default("that of `deploy`");
    /// Memory of an instance.
    memory: Option<Size> = "memory", DeployProcess, default("that of `deploy`");
    /// Environment variables, in addition to those of `deploy`.
    env: BTreeMap<String, String> = "env", DeployProcess;
    /// Environment variables with secret values, in addition to those of `deploy`.
    secrets: Option<List> = "secrets", DeployProcess, form("list of names"), default("`[]`");
    /// Secrets that are files, in addition to those of `deploy`.
    secret_files: Option<List> = "secret-files", DeployProcess, form("list of names"), default("`[]`");
    /// Host names of the process.
    hosts: Option<List> = "hosts", DeployProcess, form("list of host names"), default("`[]`");
    /// Time from the stop signal to the kill.
    stop_timeout: Option<Seconds> = "stop-timeout", DeployProcess, default("that of `deploy`");
}

/// A share of processors in thousandths, written `0.5`, `2` or `500m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu(pub u32);

/// The most processors, which no machine has.
const MAX_CPU: u32 = 1024;

impl FromStr for Cpu {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let wrong = || SettingsError::value("number of processors", text, "write it as 0.5, 2 or 500m");
        let thousandths = if let Some(number) = text.strip_suffix('m') {
            number.parse().map_err(|_| wrong())?
        } else {
            let number: f64 = text.parse().map_err(|_| wrong())?;
            if !(0.0..=f64::from(MAX_CPU)).contains(&number) {
                return Err(wrong());
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked above.
            let thousandths = (number * 1000.0).round() as u32;
            thousandths
        };
        if thousandths == 0 || thousandths > MAX_CPU * 1000 {
            return Err(wrong());
        }
        Ok(Self(thousandths))
    }
}

/// Formats the number of processors without trailing zeros: `0.5`, `2`.
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let rest = format!("{rest:03}");
        write!(f, "{whole}.{}", rest.trim_end_matches('0'))
    }
}

impl SettingValue for Cpu {
    const FORM: &'static str = "`0.5`, `2` or `\"500m\"`";

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "number", "exclusiveMinimum": 0, "maximum": MAX_CPU },
            { "type": "string", "pattern": "^[0-9]+(m|\\.[0-9]+)?$" },
        ] })
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CpuVisitor;
        impl serde::de::Visitor<'_> for CpuVisitor {
            type Value = Cpu;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of processors such as 0.5 or \"500m\"")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Cpu, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Cpu, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cpu, E> {
                text.parse().map_err(toml_error)
            }
        }
        deserializer.deserialize_any(CpuVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_thousandths() {
        for (text, thousandths, shown) in [
            ("0.5", 500, "0.5"),
            ("500m", 500, "0.5"),
            ("2", 2000, "2"),
            ("0.125", 125, "0.125"),
            ("1.50", 1500, "1.5"),
        ] {
            let cpu: Cpu = text.parse().unwrap();
            assert_eq!((cpu, cpu.to_string().as_str()), (Cpu(thousandths), shown), "{text}");
        }
        for text in ["", "0", "-1", "m", "2000", "1e9", "NaN", "inf", "half", "4294967295m"] {
            assert!(text.parse::<Cpu>().is_err(), "{text}");
        }
    }
}
