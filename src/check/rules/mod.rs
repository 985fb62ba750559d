//! The rules by subject. Each module reports the violations of its rules; one that is not selected
//! costs nothing.

mod libraries;
mod permissions;

use super::diagnostic::Reporter;
use super::image::CheckedImage;

/// Applies the selected rules.
pub(super) fn apply(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    libraries::check(image, reporter);
    permissions::check(image, reporter);
}
