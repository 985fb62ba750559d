use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::image::{Blob, DOCKER_CONFIG, DOCKER_MANIFEST, Healthcheck};
use crate::settings::User;
use crate::tree::ImagePath;

pub(in crate::image) fn layer(text: &str, encoding: Encoding) -> Layer {
    Layer {
        digest: Digest::of(text.as_bytes()),
        size: text.len() as u64,
        diff_id: Digest::of(format!("{text}.tar").as_bytes()),
        encoding,
        blob: Blob::Memory(text.as_bytes().into()),
    }
}

/// Makes a Docker-style base with `layers` layers and this configuration, except for `rootfs`.
pub(in crate::image) fn base(mut config: Value, layers: usize) -> Image {
    let layers: Vec<_> = (0..layers).map(|i| layer(&format!("base {i}"), Encoding::Gzip)).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids, "x-rootfs": 1 });
    let config = config.to_string().into_bytes();
    let descriptors: Vec<_> = layers
        .iter()
        .map(|layer| {
            json!({
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": layer.digest.to_string(),
                "size": layer.size,
                "annotations": { "kept": "yes" },
                "x-descriptor": [1],
            })
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": { "mediaType": DOCKER_CONFIG, "digest": Digest::of(&config).to_string(), "size": config.len() },
        "layers": descriptors,
        "annotations": { "of": "the base" },
    });
    Image::from_stored(manifest.to_string().into_bytes(), config, |digest| {
        layers.iter().find(|layer| layer.digest == digest).unwrap().blob.clone()
    })
    .unwrap()
}

/// The configuration of Docker Hub's `python:3.12-slim`, and more.
pub(in crate::image) fn python() -> Value {
    json!({
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "os.version": "1",
        "os.features": ["x"],
        "author": "somebody",
        "created": "2026-01-01T00:00:00Z",
        "container": "abc",
        "container_config": { "Cmd": ["nop"] },
        "docker_version": "20.10.7",
        "x-image": { "deep": [{ "x": null }] },
        "config": {
            "Env": ["PATH=/usr/local/bin:/bin", "LANG=C.UTF-8", "EMPTY", "PATHS=1"],
            "Cmd": ["python3"],
            "User": "root",
            "WorkingDir": "/",
            "Labels": { "vendor": "x", "ours": "no", BASE_NAME: "debian:12" },
            "ExposedPorts": { "80/tcp": {} },
            "Volumes": { "/data": {} },
            "Shell": ["/bin/bash", "-c"],
            "OnBuild": ["RUN x"],
            "ArgsEscaped": true,
            "Healthcheck": { "Test": ["CMD", "theirs"] },
            "x-config": 7,
        },
        "history": [
            { "created": "2026-01-01T00:00:00Z", "created_by": "ADD rootfs", "x-history": 1 },
            { "created_by": "ENV x", "empty_layer": true },
            { "created_by": "RUN y" },
        ],
    })
}

pub(in crate::image) fn config() -> ImageConfig {
    ImageConfig {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        created: crate::tree::CONSTANT_TIME,
        process: Process {
            user: Some(User { uid: 1000, gid: 1000 }),
            workdir: ImagePath::new("app").ok(),
            env: vec![
                ("PATH".to_owned(), "/app/.venv/bin:/bin".to_owned()),
                ("NEW".to_owned(), "1=1".to_owned()),
            ],
            entrypoint: vec!["serve".to_owned()],
            port: Some(8000),
            stop_signal: Some("SIGTERM".to_owned()),
            labels: [("ours".to_owned(), "yes".to_owned())].into(),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".to_owned(), "ours".to_owned()],
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(2),
                start_period: Duration::ZERO,
                start_interval: Duration::from_secs(1),
                retries: 3,
            }),
            ..Process::default()
        },
        ..ImageConfig::default()
    }
}

pub(in crate::image) fn line(text: &str) -> HistoryLine {
    HistoryLine { created_by: text.to_owned(), comment: String::new() }
}

pub(in crate::image) fn own() -> Vec<(Layer, HistoryLine)> {
    vec![(layer("own", Encoding::Zstd), line("ipo-oci: source"))]
}

fn built(base: &Image, config: &ImageConfig) -> Result<Value, ImageError> {
    let image = Image::on_base(base, config, own(), &BTreeMap::new(), None)?;
    Ok(serde_json::from_slice(&image.config).unwrap())
}

