//! [`ServiceSearch`]: finds the service of a project.
//!
//! Evidence in the order of belief: the settings, `[tool.fastapi]`, commands in the repository
//! (`Procfile`, `Dockerfile`), `manage.py`, objects in the usual files, a Streamlit script, a console
//! script of the project, a program that the repository starts, and objects in other files. Flask's
//! server for development is the last resort, for a repository that starts it itself. Commands of the
//! repository are evidence: [`super::hint_fates`] names the words that are taken from them.

mod choice;
mod console;
mod flask_cli;
mod serving_module;

use std::fmt::{self, Write as _};

use serde::Serialize;

use self::choice::with_article;
use super::command::{self, servers_for};
use super::distributions::Distributions;
use super::django::DjangoProject;
use super::error::ServiceError;
use super::hints::{HintRole, Hints};
use super::server::{Server, ServerKind, is_loopback};
use crate::progress::Warning;
use crate::project::Project;
use crate::python::application::framework::{Framework, Interface};
use crate::python::application::module::{Module, Run};
use crate::python::application::resolve::Resolver;
use crate::python::application::{self, Application, ApplicationError, SourceTree, module_files};
use crate::settings::ServerName;

/// Usual names of Streamlit's script.
const STREAMLIT_FILES: [&str; 8] =
    ["streamlit_app.py", "app.py", "main.py", "Home.py", "home.py", "Hello.py", "app/main.py", "src/app.py"];
/// Usual names of NiceGUI's script.
const NICEGUI_FILES: [&str; 4] = ["main.py", "app.py", "src/main.py", "app/main.py"];
/// Usual names of the file that describes Pyramid's application.
const PYRAMID_FILES: [&str; 3] = ["production.ini", "config/production.ini", "etc/production.ini"];
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

/// Files that declare the dependencies of a project in a folder.
const DECLARATIONS: [&str; 4] = ["pyproject.toml", "requirements.txt", "Pipfile", "setup.py"];

/// The service of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// The application of `{app}`, or of the module that is run; `None` for any other program.
    pub(crate) application: Option<Application>,
    /// The started program.
    pub(crate) program: Program,
    /// The answers with their evidence, in the order to print.
    pub(crate) findings: Vec<Finding>,
}

/// A program that serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// The words of its command, with placeholders.
    pub(crate) command: Vec<String>,
    /// Variables of the image that it reads; `{host}` in a value is the address to listen on, `{workdir}` the folder
    /// of the source.
    pub(crate) env: Vec<(String, String)>,
    /// Variables from which it reads its port.
    pub(crate) port_variables: Vec<String>,
    /// The port that it listens on by itself.
    pub(crate) port: Option<u16>,
    /// The signal that stops it, if SIGTERM does not.
    pub(crate) stop_signal: Option<&'static str>,
    /// The call in its source that binds the loopback address, with file and line.
    pub(crate) loopback: Option<String>,
    /// Warnings about its port and its arguments.
    pub(crate) warnings: Vec<Warning>,
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
    pub(crate) hints: Vec<StartHint>,
    /// Folders of the source from which commands of the repository import, with file and line; empty for the
    /// root.
    pub(crate) python_path: Option<(Vec<String>, String)>,
    /// The settings give arguments of the program.
    pub(crate) has_arguments: bool,
    /// The address in a configuration file of gunicorn, with file and line, if it does not follow `PORT`.
    pub(crate) gunicorn_address: Option<String>,
    /// The application in a configuration file of gunicorn, with file and line.
    pub(crate) gunicorn_application: Option<(String, String)>,
    /// Finds a named application in the installed distributions.
    pub(crate) installed: &'a dyn Fn(&str) -> Result<Option<Application>, ApplicationError>,
}

/// A service before the choice of a server.
struct Candidate {
    start: CandidateStart,
    framework: Option<Framework>,
    /// Variables of the image that the application reads.
    env: Vec<(String, String)>,
    findings: Vec<Finding>,
}

