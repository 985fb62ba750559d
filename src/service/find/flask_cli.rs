//! Flask's server for development, `flask run`, for a repository whose own command starts it and whose
//! dependencies have no other server.

use super::{Candidate, CandidateStart, Finding, Program, Service, ServiceSearch};
use crate::progress::Warning;
use crate::python::application::framework::Framework;
use crate::service::server::{Server, ServerKind};

impl ServiceSearch<'_> {
    /// Returns the service with the server that a command of the repository starts: `flask run`.
    pub(super) fn flask_cli(&self, candidate: &Candidate) -> Option<Service> {
        let CandidateStart::Application(application, _) = &candidate.start else { return None };
        let is_flask = candidate.framework.is_none_or(|framework| framework == Framework::Flask);
        if !is_flask || self.server.is_some() || !self.distributions.has("flask") {
            return None;
        }
        let starts_it =
            |words: &[String]| Server::of(words).is_some_and(|server| server.kind == ServerKind::Flask);
        let place = self.hints.iter().find(|hint| starts_it(&hint.words))?.place();
        let message = format!(
            "Flask's server for development is used, as {place} does: the project's dependencies have no other"
        );
        let warning =
            Warning::new("server", message).with_help(self.declare(ServerKind::Gunicorn, "gunicorn"));
        // Host and port have variables of their own.
        let mut env = vec![("FLASK_APP".to_owned(), application.to_string())];
        if !application.directory.is_empty() {
            env.push(("PYTHONPATH".to_owned(), format!("{{workdir}}/{}", application.directory)));
        }
        let program = Program {
            env,
            warnings: vec![warning],
            ..Program::of_python(["{venv}/bin/flask", "run"].map(str::to_owned).to_vec())
        };
        let mut findings = candidate.findings.clone();
        findings.push(Finding::new("server", ServerKind::Flask.name(), format!("{place}; for development")));
        findings.push(Finding::new("command", program.command.join(" "), "no other server is a dependency"));
        Some(Service { application: Some(application.clone()), program, findings })
    }
}
