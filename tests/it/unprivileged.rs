//! Builds need no root, no network, no home, and write access to the destination only.

use std::path::Path;
use std::process::Command;

use crate::support::packages::{cache, lock};
use crate::support::{Layout, Project, Venv, binary, copy_folder, requires, requires_root, run};
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
fn builds_on_packages_as_nobody_without_network_or_the_tools_of_dpkg() {
    for tool in ["setpriv", "unshare", "strace"] {
        requires(tool);
    }
    requires_root();
    let project = Project::example_as("agencyos", &Venv::for_everyone());
    copy_folder(Venv::for_everyone().path(), &project.path().join(".venv"));
    lock(&project, &["--base", "apt:bookworm"]).success();
    let arguments = ["--base", "apt:bookworm", "--target", "all", "--locked"];
    let digests = |layout: &Path| -> Vec<String> {
        let layout = Layout::open(layout);
        layout.tags().iter().map(|tag| layout.image(tag).digest).collect()
    };
    let mut command = project.command("build");
    run(command.arg("--cache-dir").arg(cache()).args(arguments)).success();
    let of_root = digests(&project.path().join("dist/image"));
    assert_eq!(of_root.len(), 3);

    // Another user, machine and time zone; the downloaded packages are the same.
    let program = project.beside("ipo-oci");
    fs_err::copy(binary(), &program).expect("a copy");
    let out = project.beside("out");
    let folder = |name: &str| out.join(name).display().to_string();
    for name in ["bin", "cache", "home"] {
        fs_err::create_dir_all(out.join(name)).expect("a folder");
    }
    copy_folder(&cache().join("apt"), &out.join("cache/apt"));
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(&out)).success();
    let parent = project.path().parent().expect("a parent");
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(project.path())).success();
    run(Command::new("chmod").arg("a+rx").arg(parent).arg(&program)).success();
    let mut command = Command::new("unshare");
    command.args(["--net", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]);
    command.args(["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=execve", "-o", &folder("executed")]);
    command.args(["-E", &format!("PATH={}", folder("bin")), "sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    command
        .arg(&program)
        .arg("build")
        .arg(project.path())
        .args(arguments)
        .args(["--offline", "--no-provision"]);
    command.args(["-o", &format!("oci:{}", folder("image")), "--cache-dir", &folder("cache")]);
    let path = std::env::var_os("PATH").expect("a variable");
    command.env_clear().env("PATH", path).env("HOME", folder("home")).env("TZ", "Asia/Tokyo");
    run(command.current_dir("/")).success();
    assert_eq!(digests(&out.join("image")), of_root);
    // The builder starts the Python of the environment and, by its loader, that of the base, and no other program.
    let executed = fs_err::read_to_string(out.join("executed")).expect("a trace");
    let programs = executed.lines().filter_map(|line| line.split('"').nth(1)).skip(1);
    let is_known = |name: &str| {
        name == program.to_str().expect("UTF-8")
            || name.contains("/python3")
            || name.contains("/pythons/") && name.ends_with("/loader")
    };
    let others: Vec<_> = programs.filter(|name| !is_known(name)).collect();
    assert!(executed.contains("/ipo-oci\"") && others.is_empty(), "{others:?}");
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
