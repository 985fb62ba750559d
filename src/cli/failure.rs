//! [`Failure`]: an error for the user, with an exit code by kind.

use std::fmt;
use std::process::ExitCode;

use ipo_oci::error::{Advice, chain};

/// An error of the command.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Box<dyn Advice + Send + Sync>,
    code: u8,
}

/// Wrong usage of the command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Usage {
    message: String,
    help: String,
}

impl Advice for Usage {
    fn help(&self) -> Option<String> {
        Some(self.help.clone())
    }
}

/// An error of one project of several.
#[derive(Debug)]
struct OfProject {
    project: String,
    error: Box<dyn Advice + Send + Sync>,
}

impl fmt::Display for OfProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot build {}: {}", self.project, self.error)
    }
}

impl std::error::Error for OfProject {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl Advice for OfProject {
    fn help(&self) -> Option<String> {
        self.error.help()
    }
}

impl Failure {
    /// Names the project whose build failed.
    pub(crate) fn of_project(self, project: String) -> Self {
        let Self { error, code } = self;
        Self { error: Box::new(OfProject { project, error }), code }
    }

    /// Exit code 1: the command failed; 4 if the machine lacks a requirement.
    pub(crate) fn failed(error: impl Advice + Send + Sync + 'static) -> Self {
        let code = if error.is_of_machine() { 4 } else { 1 };
        Self { error: Box::new(error), code }
    }

    /// Exit code 2: wrong usage.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { error: Box::new(Usage { message: message.into(), help: help.into() }), code: 2 }
    }

    /// Exit code 1: a check found problems.
    pub(crate) fn found(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: 1, ..Self::usage(message, help) }
    }

    /// Exit code 2: an argument with an invalid value.
    pub(crate) fn argument(error: impl Advice + Send + Sync + 'static) -> Self {
        Self { error: Box::new(error), code: 2 }
    }

    /// Exit code 3: a gate, such as the size budget, refused.
    pub(crate) fn gate(error: impl Advice + Send + Sync + 'static) -> Self {
        Self { error: Box::new(error), code: 3 }
    }

    /// Exit code 5: this machine permits no container.
    pub(crate) fn refused(error: impl Advice + Send + Sync + 'static) -> Self {
        Self { error: Box::new(error), code: 5 }
    }

    /// Returns the exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Returns the advice.
    pub(crate) fn help(&self) -> Option<String> {
        self.error.help()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(&*self.error))
    }
}

impl<E: Advice + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot find credentials for {registry}")]
    struct Outer {
        registry: &'static str,
        source: std::io::Error,
    }

    impl Advice for Outer {
        fn help(&self) -> Option<String> {
            None
        }
    }

    #[test]
    fn prints_each_cause_once() {
        let outer =
            |source: &str| Outer { registry: "ghcr.io", source: std::io::Error::other(source.to_owned()) };
        let failure = Failure::failed(outer("the vault is sealed"));
        assert_eq!(failure.to_string(), "cannot find credentials for ghcr.io: the vault is sealed");
        assert_eq!(Failure::failed(outer("ghcr.io")).to_string(), "cannot find credentials for ghcr.io");
    }
}
