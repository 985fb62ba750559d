//! `ipo-oci lock` records the digests of a project's base images.

use std::collections::BTreeMap;

use ipo_oci::image::{Artifact, Image, ImageConfig};
use ipo_oci::progress::Silent;
use ipo_oci::reference::Name;
use ipo_oci::store;

use crate::support::{Outcome, Project, run};
use test_macros::test;

/// Returns a project whose base is in a layout beside it.
fn project() -> Project {
    let project = Project::of(&[]);
    let text = format!(
        "[project]\nname = \"x\"\nversion = \"1\"\n[tool.ipo-oci]\nbase = \"{}\"\n",
        base_of(&project)
    );
    project.write("pyproject.toml", &text);
    project
}

fn base_of(project: &Project) -> String {
    format!("oci:{}:1", project.beside("base").display())
}

/// Moves the base's tag to another image; returns its digest.
fn move_tag(project: &Project, label: &str) -> String {
    let mut config = ImageConfig::default();
    config.os = "linux".into();
    config.architecture = "amd64".into();
    config.process.labels = BTreeMap::from([("label".to_owned(), label.to_owned())]);
    let image = Image::assemble(&config, Vec::new(), &BTreeMap::new()).expect("an image");
    let name = Name::new("base", "1").expect("a name");
    let destination = base_of(project).parse().expect("a place");
    store::write_image(&image, &destination, &name, "").expect("stored");
    image.digest().to_string()
}

fn lock(project: &Project, arguments: &[&str]) -> Outcome {
    run(project.command("lock").args(["--platform", "linux/amd64"]).args(arguments))
}

#[test]
fn locks_the_base_and_reports_a_moved_tag() {
    let project = project();
    let old = move_tag(&project, "old");
    let outcome = lock(&project, &[]).success();
    assert!(outcome.stderr.contains(&format!("is {old}")), "{}", outcome.stderr);
    let first = project.read("ipo-oci.lock");
    assert!(first.contains(&format!("digest = '{old}'")), "{first}");
    // A second run prints no message and keeps the bytes.
    assert_eq!(lock(&project, &[]).success().stderr, "");
    assert_eq!(project.read("ipo-oci.lock"), first);

    let new = move_tag(&project, "new");
    let outcome = lock(&project, &[]).success();
    assert!(outcome.stderr.contains(&format!("moved from {old} to {new}")), "{}", outcome.stderr);
    assert!(!project.read("ipo-oci.lock").contains(&old));
}

#[test]
fn check_exits_with_3_and_writes_no_file() {
    let project = project();
    move_tag(&project, "old");
    lock(&project, &["--check"]).exits_with(3);
    assert!(!project.path().join("ipo-oci.lock").exists());
    lock(&project, &[]).success();
    lock(&project, &["--check"]).success();
    let before = project.read("ipo-oci.lock");
    let new = move_tag(&project, "new");
    let outcome = lock(&project, &["--check"]).exits_with(3);
    assert!(outcome.stderr.contains("out of date") && outcome.stderr.contains(&new), "{}", outcome.stderr);
    assert_eq!(project.read("ipo-oci.lock"), before);
}

#[test]
fn an_edited_lock_is_refused() {
    let project = project();
    move_tag(&project, "old");
    lock(&project, &[]).success();
    project.write("ipo-oci.lock", &project.read("ipo-oci.lock").replace("\"old\"", "\"bad\""));
    let outcome = lock(&project, &[]).exits_with(1);
    assert!(outcome.stderr.contains("another configuration"), "{}", outcome.stderr);
}

#[test]
fn an_image_for_another_platform_only_is_an_error() {
    let project = project();
    move_tag(&project, "old");
    let outcome = run(project.command("lock").args(["--platform", "linux/arm64"])).exits_with(1);
    assert!(outcome.stderr.contains("image for linux/arm64 not found"), "{}", outcome.stderr);
    assert!(!project.path().join("ipo-oci.lock").exists());
    run(project.command("lock").args(["--platform", "arm"])).exits_with(2);
}

#[test]
fn a_project_on_scratch_has_nothing_to_lock() {
    let project = Project::of(&[("pyproject.toml", "[project]\nname = \"x\"\nversion = \"1\"\n")]);
    let outcome = lock(&project, &[]).success();
    assert!(outcome.stderr.contains("nothing to lock"), "{}", outcome.stderr);
    assert!(!project.path().join("ipo-oci.lock").exists());
}

/// Creates an image for both platforms beside the project; returns an absolute reference to it.
fn two_platform_base(project: &Project, name: &str) -> String {
    let images: Vec<_> = ["amd64", "arm64"]
        .iter()
        .map(|architecture| {
            let mut config = ImageConfig::default();
            config.os = "linux".into();
            config.architecture = (*architecture).into();
            config.process.labels = BTreeMap::from([("name".to_owned(), name.to_owned())]);
            let image = Image::assemble(&config, Vec::new(), &BTreeMap::new()).expect("an image");
            image.artifact().expect("an artifact")
        })
        .collect();
    let index = Artifact::index_of(images).expect("an index");
    let reference = format!("oci:{}:1", project.beside(name).display());
    let (place, named) = (reference.parse().expect("a place"), Name::new("base", "1").expect("a name"));
    let (options, access) = (store::WriteOptions::default(), store::Access::default());
    store::write(&index, &place, &named, &options, &access, &Silent).expect("stored");
    reference
}

