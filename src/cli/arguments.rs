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

/// Parses a setting.
pub(super) fn setting<T: std::str::FromStr<Err = SettingsError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| message(text, &error))
}

/// Formats the error of the value `text`. clap writes `invalid value 'TEXT'` and has no place for
/// help, so the message is the help, unless only a part of the value is invalid.
pub(super) fn message(text: &str, error: &SettingsError) -> String {
    match (error, error.help()) {
        (SettingsError::Value { value, .. }, Some(help)) if value == text => help,
        (_, Some(help)) => format!("{error}: {help}"),
        (_, None) => error.to_string(),
    }
}

/// Parses a platform. The message is the help, as in [`message`].
pub(super) fn platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|error: PlatformError| error.help().unwrap_or_else(|| error.to_string()))
}

/// Parses `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}
