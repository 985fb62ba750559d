//! Names as they stand in an archive.

use super::ReadError;
use crate::tree::ImagePath;

/// A field up to its first NUL.
pub(super) fn field(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A name as text. Names that are not UTF-8 cannot be put into a document, so an image cannot be told with them.
pub(super) fn text(bytes: &[u8]) -> Result<String, &'static str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err("a name is not UTF-8"),
    }
}

/// A name as a place in the image; one that is absolute, empty or that climbs is refused.
pub(super) fn image_path(name: &str) -> Result<ImagePath, ReadError> {
    if name.is_empty() || name.starts_with('/') {
        return Err(ReadError::Unsafe(name.to_owned()));
    }
    Ok(ImagePath::new(name)?)
}
