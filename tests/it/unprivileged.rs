//! Builds need no root, no network, no home, and write access to the destination only.

use std::process::Command;

use crate::support::{Layout, Project, Venv, binary, copy_folder, requires, run};
use test_macros::test;

#[test]
fn builds_as_nobody_without_network_home_or_write_access() {
    requires("setpriv");
    requires("unshare");
    let venv = Venv::for_everyone();
    let project = Project::example_as("agencyos", &venv);
    let inside = project.path().join(".venv");
    copy_folder(venv.path(), &inside);
    let program = project.beside("ipo-oci");
    fs_err::copy(binary(), &program).expect("a copy");
    let out = project.beside("out");
    fs_err::create_dir(&out).expect("a folder");
    let parent = project.path().parent().expect("a parent");
    run(Command::new("chmod").args(["-R", "a+rX,a-w"]).arg(project.path())).success();
    run(Command::new("chmod").arg("a+rx").arg(parent).arg(&program)).success();

    let mut command = if rustix::process::geteuid().is_root() {
        run(Command::new("chown").arg("65534:65534").arg(&out)).success();
        let mut command = Command::new("unshare");
        command.args(["--net", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]);
        command
    } else {
        let mut command = Command::new("setpriv");
        command.arg("--no-new-privs");
        command
    };
    command.arg(&program).arg("build").arg(project.path()).args(["--target", "all", "--no-provision", "-o"]);
    command.arg(format!("oci:{}/image", out.display()));
    // An empty environment.
    command.env_clear().current_dir("/");
    let outcome = run(&mut command).success();
    assert_eq!(outcome.text().lines().count(), 3, "{}", outcome.describe());
    Layout::open(out.join("image")).verify();
    // Only the destination has new files.
    let left: Vec<_> =
        fs_err::read_dir(&out).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(left, ["image"]);
    run(Command::new("chmod").args(["-R", "u+w"]).arg(project.path())).success();
}

#[test]
fn the_umask_does_not_make_a_layout_unreadable() {
    // With any umask, users who can read the directory can read the layout.
    let project = Project::example();
    let mut command = Command::new("sh");
    crate::support::clean_environment(&mut command);
    command.args(["-c", "umask 027; exec \"$@\"", "sh"]).arg(binary()).arg("build");
    run(command.arg("--venv").arg(Venv::pip().path()).current_dir(project.path())).success();
    project.layout().verify();
}
