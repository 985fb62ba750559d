//! Files of platforms that name a service's commands: `Procfile`, `app.json`, `heroku.yml`, `fly.toml`,
//! `railway.toml`, `railway.json` and `render.yaml`.
//!
//! References: <https://devcenter.heroku.com/articles/procfile>, <https://devcenter.heroku.com/articles/app-json-schema>,
//! <https://fly.io/docs/reference/configuration/>, <https://docs.railway.com/reference/config-as-code>,
//! <https://render.com/docs/blueprint-spec>. Of the files in YAML, single lines with a plain or quoted value are read.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::{Evidence, HintRole};

/// The facts of the files of platforms.
#[derive(Debug, Default)]
pub(super) struct PlatformFile {
    /// Command lines.
    pub(super) commands: Vec<(HintRole, String, Evidence)>,
    pub(super) health_path: Option<(String, Evidence)>,
    pub(super) port: Option<(u16, Evidence)>,
    /// Variables with their values.
    pub(super) variables: Vec<(String, String)>,
}

impl PlatformFile {
    fn command(&mut self, role: HintRole, line: &str, evidence: Evidence) {
        let line = line.trim();
        if !line.is_empty() {
            self.commands.push((role, line.to_owned(), evidence));
        }
    }
}

/// Returns the role of a process with this name.
fn role(name: &str) -> HintRole {
    match name {
        "web" | "app" => HintRole::Web,
        "release" | "release_command" => HintRole::Release,
        name => HintRole::Process(name.to_owned()),
    }
}

/// Reads a `Procfile`: lines `NAME: COMMAND`.
pub(super) fn procfile(file: &str, text: &str) -> PlatformFile {
    let mut found = PlatformFile::default();
    for (index, line) in text.lines().enumerate() {
        let Some((name, command)) = line.trim().split_once(':') else { continue };
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if is_name && !name.is_empty() {
            let evidence = Evidence::line(file, index + 1, line);
            let role = if name == "app" { HintRole::Process(name.to_owned()) } else { role(name) };
            found.command(role, command, evidence);
        }
    }
    // Without `web`, a process named `app` is the service.
    if found.commands.iter().all(|(role, ..)| *role != HintRole::Web)
        && let Some(app) =
            found.commands.iter_mut().find(|(role, ..)| *role == HintRole::Process("app".to_owned()))
    {
        app.0 = HintRole::Web;
    }
    found
}

/// Reads `app.json` of Heroku (`formation` names no commands) and Dokku, and `railway.json`.
pub(super) fn json(file: &str, text: &str) -> PlatformFile {
    let mut found = PlatformFile::default();
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return found };
    let at = |needle: &str| {
        let line = text.lines().position(|line| line.contains(&format!("\"{needle}\""))).unwrap_or_default();
        Evidence::line(file, line + 1, text.lines().nth(line).unwrap_or_default())
    };
    let env = value.pointer("/env").and_then(serde_json::Value::as_object);
    for (name, value) in env.into_iter().flatten() {
        // `{"NAME": "VALUE"}` or `{"NAME": {"value": "VALUE"}}`.
        let value = value.as_str().or_else(|| value.get("value")?.as_str());
        found.variables.extend(value.map(|value| (name.clone(), value.to_owned())));
    }
    let scripts = value.pointer("/scripts").and_then(serde_json::Value::as_object);
    for (pointer, name, role) in [
        ("/scripts/dokku/predeploy", "predeploy", HintRole::Release),
        ("/deploy/startCommand", "startCommand", HintRole::Web),
        ("/deploy/preDeployCommand", "preDeployCommand", HintRole::Release),
    ] {
        if let Some(command) = value.pointer(pointer).and_then(serde_json::Value::as_str) {
            found.command(role, command, at(name));
        }
    }
    if let Some(command) = scripts.and_then(|scripts| scripts.get("postdeploy")?.as_str()) {
        found.command(HintRole::Process("postdeploy".to_owned()), command, at("postdeploy"));
    }
    if let Some(path) = value.pointer("/deploy/healthcheckPath").and_then(serde_json::Value::as_str) {
        found.health_path = Some((path.to_owned(), at("healthcheckPath")));
    }
    found
}

