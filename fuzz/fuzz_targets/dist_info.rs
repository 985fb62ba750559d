//! The files that an installer writes beside a distribution. No panic, and no path leaves the
//! environment.

#![no_main]

use ipo_oci::python::environment::config;
use ipo_oci::python::metadata::{core_metadata, direct_url, entry_points, record, wheel};
use ipo_oci::python::normalize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(rows) = record::parse(bytes) {
        for row in &rows {
            if let Some(place) = record::resolve(&row.path, "lib/python3.11/site-packages", &["/home/me/.venv"]) {
                assert!(!place.is_empty() && !place.starts_with('/'), "{place}");
                assert!(place.split('/').all(|part| !matches!(part, "" | "." | "..")), "{place}");
            }
        }
    }
    let _ = core_metadata::Metadata::parse(bytes);
    let _ = wheel::Wheel::parse(bytes).suits(3, 11, "x86_64");
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = entry_points::parse(text);
    let _ = direct_url::DirectUrl::parse(text);
    let _ = config::Config::parse(text);
    // Normalized names are a fixed point.
    let normal = normalize(text);
    assert_eq!(normalize(&normal), normal);
});
