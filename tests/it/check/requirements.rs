//! IPO401 to IPO403, and IPO405.

use super::{Changed, site};
use test_macros::test;

fn metadata(distribution: &str) -> String {
    format!("{}/{distribution}.dist-info/METADATA", site())
}

#[test]
fn a_requirement_that_is_missing() {
    let without = |name: &str| Changed::default().without(&format!("{}/{name}.dist-info", site()));
    without("h11-0.16.0").reports("IPO401", "requires `h11");
    Changed::default().stays_silent("IPO401");
}

#[test]
fn a_requirement_in_another_version() {
    let with_version = |version: &str| {
        Changed::default().edited(&metadata("h11-0.16.0"), "Version: 0.16.0", &format!("Version: {version}"))
    };
    with_version("0.1").reports("IPO402", "and h11 0.1 is installed");
    with_version("0.17.0").stays_silent("IPO402");
}

#[test]
fn a_distribution_for_another_python() {
    let requiring = |python: &str| {
        let new = format!("Name: h11\nRequires-Python: {python}\nX-Requires-Python:");
        Changed::default().edited(&metadata("h11-0.16.0"), "Name: h11", &new)
    };
    requiring(">=3.99").reports("IPO403", "requires Python `>=3.99`");
    requiring(">=3.9").stays_silent("IPO403");
}

#[test]
fn a_distribution_whose_package_was_deleted() {
    let without = |path: &str| Changed::default().without(&format!("{}/{path}", site()));
    without("h11").reports("IPO405", "/h11: records `h11`, and the image has no module of that name");
    // A part of a package, and the whole distribution with its metadata.
    without("h11/_util.py").stays_silent("IPO405");
    without("h11").without(&format!("{}/h11-0.16.0.dist-info", site())).reports("IPO401", "requires `h11");
}
