//! A cached layer index, behind its digest.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ipo_oci::base::check_layer_index(bytes);
});
