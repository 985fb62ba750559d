//! Files of the cache directory and responses of a remote cache. No panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ipo_oci::cache::fuzz(bytes);
    ipo_oci::store::remote_cache::fuzz(bytes);
});
