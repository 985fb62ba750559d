//! Cache of layer indexes, by the digest of the layer.

#![allow(clippy::disallowed_methods)] // The digest identifies a base.

use std::path::{Path, PathBuf};

use super::BaseError;
use super::index_codec;
use super::layer_index::LayerIndex;
use crate::atomic_file;
use crate::digest::Digest;
use crate::image::Layer;
use crate::progress::{Activity, Progress, Step, Warning};

/// Maximum size in bytes of a cache file. A million members take about 30 MB.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Returns the index of `layer`, from the cache or from the layer itself.
///
/// A damaged, foreign or outdated cache file counts as absent. A cache that cannot be written only
/// costs time, hence a warning.
pub(super) fn load_or_read(
    layer: &Layer,
    cache: Option<&Path>,
    progress: &dyn Progress,
) -> Result<LayerIndex, BaseError> {
    let cacheable = layer.digest.sha256().and(layer.diff_id.sha256()).and(cache);
    let Some(folder) = cacheable.map(|cache| cache.join("layer-views")) else {
        return LayerIndex::read(layer, progress);
    };
    let file = path_of(&folder, &layer.digest);
    if let Some(index) = load(&file).filter(|index| index.summary.digest == layer.digest) {
        // The digest matches; a descriptor with another size or diff ID is wrong.
        index.verify(layer)?;
        return Ok(index);
    }
    progress.step(&Step::on(Activity::ReadImageLayer, layer.digest.to_string()));
    let index = LayerIndex::read(layer, progress)?;
    store_in(&folder, &index, progress);
    Ok(index)
}

/// Stores the index of a layer in the cache.
pub(super) fn store(index: &LayerIndex, cache: &Path, progress: &dyn Progress) {
    store_in(&cache.join("layer-views"), index, progress);
}

fn store_in(folder: &Path, index: &LayerIndex, progress: &dyn Progress) {
    let file = path_of(folder, &index.summary.digest);
    if let Err(error) = save(&file, index) {
        let message = format!("cannot cache the index of a layer: {error}");
        progress.warn(
            Warning::new(folder.display().to_string(), message)
                .with_help("name another directory with --cache-dir: the next build reads the base again"),
        );
    }
}

fn path_of(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("sha256-{}", digest.hex()))
}

fn load(file: &Path) -> Option<LayerIndex> {
    if fs_err::metadata(file).ok().filter(std::fs::Metadata::is_file)?.len() > MAX_FILE_BYTES {
        return None;
    }
    index_codec::decode(&fs_err::read(file).ok()?).ok()
}

/// Writes a temporary file and renames it: of two concurrent builds, either file is right. Not
/// synced, since the digest is verified on reading.
fn save(file: &Path, index: &LayerIndex) -> std::io::Result<()> {
    let bytes = index_codec::encode(index).map_err(std::io::Error::other)?;
    atomic_file::replace(file, &bytes)
}
