//! Docker and Podman, by their command lines, in place of a runtime.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::agent::last_line;
use super::bundle::SECRETS;
use super::foreground::{self, ForegroundEnd, Input, RunOptions, Starting, StopSignals};
use super::job::AgentCommand;
use super::options::{MountAccess, RootMode};
use super::prepared::{Prepared, container_name, write};
use super::process::{CommandEnd, exit_code, run_for};
use super::report::{TestReport, TestStep};
use super::session::{self, Backend, SessionEnd};
use super::signal::StopSignal;
use super::space::NetworkNamespace;
use super::test::PreparedTest;
use super::{RunError, agent};
use crate::error::{FileError, describe};
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
    test: &mut PreparedTest<'_>,
    folder: &Path,
    observe: &mut dyn FnMut(&TestStep),
) -> Result<TestReport, RunError> {
    let network = test.prepared.network();
    let plan = test.plan(network)?;
    let id = container_name(folder);
    let name = image_name(&id);
    let _cleanup = Cleanup::start(engine, &id, &name)?;
    let begun = Instant::now();
    load(engine, image, &name, folder)?;
    let step = TestStep::passed("load", format!("into {}", engine.as_str()), begun.elapsed());
    observe(&step);
    test.steps.push(step);
    let mut arguments: Vec<String> = ["run", "--name", &id, "--no-healthcheck"].map(str::to_owned).to_vec();
    arguments.extend(container_arguments(&test.prepared, folder)?);
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

/// Runs `image` in a container of `engine` to its end, with the standard streams of this process.
pub(super) fn run(
    engine: EngineProgram,
    image: &Image,
    prepared: &mut Prepared<'_>,
    options: &RunOptions,
    folder: &Path,
    observe: &mut dyn FnMut(&Starting),
) -> Result<ForegroundEnd, RunError> {
    let id = container_name(folder);
    let name = image_name(&id);
    let _cleanup = Cleanup::start(engine, &id, &name)?;
    load(engine, image, &name, folder)?;
    let network = prepared.network();
    let port = match (&options.entrypoint, options.port, network) {
        (Some(_), None, _) => None,
        (_, wanted, NetworkNamespace::Inherited) => foreground::port(prepared, wanted, network)?,
        (_, Some(wanted), NetworkNamespace::New) if prepared.own_port().is_none() => {
            return Err(RunError::Unexposed { wanted });
        }
        (_, wanted, NetworkNamespace::New) => wanted.or(prepared.own_port()),
    };
    let mut arguments: Vec<String> = ["run", "--name", &id].map(str::to_owned).to_vec();
    arguments.extend(container_arguments(prepared, folder)?);
    match (network, port, prepared.own_port()) {
        (NetworkNamespace::Inherited, ..) => arguments.extend(["--network", "host"].map(str::to_owned)),
        (NetworkNamespace::New, Some(port), Some(own)) => {
            arguments.extend(["--publish".to_owned(), format!("127.0.0.1:{port}:{own}")]);
        }
        (NetworkNamespace::New, ..) => {}
    }
    if options.input == Input::Inherited {
        arguments.push("--interactive".to_owned());
    }
    if options.input.is_terminal() {
        arguments.push("--tty".to_owned());
    }
    if let Some(program) = &options.entrypoint {
        arguments.extend(["--entrypoint".to_owned(), program.clone()]);
    }
    arguments.push(name);
    arguments.extend(options.arguments.iter().cloned());
    let stop_seconds = options.container.stop_timeout.as_secs().to_string();
    let stopped = id.clone();
    let signals = StopSignals::register(options.input, move |command| {
        let mut end = engine.command();
        match command {
            AgentCommand::Stop => end.args(["stop", "--time", &stop_seconds, &stopped]),
            _ => end.args(["kill", &stopped]),
        };
        let _ = end.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    })?;
    observe(&Starting { port });
    let mut command = engine.command();
    command.args(&arguments);
    options.input.apply(&mut command);
    let failed = |source| RunError::Program { program: engine.as_str().into(), source };
    let status = command.status().map_err(failed)?;
    signals.end();
    Ok(ForegroundEnd { exit_code: exit_code(status) })
}

/// Returns the name of the loaded image for a container.
fn image_name(id: &str) -> String {
    format!("localhost/ipo-oci-test:{id}")
}

/// Returns the arguments for the container's safety, files and variables.
fn container_arguments(prepared: &Prepared<'_>, folder: &Path) -> Result<Vec<String>, RunError> {
    let mut arguments: Vec<String> = ["--security-opt", "no-new-privileges"].map(str::to_owned).to_vec();
    if prepared.user.uid != 0 {
        arguments.extend(["--cap-drop", "ALL"].map(str::to_owned));
    }
    if prepared.options.root == RootMode::ReadOnly {
        arguments.extend(["--read-only", "--tmpfs", "/tmp"].map(str::to_owned));
        let own = prepared.own_folders();
        let own = own.iter().filter(|path| !path.is_root() && path.as_str() != "tmp");
        // An anonymous volume begins with the content of the image.
        arguments.extend(own.flat_map(|path| ["--volume".to_owned(), path.to_string()]));
    }
    // The arguments of a process are visible to every user of the machine.
    let (lines, others): (Vec<_>, Vec<_>) =
        prepared.process.env.iter().partition(|(_, value)| !value.contains('\n'));
    let file = folder.join("variables");
    let lines: String =
        lines.iter().fold(String::new(), |text, (name, value)| format!("{text}{name}={value}\n"));
    write(&file, lines.as_bytes())?;
    arguments.extend(["--env-file".to_owned(), file.to_string_lossy().into_owned()]);
    for (name, value) in others {
        arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    let mut bind = |source: &Path, destination: &str, access| -> Result<(), RunError> {
        let source = std::path::absolute(source).map_err(FileError::of("find", source))?;
        fs_err::metadata(&source).map_err(FileError::of("read", &source))?;
        let end = if access == MountAccess::ReadOnly { ",readonly" } else { "" };
        let mount = format!("type=bind,source={},target={destination}{end}", source.display());
        arguments.extend(["--mount".to_owned(), mount]);
        Ok(())
    };
    for secret in &prepared.options.secrets {
        bind(&secret.file, &format!("{SECRETS}/{}", secret.name), MountAccess::ReadOnly)?;
    }
    for mount in &prepared.options.mounts {
        bind(&mount.source, &mount.destination.to_string(), mount.access)?;
    }
    Ok(arguments)
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

    fn exec(&self, words: &[String], _: u32) -> io::Result<Command> {
        let mut command = self.engine.command();
        command.args(["exec", &self.id]).args(words);
        Ok(command)
    }

    fn signal(&self, signal: StopSignal, _: u32) -> Result<(), String> {
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

    fn init_process(&self, _: u32) -> Option<i32> {
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
