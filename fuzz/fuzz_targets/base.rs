//! An uncompressed layer as a base. No panic from any query of its files.

#![no_main]

use ipo_oci::base::{View, accounts};
use ipo_oci::digest::Digest;
use ipo_oci::image::{Blob, Encoding, HistoryLine, Image, ImageConfig, Layer};
use ipo_oci::progress::Silent;
use ipo_oci::system::Account;
use ipo_oci::tree::ImagePath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = with_checksums(bytes);
    let digest = Digest::of(&bytes);
    let layer = Layer {
        digest,
        size: bytes.len() as u64,
        diff_id: digest,
        encoding: Encoding::Plain,
        blob: Blob::Memory(bytes.into()),
    };
    let mut config = ImageConfig::default();
    config.os = "linux".into();
    config.architecture = "amd64".into();
    let line = HistoryLine { created_by: "fuzz".to_owned(), comment: String::new() };
    let Ok(image) = Image::assemble(&config, vec![(layer, line)], &[].into()) else { return };
    let Ok(view) = View::of(&image, None, &Silent) else { return };
    let _ = (view.machine(), view.packages(), view.pythons(None));
    let Ok(home) = ImagePath::new("app") else { return };
    let _ = accounts(&view, &Account { name: "app".to_owned(), uid: 1000, gid: 1000, home });
    for (path, _) in view.iter() {
        let _ = view.resolve(path);
        let _ = view.copy(path, &mut std::io::sink());
    }
});

/// Corrects the checksum of each header, since a fuzzer would not find it.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for record in bytes.chunks_exact_mut(512).filter(|record| record[0] != 0) {
        record[148..156].fill(b' ');
        let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum();
        record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}
