//! `ipo-oci copy`, `inspect` and `index create`: images between all transports, with their digests.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use ipo_oci::digest::Digest;
use ipo_oci::image::{Artifact, Blob, BlobSource, Descriptor, Format, Image};
use ipo_oci::progress::{Silent, WarningCollector};
use ipo_oci::reference::{Name, RemoteName};
use ipo_oci::store::{self, Access, Extent, StoreError, WriteOptions};
use serde_json::{Value, json};

use crate::support::images::{image, image_for};
use crate::support::layout::json;
use crate::support::registry::{Kind, Registry};
use crate::support::{Layout, Outcome, Project, ipo_oci, output_of, requires, requires_root, run};
use test_macros::test;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn name() -> Name {
    "team/agencyos:3".parse().expect("a name")
}

fn put(artifact: &Artifact, destination: &str) {
    let destination = destination.parse().expect("a destination");
    store::write(artifact, &destination, &name(), &WriteOptions::default(), &Access::default(), &Silent)
        .expect("stored");
}

fn open(reference: &str) -> Result<Artifact, StoreError> {
    store::open(&reference.parse()?, &Access::default())
}

#[track_caller]
fn command(arguments: &[&str]) -> Outcome {
    run(ipo_oci().args(arguments))
}

/// Returns an index of two images and an attestation, as written by buildx, with unknown fields.
fn index() -> Artifact {
    let mut index = Artifact::index_of(vec![
        image_for("amd64").artifact().expect("an artifact"),
        image_for("arm64").artifact().expect("an artifact"),
    ])
    .expect("an index");
    let amd64 = &index.manifests[0];
    let statement: Arc<[u8]> = br#"{"predicateType":"https://slsa.dev/provenance/v0.2"}"#.to_vec().into();
    let config: Arc<[u8]> = b"{}".to_vec().into();
    let descriptor =
        |media_type: &str, bytes: &[u8]| Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
    let layer = descriptor("application/vnd.in-toto+json", &statement);
    let config_descriptor = descriptor("application/vnd.oci.image.config.v1+json", &config);
    let document = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config_descriptor.json, "layers": [layer.json],
    });
    let bytes = document.to_string().into_bytes();
    let mut attestation = descriptor("application/vnd.oci.image.manifest.v1+json", &bytes);
    attestation.json["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    attestation.json["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd64.digest().to_string(),
    });
    let attestation = Descriptor::from_json(&attestation.json).expect("a descriptor");
    index.manifests.push(Artifact {
        descriptor: attestation,
        bytes: bytes.into(),
        blobs: vec![(config_descriptor, Blob::Memory(config)), (layer, Blob::Memory(statement))],
        manifests: Vec::new(),
    });
    let entries: Vec<&Value> = index.manifests.iter().map(|below| &below.descriptor.json).collect();
    let document = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
        "annotations": { "x": "1" }, "unknown": [1, 2],
    });
    // Another formatting: the copied bytes have to stay equal.
    index.bytes = format!("{document:#}").into_bytes().into();
    index.descriptor =
        Descriptor::new(index.descriptor.media_type, Digest::of(&index.bytes), index.bytes.len() as u64);
    index
}

/// Reads and verifies every document and blob of an artifact; returns them with their digests.
fn everything(artifact: &Artifact) -> Vec<(Digest, Vec<u8>)> {
    let mut all = vec![(artifact.digest(), artifact.bytes.to_vec())];
    for (descriptor, blob) in &artifact.blobs {
        let mut bytes = Vec::new();
        blob.open().expect("a blob").read_to_end(&mut bytes).expect("a blob");
        all.push((descriptor.digest, bytes));
    }
    for (digest, bytes) in &all {
        assert_eq!(Digest::of(bytes), *digest);
    }
    all.extend(artifact.manifests.iter().flat_map(everything));
    all
}

