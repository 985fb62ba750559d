//! `ipo-oci diff`: the differences of two images, compared with unpacked ones.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipo_oci::diff::{DiffText, ImageDiff, LayerSide, diff, first_difference};
use ipo_oci::digest::Digest;
use ipo_oci::image::{Blob, BlobSource, Encoding, Image, Layer};
use ipo_oci::layer::Compression;
use ipo_oci::progress::Silent;
use ipo_oci::reference::Name;
use ipo_oci::store::{self, Access, WriteOptions};
use serde_json::{Value, json};

use crate::support::images::{base, compressed, image, image_of, layer_of};
use crate::support::{Project, ipo_oci, requires, run};
use test_macros::test;

fn of(old: &Image, new: &Image) -> ImageDiff {
    diff(("old", old), ("new", new), None, &Silent).expect("read")
}

fn with(layers: Vec<Layer>) -> Image {
    image_of("amd64", layers)
}

/// Returns the lines of a section of the text, with single spaces.
fn section(text: &str, title: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| *line != title).skip(1);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.take_while(|line| !line.is_empty()).map(words).collect()
}

/// A member of an archive with all its properties.
struct Entry<'a> {
    name: &'a str,
    kind: u8,
    mode: u32,
    uid: u64,
    content: &'a str,
}

fn entry<'a>(name: &'a str, kind: u8, mode: u32, uid: u64, content: &'a str) -> Entry<'a> {
    Entry { name, kind, mode, uid, content }
}

fn layer(entries: &[Entry<'_>]) -> Layer {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(entry.kind));
        header.set_mode(entry.mode);
        header.set_uid(entry.uid);
        header.set_gid(0);
        header.set_mtime(0);
        let is_link = matches!(entry.kind, b'1' | b'2');
        header.set_size(if entry.kind == b'0' { entry.content.len() as u64 } else { 0 });
        if is_link {
            builder.append_link(&mut header, entry.name, entry.content).expect("a link");
        } else {
            builder.append_data(&mut header, entry.name, entry.content.as_bytes()).expect("a member");
        }
    }
    let tar = builder.into_inner().expect("an archive");
    Layer {
        digest: Digest::of(&tar),
        size: tar.len() as u64,
        diff_id: Digest::of(&tar),
        encoding: Encoding::Plain,
        blob: Blob::Memory(tar.into()),
    }
}

fn metadata(name: &str, version: &str) -> String {
    format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText\n")
}

#[test]
fn distributions_have_versions_and_bytes() {
    const SITE: &str = "app/.venv/lib/python3.12/site-packages";
    let distribution = |name: &str, version: &str, module: &str| {
        let info = format!("{SITE}/{}-{version}.dist-info", name.replace('-', "_"));
        let stem = name.to_lowercase().replace('-', "_");
        vec![
            (format!("{info}/METADATA"), metadata(name, version)),
            (format!("{info}/RECORD"), format!("{stem}.py,,\n../../../bin/{stem},,\n")),
            (format!("{SITE}/{stem}.py"), module.to_owned()),
            (format!("{SITE}/__pycache__/{stem}.cpython-312.pyc"), format!("{module}{version}")),
            (format!("app/.venv/bin/{stem}"), "#!x".to_owned()),
        ]
    };
    let layers = |parts: Vec<Vec<(String, String)>>| {
        let files: Vec<(String, String)> = parts.into_iter().flatten().collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        with(vec![layer_of(&files)])
    };
    let old = layers(vec![
        distribution("Flask-Login", "1.0", "old"),
        distribution("gone", "2", "x"),
        distribution("same", "3", "x"),
        distribution("patched", "4", "aaa"),
        vec![("opt/lib/same-5.dist-info/METADATA".to_owned(), metadata("same", "5"))],
        // A wheel without METADATA has its name from the directory.
        vec![(format!("{SITE}/odd-1.dist-info/RECORD"), String::new())],
        vec![(format!("{SITE}/pip/_vendor/idna-1.dist-info/METADATA"), metadata("idna", "1"))],
    ]);
    let new = layers(vec![
        distribution("Flask-Login", "1.1", "newer"),
        distribution("added", "1", "x"),
        distribution("same", "3", "x"),
        distribution("patched", "4", "bbb"),
        vec![("opt/lib/same-6.dist-info/METADATA".to_owned(), metadata("same", "6"))],
        vec![(format!("{SITE}/odd-2.dist-info/RECORD"), String::new())],
        vec![(format!("{SITE}/pip/_vendor/idna-2.dist-info/METADATA"), metadata("idna", "2"))],
    ]);
    let difference = of(&old, &new);
    let found: Vec<_> = difference
        .distributions
        .iter()
        .map(|own| (&*own.name, own.old_version.as_deref(), own.new_version.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("added", None, Some("1")),
            ("flask-login", Some("1.0"), Some("1.1")),
            ("gone", Some("2"), None),
            ("odd", Some("1"), Some("2")),
            ("patched", Some("4"), Some("4")),
            ("same", Some("5"), Some("6")),
        ]
    );
    let text = difference.render(DiffText::Short);
    assert_eq!(
        section(&text, "Distributions"),
        [
            "+ added 1 +89 B",
            "~ flask-login 1.0 → 1.1 +4 B",
            "- gone 2 -86 B",
            "~ odd 1 → 2 ±0 B",
            "~ patched 4 (1 file changed, bytecode) ±0 B",
            "~ same in /opt/lib 5 → 6 ±0 B",
        ]
    );
}

