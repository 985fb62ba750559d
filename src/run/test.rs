//! The test of an image: unpacking, the plan of the checks, and the place where they run.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::RunError;
use super::bundle::{self, CONFIG, MOUNT_POINTS, ROOTFS, UserNamespace};
use super::config::ImageProcess;
use super::engine::{self, EngineProgram};
use super::job::AgentJob;
use super::refusal::Refusals;
use super::report::{TestReport, TestStep};
use super::rootfs::{Ownership, Rootfs, RootfsFolders, unpack};
use super::runtime::{InstalledRuntime, RuntimeName, find_program};
use super::session::{Readiness, SessionPlan, UrlCheck};
use super::space::{AgentEnd, NetworkNamespace, Space};
use super::user::ContainerUser;
use crate::base::{NodeKind, View};
use crate::error::FileError;
use crate::image::Image;
use crate::platform::Platform;
use crate::plural::counted;
use crate::progress::Progress;
use crate::settings::human_size;
use crate::staging::{Staging, remove_tree};
use crate::tree::ImagePath;

/// Bounds of the default time until a container is ready.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_mins(2);
/// Time until a container without a health check is ready.
const PORT_TIMEOUT: Duration = Duration::from_mins(1);
/// Time that a process without a health check and without a port has to run.
const ALIVE_TIME: Duration = Duration::from_secs(3);
/// Docker's time for a graceful stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The network of a tested container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkMode {
    /// A network of its own with a loopback device alone, so that every port is free.
    #[default]
    Private,
    /// The network of this machine, for an application that needs a service of it.
    Host,
}

/// The access to the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootMode {
    /// Writable are `/tmp`, the volumes and the folders that belong to the image's user.
    #[default]
    ReadOnly,
    /// Everything is writable, as in Docker.
    Writable,
}

/// Options of a test.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TestOptions {
    /// The runtime; by default the first one that this machine has and permits.
    pub runtime: Option<RuntimeName>,
    /// A container engine in place of a runtime.
    pub engine: Option<EngineProgram>,
    /// The network.
    pub network: NetworkMode,
    /// The access to the root file system.
    pub root: RootMode,
    /// Requests to the ready container.
    pub requests: Vec<UrlCheck>,
    /// The port of requests; by default the lowest one that the image exposes.
    pub port: Option<u16>,
    /// Time until the container is ready; by default that of the image's health check.
    pub timeout: Option<Duration>,
    /// Time for a graceful stop.
    pub stop_timeout: Duration,
    /// Variables in addition to those of the image.
    pub env: Vec<(String, String)>,
    /// The program `ipo-oci`, which is started again as a helper ([`super::helper_main`]).
    pub helper: PathBuf,
    /// Folders of programs, as in `PATH`.
    pub search_path: Option<OsString>,
    /// The cache of layer indexes, which also holds the unpacked image. By default the system's folder of
    /// temporary files does.
    pub cache: Option<PathBuf>,
}

