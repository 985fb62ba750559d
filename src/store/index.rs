//! A layout's index as JSON: the images' names, and the blobs in use.
//!
//! OCI image specification 1.1, `image-index.md` and `annotations.md`. Editing the JSON keeps the
//! fields and entries of other tools. This module does no I/O.

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::image::{Artifact, IMAGE_INDEX};
use crate::reference::Name;

/// The annotation with the tag, on the image's descriptor.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with the full name, for containerd and Docker.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The annotation of an index with the digest of its text without this annotation. No digest
/// protects the index otherwise, and a damaged name would look like a name.
const INDEX_DIGEST: &str = "vnd.ipo-oci.index.digest";
/// The first and the last bytes of every index with the annotation.
const ENDS: (&str, &str) = ("{\"annotations\":{", "\"schemaVersion\":2}");

/// The state of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexState {
    /// Written by this program, and unchanged.
    Intact,
    /// Written by this program, and damaged.
    Damaged,
    /// Written by this program, and edited by another.
    Edited,
    /// Written by another program: nothing protects the annotations.
    Foreign,
}

/// Returns the text of an index: keys sorted, with the annotation of its digest.
pub(super) fn text(mut index: Value) -> Vec<u8> {
    if !index.get("annotations").is_some_and(Value::is_object)
        && let Some(index) = index.as_object_mut()
    {
        index.insert("annotations".to_owned(), json!({}));
    }
    let annotations = |index: &mut Value| {
        index.get_mut("annotations").and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default()
    };
    let mut named = annotations(&mut index);
    named.remove(INDEX_DIGEST);
    index["annotations"] = named.into();
    index.sort_all_objects();
    let digest = Digest::of(index.to_string().as_bytes());
    index["annotations"][INDEX_DIGEST] = digest.to_string().into();
    index.sort_all_objects();
    index.to_string().into_bytes()
}

/// Compares an index with its annotation.
pub(crate) fn state(bytes: &[u8]) -> IndexState {
    let Ok(found) = std::str::from_utf8(bytes) else { return IndexState::Foreign };
    // Of two parts of the annotation, damage of one bit leaves one.
    if !found.contains("vnd.ipo-oci") && !found.contains("index.digest") {
        return IndexState::Foreign;
    }
    // Others write their own order of keys, or spaces.
    if !found.starts_with(ENDS.0) && !found.ends_with(ENDS.1) {
        return IndexState::Edited;
    }
    match serde_json::from_str::<Value>(found) {
        Ok(index) if index.is_object() && text(index.clone()) == bytes => IndexState::Intact,
        _ => IndexState::Damaged,
    }
}

/// Returns an index without images.
pub(super) fn empty() -> Value {
    json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [] })
}

/// Returns the index of a layout of only `artifact` under `names`, each with its tag, as bytes.
pub(super) fn of(artifact: &Artifact, names: &[(String, Name)]) -> Vec<u8> {
    let mut index = empty();
    let manifests: Vec<Value> =
        names.iter().map(|(ref_name, name)| descriptor(artifact, ref_name, name)).collect();
    index["manifests"] = manifests.into();
    text(index)
}

/// Returns the descriptor of `artifact` for an index: the original descriptor, renamed.
pub(super) fn descriptor(artifact: &Artifact, ref_name: &str, name: &Name) -> Value {
    let known = &artifact.descriptor;
    let mut json = if known.json.is_object() { known.json.clone() } else { json!({}) };
    // An artifact that was read may lack a media type, or have an inexact size.
    json["mediaType"] = known.media_type.as_str().into();
    json["digest"] = known.digest.to_string().into();
    json["size"] = known.size.into();
    if !json.get("annotations").is_some_and(Value::is_object) {
        json["annotations"] = json!({});
    }
    json["annotations"][REF_NAME] = ref_name.into();
    json["annotations"][CONTAINERD_NAME] = name.full().into();
    json
}

/// Returns the descriptors of an index.
pub(super) fn manifests(index: &Value) -> Result<&Vec<Value>, &'static str> {
    index.get("manifests").and_then(Value::as_array).ok_or("index.json has no manifests")
}

/// Returns a descriptor's tag.
pub(super) fn ref_name(descriptor: &Value) -> Option<&str> {
    descriptor.get("annotations")?.get(REF_NAME)?.as_str()
}

/// Returns a descriptor's full name.
pub(super) fn containerd_name(descriptor: &Value) -> Option<&str> {
    descriptor.get("annotations")?.get(CONTAINERD_NAME)?.as_str()
}

