//! `ipo-oci inspect`: what an image is and runs.

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
    /// Where the image is: oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]; FILE may be -
    #[arg(value_name = "REF")]
    reference: String,
    /// The manifest or index to the byte, as its digest is over
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Everything as JSON
    #[arg(long)]
    json: bool,
    /// The image of an index for this platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::platform)]
    platform: Option<Platform>,
    #[command(flatten)]
    access: AccessArguments,
}

/// Prints it to standard output.
pub(crate) fn run(arguments: &InspectArguments, terminal: &Terminal) -> Result<(), Failure> {
    let reference: Reference = arguments.reference.parse().map_err(Failure::argument)?;
    let platform = arguments.platform.as_ref();
    let artifact = store::open(&reference, &arguments.access.access())?;
    if arguments.raw {
        let chosen = platform.map_or(Ok(&artifact), |platform| store::choose(&artifact, platform))?;
        return terminal.bytes(&chosen.bytes);
    }
    let inspection = Inspection::of(&reference.to_string(), &artifact, platform)?;
    if arguments.json { terminal.json(&inspection.to_json()) } else { terminal.result(&inspection.render()) }
}
