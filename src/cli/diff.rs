//! `ipo-oci diff`: compares two images.

use std::path::Path;

use clap::{Args, ValueEnum};
use ipo_oci::builder::{Built, ImageCheck};
use ipo_oci::diff::{self, DiffText};
use ipo_oci::image::Image;
use ipo_oci::progress::{Activity, Progress as _, Step};
use ipo_oci::store::{self, Access};

use super::access::AccessArguments;
use super::failure::Failure;
use super::project::{ProjectArguments, image_reference, is_project};
use super::terminal::Terminal;

/// Arguments of `ipo-oci diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArguments {
    /// Old image, or folder of a project to build: oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]; FILE may be -
    ///
    /// The image of a project is built like that of `ipo-oci build`, and not stored.
    #[arg(value_name = "OLD")]
    old: String,
    /// New image, or folder of a project
    #[arg(value_name = "NEW")]
    new: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: DiffFormat,
    /// List all differences
    #[arg(long)]
    all: bool,
    /// Exit with 1 if configuration or files differ
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    project: ProjectArguments,
    #[command(flatten)]
    access: AccessArguments,
}

/// The form of the differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum DiffFormat {
    /// Sections of lines
    #[default]
    Text,
    /// A JSON document with all differences
    Json,
    /// Tables for the comment of a pull request
    Markdown,
}

/// Prints the differences to standard output.
pub(crate) fn run(arguments: &DiffArguments, terminal: &Terminal) -> Result<(), Failure> {
    let access = arguments.access.access();
    let (old_name, old) = open(&arguments.old, arguments, &access, terminal)?;
    let (new_name, new) = open(&arguments.new, arguments, &access, terminal)?;
    let cache = access.cache.as_deref();
    let difference = diff::diff((&old_name, old.image()), (&new_name, new.image()), cache, terminal)?;
    let length = if arguments.all { DiffText::Full } else { DiffText::Short };
    match arguments.format {
        DiffFormat::Text => terminal.result(&difference.render(length))?,
        DiffFormat::Json => terminal.json(&difference.to_json())?,
        DiffFormat::Markdown => terminal.result(&difference.to_markdown(length))?,
    }
    if arguments.exit_code && !difference.is_empty() {
        return Err(Failure::found(
            format!("{new_name} differs from {old_name}"),
            "leave out --exit-code to print the differences alone",
        ));
    }
    Ok(())
}

/// One of the images.
enum Subject {
    Stored(Image),
    /// The image of a project, whose layers are files of the build.
    Built(Box<Built>),
}

impl Subject {
    fn image(&self) -> &Image {
        match self {
            Self::Stored(image) => image,
            Self::Built(built) => &built.image,
        }
    }
}

fn open(
    text: &str,
    arguments: &DiffArguments,
    access: &Access,
    terminal: &Terminal,
) -> Result<(String, Subject), Failure> {
    let platforms = arguments.project.platforms();
    let platform = platforms.first();
    let folder = Path::new(text);
    if is_project(text) {
        let [target] = arguments.project.targets()[..] else {
            return Err(Failure::usage("cannot compare several targets", "name one with --target"));
        };
        let builder = arguments.project.builder(folder, &arguments.access)?.target(target);
        let mut builder = builder.image_check(ImageCheck::Skipped);
        if let Some(platform) = platform {
            builder = builder.platform(platform.clone());
        }
        return Ok((text.to_owned(), Subject::Built(Box::new(builder.build(terminal)?))));
    }
    let reference = image_reference(text)?;
    terminal.step(&Step::on(Activity::ReadImage, reference.to_string()));
    let image = store::open_image(&reference, platform, access)?;
    Ok((reference.to_string(), Subject::Stored(image)))
}
