//! The command: one file per subcommand. Each parses arguments, calls the library and prints.

mod access;
mod arguments;
mod build;
mod cache;
mod check;
mod container;
mod context;
mod copy;
mod deploy;
mod diff;
mod explain;
mod failure;
mod files;
mod heading;
mod help;
mod index;
mod init;
mod inspect;
mod lock;
mod man;
mod markdown;
mod pages;
mod project;
mod rebase;
mod remote_cache;
mod reports;
mod resolve;
mod run;
mod settings;
mod streams;
mod summary;
mod terminal;
mod test;
mod timings;
mod transfers;
mod variables;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use ipo_oci::progress::{Progress as _, Warning};
use ipo_oci::run::{HELPER_ARGUMENT, helper_main};

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use failure::Failure;
use terminal::{Terminal, Verbosity};

/// Production container images of Python web services, built without Docker.
#[derive(Parser, Debug)]
#[command(name = "ipo-oci", version, max_term_width = 110, propagate_version = true)]
#[command(disable_help_subcommand = true, after_help = pages::topics())]
struct Arguments {
    /// Print errors only
    #[arg(short, long, global = true, display_order = 100)]
    quiet: bool,
    /// Print every step
    #[arg(short, long, global = true, display_order = 101, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Display of progress on standard error
    #[arg(hide_short_help = true, display_order = 102)]
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", env = "IPO_OCI_PROGRESS")]
    progress: terminal::ProgressMode,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Build images of a project from its environment and source tree
    #[command(after_help = help::BUILD_SHORT, after_long_help = help::BUILD)]
    Build(Box<build::BuildArguments>),
    /// Write [tool.ipo-oci] and a .dockerignore for a project
    ///
    /// The settings are those that the project's Dockerfile, Procfile and similar files give a reason for, and that differ
    /// from the defaults; the reason is the comment above each. Settings that the project already has stay.
    #[command(after_long_help = help::INIT)]
    Init(init::InitArguments),
    /// Find faults of an image before it is started
    ///
    /// The rules look at the files and the configuration: libraries, wheels, programs, requirements,
    /// bytecode, permissions, secrets, sizes. Nothing of the image is run. Exit code 1 for an error.
    #[command(after_long_help = help::CHECK)]
    Check(Box<check::CheckArguments>),
    /// List the files of a source tree, with the reason for each
    #[command(after_long_help = help::CONTEXT)]
    Context(context::ContextArgs),
    /// Print the service of a project, with the evidence for each answer
    #[command(after_long_help = help::EXPLAIN)]
    Explain(explain::ExplainArguments),
    /// List the files of an image
    ///
    /// One file a line: mode, owner and group, size in bytes, layer (1 is the lowest), path. The path
    /// begins at the last `:/`: `oci:dist/image:3.0.0:/etc`. The content of directories is listed,
    /// also of a directory behind a link.
    #[command(after_long_help = help::LS)]
    Ls(files::FileListArguments),
    /// Print a file of an image to standard output
    ///
    /// Links are followed within the image. Only the layer with the file is read for its content.
    #[command(after_long_help = help::CAT)]
    Cat(files::PrintArguments),
    /// Record the base images by digest in ipo-oci.lock
    ///
    /// Builds then do not follow moving tags.
    #[command(after_long_help = help::LOCK)]
    Lock(lock::LockArguments),
    /// Start an image without a container engine, and check its health
    ///
    /// The image is unpacked and started in namespaces, its health check succeeds, requests are answered, and
    /// its stop signal ends it in time. Exit code 5: this machine permits no container.
    #[command(after_long_help = help::TEST)]
    Test(Box<test::TestArguments>),
    /// Run an image in the foreground, without a container engine
    ///
    /// The container has the standard streams and the network of this machine. Ctrl-C stops it by its stop signal, a
    /// second one kills it. The exit code is that of its process.
    #[command(after_long_help = help::RUN)]
    Run(Box<run::RunArguments>),
    /// Copy an image between registries, layouts, archives and engines
    #[command(after_long_help = help::COPY)]
    Copy(copy::CopyArguments),
    /// Describe an image
    #[command(after_long_help = help::INSPECT)]
    Inspect(inspect::InspectArguments),
    /// Verify every digest, size and member of an image
    ///
    /// All findings are printed. The exit code is 1 if one is an error; warnings and notes leave 0.
    #[command(after_long_help = help::VERIFY)]
    Verify(Box<verify::VerifyArguments>),
    /// Compare two images
    ///
    /// Distributions, Debian packages, configuration, files and layers, with the bytes of a pull.
    #[command(after_long_help = help::DIFF)]
    Diff(Box<diff::DiffArguments>),
    /// Print what runs the images: Compose, Kubernetes and others
    ///
    /// The text follows from the configuration of the images and [tool.ipo-oci.deploy], with comments where a
    /// person has to decide. Secrets have names only.
    #[command(after_long_help = help::DEPLOY)]
    Deploy(Box<deploy::DeployArguments>),
    /// Build the images that manifests name as ipo://PROJECT
    ///
    /// The images are pushed, and replaced by their digests in the printed manifests; every other byte stays.
    #[command(after_long_help = help::RESOLVE)]
    Resolve(Box<resolve::ResolveArguments>),
    /// Combine images of several platforms
    #[command(subcommand)]
    Index(index::IndexCommand),
    /// Move an image's own layers to a newer base
    #[command(after_long_help = help::REBASE)]
    Rebase(rebase::RebaseArguments),
    /// List, verify or prune the cache
    #[command(subcommand, after_long_help = help::CACHE)]
    Cache(cache::CacheCommand),
    /// Print a completion script for a shell
    #[command(after_long_help = help::COMPLETIONS)]
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Print the help of a command, or a reference page
    Help(pages::HelpArguments),
    /// Write man pages into a folder
    #[command(hide = true)]
    Man {
        /// Folder, made if missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// Runs the command line of the process.
pub(crate) fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == HELPER_ARGUMENT) {
        // A process of `ipo-oci test`, started by the program itself.
        let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        return helper_main(&words.collect::<Vec<_>>(), &program);
    }
    let arguments = match parse() {
        Ok(arguments) => arguments,
        // clap prints help and version to standard output, usage errors to standard error with exit
        // code 2.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let verbosity = Verbosity::new(arguments.quiet, arguments.verbose);
    let terminal = Terminal::new(verbosity, arguments.progress);
    for (name, meant) in variables::misspelled(&Arguments::command()) {
        let warning = Warning::new(name, "is an unknown variable, and ignored");
        terminal.warn(warning.with_help(format!("set {meant} instead")));
    }
    let outcome = match arguments.command {
        Command::Run(arguments) => run::run(&arguments, &terminal),
        command => run_command(command, &terminal).map(|()| ExitCode::SUCCESS),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            terminal.failure(&failure);
            failure.exit_code()
        }
    }
}