/// Runs `ipo-oci lock` without `--platform`.
fn lock_without_platform(project: &Project, arguments: &[&str]) -> Outcome {
    run(project.command("lock").args(arguments))
}

#[test]
fn named_bases_stay_locked() {
    let project = project();
    move_tag(&project, "own");
    let other = two_platform_base(&project, "other");
    lock(&project, &[]).success();
    lock(&project, &["--base", &other]).success();
    let locked = project.read("ipo-oci.lock");
    assert!(locked.contains(&other) && locked.contains(&base_of(&project)), "{locked}");
    // Both entries stay current.
    lock(&project, &["--check"]).success();
    lock_without_platform(&project, &["--check"]).success();
    assert_eq!(lock(&project, &[]).success().stderr, "");
    assert_eq!(lock_without_platform(&project, &[]).success().stderr, "");
    assert_eq!(project.read("ipo-oci.lock"), locked);
    // A base of the project is removed with its setting, even if `--base` has updated it.
    lock(&project, &["--base", &base_of(&project)]).success();
    let text = project.read("pyproject.toml").replace(&base_of(&project), "scratch");
    project.write("pyproject.toml", &text);
    let outcome = lock_without_platform(&project, &["--check"]).exits_with(3);
    assert!(outcome.stderr.contains("is no longer used"), "{}", outcome.stderr);
    lock_without_platform(&project, &[]).success();
    lock_without_platform(&project, &["--check"]).success();
    assert!(project.read("ipo-oci.lock").contains(&other));
    // Removed explicitly.
    lock_without_platform(&project, &["--remove", &other]).success();
    assert!(!project.read("ipo-oci.lock").contains(&other));
    lock_without_platform(&project, &["--check"]).success();
    lock_without_platform(&project, &["--remove", &other]).exits_with(1);
}

#[test]
fn locked_platforms_stay_locked() {
    let project = Project::of(&[]);
    let base = two_platform_base(&project, "base");
    project.write("pyproject.toml", &format!("[project]\nname = \"x\"\n[tool.ipo-oci]\nbase = \"{base}\"\n"));
    let both = &["--platform", "linux/amd64,linux/arm64"];
    lock_without_platform(&project, both).success();
    let locked = project.read("ipo-oci.lock");
    for arguments in [&["--check"][..], &["--check", "--platform", "linux/arm64"], &[], &["--base", &base]] {
        let outcome = lock_without_platform(&project, arguments).success();
        assert_eq!(outcome.stderr, "", "{arguments:?}");
        assert_eq!(project.read("ipo-oci.lock"), locked, "{arguments:?}");
    }
    // Only an explicit list removes a platform.
    lock_without_platform(&project, &["--platform", "linux/amd64"]).success();
    let outcome = lock_without_platform(&project, &["--check", "--platform", "linux/arm64"]).exits_with(3);
    assert!(outcome.stderr.contains("ipo-oci lock --platform linux/amd64,linux/arm64"), "{}", outcome.stderr);
    assert!(!project.read("ipo-oci.lock").contains("linux/arm64"));
}

/// Runs the command that an error advises.
#[track_caller]
fn follow(project: &Project, said: &str) {
    let (_, command) = said.split_once("`ipo-oci ").expect("a command");
    let (command, _) = command.split_once('`').expect("its end");
    let mut words = command.split(' ');
    let mut following = crate::support::ipo_oci();
    following.current_dir(project.path()).arg(words.next().expect("a subcommand")).args(words);
    run(&mut following).success();
}

#[test]
fn the_advice_of_a_refused_locked_build_works() {
    let project = Project::tiny();
    let [base, other] = ["base", "other"].map(|name| two_platform_base(&project, name));
    let table = project.read("pyproject.toml");
    project.write("pyproject.toml", &format!("{table}\n[tool.ipo-oci]\nbase = \"{base}\"\n"));
    project.write("worker.toml", &format!("extends = \"runtime\"\nbase = \"{other}\"\n"));
    for arguments in [
        &["--locked"][..],
        &["--locked", "--base", &other],
        &["--locked", "--recipe", "worker.toml"],
        &["--locked", "--platform", "linux/amd64,linux/arm64"],
    ] {
        let mut refused = true;
        for _ in 0..3 {
            let outcome = project.try_build(arguments);
            refused = outcome.stderr.contains("base not found in the lock");
            if !refused {
                break;
            }
            follow(&project, &outcome.stderr);
            lock_without_platform(&project, &["--check"]).success();
        }
        assert!(!refused, "{arguments:?}");
        // Earlier entries are still locked.
        lock_without_platform(&project, &[]).success();
        let outcome = project.try_build(arguments);
        assert!(!outcome.stderr.contains("base not found in the lock"), "{arguments:?} {}", outcome.stderr);
    }
}
