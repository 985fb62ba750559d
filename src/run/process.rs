//! Processes with a time limit, and the foreground process of a container.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::log::Log;

/// Time between looks at a process.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time for the output of an ended process to arrive.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes kept of each end of the output of a short command.
const COMMAND_OUTPUT_BYTES: usize = 4 << 10;

/// A process whose output goes to a log. Its process group is killed on drop.
#[derive(Debug)]
pub(super) struct LoggedProcess {
    child: Child,
    status: Option<ExitStatus>,
    reader: Option<JoinHandle<()>>,
    pub(super) log: Log,
}

/// The end of a command.
#[derive(Debug)]
pub(super) enum CommandEnd {
    /// The command ended.
    Exited(ExitStatus),
    /// The command was killed at the end of its time.
    TimedOut,
}

impl LoggedProcess {
    /// Starts `command` in a process group of its own, without input. Standard output and standard error
    /// share one pipe, which preserves their order.
    pub(super) fn spawn(mut command: Command, log: Log) -> io::Result<Self> {
        let (pipe, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let child = command.spawn()?;
        // The command holds the writing ends.
        drop(command);
        let reader = Some(log.read(pipe));
        Ok(Self { child, status: None, reader, log })
    }

    /// Returns the process ID.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status, if the process has ended.
    pub(super) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits for the end until `deadline`.
    pub(super) fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.exited()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Kills the process group.
    pub(super) fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        self.status = self.child.wait().ok();
    }

    /// Waits until the output of the ended process is read. A process that left the group may hold the
    /// pipe open.
    pub(super) fn finish_output(&mut self) {
        let deadline = Instant::now() + OUTPUT_TIMEOUT;
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for LoggedProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `command` to its end or for `limit`, and returns its output.
pub(super) fn run_for(command: Command, limit: Duration) -> io::Result<(CommandEnd, String)> {
    let mut process = LoggedProcess::spawn(command, Log::with(COMMAND_OUTPUT_BYTES, COMMAND_OUTPUT_BYTES))?;
    let end = match process.wait_until(Instant::now() + limit)? {
        Some(status) => CommandEnd::Exited(status),
        None => CommandEnd::TimedOut,
    };
    process.kill();
    process.finish_output();
    Ok((end, process.log.text()))
}

/// Returns the exit code as a shell does: 128 and the number of the signal that ended the process.
pub(super) fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn kills_the_process_group_at_the_end_of_its_time() {
        let started = Instant::now();
        let (end, output) =
            run_for(shell("echo a; echo b >&2; sleep 60 & sleep 60"), Duration::from_millis(300)).unwrap();
        assert!(matches!(end, CommandEnd::TimedOut));
        assert_eq!(output, "a\nb\n");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn returns_the_exit_code_of_a_shell() {
        for (script, code) in [("exit 3", 3), ("kill -9 $$", 137), ("true", 0)] {
            let (end, _) = run_for(shell(script), Duration::from_mins(1)).unwrap();
            let CommandEnd::Exited(status) = end else { panic!("{script}") };
            assert_eq!(exit_code(status), code);
        }
    }
}
