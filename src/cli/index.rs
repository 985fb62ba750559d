//! `ipo-oci index`: combines images of several platforms under one name.

use clap::{Args, Subcommand};
use ipo_oci::image::{Artifact, Format};
use ipo_oci::progress::{Activity, Progress, Step};
use ipo_oci::reference::Reference;
use ipo_oci::store::{self, WriteOptions};

use super::access::AccessArguments;
use super::arguments::{FormatArgument, extent};
use super::failure::Failure;
use super::terminal::Terminal;

/// A subcommand of `ipo-oci index`.
#[derive(Subcommand, Debug)]
pub(crate) enum IndexCommand {
    /// Combine images of several platforms, built on separate machines, into one index
    #[command(after_long_help = super::help::INDEX_CREATE)]
    Create(CreateArguments),
}

/// Arguments of `ipo-oci index create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArguments {
    /// Destination: oci:DIR[:TAG], oci-archive:FILE[:TAG] or [docker://]REGISTRY/NAME[:TAG]; FILE
    /// may be -
    #[arg(value_name = "DEST")]
    destination: String,
    /// Images to combine; indexes contribute all of their images
    #[arg(value_name = "SRC", required = true)]
    sources: Vec<String>,
    /// Convert all images to these media types
    #[arg(long, value_enum, value_name = "FORMAT", env = "IPO_OCI_FORMAT")]
    format: Option<FormatArgument>,
    /// Omit layers that are available in a registry from a layout
    #[arg(long)]
    shallow: bool,
    #[command(flatten)]
    access: AccessArguments,
}

/// Creates the index and prints its reference.
pub(crate) fn run(command: &IndexCommand, terminal: &Terminal) -> Result<(), Failure> {
    let IndexCommand::Create(arguments) = command;
    let destination: Reference = Reference::destination(&arguments.destination).map_err(Failure::argument)?;
    let sources = arguments.sources.iter().map(|source| source.parse());
    let sources: Vec<Reference> = sources.collect::<Result<_, _>>().map_err(Failure::argument)?;
    let access = arguments.access.access();
    let mut images = Vec::new();
    let mut name = None;
    for source in &sources {
        terminal.step(&Step::on(Activity::ReadImage, source.to_string()));
        let image = store::open(source, &access)?;
        name.get_or_insert_with(|| store::name_of(source, &image));
        images.push(image);
    }
    let Some(name) = name else {
        return Err(Failure::usage("missing images for the index", "name the images after the destination"));
    };
    let index = Artifact::index_of(images)?;
    terminal.step(&Step::on(Activity::WriteImage, destination.to_string()));
    let mut options = WriteOptions::default();
    options.format = arguments.format.map(Format::from);
    options.extent = extent(arguments.shallow);
    let stored = store::write(&index, &destination, &name, &options, &access, terminal)?;
    terminal.stored(&stored, &destination)
}