impl TestOptions {
    /// Makes the default options.
    pub fn new(helper: impl Into<PathBuf>) -> Self {
        Self {
            runtime: None,
            engine: None,
            network: NetworkMode::default(),
            root: RootMode::default(),
            requests: Vec::new(),
            port: None,
            timeout: None,
            stop_timeout: STOP_TIMEOUT,
            env: Vec::new(),
            helper: helper.into(),
            search_path: None,
            cache: None,
        }
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
    check_platform(&image.platform)?;
    let mut process = ImageProcess::of(&image.config)?;
    for (name, value) in &options.env {
        process.set_env(name, value);
    }
    let begun = Instant::now();
    let view = View::of(image, options.cache.as_deref(), progress)?;
    let accounts = |file| view.retained_text(file).unwrap_or_default();
    let user = ContainerUser::resolve(&process.user, accounts("etc/passwd"), accounts("etc/group"))?;
    if !process.env.iter().any(|(name, _)| name == "HOME") {
        process.set_env("HOME", &user.home);
    }
    let mut prepared = Prepared { options, process, user, view, steps: Vec::new(), begun };
    if let Some(reason) = prepared.missing_program() {
        let step = TestStep::failed("start", reason, begun.elapsed());
        observe(&step);
        return Ok(TestReport { steps: vec![step], ..TestReport::default() });
    }
    let folder = Folder::new(options.cache.as_deref())?;
    let mut report = match options.engine {
        Some(engine) => engine::test(engine, image, &mut prepared, folder.0.path(), observe)?,
        None => prepared.test(folder.0.path(), observe)?,
    };
    report.steps.splice(0..0, prepared.steps);
    if report.failure().is_some() {
        report.hints = hints(&report, options);
    }
    Ok(report)
}

/// Fails if this machine cannot run programs of `platform`.
fn check_platform(platform: &Platform) -> Result<(), RunError> {
    let machine = Platform::of_this_program();
    let is_narrower = machine.architecture == "amd64" && platform.architecture == "386";
    if platform.os == "linux" && (machine.runs(platform) || is_narrower || has_emulator(platform)) {
        return Ok(());
    }
    Err(RunError::Platform { image: platform.clone(), machine })
}

/// Returns true if binfmt_misc has an emulator that works in containers: flag `F` opens it beforehand.
fn has_emulator(platform: &Platform) -> bool {
    let machine = platform.machine();
    let name = if machine.starts_with("armv") { "arm" } else { &machine };
    let rule = fs_err::read_to_string(format!("/proc/sys/fs/binfmt_misc/qemu-{name}")).unwrap_or_default();
    let flags = rule.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    rule.starts_with("enabled") && flags.contains('F')
}

/// The folder of a test, with the root file system.
struct Folder(Staging);

impl Folder {
    fn new(cache: Option<&Path>) -> Result<Self, RunError> {
        let in_cache = cache.and_then(|cache| {
            fs_err::create_dir_all(cache).ok()?;
            Staging::in_cache(cache).ok()
        });
        let folder = in_cache.map_or_else(Staging::temporary, Ok);
        Ok(Self(folder.map_err(|error| FileError::new("create", std::env::temp_dir(), error))?))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The folders of an image may refuse their owner.
        let _ = remove_tree(self.0.path());
    }
}

/// A test before the start.
pub(super) struct Prepared<'a> {
    pub(super) options: &'a TestOptions,
    pub(super) process: ImageProcess,
    pub(super) user: ContainerUser,
    pub(super) view: View,
    /// Steps before the start.
    pub(super) steps: Vec<TestStep>,
    pub(super) begun: Instant,
}

