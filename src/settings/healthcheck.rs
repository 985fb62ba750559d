//! The health check: a path, `false`, or a table.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::key::{Key, KeyGroup, SettingField, declare};
use super::value::{SettingValue, failures};
use super::{Seconds, SettingsError};

/// A health check setting: a path, `false`, or a table.
#[derive(Debug, Clone, PartialEq)]
pub enum HealthcheckSetting {
    /// No health check.
    Off,
    /// A health check with these properties; missing ones are inherited.
    On(HealthcheckTable),
}

declare! {
    /// The properties of a health check.
    #[derive(Eq)]
    pub struct HealthcheckTable with HEALTHCHECK_KEYS;

    /// Requested path; without one, `/` is requested, and any response below 500 is healthy.
    path: Option<String> = "path", Healthcheck, form("begins with `/`");
    /// `Host` header, for an application that responds to no other.
    host: Option<String> = "host", Healthcheck, default("the address of the request");
    /// More header fields of the request.
    headers: BTreeMap<String, String> = "headers", Healthcheck;
    /// Time between checks.
    interval: Option<Seconds> = "interval", Healthcheck;
    /// Time limit of a check.
    timeout: Option<Seconds> = "timeout", Healthcheck;
    /// Time after the start in which failures do not count.
    start_period: Option<Seconds> = "start-period", Healthcheck;
    /// Time between checks in the start period, for engines with support.
    start_interval: Option<Seconds> = "start-interval", Healthcheck;
    /// Consecutive failures that make the container unhealthy.
    #[serde(deserialize_with = "failures")]
    retries: Option<u32> = "retries", Healthcheck;
}

impl HealthcheckSetting {
    /// Makes a health check that requests `path`.
    pub fn path(path: impl Into<String>) -> Self {
        Self::On(HealthcheckTable { path: Some(path.into()), ..HealthcheckTable::default() })
    }
}

impl SettingValue for HealthcheckSetting {
    const FORM: &'static str = "path, `false`, or a table";

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "string", "pattern": "^(/\\S*|false)$" },
            { "type": "boolean" },
            { "$ref": "#/definitions/healthcheck" },
        ] })
    }

    fn over(self, below: Self) -> Self {
        match (self, below) {
            (Self::On(above), Self::On(below)) => Self::On(above.merged(below)),
            (above, _) => above,
        }
    }

    fn read(text: &str, _: Option<Self>) -> Result<Self, SettingsError> {
        text.parse()
    }
}

impl HealthcheckTable {
    /// Refuses a path or header field that is invalid in HTTP.
    pub fn check(&self) -> Result<(), SettingsError> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let is_value = |value: &str| value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if let Some(name) = self.headers.keys().find(|name| !is_name(name)) {
            return Err(SettingsError::value("header name", name, "write it as X-Check"));
        }
        if let Some(value) = self.headers.values().chain(&self.host).find(|value| !is_value(value)) {
            return Err(SettingsError::value("header value", value, "write it in ASCII, on one line"));
        }
        match &self.path {
            Some(path) if !path.starts_with('/') || path.contains(char::is_whitespace) => {
                Err(SettingsError::value("health check path", path, "begin it with a slash: /health"))
            }
            _ => Ok(()),
        }
    }
}

/// Parses a path, or `false`.
impl FromStr for HealthcheckSetting {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        if text == "false" {
            return Ok(Self::Off);
        }
        let table = HealthcheckTable { path: Some(text.to_owned()), ..HealthcheckTable::default() };
        table.check().map(|()| Self::On(table))
    }
}

impl<'de> Deserialize<'de> for HealthcheckSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HealthcheckSettingVisitor;
        impl<'de> serde::de::Visitor<'de> for HealthcheckSettingVisitor {
            type Value = HealthcheckSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as \"/health\", `false`, or a table")
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Self::Value, E> {
                Ok(if on {
                    HealthcheckSetting::On(HealthcheckTable::default())
                } else {
                    HealthcheckSetting::Off
                })
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Self::Value, E> {
                path.parse().map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                HealthcheckTable::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(HealthcheckSetting::On)
            }
        }
        deserializer.deserialize_any(HealthcheckSettingVisitor)
    }
}