#[test]
fn files_differ_in_type_content_mode_owner_and_target() {
    let old = with(vec![layer(&[
        entry("etc/", b'5', 0o755, 0, ""),
        entry("etc/content", b'0', 0o644, 0, "abc"),
        entry("etc/equal", b'0', 0o644, 0, "abc"),
        entry("etc/kind", b'0', 0o644, 0, "abc"),
        entry("etc/link", b'2', 0o777, 0, "equal"),
        entry("etc/mode", b'0', 0o644, 0, "abc"),
        entry("etc/owner", b'0', 0o644, 0, "abc"),
        entry("etc/size", b'0', 0o644, 0, "abc"),
        entry("old/", b'5', 0o755, 0, ""),
        entry("old/a", b'0', 0o644, 0, "abc"),
        entry("old/b", b'0', 0o644, 0, "abc"),
    ])]);
    let new = with(vec![
        layer(&[
            entry("etc/", b'5', 0o700, 0, ""),
            entry("etc/content", b'0', 0o644, 0, "abd"),
            entry("etc/equal", b'0', 0o644, 0, "abc"),
            entry("etc/kind", b'2', 0o777, 0, "equal"),
            entry("etc/link", b'2', 0o755, 0, "other"),
            entry("etc/mode", b'0', 0o4755, 0, "abc"),
            entry("etc/owner", b'0', 0o644, 1000, "abc"),
            entry("etc/size", b'0', 0o644, 0, "abcd"),
            entry("gone", b'0', 0o644, 0, "abc"),
        ]),
        layer(&[entry(".wh.gone", b'0', 0o644, 0, ""), entry("new\u{1b}", b'0', 0o644, 0, "12345")]),
    ]);
    let difference = of(&old, &new);
    let text = difference.render(DiffText::Short);
    assert_eq!(
        section(&text, "Files"),
        [
            "~ /etc mode 0755 → 0700",
            "~ /etc/content content",
            "~ /etc/kind type file → link, mode 0644 → 0777 -3 B",
            "~ /etc/link target equal → other",
            "~ /etc/mode mode 0644 → 4755",
            "~ /etc/owner owner 0:0 → 1000:0",
            "~ /etc/size content +1 B",
            "+ /new\\u{1b} +5 B",
            "- /old/ 2 files -6 B",
        ]
    );
    assert!(of(&old, &old).is_same_image());
    let content = difference.files.iter().find(|file| file.path == "/etc/content").expect("listed");
    assert_eq!(content.properties, ["content"]);
}

/// Returns an image with another configuration.
fn with_config(image: &Image, edit: &dyn Fn(&mut Value)) -> Image {
    let mut config: Value = serde_json::from_slice(&image.config).expect("JSON");
    edit(&mut config);
    let config = config.to_string();
    let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
    manifest["config"]["digest"] = Digest::of(config.as_bytes()).to_string().into();
    manifest["config"]["size"] = config.len().into();
    let layers = image.layers.clone();
    Image::from_stored(manifest.to_string().into_bytes(), config.into_bytes(), |digest| {
        layers.iter().find(|layer| layer.digest == digest).expect("a layer").blob.clone()
    })
    .expect("an image")
}