#[test]
fn an_index_is_copied_without_changes() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let index = index();
    put(&index, &format!("oci:{}", at("a")));
    let chain = [
        format!("oci:{}:3", at("a")),
        format!("oci-archive:{}", at("b.tar")),
        format!("oci:{}:x", at("c")),
        format!("oci-archive:{}:registry.example:5000/team/y:4", at("d.tar")),
        format!("oci:{}", at("e")),
    ];
    for pair in chain.windows(2) {
        let outcome = command(&["copy", &pair[0], &pair[1]]).success();
        let line = outcome.text().trim_end().to_owned();
        assert!(line.starts_with(&pair[1]), "{line}");
        assert!(line.ends_with(&format!("@{}", index.digest())), "{line}");
        // The printed reference can be opened.
        let printed = open(&line).expect("what was printed");
        assert_eq!(everything(&printed), everything(&index));
    }
    // The destination inherits tag and name.
    assert_eq!(Layout::open(folder.path().join("e")).tags(), ["4"]);
    assert!(
        fs_err::read_dir(folder.path()).expect("a folder").all(|entry| {
            !entry.expect("an entry").file_name().to_string_lossy().starts_with(".ipo-oci-")
        })
    );
}

#[test]
fn copies_one_platform_of_an_index() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    put(&index(), &format!("oci:{}:1", at("a")));
    let source = format!("oci:{}:1", at("a"));
    let to = format!("oci:{}", at("b"));
    let outcome = command(&["copy", "--platform", "linux/arm64", &source, &to]).success();
    let arm = image_for("arm64");
    assert!(outcome.text().contains(&arm.digest().to_string()), "{}", outcome.text());
    Layout::open(folder.path().join("b")).verify();
    // The same by digest.
    let by_digest = format!("oci:{}@{}", at("a"), arm.digest());
    assert_eq!(open(&by_digest).expect("an image").digest(), arm.digest());
    for (source, platform) in [(&source, "linux/s390x"), (&by_digest, "linux/amd64")] {
        let outcome = command(&["copy", "--platform", platform, source, &to]).exits_with(1);
        assert!(
            outcome.stderr.contains(&format!("image for {platform} not found: available for linux/a")),
            "{}",
            outcome.stderr
        );
    }
    let outcome = command(&["copy", "--platform", "linux", &source, &to]).exits_with(2);
    assert!(outcome.stderr.contains("linux/amd64"), "{}", outcome.stderr);
    command(&["copy", "--all", "--platform", "linux/amd64", &source, &to]).exits_with(2);
}

#[test]
fn a_docker_archive_takes_one_image_of_an_index() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    put(&index(), &format!("oci:{}:1", at("a")));
    let source = format!("oci:{}:1", at("a"));
    for platform in ["linux/amd64", "linux/arm64"] {
        let to = format!("docker-archive:{}:x:1", at("a.tar"));
        command(&["copy", "--platform", platform, &source, &to]).success();
        let image = Image::from_artifact(&open(&to).expect("an image")).expect("an image");
        assert_eq!(image.platform.to_string(), platform);
    }
    // The writing machine cannot choose the image that `docker load` takes from an index.
    let archive = format!("oci-archive:{}", at("b.tar"));
    command(&["copy", &source, &archive]).success();
    let listed = output_of("tar", ["--list", "--file", &at("b.tar")]);
    assert!(!listed.contains("manifest.json"), "{listed}");
    command(&["copy", "--platform", "linux/amd64", &source, &archive]).success();
    let listed = output_of("tar", ["--list", "--file", &at("b.tar")]);
    assert!(listed.contains("manifest.json"), "{listed}");
}

#[test]
fn skopeo_and_copy_keep_digests() {
    requires("skopeo");
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let skopeo = |from: &str, to: &str| {
        output_of("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", from, to]);
    };
    for (artifact, what) in [(index(), "index"), (image("1").artifact().expect("an artifact"), "image")] {
        let places = |number: usize| {
            (
                format!("oci:{}:1", at(&format!("{what}{number}"))),
                format!("oci-archive:{}:1", at(&format!("{what}{number}.tar"))),
            )
        };
        put(&artifact, &places(0).0);
        skopeo(&places(0).0, &places(1).0);
        command(&["copy", &places(1).0, &places(2).1]).success();
        let raw = output_of("skopeo", ["inspect", "--raw", &places(2).1]);
        assert_eq!(Digest::of(raw.as_bytes()), artifact.digest(), "{what}");
        if what == "image" {
            skopeo(&places(2).1, &places(3).1);
            command(&["copy", &places(3).1, &places(4).0]).success();
            assert_eq!(everything(&open(&places(4).0).expect("an image")), everything(&artifact));
        }
    }
}

