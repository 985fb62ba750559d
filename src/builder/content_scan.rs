//! Observation of files while they are written to a layer: size and digest of each, and remaining
//! paths of the build machine. All of these need the bytes, which are read only once.

use crate::cache::{FileDigest, LeakedPath};
use crate::digest::Fingerprinter;
use crate::layer::Watch;
use crate::plural::counted;
use crate::progress::{Meter, Progress, Step, Warning};
use crate::python::relocate::paths::{PathScan, PathScanner};
use crate::tree::{Entry, Kind, OwnedBytes, Owner, Tree};

/// Maximum number of files named in warnings.
const MAX_NAMED: usize = 10;

/// Observes one layer of an image, or one file of it.
pub(super) struct ContentObserver<'a> {
    scanner: &'a PathScanner,
    scan: Option<PathScan<'a>>,
    hasher: Fingerprinter,
    known: Vec<FileDigest>,
    meter: Option<LayerMeter<'a>>,
}

/// The share of one layer in the bytes of all layers.
pub(super) struct LayerMeter<'a> {
    step: Step<'a>,
    meter: &'a Meter<'a>,
    left: u64,
}

impl<'a> LayerMeter<'a> {
    /// Starts with the number of `bytes` as far as known; `step` describes the layer.
    pub(super) fn new(step: Step<'a>, bytes: u64, meter: &'a Meter<'a>) -> Self {
        Self { step, meter, left: bytes }
    }

    fn add(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.meter.add(bytes, &self.step);
    }

    /// Adds the rest: all of a layer that was not written, and of one that was, the bytes by which
    /// rewritten files are smaller.
    pub(super) fn finish(mut self) {
        self.add(self.left);
    }
}

/// Summary of a layer's content.
#[derive(Debug, Default)]
pub(super) struct LayerSummary {
    pub(super) owners: Vec<OwnedBytes>,
    pub(super) found: Vec<LeakedPath>,
}

impl<'a> ContentObserver<'a> {
    pub(super) fn new(scanner: &'a PathScanner) -> Self {
        Self { scanner, scan: None, hasher: Fingerprinter::default(), known: Vec::new(), meter: None }
    }

    /// Counts the bytes.
    pub(super) fn with_meter(self, meter: LayerMeter<'a>) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// Returns the facts about the written files, in order.
    pub(super) fn finish(self) -> Vec<FileDigest> {
        if let Some(meter) = self.meter {
            meter.finish();
        }
        self.known
    }
}

impl Watch for ContentObserver<'_> {
    fn bytes(&mut self, _: &Entry, bytes: &[u8]) {
        self.scan.get_or_insert_with(|| self.scanner.start()).feed(bytes);
        self.hasher.update(bytes);
        if let Some(meter) = &mut self.meter {
            meter.add(bytes.len() as u64);
        }
    }

    fn end(&mut self, _: &Entry, size: u64) {
        let fingerprint = self.hasher.take();
        self.known.push(FileDigest { fingerprint, size, found: self.scan.take().and_then(PathScan::finish) });
    }
}

impl LayerSummary {
    /// Combines the files of `tree` with the facts `known` about them, in order.
    pub(super) fn of(tree: &Tree, known: &[FileDigest]) -> Self {
        let mut seen = Self::default();
        let files = tree.iter().filter(|entry| matches!(entry.kind, Kind::File(_)));
        for (entry, known) in files.zip(known) {
            seen.count(entry, known.size);
            if let Some(path) = &known.found {
                let (file, owner) = (entry.path.to_string(), entry.owner.clone());
                seen.found.push(LeakedPath { file, owner, path: path.clone() });
            }
        }
        seen.owners.sort_by(|a, b| a.owner.cmp(&b.owner));
        seen
    }

    fn count(&mut self, entry: &Entry, size: u64) {
        // Files of one owner are mostly adjacent.
        let at = self.owners.iter().rposition(|owned| owned.owner == entry.owner).unwrap_or_else(|| {
            self.owners.push(OwnedBytes { owner: entry.owner.clone(), bytes: 0, bytecode: 0, files: 0 });
            self.owners.len() - 1
        });
        let Some(owned) = self.owners.get_mut(at) else { return };
        owned.bytes += size;
        owned.files += 1;
        if entry.path.file_name().is_some_and(|name| name.ends_with(".pyc")) {
            owned.bytecode += size;
        }
    }
}

/// Warns about paths of the build machine that remain in files.
pub(super) fn warn(found: &[LeakedPath], progress: &dyn Progress) {
    for found in found.iter().take(MAX_NAMED) {
        progress.warn(
            Warning::new(&found.file, format!("contains {}, a path of this machine", found.path)).with_help(
                match found.owner {
                    Owner::Source => "exclude the file in .dockerignore, or avoid the absolute path",
                    _ => "ignore this unless a program reads the path in the container",
                },
            ),
        );
    }
    let rest = found.len().saturating_sub(MAX_NAMED);
    if rest > 0 {
        let message =
            if rest == 1 { "contains a path of this machine" } else { "contain paths of this machine" };
        progress.warn(Warning::new(counted(rest as u64, "more file"), message));
    }
}