#[test]
fn applies_settings_over_the_base() {
    let json = built(&base(python(), 2), &config()).unwrap();
    let process = &json["config"];
    assert_eq!(
        process["Env"],
        json!(["PATH=/app/.venv/bin:/bin", "LANG=C.UTF-8", "EMPTY", "PATHS=1", "NEW=1=1"])
    );
    assert_eq!(process["Entrypoint"], json!(["serve"]));
    assert_eq!(process.get("Cmd"), None);
    assert_eq!((&process["User"], &process["WorkingDir"]), (&json!("1000:1000"), &json!("/app")));
    assert_eq!(process["ExposedPorts"], json!({ "80/tcp": {}, "8000/tcp": {} }));
    assert_eq!(process["Healthcheck"]["Test"], json!(["CMD", "ours"]));
    assert_eq!(process["StopSignal"], "SIGTERM");
    assert_eq!(process["Labels"]["vendor"], "x");
    assert_eq!(process["Labels"]["ours"], "yes");
}

#[test]
fn preserves_other_fields_of_the_base() {
    let json = built(&base(python(), 2), &config()).unwrap();
    let before = python();
    for field in ["architecture", "os", "variant", "os.version", "os.features", "author", "x-image"] {
        assert_eq!(json[field], before[field], "{field}");
    }
    for field in ["Volumes", "Shell", "OnBuild", "ArgsEscaped", "x-config"] {
        assert_eq!(json["config"][field], before["config"][field], "{field}");
    }
    assert_eq!(json["rootfs"]["x-rootfs"], 1);
    assert_eq!(json["created"], "1980-01-01T00:00:01Z");
    for field in ["container", "container_config", "docker_version"] {
        assert_eq!(json.get(field), None, "{field}");
    }
}

#[test]
fn keeps_the_bases_process_and_clears_the_entry_point_for_a_command() {
    let nothing = ImageConfig { created: 1, ..ImageConfig::default() };
    let json = built(&base(python(), 2), &nothing).unwrap();
    let before = python();
    for field in ["Env", "Cmd", "User", "WorkingDir", "ExposedPorts"] {
        assert_eq!(json["config"][field], before["config"][field], "{field}");
    }
    assert_eq!(json["config"].get("Healthcheck"), None);
    let process = Process { cmd: vec!["sh".to_owned()], ..Process::default() };
    let shell = ImageConfig { process, ..nothing };
    let mut entry = python();
    entry["config"]["Entrypoint"] = json!(["entry.sh"]);
    let json = built(&base(entry, 2), &shell).unwrap();
    assert_eq!(json["config"].get("Entrypoint"), None);
    assert_eq!(json["config"]["Cmd"], json!(["sh"]));
}

#[test]
fn joins_history_and_diff_ids() {
    let below = base(python(), 2);
    let image = Image::on_base(&below, &config(), own(), &BTreeMap::new(), None).unwrap();
    let json: Value = serde_json::from_slice(&image.config).unwrap();
    let history = json["history"].as_array().unwrap();
    assert_eq!(history[..3], python()["history"].as_array().unwrap()[..]);
    assert_eq!(history[3], json!({ "created": "1980-01-01T00:00:01Z", "created_by": "ipo-oci: source" }));
    let diff_ids: Vec<_> = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    assert_eq!(json["rootfs"]["diff_ids"], json!(diff_ids));
    assert_eq!(diff_ids.len(), 3);
    // The image can be read back.
    let again = Image::from_stored(image.manifest.to_vec(), image.config.to_vec(), |_| {
        Blob::Memory(Vec::new().into())
    });
    assert_eq!(again.unwrap().platform.to_string(), "linux/arm64");
}

#[test]
fn repairs_mismatched_history() {
    let filled =
        json!({ "created_by": "a layer of the base", "comment": "the base's history does not tell" });
    let empty = json!({ "created_by": "x", "empty_layer": true });
    for (there, layers, expected) in [
        (json!(null), 2, json!([filled, filled])),
        (json!([]), 1, json!([filled])),
        (json!([empty, { "created_by": "y" }]), 2, json!([empty, { "created_by": "y" }, filled])),
        (json!([{ "created_by": "y" }, { "created_by": "x" }]), 1, json!([{ "created_by": "y" }, empty])),
        (json!([{ "created_by": "x" }]), 0, json!([empty])),
    ] {
        let below = base(json!({ "os": "linux", "architecture": "amd64", "history": there }), layers);
        let json = built(&below, &config()).unwrap();
        let mut history = json["history"].as_array().unwrap().clone();
        history.pop();
        assert_eq!(Value::Array(history), expected);
    }
}

