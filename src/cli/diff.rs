//! `ipo-oci diff`: compares two images.

use clap::{Args, ValueEnum};
use ipo_oci::diff::{self, DiffText};
use ipo_oci::image::Image;
use ipo_oci::platform::Platform;
use ipo_oci::progress::{Activity, Progress as _, Step};
use ipo_oci::reference::Reference;
use ipo_oci::store::{self, Access};

use super::access::AccessArguments;
use super::failure::Failure;
use super::terminal::Terminal;

/// Arguments of `ipo-oci diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArguments {
    /// Old image: oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]; FILE may be -
    #[arg(value_name = "OLD")]
    old: String,
    /// New image
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
    /// Platform of the images in an index [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::arguments::platform)]
    platform: Option<Platform>,
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
    let difference = diff::diff((&old_name, &old), (&new_name, &new), cache, terminal)?;
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

fn open(
    text: &str,
    arguments: &DiffArguments,
    access: &Access,
    terminal: &Terminal,
) -> Result<(String, Image), Failure> {
    let reference: Reference = text.parse().map_err(Failure::argument)?;
    terminal.step(&Step::on(Activity::ReadImage, reference.to_string()));
    let image = store::open_image(&reference, arguments.platform.as_ref(), access)?;
    Ok((reference.to_string(), image))
}
