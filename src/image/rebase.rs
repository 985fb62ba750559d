//! Replaces the base of an image: puts its own layers on a newer base, without a build.
//!
//! The configuration is a three-way merge of the old base's, the image's and the new base's. Values
//! inherited from the old base are replaced by those of the new base; values of the image itself
//! remain. So a new `PYTHON_VERSION` of the base arrives, and the image's command remains.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::base::{
    BASE_DIGEST, BASE_NAME, BUILD_RESIDUE, BaseRecord, MAX_LAYERS, descriptors, document, repair_history,
};
use super::{Format, IMAGE_CONFIG, IMAGE_MANIFEST, Image, ImageError};
use crate::digest::Digest;

/// An image's record of its base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedBase {
    /// Name of the base.
    pub name: Option<String>,
    /// Digest of the base: of the index, if the name refers to one.
    pub digest: Option<Digest>,
}

impl Image {
    /// Returns the base recorded in the annotations of the manifest, or else in the labels of the
    /// configuration.
    ///
    /// # Errors
    /// Fails if manifest or configuration are not JSON objects.
    pub fn base(&self) -> Result<RecordedBase, ImageError> {
        let (manifest, config) = (document(&self.manifest)?, document(&self.config)?);
        let annotations = manifest.get("annotations");
        let labels = config.get("config").and_then(|process| process.get("Labels"));
        let recorded = |key: &str| {
            let text = |map: Option<&Value>| map?.get(key)?.as_str().map(str::to_owned);
            text(annotations).or_else(|| text(labels))
        };
        Ok(RecordedBase {
            name: recorded(BASE_NAME),
            digest: recorded(BASE_DIGEST).and_then(|digest| digest.parse().ok()),
        })
    }

    /// Moves this image from the base `old` to the base `new`. `name` is the new base's name with
    /// the digest to which the name resolves. No layers are read: callers check that the new base
    /// satisfies the image's needs.
    ///
    /// # Errors
    /// Fails if the image is not built on `old`, `new` has another platform, or there are too many
    /// layers.
    pub fn rebase(
        &self,
        old: &Image,
        new: &Image,
        name: Option<&(String, Digest)>,
    ) -> Result<Self, ImageError> {
        let stands = self.layers.len() >= old.layers.len()
            && self.layers.iter().zip(&old.layers).all(|(own, below)| own.diff_id == below.diff_id);
        if !stands {
            return Err(ImageError::OtherBase { base: old.digest() });
        }
        if !new.platform.runs(&self.platform) {
            return Err(ImageError::Platform {
                wanted: self.platform.clone(),
                there: vec![new.platform.clone()],
            });
        }
        let own = self.layers.get(old.layers.len()..).unwrap_or_default();
        if new.layers.len() + own.len() > MAX_LAYERS {
            return Err(ImageError::Layers { base: new.layers.len(), own: own.len() });
        }
        let origin = BaseRecord::new(new, name);
        let config = merge_configs(self, old, new, own.len(), &origin)?;

        let mut manifest = document(&self.manifest)?;
        let mut layers = descriptors(new)?;
        layers.extend(descriptors(self)?.into_iter().skip(old.layers.len()));
        manifest.insert("schemaVersion".to_owned(), json!(2));
        manifest.insert("mediaType".to_owned(), json!(IMAGE_MANIFEST));
        manifest.insert(
            "config".to_owned(),
            json!({ "mediaType": IMAGE_CONFIG, "digest": Digest::of(&config).to_string(), "size": config.len() }),
        );
        manifest.insert("layers".to_owned(), Value::from(layers));
        let annotations = manifest.entry("annotations").or_insert_with(|| json!({}));
        let wrong = || ImageError::Content("invalid `annotations` of the manifest: not an object".to_owned());
        origin.record(annotations.as_object_mut().ok_or_else(wrong)?);
        let mut manifest = Value::Object(manifest);
        manifest.sort_all_objects();
        Ok(Self {
            manifest: serde_json::to_vec(&manifest)?.into(),
            config: config.into(),
            layers: new.layers.iter().chain(own).cloned().collect(),
            platform: new.platform.clone(),
            format: Format::Oci,
        })
    }
}

