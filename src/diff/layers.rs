//! The layers of two images, and the transfer between them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{LayerDiff, LayerSide};
use crate::digest::Digest;
use crate::image::{Encoding, Image, Layer};

/// The layers of an image, to find those of another image among them.
struct LayerSet {
    digests: BTreeSet<Digest>,
    /// Digests of the archives, each with `true` for a compressed blob.
    archives: BTreeSet<(Digest, bool)>,
}

impl LayerSet {
    fn of(image: &Image) -> Self {
        Self {
            digests: image.layers.iter().map(|layer| layer.digest).collect(),
            archives: image.layers.iter().map(|layer| (layer.diff_id, is_compressed(layer))).collect(),
        }
    }

    /// Returns true if the image has the blob, or its archive in a form whose digest cannot be compared
    /// with the blob's: compressed for an uncompressed blob, and the other way around.
    fn contains(&self, layer: &Layer) -> bool {
        self.digests.contains(&layer.digest)
            || self.archives.contains(&(layer.diff_id, !is_compressed(layer)))
    }
}

/// Returns true for a compressed layer. Engines, and archives for them, have uncompressed ones.
fn is_compressed(layer: &Layer) -> bool {
    layer.encoding != Encoding::Plain
}

/// Returns true if all layers are compressed.
pub(super) fn are_compressed(image: &Image) -> bool {
    image.layers.iter().all(is_compressed)
}

/// Returns true for equal blobs, and for the blobs of one archive of which one alone is compressed.
pub(super) fn is_same(old: &Layer, new: &Layer) -> bool {
    old.digest == new.digest || (old.diff_id == new.diff_id && is_compressed(old) != is_compressed(new))
}

/// Compares the layers by the digests of their blobs, or of their archives if one alone is compressed.
pub(super) fn compare(old: &Image, new: &Image) -> Vec<LayerDiff> {
    let (old_layers, new_layers) = (LayerSet::of(old), LayerSet::of(new));
    let (old_history, new_history) = (history(old), history(new));
    let mut layers = Vec::new();
    let mut add = |side, layers_of: &[Layer], history: &[Option<String>], other: &LayerSet, in_other| {
        for (number, layer) in layers_of.iter().enumerate() {
            if other.contains(layer) == in_other {
                layers.push(LayerDiff {
                    side,
                    digest: layer.digest,
                    diff_id: layer.diff_id,
                    transfer_bytes: layer.size,
                    created_by: history.get(number).cloned().flatten(),
                });
            }
        }
    };
    add(LayerSide::Shared, &new.layers, &new_history, &old_layers, true);
    add(LayerSide::Old, &old.layers, &old_history, &new_layers, false);
    add(LayerSide::New, &new.layers, &new_history, &old_layers, false);
    layers
}

/// Returns the commands that made the layers.
pub(super) fn history(image: &Image) -> Vec<Option<String>> {
    let config: Value = serde_json::from_slice(&image.config).unwrap_or_default();
    let lines = config.get("history").and_then(Value::as_array).into_iter().flatten();
    lines
        .filter(|line| line.get("empty_layer") != Some(&Value::Bool(true)))
        .map(|line| line.get("created_by").and_then(Value::as_str).map(str::to_owned))
        .collect()
}

/// Returns the bytes of the blobs that only the new image has, each once; `None` if an image has
/// uncompressed layers, because a registry would have other blobs.
pub(super) fn pull_bytes(layers: &[LayerDiff], old: &Image, new: &Image) -> Option<u64> {
    if !are_compressed(old) || !are_compressed(new) {
        return None;
    }
    let own: BTreeSet<(Digest, u64)> = layers
        .iter()
        .filter(|layer| layer.side == LayerSide::New)
        .map(|layer| (layer.digest, layer.transfer_bytes))
        .collect();
    let document = |same: bool, bytes: &[u8]| if same { 0 } else { bytes.len() as u64 };
    let layer_bytes: u64 = own.into_iter().map(|(_, bytes)| bytes).sum();
    let documents = document(old.config == new.config, &new.config)
        + document(old.manifest == new.manifest, &new.manifest);
    Some(layer_bytes + documents)
}
