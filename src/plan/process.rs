//! The configuration of an image, made from a recipe: user, environment, command, health check and
//! labels. `process/probe.rs` fills the health check, `process/server_variables.rs` sets the variables of
//! the server.

mod labels;
mod probe;
mod reachability;
mod server_variables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use reachability::reachability_warnings;

use self::labels::labels;

use super::PlannedDistribution;
use super::launcher::{self, Launcher};
use crate::image::Process;
use crate::project::Project;
use crate::python::application::{Application, ApplicationKind};
use crate::recipe::{Recipe, ResolvedHealthcheck, Target};
use crate::service::Server;
use crate::service::server::ServerKind;
use crate::shell_names::may_be_shell;
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
fn runs_in_shell(command: &[String]) -> bool {
    command.first().is_some_and(|program| may_be_shell(program))
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
                cmd = launcher.words(&python, cmd, &[]);
            } else {
                entrypoint = launcher.words(&python, entrypoint, &cmd);
            }
        }
        (entrypoint, cmd)
    }

    /// Returns the options with which a server without a variable for it restarts on changes.
    fn reload_options(&self) -> Vec<String> {
        let Some(server) = self.server.as_ref().filter(|_| self.reloads()) else { return Vec::new() };
        let options = server.kind.reload_options();
        let is_given = |option: &&&str| option.starts_with("--") && server.has_option(option);
        if options.iter().any(|option| is_given(&option)) || runs_in_shell(&self.recipe.command()) {
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
        if command.is_empty() || runs_in_shell(&command) {
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
        // Another entrypoint of the container finds the port there.
        let has_port = recipe.service.is_none() && !is_named && variables == ["PORT"];
        (is_named || !variables.is_empty()).then_some(Launcher { variables, port, workers, has_port })
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
}
