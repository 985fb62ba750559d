//! Arguments of subcommands that look at a project, and the environment variables that a
//! [`Builder`] takes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ipo_oci::builder::{Builder, IgnoreSource, ProcessSelection, Provisioning};
use ipo_oci::platform::Platform;
use ipo_oci::python::environment::venv::NamedVenv;
use ipo_oci::recipe::Target;
use ipo_oci::reference::Reference;
use ipo_oci::settings::Settings;

use super::access::AccessArguments;
use super::build::BuildArguments;
use super::failure::Failure;
use super::heading;
use super::path_variable;
use super::settings::SettingArguments;

/// Targets to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TargetArgument {
    /// The application and the distributions that it needs to run
    Runtime,
    /// All installed distributions, pip and the interpreter's headers
    Builder,
    /// All installed distributions, with reload
    Dev,
    /// These three
    All,
}

/// The images of a project, for a subcommand that does not store them.
#[derive(Args, Debug)]
pub(crate) struct ProjectArguments {
    /// Images of a project
    #[arg(help_heading = heading::IMAGE)]
    #[arg(long, value_enum, default_value = "runtime", value_delimiter = ',', env = "IPO_OCI_TARGET")]
    target: Vec<TargetArgument>,
    /// Processes of a project, or all
    #[arg(help_heading = heading::IMAGE, hide_short_help = true)]
    #[arg(
        long,
        value_name = "NAME,…",
        default_value = "web",
        value_delimiter = ',',
        env = "IPO_OCI_PROCESS"
    )]
    process: Vec<String>,
    /// Environment of a project [default: .venv, else a new one]
    #[arg(help_heading = heading::SOURCE)]
    #[arg(long, value_name = "[PLATFORM=]DIR", env = "IPO_OCI_VENV")]
    venv: Vec<NamedVenv>,
    /// Recipe in place of the target's own, as for `ipo-oci build`
    #[arg(help_heading = heading::IMAGE, hide_short_help = true)]
    #[arg(long, value_name = "FILE", env = "IPO_OCI_RECIPE")]
    recipe: Option<PathBuf>,
    /// Ignore file in place of .dockerignore
    #[arg(help_heading = heading::SOURCE, hide_short_help = true)]
    #[arg(long, value_name = "FILE", env = "IPO_OCI_IGNORE_FILE")]
    ignore_file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArguments,
}

impl ProjectArguments {
    /// Returns the requested targets.
    pub(crate) fn targets(&self) -> Vec<Target> {
        targets(&self.target)
    }

    /// Returns the settings from flags and environment variables.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings.0
    }

    /// Returns the requested platforms.
    pub(crate) fn platforms(&self) -> Vec<Platform> {
        self.settings.0.platform.as_ref().map(|platforms| platforms.as_slice().to_vec()).unwrap_or_default()
    }

    /// Makes a builder of the project in `context`.
    pub(crate) fn builder(&self, context: &Path, access: &AccessArguments) -> Result<Builder, Failure> {
        let builder = Builder::from_project(context)?
            .processes(process_selection(&self.process))
            .settings(self.settings.0.clone())
            .provisioning(if access.is_offline() { Provisioning::Never } else { Provisioning::WhenMissing });
        let mut builder = with_environment(with_environments(builder, &self.venv)?)?;
        if let Some(recipe) = &self.recipe {
            builder = builder.recipe(recipe);
        }
        if let Some(file) = &self.ignore_file {
            builder = builder.ignore(IgnoreSource::File(file.clone()));
        }
        let access = access.access();
        if let Some(cache) = &access.cache {
            builder = builder.cache(cache);
        }
        Ok(builder.access(access))
    }
}

/// The project of a service that is started, and not stored.
#[derive(Args, Debug)]
pub(super) struct ServiceArguments {
    /// Platform of the image [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::arguments::platform)]
    pub(super) platform: Option<Platform>,
    /// Environment of a project, as for `ipo-oci build`
    #[arg(long, value_name = "[PLATFORM=]DIR", hide_short_help = true)]
    venv: Vec<String>,
}

