//! Reading one file of an image, or all.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::BaseError;
use super::node::{Location, NodeKind, ViewNode};
use super::view::View;
use crate::image::Layer;
use crate::layer::{Duplicates, LayerReader, Limits, ReadError};
use crate::tree::ImagePath;

/// A file of an image with all its paths: hard links share one file.
#[derive(Debug)]
pub struct VisibleFile<'a> {
    /// Mode, owner, time and size.
    pub node: &'a ViewNode,
    /// The paths, in order.
    pub paths: Vec<&'a ImagePath>,
}

impl View {
    /// Passes each visible file with its bytes to `each`, in the order of the layers. Verifies every layer
    /// after its files: the files of a failed call are not trustworthy.
    ///
    /// # Errors
    /// An error of `each`, or a layer that cannot be read or differs from the image's description.
    pub fn read_files<E: From<BaseError>>(
        &self,
        mut each: impl FnMut(&VisibleFile<'_>, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut files: BTreeMap<Location, VisibleFile<'_>> = BTreeMap::new();
        for (path, node) in self.iter().filter(|(_, node)| node.kind == NodeKind::File) {
            let file = files.entry(node.location);
            file.or_insert_with(|| VisibleFile { node, paths: Vec::new() }).paths.push(path);
        }
        let mut files = files.into_iter().peekable();
        for (number, layer) in (0_u32..).zip(&self.layers) {
            if files.peek().is_none_or(|(location, _)| location.layer != number) {
                continue;
            }
            let failed = |cause: ReadError| BaseError::Layer { layer: layer.digest, cause };
            let blob = layer.blob.open().map_err(|cause| BaseError::Blob { layer: layer.digest, cause })?;
            let reader =
                LayerReader::of(blob, Limits::default(), &layer.digest, &layer.diff_id).map_err(failed)?;
            let mut reader = reader.with_duplicates(Duplicates::Allow);
            let mut next_member = 0;
            while let Some((location, file)) = files.next_if(|(location, _)| location.layer == number) {
                while next_member <= location.member {
                    let member = reader.next_member().map_err(failed)?;
                    let first =
                        || BaseError::Missing(file.paths.first().copied().cloned().unwrap_or_default());
                    member.ok_or_else(first)?;
                    next_member += 1;
                }
                each(&file, &mut reader)?;
            }
            let found = reader.finish().map_err(failed)?.digest;
            if found != layer.digest {
                let (expected, found) = (layer.digest.to_string(), found.to_string());
                return Err(BaseError::Mismatch { what: "the digest", expected, found }.into());
            }
        }
        Ok(())
    }

    /// Writes the file at `path`, through links, to `sink`, and returns its size in bytes. Reads
    /// only the layer that contains the file, to its end, and verifies the digest.
    ///
    /// # Errors
    /// If `path` is not a file, or the layer differs from the image's description: the output is
    /// then not trustworthy.
    pub fn copy(&self, path: &ImagePath, sink: &mut dyn Write) -> Result<u64, BaseError> {
        let real = self.resolve(path)?;
        let node = self.lookup(&real).ok_or_else(|| BaseError::Missing(real.clone()))?;
        if node.kind != NodeKind::File {
            return Err(BaseError::NotAFile { path: real, what: node.kind_name() });
        }
        let number = usize::try_from(node.location.layer).unwrap_or(usize::MAX);
        let layer = self.layers.get(number).ok_or_else(|| BaseError::Missing(real.clone()))?;
        let failed = |cause: ReadError| BaseError::Layer { layer: layer.digest, cause };
        let blob = layer.blob.open().map_err(|cause| BaseError::Blob { layer: layer.digest, cause })?;
        let reader =
            LayerReader::of(blob, Limits::default(), &layer.digest, &layer.diff_id).map_err(failed)?;
        let mut reader = reader.with_duplicates(Duplicates::Allow);
        for _ in 0..=node.location.member {
            if reader.next_member().map_err(failed)?.is_none() {
                return Err(BaseError::Missing(real));
            }
        }
        let mut size = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let got = reader.read(&mut buffer).map_err(|error| failed(error.into()))?;
            let piece = buffer.get(..got).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            sink.write_all(piece).map_err(BaseError::Output)?;
            size += got as u64;
        }
        let found = reader.finish().map_err(failed)?.digest;
        if found == layer.digest {
            return Ok(size);
        }
        let (expected, found) = (layer.digest.to_string(), found.to_string());
        Err(BaseError::Mismatch { what: "the digest", expected, found })
    }
}

/// A file of a layer: its path in the image, its node, and its bytes, of which the callee reads as
/// many as it needs.
pub(crate) type FileVisitor<'v> = dyn FnMut(&ImagePath, &ViewNode, &mut dyn Read) -> io::Result<()> + 'v;

impl View {
    /// Calls `visit` with each regular file for which `wanted` returns true, once for all hard links,
    /// in the order of the layers. Reads a layer with such a file to its end, and verifies the digest.
    ///
    /// # Errors
    /// If a layer differs from the image's description, or `visit` fails.
    pub(crate) fn visit_files(
        &self,
        wanted: &dyn Fn(&ImagePath, &ViewNode) -> bool,
        visit: &mut FileVisitor<'_>,
    ) -> Result<(), BaseError> {
        let mut by_layer: BTreeMap<u32, BTreeMap<u32, (&ImagePath, &ViewNode)>> = BTreeMap::new();
        for (path, node) in self.iter().filter(|(_, node)| node.kind == NodeKind::File) {
            if wanted(path, node) {
                let members = by_layer.entry(node.location.layer).or_default();
                members.entry(node.location.member).or_insert((path, node));
            }
        }
        for (number, members) in by_layer {
            let layer = usize::try_from(number).ok().and_then(|number| self.layers.get(number));
            let Some(layer) = layer else { continue };
            visit_members(layer, &mut |place, content| match members.get(&place) {
                Some((path, node)) => visit(path, node, content),
                None => Ok(()),
            })?;
        }
        Ok(())
    }
}

/// Calls `visit` with the number and the bytes of each member of a layer. Reads the layer to its end,
/// and verifies the digest.
pub(super) fn visit_members(
    layer: &Layer,
    visit: &mut dyn FnMut(u32, &mut dyn Read) -> io::Result<()>,
) -> Result<(), BaseError> {
    let failed = |cause: ReadError| BaseError::Layer { layer: layer.digest, cause };
    let blob = layer.blob.open().map_err(|cause| BaseError::Blob { layer: layer.digest, cause })?;
    let reader = LayerReader::of(blob, Limits::default(), &layer.digest, &layer.diff_id).map_err(failed)?;
    let mut reader = reader.with_duplicates(Duplicates::Allow);
    let mut place = 0;
    while reader.next_member().map_err(failed)?.is_some() {
        visit(place, &mut reader).map_err(|error| failed(error.into()))?;
        place += 1;
    }
    let found = reader.finish().map_err(failed)?.digest;
    if found == layer.digest {
        return Ok(());
    }
    let (expected, found) = (layer.digest.to_string(), found.to_string());
    Err(BaseError::Mismatch { what: "the digest", expected, found })
}