#[test]
fn every_field_of_the_configuration_is_compared() {
    let old = image("1");
    let new = with_config(&old, &|config| {
        config["variant"] = "v2".into();
        config["config"]["Env"] = json!(["A=1", "B=x|y"]);
        config["config"]["Entrypoint"] = json!(["/app/other"]);
        config["config"]["Unknown"] = json!({ "deep": [1] });
        config["config"]["Labels"] = json!({});
        config["config"]["ExposedPorts"] = json!({ "8000/tcp": {} });
        config["config"]["Healthcheck"]["Retries"] = 5.into();
        config["config"]["Volumes"] = Value::Null;
    });
    let difference = of(&old, &new);
    let fields: Vec<&str> = difference.config.iter().map(|own| &*own.field).collect();
    let expected = [
        "Entrypoint",
        "Env A",
        "Env B",
        "ExposedPorts 8000/tcp",
        "Healthcheck Retries",
        "Labels a",
        "Unknown",
        "variant",
    ];
    assert_eq!(fields, expected);
    let text = difference.render(DiffText::Short);
    let lines = section(&text, "Configuration");
    assert_eq!(lines[0], r#"~ Entrypoint ["/app/run"] → ["/app/other"]"#);
    assert!(lines[2].starts_with("+ Env B") && lines[2].ends_with("x|y"), "{text}");
    let markdown = difference.to_markdown(DiffText::Short);
    assert!(markdown.contains("| + | `Env B` | `x\\|y` |  |"), "{markdown}");
    // Layers alone: nothing to see in a container.
    assert_eq!(difference.pull_bytes, Some((new.config.len() + new.manifest.len()) as u64));
}

/// Returns an image as an engine has it: the same configuration, uncompressed layers, and no manifest with
/// annotations.
fn uncompressed(image: &Image) -> Image {
    let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
    manifest.as_object_mut().expect("an object").remove("annotations");
    let mut blobs = BTreeMap::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let mut tar = Vec::new();
        let blob = layer.blob.open().expect("a blob");
        flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut tar).expect("gzip");
        manifest["layers"][number] = json!({
            "mediaType": Encoding::Plain.media_type(),
            "digest": layer.diff_id.to_string(),
            "size": tar.len(),
        });
        blobs.insert(layer.diff_id, Blob::Memory(tar.into()));
    }
    Image::from_stored(manifest.to_string().into_bytes(), image.config.to_vec(), |digest| {
        blobs.get(&digest).expect("a layer").clone()
    })
    .expect("an image")
}

#[test]
fn uncompressed_layers_are_compared_by_their_archives() {
    let annotated = |mut image: Image| {
        let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
        manifest["annotations"] = json!({ "org.opencontainers.image.title": "x" });
        image.manifest = manifest.to_string().into_bytes().into();
        image
    };
    let (old, new) = (annotated(image("1")), annotated(image("2")));
    for (left, right) in [(old.clone(), uncompressed(&old)), (uncompressed(&old), old.clone())] {
        let difference = of(&left, &right);
        let sides: Vec<LayerSide> = difference.layers.iter().map(|layer| layer.side).collect();
        assert_eq!(sides, [LayerSide::Shared, LayerSide::Shared]);
        let text = difference.render(DiffText::Short);
        let equal = "\nequal configuration, files and layers, which one image alone has compressed\n";
        assert!(text.contains(equal), "{text}");
        assert_eq!(first_difference(&left, &right).expect("read"), None);
    }
    // Layers without and with differences, in an engine and in a registry.
    for (left, right) in [
        (uncompressed(&old), new.clone()),
        (old.clone(), uncompressed(&new)),
        (uncompressed(&old), uncompressed(&new)),
    ] {
        let difference = of(&left, &right);
        let sides: Vec<LayerSide> = difference.layers.iter().map(|layer| layer.side).collect();
        assert_eq!(sides, [LayerSide::Shared, LayerSide::Old, LayerSide::New]);
        assert_eq!(difference.pull_bytes, None);
        let text = difference.render(DiffText::Short);
        assert!(!text.contains("pulling") && text.contains(" uncompressed, "), "{text}");
        let markdown = difference.to_markdown(DiffText::Short);
        assert!(!markdown.contains("pulling") && markdown.contains("| to transfer |"), "{markdown}");
        let first = first_difference(&left, &right).expect("read").expect("a difference").to_string();
        assert!(first.starts_with("layer 2 (layer 1): /app/main.py: byte 0 of the content"), "{first}");
    }
    // Two compressions of one archive are two blobs of a registry.
    let again = image_of("amd64", vec![base(), compressed(&[("app/main.py", "1")], Compression::Gzip(1))]);
    let difference = of(&old, &again);
    if old.layers[1].digest != again.layers[1].digest {
        assert_eq!(difference.layers.len(), 3, "{difference:?}");
        assert!(difference.pull_bytes.is_some_and(|bytes| bytes >= again.layers[1].size));
    }
}

