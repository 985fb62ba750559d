//! IPO701 to IPO703.

use ipo_oci::check::{CheckOptions, CheckedImage, RuleSelection, check};
use ipo_oci::progress::Silent;
use test_macros::test;

use super::{Changed, site};
use crate::support;

/// Returns true if a rule of sizes, with the budget that `set` sets, reports `subject`.
fn reports(image: Changed, code: &str, subject: &str, set: impl FnOnce(&mut CheckOptions)) -> bool {
    let cache = support::target_dir().join("test-cache");
    let checked = CheckedImage::of_image(&image.image(), Some(&cache), &Silent).expect("an image");
    let mut options = CheckOptions::new(RuleSelection::new(&["IPO7".to_owned()], &[]).expect("rules"));
    set(&mut options);
    let found = check("image", &checked, &options).diagnostics;
    found.iter().any(|one| one.code == code && one.message.starts_with(subject))
}

/// Adds a distribution and its layer, of 3 MB.
fn large() -> Changed {
    let info = format!("{}/large-1.0.dist-info", site());
    Changed::default()
        .file(&format!("{info}/METADATA"), "Metadata-Version: 2.1\nName: large\nVersion: 1.0\n")
        .file(&format!("{info}/RECORD"), "large.py,,\nlarge-1.0.dist-info/METADATA,,\n")
        .file(&format!("{}/large.py", site()), "x = 1\n".repeat(500_000))
}

#[test]
fn an_image_above_its_budget() {
    let image =
        |most| reports(Changed::default(), "IPO701", "the image has", |set| set.max_size = Some(most));
    assert!(image(1_000_000));
    assert!(!image(10_000_000_000));
}

#[test]
fn a_layer_above_its_budget() {
    let layer = |most| {
        reports(large(), "IPO702", "the layer `ipo-oci: change` has", |set| set.max_layer_size = Some(most))
    };
    assert!(layer(2_900_000));
    assert!(!layer(3_100_000));
}

#[test]
fn a_distribution_above_its_budget() {
    let distribution = |most| {
        reports(large(), "IPO703", "the distribution large", |set| set.max_distribution_size = Some(most))
    };
    assert!(distribution(2_900_000));
    assert!(!distribution(3_100_000));
}
