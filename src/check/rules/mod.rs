//! The rules by subject. Each module reports the violations of its rules; one that is not selected
//! costs nothing.

mod accounts;
mod applications;
mod bytecode;
mod git;
mod imports;
mod libraries;
mod named;
mod paths;
mod permissions;
mod programs;
mod records;
mod requirements;
mod secrets;
mod sizes;
mod sources;
mod wheels;

use super::diagnostic::Reporter;
use super::image::CheckedImage;
use super::options::CheckOptions;

/// Applies the selected rules.
pub(super) fn apply(image: &CheckedImage, options: &CheckOptions, reporter: &mut Reporter<'_>) {
    libraries::check(image, reporter);
    named::check(image, reporter);
    imports::check(image, reporter);
    wheels::check(image, reporter);
    programs::check(image, reporter);
    applications::check(image, reporter);
    requirements::check(image, reporter);
    records::check(image, reporter);
    bytecode::check(image, reporter);
    paths::check(image, reporter);
    sources::check(image, reporter);
    permissions::check(image, reporter);
    secrets::check(image, reporter);
    accounts::check(image, reporter);
    git::check(image, reporter);
    sizes::check(image, options, reporter);
}
