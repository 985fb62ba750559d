//! Layouts and archives written by the library: their content, other tools, and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipo_oci::digest::Digest;
use ipo_oci::error::{Advice, chain};
use ipo_oci::image::{Blob, Descriptor, Encoding, Format, IMAGE_MANIFEST, Image};
use ipo_oci::progress::Silent;
use ipo_oci::reference::Name;
use ipo_oci::store::{self, StoreError};

use crate::support::images::{UNICODE, base, image, image_with, layer_of};
use crate::support::layout::json;
use crate::support::{Layout, output_of, requires, requires_root, run, skip};
use test_macros::test;

fn name() -> Name {
    "agencyos:3.0.0".parse().expect("a name")
}

fn put(image: &Image, destination: &str) -> Result<store::Stored, StoreError> {
    store::write_image(image, &destination.parse()?, &name(), "")
}

fn to(transport: &str, path: &Path, tag: &str) -> String {
    format!("{transport}:{}{tag}", path.display())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Returns the content of every file below `root`.
fn all(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.expect("a readable folder"));
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|file| (file.path().to_owned(), fs_err::read(file.path()).expect("a file"))).collect()
}

fn blobs(root: &Path) -> BTreeSet<String> {
    let entries = fs_err::read_dir(root.join("blobs/sha256")).expect("blobs");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn foreign_layers_are_stored_if_available() {
    for kind in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ] {
        let whole = image("1").artifact().expect("an artifact");
        let mut manifest = json(&whole.bytes);
        manifest["layers"][0]["mediaType"] = kind.into();
        manifest["layers"][0]["urls"] = vec!["https://example.invalid/layer"].into();
        let bytes = manifest.to_string().into_bytes();
        let mut foreign = whole.clone();
        foreign.descriptor = Descriptor::new(IMAGE_MANIFEST, Digest::of(&bytes), bytes.len() as u64);
        foreign.bytes = bytes.into();
        foreign.blobs[1].0 = Descriptor::from_json(&manifest["layers"][0]).expect("a descriptor");
        let mut shallow = foreign.clone();
        shallow.blobs[1].1 = Blob::File("not/there".into());
        for (artifact, count) in [(&foreign, 4), (&shallow, 3)] {
            let folder = folder();
            for transport in ["oci", "oci-archive"] {
                let place = to(transport, &folder.path().join(transport), ":1");
                let (options, access) = (store::WriteOptions::default(), store::Access::default());
                let destination = place.parse().expect("a destination");
                store::write(artifact, &destination, &name(), &options, &access, &Silent).expect("stored");
                let found = store::open(&destination, &access).expect("an artifact");
                assert_eq!(found.digest(), foreign.digest());
                let image = Image::from_artifact(&found).expect("an image");
                assert_eq!(image.layers[0].encoding, Encoding::Gzip);
            }
            assert_eq!(blobs(&folder.path().join("oci")).len(), count);
        }
        let docker = foreign.with_format(Format::Docker).expect("Docker's");
        let kind = &docker.blobs[1].0.media_type;
        assert_eq!(kind, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    }
}

#[test]
fn tags_share_blobs_and_replaced_images_are_removed() {
    let folder = folder();
    let (one, two, three) = (image("1"), image("2"), image("3"));
    put(&one, &to("oci", folder.path(), ":a")).expect("stored");
    put(&two, &to("oci", folder.path(), ":b")).expect("stored");
    let shared = blobs(folder.path());
    assert_eq!(shared.len(), 1 + 3 + 3);
    let stored = put(&three, &to("oci", folder.path(), ":a")).expect("stored");
    assert_eq!(stored.to_string(), format!("{}@{}", to("oci", folder.path(), ":a"), three.digest()));
    let layout = Layout::open(folder.path());
    assert_eq!(layout.tags(), ["a", "b"]);
    layout.verify();
    assert!(!blobs(folder.path()).contains(&one.digest().hex()));
    // Writing the same image changes no file.
    let before = all(folder.path());
    put(&three, &to("oci", folder.path(), ":a")).expect("stored");
    assert_eq!(all(folder.path()), before);
}

#[test]
fn foreign_content_of_a_layout_stays() {
    let folder = folder();
    put(&image("1"), &to("oci", folder.path(), ":a")).expect("stored");
    let path = folder.path().join("index.json");
    let mut index = json(&fs_err::read(&path).expect("an index"));
    let foreign = serde_json::json!({
        "mediaType": "application/vnd.example", "size": 3, "digest": Digest::of(b"foreign").to_string(), "x": [1],
    });
    index["annotations"] = serde_json::json!({ "kept": "yes" });
    index["manifests"].as_array_mut().expect("manifests").push(foreign.clone());
    fs_err::write(&path, index.to_string()).expect("an index");
    let blob = folder.path().join("blobs/sha256/readme");
    fs_err::write(&blob, "foreign").expect("a file");
    fs_err::write(folder.path().join("notes.txt"), "mine").expect("a file");
    let before = blobs(folder.path());

    put(&image("2"), &to("oci", folder.path(), ":a")).expect("stored");
    let index = json(&fs_err::read(&path).expect("an index"));
    assert_eq!(index["annotations"]["kept"], "yes");
    assert_eq!(index["manifests"][1], foreign);
    assert!(folder.path().join("notes.txt").exists());
    // References of the foreign entry are unknown, so every blob stays.
    assert!(blobs(folder.path()).is_superset(&before));
}

#[test]
fn reads_stored_images() {
    let folder = folder();
    let image = image("1");
    put(&image, &to("oci", folder.path(), "")).expect("stored");
    for tag in [Some("3.0.0"), None] {
        let again = store::read_layout(folder.path(), tag).expect("an image");
        assert_eq!((&again.manifest, &again.config), (&image.manifest, &image.config));
        assert_eq!(again.platform, image.platform);
        store::verify_layers(&again).expect("good layers");
    }
    let listed = store::list_layout(folder.path()).expect("a list");
    assert_eq!(listed[0].ref_name.as_deref(), Some("3.0.0"));
    let absent = store::read_layout(folder.path(), Some("x")).expect_err("no such tag");
    assert!(matches!(absent, StoreError::NoImage { .. }), "{absent}");
    // Layers are copied directly from the first layout.
    let copy = folder.path().join("copy");
    let again = store::read_layout(folder.path(), None).expect("an image");
    put(&again, &to("oci", &copy, "")).expect("stored");
    Layout::open(&copy).verify();
}

#[test]
fn reading_detects_damage_and_storing_repairs_blobs() {
    let image = image("1");
    let hex = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let files = [
        "oci-layout".to_owned(),
        "index.json".to_owned(),
        hex(image.digest()),
        hex(image.config_digest()),
        hex(image.layers[0].digest),
    ];
    for file in files {
        for damage in [&b""[..], b"{", b"[]", &[b'['; 5000], &vec![b' '; 5 << 20]] {
            let folder = folder();
            put(&image, &to("oci", folder.path(), "")).expect("stored");
            fs_err::write(folder.path().join(&file), damage).expect("a file");
            let error = store::read_layout(folder.path(), None).expect_err(&file);
            assert!(error.help().is_some(), "{error}");
            if file.starts_with("blobs") {
                put(&image, &to("oci", folder.path(), "")).expect("stored");
                Layout::open(folder.path()).verify();
            } else {
                let before = all(folder.path());
                put(&image, &to("oci", folder.path(), "")).expect_err(&file);
                assert_eq!(all(folder.path()), before, "{file}");
            }
        }
    }
    let folder = folder();
    put(&image, &to("oci", folder.path(), "")).expect("stored");
    let path = folder.path().join(hex(image.layers[0].digest));
    let mut bytes = fs_err::read(&path).expect("a layer");
    bytes[30] ^= 1;
    fs_err::write(&path, bytes).expect("a layer");
    let again = store::read_layout(folder.path(), None).expect("its size is right");
    assert!(matches!(store::verify_layers(&again), Err(StoreError::Digest { .. })));
    let archive = folder.path().join("a.tar");
    let error = put(&again, &to("oci-archive", &archive, "")).expect_err("a bad layer");
    assert!(matches!(error, StoreError::Digest { .. }), "{error}");
    assert!(!archive.exists());
}

#[test]
fn refuses_other_directories_without_changing_them() {
    let folder = folder();
    let path = folder.path();
    fs_err::create_dir_all(path.join("project/src")).expect("a folder");
    fs_err::write(path.join("project/src/main.py"), "x").expect("a file");
    fs_err::create_dir_all(path.join("other")).expect("a folder");
    fs_err::write(path.join("other/oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).expect("a file");
    let before = all(path);
    for (target, said) in [
        ("project", "found `src`"),
        ("project/src/main.py", "found a file"),
        ("project/src/main.py/below", "not a directory"),
        ("other", "2.0.0"),
    ] {
        let error = chain(&put(&image("1"), &to("oci", &path.join(target), ":a")).expect_err(target));
        assert!(error.contains(said), "{error}");
    }
    for target in ["project", "project/src/main.py/a.tar"] {
        for transport in ["oci-archive", "docker-archive"] {
            put(&image("1"), &to(transport, &path.join(target), "")).expect_err(target);
        }
    }
    assert_eq!(all(path), before);
}

#[test]
fn a_wrong_blob_leaves_the_layout_unchanged() {
    let folder = folder();
    put(&image("1"), &to("oci", folder.path(), ":a")).expect("stored");
    let before = all(folder.path());
    let mut wrong = layer_of(&[("app/main.py", "2")]);
    wrong.blob = Blob::Memory(b"something else".to_vec().into());
    let error = put(&image_with(wrong), &to("oci", folder.path(), ":a")).expect_err("a wrong blob");
    assert!(matches!(error, StoreError::Digest { .. }), "{error}");
    let mut gone = layer_of(&[("app/main.py", "3")]);
    gone.blob = Blob::File(folder.path().join("gone"));
    put(&image_with(gone), &to("oci", folder.path(), ":b")).expect_err("a blob that is not there");
    assert_eq!(all(folder.path()), before);
}

#[test]
fn concurrent_writers_keep_all_images() {
    let folder = folder();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = folder.path();
            scope.spawn(move || {
                for round in 0..5 {
                    let image = image(&format!("{writer}.{round}"));
                    put(&image, &to("oci", path, &format!(":t{writer}"))).expect("stored");
                }
            });
        }
    });
    let layout = Layout::open(folder.path());
    let mut tags = layout.tags();
    tags.sort();
    assert_eq!(tags, ["t0", "t1", "t2", "t3"]);
    layout.verify();
}