#[test]
fn podman_and_skopeo_read_the_docker_format() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let image = image("1");
    put(&image.artifact().expect("an artifact"), &format!("oci:{}:1", at("a")));
    let (oci, docker) = (format!("oci:{}:1", at("a")), format!("oci:{}:2", at("a")));
    let outcome = command(&["copy", "--format", "docker", &oci, &docker]).success();
    assert!(outcome.stderr.contains("skopeo and podman recognize only OCI's"), "{}", outcome.stderr);
    let converted = Image::from_artifact(&open(&docker).expect("an image")).expect("an image");
    assert_eq!((converted.format, &converted.config), (Format::Docker, &image.config));
    // Both share their blobs.
    assert_eq!(fs_err::read_dir(folder.path().join("a/blobs/sha256")).expect("blobs").count(), 3 + 1 + 1);
    let back = format!("oci-archive:{}", at("b.tar"));
    command(&["copy", "--format", "oci", &docker, &back]).success();
    let again = Image::from_artifact(&open(&back).expect("an image")).expect("an image");
    assert_eq!((again.format, &again.config), (Format::Oci, &image.config));
    requires("skopeo");
    requires("podman");
    requires_root();
    // Neither tool reads a Docker manifest from a layout, but both read skopeo's `dir:` format.
    let dir = at("dir");
    fs_err::create_dir(&dir).expect("a folder");
    fs_err::write(Path::new(&dir).join("version"), "Directory Transport Version: 1.1\n").expect("a file");
    for (digest, bytes) in everything(&converted.artifact().expect("an artifact")) {
        let name = if digest == converted.digest() { "manifest.json".to_owned() } else { digest.hex() };
        fs_err::write(Path::new(&dir).join(name), bytes).expect("a file");
    }
    let inspected = output_of("skopeo", ["inspect", &format!("dir:{dir}")]);
    assert_eq!(json(inspected.as_bytes())["Digest"], converted.digest().to_string());
    let podman = |arguments: &[&str]| {
        let mut command = std::process::Command::new("podman");
        // podman requires the named file to exist.
        command.env_remove("DOCKER_CONFIG");
        command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run"));
        command.args(["--storage-driver", "vfs", "--log-level", "error"]).args(arguments);
        run(&mut command).success()
    };
    let pulled = podman(&["pull", "--quiet", &format!("dir:{dir}")]);
    let said = podman(&["image", "inspect", pulled.text().trim()]);
    assert_eq!(json(&said.stdout)[0]["Healthcheck"]["Test"][1], "/app/check", "{}", said.text());
}

#[test]
fn conversion_drops_attestations_of_changed_digests() {
    let folder = folder();
    let destination = format!("oci:{}:1", folder.path().display()).parse().expect("a destination");
    let warnings = WarningCollector::default();
    let mut options = WriteOptions::default();
    options.format = Some(Format::Docker);
    store::write(&index(), &destination, &name(), &options, &Access::default(), &warnings).expect("stored");
    let docker = store::open(&destination, &Access::default()).expect("an index");
    assert_eq!(docker.images().len(), 2);
    assert!(docker.images().iter().all(|image| image.is_image()));
    assert!(warnings.warnings()[0].message.contains("1 manifests that refer"), "{:?}", warnings.warnings());
}

#[test]
fn joins_images_of_separate_machines() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (amd64, arm64) = (format!("oci:{}:3", at("amd64")), format!("docker-archive:{}", at("arm64.tar")));
    put(&image_for("amd64").artifact().expect("an artifact"), &amd64);
    put(&image_for("arm64").artifact().expect("an artifact"), &arm64);
    let joined = format!("oci:{}", at("joined"));
    let outcome = command(&["index", "create", &joined, &amd64, &arm64]).success();
    let line = outcome.text().trim_end().to_owned();
    assert!(line.starts_with(&format!("{joined}:3@sha256:")), "{line}");
    let index = open(&line).expect("an index");
    let platforms: Vec<_> = index
        .images()
        .iter()
        .map(|image| image.descriptor.platform.clone().expect("a platform").to_string())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    // A source that is an index contributes its images.
    let s390x = format!("oci:{}", at("s390x"));
    put(&image_for("s390x").artifact().expect("an artifact"), &s390x);
    let all = format!("oci-archive:{}", at("all.tar"));
    command(&["index", "create", &all, &joined, &s390x]).success();
    assert_eq!(open(&all).expect("an index").images().len(), 3);
    let outcome = command(&["index", "create", &all, &joined, &amd64]).exits_with(1);
    assert!(outcome.stderr.contains("duplicate platform linux/amd64"), "{}", outcome.stderr);
    command(&["index", "create", &all]).exits_with(2);
}

