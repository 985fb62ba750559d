//! Names in an archive.

use super::ReadError;
use crate::tree::ImagePath;

/// Returns a field up to its first NUL.
pub(super) fn field(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Decodes a name. Names must be UTF-8, since the documents of an image could not represent others.
pub(super) fn text(bytes: &[u8]) -> Result<String, &'static str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err("name is not UTF-8"),
    }
}

/// Parses a name as a path in the image; empty and climbing names are refused. An absolute name lies below the image's
/// root, as for containerd: `umoci insert` writes such names.
pub(super) fn image_path(name: &str) -> Result<ImagePath, ReadError> {
    if name.is_empty() {
        return Err(ReadError::Unsafe(name.to_owned()));
    }
    Ok(ImagePath::new(name)?)
}