/// Reads `fly.toml` and `railway.toml`.
pub(super) fn toml(file: &str, text: &str) -> PlatformFile {
    let mut found = PlatformFile::default();
    let Ok(document) = DeTable::parse(text) else { return found };
    let document = document.get_ref();
    let table = |name: &str| document.get(name).and_then(|value| value.get_ref().as_table());
    let at = |span: std::ops::Range<usize>| Evidence::at(file, text, span.start);
    let string = |table: &DeTable<'_>, name: &str| {
        let value = table.get(name)?;
        value.get_ref().as_str().map(|text| (text.to_owned(), at(value.span())))
    };
    for (name, _) in table("processes").into_iter().flatten() {
        if let Some((command, evidence)) = table("processes").and_then(|table| string(table, name.get_ref()))
        {
            found.command(role(name.get_ref()), &command, evidence);
        }
    }
    for (name, _) in table("env").into_iter().flatten() {
        let value = table("env").and_then(|table| string(table, name.get_ref()));
        found.variables.extend(value.map(|(value, _)| (name.get_ref().to_string(), value)));
    }
    if let Some(deploy) = table("deploy") {
        for (name, role) in [
            ("release_command", HintRole::Release),
            ("startCommand", HintRole::Web),
            ("preDeployCommand", HintRole::Release),
        ] {
            if let Some((command, evidence)) = string(deploy, name) {
                found.command(role, &command, evidence);
            }
        }
        found.health_path = string(deploy, "healthcheckPath");
    }
    let services = document.get("services").and_then(|value| value.get_ref().as_array());
    let first = services.and_then(|services| services.iter().next()?.get_ref().as_table());
    for service in table("http_service").into_iter().chain(first) {
        if let Some(port) = service.get("internal_port") {
            let number = port.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
            found.port = found.port.or(number.map(|number| (number, at(port.span()))));
        }
        for name in ["checks", "http_checks"] {
            let checks = service.get(name).map(toml::Spanned::get_ref);
            let check = match checks {
                Some(DeValue::Array(checks)) => {
                    checks.iter().find_map(|check| string(check.get_ref().as_table()?, "path"))
                }
                Some(DeValue::Table(checks)) => {
                    checks.values().find_map(|check| string(check.get_ref().as_table()?, "path"))
                }
                _ => None,
            };
            found.health_path = found.health_path.or(check);
        }
    }
    found
}

/// Reads `heroku.yml` and `render.yaml`.
pub(super) fn yaml(file: &str, text: &str) -> PlatformFile {
    let mut found = PlatformFile::default();
    // Keys around the line, by indentation.
    let mut above: BTreeMap<usize, String> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.trim_start().trim_start_matches("- ").trim();
        let indent = line.len() - line.trim_start().len();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let evidence = || Evidence::line(file, index + 1, line);
        above.retain(|depth, _| *depth < indent);
        let path: Vec<&str> = above.values().map(String::as_str).collect();
        let Some((key, value)) = content.split_once(':') else {
            // `release:` has `command:` with a list.
            if path == ["release", "command"] || path == ["release"] {
                found.command(HintRole::Release, scalar(content), evidence());
            }
            continue;
        };
        let value = scalar(value);
        match (path.as_slice(), key) {
            (["run"], name) => found.command(role(name), value, evidence()),
            (_, "startCommand") => found.command(HintRole::Web, value, evidence()),
            (_, "preDeployCommand") => found.command(HintRole::Release, value, evidence()),
            (_, "healthCheckPath") if value.starts_with('/') => {
                found.health_path.get_or_insert((value.to_owned(), evidence()));
            }
            _ => {}
        }
        above.insert(indent, key.to_owned());
    }
    found
}

/// Returns the text of a plain or quoted value on one line; empty for any other.
fn scalar(text: &str) -> &str {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner
                .strip_suffix(quote)
                .filter(|inner| !inner.contains(['\\', quote]))
                .unwrap_or_default();
        }
    }
    let text = text.split_once(" #").map_or(text, |(text, _)| text.trim_end());
    if text.starts_with(['|', '>', '[', '{', '&', '*', '!', '%', '@']) { "" } else { text }
}
