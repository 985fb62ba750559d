//! The agent: process 1 of the namespaces of a test.
//!
//! The agent starts the container, checks it and reports to the test through standard output. Its end
//! ends every process of the test. It ends with the test, also with a killed one: standard input is a
//! pipe that the test never writes to.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::job::{AgentJob, Message};
use super::process::{CommandEnd, run_for};
use super::runtime::{BundleContainer, InstalledRuntime, RuntimeName};
use super::session::{self, Backend as _, SessionEnd};
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
    let running = RunningTest::default();
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

fn run(job: &AgentJob, running: &RunningTest) -> io::Result<()> {
    end_with_the_test(job.folder.clone(), running.clone());
    if job.has_network_namespace {
        loopback::bring_up()?;
    }
    for (number, runtime) in job.runtimes.iter().enumerate() {
        let work = job.folder.join(format!("runtime-{number}"));
        fs_err::create_dir(&work)?;
        let container =
            BundleContainer { runtime, bundle: &job.bundle, work, id: job.id.clone(), helper: &job.helper };
        *running.container.lock_forgiving() = Some(RunningContainer::of(&container));
        let _hidden = HiddenCgroups::for_runtime(runtime);
        let mut failed = None;
        let end = session::run(&container, &job.plan, &mut |step| {
            failed = send(&Message::Step(step.clone())).err().or(failed.take());
        });
        if let Some(error) = failed {
            return Err(error);
        }
        match end {
            SessionEnd::Finished(report) => return send(&Message::Finished(report)),
            SessionEnd::Refused(reason) => {
                send(&Message::Refused(runtime.name.to_string(), reason_of(&reason)))?;
            }
        }
    }
    Ok(())
}

fn send(message: &Message) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// The container to remove if the test is killed.
#[derive(Debug, Clone, Default)]
struct RunningTest {
    container: Arc<Mutex<Option<RunningContainer>>>,
    /// True once the test is killed.
    is_abandoned: Arc<AtomicBool>,
}

#[derive(Debug)]
struct RunningContainer {
    runtime: InstalledRuntime,
    bundle: PathBuf,
    work: PathBuf,
    id: String,
    helper: PathBuf,
}

impl RunningContainer {
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

/// Cleans up and ends the process when standard input ends.
fn end_with_the_test(folder: PathBuf, running: RunningTest) {
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut piece = [0; 64];
        while let Ok(1..) = input.read(&mut piece) {}
        running.is_abandoned.store(true, Ordering::SeqCst);
        if let Some(container) = &*running.container.lock_forgiving() {
            container.remove();
        }
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
