//! [`settings`]: the settings for the options of a server's command line.

use super::ProposedValue;
use crate::service::hints::{PORT, is_unread};

/// The settings of a command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommandSettings {
    /// `MODULE:ATTRIBUTE`, with `()` for a factory.
    pub(super) application: Option<String>,
    /// Keys, values and the options that they come from.
    pub(super) settings: Vec<(Vec<String>, ProposedValue, String)>,
}

impl CommandSettings {
    fn set(&mut self, path: &[&str], value: ProposedValue, option: &str) {
        self.settings.push((path.iter().map(|&key| key.to_owned()).collect(), value, option.to_owned()));
    }
}

/// An option of a command line.
struct GivenOption<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

/// Options without a value.
const SWITCHES: [&str; 14] = [
    "--factory",
    "--reload",
    "--preload",
    "--proxy-headers",
    "--no-proxy-headers",
    "--access-log",
    "--no-access-log",
    "--use-colors",
    "--no-use-colors",
    "--no-server-header",
    "--no-date-header",
    "--capture-output",
    "--enable-stdio-inheritance",
    "--daemon",
];

/// Returns the settings for the options of uvicorn and gunicorn, and the application of servers.
pub(super) fn settings(words: &[String]) -> CommandSettings {
    let mut found = CommandSettings::default();
    let Some((program, arguments)) = words.split_first() else { return found };
    if !["uvicorn", "gunicorn", "hypercorn", "granian", "daphne"].contains(&program.as_str()) {
        return found;
    }
    let mut options = Vec::new();
    let mut position = 0;
    while let Some(word) = arguments.get(position) {
        position += 1;
        if is_unread(word) && !word.starts_with('-') {
            continue;
        }
        if !word.starts_with('-') || word == "-" {
            found.application.get_or_insert_with(|| application(word, program));
            continue;
        }
        match word.split_once('=') {
            Some((name, value)) => options.push(GivenOption { name, value: Some(value) }),
            None if SWITCHES.contains(&word.as_str()) => {
                options.push(GivenOption { name: word, value: None });
            }
            None => {
                let value = arguments.get(position).map(String::as_str);
                position += usize::from(value.is_some());
                options.push(GivenOption { name: word, value });
            }
        }
    }
    options.retain(|option: &GivenOption<'_>| !option.value.is_some_and(is_unread));
    if let Some(application) = &mut found.application
        && options.iter().any(|option| option.name == "--factory")
        && !application.ends_with(')')
    {
        application.push_str("()");
    }
    match program.as_str() {
        "uvicorn" => uvicorn(&mut found, &options),
        "gunicorn" => gunicorn(&mut found, &options),
        _ => {}
    }
    found
}

/// Returns the application of an argument; gunicorn's default attribute is `application`.
fn application(word: &str, program: &str) -> String {
    if word.contains(':') || program != "gunicorn" { word.to_owned() } else { format!("{word}:application") }
}

fn number(value: Option<&str>) -> Option<ProposedValue> {
    value.and_then(|value| value.parse().ok()).map(ProposedValue::Number)
}

/// Adds the settings for options of uvicorn 0.54. Options without a key have a variable, `UVICORN_…`.
fn uvicorn(found: &mut CommandSettings, options: &[GivenOption<'_>]) {
    for option in options {
        let text = option.value.map(|value| ProposedValue::Text(value.to_owned()));
        let shown = shown(option);
        let keyed = match option.name {
            "--host" | "--port" | "--factory" | "--reload" | "--app-dir" | "--uds" | "--fd"
            | "--proxy-headers" => continue,
            name if name.starts_with("--reload-") => continue,
            "--workers" => number(option.value).map(|value| ("workers", value)),
            "--timeout-graceful-shutdown" => number(option.value).map(|value| ("graceful-timeout", value)),
            "--no-proxy-headers" => Some(("proxy-headers", ProposedValue::Boolean(false))),
            "--loop" => text.clone().map(|value| ("loop", value)),
            "--http" => text.clone().map(|value| ("http", value)),
            _ => None,
        };
        if let Some((key, value)) = keyed {
            found.set(&[key], value, &shown);
        } else if option.name == "--forwarded-allow-ips" {
            let Some(value) = text else { continue };
            found.set(&["env", "FORWARDED_ALLOW_IPS"], value, &shown);
        } else if let Some(name) = option.name.strip_prefix("--") {
            let (name, switch) = name.strip_prefix("no-").map_or((name, "true"), |name| (name, "false"));
            let variable = format!("UVICORN_{}", name.replace('-', "_").to_uppercase());
            let value = text.unwrap_or_else(|| ProposedValue::Text(switch.to_owned()));
            found.set(&["env", &variable], value, &shown);
        }
    }
}

/// Options of gunicorn that an image has by itself, or that it cannot have: the process is user 1000 from
/// its start, and has no folder for a file with its number.
const DROPPED_BY_IMAGES: [&str; 14] = [
    "-b",
    "--bind",
    "-k",
    "--worker-class",
    "--chdir",
    "--reload",
    "--daemon",
    "-D",
    "-u",
    "--user",
    "-g",
    "--group",
    "-p",
    "--pid",
];

/// Adds the settings for options of gunicorn 27. Options without a key go to `GUNICORN_CMD_ARGS`.
fn gunicorn(found: &mut CommandSettings, options: &[GivenOption<'_>]) {
    let mut rest = Vec::new();
    for option in options {
        match (option.name, option.value) {
            (option, _) if DROPPED_BY_IMAGES.contains(&option) => {}
            ("-c" | "--config", Some("gunicorn.conf.py" | "./gunicorn.conf.py")) => {}
            ("--access-logfile" | "--error-logfile" | "--log-file", Some(path))
                if path.starts_with('/') && !path.starts_with("/dev/") => {}
            ("-e" | "--env", Some(variable)) => {
                if let Some((name, value)) = variable.split_once('=') {
                    found.set(&["env", name], ProposedValue::Text(value.to_owned()), &shown(option));
                }
            }
            (_, Some(value)) if value.contains(PORT) => {}
            ("-w" | "--workers", value) => {
                if let Some(value) = number(value) {
                    found.set(&["workers"], value, &shown(option));
                }
            }
            ("--forwarded-allow-ips", Some(value)) => {
                found.set(
                    &["env", "FORWARDED_ALLOW_IPS"],
                    ProposedValue::Text(value.to_owned()),
                    &shown(option),
                );
            }
            _ => rest.push(shown(option)),
        }
    }
    if !rest.is_empty() {
        let arguments = rest.join(" ");
        found.set(
            &["env", "GUNICORN_CMD_ARGS"],
            ProposedValue::Text(arguments),
            "other options of the command",
        );
    }
}

/// Returns an option as written, its value quoted if it has blanks.
fn shown(option: &GivenOption<'_>) -> String {
    match option.value {
        Some(value) if value.contains(char::is_whitespace) => format!("{} '{value}'", option.name),
        Some(value) => format!("{} {value}", option.name),
        None => option.name.to_owned(),
    }
}
