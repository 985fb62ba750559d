//! Files of a repository that name a service's commands: Dockerfile, Procfile, shell scripts and the
//! files of platforms. No panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| ipo_oci::service::fuzz(text));
