//! The steps of a test with a container: start, health, requests, stop.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::http;
use super::listeners;
use super::log::Log;
use super::process::{CommandEnd, LoggedProcess, POLL_INTERVAL, exit_code, run_for};
use super::report::{StepFailure, TestReport, TestStep};
use super::signal::StopSignal;
use crate::error::describe;
use crate::image::HealthCheck;
use crate::plural::counted;

/// First and longest time between checks. Checks are more frequent than the image's interval, so that a
/// test is short.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Time limit of one request, and of a look at a port.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for a runtime to create a container.
const CREATE_TIMEOUT: Duration = Duration::from_mins(1);
/// Time between looks at the workers of a container.
const WORKERS_INTERVAL: Duration = Duration::from_millis(200);
/// Number of equal errors that are not accidental.
const REPEATED: usize = 3;
/// Time for a killed container to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A container that can be started. `id` is the process of [`Backend::start`].
pub(super) trait Backend {
    /// Returns the name for a report.
    fn name(&self) -> String;
    /// Returns the command that starts the container and ends with it.
    fn start(&self) -> Command;
    /// Returns true once the container's process runs.
    fn has_started(&self) -> bool;
    /// Returns the command that runs `words` in the container.
    fn exec(&self, words: &[String], id: u32) -> io::Result<Command>;
    /// Sends a signal to the container's process.
    fn signal(&self, signal: StopSignal, id: u32) -> Result<(), String>;
    /// Returns the address of a port of the container.
    fn address(&self, port: u16) -> Result<SocketAddr, String>;
    /// Returns the container's process, if it is visible here.
    fn init_process(&self, id: u32) -> Option<i32>;
    /// Removes the container, also while it runs.
    fn remove(&self);
}

/// The checks of a test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SessionPlan {
    pub(super) readiness: Readiness,
    pub(super) requests: Vec<UrlCheck>,
    /// The port of the requests.
    pub(super) port: Option<u16>,
    /// Time until the container is ready.
    pub(super) timeout: Duration,
    /// Time to stop after the signal.
    pub(super) stop_timeout: Duration,
    pub(super) stop_signal: StopSignal,
}

/// The sign that a container is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Readiness {
    /// The image's health check succeeds.
    Health(HealthCheck),
    /// A port accepts connections.
    Port(u16),
    /// The process still runs after this time.
    Alive(Duration),
}

/// A request to the container and the expected status: `/metrics`, or `/admin=401`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlCheck {
    /// The path with its query.
    pub path: String,
    /// The status; without one, any from 200 to 299.
    pub status: Option<u16>,
}

impl FromStr for UrlCheck {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, status) = match text.rsplit_once('=') {
            // A query has `=`, too.
            Some((path, status)) if status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) => {
                (path, status.parse().ok())
            }
            _ => (text, None),
        };
        if !path.starts_with('/') {
            return Err("write a path such as /metrics, or /admin=401 with the expected status".to_owned());
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("percent-encode spaces and other special characters".to_owned());
        }
        Ok(Self { path: path.to_owned(), status })
    }
}

/// The end of a session.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The steps ran, or one failed.
    Finished(TestReport),
    /// The backend cannot start a container here, with its reason.
    Refused(String),
}

/// Removes a container at the end, also of a panic.
struct RemovedOnDrop<'a>(&'a dyn Backend);

impl Drop for RemovedOnDrop<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// Runs the steps and reports each to `observe`.
pub(super) fn run(
    backend: &dyn Backend,
    plan: &SessionPlan,
    observe: &mut dyn FnMut(&TestStep),
) -> SessionEnd {
    let guard = RemovedOnDrop(backend);
    let begun = Instant::now();
    let mut process = match LoggedProcess::spawn(backend.start(), Log::new()) {
        Ok(process) => process,
        Err(error) => return SessionEnd::Refused(describe(&error)),
    };
    let started = wait_for_start(backend, &mut process).map(|()| {
        let workers = Workers::of(backend.init_process(process.id()));
        let mut session =
            TestSession { backend, plan, process: &mut process, workers, steps: Vec::new(), observe };
        session.add(TestStep::passed("start", backend.name(), begun.elapsed()));
        session.checks();
        let steps = std::mem::take(&mut session.steps);
        TestReport { steps, ..TestReport::default() }
    });
    drop(guard);
    process.kill();
    process.finish_output();
    match started {
        Ok(report) => SessionEnd::Finished(TestReport { log: process.log.text(), ..report }),
        Err(reason) if reason.is_empty() => SessionEnd::Refused(process.log.text()),
        Err(reason) => SessionEnd::Refused(reason),
    }
}

