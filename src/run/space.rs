//! The namespaces of a container and its agent, made by util-linux's `unshare`.
//!
//! `unshare(2)` is unsafe to call from a process of several threads, and this crate has no unsafe code.
//! The namespaces of users, mounts and processes are those of the agent; runtimes make those of
//! containers.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::agent::last_line;
use super::foreground::Input;
use super::job::{AgentCommand, Message};
use super::log::Log;
use super::process::{CommandEnd, POLL_INTERVAL, run_for};
use super::report::{TestReport, TestStep};
use super::runtime::find_program;
use super::secret_file::SentSecret;
use super::{HELPER_ARGUMENT, RunError};
use crate::error::describe;

/// Time limit for making namespaces.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an agent to clean up.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// Users of a namespace that can have the files of any usual image.
const USERS: u64 = 65536;
/// Limit of a message. A report has less than half a megabyte of output, six times longer if escaped.
const MESSAGE_LIMIT: u64 = 8 << 20;

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkNamespace {
    /// A new one, with a loopback device alone.
    New,
    /// The namespace of this process.
    Inherited,
}

/// The namespaces that this process may make.
#[derive(Debug, Clone)]
pub(super) struct Space {
    program: PathBuf,
    /// True if this process is root, with the capability to mount.
    pub(super) is_root: bool,
    pub(super) network: NetworkNamespace,
}

/// The result of an agent.
#[derive(Debug)]
pub(super) enum AgentEnd {
    Finished(TestReport),
    /// Runtimes with the reasons why they refused.
    Refused(Vec<(String, String)>),
}

impl Space {
    /// Returns the namespaces that the machine permits, or its reason.
    pub(super) fn find(wanted: NetworkNamespace, path: Option<&OsStr>) -> Result<Self, String> {
        if cfg!(not(target_os = "linux")) {
            return Err("namespaces need Linux".to_owned());
        }
        let program =
            find_program("unshare", path).ok_or("the program `unshare` of util-linux is not installed")?;
        let is_root = is_root();
        let mut reason = String::new();
        let networks = match wanted {
            NetworkNamespace::New => &[NetworkNamespace::New, NetworkNamespace::Inherited][..],
            NetworkNamespace::Inherited => &[NetworkNamespace::Inherited],
        };
        for network in networks {
            let space = Self { program: program.clone(), is_root, network: *network };
            let mut command = space.command();
            command.arg("true");
            let (end, output) = run_for(command, PROBE_TIMEOUT).map_err(|error| describe(&error))?;
            match end {
                CommandEnd::Exited(status) if status.success() => return Ok(space),
                CommandEnd::Exited(_) => reason = last_line(&output),
                CommandEnd::TimedOut => "no answer".clone_into(&mut reason),
            }
        }
        Err(reason)
    }

    /// Returns `unshare` with the options of these namespaces.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if !self.is_root {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        if self.network == NetworkNamespace::New {
            command.arg("--net");
        }
        command.arg("--");
        command
    }

    /// Returns the command of an agent.
    fn agent_command(&self, helper: &Path, job: &Path) -> Command {
        let mut command = self.command();
        command.arg(helper).args([HELPER_ARGUMENT, "agent"]).arg(job);
        command
    }

    /// Runs the agent of a test to its end, and reports steps to `observe`.
    pub(super) fn run_agent(
        &self,
        helper: &Path,
        job: &Path,
        secrets: &[SentSecret],
        observe: &mut dyn FnMut(&TestStep),
    ) -> Result<AgentEnd, RunError> {
        use std::os::unix::process::CommandExt as _;
        let mut command = self.agent_command(helper, job);
        // The agent ends with standard input, not by the signals of a terminal.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let failed = |source| RunError::Program { program: self.program.clone(), source };
        let mut agent = Agent(command.spawn().map_err(failed)?);
        let errors = Log::with(4 << 10, 4 << 10);
        let reader = agent.0.stderr.take().map(|pipe| errors.read(pipe));
        if let Some(input) = &mut agent.0.stdin {
            // An agent that ended early has a reason of its own.
            let _ = input.write_all(&AgentCommand::Secrets(secrets.to_vec()).line()?);
        }
        let (mut refusals, mut report) = (Vec::new(), None);
        let mut messages = agent.0.stdout.take().map(BufReader::new);
        while let Some(messages) = &mut messages {
            let mut line = Vec::new();
            let read = messages.take(MESSAGE_LIMIT).read_until(b'\n', &mut line);
            if read.is_err() || line.is_empty() {
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(Message::Step(step)) => observe(&step),
                Ok(Message::Finished(finished)) => report = Some(finished),
                Ok(Message::Refused(runtime, reason)) => refusals.push((runtime, reason)),
                Ok(Message::Exited(_)) => {}
                Err(error) => return Err(RunError::Agent(error.to_string())),
            }
        }
        let status = agent.0.wait().map_err(failed)?;
        let _ = reader.map(std::thread::JoinHandle::join);
        match report {
            Some(report) => Ok(AgentEnd::Finished(report)),
            None if status.success() => Ok(AgentEnd::Refused(refusals)),
            None => {
                let reason = last_line(&errors.text());
                Err(RunError::Agent(if reason.is_empty() { status.to_string() } else { reason }))
            }
        }
    }

    /// Starts the agent of a container in the foreground, with the standard streams of this process.
    pub(super) fn start_agent(&self, helper: &Path, job: &Path, input: Input) -> Result<Child, RunError> {
        let mut command = self.agent_command(helper, job);
        input.apply(&mut command);
        command.spawn().map_err(|source| RunError::Program { program: self.program.clone(), source })
    }
}

/// Returns true if this process is root, may mount, and may use every user. Root of a container may not
/// mount, and root of a user namespace has few users.
fn is_root() -> bool {
    let users = fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && may_mount() && mapped_users(&users) >= USERS
}

#[cfg(target_os = "linux")]
fn may_mount() -> bool {
    use rustix::thread::CapabilitySet;
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::CHOWN))
}

#[cfg(not(target_os = "linux"))]
fn may_mount() -> bool {
    false
}

/// Returns the number of users in a `uid_map` (user_namespaces(7)).
fn mapped_users(map: &str) -> u64 {
    let count = |line: &str| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok();
    map.lines().filter_map(count).sum()
}

/// A running agent, ended on drop.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let deadline = Instant::now() + END_TIMEOUT;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_users_of_a_namespace() {
        assert_eq!(mapped_users("         0          0 4294967295\n"), 4_294_967_295);
        assert_eq!(mapped_users("0 1000 1\n1 100000 65536\n"), 65537);
        assert_eq!(mapped_users("1000 0 1\n"), 1);
    }
}