#[test]
fn inspects_an_image() {
    let folder = folder();
    let reference = format!("oci:{}:1", folder.path().display());
    let index = index();
    put(&index, &reference);
    let raw = command(&["inspect", "--raw", &reference]).success();
    assert_eq!(raw.stdout, &index.bytes[..]);
    let arm = image_for("arm64");
    let raw = command(&["inspect", "--raw", "--platform", "linux/arm64", &reference]).success();
    assert_eq!(raw.stdout, &arm.manifest[..]);
    let told = command(&["inspect", "--json", "--platform", "linux/arm64", &reference]).success();
    let told = json(&told.stdout);
    assert_eq!(told["digest"], index.digest().to_string());
    assert_eq!(told["image"]["digest"], arm.digest().to_string());
    assert_eq!(told["image"]["healthcheck"]["test"], json!(["CMD", "/app/check"]));
    assert_eq!(told["images"].as_array().map(Vec::len), Some(3));
    assert_eq!(told["images"][2]["kind"], "other");
    let text = command(&["inspect", "--platform", "linux/amd64", &reference]).success();
    for said in [
        "linux/arm64",
        "1000:1000",
        "/app/run",
        "CMD /app/check",
        "a=1",
        "layer 1",
        "1 manifest without an image",
    ] {
        assert!(text.text().contains(said), "{said}: {}", text.text());
    }
}

#[test]
fn refuses_invalid_copies() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    put(&image("1").artifact().expect("an artifact"), &format!("oci:{}:1", at("a")));
    let source = format!("oci:{}:1", at("a"));
    for (from, to, code, said) in [
        (format!("oci:{}:2", at("a")), format!("oci:{}", at("b")), 1, "image `2` not found"),
        (format!("oci:{}", at("absent")), format!("oci:{}", at("b")), 1, "no such file"),
        (source.clone(), "nonsense:://".to_owned(), 2, "invalid reference"),
        (format!("oci:{}@sha256:1", at("a")), source.clone(), 2, "the digest is neither"),
        (source.clone(), format!("oci:{}@{}", at("b"), Digest::of(b"")), 1, "expected sha256:e3b0"),
        (format!("oci:{}@{}", at("a"), Digest::of(b"")), source.clone(), 1, "image `sha256:e3b0"),
        (source.clone(), format!("docker-archive:{}", at("a")), 1, "is a folder"),
    ] {
        let outcome = command(&["copy", &from, &to]).exits_with(code);
        assert!(outcome.stderr.contains(said), "{from} {to}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("help:") || code == 1, "{}", outcome.stderr);
        assert_eq!(outcome.text(), "");
    }
    let archive = format!("oci-archive:{}", at("a.tar"));
    let outcome = command(&["copy", "--shallow", &source, &archive]).exits_with(1);
    assert!(outcome.stderr.contains("only a layout"), "{}", outcome.stderr);
    let outcome = command(&["copy", "--offline", "registry.invalid/x:1", &archive]).exits_with(1);
    assert!(outcome.stderr.contains("the network is forbidden"), "{}", outcome.stderr);
}

