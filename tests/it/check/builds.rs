//! The check before a build: refusal, settings, and cached plans.

use crate::support::Project;
use crate::support::venv::add_stand_in;
use test_macros::test;

const KEY: &str = "-----BEGIN PRIVATE KEY-----\n";

/// Returns a project with a private key in its source.
fn leaking() -> Project {
    let project = Project::tiny();
    let body = "MC4CAQAwBQYDK2VwBCIEIP9vQq3mTz1nXkJ0aYb7cWdEfGhIjKlMnOpQrStUvWxY";
    project.write("deploy/notes.txt", &format!("{KEY}{body}\n-----END PRIVATE KEY-----\n"));
    project
}

#[test]
fn an_image_with_an_error_is_not_built() {
    let project = leaking();
    let outcome = project.try_build(&[]).exits_with(1);
    assert!(
        outcome.stderr.contains("error: cannot build the image: /app/deploy/notes.txt: "),
        "{}",
        outcome.describe()
    );
    assert!(
        outcome.stderr.contains("[IPO605]") && !outcome.stderr.contains("MC4CAQ"),
        "{}",
        outcome.describe()
    );
    assert!(!project.path().join("dist").exists());
    // The flag, the settings, and a rule that is left out.
    project.build(&["--no-check", "-o", "oci:one"]);
    project.try_build(&["-o", "oci:two"]).exits_with(1);
    let own = project.read("pyproject.toml");
    project.write("pyproject.toml", &format!("{own}\n[tool.ipo-oci.check]\nignore = [\"IPO605\"]\n"));
    project.build(&["-o", "oci:two"]);
    project.write("pyproject.toml", &format!("{own}\n[tool.ipo-oci.check]\nbuild = false\n"));
    project.build(&["-o", "oci:three"]);
    project.write("pyproject.toml", &format!("{own}\n[tool.ipo-oci.check]\nignore = [\"IPO6O5\"]\n"));
    let outcome = project.try_build(&["-o", "oci:four"]).exits_with(1);
    assert!(
        outcome.stderr.contains("unknown rule `IPO6O5`; did you mean `IPO605`?"),
        "{}",
        outcome.describe()
    );
}

#[test]
fn a_build_with_a_cached_plan_warns_as_the_first() {
    let project = Project::tiny();
    // GitPython starts git, which no image from scratch has.
    add_stand_in(&project.path().join(".venv"), "gitpython", "");
    let own = project.read("pyproject.toml").replace("[\"fastapi\"", "[\"gitpython\", \"fastapi\"");
    project.write("pyproject.toml", &own);
    let cache = project.beside("cache");
    let build = || {
        let outcome = project.build(&["--cache-dir", cache.to_str().expect("UTF-8")]);
        let lines = outcome.stderr.lines().filter(|line| line.contains("[IPO"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = build();
    assert!(matches!(&first[..], [only] if only.contains("[IPO107]")), "{first:?}");
    assert_eq!(first, build());
    // A change of the source alone.
    project.write("main.py", &(project.read("main.py") + "\n# changed\n"));
    assert_eq!(first, build());
    // The plan of a build without a check has no diagnostics.
    let own = project.read("pyproject.toml");
    fs_err::remove_dir_all(&cache).expect("a folder");
    project.build(&["--cache-dir", cache.to_str().expect("UTF-8"), "--no-check"]);
    assert_eq!(first, build());
    project.write("pyproject.toml", &format!("{own}\n[tool.ipo-oci.check]\nignore = [\"IPO107\"]\n"));
    assert_eq!(build(), <[String; 0]>::default());
}

#[test]
fn an_import_is_checked_with_a_cached_plan_too() {
    let project = Project::tiny();
    let cache = project.beside("cache");
    let build = |text: &str| {
        project.write("main.py", text);
        project.try_build(&["--cache-dir", cache.to_str().expect("UTF-8")])
    };
    let plain = "from fastapi import FastAPI\n\napp = FastAPI()\n";
    build(plain).success();
    for _ in 0..2 {
        let outcome = build(&format!("import absent_module\n{plain}")).exits_with(1);
        assert!(
            outcome.stderr.contains("absent_module") && outcome.stderr.contains("[IPO404]"),
            "{}",
            outcome.describe()
        );
    }
    // Of other names, a module of the source, and one that may be missing.
    build(&format!("import json\n{plain}")).success();
    build(&format!("{plain}\ndef f():\n    return 1\n")).success();
    project.write("helper.py", "x = 1\n");
    build(&format!("import helper\n{plain}")).success();
    build(&format!("try:\n    import absent_module\nexcept ImportError:\n    pass\n{plain}")).success();
    fs_err::remove_file(project.path().join("helper.py")).expect("a file");
    let outcome = build(&format!("import helper\n{plain}")).exits_with(1);
    assert!(outcome.stderr.contains("imports helper"), "{}", outcome.describe());
}

#[test]
fn a_library_that_the_source_loads_by_name_is_a_warning_of_each_build() {
    let project = Project::tiny();
    let cache = project.beside("cache");
    let warnings = |text: &str| {
        project.write("main.py", text);
        let outcome = project.build(&["--cache-dir", cache.to_str().expect("UTF-8")]);
        outcome.stderr.matches("[IPO106]").count()
    };
    let plain = "from fastapi import FastAPI\n\napp = FastAPI()\n";
    let loading = |name: &str| format!("import ctypes\n{plain}\nlib = ctypes.CDLL(\"{name}\")\n");
    assert_eq!(warnings(plain), 0);
    assert_eq!(warnings(&loading("libabsent.so.7")), 1);
    assert_eq!(warnings(&loading("libabsent.so.7")), 1);
    assert_eq!(warnings(&loading("libc.so.6")), 0);
    assert_eq!(warnings(&loading("libabsent.so.8")), 1);
}
