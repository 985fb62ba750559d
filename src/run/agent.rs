//! The agent: process 1 of the namespaces of a container.
//!
//! The agent starts the container, and checks it or waits for its end. Its end ends every process of the
//! container. It ends with the command that started it, also with a killed one: its commands arrive
//! through a pipe that closes then.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::bundle::SECRETS_FOLDER;
use super::job::{AgentCommand, AgentJob, AgentTask, ForegroundPlan, Message};
use super::process::{CommandEnd, POLL_INTERVAL, exit_code, run_for};
use super::runtime::{BundleContainer, InstalledRuntime, RuntimeName};
use super::secret_file::SentSecret;
use super::session::{self, Backend as _, SessionEnd, SessionPlan};
use super::signal::StopSignal;
use super::{container, loopback, signal};
use crate::error::describe;
use crate::staging::remove_tree;
use crate::sync::LockExt as _;

/// The first argument of the program that makes it a helper of a test: `ipo-oci __test agent JOB`.
pub const HELPER_ARGUMENT: &str = "__test";

/// The folder of cgroups, which runtimes examine.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Time limit of a command of a runtime.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);
/// Time after which a process that does not end is killed again.
const KILL_INTERVAL: Duration = Duration::from_secs(1);
/// Limit of a command's line in bytes: secrets in base64.
const COMMAND_LIMIT: u64 = 64 << 20;

/// Runs a helper command of a test: the arguments after [`HELPER_ARGUMENT`]. `program` is the file of this
/// program.
pub fn helper_main(arguments: &[OsString], program: &Path) -> ExitCode {
    let Some((word, arguments)) = arguments.split_first() else { return ExitCode::from(2) };
    match word.to_str() {
        Some("agent") => {
            signal::stop_ignoring();
            agent(arguments)
        }
        Some("container") => container::container(arguments, program),
        Some("init") => container::init(arguments),
        Some("exec") => container::exec(arguments),
        _ => ExitCode::from(2),
    }
}

/// Runs a command of a runtime. Returns its last line of output if it fails.
pub(super) fn run_quietly(command: Command) -> Result<(), String> {
    let (end, output) = run_for(command, COMMAND_TIMEOUT).map_err(|error| describe(&error))?;
    match end {
        CommandEnd::Exited(status) if status.success() => Ok(()),
        CommandEnd::Exited(_) => Err(last_line(&output)),
        CommandEnd::TimedOut => Err(format!("no answer within {} s", COMMAND_TIMEOUT.as_secs())),
    }
}

/// Returns the last line that is not empty.
pub(super) fn last_line(output: &str) -> String {
    output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// Returns the reason in the output of a runtime. runc and youki write `time=… level=error msg="REASON"`.
fn reason_of(output: &str) -> String {
    let line = last_line(output);
    let message = line.split_once(" msg=\"").and_then(|(_, message)| message.strip_suffix('"'));
    message.map_or_else(|| line.clone(), |message| message.replace("\\\"", "\""))
}

/// Runs the helper command `agent JOB`.
fn agent(arguments: &[OsString]) -> ExitCode {
    let [file] = arguments else { return ExitCode::from(2) };
    let running = RunningContainer::default();
    let outcome = read_job(Path::new(file)).and_then(|job| run(&job, &running));
    while running.is_abandoned.load(Ordering::SeqCst) {
        // The thread that cleans up ends the process.
        std::thread::park();
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", describe(&error));
            ExitCode::FAILURE
        }
    }
}

fn read_job(file: &Path) -> io::Result<AgentJob> {
    Ok(serde_json::from_slice(&fs_err::read(file)?)?)
}

