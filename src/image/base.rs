//! Builds an image on a base: edits the base's configuration as JSON.
//!
//! OCI image specification 1.1, `config.md` and `manifest.md`; Docker's image specification 1.3 for
//! Docker's additions. The JSON is edited directly, without types in between, so unknown fields are
//! preserved at every level. Our settings are applied like instructions of a Dockerfile (BuildKit,
//! `frontend/dockerfile/dockerfile2llb/convert.go`), and a history that does not match the layers
//! is repaired as in BuildKit (`exporter/containerimage/writer.go`, `normalizeLayersAndHistory`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::config::rfc3339;
use super::{
    Encoding, Format, HistoryLine, IMAGE_CONFIG, IMAGE_MANIFEST, Image, ImageConfig, ImageError, Layer,
    Process,
};
use crate::digest::Digest;

/// Label and annotation with the name of the base image (OCI image specification 1.1,
/// `annotations.md`).
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Label and annotation with the digest of the base image.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// The most layers that container runtimes mount (moby, `layer.maxLayerDepth` and overlayfs'
/// options).
pub const MAX_LAYERS: usize = 127;

/// Fields about the build of the base, which would be false for the image on top: the container of
/// a classic `docker build` and its configuration, Docker's version, the IDs of the first image
/// format, BuildKit's cache and build information. BuildKit removes all of them too.
pub(super) const BUILD_RESIDUE: [&str; 7] = [
    "container",
    "container_config",
    "docker_version",
    "id",
    "parent",
    "moby.buildkit.buildinfo.v1",
    "moby.buildkit.cache.v0",
];

impl Image {
    /// Builds an image from a base and layers on top, lowest first, each with its history line.
    ///
    /// The base's process settings remain unless `config` sets them; an empty text or list sets no
    /// value. As in a Dockerfile, a new entry point discards the base's arguments. The health check
    /// is always `config`'s, since the base's checks the base's process. Environment, labels and
    /// ports are merged, and `config` takes precedence. The platform is the base's. `name` is the
    /// base's name with the digest to which the name resolves (of the index, if there is one);
    /// without a name, the digest of the base's manifest is recorded.
    ///
    /// The manifest is OCI's; the base's layers keep their annotations and the bytes of their
    /// blobs.
    ///
    /// # Errors
    /// Fails if the base's documents do not follow the specification, or for more than
    /// [`MAX_LAYERS`] layers.
    pub fn on_base(
        base: &Image,
        config: &ImageConfig,
        layers: Vec<(Layer, HistoryLine)>,
        annotations: &BTreeMap<String, String>,
        name: Option<&(String, Digest)>,
    ) -> Result<Self, ImageError> {
        let count = base.layers.len() + layers.len();
        if count > MAX_LAYERS {
            return Err(ImageError::Layers { base: base.layers.len(), own: layers.len() });
        }
        let (layers, lines): (Vec<Layer>, Vec<HistoryLine>) = layers.into_iter().unzip();
        let origin = BaseRecord::new(base, name);
        let config_bytes = edit_config(base, config, &layers, &lines, &origin)?;
        let mut annotations: Map<String, Value> =
            annotations.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        origin.record(&mut annotations);
        let mut named = descriptors(base)?;
        named.extend(layers.iter().map(|layer| {
            json!({
                "mediaType": layer.encoding.media_type(),
                "digest": layer.digest.to_string(),
                "size": layer.size,
            })
        }));
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "config": {
                "mediaType": IMAGE_CONFIG,
                "digest": Digest::of(&config_bytes).to_string(),
                "size": config_bytes.len(),
            },
            "layers": named,
            "annotations": annotations,
        });
        manifest.sort_all_objects();
        Ok(Self {
            manifest: serde_json::to_vec(&manifest)?.into(),
            config: config_bytes.into(),
            layers: base.layers.iter().cloned().chain(layers).collect(),
            platform: base.platform.clone(),
            format: Format::Oci,
        })
    }
}

