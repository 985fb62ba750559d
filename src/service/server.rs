//! [`Server`]: the server program in a command, recognized by the command's words.
//!
//! Options and environment variables follow each server's documentation: uvicorn 0.54
//! (`UVICORN_*`), gunicorn 27 (`PORT`, `WEB_CONCURRENCY`, `GUNICORN_CMD_ARGS`), granian 2.8
//! (`GRANIAN_*`), hypercorn 0.18, daphne 4.2, waitress 3.0, uWSGI 2.0, fastapi-cli 0.0.34, litestar
//! 2.25, flask 3.1, Sanic 25, aiohttp 3.13, Streamlit 1.51 (`STREAMLIT_SERVER_*`) and Django 5.2.

use crate::settings::ServerName;

/// A server started by a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// The program.
    pub(crate) kind: ServerKind,
    /// The words after the program's name.
    arguments: Vec<String>,
}

/// A server program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The variants are names of programs.
pub(crate) enum ServerKind {
    Uvicorn,
    Gunicorn,
    Hypercorn,
    Granian,
    Fastapi,
    Daphne,
    Waitress,
    Uwsgi,
    Litestar,
    Flask,
    Sanic,
    Aiohttp,
    Streamlit,
    /// `manage.py runserver`, Django's server for development.
    Runserver,
}

/// The address in a command; `None` for the server's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Host name or address.
    pub(crate) host: Option<String>,
    /// TCP port.
    pub(crate) port: Option<u16>,
    /// A Unix socket or a file descriptor is given, so a TCP port is not required.
    pub(crate) uses_socket: bool,
    /// The port is that of the variable `PORT`, written `$PORT` or `{port}`.
    pub(crate) follows_port: bool,
}

impl ServerKind {
    const ALL: [Self; 14] = [
        Self::Uvicorn,
        Self::Gunicorn,
        Self::Hypercorn,
        Self::Granian,
        Self::Fastapi,
        Self::Daphne,
        Self::Waitress,
        Self::Uwsgi,
        Self::Litestar,
        Self::Flask,
        Self::Sanic,
        Self::Aiohttp,
        Self::Streamlit,
        Self::Runserver,
    ];

    /// Returns the server of a setting.
    pub(crate) fn of_name(name: ServerName) -> Self {
        match name {
            ServerName::Uvicorn => Self::Uvicorn,
            ServerName::Gunicorn => Self::Gunicorn,
            ServerName::Hypercorn => Self::Hypercorn,
            ServerName::Granian => Self::Granian,
            ServerName::Daphne => Self::Daphne,
            ServerName::Waitress => Self::Waitress,
            ServerName::Uwsgi => Self::Uwsgi,
            ServerName::Fastapi => Self::Fastapi,
            ServerName::Sanic => Self::Sanic,
            ServerName::Aiohttp => Self::Aiohttp,
        }
    }

