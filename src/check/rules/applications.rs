//! IPO304 and IPO305: the application and the modules that a server's command names can be imported.
//!
//! Modules are searched as by [`ModuleSearch`] and parsed, never run.

use crate::check::diagnostic::{Diagnostic, Reporter};
use crate::check::image::CheckedImage;
use crate::check::modules::{FoundModule, ModuleSearch, relative};
use crate::image::shell;
use crate::plan::launcher::launched;
use crate::plan::start::{ImageFiles as _, PythonTarget, is_python, python_target};
use crate::python::application::imports::Start;
use crate::python::application::module::Module;
use crate::service::server::{Server, ServerKind};
use crate::tree::ImagePath;

use super::sources::script;

/// Programs that start the rest of their words.
const WRAPPERS: [&str; 6] = ["env", "tini", "tini-static", "dumb-init", "docker-init", "catatonit"];
/// Options of servers with a value of the form `A:B`.
const OPTIONS_WITH_PAIRS: [&str; 8] =
    ["--header", "-b", "--bind", "-e", "--env", "--access-logformat", "--forwarded-allow-ips", "--http"];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    // Without a Python, the layers below are not known.
    if image.pythons.is_empty() || !reporter.wants(&["IPO304", "IPO305"]) {
        return;
    }
    let Some(command) = StartedCommand::of(image) else { return };
    if reporter.wants(&["IPO304"]) {
        for found in command.program_fault().into_iter().chain(command.application_fault()) {
            reporter.report(found);
        }
    }
    if reporter.wants(&["IPO305"]) {
        command.missing_parts().into_iter().for_each(|found| reporter.report(found));
    }
}

/// The command of an image, as far as it is known.
pub(super) struct StartedCommand<'a> {
    image: &'a CheckedImage,
    search: ModuleSearch<'a>,
    /// Directories of imports in options of the command.
    directories: Vec<ImagePath>,
    words: Vec<String>,
    /// True if no script or unknown program runs before the command.
    is_direct: bool,
}

impl<'a> StartedCommand<'a> {
    pub(super) fn of(image: &'a CheckedImage) -> Option<Self> {
        let command = image.config.command();
        let words: Vec<String> = command.iter().skip_while(|word| is_wrapper(word)).cloned().collect();
        let behind_launcher = words.get(1..).and_then(launched).map(<[String]>::to_vec);
        let words = behind_launcher.unwrap_or(words);
        let (words, is_direct) = match shell::line(&words) {
            Some(line) => match shell::first_command(line) {
                Some(first) => (first, true),
                None => (line.split_whitespace().map(str::to_owned).collect(), false),
            },
            None => (words, true),
        };
        let first = words.first()?;
        let name = first.rsplit('/').next().unwrap_or(first);
        let is_server = Server::of(words.get(..1)?).is_some() || name == "waitress-serve";
        let is_direct = is_direct && (is_server || is_python(name));
        let search = ModuleSearch::new(image, image.main_python()?);
        let directories = import_directories(image, &words);
        let search = search.including(&directories);
        Some(Self { image, search, directories, words, is_direct })
    }

    /// Returns the first part of `module` that certainly cannot be imported.
    fn lacks(&self, module: &str) -> Option<String> {
        let FoundModule::Missing(part) = self.search.find(module) else { return None };
        let elsewhere = self.image.pythons.iter().any(|python| {
            let search = ModuleSearch::new(self.image, python).including(&self.directories);
            !matches!(search.find(module), FoundModule::Missing(_))
        });
        let top = module.split('.').next().unwrap_or(module);
        let is_possible = elsewhere || !self.is_direct && self.image.has_module(top) != Some(false);
        (!is_possible).then_some(part)
    }

    /// Returns the module with which the command starts, if it is known.
    pub(super) fn start(&self) -> Option<Start> {
        if let Some(server) = Server::of(&self.words) {
            return application(&server).map(|(module, _)| Start::Module(module.to_owned()));
        }
        let (program, arguments) = self.words.split_first()?;
        if !is_python(program.rsplit('/').next().unwrap_or(program)) {
            return None;
        }
        match python_target(arguments)? {
            PythonTarget::Module(module) => Some(Start::Program(module.to_owned())),
            PythonTarget::File(file) => Some(Start::Script(script(self.image, file)?)),
        }
    }

