//! IPO201 to IPO205.

use super::{Changed, python, site};
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

/// Replaces the tags of a real wheel by one tag.
fn tagged(tag: &str) -> Changed {
    let path = format!("{}/{WHEEL}", site());
    Changed::default().file(&path, format!("Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n"))
}

/// Returns the number of the example's Python in tags: `311`.
fn number() -> String {
    python().trim_start_matches("python").replace('.', "")
}

#[test]
fn a_wheel_for_another_platform() {
    let python = format!("cp{0}-cp{0}", number());
    tagged(&format!("{python}-manylinux_2_17_aarch64")).reports("IPO201", "httptools-0.9.0.dist-info");
    tagged(&format!("{python}-musllinux_1_2_x86_64")).reports("IPO201", "musl");
    tagged(&format!("{python}-manylinux_2_17_x86_64")).stays_silent("IPO201");
}

#[test]
fn a_wheel_for_another_python() {
    tagged("cp36-cp36m-manylinux_2_17_x86_64").reports("IPO202", "httptools-0.9.0.dist-info");
    // The stable interface of an older version, and no interface at all.
    tagged("cp36-abi3-manylinux_2_17_x86_64").stays_silent("IPO202");
    tagged("py3-none-any").stays_silent("IPO202");
}

#[test]
fn an_environment_for_another_python() {
    let other = "app/.venv/lib/python3.6/site-packages";
    let mut moved = Changed::default().file(&format!("{other}/extra.py"), "x = 1\n");
    moved.layer = moved.layer.file(&format!("app/.venv/lib/.wh.{}", python()), "");
    moved.reports("IPO204", "3.6");
    Changed::default().file("app/data/lib/python3.6/notes.txt", "x").stays_silent("IPO204");
}

#[test]
fn an_extension_module_of_another_python() {
    let module = |name: &str| Changed::default().file(&format!("{}/{name}", site()), b"\x7fELF");
    module("extra.cpython-36m-x86_64-linux-gnu.so").reports("IPO205", "extra.cpython-36m");
    module("extra.abi3.so").stays_silent("IPO205");
    module(&format!("extra.cpython-{}-x86_64-linux-gnu.so", number())).stays_silent("IPO205");
}
