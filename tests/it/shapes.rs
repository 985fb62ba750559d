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

/// Returns true if the plan contains a distribution.
fn plan_contains(outcome: &Outcome, name: &str, version: &str) -> bool {
    outcome.text().lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(name) && words.next().is_some_and(|word| word.starts_with(version))
    })
}

/// Returns a lock of `tests/data/locks`.
fn lock(name: &str) -> String {
    fs_err::read_to_string(format!("{}/tests/data/locks/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a lock")
}

const STANDARD: &str = "[project]\nname = \"locked\"\nversion = \"1\"\nrequires-python = \">=3.11,<3.12\"\n\
                        dependencies = [\"click>=8\", \"python-dateutil>=2.8\"]\n";

#[test]
fn the_locks_of_other_tools_are_followed() {
    requires("uv");
    let old_poetry = "[tool.poetry]\nname = \"locked\"\nversion = \"1\"\ndescription = \"\"\nauthors = []\n\
                      package-mode = false\n[tool.poetry.dependencies]\npython = \"~3.11\"\nclick = \">=8\"\n\
                      python-dateutil = \"^2.8\"\n";
    let poetry = format!("{STANDARD}[tool.poetry]\npackage-mode = false\n");
    let pipfile =
        "[packages]\nclick = \">=8\"\npython-dateutil = \"*\"\n[requires]\npython_version = \"3.11\"\n";
    for (tool, pyproject, file, data, dateutil) in [
        (Installer::Pip, old_poetry, "poetry.lock", "poetry-1.lock", "2.9.0"),
        (Installer::Uv, &poetry, "poetry.lock", "poetry-2.lock", "3.0.0"),
        (Installer::Uv, STANDARD, "pdm.lock", "pdm.lock", "3.0.0"),
        (Installer::Uv, STANDARD, "pylock.toml", "pylock.toml", "4.0.0"),
        (Installer::Uv, "", "Pipfile.lock", "Pipfile.lock", "4.0.0"),
    ] {
        let project = project(&[("pyproject.toml", pyproject), (file, &lock(data))]);
        if file == "Pipfile.lock" {
            project.write("Pipfile", pipfile);
        }
        let before = crate::support::snapshot(project.path());
        let outcome = plan(&project, tool, &[]).success();
        for (name, version) in [("click", "8.1.7"), ("python-dateutil", dateutil)] {
            assert!(plan_contains(&outcome, name, version), "{data} {name}: {}", outcome.describe());
        }
        for warning in ["cannot be followed", "does not have"] {
            assert!(!outcome.stderr.contains(warning), "{}", outcome.describe());
        }
        assert_eq!(crate::support::snapshot(project.path()), before, "{file} writes into the project");
    }
}

#[test]
fn a_lock_that_is_not_followed_is_a_warning() {
    requires("uv");
    let stale = STANDARD.replace("\"click>=8\"", "\"click>=8\", \"six<1.17\"");
    let damaged = lock("pdm.lock").replace("version = \"8.1.7\"", "version = \"eight\"");
    let gone = lock("pdm.lock").replace("version = \"8.1.7\"", "version = \"8.1.99\"");
    for (pyproject, lock, warning) in [
        (&*stale, &*lock("pdm.lock"), "pdm.lock: does not have `six<1.17`: other versions may be installed"),
        (STANDARD, &damaged, "pdm.lock: cannot be followed (invalid version `eight` of `click`)"),
        (STANDARD, &gone, "pdm.lock: cannot be followed ("),
        (STANDARD, "<<<<<<< HEAD", "pdm.lock: cannot be followed ("),
    ] {
        let project = project(&[("pyproject.toml", pyproject), ("pdm.lock", lock)]);
        for _ in 0..2 {
            let outcome = plan(&project, Installer::Uv, &[]).success();
            assert!(outcome.stderr.contains(warning), "{warning}: {}", outcome.describe());
            assert!(outcome.stderr.contains("run `pdm lock`"), "{}", outcome.describe());
            assert!(plan_contains(&outcome, "click", "8."), "{}", outcome.describe());
            assert!(
                pyproject == STANDARD || plan_contains(&outcome, "six", "1.16"),
                "{}",
                outcome.describe()
            );
        }
    }
}

#[test]
fn the_group_with_the_server_is_included() {
    requires("uv");
    let pyproject = "[project]\nname = \"x\"\nversion = \"1\"\ndependencies = [\"bottle\"]\n\
                     [dependency-groups]\nGROUP = [\"waitress\"]\n";
    let files = |group: &str, settings: &str| {
        let pyproject = pyproject.replace("GROUP", group) + settings;
        Project::of(&[("app.py", "import bottle\napp = bottle.Bottle()\n"), ("pyproject.toml", &pyproject)])
    };
    let project = files("prod", "");
    let explained = run(project.command("explain").current_dir(project.path())).success();
    let included =
        "dependencies group `prod` (included: it has waitress, and no other dependency is a server)";
    assert!(explained.text().contains(included), "{}", explained.describe());
    let outcome = plan(&project, Installer::Uv, &[]).success();
    assert!(plan_contains(&outcome, "waitress", ""), "{}", outcome.describe());
    assert!(outcome.stderr.contains("write groups = [\"prod\"]"), "{}", outcome.describe());
    let way = "write groups = [\"load\"] to [tool.ipo-oci] for waitress of the group `load`";
    for (group, settings, is_advised) in
        [("load", "", true), ("prod", "[tool.ipo-oci]\ngroups = []\n", false)]
    {
        let outcome = plan(&files(group, settings), Installer::Uv, &[]).exits_with(1);
        assert!(outcome.stderr.contains("server not found"), "{}", outcome.describe());
        assert_eq!(outcome.stderr.contains(way), is_advised, "{}", outcome.describe());
    }
}

#[test]
fn groups_are_included_by_name() {
    requires("uv");
    let groups = "[dependency-groups]\nworker = [\"six\", {include-group = \"more\"}]\nmore = [\"certifi\"]\n\
                  dev = [\"iniconfig\"]\n";
    let pyproject = format!("{IDNA}{groups}");
    let (uv_default, poetry) = (
        format!("{pyproject}[tool.uv]\ndefault-groups = [\"dev\", \"worker\"]\n"),
        format!(
            "{IDNA}[tool.poetry]\npackage-mode = false\n[tool.poetry.group.worker.dependencies]\nsix = \"*\"\n"
        ),
    );
    for (tool, pyproject, arguments, has_worker) in [
        (Installer::Uv, &pyproject, &[][..], false),
        (Installer::Uv, &pyproject, &["--group", "worker"], true),
        (Installer::Pip, &pyproject, &["--group", "worker"], true),
        (Installer::Uv, &uv_default, &[], true),
        (Installer::Uv, &uv_default, &["--no-default-groups"], false),
        (Installer::Uv, &poetry, &["--group", "worker"], true),
    ] {
        let project = project(&[("pyproject.toml", pyproject)]);
        let outcome = plan(&project, tool, arguments).success();
        assert_eq!(plan_contains(&outcome, "six", ""), has_worker, "{arguments:?} {}", outcome.describe());
        assert!(plan_contains(&outcome, "idna", "3.7") && !plan_contains(&outcome, "iniconfig", ""));
    }
    let project = project(&[("pyproject.toml", &pyproject)]);
    let outcome = plan(&project, Installer::Uv, &["--group", "none"]).exits_with(1);
    assert!(outcome.stderr.contains("dependency group `none` not found"), "{}", outcome.describe());
    let circle = format!("{IDNA}[dependency-groups]\na = [{{include-group = \"a\"}}]\n");
    let project = self::project(&[("pyproject.toml", &circle)]);
    let outcome = plan(&project, Installer::Uv, &[]).exits_with(1);
    assert!(outcome.stderr.contains("includes itself: a → a"), "{}", outcome.describe());
}

#[test]
fn a_locked_project_has_the_groups_of_its_lock() {
    requires("uv");
    let pyproject = format!("{IDNA}[dependency-groups]\nworker = [\"six<1.17\"]\ndev = [\"iniconfig\"]\n");
    let project = project(&[("pyproject.toml", &pyproject)]);
    run(std::process::Command::new("uv").args(["lock", "-q"]).current_dir(project.path())).success();
    let outcome = plan(&project, Installer::Uv, &["--group", "worker"]).success();
    assert!(plan_contains(&outcome, "six", "1.16") && !plan_contains(&outcome, "iniconfig", ""));
    let outcome = plan(&project, Installer::Uv, &[]).success();
    assert!(!plan_contains(&outcome, "six", ""), "{}", outcome.describe());
}

#[test]
fn requirements_of_a_setting_are_installed_beside_the_declared_ones() {
    requires("uv");
    let locked = project(&[("pyproject.toml", IDNA)]);
    run(std::process::Command::new("uv").args(["lock", "-q"]).current_dir(locked.path())).success();
    for (project, tool) in [
        (&locked, Installer::Uv),
        (&project(&[("pyproject.toml", IDNA)]), Installer::Pip),
        (&project(&[("requirements.txt", "idna==3.7\n")]), Installer::Uv),
    ] {
        let outcome = plan(project, tool, &["--with", "six<1.17", "--with", "certifi"]).success();
        for (name, version) in [("idna", "3.7"), ("six", "1.16"), ("certifi", "")] {
            assert!(plan_contains(&outcome, name, version), "{name} {tool:?}: {}", outcome.describe());
        }
        assert!(!plan_contains(&plan(project, tool, &[]).success(), "six", ""));
    }
    let outcome = plan(&locked, Installer::Uv, &["--with", "six=="]).exits_with(1);
    assert!(outcome.stderr.contains("invalid requirement `six==` in `with`"), "{}", outcome.describe());
}

#[test]
fn requirement_files_are_found_and_named() {
    requires("uv");
    let tree = [
        ("requirements/prod.txt", "-r base.txt\n-c limits.txt\nsix\n"),
        ("requirements/base.txt", "idna\n"),
        ("requirements/limits.txt", "idna<3.8\nsix<1.17\n"),
        ("requirements/dev.txt", "iniconfig\n"),
    ];
    let project = project(&tree);
    let outcome = plan(&project, Installer::Uv, &[]).success();
    assert!(plan_contains(&outcome, "idna", "3.7") && plan_contains(&outcome, "six", "1.16"));
    assert!(!plan_contains(&outcome, "iniconfig", ""));
    for arguments in [
        &["--requirements", "requirements/base.txt", "--requirements", "requirements/dev.txt"][..],
        &["--requirements", "requirements/base.txt,requirements/dev.txt"],
    ] {
        let outcome = plan(&project, Installer::Uv, arguments).success();
        assert!(plan_contains(&outcome, "idna", "3.") && plan_contains(&outcome, "iniconfig", ""));
        assert!(!plan_contains(&outcome, "six", ""), "{}", outcome.describe());
    }
    let outcome = plan(&project, Installer::Uv, &["--requirements", "none.txt"]).exits_with(1);
    assert!(outcome.stderr.contains("none.txt"), "{}", outcome.describe());
}

#[test]
fn projects_of_setuptools_and_pipenv_need_no_lock() {
    requires("uv");
    let setup = "from setuptools import setup\nsetup(name='old', version='1', packages=['app'], \
                 install_requires=['idna<3.8'])\n";
    let config =
        "[metadata]\nname = old\nversion = 1\n[options]\npackages = app\ninstall_requires =\n    idna<3.8\n";
    let pipfile = "[packages]\nidna = \"<3.8\"\n[dev-packages]\niniconfig = \"*\"\n";
    for (tool, file, text) in [
        (Installer::Uv, "setup.py", setup),
        (Installer::Pip, "setup.py", setup),
        (Installer::Uv, "setup.cfg", config),
        (Installer::Uv, "Pipfile", pipfile),
    ] {
        let project = project(&[(file, text)]);
        if file == "setup.cfg" {
            project.write("setup.py", "import setuptools\nsetuptools.setup()\n");
        }
        let outcome = plan(&project, tool, &[]).success();
        assert!(plan_contains(&outcome, "idna", "3.7"), "{tool:?} {file}: {}", outcome.describe());
        assert!(!plan_contains(&outcome, "iniconfig", ""), "{tool:?} {file}");
    }
}

#[test]
fn a_folder_with_dependencies_is_proposed() {
    for (files, help) in [
        (
            &[("backend/requirements.txt", "idna\n"), ("docs/requirements.txt", "")][..],
            "`ipo-oci build backend`",
        ),
        (
            &[
                ("apps/api/pyproject.toml", IDNA),
                ("apps/web/Pipfile", "[packages]\n"),
                ("apps/jobs/mail/setup.py", ""),
                ("tests/setup.py", ""),
            ],
            "`ipo-oci build apps/api`, `ipo-oci build apps/jobs/mail`, `ipo-oci build apps/web`",
        ),
        (
            &[("requirements-dev.txt", "idna\n"), ("src/requirements.txt", "idna\n")],
            "build the folder with the dependencies: `ipo-oci build src`",
        ),
        (
            &[("requirements-dev.txt", "idna\n"), ("docs/requirements.txt", "")],
            "`--requirements requirements-dev.txt`",
        ),
        (
            &[("requirements/all.txt", ""), ("requirements_server.txt", "")],
            "`--requirements requirements_server.txt`",
        ),
        (&[("notes/readme.txt", "")], "add a uv.lock, requirements.txt or pyproject.toml"),
    ] {
        let project = Project::of(files);
        let outcome = run(project.command("build").arg("--dry-run")).exits_with(1);
        assert!(outcome.stderr.contains("virtual environment not found"), "{}", outcome.describe());
        assert!(outcome.stderr.contains(help), "{help}: {}", outcome.describe());
        let explained = run(&mut project.command("explain")).describe();
        assert_eq!(explained.contains(help), files.len() > 1, "{help}: {explained}");
    }
}

#[test]
fn members_of_a_workspace_are_built_by_name() {
    requires("uv");
    let member = |name: &str, dependencies: &str| {
        format!(
            "[project]\nname = \"{name}\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [{dependencies}]\n{WORKER}"
        )
    };
    let (api, worker) = (member("api", "\"idna<3.8\""), member("worker", "\"six\""));
    let project = Project::of(&[
        ("pyproject.toml", "[tool.uv.workspace]\nmembers = [\"services/*\"]\n"),
        ("services/api/pyproject.toml", &api),
        ("services/api/app/__main__.py", ""),
        ("services/worker/pyproject.toml", &worker),
        ("services/worker/app/__main__.py", ""),
    ]);
    run(std::process::Command::new("uv").args(["lock", "-q"]).current_dir(project.path())).success();
    let outcome = plan(&project, Installer::Uv, &["--package", "api"]).success();
    assert!(plan_contains(&outcome, "idna", "3.7") && !plan_contains(&outcome, "six", ""));
    let outcome = plan(&project, Installer::Uv, &["--package", "api,worker"]).success();
    assert!(plan_contains(&outcome, "idna", "3.7") && plan_contains(&outcome, "six", ""));
    let outcome = plan(&project, Installer::Uv, &["--package", "wroker"]).exits_with(1);
    for part in
        ["package `wroker` not found in the workspace", "name one of api, worker; did you mean `worker`?"]
    {
        assert!(outcome.stderr.contains(part), "{}", outcome.describe());
    }
}
