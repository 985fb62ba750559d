//! `ipo-oci verify`: damaged and odd images, of this program and of others.

use std::path::Path;

use ipo_oci::digest::Digest;
use ipo_oci::image::{Artifact, Blob, Encoding, Image, Layer};
use ipo_oci::progress::Silent;
use ipo_oci::reference::Name;
use ipo_oci::store::{self, Access, WriteOptions};
use ipo_oci::verify::{Verification, VerifyOptions, verify};
use serde_json::{Value, json};

use crate::support::images::{Raw, archive, gzip, image, image_for, image_with};
use crate::support::{Outcome, Project, ipo_oci, requires, run};
use test_macros::test;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn put(artifact: &Artifact, destination: &str) {
    let name: Name = "team/agencyos:3".parse().expect("a name");
    let destination = destination.parse().expect("a destination");
    store::write(artifact, &destination, &name, &WriteOptions::default(), &Access::default(), &Silent)
        .expect("stored");
}

fn verified(reference: &str) -> Verification {
    let reference = reference.parse().expect("a reference");
    verify(&reference, &VerifyOptions::default(), &Access::default(), &Silent).expect("opened")
}

/// Returns rule and subject of every finding.
fn rules(report: &Verification) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

/// Writes an image to a layout and returns its reference.
fn layout(root: &Path, image: &Image) -> String {
    let reference = format!("oci:{}", root.display());
    put(&image.artifact().expect("an artifact"), &format!("{reference}:3"));
    reference
}

fn layer(tar: &[u8], blob: Vec<u8>, encoding: Encoding) -> Layer {
    Layer {
        digest: Digest::of(&blob),
        size: blob.len() as u64,
        diff_id: Digest::of(tar),
        encoding,
        blob: Blob::Memory(blob.into()),
    }
}

fn index() -> Artifact {
    Artifact::index_of(vec![
        image_for("amd64").artifact().expect("an artifact"),
        image_for("arm64").artifact().expect("an artifact"),
    ])
    .expect("an index")
}

