//! [`ServiceSearch`]: finds the service of a project.
//!
//! Evidence in the order of belief: the settings, `[tool.fastapi]`, commands in the repository
//! (`Procfile`, `Dockerfile`), `manage.py`, objects in the usual files, a Streamlit script, objects
//! in other files, and the project's own console script. Commands of the repository are evidence,
//! not commands: the words that are taken from them are named.

use std::fmt;

use serde::Serialize;

use super::command::{self, is_installed, requirement, servers_for};
use super::distributions::Distributions;
use super::django::DjangoProject;
use super::hints::{HintRole, Hints};
use super::server::{Server, ServerKind, is_loopback};
use crate::error::Advice;
use crate::project::Project;
use crate::python::application::framework::{Framework, Interface};
use crate::python::application::module::Run;
use crate::python::application::resolve::Resolver;
use crate::python::application::{self, Application, ApplicationError, SourceTree};
use crate::settings::ServerName;

/// Usual names of Streamlit's script.
const STREAMLIT_FILES: [&str; 8] =
    ["streamlit_app.py", "app.py", "main.py", "Home.py", "home.py", "Hello.py", "app/main.py", "src/app.py"];
/// Functions of modules that start a server.
const RUNNERS: [&str; 8] = [
    "uvicorn.run",
    "uvicorn.Server",
    "waitress.serve",
    "aiohttp.web.run_app",
    "hypercorn.asyncio.serve",
    "granian.Granian",
    "cheroot.wsgi.Server",
    "werkzeug.serving.run_simple",
];

/// The service of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// The application of `{app}`; `None` for a program.
    pub(crate) application: Option<Application>,
    /// The framework, if known.
    pub(crate) framework: Option<Framework>,
    /// The words of the command.
    pub(crate) command: Vec<String>,
    /// Variables of the image that the program reads.
    pub(crate) env: Vec<(String, String)>,
    /// The port that the program listens on by itself.
    pub(crate) port: Option<u16>,
    /// The signal that stops the program, if SIGTERM does not.
    pub(crate) stop_signal: Option<&'static str>,
    /// The call in the program's own server that binds the loopback address, with file and line.
    pub(crate) loopback: Option<String>,
    /// The answers with their evidence, in the order to print.
    pub(crate) findings: Vec<Finding>,
}

/// An answer about a service, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The question: `framework`, `application`, `server`, `command`.
    pub topic: &'static str,
    /// The answer.
    pub answer: String,
    /// The evidence: a file with a line, or a sentence.
    pub evidence: String,
}

/// A command in the repository that starts the web service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartHint {
    /// Its words, without a shell and launchers.
    pub(crate) words: Vec<String>,
    /// The file.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The folder of the source in which the command runs; empty for the root.
    pub(crate) directory: String,
    /// The port that the repository names.
    pub(crate) port: Option<u16>,
}

impl StartHint {
    /// Returns the commands of `hints` that start the service and need no shell.
    pub(crate) fn of(hints: &Hints) -> Vec<Self> {
        let web = hints.commands.iter().filter(|hint| hint.role == HintRole::Web);
        web.filter_map(|hint| {
            let words = hint.words.as_ref().ok()?.clone();
            Some(Self {
                words,
                file: hint.evidence.file.clone(),
                line: hint.evidence.line,
                directory: hint.directory.clone().unwrap_or_default(),
                port: hint.port.or(hints.port.as_ref().map(|(port, _)| *port)),
            })
        })
        .collect()
    }

    fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// Errors of finding a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The application cannot be found.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// No server for the application is in the image.
    #[error("server not found: {what}, and none of {} is among the project's dependencies", .servers.join(", "))]
    NoServer {
        /// The application: `main:app is a Flask application (WSGI)`.
        what: String,
        /// The servers that can run it.
        servers: Vec<String>,
        /// The advice.
        help: String,
    },
    /// The server of the settings cannot run the application.
    #[error("cannot run {application} with {server}: {reason}")]
    Server {
        /// The application.
        application: String,
        /// The server.
        server: String,
        /// The reason.
        reason: String,
        /// The advice.
        help: String,
    },
}

