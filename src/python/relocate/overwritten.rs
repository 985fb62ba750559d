//! Detects files of a selected distribution that an excluded one overwrote.
//!
//! The environment has both distributions and works. `opencv-python` and `opencv-python-headless`
//! are such a pair: each has its own `cv2`, and its compiled module needs the libraries of the
//! distribution installed last.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::info::digest;
use crate::progress::Warning;
use crate::python::environment::distribution::{Distribution, DistributionOrigin, Recorded};
use crate::python::environment::error::{Overwritten, VenvError};
use crate::python::environment::listing::{ListingEntry, has_extension};
use crate::python::environment::venv::Venv;
use crate::tree::Content;

/// Compares the files of `selected` that other distributions recorded too with the environment's
/// files. `owners` maps each path to the index of its distribution.
///
/// # Errors
/// [`VenvError::Overwritten`] for a compiled module of a distribution with other files, all
/// excluded.
pub(super) fn check(
    venv: &Venv,
    selected: &[&Distribution],
    owners: &HashMap<&str, usize>,
) -> Result<Vec<Warning>, VenvError> {
    let is_selected = |name: &str| selected.binary_search_by(|one| (*one.name).cmp(name)).is_ok();
    let others = venv.distributions.iter().filter(|one| one.origin == DistributionOrigin::Environment);
    let mut warnings = Vec::new();
    for other in others.filter(|other| !is_selected(&other.name)) {
        let mut overwritten: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (place, recorded) in &other.files {
            // Commands are rewritten.
            let Some(owner) = owners.get(place.as_str()).filter(|_| !place.starts_with("bin/")) else {
                continue;
            };
            let own = selected.get(*owner).and_then(|distribution| distribution.files.get(place));
            if own.is_some_and(|own| differ(own, recorded)) && matches_record(recorded, venv, place)? {
                overwritten.entry(*owner).or_default().push(place);
            }
        }
        for (owner, places) in overwritten {
            let Some(distribution) = selected.get(owner) else { continue };
            let Some(first) = places.iter().find(|place| is_compiled(place)).or(places.first()) else {
                continue;
            };
            let overwritten = Overwritten {
                distribution: distribution.metadata.name.clone(),
                version: distribution.version.to_string(),
                by: other.metadata.name.clone(),
                by_version: other.version.to_string(),
                file: (*first).to_owned(),
                others: places.len() - 1,
            };
            if is_compiled(first) && has_exclusive_files(other, owners) {
                return Err(VenvError::Overwritten(Box::new(overwritten)));
            }
            let subject = format!("{} {}", distribution.metadata.name, distribution.version);
            warnings.push(Warning::new(subject, overwritten.as_warning()).with_help(overwritten.help()));
        }
    }
    Ok(warnings)
}

/// Returns whether two records are certainly of different bytes.
fn differ(one: &Recorded, other: &Recorded) -> bool {
    match (&one.hash, &other.hash) {
        (Some(one), Some(other)) => one != other,
        _ => one.size.is_some() && other.size.is_some() && one.size != other.size,
    }
}

/// Returns whether the file at `place` is the recorded one.
fn matches_record(recorded: &Recorded, venv: &Venv, place: &str) -> Result<bool, VenvError> {
    let Some(file) = venv.listing.get(place).and_then(ListingEntry::file) else { return Ok(false) };
    if recorded.size.is_some_and(|size| size != file.size) {
        return Ok(false);
    }
    match &recorded.hash {
        Some(hash) => Ok(digest(&Content::Host(file.clone()))?.0 == *hash),
        None => Ok(true),
    }
}

fn is_compiled(place: &str) -> bool {
    has_extension(place, "so")
        || Path::new(place)
            .file_name()
            .is_some_and(|name| name.to_str().is_some_and(|name| name.contains(".so.")))
}

/// Returns whether a distribution has files beside its metadata that no selected one has.
fn has_exclusive_files(distribution: &Distribution, owners: &HashMap<&str, usize>) -> bool {
    distribution
        .files
        .keys()
        .any(|place| !place.starts_with(&distribution.info) && !owners.contains_key(place.as_str()))
}
