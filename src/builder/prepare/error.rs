//! Errors of prepared files.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Advice;
use crate::plural::{MAX_NAMED, first_names};
use crate::printable;

/// A command of the setting `prepare` whose results cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The result is not cached, and no command may run.
    #[error("cannot prepare `{}`: no earlier result is cached, and --no-prepare forbids the command", printable::name(.0))]
    Forbidden(String),
    /// A pattern of the inputs matches no file.
    #[error("cannot prepare `{}`: no file matches `{}` of its `inputs`", printable::name(.name), printable::name(.pattern))]
    NoInput {
        /// Name of the table.
        name: String,
        /// The pattern.
        pattern: String,
    },
    /// The command cannot be started.
    #[error("cannot prepare `{}`: cannot start `{}`", printable::name(.name), printable::name(.command))]
    Start {
        /// Name of the table.
        name: String,
        /// The command line.
        command: String,
        /// The reason.
        #[source]
        cause: io::Error,
    },
    /// The command failed.
    #[error("cannot prepare `{}`: `{}` failed ({status}){}", printable::name(.name), printable::name(.command), shown(.output))]
    Failed {
        /// Name of the table.
        name: String,
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The last lines of its output.
        output: String,
    },
    /// The command did not end in time.
    #[error("cannot prepare `{}`: `{}` took more than {limit:?}{}", printable::name(.name), printable::name(.command), shown(.output))]
    TimedOut {
        /// Name of the table.
        name: String,
        /// The command line.
        command: String,
        /// The time limit.
        limit: Duration,
        /// The last lines of its output.
        output: String,
    },
    /// The command left something that an image cannot have.
    #[error("cannot prepare `{}`: {reason}", printable::name(.name))]
    Unusable {
        /// Name of the table.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The command changed files of the source.
    #[error("cannot prepare `{}`: the command changed files outside of $IPO_OCI_OUT: {}", printable::name(.name), named(.paths))]
    Outside {
        /// Name of the table.
        name: String,
        /// The files, relative to the project.
        paths: Vec<String>,
    },
    /// The command made no files, or not the named ones.
    #[error("cannot prepare `{}`: the command left no {} in $IPO_OCI_OUT", printable::name(.name), result(.path))]
    NoResult {
        /// Name of the table.
        name: String,
        /// The path in the output directory; empty for any.
        path: String,
    },
    /// The path of the environment has a colon, so it cannot be part of `PATH`.
    #[error("cannot add {} to PATH: its path contains a colon", printable::path(.path))]
    EnvironmentPath {
        /// The environment.
        path: PathBuf,
    },
}

fn shown(output: &str) -> String {
    if output.is_empty() { "; it printed nothing".to_owned() } else { format!(":\n{output}") }
}

fn named(paths: &[String]) -> String {
    let names: Vec<String> = paths.iter().map(|path| printable::name(path)).collect();
    first_names(&names, MAX_NAMED)
}

fn result(path: &str) -> String {
    if path.is_empty() { "files".to_owned() } else { printable::name(path) }
}

impl Advice for PrepareError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Forbidden(_) => {
                "build once without --no-prepare with the same cache folder, or leave out --no-prepare".to_owned()
            }
            Self::NoInput { .. } => {
                "correct the pattern, which is relative to the project, or remove it".to_owned()
            }
            Self::Start { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                "install the program into the environment or on PATH; a shell command needs [\"sh\", \"-c\", …]"
                    .to_owned()
            }
            Self::Start { .. } => "name a program that this machine can run".to_owned(),
            Self::Failed { .. } => {
                "run the command in the project's folder with IPO_OCI_OUT set to an empty folder, and correct it"
                    .to_owned()
            }
            Self::TimedOut { .. } => "set a longer `timeout`, such as \"30m\"".to_owned(),
            Self::Unusable { .. } => "let the command remove it, or replace it by a file".to_owned(),
            Self::Outside { .. } => {
                "let the command write below {out} alone, or exclude these files in .dockerignore".to_owned()
            }
            Self::NoResult { .. } => "let the command write below {out}, and name that path in `to`".to_owned(),
            Self::EnvironmentPath { .. } => "rename the folder of the project".to_owned(),
        })
    }
}
