//! The service of an image: `{service}` in the recipe's command becomes the command of the service
//! that is found in the source, and uvicorn is checked against the distributions.

use std::cell::Cell;

use super::BuildError;
use super::environment_plan::EnvironmentFacts;
use crate::progress::Warning;
use crate::project::Project;
use crate::python::application::{self, Application, ApplicationError, SourceTree};
use crate::recipe::Recipe;
use crate::service::hint_fates::fates;
use crate::service::hints::Hints;
use crate::service::server::ServerKind;
use crate::service::{Distributions, Finding, Program, Server, ServiceSearch, StartHint};
use crate::settings::{EventLoop, HttpProtocol};

/// Finds an application, `MODULE:ATTRIBUTE`, in the installed distributions of the image.
pub(super) type InstalledLookup<'a> = dyn Fn(&str) -> Result<Option<Application>, ApplicationError> + 'a;

/// The inputs that decide the service.
pub(super) struct ServiceInputs<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) project: &'a Project,
    pub(super) sources: &'a dyn SourceTree,
    pub(super) distributions: &'a Distributions,
    pub(super) hints: &'a Hints,
    pub(super) installed: &'a InstalledLookup<'a>,
}

/// A recipe with its service.
pub(super) struct SettledRecipe {
    /// The recipe, with a complete command.
    pub(super) recipe: Recipe,
    /// The application of the command.
    pub(super) application: Option<Application>,
    /// True if the application is that of an installed distribution.
    pub(super) is_installed: bool,
    /// The evidence, if the service was searched.
    pub(super) findings: Vec<Finding>,
    /// Warnings about the server.
    pub(super) warnings: Vec<Warning>,
}

/// Returns the distributions of a cached plan.
pub(super) fn distributions_of(facts: &EnvironmentFacts) -> Distributions {
    let versions = facts.distributions.iter().map(|planned| (&planned.name, &planned.version));
    Distributions::installed(versions, &facts.excluded)
}

