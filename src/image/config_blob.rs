//! Reading the configuration of an existing image.

use serde_json::Value;

use super::{Blob, Descriptor, ImageError};
use crate::platform::Platform;

/// The limit of a configuration's size in bytes.
const CONFIG_LIMIT: u64 = 8 << 20;

pub(super) fn read_config(descriptor: &Descriptor, blob: &Blob) -> Result<Vec<u8>, ImageError> {
    if descriptor.size > CONFIG_LIMIT {
        return Err(ImageError::Content(format!(
            "cannot read the configuration: larger than {CONFIG_LIMIT} bytes"
        )));
    }
    let mut bytes = Vec::new();
    let reader = blob.open().map_err(ImageError::Config)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(reader, CONFIG_LIMIT), &mut bytes)
        .map_err(ImageError::Config)?;
    let found = descriptor.digest.recomputed(&bytes);
    if found == descriptor.digest {
        Ok(bytes)
    } else {
        Err(ImageError::Digest { expected: descriptor.digest, found })
    }
}

/// Returns the platform in a configuration, else `fallback`, else Linux on the architecture of this
/// program, as in Docker (moby, `image.Image.BaseImgArch` and `OperatingSystem`).
pub(super) fn platform_of_config(config: &Value, fallback: Option<&Platform>) -> Platform {
    let text = |key: &str| config.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let own = Platform::of_this_program();
    let fallback = fallback.unwrap_or(&own);
    let architecture = text("architecture");
    let variant = match architecture {
        Some(_) => text("variant"),
        None => fallback.variant.as_deref(),
    };
    Platform::new(text("os").unwrap_or(&fallback.os), architecture.unwrap_or(&fallback.architecture), variant)
}
