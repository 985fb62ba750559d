//! `ipo-oci lock`: which images a project is built on, written down.

mod support;

use std::collections::BTreeMap;

use ipo_oci::image::{Image, ImageConfig};
use ipo_oci::reference::Name;
use ipo_oci::store;

use support::{Outcome, Project, run};

/// A project on the base that lies in a layout beside it.
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

/// Puts another image at the base's tag, and says its digest.
fn move_tag(project: &Project, label: &str) -> String {
    let config = ImageConfig {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        labels: BTreeMap::from([("label".to_owned(), label.to_owned())]),
        ..ImageConfig::default()
    };
    let image = Image::assemble(&config, Vec::new(), &BTreeMap::new()).expect("an image");
    let name = Name::new("base", "1").expect("a name");
    let destination = base_of(project).parse().expect("a place");
    store::store(&image, &destination, &name, "").expect("stored");
    image.digest().to_string()
}

fn lock(project: &Project, arguments: &[&str]) -> Outcome {
    run(project.command("lock").args(["--platform", "linux/amd64"]).args(arguments))
}

#[test]
fn the_base_is_locked_once_and_a_moved_tag_is_told() {
    let project = project();
    let old = move_tag(&project, "old");
    let outcome = lock(&project, &[]).success();
    assert!(outcome.stderr.contains(&format!("is {old}")), "{}", outcome.stderr);
    let first = project.read("ipo-oci.lock");
    assert!(first.contains(&format!("digest = '{old}'")), "{first}");
    // Again: nothing to say, the same bytes.
    assert_eq!(lock(&project, &[]).success().stderr, "");
    assert_eq!(project.read("ipo-oci.lock"), first);

    let new = move_tag(&project, "new");
    let outcome = lock(&project, &[]).success();
    assert!(outcome.stderr.contains(&format!("moved from {old} to {new}")), "{}", outcome.stderr);
    assert!(!project.read("ipo-oci.lock").contains(&old));
}

#[test]
fn checking_writes_nothing_and_ends_with_3() {
    let project = project();
    move_tag(&project, "old");
    lock(&project, &["--check"]).exits_with(3);
    assert!(!project.path().join("ipo-oci.lock").exists());
    lock(&project, &[]).success();
    lock(&project, &["--check"]).success();
    let before = project.read("ipo-oci.lock");
    let new = move_tag(&project, "new");
    let outcome = lock(&project, &["--check"]).exits_with(3);
    assert!(outcome.stderr.contains("is out of date") && outcome.stderr.contains(&new), "{}", outcome.stderr);
    assert_eq!(project.read("ipo-oci.lock"), before);
}

#[test]
fn a_lock_that_was_edited_is_refused() {
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
    assert!(outcome.stderr.contains("there is no image for linux/arm64"), "{}", outcome.stderr);
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
