//! Configuration, manifest and index, separated by NUL. No panic, and every image that is read can
//! be rendered.

#![no_main]

use std::collections::BTreeMap;

use ipo_oci::digest::Digest;
use ipo_oci::image::{Artifact, Blob, Descriptor, Documents, Image, ImageError};
use ipo_oci::report::inspect::Inspection;
use libfuzzer_sys::fuzz_target;

/// Documents by digest. The harness corrects the digests inside the documents.
struct Shelf(BTreeMap<Digest, Vec<u8>>);

impl Documents for Shelf {
    type Error = ImageError;

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        self.0.get(&descriptor.digest).cloned().ok_or_else(|| ImageError::Content("gone".to_owned()))
    }

    fn blob(&self, descriptor: &Descriptor) -> Blob {
        Blob::Memory(self.0.get(&descriptor.digest).cloned().unwrap_or_default().into())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut shelf = Shelf(BTreeMap::new());
    let mut last = None;
    // `@` in a document stands for the digest of the previous one.
    for part in bytes.split(|byte| *byte == 0).take(4) {
        let mut document = part.to_vec();
        if let (Some(digest), Ok(text)) = (last, std::str::from_utf8(part)) {
            document = text.replace('@', &format!("{digest}")).into_bytes();
        }
        let digest = Digest::of(&document);
        shelf.0.insert(digest, document);
        last = Some(digest);
    }
    let Some(digest) = last else { return };
    let descriptor = Descriptor::new("application/vnd.oci.image.manifest.v1+json", digest, 0);
    let Ok(artifact) = Artifact::read(&descriptor, &shelf) else { return };
    let _ = Image::from_artifact(&artifact);
    if let Ok(inspection) = Inspection::of("oci:fuzzed", &artifact, None) {
        let _ = (inspection.to_json(), inspection.render());
    }
});
