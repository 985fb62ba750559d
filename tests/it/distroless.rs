//! Packages on bases in the form of distroless: dpkg's database in one file a package, `/var/lib/dpkg/status.d`.

use std::collections::BTreeSet;

use crate::support::packages::{ScannedImage, installed, lock, project, try_build, unpacked};
use crate::support::{ipo_oci, run};
use test_macros::test;

#[test]
fn packages_are_added_to_a_distroless_base() {
    let plain = project("");
    lock(&plain, &[]).success();
    try_build(&plain, &["--locked", "-t", "service:1"]).success();
    let root = unpacked(&plain, "1");
    let below = installed(&root);
    let database = root.join("var/lib/dpkg");
    let status = fs_err::read_to_string(database.join("status")).expect("a database");
    fs_err::remove_dir_all(&database).expect("a folder");
    fs_err::create_dir_all(database.join("status.d")).expect("a folder");
    for paragraph in status.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let name = paragraph.lines().find_map(|line| line.strip_prefix("Package: ")).expect("a name");
        let text: Vec<&str> = paragraph.lines().filter(|line| !line.starts_with("Status: ")).collect();
        fs_err::write(database.join("status.d").join(name), text.join("\n") + "\n").expect("a file");
    }
    fs_err::remove_dir_all(root.join("app")).expect("a folder");

    let project = project("packages = ['libmagic1']\n");
    let base = format!("rootfs:{}", root.display());
    try_build(&project, &["--base", &base, "-t", "service:1", "--compression", "gzip"]).success();
    let image = unpacked(&project, "1");
    let added = installed(&image);
    let names: BTreeSet<&str> = added.iter().filter_map(|package| package.split(' ').next()).collect();
    assert!(names.contains("libmagic1") && names.contains("libmagic-mgc"), "{names:?}");
    assert!(added.is_disjoint(&below), "packages of the base are not installed again");
    let all: BTreeSet<String> = added.union(&below).cloned().collect();
    let found = ScannedImage::of(&project);
    assert_eq!(found.distribution(), "debian 12");
    assert_eq!(found.packages("deb"), all);

    let image =
        |project: &crate::support::Project| format!("oci:{}:1", project.path().join("dist/image").display());
    let outcome = run(ipo_oci().arg("diff").arg(image(&plain)).arg(image(&project)));
    for package in &added {
        let name = package.split(' ').next().unwrap_or_default();
        assert!(outcome.text().contains(name), "{name}: {}", outcome.text());
    }
    let lost = below.iter().filter_map(|package| package.split(' ').next());
    let lines: Vec<&str> = outcome.text().lines().filter(|line| line.trim_start().starts_with('-')).collect();
    for name in lost {
        assert!(!lines.iter().any(|line| line.contains(&format!(" {name} "))), "{name}: {lines:?}");
    }
    let outcome = run(ipo_oci().arg("test").arg(image(&project))).success();
    assert!(outcome.text().contains("✓ healthy"), "{}", outcome.text());
}
