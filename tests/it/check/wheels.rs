//! IPO201 to IPO205.

use super::{Changed, site};
use test_macros::test;

const WHEEL: &str = "httptools-0.9.0.dist-info/WHEEL";

/// Changes the tag of a wheel to one for glibc 2.99.
pub(super) fn for_a_newer_glibc(image: Changed) -> Changed {
    image.edited(&format!("{}/{WHEEL}", site()), "-manylinux", "-manylinux_2_99_x86_64\nX-Tag: x-")
}

#[test]
fn a_wheel_for_a_newer_glibc() {
    for_a_newer_glibc(Changed::default()).reports("IPO203", "for glibc 2.99 or newer");
    Changed::default().stays_silent("IPO203");
}
