//! A manifest with references to images. No panic, and nothing but references changes.

#![no_main]

use std::collections::BTreeMap;

use ipo_oci::deploy::ManifestText;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = ManifestText::parse("manifest", bytes.to_vec()) else { return };
    assert_eq!(manifest.resolved(&BTreeMap::new()).as_bytes(), bytes);
    let references = manifest.images().map(|image| (image.clone(), "x".to_owned())).collect();
    let _ = manifest.resolved(&references);
});
