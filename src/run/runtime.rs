//! The OCI runtimes: `crun`, `runc`, `youki`, and [`super::container`].
//!
//! Their command lines are those of runc (`runc(8)`), which the others follow.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::session::Backend;
use super::signal::StopSignal;
use super::{HELPER_ARGUMENT, agent, container};
use crate::image::DEFAULT_PATH;

/// A runtime of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RuntimeName {
    /// `crun`
    Crun,
    /// `runc`
    Runc,
    /// `youki`
    Youki,
    /// The runtime of this program.
    Own,
}

impl RuntimeName {
    /// All runtimes, in the order of preference.
    pub const ALL: [Self; 4] = [Self::Crun, Self::Runc, Self::Youki, Self::Own];

    /// Returns the name, which is that of the program.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Youki => "youki",
            Self::Own => "own",
        }
    }
}

impl std::fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A runtime of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InstalledRuntime {
    pub(super) name: RuntimeName,
    pub(super) program: PathBuf,
}

/// Returns the file of a program in the folders of `path`, as in `PATH`.
pub(super) fn find_program(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let is_program = |file: &PathBuf| {
        std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let path = path.filter(|path| !path.is_empty()).unwrap_or(OsStr::new(DEFAULT_PATH));
    let found = std::env::split_paths(path).map(|folder| folder.join(name)).find(is_program);
    // A user's PATH lacks the folders in which Debian has runc.
    found.or_else(|| std::env::split_paths(DEFAULT_PATH).map(|folder| folder.join(name)).find(is_program))
}

/// A container of a bundle and a runtime, with files in the folder of the test.
#[derive(Debug, Clone)]
pub(super) struct BundleContainer<'a> {
    pub(super) runtime: &'a InstalledRuntime,
    pub(super) bundle: &'a Path,
    /// The folder for the files of the runtime.
    pub(super) work: PathBuf,
    pub(super) id: String,
    /// The command line of the helper program.
    pub(super) helper: &'a Path,
}

impl BundleContainer<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.runtime.program);
        command.arg("--root").arg(self.work.join("state"));
        if self.runtime.name == RuntimeName::Crun {
            // Tests need no cgroup, and a user without root has none.
            command.arg("--cgroup-manager=disabled");
        }
        command
    }

    fn helper(&self, word: &str) -> Command {
        let mut command = Command::new(self.helper);
        command.args([HELPER_ARGUMENT, word]);
        command
    }

    /// The file that exists once the container's process runs.
    fn mark(&self) -> PathBuf {
        self.work.join("started")
    }
}

impl Backend for BundleContainer<'_> {
    fn name(&self) -> String {
        match self.runtime.name {
            RuntimeName::Own => "in namespaces of ipo-oci".to_owned(),
            name => format!("with {name}"),
        }
    }

    fn start(&self) -> Command {
        if self.runtime.name == RuntimeName::Own {
            return container::start_command(self.helper("container"), self.bundle, &self.mark());
        }
        let mut command = self.command();
        command.arg("run").arg("--pid-file").arg(self.mark()).arg("--bundle").arg(self.bundle).arg(&self.id);
        command
    }

    fn has_started(&self) -> bool {
        std::fs::metadata(self.mark()).is_ok_and(|file| file.len() > 0)
    }

    /// Joins the namespaces itself: crun 1.8 never returns from `exec` in a nested user namespace.
    fn exec(&self, words: &[String], id: u32) -> io::Result<Command> {
        let init = self.init_process(id).ok_or(io::ErrorKind::NotFound)?;
        let mut command = self.helper("exec");
        command.arg(self.bundle).arg(init.to_string()).args(words);
        Ok(command)
    }

    fn signal(&self, signal: StopSignal, id: u32) -> Result<(), String> {
        if self.runtime.name == RuntimeName::Own {
            return container::signal(id, signal);
        }
        let mut command = self.command();
        command.arg("kill").arg(&self.id).arg(signal.number().to_string());
        agent::run_quietly(command)
    }

    fn init_process(&self, id: u32) -> Option<i32> {
        match self.runtime.name {
            RuntimeName::Own => container::init_process(id).ok(),
            _ => fs_err::read_to_string(self.mark()).ok()?.trim().parse().ok(),
        }
    }

    fn address(&self, port: u16) -> Result<SocketAddr, String> {
        Ok(([127, 0, 0, 1], port).into())
    }

    fn remove(&self) {
        if self.runtime.name != RuntimeName::Own {
            let mut command = self.command();
            command.args(["delete", "--force"]).arg(&self.id);
            let _ = agent::run_quietly(command);
        }
    }
}