/// The record of the base in labels and annotations.
pub(super) struct BaseRecord {
    name: Option<String>,
    digest: Digest,
}

impl BaseRecord {
    pub(super) fn new(base: &Image, name: Option<&(String, Digest)>) -> Self {
        match name {
            Some((name, digest)) => Self { name: Some(name.clone()), digest: *digest },
            None => Self { name: None, digest: base.digest() },
        }
    }

    /// Writes the record, replacing the base's record of its own base.
    pub(super) fn record(&self, map: &mut Map<String, Value>) {
        map.remove(BASE_NAME);
        if let Some(name) = &self.name {
            map.insert(BASE_NAME.to_owned(), json!(name));
        }
        map.insert(BASE_DIGEST.to_owned(), json!(self.digest.to_string()));
    }
}

/// Returns the base's configuration with our settings applied.
fn edit_config(
    base: &Image,
    config: &ImageConfig,
    layers: &[Layer],
    lines: &[HistoryLine],
    origin: &BaseRecord,
) -> Result<Vec<u8>, ImageError> {
    let mut image = document(&base.config)?;
    for field in BUILD_RESIDUE {
        image.remove(field);
    }
    let created = rfc3339(config.created)?;
    image.insert("created".to_owned(), json!(created));
    // Both are required (`config.md`), but missing in old bases.
    for (key, value) in [("os", &base.platform.os), ("architecture", &base.platform.architecture)] {
        if image.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
            image.insert(key.to_owned(), json!(value));
        }
    }
    apply_process(object(&mut image, "config")?, &config.process, origin)?;

    let history = repair_history(list(&mut image, "history")?, base.layers.len())?;
    history.extend(lines.iter().map(|line| {
        let mut entry = Map::from_iter([
            ("created".to_owned(), json!(created)),
            ("created_by".to_owned(), json!(line.created_by)),
        ]);
        if !line.comment.is_empty() {
            entry.insert("comment".to_owned(), json!(line.comment));
        }
        Value::Object(entry)
    }));
    let root = object(&mut image, "rootfs")?;
    root.insert("type".to_owned(), json!("layers"));
    let all = base.layers.iter().chain(layers);
    root.insert("diff_ids".to_owned(), all.map(|layer| json!(layer.diff_id.to_string())).collect());

    let mut document = Value::Object(image);
    document.sort_all_objects();
    Ok(serde_json::to_vec(&document)?)
}

