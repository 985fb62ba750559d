//! The command line of each server for an application.
//!
//! Words may contain the placeholders of commands (`docs/recipes.md`): `{venv}`, `{python}`, `{app}`,
//! `{host}`, `{port}`, `{workers}` and `{grace}`. Servers that read an address and a number of workers from
//! variables get neither on the command line, so that an operator can change them.

use super::distributions::Distributions;
use super::server::ServerKind;
use crate::python::application::framework::{Framework, Interface};
use crate::python::application::{Application, ApplicationKind};

/// The order of servers for an ASGI application.
const ASGI: [ServerKind; 5] = [
    ServerKind::Uvicorn,
    ServerKind::Granian,
    ServerKind::Hypercorn,
    ServerKind::Daphne,
    ServerKind::Gunicorn,
];
/// The order of servers for a WSGI application.
const WSGI: [ServerKind; 5] = [
    ServerKind::Gunicorn,
    ServerKind::Granian,
    ServerKind::Waitress,
    ServerKind::Uwsgi,
    ServerKind::Hypercorn,
];

/// The placeholder of the seconds that a worker gets to finish its requests.
const GRACE: &str = "{grace}";

/// Returns the servers that can run an application with this interface, the preferred one first.
pub(crate) fn servers_for(interface: Interface, framework: Option<Framework>) -> Vec<ServerKind> {
    match (interface, framework) {
        // Sanic's own server is faster than its ASGI mode, which lacks features.
        (Interface::Asgi, Some(Framework::Sanic)) => [&[ServerKind::Sanic][..], &ASGI].concat(),
        (Interface::Asgi, Some(Framework::FastApi)) => [&ASGI[..], &[ServerKind::Fastapi]].concat(),
        (Interface::Asgi, _) => ASGI.to_vec(),
        (Interface::Wsgi, _) => WSGI.to_vec(),
        (Interface::Aiohttp, _) => vec![ServerKind::Gunicorn, ServerKind::Aiohttp],
        (Interface::Program, _) => Vec::new(),
    }
}

/// Returns true if the image has the distributions with which `kind` runs an application.
pub(crate) fn is_installed(kind: ServerKind, interface: Interface, distributions: &Distributions) -> bool {
    let server = kind.distributions().iter().any(|distribution| distributions.has(distribution));
    let worker = match (kind, interface) {
        (ServerKind::Gunicorn, Interface::Asgi) => distributions.has("uvicorn"),
        _ => true,
    };
    server && worker
}

/// Returns the requirement that adds a server for an application with this interface.
pub(crate) fn requirement(interface: Interface) -> &'static str {
    match interface {
        Interface::Asgi => "uvicorn[standard]",
        _ => "gunicorn",
    }
}

/// Returns the command of a server for `application`; none for a server that needs no application.
/// `worker_class` is gunicorn's, if a command of the repository names one.
pub(crate) fn command(
    kind: ServerKind,
    interface: Interface,
    application: &Application,
    distributions: &Distributions,
    worker_class: Option<&str>,
) -> Vec<String> {
    let program = |name: &str| format!("{{venv}}/bin/{name}");
    let is_factory = application.kind == ApplicationKind::Factory;
    let mut words: Vec<String> = Vec::new();
    let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    match kind {
        ServerKind::Uvicorn if reads_no_variables(distributions) => {
            add(&[&program("uvicorn"), "--host", "{host}", "--port", "{port}", "{app}"]);
        }
        ServerKind::Uvicorn => add(&[&program("uvicorn"), "{app}"]),
        ServerKind::Gunicorn => {
            // The address in a configuration file may be unreachable from outside.
            add(&[&program("gunicorn"), "--bind", "{host}:{port}", "--graceful-timeout", GRACE]);
            match (interface, worker_class) {
                (_, Some(class)) => add(&["--worker-class", class]),
                (Interface::Asgi, None) if distributions.has("uvicorn-worker") => {
                    add(&["--worker-class", "uvicorn_worker.UvicornWorker"]);
                }
                (Interface::Asgi, None) => add(&["--worker-class", "uvicorn.workers.UvicornWorker"]),
                (Interface::Aiohttp, None) => add(&["--worker-class", "aiohttp.GunicornWebWorker"]),
                _ => {}
            }
            add(&["{app}"]);
        }
        ServerKind::Granian => {
            let interface = if interface == Interface::Wsgi { "wsgi" } else { "asgi" };
            add(&[&program("granian"), "--interface", interface, "{app}"]);
        }
        ServerKind::Hypercorn => {
            add(&[&program("hypercorn"), "--bind", "{host}:{port}", "--workers", "{workers}"]);
            add(&["--graceful-timeout", GRACE]);
            // Hypercorn names the interface in the application; ASGI needs none.
            add(&[if interface == Interface::Wsgi { "wsgi:{app}" } else { "{app}" }]);
        }
        ServerKind::Daphne => add(&[&program("daphne"), "-b", "{host}", "-p", "{port}", "{app}"]),
        ServerKind::Waitress => {
            add(&[&program("waitress-serve"), "--listen={host}:{port}"]);
            if is_factory {
                add(&["--call", &application.to_string()]);
            } else {
                add(&["{app}"]);
            }
        }
        ServerKind::Uwsgi => add(&[
            &program("uwsgi"),
            "--http-socket",
            "{host}:{port}",
            "--module",
            "{app}",
            "--master",
            "--processes",
            "{workers}",
            // By itself, uWSGI restarts its workers at SIGTERM. The option ends them at once; with the hook,
            // they finish their requests.
            "--die-on-term",
            "--hook-master-start",
            "unix_signal:15 gracefully_kill_them_all",
            "--need-app",
        ]),
        ServerKind::Fastapi => add(&[&program("fastapi"), "run", "--entrypoint", &application.to_string()]),
        ServerKind::Sanic => {
            add(&[&program("sanic"), &application.to_string(), "--host={host}", "--port={port}"]);
            add(&["--workers={workers}"]);
            if is_factory {
                add(&["--factory"]);
            }
        }
        ServerKind::Aiohttp => {
            add(&["{python}", "-m", "aiohttp.web", "-H", "{host}", "-P", "{port}", &application.to_string()]);
        }
        ServerKind::Litestar | ServerKind::Flask | ServerKind::Streamlit | ServerKind::Runserver => {}
    }
    words
}

