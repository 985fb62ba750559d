//! Compares two images: distributions, Debian packages, files, configuration and layers.
//!
//! [`diff()`] merges the layers of each image, as a container sees them. A file is read only if the
//! merged views leave the question open: files of one layer are equal, and files of different sizes
//! differ. Memory does not grow with the size of a layer, but with the number of paths. Modification
//! times are not compared.
//!
//! ```no_run
//! use ipo_oci::diff::{self, DiffText};
//! use ipo_oci::progress::Silent;
//! use ipo_oci::store;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let open = |reference: &str| store::open_image(&reference.parse()?, None, &Default::default());
//! let (old, new) = (open("oci:dist/old")?, open("oci:dist/new")?);
//! let difference = diff::diff(("old", &old), ("new", &new), None, &Silent)?;
//! print!("{}", difference.render(DiffText::Short));
//! # Ok(())
//! # }
//! ```

mod config;
mod distributions;
mod files;
mod first;
mod layers;
mod markdown;
mod packages;
mod reasons;
mod text;

use std::path::Path;

use serde::Serialize;

pub use first::{FirstDifference, first_difference};
pub use reasons::likely_reasons;

use crate::base::{BaseError, View};
use crate::digest::Digest;
use crate::image::Image;
use crate::progress::Progress;

/// Revision of the JSON format.
const SCHEMA: u32 = 1;

/// The differences of two images.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ImageDiff {
    /// The program.
    generator: &'static str,
    /// Revision of the JSON format.
    pub schema: u32,
    /// The old image.
    pub old: DiffSide,
    /// The new image.
    pub new: DiffSide,
    /// Bytes that a machine with the old image transfers to pull the new one; `None` if an image has
    /// uncompressed layers, as engines store them.
    pub pull_bytes: Option<u64>,
    /// Different fields of the configuration and annotations of the manifest, in order.
    pub config: Vec<FieldDiff>,
    /// Different Python distributions, in order.
    pub distributions: Vec<DistributionDiff>,
    /// Different Debian packages, in order.
    pub packages: Vec<PackageDiff>,
    /// Different paths, in order.
    pub files: Vec<FileDiff>,
    /// The layers of both images: shared ones, then those of the old image, then of the new one.
    pub layers: Vec<LayerDiff>,
}

/// One of two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiffSide {
    /// The name as given.
    pub name: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// The platform: `linux/amd64`.
    pub platform: String,
    /// Size of all blobs in bytes.
    pub transfer_bytes: u64,
    /// True if all layers are compressed, as registries have them.
    pub compressed: bool,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Number of regular files.
    pub files: u64,
}

/// The kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiffKind {
    /// Only the new image has the subject.
    Added,
    /// Only the old image has the subject.
    Removed,
    /// Both have the subject, and it differs.
    Changed,
}

/// A different field of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FieldDiff {
    /// The field: `User`, `Env PATH`, `Labels org.opencontainers.image.version`.
    pub field: String,
    /// The old value: a text as is, another value as JSON.
    pub old: Option<String>,
    /// The new value.
    pub new: Option<String>,
}

/// A different Python distribution: another version, or different files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DistributionDiff {
    /// Normalized name.
    pub name: String,
    /// Directory of the distribution, if an image has the name twice.
    pub place: Option<String>,
    /// True if the images have the distribution in different directories.
    pub moved: bool,
    /// The old version.
    pub old_version: Option<String>,
    /// The new version.
    pub new_version: Option<String>,
    /// Bytes of the old files, including bytecode.
    pub old_bytes: u64,
    /// Bytes of the new files.
    pub new_bytes: u64,
    /// The numbers of its different files.
    pub files: FileCounts,
}

/// Numbers of different files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileCounts {
    /// Added files, without bytecode.
    pub added: u64,
    /// Removed files, without bytecode.
    pub removed: u64,
    /// Changed files, without bytecode.
    pub changed: u64,
    /// Different files of bytecode.
    pub bytecode: u64,
}

/// A different Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PackageDiff {
    /// The name: `libssl3`; with the architecture if an image has several.
    pub name: String,
    /// The old version.
    pub old_version: Option<String>,
    /// The new version.
    pub new_version: Option<String>,
    /// The numbers of its different files.
    pub files: FileCounts,
}