impl ServiceArguments {
    /// Makes the builder of `ipo-oci build` for `processes` of the project in `folder`.
    pub(super) fn builder(
        &self,
        folder: &Path,
        processes: &str,
        access: &AccessArguments,
    ) -> Result<Builder, Failure> {
        let mut words: Vec<OsString> = vec!["build".into(), folder.into()];
        words.extend(["--process".into(), processes.into()]);
        if let Some(platform) = &self.platform {
            words.extend(["--platform".into(), platform.to_string().into()]);
        }
        for venv in &self.venv {
            words.extend(["--venv".into(), venv.into()]);
        }
        BuildArguments::of_words(words, access)?.builder(folder, &[])
    }
}

/// Returns the targets, each once, in their order.
pub(super) fn targets(arguments: &[TargetArgument]) -> Vec<Target> {
    let mut targets: Vec<Target> = arguments
        .iter()
        .flat_map(|target| match target {
            TargetArgument::Runtime => vec![Target::Runtime],
            TargetArgument::Builder => vec![Target::Builder],
            TargetArgument::Dev => vec![Target::Dev],
            TargetArgument::All => Target::ALL.to_vec(),
        })
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

/// Returns the selected processes.
pub(super) fn process_selection(names: &[String]) -> ProcessSelection {
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    if names.iter().any(|name| name == "all") {
        ProcessSelection::All
    } else {
        ProcessSelection::Named(names)
    }
}

/// Sets the virtual environments, at most one for each platform.
pub(super) fn with_environments(mut builder: Builder, venvs: &[NamedVenv]) -> Result<Builder, Failure> {
    let mut seen = BTreeSet::new();
    for NamedVenv { platform, directory } in venvs {
        if !seen.insert(platform) {
            let of = platform.as_ref().map(|platform| format!(" for {platform}")).unwrap_or_default();
            return Err(Failure::usage(
                format!("cannot use several --venv arguments{of}"),
                "write --venv PLATFORM=DIR for each platform",
            ));
        }
        builder = match platform {
            Some(platform) => builder.venv_for(platform.clone(), directory),
            None => builder.venv(directory),
        };
    }
    Ok(builder)
}

/// Passes the relevant environment variables to a builder.
pub(super) fn with_environment(mut builder: Builder) -> Result<Builder, Failure> {
    if let Some(venv) = path_variable("VIRTUAL_ENV") {
        builder = builder.active_venv(venv);
    }
    if let Some(path) = std::env::var_os("PATH") {
        builder = builder.search_path(path);
    }
    builder = builder.python_installations(python_installations());
    if let Some(home) = path_variable("HOME") {
        builder = builder.scan_for_home_path(home);
    }
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        let epoch = epoch.trim().parse().map_err(|_| {
            Failure::usage(
                format!("invalid SOURCE_DATE_EPOCH `{epoch}`"),
                "set it to a number of seconds since 1970, such as $(git log -1 --format=%ct)",
            )
        })?;
        builder = builder.source_date_epoch(epoch);
    }
    Ok(builder)
}

/// Returns true if `subject`, a project or an image, is the folder of a project. A folder with a layout is an image.
pub(super) fn is_project(subject: &str) -> bool {
    let folder = Path::new(subject);
    folder.is_dir() && !folder.join("oci-layout").is_file()
}

/// Returns the reference of an image that may be written as the folder of its layout.
pub(super) fn image_reference(subject: &str) -> Result<Reference, Failure> {
    let text = if Path::new(subject).is_dir() { format!("oci:{subject}") } else { subject.to_owned() };
    text.parse().map_err(Failure::argument)
}

/// Returns the folders of the interpreters that pyenv and uv install.
fn python_installations() -> Vec<PathBuf> {
    let in_home = |path: &str| path_variable("HOME").map(|home| home.join(path));
    let pyenv = path_variable("PYENV_ROOT").or_else(|| in_home(".pyenv")).map(|root| root.join("versions"));
    let data = || path_variable("XDG_DATA_HOME").or_else(|| in_home(".local/share"));
    let uv = path_variable("UV_PYTHON_INSTALL_DIR").or_else(|| Some(data()?.join("uv/python")));
    [uv, pyenv].into_iter().flatten().collect()
}
