//! `ipo-oci deploy`: prints what runs the images of a project, or an image.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ipo_oci::builder::ImageCheck;
use ipo_oci::deploy::{DeployFile, DeployOptions, DeployTarget, DeployedImage, Deployment, Pinning};
use ipo_oci::error::FileError;
use ipo_oci::image::Image;
use ipo_oci::platform::Platform;
use ipo_oci::printable;
use ipo_oci::progress::{Activity, Progress as _, Step};
use ipo_oci::recipe::WEB;
use ipo_oci::reference::split_name;
use ipo_oci::settings::{DeployTable, Settings};
use ipo_oci::store;

use super::access::AccessArguments;
use super::arguments::FormatArgument;
use super::failure::Failure;
use super::heading;
use super::project::{ProjectArguments, image_reference, is_project};
use super::reports::write_file;
use super::streams;
use super::terminal::Terminal;

/// Arguments of `ipo-oci deploy`.
#[derive(Args, Debug)]
#[command(mut_arg("process", |argument| argument.default_value("all")))]
pub(crate) struct DeployArguments {
    /// Program that runs the images
    #[arg(value_enum, value_name = "TARGET")]
    program: TargetProgram,
    /// Folder of a project, or an image: oci:DIR[:TAG], oci-archive:FILE[:TAG],
    /// docker-archive:FILE[:NAME:TAG], docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]
    ///
    /// The images of a project are built for their digests like those of `ipo-oci build`, and not stored.
    #[arg(default_value = ".", value_name = "PROJECT|REF")]
    subject: String,
    /// File, or folder for a target with several files [default: standard output]
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Write a base of Kustomize to a folder
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    kustomize: Option<PathBuf>,
    /// Name and tag of the images [default: the project's, latest]
    #[arg(help_heading = heading::IMAGE)]
    #[arg(short, long, value_name = "NAME[:TAG]", env = "IPO_OCI_TAG")]
    tag: Option<String>,
    /// Name images by tag, for an engine without the digest
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(long)]
    by_tag: bool,
    /// Media types of the images of a project
    #[arg(help_heading = heading::IMAGE, hide_short_help = true)]
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "oci", env = "IPO_OCI_FORMAT")]
    format: FormatArgument,
    #[command(flatten)]
    project: ProjectArguments,
    #[command(flatten)]
    access: AccessArguments,
}

/// The programs that run images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TargetProgram {
    /// docker compose, docker-compose or podman-compose
    Compose,
    /// Kubernetes
    Kubernetes,
    /// Google Cloud Run
    CloudRun,
    /// Amazon ECS on Fargate, by CloudFormation
    Ecs,
    /// Fly.io
    Fly,
    /// Nomad
    Nomad,
    /// systemd, by Podman's Quadlet
    Systemd,
}

/// Prints or writes the files of the deployment.
pub(crate) fn run(arguments: &DeployArguments, terminal: &Terminal) -> Result<(), Failure> {
    let deployment = if is_project(&arguments.subject) {
        arguments.of_project(Path::new(&arguments.subject), terminal)?
    } else {
        arguments.of_image(terminal)?
    };
    let files = deployment.render(arguments.target()?).map_err(Failure::failed)?;
    let output = arguments.kustomize.as_ref().or(arguments.output.as_ref());
    match (output, files.as_slice()) {
        (None, files) => terminal.bytes(joined(files).as_bytes()),
        (Some(output), [file]) if !output.is_dir() => {
            if let Some(parent) = output.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs_err::create_dir_all(parent).map_err(|error| FileError::new("create", parent, error))?;
            }
            write_file(output, &file.text)
        }
        (Some(output), files) => {
            fs_err::create_dir_all(output).map_err(|error| FileError::new("create", output, error))?;
            files.iter().try_for_each(|file| write_file(&output.join(&file.name), &file.text))
        }
    }
}

/// Returns the text of all files, each below its name if there are several.
fn joined(files: &[DeployFile]) -> String {
    match files {
        [file] => file.text.clone(),
        files => {
            let texts = files.iter().map(|file| format!("# {}\n{}", file.name.display(), file.text));
            texts.collect::<Vec<_>>().join("---\n")
        }
    }
}

impl DeployArguments {
    fn target(&self) -> Result<DeployTarget, Failure> {
        Ok(match (self.program, &self.kustomize) {
            (TargetProgram::Kubernetes, Some(_)) => DeployTarget::Kustomize,
            (_, Some(_)) => {
                return Err(Failure::usage(
                    "cannot write a base of Kustomize for another target",
                    "name kubernetes",
                ));
            }
            (TargetProgram::Compose, None) => DeployTarget::Compose,
            (TargetProgram::Kubernetes, None) => DeployTarget::Kubernetes,
            (TargetProgram::CloudRun, None) => DeployTarget::CloudRun,
            (TargetProgram::Ecs, None) => DeployTarget::Ecs,
            (TargetProgram::Fly, None) => DeployTarget::Fly,
            (TargetProgram::Nomad, None) => DeployTarget::Nomad,
            (TargetProgram::Systemd, None) => DeployTarget::Systemd,
        })
    }

    fn options(&self) -> DeployOptions {
        let mut options = DeployOptions::default();
        options.pinning = if self.by_tag { Pinning::Tag } else { Pinning::Digest };
        options
    }

    fn of_project(&self, folder: &Path, terminal: &Terminal) -> Result<Deployment, Failure> {
        let [target] = self.project.targets()[..] else {
            return Err(Failure::usage("cannot deploy several targets", "name one with --target"));
        };
        let builder = self.project.builder(folder, &self.access)?;
        let mut builder = builder.target(target).image_check(ImageCheck::Skipped).format(self.format.into());
        if let Some(text) = &self.tag {
            let (name, tag) = split_name(text).map_err(Failure::argument)?;
            let mut settings = Settings::default();
            (settings.name, settings.tag) = (Some(name), tag);
            builder = builder.settings(settings);
        }
        let output = self.kustomize.clone().or_else(|| self.output.clone()).or_else(streams::output_file);
        if let Some(output) = output
            && builder.is_source(&output)?
        {
            let shown = printable::path(&output);
            return Err(Failure::usage(
                format!("cannot write {shown}: the file would be part of the image, whose digest it names"),
                "exclude the file in .dockerignore, or write it out of the project's folder",
            ));
        }
        Ok(builder.deployment(&self.options(), terminal)?)
    }

    fn of_image(&self, terminal: &Terminal) -> Result<Deployment, Failure> {
        let reference = image_reference(&self.subject)?;
        terminal.step(&Step::on(Activity::ReadImage, reference.to_string()));
        let artifact = store::open(&reference, &self.access.access())?;
        let platforms = self.project.platforms();
        let image = match platforms.first() {
            Some(platform) => store::select_platform(&artifact, platform)?,
            None => artifact.for_platform(&Platform::of_this_program())?,
        };
        let image = Image::from_artifact(image)?;
        let name = match &self.tag {
            Some(text) => text.parse().map_err(Failure::argument)?,
            None => store::name_of(&reference, &artifact),
        };
        let web = DeployedImage::new(WEB, name, artifact.digest(), &image);
        Deployment::of(&[web], &DeployTable::default(), &self.options()).map_err(Failure::failed)
    }
}
