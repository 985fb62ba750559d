//! Image archives of other tools, damaged archives and hostile ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use ipo_oci::digest::Digest;
use ipo_oci::error::{Advice, chain};
use ipo_oci::image::{Artifact, Image};
use ipo_oci::layer::Compression;
use ipo_oci::reference::Name;
use ipo_oci::store::{self, Access, StoreError};
use serde_json::json;

use crate::support::images::{self, Raw, archive, gzip, image};
use crate::support::layout::json;
use crate::support::{ipo_oci, output_of, requires, requires_root, run, run_with};
use test_macros::test;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(transport: &str, path: &Path, more: &str) -> Result<Artifact, StoreError> {
    let reference = format!("{transport}:{}{more}", path.display()).parse()?;
    store::open(&reference, &Access::default())
}

/// Opens a valid archive and reads all its blobs.
#[track_caller]
fn read(transport: &str, path: &Path, more: &str) -> Image {
    let artifact = open(transport, path, more).unwrap_or_else(|error| panic!("{error}"));
    let image = Image::from_artifact(&artifact).expect("an image");
    store::verify_layers(&image).expect("good layers");
    image
}

fn put(image: &Image, destination: &str) {
    let name: Name = "team/agencyos:3".parse().expect("a name");
    store::write_image(image, &destination.parse().expect("a destination"), &name, "").expect("stored");
}

/// Returns an archive in the format of `docker save` before Docker 25: uncompressed layers in
/// directories, one of them a link to another.
fn legacy_docker_archive(image: &Image, tags: &[&str]) -> Vec<Raw> {
    let config = format!("{}.json", image.config_digest().hex());
    let mut members = vec![Raw::file(&config, &image.config)];
    let mut layers = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let mut tar = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(layer.blob.open().expect("a layer"));
        std::io::Read::read_to_end(&mut reader, &mut tar).expect("gzip");
        let id = format!("{number}").repeat(8);
        members.push(Raw::Folder(format!("{id}/")));
        members.push(Raw::file(&format!("{id}/VERSION"), "1.0"));
        members.push(Raw::file(&format!("{id}/layer.tar"), tar));
        layers.push(format!("{id}/layer.tar"));
    }
    // A second name of the same layer, as the engine writes for images that share layers.
    members.push(Raw::Symlink("again/layer.tar".to_owned(), "../00000000/layer.tar".to_owned()));
    "again/layer.tar".clone_into(&mut layers[0]);
    members.push(Raw::file("repositories", "{}"));
    let manifest = json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
    members.push(Raw::file("manifest.json", manifest.to_string()));
    members
}

fn write(folder: &Path, members: &[Raw]) -> PathBuf {
    let path = folder.join("made.tar");
    fs_err::write(&path, archive(members)).expect("an archive");
    path
}

#[test]
fn reads_own_archives() {
    let folder = folder();
    let image = image("1");
    for transport in ["oci-archive", "docker-archive"] {
        let path = folder.path().join("a.tar");
        put(&image, &format!("{transport}:{}", path.display()));
        let zipped = folder.path().join("a.tar.gz");
        fs_err::write(&zipped, gzip(&fs_err::read(&path).expect("an archive"))).expect("an archive");
        for path in [&path, &zipped] {
            let digest = format!(":team/agencyos:3@{}", image.digest());
            for more in ["", ":team/agencyos:3", ":docker.io/team/agencyos:3", &digest] {
                let again = read(transport, path, more);
                assert_eq!(again.config, image.config);
                assert_eq!(again.digest(), image.digest(), "{transport}{more}");
            }
        }
        let error = open(transport, &path, ":team/agencyos:4").expect_err("another tag");
        assert!(matches!(&error, StoreError::NoImage { there, .. } if there.len() == 1), "{error}");
    }
}

