//! Modules that start a server when they are run: `python -m shop.main`.

use super::{Candidate, Program, ServiceSearch, binds_loopback, is_runner};
use crate::python::application::module::Run;
use crate::python::application::resolve::Resolver;
use crate::service::processes::is_for_development;

/// Words in the text of a module that calls one of [`super::RUNNERS`].
const WORDS: [&str; 5] = ["run_app", "uvicorn", "waitress", "hypercorn", "run_simple"];

impl ServiceSearch<'_> {
    /// Returns the program of the outermost module that starts a server when it is run, for a source whose
    /// application is not found: `web.run_app(app)` in a function. Returns `None` if several modules do.
    pub(super) fn serving_module(&self) -> Option<Candidate> {
        let resolver = Resolver::new(self.sources);
        let starts = |file: &String| -> Option<Run> {
            let text = self.sources.text(file)?;
            let is_program = text.contains("__name__") || file.ends_with("__main__.py");
            (is_program && WORDS.iter().any(|word| text.contains(word))).then_some(())?;
            let module = resolver.module(file)?;
            module.runs.iter().find(|run| is_runner(&module, run)).cloned()
        };
        let modules = self.sources.modules().into_iter().filter(|file| !is_for_development(file));
        let mut found: Vec<(String, Run)> =
            modules.filter_map(|file| starts(&file).map(|run| (file, run))).collect();
        let outermost = found.iter().map(|(file, _)| file.matches('/').count()).min()?;
        found.retain(|(file, _)| file.matches('/').count() == outermost);
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

    /// Returns the command that runs a file, as a module if it belongs to a package, and its variables.
    fn command_of_module(&self, file: &str) -> (Vec<String>, Vec<(String, String)>) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let inner = file.strip_prefix("src/").unwrap_or(file);
        let name = inner.trim_end_matches(".py").trim_end_matches("/__main__").replace('/', ".");
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_name = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
        if folder.is_empty() || !is_name || !self.sources.has(&format!("{folder}/__init__.py")) {
            return (words(&["{python}", file]), Vec::new());
        }
        let path = ("PYTHONPATH".to_owned(), "{workdir}/src".to_owned());
        let env = if inner == file { Vec::new() } else { vec![path] };
        (words(&["{python}", "-m", &name]), env)
    }
}
