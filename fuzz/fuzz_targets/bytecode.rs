//! A `.pyc` file. No panic, and canonical bytecode is a fixed point.

#![no_main]

use ipo_oci::python::bytecode::canonicalize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(once) = canonicalize(bytes, "/app/main.py", Some([7; 8])) else { return };
    let twice = canonicalize(&once, "/app/main.py", Some([7; 8])).expect("our own output");
    assert!(once == twice, "canonical bytecode changes");
});
