//! What an installer left and what the cache has of an environment: scripts, .pth files, modules that name paths, setuptools'
//! files, memos and manifests. No panic, and nothing that is not sealed opens.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ipo_oci::python::fuzz(bytes);
});
