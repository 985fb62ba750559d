//! [`run()`]: a container in the foreground, as `docker run` has it.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Sender};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::RunError;
use super::bundle::Console;
use super::config::CommandChange;
use super::engine;
use super::job::{AgentCommand, AgentTask, ForegroundPlan, Message};
use super::options::ContainerOptions;
use super::prepared::{Folder, Prepared};
use super::space::NetworkNamespace;
use crate::error::FileError;
use crate::image::Image;
use crate::progress::Progress;

/// Standard input of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// No input: a terminal's signals stop the container.
    #[default]
    None,
    /// This process's own. A terminal is passed on, with its signals.
    Inherited,
}

impl Input {
    /// Returns true if a terminal is passed on.
    pub(super) fn is_terminal(self) -> bool {
        self == Self::Inherited && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Sets the standard input of `command`, and its process group: a terminal sends its signals to the
    /// foreground group, and gives its input to that group alone.
    pub(super) fn apply(self, command: &mut Command) {
        command.stdin(if self == Self::None { Stdio::null() } else { Stdio::inherit() });
        if !(self == Self::Inherited && io::stdin().is_terminal()) {
            command.process_group(0);
        }
    }
}

/// Options of a container in the foreground.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// The container.
    pub container: ContainerOptions,
    /// The program in place of the image's entrypoint.
    pub entrypoint: Option<String>,
    /// Arguments in place of the image's command.
    pub arguments: Vec<String>,
    /// The port on this machine; by default the image's own.
    pub port: Option<u16>,
    /// Standard input.
    pub input: Input,
}

impl RunOptions {
    /// Makes the default options for a container.
    pub fn new(container: ContainerOptions) -> Self {
        Self { container, entrypoint: None, arguments: Vec::new(), port: None, input: Input::default() }
    }
}

/// A container that is about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Starting {
    /// The port on this machine, if the image exposes one.
    pub port: Option<u16>,
}

/// The end of a container in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForegroundEnd {
    /// The exit code, as a shell has it: 128 and the number of the signal that ended the process.
    pub exit_code: i32,
}

/// Runs `image` to its end, with the standard streams of this process. `observe` is called before the
/// start.
///
/// SIGINT, SIGTERM, SIGHUP and SIGQUIT of this process stop the container by the image's stop signal;
/// the second one kills it.
///
/// # Errors
/// The container cannot be started: see [`RunError`].
pub fn run(
    image: &Image,
    options: &RunOptions,
    progress: &dyn Progress,
    observe: &mut dyn FnMut(&Starting),
) -> Result<ForegroundEnd, RunError> {
    let change = CommandChange { entrypoint: options.entrypoint.as_deref(), arguments: &options.arguments };
    let mut prepared = Prepared::of(image, &options.container, &change, progress)?;
    if let Some(reason) = prepared.missing_program() {
        return Err(RunError::NoProgram(reason));
    }
    let folder = Folder::new(options.container.cache.as_deref())?;
    if let Some(engine) = options.container.engine {
        return engine::run(engine, image, &mut prepared, options, folder.path(), observe);
    }
    let space = prepared.space()?;
    let port = match (&options.entrypoint, options.port) {
        // Another program serves no port by itself.
        (Some(_), None) => None,
        (_, wanted) => port(&mut prepared, wanted, space.network)?,
    };
    let bundle = folder.path().join("bundle");
    let rootfs = prepared.unpack(&bundle, &space)?;
    let console = if options.input.is_terminal() { Console::Terminal } else { Console::None };
    if console == Console::Terminal && !prepared.process.env.iter().any(|(name, _)| name == "TERM") {
        // As in Docker, whose terminals every image knows.
        prepared.process.set_env("TERM", "xterm");
    }
    prepared.configure(&bundle, &rootfs, &space, console)?;
    let secrets = prepared.secrets()?;
    let plan = ForegroundPlan {
        stop_signal: prepared.process.stop_signal,
        stop_timeout: options.container.stop_timeout,
        commands: folder.path().join("commands"),
        messages: folder.path().join("messages"),
    };
    let (pipe, messages) = (CommandPipe::create(&plan.commands)?, plan.messages.clone());
    let job = prepared.write_job(folder.path(), bundle, &space, AgentTask::Foreground(plan))?;
    let sender = pipe.send_from_thread();
    let _ = sender.send(AgentCommand::Secrets(secrets));
    let signals = StopSignals::register(options.input, move |command| {
        let _ = sender.send(command);
    })?;
    observe(&Starting { port });
    let mut agent = space.start_agent(&options.container.helper, &job, options.input)?;
    let status = agent.wait().map_err(|source| RunError::Program { program: "unshare".into(), source })?;
    signals.end();
    let mut refusals = Vec::new();
    for line in fs_err::read(&messages).unwrap_or_default().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Message::Exited(exit_code)) => return Ok(ForegroundEnd { exit_code }),
            Ok(Message::Refused(runtime, reason)) => refusals.push((runtime, reason)),
            _ => {}
        }
    }
    Err(if refusals.is_empty() { RunError::Agent(status.to_string()) } else { RunError::refused(refusals) })
}

