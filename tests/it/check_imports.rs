//! Imports in a container, compared with those on this machine: a different verdict is one that `ipo-oci
//! check` names beforehand. `benches/imports` compares several hundred distributions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::environments::{cached, uv};
use crate::support::layout::json;
use crate::support::{Project, ipo_oci, requires, run};
use test_macros::test;

/// Imports modules one by one, each in a process of its own.
const IMPORTING: &str = include_str!("../../benches/support/importing.py");

/// Prints a line for each module of `modules.txt`: the verdict, without its text, and the places of a
/// failure. Listens once all are imported, if a port is given.
const PROBE: &str = r#"
import http.server
import os
import pathlib
import signal
import sys

from importing import verdict

for module in (pathlib.Path(__file__).parent / "modules.txt").read_text().split():
    text, places = verdict(module)
    print("VERDICT", module, text.split(":")[0].replace(" ", "-"), *places, flush=True)
if "PORT" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    http.server.HTTPServer(("", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"#;

/// Python-magic loads a library by name, and GitPython runs a program: both fail in an image from
/// scratch, and import where this machine has them.
const STACK: [&str; 16] = [
    "aiohttp",
    "cryptography",
    "django",
    "fastapi",
    "gitpython",
    "jinja2",
    "lxml",
    "opencv-python==4.11.0.86",
    "orjson",
    "pandas",
    "pillow",
    "psycopg[binary]",
    "python-magic",
    "pyyaml",
    "sqlalchemy",
    "uvicorn[standard]",
];

/// The result of an import, and the top-level names in the traceback of a failure.
type Verdict = (String, BTreeSet<String>);

/// Returns the top-level modules in `site-packages`.
fn modules(site: &Path) -> BTreeSet<String> {
    let entries = fs_err::read_dir(site).unwrap().flatten();
    let module = |entry: fs_err::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let (stem, end) = name.split_once('.').unwrap_or((&name, ""));
        let is_module = match end {
            "" => entry.path().join("__init__.py").is_file(),
            end => end == "py" || end.ends_with("so"),
        };
        // `_virtualenv.py` is uv's own.
        let is_named = stem.chars().all(|c| c == '_' || c.is_alphanumeric()) && stem != "_virtualenv";
        (is_module && is_named).then(|| stem.to_owned())
    };
    entries.filter_map(module).collect()
}

/// Returns the top-level name of a path in `site-packages`; for the metadata of a distribution, the names
/// of its files.
fn top_level_names(site: &Path, path: &str) -> Vec<String> {
    let first = |path: &str| path.split(['/', '.']).next().unwrap_or_default().to_owned();
    let Some((_, path)) = path.split_once("/site-packages/") else { return Vec::new() };
    match path.split_once(".dist-info") {
        Some((distribution, _)) => {
            let record =
                fs_err::read_to_string(site.join(format!("{distribution}.dist-info/RECORD"))).unwrap();
            record.lines().map(first).collect()
        }
        None => vec![first(path)],
    }
}

/// Reads the lines of the probe.
fn verdicts(log: &str) -> BTreeMap<String, Verdict> {
    let lines = log.lines().filter_map(|line| line.split_once("VERDICT ").map(|(_, line)| line));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().unwrap(), (words.next().unwrap(), words.collect()))
        })
        .collect()
}

#[test]
fn agree_between_machine_and_container() {
    requires("unshare");
    let venv = cached("check-imports", |root| uv(root, &[], &STACK));
    let site = crate::support::venv::site_packages(&venv);
    let names: Vec<String> = modules(&site).into_iter().collect();
    assert!(names.len() > 40, "{names:?}");
    let declared: Vec<String> = STACK.iter().map(|text| format!("\"{text}\"")).collect();
    let settings = format!(
        "[project]\nname = \"imports\"\nversion = \"1\"\ndependencies = [{}]\n\
         [tool.ipo-oci]\nentrypoint = [\"{{python}}\", \"/app/probe.py\"]\nport = 8000\n\
         env = {{ PORT = \"8000\" }}\nhealthcheck = \"/\"\n[tool.ipo-oci.check]\nbuild = false\n",
        declared.join(", ")
    );
    let project = Project::of(&[
        ("pyproject.toml", &settings),
        ("importing.py", IMPORTING),
        ("probe.py", PROBE),
        ("modules.txt", &names.join("\n")),
    ]);
    fs_err::os::unix::fs::symlink(&venv, project.path().join(".venv")).unwrap();
    let home = project.beside("home");
    fs_err::create_dir(&home).unwrap();
    let mut probe = Command::new(venv.join("bin/python"));
    probe.arg(project.path().join("probe.py")).env_clear().env("HOME", home).env("LANG", "C.UTF-8");
    let here = run(probe.env("PATH", "/usr/bin:/bin").env("PYTHONDONTWRITEBYTECODE", "1")).success();
    let here = verdicts(here.text());

    let image = format!("oci:{}", project.beside("image").display());
    project.build(&["-o", &image]);
    let report = project.beside("report.xml");
    let junit = format!("junit={}", report.display());
    run(ipo_oci().args(["test", &image, "--timeout", "600s", "--report", &junit])).success();
    let container = verdicts(&fs_err::read_to_string(report).unwrap());
    assert_eq!((here.len(), container.len()), (names.len(), names.len()));
    assert!(here.values().filter(|(text, _)| text == "ok").count() > 40, "{here:?}");

    let found = json(&run(ipo_oci().args(["check", &image, "--format", "json"])).stdout);
    let found = found["diagnostics"].as_array().unwrap();
    let paths = found.iter().flat_map(|one| one["others"].as_array().unwrap().iter().chain([&one["path"]]));
    let named: BTreeSet<String> =
        paths.filter_map(Value::as_str).flat_map(|path| top_level_names(&site, path)).collect();
    for (name, (verdict, _)) in &here {
        let (inside, places) = &container[name];
        let is_named = named.contains(name) || !places.is_disjoint(&named);
        assert!(
            verdict == inside || is_named,
            "{name}: {verdict} here, {inside} in the container, from {places:?}; named: {named:?}"
        );
    }
    for (name, reason) in [("magic", "libmagic"), ("git", "git")] {
        if here[name].0 == "ok" {
            assert_ne!(container[name].0, "ok", "{name}: the container has {reason}");
            assert!(named.contains(name), "{name}: {named:?}");
        }
    }
}
