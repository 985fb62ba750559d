//! The configuration of an image, made from a recipe: user, environment, command, health check and
//! labels.
//!
//! Server settings that an operator may want to change are environment variables: uvicorn reads
//! `UVICORN_*` for every option (and `WEB_CONCURRENCY` for the number of workers), gunicorn reads
//! `PORT` and `WEB_CONCURRENCY`. Options on the command line would override them. A server's
//! variables are set only in images that run this server.

use std::collections::BTreeMap;

use super::PlannedDistribution;
use super::launcher::{self, Launcher};
use crate::image::{Healthcheck, Process};
use crate::progress::Warning;
use crate::project::Project;
use crate::python::application::{Application, ApplicationKind};
use crate::recipe::{Recipe, ResolvedHealthcheck, Target};
use crate::service::Server;
use crate::service::server::{ServerKind, is_loopback};
use crate::settings::{EventLoop, HttpProtocol};
use crate::tree::ImagePath;

/// Paths of the image that commands refer to.
#[derive(Debug, Clone)]
pub(crate) struct CommandPaths {
    /// The environment: `/app/.venv`.
    pub environment: ImagePath,
    /// Directory of the interpreter: `/usr/local/bin`.
    pub interpreter_folder: ImagePath,
    /// `PATH` of the base, if set.
    pub base_path: Option<String>,
    /// Value of `HOME`; `None` if the base sets a home directory that the process may write to.
    pub home: Option<String>,
}

/// The server of a recipe, with the inputs that decide its variables.
struct Serving<'a> {
    recipe: &'a Recipe,
    server: Option<Server>,
    application: Option<&'a Application>,
    distributions: &'a [PlannedDistribution],
}

/// Makes the process of a recipe for `project` with its `application` and the planned
/// `distributions`.
pub(crate) fn of_recipe(
    recipe: &Recipe,
    project: &Project,
    application: Option<&Application>,
    distributions: &[PlannedDistribution],
    places: &CommandPaths,
    created: Option<&str>,
) -> Process {
    let serving = Serving { recipe, server: recipe.known_server(), application, distributions };
    let (entrypoint, cmd) = serving.command(places);
    Process {
        user: Some(recipe.user),
        workdir: Some(recipe.workdir.clone()),
        env: environment(&serving, places),
        entrypoint,
        cmd,
        port: serving.listens().then_some(recipe.port),
        exposed_ports: {
            let server = serving.listens().then(|| format!("{}/tcp", recipe.port));
            recipe.ports.iter().filter(|port| Some(*port) != server.as_ref()).cloned().collect()
        },
        volumes: recipe.volumes.clone(),
        stop_signal: Some(serving.stop_signal()),
        healthcheck: recipe
            .healthcheck
            .as_ref()
            .filter(|check| serving.applies(check))
            .map(|check| serving.probe(check, places)),
        labels: labels(recipe, project, created),
    }
}

/// Returns warnings about a server that is unreachable from outside the container, or listens on
/// another port than the image exposes.
pub(crate) fn reachability_warnings(recipe: &Recipe) -> Vec<Warning> {
    let Some(server) = recipe.known_server() else { return Vec::new() };
    let name = server.kind.name();
    let bind = bind_of(&server, recipe);
    if bind.uses_socket {
        return Vec::new();
    }
    let (host_variable, port_variable) = server.kind.variables();
    let mut warnings = Vec::new();
    // The address is in a configuration file, which is not parsed.
    let unknown = server.kind != ServerKind::Gunicorn && server.config_file().is_some() && !bind.is_given();
    let (host, port) = server.default_bind();
    let given = bind.host.as_deref();
    let is_set = host_variable.is_some() || server.kind == ServerKind::Gunicorn;
    if let Some(host) = given.or((!is_set && !unknown).then_some(host)).filter(|host| is_loopback(host)) {
        let how = if given.is_some() { "" } else { " by default" };
        warnings.push(
            Warning::new(
                "entrypoint",
                format!("{name} listens on {host}{how}, unreachable from outside the container"),
            )
            .with_help(format!("add {} to the command", server.bind_options(recipe.port))),
        );
    }
    let is_default = port_variable.is_none() && !unknown && !bind.follows_port;
    let port = bind.port.or(is_default.then_some(port));
    if let Some(port) = port.filter(|port| *port != recipe.port) {
        let message =
            format!("{name} listens on port {port}, but the image exposes and checks port {}", recipe.port);
        warnings.push(
            Warning::new("entrypoint", message)
                .with_help(format!("set port = {port}, or remove it from the command")),
        );
    }
    warnings
}