/// Returns the port on this machine, and makes the process listen on it.
pub(super) fn port(
    prepared: &mut Prepared<'_>,
    wanted: Option<u16>,
    network: NetworkNamespace,
) -> Result<Option<u16>, RunError> {
    let port = match (wanted, prepared.own_port()) {
        (None, own) => own,
        (Some(wanted), None) => return Err(RunError::Unexposed { wanted }),
        (Some(wanted), Some(own)) if wanted == own => Some(own),
        (Some(wanted), Some(_)) if prepared.process.follows_port() => {
            prepared.process.set_env("PORT", &wanted.to_string());
            Some(wanted)
        }
        (Some(wanted), Some(own)) => return Err(RunError::FixedPort { wanted, own }),
    };
    if network == NetworkNamespace::New {
        // No process of this machine reaches the port.
        return Ok(None);
    }
    if let Some(port) = port {
        let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        free.map_err(|reason| RunError::BusyPort { port, reason })?;
    }
    Ok(port)
}

/// The named pipe to an agent. Its end, also by the death of this process, ends the container.
struct CommandPipe(std::fs::File);

impl CommandPipe {
    fn create(path: &Path) -> Result<Self, RunError> {
        make_pipe(path).map_err(FileError::of("create", path))?;
        // Opened for reading too, so that neither this nor a later write waits for the agent.
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path);
        Ok(Self(file.map_err(FileError::of("open", path))?))
    }

    /// Writes each command in turn. Secrets may fill the pipe before an agent reads it.
    fn send_from_thread(mut self) -> Sender<AgentCommand> {
        let (sender, received) = mpsc::channel::<AgentCommand>();
        std::thread::spawn(move || {
            for command in received {
                if command.line().is_ok_and(|line| self.0.write_all(&line).is_err()) {
                    break;
                }
            }
        });
        sender
    }
}

#[cfg(target_os = "linux")]
fn make_pipe(path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

#[cfg(not(target_os = "linux"))]
fn make_pipe(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The signals that stop a container.
pub(super) struct StopSignals(Handle);

impl StopSignals {
    /// Calls `send` for each signal: to stop, then to kill.
    pub(super) fn register(
        input: Input,
        send: impl Fn(AgentCommand) + Send + 'static,
    ) -> Result<Self, RunError> {
        let failed = |error| RunError::File(FileError::new("handle", "signals", error));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]).map_err(failed)?;
        let handle = signals.handle();
        let has_terminal = input.is_terminal();
        std::thread::spawn(move || {
            let mut is_stopping = false;
            for signal in signals.forever() {
                // The container has these from its terminal.
                if has_terminal && matches!(signal, SIGINT | SIGQUIT) {
                    continue;
                }
                send(if is_stopping { AgentCommand::Kill } else { AgentCommand::Stop });
                is_stopping = true;
            }
        });
        Ok(Self(handle))
    }

    pub(super) fn end(self) {
        self.0.close();
    }
}