impl Advice for ServiceError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Application(error) => error.help(),
            Self::NoServer { help, .. } | Self::Server { help, .. } => Some(help.clone()),
        }
    }
}

/// The inputs of a search.
pub(crate) struct ServiceSearch<'a> {
    /// The source.
    pub(crate) sources: &'a dyn SourceTree,
    /// The project's metadata.
    pub(crate) project: &'a Project,
    /// The distributions of the image.
    pub(crate) distributions: &'a Distributions,
    /// The server of the settings.
    pub(crate) server: Option<ServerName>,
    /// The application of the settings.
    pub(crate) app: Option<&'a str>,
    /// Commands in the repository, the most credible first.
    pub(crate) hints: &'a [StartHint],
    /// Finds a named application in the installed distributions.
    pub(crate) installed: &'a dyn Fn(&str) -> Result<Option<Application>, ApplicationError>,
}

/// An application or a program, before the choice of a server.
struct Candidate {
    application: Option<Application>,
    framework: Option<Framework>,
    interface: Option<Interface>,
    /// The command, if the service is a program with a server of its own.
    program: Option<Vec<String>>,
    env: Vec<(String, String)>,
    port: Option<u16>,
    loopback: Option<String>,
    findings: Vec<Finding>,
}

impl Candidate {
    fn of_application(application: Application, reason: String) -> Self {
        let constructor = application.constructor.clone();
        let mut findings = Vec::new();
        if let Some(constructor) = &constructor {
            let place = format!("{}:{}", constructor.file, constructor.line);
            findings.push(Finding::new("framework", constructor.framework.name(), place));
        }
        findings.push(Finding::new("application", application.reference(), reason));
        Self {
            framework: constructor.as_ref().map(|constructor| constructor.framework),
            interface: constructor.as_ref().map(|constructor| constructor.interface),
            application: Some(application),
            program: None,
            env: Vec::new(),
            port: None,
            loopback: None,
            findings,
        }
    }

    fn of_program(command: Vec<String>, framework: Option<Framework>, reason: String) -> Self {
        let mut findings = Vec::new();
        if let Some(framework) = framework {
            findings.push(Finding::new("framework", framework.name(), reason.clone()));
        }
        findings.push(Finding::new("program", command.join(" "), reason));
        Self {
            application: None,
            framework,
            interface: Some(Interface::Program),
            program: Some(command),
            env: Vec::new(),
            port: None,
            loopback: None,
            findings,
        }
    }
}

impl Finding {
    pub(crate) fn new(topic: &'static str, answer: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self { topic, answer: answer.into(), evidence: evidence.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} {} ({})", self.topic, self.answer, self.evidence)
    }
}

