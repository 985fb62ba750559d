//! [`ImageProcess`]: the process that an image's configuration defines.

use serde_json::Value;

use super::RunError;
use super::signal::StopSignal;
use crate::image::{DEFAULT_PATH, HealthCheck, RuntimeConfig, follows_port};
use crate::tree::ImagePath;

/// The process of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageProcess {
    /// The command with its arguments.
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: ImagePath,
    /// The user as written; empty for root.
    pub(super) user: String,
    /// Exposed TCP ports, in ascending order.
    pub(super) ports: Vec<u16>,
    pub(super) stop_signal: StopSignal,
    pub(super) volumes: Vec<ImagePath>,
    pub(super) health: Option<HealthCheck>,
}

/// A change of the command, with Docker's meaning: a new entrypoint drops the image's command too.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CommandChange<'a> {
    pub(super) entrypoint: Option<&'a str>,
    pub(super) arguments: &'a [String],
}

impl ImageProcess {
    /// Reads the configuration of an image, for another command.
    ///
    /// # Errors
    /// Fails if the configuration is invalid or has no command.
    pub(super) fn of(config: &[u8], change: &CommandChange<'_>) -> Result<Self, RunError> {
        let document: Value =
            serde_json::from_slice(config).map_err(|error| RunError::Config(error.to_string()))?;
        let config = RuntimeConfig::of(&document).map_err(|error| RunError::Config(error.to_string()))?;
        let args = match (change.entrypoint, change.arguments) {
            (None, []) => config.command(),
            (None, arguments) => [config.entrypoint.as_deref().unwrap_or_default(), arguments].concat(),
            (Some(program), arguments) => [&[program.to_owned()], arguments].concat(),
        };
        if args.is_empty() {
            return Err(RunError::NoCommand);
        }
        let path = |text: &str| ImagePath::new(text).map_err(|error| RunError::Config(error.to_string()));
        let stop_signal = match config.stop_signal.as_deref() {
            None | Some("") => StopSignal::TERM,
            Some(text) => text
                .parse()
                .map_err(|()| RunError::Config(format!("unknown stop signal `{}`", text.escape_debug())))?,
        };
        let mut env = config.env();
        if !env.iter().any(|(name, _)| name == "PATH") {
            env.insert(0, ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
        }
        Ok(Self {
            args,
            env,
            cwd: path(config.working_dir.as_deref().unwrap_or_default())?,
            ports: config.ports().0,
            stop_signal,
            volumes: config.volumes().map(path).collect::<Result<_, _>>()?,
            health: config.health_check(),
            user: config.user.unwrap_or_default(),
        })
    }

    /// Sets a variable, in place of the one with the same name.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Returns true if the variable `PORT` probably determines the port.
    pub(super) fn follows_port(&self) -> bool {
        follows_port(self.env.iter().map(|(name, _)| name.as_str()), &self.args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn process(config: &Value) -> Result<ImageProcess, RunError> {
        ImageProcess::of(json!({ "config": config }).to_string().as_bytes(), &CommandChange::default())
    }

    #[test]
    fn reads_the_fields_of_a_start() {
        let process = process(&json!({
            "Entrypoint": ["/bin/app"], "Cmd": ["--port", "80"], "Env": ["A=1=2", "odd", "PATH=/x"],
            "WorkingDir": "/srv", "User": "app", "StopSignal": "SIGQUIT",
            "ExposedPorts": { "9000/tcp": {}, "80": {}, "53/udp": {} }, "Volumes": { "/data/": {} },
        }))
        .unwrap();
        assert_eq!(process.args, ["/bin/app", "--port", "80"]);
        assert_eq!(process.env, [("A".to_owned(), "1=2".to_owned()), ("PATH".to_owned(), "/x".to_owned())]);
        assert_eq!((process.cwd.to_string(), process.user.as_str()), ("/srv".to_owned(), "app"));
        assert_eq!((process.ports.as_slice(), process.stop_signal.number()), (&[80, 9000][..], 3));
        assert_eq!(process.volumes, [ImagePath::new("/data").unwrap()]);
        assert_eq!(process.health, None);
        assert!(!process.follows_port());
    }

    #[test]
    fn missing_values_are_dockers() {
        let process = process(&json!({ "Cmd": ["a"], "Env": null, "User": null })).unwrap();
        assert_eq!(process.env, [("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
        assert_eq!((process.cwd, process.stop_signal), (ImagePath::root(), StopSignal::TERM));
        for config in [json!(null), json!({}), json!({ "Entrypoint": null, "Cmd": [] })] {
            assert!(matches!(
                ImageProcess::of(
                    json!({ "config": config }).to_string().as_bytes(),
                    &CommandChange::default()
                ),
                Err(RunError::NoCommand)
            ));
        }
    }

    #[test]
    fn a_new_entrypoint_drops_the_command_and_arguments_replace_it() {
        let config = json!({ "config": { "Entrypoint": ["a", "b"], "Cmd": ["c"] } }).to_string();
        let arguments = |entrypoint: Option<&str>, arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            let change = CommandChange { entrypoint, arguments: &arguments };
            ImageProcess::of(config.as_bytes(), &change).unwrap().args.join(" ")
        };
        assert_eq!(arguments(None, &[]), "a b c");
        assert_eq!(arguments(None, &["d"]), "a b d");
        assert_eq!(arguments(Some("e"), &[]), "e");
        assert_eq!(arguments(Some("e"), &["d"]), "e d");
    }

    #[test]
    fn reads_every_form_of_a_health_check() {
        let health = |healthcheck: Value, shell: Value| {
            process(&json!({ "Cmd": ["a"], "Healthcheck": healthcheck, "Shell": shell })).unwrap().health
        };
        let check = health(json!({ "Test": ["CMD", "x", "y"], "Interval": 5_000_000_000_u64 }), json!(null));
        let check = check.unwrap();
        assert_eq!((check.command, check.interval), (vec!["x".into(), "y".into()], Duration::from_secs(5)));
        assert_eq!((check.timeout, check.retries), (Duration::from_secs(30), 3));
        let check = health(json!({ "Test": ["CMD-SHELL", "a | b"], "Retries": 1 }), json!(null)).unwrap();
        assert_eq!((check.command.join(" ").as_str(), check.retries), ("/bin/sh -c a | b", 1));
        let check = health(json!({ "Test": ["CMD-SHELL", "a"] }), json!(["/bin/bash", "-ec"])).unwrap();
        assert_eq!(check.command, ["/bin/bash", "-ec", "a"]);
        for test in [json!(["NONE"]), json!([]), json!(null), json!(["CMD"]), json!(["CMD-SHELL"])] {
            assert_eq!(health(json!({ "Test": test }), json!(null)), None);
        }
    }

    #[test]
    fn refuses_invalid_configurations() {
        for config in [
            json!({ "Cmd": "a" }),
            json!({ "Cmd": ["a"], "StopSignal": "SIGNONE" }),
            json!({ "Cmd": ["a"], "WorkingDir": "../x" }),
            json!({ "Cmd": ["a"], "Volumes": { "/a\u{0}": {} } }),
        ] {
            assert!(matches!(process(&config), Err(RunError::Config(_))), "{config}");
        }
        assert!(matches!(ImageProcess::of(b"{", &CommandChange::default()), Err(RunError::Config(_))));
    }

    #[test]
    fn a_command_or_a_variable_names_the_port() {
        let follows =
            |cmd: &str, env: Value| process(&json!({ "Cmd": [cmd], "Env": env })).unwrap().follows_port();
        assert!(follows("sh -c 'x --port ${PORT:-80}'", json!([])));
        assert!(follows("map(env.get, (\"PORT\", \"WEBSITES_PORT\"))", json!([])));
        assert!(follows("x", json!(["PORT=1"])));
        assert!(!follows("x $PATH", json!(["UVICORN_PORT=1"])));
    }
}
