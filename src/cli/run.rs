//! `ipo-oci run`: runs an image in the foreground, without a container engine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ipo_oci::builder::{Builder, BuiltSet};
use ipo_oci::image::Image;
use ipo_oci::plan::SourceMount;
use ipo_oci::printable;
use ipo_oci::progress::{Progress as _, Warning};
use ipo_oci::recipe::Target;
use ipo_oci::run::{self, HostMount, Input, MountAccess, RunOptions};
use ipo_oci::store;

use super::access::AccessArguments;
use super::container::{ContainerArguments, NetworkArgument, failure};
use super::failure::Failure;
use super::project::{ServiceArguments, image_reference, is_project};
use super::terminal::Terminal;

/// Arguments of `ipo-oci run`.
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// Image, or folder of a project to build
    ///
    /// An image is written as for `ipo-oci test`. The image of a project is built like that of `ipo-oci build`, and
    /// not stored.
    #[arg(value_name = "IMAGE|PROJECT", default_value = ".")]
    subject: String,
    /// Arguments of the image's entrypoint, in place of its command
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
    /// Image of a project
    #[arg(long, value_enum, default_value = "runtime")]
    target: RunTarget,
    /// Process of a project
    #[arg(long, value_name = "NAME", default_value = "web")]
    process: String,
    #[command(flatten)]
    service: ServiceArguments,

    /// Port on this machine [default: the image's]
    #[arg(short, long)]
    port: Option<u16>,
    /// Source of a project in the container [default: image; dev: mounted]
    #[arg(long, value_enum)]
    source: Option<SourceArgument>,
    /// Pass on standard input, and a terminal
    #[arg(short, long)]
    interactive: bool,
    /// Program in place of the image's entrypoint, without its command
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Network of the container [default: host; with an engine: private, and the port published]
    #[arg(long, value_enum, hide_short_help = true)]
    network: Option<NetworkArgument>,
    #[command(flatten)]
    container: ContainerArguments,
    #[command(flatten)]
    access: AccessArguments,
}

/// The image of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RunTarget {
    /// The application for production
    Runtime,
    /// With all distributions, reload and the source of this machine
    Dev,
    /// With pip and the interpreter's headers
    Builder,
}

impl From<RunTarget> for Target {
    fn from(target: RunTarget) -> Self {
        match target {
            RunTarget::Runtime => Self::Runtime,
            RunTarget::Dev => Self::Dev,
            RunTarget::Builder => Self::Builder,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SourceArgument {
    /// The image's
    Image,
    /// This machine's, read-only: the container sees each change
    Mounted,
    /// This machine's, which the container may write
    Writable,
}

/// Runs the image, and returns the exit code of its process.
pub(crate) fn run(arguments: &RunArguments, terminal: &Terminal) -> Result<ExitCode, Failure> {
    if is_project(&arguments.subject) {
        let (sets, mounts) = arguments.build(Path::new(&arguments.subject), terminal)?;
        let [set] = sets.as_slice() else {
            return Err(Failure::usage("cannot run several processes", "name one with --process"));
        };
        let built = set.for_this_machine();
        return arguments.start(&built.name.to_string(), &built.image, mounts, terminal);
    }
    if let Some(source) = arguments.source.filter(|source| *source != SourceArgument::Image) {
        return Err(Failure::usage(
            format!("cannot use --source {} for an image", name_of(source)),
            "name the folder of a project, or mount folders with --volume",
        ));
    }
    let reference = image_reference(&arguments.subject)?;
    let image =
        store::open_image(&reference, arguments.service.platform.as_ref(), &arguments.access.access())?;
    arguments.start(&reference.to_string(), &image, Vec::new(), terminal)
}

fn name_of(source: SourceArgument) -> String {
    source.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl RunArguments {
    /// Starts the image, and returns the exit code of its process.
    fn start(
        &self,
        name: &str,
        image: &Image,
        mounts: Vec<HostMount>,
        terminal: &Terminal,
    ) -> Result<ExitCode, Failure> {
        let has_source = !mounts.is_empty();
        let default =
            if self.container.has_engine() { NetworkArgument::Private } else { NetworkArgument::Host };
        let mut container = self.container.options(self.network.unwrap_or(default), &self.access)?;
        // Mounts of the user lie above those of the source.
        container.mounts.splice(0..0, mounts);
        let mut options = RunOptions::new(container);
        options.entrypoint.clone_from(&self.entrypoint);
        options.arguments.clone_from(&self.arguments);
        options.port = self.port;
        options.input = if self.interactive { Input::Inherited } else { Input::None };
        let end = run::run(image, &options, terminal, &mut |starting| {
            let at = starting.port.map(|port| format!(" at http://127.0.0.1:{port}")).unwrap_or_default();
            let source = if has_source { ", with the source of this machine" } else { "" };
            terminal.report(&format!("running {}{at}{source}\n", printable::name(name)));
        });
        let code = end.map_err(failure)?.exit_code;
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }

    /// Builds the images of a project. Returns them with the mounts of the source.
    fn build(&self, folder: &Path, terminal: &Terminal) -> Result<(Vec<BuiltSet>, Vec<HostMount>), Failure> {
        let builder = self.service.builder(folder, &self.process, &self.access)?.target(self.target.into());
        let default =
            if self.target == RunTarget::Dev { SourceArgument::Mounted } else { SourceArgument::Image };
        let access = match self.source.unwrap_or(default) {
            SourceArgument::Image => None,
            SourceArgument::Mounted => Some(MountAccess::ReadOnly),
            SourceArgument::Writable => Some(MountAccess::Writable),
        };
        let mounts = match access {
            Some(access) => self.source_mounts(&builder, access, terminal)?,
            None => Vec::new(),
        };
        Ok((builder.build_processes(terminal)?, mounts))
    }

    /// Returns the mounts of a project's source.
    fn source_mounts(
        &self,
        builder: &Builder,
        access: MountAccess,
        terminal: &Terminal,
    ) -> Result<Vec<HostMount>, Failure> {
        let mounts = builder.plan(terminal)?.source_mounts();
        let modules = mounts.iter().map(|mount| &mount.host).filter(|host| host.is_file() && is_module(host));
        let modules: Vec<&PathBuf> = modules.collect();
        if let Some(first) = modules.first() {
            let subject = match modules.len() {
                1 => printable::path(first),
                2 => format!("{} and another file", printable::path(first)),
                count => format!("{} and {} other files", printable::path(first), count - 1),
            };
            let (message, help) = if self.target == RunTarget::Dev {
                (
                    "mounted one by one: the container does not see a file that an editor replaces",
                    "keep modules in a package, or start the container again after such a change",
                )
            } else {
                (
                    "bytecode of the image takes the place of these modules",
                    "use --target dev, whose source has none",
                )
            };
            terminal.warn(Warning::new(subject, message).with_help(help));
        }
        let mount = |SourceMount { host, image }| HostMount::new(host, image, access);
        Ok(mounts.into_iter().map(mount).collect())
    }
}

fn is_module(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "py")
}
