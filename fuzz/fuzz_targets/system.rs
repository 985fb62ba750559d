//! System databases: dpkg's status and the loader's cache. No panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ipo_oci::elf::fuzz(bytes);
    ipo_oci::debian::fuzz(&String::from_utf8_lossy(bytes));
});