enum CandidateStart {
    /// An application with its interface, if known.
    Application(Application, Option<Interface>),
    /// A program with a server of its own.
    Program(Program),
}

impl Candidate {
    fn of_application(application: Application, reason: impl Into<String>) -> Self {
        let mut findings = Vec::new();
        let (mut framework, mut interface) = (None, None);
        if let Some(constructor) = &application.constructor {
            let place = format!("{}:{}", constructor.file, constructor.line);
            findings.push(Finding::new("framework", constructor.framework.name(), place));
            framework = Some(constructor.framework);
            interface = Some(constructor.interface);
        }
        findings.push(Finding::new("application", application.reference(), reason));
        let start = CandidateStart::Application(application, interface);
        Self { start, framework, env: Vec::new(), findings }
    }

    fn of_program(program: Program, framework: Option<Framework>, reason: &str) -> Self {
        let mut findings = Vec::new();
        if let Some(framework) = framework {
            findings.push(Finding::new("framework", framework.name(), reason));
        }
        findings.push(Finding::new("program", program.command.join(" "), reason));
        Self { start: CandidateStart::Program(program), framework, env: Vec::new(), findings }
    }
}

impl Program {
    /// Makes a program of Python. The kernel ignores signals without a handler for process 1, and Python
    /// has a handler for SIGINT.
    fn of_python(command: Vec<String>) -> Self {
        Self { command, stop_signal: Some("SIGINT"), ..Self::default() }
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
        let flask = self.flask_cli(&candidate);
        let found = self.served(candidate).or_else(|error| {
            // The project may bring a server that no setting names.
            let is_open = matches!(error, ServiceError::NoServer { .. });
            let program = is_open.then(|| self.console_script().or_else(|| self.hinted_program())).flatten();
            match (program, flask.filter(|_| is_open)) {
                (Some(program), _) => self.served(program),
                (None, Some(service)) => Ok(service),
                (None, None) => Err(error),
            }
        });
        match found {
            Ok(service) => (service.findings.clone(), Ok(service)),
            Err(error) => (findings, Err(error)),
        }
    }

    /// Chooses the server for a candidate.
    fn served(&self, candidate: Candidate) -> Result<Service, ServiceError> {
        let Candidate { start, framework, env, mut findings } = candidate;
        let (application, interface) = match start {
            CandidateStart::Program(program) => return Ok(Service { application: None, program, findings }),
            CandidateStart::Application(application, interface) => (application, interface),
        };
        let interface = interface.unwrap_or_else(|| self.likely_interface(&application));
        if self.is_program(interface) {
            let package = application.module.split('.').next().unwrap_or_default();
            let is_own = |candidate: &Candidate| match &candidate.start {
                CandidateStart::Program(program) => {
                    program.command.get(1..3).is_some_and(|words| words[0] == "-m" && words[1] == package)
                }
                CandidateStart::Application(..) => false,
            };
            let hinted = self.hinted_program().filter(is_own);
            if let Some(Candidate { start: CandidateStart::Program(program), findings: more, .. }) = hinted {
                findings.extend(more);
                return Ok(Service { application: Some(application), program, findings });
            }
            if self.is_package_without_main(&application) {
                let suitable = servers_for(interface, framework);
                return Err(self.no_server(&application, framework, interface, &suitable));
            }
            let (program, reason) = self.program_of(&application, framework);
            findings.push(Finding::new("command", program.command.join(" "), reason));
            return Ok(Service { application: Some(application), program, findings });
        }
        let (kind, reason) = self.server(&application, framework, interface)?;
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
        let command = command::command(kind, interface, &application, self.distributions, class.as_deref());
        let mut reason = format!("for {}", with_article(interface, "application"));
        if let Some(place) = self.gunicorn_address.as_ref().filter(|_| kind == ServerKind::Gunicorn) {
            let _ = write!(reason, ", with an address in place of {place}");
        }
        findings.push(Finding::new("command", command.join(" "), reason));
        let mut program = Program { command, env, ..Program::default() };
        if kind == ServerKind::Uvicorn
            && command::reads_no_variables(self.distributions)
            && !application.directory.is_empty()
        {
            let folder = format!("{{workdir}}/{}", application.directory);
            program.env.push(("PYTHONPATH".to_owned(), folder));
        }
        Ok(Service { application: Some(application), program, findings })
    }

