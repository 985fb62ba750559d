//! `ipo-oci verify`: verifies every digest, size and member of an image, and builds it again.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ipo_oci::builder::{ImageCheck, LayerReuse};
use ipo_oci::diff::{self, FirstDifference, first_difference, likely_reasons};
use ipo_oci::image::Image;
use ipo_oci::printable;
use ipo_oci::reference::Reference;
use ipo_oci::store;
use ipo_oci::verify::{OmittedLayers, VerifyOptions, VerifySeverity, recorded_epoch, verify};
use serde_json::json;

use super::access::AccessArguments;
use super::failure::Failure;
use super::project::ProjectArguments;
use super::terminal::Terminal;

/// Arguments of `ipo-oci verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArguments {
    /// Image: oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]; FILE may be -
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Build the image again from its project [default: .], and explain the first difference
    #[arg(long, value_name = "PROJECT", num_args = 0..=1, default_missing_value = ".")]
    rebuild: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: VerifyFormat,
    /// Accept a layout without some layers, as `copy --shallow` writes
    #[arg(long)]
    shallow: bool,
    #[command(flatten)]
    project: ProjectArguments,
    #[command(flatten)]
    access: AccessArguments,
}

/// The form of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum VerifyFormat {
    /// One line a finding
    #[default]
    Text,
    /// A JSON document
    Json,
}

/// The comparison of an image with a rebuild.
struct Rebuild {
    /// Digest of the rebuilt image.
    digest: String,
    /// True if the verified image is the rebuilt one, byte by byte. Otherwise, equal images differ in the
    /// compression of their layers.
    is_same: bool,
    /// The first difference; `None` for equal images.
    first: Option<FirstDifference>,
    reasons: Vec<String>,
}

/// Prints the findings to standard output.
pub(crate) fn run(arguments: &VerifyArguments, terminal: &Terminal) -> Result<(), Failure> {
    let reference: Reference = arguments.image.parse().map_err(Failure::argument)?;
    let mut options = VerifyOptions::default();
    options.platform = arguments.project.platforms().into_iter().next();
    options.omitted = if arguments.shallow { OmittedLayers::Allow } else { OmittedLayers::Refuse };
    if arguments.rebuild.is_some() && reference.is_standard() {
        let help = "store the image in a file first: a stream can be read once only";
        return Err(Failure::usage("cannot build an image on standard input again", help));
    }
    let report = verify(&reference, &options, &arguments.access.access(), terminal)?;
    // A damaged image has other problems than its project.
    let rebuild = match &arguments.rebuild {
        Some(project) if report.is_intact() => Some(rebuild(arguments, project, &reference, terminal)?),
        _ => None,
    };
    match arguments.format {
        VerifyFormat::Text => {
            let rebuild = rebuild.as_ref().map(Rebuild::render).unwrap_or_default();
            terminal.result(&(report.render() + &rebuild))?;
        }
        VerifyFormat::Json => {
            let mut document = serde_json::to_value(&report).unwrap_or_default();
            if let Some(rebuild) = &rebuild {
                document["rebuild"] = rebuild.json();
            }
            terminal.json(&format!("{document:#}\n"))?;
        }
    }
    if !report.is_intact() {
        let errors = report.count(VerifySeverity::Error);
        let noun = if errors == 1 { "error" } else { "errors" };
        return Err(Failure::found(
            format!("cannot trust {reference}: {errors} {noun}"),
            "fetch or build the image again; `ipo-oci help verify` explains each rule",
        ));
    }
    match rebuild {
        Some(Rebuild { first: Some(_), .. }) => Err(Failure::found(
            format!("cannot reproduce {reference}: the rebuild differs"),
            "repeat the flags and variables of the build, which the image does not record; `ipo-oci help verify` \
             lists them",
        )),
        _ => Ok(()),
    }
}

/// Builds the image again, and compares.
fn rebuild(
    arguments: &VerifyArguments,
    project: &Path,
    reference: &Reference,
    terminal: &Terminal,
) -> Result<Rebuild, Failure> {
    let access = arguments.access.access();
    let image = store::open_image(reference, arguments.project.platforms().first(), &access)?;
    let [target] = arguments.project.targets()[..] else {
        return Err(Failure::usage("cannot build several targets again", "name one with --target"));
    };
    let mut builder = arguments
        .project
        .builder(project, &arguments.access)?
        .target(target)
        .platform(image.platform.clone())
        .format(image.format)
        .image_check(ImageCheck::Skipped)
        // A layer of the cache would be compared with itself.
        .layer_reuse(LayerReuse::Never);
    if let Some(seconds) = recorded_epoch(&image) {
        builder = builder.source_date_epoch(seconds);
    }
    if let Some(path) = reference.path() {
        builder = builder.exclude(path);
    }
    let built = builder.build(terminal)?;
    compare(reference, &image, &built.image, access.cache.as_deref(), terminal)
}

fn compare(
    reference: &Reference,
    image: &Image,
    rebuilt: &Image,
    cache: Option<&Path>,
    terminal: &Terminal,
) -> Result<Rebuild, Failure> {
    let digest = rebuilt.digest().to_string();
    let is_same = image.digest() == rebuilt.digest();
    let Some(first) = first_difference(image, rebuilt)? else {
        return Ok(Rebuild { digest, is_same, first: None, reasons: Vec::new() });
    };
    let names = (reference.to_string(), "rebuild".to_owned());
    let difference = diff::diff((&names.0, image), (&names.1, rebuilt), cache, terminal)?;
    Ok(Rebuild { digest, is_same, first: Some(first), reasons: likely_reasons(&difference) })
}

impl Rebuild {
    fn render(&self) -> String {
        let Some(first) = &self.first else {
            let form = if self.is_same { "" } else { " but for the compression of layers" };
            return format!("rebuild: identical{form}, {}\n", self.digest);
        };
        let mut text = format!("rebuild: differs at {}\n", printable::name(&first.to_string()));
        for reason in &self.reasons {
            text.push_str("    ");
            text.push_str(&printable::name(reason));
            text.push('\n');
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let first = self
            .first
            .as_ref()
            .map(|first| json!({ "place": first.place, "subject": first.subject, "detail": first.detail }));
        json!({ "identical": self.first.is_none(), "digest": self.digest, "first": first, "reasons": self.reasons })
    }
}
