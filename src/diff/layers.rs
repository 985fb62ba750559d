//! The layers of two images, and the transfer between them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{LayerDiff, LayerSide};
use crate::digest::Digest;
use crate::image::{Image, Layer};

/// Compares the layers by the digests of their blobs.
pub(super) fn compare(old: &Image, new: &Image) -> Vec<LayerDiff> {
    let digests = |image: &Image| image.layers.iter().map(|layer| layer.digest).collect::<BTreeSet<_>>();
    let (old_digests, new_digests) = (digests(old), digests(new));
    let (old_history, new_history) = (history(old), history(new));
    let mut layers = Vec::new();
    let mut add =
        |side, layers_of: &[Layer], history: &[Option<String>], other: &BTreeSet<Digest>, in_other| {
            for (number, layer) in layers_of.iter().enumerate() {
                if other.contains(&layer.digest) == in_other {
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
    add(LayerSide::Shared, &new.layers, &new_history, &old_digests, true);
    add(LayerSide::Old, &old.layers, &old_history, &new_digests, false);
    add(LayerSide::New, &new.layers, &new_history, &old_digests, false);
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

/// Returns the bytes of the blobs that only the new image has, each once.
pub(super) fn pull_bytes(layers: &[LayerDiff], old: &Image, new: &Image) -> u64 {
    let own: BTreeSet<(Digest, u64)> = layers
        .iter()
        .filter(|layer| layer.side == LayerSide::New)
        .map(|layer| (layer.digest, layer.transfer_bytes))
        .collect();
    let document = |same: bool, bytes: &[u8]| if same { 0 } else { bytes.len() as u64 };
    own.into_iter().map(|(_, bytes)| bytes).sum::<u64>()
        + document(old.config == new.config, &new.config)
        + document(old.manifest == new.manifest, &new.manifest)
}