/// Writes images in a loop; a child process of the next test.
#[test]
#[ignore = "it is a part of `a_killed_write_leaves_the_old_or_the_new_image`"]
fn child_that_stores() {
    let Some(path) = std::env::var_os("STORE_INTO") else { return };
    let images = [image("1"), image("2"), image("3")];
    for image in images.iter().cycle() {
        put(image, &to("oci", Path::new(&path), ":a")).expect("stored");
        println!("stored");
    }
}

#[test]
fn a_killed_write_leaves_the_old_or_the_new_image() {
    let folder = folder();
    let possible: Vec<String> = ["1", "2", "3"].map(|version| image(version).digest().to_string()).into();
    for round in 0..60_usize {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "store::child_that_stores", "--nocapture"])
            .env("STORE_INTO", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        // Kills the child during its next write, at a point that depends on the round.
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        for _ in 0..=round % 4 {
            while lines.next().expect("it goes on").expect("text") != "stored" {}
        }
        for _ in 0..round * 7 % 61 {
            let _ = std::hint::black_box(blobs(folder.path()));
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let image = Layout::open(folder.path()).image("a");
        assert!(possible.contains(&image.digest), "round {round}");
        let again = store::read_layout(folder.path(), Some("a")).expect("an image");
        store::verify_layers(&again).expect("good layers");
    }
    put(&image("4"), &to("oci", folder.path(), ":a")).expect("stored");
    let left = walkdir::WalkDir::new(folder.path()).into_iter().filter(|entry| {
        entry.as_ref().expect("a readable folder").file_name().to_string_lossy().starts_with(".ipo-oci-")
    });
    assert_eq!(left.count(), 0);
}

