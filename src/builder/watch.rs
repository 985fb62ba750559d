//! What is learned while layers are written: the exact size of every file, and paths of the build machine that
//! remain in text files. Both need the bytes, and the bytes pass only once.

use crate::layer::Watch;
use crate::progress::{Progress, Warning};
use crate::python::relocate::paths::{PathScanner, Scan};
use crate::report::Tally;
use crate::tree::{Entry, Owner};

/// How many files with remaining paths are named one by one.
const NAMED: usize = 10;

/// Watches one layer of an image as it is written.
pub(super) struct Observer<'a> {
    scanner: &'a PathScanner,
    tally: Tally,
    layer: usize,
    scan: Option<Scan<'a>>,
    found: Vec<Found>,
}

/// A path of the build machine that remains in a file of the image.
struct Found {
    file: String,
    owner: Owner,
    path: String,
}

impl<'a> Observer<'a> {
    /// For the layer with this index.
    pub(super) fn new(scanner: &'a PathScanner, layer: usize) -> Self {
        Self { scanner, tally: Tally::new(), layer, scan: None, found: Vec::new() }
    }

    /// Warns of what was found in all layers, and gives the sizes.
    pub(super) fn finish(observers: Vec<Self>, progress: &dyn Progress) -> Tally {
        let mut tally = Tally::new();
        let mut all = Vec::new();
        for observer in observers {
            tally.join(observer.tally);
            all.extend(observer.found);
        }
        for found in all.iter().take(NAMED) {
            progress.warn(
                Warning::new(&found.file, format!("holds {}, a path of this machine", found.path)).with_help(
                    match found.owner {
                        Owner::Source => "leave the file out in .dockerignore, or write the path another way",
                        _ => "it does harm only where something reads that path in the container",
                    },
                ),
            );
        }
        let rest = all.len().saturating_sub(NAMED);
        if rest > 0 {
            progress.warn(Warning::new(format!("{rest} more files"), "hold paths of this machine"));
        }
        tally
    }
}

impl Watch for Observer<'_> {
    fn bytes(&mut self, _: &Entry, bytes: &[u8]) {
        self.scan.get_or_insert_with(|| self.scanner.start()).feed(bytes);
    }

    fn end(&mut self, entry: &Entry, size: u64) {
        self.tally.add(self.layer, entry, size);
        if let Some(path) = self.scan.take().and_then(Scan::finish) {
            self.found.push(Found { file: entry.path.to_string(), owner: entry.owner.clone(), path });
        }
    }
}
