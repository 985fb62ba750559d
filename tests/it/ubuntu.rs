//! Bases of Ubuntu's packages, from the mirror in `IPO_OCI_TEST_UBUNTU_MIRROR`, such as `http://mirror.example/ubuntu`.

use std::process::Command;

use crate::support::harness::leave_out;
use crate::support::packages::{
    SETTINGS, ScannedImage, installed, lock, locked, project, try_build, unpacked,
};
use crate::support::{Project, ipo_oci, output_of, requires, run};
use test_macros::test;

/// Returns a project on `apt:noble`.
fn on_noble(settings: &str) -> Project {
    let project = project("");
    let settings = format!("{}[tool.ipo-oci.apt]\n{settings}", SETTINGS.replace("apt:bookworm", "apt:noble"));
    project.write("pyproject.toml", &settings);
    project
}

#[test]
fn a_base_of_ubuntu_runs_the_service_and_has_the_locked_packages() {
    let Ok(mirror) = std::env::var("IPO_OCI_TEST_UBUNTU_MIRROR") else {
        leave_out("IPO_OCI_TEST_UBUNTU_MIRROR names no mirror")
    };
    for program in ["curl", "dpkg-deb"] {
        requires(program);
    }
    // A machine with Debian has no keys of Ubuntu; the mirror of the test is trusted.
    let keys = on_noble(&format!("mirrors = ['{mirror}']\nunsigned = true\nbase = ['ubuntu-keyring']\n"));
    lock(&keys, &[]).success();
    let text: toml::Table = keys.read("ipo-oci.lock").parse().expect("TOML");
    let sets = text["apt"].as_array().expect("sets").iter();
    let mut packages = sets.flat_map(|set| set["packages"].as_array().expect("packages"));
    let keyring = packages.find(|package| package["name"].as_str() == Some("ubuntu-keyring"));
    let path = keyring.expect("the keyring")["path"].as_str().expect("a path");
    let (archive, root) = (keys.beside("keyring.deb"), keys.beside("keyring"));
    let (archive, root) = (archive.to_str().expect("UTF-8"), root.to_str().expect("UTF-8"));
    output_of("curl", ["-sSf", "-o", archive, &format!("{mirror}/{path}")]);
    output_of("dpkg-deb", ["-x", archive, root]);

    let keyring = format!("{root}/usr/share/keyrings/ubuntu-archive-keyring.gpg");
    let project = on_noble(&format!("mirrors = ['{mirror}']\nkeyrings = ['{keyring}']\n"));
    lock(&project, &[]).success();
    assert!(project.read("ipo-oci.lock").contains("noble-updates"));
    try_build(&project, &["--locked", "-t", "service:1", "--compression", "gzip"]).success();
    let packages = installed(&unpacked(&project, "1"));
    assert!(packages.iter().any(|package| package.starts_with("libc6 2.39-")), "{packages:?}");
    assert!(packages.is_subset(&locked(&project)));
    let image = project.path().join("dist/image");
    let outcome = run(ipo_oci().arg("test").arg(format!("oci:{}:1", image.display()))).success();
    assert!(outcome.text().contains("✓ healthy"), "{}", outcome.text());
    let found = ScannedImage::of(&project);
    assert_eq!(found.distribution(), "ubuntu 24.04");
    // The interpreter is of this machine, with the packages of its libraries.
    assert!(packages.is_subset(&found.packages("deb")));

    // Keys of another archive.
    let debian = "/usr/share/keyrings/debian-archive-keyring.gpg";
    if std::path::Path::new(debian).exists() {
        let other = on_noble(&format!("mirrors = ['{mirror}']\nkeyrings = ['{debian}']\n"));
        let mut command: Command = other.command("build");
        let elsewhere = other.beside("cache");
        let outcome = run(command.arg("--cache-dir").arg(elsewhere)).exits_with(1);
        assert!(outcome.stderr.contains("is not in the keyring"), "{}", outcome.stderr);
    }
}
