//! Files and configurations of images that checks read: credentials, library calls, shell lines. No panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ipo_oci::check::fuzz(bytes));
