//! Verifies images: every digest and size, and everything that readers of images treat differently.
//!
//! [`verify()`] reads an image of any transport to the last byte: the layout's files, the documents
//! (OCI image specification 1.1, `image-layout.md`, `manifest.md`, `config.md`), the layers
//! (`layer.md`; POSIX ustar and PAX). A fault does not end the verification: all [`VerifyFinding`]s
//! are collected. Memory does not grow with the size of a layer, but with the number of its paths.
//!
//! ```no_run
//! use ipo_oci::progress::Silent;
//! use ipo_oci::verify::{VerifyOptions, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let reference = "oci:dist/image".parse()?;
//! let report = verify(&reference, &VerifyOptions::default(), &Default::default(), &Silent)?;
//! assert!(report.is_intact(), "{}", report.render());
//! # Ok(())
//! # }
//! ```

mod documents;
mod findings;
mod image_files;
mod layer_files;
mod layout;
mod rule;

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

pub use rule::{VerifyRule, VerifySeverity};

use crate::image::Image;
use crate::platform::Platform;
use crate::plural::{counted, first_names};
use crate::printable;
use crate::progress::{Activity, Progress, Step};
use crate::reference::Reference;
use crate::settings::human_size;
use crate::store::{Access, Contents, StoreError, open_contents};
use documents::DocumentWalk;

/// Revision of the JSON format.
const SCHEMA: u32 = 1;
/// The most paths shown of one finding.
const SHOWN: usize = 5;

/// Options of a verification.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// The platform of the images to verify. Default: all images of an index.
    pub platform: Option<Platform>,
    /// The treatment of layers that a layout omits.
    pub omitted: OmittedLayers,
}

/// The treatment of layers that a layout omits (`image-layout.md`, "Blobs").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OmittedLayers {
    /// An error.
    #[default]
    Refuse,
    /// A note.
    Allow,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// The program.
    generator: &'static str,
    /// Revision of the JSON format.
    pub schema: u32,
    /// The reference as given.
    pub reference: String,
    /// Number of verified images.
    pub images: u64,
    /// Number of different layers read.
    pub layers: u64,
    /// Bytes of the verified blobs.
    pub bytes: u64,
    /// The findings, errors first.
    pub findings: Vec<VerifyFinding>,
}

/// A finding of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyFinding {
    /// Name of the [`VerifyRule`].
    pub rule: &'static str,
    /// The severity.
    pub severity: VerifySeverity,
    /// The file, document or layer.
    pub subject: String,
    /// The fault.
    pub message: String,
    /// The first paths in the layer, if the finding is about members.
    pub paths: Vec<String>,
    /// Number of occurrences.
    pub count: u64,
}

/// Verifies the image of `reference`; of a layout without a tag or digest, all images and files.
///
/// # Errors
/// Fails if the image cannot be opened or read at all. Faults of its content are findings.
pub fn verify(
    reference: &Reference,
    options: &VerifyOptions,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Verification, StoreError> {
    progress.step(&Step::on(Activity::ReadImage, reference.to_string()));
    let contents = open_contents(reference, access)?;
    let mut walk = DocumentWalk::new(&contents, options);
    match &contents {
        Contents::Layout(contents) => layout::verify(contents, reference, &mut walk)?,
        Contents::Artifact(artifact) => walk.root(&artifact.descriptor.json, ""),
    }
    let mut done = walk.read_layers(progress);
    if let Contents::Layout(contents) = &contents {
        layout::verify_files(contents, reference, &mut done);
    }
    Ok(Verification {
        generator: crate::GENERATOR,
        schema: SCHEMA,
        reference: reference.to_string(),
        images: done.images,
        layers: done.layers,
        bytes: done.bytes,
        findings: done.findings.finish(),
    })
}

/// Reads the bytes of a layer like [`verify()`]: the entry point of the fuzz target. Returns the
/// number of findings.
#[doc(hidden)]
pub fn check_layer(bytes: &[u8], media_type: &str) -> usize {
    layer_files::check(bytes, media_type)
}

/// Returns the `SOURCE_DATE_EPOCH` of an image's build, in seconds since 1970; `None` if the build had
/// none.
pub fn recorded_epoch(image: &Image) -> Option<i64> {
    let config: Value = serde_json::from_slice(&image.config).ok()?;
    // Without the variable, an image has a constant time and no label.
    let created = config.get("config")?.get("Labels")?.get("org.opencontainers.image.created")?;
    created.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

impl Verification {
    /// Returns true without errors; warnings and notes may exist.
    pub fn is_intact(&self) -> bool {
        self.count(VerifySeverity::Error) == 0
    }

    /// Returns the number of findings of a severity.
    pub fn count(&self, severity: VerifySeverity) -> u64 {
        self.findings.iter().filter(|finding| finding.severity == severity).count() as u64
    }

    /// Renders JSON with a trailing newline.
    pub fn to_json(&self) -> String {
        match serde_json::to_value(self) {
            Ok(value) => format!("{value:#}\n"),
            Err(_) => String::new(),
        }
    }

    /// Renders text with a trailing newline: the findings, then a summary.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let VerifyFinding { rule, severity, subject, message, paths, count } = finding;
            let (subject, message) = (printable::name(subject), printable::name(message));
            let _ = write!(text, "{}[{rule}] {subject}: {message}", severity.as_str());
            if *count > 1 {
                let _ = write!(text, " ({count} times)");
            }
            text.push('\n');
            if !paths.is_empty() {
                let paths: Vec<String> = paths.iter().map(|path| printable::name(path)).collect();
                let mut shown = first_names(&paths, SHOWN);
                if paths.len() <= SHOWN && (paths.len() as u64) < *count {
                    shown.push_str(", …");
                }
                let _ = writeln!(text, "    {shown}");
            }
        }
        let Self { images, layers, bytes, .. } = self;
        let _ = write!(
            text,
            "{}: {}, {}, {}: ",
            printable::name(&self.reference),
            counted(*images, "image"),
            counted(*layers, "layer"),
            human_size(*bytes)
        );
        let counts = [VerifySeverity::Error, VerifySeverity::Warning, VerifySeverity::Note].map(|severity| {
            (self.count(severity) > 0).then(|| counted(self.count(severity), severity.as_str()))
        });
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        text.push_str(&if counts.is_empty() { "no findings".to_owned() } else { counts.join(", ") });
        text.push('\n');
        text
    }
}
