//! [`ServiceError`]: errors of finding a service.

use super::dependencies::OptionalServer;
use crate::error::Advice;
use crate::python::application::ApplicationError;

/// The number of console scripts in an error.
const SCRIPTS_SHOWN: usize = 5;

/// Errors of finding a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The application cannot be found.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// The project has no application; one of its commands may be the service.
    #[error("{error}")]
    NoService {
        /// The error of the search for an application.
        error: ApplicationError,
        /// The names of the project's commands.
        scripts: Vec<String>,
        /// The words that start the first one.
        command: Vec<String>,
    },
    /// No server for the application is in the image.
    #[error("server not found: {what}, and {} among the project's dependencies", none_of(.servers))]
    NoServer {
        /// The application: `main:app is a Flask application (WSGI)`.
        what: String,
        /// The servers that can run it.
        servers: Vec<String>,
        /// The requirement that adds one of them; none if it is installed and not declared.
        requirement: Option<String>,
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

/// Returns the subject of a sentence that denies each of the servers.
fn none_of(servers: &[String]) -> String {
    match servers {
        [one] => format!("{one} is not"),
        several => format!("none of {} is", several.join(", ")),
    }
}

impl ServiceError {
    /// Names an optional dependency that has a server, for an image without one.
    pub(crate) fn with_optional(self, part: &OptionalServer) -> Self {
        match self {
            Self::NoServer { what, servers, requirement, help } => {
                let way = format!("write {} to [tool.ipo-oci] for {}", part.setting(), part.server);
                let help = format!("{way} of the {part}, or {help}");
                Self::NoServer { what, servers, requirement, help }
            }
            other => other,
        }
    }
}

impl Advice for ServiceError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Application(error) => error.help(),
            Self::NoService { error, scripts, command } => {
                let quoted = |words: &[String], quote: char| {
                    let quoted = words.iter().map(|word| format!("{quote}{word}{quote}"));
                    quoted.collect::<Vec<_>>().join(", ")
                };
                let scripts = quoted(&scripts[..scripts.len().min(SCRIPTS_SHOWN)], '`');
                Some(format!(
                    "{}; if a command of the project serves ({scripts}), name it with its arguments: entrypoint = [{}]",
                    error.help().unwrap_or_default(),
                    quoted(command, '"')
                ))
            }
            Self::NoServer { help, .. } | Self::Server { help, .. } => Some(help.clone()),
        }
    }
}