#[test]
fn intact_images_of_every_transport_have_no_findings() {
    let folder = folder();
    let root = folder.path().display();
    for destination in [format!("oci:{root}/layout:3"), format!("oci-archive:{root}/layout.tar")] {
        put(&index(), &destination);
        let report = verified(&destination);
        assert_eq!((report.images, report.layers, report.findings), (2, 3, Vec::new()), "{destination}");
    }
    let destination = format!("docker-archive:{root}/saved.tar");
    put(&image("1").artifact().expect("an artifact"), &destination);
    assert_eq!(
        verified(&destination).render(),
        format!("{destination}: 1 image, 2 layers, 1.7 kB: no findings\n")
    );
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Flips bits of a sample, and returns the files and bits without an error.
fn unnoticed_flips(root: &Path, bits_of_each_file: usize) -> Vec<String> {
    let reference = format!("oci:{}", root.display());
    let mut state = 20_261_130;
    let mut unnoticed = Vec::new();
    let mut files: Vec<_> = walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    files.sort();
    assert!(files.len() > 4, "{files:?}");
    for file in files {
        let good = fs_err::read(&file).expect("a file");
        let bits = good.len() * 8;
        for number in 0..bits_of_each_file.min(bits) {
            // Of a small file every bit.
            let drawn = usize::try_from(random(&mut state) % bits as u64).expect("a bit");
            let bit = if bits <= bits_of_each_file { number } else { drawn };
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs_err::write(&file, &bytes).expect("written");
            if verified(&reference).is_intact() {
                unnoticed.push(format!("{} bit {bit}: {}", file.display(), String::from_utf8_lossy(&bytes)));
            }
        }
        fs_err::write(&file, good).expect("written");
    }
    assert!(verified(&reference).is_intact());
    unnoticed
}

#[test]
fn every_flipped_bit_of_a_layout_is_noticed() {
    let folder = folder();
    put(&index(), &format!("oci:{}:3", folder.path().display()));
    let unnoticed = unnoticed_flips(folder.path(), 250);
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

#[test]
fn flipped_bits_of_blobs_of_other_tools_are_noticed() {
    requires("skopeo");
    let folder = folder();
    let ours = layout(&folder.path().join("ours"), &image("1"));
    let other = folder.path().join("other");
    run(std::process::Command::new("skopeo").args([
        "copy",
        "-q",
        &ours,
        &format!("oci:{}", other.display()),
    ]))
    .success();
    let mut unnoticed = unnoticed_flips(&other, 150);
    // Without a tag, the index has no text that may change.
    unnoticed.retain(|line| !line.contains("annotation"));
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

#[test]
fn odd_members_are_found_by_their_rules() {
    let file = |name: &str| Raw::file(name, "x");
    let hard = |name: &str, to: &str| Raw::HardLink(name.into(), to.into());
    let soft = |name: &str, to: &str| Raw::Symlink(name.into(), to.into());
    for (members, expected) in [
        (vec![Raw::Folder("app/".into()), file("app/a"), hard("app/b", "app/a")], &[][..]),
        (vec![file("../a")], &["unsafe-path"]),
        (vec![file("a/../../b")], &["unsafe-path"]),
        (vec![hard("a", "../../etc/passwd")], &["unsafe-path"]),
        (vec![file("/a")], &["absolute-path"]),
        (vec![file("a"), file("./a")], &["duplicate-path"]),
        (vec![hard("a", "b")], &["hard-link"]),
        (vec![hard("a", "b"), file("b")], &["hard-link"]),
        (vec![Raw::Folder("b".into()), hard("a", "b")], &["hard-link"]),
        (vec![hard("a", "etc/passwd")], &["hard-link-below"]),
        (vec![file("a"), file("a/b")], &["not-a-directory"]),
        (vec![file("etc/passwd/b")], &["not-a-directory"]),
        (vec![soft("a", "etc"), file("a/b")], &["below-link"]),
        (vec![file("etc/.wh.passwd")], &["whiteout"]),
        (vec![Raw::file("etc/.wh.passwd", "")], &[]),
        (vec![Raw::file("etc/.wh.shadow", "")], &["whiteout-of-nothing"]),
        (vec![Raw::file("etc/.wh.", "")], &["whiteout"]),
        (vec![Raw::file(".wh..wh.plnk", "")], &["whiteout"]),
        (vec![Raw::file("etc/.wh..wh..opq", "")], &[]),
        (vec![Raw::Folder("etc/.wh.passwd".into())], &["whiteout"]),
        (vec![Raw::Device("dev/null".into())], &["device"]),
    ] {
        let tar = archive(&members);
        let folder = folder();
        let image = image_with(layer(&tar, gzip(&tar), Encoding::Gzip));
        let report = verified(&layout(folder.path(), &image));
        assert_eq!(rules(&report), expected, "{members:?}\n{}", report.render());
    }
}

#[test]
fn odd_archives_are_found_by_their_rules() {
    let good = archive(&[Raw::file("a", "x")]);
    let without_end = good[..good.len() - 1024].to_vec();
    let one_record = good[..good.len() - 512].to_vec();
    let mut trailing = good.clone();
    trailing.extend([b'x'; 512]);
    let mut padding = good.clone();
    padding[512 + 100] = 1;
    let mut checksum = good.clone();
    checksum[0] = b'b';
    let mut unknown = good.clone();
    let mut header = tar::Header::from_byte_slice(&unknown[..512]).clone();
    header.set_entry_type(tar::EntryType::new(b'Z'));
    header.set_cksum();
    unknown[..512].copy_from_slice(header.as_bytes());
    let mut extended = unknown.clone();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_cksum();
    extended[..512].copy_from_slice(header.as_bytes());
    let garbage = [gzip(&good), b"garbage".to_vec()].concat();
    let truncated = gzip(&good)[..40].to_vec();
    for (tar, blob, expected) in [
        (&good, good.clone(), &["media-type"][..]),
        (&without_end, gzip(&without_end), &["end-of-archive"]),
        (&one_record, gzip(&one_record), &["end-of-archive"]),
        (&trailing, gzip(&trailing), &["trailing-data"]),
        (&padding, gzip(&padding), &["padding"]),
        (&checksum, gzip(&checksum), &["archive"]),
        (&unknown, gzip(&unknown), &["member-type"]),
        (&extended, gzip(&extended), &["extended-header", "extended-header"]),
        (&good, garbage, &["compression"]),
        (&good, truncated, &["compression"]),
        (&trailing, gzip(&good), &["diff-id"]),
    ] {
        let folder = folder();
        let image = image_with(layer(tar, blob, Encoding::Gzip));
        let report = verified(&layout(folder.path(), &image));
        assert_eq!(rules(&report), expected, "{}", report.render());
    }
}

/// Edits the JSON of a document of a layout, and stores it under its new digest.
fn with_manifest(edit: &dyn Fn(&mut Value, &mut Value)) -> Verification {
    let folder = folder();
    let reference = layout(folder.path(), &image("1"));
    let blobs = folder.path().join("blobs/sha256");
    let read = |digest: &Value| -> Value {
        let hex = digest.as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
        serde_json::from_slice(&fs_err::read(blobs.join(hex)).expect("a blob")).expect("JSON")
    };
    let store = |document: &Value, descriptor: &mut Value| {
        let bytes = document.to_string();
        let digest = Digest::of(bytes.as_bytes());
        fs_err::write(blobs.join(digest.hex()), &bytes).expect("written");
        descriptor["digest"] = digest.to_string().into();
        descriptor["size"] = bytes.len().into();
    };
    let path = folder.path().join("index.json");
    let mut index: Value = serde_json::from_slice(&fs_err::read(&path).expect("an index")).expect("JSON");
    let mut manifest = read(&index["manifests"][0]["digest"]);
    let mut config = read(&manifest["config"]["digest"]);
    edit(&mut manifest, &mut config);
    store(&config, &mut manifest["config"]);
    store(&manifest, &mut index["manifests"][0]);
    index["annotations"] = Value::Null;
    fs_err::write(&path, index.to_string()).expect("written");
    let mut report = verified(&reference);
    report.findings.retain(|finding| finding.rule != "unreferenced-blob");
    report
}

#[test]
fn contradictions_of_documents_are_found_by_their_rules() {
    type Edit = dyn Fn(&mut Value, &mut Value);
    let cases: [(&Edit, &[&str]); 14] = [
        (&|_, _| (), &[]),
        (&|manifest, _| manifest["schemaVersion"] = 1.into(), &["document"]),
        (&|manifest, _| manifest["layers"][0]["size"] = 1.into(), &["blob-size"]),
        (&|manifest, _| manifest["layers"][0]["digest"] = "md5:0".into(), &["descriptor"]),
        (&|manifest, _| manifest["layers"][0]["mediaType"] = "x".into(), &["unknown-media-type"]),
        (
            &|manifest, _| {
                manifest["layers"][0]["mediaType"] =
                    "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
            },
            &["mixed-media-types"],
        ),
        (
            &|manifest, _| {
                manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
            },
            &["media-type", "mixed-media-types"],
        ),
        (
            &|manifest, _| {
                let layer = &mut manifest["layers"][0];
                layer["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
                layer["urls"] = json!(["https://example.com/layer"]);
            },
            &["foreign-layer"],
        ),
        (
            &|manifest, _| {
                manifest["subject"] = json!({ "mediaType": "x", "size": 1, "digest": Digest::of(b"x") });
            },
            &["missing-subject"],
        ),
        (&|_, config| config["architecture"] = "s390x".into(), &["platform"]),
        (&|_, config| config["created"] = "yesterday".into(), &["document"]),
        (&|_, config| config["rootfs"]["diff_ids"] = json!([]), &["layer-count"]),
        (&|_, config| config["rootfs"]["diff_ids"][0] = json!(Digest::of(b"x")), &["diff-id"]),
        (&|_, config| config["history"] = json!([{ "created_by": "x" }]), &["history"]),
    ];
    for (number, (edit, expected)) in cases.into_iter().enumerate() {
        let report = with_manifest(edit);
        assert_eq!(rules(&report), expected, "case {number}: {}", report.render());
    }
}

#[test]
fn faults_of_a_layouts_files_are_found_by_their_rules() {
    type Edit<'a> = dyn Fn(&Path) + 'a;
    let blob = |root: &Path, number: usize| {
        let mut blobs: Vec<_> = fs_err::read_dir(root.join("blobs/sha256"))
            .expect("blobs")
            .map(|entry| entry.expect("a blob").path())
            .collect();
        blobs.sort_by_key(|path| std::cmp::Reverse(fs_err::metadata(path).expect("a blob").len()));
        blobs.swap_remove(number)
    };
    let write = |root: &Path, name: &str, text: &str| fs_err::write(root.join(name), text).expect("written");
    let unused = format!("blobs/sha256/{}", Digest::of(b"unused").hex());
    let cases: [(&Edit, &[&str]); 10] = [
        (&|root| fs_err::remove_file(root.join("oci-layout")).expect("removed"), &["layout-marker"]),
        (&|root| write(root, "oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#), &["layout-marker"]),
        (&|root| fs_err::remove_file(root.join("index.json")).expect("removed"), &["layout-index"]),
        (&|root| write(root, "index.json", "{"), &["layout-index"]),
        (&|root| fs_err::remove_file(blob(root, 0)).expect("removed"), &["missing-blob"]),
        (&|root| write(root, &unused, "unused"), &["unreferenced-blob"]),
        (&|root| write(root, &unused, "other"), &["blob-digest", "unreferenced-blob"]),
        (&|root| write(root, "blobs/sha256/x", ""), &["unknown-file"]),
        (&|root| write(root, "blobs/sha256/.ipo-oci-x", ""), &["unknown-file"]),
        (
            &|root| {
                let index = fs_err::read_to_string(root.join("index.json")).expect("an index");
                write(root, "index.json", &index.replace("team/agencyos:3", "team/agencyos:4"));
            },
            &["index-damaged", "image-name"],
        ),
    ];
    for (number, (edit, expected)) in cases.into_iter().enumerate() {
        let folder = folder();
        let reference = layout(folder.path(), &image("1"));
        edit(folder.path());
        let mut report = verified(&reference);
        if expected == ["layout-index"] {
            report.findings.retain(|finding| finding.rule != "unreferenced-blob");
        }
        assert_eq!(rules(&report), expected, "case {number}: {}", report.render());
    }
}

#[test]
fn the_command_prints_findings_and_exits_with_1() {
    let folder = folder();
    let tar = archive(&[Raw::file("a\u{1b}[2J", "x"), Raw::file("a\u{1b}[2J", "x"), Raw::file("../b", "x")]);
    let reference = layout(folder.path(), &image_with(layer(&tar, gzip(&tar), Encoding::Gzip)));
    let outcome = run(ipo_oci().args(["verify", &reference]));
    assert_eq!(outcome.status.code(), Some(1));
    let text = String::from_utf8(outcome.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("error[unsafe-path] layer 2 of 3 (sha256:"), "{text}");
    assert_eq!(lines[1], "    ../b");
    assert_eq!(lines[3], "    /a\\u{1b}[2J");
    assert!(lines[4].ends_with("1 error, 1 warning"), "{text}");
    assert!(outcome.stderr.contains("cannot trust"), "{}", outcome.stderr);
    let outcome = run(ipo_oci().args(["verify", &reference, "--format", "json"]));
    let json: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    assert_eq!(
        (&json["findings"][0]["rule"], &json["findings"][0]["severity"]),
        (&json!("unsafe-path"), &json!("error"))
    );
    assert_eq!(json["findings"][1]["paths"], json!(["/a\u{1b}[2J"]));
    let missing = run(ipo_oci().args(["verify", &format!("{reference}:4")]));
    assert!(missing.stderr.contains("image `4` not found"), "{}", missing.stderr);
}

#[test]
fn shallow_layouts_are_accepted_on_request() {
    let folder = folder();
    let reference = layout(folder.path(), &image("1"));
    let layer = image("1").layers[1].digest.hex();
    fs_err::remove_file(folder.path().join("blobs/sha256").join(layer)).expect("removed");
    assert_eq!(run(ipo_oci().args(["verify", &reference])).status.code(), Some(1));
    run(ipo_oci().args(["verify", "--shallow", &reference])).success();
}

#[test]
fn layouts_of_umoci_and_skopeo_have_no_errors() {
    requires("umoci");
    requires("skopeo");
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let tool = |name: &str, arguments: &[&str]| {
        run(std::process::Command::new(name).args(arguments)).success();
    };
    let (ours, umoci) = (layout(&folder.path().join("ours"), &image("1")), at("umoci"));
    tool("skopeo", &["copy", "-q", &ours, &format!("oci:{umoci}:a")]);
    let (bundle, tagged) = (at("bundle"), format!("{umoci}:a"));
    tool("umoci", &["unpack", "--rootless", "--image", &tagged, &bundle]);
    fs_err::remove_file(folder.path().join("bundle/rootfs/etc/passwd")).expect("removed");
    fs_err::write(folder.path().join("bundle/rootfs/new"), "x").expect("written");
    tool("umoci", &["repack", "--image", &format!("{umoci}:b"), &bundle]);
    let report = verified(&format!("oci:{umoci}"));
    assert_eq!((report.images, rules(&report)), (2, Vec::new()), "{}", report.render());
    for transport in ["docker-archive", "oci-archive"] {
        let saved = format!("{transport}:{}:x:1", at(transport));
        tool("skopeo", &["copy", "-q", &format!("oci:{umoci}:b"), &saved]);
        let report = verified(saved.trim_end_matches(":x:1"));
        assert_eq!(rules(&report), Vec::<&str>::new(), "{}", report.render());
    }
}

/// Verifies the image of a project, and builds it again.
fn rebuilt(project: &Project, arguments: &[&str]) -> Outcome {
    let image = ["verify", "oci:dist/image", "--rebuild"];
    run(ipo_oci().current_dir(project.path()).args(image).args(arguments))
}

#[test]
fn a_rebuild_of_an_unchanged_project_is_identical() {
    let project = Project::tiny();
    let mut build = project.command("build");
    run(build.arg("--no-check").env("SOURCE_DATE_EPOCH", "1700000000")).success();
    let outcome = rebuilt(&project, &[]).success();
    assert!(outcome.text().contains("\nrebuild: identical, sha256:"), "{}", outcome.text());
    let outcome = rebuilt(&project, &["--format", "json"]).success();
    let json: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    assert_eq!(json["rebuild"]["identical"], true);
}

#[test]
fn a_rebuild_is_identical_to_an_image_with_uncompressed_layers() {
    let project = Project::tiny();
    project.build(&["--no-check", "--compression", "none"]);
    let outcome = rebuilt(&project, &[]).success();
    let identical = "\nrebuild: identical but for the compression of layers, sha256:";
    assert!(outcome.text().contains(identical), "{}", outcome.text());
    let outcome = rebuilt(&project, &["--port", "9000"]).exits_with(1);
    assert!(outcome.text().contains("\nrebuild: differs at "), "{}", outcome.text());
}

#[test]
fn a_rebuild_of_a_changed_project_names_the_first_difference_and_the_reason() {
    type Change<'a> = (&'a dyn Fn(&Project), &'a [&'a str], &'a str, &'a str);
    let cases: [Change<'_>; 4] = [
        (
            &|project| project.write("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\nx = 1\n"),
            &[],
            "main.py: byte 45 of the content differs; 45 bytes, now 51",
            "the source, the settings or this machine have other files: /app/main.py",
        ),
        (
            &|project| {
                let path = project.read("pyproject.toml").replace("\"1.0\"", "\"1.1\"");
                project.write("pyproject.toml", &path);
            },
            &[],
            "/app/pyproject.toml: byte 37 of the content differs",
            "the project has another version: 1.0, now 1.1",
        ),
        (&|_| (), &["--port", "9000"], "configuration: ", "other settings, target or process: "),
        (&|_| (), &["--target", "dev"], "", "other settings, target or process: "),
    ];
    for (change, arguments, first, reason) in cases {
        let project = Project::tiny();
        project.build(&["--no-check"]);
        change(&project);
        let outcome = rebuilt(&project, arguments).exits_with(1);
        let text = outcome.text();
        assert!(text.contains("\nrebuild: differs at ") && text.contains(first), "{}", outcome.describe());
        assert!(text.contains(reason), "{}", outcome.describe());
    }
}
