//! Shapes of projects: interpreters, locks, groups, requirement files and workspaces.

use std::path::PathBuf;

use crate::support::{Outcome, Project, output_of, requires, run};
use test_macros::test;

/// Settings of a project without a server.
const WORKER: &str = "[tool.ipo-oci]\nentrypoint = [\"{python}\", \"-m\", \"app\"]\nhealthcheck = false\n";

/// Returns a project without an environment that runs `python -m app`.
fn project(files: &[(&str, &str)]) -> Project {
    let project = Project::of(&[("app/__init__.py", ""), ("app/__main__.py", "")]);
    let mut pyproject = String::new();
    for (path, text) in files {
        match *path {
            "pyproject.toml" => (*text).clone_into(&mut pyproject),
            path => project.write(path, text),
        }
    }
    project.write("pyproject.toml", &format!("{pyproject}\n{WORKER}"));
    project
}

/// Plans a build whose environment uv or pip creates.
fn plan(project: &Project, tool: Installer, arguments: &[&str]) -> Outcome {
    let mut command = project.command("build");
    command.args(["--dry-run=full", "--cache-dir"]).arg(project.beside("cache")).args(arguments);
    if tool == Installer::Pip {
        command.env("PATH", without_uv(project));
    }
    run(&mut command)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Installer {
    Uv,
    Pip,
}

/// Returns a directory for `PATH` with Python and without uv.
fn without_uv(project: &Project) -> PathBuf {
    let folder = project.beside("bin");
    if !folder.exists() {
        fs_err::create_dir_all(&folder).expect("a folder");
        std::os::unix::fs::symlink(python(), folder.join("python3")).expect("a link");
    }
    folder
}

/// Returns the interpreter that `python3` runs.
fn python() -> PathBuf {
    output_of("python3", ["-c", "import os, sys; print(os.path.realpath(sys.executable))"]).into()
}

/// Returns `major.minor` of the interpreter that `python3` runs.
fn minor() -> String {
    output_of("python3", ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
}

const IDNA: &str = "[project]\nname = \"x\"\nversion = \"1\"\ndependencies = [\"idna<3.8\"]\n";

#[test]
fn a_pinned_interpreter_is_used() {
    requires("uv");
    let minor = minor();
    for tool in [Installer::Uv, Installer::Pip] {
        let project = project(&[("pyproject.toml", IDNA), (".python-version", &minor)]);
        let outcome = plan(&project, tool, &[]).success();
        assert!(outcome.text().contains(&format!("python{minor}")), "{tool:?} {}", outcome.describe());
    }
}

#[test]
fn a_missing_interpreter_is_an_error_with_the_ones_of_this_machine() {
    requires("uv");
    let demanding = format!("{IDNA}requires-python = \">=3.99\"\n");
    let project = project(&[("pyproject.toml", &demanding)]);
    let outcome = plan(&project, Installer::Pip, &[]).exits_with(4);
    for part in
        ["Python >=3.99 (pyproject.toml) not found: this machine has ", &minor(), "--python", "--venv"]
    {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.describe());
    }
    // The setting overrides the file.
    let outcome = plan(&project, Installer::Pip, &["--python", "3.98"]).exits_with(4);
    assert!(outcome.stderr.contains("Python 3.98 (python) not found"), "{}", outcome.describe());
    plan(&project, Installer::Pip, &["--python", "newest"]).exits_with(2);
}
