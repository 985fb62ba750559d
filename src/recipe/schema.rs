//! The JSON schema of `[tool.ipo-oci]`, for editors.
//!
//! Draft 07, with the conventions of SchemaStore for a table of `pyproject.toml`
//! (`CONTRIBUTING.md` of SchemaStore/schemastore, "Best practices" and "`partial-`").

use serde_json::{Map, Value, json};

use super::{Target, defaults};
use crate::settings::{
    APT_KEYS, CHECK_KEYS, DEPLOY_KEYS, DEPLOY_PROCESS_KEYS, FILE_KEYS, HEALTHCHECK_KEYS, KEYS, Key, KeyPlace,
    PREPARE_KEYS, PROCESS_KEYS,
};

/// Returns the JSON schema of `[tool.ipo-oci]` in `pyproject.toml`.
pub fn schema() -> Value {
    let of_project = || KEYS.iter().filter(|key| key.place != KeyPlace::Recipe);
    let mut properties: Map<String, Value> = of_project().map(property).collect();
    let targets: Map<String, Value> = Target::ALL
        .into_iter()
        .map(|target| (target.to_string(), json!({ "$ref": "#/definitions/target" })))
        .collect();
    properties["target"] = object("Settings of single targets", &targets.into());
    let of_target = of_project().filter(|key| key.name != "target");
    let of_target: Map<String, Value> = of_target
        .map(|key| (key.name.to_owned(), json!({ "$ref": format!("#/properties/{}", key.name) })))
        .collect();
    let table = |description: &str, keys: &[Key], required: &[&str]| {
        let properties: Map<String, Value> = keys.iter().map(property).collect();
        let mut table = object(description, &properties.into());
        if !required.is_empty() {
            table["required"] = json!(required);
        }
        table
    };
    let mut schema = object("Settings of images that ipo-oci builds of a Python project", &properties.into());
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["$id"] = "https://json.schemastore.org/partial-ipo-oci.json".into();
    schema["title"] = "ipo-oci".into();
    schema["definitions"] = json!({
        "target": object("Settings of one target", &of_target.into()),
        "healthcheck": table("Properties of the health check", HEALTHCHECK_KEYS, &[]),
        "process": table("A process with an image of its own", PROCESS_KEYS, &[]),
        "file": table("A file or folder of this machine", FILE_KEYS, &["from", "to"]),
        "apt": table("Debian packages and their archives", APT_KEYS, &[]),
        "check": table("The check of images", CHECK_KEYS, &[]),
        "deploy": table("The deployment of the images", DEPLOY_KEYS, &[]),
        "deploy-process": table("The deployment of a process", DEPLOY_PROCESS_KEYS, &[]),
        "prepare": table("A command that makes files", PREPARE_KEYS, &["name", "command", "to"]),
    });
    schema
}

/// Returns the schema of an object with these properties and no others.
fn object(description: &str, properties: &Value) -> Value {
    json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// Returns the name of `key` and the schema of its values, with the default if it is that of all targets.
fn property(key: &Key) -> (String, Value) {
    let mut schema = key.schema();
    schema["description"] = key.description().into();
    let [runtime, builder, dev] = Target::ALL.map(|target| defaults::value(key, target));
    let is_common = runtime == builder && runtime == dev;
    if let Some(default) = runtime.filter(|default| is_common && !default.is_table()) {
        schema["default"] = serde_json::to_value(default).unwrap_or_default();
    }
    (key.name.to_owned(), schema)
}