fn merge_configs(
    image: &Image,
    old: &Image,
    new: &Image,
    own: usize,
    origin: &BaseRecord,
) -> Result<Vec<u8>, ImageError> {
    let (mut ours, mut below, mut above) =
        (document(&image.config)?, document(&old.config)?, document(&new.config)?);
    let layers = [&mut ours, &mut below, &mut above].map(|document| {
        for field in BUILD_RESIDUE {
            document.remove(field);
        }
        spread_environment(document);
        // These follow from the layers and are not merged.
        (document.remove("history"), document.remove("rootfs"))
    });
    let [(our_history, _), (old_history, _), (new_history, new_root)] = layers;
    let created = ours.get("created").cloned();
    let process = process_of_image(&ours, &below);
    let mut merged = merge_maps(&below, ours, &above);
    if let Some(merged) = merged.get_mut("config").and_then(Value::as_object_mut) {
        for (field, value) in process {
            match value {
                Some(value) => drop(merged.insert(field.to_owned(), value)),
                None => drop(merged.remove(field)),
            }
        }
    }
    for field in ["architecture", "os", "variant", "os.version", "os.features"] {
        match above.get(field) {
            Some(value) => drop(merged.insert(field.to_owned(), value.clone())),
            None => drop(merged.remove(field)),
        }
    }
    match created {
        Some(created) => drop(merged.insert("created".to_owned(), created)),
        None => drop(merged.remove("created")),
    }
    join_environment(&mut merged);

    let mut history = lines(new_history)?;
    repair_history(&mut history, new.layers.len())?;
    let mut all = lines(our_history)?;
    repair_history(&mut all, image.layers.len())?;
    history.extend(lines_on_top(all, lines(old_history)?.len(), own));
    repair_history(&mut history, new.layers.len() + own)?;
    merged.insert("history".to_owned(), Value::from(history));

    let mut root = match new_root {
        Some(Value::Object(root)) => root,
        _ => Map::new(),
    };
    let tops = image.layers.iter().skip(old.layers.len());
    let diff_ids = new.layers.iter().chain(tops).map(|layer| json!(layer.diff_id.to_string()));
    root.insert("type".to_owned(), json!("layers"));
    root.insert("diff_ids".to_owned(), diff_ids.collect());
    merged.insert("rootfs".to_owned(), Value::Object(root));

    if let Some(process) = merged.entry("config").or_insert_with(|| json!({})).as_object_mut()
        && let Some(labels) = process.entry("Labels").or_insert_with(|| json!({})).as_object_mut()
    {
        origin.record(labels);
    }
    let mut document = Value::Object(merged);
    document.sort_all_objects();
    Ok(serde_json::to_vec(&document)?)
}

/// Returns the history lines of the image itself: the lines of its `layers` topmost layers with the
/// empty lines between and after, without any line of the old base.
fn lines_on_top(all: Vec<Value>, of_base: usize, layers: usize) -> Vec<Value> {
    let stands_for_layer = |line: &Value| line.get("empty_layer").and_then(Value::as_bool) != Some(true);
    let with_layers = all.iter().filter(|line| stands_for_layer(line)).count();
    let mut skipped = with_layers.saturating_sub(layers);
    // If a repaired line was added after the base's own, the count of lines is too low.
    let mut from = 0;
    for (index, line) in all.iter().enumerate() {
        if skipped == 0 {
            break;
        }
        if stands_for_layer(line) {
            skipped -= 1;
        }
        from = index + 1;
    }
    all.into_iter().skip(from.max(of_base)).collect()
}

fn lines(history: Option<Value>) -> Result<Vec<Value>, ImageError> {
    match history {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(lines)) => Ok(lines),
        Some(_) => Err(ImageError::Content("invalid `history`: not a list".to_owned())),
    }
}

/// Returns `ours` if different from `old`, else `new`; objects are merged by key.
fn merge(old: Option<&Value>, ours: Option<Value>, new: Option<&Value>) -> Option<Value> {
    if ours.as_ref() == old {
        return new.cloned();
    }
    match ours {
        Some(Value::Object(ours)) => {
            let map = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
            Some(Value::Object(merge_maps(&map(old), ours, &map(new))))
        }
        ours => ours,
    }
}

fn merge_maps(
    old: &Map<String, Value>,
    mut ours: Map<String, Value>,
    new: &Map<String, Value>,
) -> Map<String, Value> {
    let keys: BTreeSet<String> = old.keys().chain(ours.keys()).chain(new.keys()).cloned().collect();
    let merged = keys.into_iter().filter_map(|key| {
        let value = merge(old.get(&key), ours.remove(&key), new.get(&key))?;
        Some((key, value))
    });
    merged.collect()
}