#[test]
fn reads_archives_of_docker_before_25() {
    let folder = folder();
    let image = image("1");
    let path = write(folder.path(), &legacy_docker_archive(&image, &["agencyos:3", "agencyos:latest"]));
    for more in ["", ":agencyos:latest", ":agencyos", &format!("@{}", image.config_digest())] {
        let again = read("docker-archive", &path, more);
        assert_eq!(again.config, image.config);
        assert_eq!(
            again.layers.iter().map(|layer| layer.digest).collect::<Vec<_>>(),
            image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(),
            "the layers are plain",
        );
    }
    let artifact = open("docker-archive", &path, "").expect("an image");
    let name = store::name_of(&"docker-archive:x".parse().expect("a reference"), &artifact);
    assert_eq!(name.to_string(), "agencyos:3");
}

#[test]
fn detects_compression_by_content_and_not_by_name() {
    let folder = folder();
    let plain = images::compressed(&[("a", "1")], Compression::None);
    let zipped = images::layer_of(&[("b", "2")]);
    let image = images::image_of("amd64", vec![plain, zipped]);
    let bytes = |number: usize| {
        let mut bytes = Vec::new();
        let mut blob = image.layers[number].blob.open().expect("a layer");
        std::io::Read::read_to_end(&mut blob, &mut bytes).expect("a layer");
        bytes
    };
    let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["0.tar.gz", "1.tar"] }]);
    let members = [
        Raw::file("c.json", &image.config),
        Raw::file("0.tar.gz", bytes(0)),
        Raw::file("1.tar", bytes(1)),
        Raw::file("manifest.json", manifest.to_string()),
    ];
    let again = read("docker-archive", &write(folder.path(), &members), "");
    let of =
        |image: &Image| image.layers.iter().map(|layer| (layer.digest, layer.encoding)).collect::<Vec<_>>();
    assert_eq!(of(&again), of(&image));
}

#[test]
fn several_images_require_a_name() {
    let folder = folder();
    let (one, two) = (image("1"), image("2"));
    let mut members = legacy_docker_archive(&one, &["a:1"]);
    members.pop();
    let mut layers = Vec::new();
    for layer in &two.layers {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut layer.blob.open().expect("a layer"), &mut bytes).expect("a layer");
        layers.push(format!("{}.tar.gz", layer.digest.hex()));
        members.push(Raw::file(&layers[layers.len() - 1], bytes));
    }
    members.push(Raw::file("two.json", &two.config));
    let config = format!("{}.json", one.config_digest().hex());
    let manifest = json!([
        { "Config": config, "RepoTags": ["a:1"], "Layers": ["again/layer.tar", "11111111/layer.tar"] },
        { "Config": "two.json", "RepoTags": ["b:2"], "Layers": layers },
    ]);
    members.push(Raw::file("manifest.json", manifest.to_string()));
    let path = write(folder.path(), &members);
    assert_eq!(read("docker-archive", &path, ":a:1").config, one.config);
    assert_eq!(read("docker-archive", &path, ":b:2").config, two.config);
    let error = open("docker-archive", &path, "").expect_err("which one");
    assert!(error.to_string().contains("holds 2 images"), "{error}");
    assert!(error.to_string().contains("a:1, b:2"), "{error}");
}

/// Docker 25 and later write a layout and `manifest.json`; of an index they save only the pulled
/// images.
#[test]
fn reads_archives_of_docker_25_with_their_manifest() {
    let folder = folder();
    let image = image("1");
    let layout = folder.path().join("a.tar");
    put(&image, &format!("oci-archive:{}", layout.display()));
    let absent = Digest::of(b"absent").to_string();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": media_type, "digest": absent, "size": 9,
          "platform": { "os": "linux", "architecture": "arm64" } },
        { "mediaType": media_type, "digest": image.digest().to_string(), "size": image.manifest.len() },
    ]});
    let index = index.to_string();
    let digest = Digest::of(index.as_bytes());
    let mut members = images::members(&layout);
    for member in &mut members {
        if let Raw::File(name, bytes) = member
            && name == "index.json"
        {
            *bytes = json!({ "schemaVersion": 2, "manifests": [{
                "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest.to_string(),
                "size": index.len(), "annotations": { "io.containerd.image.name": "docker.io/library/x:1" },
            }]})
            .to_string()
            .into_bytes();
        }
    }
    members.push(Raw::file(&format!("blobs/sha256/{}", digest.hex()), index));
    let path = write(folder.path(), &members);
    assert_eq!(read("docker-archive", &path, "").digest(), image.digest());
}

