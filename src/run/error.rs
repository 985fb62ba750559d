//! [`RunError`].

use std::io;
use std::path::PathBuf;

use super::refusal::Refusals;
use crate::base::BaseError;
use crate::error::{Advice, FileError};
use crate::platform::Platform;
use crate::printable;
use crate::settings::human_size;
use crate::store::StoreError;

/// A container that was not started. A test that fails is a result, [`super::TestReport`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The configuration of the image is invalid.
    #[error("invalid configuration of the image: {0}")]
    Config(String),
    /// The image names no command.
    #[error("cannot start the image: no entrypoint and no command")]
    NoCommand,
    /// The image's user or group is not among its accounts.
    #[error("{kind} not found in the image: `{}`", printable::name(.name))]
    Account {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A request needs a port, and the image exposes none.
    #[error("cannot request {path}: the image exposes no TCP port")]
    NoPort {
        /// The requested path.
        path: String,
    },
    /// A secret is larger than a test or a run accepts.
    #[error("cannot read {}: a secret has at most {limit} bytes", printable::path(.file))]
    LargeSecret {
        /// The file.
        file: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The image has a port of its own, which no variable changes.
    #[error("cannot use port {wanted}: the image listens on port {own} and does not read PORT")]
    FixedPort {
        /// The wanted port.
        wanted: u16,
        /// The image's port.
        own: u16,
    },
    /// Another process of this machine has the port.
    #[error("cannot use port {port}: {}", crate::error::describe(.reason))]
    BusyPort {
        /// The port.
        port: u16,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// The image exposes no port.
    #[error("cannot use port {wanted}: the image exposes no TCP port")]
    Unexposed {
        /// The wanted port.
        wanted: u16,
    },
    /// The image has no program for its command.
    #[error("cannot start the image: {0}")]
    NoProgram(String),
    /// The image is larger than a test unpacks.
    #[error("cannot unpack the image: more than {limit} {what}")]
    Limit {
        /// The limited quantity.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The disk has no space for the root file system.
    #[error("cannot unpack the image: {} needed in {}, {} available", human_size(*.needed), printable::path(.folder), human_size(*.available))]
    Space {
        /// The folder.
        folder: PathBuf,
        /// Bytes that the image needs.
        needed: u64,
        /// Bytes that are available.
        available: u64,
    },
    /// The image is for another platform, whose programs this machine cannot run.
    #[error("cannot run an image for {image} on {machine}")]
    Platform {
        /// The image's platform.
        image: Platform,
        /// The platform of this machine.
        machine: Platform,
    },
    /// This machine permits no container.
    #[error("{0}")]
    Refused(Box<Refusals>),
    /// A program that the test needs cannot be run.
    #[error("cannot run {}: {}", printable::path(.program), crate::error::describe(.source))]
    Program {
        /// The program.
        program: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The engine refused a command.
    #[error("cannot {action} with {engine}: {output}")]
    Engine {
        /// The command, as a verb.
        action: &'static str,
        /// The engine's program.
        engine: &'static str,
        /// The last line of its output.
        output: String,
    },
    /// The agent of the container ended without a result.
    #[error("cannot run the container: its agent ended early: {0}")]
    Agent(String),
    /// The files of the image cannot be read.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The image cannot be written for an engine.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl RunError {
    pub(super) fn refused(reasons: Vec<(String, String)>) -> Self {
        Self::Refused(Box::new(Refusals::of(reasons)))
    }

    /// Returns true if this machine permits no container for the image, whatever the image does.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Platform { .. })
    }
}

impl Advice for RunError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Config(_) => "build the image again".to_owned(),
            Self::NoCommand => "set an entrypoint or cmd in the image".to_owned(),
            Self::Account { kind, .. } => {
                format!("set a numeric {kind}, or add the {kind} to the image's /etc/passwd and /etc/group")
            }
            Self::NoPort { .. } => "name the port with --port".to_owned(),
            Self::LargeSecret { .. } => "mount a large file as a volume".to_owned(),
            Self::FixedPort { own, .. } => {
                format!("leave out the port for {own}, or publish another with --engine docker or podman")
            }
            Self::BusyPort { .. } => "end the other process, or choose a free port with --port".to_owned(),
            Self::Unexposed { .. } => "leave out the port, or expose it in the image".to_owned(),
            Self::NoProgram(_) => "name a program of the image as its entrypoint".to_owned(),
            Self::Limit { .. } => "use a container engine with --engine docker or --engine podman".to_owned(),
            Self::Space { .. } => "free some space, or name another cache folder with --cache-dir".to_owned(),
            Self::Platform { .. } => {
                "register an emulator such as qemu-user-static in binfmt_misc, or test the \
                                      image on a machine of its platform"
                    .to_owned()
            }
            Self::Refused(refusals) => refusals.help(),
            Self::Program { .. } => "check the installation of the program".to_owned(),
            Self::Engine { .. } => "check that the engine runs, or leave out --engine".to_owned(),
            Self::Agent(_) => "run the command again with another --runtime".to_owned(),
            Self::Base(error) => return error.help(),
            Self::Store(error) => return error.help(),
            Self::File(error) => return error.help(),
        })
    }
}