/// Returns the process settings that belong to the image whatever the bases contain: the user stays
/// the same even if the old base has an equal one, and the base's health check checks the base's
/// process. A separate entry point keeps its own arguments, or none; a command without an entry
/// point stays without.
fn process_of_image(
    ours: &Map<String, Value>,
    old: &Map<String, Value>,
) -> Vec<(&'static str, Option<Value>)> {
    let recorded = |document: &Map<String, Value>, field: &str| document.get("config")?.get(field).cloned();
    let mut fields = vec![("Healthcheck", recorded(ours, "Healthcheck"))];
    for field in ["User", "WorkingDir", "StopSignal"] {
        let own = recorded(ours, field);
        if own.is_some() {
            fields.push((field, own));
        }
    }
    let (entrypoint, cmd) = (recorded(ours, "Entrypoint"), recorded(ours, "Cmd"));
    let deciding = if entrypoint.is_some() { "Entrypoint" } else { "Cmd" };
    let decided = recorded(ours, deciding);
    if decided.is_some() && decided != recorded(old, deciding) {
        fields.push(("Entrypoint", entrypoint));
        fields.push(("Cmd", cmd));
    }
    fields
}

/// The key of the environment, a map during the merge.
const SPREAD: &str = "Env";

/// Turns the list of variables into a map by name for the merge.
fn spread_environment(document: &mut Map<String, Value>) {
    let Some(process) = document.get_mut("config").and_then(Value::as_object_mut) else { return };
    let Some(Value::Array(list)) = process.get(SPREAD) else { return };
    let spread = list.iter().filter_map(Value::as_str).map(|variable| {
        let name = variable.split_once('=').map_or(variable, |(name, _)| name);
        (name.to_owned(), json!(variable))
    });
    let spread: Map<String, Value> = spread.collect();
    process.insert(SPREAD.to_owned(), Value::Object(spread));
}

