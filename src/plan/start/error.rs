//! Errors of programs that the container of an image cannot start.

use std::fmt;

use crate::error::Advice;

/// A program that cannot be started in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartError {
    /// The part of the configuration that names the program.
    pub role: Role,
    /// The program as written there.
    pub program: String,
    /// The requesting file and the missing program, such as a script and its interpreter.
    pub needed: Option<RequiredProgram>,
    /// The cause.
    pub fault: StartFault,
    /// The advice.
    pub help: String,
}

/// The part of an image's configuration that names a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `Entrypoint`.
    Entrypoint,
    /// `Cmd` without an entrypoint.
    Command,
    /// `Healthcheck`.
    HealthCheck,
}

/// A program that another file requires.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequiredProgram {
    /// The requesting file.
    pub by: String,
    /// Role of the program: `its interpreter`, `its loader`.
    pub kind: &'static str,
    /// The required program, as written.
    pub program: String,
}

/// Cause of a [`StartError`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFault {
    /// No such path.
    Absent,
    /// A dangling link, with its target.
    Dangling(String),
    /// Not found in these directories of `PATH`.
    NotOnPath(Vec<String>),
    /// A directory.
    Directory,
    /// A component of the path is this file.
    NotADirectory(String),
    /// A loop of links.
    Circle,
    /// No execute permission for any user.
    NotExecutable {
        /// The file.
        path: String,
        /// The permission bits.
        mode: u32,
    },
    /// The image's user lacks a permission.
    Denied {
        /// The file or directory.
        path: String,
        /// The user.
        uid: u32,
    },
    /// Neither ELF nor a script with an interpreter line.
    NoFormat,
    /// More nested script interpreters than the kernel allows.
    TooManyInterpreters,
    /// A module for `python -m` that the image lacks.
    NoModule,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entrypoint => "start the entrypoint",
            Self::Command => "start the command",
            Self::HealthCheck => "run the health check",
        })
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, program, needed, fault, .. } = self;
        write!(f, "cannot {role} `{}`: ", program.escape_debug())?;
        match needed {
            Some(RequiredProgram { by, kind, program: needed }) => {
                write!(f, "{kind} `{}` {fault}", needed.escape_debug())?;
                if by == program { Ok(()) } else { write!(f, " (required by {})", by.escape_debug()) }
            }
            None => write!(f, "it {fault}"),
        }
    }
}

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("is not in the image"),
            Self::Dangling(target) => write!(f, "is a link to {target}, which is not in the image"),
            Self::NotOnPath(folders) if folders.is_empty() => f.write_str("cannot be found: PATH is empty"),
            Self::NotOnPath(folders) => write!(f, "is not in {} of the image", folders.join(", ")),
            Self::Directory => f.write_str("is a directory"),
            Self::NotADirectory(path) => write!(f, "is not in the image: {path} is a file"),
            Self::Circle => f.write_str("is a loop of links"),
            Self::NotExecutable { path, mode } => {
                write!(f, "is not executable: {path} has mode {:04o}", mode & 0o7777)
            }
            Self::Denied { path, uid } => {
                write!(f, "is out of reach: user {uid} lacks permission for {path}")
            }
            Self::NoFormat => f.write_str("is neither an ELF program nor a script that begins with #!"),
            Self::TooManyInterpreters => f.write_str("has more interpreters than the kernel follows"),
            Self::NoModule => {
                f.write_str("is neither in the source nor in the environment nor in the standard library")
            }
        }
    }
}

impl std::error::Error for StartError {}

impl Advice for StartError {
    fn help(&self) -> Option<String> {
        Some(self.help.clone())
    }
}
