//! Referrers of an image (signatures, bills of materials), for registries without the referrers
//! API.
//!
//! OCI distribution specification 1.1, "Pushing Manifests with Subject": the client keeps an index under the tag
//! `sha256-<hex>`.

use serde_json::{Value, json};
use ureq::http::{Method, header};

use super::error::RegistryError;
use super::upload::PushTarget;
use crate::digest::Digest;
use crate::image::{Artifact, IMAGE_INDEX};
use crate::store::http::Request;

/// Limit for a referrers index, in bytes.
const INDEX_BYTES: u64 = 4 << 20;

/// The state of a subject's referrers list after a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReferrersUpdate {
    /// The registry maintains the list.
    Done,
    /// The client must add the document.
    Needed,
}

/// Adds a document to its subject's referrers list, unless the registry does.
pub(super) fn update(
    target: &PushTarget,
    artifact: &Artifact,
    state: ReferrersUpdate,
) -> Result<(), RegistryError> {
    let document: Value = serde_json::from_slice(&artifact.bytes).unwrap_or_default();
    let subject = document.get("subject").and_then(|subject| subject.get("digest")).and_then(Value::as_str);
    let Some(subject) = subject.and_then(|digest| digest.parse::<Digest>().ok()) else { return Ok(()) };
    if state == ReferrersUpdate::Done {
        return Ok(());
    }
    let tag = format!("sha256-{}", subject.hex());
    let url = target.endpoint.url(&target.name.repository, &format!("manifests/{tag}"));
    let request = Request::new(Method::GET, url).with(header::ACCEPT, IMAGE_INDEX);
    let response = target.session.send(target.endpoint, target.scope, &request)?;
    let existing = match response.status {
        200 => Some(response.bytes(INDEX_BYTES)?),
        404 => {
            response.drain();
            None
        }
        _ => return Err(response.into_error(&format!("{}:{tag}", target.name.path()))),
    };
    match entered(existing.as_deref(), &entry(artifact, &document)) {
        Some(Ok(index)) => target.put(index.to_string().as_bytes(), IMAGE_INDEX, &tag).map(|_| ()),
        Some(Err(reason)) => {
            let reason = format!("{}:{tag} {reason}", target.name.path());
            Err(RegistryError::Response { host: target.name.registry.clone(), reason })
        }
        None => Ok(()),
    }
}

/// Returns the index with `entry` added; `None` if present already.
fn entered(existing: Option<&[u8]>, entry: &Value) -> Option<Result<Value, &'static str>> {
    let mut index = match existing {
        Some(bytes) => match serde_json::from_slice::<Value>(bytes) {
            Ok(index) => index,
            Err(_) => return Some(Err("should be an index and is not JSON")),
        },
        None => json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [] }),
    };
    let Some(manifests) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
        return Some(Err("should be an index and is something else"));
    };
    let digest = |entry: &Value| entry.get("digest").cloned();
    if manifests.iter().any(|existing| digest(existing) == digest(entry)) {
        return None;
    }
    manifests.push(entry.clone());
    Some(Ok(index))
}

/// Returns the descriptor of a document in a referrers list.
fn entry(artifact: &Artifact, document: &Value) -> Value {
    let mut entry = json!({
        "mediaType": artifact.descriptor.media_type,
        "digest": artifact.digest().to_string(),
        "size": artifact.bytes.len(),
    });
    let config = document.get("config").and_then(|config| config.get("mediaType"));
    let kind = document.get("artifactType").filter(|kind| kind.as_str().is_some_and(|kind| !kind.is_empty()));
    for (key, value) in [("artifactType", kind.or(config)), ("annotations", document.get("annotations"))] {
        if let Some(value) = value {
            entry[key] = value.clone();
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_listed_once_beside_what_is_there() {
        let first = entered(None, &json!({ "digest": "a" })).unwrap().unwrap();
        let second = entered(Some(first.to_string().as_bytes()), &json!({ "digest": "b" })).unwrap().unwrap();
        assert_eq!(second["manifests"], json!([{ "digest": "a" }, { "digest": "b" }]));
        assert!(entered(Some(second.to_string().as_bytes()), &json!({ "digest": "a" })).is_none());
        for wrong in ["", "{}", "[]"] {
            assert!(entered(Some(wrong.as_bytes()), &json!({ "digest": "a" })).unwrap().is_err());
        }
    }
}
