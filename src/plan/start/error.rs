//! [`StartError`]: a program that a container is told to start, and that its image cannot start.

use std::fmt;

use crate::error::Advice;

/// A program that cannot be started in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// The part of the configuration that names the program.
    pub role: Role,
    /// The program as it is written there.
    pub program: String,
    /// The file that asks for the missing part, and the missing part: a script and its interpreter.
    pub needed: Option<Need>,
    /// Why it cannot be started.
    pub fault: Fault,
    /// The way out.
    pub help: String,
}

/// The part of an image's configuration that names a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `Entrypoint`.
    Entrypoint,
    /// `Cmd`, where there is no entrypoint.
    Command,
    /// `Healthcheck`.
    HealthCheck,
}

/// A program that a program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The file that asks for it.
    pub by: String,
    /// How it asks: `its interpreter`, `its loader`.
    pub kind: &'static str,
    /// The program that it asks for, as it is written.
    pub program: String,
}

/// Why a program cannot be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is at its path.
    Absent,
    /// It is a link to a path at which nothing is.
    Dangling(String),
    /// It is in none of these folders of `PATH`.
    NotOnPath(Vec<String>),
    /// It is a directory.
    Directory,
    /// A part of its path is a file.
    NotADirectory(String),
    /// Links lead in a circle.
    Circle,
    /// No execute permission for anybody.
    NotExecutable {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The user of the image lacks a permission on a file or directory.
    Denied {
        /// The file or directory.
        path: String,
        /// The user.
        uid: u32,
    },
    /// Neither ELF nor a script with an interpreter line.
    NoFormat,
    /// More interpreters that are scripts themselves than the kernel follows.
    TooManyInterpreters,
    /// A module for `python -m` that is nowhere in the image.
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
            Some(Need { by, kind, program: needed }) => {
                write!(f, "{kind} `{}` {fault}", needed.escape_debug())?;
                if by == program { Ok(()) } else { write!(f, " (asked for by {})", by.escape_debug()) }
            }
            None => write!(f, "it {fault}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("is not in the image"),
            Self::Dangling(target) => write!(f, "is a link to {target}, which is not in the image"),
            Self::NotOnPath(folders) if folders.is_empty() => {
                f.write_str("is looked for in PATH, which names no folder")
            }
            Self::NotOnPath(folders) => write!(f, "is not in {} of the image", folders.join(", ")),
            Self::Directory => f.write_str("is a directory"),
            Self::NotADirectory(path) => write!(f, "is not in the image: {path} is a file"),
            Self::Circle => f.write_str("is a link that leads in a circle"),
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