/// Waits until the container runs. An empty reason stands for the output.
fn wait_for_start(backend: &dyn Backend, process: &mut LoggedProcess) -> Result<(), String> {
    let deadline = Instant::now() + CREATE_TIMEOUT;
    loop {
        // In this order: a process that ended at once has started, too.
        let ended = process.exited().map_err(|error| describe(&error))?.is_some();
        if backend.has_started() {
            return Ok(());
        }
        if ended {
            return Err(String::new());
        }
        if Instant::now() > deadline {
            return Err(format!("no container after {} s", CREATE_TIMEOUT.as_secs()));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

struct TestSession<'a> {
    backend: &'a dyn Backend,
    plan: &'a SessionPlan,
    process: &'a mut LoggedProcess,
    workers: Workers,
    steps: Vec<TestStep>,
    observe: &'a mut dyn FnMut(&TestStep),
}

impl TestSession<'_> {
    fn add(&mut self, step: TestStep) {
        (self.observe)(&step);
        self.steps.push(step);
    }

    fn checks(&mut self) {
        let begun = Instant::now();
        let name = match self.plan.readiness {
            Readiness::Health(_) => "healthy",
            Readiness::Port(_) => "listening",
            Readiness::Alive(_) => "running",
        };
        match self.wait_until_ready() {
            Ok(detail) => {
                let detail = detail + self.reach();
                self.add(TestStep::passed(name, detail, begun.elapsed()));
            }
            Err(detail) => return self.add(TestStep::failed(name, detail, begun.elapsed())),
        }
        for check in &self.plan.requests {
            let begun = Instant::now();
            let name = format!("GET {}", check.path);
            match self.request(check) {
                Ok(status) => self.add(TestStep::passed(name, format!("status {status}"), begun.elapsed())),
                Err(detail) => self.add(TestStep::failed(name, detail, begun.elapsed())),
            }
        }
        let begun = Instant::now();
        match self.stop() {
            Ok(detail) => self.add(TestStep::passed("stop", detail, begun.elapsed())),
            Err(StopFault { detail, failure }) => {
                self.add(TestStep { failure, ..TestStep::failed("stop", detail, begun.elapsed()) });
            }
        }
    }

    /// Returns a remark on a service that is healthy inside the container and that nothing outside of it reaches.
    fn reach(&self) -> &'static str {
        let init = self.backend.init_process(self.process.id());
        match init.zip(self.plan.port) {
            Some((init, port)) if listeners::are_local(init, port) => {
                "; listens on a loopback address alone, which nothing outside the container reaches"
            }
            _ => "",
        }
    }

    /// Returns the status of the ended process as text.
    fn ended(&mut self) -> Option<String> {
        let status = self.process.exited().ok().flatten()?;
        Some(format!("the process ended with {}", status_text(status)))
    }

    fn wait_until_ready(&mut self) -> Result<String, String> {
        let begun = Instant::now();
        let deadline = begun + self.plan.timeout;
        let (mut pause, mut attempts, mut reason) = (FIRST_PAUSE, 0, String::new());
        loop {
            let outcome = self.attempt(begun, deadline);
            attempts += 1;
            // The end of the process is the reason of a failed check.
            if let Some(ended) = self.ended() {
                return Err(format!("{ended} after {}", seconds(begun.elapsed())));
            }
            match outcome {
                Ok(detail) if attempts == 1 => return Ok(detail),
                Ok(detail) => return Ok(format!("{detail}, {}", counted(attempts, "check"))),
                // The last check may be cut short.
                Err(cut_short) if cut_short.is_empty() && !reason.is_empty() => {}
                Err(cut_short) if cut_short.is_empty() => {
                    "the health check did not end".clone_into(&mut reason);
                }
                Err(last) => reason = last,
            }
            if self.workers.are_restarted()
                && let Some(error) = repeated_error(&self.process.log.text())
            {
                return Err(format!("its workers fail at start: {error}"));
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(format!("not within {}: {reason}", seconds(self.plan.timeout)));
            }
            self.sleep_until((now + pause).min(deadline));
            pause = (pause + pause / 2).min(LONGEST_PAUSE);
        }
    }

    /// Sleeps, but not longer than the process runs.
    fn sleep_until(&mut self, until: Instant) {
        loop {
            self.workers.look();
            let piece = until.min(Instant::now() + WORKERS_INTERVAL);
            if !matches!(self.process.wait_until(piece), Ok(None)) || Instant::now() >= until {
                return;
            }
        }
    }

    /// Checks once. The reason of a check that `deadline` cut short is empty.
    fn attempt(&mut self, begun: Instant, deadline: Instant) -> Result<String, String> {
        let left = deadline.saturating_duration_since(Instant::now()).max(POLL_INTERVAL);
        match &self.plan.readiness {
            Readiness::Health(check) => self.run_check(check, left),
            Readiness::Port(port) => {
                let address = self.backend.address(*port)?;
                if http::accepts(address, left.min(REQUEST_TIMEOUT)) {
                    Ok(format!("port {port}"))
                } else {
                    Err(format!("port {port} accepts no connection"))
                }
            }
            Readiness::Alive(time) => {
                self.sleep_until(begun + *time);
                Ok(format!("for {}", seconds(*time)))
            }
        }
    }

    fn run_check(&mut self, check: &HealthCheck, left: Duration) -> Result<String, String> {
        let failed = |error: io::Error| format!("cannot run the health check: {}", describe(&error));
        let command = self.backend.exec(&check.command, self.process.id()).map_err(failed)?;
        let limit = check.timeout.min(left);
        let (end, output) = run_for(command, limit).map_err(failed)?;
        let last_line = output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        match end {
            CommandEnd::Exited(status) if status.success() => Ok("health check of the image".to_owned()),
            CommandEnd::Exited(status) if last_line.is_empty() => {
                Err(format!("the health check ended with {}", status_text(status)))
            }
            CommandEnd::Exited(_) => Err(format!("health check: {}", last_line.trim())),
            CommandEnd::TimedOut if limit < check.timeout => Err(String::new()),
            CommandEnd::TimedOut => Err(format!("the health check took longer than {}", seconds(limit))),
        }
    }

    fn request(&mut self, check: &UrlCheck) -> Result<u16, String> {
        if let Some(ended) = self.ended() {
            return Err(ended);
        }
        let port = self.plan.port.ok_or("the image exposes no port")?;
        let address = self.backend.address(port)?;
        let status =
            http::get(address, &check.path, REQUEST_TIMEOUT).map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => format!("no response within {}", seconds(REQUEST_TIMEOUT)),
                _ => describe(&error),
            })?;
        match check.status {
            None if (200..300).contains(&status) => Ok(status),
            Some(expected) if status == expected => Ok(status),
            None => Err(format!("status {status}, expected 2xx")),
            Some(expected) => Err(format!("status {status}, expected {expected}")),
        }
    }

    /// Stops the container with its signal.
    fn stop(&mut self) -> Result<String, StopFault> {
        if let Some(ended) = self.ended() {
            return Err(format!("{ended} before the signal").into());
        }
        let signal = self.plan.stop_signal;
        self.backend.signal(signal, self.process.id())?;
        let limit = self.plan.stop_timeout;
        let ended = self.process.wait_until(Instant::now() + limit).map_err(|error| describe(&error))?;
        let Some(status) = ended else {
            let _ = self.backend.signal(StopSignal::KILL, self.process.id());
            let _ = self.process.wait_until(Instant::now() + KILL_TIMEOUT);
            let detail = format!("still running {} after {signal}, and killed", seconds(limit));
            return Err(StopFault { detail, failure: Some(StepFailure::SignalIgnored) });
        };
        let code = exit_code(status);
        if code == 0 || code == signal.exit_code() {
            return Ok(format!("{signal}, {}", status_text(status)));
        }
        Err(format!("{} after {signal}, expected 0 or {}", status_text(status), signal.exit_code()).into())
    }
}