impl Prepared<'_> {
    /// Returns the reason if the image has no program for its command.
    fn missing_program(&self) -> Option<String> {
        let name = self.process.args.first()?;
        let path = self.process.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
        let candidates: Vec<String> = if name.contains('/') {
            vec![if name.starts_with('/') { name.clone() } else { format!("{}/{name}", self.process.cwd) }]
        } else {
            path.split(':').map(|folder| format!("{folder}/{name}")).collect()
        };
        let mut found = None;
        for candidate in candidates {
            let file = ImagePath::new(&candidate).ok().and_then(|path| self.view.find(&path));
            let Some((path, node)) = file.filter(|(_, node)| node.kind == NodeKind::File) else { continue };
            let runs = match self.user.uid {
                0 => node.mode & 0o111 != 0,
                _ => self.user.access(node.mode, node.uid, node.gid) & 1 != 0,
            };
            if runs {
                return None;
            }
            found = found.or(Some(path));
        }
        Some(match found {
            Some(path) => format!("{path} is not executable for user {}", self.user.uid),
            None if name.contains('/') => format!("program not found in the image: {name}"),
            None => format!("program not found in the image: {name}, with PATH {path}"),
        })
    }

    fn test(&mut self, folder: &Path, observe: &mut dyn FnMut(&TestStep)) -> Result<TestReport, RunError> {
        let wanted = match self.options.network {
            NetworkMode::Private => NetworkNamespace::New,
            NetworkMode::Host => NetworkNamespace::Inherited,
        };
        let search_path = self.options.search_path.as_deref();
        let refused = |reasons| RunError::Refused(Box::new(Refusals::of(reasons)));
        let space = Space::find(wanted, search_path)
            .map_err(|reason| refused(vec![("unshare".to_owned(), reason)]))?;
        let bundle = folder.join("bundle");
        let rootfs = self.unpack(&bundle, &space, observe)?;
        let network = space.network;
        let plan = self.plan(network)?;
        let namespace = if space.is_root { UserNamespace::Inherited } else { UserNamespace::OneUser };
        let config = bundle::config(&self.process, &self.user, &rootfs, namespace, &bundle);
        write(&bundle.join(CONFIG), config.to_string().as_bytes())?;
        let job = AgentJob {
            bundle,
            folder: folder.to_path_buf(),
            id: container_name(folder),
            runtimes: self.runtimes(&space)?,
            plan,
            has_network_namespace: network == NetworkNamespace::New,
            helper: self.options.helper.clone(),
        };
        let file = folder.join("job.json");
        let text = serde_json::to_vec(&job).map_err(|error| RunError::Agent(error.to_string()))?;
        write(&file, &text)?;
        match space.run_agent(&self.options.helper, &file, observe)? {
            AgentEnd::Finished(report) => Ok(report),
            AgentEnd::Refused(reasons) => Err(refused(reasons)),
        }
    }

    /// Unpacks the image into a new bundle.
    fn unpack(
        &mut self,
        bundle: &Path,
        space: &Space,
        observe: &mut dyn FnMut(&TestStep),
    ) -> Result<Rootfs, RunError> {
        let root = bundle.join(ROOTFS);
        fs_err::create_dir_all(&root).map_err(FileError::of("create", &root))?;
        let ownership = if space.is_root { Ownership::Image } else { Ownership::OneUser };
        let folders = RootfsFolders {
            cwd: &self.process.cwd,
            volumes: &self.process.volumes,
            mount_points: &MOUNT_POINTS,
            has_network: space.network == NetworkNamespace::Inherited,
        };
        let mut rootfs = unpack(&self.view, &root, ownership, &self.user, &folders)?;
        if self.options.root == RootMode::Writable {
            rootfs.is_writable = true;
        }
        let detail = format!("{}, {}", counted(rootfs.files, "file"), human_size(rootfs.bytes));
        let step = TestStep::passed("unpack", detail, self.begun.elapsed());
        observe(&step);
        self.steps.push(step);
        Ok(rootfs)
    }

    /// Returns the checks. On the network of this machine, the container gets a free port if it follows
    /// the variable `PORT`.
    pub(super) fn plan(&mut self, network: NetworkNamespace) -> Result<SessionPlan, RunError> {
        let set_by_user = self.options.env.iter().any(|(name, _)| name == "PORT");
        let variable = self.process.env.iter().find(|(name, _)| name == "PORT");
        let of_variable = variable.and_then(|(_, port)| port.parse().ok());
        let exposed = self.process.ports.first().copied();
        let mut port = self.options.port.or(exposed.and(of_variable)).or(exposed);
        if network == NetworkNamespace::Inherited
            && port.is_some()
            && self.options.port.is_none()
            && !set_by_user
            && self.process.follows_port()
            && let Some(free) = free_port()
        {
            self.process.set_env("PORT", &free.to_string());
            port = Some(free);
        }
        if let (Some(check), None) = (self.options.requests.first(), port) {
            return Err(RunError::NoPort { path: check.path.clone() });
        }
        let (readiness, timeout) = match (&self.process.health, port) {
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
            stop_timeout: self.options.stop_timeout,
            stop_signal: self.process.stop_signal,
        })
    }

    /// Returns the runtimes to try. runc and youki need root in the namespace of the container, which a
    /// test without root does not have beside the image's user.
    fn runtimes(&self, space: &Space) -> Result<Vec<InstalledRuntime>, RunError> {
        let installed = |name: RuntimeName| {
            let program = match name {
                RuntimeName::Own => Some(self.options.helper.clone()),
                _ => find_program(name.as_str(), self.options.search_path.as_deref()),
            };
            program.map(|program| InstalledRuntime { name, program })
        };
        if let Some(name) = self.options.runtime {
            let missing = || RunError::Program {
                program: name.as_str().into(),
                source: std::io::ErrorKind::NotFound.into(),
            };
            return Ok(vec![installed(name).ok_or_else(missing)?]);
        }
        let fits = |name: &RuntimeName| {
            space.is_root || self.user.uid == 0 || matches!(name, RuntimeName::Crun | RuntimeName::Own)
        };
        Ok(RuntimeName::ALL.into_iter().filter(fits).filter_map(installed).collect())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    Ok(fs_err::write(path, bytes).map_err(FileError::of("write", path))?)
}

/// Returns the name of the container of a test with this folder.
pub(super) fn container_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let suffix = name.rsplit('-').next().unwrap_or_default();
    format!("ipo-oci-test-{}", suffix.trim_start_matches('.'))
}

/// Returns a free port of this machine.
fn free_port() -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    Some(listener.local_addr().ok()?.port())
}

/// Returns hints to the cause of a failure, by what the container printed.
fn hints(report: &TestReport, options: &TestOptions) -> Vec<String> {
    let mut hints = Vec::new();
    let log = report.log.to_lowercase();
    let says = |text: &str| log.contains(text);
    if options.root == RootMode::ReadOnly && options.engine.is_none() && says("read-only file system") {
        hints.push("declare the folder a volume or writable, or test with --writable".to_owned());
    }
    let is_offline = says("network is unreachable") || says("name resolution") || says("connection refused");
    if options.network == NetworkMode::Private && options.engine.is_none() && is_offline {
        hints.push(
            "the container has no network; for a service of this machine add --network host".to_owned(),
        );
    }
    hints
}