    /// Returns the program's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uvicorn => "uvicorn",
            Self::Gunicorn => "gunicorn",
            Self::Hypercorn => "hypercorn",
            Self::Granian => "granian",
            Self::Fastapi => "fastapi",
            Self::Daphne => "daphne",
            Self::Waitress => "waitress",
            Self::Uwsgi => "uwsgi",
            Self::Litestar => "litestar",
            Self::Flask => "flask",
            Self::Sanic => "sanic",
            Self::Aiohttp => "aiohttp.web",
            Self::Streamlit => "streamlit",
            Self::Runserver => "runserver",
        }
    }

    /// Returns the normalized names of the distributions that have the server.
    pub(crate) fn distributions(self) -> &'static [&'static str] {
        match self {
            Self::Uwsgi => &["uwsgi", "pyuwsgi"],
            Self::Fastapi => &["fastapi-cli"],
            Self::Aiohttp => &["aiohttp"],
            Self::Runserver => &["django"],
            Self::Uvicorn => &["uvicorn"],
            Self::Gunicorn => &["gunicorn"],
            Self::Hypercorn => &["hypercorn"],
            Self::Granian => &["granian"],
            Self::Daphne => &["daphne"],
            Self::Waitress => &["waitress"],
            Self::Litestar => &["litestar"],
            Self::Flask => &["flask"],
            Self::Sanic => &["sanic"],
            Self::Streamlit => &["streamlit"],
        }
    }

    /// Returns the servers that run applications of any framework.
    pub(crate) fn of_any_framework() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| {
            !matches!(
                kind,
                Self::Litestar
                    | Self::Flask
                    | Self::Sanic
                    | Self::Aiohttp
                    | Self::Streamlit
                    | Self::Runserver
            )
        })
    }

    /// Returns the variables for host and port, if the server reads any.
    pub(crate) fn variables(self) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Self::Uvicorn => (Some("UVICORN_HOST"), Some("UVICORN_PORT")),
            Self::Granian => (Some("GRANIAN_HOST"), Some("GRANIAN_PORT")),
            Self::Litestar => (Some("LITESTAR_HOST"), Some("LITESTAR_PORT")),
            Self::Flask => (Some("FLASK_RUN_HOST"), Some("FLASK_RUN_PORT")),
            Self::Streamlit => (Some("STREAMLIT_SERVER_ADDRESS"), Some("STREAMLIT_SERVER_PORT")),
            // gunicorn listens on 0.0.0.0 if `PORT` is set, and `fastapi run` always.
            Self::Gunicorn | Self::Fastapi => (None, Some("PORT")),
            Self::Hypercorn
            | Self::Daphne
            | Self::Waitress
            | Self::Uwsgi
            | Self::Sanic
            | Self::Aiohttp
            | Self::Runserver => (None, None),
        }
    }

    /// Returns the variable that makes the server restart when a source file changes.
    pub(crate) fn reload_variable(self) -> Option<&'static str> {
        match self {
            Self::Granian => Some("GRANIAN_RELOAD"),
            Self::Litestar => Some("LITESTAR_RELOAD"),
            Self::Flask => Some("FLASK_RUN_RELOAD"),
            Self::Streamlit => Some("STREAMLIT_SERVER_RUN_ON_SAVE"),
            _ => None,
        }
    }

    /// Returns the options that make a server without such a variable restart when a source file
    /// changes.
    pub(crate) fn reload_options(self) -> &'static [&'static str] {
        match self {
            Self::Hypercorn | Self::Fastapi => &["--reload"],
            Self::Sanic => &["--auto-reload"],
            // A reload of the master restarts the interpreter outside of the environment.
            Self::Uwsgi => &["--lazy", "--py-autoreload", "1"],
            _ => &[],
        }
    }

    /// Returns the address of a server without options and variables.
    fn default_bind(self) -> (&'static str, u16) {
        match self {
            Self::Waitress => ("0.0.0.0", 8080),
            Self::Flask => ("127.0.0.1", 5000),
            Self::Fastapi | Self::Uwsgi => ("0.0.0.0", 8000),
            Self::Aiohttp => ("localhost", 8080),
            Self::Streamlit => ("0.0.0.0", 8501),
            _ => ("127.0.0.1", 8000),
        }
    }

    /// Returns the options for an address, for an error's help.
    fn bind_options(self, port: u16) -> String {
        match self {
            Self::Gunicorn | Self::Hypercorn => format!("\"--bind\", \"0.0.0.0:{port}\""),
            Self::Waitress => format!("\"--listen=0.0.0.0:{port}\""),
            Self::Daphne => format!("\"-b\", \"0.0.0.0\", \"-p\", \"{port}\""),
            Self::Uwsgi => format!("\"--http-socket\", \"0.0.0.0:{port}\""),
            Self::Aiohttp => format!("\"-H\", \"0.0.0.0\", \"-P\", \"{port}\""),
            Self::Streamlit => format!("\"--server.address=0.0.0.0\", \"--server.port={port}\""),
            Self::Runserver => format!("\"0.0.0.0:{port}\""),
            _ => format!("\"--host\", \"0.0.0.0\", \"--port\", \"{port}\""),
        }
    }

    /// Returns the options with an address (`HOST:PORT` or a host), with a port, and with a socket
    /// or a file descriptor.
    fn options(self) -> (&'static [&'static str], &'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Uvicorn => (&["--host"], &["--port"], &["--uds", "--fd"]),
            Self::Gunicorn => (&["-b", "--bind"], &[], &[]),
            Self::Hypercorn => (&["-b", "--bind", "--insecure-bind"], &[], &[]),
            Self::Granian => (&["--host"], &["--port"], &["--uds"]),
            Self::Fastapi => (&["--host"], &["--port"], &[]),
            Self::Daphne => {
                (&["-b", "--bind"], &["-p", "--port"], &["-u", "--unix-socket", "--fd", "-e", "--endpoint"])
            }
            Self::Waitress => (&["--host", "--listen"], &["--port"], &["--unix-socket"]),
            Self::Litestar => (&["-H", "--host"], &["-p", "--port"], &["-U", "--uds", "-F", "--fd"]),
            Self::Flask => (&["-h", "--host"], &["-p", "--port"], &[]),
            Self::Uwsgi => (&["--http", "--http-socket"], &[], &["-s", "--socket", "--uwsgi-socket"]),
            Self::Sanic => (&["-H", "--host"], &["-p", "--port"], &["-u", "--unix"]),
            Self::Aiohttp => (&["-H", "--hostname"], &["-P", "--port"], &["-U", "--path"]),
            Self::Streamlit => (&["--server.address"], &["--server.port"], &[]),
            Self::Runserver => (&[], &[], &[]),
        }
    }
}

