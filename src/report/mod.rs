//! Size reports: bytes of an image per layer, per distribution, and by kind.
//!
//! A [`SizeReport`] is plain data with a documented JSON format (`docs/report.md`); [`text`]
//! renders it for a terminal, [`markdown`] for a comment, [`html`] for a browser. *Disk* is the
//! bytes of file content, without the rounding of file systems; *transfer* is the size of
//! compressed layers and exists only per layer, since a compressor works across files.

mod budget;
#[cfg(test)]
mod fixture;
pub mod html;
pub mod inspect;
pub mod markdown;
mod tally;
pub mod text;
mod treemap;

use serde::Serialize;

pub use budget::{Budget, Cut};
pub use tally::Tally;

use crate::digest::Digest;

/// Version of the JSON format, raised when a field is renamed or removed, but not when one is
/// added.
pub const SCHEMA: u32 = 1;

/// The value of `generator` in every document written beside images, by which later builds
/// recognize them.
pub const GENERATOR: &str = crate::GENERATOR;

/// The most source files in a report.
pub const MAX_SOURCE_FILES: usize = 100;

/// The sizes of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SizeReport {
    /// Version of the format: [`SCHEMA`].
    pub schema: u32,
    /// Name and tag of the image.
    pub image: String,
    /// `runtime`, `builder` or `dev`.
    pub target: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Operating system, architecture and variant: `linux/amd64`.
    pub platform: String,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Size of all compressed layers, configuration and manifest in bytes.
    pub transfer_bytes: u64,
    /// Number of regular files.
    pub files: u64,
    /// The size budget in bytes on disk, if set.
    pub budget_bytes: Option<u64>,
    /// The layers, lowest first.
    pub layers: Vec<LayerSize>,
    /// The Python distributions, largest first.
    pub distributions: Vec<DistributionSize>,
    /// The system packages with files in the image, largest first.
    pub packages: Vec<PackageSize>,
    /// Bytes by kind, which add up to `disk_bytes`.
    pub kinds: Kinds,
    /// The largest source files, largest first; at most [`MAX_SOURCE_FILES`].
    pub source_files: Vec<SourceSize>,
}

/// The size of a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerSize {
    /// Name in plan and history.
    pub name: String,
    /// Digest of the compressed blob.
    pub digest: Digest,
    /// Digest of the tar archive.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Size of the compressed blob in bytes.
    pub transfer_bytes: u64,
    /// Number of regular files.
    pub files: u64,
    /// The reason for a separate layer.
    #[serde(rename = "why")]
    pub reason: String,
}

/// The size of a Python distribution.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DistributionSize {
    /// Normalized name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Name of its layer.
    pub layer: String,
    /// Bytes of its files, including bytecode.
    pub disk_bytes: u64,
    /// Bytes of its bytecode.
    pub bytecode_bytes: u64,
    /// Number of regular files.
    pub files: u64,
}

/// The size of a system package.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PackageSize {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Bytes of its files in the image.
    pub disk_bytes: u64,
    /// Number of regular files.
    pub files: u64,
}

/// The size of a source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SourceSize {
    /// Path in the image.
    pub path: String,
    /// Size in bytes.
    pub disk_bytes: u64,
}

/// Bytes by kind; every file counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Kinds {
    /// Files of the base image.
    pub base: u64,
    /// Distributions without their bytecode.
    pub distributions: u64,
    /// Interpreter and standard library without bytecode.
    pub interpreter: u64,
    /// Files of system packages, mostly shared libraries.
    pub system_libraries: u64,
    /// Accounts, certificates, time zones.
    pub system_files: u64,
    /// All bytecode.
    pub bytecode: u64,
    /// The environment's own files.
    pub environment: u64,
    /// The project's source without bytecode.
    pub source: u64,
    /// Files of the layers that a program added; without bytecode, except in finished layers.
    pub extra: u64,
}

impl SizeReport {
    /// Renders indented JSON with a trailing newline.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct ReportDocument<'a> {
            generator: &'static str,
            #[serde(flatten)]
            report: &'a SizeReport,
        }
        // Cannot fail: plain data with string keys.
        let document = ReportDocument { generator: GENERATOR, report: self };
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    }
}
