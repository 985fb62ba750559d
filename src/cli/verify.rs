//! `ipo-oci verify`: verifies every digest, size and member of an image.

use clap::{Args, ValueEnum};
use ipo_oci::platform::Platform;
use ipo_oci::reference::Reference;
use ipo_oci::verify::{OmittedLayers, VerifyOptions, VerifySeverity, verify};

use super::access::AccessArguments;
use super::failure::Failure;
use super::terminal::Terminal;

/// Arguments of `ipo-oci verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArguments {
    /// Image: oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]; FILE may be -
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: VerifyFormat,
    /// Platform of the images to verify [default: all of an index]
    #[arg(long, value_name = "OS/ARCH", value_parser = super::arguments::platform)]
    platform: Option<Platform>,
    /// Accept a layout without some layers, as `--shallow` writes
    #[arg(long)]
    shallow: bool,
    #[command(flatten)]
    access: AccessArguments,
}

/// The form of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum VerifyFormat {
    /// One line a finding
    #[default]
    Text,
    /// A JSON document
    Json,
}

/// Prints the findings to standard output.
pub(crate) fn run(arguments: &VerifyArguments, terminal: &Terminal) -> Result<(), Failure> {
    let reference: Reference = arguments.image.parse().map_err(Failure::argument)?;
    let mut options = VerifyOptions::default();
    options.platform.clone_from(&arguments.platform);
    options.omitted = if arguments.shallow { OmittedLayers::Allow } else { OmittedLayers::Refuse };
    let report = verify(&reference, &options, &arguments.access.access(), terminal)?;
    match arguments.format {
        VerifyFormat::Text => terminal.result(&report.render())?,
        VerifyFormat::Json => terminal.json(&report.to_json())?,
    }
    if report.is_intact() {
        return Ok(());
    }
    let errors = report.count(VerifySeverity::Error);
    let noun = if errors == 1 { "error" } else { "errors" };
    Err(Failure::found(
        format!("cannot trust {reference}: {errors} {noun}"),
        "fetch or build the image again; `ipo-oci help verify` explains each rule",
    ))
}
