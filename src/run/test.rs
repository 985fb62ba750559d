//! The test of an image: the plan of its checks, and the place where they run.

use std::path::Path;
use std::time::{Duration, Instant};

use super::RunError;
use super::bundle::Console;
use super::config::CommandChange;
use super::engine;
use super::hints::hints;
use super::job::AgentTask;
use super::options::ContainerOptions;
use super::prepared::{Folder, Prepared, free_port};
use super::report::{TestReport, TestStep};
use super::session::{Readiness, SessionPlan, UrlCheck};
use super::space::{AgentEnd, NetworkNamespace};
use crate::image::Image;
use crate::plural::counted;
use crate::progress::Progress;
use crate::settings::human_size;

/// Bounds of the default time until a container is ready.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_mins(2);
/// Time until a container without a health check is ready.
const PORT_TIMEOUT: Duration = Duration::from_mins(1);
/// Time that a process without a health check and without a port has to run.
const ALIVE_TIME: Duration = Duration::from_secs(3);

/// Options of a test.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TestOptions {
    /// The container.
    pub container: ContainerOptions,
    /// Requests to the ready container.
    pub requests: Vec<UrlCheck>,
    /// The port of requests; by default the lowest one that the image exposes.
    pub port: Option<u16>,
    /// Time until the container is ready; by default that of the image's health check.
    pub timeout: Option<Duration>,
}

impl TestOptions {
    /// Makes the default options for a container.
    pub fn new(container: ContainerOptions) -> Self {
        Self { container, requests: Vec::new(), port: None, timeout: None }
    }
}

/// Starts `image`, checks it and stops it. Each step is passed to `observe` when it ends.
///
/// # Errors
/// The test cannot begin: see [`RunError`]. A test that fails is no error.
pub fn test(
    image: &Image,
    options: &TestOptions,
    progress: &dyn Progress,
    observe: &mut dyn FnMut(&TestStep),
) -> Result<TestReport, RunError> {
    let begun = Instant::now();
    let prepared = Prepared::of(image, &options.container, &CommandChange::default(), progress)?;
    let mut test = PreparedTest { options, prepared, steps: Vec::new(), begun };
    if let Some(reason) = test.prepared.missing_program() {
        let step = TestStep::failed("start", reason, begun.elapsed());
        observe(&step);
        return Ok(TestReport { steps: vec![step], ..TestReport::default() });
    }
    let folder = Folder::new(options.container.cache.as_deref())?;
    let mut report = match options.container.engine {
        Some(engine) => engine::test(engine, image, &mut test, folder.path(), observe)?,
        None => test.run(folder.path(), observe)?,
    };
    report.steps.splice(0..0, test.steps);
    if report.failure().is_some() {
        report.hints = hints(&report, &options.container, &test.prepared.process.args);
    }
    Ok(report)
}

/// A test before the start of its container.
pub(super) struct PreparedTest<'a> {
    options: &'a TestOptions,
    pub(super) prepared: Prepared<'a>,
    /// Steps before the start.
    pub(super) steps: Vec<TestStep>,
    begun: Instant,
}

impl PreparedTest<'_> {
    fn run(&mut self, folder: &Path, observe: &mut dyn FnMut(&TestStep)) -> Result<TestReport, RunError> {
        let space = self.prepared.space()?;
        let bundle = folder.join("bundle");
        let rootfs = self.prepared.unpack(&bundle, &space)?;
        let detail = format!("{}, {}", counted(rootfs.files, "file"), human_size(rootfs.bytes));
        let step = TestStep::passed("unpack", detail, self.begun.elapsed());
        observe(&step);
        self.steps.push(step);
        let plan = self.plan(space.network)?;
        self.prepared.configure(&bundle, &rootfs, &space, Console::None)?;
        let secrets = self.prepared.secrets()?;
        let job = self.prepared.write_job(folder, bundle, &space, AgentTask::Test(plan))?;
        match space.run_agent(&self.options.container.helper, &job, &secrets, observe)? {
            AgentEnd::Finished(report) => Ok(report),
            AgentEnd::Refused(reasons) => Err(RunError::refused(reasons)),
        }
    }

    /// Returns the checks. On the network of this machine, the container gets a free port if it follows
    /// the variable `PORT`.
    pub(super) fn plan(&mut self, network: NetworkNamespace) -> Result<SessionPlan, RunError> {
        let set_by_user = self.options.container.env.iter().any(|(name, _)| name == "PORT");
        let mut port = self.options.port.or(self.prepared.own_port());
        if network == NetworkNamespace::Inherited
            && port.is_some()
            && self.options.port.is_none()
            && !set_by_user
            && self.prepared.process.follows_port()
            && let Some(free) = free_port()
        {
            self.prepared.process.set_env("PORT", &free.to_string());
            port = Some(free);
        }
        if let (Some(check), None) = (self.options.requests.first(), port) {
            return Err(RunError::NoPort { path: check.path.clone() });
        }
        let (readiness, timeout) = match (&self.prepared.process.health, port) {
            (Some(check), _) => {
                let time = check.start_period + check.interval.saturating_mul(check.retries);
                (Readiness::Health(check.clone()), time.clamp(SHORTEST_TIMEOUT, LONGEST_TIMEOUT))
            }
            (None, Some(port)) => (Readiness::Port(port), PORT_TIMEOUT),
            (None, None) => (Readiness::Alive(ALIVE_TIME), PORT_TIMEOUT),
        };
        Ok(SessionPlan {
            readiness,
            requests: self.options.requests.clone(),
            port,
            timeout: self.options.timeout.unwrap_or(timeout),
            stop_timeout: self.options.container.stop_timeout,
            stop_signal: self.prepared.process.stop_signal,
        })
    }
}
