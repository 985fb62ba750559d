//! [`likely_reasons`]: guesses why a second build of a project gave another image.

use super::{DiffKind, FieldDiff, ImageDiff, LayerSide};
use crate::image::{BASE_DIGEST, BASE_NAME};
use crate::plural::first_names;

/// The most names in one reason.
const SHOWN: usize = 5;

/// Returns the likely reasons for which a rebuild, the new image, differs from the old one: the most
/// likely first, each a sentence with its remedy.
pub fn likely_reasons(diff: &ImageDiff) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(base(diff));
    reasons.extend(recorded(diff));
    reasons.extend(python(diff));
    reasons.extend(distributions(diff));
    reasons.extend(packages(diff));
    reasons.extend(files(diff));
    reasons.extend(settings(diff));
    if reasons.is_empty() && !diff.is_same_image() {
        reasons.push(only_layers(diff).to_owned());
    }
    reasons
}

/// Returns the changes of a field, whether a label or an annotation.
fn field<'a>(diff: &'a ImageDiff, name: &str) -> Option<&'a FieldDiff> {
    diff.config.iter().find(|own| own.field.rsplit(' ').next() == Some(name))
}

fn values(own: &FieldDiff) -> (String, String) {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    (text(&own.old), text(&own.new))
}

fn base(diff: &ImageDiff) -> Option<String> {
    if let Some(digest) = field(diff, BASE_DIGEST) {
        let (old, new) = values(digest);
        return Some(match (&digest.old, &digest.new) {
            (Some(_), Some(_)) => {
                format!(
                    "the base moved from {old} to {new}; pin the base with `ipo-oci lock`, or name its digest"
                )
            }
            (Some(_), None) => {
                format!("the image is on the base {old}, the rebuild on none; name it with --base")
            }
            _ => format!("the image is on no base, the rebuild on {new}; check `base` in the settings"),
        });
    }
    let (old, new) = values(field(diff, BASE_NAME)?);
    Some(format!("the base has another name: {old}, now {new}"))
}

/// Compares the facts that labels record about the project.
fn recorded(diff: &ImageDiff) -> Vec<String> {
    let mut reasons = Vec::new();
    for (label, what, remedy) in [
        ("org.opencontainers.image.revision", "revision", "check the recorded one out"),
        ("org.opencontainers.image.version", "version", "check its commit out"),
        ("org.opencontainers.image.created", "SOURCE_DATE_EPOCH", "set the recorded one"),
    ] {
        if let Some(own) = field(diff, label) {
            let (old, new) = values(own);
            reasons.push(format!("the project has another {what}: {old}, now {new}; {remedy}"));
        }
    }
    reasons
}

fn python(diff: &ImageDiff) -> Option<String> {
    if diff.distributions.iter().any(|own| own.moved) {
        return Some(
            "the environment has another minor version of Python; make it with the old one".to_owned(),
        );
    }
    let is_interpreter = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.starts_with("libpython3") || (path.contains("/bin/") && name.starts_with("python3"))
    };
    let changed = diff.files.iter().find(|file| {
        let is_file = file.new.as_ref().or(file.old.as_ref()).is_some_and(|state| state.r#type == "file");
        is_file && is_interpreter(&file.path)
    })?;
    Some(format!("the interpreter is another patch level or build: {} differs", changed.path))
}

fn distributions(diff: &ImageDiff) -> Vec<String> {
    let mut versions = Vec::new();
    let mut files = Vec::new();
    for own in diff.distributions.iter().filter(|own| !own.moved) {
        match (&own.old_version, &own.new_version) {
            (Some(old), Some(new)) if old == new => files.push(own.name.clone()),
            (Some(old), Some(new)) => versions.push(format!("{} {old} → {new}", own.name)),
            (Some(old), None) => versions.push(format!("{} {old} is missing", own.name)),
            (_, new) => versions.push(format!("{} {} is new", own.name, new.as_deref().unwrap_or_default())),
        }
    }
    let mut reasons = Vec::new();
    if !versions.is_empty() {
        let names = first_names(&versions, SHOWN);
        reasons.push(format!("the environment has other distributions: {names}; install those of the lock"));
    }
    if !files.is_empty() && files.len() == diff.distributions.len() && is_bytecode(diff) {
        reasons.push("the bytecode is of another Python; make the environment with the old one".to_owned());
    } else if !files.is_empty() {
        let names = first_names(&files, SHOWN);
        reasons
            .push(format!("distributions of the same version have other files: {names}; install them again"));
    }
    reasons
}

fn is_bytecode(diff: &ImageDiff) -> bool {
    diff.distributions.iter().all(|own| own.files.added + own.files.removed + own.files.changed == 0)
}

fn packages(diff: &ImageDiff) -> Option<String> {
    let names: Vec<String> = diff.packages.iter().map(|own| own.name.clone()).collect();
    let first = (!names.is_empty()).then(|| first_names(&names, SHOWN))?;
    Some(format!("other Debian packages of the base or of this machine: {first}"))
}

fn files(diff: &ImageDiff) -> Option<String> {
    let is_source = |path: &str| !path.contains("/lib/python3.") && !path.contains("/libpython3");
    let files = diff.files.iter().filter(|file| file.owner.is_none() && !file.bytecode);
    let files =
        files.filter(|file| file.old.iter().chain(&file.new).any(|state| state.r#type != "directory"));
    let names: Vec<String> = files.map(|file| file.path.clone()).filter(|path| is_source(path)).collect();
    let first = (!names.is_empty()).then(|| first_names(&names, SHOWN))?;
    let verb =
        if diff.files.iter().all(|file| file.kind == DiffKind::Added) { "new files" } else { "other files" };
    Some(format!("the source, the settings or this machine have {verb}: {first}"))
}

fn settings(diff: &ImageDiff) -> Option<String> {
    let own =
        |field: &&FieldDiff| !field.field.contains("org.opencontainers.image.") && field.field != "created";
    let names: Vec<String> = diff.config.iter().filter(own).map(|own| own.field.clone()).collect();
    let first = (!names.is_empty()).then(|| first_names(&names, SHOWN))?;
    Some(format!("other settings, target or process: {first}; repeat the flags of the first build"))
}

/// Returns the reason for equal configurations and files.
fn only_layers(diff: &ImageDiff) -> &'static str {
    let of = |side| diff.layers.iter().filter(move |layer| layer.side == side);
    let mut pairs = of(LayerSide::Old).zip(of(LayerSide::New)).peekable();
    if pairs.peek().is_some() && pairs.all(|(old, new)| old.diff_id == new.diff_id) {
        return "the layers are compressed in another way; repeat --compression, with the same version of ipo-oci";
    }
    "the files are equal, and times, layers or the history are not; build with the same version and flags of ipo-oci"
}