/// Returns the address from the arguments; for gunicorn also from `GUNICORN_CMD_ARGS`.
fn bind_of(server: &Server, recipe: &Recipe) -> crate::service::Bind {
    match recipe.env.get("GUNICORN_CMD_ARGS") {
        Some(arguments) if server.kind == ServerKind::Gunicorn => server.bind_with(arguments),
        _ => server.bind(),
    }
}

/// Replaces the placeholders of a word, except those of the application.
fn fill(word: &str, recipe: &Recipe, places: &CommandPaths) -> String {
    let host = &recipe.host;
    let address = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    word.replace("{venv}", &places.environment.to_string())
        .replace("{python}", &format!("{}/bin/python", places.environment))
        .replace("{host}:", &format!("{address}:"))
        .replace("{host}", host)
        .replace("{port}", launcher::PORT)
        .replace("{workers}", launcher::WORKERS)
        .replace("{grace}", &recipe.graceful_timeout.to_string())
}

/// Returns true for a command that a shell interprets, and so `$PORT` in it.
fn is_shell(command: &[String]) -> bool {
    let name = command.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
    matches!(name, "sh" | "bash" | "dash" | "ash" | "busybox")
}

/// Makes `PATH`: the environment's directory, then the base's in order.
fn search_path(places: &CommandPaths) -> String {
    let folders = places.base_path.as_deref().unwrap_or("/usr/local/bin:/usr/bin:/bin").split(':');
    let folders: Vec<_> = folders.filter(|folder| !folder.is_empty()).map(str::to_owned).collect();
    let mut path = vec![format!("{}/bin", places.environment)];
    let interpreter = places.interpreter_folder.to_string();
    if !folders.contains(&interpreter) {
        path.push(interpreter);
    }
    path.extend(folders);
    let mut seen = std::collections::BTreeSet::new();
    path.retain(|folder| seen.insert(folder.clone()));
    path.join(":")
}

fn environment(serving: &Serving<'_>, places: &CommandPaths) -> Vec<(String, String)> {
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), search_path(places)),
        ("VIRTUAL_ENV".to_owned(), places.environment.to_string()),
    ]);
    if let Some(home) = &places.home {
        all.insert("HOME".to_owned(), home.clone());
    }
    serving.variables(&mut |name, value| drop(all.insert(name.to_owned(), value)));
    let port = serving.recipe.port.to_string();
    all.extend(serving.port_variables().iter().map(|name| (name.clone(), port.clone())));
    all.extend(serving.recipe.env.clone());
    all.into_iter().collect()
}

