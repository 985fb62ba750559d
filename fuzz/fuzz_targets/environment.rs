//! Files of an installer and cache entries of an environment: scripts, `.pth` files, modules that
//! name paths, setuptools' files, memos and manifests. No panic, and unsealed entries do not open.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ipo_oci::python::fuzz(bytes);
});
