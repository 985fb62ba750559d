//! Other tools read the output.

use std::path::Path;
use std::process::Command;

use crate::support::layout::{Layout, json};
use crate::support::{Project, is_root, output_of, requires, requires_root, run};
use test_macros::test;

/// Builds the example into a layout with the tag `3.0.0`.
fn example() -> (Project, String) {
    let project = Project::example();
    project.build(&["-t", "agencyos:3.0.0"]);
    let reference = format!("oci:{}:3.0.0", project.path().join("dist/image").display());
    (project, reference)
}

#[test]
fn blobs_match_their_descriptors() {
    let project = Project::example();
    for compression in ["gzip", "gzip:9", "none"] {
        project.build(&["--target", "all", "--compression", compression]);
        project.layout().verify();
    }
}

#[test]
fn members_follow_the_image_specification() {
    let (project, _) = example();
    let image = project.layout().only();
    for layer in 0..image.layers().len() {
        let bytes = image.tar(layer);
        let mut seen = std::collections::BTreeSet::new();
        for entry in tar::Archive::new(&bytes[..]).entries().expect("a tar") {
            let entry = entry.expect("a tar");
            let path = entry.path().expect("a path").into_owned();
            assert!(path.is_relative(), "{path:?}");
            assert!(seen.insert(path.clone()), "{path:?} is in layer {layer} twice");
            let parent = path.parent().expect("a parent").to_path_buf();
            assert!(
                parent.as_os_str().is_empty() || seen.contains(&parent),
                "{path:?} comes before its folder"
            );
            let header = entry.header();
            assert_eq!(header.username().expect("a name").unwrap_or_default(), "", "{path:?}");
            let _ = header.uid().expect("a number");
        }
    }
}

#[test]
fn skopeo_inspects_it() {
    requires("skopeo");
    let (project, reference) = example();
    let said = json(output_of("skopeo", ["inspect", &reference]).as_bytes());
    let image = project.layout().image("3.0.0");
    assert_eq!(said["Digest"], image.digest.as_str());
    assert_eq!(said["Labels"]["org.opencontainers.image.version"], "3.0.0");
    assert_eq!(said["Layers"].as_array().expect("layers").len(), image.layers().len());
    let config = json(output_of("skopeo", ["inspect", "--config", "--raw", &reference]).as_bytes());
    assert_eq!(config, image.config);
}

#[test]
fn skopeo_copies_it_to_every_local_transport() {
    requires("skopeo");
    let (project, reference) = example();
    let to = |name: &str| project.beside(name).display().to_string();
    let copy = |from: &str, to: &str| output_of("skopeo", ["copy", "--quiet", "--insecure-policy", from, to]);

    copy(&reference, &format!("oci:{}:copy", to("copy")));
    assert_eq!(Layout::open(to("copy")).image("copy").digest, project.layout().only().digest);
    copy(&reference, &format!("oci-archive:{}:copy", to("copy.tar")));
    copy(&reference, &format!("dir:{}", to("dir")));
    copy(&reference, &format!("docker-archive:{}:agencyos:3.0.0", to("docker.tar")));
    let ids = json(
        output_of("skopeo", ["inspect", "--config", &format!("docker-archive:{}", to("docker.tar"))])
            .as_bytes(),
    );
    assert_eq!(ids["rootfs"], project.layout().only().config["rootfs"]);
    if is_root() {
        let storage =
            format!("containers-storage:[vfs@{}+{}]localhost/agencyos:3.0.0", to("root"), to("run"));
        copy(&reference, &storage);
    }
}

#[test]
fn skopeo_reads_our_archives() {
    requires("skopeo");
    let project = Project::example();
    let diff_ids = project.image(&[]).config["rootfs"]["diff_ids"].clone();
    for transport in ["oci-archive", "docker-archive"] {
        let file = format!("{transport}:{}", project.beside(transport).display());
        project.build(&["-t", "agencyos:3.0.0", "-o", &file]);
        let config = json(output_of("skopeo", ["inspect", "--config", &file]).as_bytes());
        assert_eq!(config["rootfs"]["diff_ids"], diff_ids, "{transport}");
        let copied = format!("oci:{}:copy", project.beside(&format!("{transport}-copy")).display());
        output_of("skopeo", ["copy", "--quiet", "--insecure-policy", &file, &copied]);
    }
}

#[test]
fn umoci_unpacks_it() {
    requires("umoci");
    let (project, _) = example();
    let bundle = project.beside("bundle");
    let layout = project.path().join("dist/image");
    output_of(
        "umoci",
        [
            "unpack",
            "--rootless",
            "--image",
            &format!("{}:3.0.0", layout.display()),
            bundle.to_str().expect("UTF-8"),
        ],
    );
    let root = bundle.join("rootfs");
    assert_eq!(
        fs_err::read(root.join("app/app/main.py")).expect("the source"),
        fs_err::read(project.path().join("app/main.py")).expect("the source")
    );
    // Every link stays inside the root.
    for entry in walkdir::WalkDir::new(&root) {
        let entry = entry.expect("a readable folder");
        if entry.file_type().is_symlink() {
            let target = fs_err::read_link(entry.path()).expect("a link");
            let place = match target.strip_prefix("/") {
                Ok(inside) => root.join(inside),
                Err(_) => entry.path().parent().expect("a parent").join(target),
            };
            assert!(place.symlink_metadata().is_ok(), "{} leads to nothing", entry.path().display());
        }
    }
    let config = json(&fs_err::read(bundle.join("config.json")).expect("a configuration"));
    assert_eq!(config["process"]["user"]["uid"], 1000);
    assert_eq!(config["process"]["cwd"], "/app");
}

/// Runs podman with a storage of its own.
fn podman(storage: &Path) -> Command {
    let mut command = Command::new("podman");
    command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
    command.args(["--storage-driver", "vfs", "--log-level", "error"]);
    command
}

#[test]
fn podman_loads_it() {
    requires("podman");
    requires_root();
    let project = Project::example();
    let name = "localhost/ipo-oci-test/agencyos:3.0.0";
    for (transport, keeps_the_check) in [("oci-archive", false), ("docker-archive", true)] {
        let storage = project.beside(&format!("storage-{transport}"));
        let archive = project.beside(&format!("{transport}.tar"));
        project.build(&["-t", name, "-o", &format!("{transport}:{}", archive.display())]);
        run(podman(&storage).args(["load", "--input"]).arg(&archive)).success();
        let inspected = run(podman(&storage).args(["image", "inspect", name])).success();
        let inspected = &json(&inspected.stdout)[0];
        assert_eq!(inspected["Config"]["User"], "1000:1000", "{inspected:#}");
        if keeps_the_check {
            assert_eq!(inspected["Healthcheck"]["Test"][0], "CMD", "{inspected:#}");
        }
    }
}