    /// Returns the fault of the module in `python -m MODULE`.
    fn program_fault(&self) -> Option<Diagnostic> {
        let (program, arguments) = self.words.split_first()?;
        if !is_python(program.rsplit('/').next().unwrap_or(program)) {
            return None;
        }
        let Some(PythonTarget::Module(module)) = python_target(arguments) else { return None };
        if !module.split('.').all(is_identifier) {
            return None;
        }
        if let Some(part) = self.lacks(module) {
            return Some(missing(&part, &format!("-m {module}")));
        }
        let folders = match self.search.find(module) {
            FoundModule::File { path, is_package: true } => path.parent().into_iter().collect(),
            FoundModule::Namespace(portions) => portions,
            _ => Vec::new(),
        };
        let has_main = |folder: &ImagePath| self.search.file(folder, "__main__").is_some();
        let first = folders.first().filter(|_| !folders.iter().any(has_main))?;
        Some(
            Diagnostic::new(
                "IPO304",
                format!("is a package without `__main__`, and the command runs `-m {module}`"),
            )
            .at(first)
            .with_help("name a module of the package, or add the module `__main__`"),
        )
    }

    /// Returns the fault of the application `MODULE:ATTRIBUTE`.
    fn application_fault(&self) -> Option<Diagnostic> {
        let server = Server::of(&self.words)?;
        let has_application = matches!(
            server.kind,
            ServerKind::Uvicorn
                | ServerKind::Gunicorn
                | ServerKind::Hypercorn
                | ServerKind::Granian
                | ServerKind::Daphne
                | ServerKind::Waitress
        );
        if !has_application || self.configures_directory(&server) {
            return None;
        }
        let (module, attribute) = application(&server)?;
        let named = format!("{module}:{attribute}");
        if let Some(part) = self.lacks(module) {
            return Some(missing(&part, &named));
        }
        let FoundModule::File { path, is_package } = self.search.find(module) else { return None };
        let source = self.image.text(&path).filter(|_| path.as_str().ends_with(".py"))?;
        let parsed = Module::read(&source)?;
        let attribute = attribute.split(['.', '(']).next().unwrap_or_default();
        let is_submodule = is_package
            && !matches!(self.search.find(&format!("{module}.{attribute}")), FoundModule::Missing(_));
        if is_submodule || !parsed.lacks(attribute) {
            return None;
        }
        let mut found = Diagnostic::new(
            "IPO304",
            format!("does not define `{attribute}`, and the command runs `{named}`"),
        )
        .at(&path)
        .of(self.image.owner(&path).as_ref())
        .with_help("correct the name in the command");
        if let Some(file) = self.image.source_file(&path) {
            found = found.in_source(file, None);
        }
        Some(found)
    }

    /// Returns true if the configuration of gunicorn may change the directory of imports.
    fn configures_directory(&self, server: &Server) -> bool {
        if server.kind != ServerKind::Gunicorn {
            return false;
        }
        let changes = |text: &str| text.contains("chdir") || text.contains("pythonpath");
        if changes(self.image.config.variable("GUNICORN_CMD_ARGS").unwrap_or_default()) {
            return true;
        }
        let name = server.config_file().unwrap_or("gunicorn.conf.py");
        let name = name.strip_prefix("file:").unwrap_or(name);
        let path = relative(&self.image.workdir(), name);
        let file = path.and_then(|path| self.image.find(&path));
        match file {
            Some((path, _)) => self.image.text(&path).is_none_or(|text| changes(&text)),
            // A module, or a file that is mounted.
            None => server.config_file().is_some(),
        }
    }

    /// Returns the faults of modules that options of the server name.
    fn missing_parts(&self) -> Vec<Diagnostic> {
        let Some(server) = Server::of(&self.words) else { return Vec::new() };
        let options = named_parts(&server, self.image);
        let mut found: Vec<Diagnostic> = options
            .iter()
            .filter_map(|(option, value, module)| {
                let part = self.lacks(module)?;
                let message =
                    format!("the command has `{option} {value}`, and the module `{part}` is not installed");
                Some(
                    Diagnostic::new("IPO305", message)
                        .with_help("install the distribution with the module, or drop the option"),
                )
            })
            .collect();
        found.dedup();
        found
    }
}

