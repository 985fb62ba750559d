//! The parts of [`super`] that need Linux, for other systems, where a test runs in an engine alone:
//! `Space::find` refuses before any of these functions is called.

/// Stands for `container.rs`.
pub(super) mod container {
    use std::ffi::OsString;
    use std::io;
    use std::path::Path;
    use std::process::{Command, ExitCode};

    use crate::run::signal::StopSignal;

    pub(in crate::run) fn hide(_folder: &str) -> bool {
        false
    }

    pub(in crate::run) fn mount_memory(_folder: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::run) fn show(_folder: impl AsRef<Path>) {}

    pub(in crate::run) fn start_command(helper: Command, _bundle: &Path, _mark: &Path) -> Command {
        helper
    }

    pub(in crate::run) fn init_process(_id: u32) -> io::Result<i32> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::run) fn signal(_id: u32, _signal: StopSignal) -> Result<(), String> {
        Err("namespaces need Linux".to_owned())
    }

    pub(in crate::run) fn container(_arguments: &[OsString], _program: &Path) -> ExitCode {
        ExitCode::FAILURE
    }

    pub(in crate::run) fn init(_arguments: &[OsString]) -> ExitCode {
        ExitCode::FAILURE
    }

    pub(in crate::run) fn exec(_arguments: &[OsString]) -> ExitCode {
        ExitCode::FAILURE
    }
}

/// Stands for `loopback.rs`.
pub(super) mod loopback {
    use std::io;

    pub(in crate::run) fn bring_up() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