/// A failed stop.
struct StopFault {
    detail: String,
    failure: Option<StepFailure>,
}

impl From<String> for StopFault {
    fn from(detail: String) -> Self {
        Self { detail, failure: None }
    }
}

/// The children of a container's process. A server with several workers does not end if its application
/// cannot start: its workers end, and it starts others.
#[derive(Debug, Default)]
struct Workers {
    init: Option<i32>,
    seen: BTreeSet<i32>,
    present: BTreeSet<i32>,
    most: usize,
}

impl Workers {
    fn of(init: Option<i32>) -> Self {
        Self { init, ..Self::default() }
    }

    fn look(&mut self) {
        let Some(init) = self.init else { return };
        // proc_tid_children(5)
        let children = fs_err::read_to_string(format!("/proc/{init}/task/{init}/children"));
        let children = children.unwrap_or_default();
        self.present = children.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect();
        self.seen.extend(&self.present);
        self.most = self.most.max(self.present.len());
    }

    /// Returns true if more workers have ended than there were at once.
    fn are_restarted(&self) -> bool {
        self.seen.difference(&self.present).count() > self.most + 1
    }
}

/// Returns the last line of a Python traceback that occurs several times.
fn repeated_error(log: &str) -> Option<&str> {
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    let mut is_in_traceback = false;
    for line in log.lines() {
        if line.starts_with("Traceback (most recent call last)") {
            is_in_traceback = true;
        } else if is_in_traceback && !line.starts_with(' ') && !line.is_empty() {
            is_in_traceback = false;
            *errors.entry(line).or_default() += 1;
        }
    }
    let (error, count) = errors.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= REPEATED).then_some(error)
}

