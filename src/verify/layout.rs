//! The files of a layout: marker, index, names of images and blobs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::VerifyRule as Rule;
use super::documents::{DocumentWalk, Done};
use super::layer_files;
use crate::atomic_file::is_temporary;
use crate::digest::Digest;
use crate::reference::{Name, Reference, Transport};
use crate::store::{
    CONTAINERD_NAME, IndexState, LayoutContents, REF_NAME, StoreError, StoredFile, index_state,
};

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
/// Verifies marker and index, and the documents that the index references: the one that `reference`
/// selects, or all.
pub(super) fn verify(
    contents: &LayoutContents,
    reference: &Reference,
    walk: &mut DocumentWalk<'_>,
) -> Result<(), StoreError> {
    marker(contents, walk);
    let bytes = match contents.small(INDEX) {
        Ok(bytes) => bytes,
        Err(reason) => {
            walk.findings.add(Rule::LayoutIndex, INDEX, reason);
            return Ok(());
        }
    };
    match index_state(&bytes) {
        IndexState::Damaged => {
            walk.findings.add(Rule::IndexDamaged, INDEX, "differs from the digest in its annotation");
        }
        IndexState::Edited => {
            walk.findings.add(Rule::IndexEdited, INDEX, "was edited by another program");
        }
        IndexState::Intact | IndexState::Foreign => {}
    }
    let index: Value = match serde_json::from_slice(&bytes) {
        Ok(index) => index,
        Err(error) => {
            walk.findings.add(Rule::LayoutIndex, INDEX, error.to_string());
            return Ok(());
        }
    };
    walk.schema_version(&index, INDEX);
    let Some(manifests) = index.get("manifests").and_then(Value::as_array) else {
        walk.findings.add(Rule::LayoutIndex, INDEX, "has no list of manifests");
        return Ok(());
    };
    names(manifests, walk);
    let selected = select(manifests, reference)?;
    for descriptor in selected {
        let name = descriptor.get("annotations").and_then(|names| names.get(REF_NAME));
        let name = name.and_then(Value::as_str).unwrap_or_default();
        walk.root(descriptor, name);
    }
    Ok(())
}

fn marker(contents: &LayoutContents, walk: &mut DocumentWalk<'_>) {
    let fault = match contents.small(MARKER) {
        Err(reason) => Some(reason),
        Ok(bytes) => match serde_json::from_slice::<Value>(&bytes) {
            Err(error) => Some(error.to_string()),
            Ok(json) => match json.get("imageLayoutVersion").and_then(Value::as_str) {
                Some("1.0.0") => None,
                Some(version) => Some(format!("unsupported version `{version}`; expected 1.0.0")),
                None => Some("has no version".to_owned()),
            },
        },
    };
    if let Some(fault) = fault {
        walk.findings.add(Rule::LayoutMarker, MARKER, fault);
    }
}

/// Returns the descriptors that a reference selects.
///
/// # Errors
/// No image has the tag or digest.
fn select<'a>(manifests: &'a [Value], reference: &Reference) -> Result<Vec<&'a Value>, StoreError> {
    let annotation = |descriptor: &'a Value, key: &str| -> Option<&'a str> {
        descriptor.get("annotations")?.get(key)?.as_str()
    };
    let text = |descriptor: &'a Value| descriptor.get("digest").and_then(Value::as_str);
    let wanted = reference.digest.map(|digest| digest.to_string());
    let full = reference.tag.as_ref().and_then(|tag| tag.parse::<Name>().ok()).map(|name| name.full());
    let chosen: Vec<&Value> = manifests
        .iter()
        .filter(|descriptor| match (&wanted, &reference.tag) {
            (Some(digest), _) => text(descriptor) == Some(digest),
            (None, Some(tag)) => {
                let names = [annotation(descriptor, REF_NAME), annotation(descriptor, CONTAINERD_NAME)];
                names.into_iter().flatten().any(|name| name == tag || Some(name) == full.as_deref())
            }
            (None, None) => true,
        })
        .collect();
    if chosen.is_empty() && (wanted.is_some() || reference.tag.is_some()) {
        let there = manifests.iter().filter_map(|descriptor| annotation(descriptor, REF_NAME));
        let path = match &reference.place {
            crate::reference::Place::Path(path) => path.clone(),
            _ => "standard input".into(),
        };
        let tag = wanted.or_else(|| reference.tag.clone()).unwrap_or_default();
        return Err(StoreError::NoImage { path, tag, there: there.map(str::to_owned).collect() });
    }
    Ok(chosen)
}