/// A small tmpfs, unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Self {
        requires_root();
        let folder = folder();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path());
        if run(&mut mount).status.success() {
            return Self(folder);
        }
        skip("nothing can be mounted")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_stored_images_unchanged() {
    let disk = SmallDisk::mount("size=192k");
    let path = disk.0.path();
    let (layout, archive) = (path.join("layout"), path.join("a.tar"));
    put(&image("1"), &to("oci", &layout, ":a")).expect("a small image fits");
    put(&image("1"), &to("oci-archive", &archive, "")).expect("a small image fits");
    let before = all(path);
    // Text whose compressed size exceeds the disk.
    let noise: String = (0_u32..20_000).map(|i| Digest::of(&i.to_le_bytes()).hex()).collect();
    let large = image_with(layer_of(&[("app/main.py", &noise)]));
    for destination in
        [to("oci", &layout, ":a"), to("oci-archive", &archive, ""), to("docker-archive", &archive, "")]
    {
        let error = put(&large, &destination).expect_err("no room");
        assert!(error.to_string().contains("no space left"), "{error}");
        assert!(error.help().expect("advice").contains("free some space"));
        assert_eq!(all(path), before, "{destination}");
    }
}

#[test]
fn a_full_disk_fails_a_copy() {
    let disk = SmallDisk::mount("size=192k");
    let folder = folder();
    let noise: String = (0_u32..20_000).map(|i| Digest::of(&i.to_le_bytes()).hex()).collect();
    let archive = folder.path().join("a.tar");
    put(&image_with(layer_of(&[("app/main.py", &noise)])), &to("oci-archive", &archive, "")).expect("stored");
    let zipped = folder.path().join("a.tar.gz");
    fs_err::write(&zipped, crate::support::images::gzip(&fs_err::read(&archive).expect("an archive")))
        .expect("a file");
    let small = disk.0.path();
    for (from, into, work) in [(&archive, small, folder.path()), (&zipped, folder.path(), small)] {
        let layout = into.join("layout");
        let mut command = crate::support::ipo_oci();
        command.args(["copy", &to("oci-archive", from, ""), &to("oci", &layout, ":a")]).env("TMPDIR", work);
        let outcome = run(&mut command).exits_with(1);
        assert!(outcome.stderr.contains("no space left"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("free some space"), "{}", outcome.stderr);
        let left = walkdir::WalkDir::new(small)
            .into_iter()
            .filter(|entry| entry.as_ref().expect("a readable folder").file_type().is_file());
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn reports_a_read_only_destination() {
    let disk = SmallDisk::mount("ro");
    let path = disk.0.path();
    for destination in [
        to("oci", path, ":a"),
        to("oci", &path.join("new"), ":a"),
        to("oci-archive", &path.join("a.tar"), ""),
    ] {
        let error = put(&image("1"), &destination).expect_err("read only");
        assert!(error.to_string().contains("read-only file system"), "{error}");
        assert!(error.help().expect("advice").contains("-o"));
    }
}

#[test]
fn devices_are_written_to_and_not_replaced() {
    for transport in ["oci-archive", "docker-archive"] {
        let error = put(&image("1"), &format!("{transport}:/dev/full")).expect_err("a full device");
        assert!(error.to_string().contains("cannot write /dev/full: no space left"), "{error}");
        put(&image("1"), &format!("{transport}:/dev/null")).expect("the device takes everything");
    }
    for device in ["/dev/full", "/dev/null"] {
        assert!(!fs_err::metadata(device).expect("a device").is_file());
    }
}

#[test]
fn archives_are_deterministic_and_replaced_atomically() {
    let folder = folder();
    for transport in ["oci-archive", "docker-archive"] {
        let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
        let link = folder.path().join("link.tar");
        fs_err::write(&first, "what was there").expect("a file");
        let _ = fs_err::remove_file(&link);
        fs_err::os::unix::fs::symlink("1.tar", &link).expect("a link");
        put(&image("1"), &to(transport, &link, "")).expect("stored");
        put(&image("1"), &to(transport, &second, "")).expect("stored");
        assert_eq!(fs_err::read(&first).expect("an archive"), fs_err::read(&second).expect("an archive"));
        assert!(fs_err::symlink_metadata(&link).expect("a link").file_type().is_symlink());
        let mode = fs_err::metadata(&second).expect("an archive").permissions().mode();
        // The mode that the umask gives any new file.
        let other = folder.path().join("other");
        fs_err::write(&other, "").expect("a file");
        assert_eq!(mode, fs_err::metadata(&other).expect("a file").permissions().mode());
        fs_err::remove_file(second).expect("removed");
    }
    let left = fs_err::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 3);
}

#[test]
fn blobs_are_linked_into_the_layout() {
    let folder = folder();
    let mut top = layer_of(&[("app/main.py", "1")]);
    let Blob::Memory(bytes) = &top.blob else { unreachable!() };
    let work = folder.path().join("work");
    fs_err::write(&work, bytes).expect("a file");
    top.blob = Blob::File(work.clone());
    let layout = folder.path().join("layout");
    let stored = layout.join("blobs/sha256").join(top.digest.hex());
    put(&image_with(top), &to("oci", &layout, ":a")).expect("stored");
    let inode = |path: &Path| fs_err::metadata(path).expect("a file").ino();
    if fs_err::metadata(&work).expect("a file").mode() & 0o444 == 0o444 {
        assert_eq!(inode(&stored), inode(&work));
    }
    fs_err::remove_file(work).expect("removed");
    Layout::open(&layout).verify();
}

#[test]
fn skopeo_reads_printed_references() {
    requires("skopeo");
    let folder = folder();
    let path = folder.path();
    for destination in [
        to("oci", &path.join("a"), ""),
        to("oci", &path.join("a"), ":2"),
        to("oci", &path.join("a"), ":ghcr.io/team/agencyos:1"),
        to("oci-archive", &path.join("b.tar"), ""),
        to("oci-archive", &path.join("c.tar"), ":2"),
        to("docker-archive", &path.join("d.tar"), ""),
        to("docker-archive", &path.join("e.tar"), ":team/agencyos:1"),
    ] {
        let image = image(&destination);
        let stored = put(&image, &destination).expect("stored");
        let config =
            json(output_of("skopeo", ["inspect", "--config", "--raw", &stored.reference]).as_bytes());
        let ours = json(&image.config);
        assert_eq!(config["rootfs"], ours["rootfs"], "{destination}");
        assert_eq!(config["config"]["Healthcheck"], ours["config"]["Healthcheck"], "{destination}");
    }
    Layout::open(path.join("a")).verify();
}

#[test]
fn skopeo_and_the_library_share_layouts() {
    requires("skopeo");
    let folder = folder();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let copy = |from: &str, to: &str| output_of("skopeo", ["copy", "--quiet", "--insecure-policy", from, to]);
    put(&image("1"), &to("oci", &ours, ":a")).expect("stored");
    copy(&to("oci", &ours, ":a"), &to("oci", &theirs, ":a"));
    put(&image("2"), &to("oci", &theirs, ":b")).expect("stored");
    copy(&to("oci", &theirs, ":b"), &to("oci", &ours, ":b"));
    put(&image("3"), &to("oci", &ours, ":a")).expect("stored");
    for layout in [&ours, &theirs] {
        assert_eq!(Layout::open(layout).image("b").digest, image("2").digest().to_string());
        Layout::open(layout).verify();
    }
    let copied = folder.path().join("docker.tar");
    copy(&to("oci", &ours, ":a"), &to("docker-archive", &copied, ":agencyos:3"));
    copy(&to("oci", &ours, ":a"), &to("dir", &folder.path().join("dir"), ""));
}

#[test]
fn umoci_unpacks_long_and_foreign_names() {
    requires("umoci");
    let folder = folder();
    let (layout, bundle) = (folder.path().join("layout"), folder.path().join("bundle"));
    put(&image("1"), &to("oci", &layout, ":a")).expect("stored");
    let place = format!("{}:a", layout.display());
    output_of("umoci", ["unpack", "--rootless", "--image", &place, bundle.to_str().expect("UTF-8")]);
    let root = bundle.join("rootfs");
    assert_eq!(fs_err::read_to_string(root.join(UNICODE)).expect("a file"), "é");
    let long = root.join("usr").join("a".repeat(120)).join("b".repeat(120)).join("c".repeat(120));
    assert_eq!(fs_err::read_to_string(long).expect("a file"), "long");
}

#[test]
fn podman_loads_both_archives_by_name() {
    requires("podman");
    requires_root();
    for (transport, keeps_the_check) in [("oci-archive", false), ("docker-archive", true)] {
        let folder = folder();
        let archive = folder.path().join("a.tar");
        let named: Name = "registry.example/team/agencyos:3.0.0".parse().expect("a name");
        let destination = to(transport, &archive, "").parse().expect("a destination");
        store::write_image(&image("1"), &destination, &named, "").expect("stored");
        let podman = |arguments: &[&str]| {
            let mut command = Command::new("podman");
            command.arg("--root").arg(folder.path().join("root"));
            command.arg("--runroot").arg(folder.path().join("run"));
            command.args(["--storage-driver", "vfs", "--log-level", "error"]).args(arguments);
            run(&mut command).success()
        };
        podman(&["load", "--input", archive.to_str().expect("UTF-8")]);
        let said = podman(&["image", "inspect", &named.to_string()]);
        let said = &json(&said.stdout)[0];
        assert_eq!(said["Config"]["User"], "1000:1000", "{said:#}");
        assert_eq!(said["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
        if keeps_the_check {
            assert_eq!(said["Healthcheck"]["Test"][1], "/app/check", "{said:#}");
        }
    }
}

#[test]
fn gzip_and_tar_read_a_layer() {
    let folder = folder();
    let path = folder.path().join("layer.tar.gz");
    let Blob::Memory(bytes) = base().blob else { unreachable!() };
    fs_err::write(&path, bytes).expect("a file");
    let path = path.to_str().expect("UTF-8");
    output_of("gzip", ["-t", path]);
    let listed = output_of("tar", ["--list", "--gzip", "--quoting-style=literal", "--file", path]);
    assert!(listed.lines().any(|line| line == UNICODE), "{listed}");
    // GNU tar reports oddities such as "lone zero block" on standard error.
    let mut verbose = Command::new("tar");
    verbose.args(["--list", "--verbose", "--gzip", "--file", path]);
    assert_eq!(run(&mut verbose).success().stderr, "");
}