/// Replaces the descriptors with the tag of `descriptor`. Returns the replaced digests.
pub(super) fn replace(index: &mut Value, descriptor: Value) -> Result<Vec<String>, &'static str> {
    manifests(index)?;
    let Some(manifests) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
        return Ok(Vec::new());
    };
    let same = |old: &Value| ref_name(old).is_some() && ref_name(old) == ref_name(&descriptor);
    let at = manifests.iter().position(same).unwrap_or(manifests.len());
    let mut replaced = Vec::new();
    manifests.retain(|old| {
        if same(old) {
            replaced.extend(old.get("digest").and_then(Value::as_str).map(str::to_owned));
        }
        !same(old)
    });
    manifests.insert(at.min(manifests.len()), descriptor);
    Ok(replaced)
}

/// The references of a document in a layout.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DocumentReferences<'a> {
    /// Blobs.
    pub(super) leaves: Vec<&'a str>,
    /// Documents with references of their own.
    pub(super) documents: Vec<&'a str>,
    /// The subject (`manifest.md`, "subject"), which may be missing.
    pub(super) subject: Option<&'a str>,
}

/// Returns the references of a manifest or index; `None` if a descriptor lacks a digest.
pub(super) fn references(document: &Value) -> Option<DocumentReferences<'_>> {
    let list = |key: &str| document.get(key).and_then(Value::as_array).into_iter().flatten();
    let leaves = list("layers").chain(list("blobs")).chain(document.get("config"));
    Some(DocumentReferences {
        leaves: leaves.map(digest_of).collect::<Option<_>>()?,
        documents: list("manifests").map(digest_of).collect::<Option<_>>()?,
        subject: match document.get("subject") {
            None | Some(Value::Null) => None,
            Some(subject) => Some(digest_of(subject)?),
        },
    })
}

fn digest_of(descriptor: &Value) -> Option<&str> {
    descriptor.get("digest")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: &str, digest: &str) -> Value {
        json!({ "digest": digest, "annotations": { REF_NAME: tag } })
    }

    #[test]
    fn an_image_takes_the_place_of_its_namesake_and_leaves_the_rest() {
        let foreign = json!({ "digest": "sha256:f", "x": 1 });
        let mut index =
            json!({ "y": 2, "manifests": [entry("a", "1"), foreign, entry("b", "2"), entry("a", "3")] });
        assert_eq!(replace(&mut index, entry("a", "4")).unwrap(), ["1", "3"]);
        assert_eq!(index, json!({ "y": 2, "manifests": [entry("a", "4"), foreign, entry("b", "2")] }));
        assert!(replace(&mut index, entry("c", "5")).unwrap().is_empty());
        assert_eq!(manifests(&index).unwrap().len(), 4);
    }

    #[test]
    fn every_flipped_bit_of_an_index_is_noticed() {
        let mut index = empty();
        replace(&mut index, json!({ "digest": "sha256:1", "size": 10, "annotations": { REF_NAME: "a" } }))
            .unwrap();
        let good = text(index.clone());
        assert_eq!(state(&good), IndexState::Intact);
        assert_eq!(text(serde_json::from_slice(&good).unwrap()), good);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Another program fails to read an index that is not UTF-8.
            let seen = state(&bytes) == IndexState::Damaged || std::str::from_utf8(&bytes).is_err();
            assert!(seen, "bit {bit}: {}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn an_index_of_others_is_not_damaged() {
        let ours: Value = serde_json::from_slice(&text(empty())).unwrap();
        assert_eq!(state(br#"{"schemaVersion":2,"manifests":[]}"#), IndexState::Foreign);
        let edited = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{}}}"#, ours["annotations"]);
        assert_eq!(state(edited.as_bytes()), IndexState::Edited);
        assert_eq!(state(format!("{ours:#}").as_bytes()), IndexState::Edited);
    }

    #[test]
    fn a_malformed_index_is_refused() {
        for mut index in [json!(1), json!([]), json!({}), json!({ "manifests": {} })] {
            assert!(replace(&mut index, entry("a", "1")).is_err(), "{index}");
        }
    }

    #[test]
    fn a_descriptor_without_a_digest_is_refused() {
        assert!(references(&json!({ "layers": [{}] })).is_none());
        assert!(references(&json!({ "config": 3 })).is_none());
        assert!(references(&json!({ "subject": {} })).is_none());
        let manifest = json!({ "config": { "digest": "c" }, "layers": [{ "digest": "l" }], "subject": { "digest": "s" } });
        let expected = DocumentReferences { leaves: vec!["l", "c"], documents: vec![], subject: Some("s") };
        assert_eq!(references(&manifest).unwrap(), expected);
    }
}
