//! Memory use does not grow with the size of an image. A binary of its own, since the peak is the
//! process's.

#[path = "it/support/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "this binary uses a part")]
mod support;

fn main() -> std::process::ExitCode {
    support::harness::run()
}

use std::io::{self, Read};
use std::sync::Arc;

use ipo_oci::digest::Digest;
use ipo_oci::image::{Blob, BlobSource};
use ipo_oci::progress::Silent;
use ipo_oci::store::registry::Client;

use test_macros::test;

use support::registry::{Kind, Registry, access, fetch, image_of};
use support::requires;

/// Each of the four layers has 125 MB.
const LAYER_BYTES: u64 = 125_000_000;

/// Bytes generated on reading.
#[derive(Debug)]
struct Endless(u8);

impl BlobSource for Endless {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::repeat(self.0).take(LAYER_BYTES - from)))
    }
}

fn peak_kilobytes() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn copies_half_a_gigabyte_in_less_than_100_megabytes() {
    requires("docker-registry");
    let layers: Vec<_> = (1..=4)
        .map(|byte| {
            let blob = Blob::Source(Arc::new(Endless(byte)));
            let (digest, size) = Digest::of_reader(&mut blob.open().unwrap()).unwrap();
            (digest, size, blob)
        })
        .collect();
    let artifact = image_of(&layers);
    let registry = Registry::start(Kind::Anonymous);
    let place = format!("{}/big:1", registry.host()).parse().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let mut access = access();
    access.cache = Some(cache.path().to_path_buf());
    let client = Client::new(&access).unwrap();
    client.write(&artifact, &place, &Silent).unwrap();
    let pushed = peak_kilobytes();
    let read = client.read(&place).unwrap();
    std::thread::scope(|scope| {
        for (descriptor, blob) in &read.blobs {
            scope.spawn(|| {
                let (found, _) = Digest::of_reader(&mut blob.open().unwrap()).unwrap();
                assert_eq!(found, descriptor.digest);
            });
        }
    });
    fetch(&read).unwrap();
    let pulled = peak_kilobytes();
    eprintln!("peak: {pushed} kB after the push, {pulled} kB after the pull");
    assert!(pulled < 100_000, "{pushed} kB, {pulled} kB");
}