/// Turns the map back into a list, sorted by name: the three lists have no common order.
fn join_environment(document: &mut Map<String, Value>) {
    let Some(process) = document.get_mut("config").and_then(Value::as_object_mut) else { return };
    let Some(Value::Object(spread)) = process.get(SPREAD) else { return };
    let sorted: BTreeMap<_, _> = spread.iter().collect();
    let list: Vec<Value> = sorted.into_values().cloned().collect();
    process.insert(SPREAD.to_owned(), Value::from(list));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::base::tests::{base, config, layer, line, own, python};
    use crate::image::{Encoding, ImageConfig, Process};

    fn with(edit: impl FnOnce(&mut Value)) -> Value {
        let mut document = python();
        edit(&mut document);
        document
    }

    fn read(image: &Image) -> Value {
        serde_json::from_slice(&image.config).unwrap()
    }

    fn on(base: &Image, config: &ImageConfig) -> Image {
        let annotations = [("ours".to_owned(), "1".to_owned())].into();
        Image::on_base(base, config, own(), &annotations, None).unwrap()
    }

    #[test]
    fn equals_a_build_on_the_new_base() {
        let old = base(python(), 2);
        let new = base(
            with(|it| {
                it["config"]["Env"] = json!(["PATH=/new:/bin", "LANG=C", "PYTHON_VERSION=3.12.9"]);
                it["config"]["Labels"] = json!({ "vendor": "y", "more": "1" });
                it["config"]["Cmd"] = json!(["new"]);
                it["config"]["User"] = json!("7");
                it["config"]["Healthcheck"] = json!({ "Test": ["CMD", "new"] });
                it["config"]["x-config"] = json!(8);
                it["x-image"] = json!("new");
                it["history"] = json!([{ "created_by": "a" }, { "created_by": "b" }, { "created_by": "c" }]);
            }),
            3,
        );
        let rebased = on(&old, &config()).rebase(&old, &new, None).unwrap();
        let built = on(&new, &config());
        let sorted = |image: &Image| {
            let mut json = read(image);
            let env = json["config"]["Env"].as_array_mut().unwrap();
            env.sort_by_key(|variable| variable.as_str().unwrap().to_owned());
            json["config"]["Env"].take();
            json
        };
        assert_eq!(sorted(&rebased), sorted(&built));
        let env = read(&rebased)["config"]["Env"].clone();
        assert_eq!(env, json!(["LANG=C", "NEW=1=1", "PATH=/app/.venv/bin:/bin", "PYTHON_VERSION=3.12.9"]));
        let layers = |image: &Image| {
            let manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
            (manifest["layers"].clone(), manifest["annotations"].clone())
        };
        assert_eq!(layers(&rebased), layers(&built));
        assert_eq!(rebased.base().unwrap().digest, Some(new.digest()));
    }

    #[test]
    fn is_neutral_on_the_same_base() {
        let old = base(python(), 2);
        let image = on(&old, &config());
        let again = image.rebase(&old, &old, None).unwrap();
        let (mut one, mut other) = (read(&image), read(&again));
        for json in [&mut one, &mut other] {
            let mut env = json["config"]["Env"].as_array().unwrap().clone();
            env.sort_by_key(|variable| variable.as_str().unwrap().to_owned());
            json["config"]["Env"] = Value::from(env);
        }
        assert_eq!(one, other);
    }

    #[test]
    fn keeps_the_images_user() {
        let root = |user: &str| base(with(|it| it["config"]["User"] = json!(user)), 1);
        let (old, new) = (root("1000:1000"), root("0"));
        let rebased = on(&old, &config()).rebase(&old, &new, None).unwrap();
        assert_eq!(read(&rebased)["config"]["User"], "1000:1000");
    }

    #[test]
    fn a_command_alone_gets_no_entry_point_from_a_new_base() {
        let (old, new) = (base(python(), 1), base(with(|it| it["config"]["Entrypoint"] = json!(["new"])), 1));
        let process = Process { cmd: vec!["sh".to_owned()], ..Process::default() };
        let shell = ImageConfig { created: 1, process, ..ImageConfig::default() };
        let rebased = read(&on(&old, &shell).rebase(&old, &new, None).unwrap());
        assert_eq!(rebased["config"]["Cmd"], json!(["sh"]));
        assert_eq!(rebased["config"].get("Entrypoint"), None);
    }

    #[test]
    fn inherited_commands_follow_the_base() {
        let old = base(python(), 1);
        let new = base(with(|it| it["config"]["Cmd"] = json!(["new"])), 1);
        let image = on(&old, &ImageConfig { created: 1, ..ImageConfig::default() });
        let rebased = image.rebase(&old, &new, None).unwrap();
        assert_eq!(read(&rebased)["config"]["Cmd"], json!(["new"]));
    }

    #[test]
    fn replaces_only_the_bases_history() {
        let trailing = |text: &str| {
            base(
                with(|it| {
                    it["history"] =
                        json!([{ "created_by": text }, { "created_by": "CMD", "empty_layer": true }]);
                }),
                1,
            )
        };
        let (old, new) = (trailing("old"), trailing("new"));
        let image = Image::on_base(
            &old,
            &config(),
            vec![(layer("a", Encoding::Gzip), line("a")), own().remove(0)],
            &BTreeMap::new(),
            None,
        )
        .unwrap();
        let json = read(&image.rebase(&old, &new, None).unwrap());
        let made: Vec<_> = json["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["created_by"].as_str().unwrap())
            .collect();
        assert_eq!(made, ["new", "CMD", "a", "ipo-oci: source"]);
    }

    #[test]
    fn refuses_incompatible_bases() {
        let old = base(python(), 2);
        let image = on(&old, &config());
        let error = image.rebase(&base(python(), 9), &old, None).unwrap_err();
        assert!(matches!(error, ImageError::OtherBase { .. }), "{error}");
        let other = base(with(|it| it["architecture"] = json!("amd64")), 2);
        assert!(matches!(image.rebase(&old, &other, None), Err(ImageError::Platform { .. })));
        let high = base(python(), 127);
        assert!(matches!(image.rebase(&old, &high, None), Err(ImageError::Layers { .. })));
        let wrong = base(with(|it| it["history"] = json!({})), 2);
        assert!(image.rebase(&old, &wrong, None).is_err());
    }

    proptest! {
        #[test]
        fn merges_three_ways(old in "[ab]?", ours in "[ab]?", new in "[ab]?") {
            let value = |text: &str| (!text.is_empty()).then(|| json!({ "x": text }));
            let (old, ours, new) = (value(&old), value(&ours), value(&new));
            let merged = merge(old.as_ref(), ours.clone(), new.as_ref());
            if ours == old {
                prop_assert_eq!(merged, new);
            } else if ours.is_some() {
                prop_assert_eq!(merged, ours);
            } else {
                prop_assert_eq!(merged, None);
            }
        }
    }
}
