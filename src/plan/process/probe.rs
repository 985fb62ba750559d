//! The command of a health check: `healthcheck.py`, filled with the path, the ports and the headers.

use std::collections::BTreeMap;

use super::{CommandPaths, Serving};
use crate::image::Healthcheck;
use crate::plan::launcher;
use crate::recipe::ResolvedHealthcheck;
use crate::service::Server;

impl Serving<'_> {
    /// Returns the health check of the image.
    pub(super) fn probe(&self, check: &ResolvedHealthcheck, places: &CommandPaths) -> Healthcheck {
        // An explicit path must succeed. The default only checks for a response: the application
        // may have no route at `/`.
        let (path, below) = match &check.path {
            Some(path) => (path.as_str(), 400),
            None => ("/", 500),
        };
        // An engine kills a check at its timeout without output. Half a second less lets the check
        // report the cause.
        let timeout = check.timeout.as_secs_f64();
        let timeout = if timeout > 1.0 { timeout - 0.5 } else { timeout };
        let recipe = self.recipe;
        let (host_variable, port_variable) = match self.kind() {
            Some(kind) => kind.variables(),
            // Platforms pass the port to custom programs in `PORT`.
            None => (None, Some("PORT")),
        };
        let mut ports: Vec<String> = match self.launcher() {
            Some(launcher) => launcher.port_sources().map(str::to_owned).collect(),
            None => port_variable.into_iter().map(str::to_owned).collect(),
        };
        for variable in &mut ports {
            *variable = format!("env({})", launcher::python_literal(variable));
        }
        ports.push(format!("\"{}\"", recipe.port));
        let environment = |variable: Option<&str>| match variable {
            Some(variable) => format!("env({}) or ", launcher::python_literal(variable)),
            None => String::new(),
        };
        let host = if host_variable.is_some() { "127.0.0.1" } else { &recipe.host };
        let mut headers = BTreeMap::from([("User-Agent", "healthcheck")]);
        headers.extend(check.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let pair = |(name, value): (&&str, &&str)| {
            format!("{}: {}", launcher::python_literal(name), launcher::python_literal(value))
        };
        let headers = format!("{{{}}}", headers.iter().map(pair).collect::<Vec<_>>().join(", "));
        let secure = self.server.as_ref().is_some_and(Server::uses_tls);
        let script = include_str!("healthcheck.py")
            .trim_end()
            .replace("TIMEOUT", &timeout.to_string())
            .replace("BELOW", &below.to_string())
            .replace("PORTS", &ports.join(", "))
            .replace("SECURE", if secure { "True" } else { "env(\"UVICORN_SSL_CERTFILE\")" })
            .replace("= HOST", &format!("= {}{}", environment(host_variable), launcher::python_literal(host)))
            .replace("=HEADERS", &format!("={headers}"))
            .replace("= PATH", &format!("= {}", launcher::python_literal(path)));
        Healthcheck {
            // Without the site module, no `.pth` file or sitecustomize of the environment can break
            // the check.
            test: [
                "CMD".to_owned(),
                format!("{}/bin/python", places.environment),
                "-IS".to_owned(),
                "-c".to_owned(),
                script,
            ]
            .to_vec(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }
    }
}