impl Server {
    /// Finds the server in the words of a command: the name of a program (`/app/.venv/bin/uvicorn`)
    /// or of a module (`python -m uvicorn`), also after a launcher (`tini -- uvicorn`) or in a
    /// shell's line.
    pub(crate) fn of(command: &[String]) -> Option<Self> {
        let words: Vec<&str> = command.iter().flat_map(|word| word.split_whitespace()).collect();
        words.iter().enumerate().find_map(|(index, word)| {
            // The value of another program's option: `pypi-server run --server gunicorn`.
            if index > 0 && words.get(index - 1) == Some(&"--server") {
                return None;
            }
            let rest = words.get(index + 1..).unwrap_or_default();
            let kind = kind_of(word, rest.first().copied())?;
            Some(Self { kind, arguments: rest.iter().map(|word| (*word).to_owned()).collect() })
        })
    }

    /// Returns the address in the command.
    pub(crate) fn bind(&self) -> Bind {
        bind_in(self.kind, &self.arguments)
    }

    /// Returns the address in the command, with that of `GUNICORN_CMD_ARGS` as default.
    pub(crate) fn bind_with(&self, arguments: &str) -> Bind {
        let below: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let (own, below) = (self.bind(), bind_in(self.kind, &below));
        Bind {
            host: own.host.or(below.host),
            port: own.port.or(below.port),
            uses_socket: own.uses_socket || below.uses_socket,
            follows_port: own.follows_port || below.follows_port,
        }
    }

    /// Returns true if the command has an option with a certificate: the server speaks TLS.
    pub(crate) fn uses_tls(&self) -> bool {
        let options = ["--ssl-certfile", "--certfile", "--ssl-certificate"];
        self.arguments.iter().any(|word| options.contains(&word.split('=').next().unwrap_or_default()))
    }

    /// Returns true if the command changes the directory of imports.
    pub(crate) fn changes_directory(&self) -> bool {
        let options = ["--app-dir", "--chdir", "--pythonpath", "--working-dir"];
        options.iter().any(|option| self.has_option(option))
    }

    /// Returns true if the command has this option.
    pub(crate) fn has_option(&self, name: &str) -> bool {
        self.arguments.iter().any(|word| word.split('=').next() == Some(name))
    }