/// Formats a time in seconds.
fn seconds(time: Duration) -> String {
    let tenths = format!("{:.1}", time.as_secs_f64());
    format!("{} s", tenths.strip_suffix(".0").unwrap_or(&tenths))
}

fn status_text(status: ExitStatus) -> String {
    format!("exit code {}", exit_code(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_requests() {
        let check = |text: &str| text.parse::<UrlCheck>();
        assert_eq!(check("/metrics"), Ok(UrlCheck { path: "/metrics".into(), status: None }));
        assert_eq!(check("/a=404"), Ok(UrlCheck { path: "/a".into(), status: Some(404) }));
        assert_eq!(check("/a?b=c"), Ok(UrlCheck { path: "/a?b=c".into(), status: None }));
        assert_eq!(check("/a?b=c=200"), Ok(UrlCheck { path: "/a?b=c".into(), status: Some(200) }));
        for text in ["metrics", "http://x/", "", "/a b", "/a\r\nX: y", "/é"] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    /// A backend that runs a shell script without a container.
    struct Shell(&'static str);

    impl Backend for Shell {
        fn name(&self) -> String {
            "sh".to_owned()
        }
        fn start(&self) -> Command {
            let mut command = Command::new("sh");
            command.args(["-c", self.0]);
            command
        }
        fn has_started(&self) -> bool {
            true
        }
        fn exec(&self, words: &[String], _: u32) -> io::Result<Command> {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            Ok(command)
        }
        fn signal(&self, signal: StopSignal, id: u32) -> Result<(), String> {
            let sent = Command::new("kill").args([format!("-{}", signal.number()), id.to_string()]).status();
            if sent.unwrap().success() { Ok(()) } else { Err("no process".to_owned()) }
        }
        fn address(&self, port: u16) -> Result<SocketAddr, String> {
            Ok(([127, 0, 0, 1], port).into())
        }
        fn init_process(&self, id: u32) -> Option<i32> {
            i32::try_from(id).ok()
        }
        fn remove(&self) {}
    }

    fn health(script: &str) -> Readiness {
        Readiness::Health(HealthCheck {
            is_shell: false,
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(20),
            start_period: Duration::ZERO,
            retries: 3,
        })
    }

    fn run_shell(script: &'static str, readiness: Readiness, timeout: u64) -> TestReport {
        let plan = SessionPlan {
            readiness,
            requests: Vec::new(),
            port: None,
            timeout: Duration::from_secs(timeout),
            stop_timeout: Duration::from_secs(2),
            stop_signal: StopSignal::TERM,
        };
        match run(&Shell(script), &plan, &mut |_| ()) {
            SessionEnd::Finished(report) => report,
            SessionEnd::Refused(reason) => panic!("{reason}"),
        }
    }

    fn last(report: &TestReport) -> (&str, bool, &str) {
        let step = report.steps.last().unwrap();
        (&step.name, step.has_failed(), &step.detail)
    }

    #[test]
    fn a_healthy_process_is_stopped() {
        let script = "trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 0.1; done";
        let report = run_shell(script, health("exit 0"), 20);
        assert_eq!(last(&report), ("stop", false, "SIGTERM, exit code 0"));
        assert_eq!(report.log, "hi\nbye\n");
        assert_eq!(report.steps.len(), 3);
    }

    #[test]
    fn the_end_of_the_process_ends_the_wait() {
        let begun = Instant::now();
        let report = run_shell("echo 'Traceback: no' >&2; exit 3", health("exit 1"), 60);
        let (name, failed, detail) = last(&report);
        assert!(
            failed && name == "healthy" && detail.starts_with("the process ended with exit code 3"),
            "{detail}"
        );
        assert_eq!(report.log, "Traceback: no\n");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_unhealthy_process_names_the_last_output_of_the_check() {
        let report = run_shell("exec sleep 60", health("echo no answer; exit 1"), 1);
        assert_eq!(last(&report), ("healthy", true, "not within 1 s: health check: no answer"));
        let report = run_shell("exec sleep 60", health("exec sleep 60"), 1);
        assert_eq!(last(&report), ("healthy", true, "not within 1 s: the health check did not end"));
    }

    #[test]
    fn workers_that_fail_at_start_end_the_wait() {
        let begun = Instant::now();
        let script = "while :; do
            for worker in 1 2; do
                (sleep 0.3; printf 'Traceback (most recent call last):\\n  File x\\nKeyError: no\\n'; exit 1) &
            done
            wait
        done";
        let report = run_shell(script, health("exit 1"), 100);
        assert_eq!(last(&report), ("healthy", true, "its workers fail at start: KeyError: no"));
        assert!(begun.elapsed() < Duration::from_mins(1));
    }

    #[test]
    fn one_error_is_not_repeated() {
        let error = |line: &str| format!("Traceback (most recent call last):\n  File x\n\n{line}\nmore\n");
        assert_eq!(repeated_error(&error("A: 1").repeat(2)), None);
        assert_eq!(repeated_error(&(error("A: 1").repeat(3) + &error("B: 2"))), Some("A: 1"));
    }

    #[test]
    fn a_process_that_ignores_the_signal_is_killed() {
        let report = run_shell(
            "trap '' TERM; while :; do sleep 0.1; done",
            Readiness::Alive(Duration::from_millis(300)),
            20,
        );
        assert_eq!(last(&report), ("stop", true, "still running 2 s after SIGTERM, and killed"));
        assert_eq!(report.failure().unwrap().failure, Some(StepFailure::SignalIgnored));
    }

    #[test]
    fn the_exit_code_after_the_signal_counts() {
        let script = "trap 'exit 7' TERM; while :; do sleep 0.1; done";
        let report = run_shell(script, Readiness::Alive(Duration::from_millis(300)), 20);
        assert_eq!(last(&report), ("stop", true, "exit code 7 after SIGTERM, expected 0 or 143"));
        assert_eq!(report.failure().unwrap().failure, None);
        let report = run_shell("exec sleep 60", Readiness::Alive(Duration::from_millis(300)), 20);
        assert_eq!(last(&report), ("stop", false, "SIGTERM, exit code 143"));
        let report = run_shell("exit 0", Readiness::Alive(Duration::from_secs(20)), 20);
        assert!(last(&report).2.starts_with("the process ended with exit code 0 after"), "{report:?}");
    }
}