/// A blob that names its registry but cannot be read.
#[derive(Debug)]
struct InRegistry(&'static str);

impl BlobSource for InRegistry {
    fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send>> {
        Err(io::Error::other("a shallow layout reads no layer"))
    }

    fn repository(&self) -> Option<RemoteName> {
        self.0.parse().ok()
    }
}

#[test]
fn a_shallow_layout_leaves_the_layers_in_the_registry() {
    let folder = folder();
    let reference = format!("oci:{}:1", folder.path().display());
    let destination = reference.parse().expect("a destination");
    let mut artifact = image("1").artifact().expect("an artifact");
    // The configuration and the lower layer come from a registry.
    let (config, whole) = (artifact.blobs[0].1.clone(), artifact.blobs[1].1.clone());
    artifact.blobs[1].1 = Blob::Source(Arc::new(InRegistry("registry.example/base")));
    let put = |extent: Extent, artifact: &Artifact| {
        let warnings = WarningCollector::default();
        let mut options = WriteOptions::default();
        options.extent = extent;
        store::write(artifact, &destination, &name(), &options, &Access::default(), &warnings)
            .map(|_| warnings.warnings())
    };
    let error = put(Extent::Whole, &artifact).expect_err("it cannot be read");
    assert!(error.to_string().contains("reads no layer"), "{error}");
    let warnings = put(Extent::Shallow, &artifact).expect("stored");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.contains("1 layer is omitted"), "{}", warnings[0]);
    let blobs = folder.path().join("blobs/sha256");
    assert_eq!(fs_err::read_dir(&blobs).expect("blobs").count(), 3);
    let shallow = open(&reference).expect("what is not there is not read");
    assert_eq!(shallow.digest(), artifact.digest());
    Image::from_artifact(&shallow).expect("the configuration is there");
    let mut text = String::new();
    let error = match shallow.blobs[1].1.open() {
        Ok(mut reader) => reader.read_to_string(&mut text).expect_err("it is not there"),
        Err(error) => error,
    };
    assert!(error.to_string().contains("the layout is shallow"), "{error}");
    assert!(store::read_layout(folder.path(), Some("1")).is_err(), "an image that has to be whole");
    // With readable blobs, the layout is complete.
    artifact.blobs[1].1 = whole;
    artifact.blobs[0].1 = config;
    assert!(put(Extent::Whole, &artifact).expect("stored").is_empty());
    Layout::open(folder.path()).verify();
}

#[test]
fn replacing_an_index_removes_only_unreferenced_blobs() {
    let folder = folder();
    let reference = format!("oci:{}", folder.path().display());
    let blobs = || fs_err::read_dir(folder.path().join("blobs/sha256")).expect("blobs").count();
    put(&image_for("amd64").artifact().expect("an artifact"), &format!("{reference}:one"));
    let alone = blobs();
    put(&index(), &format!("{reference}:all"));
    let together = blobs();
    assert!(together > alone);
    put(&image_for("s390x").artifact().expect("an artifact"), &format!("{reference}:all"));
    // Config, manifest and upper layer are new; the lower layer is shared.
    assert_eq!(blobs(), alone + 3);
    let kept = open(&format!("{reference}:one")).expect("an image");
    assert_eq!(everything(&kept), everything(&image_for("amd64").artifact().expect("an artifact")));
}

#[test]
fn a_referrer_keeps_its_subject() {
    let folder = folder();
    let reference = format!("oci:{}", folder.path().display());
    let image = image("1");
    put(&image.artifact().expect("an artifact"), &format!("{reference}:one"));
    let empty: Arc<[u8]> = b"{}".to_vec().into();
    let config = Descriptor::new("application/vnd.oci.empty.v1+json", Digest::of(&empty), 2);
    let document = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config.json,
        "artifactType": "application/spdx+json", "layers": [],
        "subject": { "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.digest().to_string(), "size": image.manifest.len() },
    });
    let bytes = document.to_string().into_bytes();
    let descriptor =
        Descriptor::new("application/vnd.oci.image.manifest.v1+json", Digest::of(&bytes), bytes.len() as u64);
    let referrer = Artifact {
        descriptor,
        bytes: bytes.into(),
        blobs: vec![(config, Blob::Memory(empty))],
        manifests: Vec::new(),
    };
    put(&referrer, &format!("{reference}:sbom"));
    put(&crate::support::images::image("2").artifact().expect("an artifact"), &format!("{reference}:one"));
    let kept = open(&format!("{reference}@{}", image.digest())).expect("what is spoken of");
    assert_eq!(everything(&kept), everything(&image.artifact().expect("an artifact")));
}