/// Parses the command line and the environment variables of its flags.
fn parse() -> Result<Arguments, clap::Error> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let form = help::Form::of(&words);
    let mut command = variables::without_empty(help::complete(Arguments::command(), form));
    let matches = match command.try_get_matches_from_mut(words.clone()) {
        Ok(matches) => matches,
        Err(error) => return Err(variables::name_variable(error, &command, &words)),
    };
    let mut arguments = Arguments::from_arg_matches(&matches)?;
    if let (Command::Build(build), Some((_, matches))) = (&mut arguments.command, matches.subcommand()) {
        build.tag_is_written = matches.value_source("tag") == Some(ValueSource::CommandLine);
    }
    Ok(arguments)
}

/// Runs a command whose success has exit code 0.
fn run_command(command: Command, terminal: &Terminal) -> Result<(), Failure> {
    match command {
        Command::Build(mut arguments) => {
            arguments.select_members()?;
            build::run(&arguments, terminal)
        }
        Command::Init(arguments) => init::run(&arguments, terminal),
        Command::Check(arguments) => check::run(&arguments, terminal),
        Command::Context(arguments) => context::run(&arguments, &mut std::io::stdout().lock()),
        Command::Explain(arguments) => explain::run(&arguments, terminal),
        Command::Ls(arguments) => files::list(&arguments, terminal),
        Command::Cat(arguments) => files::print(&arguments, terminal),
        Command::Lock(arguments) => lock::run(&arguments, terminal),
        Command::Test(arguments) => test::run(&arguments, terminal),
        Command::Run(arguments) => run::run(&arguments, terminal).map(|_| ()),
        Command::Copy(arguments) => copy::run(&arguments, terminal),
        Command::Inspect(arguments) => inspect::run(&arguments, terminal),
        Command::Verify(arguments) => verify::run(&arguments, terminal),
        Command::Diff(arguments) => diff::run(&arguments, terminal),
        Command::Deploy(arguments) => deploy::run(&arguments, terminal),
        Command::Resolve(arguments) => resolve::run(&arguments, terminal),
        Command::Index(command) => index::run(&command, terminal),
        Command::Rebase(arguments) => rebase::run(&arguments, terminal),
        Command::Cache(command) => cache::run(&command, terminal),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = help::complete(Arguments::command(), help::Form::Short);
            clap_complete::generate(shell, &mut command, "ipo-oci", &mut script);
            terminal.bytes(&script)
        }
        Command::Help(arguments) => {
            let program = help::complete(Arguments::command(), help::Form::Long);
            pages::run(&arguments, program, terminal)
        }
        Command::Man { folder } => man::write(Arguments::command(), &folder),
    }
}

/// Returns the path in an environment variable, unless empty.
fn path_variable(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_definitions_are_valid() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_accepts_every_visible_command() {
        let program = Arguments::command();
        let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
        let names: Vec<&str> = commands.map(clap::Command::get_name).collect();
        assert_eq!(names, pages::COMMANDS);
    }
}
