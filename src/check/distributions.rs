//! [`CheckedDistribution`]: the installed distributions of an image.
//!
//! Core metadata (PyPA specification), `RECORD` and `WHEEL` of the binary distribution format, in
//! the directories of each Python.

use std::sync::Arc;

use super::image::CheckedImage;
use crate::python::metadata::core_metadata::Metadata;
use crate::python::metadata::record;
use crate::python::metadata::wheel::Wheel;
use crate::python::normalize;
use crate::tree::{ImagePath, Owner};

/// An installed distribution.
#[derive(Debug, Clone)]
pub(crate) struct CheckedDistribution {
    /// Normalized name (PEP 503).
    pub(crate) name: Arc<str>,
    /// Version as in the metadata.
    pub(crate) version: Arc<str>,
    /// Index of its Python in [`CheckedImage::pythons`].
    pub(crate) python: usize,
    /// The directory that contains the metadata: `site-packages`.
    pub(crate) site: ImagePath,
    /// The metadata: `fastapi-0.110.dist-info`.
    pub(crate) info: ImagePath,
    /// The core metadata.
    pub(crate) metadata: Metadata,
    /// Tags of the wheel, if recorded.
    pub(crate) wheel: Option<Wheel>,
    /// The files in `RECORD`, without those outside of the image's root.
    pub(crate) files: Vec<ImagePath>,
}

impl CheckedDistribution {
    /// Returns the owner to which the files are attributed.
    pub(crate) fn owner(&self) -> Owner {
        Owner::Distribution { name: self.name.clone(), version: self.version.clone() }
    }
}

/// Finds the distributions of all Pythons. Of two in directories of one Python, the first counts, as
/// for `importlib.metadata`.
pub(super) fn find(image: &CheckedImage) -> Vec<CheckedDistribution> {
    let mut found: Vec<CheckedDistribution> = Vec::new();
    for (index, python) in image.pythons.iter().enumerate() {
        for site in python.sites.iter().chain(&python.added) {
            let infos: Vec<ImagePath> = image
                .children(site)
                .filter(|(path, _)| is_metadata(path.file_name().unwrap_or_default()))
                .map(|(path, _)| path.clone())
                .collect();
            for info in infos {
                let Some(distribution) = read(image, index, site, info) else { continue };
                let is_known =
                    |known: &CheckedDistribution| known.python == index && known.name == distribution.name;
                if !found.iter().any(is_known) {
                    found.push(distribution);
                }
            }
        }
    }
    found
}

fn is_metadata(name: &str) -> bool {
    // pip renames what it is removing.
    !name.starts_with('~') && [".dist-info", ".egg-info"].iter().any(|suffix| name.ends_with(suffix))
}

fn read(
    image: &CheckedImage,
    python: usize,
    site: &ImagePath,
    info: ImagePath,
) -> Option<CheckedDistribution> {
    let file = |name: &str| image.read(&info.join(name).ok()?);
    let bytes = file("METADATA").or_else(|| file("PKG-INFO")).or_else(|| image.read(&info))?;
    let metadata = Metadata::parse(&bytes).ok()?;
    let rows = file("RECORD").and_then(|bytes| record::parse(&bytes).ok()).unwrap_or_default();
    let files = rows.iter().filter_map(|row| resolve(site, &row.path)).collect();
    Some(CheckedDistribution {
        name: normalize(&metadata.name).into(),
        version: metadata.version.as_str().into(),
        python,
        site: site.clone(),
        wheel: file("WHEEL").map(|bytes| Wheel::parse(&bytes)),
        info,
        metadata,
        files,
    })
}

/// Resolves a path in `RECORD`, which is relative to `site` and may climb.
fn resolve(site: &ImagePath, row: &str) -> Option<ImagePath> {
    if row.starts_with('/') {
        return ImagePath::new(row).ok();
    }
    let mut at = site.clone();
    let mut rest = row;
    while let Some(above) = rest.strip_prefix("../") {
        at = at.parent()?;
        rest = above;
    }
    at.join(rest).ok()
}