impl Serving<'_> {
    /// Returns true if the process has a TCP port.
    fn listens(&self) -> bool {
        match &self.server {
            Some(server) => !bind_of(server, self.recipe).uses_socket || self.is_health_checked(),
            None => self.starts_application() || self.is_health_checked(),
        }
    }

    /// Returns the variables from which a program of the project reads its port.
    fn port_variables(&self) -> &[String] {
        self.recipe.service.as_ref().map_or(&[], |service| &service.port_variables)
    }

    /// Returns true for a program of the project that is known to serve.
    fn starts_application(&self) -> bool {
        self.recipe.names_application() || self.recipe.service.is_some()
    }

    fn is_health_checked(&self) -> bool {
        self.recipe.healthcheck.as_ref().is_some_and(|check| self.applies(check))
    }

    /// Returns true if the image gets this check. An explicit check applies to every target except
    /// the builder, which serves only on demand; the recipe's default applies to processes with a
    /// port.
    fn applies(&self, check: &ResolvedHealthcheck) -> bool {
        let is_requested = check.explicit && self.recipe.target != Target::Builder;
        match &self.server {
            Some(server) => is_requested || !bind_of(server, self.recipe).uses_socket,
            None => is_requested || self.starts_application(),
        }
    }

    /// Returns entrypoint and arguments with their placeholders replaced, behind a launcher if the
    /// server needs one.
    fn command(&self, places: &CommandPaths) -> (Vec<String>, Vec<String>) {
        let call = self.application_argument();
        let fill = |words: &[String]| -> Vec<String> {
            words.iter().map(|word| fill(&word.replace("{app}", &call), self.recipe, places)).collect()
        };
        let (mut entrypoint, mut cmd) = (fill(&self.recipe.entrypoint), fill(&self.recipe.cmd));
        let last = if cmd.is_empty() { &mut entrypoint } else { &mut cmd };
        last.extend(self.reload_options());
        if let Some(launcher) = self.launcher() {
            let python = format!("{}/bin/python", places.environment);
            if entrypoint.is_empty() {
                cmd = launcher.words(&python, cmd);
            } else {
                entrypoint = launcher.words(&python, entrypoint);
            }
        }
        (entrypoint, cmd)
    }

    /// Returns the options with which a server without a variable for it restarts on changes.
    fn reload_options(&self) -> Vec<String> {
        let Some(server) = self.server.as_ref().filter(|_| self.reloads()) else { return Vec::new() };
        let options = server.kind.reload_options();
        let is_given = |option: &&&str| option.starts_with("--") && server.has_option(option);
        if options.iter().any(|option| is_given(&option)) || is_shell(&self.recipe.command()) {
            return Vec::new();
        }
        options.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Returns the signal that stops the server.
    fn stop_signal(&self) -> String {
        // waitress handles SIGINT alone, and the kernel ignores other signals for process 1.
        if self.kind() == Some(ServerKind::Waitress) && !self.recipe.is_stop_signal_set {
            return "SIGINT".to_owned();
        }
        self.recipe.stop_signal.clone()
    }

    /// Returns the launcher that the command needs to follow the variable `PORT`.
    fn launcher(&self) -> Option<Launcher> {
        let recipe = self.recipe;
        let command = recipe.command();
        if command.is_empty() || is_shell(&command) {
            return None;
        }
        let mut variables = self.port_variables().to_vec();
        if let Some(server) = &self.server {
            let bind = bind_of(server, recipe);
            let is_open = !bind.uses_socket && (bind.port.is_none() || bind.follows_port);
            let (_, variable) = server.kind.variables();
            variables.extend(variable.filter(|_| is_open).map(str::to_owned));
        } else if recipe.service.is_some() && variables.is_empty() {
            // A program of the project may read `PORT`, with a default that the source does not show.
            variables.push("PORT".to_owned());
        }
        let words = ["{port}", "{workers}", launcher::PORT, launcher::WORKERS];
        let is_named = words.iter().any(|name| command.iter().any(|word| word.contains(name)));
        let port = recipe.port;
        let workers = if recipe.reload { 1 } else { recipe.workers };
        (is_named || !variables.is_empty()).then_some(Launcher { variables, port, workers })
    }

    /// Returns the application as the server expects it. uvicorn and granian learn from a
    /// variable that the object is a factory.
    fn application_argument(&self) -> String {
        let Some(application) = self.application else { return String::new() };
        let has_factory_variable = matches!(self.kind(), Some(ServerKind::Uvicorn | ServerKind::Granian));
        match application.kind {
            ApplicationKind::Factory if !has_factory_variable => format!("{application}()"),
            _ => application.to_string(),
        }
    }

    /// Returns true if `{app}` names a factory. A command that spells out the application must pass
    /// the flag itself.
    fn is_factory(&self) -> bool {
        self.recipe.names_application()
            && self.application.is_some_and(|application| application.kind == ApplicationKind::Factory)
    }

    fn kind(&self) -> Option<ServerKind> {
        self.server.as_ref().map(|server| server.kind)
    }

    fn has(&self, distribution: &str) -> bool {
        self.distributions.iter().any(|planned| planned.name == distribution)
    }

    /// Passes the server's variables to `set`.
    fn variables(&self, set: &mut dyn FnMut(&str, String)) {
        let recipe = self.recipe;
        let kind = self.kind();
        match kind {
            Some(ServerKind::Uvicorn) => self.variables_of_uvicorn(set),
            Some(ServerKind::Gunicorn) => {
                let given = self.server.as_ref().is_some_and(|server| server.bind().is_given());
                // With `PORT`, gunicorn listens on 0.0.0.0 unless its configuration file sets an
                // address.
                self.set_port("PORT", set);
                let mut arguments = Vec::new();
                if recipe.host != "0.0.0.0" && !given {
                    let host = if recipe.host.contains(':') {
                        format!("[{}]", recipe.host)
                    } else {
                        recipe.host.clone()
                    };
                    arguments.push(format!("--bind={host}:{}", recipe.port));
                }
                if recipe.reload {
                    arguments.push("--reload".to_owned());
                }
                if !arguments.is_empty() {
                    set("GUNICORN_CMD_ARGS", arguments.join(" "));
                }
            }
            Some(kind) => {
                let (host, port) = kind.variables();
                if let Some(host) = host {
                    set(host, recipe.host.clone());
                }
                if let Some(port) = port {
                    self.set_port(port, set);
                }
                if let Some(variable) = kind.reload_variable().filter(|_| self.reloads()) {
                    set(variable, "true".to_owned());
                }
                if kind == ServerKind::Sanic {
                    set("SANIC_GRACEFUL_SHUTDOWN_TIMEOUT", recipe.graceful_timeout.to_string());
                }
                if kind == ServerKind::Granian {
                    set("GRANIAN_WORKERS_KILL_TIMEOUT", recipe.graceful_timeout.clamp(1, 1800).to_string());
                    if !recipe.reload {
                        set("GRANIAN_WORKERS", recipe.workers.to_string());
                    }
                    if self.is_factory() {
                        set("GRANIAN_FACTORY", "true".to_owned());
                    }
                }
            }
            None => {}
        }
        let counts = [ServerKind::Uvicorn, ServerKind::Gunicorn, ServerKind::Fastapi, ServerKind::Litestar];
        if kind.is_some_and(|kind| counts.contains(&kind)) && !recipe.reload {
            set("WEB_CONCURRENCY", recipe.workers.to_string());
        }
        if let Some(folder) =
            self.application.map(|application| &application.directory).filter(|folder| !folder.is_empty())
            && kind != Some(ServerKind::Uvicorn)
        {
            set("PYTHONPATH", format!("{}/{folder}", recipe.workdir));
        }
    }

    /// Sets a server's variable for the port. A launcher sets `PORT`, and an image that has the variable
    /// would hide `WEBSITES_PORT`.
    fn set_port(&self, variable: &str, set: &mut dyn FnMut(&str, String)) {
        if variable != "PORT" || self.launcher().is_none() {
            set(variable, self.recipe.port.to_string());
        }
    }

    /// Returns true if the server restarts when a source file changes.
    fn reloads(&self) -> bool {
        // granian requires a distribution for it.
        self.recipe.reload && (self.kind() != Some(ServerKind::Granian) || self.has("watchfiles"))
    }

    fn variables_of_uvicorn(&self, set: &mut dyn FnMut(&str, String)) {
        let recipe = self.recipe;
        let event_loop = match recipe.event_loop.unwrap_or(EventLoop::Auto) {
            EventLoop::Auto if self.has("uvloop") => EventLoop::Uvloop,
            chosen => chosen,
        };
        let http = match recipe.http.unwrap_or(HttpProtocol::Auto) {
            HttpProtocol::Auto if self.has("httptools") => HttpProtocol::Httptools,
            chosen => chosen,
        };
        set("UVICORN_HOST", recipe.host.clone());
        set("UVICORN_PORT", recipe.port.to_string());
        set("UVICORN_LOOP", event_loop.as_str().to_owned());
        set("UVICORN_HTTP", http.as_str().to_owned());
        set("UVICORN_PROXY_HEADERS", recipe.proxy_headers.to_string());
        set("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN", recipe.graceful_timeout.to_string());
        if recipe.reload {
            // uvicorn supports either workers or reloading.
            set("UVICORN_RELOAD", "true".to_owned());
        }
        if let Some(application) = self.application.filter(|application| !application.directory.is_empty()) {
            set("UVICORN_APP_DIR", format!("{}/{}", recipe.workdir, application.directory));
        }
        if self.is_factory() {
            set("UVICORN_FACTORY", "true".to_owned());
        }
    }

    fn probe(&self, check: &ResolvedHealthcheck, places: &CommandPaths) -> Healthcheck {
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

/// Returns the labels `org.opencontainers.image.*` (OCI image specification 1.1, `annotations.md`),
/// overridden by the user's.
fn labels(recipe: &Recipe, project: &Project, created: Option<&str>) -> BTreeMap<String, String> {
    let known = [
        ("title", Some(project.title(recipe.name.as_deref()))),
        ("version", project.version.as_deref()),
        ("description", project.description.as_deref()),
        ("licenses", project.license.as_deref()),
        ("authors", project.authors.as_deref()),
        ("url", project.url(&["homepage"])),
        ("source", project.url(&["source", "repository", "sourcecode", "github"])),
        ("documentation", project.url(&["documentation", "docs"])),
        ("revision", project.revision.as_deref()),
        ("created", created),
    ];
    let mut labels: BTreeMap<String, String> = known
        .into_iter()
        .filter_map(|(key, value)| {
            Some((
                format!("org.opencontainers.image.{key}"),
                value.filter(|text| !text.is_empty())?.to_owned(),
            ))
        })
        .collect();
    labels.extend(recipe.labels.clone());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Target;
    use crate::settings::Settings;
    use std::path::Path;

    fn recipe(target: Target, settings: &str) -> Recipe {
        Recipe::resolve(target, None, Settings::parse(Path::new("test"), settings).unwrap()).unwrap()
    }

    fn process(target: Target, settings: &str) -> Process {
        process_with(target, settings, &["uvloop", "httptools"])
    }

    fn process_with(target: Target, settings: &str, distributions: &[&str]) -> Process {
        let recipe = recipe(target, settings);
        let recipe = recipe.with_command(&["{venv}/bin/uvicorn", "{app}"].map(str::to_owned), &[]);
        let distribution = |name: &&str| PlannedDistribution {
            name: (*name).to_owned(),
            version: String::new(),
            reason: String::new(),
        };
        let distributions: Vec<_> = distributions.iter().map(distribution).collect();
        let application = "pkg.main:app".parse::<Application>().unwrap();
        let application = Application { directory: "src".to_owned(), ..application };
        let places = CommandPaths {
            environment: ImagePath::new("/app/.venv").unwrap(),
            interpreter_folder: ImagePath::new("/usr/local/bin").unwrap(),
            base_path: None,
            home: Some("/tmp".to_owned()),
        };
        of_recipe(&recipe, &Project::default(), Some(&application), &distributions, &places, None)
    }

    fn value<'a>(process: &'a Process, name: &str) -> Option<&'a str> {
        process.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn uvicorn_is_configured_by_variables() {
        let process = process(Target::Runtime, "port = 9000\nworkers = 2\nenv.UVICORN_HTTP = \"h11\"");
        assert_eq!(process.entrypoint[..3], ["/app/.venv/bin/python", "-IS", "-c"]);
        assert_eq!(process.entrypoint[4..], ["/app/.venv/bin/uvicorn", "pkg.main:app"]);
        for (name, expected) in [
            ("UVICORN_PORT", "9000"),
            ("WEB_CONCURRENCY", "2"),
            ("UVICORN_LOOP", "uvloop"),
            ("UVICORN_HTTP", "h11"),
            ("HOME", "/tmp"),
            ("UVICORN_APP_DIR", "/app/src"),
            ("PATH", "/app/.venv/bin:/usr/local/bin:/usr/bin:/bin"),
        ] {
            assert_eq!(value(&process, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn the_faster_loop_is_used_if_included() {
        for (settings, distributions, event_loop, http) in [
            ("", vec!["uvloop", "httptools"], "uvloop", "httptools"),
            ("", vec!["uvloop"], "uvloop", "auto"),
            ("", vec![], "auto", "auto"),
            ("loop = \"auto\"", vec!["uvloop"], "uvloop", "auto"),
            ("loop = \"asyncio\"\nhttp = \"h11\"", vec!["uvloop", "httptools"], "asyncio", "h11"),
        ] {
            let process = process_with(Target::Runtime, settings, &distributions);
            let found = (value(&process, "UVICORN_LOOP"), value(&process, "UVICORN_HTTP"));
            assert_eq!(found, (Some(event_loop), Some(http)), "{settings} {distributions:?}");
        }
    }

    #[test]
    fn each_server_gets_the_variables_that_it_reads() {
        let command = |words: &str| format!("port = 9000\nentrypoint = {words}");
        for (words, set) in [
            ("['gunicorn', '-k', 'uvicorn_worker.UvicornWorker', '{app}']", vec![("WEB_CONCURRENCY", "4")]),
            ("['{venv}/bin/gunicorn', 'pkg.main:app']", vec![("WEB_CONCURRENCY", "4")]),
            ("['sh', '-c', 'exec gunicorn pkg.main:app']", vec![("PORT", "9000"), ("WEB_CONCURRENCY", "4")]),
            (
                "['granian', '--interface', 'asgi', '{app}']",
                vec![
                    ("GRANIAN_HOST", "0.0.0.0"),
                    ("GRANIAN_PORT", "9000"),
                    ("GRANIAN_WORKERS", "4"),
                    ("GRANIAN_WORKERS_KILL_TIMEOUT", "8"),
                ],
            ),
            ("['fastapi', 'run', 'main.py']", vec![("WEB_CONCURRENCY", "4")]),
            (
                "['flask', '--app', 'x', 'run']",
                vec![("FLASK_RUN_HOST", "0.0.0.0"), ("FLASK_RUN_PORT", "9000")],
            ),
            ("['sanic', 'pkg.main:app']", vec![("SANIC_GRACEFUL_SHUTDOWN_TIMEOUT", "8")]),
            ("['hypercorn', '{app}']", vec![]),
            ("['{python}', 'serve.py', '{app}']", vec![]),
        ] {
            let process = process(Target::Runtime, &command(words));
            let general = [
                "HOME",
                "LANG",
                "PATH",
                "PYTHONDONTWRITEBYTECODE",
                "PYTHONPATH",
                "PYTHONUNBUFFERED",
                "VIRTUAL_ENV",
            ];
            let found: Vec<_> =
                process.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let found: Vec<_> = found.into_iter().filter(|(name, _)| !general.contains(name)).collect();
            assert_eq!(found, set, "{words}");
            // uvicorn has its own variable for the directory.
            assert_eq!(value(&process, "PYTHONPATH"), Some("/app/src"), "{words}");
            assert_eq!(process.port, Some(9000), "{words}");
            assert!(process.healthcheck.is_some(), "{words}");
        }
        let module = process(Target::Runtime, "entrypoint = ['{python}', '-m', 'uvicorn', 'pkg.main:app']");
        assert_eq!(value(&module, "UVICORN_HOST"), Some("0.0.0.0"));
        let there = process(Target::Runtime, "host = '::'\nentrypoint = ['gunicorn', '{app}']");
        assert_eq!(value(&there, "GUNICORN_CMD_ARGS"), Some("--bind=[::]:8000"));
        let reloads = process(Target::Dev, "entrypoint = ['gunicorn', '{app}']");
        assert_eq!(value(&reloads, "GUNICORN_CMD_ARGS"), Some("--reload"));
    }

    #[test]
    fn servers_that_read_port_follow_that_of_azure_too() {
        for (words, variables) in [
            ("['gunicorn', '{app}']", &["PORT"][..]),
            ("['gunicorn', '--bind', '{host}:{port}', '{app}']", &["PORT"]),
            ("['fastapi', 'run', 'main.py']", &["PORT"]),
            ("['gunicorn', '-b', '0.0.0.0:9000', '{app}']", &[]),
            ("['sh', '-c', 'exec gunicorn pkg.main:app']", &[]),
        ] {
            let process = process(Target::Runtime, &format!("entrypoint = {words}"));
            let launcher = process.entrypoint.get(3).filter(|_| process.entrypoint[1] == "-IS");
            let found: Vec<_> = variables
                .iter()
                .filter(|name| {
                    launcher.is_some_and(|program| program.contains(&format!("env[\"{name}\"] = port")))
                })
                .collect();
            assert_eq!(found.len(), variables.len(), "{words}: {launcher:?}");
            assert_eq!(launcher.is_some(), !variables.is_empty(), "{words}");
            // A variable of the image would take precedence over the platform's other one.
            assert_eq!(value(&process, "PORT").is_none(), launcher.is_some(), "{words}");
        }
    }

    #[test]
    fn an_explicit_health_check_applies_to_every_process() {
        let worker = "entrypoint = ['{venv}/bin/celery', '-A', 'x', 'worker']\n";
        assert_eq!(process(Target::Runtime, worker).healthcheck, None);
        for asked in ["healthcheck = '/health'", "healthcheck = true", "healthcheck.retries = 2"] {
            let process = process(Target::Runtime, &format!("{worker}{asked}"));
            assert_eq!(process.port, Some(8000), "{asked}");
            let check = process.healthcheck.unwrap();
            let script = check.test.last().unwrap();
            assert!(script.contains("(env(\"PORT\"), \"8000\",)"), "{script}");
        }
        // A project's settings apply to its builder too, which serves nothing.
        assert_eq!(process(Target::Builder, "healthcheck = '/health'").healthcheck, None);
        // Sockets are not checked by default.
        let socket = "entrypoint = ['gunicorn', '-b', 'unix:/tmp/x', '{app}']\n";
        assert_eq!(process(Target::Runtime, socket).healthcheck, None);
        let secure = "entrypoint = ['gunicorn', '--certfile=x', '{app}']\n";
        let check = process(Target::Runtime, secure).healthcheck.unwrap();
        assert!(check.test.last().unwrap().contains("elif True:"));
    }

    #[test]
    fn a_found_program_has_a_port_and_a_check() {
        let found = recipe(Target::Runtime, "").with_command(&["{venv}/bin/beacon".to_owned()], &[]);
        let places = CommandPaths {
            environment: ImagePath::new("/app/.venv").unwrap(),
            interpreter_folder: ImagePath::new("/usr/local/bin").unwrap(),
            base_path: None,
            home: None,
        };
        let process = of_recipe(&found, &Project::default(), None, &[], &places, None);
        assert_eq!((process.port, process.healthcheck.is_some()), (Some(8000), true));
        // A program that reads `PORT` has the port of the image, or that of Azure.
        assert_eq!(process.entrypoint[4..], ["/app/.venv/bin/beacon"]);
        assert!(process.entrypoint[3].contains("env[\"PORT\"] = port"), "{:?}", process.entrypoint);
        let variable = ["GRADIO_SERVER_PORT".to_owned()];
        let found =
            recipe(Target::Runtime, "env.A = '{port}'").with_command(&["{python}".to_owned()], &variable);
        let process = of_recipe(&found, &Project::default(), None, &[], &places, None);
        assert_eq!(value(&process, "GRADIO_SERVER_PORT"), Some("8000"));
        assert!(
            process.entrypoint[3].contains("env[\"GRADIO_SERVER_PORT\"] = port"),
            "{:?}",
            process.entrypoint
        );
        // Values of the user are no templates.
        assert_eq!(value(&process, "A"), Some("{port}"));
    }

    #[test]
    fn warns_about_unreachable_servers() {
        for (settings, parts) in [
            ("entrypoint = ['hypercorn', '{app}']", vec!["hypercorn", "127.0.0.1", "--bind"]),
            ("entrypoint = ['daphne', 'a:b']", vec!["daphne", "127.0.0.1", "-b"]),
            ("entrypoint = ['fastapi', 'dev']", vec!["fastapi", "127.0.0.1", "--host"]),
            ("entrypoint = ['waitress-serve', 'a:b']", vec!["waitress", "8080", "port = 8080"]),
            ("entrypoint = ['uvicorn', '{app}', '--host', '127.0.0.1']", vec!["uvicorn", "127.0.0.1"]),
            ("entrypoint = ['uvicorn', '{app}', '--port', '9000']", vec!["uvicorn", "9000", "8000"]),
            (
                "entrypoint = ['gunicorn', '{app}']\nenv.GUNICORN_CMD_ARGS = '--bind=127.0.0.1:8000'",
                vec!["gunicorn", "127.0.0.1"],
            ),
        ] {
            let found = reachability_warnings(&recipe(Target::Runtime, settings));
            let text: Vec<String> =
                found.iter().map(|warning| format!("{warning} {:?}", warning.help)).collect();
            assert_eq!(text.len(), 1, "{settings}: {text:?}");
            assert!(parts.iter().all(|part| text[0].contains(part)), "{text:?}");
        }
        for settings in [
            "",
            "entrypoint = ['gunicorn', '{app}']",
            "entrypoint = ['gunicorn', '-b', '0.0.0.0:8000', '{app}']",
            "entrypoint = ['gunicorn', '-b', 'unix:/tmp/x', '{app}']",
            "entrypoint = ['hypercorn', '-b', '0.0.0.0:8000', '{app}']",
            "port = 9000\nentrypoint = ['hypercorn', '--bind', '{host}:{port}', '{app}']",
            "entrypoint = ['hypercorn', '-c', 'hypercorn.toml', '{app}']",
            "entrypoint = ['granian', '{app}']",
            "entrypoint = ['fastapi', 'run']",
            "entrypoint = ['waitress-serve', '--listen=*:8000', 'a:b']",
            "entrypoint = ['{python}', 'main.py']",
        ] {
            assert_eq!(reachability_warnings(&recipe(Target::Runtime, settings)), [], "{settings}");
        }
    }

    #[test]
    fn the_path_keeps_the_order_of_the_base() {
        for (interpreter, base, expected) in [
            ("/usr/bin", Some("/usr/local/bin:/usr/bin:/bin"), "/usr/local/bin:/usr/bin:/bin"),
            ("/opt/python/bin", Some("/usr/local/bin:/usr/bin"), "/opt/python/bin:/usr/local/bin:/usr/bin"),
            ("/usr/bin", Some("/usr/bin::/bin:/usr/bin"), "/usr/bin:/bin"),
            ("/usr/bin", None, "/usr/local/bin:/usr/bin:/bin"),
        ] {
            let places = CommandPaths {
                environment: ImagePath::new("/app/.venv").unwrap(),
                interpreter_folder: ImagePath::new(interpreter).unwrap(),
                base_path: base.map(str::to_owned),
                home: None,
            };
            assert_eq!(search_path(&places), format!("/app/.venv/bin:{expected}"));
        }
    }

    #[test]
    fn servers_reload_by_an_option_or_a_variable() {
        let command = |words: &str, distributions: &[&str]| {
            let process = process_with(Target::Dev, &format!("entrypoint = {words}"), distributions);
            let last: Vec<String> = process.entrypoint.iter().rev().take(2).rev().cloned().collect();
            (last.join(" "), process)
        };
        for (words, expected) in [
            ("['hypercorn', '{app}']", "pkg.main:app --reload"),
            ("['hypercorn', '--reload', '{app}']", "--reload pkg.main:app"),
            ("['sanic', 'pkg.main:app']", "pkg.main:app --auto-reload"),
            ("['uwsgi', '--processes', '1', '--module', '{app}']", "--py-autoreload 1"),
            ("['fastapi', 'run', 'main.py']", "main.py --reload"),
            ("['waitress-serve', '{app}']", "waitress-serve pkg.main:app"),
            ("['sh', '-c', 'hypercorn pkg.main:app']", "-c hypercorn pkg.main:app"),
        ] {
            assert_eq!(command(words, &[]).0, expected);
        }
        let words = "['granian', '{app}']";
        for (distributions, expected) in [(&["watchfiles"][..], Some("true")), (&[], None)] {
            assert_eq!(value(&command(words, distributions).1, "GRANIAN_RELOAD"), expected);
        }
        let arguments =
            process(Target::Dev, "entrypoint = ['hypercorn', '-w', '{workers}']\ncmd = ['{app}']");
        assert!(arguments.entrypoint[3].contains("or \"1\""), "{:?}", arguments.entrypoint);
        assert_eq!(arguments.cmd, ["pkg.main:app", "--reload"]);
    }

    #[test]
    fn development_reloads_with_one_worker() {
        let process = process(Target::Dev, "");
        assert_eq!(
            (value(&process, "UVICORN_RELOAD"), value(&process, "WEB_CONCURRENCY")),
            (Some("true"), None)
        );
    }

    #[test]
    fn a_builder_has_no_server() {
        let process = process(Target::Builder, "");
        assert_eq!(
            (process.port, &process.healthcheck, value(&process, "UVICORN_PORT")),
            (None, &None, None)
        );
        assert_eq!(process.cmd, ["/app/.venv/bin/python"]);
    }

    #[test]
    fn the_health_check_sends_the_headers_that_are_set() {
        for (settings, expected) in [
            ("", r#"{"User-Agent": "healthcheck"}"#),
            ("healthcheck.host = 'a.example'", r#"{"Host": "a.example", "User-Agent": "healthcheck"}"#),
            (
                "healthcheck.headers = {X-A = '\"b\"', User-Agent = 'c'}",
                r#"{"User-Agent": "c", "X-A": "\"b\""}"#,
            ),
        ] {
            let check = process(Target::Runtime, settings).healthcheck.unwrap();
            let script = check.test.last().unwrap();
            assert!(script.contains(&format!("headers={expected})")), "{script}");
        }
        for wrong in ["healthcheck.headers = {'a b' = 'c'}", "healthcheck.host = \"a\\nb\""] {
            let settings = Settings::parse(Path::new("test"), wrong).unwrap();
            assert!(Recipe::resolve(Target::Runtime, None, settings).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_health_check_template_is_filled() {
        let check = process(Target::Runtime, "healthcheck = '/up?a=\"b\"'").healthcheck.unwrap();
        let script = check.test.last().unwrap();
        for part in [
            r#""/up?a=\"b\"""#,
            "timeout=4.5",
            "< 400",
            "(env(\"PORT\"), env(\"WEBSITES_PORT\"), env(\"UVICORN_PORT\"), \"8000\",)",
        ] {
            assert!(script.contains(part), "{part}: {script}");
        }
        for blank in ["TIMEOUT", "BELOW", " PATH", "PORTS"] {
            assert!(!script.contains(blank), "{blank}: {script}");
        }
        let check = process(Target::Runtime, "").healthcheck.unwrap();
        assert!(check.test.last().unwrap().contains("< 500"));
    }
}
