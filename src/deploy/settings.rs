//! Checks of `[tool.ipo-oci.deploy]`: names, and values that would print a secret.

use std::collections::BTreeMap;

use super::DeployError;
use crate::settings::{DeployTable, List};

/// Parts of names of variables that hold secrets.
const SECRET_NAMES: [&str; 9] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY", "CREDENTIAL"];

/// Returns the names of a list.
pub(super) fn names(list: Option<&List>) -> Vec<String> {
    list.cloned().map(List::into_items).unwrap_or_default()
}

/// Checks the settings of the whole and of each process.
pub(super) fn check(settings: &DeployTable) -> Result<(), DeployError> {
    let empty = Vec::new();
    check_table("deploy", &settings.env, &empty, settings.secrets.as_ref(), settings.secret_files.as_ref())?;
    check_hosts("deploy.hosts", &names(settings.hosts.as_ref()))?;
    if let Some(gateway) = &settings.gateway
        && !is_gateway(gateway)
    {
        let help = "write the name of the object, or NAMESPACE/NAME, such as gateways/public";
        return Err(value("deploy.gateway", gateway, "no name of a Gateway", help));
    }
    for file in names(settings.env_files.as_ref()) {
        if file.is_empty() || file.contains(char::is_control) {
            return Err(value("deploy.env-files", &file, "no path", "name a file, such as .env"));
        }
    }
    let common = names(settings.secrets.as_ref());
    for (name, table) in &settings.process {
        let key = format!("deploy.process.{name}");
        check_table(&key, &table.env, &common, table.secrets.as_ref(), table.secret_files.as_ref())?;
        check_hosts(&format!("{key}.hosts"), &names(table.hosts.as_ref()))?;
        if let Some(schedule) = &table.schedule {
            check_schedule(&format!("{key}.schedule"), schedule)?;
        }
    }
    Ok(())
}

fn check_table(
    key: &str,
    env: &BTreeMap<String, String>,
    common: &[String],
    secrets: Option<&List>,
    files: Option<&List>,
) -> Result<(), DeployError> {
    let secrets = names(secrets);
    for (name, text) in env {
        if !is_variable(name) {
            return Err(value(&format!("{key}.env"), name, "no name of a variable", "write it as LOG_LEVEL"));
        }
        if secrets.contains(name) || common.contains(name) {
            let help = "remove it from env, and keep the value where the target keeps secrets";
            return Err(value(&format!("{key}.env"), name, "also in secrets", help));
        }
        check_value(name, text)?;
    }
    if let Some(name) = secrets.iter().find(|name| !is_variable(name)) {
        return Err(value(
            &format!("{key}.secrets"),
            name,
            "no name of a variable",
            "write it as DATABASE_URL",
        ));
    }
    let is_file = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if let Some(name) = names(files).iter().find(|name| !is_file(name)) {
        return Err(value(&format!("{key}.secret-files"), name, "no name of a file", "write it as tls.key"));
    }
    Ok(())
}

/// Refuses values that seem to be secrets, and references that no target resolves.
fn check_value(name: &str, text: &str) -> Result<(), DeployError> {
    let upper = name.to_ascii_uppercase();
    // `PASSWORD_FILE` names a file.
    let is_secret = SECRET_NAMES.iter().any(|part| upper.contains(part)) && !upper.ends_with("_FILE");
    if is_secret {
        return Err(DeployError::Secret { name: name.to_owned(), reason: "the name is that of a secret" });
    }
    if let Some((_, rest)) = text.split_once("${")
        && let Some((referred, _)) = rest.split_once('}')
        && is_variable(referred)
    {
        return Err(DeployError::Reference { name: name.to_owned(), referred: referred.to_owned() });
    }
    let authority =
        text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    if user.is_some_and(|user| user.split_once(':').is_some_and(|(_, password)| !password.is_empty())) {
        return Err(DeployError::Secret { name: name.to_owned(), reason: "the address has a password" });
    }
    if text.contains("-----BEGIN ") {
        return Err(DeployError::Secret { name: name.to_owned(), reason: "the value is a key" });
    }
    if text.contains('\0') {
        return Err(value("deploy.env", name, "the value has a NUL character", "leave it out"));
    }
    Ok(())
}

/// Returns true for a label of DNS (RFC 1123).
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_gateway(text: &str) -> bool {
    match text.split_once('/') {
        Some((namespace, name)) => is_label(namespace) && is_subdomain(name),
        None => is_subdomain(text),
    }
}

fn check_hosts(key: &str, hosts: &[String]) -> Result<(), DeployError> {
    for host in hosts {
        if !is_subdomain(host) {
            let help = "write a name in lower case without scheme, port and path, such as api.example.com";
            return Err(value(key, host, "no host name", help));
        }
    }
    Ok(())
}

/// Accepts five fields of numbers, names, ranges, steps and lists, as all targets do.
fn check_schedule(key: &str, schedule: &str) -> Result<(), DeployError> {
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let is_field = |field: &&str| field.chars().all(|c| c.is_ascii_alphanumeric() || "*/,-".contains(c));
    if fields.len() != 5 || !fields.iter().all(is_field) {
        let help = "write minute, hour, day of the month, month and day of the week, such as \"0 4 * * *\"";
        return Err(value(key, schedule, "no five fields of a crontab", help));
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

pub(super) fn value(key: &str, value: &str, reason: &'static str, help: impl Into<String>) -> DeployError {
    DeployError::Value { key: key.to_owned(), value: value.to_owned(), reason, help: help.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        let table: DeployTable = toml::from_str(text).unwrap();
        check(&table).map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_never_printed() {
        for (text, expected) in [
            ("env.DB_PASSWORD = 'hunter2'", "the name is that of a secret"),
            ("env.GITHUB_TOKEN = 'hunter2'", "the name is that of a secret"),
            ("env.DATABASE_URL = 'postgres://app:hunter2@db/app'", "the address has a password"),
            ("env.KEY = \"-----BEGIN PRIVATE KEY-----hunter2\"", "the value is a key"),
            ("process.worker.env.AWS_SECRET_ACCESS_KEY = 'hunter2'", "the name is that of a secret"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{text}: {error}");
        }
        for text in [
            "env.DATABASE_URL = 'postgres://app@db/app?x=a:b@c'",
            "env.PASSWORD_FILE = '/run/secrets/password'",
            "env.LOG = 'info'\nsecrets = ['DB_PASSWORD']\nsecret-files = ['tls.key']\nhosts = ['api.example.com']",
            "process.report.schedule = '*/5 0-6 * jan mon,tue'",
            "gateway = 'gateways/public.example'",
        ] {
            assert_eq!(checked(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, expected) in [
            ("env.URL = 'http://${HOST}/'", "cannot resolve `HOST` in deploy.env.URL"),
            ("env.A = '1'\nsecrets = ['A']", "invalid deploy.env `A`: also in secrets"),
            ("secrets = ['A']\nprocess.w.env.A = '1'", "invalid deploy.process.w.env `A`: also in secrets"),
            ("env.'A-B' = '1'", "no name of a variable"),
            ("secrets = ['1A']", "invalid deploy.secrets `1A`"),
            ("secret-files = ['../x']", "invalid deploy.secret-files `../x`"),
            ("hosts = ['https://x']", "invalid deploy.hosts"),
            ("gateway = 'a/b/c'", "invalid deploy.gateway `a/b/c`: no name of a Gateway"),
            ("gateway = 'Public'", "invalid deploy.gateway `Public`"),
            ("process.r.schedule = 'daily'", "no five fields of a crontab"),
            ("process.r.schedule = '0 4 * * $(x)'", "no five fields of a crontab"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
