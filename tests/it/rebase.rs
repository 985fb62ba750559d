//! `ipo-oci rebase` replaces the base of an image and keeps the image's own layers.

use std::collections::BTreeMap;
use std::path::Path;

use ipo_oci::image::{Blob, Encoding, HistoryLine, Image, ImageConfig, Layer};
use ipo_oci::layer::{self, Compression, NoWatch};
use ipo_oci::reference::Name;
use ipo_oci::settings::User;
use ipo_oci::store;
use ipo_oci::tree::{Entry, ImagePath, Owner, Tree};

use crate::support::{Layout, has, ipo_oci, output_of, run};
use test_macros::test;

fn layer_of(path: &str) -> (Layer, HistoryLine) {
    let mut tree = Tree::new();
    let path_in_image = ImagePath::new(path).expect("a path");
    tree.insert(Entry::file(path_in_image, path.into(), Owner::Source)).expect("no conflict");
    let mut bytes = Vec::new();
    let written = layer::write(&tree, Compression::Gzip(1), None, &mut bytes, &mut NoWatch).expect("a layer");
    let layer = Layer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        encoding: Encoding::Gzip,
        blob: Blob::Memory(bytes.into()),
    };
    (layer, HistoryLine { created_by: path.to_owned(), comment: String::new() })
}

fn config(version: &str) -> ImageConfig {
    let mut config = ImageConfig::default();
    config.os = "linux".into();
    config.architecture = "amd64".into();
    config.process.env = vec![("VERSION".to_owned(), version.to_owned())];
    config
}

fn base(version: &str) -> Image {
    let layers = vec![layer_of("etc/base"), layer_of(&format!("etc/{version}"))];
    Image::assemble(&config(version), layers, &BTreeMap::new()).expect("an image")
}

fn app(base: &Image) -> Image {
    let mut config = ImageConfig::default();
    config.process.entrypoint = vec!["/app/run".to_owned()];
    config.process.user = Some(User { uid: 1000, gid: 1000 });
    Image::on_base(base, &config, vec![layer_of("app/main")], &BTreeMap::new(), None).expect("an image")
}

fn stored(image: &Image, folder: &Path, tag: &str) -> String {
    let destination = format!("oci:{}:{tag}", folder.display());
    let name = Name::new("x", tag).expect("a name");
    store::write_image(image, &destination.parse().expect("a place"), &name, "").expect("stored");
    destination
}

#[test]
fn replaces_the_base_and_keeps_own_layers() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("layout");
    let (old, new) = (base("1"), base("2"));
    let old_name = stored(&old, &root, "old");
    let new_name = stored(&new, &root, "new");
    let app_name = stored(&app(&old), &root, "app");
    let outcome = run(ipo_oci().args(["rebase", &app_name, &new_name, "--old-base", &old_name])).success();

    let rebased = Layout::open(&root).image("app");
    assert_eq!(outcome.text(), format!("{app_name}@{}\n", rebased.digest));
    rebased.verify();
    assert_eq!(rebased.config["config"]["Env"], serde_json::json!(["VERSION=2"]));
    assert_eq!(rebased.config["config"]["User"], "1000:1000");
    assert_eq!(rebased.config["config"]["Entrypoint"], serde_json::json!(["/app/run"]));
    let annotation = &rebased.manifest["annotations"]["org.opencontainers.image.base.digest"];
    assert_eq!(*annotation, new.digest().to_string());
    let digests: Vec<_> = rebased.layers().iter().map(|layer| layer["digest"].clone()).collect();
    let expected: Vec<_> = app(&new).layers.iter().map(|layer| layer.digest.to_string()).collect();
    assert_eq!(digests, expected);
    // skopeo reads the rebased image.
    if has("skopeo") {
        let said = output_of("skopeo", ["inspect", &app_name]);
        assert!(said.contains(&rebased.digest), "{said}");
    }
}

#[test]
fn refuses_a_wrong_or_missing_old_base() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("layout");
    let new_name = stored(&base("2"), &root, "new");
    let app_name = stored(&app(&base("1")), &root, "app");
    let before = Layout::open(&root).image("app").digest;
    let outcome =
        run(ipo_oci().args(["rebase", &app_name, &new_name, "--old-base", &new_name])).exits_with(1);
    assert!(outcome.stderr.contains("not built on"), "{}", outcome.stderr);
    let outcome = run(ipo_oci().args(["rebase", &app_name, &new_name])).exits_with(2);
    assert!(outcome.stderr.contains("--old-base"), "{}", outcome.stderr);
    let pinned = format!("ghcr.io/team/app@{before}");
    let outcome = run(ipo_oci().args(["rebase", &pinned, &new_name])).exits_with(2);
    assert!(outcome.stderr.contains("name a destination with -o"), "{}", outcome.stderr);
    assert_eq!(Layout::open(&root).image("app").digest, before);
}