#[test]
fn skopeo_and_podman_archives_keep_their_digests() {
    requires("skopeo");
    requires("podman");
    requires_root();
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let image = image("1");
    put(&image, &format!("oci:{}", path("layout").display()));
    let from = format!("oci:{}:3", path("layout").display());
    for transport in ["oci-archive", "docker-archive"] {
        let to = format!("{transport}:{}:x.example/team/agencyos:3", path(transport).display());
        output_of("skopeo", ["copy", "--quiet", "--insecure-policy", &from, &to]);
        let again = read(transport, &path(transport), "");
        assert_eq!(again.config, image.config, "{transport}");
        if transport == "oci-archive" {
            assert_eq!(again.digest(), image.digest());
        }
        let podman = |arguments: &[&str]| {
            let mut command = Command::new("podman");
            command.arg("--root").arg(path("root")).arg("--runroot").arg(path("run"));
            command.args(["--storage-driver", "vfs", "--log-level", "error"]).args(arguments);
            run(&mut command).success()
        };
        podman(&["load", "--input", path(transport).to_str().expect("UTF-8")]);
        for format in ["oci-archive", "docker-archive"] {
            let saved = path(&format!("{transport}-{format}"));
            let file = saved.to_str().expect("UTF-8");
            podman(&["save", "--quiet", "--format", format, "--output", file, "x.example/team/agencyos:3"]);
            let again = read(format, &saved, "");
            let raw = output_of("skopeo", ["inspect", "--config", "--raw", &format!("{format}:{file}")]);
            assert_eq!(json(&again.config), json(raw.as_bytes()));
            assert_eq!(
                again.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(),
                image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(),
            );
            if format == "oci-archive" {
                let manifest = output_of("skopeo", ["inspect", "--raw", &format!("{format}:{file}")]);
                assert_eq!(again.digest(), Digest::of(manifest.as_bytes()));
            }
        }
    }
}

#[test]
fn copies_from_standard_input_to_standard_output() {
    let folder = folder();
    let image = image("1");
    let path = folder.path().join("a.tar.gz");
    let plain = folder.path().join("a.tar");
    put(&image, &format!("docker-archive:{}", plain.display()));
    fs_err::write(&path, gzip(&fs_err::read(&plain).expect("an archive"))).expect("an archive");
    let mut command = ipo_oci();
    command.args(["copy", "docker-archive:-", "oci-archive:-:x"]);
    let outcome = run_with(&mut command, &path).success();
    assert!(outcome.stderr.contains("oci-archive:-:x@sha256:"), "{}", outcome.stderr);
    let copied = folder.path().join("copied.tar");
    fs_err::write(&copied, &outcome.stdout).expect("an archive");
    assert_eq!(read("oci-archive", &copied, ":x").config, image.config);
}

#[test]
fn refuses_damaged_archives() {
    let folder = folder();
    let path = folder.path().join("a.tar");
    let image = image("1");
    for transport in ["oci-archive", "docker-archive"] {
        put(&image, &format!("{transport}:{}", path.display()));
        let good = fs_err::read(&path).expect("an archive");
        // Two empty records end the file.
        for length in [0, 1, 511, 512, 700, good.len() / 2, good.len() - 1537] {
            for bytes in [good[..length].to_vec(), gzip(&good)[..length.min(gzip(&good).len() - 9)].to_vec()]
            {
                fs_err::write(&path, bytes).expect("an archive");
                let error = open(transport, &path, "").expect_err("cut off");
                assert!(matches!(error, StoreError::Archive { .. }), "{error}");
                assert!(error.help().is_some());
            }
        }
        fs_err::write(&path, good).expect("an archive");
        let good = images::members(&path);
        for absent in 0..good.len() {
            let mut some = good.clone();
            let Raw::File(name, _) = some.remove(absent) else { unreachable!() };
            if name == "manifest.json" && transport == "oci-archive" {
                continue;
            }
            let outcome = open(transport, &write(folder.path(), &some), "").and_then(|artifact| {
                let image = Image::from_artifact(&artifact)?;
                store::verify_layers(&image)
            });
            let error = outcome.expect_err(&name);
            assert!(!error.to_string().is_empty());
        }
        for changed in 0..good.len() {
            for damage in
                [&b"{}"[..], b"[]", b"null", b"[{}]", b"\xff", &[b'['; 5000], b"[{\"Config\":\"../x\"}]"]
            {
                let mut some = good.clone();
                let Raw::File(name, bytes) = &mut some[changed] else { unreachable!() };
                if name == "manifest.json" && transport == "oci-archive" {
                    continue;
                }
                let name = name.clone();
                *bytes = damage.to_vec();
                let outcome = open(transport, &write(folder.path(), &some), "").and_then(|artifact| {
                    let image = Image::from_artifact(&artifact)?;
                    store::verify_layers(&image)
                });
                outcome.expect_err(&name);
            }
        }
    }
}