    /// Returns the value of an option with one of these names.
    pub(crate) fn option<'a>(&'a self, names: &'a [&'a str]) -> Option<&'a str> {
        value_of(&self.arguments, names).next()
    }

    /// Returns the configuration file in the command.
    pub(crate) fn config_file(&self) -> Option<&str> {
        let names: &[&str] = match self.kind {
            ServerKind::Uwsgi => &["--ini", "-i", "--yaml", "--json", "--xml"],
            _ => &["-c", "--config"],
        };
        let is_file = |word: &&String| self.kind == ServerKind::Uwsgi && word.ends_with(".ini");
        let file = self.arguments.iter().find(is_file).map(String::as_str);
        value_of(&self.arguments, names).next().or(file)
    }

    /// Returns the application in the command: its first word of the form `MODULE:ATTRIBUTE`.
    pub(crate) fn application(&self) -> Option<&str> {
        let is_one = |word: &str| {
            word.split_once(':').is_some_and(|(module, attribute)| {
                let named = |text: &str| !text.is_empty() && text.split('.').all(is_identifier);
                named(module) && named(attribute.strip_suffix("()").unwrap_or(attribute))
            })
        };
        self.arguments.iter().map(String::as_str).find(|word| is_one(word))
    }

    /// Returns the application of a server that has a default attribute: `gunicorn pkg.wsgi` runs
    /// `pkg.wsgi:application`.
    pub(crate) fn default_application(&self) -> Option<String> {
        if self.kind == ServerKind::Uwsgi {
            return self.uwsgi_application();
        }
        if self.kind != ServerKind::Gunicorn {
            return None;
        }
        let mut previous = "";
        let mut module = None;
        for word in &self.arguments {
            let is_value = previous.starts_with('-') && !previous.contains('=');
            if word.split('.').all(is_identifier) && !is_value {
                module = Some(word);
            }
            previous = word;
        }
        module.map(|module| format!("{module}:application"))
    }

    /// Returns the application in uWSGI's options: a module or a file, with the name of the callable.
    fn uwsgi_application(&self) -> Option<String> {
        let module = || {
            let name = self.option(&["--module", "-w", "--wsgi"])?;
            name.split('.').all(is_identifier).then(|| name.to_owned())
        };
        let file = || {
            let is_python = |word: &&String| !word.starts_with('-') && word.ends_with(".py");
            let given = self.option(&["--wsgi-file", "--file"]);
            let file = given.or_else(|| self.arguments.iter().find(is_python).map(String::as_str))?;
            let name = file.trim_start_matches("./").strip_suffix(".py")?.replace('/', ".");
            name.split('.').all(is_identifier).then_some(name)
        };
        let callable = self.option(&["--callable"]).filter(|name| is_identifier(name));
        Some(format!("{}:{}", module().or_else(file)?, callable.unwrap_or("application")))
    }

    /// Reads the options in a configuration file of uWSGI (`uwsgi.ini`), the lines `NAME = VALUE` of its
    /// section `uwsgi`.
    pub(crate) fn of_uwsgi_file(text: &str) -> Self {
        let is_header = |line: &&str| line.starts_with('[');
        let lines = text.lines().map(str::trim).skip_while(|line| *line != "[uwsgi]").skip(1);
        let options = lines.take_while(|line| !is_header(line)).filter(|line| !line.starts_with(['#', ';']));
        let pairs = options.filter_map(|line| line.split_once('='));
        let words = pairs.flat_map(|(name, value)| [format!("--{}", name.trim()), value.trim().to_owned()]);
        Self { kind: ServerKind::Uwsgi, arguments: words.collect() }
    }

    /// Returns the address of this command without options for it and variables.
    pub(crate) fn default_bind(&self) -> (&'static str, u16) {
        match self.kind {
            // `fastapi dev` serves only its own machine.
            ServerKind::Fastapi if self.arguments.iter().any(|word| word == "dev") => ("127.0.0.1", 8000),
            kind => kind.default_bind(),
        }
    }

    /// Returns the words after the program's name.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Returns the options to listen on every address, as items of a TOML list.
    pub(crate) fn bind_options(&self, port: u16) -> String {
        self.kind.bind_options(port)
    }
}

/// Returns true if a server that listens on this address is unreachable from outside its container.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