#[test]
fn a_build_has_the_requested_destination_and_format() {
    let project = Project::tiny();
    project.build(&[
        "--format",
        "docker",
        "-o",
        "docker-archive:a.tar",
        "-o",
        "oci:layout",
        "--metadata-file",
        "m.json",
    ]);
    let metadata = json(project.read("m.json").as_bytes());
    let descriptor = &metadata["containerimage.descriptor"];
    assert_eq!(descriptor["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    let stored = open(&format!("oci:{}", project.path().join("layout").display())).expect("an image");
    assert_eq!(metadata["containerimage.digest"], stored.digest().to_string());
    // Without a base, a shallow layout has all blobs.
    project.build(&["--shallow", "-o", "oci:shallow"]);
    Layout::open(project.path().join("shallow")).verify();
    let outcome = project.try_build(&["--shallow", "-o", "oci-archive:b.tar"]).exits_with(1);
    assert!(outcome.stderr.contains("only a layout"), "{}", outcome.stderr);
    // Fails before building, since the result cannot be pushed.
    for arguments in [&["--push"][..], &["--push", "-t", "tiny:2"], &["--push", "-o", "oci:pushed"]] {
        let outcome = project.try_build(arguments).exits_with(2);
        assert!(outcome.stderr.contains("its name has no registry"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("help:"), "{}", outcome.stderr);
        assert!(!project.path().join("pushed").exists());
        assert_eq!(outcome.text(), "");
    }
    let outcome = project.try_build(&["--push", "-t", "registry.invalid/tiny:2", "--offline"]).exits_with(1);
    assert!(outcome.stderr.contains("cannot reach docker://registry.invalid/tiny:2"), "{}", outcome.stderr);
}

#[test]
fn copies_from_and_to_a_registry() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let index = index();
    put(&index, &format!("oci:{}:3", at("a")));
    let host = format!("127.0.0.1:{}", registry.port);
    let there = format!("{host}/team/x");
    let outcome = command(&["copy", &format!("oci:{}:3", at("a")), &there]).success();
    // The destination inherits the tag.
    assert_eq!(outcome.text().trim_end(), format!("{there}:3@{}", index.digest()));
    let archive = format!("oci-archive:{}", at("b.tar"));
    command(&["copy", outcome.text().trim_end(), &archive]).success();
    assert_eq!(everything(&open(&archive).expect("an index")), everything(&index));
    let raw = command(&["inspect", "--raw", &format!("docker://{there}:3")]).success();
    assert_eq!(raw.stdout, &index.bytes[..]);
    // To another repository of the same registry, with Docker's media types.
    let other = format!("{host}/team/y:4");
    command(&["copy", "--format", "docker", "--platform", "linux/arm64", &format!("{there}:3"), &other])
        .success();
    let told = json(&command(&["inspect", "--json", &other]).success().stdout);
    assert_eq!(told["images"][0]["digest"], told["digest"]);
    assert_eq!(told["image"]["format"], "docker");
    assert_eq!(told["image"]["platform"]["architecture"], "arm64");
    // A layout without the layers that the registry has.
    let shallow = format!("oci:{}", at("shallow"));
    let outcome =
        command(&["copy", "--shallow", "--platform", "linux/amd64", &format!("{there}:3"), &shallow])
            .success();
    assert!(outcome.stderr.contains("2 layers are omitted"), "{}", outcome.stderr);
    assert_eq!(fs_err::read_dir(folder.path().join("shallow/blobs/sha256")).expect("blobs").count(), 2);
    let outcome = command(&["copy", &shallow, &format!("oci:{}", at("whole"))]).exits_with(1);
    assert!(outcome.stderr.contains("the layout is shallow"), "{}", outcome.stderr);
    // A build pushes to the registry of its name.
    let project = Project::tiny();
    let outcome = project.build(&["--push", "-t", &format!("{host}/team/tiny:1")]);
    let line = outcome.text().trim_end().to_owned();
    assert!(line.starts_with(&format!("{host}/team/tiny:1@sha256:")), "{line}");
    assert!(!project.path().join("dist").exists());
    command(&["inspect", &line]).success();
    let outcome = command(&["copy", &format!("{host}/team/absent:1"), &archive]).exits_with(1);
    assert!(outcome.stderr.contains("team/absent"), "{}", outcome.stderr);
}
