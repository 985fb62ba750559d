//! `ipo-oci lock`: which images a project is built on, written down.

use std::collections::BTreeMap;

use ipo_oci::image::{Artifact, Image, ImageConfig};
use ipo_oci::progress::Silent;
use ipo_oci::reference::Name;
use ipo_oci::store;

use crate::support::{Outcome, Project, run};
use test_macros::test;

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
    store::write_image(&image, &destination, &name, "").expect("stored");
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

/// An image for both platforms at a tag beside the project, as `--base` names it from anywhere.
fn base_for_both(project: &Project, name: &str) -> String {
    let images: Vec<_> = ["amd64", "arm64"]
        .iter()
        .map(|architecture| {
            let config = ImageConfig {
                os: "linux".to_owned(),
                architecture: (*architecture).to_owned(),
                labels: BTreeMap::from([("name".to_owned(), name.to_owned())]),
                ..ImageConfig::default()
            };
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

/// `ipo-oci lock` without a platform.
fn plain(project: &Project, arguments: &[&str]) -> Outcome {
    run(project.command("lock").args(arguments))
}

#[test]
fn a_base_that_somebody_named_stays_locked() {
    let project = project();
    move_tag(&project, "own");
    let other = base_for_both(&project, "other");
    lock(&project, &[]).success();
    lock(&project, &["--base", &other]).success();
    let locked = project.read("ipo-oci.lock");
    assert!(locked.contains(&other) && locked.contains(&base_of(&project)), "{locked}");
    // Neither is out of date, and neither goes.
    lock(&project, &["--check"]).success();
    plain(&project, &["--check"]).success();
    assert_eq!(lock(&project, &[]).success().stderr, "");
    assert_eq!(plain(&project, &[]).success().stderr, "");
    assert_eq!(project.read("ipo-oci.lock"), locked);
    // A base of the project goes with the project's settings, also where it was named to bring it up to date alone.
    lock(&project, &["--base", &base_of(&project)]).success();
    let text = project.read("pyproject.toml").replace(&base_of(&project), "scratch");
    project.write("pyproject.toml", &text);
    let outcome = plain(&project, &["--check"]).exits_with(3);
    assert!(outcome.stderr.contains("is no longer used"), "{}", outcome.stderr);
    plain(&project, &[]).success();
    plain(&project, &["--check"]).success();
    assert!(project.read("ipo-oci.lock").contains(&other));
    // Until it is taken out.
    plain(&project, &["--remove", &other]).success();
    assert!(!project.read("ipo-oci.lock").contains(&other));
    plain(&project, &["--check"]).success();
    plain(&project, &["--remove", &other]).exits_with(1);
}

#[test]
fn platforms_that_are_locked_stay_locked() {
    let project = Project::of(&[]);
    let base = base_for_both(&project, "base");
    project.write("pyproject.toml", &format!("[project]\nname = \"x\"\n[tool.ipo-oci]\nbase = \"{base}\"\n"));
    let both = &["--platform", "linux/amd64,linux/arm64"];
    plain(&project, both).success();
    let locked = project.read("ipo-oci.lock");
    for arguments in [&["--check"][..], &["--check", "--platform", "linux/arm64"], &[], &["--base", &base]] {
        let outcome = plain(&project, arguments).success();
        assert_eq!(outcome.stderr, "", "{arguments:?}");
        assert_eq!(project.read("ipo-oci.lock"), locked, "{arguments:?}");
    }
    // Only what is said so takes one away.
    plain(&project, &["--platform", "linux/amd64"]).success();
    let outcome = plain(&project, &["--check", "--platform", "linux/arm64"]).exits_with(3);
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
fn a_locked_build_that_is_refused_says_what_makes_it_possible() {
    let project = Project::tiny();
    let [base, other] = ["base", "other"].map(|name| base_for_both(&project, name));
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
            refused = outcome.stderr.contains("is not locked for");
            if !refused {
                break;
            }
            follow(&project, &outcome.stderr);
            plain(&project, &["--check"]).success();
        }
        assert!(!refused, "{arguments:?}");
        // What has been locked so far is still.
        plain(&project, &[]).success();
        let outcome = project.try_build(arguments);
        assert!(!outcome.stderr.contains("is not locked for"), "{arguments:?} {}", outcome.stderr);
    }
}