/// A blob that counts its readers.
#[derive(Debug)]
struct Counted(Arc<[u8]>, Arc<AtomicUsize>);

impl BlobSource for Counted {
    fn open(&self, from: u64) -> std::io::Result<Box<dyn Read + Send>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let from = usize::try_from(from).expect("an offset");
        Ok(Box::new(std::io::Cursor::new(self.0[from..].to_vec())))
    }
}

#[test]
fn layers_without_an_open_question_are_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let reads = Arc::new(AtomicUsize::new(0));
    let mut shared = layer_of(&[("etc/a", "shared")]);
    let Blob::Memory(bytes) = shared.blob.clone() else { panic!("in memory") };
    shared.blob = Blob::Source(Arc::new(Counted(bytes, reads.clone())));
    let old = with(vec![shared.clone(), layer_of(&[("app/main.py", "1")])]);
    let new = with(vec![shared, layer_of(&[("app/main.py", "2")])]);
    let cached = || diff(("old", &old), ("new", &new), Some(folder.path()), &Silent).expect("read");
    assert_eq!(cached().files.len(), 1);
    assert_eq!(reads.load(Ordering::SeqCst), 1, "the shared layer is indexed once");
    assert_eq!(cached().pull_bytes, Some(new.transfer_bytes() - new.layers[0].size));
    assert_eq!(reads.load(Ordering::SeqCst), 1, "its index is cached");
}

