//! Cache of layer indexes, by the digest of the layer.

#![allow(clippy::disallowed_methods)] // The digest identifies a base.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::BaseError;
use super::form;
use super::slice::Slice;
use crate::digest::Digest;
use crate::image::Layer;
use crate::progress::{Progress, Warning};
use crate::sealed;

/// Maximum size in bytes of a cache file. A million members take about 30 MB.
const LARGEST: u64 = 1 << 30;

/// Returns the index of `layer`, from the cache or from the layer itself.
///
/// A damaged, foreign or outdated cache file counts as absent. A cache that cannot be written only
/// costs time, hence a warning.
pub(super) fn slice(
    layer: &Layer,
    cache: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Slice, BaseError> {
    let kept = layer.digest.sha256().and(layer.diff_id.sha256()).and(cache);
    let Some(folder) = kept.map(|cache| cache.join("layer-views")) else {
        return Slice::read(layer, progress);
    };
    let file = path_of(&folder, &layer.digest);
    if let Some(slice) = load(&file).filter(|slice| slice.summary.digest == layer.digest) {
        // The digest matches; a descriptor with another size or diff ID is wrong.
        slice.verify(layer)?;
        return Ok(slice);
    }
    progress.step(&format!("reading layer {} of the base", layer.digest));
    let slice = Slice::read(layer, progress)?;
    keep_in(&folder, &slice, progress);
    Ok(slice)
}

/// Stores the index of a layer in the cache.
pub(super) fn keep(slice: &Slice, cache: &Path, progress: &dyn Progress) {
    keep_in(&cache.join("layer-views"), slice, progress);
}

fn keep_in(folder: &Path, slice: &Slice, progress: &dyn Progress) {
    let file = path_of(folder, &slice.summary.digest);
    if let Err(error) = save(folder, &file, slice) {
        let message = format!("the view of a layer cannot be kept: {error}");
        progress.warn(
            Warning::new(folder.display().to_string(), message)
                .with_help("the base is read again next time; name another folder with --cache-dir"),
        );
    }
}

fn path_of(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("sha256-{}", digest.hex()))
}

fn load(file: &Path) -> Option<Slice> {
    if fs_err::metadata(file).ok().filter(std::fs::Metadata::is_file)?.len() > LARGEST {
        return None;
    }
    form::decode(&fs_err::read(file).ok()?).ok()
}

/// Writes a temporary file and renames it: of two concurrent builds, either file is right. Not
/// synced, since the digest is verified on reading.
fn save(folder: &Path, file: &Path, slice: &Slice) -> std::io::Result<()> {
    let bytes = form::encode(slice).map_err(std::io::Error::other)?;
    fs_err::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    temporary.write_all(&bytes)?;
    sealed::persist(temporary, file)
}