#[test]
fn refuses_hostile_members() {
    let folder = folder();
    let image = image("1");
    let good = legacy_docker_archive(&image, &["a:1"]);
    let with = |more: Raw| {
        let mut members = good.clone();
        members.insert(0, more);
        open("docker-archive", &write(folder.path(), &members), "")
    };
    assert!(with(Raw::Folder("./".to_owned())).is_ok(), "the archive's own folder");
    assert!(with(Raw::Device("dev".to_owned())).is_ok(), "what nobody reads harms nobody");
    assert!(with(Raw::Symlink("out".to_owned(), "/etc/passwd".to_owned())).is_ok(), "the same");
    for (more, said) in [
        (Raw::file("../manifest.json", "[]"), "unsafe member name"),
        (Raw::file("/manifest.json", "[]"), "duplicate member"),
        (Raw::file("manifest.json", "[]"), "duplicate member"),
        (Raw::file("./manifest.json", "[]"), "duplicate member"),
        (Raw::WrongSize("x".to_owned(), 1 << 33, b"x".to_vec()), "ends within a file"),
        (Raw::WrongSize("x".to_owned(), 0, vec![7; 600]), "checksum"),
    ] {
        let error = chain(&with(more.clone()).expect_err(said));
        assert!(error.contains(said), "{more:?}: {error}");
    }
    let linked = |kind: fn(String, String) -> Raw, target: &str| {
        let mut members = good.clone();
        for member in &mut members {
            if matches!(member, Raw::Symlink(..)) {
                *member = kind("again/layer.tar".to_owned(), target.to_owned());
            }
        }
        let artifact = open("docker-archive", &write(folder.path(), &members), "")?;
        store::verify_layers(&Image::from_artifact(&artifact)?)
    };
    linked(Raw::HardLink, "00000000/layer.tar").expect("a hard link to a layer");
    for (kind, target, said) in [
        (Raw::Symlink as fn(String, String) -> Raw, "/etc/passwd", "leads out of the archive"),
        (Raw::Symlink, "../../x", "leads out of the archive"),
        (Raw::Symlink, "layer.tar", "circular links"),
        (Raw::Symlink, "../nowhere", "not found"),
        (Raw::HardLink, "nowhere", "not found"),
        (Raw::HardLink, "../x", "unsafe member name"),
        (Raw::Symlink, "../11111111/layer.tar", "digest mismatch"),
    ] {
        let error = chain(&linked(kind, target).expect_err(said));
        assert!(error.contains(said), "{target}: {error}");
    }
}

#[test]
fn refuses_too_many_members() {
    let folder = folder();
    let path = folder.path().join("many.tar");
    let mut members: Vec<Raw> = (0..100_001).map(|number| Raw::file(&number.to_string(), "")).collect();
    members.push(Raw::file("manifest.json", "[]"));
    fs_err::write(&path, archive(&members)).expect("an archive");
    let error = open("docker-archive", &path, "").expect_err("too many");
    assert!(chain(&error).contains("more than 100000 members"), "{error:?}");
}