    /// Finds the application or the program.
    fn candidate(&self) -> Result<Candidate, ServiceError> {
        let settings = self.app.map(|named| (named, "app of the settings"));
        let entrypoint = self.project.fastapi_entrypoint.as_deref();
        let named = settings.or(entrypoint.map(|named| (named, "[tool.fastapi] of pyproject.toml")));
        if let Some((named, reason)) = named {
            return Ok(Candidate::of_application(self.named(named)?, reason));
        }
        if let Some(candidate) = self.hints.iter().find_map(|hint| self.of_hint(hint)) {
            return Ok(candidate);
        }
        if let Some((named, place)) = &self.gunicorn_application
            && let Ok(application) = self.named(named)
        {
            return Ok(Candidate::of_application(application, format!("{place}: wsgi_app")));
        }
        if let Some(candidate) = self.django().or_else(|| self.nicegui()).or_else(|| self.pyramid()) {
            return Ok(candidate);
        }
        let found = application::find_usual(self.sources, &self.project.name);
        if let Ok(application) = &found
            && application.constructor.is_some()
        {
            let reason = "the first application in the usual files";
            let mut candidate = Candidate::of_application(application.clone(), reason);
            candidate.findings.extend(self.alternatives(application));
            return Ok(candidate);
        }
        let program = self.streamlit().or_else(|| self.console_script()).or_else(|| self.hinted_program());
        if let Some(candidate) = program {
            return Ok(candidate);
        }
        if let Ok(application) = found {
            let reason = "the usual name; the source does not show its framework";
            return Ok(Candidate::of_application(application, reason));
        }
        match application::find(self.sources, None, &self.project.name) {
            Ok(application) => {
                Ok(Candidate::of_application(application, "the only application in the source"))
            }
            Err(error) => self
                .installed_program()
                .or_else(|| self.serving_module())
                .ok_or_else(|| self.undeclared_streamlit().unwrap_or_else(|| self.no_service(error))),
        }
    }

    /// Returns findings for further applications in the usual files.
    fn alternatives(&self, chosen: &Application) -> Vec<Finding> {
        let others = application::alternatives(self.sources, &self.project.name, chosen).into_iter();
        let finding = |other: Application| {
            let constructor = other.constructor.as_ref()?;
            let place = format!("{}:{}", constructor.file, constructor.line);
            let answer = format!("{} ({})", other.reference(), constructor.framework.name());
            Some(Finding::new("candidate", answer, format!("{place}; to choose it, set app")))
        };
        others.filter_map(finding).collect()
    }

    fn no_service(&self, error: ApplicationError) -> ServiceError {
        let Some(first) = self.project.scripts.first() else { return error.into() };
        let module = self.project.script_objects.get(first).and_then(|object| object.split(':').next());
        let main =
            module.filter(|module| self.sources.has(&format!("{}/__main__.py", module.replace('.', "/"))));
        let command = match main {
            Some(module) => ["{python}", "-m", module].map(str::to_owned).to_vec(),
            None => self.script_command(first),
        };
        ServiceError::NoService { error, scripts: self.project.scripts.clone(), command }
    }

    fn hinted_program(&self) -> Option<Candidate> {
        self.hints
            .iter()
            .find_map(|hint| self.program_of_hint(hint))
            .map(|candidate| self.with_python_path(candidate))
    }