/// A different path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileDiff {
    /// Path in the image.
    pub path: String,
    /// The kind of the difference.
    pub kind: DiffKind,
    /// The different properties of a changed path: `type`, `content`, `mode`, `owner`, `target`.
    pub properties: Vec<&'static str>,
    /// The old file.
    pub old: Option<FileState>,
    /// The new file.
    pub new: Option<FileState>,
    /// The distribution or package with the file.
    pub owner: Option<FileOwner>,
    /// True for Python bytecode.
    pub bytecode: bool,
}

/// The owner of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileOwner {
    /// A Python distribution, by its normalized name.
    Distribution(String),
    /// A Debian package.
    Package(String),
}

/// The properties of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileState {
    /// `file`, `directory`, `link` or `device`.
    pub r#type: &'static str,
    /// Permission bits with set-user-ID, set-group-ID and sticky, in octal: `0644`.
    pub mode: String,
    /// User and group: `1000:1000`.
    pub owner: String,
    /// Size of a file in bytes.
    pub size: u64,
    /// Target of a symbolic link.
    pub target: Option<String>,
}

/// A layer of one image or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerDiff {
    /// The images with the blob.
    pub side: LayerSide,
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Size of the blob in bytes.
    pub transfer_bytes: u64,
    /// The command in the layer's history line.
    pub created_by: Option<String>,
}

/// The images with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerSide {
    /// Both.
    Shared,
    /// The old image.
    Old,
    /// The new image.
    New,
}

/// The length of a rendered difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiffText {
    /// Long lists are cut.
    #[default]
    Short,
    /// Complete lists.
    Full,
}

/// Compares the image `new` with `old`, each with its name. Layer indexes are cached in `cache`.
///
/// # Errors
/// A layer or document cannot be read, or differs from its digest.
pub fn diff(
    old: (&str, &Image),
    new: (&str, &Image),
    cache: Option<&Path>,
    progress: &dyn Progress,
) -> Result<ImageDiff, BaseError> {
    let (old_view, new_view) = (View::of(old.1, cache, progress)?, View::of(new.1, cache, progress)?);
    let views = files::Views::new((&old_view, old.1), (&new_view, new.1));
    let mut files = files::compare(&views, progress)?;
    let distributions = distributions::compare(&views, &mut files, progress)?;
    let packages = packages::compare(&views, &mut files, progress)?;
    let mut difference = ImageDiff {
        generator: crate::GENERATOR,
        schema: SCHEMA,
        old: DiffSide::of(old, &old_view),
        new: DiffSide::of(new, &new_view),
        pull_bytes: None,
        config: config::compare(old.1, new.1),
        distributions,
        packages,
        files,
        layers: layers::compare(old.1, new.1),
    };
    difference.pull_bytes = layers::pull_bytes(&difference.layers, old.1, new.1);
    Ok(difference)
}

impl DiffSide {
    fn of((name, image): (&str, &Image), view: &View) -> Self {
        let (disk_bytes, files) =
            view.layer_sizes().into_iter().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        Self {
            name: name.to_owned(),
            digest: image.digest(),
            platform: image.platform.to_string(),
            transfer_bytes: image.transfer_bytes(),
            compressed: layers::are_compressed(image),
            disk_bytes,
            files,
        }
    }
}

impl FileCounts {
    /// Counts a different file.
    fn add(&mut self, file: &FileDiff) {
        match file.kind {
            _ if file.bytecode => self.bytecode += 1,
            DiffKind::Added => self.added += 1,
            DiffKind::Removed => self.removed += 1,
            DiffKind::Changed => self.changed += 1,
        }
    }

    /// Returns true without a different file.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ImageDiff {
    /// Returns true if nothing differs that a container sees: configuration and files. Layers may
    /// differ in their division, compression and times.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty()
            && self.distributions.is_empty()
            && self.packages.is_empty()
            && self.files.is_empty()
    }

    /// Returns true if both images are one, byte by byte.
    pub fn is_same_image(&self) -> bool {
        self.old.digest == self.new.digest
    }

    /// Renders JSON with a trailing newline.
    pub fn to_json(&self) -> String {
        match serde_json::to_value(self) {
            Ok(value) => format!("{value:#}\n"),
            Err(_) => String::new(),
        }
    }

    /// Renders text with a trailing newline.
    pub fn render(&self, length: DiffText) -> String {
        text::render(self, length)
    }

    /// Renders Markdown with a trailing newline, for the comment of a pull request.
    pub fn to_markdown(&self, length: DiffText) -> String {
        markdown::render(self, length)
    }
}
