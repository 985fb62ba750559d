//! Unusual project layouts; other tests build plain ones.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Outcome, Project, requires, run};
use test_macros::test;

#[test]
fn a_linked_module_has_bytecode_at_pythons_path() {
    let project = Project::tiny();
    project.write("common/models.py", "ANSWER = 42\n");
    project.write("service/__init__.py", "");
    std::os::unix::fs::symlink("../common/models.py", project.path().join("service/models.py"))
        .expect("a link");
    std::os::unix::fs::symlink("nowhere.py", project.path().join("service/dangling.py")).expect("a link");
    let files = project.image(&[]).files();
    let compiled = |folder: &str| {
        files.keys().any(|path| {
            path.starts_with(&format!("app/{folder}/__pycache__/models.cpython-")) && path.ends_with(".pyc")
        })
    };
    assert!(compiled("common") && compiled("service"), "{:?}", files.keys());
}

/// Settings of a project without a server.
const WORKER: &str = "[tool.ipo-oci]\nentrypoint = [\"{python}\", \"-m\", \"app\"]\nhealthcheck = false\n";

/// Returns a project without an environment that runs `python -m app`.
fn worker(pyproject: &str) -> Project {
    let project = Project::of(&[("app/__init__.py", ""), ("app/__main__.py", "import idna\n")]);
    project.write("pyproject.toml", &format!("{pyproject}\n{WORKER}"));
    project
}

/// Returns a directory for `PATH` with Python and without uv.
fn without_uv(project: &Project) -> PathBuf {
    let folder = project.beside("bin");
    fs_err::create_dir_all(&folder).expect("a folder");
    let python = crate::support::output_of(
        "python3",
        ["-c", "import os, sys; print(os.path.realpath(sys.executable))"],
    );
    std::os::unix::fs::symlink(python, folder.join("python3")).expect("a link");
    folder
}

/// Plans a build with an environment created by uv or pip.
fn plan(project: &Project, tool: &str) -> Outcome {
    let mut command = project.command("build");
    command.args(["--dry-run=full", "--cache-dir"]).arg(project.beside(&format!("cache-{tool}")));
    if tool == "pip" {
        command.env("PATH", without_uv(project));
    }
    run(&mut command)
}

/// Returns true if the plan contains a distribution.
fn plan_contains(outcome: &Outcome, name: &str, version: &str) -> bool {
    outcome.text().lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(name) && words.next().and_then(|word| word.strip_suffix(':')) == Some(version)
    })
}

const NO_PACKAGES: &str = "[build-system]\nrequires = [\"hatchling\"]\nbuild-backend = \"hatchling.build\"\n\
                           [project]\nname = \"hatchy\"\nversion = \"1\"\ndependencies = [\"idna<3.8\"]\n";

#[test]
fn installs_the_dependencies_of_an_unbuildable_project() {
    requires("uv");
    let flat = "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
                [project]\nname = \"flat\"\nversion = \"1\"\ndependencies = [\"idna<3.8\"]\n";
    let poetry = "[tool.poetry]\nname = \"x\"\nversion = \"\"\ndescription = \"\"\nauthors = []\n\
                  [tool.poetry.dependencies]\npython = \"^3.9\"\nidna = \"<3.8\"\n\
                  [build-system]\nrequires = [\"poetry-core\"]\nbuild-backend = \"poetry.core.masonry.api\"\n";
    let unversioned = "[project]\nname = \"x\"\nversion = \"\"\ndependencies = [\"idna<3.8\"]\n";
    for (tool, pyproject, reason) in [
        ("pip", flat, "Multiple top-level packages"),
        ("uv", flat, "Multiple top-level packages"),
        ("uv", NO_PACKAGES, "Unable to determine which files to ship"),
        ("uv", poetry, "The Poetry configuration is invalid"),
        ("pip", poetry, "The Poetry configuration is invalid"),
        ("uv", unversioned, ""),
    ] {
        let project = worker(pyproject);
        project.write("data/__init__.py", "");
        let outcome = plan(&project, tool).success();
        assert!(plan_contains(&outcome, "idna", "3.7"), "{tool} {pyproject}\n{}", outcome.stderr);
        assert!(outcome.stderr.contains(reason), "{tool} {pyproject}\n{}", outcome.stderr);
        let warned = outcome.stderr.contains("the project cannot be built");
        assert_eq!(warned, !reason.is_empty(), "{}", outcome.stderr);
    }
}