impl ServiceInputs<'_> {
    /// Completes the recipe with the service, and finds the application.
    pub(super) fn settle(&self) -> Result<SettledRecipe, BuildError> {
        let is_installed = Cell::new(false);
        let installed = |named: &str| {
            let found = (self.installed)(named)?;
            is_installed.set(found.is_some());
            Ok(found)
        };
        let mut warnings = Vec::new();
        let (recipe, application, findings) = if self.recipe.starts_service() {
            let mut service = self.search(&installed).find()?;
            let recipe = with_program(self.recipe, &service.program);
            warnings.extend(service.program.loopback.as_deref().map(loopback_warning));
            warnings.append(&mut service.program.warnings);
            let asks_hints = self.recipe.app.is_none() && self.project.fastapi_entrypoint.is_none();
            let competing = asks_hints.then(|| self.hints.competing_dockerfile()).flatten();
            warnings.extend(competing.map(|(read, other)| other_dockerfile_warning(read, other)));
            let of_hints = fates(self.hints, Some(&service));
            service.findings.extend(of_hints);
            (recipe, service.application, service.findings)
        } else {
            let mut recipe = self.recipe.clone();
            let is_open = !recipe.is_stop_signal_set && recipe.stop_signal == "SIGTERM";
            if is_open && self.search(&installed).ignores_sigterm(&recipe.command()) {
                // The kernel ignores SIGTERM without a handler for process 1, and Python has one for SIGINT.
                "SIGINT".clone_into(&mut recipe.stop_signal);
            }
            (recipe, self.application(&installed)?, Vec::new())
        };
        self.check(&recipe)?;
        warnings.extend(self.slow_implementation_warning(&recipe));
        warnings.extend(self.reload_warning(&recipe));
        Ok(SettledRecipe { recipe, application, is_installed: is_installed.get(), findings, warnings })
    }

    /// Returns the findings, and the reason if there is no complete answer.
    pub(super) fn explain(&self) -> (Vec<Finding>, Option<BuildError>) {
        let (mut findings, found) = self.search(self.installed).explain();
        findings.extend(fates(self.hints, found.as_ref().ok()));
        (findings, found.err().map(BuildError::from))
    }

    fn search<'a>(&'a self, installed: &'a InstalledLookup<'a>) -> ServiceSearch<'a> {
        ServiceSearch {
            sources: self.sources,
            project: self.project,
            distributions: self.distributions,
            server: self.recipe.server,
            app: self.recipe.app.as_deref(),
            hints: StartHint::of(self.hints),
            python_path: self
                .hints
                .python_path
                .as_ref()
                .map(|(folders, evidence)| (folders.clone(), format!("{}:{}", evidence.file, evidence.line))),
            has_arguments: !self.recipe.cmd.is_empty(),
            gunicorn_address: self
                .hints
                .gunicorn_address
                .as_ref()
                .map(|evidence| format!("{}:{}", evidence.file, evidence.line)),
            gunicorn_application: self.hints.gunicorn_application.as_ref().map(|(application, evidence)| {
                (application.clone(), format!("{}:{}", evidence.file, evidence.line))
            }),
            installed,
        }
    }

    /// Finds the application of `{app}`, or the one named in the command.
    fn application(&self, installed: &InstalledLookup<'_>) -> Result<Option<Application>, BuildError> {
        let find = |named| application::find(self.sources, named, &self.project.name);
        if self.recipe.names_application() {
            let named = self.recipe.app.as_deref().or(self.project.fastapi_entrypoint.as_deref());
            return Ok(Some(match named {
                Some(named) => application::find_in_source_or_installed(self.sources, named, installed)?,
                None => find(None)?,
            }));
        }
        let Some(server) = self.recipe.known_server().filter(|server| !server.changes_directory()) else {
            return Ok(None);
        };
        let Some(named) = server.application() else {
            return self.default_application(&server);
        };
        match find(Some(named)) {
            Ok(application) => Ok(Some(application)),
            // A distribution may contain it.
            Err(ApplicationError::NoModule { .. } | ApplicationError::Syntax(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a module of gunicorn without the default attribute: `gunicorn pkg.wsgi`.
    fn default_application(&self, server: &Server) -> Result<Option<Application>, BuildError> {
        let named = server.default_application().filter(|_| server.kind == ServerKind::Gunicorn);
        let found = named.map(|named| application::find(self.sources, Some(&named), &self.project.name));
        match found {
            Some(Err(error @ ApplicationError::NoAttribute { .. })) => Err(error.into()),
            // Nothing else in the image depends on this form of a command.
            _ => Ok(None),
        }
    }

    /// Warns if a faster event loop or HTTP implementation of uvicorn is missing and the settings do not
    /// choose one.
    fn slow_implementation_warning(&self, recipe: &Recipe) -> Option<Warning> {
        let server = uvicorn_of(recipe)?;
        let open = |chosen: bool, option, distribution| {
            !chosen && !server.has_option(option) && !self.distributions.has(distribution)
        };
        let event_loop = open(recipe.event_loop.is_some(), "--loop", "uvloop");
        let http = open(recipe.http.is_some(), "--http", "httptools");
        let (lacking, instead, settings) = match (event_loop, http) {
            (true, true) => {
                ("uvloop and httptools are", "asyncio and h11", "loop = \"asyncio\" and http = \"h11\"")
            }
            (true, false) => ("uvloop is", "asyncio", "loop = \"asyncio\""),
            (false, true) => ("httptools is", "h11", "http = \"h11\""),
            (false, false) => return None,
        };
        let message = format!("{lacking} not in the image: uvicorn uses the slower {instead}");
        let help = format!("add uvicorn[standard] to the project's dependencies, or choose {settings}");
        Some(Warning::new("uvicorn", message).with_help(help))
    }

    /// Warns if granian lacks the distribution with which it restarts on changes.
    fn reload_warning(&self, recipe: &Recipe) -> Option<Warning> {
        let server = recipe.known_server().filter(|_| recipe.reload)?;
        if server.kind != ServerKind::Granian || self.distributions.has("watchfiles") {
            return None;
        }
        let message = "watchfiles is not in the image: granian does not restart when a source file changes";
        let help = "add granian[reload] to the project's development dependencies, or set reload = false";
        Some(Warning::new("granian", message).with_help(help))
    }

    /// Rejects an image without the programs that it runs.
    fn check(&self, recipe: &Recipe) -> Result<(), BuildError> {
        if uvicorn_of(recipe).is_none() {
            return Ok(());
        }
        let mut needed: Vec<(&str, String, &str)> =
            vec![("uvicorn", "run uvicorn".to_owned(), "or name another command with entrypoint")];
        if recipe.event_loop == Some(EventLoop::Uvloop) {
            needed.push(("uvloop", "use uvicorn's event loop uvloop".to_owned(), "or set --loop auto"));
        }
        if recipe.http == Some(HttpProtocol::Httptools) {
            let other = "or set --http auto";
            needed.push(("httptools", "use uvicorn's HTTP implementation httptools".to_owned(), other));
        }
        for (distribution, action, other) in needed {
            if self.distributions.has(distribution) {
                continue;
            }
            let first = match (distribution, self.distributions.excludes(distribution)) {
                (_, true) => {
                    format!("declare {distribution}, which is installed, as a dependency of the project")
                }
                ("uvicorn", false) => {
                    "add uvicorn[standard] to the project's dependencies, or `with = [\"uvicorn[standard]\"]` to [tool.ipo-oci]"
                        .to_owned()
                }
                (_, false) => format!(
                    "add uvicorn[standard] or {distribution} to the project's dependencies and install it"
                ),
            };
            return Err(BuildError::NotInstalled {
                action,
                distribution: distribution.to_owned(),
                help: format!("{first}, {other}"),
            });
        }
        Ok(())
    }
}

/// Returns the recipe with the command, the variables and the port of a service's program. Settings of
/// the user take precedence.
fn with_program(recipe: &Recipe, program: &Program) -> Recipe {
    let mut settled = recipe.with_command(&program.command, &program.port_variables);
    for (name, value) in &program.env {
        let value =
            || value.replace("{host}", &recipe.host).replace("{workdir}", &recipe.workdir.to_string());
        settled.env.entry(name.clone()).or_insert_with(value);
    }
    if let Some(signal) = program.stop_signal.filter(|_| !recipe.is_stop_signal_set) {
        signal.clone_into(&mut settled.stop_signal);
    }
    if let Some(port) = program.port.filter(|_| !recipe.is_port_set) {
        settled.port = port;
    }
    settled
}

/// Returns the warning about a second Dockerfile that starts another application.
fn other_dockerfile_warning(read: &str, other: &str) -> Warning {
    let message = format!("names the application; {other} starts another one");
    Warning::new(read, message).with_help("choose with app = \"MODULE:ATTRIBUTE\" in [tool.ipo-oci]")
}

/// Returns the warning about a program that other machines cannot reach.
fn loopback_warning(place: &str) -> Warning {
    Warning::new(
        "entrypoint",
        format!("{place} listens on 127.0.0.1, unreachable from outside the container"),
    )
    .with_help("pass host=\"0.0.0.0\" there, or name a server's command with entrypoint")
}

/// Returns the server of `recipe` if it is uvicorn.
fn uvicorn_of(recipe: &Recipe) -> Option<Server> {
    recipe.known_server().filter(|server| server.kind == ServerKind::Uvicorn)
}