/// Returns the directories of imports in options and variables of the server in `words`.
fn import_directories(image: &CheckedImage, words: &[String]) -> Vec<ImagePath> {
    let Some(server) = Server::of(words) else { return Vec::new() };
    let options = ["--app-dir", "--chdir", "--pythonpath", "--working-dir"];
    let of_options = options.iter().filter_map(|name| server.option(std::slice::from_ref(name)));
    let values = of_options.chain(image.config.variable("UVICORN_APP_DIR"));
    values.flat_map(|value| value.split(',')).filter_map(|path| relative(&image.workdir(), path)).collect()
}

fn missing(part: &str, named: &str) -> Diagnostic {
    Diagnostic::new(
        "IPO304",
        format!("the command runs `{named}`, and the module `{part}` is not in the image"),
    )
    .with_help("correct the name, the working directory or PYTHONPATH, or add the module to the image")
}

fn is_wrapper(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    WRAPPERS.contains(&name) || word.starts_with('-')
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|letter| letter.is_alphabetic() || letter == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
}

/// Returns module and attribute of the application in a server's words.
fn application(server: &Server) -> Option<(&str, &str)> {
    let words = server.arguments();
    if let Some(named) = server.application() {
        let at = words.iter().position(|word| word == named)?;
        let before = at.checked_sub(1).and_then(|at| words.get(at)).map(String::as_str);
        if before.is_some_and(|before| OPTIONS_WITH_PAIRS.contains(&before)) {
            return None;
        }
        return named.split_once(':');
    }
    let module = server.default_application().filter(|_| server.kind == ServerKind::Gunicorn)?;
    let word = words.iter().find(|word| module.strip_suffix(":application") == Some(word.as_str()))?;
    Some((word, "application"))
}