/// Applies our `process` to the base's `config`.
fn apply_process(
    config: &mut Map<String, Value>,
    process: &Process,
    origin: &BaseRecord,
) -> Result<(), ImageError> {
    let texts = [
        ("User", process.user_text()),
        ("WorkingDir", process.workdir_text()),
        ("StopSignal", process.stop_signal.clone().unwrap_or_default()),
    ];
    for (key, text) in texts {
        if !text.is_empty() {
            config.insert(key.to_owned(), json!(text));
        }
    }
    if !process.entrypoint.is_empty() {
        config.insert("Entrypoint".to_owned(), json!(process.entrypoint));
        config.remove("Cmd");
    }
    if !process.cmd.is_empty() {
        if process.entrypoint.is_empty() {
            // As with `ENTRYPOINT []`: otherwise a base that starts Python would pass the program
            // to Python.
            config.remove("Entrypoint");
        }
        config.insert("Cmd".to_owned(), json!(process.cmd));
    }
    match &process.healthcheck {
        Some(check) => config.insert("Healthcheck".to_owned(), check.to_json()),
        None => config.remove("Healthcheck"),
    };
    if !process.env.is_empty() {
        apply_environment(list(config, "Env")?, &process.env)?;
    }
    let exposed = process.ports();
    if !exposed.is_empty() {
        let ports = object(config, "ExposedPorts")?;
        for port in exposed {
            ports.entry(port).or_insert_with(|| json!({}));
        }
    }
    if !process.volumes.is_empty() {
        let volumes = object(config, "Volumes")?;
        for path in &process.volumes {
            volumes.entry(path.to_string()).or_insert_with(|| json!({}));
        }
    }
    let labels = object(config, "Labels")?;
    labels.extend(process.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
    origin.record(labels);
    Ok(())
}

/// Sets variables: in place if the base has them, else at the end.
fn apply_environment(there: &mut Vec<Value>, ours: &[(String, String)]) -> Result<(), ImageError> {
    if there.iter().any(|variable| !variable.is_string()) {
        return Err(invalid_field("Env"));
    }
    let name_of = |variable: &Value| {
        let text = variable.as_str().unwrap_or_default();
        text.split_once('=').map_or(text, |(name, _)| name).to_owned()
    };
    for (name, value) in ours {
        let variable = json!(format!("{name}={value}"));
        match there.iter_mut().find(|old| name_of(old) == *name) {
            Some(old) => *old = variable,
            None => there.push(variable),
        }
    }
    Ok(())
}

/// Makes the number of history lines for layers equal the number of layers: surplus lines are
/// marked as empty, and missing ones are added with a comment.
pub(super) fn repair_history(history: &mut Vec<Value>, layers: usize) -> Result<&mut Vec<Value>, ImageError> {
    let mut left = layers;
    for line in history.iter_mut() {
        let line = line.as_object_mut().ok_or_else(|| invalid_field("history"))?;
        if line.get("empty_layer").and_then(Value::as_bool).unwrap_or(false) {
            continue;
        }
        match left.checked_sub(1) {
            Some(fewer) => left = fewer,
            None => drop(line.insert("empty_layer".to_owned(), json!(true))),
        }
    }
    let missing =
        json!({ "created_by": "a layer of the base", "comment": "the base's history does not tell" });
    history.extend(std::iter::repeat_n(missing, left));
    Ok(history)
}

/// Returns the layer descriptors in the manifest of a base, with OCI's media types.
pub(super) fn descriptors(base: &Image) -> Result<Vec<Value>, ImageError> {
    let manifest: Value = serde_json::from_slice(&base.manifest)?;
    let there = manifest.get("layers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if there.len() != base.layers.len() {
        return Err(invalid_field("layers"));
    }
    let named = there.iter().zip(&base.layers).map(|(descriptor, layer)| {
        let mut descriptor = descriptor.as_object().ok_or_else(|| invalid_field("layers"))?.clone();
        let media_type = descriptor.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        if Encoding::from_media_type(media_type).is_some() {
            descriptor.insert("mediaType".to_owned(), json!(layer.encoding.media_type()));
        }
        Ok(Value::Object(descriptor))
    });
    named.collect()
}

/// Parses a manifest or a configuration.
pub(super) fn document(bytes: &[u8]) -> Result<Map<String, Value>, ImageError> {
    match serde_json::from_slice(bytes)? {
        Value::Object(map) => Ok(map),
        _ => Err(ImageError::Content("invalid document of the base: not a JSON object".to_owned())),
    }
}

/// Returns the object at `key`, creating an empty one if missing.
pub(super) fn object<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> Result<&'a mut Map<String, Value>, ImageError> {
    field(map, key, || json!({})).as_object_mut().ok_or_else(|| invalid_field(key))
}

/// Returns the list at `key`, creating an empty one if missing.
pub(super) fn list<'a>(map: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Vec<Value>, ImageError> {
    field(map, key, || json!([])).as_array_mut().ok_or_else(|| invalid_field(key))
}

fn field<'a>(map: &'a mut Map<String, Value>, key: &str, empty: fn() -> Value) -> &'a mut Value {
    let value = map.entry(key).or_insert(Value::Null);
    // Docker writes `null` for an empty list.
    if value.is_null() {
        *value = empty();
    }
    value
}

pub(super) fn invalid_field(field: &str) -> ImageError {
    ImageError::Content(format!("invalid `{field}` of the base: not as in the image specification"))
}

#[cfg(test)]
pub(super) mod tests;
