//! The choice of the server for an application.

use std::path::Path;

use super::{DECLARATIONS, ServiceSearch};
use crate::python::application::Application;
use crate::python::application::framework::{Framework, Interface};
use crate::service::command::{is_installed, requirement, servers_for};
use crate::service::error::ServiceError;
use crate::service::server::{Server, ServerKind};

impl ServiceSearch<'_> {
    /// Chooses the server for an application.
    pub(super) fn server(
        &self,
        application: &Application,
        framework: Option<Framework>,
        interface: Interface,
    ) -> Result<(ServerKind, String), ServiceError> {
        let suitable = servers_for(interface, framework);
        if let Some(name) = self.server {
            return self.named_server(ServerKind::of_name(name), application, interface, &suitable);
        }
        let hinted = self.hints.iter().find_map(|hint| {
            let kind = Server::of(&hint.words)?.kind;
            let fits = suitable.contains(&kind) && is_installed(kind, interface, self.distributions);
            fits.then(|| (kind, hint.place()))
        });
        let is_there = |kind: &&ServerKind| is_installed(**kind, interface, self.distributions);
        let preferred = suitable.iter().find(is_there).copied();
        match (preferred, hinted) {
            (_, Some(hinted)) => Ok(hinted),
            (Some(kind), None) if self.distributions.is_unknown() => {
                let reason = if self.sources.has("setup.py") {
                    "the usual one: setup.py computes the dependencies"
                } else {
                    "the usual one: no dependencies are declared"
                };
                Ok((kind, reason.to_owned()))
            }
            (Some(kind), None) => Ok((kind, "a dependency of the project".to_owned())),
            (None, None) => Err(self.no_server(application, framework, interface, &suitable)),
        }
    }

    fn named_server(
        &self,
        kind: ServerKind,
        application: &Application,
        interface: Interface,
        suitable: &[ServerKind],
    ) -> Result<(ServerKind, String), ServiceError> {
        let error = |reason: String, help: String| {
            let (application, server) = (application.reference(), kind.name().to_owned());
            Err(ServiceError::Server { application, server, reason, help })
        };
        let is_possible = suitable.contains(&kind) || matches!(kind, ServerKind::Fastapi | ServerKind::Sanic);
        if !is_possible {
            let names: Vec<&str> = suitable.iter().map(|kind| kind.name()).collect();
            return error(
                format!("it serves no {} applications", interface_name(interface)),
                format!("set server to {}", names.join(", ")),
            );
        }
        if !is_installed(kind, interface, self.distributions) {
            let requirement = match kind {
                ServerKind::Uvicorn => "uvicorn[standard]",
                ServerKind::Gunicorn if interface == Interface::Asgi => "gunicorn and uvicorn-worker",
                ServerKind::Fastapi => "fastapi[standard]",
                kind => kind.distributions().first().copied().unwrap_or_default(),
            };
            let help = self.declare(kind, requirement);
            return error("it is not among the project's dependencies".to_owned(), help);
        }
        Ok((kind, "server of the settings".to_owned()))
    }

    pub(super) fn no_server(
        &self,
        application: &Application,
        framework: Option<Framework>,
        interface: Interface,
        suitable: &[ServerKind],
    ) -> ServiceError {
        let name = application.reference();
        let what = match framework {
            Some(framework) => {
                format!("`{name}` is a {} application ({})", framework.name(), interface_name(interface))
            }
            None => format!("`{name}` is {}", with_article(interface, "application")),
        };
        let left_out = suitable
            .iter()
            .find(|kind| kind.distributions().iter().any(|name| self.distributions.excludes(name)));
        let (help, requirement) = if let Some(kind) = left_out {
            (self.declare(*kind, kind.distributions().first().copied().unwrap_or_default()), None)
        } else {
            // gunicorn needs a worker of another distribution for ASGI.
            let is_alone = |kind: &ServerKind| *kind != ServerKind::Gunicorn || interface == Interface::Wsgi;
            let hinted = self.hints.iter().find_map(|hint| {
                let kind = Server::of(&hint.words)?.kind;
                (suitable.contains(&kind) && is_alone(&kind)).then(|| (kind, hint.place()))
            });
            let usual = suitable.first().copied().unwrap_or(ServerKind::Uvicorn);
            let kind = hinted.as_ref().map_or(usual, |(kind, _)| *kind);
            let own = match kind {
                ServerKind::Uvicorn | ServerKind::Gunicorn => requirement(interface),
                kind => kind.distributions().first().copied().unwrap_or_default(),
            };
            let help = self.declare(kind, own);
            let help = match hinted {
                Some((kind, place)) => format!("{place} starts it with {}: {help}", kind.name()),
                None => help,
            };
            (help, Some(own.to_owned()))
        };
        let servers = suitable.iter().map(|kind| kind.name().to_owned()).collect();
        let help = match self.inner_project(application) {
            Some((folder, file)) => {
                format!("build the folder `{folder}`, which has dependencies of its own ({file}), or {help}")
            }
            None => help,
        };
        let help = format!("{help}, or name another command with entrypoint");
        ServiceError::NoServer { what, servers, requirement, help }
    }

    /// Returns the folder of an application below the root that declares dependencies, with the file.
    fn inner_project(&self, application: &Application) -> Option<(String, String)> {
        let folders = Path::new(&application.directory).ancestors();
        let folders = folders.filter_map(Path::to_str).filter(|folder| !folder.is_empty());
        let mut files = folders
            .flat_map(|folder| DECLARATIONS.map(|name| (folder.to_owned(), format!("{folder}/{name}"))));
        files.find(|(_, file)| self.sources.has(file))
    }

    /// Returns the advice to declare a requirement.
    pub(super) fn declare(&self, kind: ServerKind, requirement: &str) -> String {
        if kind.distributions().iter().any(|name| self.distributions.excludes(name)) {
            return format!("declare {}, which is installed, as a dependency of the project", kind.name());
        }
        let list = requirement.split(" and ").collect::<Vec<_>>().join("\", \"");
        format!("add {requirement} to the project's dependencies, or `with = [\"{list}\"]` to [tool.ipo-oci]")
    }

    /// Returns the worker class of gunicorn in the repository's commands, if the image has its
    /// distribution.
    pub(super) fn worker_class(&self, kind: ServerKind) -> Option<String> {
        if kind != ServerKind::Gunicorn {
            return None;
        }
        self.hints.iter().find_map(|hint| {
            let server = Server::of(&hint.words).filter(|server| server.kind == kind)?;
            let class = server.option(&["-k", "--worker-class"])?;
            let distribution = match class {
                "gevent" => "gevent",
                "eventlet" => "eventlet",
                "tornado" => "tornado",
                "gthread" | "sync" => "gunicorn",
                "uvicorn_worker.UvicornWorker" => "uvicorn-worker",
                class => class.split('.').next().unwrap_or_default(),
            };
            self.distributions.has(distribution).then(|| class.to_owned())
        })
    }

    /// Returns the likely interface of an application of an unknown framework.
    pub(super) fn likely_interface(&self, application: &Application) -> Interface {
        match application.module.rsplit('.').next() {
            Some("asgi") => return Interface::Asgi,
            Some("wsgi") => return Interface::Wsgi,
            _ => {}
        }
        let has = |names: &[&str]| names.iter().any(|name| self.distributions.has(name));
        let wsgi =
            has(&["flask", "bottle", "falcon", "django", "dash"]) || has(&["gunicorn", "waitress", "uwsgi"]);
        let asgi = has(&["uvicorn", "hypercorn", "daphne", "fastapi", "starlette", "litestar", "quart"]);
        if wsgi && !asgi { Interface::Wsgi } else { Interface::Asgi }
    }
}

/// Returns `a WSGI NOUN`.
pub(super) fn with_article(interface: Interface, noun: &str) -> String {
    let article = if matches!(interface, Interface::Asgi | Interface::Aiohttp) { "an" } else { "a" };
    format!("{article} {} {noun}", interface_name(interface))
}

fn interface_name(interface: Interface) -> &'static str {
    match interface {
        Interface::Asgi => "ASGI",
        Interface::Wsgi => "WSGI",
        Interface::Aiohttp => "aiohttp",
        Interface::Program => "standalone",
    }
}
