//! Docker and Podman, by their command lines, in place of a runtime.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::agent::last_line;
use super::process::{CommandEnd, LoggedProcess, run_for};
use super::report::{TestReport, TestStep};
use super::rootfs::own_folders;
use super::session::{self, Backend, SessionEnd};
use super::signal::StopSignal;
use super::space::NetworkNamespace;
use super::test::{NetworkMode, Prepared, RootMode, container_name};
use super::{RunError, agent};
use crate::error::describe;
use crate::image::Image;
use crate::progress::Silent;
use crate::reference::Name;
use crate::store::{self, Access, WriteOptions};

/// Time limit for loading an image.
const LOAD_TIMEOUT: Duration = Duration::from_mins(10);

/// A container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineProgram {
    /// `docker`
    Docker,
    /// `podman`
    Podman,
}

impl EngineProgram {
    /// Returns the name of the program.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    fn command(self) -> Command {
        Command::new(self.as_str())
    }
}

/// Tests `image` in a container of `engine`.
pub(super) fn test(
    engine: EngineProgram,
    image: &Image,
    prepared: &mut Prepared<'_>,
    folder: &Path,
    observe: &mut dyn FnMut(&TestStep),
) -> Result<TestReport, RunError> {
    let network = match prepared.options.network {
        NetworkMode::Private => NetworkNamespace::New,
        NetworkMode::Host => NetworkNamespace::Inherited,
    };
    let plan = prepared.plan(network)?;
    let id = container_name(folder);
    let name = format!("localhost/ipo-oci-test:{id}");
    let _cleanup = Cleanup::start(engine, &id, &name)?;
    let begun = Instant::now();
    load(engine, image, &name, folder)?;
    let step = TestStep::passed("load", format!("into {}", engine.as_str()), begun.elapsed());
    observe(&step);
    prepared.steps.push(step);
    let mut arguments: Vec<String> = ["run", "--name", &id, "--no-healthcheck"].map(str::to_owned).to_vec();
    arguments.extend(["--security-opt", "no-new-privileges"].map(str::to_owned));
    if prepared.user.uid != 0 {
        arguments.extend(["--cap-drop", "ALL"].map(str::to_owned));
    }
    if prepared.options.root == RootMode::ReadOnly {
        arguments.extend(["--read-only", "--tmpfs", "/tmp"].map(str::to_owned));
        let own = own_folders(&prepared.view, &prepared.user);
        let own = own.iter().filter(|path| !path.is_root() && path.as_str() != "tmp");
        // An anonymous volume begins with the content of the image.
        arguments.extend(own.flat_map(|path| ["--volume".to_owned(), path.to_string()]));
    }
    for (name, value) in &prepared.process.env {
        arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    match (network, plan.port) {
        (NetworkNamespace::Inherited, _) => arguments.extend(["--network", "host"].map(str::to_owned)),
        (NetworkNamespace::New, Some(port)) => {
            arguments.extend(["--publish".to_owned(), format!("127.0.0.1::{port}")]);
        }
        (NetworkNamespace::New, None) => {}
    }
    let mark = folder.join("started");
    arguments.extend(["--cidfile".to_owned(), mark.to_string_lossy().into_owned(), name]);
    let container = EngineContainer { engine, id, arguments, mark, network };
    match session::run(&container, &plan, observe) {
        SessionEnd::Finished(report) => Ok(report),
        SessionEnd::Refused(output) => Err(RunError::Engine {
            action: "start the image",
            engine: engine.as_str(),
            output: last_line(&output),
        }),
    }
}

/// Loads the image under `name`.
fn load(engine: EngineProgram, image: &Image, name: &str, folder: &Path) -> Result<(), RunError> {
    let file = folder.join("image.tar");
    let reference = format!("docker-archive:{}:{name}", file.display()).parse();
    let (Ok(reference), Ok(name)) = (reference, name.parse::<Name>()) else {
        return Err(RunError::Agent(format!("no reference for {}", file.display())));
    };
    let artifact = image.artifact().map_err(store::StoreError::from)?;
    store::write(&artifact, &reference, &name, &WriteOptions::default(), &Access::default(), &Silent)?;
    let mut command = engine.command();
    command.args(["load", "--quiet", "--input"]).arg(&file);
    let (end, output) = run_for(command, LOAD_TIMEOUT)
        .map_err(|source| RunError::Program { program: engine.as_str().into(), source })?;
    let _ = fs_err::remove_file(&file);
    match end {
        CommandEnd::Exited(status) if status.success() => Ok(()),
        _ => Err(RunError::Engine {
            action: "load the image",
            engine: engine.as_str(),
            output: last_line(&output),
        }),
    }
}

/// A container of an engine.
struct EngineContainer {
    engine: EngineProgram,
    id: String,
    arguments: Vec<String>,
    mark: PathBuf,
    network: NetworkNamespace,
}

impl Backend for EngineContainer {
    fn name(&self) -> String {
        format!("with {}", self.engine.as_str())
    }

    fn start(&self) -> Command {
        let mut command = self.engine.command();
        command.args(&self.arguments);
        command
    }

    fn has_started(&self) -> bool {
        if std::fs::metadata(&self.mark).is_ok_and(|file| file.len() == 0) || !self.mark.exists() {
            return false;
        }
        let mut command = self.engine.command();
        command.args(["inspect", "--format", "{{.State.StartedAt}}", &self.id]);
        // A container that was not started has the time of the year 1.
        run_for(command, Duration::from_secs(20)).is_ok_and(|(end, output)| {
            matches!(end, CommandEnd::Exited(status) if status.success()) && !output.starts_with("0001-")
        })
    }

    fn exec(&self, words: &[String], _: &LoggedProcess) -> io::Result<Command> {
        let mut command = self.engine.command();
        command.args(["exec", &self.id]).args(words);
        Ok(command)
    }

    fn signal(&self, signal: StopSignal, _: &LoggedProcess) -> Result<(), String> {
        let mut command = self.engine.command();
        command.args(["kill", "--signal", &signal.number().to_string(), &self.id]);
        agent::run_quietly(command)
    }

    fn address(&self, port: u16) -> Result<SocketAddr, String> {
        if self.network == NetworkNamespace::Inherited {
            return Ok(([127, 0, 0, 1], port).into());
        }
        let mut command = self.engine.command();
        command.args(["port", &self.id, &format!("{port}/tcp")]);
        let (_, output) = run_for(command, Duration::from_secs(20)).map_err(|error| describe(&error))?;
        output.lines().find_map(|line| line.trim().parse().ok()).ok_or_else(|| last_line(&output))
    }

    fn init_process(&self, _: &LoggedProcess) -> Option<i32> {
        None
    }

    fn remove(&self) {
        let mut command = self.engine.command();
        command.args(["rm", "--force", "--volumes", &self.id]);
        let _ = agent::run_quietly(command);
    }
}

/// A shell that removes container and image when the pipe to it closes: at the end of the test, or of a
/// killed one.
struct Cleanup(Child);

impl Cleanup {
    fn start(engine: EngineProgram, id: &str, name: &str) -> Result<Self, RunError> {
        use std::os::unix::process::CommandExt as _;
        const SCRIPT: &str = "read -r _; \"$0\" rm --force --volumes \"$1\"; \"$0\" rmi --force \"$2\"";
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, engine.as_str(), id, name]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().map_err(|source| RunError::Program { program: "sh".into(), source })?))
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"\n");
        }
        let _ = self.0.wait();
    }
}
