//! Programs of the project: console scripts, modules and files that serve by themselves.

use std::collections::{BTreeSet, VecDeque};

use super::{Candidate, Finding, Program, ServiceSearch, StartHint, binds_loopback, is_runner};
use crate::progress::Warning;
use crate::python::application::Application;
use crate::python::application::framework::Framework;
use crate::python::application::module::{CommandLine, Module, Run};
use crate::python::application::module_files;
use crate::python::application::resolve::Resolver;
use crate::python::application::signals::names_signal;
use crate::python::normalize;
use crate::service::hints::{ANY_HOST, PORT, is_unread};
use crate::service::server::{Server, is_loopback};

/// The most modules of a program that are read for its options.
const MOST_MODULES: usize = 40;
/// Programs with a distribution of another name.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("twistd", "twisted"),
    ("cherryd", "cherrypy"),
    ("superset", "apache-superset"),
    ("airflow", "apache-airflow"),
    ("jupyter", "jupyter-core"),
];
/// The usual options for the address to listen on.
const HOST_OPTIONS: [&str; 3] = ["--host", "--hostname", "--bind"];

/// The modules of a program, as far as they decide its command line.
struct ProgramModules {
    command_line: CommandLine,
    /// The file with the option `--port`.
    port_file: String,
    /// The file with the first required argument.
    required_file: String,
    /// One of them reads the variable `PORT`.
    reads_port: bool,
    /// One of them has a handler of SIGTERM.
    handles_sigterm: bool,
}

