//! The fields of configurations, and the annotations of manifests.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{FieldDiff, layers};
use crate::image::Image;

/// Properties of a configuration that the layers have.
const OF_LAYERS: [&str; 2] = ["history", "rootfs"];

/// Compares all fields, known or not. Of an image in an engine, whose layers are uncompressed, there is
/// no manifest, so annotations are compared only between images in the same form.
pub(super) fn compare(old: &Image, new: &Image) -> Vec<FieldDiff> {
    let is_same_form = layers::are_compressed(old) == layers::are_compressed(new);
    let fields = |image| fields(image, is_same_form);
    let (old, new) = (fields(old), fields(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| FieldDiff {
            field: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

/// Returns the fields by name. Fields with an empty value are absent, as for runtimes.
fn fields(image: &Image, with_annotations: bool) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let config = document(&image.config);
    for (key, value) in config.as_object().into_iter().flatten() {
        if key == "config" {
            process(value, &mut fields);
        } else if !OF_LAYERS.contains(&key.as_str()) {
            insert(&mut fields, key.clone(), value);
        }
    }
    if !with_annotations {
        return fields;
    }
    let manifest = document(&image.manifest);
    for (key, value) in manifest.get("annotations").and_then(Value::as_object).into_iter().flatten() {
        insert(&mut fields, format!("annotation {key}"), value);
    }
    fields
}

/// Adds the fields of the process.
fn process(config: &Value, fields: &mut BTreeMap<String, String>) {
    for (key, value) in config.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("Env", Value::Array(variables)) => {
                for variable in variables.iter().filter_map(Value::as_str) {
                    let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                    fields.insert(format!("Env {name}"), value.to_owned());
                }
            }
            ("ExposedPorts" | "Volumes" | "Labels" | "Healthcheck", Value::Object(values)) => {
                for (name, value) in values {
                    match value {
                        // Ports and volumes are the keys of empty objects.
                        Value::Object(empty) if empty.is_empty() => {
                            fields.insert(format!("{key} {name}"), String::new());
                        }
                        value => insert(fields, format!("{key} {name}"), value),
                    }
                }
            }
            (_, value) => insert(fields, key.clone(), value),
        }
    }
}

fn insert(fields: &mut BTreeMap<String, String>, name: String, value: &Value) {
    let is_empty = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if !is_empty {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fields.insert(name, text);
    }
}
