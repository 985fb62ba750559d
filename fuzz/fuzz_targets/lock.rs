//! A lock file. No panic, and an accepted one survives a round trip.

#![no_main]

use std::path::Path;

use ipo_oci::lock::Lock;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("ipo-oci.lock");
    if let Ok(lock) = Lock::parse(path, text) {
        let again = Lock::parse(path, &lock.to_toml()).expect("what is written can be read");
        assert_eq!(again, lock);
    }
});
