//! Argument types and value parsers that several subcommands share.

use clap::ValueEnum;
use ipo_oci::error::Advice as _;
use ipo_oci::image::Format;
use ipo_oci::platform::{Platform, PlatformError};
use ipo_oci::settings::SettingsError;
use ipo_oci::store::Extent;

/// The media types of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArgument {
    /// OCI's
    Oci,
    /// Docker's, under which Podman keeps a health check
    Docker,
}

impl From<FormatArgument> for Format {
    fn from(format: FormatArgument) -> Self {
        match format {
            FormatArgument::Oci => Self::Oci,
            FormatArgument::Docker => Self::Docker,
        }
    }
}

/// Returns the extent for `--shallow`.
pub(super) fn extent(shallow: bool) -> Extent {
    if shallow { Extent::Shallow } else { Extent::Whole }
}

/// Parses a setting. The help is part of the message, since clap has no place for help in value
/// errors.
pub(super) fn setting<T: std::str::FromStr<Err = SettingsError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: SettingsError| match error.help() {
        Some(help) => format!("{error}: {help}"),
        None => error.to_string(),
    })
}

/// Parses a platform. The help is part of the message, since clap has no place for help in value
/// errors.
pub(super) fn platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|error: PlatformError| match error.help() {
        Some(help) => format!("{error}: {help}"),
        None => error.to_string(),
    })
}

/// Parses `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}
