//! [`Extent`].

/// The extent of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// All blobs.
    #[default]
    Whole,
    /// Without the layers stored in a registry: readers of the layout fetch those from there
    /// (`image-layout.md`, "Blobs": a layout may omit blobs).
    Shallow,
}