impl ServiceSearch<'_> {
    /// Returns the program that a command of the repository starts from the source: a file, a module or
    /// a console script of the project.
    pub(super) fn program_of_hint(&self, hint: &StartHint) -> Option<Candidate> {
        let (first, rest) = hint.words.split_first()?;
        let name = first.rsplit('/').next().unwrap_or(first);
        let reason = format!("{} starts it", hint.place());
        let is_python = name.starts_with("python");
        let rest = with_port(rest);
        if rest.iter().any(|word| is_unread(word)) {
            return None;
        }
        let rest = rest.as_slice();
        // The default command of an image whose user adds the arguments.
        let rest = if rest.iter().any(|word| word == "--help") { &[] } else { rest };
        let command: Vec<String> = if is_python {
            let options = rest.iter().take_while(|word| word.starts_with('-') && *word != "-m").count();
            let target = rest.get(options)?;
            let mut words = rest.to_vec();
            if target == "-m" {
                self.program_file(rest.get(options + 1)?)?;
            } else {
                let file = target.trim_start_matches("./");
                let inside = format!("{}/{file}", hint.directory);
                let found = [file.to_owned(), inside].into_iter().find(|file| self.sources.has(file));
                // A console script of the project, in the environment of the Dockerfile.
                let script = || {
                    let script = file.rsplit_once("/bin/").map(|(_, name)| name)?;
                    let is_known = self.project.scripts.iter().any(|known| known == script);
                    is_known.then(|| format!("{{venv}}/bin/{script}"))
                };
                *words.get_mut(options)? = found.or_else(script)?;
            }
            std::iter::once("{python}".to_owned()).chain(words).collect()
        } else {
            self.project.scripts.iter().any(|script| script == name).then_some(())?;
            self.script_command(name).into_iter().chain(rest.iter().cloned()).collect()
        };
        let command = following_ports(command, hint.port);
        // Django's own server is for development.
        Server::of(&command).is_none().then_some(())?;
        let program = Program { port: hint.port, ..Program::of_python(command) };
        Some(self.of_console_program(program, self.file_of_command(&hint.words), &reason))
    }

    /// Returns the program of a distribution that a command starts, with the distribution's name.
    pub(super) fn installed_program_of(&self, hint: &StartHint) -> Option<Candidate> {
        let (program, rest) = hint.words.split_first()?;
        let name = program.rsplit('/').next().unwrap_or(program);
        let rest = with_port(rest);
        let is_unread = rest.iter().any(|word| is_unread(word));
        let distribution = OTHER_NAMES.iter().find(|(program, _)| *program == name);
        let distribution = distribution.map_or_else(|| normalize(name), |(_, name)| (*name).to_owned());
        if is_unread || Server::of(&hint.words).is_some() || !self.distributions.has(&distribution) {
            return None;
        }
        let command = std::iter::once(format!("{{venv}}/bin/{name}")).chain(rest).collect();
        let command = following_ports(command, hint.port);
        let program = Program { port: hint.port, ..Program::of_python(command) };
        Some(Candidate::of_program(program, None, &format!("{} starts it", hint.place())))
    }

    /// Returns the file of the source that is run or imported as `module`, from the root or from `src`.
    pub(super) fn program_file(&self, module: &str) -> Option<String> {
        let main = format!("{module}.__main__");
        let files = ["", "src"].into_iter().flat_map(|directory| {
            let [program, _] = module_files(directory, &main);
            module_files(directory, module).into_iter().chain([program])
        });
        files.into_iter().find(|file| self.sources.has(file))
    }

    /// Returns a console script of the project: one that a command of the repository names, else one
    /// whose module starts a server.
    pub(super) fn console_script(&self) -> Option<Candidate> {
        let is_script = |hint: &&StartHint| {
            let name = hint.words.first().and_then(|word| word.rsplit('/').next());
            self.project.scripts.iter().any(|script| Some(script.as_str()) == name)
        };
        let mut hinted = self.hints.iter().filter(is_script).filter_map(|hint| self.program_of_hint(hint));
        if let Some(hinted) = hinted.next() {
            return Some(self.with_python_path(hinted));
        }
        let resolver = Resolver::new(self.sources);
        self.project.script_objects.iter().find_map(|(name, object)| {
            let file = self.program_file(object.split(':').next()?)?;
            let module = resolver.module(&file)?;
            let run = module.runs.iter().find(|run| is_runner(&module, run))?;
            let place = format!("{file}:{}: {}", run.line, run.function);
            let program = Program {
                port: run.port,
                loopback: binds_loopback(run).then(|| place.clone()),
                ..Program::of_python(self.script_command(name))
            };
            Some(self.of_console_program(program, Some(file), &place))
        })
    }

    /// Returns the command of a console script of the project. Without the project's distribution in the
    /// image, as for a project without a build system, it calls the script's function.
    pub(super) fn script_command(&self, name: &str) -> Vec<String> {
        let own = normalize(&self.project.name);
        let object = self.project.script_objects.get(name);
        let call = object.filter(|_| !own.is_empty() && !self.distributions.has(&own)).and_then(|object| {
            let (module, function) = object.split_once(':')?;
            let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
            let file = self.program_file(module)?;
            [module, function, name].into_iter().all(is_name).then_some(())?;
            let path = if file.starts_with("src/") { "sys.path.insert(0, 'src'); " } else { "" };
            let first = function.split('.').next()?;
            Some(format!(
                "import sys; {path}from {module} import {first}; sys.argv[0] = '{name}'; sys.exit({function}())"
            ))
        });
        match call {
            Some(call) => vec!["{python}".to_owned(), "-c".to_owned(), call],
            None => vec![format!("{{venv}}/bin/{name}")],
        }
    }

    /// Returns the file of the source that a command starts: a file, a module or a console script.
    fn file_of_command(&self, words: &[String]) -> Option<String> {
        let (first, rest) = words.split_first()?;
        let name = first.rsplit('/').next().unwrap_or(first);
        let of_script = |name: &str| {
            let object = self.project.script_objects.get(name)?;
            self.program_file(object.split(':').next()?)
        };
        if !name.starts_with("python") {
            return of_script(name);
        }
        let mut rest = rest.iter().skip_while(|word| word.starts_with('-') && *word != "-m");
        let target = rest.next()?;
        if target == "-m" {
            let module = rest.next()?;
            let main = ["", "src/"].map(|folder| format!("{folder}{}/__main__.py", module.replace('.', "/")));
            let main = main.into_iter().find(|file| self.sources.has(file));
            return main.or_else(|| self.program_file(module));
        }
        let file = target.trim_start_matches("./");
        let script = || of_script(file.rsplit_once("/bin/")?.1);
        Some(file.to_owned()).filter(|file| self.sources.has(file)).or_else(script)
    }

    /// Returns true if a command of the settings starts a program of the source without a handler of
    /// SIGTERM. Commands of `manage.py` may bring one.
    pub(crate) fn ignores_sigterm(&self, command: &[String]) -> bool {
        let words: Vec<String> = command.iter().map(|word| word.replace("{python}", "python")).collect();
        let file = self.file_of_command(&words).filter(|file| !file.ends_with("manage.py"));
        let modules = file.and_then(|file| self.program_modules(&file));
        modules.is_some_and(|modules| !modules.handles_sigterm) && Server::of(command).is_none()
    }

    /// Returns the candidate of a program that starts in `file`: with its options for port and host if it
    /// has some, else with warnings about its own port and its required arguments.
    pub(super) fn of_console_program(
        &self,
        mut program: Program,
        file: Option<String>,
        reason: &str,
    ) -> Candidate {
        let follows = |program: &Program| program.command.iter().any(|word| word.contains(PORT));
        let modules = file.and_then(|file| self.program_modules(&file));
        if modules.as_ref().is_some_and(|modules| modules.handles_sigterm) {
            program.stop_signal = None;
        }
        let Some(modules) = modules.filter(|_| !self.has_arguments) else {
            return Candidate::of_program(program, None, reason);
        };
        let name = match program.command.as_slice() {
            [python, option, name, ..] if python == "{python}" && option == "-m" => name.clone(),
            [python, option, code, ..] if python == "{python}" && option == "-c" => {
                let script = self.project.scripts.iter().find(|name| code.contains(&format!("= '{name}';")));
                script.unwrap_or(&self.project.name).clone()
            }
            [python, file, ..] if python == "{python}" => file.clone(),
            [program, ..] => program.trim_start_matches("{venv}/bin/").to_owned(),
            [] => String::new(),
        };
        let line = &modules.command_line;
        let mut findings = Vec::new();
        let mut warnings = Vec::new();
        let is_bare = program.command.len() <= bare_length(&program.command);
        let port = line.option("--port").filter(|_| !line.has_commands && !follows(&program));
        if let Some(port) = port.filter(|_| is_bare || program.port.is_none()) {
            let place = format!("{}:{}", modules.port_file, port.line);
            program.command.extend(["--port".to_owned(), PORT.to_owned()]);
            program.port = program.port.or_else(|| port.default.as_ref()?.parse().ok());
            let host = HOST_OPTIONS.into_iter().find_map(|name| Some((name, line.option(name)?)));
            let is_given =
                HOST_OPTIONS.iter().any(|name| program.command.iter().any(|word| word.starts_with(name)));
            if let Some((name, option)) = host.filter(|_| !is_given)
                && option.default.as_deref().is_none_or(is_loopback)
            {
                program.command.extend([name.to_owned(), "{host}".to_owned()]);
                program.loopback = None;
            }
            findings.push(Finding::new("port", "follows PORT", format!("{place}: the option --port")));
        } else if !follows(&program) && program.port_variables.is_empty() && !modules.reads_port {
            findings.push(Finding::new("port", own_port(program.port), format!("{name} does not read PORT")));
            warnings.push(port_warning(&name, program.port));
        }
        if let Some((argument, at)) = line.required.first().filter(|_| is_bare && !line.has_commands) {
            let place = format!("{}:{at}", modules.required_file);
            findings.push(Finding::new("arguments", format!("needs `{argument}`"), place.clone()));
            let message = format!("{name} does not start without `{argument}` ({place})");
            warnings
                .push(Warning::new("cmd", message).with_help("give it with cmd = [\"…\"] in [tool.ipo-oci]"));
        }
        program.warnings = warnings;
        let mut candidate = Candidate::of_program(program, None, reason);
        candidate.findings.extend(findings);
        candidate
    }

    /// Returns the program that runs an application's own module, with the reason.
    pub(super) fn program_of(
        &self,
        application: &Application,
        framework: Option<Framework>,
    ) -> (Program, String) {
        let command = ["{python}", "-m", &application.module].map(str::to_owned).to_vec();
        let resolver = Resolver::new(self.sources);
        let files = module_files(&application.directory, &application.module);
        let object = application.attribute.split('.').next().unwrap_or_default();
        let run = files.iter().filter(|file| self.sources.has(file)).find_map(|file| {
            let module = resolver.module(file)?;
            let listens = framework == Some(Framework::Tornado);
            let is_own = |run: &&Run| {
                run.function.split('.').next() == Some(object)
                    || is_runner(&module, run)
                    || (listens && run.function.ends_with(".listen"))
            };
            module.runs.iter().find(is_own).map(|run| (file, run.clone()))
        });
        let loopback = run.as_ref().filter(|(_, run)| binds_loopback(run));
        let loopback = loopback.map(|(file, run)| format!("{file}:{}: {}", run.line, run.function));
        let run = run.map(|(_, run)| run);
        let reason = match &run {
            Some(run) => format!("its module calls {} in line {}", run.function, run.line),
            None => "its framework has a server of its own".to_owned(),
        };
        let port = run.and_then(|run| run.port);
        let mut program = Program { port, loopback, ..Program::of_python(command) };
        if framework == Some(Framework::Gradio) {
            program.env.push(("GRADIO_SERVER_NAME".to_owned(), "{host}".to_owned()));
            program.env.push(("GRADIO_ANALYTICS_ENABLED".to_owned(), "False".to_owned()));
            program.port_variables.push("GRADIO_SERVER_PORT".to_owned());
            return (program, reason);
        }
        let file = files.into_iter().find(|file| self.sources.has(file));
        let Some(modules) = file.and_then(|file| self.program_modules(&file)) else {
            return (program, reason);
        };
        if modules.handles_sigterm {
            program.stop_signal = None;
        }
        let option = modules.command_line.option("--port");
        if framework == Some(Framework::Tornado) {
            // `tornado.options` reads `--NAME=VALUE`.
            program.port = program.port.or_else(|| option?.default.as_ref()?.parse().ok());
            program.command.extend(option.map(|_| format!("--port={PORT}")));
        } else {
            // The default of `aiohttp.web.run_app`.
            program.port = program.port.or(Some(8080));
        }
        if !modules.reads_port && !program.command.iter().any(|word| word.contains(PORT)) {
            program.warnings.push(port_warning(&application.module, program.port));
        }
        (program, reason)
    }

    /// Reads the modules of the project that the program in `file` imports, directly or indirectly.
    fn program_modules(&self, file: &str) -> Option<ProgramModules> {
        let resolver = Resolver::new(self.sources);
        let mut found = ProgramModules {
            command_line: CommandLine::default(),
            port_file: String::new(),
            required_file: String::new(),
            reads_port: false,
            handles_sigterm: false,
        };
        let mut seen = BTreeSet::new();
        let mut next = VecDeque::from([(file.to_owned(), 0_usize)]);
        while let Some((file, depth)) = next.pop_front() {
            if seen.len() >= MOST_MODULES || !seen.insert(file.clone()) {
                continue;
            }
            let Some(module) = resolver.module(&file) else { continue };
            let line = &module.command_line;
            // Modules further away may have a command line of their own.
            if depth <= 1 {
                if found.command_line.required.is_empty() {
                    found.required_file.clone_from(&file);
                }
                if found.command_line.option("--port").is_none() {
                    found.port_file.clone_from(&file);
                }
                found.command_line.extend(line);
            }
            let text = self.sources.text(&file).unwrap_or_default();
            found.reads_port |= ["\"PORT\"", "'PORT'"].iter().any(|name| text.contains(name));
            found.handles_sigterm |= names_signal(&text, "SIGTERM");
            next.extend(self.imported_files(&file, &module).into_iter().map(|file| (file, depth + 1)));
        }
        (!seen.is_empty()).then_some(found)
    }

    /// Returns the files of the source that a module imports.
    fn imported_files(&self, file: &str, module: &Module) -> Vec<String> {
        let base = if file.starts_with("src/") { "src" } else { "" };
        let mut found = Vec::new();
        for import in &module.imports {
            let (directory, name) = match import.level {
                0 => (base.to_owned(), import.module.clone()),
                level => {
                    let folders = std::path::Path::new(file).ancestors().nth(level as usize);
                    let folder = folders.and_then(std::path::Path::to_str).unwrap_or_default();
                    (folder.to_owned(), import.module.clone())
                }
            };
            let modules = import.names.iter().map(|each| match name.as_str() {
                "" => each.clone(),
                name => format!("{name}.{each}"),
            });
            for module in modules.chain([name.clone()]).filter(|module| !module.is_empty()) {
                found.extend(
                    module_files(&directory, &module).into_iter().find(|file| self.sources.has(file)),
                );
            }
        }
        found
    }
}

