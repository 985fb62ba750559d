//! `examples/embed.rs` builds an image through the library, without the command.

use std::process::Command;

use crate::support::{Layout, Project, Venv, binary, clean_environment, copy_folder, run, skip};
use test_macros::test;

#[test]
fn the_library_builds_an_image() {
    // `cargo test` builds the examples as well; `cargo test --test it` does not.
    let program = binary().with_file_name("examples").join("embed");
    if !program.exists() {
        skip("examples/embed is not built: cargo build --example embed");
    }
    let project = Project::of(&[]);
    fs_err::create_dir(project.path().join("examples")).expect("a folder");
    let example = project.path().join("examples/agencyos");
    copy_folder(Project::example().path(), &example);
    copy_folder(Venv::pip().path(), &example.join(".venv"));
    let mut command = Command::new(program);
    clean_environment(&mut command);
    let outcome = run(command.current_dir(project.path())).success();

    let layout = Layout::open(project.path().join("dist/embedded"));
    layout.verify();
    let image = layout.image("3.0.0");
    assert_eq!(outcome.text().trim_end(), format!("oci:dist/embedded:3.0.0@{}", image.digest));
    assert!(outcome.stderr.starts_with("agencyos:latest (runtime, linux/"), "{}", outcome.stderr);
    // The command builds the same image.
    let mut command = crate::support::ipo_oci();
    command
        .args(["build", "examples/agencyos", "-o", "oci:commands:3.0.0"])
        .env("SOURCE_DATE_EPOCH", "1767225600");
    run(command.current_dir(project.path())).success();
    assert_eq!(Layout::open(project.path().join("commands")).image("3.0.0").digest, image.digest);
}