fn run(job: &AgentJob, running: &RunningContainer) -> io::Result<()> {
    let (events, received) = mpsc::channel();
    match &job.task {
        AgentTask::Test(_) => listen(io::stdin(), job, running, events.clone()),
        AgentTask::Foreground(plan) => listen(File::open(&plan.commands)?, job, running, events.clone()),
    }
    let Ok(AgentEvent::Command(AgentCommand::Secrets(secrets))) = received.recv() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    write_secrets(&secrets, job)?;
    if job.has_network_namespace {
        loopback::bring_up()?;
    }
    for (number, runtime) in job.runtimes.iter().enumerate() {
        let work = job.folder.join(format!("runtime-{number}"));
        fs_err::create_dir(&work)?;
        let container =
            BundleContainer { runtime, bundle: &job.bundle, work, id: job.id.clone(), helper: &job.helper };
        *running.container.lock_forgiving() = Some(ContainerToRemove::of(&container));
        let _hidden = HiddenCgroups::for_runtime(runtime);
        let is_finished = match &job.task {
            AgentTask::Test(plan) => test(&container, plan)?,
            AgentTask::Foreground(plan) => run_in_foreground(&container, plan, &events, &received)?,
        };
        if is_finished {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes the secrets into memory. The mount is in the namespace of this agent, and ends with it.
fn write_secrets(secrets: &[SentSecret], job: &AgentJob) -> io::Result<()> {
    if secrets.is_empty() {
        return Ok(());
    }
    let folder = job.bundle.join(SECRETS_FOLDER);
    container::mount_memory(&folder)?;
    let (user, group) = job.owner.unzip();
    secrets.iter().try_for_each(|secret| secret.write(&folder, user, group))
}

/// Tests the container. Returns false if its runtime refuses.
fn test(container: &BundleContainer<'_>, plan: &SessionPlan) -> io::Result<bool> {
    let mut out = io::stdout();
    let mut failed = None;
    let end = session::run(container, plan, &mut |step| {
        failed = send(&Message::Step(step.clone()), &mut out).err().or(failed.take());
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let mut out = io::stdout();
    match end {
        SessionEnd::Finished(report) => send(&Message::Finished(report), &mut out).map(|()| true),
        SessionEnd::Refused(reason) => {
            let name = container.runtime.name.to_string();
            send(&Message::Refused(name, reason_of(&reason)), &mut out).map(|()| false)
        }
    }
}

/// Runs the container to its end. Returns false if its runtime refuses.
fn run_in_foreground(
    container: &BundleContainer<'_>,
    plan: &ForegroundPlan,
    events: &Sender<AgentEvent>,
    received: &Receiver<AgentEvent>,
) -> io::Result<bool> {
    let mut out = fs_err::OpenOptions::new().append(true).create(true).open(&plan.messages)?;
    let mut child = container.start().spawn()?;
    let id = child.id();
    let ended = events.clone();
    std::thread::spawn(move || {
        let _ = ended.send(AgentEvent::Ended(child.wait().map_or(-1, exit_code)));
    });
    // The time of the next signal, and the signal.
    let mut next: Option<(Instant, StopSignal)> = None;
    loop {
        let now = Instant::now();
        let event = match next {
            Some((time, _)) => received.recv_timeout(time.saturating_duration_since(now)),
            None => received.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(AgentEvent::Command(AgentCommand::Stop)) => next = Some((now, plan.stop_signal)),
            Ok(AgentEvent::Command(AgentCommand::Kill)) => next = Some((now, StopSignal::KILL)),
            Ok(AgentEvent::Command(AgentCommand::Secrets(_))) => {}
            Ok(AgentEvent::Ended(code)) => {
                let has_started = container.has_started();
                container.remove();
                if has_started {
                    return send(&Message::Exited(code), &mut out).map(|()| true);
                }
                let name = container.runtime.name.to_string();
                let reason = "the container did not start".to_owned();
                return send(&Message::Refused(name, reason), &mut out).map(|()| false);
            }
            Err(RecvTimeoutError::Timeout) => {
                let Some((_, signal)) = next else { continue };
                let sent = container.has_started() && container.signal(signal, id).is_ok();
                // A container that is being created gets the signal later.
                next = Some(match (sent, signal) {
                    (true, StopSignal::KILL) => (now + KILL_INTERVAL, signal),
                    (true, _) => (now + plan.stop_timeout, StopSignal::KILL),
                    (false, _) => (now + POLL_INTERVAL, signal),
                });
            }
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn send(message: &Message, out: &mut impl Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// An event of the agent.
enum AgentEvent {
    Command(AgentCommand),
    /// The container's command has ended, with this exit code.
    Ended(i32),
}

/// The container to remove if the command is killed.
#[derive(Debug, Clone, Default)]
struct RunningContainer {
    container: Arc<Mutex<Option<ContainerToRemove>>>,
    /// True once the command is killed.
    is_abandoned: Arc<AtomicBool>,
}

#[derive(Debug)]
struct ContainerToRemove {
    runtime: InstalledRuntime,
    bundle: PathBuf,
    work: PathBuf,
    id: String,
    helper: PathBuf,
}

impl ContainerToRemove {
    fn of(container: &BundleContainer<'_>) -> Self {
        Self {
            runtime: container.runtime.clone(),
            bundle: container.bundle.to_path_buf(),
            work: container.work.clone(),
            id: container.id.clone(),
            helper: container.helper.to_path_buf(),
        }
    }

    fn remove(&self) {
        let Self { runtime, bundle, work, id, helper } = self;
        BundleContainer { runtime, bundle, work: work.clone(), id: id.clone(), helper }.remove();
    }
}

/// Passes on the commands of `input`. Cleans up and ends the process when they end.
fn listen(
    input: impl io::Read + Send + 'static,
    job: &AgentJob,
    running: &RunningContainer,
    events: Sender<AgentEvent>,
) {
    let (folder, running) = (job.folder.clone(), running.clone());
    let secrets = job.bundle.join(SECRETS_FOLDER);
    std::thread::spawn(move || {
        let mut input = BufReader::new(input);
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(COMMAND_LIMIT).read_until(b'\n', &mut line);
            let Some(command) = read.ok().and_then(|_| serde_json::from_slice(&line).ok()) else { break };
            // The agent may have ended its work.
            let _ = events.send(AgentEvent::Command(command));
        }
        running.is_abandoned.store(true, Ordering::SeqCst);
        if let Some(container) = &*running.container.lock_forgiving() {
            container.remove();
        }
        container::show(&secrets);
        // A process that still runs may add files.
        for _ in 0..3 {
            if remove_tree(&folder).is_ok() {
                break;
            }
        }
        std::process::exit(1);
    });
}

/// An empty folder in place of the cgroups. crun refuses a mix of versions 1 and 2, also without the use
/// of cgroups.
struct HiddenCgroups;

impl HiddenCgroups {
    fn for_runtime(runtime: &InstalledRuntime) -> Option<Self> {
        // Not `then_some`: dropping its value would unmount the cgroups.
        (runtime.name == RuntimeName::Crun && container::hide(CGROUPS)).then(|| Self)
    }
}

impl Drop for HiddenCgroups {
    fn drop(&mut self) {
        container::show(CGROUPS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_reason_in_the_output_of_a_runtime() {
        for (output, reason) in [
            ("crun: clone: Operation not permitted\n\n", "crun: clone: Operation not permitted"),
            (
                "time=\"2026-11-30\" level=error msg=\"runc run failed: no \\\"x\\\"\"\n",
                "runc run failed: no \"x\"",
            ),
            ("", ""),
        ] {
            assert_eq!(reason_of(output), reason);
        }
    }
}