fn kind_of(word: &str, next: Option<&str>) -> Option<ServerKind> {
    let program = word.rsplit('/').next().unwrap_or(word);
    match program {
        "waitress-serve" => return Some(ServerKind::Waitress),
        // Their other subcommands start no server.
        "flask" | "litestar" if next != Some("run") && !next.is_some_and(|word| word.starts_with('-')) => {
            return None;
        }
        "fastapi" if !matches!(next, Some("run" | "dev")) => return None,
        "streamlit" if next != Some("run") => return None,
        // The name of the subcommand is a word that other programs use.
        "manage.py" | "django-admin" => return (next == Some("runserver")).then_some(ServerKind::Runserver),
        "runserver" => return None,
        _ => {}
    }
    ServerKind::ALL.into_iter().find(|kind| kind.name() == program)
}

/// Returns true for a port or an address that names the variable `PORT`.
fn names_port(text: &str) -> bool {
    text.contains("$PORT") || text.contains("${PORT") || text.contains("{port}")
}

fn bind_in(kind: ServerKind, arguments: &[String]) -> Bind {
    let (addresses, ports, sockets) = kind.options();
    let mut bind = Bind::default();
    for address in value_of(arguments, addresses) {
        bind.add(address, kind);
    }
    if let Some(port) = value_of(arguments, ports).last() {
        bind.port = port.parse().ok();
        bind.follows_port |= names_port(port);
    }
    bind.follows_port |= value_of(arguments, addresses).any(names_port);
    bind.uses_socket |= value_of(arguments, sockets).next().is_some();
    bind
}

impl Bind {
    /// Returns true if a host, a port, a socket or a file descriptor is given.
    pub(crate) fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// Parses an address as gunicorn and hypercorn do: `HOST`, `HOST:PORT`, `[HOST]:PORT`,
    /// `unix:PATH`, `fd://NUMBER`.
    fn add(&mut self, address: &str, kind: ServerKind) {
        if ["unix:", "fd://", "file://", "fd:"].iter().any(|scheme| address.starts_with(scheme)) {
            self.uses_socket = true;
            return;
        }
        let address = address.rsplit("://").next().unwrap_or(address);
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None if address.matches(':').count() > 1 => (address, None),
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let host = if host.is_empty() || host == "*" { "0.0.0.0" } else { host };
        // Of several addresses, one reachable from outside takes precedence.
        if self.host.as_deref().is_none_or(is_loopback) {
            self.host = Some(host.to_owned());
            self.port = match (port, kind) {
                (Some(port), _) => port.parse().ok(),
                (None, ServerKind::Gunicorn | ServerKind::Hypercorn) => Some(8000),
                (None, _) => None,
            };
        }
    }
}