fn own_port(port: Option<u16>) -> String {
    port.map_or_else(|| "its own port".to_owned(), |port| format!("port {port}"))
}

/// Returns the warning about a program that listens on a port of its own.
fn port_warning(name: &str, port: Option<u16>) -> Warning {
    let message = format!("{name} does not read the variable PORT: it listens on {}", own_port(port));
    let help = "give its option with cmd = [\"--port\", \"{port}\"], as it names the option, or read PORT in the source; \
                otherwise, set port to its own";
    Warning::new("port", message).with_help(help)
}

/// Returns the number of words of a command without arguments.
fn bare_length(command: &[String]) -> usize {
    match command {
        [python, option, _, ..] if python == "{python}" && (option == "-m" || option == "-c") => 3,
        [python, ..] if python == "{python}" => 2,
        _ => 1,
    }
}

/// Replaces values that only a container has by the placeholder of the port, in the options for a port:
/// `--port ${API_PORT}`, `-b 0.0.0.0:${API_PORT}`.
fn with_port(words: &[String]) -> Vec<String> {
    let mut option = "";
    let replaced = words.iter().map(|word| {
        let is_value = ["--port", "-p"].contains(&std::mem::replace(&mut option, word));
        let is_variable = |text: &str| text.starts_with("${") && text.ends_with('}');
        let (start, value) = match word.rsplit_once([':', '=']) {
            Some((_, value)) => (&word[..word.len() - value.len()], value),
            None => ("", word.as_str()),
        };
        let is_address =
            ["--port=", "-p="].contains(&start) || ANY_HOST.iter().any(|host| start.ends_with(host));
        let is_port = if start.is_empty() { is_value } else { is_address };
        if is_port && is_variable(value) { format!("{start}{PORT}") } else { word.clone() }
    });
    replaced.collect()
}

