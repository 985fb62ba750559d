//! The command itself: output and exit code.

use ipo_oci::reference::Name;
use ipo_oci::store;

use super::{Changed, example};
use crate::support::{ipo_oci, run};
use test_macros::test;

#[test]
fn the_example_has_no_fault() {
    let layout = example().project.path().join("dist/image");
    let outcome = run(ipo_oci().arg("check").arg(layout)).success();
    assert!(outcome.text().starts_with("no problem found: "), "{}", outcome.describe());
}

#[test]
fn an_error_has_the_exit_code_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = format!("oci:{}:x", folder.path().display());
    let image = super::wheels::for_a_newer_glibc(Changed::default()).image();
    let name = Name::new("x", "x").expect("a name");
    store::write_image(&image, &reference.parse().expect("a reference"), &name, "").expect("stored");
    let check = |rules: &str| run(ipo_oci().args(["check", "--select", rules, &reference]));
    let outcome = check("IPO2").exits_with(1);
    assert!(outcome.text().starts_with("error[IPO203]: /app/.venv/lib/"), "{}", outcome.describe());
    check("IPO201,IPO202").success();
}
