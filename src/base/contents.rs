//! [`read_contents`]: digests and texts of many files, each layer read once.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::BaseError;
use super::content::visit_members;
use super::node::{NodeKind, ViewNode};
use super::view::View;
use crate::digest::{Digest, Hasher};
use crate::image::Layer;
use crate::parallel::{cores, each};
use crate::progress::{Activity, Progress, Step};

/// The content of a file: a member of an uncompressed layer, whatever the layer's compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContentKey {
    diff_id: Digest,
    member: u32,
}

/// The part of a file's content to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedContent {
    /// The digest.
    Digest,
    /// The first bytes.
    Start(u64),
}

/// A file's content as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FoundContent {
    /// The digest.
    Digest(Digest),
    /// The first bytes.
    Start(Vec<u8>),
}

impl View {
    /// Returns the key of the content of a file. Files with equal keys are equal; those with
    /// different keys need not differ.
    pub(crate) fn content_key(&self, node: &ViewNode) -> Option<ContentKey> {
        let number = usize::try_from(node.location.layer).ok()?;
        let diff_id = self.layers.get(number).filter(|_| node.kind == NodeKind::File)?.diff_id;
        Some(ContentKey { diff_id, member: node.location.member })
    }
}

/// Reads contents from `layers`, each layer once, in parallel. Verifies the layers.
pub(crate) fn read_contents(
    layers: &[&Layer],
    wanted: &BTreeMap<ContentKey, WantedContent>,
    progress: &dyn Progress,
) -> Result<BTreeMap<ContentKey, FoundContent>, BaseError> {
    let mut of_layer: BTreeMap<Digest, BTreeMap<u32, WantedContent>> = BTreeMap::new();
    for (key, wanted) in wanted {
        of_layer.entry(key.diff_id).or_default().insert(key.member, *wanted);
    }
    let layer = |diff_id| layers.iter().find(|layer| layer.diff_id == diff_id).copied();
    let tasks: Vec<(&Layer, BTreeMap<u32, WantedContent>)> =
        of_layer.into_iter().filter_map(|(diff_id, wanted)| Some((layer(diff_id)?, wanted))).collect();
    let read = |(): &mut (), number: usize| {
        let Some((layer, wanted)) = tasks.get(number) else { return Ok(Vec::new()) };
        progress.step(&Step::on(Activity::ReadImageLayer, layer.digest.to_string()));
        read_members(layer, wanted)
    };
    let found = each(tasks.len(), cores(), || Ok::<(), BaseError>(()), read)?;
    Ok(found.into_iter().flatten().collect())
}

/// Reads members of one layer.
fn read_members(
    layer: &Layer,
    wanted: &BTreeMap<u32, WantedContent>,
) -> Result<Vec<(ContentKey, FoundContent)>, BaseError> {
    let mut found = Vec::with_capacity(wanted.len());
    let mut buffer = vec![0; 64 << 10];
    visit_members(layer, &mut |member, content| {
        let key = ContentKey { diff_id: layer.diff_id, member };
        let content = match wanted.get(&member) {
            None => return Ok(()),
            Some(WantedContent::Start(most)) => {
                let mut start = Vec::new();
                content.take(*most).read_to_end(&mut start)?;
                FoundContent::Start(start)
            }
            Some(WantedContent::Digest) => {
                let mut hasher = Hasher::new();
                loop {
                    let got = content.read(&mut buffer)?;
                    if got == 0 {
                        break;
                    }
                    hasher.update(buffer.get(..got).unwrap_or_default());
                }
                FoundContent::Digest(hasher.finish())
            }
        };
        found.push((key, content));
        Ok(())
    })?;
    Ok(found)
}