/// Replaces `port` in the options and addresses of a command by the placeholder.
fn following_ports(command: Vec<String>, port: Option<u16>) -> Vec<String> {
    let text = port.map(|port| port.to_string());
    let mut is_value = false;
    let follow = |word: String| {
        let was_option = std::mem::replace(&mut is_value, word == "--port" || word == "-p");
        match word.strip_prefix("--port=") {
            Some(value) if Some(value) == text.as_deref() => format!("--port={PORT}"),
            None if was_option && Some(word.as_str()) == text.as_deref() => PORT.to_owned(),
            _ => following_port(&word, port),
        }
    };
    command.into_iter().map(follow).collect()
}

/// Replaces `port` in the addresses of a word, `--hosts=0.0.0.0:80,[::]:80`, by the placeholder.
fn following_port(word: &str, port: Option<u16>) -> String {
    let Some(port) = port else { return word.to_owned() };
    let address = |text: &str| {
        let (option, address) =
            text.rsplit_once('=').map_or(("", text), |(option, address)| (option, address));
        let host = ANY_HOST.iter().find(|host| address == format!("{host}{port}"))?;
        let equals = if option.is_empty() { "" } else { "=" };
        Some(format!("{option}{equals}{host}{{port}}"))
    };
    let parts: Vec<String> =
        word.split(',').map(|part| address(part).unwrap_or_else(|| part.to_owned())).collect();
    parts.join(",")
}