    /// Adds the folders from which the repository's program imports.
    fn with_python_path(&self, mut candidate: Candidate) -> Candidate {
        let CandidateStart::Program(program) = &mut candidate.start else { return candidate };
        let Some((folders, place)) = &self.python_path else { return candidate };
        let path = |folder: &String| match folder.as_str() {
            "" => "{workdir}".to_owned(),
            folder => format!("{{workdir}}/{folder}"),
        };
        let value = folders.iter().map(path).collect::<Vec<_>>().join(":");
        program.env.push(("PYTHONPATH".to_owned(), value.clone()));
        candidate.findings.push(Finding::new("imports", value, format!("{place}: PYTHONPATH")));
        candidate
    }

    /// Returns the program of a distribution that a command of the repository starts: `mlflow server`.
    fn installed_program(&self) -> Option<Candidate> {
        if self.distributions.is_unknown() {
            return None;
        }
        let found = self.hints.iter().find_map(|hint| self.installed_program_of(hint));
        found.map(|candidate| self.with_python_path(candidate))
    }

    /// Finds an application by its name, in the source or else in the installed distributions.
    fn named(&self, named: &str) -> Result<Application, ApplicationError> {
        application::find_in_source_or_installed(self.sources, named, self.installed)
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
            return Some(streamlit_script(&file, &reason));
        }
        let default = || self.default_application(&server, &hint.directory);
        let mut named = server.application().map(str::to_owned).or_else(default)?;
        let is_factory = ["--factory", "--call"].iter().any(|option| server.has_option(option));
        if is_factory && !named.ends_with(')') {
            named += "()";
        }
        let application = self.named(&named).ok()?;
        let mut candidate = Candidate::of_application(application, reason);
        // The source does not show the framework.
        if let CandidateStart::Application(_, interface @ None) = &mut candidate.start {
            *interface = interface_of(&server);
        }
        Some(candidate)
    }

    /// Returns the application of a server that has a default attribute: that in the command, else that
    /// in uWSGI's configuration file.
    fn default_application(&self, server: &Server, directory: &str) -> Option<String> {
        if let Some(named) = server.default_application() {
            return Some(named);
        }
        let file =
            server.config_file().filter(|file| server.kind == ServerKind::Uwsgi && file.ends_with(".ini"))?;
        let file = file.trim_start_matches("./");
        let places = [format!("{directory}/{file}"), file.to_owned()];
        let text = places.iter().find_map(|file| self.sources.text(file.trim_start_matches('/')))?;
        let server = Server::of_uwsgi_file(&text);
        server.application().map(str::to_owned).or_else(|| server.default_application())
    }

    fn django(&self) -> Option<Candidate> {
        let project = DjangoProject::find(self.sources).filter(|_| self.distributions.has("django"))?;
        let place = format!("{}:{}: {}", project.manage, project.line, project.settings);
        let Some((named, interface)) = project.application(self.distributions) else {
            return self.django_without_module(&project, place);
        };
        let application = application::find(self.sources, Some(named), &self.project.name).ok()?;
        let mut candidate = Candidate::of_application(application.clone(), place.clone());
        if candidate.framework.is_none() {
            candidate.framework = Some(Framework::Django);
            candidate.findings.insert(0, Finding::new("framework", Framework::Django.name(), place));
        }
        candidate.start = CandidateStart::Application(application, Some(interface));
        Some(candidate)
    }

    /// Returns the application that Django makes of the settings, for a project without `wsgi.py` and
    /// `asgi.py`.
    fn django_without_module(&self, project: &DjangoProject, place: String) -> Option<Candidate> {
        let (named, interface) = DjangoProject::own_application(self.distributions);
        let found = (self.installed)(named).ok().flatten();
        let application = found.or_else(|| named.parse().ok())?;
        let directory = project.folder().trim_end_matches('/').to_owned();
        let mut candidate =
            Candidate::of_application(Application { directory, ..application.clone() }, place.clone());
        let CandidateStart::Application(_, of_django) = &mut candidate.start else { return None };
        *of_django = Some(interface);
        candidate.framework = Some(Framework::Django);
        candidate.findings.insert(0, Finding::new("framework", Framework::Django.name(), place));
        candidate.env.push(("DJANGO_SETTINGS_MODULE".to_owned(), project.settings.clone()));
        Some(candidate)
    }

    fn streamlit(&self) -> Option<Candidate> {
        let file = self.distributions.has("streamlit").then(|| self.streamlit_file())??;
        let reason = format!("{file} imports streamlit");
        Some(streamlit_script(&file, &reason))
    }

    /// Returns the error of a Streamlit script without the distribution, which some platforms always install.
    fn undeclared_streamlit(&self) -> Option<ServiceError> {
        let what = format!("`{}` is a Streamlit script", self.streamlit_file()?);
        let help = self.declare(ServerKind::Streamlit, "streamlit");
        let name = "streamlit".to_owned();
        Some(ServiceError::NoServer { what, servers: vec![name.clone()], requirement: Some(name), help })
    }

    fn streamlit_file(&self) -> Option<String> {
        let resolver = Resolver::new(self.sources);
        let imports = |file: &str| {
            let is_named = |dotted: &str| dotted == "streamlit" || dotted.starts_with("streamlit.");
            resolver.module(file).is_some_and(|module| {
                module.origins.values().any(|origin| origin.level == 0 && is_named(&origin.dotted))
            })
        };
        let usual = STREAMLIT_FILES.into_iter().find(|file| self.sources.has(file) && imports(file));
        let only = || {
            let modules = self.sources.modules();
            let is_test = |file: &str| file.starts_with("test_") || file.ends_with("_test.py");
            let mut root =
                modules.iter().filter(|file| !file.contains('/') && !is_test(file) && imports(file));
            let first = root.next()?;
            root.next().is_none().then(|| first.clone())
        };
        usual.map(str::to_owned).or_else(only)
    }

    /// Returns the program of a Pyramid project whose application is described by an ini file, as
    /// `pserve` reads it.
    fn pyramid(&self) -> Option<Candidate> {
        let has = |name: &str| self.distributions.has(name);
        if self.distributions.is_unknown() || !has("pyramid") {
            return None;
        }
        let named = self.hints.iter().find_map(|hint| {
            let is_pserve = hint.words.first().is_some_and(|word| word.ends_with("pserve"));
            let file = hint.words.iter().filter(|_| is_pserve).find(|word| word.ends_with(".ini"))?;
            Some((file.trim_start_matches("./").to_owned(), format!("{} starts it", hint.place())))
        });
        let usual = || PYRAMID_FILES.into_iter().find(|file| self.sources.has(file));
        let (file, reason) =
            named.or_else(|| usual().map(|file| (file.to_owned(), format!("{file}: [app:main]"))))?;
        let text = self.sources.text(&file)?;
        if !text
            .lines()
            .any(|line| matches!(line.trim(), "[app:main]" | "[composite:main]" | "[pipeline:main]"))
        {
            return None;
        }
        let command = if has("gunicorn") {
            let words = [
                "{venv}/bin/gunicorn",
                "--bind",
                "{host}:{port}",
                "--graceful-timeout",
                "{grace}",
                "--paste",
            ];
            words.map(str::to_owned).into_iter().chain([file]).collect()
        } else if has("waitress") {
            let serve = format!(
                "from pyramid.paster import get_app, setup_logging; from waitress import serve; \
                 setup_logging('{file}'); serve(get_app('{file}'), listen='{{host}}:{{port}}')"
            );
            if file.contains(['\'', '\\', '{']) {
                return None;
            }
            vec!["{python}".to_owned(), "-c".to_owned(), serve]
        } else {
            return None;
        };
        let program = if has("gunicorn") {
            Program { command, ..Program::default() }
        } else {
            Program::of_python(command)
        };
        Some(Candidate::of_program(program, Some(Framework::Pyramid), &reason))
    }

    /// Returns the script of a NiceGUI project: a file that calls `ui.run`.
    fn nicegui(&self) -> Option<Candidate> {
        if !self.distributions.has("nicegui") {
            return None;
        }
        let resolver = Resolver::new(self.sources);
        let starts = |file: &str| {
            let module = resolver.module(file).filter(|_| self.sources.has(file))?;
            let run = module.runs.iter().find(|run| module.qualified(&run.function) == "nicegui.ui.run")?;
            let place = format!("{file}:{}: {}", run.line, run.function);
            let program = Program {
                command: ["{python}", file].map(str::to_owned).to_vec(),
                // The default of `ui.run`.
                port: run.port.or(Some(8080)),
                loopback: run.host.as_deref().is_some_and(is_loopback).then(|| place.clone()),
                // Its server handles SIGTERM; after SIGINT, `ui.run` ends with a `KeyboardInterrupt`.
                ..Program::default()
            };
            Some(Candidate::of_program(program, Some(Framework::NiceGui), &place))
        };
        let others = || self.sources.modules().into_iter().filter(|file| !file.contains('/'));
        NICEGUI_FILES.into_iter().find_map(starts).or_else(|| others().find_map(|file| starts(&file)))
    }

    /// Returns true for an application in a package that `python -m` cannot run.
    fn is_package_without_main(&self, application: &Application) -> bool {
        let [file, package] = module_files(&application.directory, &application.module);
        let main = package.replace("/__init__.py", "/__main__.py");
        !self.sources.has(&file) && self.sources.has(&package) && !self.sources.has(&main)
    }

    /// Returns true if the module of an application with this interface is run, since no server of the
    /// image runs the application.
    fn is_program(&self, interface: Interface) -> bool {
        match interface {
            Interface::Program => true,
            Interface::Aiohttp => self.server.is_none() && !self.distributions.has("gunicorn"),
            Interface::Asgi | Interface::Wsgi => false,
        }
    }
}

