//! Headings of the flags in `build --help`.

pub(super) const IMAGE: &str = "Image";
pub(super) const OUTPUT: &str = "Output and reports";
pub(super) const APPLICATION: &str = "Application";
pub(super) const SOURCE: &str = "Environment and source";
pub(super) const LAYERS: &str = "Layers and size";
