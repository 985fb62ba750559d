//! Layers in zstd, and tools that read them.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ipo_oci::image::{Blob, Encoding, HistoryLine, Image, ImageConfig, Layer};
use ipo_oci::layer::{self, Compression, NoWatch};
use ipo_oci::store;
use ipo_oci::tree::{Entry, ImagePath, Owner, Tree};

use crate::support::{Layout, Project, output_of, requires};
use test_macros::test;

/// Returns an image of one zstd layer.
fn image() -> Image {
    let mut tree = Tree::new();
    let text = "text that repeats itself\n".repeat(10_000);
    let path = ImagePath::new("app/text").expect("a path");
    tree.insert(Entry::file(path, text.as_str().into(), Owner::Source)).expect("no conflict");
    let mut bytes = Vec::new();
    let written = layer::write(&tree, Compression::Zstd(3), None, &mut bytes, &mut NoWatch).expect("a layer");
    let layer = Layer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        encoding: Encoding::Zstd,
        blob: Blob::Memory(bytes.into()),
    };
    let mut config = ImageConfig::default();
    config.os = "linux".into();
    config.architecture = "amd64".into();
    config.process.entrypoint = vec!["/app/run".to_owned()];
    let line = HistoryLine { created_by: "text".to_owned(), comment: String::new() };
    Image::assemble(&config, vec![(layer, line)], &BTreeMap::new()).expect("an image")
}

fn store(image: &Image, destination: &str) {
    let name = ipo_oci::reference::Name::new("zstd", "1").expect("a name");
    store::write_image(image, &destination.parse().expect("a destination"), &name, "").expect("stored");
}

fn in_layout(folder: &Path) -> String {
    let destination = format!("oci:{}:1", folder.display());
    store(&image(), &destination);
    destination
}

#[test]
fn builds_in_zstd() {
    let project = Project::example();
    project.build(&["--compression", "zstd:1"]);
    let layout = project.layout();
    layout.verify();
    for layer in layout.only().manifest["layers"].as_array().expect("layers") {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    }
}

#[test]
fn reads_zstd_layers_from_a_layout() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = image();
    store(&image, &format!("oci:{}:1", folder.path().join("layout").display()));
    let again = store::read_layout(&folder.path().join("layout"), Some("1")).expect("an image");
    assert_eq!(again.digest(), image.digest());
    store::verify_layers(&again).expect("its layers are what they should be");
}

#[test]
fn skopeo_keeps_the_digest() {
    requires("skopeo");
    let folder = tempfile::tempdir().expect("a folder");
    let from = in_layout(&folder.path().join("layout"));
    let to = folder.path().join("copy");
    output_of("skopeo", ["copy", "--quiet", "--insecure-policy", &from, &format!("oci:{}:1", to.display())]);
    assert_eq!(Layout::open(to).image("1").digest, image().digest().to_string());
}

#[test]
fn the_zstd_command_reads_a_layer() {
    requires("zstd");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("layer.zst");
    let image = image();
    let Blob::Memory(bytes) = &image.layers[0].blob else { panic!("it is in memory") };
    std::fs::write(&path, bytes).expect("written");
    let output = Command::new("zstd").args(["-dcq"]).arg(&path).output().expect("zstd runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ipo_oci::digest::Digest::of(&output.stdout), image.layers[0].diff_id);
}
