//! `ipo-oci inspect`: describes an image.

use clap::Args;
use ipo_oci::platform::Platform;
use ipo_oci::reference::Reference;
use ipo_oci::report::inspect::Inspection;
use ipo_oci::store;

use super::access::AccessArguments;
use super::failure::Failure;
use super::terminal::Terminal;

/// Arguments of `ipo-oci inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArguments {
    /// Image: oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]; FILE may be -
    #[arg(value_name = "REF")]
    reference: String,
    /// Print the raw bytes of the manifest or index
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Platform of the image in an index [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::arguments::platform)]
    platform: Option<Platform>,
    #[command(flatten)]
    access: AccessArguments,
}

/// Prints the description to standard output.
pub(crate) fn run(arguments: &InspectArguments, terminal: &Terminal) -> Result<(), Failure> {
    let reference: Reference = arguments.reference.parse().map_err(Failure::argument)?;
    let platform = arguments.platform.as_ref();
    let artifact = store::open(&reference, &arguments.access.access())?;
    if arguments.raw {
        let chosen =
            platform.map_or(Ok(&artifact), |platform| store::select_platform(&artifact, platform))?;
        return terminal.bytes(&chosen.bytes);
    }
    let inspection = Inspection::of(&reference.to_string(), &artifact, platform)?;
    if arguments.json { terminal.json(&inspection.to_json()) } else { terminal.result(&inspection.render()) }
}