/// Returns true for a call that binds the loopback address, by a literal or by the server's default.
fn binds_loopback(run: &Run) -> bool {
    match &run.host {
        Some(host) => is_loopback(host),
        None => !run.names_host && run.function.ends_with("uvicorn.run"),
    }
}

/// Returns true for a call of a known function that starts a server.
fn is_runner(module: &Module, run: &Run) -> bool {
    RUNNERS.contains(&module.qualified(&run.function).as_str())
}

/// Returns the interface that a command requires of its application; `None` if its server has several.
fn interface_of(server: &Server) -> Option<Interface> {
    match server.kind {
        ServerKind::Uvicorn | ServerKind::Daphne | ServerKind::Fastapi => Some(Interface::Asgi),
        ServerKind::Waitress | ServerKind::Uwsgi => Some(Interface::Wsgi),
        ServerKind::Granian => match server.option(&["--interface"])? {
            "wsgi" => Some(Interface::Wsgi),
            _ => Some(Interface::Asgi),
        },
        // Without the option, its configuration file may name a worker.
        ServerKind::Gunicorn => {
            let class = server.option(&["-k", "--worker-class"])?;
            if class.starts_with("aiohttp") {
                return Some(Interface::Aiohttp);
            }
            let is_asgi = ["uvicorn", "asgi"].iter().any(|name| class.contains(name));
            Some(if is_asgi { Interface::Asgi } else { Interface::Wsgi })
        }
        _ => None,
    }
}

/// Returns the program `streamlit run FILE`.
fn streamlit_script(file: &str, reason: &str) -> Candidate {
    // Streamlit opens a browser, and asks for a mail address on a terminal.
    let variables =
        [("STREAMLIT_SERVER_HEADLESS", "true"), ("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")];
    let program = Program {
        command: ["{venv}/bin/streamlit", "run", file].map(str::to_owned).to_vec(),
        env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..Program::default()
    };
    Candidate::of_program(program, Some(Framework::Streamlit), reason)
}

#[cfg(test)]
mod tests;