#[test]
fn installs_the_locked_dependencies_of_an_unbuildable_project() {
    requires("uv");
    let project = worker(NO_PACKAGES);
    run(Command::new("uv").args(["lock", "--quiet"]).current_dir(project.path())).success();
    let outcome = plan(&project, "uv").success();
    assert!(plan_contains(&outcome, "idna", "3.7"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("Unable to determine which files to ship"), "{}", outcome.stderr);
}

#[test]
fn installs_requirements_without_an_unbuildable_project() {
    requires("uv");
    let project = worker(NO_PACKAGES);
    project.write("requirements.txt", "-r more.txt\n-e .\n");
    project.write("more.txt", "six==1.16.0\n");
    let outcome = plan(&project, "uv").success();
    assert!(plan_contains(&outcome, "idna", "3.7"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the project cannot be built"), "{}", outcome.stderr);
}

#[test]
fn shows_the_installers_error() {
    requires("uv");
    for tool in ["uv", "pip"] {
        let project = worker(&NO_PACKAGES.replace("idna<3.8", "idna==99"));
        let outcome = plan(&project, tool).exits_with(1);
        assert!(outcome.stderr.contains("idna==99"), "{}", outcome.describe());
        let project = worker(&format!("{NO_PACKAGES}requires-python = \">=3.99\"\n"));
        let outcome = plan(&project, tool);
        assert_ne!(outcome.code(), Some(0), "{}", outcome.describe());
    }
}

/// Returns a uv workspace with a service and a library.
fn workspace() -> Project {
    let project = Project::of(&[
        (
            "pyproject.toml",
            "[project]\nname = \"root\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"six\"]\n\
             [tool.uv.workspace]\nmembers = [\"services/*\", \"packages/*\"]\n",
        ),
        (
            "packages/shared/pyproject.toml",
            "[project]\nname = \"shared\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"click\"]\n\
             [build-system]\nrequires = [\"hatchling\"]\nbuild-backend = \"hatchling.build\"\n",
        ),
        ("packages/shared/src/shared/__init__.py", "ANSWER = 42\n"),
        ("services/api/app/__init__.py", ""),
        ("services/api/app/__main__.py", "import idna, shared\nprint(shared.ANSWER)\n"),
    ]);
    let api = "[project]\nname = \"api\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"shared\", \"idna\"]\n\
               [tool.uv.sources]\nshared = { workspace = true }\n";
    project.write("services/api/pyproject.toml", &format!("{api}{WORKER}"));
    // Older versions, which only the lock determines.
    let mut lock = Command::new("uv");
    lock.args(["lock", "--quiet", "--upgrade-package", "idna==3.7", "--upgrade-package", "click==8.1.7"]);
    run(lock.current_dir(project.path())).success();
    project
}

#[test]
fn a_workspace_member_gets_locked_versions() {
    requires("uv");
    let project = workspace();
    let build = |folder: &str| {
        let mut command = crate::support::ipo_oci();
        command.current_dir(project.path()).args(["build", folder, "-o", "oci:out", "--cache-dir"]);
        run(command.arg(project.beside("cache")))
    };
    let outcome = build("services/api").success();
    let image = crate::support::Layout::open(project.path().join("out")).only();
    let files = image.files();
    let has = |part: &str| files.keys().any(|path| path.contains(part));
    for part in
        ["/idna-3.7.dist-info/", "/click-8.1.7.dist-info/", "/shared-1.dist-info/", "/shared/__init__.py"]
    {
        assert!(has(part), "{part}: {}", outcome.describe());
    }
    assert!(!has("/six"), "what only the workspace's root needs");
    // Another lock gives another environment.
    let mut lock = Command::new("uv");
    lock.args(["lock", "--quiet", "--upgrade-package", "idna==3.6"]).current_dir(project.path());
    run(&mut lock).success();
    build("services/api").success();
    let image = crate::support::Layout::open(project.path().join("out")).only();
    assert!(image.files().keys().any(|path| path.contains("/idna-3.6.dist-info/")));
    // A new member that is not locked yet.
    project.write("services/new/app/__init__.py", "");
    project.write(
        "services/new/pyproject.toml",
        &format!("[project]\nname = \"new\"\nversion = \"1\"\ndependencies = []\n{WORKER}"),
    );
    let outcome = build("services/new");
    assert!(outcome.stderr.contains("does not list this project"), "{}", outcome.describe());
}

#[test]
fn reports_an_unusable_workspace_lock() {
    requires("uv");
    let project = workspace();
    let mut command = crate::support::ipo_oci();
    command.current_dir(project.path()).args(["build", "services/api", "--dry-run", "--cache-dir"]);
    let outcome = run(command.arg(project.beside("cache")).env("PATH", without_uv(&project))).exits_with(4);
    assert!(outcome.stderr.contains("uv.lock: is not used"), "{}", outcome.describe());
    assert!(
        outcome.stderr.contains("the source of `shared` is in [tool.uv.sources]"),
        "{}",
        outcome.describe()
    );
}