#[test]
fn recognizes_other_formats() {
    let folder = folder();
    let path = folder.path().join("a.tar");
    put(&image("1"), &format!("docker-archive:{}", path.display()));
    let error = chain(&open("oci-archive", &path, "").expect_err("another form"));
    assert!(error.contains("a Docker archive, not an OCI archive"), "{error}");
    for (bytes, said) in [
        (&b"\x28\xb5\x2f\xfd123456"[..], "compression zstd"),
        (b"\xfd7zXZ\0", "compression xz"),
        (b"hello, I am no archive", "invalid tar archive"),
        (b"", "no files"),
    ] {
        fs_err::write(&path, bytes).expect("a file");
        let error = chain(&open("docker-archive", &path, "").expect_err(said));
        assert!(error.contains(said), "{error}");
    }
    let error = open("docker-archive", folder.path(), "").expect_err("a folder");
    assert!(matches!(error, StoreError::Folder(_)), "{error}");
    let error = open("docker-archive", &folder.path().join("absent"), "").expect_err("nothing");
    assert!(error.to_string().contains("no such file"), "{error}");
    let members = [Raw::file("repositories", "{}")];
    let error = chain(&open("docker-archive", &write(folder.path(), &members), "").expect_err("too old"));
    assert!(error.contains("Docker before 1.10"), "{error}");
}

/// Arbitrary damage may make an archive unreadable, but never causes a panic.
#[test]
fn damage_never_panics() {
    let folder = folder();
    let path = folder.path().join("a.tar");
    let image = image("1");
    let mut archives = vec![archive(&legacy_docker_archive(&image, &["a:1"]))];
    for transport in ["oci-archive", "docker-archive"] {
        put(&image, &format!("{transport}:{}", path.display()));
        archives.push(fs_err::read(&path).expect("an archive"));
    }
    // Numerical Recipes' linear congruential generator.
    let mut state = 1_u32;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for round in 0..600 {
        let mut bytes = archives[round % archives.len()].clone();
        for _ in 0..=random(4) {
            // Half of the damage hits headers, whose checksums are then corrected.
            let at = if random(2) == 0 {
                random(bytes.len())
            } else {
                random(bytes.len() / 512) * 512 + random(160)
            };
            bytes[at] = [0, 0xff, b'/', b'.', b'7', b'x'][random(6)];
            let header = at / 512 * 512;
            if let Ok(record) = <[u8; 512]>::try_from(&bytes[header..header + 512]) {
                let mut record = tar::Header::from_byte_slice(&record).clone();
                record.set_cksum();
                bytes[header..header + 512].copy_from_slice(record.as_bytes());
            }
        }
        fs_err::write(&path, bytes).expect("an archive");
        for transport in ["oci-archive", "docker-archive"] {
            if let Ok(artifact) = open(transport, &path, "")
                && let Ok(image) = Image::from_artifact(&artifact)
            {
                let _ = store::verify_layers(&image);
            }
        }
    }
}

#[test]
fn an_interrupted_copy_leaves_no_file() {
    let folder = folder();
    let (work, archive) = (folder.path().join("work"), folder.path().join("a.tar"));
    fs_err::create_dir(&work).expect("a folder");
    put(&image("1"), &format!("oci-archive:{}", archive.display()));
    let bytes = fs_err::read(&archive).expect("an archive");
    for destination in ["oci:copy", "oci-archive:copy/b.tar", "docker-archive:copy/b.tar"] {
        let mut command = ipo_oci();
        command.args(["copy", "oci-archive:-", destination]).env("TMPDIR", &work).current_dir(folder.path());
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let mut child = command.spawn().expect("a process");
        let mut input = child.stdin.take().expect("its input");
        std::io::Write::write_all(&mut input, &bytes[..bytes.len() / 2]).expect("it reads");
        let pid = rustix::process::Pid::from_child(&child);
        // Background processes of a script ignore SIGINT; SIGTERM takes the same path.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        let status = child.wait().expect("it ends");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15), "{status}");
        assert!(!folder.path().join("copy").exists());
        assert_eq!(fs_err::read_dir(&work).expect("a folder").count(), 0);
    }
}
