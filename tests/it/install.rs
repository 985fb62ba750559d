//! The archive of a release and its installer, with a stand-in for the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Outcome, run};
use test_macros::test;

/// A stand-in for the program, with the commands that `packaging/pack` runs.
const PROGRAM: &str = r##"#!/bin/sh
case $1 in
man) mkdir -p "$2" && echo .TH >"$2/ipo-oci.1" ;;
completions) echo "# $2" ;;
--version) echo "ipo-oci 9.9.9" ;;
esac
"##;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::write(path, text).expect("a file");
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Packs the stand-in for the target of this machine, and returns the folder of the archive and its name.
fn packed(folder: &Path) -> (PathBuf, String) {
    let program = folder.join("ipo-oci");
    executable(&program, PROGRAM);
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let downloads = folder.join("downloads");
    fs_err::create_dir(&downloads).expect("a folder");
    let mut command = Command::new(packaging().join("pack"));
    run(command.arg(&program).arg(&target).current_dir(&downloads)).success();
    (downloads, format!("ipo-oci-v{}-{target}.tar.gz", env!("CARGO_PKG_VERSION")))
}

fn install(downloads: &Path, home: &Path) -> Outcome {
    let mut command = Command::new("sh");
    command.arg(packaging().join("install.sh"));
    command.env_remove("XDG_BIN_HOME").env_remove("IPO_OCI_INSTALL_DIR").env("HOME", home);
    run(command.env("IPO_OCI_VERSION", env!("CARGO_PKG_VERSION")).env("IPO_OCI_DOWNLOADS", downloads))
}

#[test]
fn the_archive_of_a_release_has_the_same_bytes_again_and_installs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (downloads, name) = packed(folder.path());
    let archive = fs_err::read(downloads.join(&name)).expect("the archive");
    fs_err::remove_dir_all(&downloads).expect("a removal");
    let (downloads, name) = packed(folder.path());
    assert!(archive == fs_err::read(downloads.join(&name)).expect("the archive"), "other bytes");

    let outcome = install(&downloads, folder.path()).success();
    assert!(outcome.stderr.contains("installed ipo-oci 9.9.9"), "{}", outcome.stderr);
    let program = folder.path().join(".local/bin/ipo-oci");
    assert_eq!(run(Command::new(&program).arg("--version")).success().text(), "ipo-oci 9.9.9\n");
    let list = run(Command::new("tar").arg("-tzf").arg(downloads.join(&name))).success();
    for file in ["LICENSE", "man/ipo-oci.1", "completions/_ipo-oci"] {
        assert!(list.text().lines().any(|line| line.ends_with(file)), "{file}: {}", list.text());
    }
}

#[test]
fn the_installer_refuses_an_archive_with_another_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let (downloads, name) = packed(folder.path());
    let mut archive = fs_err::read(downloads.join(&name)).expect("the archive");
    archive.push(0);
    fs_err::write(downloads.join(&name), archive).expect("a write");
    let outcome = install(&downloads, folder.path());
    assert_eq!(outcome.code(), Some(1));
    assert!(outcome.stderr.contains("nothing is installed"), "{}", outcome.stderr);
    assert!(!folder.path().join(".local").exists());
    fs_err::remove_file(downloads.join(format!("{name}.sha256"))).expect("a removal");
    let outcome = install(&downloads, folder.path());
    assert!(outcome.stderr.contains("cannot download the digest"), "{}", outcome.stderr);
}

#[test]
fn a_release_names_its_repository_in_every_manifest() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifests = ["Cargo.toml", "crates/debian-archive/Cargo.toml", "crates/dockerignore/Cargo.toml"];
    for file in manifests.into_iter().chain(["packaging/name-repository"]) {
        let copy = folder.path().join(file);
        fs_err::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        fs_err::copy(root.join(file), copy).expect("a copy");
    }
    let name =
        |address: &str| run(Command::new(folder.path().join("packaging/name-repository")).arg(address));
    let repositories = || {
        manifests.map(|file| {
            let text = fs_err::read_to_string(folder.path().join(file)).expect("a manifest");
            let manifest: toml::Table = text.parse().expect("TOML");
            manifest["package"].get("repository").map(|value| value.as_str().expect("a string").to_owned())
        })
    };
    assert_eq!(name("https://example.org/a\"b").code(), Some(2));
    assert_eq!(repositories(), [None, None, None]);
    for _ in 0..2 {
        name("https://example.org/owner/name").success();
        assert_eq!(repositories(), [(); 3].map(|()| Some("https://example.org/owner/name".to_owned())));
    }
    // A fork does not publish under the address of another repository.
    assert_eq!(name("https://example.org/fork/name").code(), Some(1));
}