#[test]
fn first_differences_name_the_byte_or_field() {
    let one = |mode, content| {
        with(vec![layer(&[entry("a", b'0', 0o644, 0, "x"), entry("b", b'0', mode, 0, content)])])
    };
    let old = one(0o644, "abc");
    for (new, expected) in [
        (one(0o644, "abd"), "layer 1 (layer 0): /b: byte 2 of the content differs"),
        (one(0o644, "abcd"), "layer 1 (layer 0): /b: byte 3 of the content differs; 3 bytes, now 4"),
        (one(0o600, "abc"), "layer 1 (layer 0): /b: mode 0644, now 0600"),
        (with(vec![layer(&[entry("a", b'0', 0o644, 0, "x")])]), "layer 1 (layer 0): /b: is missing now"),
        (
            with_config(&old, &|config| config["config"]["User"] = "0".into()),
            "configuration: User: `1000:1000`, now `0`",
        ),
        (
            with_config(&old, &|config| config["history"][0]["comment"] = "y".into()),
            "configuration: the history",
        ),
    ] {
        let found = first_difference(&old, &new).expect("read").expect("a difference").to_string();
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!(first_difference(&old, &old).expect("read"), None);
}

/// Lists a folder: path, type, mode, content or target.
fn unpacked(root: &Path) -> BTreeMap<String, (String, u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut files = BTreeMap::new();
    for found in walkdir::WalkDir::new(root) {
        let found = found.expect("an entry");
        let path = format!("/{}", found.path().strip_prefix(root).expect("below").display());
        let metadata = found.metadata().expect("metadata");
        let mode = metadata.permissions().mode() & 0o7777;
        let state = if found.file_type().is_symlink() {
            let target = fs_err::read_link(found.path()).expect("a link");
            ("link".to_owned(), 0, target.into_os_string().into_encoded_bytes())
        } else if found.file_type().is_dir() {
            ("directory".to_owned(), mode, Vec::new())
        } else {
            ("file".to_owned(), mode, fs_err::read(found.path()).expect("a file"))
        };
        files.insert(path, state);
    }
    files
}

#[test]
fn the_files_agree_with_umoci() {
    requires("umoci");
    let base = || {
        layer(&[
            entry("etc/", b'5', 0o755, 0, ""),
            entry("etc/passwd", b'0', 0o644, 0, "root"),
            entry("etc/hard", b'1', 0o644, 0, "etc/passwd"),
            entry("lib", b'2', 0o777, 0, "usr/lib"),
            entry("usr/", b'5', 0o755, 0, ""),
            entry("usr/lib/", b'5', 0o755, 0, ""),
            entry("usr/lib/a.so", b'0', 0o644, 0, "a"),
            entry("usr/share/", b'5', 0o755, 0, ""),
            entry("usr/share/doc/", b'5', 0o755, 0, ""),
            entry("usr/share/doc/x", b'0', 0o644, 0, "x"),
        ])
    };
    let old = with(vec![
        base(),
        layer(&[entry("app/", b'5', 0o755, 0, ""), entry("app/main.py", b'0', 0o644, 0, "1")]),
    ]);
    let new = with(vec![
        base(),
        layer(&[
            entry("app/", b'5', 0o750, 0, ""),
            entry("app/main.py", b'0', 0o644, 0, "2"),
            entry("app/new", b'0', 0o644, 0, "2"),
            entry("etc/.wh.passwd", b'0', 0o644, 0, ""),
            entry("usr/share/.wh..wh..opq", b'0', 0o644, 0, ""),
            entry("usr/share/only", b'0', 0o600, 0, "2"),
            entry("usr/lib/a.so", b'2', 0o777, 0, "b.so"),
        ]),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let mut trees = Vec::new();
    for (name, image) in [("old", &old), ("new", &new)] {
        let layout = folder.path().join("layout");
        let destination = format!("oci:{}:{name}", layout.display()).parse().expect("a destination");
        let called: Name = "x:1".parse().expect("a name");
        let (options, access) = (WriteOptions::default(), Access::default());
        store::write(
            &image.artifact().expect("an artifact"),
            &destination,
            &called,
            &options,
            &access,
            &Silent,
        )
        .expect("stored");
        let bundle = folder.path().join(name);
        let image = format!("{}:{name}", layout.display());
        run(std::process::Command::new("umoci")
            .args(["unpack", "--rootless", "--image", &image])
            .arg(&bundle))
        .success();
        trees.push(unpacked(&bundle.join("rootfs")));
    }
    let [old_tree, new_tree] = &trees[..] else { panic!("two trees") };
    let expected: Vec<&String> = old_tree
        .keys()
        .chain(new_tree.keys().filter(|path| !old_tree.contains_key(*path)))
        .filter(|path| old_tree.get(*path) != new_tree.get(*path))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let difference = of(&old, &new);
    let mut found: Vec<&String> = difference.files.iter().map(|file| &file.path).collect();
    found.sort();
    assert_eq!(found, expected);
    assert!(found.len() > 6, "{found:?}");
}

#[test]
fn the_command_prints_text_json_and_markdown() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut references = Vec::new();
    for version in ["1", "2"] {
        let reference = format!("oci:{}:{version}", folder.path().join("layout").display());
        let called: Name = "x:1".parse().expect("a name");
        let artifact = image(version).artifact().expect("an artifact");
        let destination = reference.parse().expect("a destination");
        store::write(&artifact, &destination, &called, &WriteOptions::default(), &Access::default(), &Silent)
            .expect("stored");
        references.push(reference);
    }
    let [old, new] = &references[..] else { panic!("two images") };
    let text = run(ipo_oci().args(["diff", old, new])).success();
    assert_eq!(section(text.text(), "Files"), ["~ /app/main.py content"], "{}", text.text());
    assert!(text.text().contains(" where the old one is present"));
    let json = run(ipo_oci().args(["diff", old, new, "--format", "json"])).success();
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["files"][0]["path"], "/app/main.py");
    assert_eq!(json["layers"].as_array().expect("layers").len(), 3);
    let markdown = run(ipo_oci().args(["diff", old, new, "--format", "markdown"])).success();
    assert!(markdown.text().contains("<summary>Files: 1 difference</summary>"), "{}", markdown.text());
    run(ipo_oci().args(["diff", old, new, "--exit-code"])).exits_with(1);
    let same = run(ipo_oci().args(["diff", old, old, "--exit-code"])).success();
    assert!(same.text().ends_with("\nidentical\n"), "{}", same.text());
}

#[test]
fn a_project_is_built_and_compared() {
    let project = Project::tiny();
    project.build(&["--no-check"]);
    let diff = |arguments: &[&str]| run(project.command("diff").args(arguments));
    let outcome = diff(&["oci:dist/image", ".", "--exit-code"]).success();
    assert!(outcome.text().contains("+++ .  sha256:"), "{}", outcome.describe());
    project.write("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\nx = 1\n");
    let outcome = diff(&["dist/image", ".", "--exit-code"]).exits_with(1);
    let files = section(outcome.text(), "Files");
    assert_eq!(files[0], "~ /app/main.py content +6 B", "{}", outcome.describe());
    // Settings of the command line are those of the build.
    let outcome = diff(&["oci:dist/image", ".", "--port", "9000", "--format", "json"]).success();
    let json: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    let fields = json["config"].as_array().expect("fields").iter();
    assert!(fields.clone().any(|field| field["field"].as_str().unwrap().contains("PORT")), "{json:#}");
    diff(&[".", ".", "--target", "all"]).exits_with(2);
}
