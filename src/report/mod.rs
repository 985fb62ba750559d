//! Where the megabytes of an image are: per layer, per distribution, and by kind.
//!
//! A [`SizeReport`] is plain data with a documented JSON form (`docs/report.md`); [`text`] lays it out for a
//! terminal, [`markdown`] for a comment, [`html`] for a browser. Sizes are bytes of file content. *Disk* is what the
//! files have unpacked, without what a file system rounds up; *transfer* is what the compressed layer has, and so exists only for layers: a compressor works across files.

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

/// The version of the JSON form. It grows when a field is renamed or removed, not when one is added.
pub const SCHEMA: u32 = 1;

/// The value of `generator` in every document that is written beside images: a later build knows them by it.
pub const GENERATOR: &str = "ipo-oci";

/// The number of source files that a report has at most.
pub const MOST_SOURCE_FILES: usize = 100;

/// Where the bytes of one image are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SizeReport {
    /// The version of this form: [`SCHEMA`].
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
    /// Bytes of all compressed layers, config and manifest.
    pub transfer_bytes: u64,
    /// Number of regular files.
    pub files: u64,
    /// The budget, where there is one, in bytes on disk.
    pub budget_bytes: Option<u64>,
    /// The layers, lowest first.
    pub layers: Vec<LayerSize>,
    /// The Python distributions, the largest first.
    pub distributions: Vec<DistributionSize>,
    /// The packages of the system whose files were copied, the largest first.
    pub packages: Vec<PackageSize>,
    /// What each kind of content has; all of them together are `disk_bytes`.
    pub kinds: Kinds,
    /// The largest files of the source, the largest first; at most [`MOST_SOURCE_FILES`].
    pub source_files: Vec<SourceSize>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerSize {
    /// What it is called in plan and history.
    pub name: String,
    /// Digest of the compressed blob.
    pub digest: Digest,
    /// Digest of the tar archive.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Bytes of the compressed blob.
    pub transfer_bytes: u64,
    /// Regular files in it.
    pub files: u64,
    /// Why it is a layer of its own.
    pub why: String,
}

/// One Python distribution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DistributionSize {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The layer that holds it.
    pub layer: String,
    /// Bytes of its files, bytecode among them.
    pub disk_bytes: u64,
    /// Bytes of its bytecode.
    pub bytecode_bytes: u64,
    /// Regular files.
    pub files: u64,
}

/// One package of the system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PackageSize {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Bytes of those of its files that are in the image.
    pub disk_bytes: u64,
    /// Regular files.
    pub files: u64,
}

/// One file of the project's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceSize {
    /// Its path in the image.
    pub path: String,
    /// Its bytes.
    pub disk_bytes: u64,
}

/// Bytes by kind; every file counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// What the base brought, whatever it is.
    pub base: u64,
    /// Distributions without their bytecode.
    pub distributions: u64,
    /// Interpreter and standard library without bytecode.
    pub interpreter: u64,
    /// Packages of the system: shared libraries above all.
    pub system_libraries: u64,
    /// Accounts, certificates, time zones.
    pub system_files: u64,
    /// Bytecode, whoever's.
    pub bytecode: u64,
    /// The environment's own files.
    pub environment: u64,
    /// The project's source without bytecode.
    pub source: u64,
}

impl SizeReport {
    /// As JSON, indented, with a newline at the end.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            generator: &'static str,
            #[serde(flatten)]
            report: &'a SizeReport,
        }
        // Plain data with string keys: it cannot fail.
        let document = Document { generator: GENERATOR, report: self };
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    }
}
