//! Responses of a registry and credential files: headers, locations, errors, auth files. No panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ipo_oci::store::registry::fuzz(bytes);
});
