//! Modules that start a server when they are run: `python -m shop.main`.

use super::{Candidate, Program, RUNNERS, ServiceSearch, binds_loopback, is_runner};
use crate::python::application::module::Run;
use crate::python::application::resolve::Resolver;
use crate::service::processes::{is_for_development, module_name};

/// The most modules that are read, the outermost first.
const MOST_MODULES: usize = 1000;

impl ServiceSearch<'_> {
    /// Returns the program of the outermost module that starts a server when it is run, for a source whose
    /// application is not found: `web.run_app(app)` in a function. Returns `None` if several modules do.
    pub(super) fn serving_module(&self) -> Option<Candidate> {
        let depth = |file: &str| file.matches('/').count();
        let mut modules = self.sources.modules();
        modules.retain(|file| !is_for_development(file));
        modules.sort_by_key(|file| depth(file));
        let resolver = Resolver::new(self.sources);
        let mut found: Vec<(String, Run)> = Vec::new();
        for file in modules.into_iter().take(MOST_MODULES) {
            if found.first().is_some_and(|(outer, _)| depth(outer) < depth(&file)) {
                break;
            }
            if let Some(run) = self.server_start(&resolver, &file) {
                found.push((file, run));
            }
        }
        let [(file, run)] = &found[..] else { return None };
        let place = format!("{file}:{}: {}", run.line, run.function);
        let (command, env) = self.command_of_module(file);
        let program = Program {
            env,
            port: run.port,
            loopback: binds_loopback(run).then(|| place.clone()),
            ..Program::of_python(command)
        };
        Some(self.of_console_program(program, Some(file.clone()), &place))
    }

    /// Returns the call that starts a server in a module that can be run.
    fn server_start(&self, resolver: &Resolver<'_>, file: &str) -> Option<Run> {
        let text = self.sources.text(file)?;
        let is_program = text.contains("__name__") || file.ends_with("__main__.py");
        let names_server = || {
            RUNNERS.iter().filter_map(|runner| runner.split('.').next()).any(|package| text.contains(package))
        };
        (is_program && names_server()).then_some(())?;
        let module = resolver.module(file)?;
        module.runs.iter().find(|run| is_runner(&module, run)).cloned()
    }

    /// Returns the command that runs a file, as a module if it belongs to a package, and its variables.
    fn command_of_module(&self, file: &str) -> (Vec<String>, Vec<(String, String)>) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let inner = file.strip_prefix("src/").unwrap_or(file);
        let name = module_name(file);
        let name = name.strip_suffix(".__main__").unwrap_or(&name);
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_name = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
        if folder.is_empty() || !is_name || !self.sources.has(&format!("{folder}/__init__.py")) {
            return (words(&["{python}", file]), Vec::new());
        }
        let path = ("PYTHONPATH".to_owned(), "{workdir}/src".to_owned());
        let env = if inner == file { Vec::new() } else { vec![path] };
        (words(&["{python}", "-m", name]), env)
    }
}
