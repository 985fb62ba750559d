//! Runs a program with a time limit, and ends its entire process group.

#![allow(clippy::disallowed_methods)] // The key of the results has the inputs of the program.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::sync::LockExt as _;

/// Time between looks at a running program.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time for the output of an ended process group to arrive.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);
/// Number of bytes of output that are kept.
const OUTPUT_TAIL: usize = 16 << 10;
/// Number of lines of output in an error.
const LINES_SHOWN: usize = 20;
/// Variables of another environment, which the program does not get.
const REMOVED: [&str; 4] = ["VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "CONDA_PREFIX"];

/// Limits of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunLimits {
    /// Time until its process group is killed.
    pub(super) time: Duration,
}

/// A program that did not succeed.
#[derive(Debug)]
pub(super) enum RunFailure {
    /// The program cannot be started.
    Start(io::Error),
    /// The program ended with another status than success.
    Status { status: String, output: String },
    /// The program was killed at the end of its time.
    Time { output: String },
}

/// A process group, killed on drop.
struct ProcessGroup {
    child: Child,
    has_ended: bool,
}

/// The last bytes of a program's output.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<u8>>>);

/// Runs `words` in `folder` to the end, with `variables` in addition to those of this process, and
/// without input.
pub(super) fn run(
    words: &[String],
    folder: &Path,
    variables: &BTreeMap<String, OsString>,
    limits: RunLimits,
) -> Result<(), RunFailure> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| RunFailure::Start(io::ErrorKind::NotFound.into()))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    for name in REMOVED {
        command.env_remove(name);
    }
    command
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(RunFailure::Start)?;
    let mut group = ProcessGroup { child, has_ended: false };
    let tail = Tail::default();
    let readers: Vec<_> = [
        group.child.stdout.take().map(|pipe| tail.read(pipe)),
        group.child.stderr.take().map(|pipe| tail.read(pipe)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let deadline = Instant::now().checked_add(limits.time);
    let is_late = || deadline.is_some_and(|deadline| Instant::now() > deadline);
    let ended = loop {
        if group.has_exited().map_err(RunFailure::Start)? {
            break true;
        }
        if is_late() {
            break false;
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let status = group.end();
    // A process that left the group may hold the pipes open.
    let patience = Instant::now() + OUTPUT_PATIENCE;
    while readers.iter().any(|reader| !reader.is_finished()) && Instant::now() < patience {
        std::thread::sleep(POLL_INTERVAL);
    }
    let output = tail.lines();
    match status {
        _ if !ended => Err(RunFailure::Time { output }),
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(RunFailure::Status { status: status.to_string(), output }),
        Err(error) => Err(RunFailure::Start(error)),
    }
}

impl Tail {
    /// Reads a pipe to its end on a thread of its own.
    fn read(&self, mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<()> {
        let kept = self.0.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(got @ 1..) = pipe.read(&mut piece) {
                let mut kept = kept.lock_forgiving();
                kept.extend(piece.iter().take(got));
                let more = kept.len().saturating_sub(OUTPUT_TAIL);
                kept.drain(..more);
            }
        })
    }

    fn lines(&self) -> String {
        let bytes: Vec<u8> = self.0.lock_forgiving().iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
        last.iter().map(|line| crate::printable::name(line)).collect::<Vec<_>>().join("\n")
    }
}

impl ProcessGroup {
    fn id(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Returns true if the first process ended. The process stays in the table, so that no other can
    /// get its number before the group is killed.
    fn has_exited(&self) -> io::Result<bool> {
        let Some(id) = self.id() else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        Ok(waitid(WaitId::Pid(id), options)?.is_some())
    }

    /// Kills what is left of the group, and returns the status of the first process.
    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        self.has_ended = true;
        if let Some(id) = self.id() {
            let _ = kill_process_group(id, Signal::KILL);
        }
        self.child.wait()
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, time: Duration) -> Result<(), RunFailure> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&words, Path::new("/"), &BTreeMap::from([("A".to_owned(), "b".into())]), RunLimits { time })
    }

    #[test]
    fn output_and_status_of_a_failure_are_kept() {
        shell("[ $A = b ]", Duration::from_mins(1)).unwrap();
        let script = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; exit 3";
        match shell(script, Duration::from_mins(1)) {
            Err(RunFailure::Status { status, output }) => {
                assert!(status.contains('3') && output.contains("line 99"), "{output}");
                assert!(!output.contains("line 50"), "{output}");
            }
            other => panic!("{other:?}"),
        }
        let failure = shell("echo oops >&2; exit 1", Duration::from_mins(1));
        assert!(
            matches!(&failure, Err(RunFailure::Status { output, .. }) if output == "oops"),
            "{failure:?}"
        );
        let missing = run(
            &["/no/such".to_owned()],
            Path::new("/"),
            &BTreeMap::new(),
            RunLimits { time: Duration::MAX },
        );
        assert!(matches!(missing, Err(RunFailure::Start(error)) if error.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn the_whole_group_ends_with_its_time_or_first_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        for (script, time) in [
            ("sleep 600 & echo $! > FILE; echo waiting; wait", Duration::from_millis(300)),
            ("sleep 600 & echo $! > FILE", Duration::from_mins(1)),
        ] {
            let _ = fs_err::remove_file(&file);
            let outcome = shell(&script.replace("FILE", file.to_str().unwrap()), time);
            match outcome {
                Err(RunFailure::Time { output }) => assert_eq!(output, "waiting"),
                outcome => assert!(outcome.is_ok() && time > Duration::from_secs(1), "{outcome:?}"),
            }
            let pid = fs_err::read_to_string(&file).unwrap();
            let stat = || fs_err::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            // A killed process runs until the kernel has delivered the signal, and an orphan stays in the
            // table until its new parent has noticed. Alive, the process would sleep for ten minutes.
            let is_gone = |stat: &str| stat.is_empty() || stat.contains(") Z") || stat.contains(") X");
            let end = Instant::now() + Duration::from_mins(1);
            while !is_gone(&stat()) {
                assert!(Instant::now() < end, "{}", stat());
                std::thread::yield_now();
            }
        }
    }
}
