//! Image archives: an OCI layout in a tar, and the format of `docker save`.
//!
//! Archives are read in place: the headers are scanned once, and each blob is a section of the
//! file.

mod docker;
mod file;
mod write;

use super::files::LayoutFiles;
use super::{StoreError, layout_reader};
use crate::error::PartError;
use crate::image::Artifact;
use crate::reference::{Place, Reference};

pub(super) use docker::read as read_docker;
pub(super) use file::ArchiveFile;
pub(super) use write::{write_docker, write_docker_to, write_oci};

/// Opens the archive of a reference.
pub(super) fn open(place: &Place) -> Result<ArchiveFile, StoreError> {
    match place {
        Place::Path(path) => ArchiveFile::open(path),
        Place::Standard => ArchiveFile::standard_input(),
        Place::Remote(_) | Place::Local(_) => {
            Err(StoreError::Unusable("invalid archive: neither a file nor standard input".to_owned()))
        }
    }
}

/// Reads the image with the reference's tag or digest from an OCI archive.
pub(super) fn read_oci(archive: &ArchiveFile, reference: &Reference) -> Result<Artifact, StoreError> {
    let index = layout_index(archive)?.ok_or_else(|| {
        let docker = archive.small("manifest.json").is_ok_and(|manifest| manifest.is_some());
        archive.invalid(if docker { "a Docker archive, not an OCI archive" } else { "oci-layout not found" })
    })?;
    layout_reader::artifact(archive, &index, reference.tag.as_deref(), reference.digest)
}

/// Reads the index of an archived layout; `None` if the archive is not a layout.
fn layout_index(archive: &ArchiveFile) -> Result<Option<serde_json::Value>, StoreError> {
    let json = |name: &str, bytes: &[u8]| {
        serde_json::from_slice::<serde_json::Value>(bytes)
            .map_err(|error| archive.invalid(PartError::new(name, error)))
    };
    let Some(marker) = archive.small("oci-layout")? else { return Ok(None) };
    match json("oci-layout", &marker)?.get("imageLayoutVersion").and_then(serde_json::Value::as_str) {
        Some("1.0.0") => {}
        Some(version) => {
            let version = version.escape_debug();
            return Err(archive.invalid(format!("unsupported layout version `{version}`; expected 1.0.0")));
        }
        None => return Err(archive.invalid("oci-layout has no version")),
    }
    match archive.small("index.json")? {
        Some(index) => json("index.json", &index).map(Some),
        None => Err(archive.invalid("index.json not found")),
    }
}