impl ServiceSearch<'_> {
    /// Finds the service.
    pub(crate) fn find(&self) -> Result<Service, ServiceError> {
        self.explain().1
    }

    /// Finds the service. Returns the findings for an error as well.
    pub(crate) fn explain(&self) -> (Vec<Finding>, Result<Service, ServiceError>) {
        let candidate = match self.candidate() {
            Ok(candidate) => candidate,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let findings = candidate.findings.clone();
        let found = self.served(candidate).or_else(|error| {
            // The project may bring a server that no setting names.
            let is_open = matches!(error, ServiceError::NoServer { .. });
            let program = is_open.then(|| self.console_script().or_else(|| self.hinted_program())).flatten();
            program.map_or(Err(error), |program| self.served(program))
        });
        match found {
            Ok(service) => (service.findings.clone(), Ok(service)),
            Err(error) => (findings, Err(error)),
        }
    }

    /// Chooses the server for a candidate.
    fn served(&self, candidate: Candidate) -> Result<Service, ServiceError> {
        let candidate = self.as_program(candidate);
        let mut findings = candidate.findings.clone();
        if let Some(command) = candidate.program {
            return Ok(Service {
                application: candidate
                    .application
                    .filter(|_| command.iter().any(|word| word.contains("{app}"))),
                framework: candidate.framework,
                command,
                env: candidate.env,
                port: candidate.port,
                loopback: candidate.loopback,
                // The kernel ignores signals without a handler for process 1. Python handles SIGINT.
                stop_signal: (candidate.framework != Some(Framework::Streamlit)).then_some("SIGINT"),
                findings,
            });
        }
        let application = candidate.application.as_ref();
        let Some(application) = application else {
            return Err(ApplicationError::NoFile { files: Vec::new(), proposed: Vec::new() }.into());
        };
        let interface = candidate.interface.unwrap_or_else(|| self.likely_interface());
        let (kind, reason) = self.server(application, candidate.framework, interface)?;
        if kind == ServerKind::Gunicorn && application.attribute.contains('.') {
            return Err(ServiceError::Server {
                application: application.reference(),
                server: kind.name().to_owned(),
                reason: "it takes the name of an object, not an attribute of one".to_owned(),
                help: format!(
                    "add the line `server = {}` to the module {}, or declare waitress in place of gunicorn",
                    application.attribute, application.module
                ),
            });
        }
        findings.push(Finding::new("server", kind.name(), reason));
        let class = self.worker_class(kind);
        let command = command::command(kind, interface, application, self.distributions, class.as_deref());
        let article = if interface == Interface::Wsgi { "a" } else { "an" };
        let reason = format!("for {article} {} application", interface_name(interface));
        findings.push(Finding::new("command", command.join(" "), reason));
        Ok(Service {
            framework: candidate.framework,
            command,
            env: candidate.env,
            port: None,
            loopback: None,
            stop_signal: None,
            application: candidate.application,
            findings,
        })
    }

    /// Finds the application or the program.
    fn candidate(&self) -> Result<Candidate, ServiceError> {
        let settings = self.app.map(|named| (named, "app of the settings"));
        let entrypoint = self.project.fastapi_entrypoint.as_deref();
        let named = settings.or(entrypoint.map(|named| (named, "[tool.fastapi] of pyproject.toml")));
        if let Some((named, reason)) = named {
            return Ok(Candidate::of_application(self.named(named)?, reason.to_owned()));
        }
        if let Some(candidate) = self.hints.iter().find_map(|hint| self.of_hint(hint)) {
            return Ok(candidate);
        }
        if let Some(candidate) = self.django() {
            return Ok(candidate);
        }
        let found = application::find_usual(self.sources, &self.project.name);
        if let Ok(application) = &found
            && application.constructor.is_some()
        {
            let reason = "the first application in the usual files";
            return Ok(Candidate::of_application(application.clone(), reason.to_owned()));
        }
        let program = self.streamlit().or_else(|| self.console_script()).or_else(|| self.hinted_program());
        if let Some(candidate) = program {
            return Ok(candidate);
        }
        if let Ok(application) = found {
            let reason = "the usual name; the source does not show its framework";
            return Ok(Candidate::of_application(application, reason.to_owned()));
        }
        let application = application::find(self.sources, None, &self.project.name)?;
        Ok(Candidate::of_application(application, "the only application in the source".to_owned()))
    }

    fn hinted_program(&self) -> Option<Candidate> {
        self.hints.iter().find_map(|hint| self.program_of_hint(hint))
    }

    /// Finds an application by its name, in the source or else in the installed distributions.
    fn named(&self, named: &str) -> Result<Application, ApplicationError> {
        match application::find(self.sources, Some(named), &self.project.name) {
            Err(missing @ ApplicationError::NoModule { .. })
                if !application::shadows(self.sources, named) =>
            {
                (self.installed)(named)?.ok_or(missing)
            }
            found => found,
        }
    }

    /// Returns the candidate that a command of the repository names.
    fn of_hint(&self, hint: &StartHint) -> Option<Candidate> {
        let place = hint.place();
        let server = Server::of(&hint.words)?;
        let reason = format!("{place} starts it with {}", server.kind.name());
        if server.kind == ServerKind::Streamlit {
            let script = server.arguments().iter().skip(1).find(|word| word.ends_with(".py"))?;
            let script = script.trim_start_matches("./");
            let file = [script.to_owned(), format!("src/{script}")]
                .into_iter()
                .find(|file| self.sources.has(file))?;
            return Some(streamlit_script(&file, reason));
        }
        let named = server.application().map(str::to_owned).or_else(|| default_attribute(&server))?;
        let application = self.named(&named).ok()?;
        Some(Candidate::of_application(application, reason))
    }

    /// Returns the program that a command of the repository starts from the source: a file, a module or
    /// a console script of the project.
    fn program_of_hint(&self, hint: &StartHint) -> Option<Candidate> {
        let (first, rest) = hint.words.split_first()?;
        let name = first.rsplit('/').next().unwrap_or(first);
        let reason = format!("{} starts it", hint.place());
        let is_python = name.starts_with("python");
        let command: Vec<String> = if is_python {
            let options = rest.iter().take_while(|word| word.starts_with('-') && *word != "-m").count();
            let target = rest.get(options)?;
            let mut words = rest.to_vec();
            if target == "-m" {
                let module = rest.get(options + 1)?.replace('.', "/");
                let files = [format!("{module}.py"), format!("{module}/__main__.py")];
                let at = |file: &String| self.sources.has(file) || self.sources.has(&format!("src/{file}"));
                files.iter().any(at).then_some(())?;
            } else {
                let file = target.trim_start_matches("./");
                let inside = format!("{}/{file}", hint.directory);
                let file = [file.to_owned(), inside].into_iter().find(|file| self.sources.has(file))?;
                *words.get_mut(options)? = file;
            }
            std::iter::once("{python}".to_owned()).chain(words).collect()
        } else {
            self.project.scripts.iter().any(|script| script == name).then_some(())?;
            std::iter::once(format!("{{venv}}/bin/{name}")).chain(rest.iter().cloned()).collect()
        };
        // Django's own server is for development.
        Server::of(&command).is_none().then_some(())?;
        let mut candidate = Candidate::of_program(command, None, reason);
        candidate.port = hint.port;
        Some(candidate)
    }

    fn django(&self) -> Option<Candidate> {
        let project = DjangoProject::find(self.sources).filter(|_| self.distributions.has("django"))?;
        let (named, interface) = project.application(self.distributions)?;
        let application = application::find(self.sources, Some(named), &self.project.name).ok()?;
        let place = format!("{}:{}: {}", project.manage, project.line, project.settings);
        let mut candidate = Candidate::of_application(application, place.clone());
        if candidate.framework.is_none() {
            candidate.framework = Some(Framework::Django);
            candidate.findings.insert(0, Finding::new("framework", Framework::Django.name(), place));
        }
        candidate.interface = Some(interface);
        Some(candidate)
    }

    fn streamlit(&self) -> Option<Candidate> {
        if !self.distributions.has("streamlit") {
            return None;
        }
        let imports = |file: &str| {
            let module = Resolver::new(self.sources).module(file)?;
            let is_named = |dotted: &str| dotted == "streamlit" || dotted.starts_with("streamlit.");
            module.origins.values().any(|origin| origin.level == 0 && is_named(&origin.dotted)).then_some(())
        };
        let usual =
            STREAMLIT_FILES.into_iter().find(|file| self.sources.has(file) && imports(file).is_some());
        let only = || {
            let modules = self.sources.modules();
            let mut root = modules.iter().filter(|file| !file.contains('/') && imports(file).is_some());
            let first = root.next()?;
            root.next().is_none().then(|| first.clone())
        };
        let file = usual.map(str::to_owned).or_else(only)?;
        let reason = format!("{file} imports streamlit");
        Some(streamlit_script(&file, reason))
    }

    /// Returns a console script of the project that starts a server.
    fn console_script(&self) -> Option<Candidate> {
        let resolver = Resolver::new(self.sources);
        let serves = |object: &str| {
            let module = object.split(':').next()?.replace('.', "/");
            let files = ["", "src/"].into_iter().flat_map(|root| {
                [
                    format!("{root}{module}.py"),
                    format!("{root}{module}/__init__.py"),
                    format!("{root}{module}/__main__.py"),
                ]
            });
            let file = files.into_iter().find(|file| self.sources.has(file))?;
            let module = resolver.module(&file)?;
            let qualified = |function: &str| {
                let (first, rest) = function.split_once('.').unwrap_or((function, ""));
                let origin = module.origins.get(first).map_or(first, |origin| origin.dotted.as_str());
                if rest.is_empty() { origin.to_owned() } else { format!("{origin}.{rest}") }
            };
            let run = module.runs.iter().find(|run| RUNNERS.contains(&qualified(&run.function).as_str()))?;
            let place = format!("{file}:{}: {}", run.line, run.function);
            Some((place, run.port, binds_loopback(run)))
        };
        let hinted = self.hints.iter().find_map(|hint| {
            let candidate = self.program_of_hint(hint)?;
            let is_script = candidate.program.as_ref()?.first()?.starts_with("{venv}/bin/");
            is_script.then_some(candidate)
        });
        if hinted.is_some() {
            return hinted;
        }
        let found = self.project.script_objects.iter().find_map(|(name, object)| {
            let (place, port, is_loopback) = serves(object)?;
            Some((name, place, port, is_loopback))
        });
        let (name, place, port, is_loopback) = found?;
        let mut candidate = Candidate::of_program(vec![format!("{{venv}}/bin/{name}")], None, place.clone());
        candidate.port = port;
        candidate.loopback = is_loopback.then_some(place);
        Some(candidate)
    }

    /// Makes a program of an application that no server of the image runs, but its own module does.
    fn as_program(&self, candidate: Candidate) -> Candidate {
        let Some(application) = &candidate.application else { return candidate };
        let is_program = match candidate.interface {
            Some(Interface::Program) => true,
            Some(Interface::Aiohttp) => self.server.is_none() && !self.distributions.has("gunicorn"),
            _ => false,
        };
        if !is_program {
            return candidate;
        }
        let resolver = Resolver::new(self.sources);
        let base = application.module.replace('.', "/");
        let prefix = if application.directory.is_empty() {
            String::new()
        } else {
            format!("{}/", application.directory)
        };
        let files = [
            format!("{prefix}{base}.py"),
            format!("{prefix}{base}/__main__.py"),
            format!("{prefix}{base}/__init__.py"),
        ];
        let run = files.iter().filter(|file| self.sources.has(file)).find_map(|file| {
            let module = resolver.module(file)?;
            module.runs.iter().find(|run| !run.function.starts_with("subprocess")).cloned()
        });
        let words = ["{python}", "-m", &application.module].map(str::to_owned).to_vec();
        let mut env = candidate.env.clone();
        let mut port = run.as_ref().and_then(|run| run.port);
        let mut findings = candidate.findings.clone();
        let reason = match &run {
            Some(run) => format!("its module calls {} in line {}", run.function, run.line),
            None => "its framework has a server of its own".to_owned(),
        };
        findings.push(Finding::new("command", words.join(" "), reason));
        if candidate.framework == Some(Framework::Gradio) {
            env.push(("GRADIO_SERVER_NAME".to_owned(), "{host}".to_owned()));
            env.push(("GRADIO_SERVER_PORT".to_owned(), "{port}".to_owned()));
            env.push(("GRADIO_ANALYTICS_ENABLED".to_owned(), "False".to_owned()));
        } else {
            port = port.or(Some(8080));
        }
        Candidate { program: Some(words), env, port, findings, ..candidate }
    }

    /// Chooses the server for an application.
    fn server(
        &self,
        application: &Application,
        framework: Option<Framework>,
        interface: Interface,
    ) -> Result<(ServerKind, String), ServiceError> {
        let suitable = servers_for(interface, framework);
        if let Some(name) = self.server {
            return self.named_server(kind_of(name), application, interface, &suitable);
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
                Ok((kind, "the usual one: no dependencies are declared".to_owned()))
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

    fn no_server(
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
            None => format!("`{name}` is an {} application", interface_name(interface)),
        };
        let left_out = suitable
            .iter()
            .find(|kind| kind.distributions().iter().any(|name| self.distributions.excludes(name)));
        let help = if let Some(kind) = left_out {
            self.declare(*kind, kind.distributions().first().copied().unwrap_or_default())
        } else {
            let kind = suitable.first().copied().unwrap_or(ServerKind::Uvicorn);
            let own = if kind == ServerKind::Sanic { "sanic" } else { requirement(interface) };
            self.declare(kind, own)
        };
        let servers = suitable.iter().map(|kind| kind.name().to_owned()).collect();
        let help = format!("{help}, or name another command with entrypoint");
        ServiceError::NoServer { what, servers, help }
    }

    /// Returns the advice to declare a requirement.
    fn declare(&self, kind: ServerKind, requirement: &str) -> String {
        if kind.distributions().iter().any(|name| self.distributions.excludes(name)) {
            return format!("declare {}, which is installed, as a dependency of the project", kind.name());
        }
        format!("add {requirement} to the project's dependencies and install it")
    }

    /// Returns the worker class of gunicorn in the repository's commands, if the image has its
    /// distribution.
    fn worker_class(&self, kind: ServerKind) -> Option<String> {
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
    fn likely_interface(&self) -> Interface {
        let has = |names: &[&str]| names.iter().any(|name| self.distributions.has(name));
        let wsgi =
            has(&["flask", "bottle", "falcon", "django", "dash"]) || has(&["gunicorn", "waitress", "uwsgi"]);
        let asgi = has(&["uvicorn", "hypercorn", "daphne", "fastapi", "starlette", "litestar", "quart"]);
        if wsgi && !asgi { Interface::Wsgi } else { Interface::Asgi }
    }
}

/// Returns true for a call that binds the loopback address, by a literal or by the server's default.
fn binds_loopback(run: &Run) -> bool {
    match &run.host {
        Some(host) => is_loopback(host),
        None => !run.names_host && run.function.ends_with("uvicorn.run"),
    }
}

/// Returns the program `streamlit run FILE`.
fn streamlit_script(file: &str, reason: String) -> Candidate {
    let words = ["{venv}/bin/streamlit", "run", file].map(str::to_owned).to_vec();
    let mut candidate = Candidate::of_program(words, Some(Framework::Streamlit), reason);
    // Streamlit opens a browser, and asks for a mail address on a terminal.
    for (name, value) in
        [("STREAMLIT_SERVER_HEADLESS", "true"), ("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")]
    {
        candidate.env.push((name.to_owned(), value.to_owned()));
    }
    candidate
}

/// Returns the application of a server that has a default attribute: `gunicorn pkg.wsgi`.
fn default_attribute(server: &Server) -> Option<String> {
    if !matches!(server.kind, ServerKind::Gunicorn | ServerKind::Uwsgi) {
        return None;
    }
    let mut previous = "";
    let is_module = |word: &str| {
        !word.is_empty()
            && word
                .split('.')
                .all(|part| part.chars().all(|c| c.is_alphanumeric() || c == '_') && !part.is_empty())
    };
    let mut module = None;
    for word in server.arguments() {
        let is_value = previous.starts_with('-') && !previous.contains('=');
        let is_named = matches!(previous, "--module" | "-w" | "--wsgi");
        if is_module(word) && (!is_value || is_named) && !word.chars().all(|c| c.is_ascii_digit()) {
            module = Some(word.clone());
        }
        previous = word;
    }
    module.map(|module| format!("{module}:application"))
}

fn interface_name(interface: Interface) -> &'static str {
    match interface {
        Interface::Asgi => "ASGI",
        Interface::Wsgi => "WSGI",
        Interface::Aiohttp => "aiohttp",
        Interface::Program => "standalone",
    }
}

fn kind_of(name: ServerName) -> ServerKind {
    match name {
        ServerName::Uvicorn => ServerKind::Uvicorn,
        ServerName::Gunicorn => ServerKind::Gunicorn,
        ServerName::Hypercorn => ServerKind::Hypercorn,
        ServerName::Granian => ServerKind::Granian,
        ServerName::Daphne => ServerKind::Daphne,
        ServerName::Waitress => ServerKind::Waitress,
        ServerName::Uwsgi => ServerKind::Uwsgi,
        ServerName::Fastapi => ServerKind::Fastapi,
        ServerName::Sanic => ServerKind::Sanic,
        ServerName::Aiohttp => ServerKind::Aiohttp,
    }
}
