//! The library rules of `ipo-oci check`, compared with the loader of the image, and images that break
//! them: `.ci/engine cargo test --test it check_loader::`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ipo_oci::base::{Overlay, View, missing_libraries};
use ipo_oci::elf::LoadRoot;
use ipo_oci::progress::Silent;
use ipo_oci::store;
use serde_json::Value;

use crate::support::engine::Engine;
use crate::support::environments::{cached, uv};
use crate::support::layout::json;
use crate::support::{Outcome, Project, ipo_oci, run};
use test_macros::test;

/// Lists the libraries and versions that the loader does not find, for each dynamic ELF file of the
/// image that the loader accepts.
const QUERY: &str = r#"
import json, os, re, subprocess, sys
LOADER = "/lib64/ld-linux-x86-64.so.2"
found = {}
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys", "dev")]
    for name in files:
        path = os.path.join(folder, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        try:
            with open(path, "rb") as file:
                if file.read(4) != b"\x7fELF":
                    continue
        except OSError:
            continue
        listed = subprocess.run([LOADER, "--list", path], capture_output=True, text=True)
        if "not a dynamic executable" in listed.stderr or "statically linked" in listed.stdout:
            continue
        text = listed.stdout + listed.stderr
        libraries = re.findall(r"^\s*(\S+) => not found$", text, re.MULTILINE)
        versions = re.findall(r"version `(\S+)' not found", text)
        if listed.returncode and not libraries and not versions:
            continue
        found[path] = [sorted(set(libraries)), sorted(set(versions))]
json.dump(found, sys.stdout)
"#;

/// Missing libraries and symbol versions by file.
type Answers = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

/// Builds the project, and returns the answers of the image's own loader.
fn ask_loader(engine: Engine, project: &Project, tag: &str) -> Answers {
    let name = format!("ipo-oci-test/loader:{tag}");
    let archive = project.beside("image.tar");
    project.build(&["-t", &name, "-o", &format!("docker-archive:{}", archive.display()), "-o", "oci:image"]);
    engine.docker(&["load", "--input", archive.to_str().unwrap()]).success();
    let python = "/app/.venv/bin/python";
    let answer = engine
        .docker(&["run", "--rm", "--network", "none", "--entrypoint", python, &name, "-c", QUERY])
        .success();
    let texts = |value: &Value| -> BTreeSet<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let answers = json(&answer.stdout);
    let answers = answers.as_object().unwrap().iter();
    answers.map(|(path, found)| (path.clone(), (texts(&found[0]), texts(&found[1])))).collect()
}

/// Compares the answers with ours; returns the number of compared files.
#[track_caller]
fn compare(project: &Project, answers: &Answers) -> usize {
    let reference = format!("oci:{}", project.path().join("image").display());
    let image = store::open_image(&reference.parse().unwrap(), None, &store::Access::default()).unwrap();
    let view = Arc::new(View::of(&image, None, &Silent).unwrap());
    let files = Arc::new(Overlay::with_own(view, 0));
    let mut differences = Vec::new();
    for (path, (libraries, versions)) in answers {
        let found = missing_libraries(&files, &[LoadRoot::new(path)]).unwrap();
        let ours: BTreeSet<String> = found.libraries.into_iter().map(|missing| missing.soname).collect();
        let our_versions: BTreeSet<String> =
            found.versions.into_iter().map(|missing| missing.version).collect();
        if (&ours, &our_versions) != (libraries, versions) {
            differences.push(format!("{path}: {ours:?} {our_versions:?}, not {libraries:?} {versions:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    answers.len()
}

/// Returns a project whose environment has `requirements`.
fn project_with(requirements: &[&str], imports: &str) -> Project {
    let key = format!("check-{}", requirements.join("-"));
    let venv = cached(&key, |root| uv(root, &[], requirements));
    let declared: Vec<String> = requirements.iter().map(|text| format!("\"{text}\"")).collect();
    let project = Project::of(&[
        (
            "pyproject.toml",
            &format!(
                "[project]\nname = \"stack\"\nversion = \"1\"\ndependencies = [{}]\n",
                declared.join(", ")
            ),
        ),
        ("main.py", &format!("{imports}\nfrom fastapi import FastAPI\n\napp = FastAPI()\n")),
    ]);
    fs_err::os::unix::fs::symlink(venv, project.path().join(".venv")).unwrap();
    project
}

fn check(subject: &str, arguments: &[&str]) -> Outcome {
    run(ipo_oci().args(["check", subject, "--format", "json"]).args(arguments))
}

#[test]
fn agrees_with_the_loader_of_the_example() {
    let engine = Engine::find();
    let project = Project::example();
    let answers = ask_loader(engine, &project, "example");
    assert!(compare(&project, &answers) > 60);
    // No false alarm.
    let reference = format!("oci:{}", project.path().join("image").display());
    let report = json(&check(&reference, &[]).success().stdout);
    assert_eq!(report["diagnostics"], Value::Array(Vec::new()), "{report:#}");
}

#[test]
fn agrees_with_the_loader_on_a_stack_that_lacks_libraries() {
    let engine = Engine::find();
    // opencv-python needs libGL.so.1, which its headless sibling does not.
    let stack = ["fastapi", "uvicorn", "opencv-python==4.11.0.86", "pandas", "lxml", "psycopg[binary]"];
    let project = project_with(&stack, "import cv2");
    let answers = ask_loader(engine, &project, "stack");
    assert!(compare(&project, &answers) > 200, "{}", answers.len());
    let reference = format!("oci:{}", project.path().join("image").display());
    let report = json(&check(&reference, &["--select", "IPO1"]).stdout);
    let named = |soname: &str| {
        report["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .any(|found| found["code"] == "IPO103" && found["message"].as_str().unwrap().contains(soname))
    };
    let lacks = |soname: &str| answers.values().any(|(libraries, _)| libraries.contains(soname));
    for soname in ["libGL.so.1", "libgthread-2.0.so.0"] {
        assert_eq!(named(soname), lacks(soname), "{soname}: {report:#}");
    }
    assert!(named("libGL.so.1") || Path::new("/usr/lib/x86_64-linux-gnu/libGL.so.1").exists());
    // No other rule has a finding on this stack.
    let report = json(&check(&reference, &["--ignore", "IPO103"]).success().stdout);
    assert_eq!(report["diagnostics"], Value::Array(Vec::new()), "{report:#}");
}

#[test]
fn a_popular_stack_has_no_fault() {
    let stack = [
        "fastapi",
        "uvicorn[standard]",
        "sqlalchemy",
        "psycopg[binary]",
        "numpy",
        "pandas",
        "django",
        "lxml",
    ];
    let project = project_with(&stack, "import django, lxml.etree, pandas, psycopg, sqlalchemy");
    let report = json(&check(project.path().to_str().unwrap(), &[]).success().stdout);
    assert_eq!(report["diagnostics"], Value::Array(Vec::new()), "{report:#}");
}