/// Verifies the names of images: tags and full names.
fn names(manifests: &[Value], walk: &mut DocumentWalk<'_>) {
    let mut tags: BTreeMap<&str, &str> = BTreeMap::new();
    for descriptor in manifests {
        let Some(annotations) = descriptor.get("annotations") else { continue };
        let text = |key: &str| annotations.get(key).and_then(Value::as_str);
        let digest = descriptor.get("digest").and_then(Value::as_str).unwrap_or_default();
        let (tag, full) = (text(REF_NAME), text(CONTAINERD_NAME));
        if let Some(tag) = tag {
            if !is_ref_name(tag) {
                walk.findings.add(Rule::ImageName, INDEX, format!("invalid name `{tag}` of an image"));
            }
            if tags.insert(tag, digest).is_some_and(|other| other != digest) {
                walk.findings.add(Rule::ImageName, INDEX, format!("two images have the name `{tag}`"));
            }
        }
        if let Some(full) = full {
            match full.parse::<Name>() {
                Err(_) => {
                    let message = format!("invalid name `{full}` of an image");
                    walk.findings.add(Rule::ImageName, INDEX, message);
                }
                // Docker and containerd write a tag or the full name.
                Ok(name) if tag.is_some_and(|tag| tag != name.tag && tag != full) => {
                    let tag = tag.unwrap_or_default();
                    let message = format!("an image has the names `{tag}` and `{full}`");
                    walk.findings.add(Rule::ImageName, INDEX, message);
                }
                Ok(_) => {}
            }
        }
    }
}

/// Returns whether a name has the form of `annotations.md`: components of letters and digits, with
/// single separators.
fn is_ref_name(name: &str) -> bool {
    let component = |component: &str| {
        !component.is_empty()
            && component.split(['-', '.', '_', ':', '@', '+']).enumerate().all(|(number, word)| {
                // `--` is the only double separator.
                (!word.is_empty() || (number > 0 && component.contains("--")))
                    && word.chars().all(|c| c.is_ascii_alphanumeric())
            })
    };
    name.split('/').all(component)
}

/// Verifies the files that no document references, and the archive around the layout.
pub(super) fn verify_files(contents: &LayoutContents, reference: &Reference, done: &mut Done) {
    let whole = reference.tag.is_none() && reference.digest.is_none();
    for (name, file) in &contents.files {
        let parts: Vec<&str> = name.split('/').collect();
        let digest = match parts.as_slice() {
            ["blobs", algorithm, hex] => format!("{algorithm}:{hex}").parse::<Digest>().ok(),
            _ => None,
        };
        let is_known = matches!(name.as_str(), MARKER | INDEX)
            // `docker save` and `podman save` describe the image to older programs.
            || (contents.archive.is_some() && matches!(name.as_str(), "manifest.json" | "repositories"));
        let Some(digest) = digest else {
            let temporary = parts.last().copied().is_some_and(is_temporary);
            if temporary {
                done.findings.add(Rule::UnknownFile, name, "left by a build that was ended");
            } else if !is_known && whole && reference.transport != Transport::DockerArchive {
                done.findings.add(Rule::UnknownFile, name, "does not belong to a layout");
            }
            continue;
        };
        if done.verified.contains(&digest) || !whole {
            continue;
        }
        if !done.referenced.contains(&digest) {
            done.findings.add(Rule::UnreferencedBlob, name, "no image references this blob");
        }
        match file {
            StoredFile::Other(kind) => done.findings.add(Rule::Unreadable, name, format!("is {kind}")),
            StoredFile::File(blob, size) => {
                let read = blob.open().and_then(|mut reader| digest.recomputed_from(&mut reader));
                match read {
                    Err(error) => done.findings.add(Rule::Unreadable, name, crate::error::describe(&error)),
                    Ok((found, _)) if found != digest => {
                        done.findings.add(
                            Rule::BlobDigest,
                            name,
                            format!("its content has the digest {found}"),
                        );
                    }
                    Ok(_) => done.bytes += size,
                }
            }
        }
    }
    if let Some(archive) = &contents.archive {
        layer_files::verify_archive(archive, done);
    }
}