#[test]
fn converts_the_bases_layers_to_oci_media_types() {
    let annotations = [("ours".to_owned(), "1".to_owned())].into();
    let image = Image::on_base(&base(python(), 1), &config(), own(), &annotations, None).unwrap();
    let manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    assert_eq!(manifest["mediaType"], IMAGE_MANIFEST);
    assert_eq!(manifest["config"]["mediaType"], IMAGE_CONFIG);
    assert_eq!(manifest["config"]["digest"], image.config_digest().to_string());
    let first = &manifest["layers"][0];
    assert_eq!(first["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(first["annotations"], json!({ "kept": "yes" }));
    assert_eq!(first["x-descriptor"], json!([1]));
    assert_eq!(manifest["layers"][1]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(manifest["annotations"]["ours"], "1");
    assert_eq!(manifest["annotations"].get("of"), None);
}

#[test]
fn the_base_is_recorded_in_labels_and_annotations() {
    let below = base(python(), 1);
    let index = Digest::of(b"index");
    let named = ("docker.io/library/python:3.12".to_owned(), index);
    for (name, expected) in [
        (Some(&named), (json!("docker.io/library/python:3.12"), json!(index.to_string()))),
        (None, (json!(null), json!(below.digest().to_string()))),
    ] {
        let image = Image::on_base(&below, &config(), own(), &BTreeMap::new(), name).unwrap();
        let config: Value = serde_json::from_slice(&image.config).unwrap();
        let manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
        for map in [&config["config"]["Labels"], &manifest["annotations"]] {
            assert_eq!((map[BASE_NAME].clone(), map[BASE_DIGEST].clone()), expected);
        }
    }
}

#[test]
fn refuses_too_many_layers() {
    assert!(built(&base(python(), 126), &config()).is_ok());
    let error = built(&base(python(), 127), &config()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make the image: too many layers, 128 (127 of the base, 1 of the image), at most 127"
    );
}

#[test]
fn names_fields_of_the_wrong_type() {
    for (edit, field) in [
        (json!({ "config": [] }), "config"),
        (json!({ "config": { "Env": "A=1" } }), "Env"),
        (json!({ "config": { "Env": [1] } }), "Env"),
        (json!({ "config": { "Labels": [] } }), "Labels"),
        (json!({ "config": { "ExposedPorts": ["80"] } }), "ExposedPorts"),
        (json!({ "history": {} }), "history"),
        (json!({ "history": [1] }), "history"),
    ] {
        let error = built(&base(edit, 0), &config()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{error}");
    }
    // Docker writes `null` for empty values.
    let nulls = json!({ "config": { "Env": null, "Labels": null, "ExposedPorts": null }, "history": null });
    assert!(built(&base(nulls, 0), &config()).is_ok());
    assert!(built(&base(json!({ "config": null }), 0), &config()).is_ok());
}

#[test]
fn is_deterministic() {
    let make = || Image::on_base(&base(python(), 2), &config(), own(), &BTreeMap::new(), None).unwrap();
    assert_eq!((make().config, make().manifest), (make().config, make().manifest));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn unknown_fields_survive(unknown in any_json(), name in "x-.{0,6}", entry in any_json()) {
        let mut config_json = python();
        config_json[&name] = unknown.clone();
        config_json["config"][&name] = unknown.clone();
        config_json["config"]["Volumes"] = entry.clone();
        config_json["history"][0][&name] = entry.clone();
        let json = built(&base(config_json, 2), &config()).unwrap();
        prop_assert_eq!(&json[&name], &unknown);
        prop_assert_eq!(&json["config"][&name], &unknown);
        prop_assert_eq!(&json["config"]["Volumes"], &entry);
        prop_assert_eq!(&json["history"][0][&name], &entry);
    }

    #[test]
    fn never_panics(config_json in any_json(), process in any_json(), history in any_json()) {
        let mut document = json!({ "config": process, "history": history });
        if let (Some(document), Value::Object(more)) = (document.as_object_mut(), config_json) {
            document.extend(more);
        }
        if let Ok(json) = built(&base(document, 1), &config()) {
            let with_layer = json["history"].as_array().unwrap().iter()
                .filter(|line| line["empty_layer"] != json!(true)).count();
            prop_assert_eq!(with_layer, 2);
        }
    }
}
