//! The variables of an image from which its server reads address, port, number of workers and options.
//!
//! Server settings that an operator may want to change are environment variables: uvicorn reads
//! `UVICORN_*` for every option (and `WEB_CONCURRENCY` for the number of workers), gunicorn reads
//! `PORT` and `WEB_CONCURRENCY`. Options on the command line would override them. A server's
//! variables are set only in images that run this server.

use super::Serving;
use crate::service::server::ServerKind;
use crate::settings::{EventLoop, HttpProtocol};

impl Serving<'_> {
    /// Passes the server's variables to `set`.
    pub(super) fn variables(&self, set: &mut dyn FnMut(&str, String)) {
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

    /// Sets a server's variable for the port. A launcher sets `PORT` by itself.
    fn set_port(&self, variable: &str, set: &mut dyn FnMut(&str, String)) {
        if variable != "PORT" || self.launcher().is_none_or(|launcher| launcher.has_port) {
            set(variable, self.recipe.port.to_string());
        }
    }

    /// Returns true if the server restarts when a source file changes.
    pub(super) fn reloads(&self) -> bool {
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
}
