//! `ipo-oci copy`: copies an image between transports.

use clap::Args;
use ipo_oci::image::Format;
use ipo_oci::platform::Platform;
use ipo_oci::progress::{Activity, Progress, Step};
use ipo_oci::reference::Reference;
use ipo_oci::store::{self, WriteOptions};

use super::access::AccessArguments;
use super::arguments::{self, FormatArgument, extent};
use super::failure::Failure;
use super::terminal::Terminal;

/// Arguments of `ipo-oci copy`.
#[derive(Args, Debug)]
pub(crate) struct CopyArguments {
    /// Source: oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]; FILE may be -
    #[arg(value_name = "SRC")]
    source: String,
    /// Destination, in the same form
    #[arg(value_name = "DEST")]
    destination: String,
    /// Copy only the image for this platform
    #[arg(long, value_name = "OS/ARCH", value_parser = arguments::platform)]
    platform: Option<Platform>,
    /// Copy all images of an index unchanged; the default
    #[arg(long, conflicts_with = "platform")]
    all: bool,
    /// Convert to these media types, which changes the digest
    #[arg(long, value_enum, value_name = "FORMAT", env = "IPO_OCI_FORMAT")]
    format: Option<FormatArgument>,
    /// Omit layers that are available in a registry from a layout
    #[arg(long)]
    shallow: bool,
    #[command(flatten)]
    access: AccessArguments,
}

/// Copies the image and prints its new reference.
pub(crate) fn run(arguments: &CopyArguments, terminal: &Terminal) -> Result<(), Failure> {
    let source: Reference = arguments.source.parse().map_err(Failure::argument)?;
    let destination: Reference = Reference::destination(&arguments.destination).map_err(Failure::argument)?;
    let access = arguments.access.access();
    terminal.step(&Step::on(Activity::ReadImage, source.to_string()));
    let found = store::open(&source, &access)?;
    let name = store::name_of(&source, &found);
    let artifact = match &arguments.platform {
        Some(platform) => store::select_platform(&found, platform)?,
        None => &found,
    };
    terminal.step(&Step::on(Activity::WriteImage, destination.to_string()));
    let mut options = WriteOptions::default();
    options.format = arguments.format.map(Format::from);
    options.extent = extent(arguments.shallow);
    let stored = store::write(artifact, &destination, &name, &options, &access, terminal)?;
    terminal.stored(&stored, &destination)
}