/// Returns options of `server` that name an optional module: option, value, module.
fn named_parts(server: &Server, image: &CheckedImage) -> Vec<(&'static str, String, String)> {
    let mut parts = Vec::new();
    let option = |names: &'static [&'static str], variable: &str| {
        let of_variable = || image.config.variable(variable).map(str::to_owned);
        server.option(names).map(str::to_owned).or_else(of_variable)
    };
    let mut add = |name: &'static str, value: Option<String>, known: &[(&str, &str)]| {
        let Some(value) = value else { return };
        let module = known.iter().find(|(text, _)| *text == value).map(|(_, module)| (*module).to_owned());
        if let Some(module) = module {
            parts.push((name, value, module));
        }
    };
    match server.kind {
        ServerKind::Uvicorn => {
            add("--loop", option(&["--loop"], "UVICORN_LOOP"), &[("uvloop", "uvloop")]);
            add("--http", option(&["--http"], "UVICORN_HTTP"), &[("httptools", "httptools")]);
            let sockets =
                [("websockets", "websockets"), ("websockets-sansio", "websockets"), ("wsproto", "wsproto")];
            add("--ws", option(&["--ws"], "UVICORN_WS"), &sockets);
        }
        ServerKind::Granian => {
            add("--loop", option(&["--loop"], "GRANIAN_LOOP"), &[("uvloop", "uvloop"), ("rloop", "rloop")]);
        }
        ServerKind::Hypercorn => {
            let names = &["-k", "--worker-class"];
            add("--worker-class", option(names, ""), &[("uvloop", "uvloop"), ("trio", "trio")]);
        }
        ServerKind::Gunicorn => {
            let names = &["-k", "--worker-class"];
            let known = [
                ("gevent", "gevent"),
                ("gevent_wsgi", "gevent"),
                ("gevent_pywsgi", "gevent"),
                ("eventlet", "eventlet"),
                ("tornado", "tornado"),
            ];
            let value = option(names, "");
            add("--worker-class", value.clone(), &known);
            // The module of a class: `uvicorn_worker.UvicornWorker`.
            let class = value.filter(|class| class.split('.').all(is_identifier));
            if let Some((module, _)) = class.as_deref().and_then(|class| class.rsplit_once('.')) {
                parts.push(("--worker-class", class.clone().unwrap_or_default(), module.to_owned()));
            }
        }
        _ => {}
    }
    parts
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{SITE, TestImage};

    fn image() -> TestImage {
        let package = |image: TestImage, name: &str| image.file(&format!("{SITE}/{name}/__init__.py"), "");
        ["uvicorn", "gunicorn", "httptools", "uvicorn_worker"]
            .into_iter()
            .fold(TestImage::environment(), package)
            .file(&format!("{SITE}/uvicorn/__main__.py"), "")
            .file("app/main.py", "app = FastAPI()\n\ndef create(): ...\n")
            .file("app/open.py", "from main import *\n")
            .file("app/pkg/__init__.py", "def __getattr__(name): ...\n")
            .file("app/pkg/wsgi.py", "application = 1\n")
            .file("app/x/inner.py", "application = 1\n")
            .file("app/gunicorn.conf.py", "workers = 2\n")
    }

    fn found(command: &str) -> Vec<String> {
        let words: Vec<&str> = command.split('|').collect();
        let texts = image().command(&words).found("IPO304,IPO305");
        texts.into_iter().map(|text| text.replace("the command ", "")).collect()
    }

    #[test]
    fn applications_in_the_image_are_accepted() {
        for command in [
            "uvicorn|main:app|--port|80",
            "/app/.venv/bin/uvicorn|--factory|main:create",
            "uvicorn|main:create()",
            "uvicorn|open:anything",
            "uvicorn|pkg:anything",
            "uvicorn|--header|Server:none|main:app",
            "gunicorn|pkg.wsgi",
            "gunicorn|-w|4|pkg.wsgi",
            "gunicorn|pkg.wsgi:application|-k|uvicorn_worker.UvicornWorker",
            "gunicorn|pkg.wsgi|-k|gthread",
            "gunicorn|--chdir|x|inner",
            "uvicorn|--app-dir=/app/x|inner:application",
            "python|-m|uvicorn|main:app",
            "python|-um|pkg.wsgi",
            "python|manage.py",
            "sh|-c|exec uvicorn main:app --port $PORT",
            "sh|-c|cd pkg && uvicorn wsgi:application",
            "./entrypoint.sh|uvicorn|wsgi:application",
            "uvicorn|main:app|--loop|auto|--http|httptools|--ws|none",
        ] {
            assert_eq!(found(command), Vec::<String>::new(), "{command}");
        }
    }

    #[test]
    fn missing_modules_and_attributes_are_reported() {
        for (command, expected) in [
            ("uvicorn|web:app", "IPO304 runs `web:app`, and the module `web` is not in the image"),
            (
                "uvicorn|pkg.web:app",
                "IPO304 runs `pkg.web:app`, and the module `pkg.web` is not in the image",
            ),
            ("uvicorn|main:api", "IPO304 /app/main.py: does not define `api`, and runs `main:api`"),
            (
                "gunicorn|main",
                "IPO304 /app/main.py: does not define `application`, and runs `main:application`",
            ),
            ("tini|--|uvicorn|web:app", "IPO304 runs `web:app`, and the module `web` is not in the image"),
            ("sh|-c|uvicorn web:app", "IPO304 runs `web:app`, and the module `web` is not in the image"),
            (
                "./entrypoint.sh|uvicorn|web:app",
                "IPO304 runs `web:app`, and the module `web` is not in the image",
            ),
            ("python|-m|gone.main", "IPO304 runs `-m gone.main`, and the module `gone` is not in the image"),
            ("python|-m|pkg", "IPO304 /app/pkg: is a package without `__main__`, and runs `-m pkg`"),
            (
                "uvicorn|main:app|--loop=uvloop",
                "IPO305 has `--loop uvloop`, and the module `uvloop` is not installed",
            ),
            (
                "gunicorn|pkg.wsgi|-k|gevent",
                "IPO305 has `--worker-class gevent`, and the module `gevent` is not installed",
            ),
            (
                "gunicorn|pkg.wsgi|-k|uvicorn.workers.UvicornWorker",
                "IPO305 has `--worker-class uvicorn.workers.UvicornWorker`, and the module `uvicorn.workers` is not installed",
            ),
        ] {
            assert_eq!(found(command), [expected], "{command}");
        }
    }
}