/// Returns the values of options in the forms `--name VALUE`, `--name=VALUE` and `-nVALUE`, in
/// order.
fn value_of<'a>(arguments: &'a [String], names: &'a [&str]) -> impl Iterator<Item = &'a str> {
    arguments.iter().enumerate().filter_map(move |(index, word)| {
        names.iter().find_map(|name| {
            let rest = word.strip_prefix(name)?;
            match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if rest.is_empty() => arguments.get(index + 1).map(String::as_str),
                None if !name.starts_with("--") => Some(rest),
                None => None,
            }
        })
    })
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && letters.all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(command: &str) -> Option<Server> {
        Server::of(&command.split('|').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn finds_the_server_behind_a_command() {
        for (command, kind) in [
            ("/app/.venv/bin/uvicorn|{app}", Some(ServerKind::Uvicorn)),
            ("{python}|-m|uvicorn|{app}", Some(ServerKind::Uvicorn)),
            ("{venv}/bin/opentelemetry-instrument|gunicorn|{app}", Some(ServerKind::Gunicorn)),
            ("sh|-c|exec uvicorn main:app --port $PORT", Some(ServerKind::Uvicorn)),
            ("waitress-serve|main:app", Some(ServerKind::Waitress)),
            ("fastapi|run|main.py", Some(ServerKind::Fastapi)),
            ("flask|--app|main|run", Some(ServerKind::Flask)),
            ("flask|db|upgrade", None),
            ("celery|-A|main|worker", None),
            ("{python}|manage.py|runserver|0.0.0.0:80", Some(ServerKind::Runserver)),
            ("{python}|manage.py|migrate", None),
            ("{python}|-m|aiohttp.web|main:make", Some(ServerKind::Aiohttp)),
            ("streamlit|run|app.py", Some(ServerKind::Streamlit)),
            ("uwsgi|--ini|x.ini", Some(ServerKind::Uwsgi)),
            ("sanic|main:app", Some(ServerKind::Sanic)),
            ("{python}|main.py|{app}", None),
            ("pypi-server|run|--server|gunicorn", None),
        ] {
            assert_eq!(server(command).map(|server| server.kind), kind, "{command}");
        }
    }

    #[test]
    fn reads_the_address_of_a_command() {
        for (command, host, port, uses_socket) in [
            ("uvicorn|a:b|--host|127.0.0.1", Some("127.0.0.1"), None, false),
            ("uvicorn|a:b|--port=9000", None, Some(9000), false),
            ("uvicorn|a:b|--uds|/tmp/x", None, None, true),
            ("gunicorn|-b|0.0.0.0:9000|a:b", Some("0.0.0.0"), Some(9000), false),
            ("gunicorn|-b:9000|a:b", Some("0.0.0.0"), Some(9000), false),
            ("gunicorn|--bind=[::]:9000|a:b", Some("::"), Some(9000), false),
            ("gunicorn|-b|unix:/tmp/x|a:b", None, None, true),
            ("gunicorn|-b|127.0.0.1:1|-b|0.0.0.0:2|a:b", Some("0.0.0.0"), Some(2), false),
            ("hypercorn|--bind|localhost:8000|a:b", Some("localhost"), Some(8000), false),
            ("daphne|-b|0.0.0.0|-p|80|a:b", Some("0.0.0.0"), Some(80), false),
            ("waitress-serve|--listen=*:80|a:b", Some("0.0.0.0"), Some(80), false),
            ("gunicorn|a:b", None, None, false),
        ] {
            let bind = server(command).unwrap().bind();
            let expected = Bind { host: host.map(str::to_owned), port, uses_socket, follows_port: false };
            assert_eq!(bind, expected, "{command}");
        }
    }

    #[test]
    fn finds_the_application_in_a_command() {
        let named = |command| server(command).unwrap().application().map(str::to_owned);
        assert_eq!(named("gunicorn|-b|0.0.0.0:80|pkg.main:app").as_deref(), Some("pkg.main:app"));
        assert_eq!(named("gunicorn|pkg:create()").as_deref(), Some("pkg:create()"));
        assert_eq!(named("fastapi|run|main.py"), None);
    }

    #[test]
    fn finds_the_application_of_uwsgi() {
        for (command, expected) in [
            ("uwsgi|--http|:80|--wsgi-file|app.py|--callable|__hug_wsgi__", Some("app:__hug_wsgi__")),
            ("uwsgi|--wsgi-file=./pkg/web.py", Some("pkg.web:application")),
            ("uwsgi|--http|:80|web.py", Some("web:application")),
            ("uwsgi|-w|pkg.web|--callable|app", Some("pkg.web:app")),
            ("uwsgi|--ini|x.ini", None),
            ("uwsgi|--http|:80", None),
        ] {
            assert_eq!(server(command).unwrap().default_application().as_deref(), expected, "{command}");
        }
        let file = "[uwsgi]\nhttp = :80\n# module = no\nmodule = web:app\n[other]\nmodule = b:c\n";
        assert_eq!(Server::of_uwsgi_file(file).application(), Some("web:app"));
        let file = "[uwsgi]\nwsgi-file = web.py\ncallable=app";
        assert_eq!(Server::of_uwsgi_file(file).default_application().as_deref(), Some("web:app"));
    }

    #[test]
    fn options_of_a_command_precede_gunicorn_cmd_args() {
        let bind = server("gunicorn|a:b").unwrap().bind_with("--workers 3 --bind=127.0.0.1:80");
        assert_eq!((bind.host.as_deref(), bind.port), (Some("127.0.0.1"), Some(80)));
        let bind = server("gunicorn|-b|0.0.0.0:1|a:b").unwrap().bind_with("--bind=127.0.0.1:80");
        assert_eq!((bind.host.as_deref(), bind.port), (Some("0.0.0.0"), Some(1)));
    }
}