/// Returns true for uvicorn before 0.16, which does not read `UVICORN_…`.
pub(super) fn reads_no_variables(distributions: &Distributions) -> bool {
    distributions.has_older("uvicorn", (0, 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use {Interface as I, ServerKind as S};

    #[test]
    fn each_server_has_a_command() {
        let application = |text: &str| text.parse::<Application>().unwrap();
        let with = |kind, interface, app: &str, distributions: &[&str]| {
            let names: Vec<String> = distributions.iter().map(|name| (*name).to_owned()).collect();
            command(kind, interface, &application(app), &Distributions::new(&names, &[]), None).join(" ")
        };
        for (kind, interface, app, distributions, expected) in [
            (S::Uvicorn, I::Asgi, "a:b", &["uvicorn"][..], "{venv}/bin/uvicorn {app}"),
            (
                S::Gunicorn,
                I::Asgi,
                "a:b",
                &["uvicorn-worker"],
                "{venv}/bin/gunicorn --bind {host}:{port} --graceful-timeout {grace} --worker-class uvicorn_worker.UvicornWorker {app}",
            ),
            (
                S::Gunicorn,
                I::Wsgi,
                "a:b",
                &[],
                "{venv}/bin/gunicorn --bind {host}:{port} --graceful-timeout {grace} {app}",
            ),
            (S::Granian, I::Wsgi, "a:b", &[], "{venv}/bin/granian --interface wsgi {app}"),
            (
                S::Waitress,
                I::Wsgi,
                "a:b()",
                &[],
                "{venv}/bin/waitress-serve --listen={host}:{port} --call a:b",
            ),
            (S::Daphne, I::Asgi, "a:b", &[], "{venv}/bin/daphne -b {host} -p {port} {app}"),
        ] {
            assert_eq!(with(kind, interface, app, distributions), expected);
        }
    }

    #[test]
    fn an_old_uvicorn_has_options() {
        let application: Application = "a:b".parse().unwrap();
        for (version, expected) in [
            ("0.11.7", "{venv}/bin/uvicorn --host {host} --port {port} {app}"),
            ("0.15.0", "{venv}/bin/uvicorn --host {host} --port {port} {app}"),
            ("0.16.0", "{venv}/bin/uvicorn {app}"),
            ("1.0", "{venv}/bin/uvicorn {app}"),
        ] {
            let (name, version) = ("uvicorn".to_owned(), version.to_owned());
            let distributions = Distributions::installed(std::iter::once((&name, &version)), &[]);
            let words = command(S::Uvicorn, I::Asgi, &application, &distributions, None);
            assert_eq!(words.join(" "), expected);
        }
    }

    #[test]
    fn servers_follow_the_interface() {
        let distributions = Distributions::from(["gunicorn", "daphne"]);
        let chosen = |interface| {
            servers_for(interface, None)
                .into_iter()
                .find(|kind| is_installed(*kind, interface, &distributions))
        };
        assert_eq!(chosen(Interface::Wsgi), Some(ServerKind::Gunicorn));
        // gunicorn needs a worker for ASGI.
        assert_eq!(chosen(Interface::Asgi), Some(ServerKind::Daphne));
        assert_eq!(chosen(Interface::Program), None);
    }
}
