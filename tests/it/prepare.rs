//! The setting `prepare`: commands that make files for the image.

use std::path::Path;

use crate::support::{Image, Outcome, Project, settle};
use test_macros::test;

/// Returns a small project whose `prepare` has these keys.
fn project(keys: &str) -> Project {
    let project = Project::tiny();
    let metadata = project.read("pyproject.toml");
    project
        .write("pyproject.toml", &format!("{metadata}\n[[tool.ipo-oci.prepare]]\nname = 'static'\n{keys}"));
    project
}

/// A command of a shell, which appends a line to `runs` beside the project each time that it runs.
fn shell(project: &str, script: &str) -> String {
    format!("command = ['sh', '-c', '''echo run >> ../runs; {script}''']\n{project}")
}

#[track_caller]
fn try_build(project: &Project, arguments: &[&str]) -> Outcome {
    let cache = project.beside("cache");
    let cache = ["--cache-dir", cache.to_str().expect("UTF-8")];
    project.try_build(&[&cache, arguments].concat())
}

#[track_caller]
fn build(project: &Project) -> Image {
    try_build(project, &[]).success();
    project.layout().image("latest")
}

fn runs(project: &Project) -> usize {
    fs_err::read_to_string(project.beside("runs")).map_or(0, |text| text.lines().count())
}

/// Fails the test unless the cache folder has no work of the build.
#[track_caller]
fn nothing_is_left(project: &Project) {
    let entries = fs_err::read_dir(project.beside("cache")).expect("a folder");
    let names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
    let is_left = |name: &&std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.starts_with("build-") || name == "prepared"
    };
    assert!(!names.iter().any(|name| is_left(&name)), "{names:?}");
}

#[test]
fn results_are_made_once_for_the_same_inputs() {
    let script = "mkdir -p $IPO_OCI_OUT/css; cat main.py $COLOR > $IPO_OCI_OUT/css/site.css; \
                  ln -s css/site.css {out}/link; chmod 700 $IPO_OCI_OUT/css/site.css; [ -z \"$PYTHONPATH\" ]";
    let keys = "to = '/srv/static'\ninputs = ['main.py', 'assets', '!assets/raw']\nenv = { COLOR = 'assets/color' }\n";
    let project = project(&shell(keys, script));
    project.write("assets/color", "red");
    project.write("assets/raw/x", "1");
    project.write("other", "1");
    settle(&project.beside(""));
    let image = build(&project);
    let files = image.files();
    assert_eq!(files["srv/static/link"].link.as_deref(), Some("css/site.css"));
    let style = &files["srv/static/css/site.css"];
    assert_eq!((style.uid, style.mode), (0, 0o755));
    assert!(image.read_file("srv/static/css/site.css").ends_with(b"red"));
    let history = image.config["history"].as_array().expect("a history");
    assert!(history.iter().any(|line| line["created_by"] == "ipo-oci: static"), "{history:?}");
    assert_eq!(runs(&project), 1);
    // Nothing that the command is told has changed.
    project.write("other", "2");
    project.write("assets/raw/x", "2");
    build(&project);
    assert_eq!(runs(&project), 1);
    try_build(&project, &["--no-prepare", "--dry-run"]).success();
    // An input has.
    project.write("assets/color", "blue");
    let outcome = try_build(&project, &["--no-prepare"]).exits_with(1);
    assert!(outcome.stderr.contains("--no-prepare forbids the command"), "{}", outcome.stderr);
    let changed = build(&project);
    assert!(changed.read_file("srv/static/css/site.css").ends_with(b"blue"));
    assert_eq!(runs(&project), 2);
    // As has the environment.
    crate::support::venv::add_stand_in(&project.path().join(".venv"), "extra", "");
    build(&project);
    assert_eq!(runs(&project), 3);
    // Damaged results are made anew.
    let kept = fs_err::read_dir(project.beside("cache/prepared")).expect("results");
    for entry in kept {
        fs_err::write(entry.expect("an entry").path().join("out/css/site.css"), "damaged").expect("a file");
    }
    assert_eq!(
        build(&project).read_file("srv/static/css/site.css"),
        changed.read_file("srv/static/css/site.css")
    );
    assert_eq!(runs(&project), 4);
}

#[test]
fn programs_of_the_environment_run_and_results_have_several_places() {
    let project = project(
        "command = ['python', '-c', 'import os, sys; o = os.environ[\"IPO_OCI_OUT\"]; os.mkdir(o + \"/a\"); \
         open(o + \"/a/prefix\", \"w\").write(sys.prefix); open(o + \"/b\", \"w\").write(sys.argv[1])', '{venv}']\n\
         to = { a = 'static', b = '/etc/b' }\n",
    );
    settle(&project.beside(""));
    let image = build(&project);
    let venv = project.path().join(".venv");
    for path in ["app/static/prefix", "etc/b"] {
        let text = String::from_utf8(image.read_file(path)).expect("UTF-8");
        assert_eq!(fs_err::canonicalize(text).expect("a path"), fs_err::canonicalize(&venv).expect("a path"));
    }
    let verbose = try_build(&project, &["--no-cache", "--dry-run", "-v"]).success();
    assert!(!verbose.stderr.contains("preparing static"), "{}", verbose.stderr);
}

#[test]
fn without_named_inputs_the_source_decides() {
    let project = project(&shell("to = '/srv/x'\n", "cat main.py > $IPO_OCI_OUT/x"));
    project.write(".dockerignore", "ignored\n");
    project.write("ignored", "1");
    settle(&project.beside(""));
    build(&project);
    project.write("ignored", "2");
    build(&project);
    assert_eq!(runs(&project), 1);
    project.write("data", "1");
    build(&project);
    assert_eq!(runs(&project), 2);
}

#[test]
fn a_command_is_printed_before_it_runs() {
    let project = project(&shell("to = '/srv/x'\n", "echo > $IPO_OCI_OUT/x"));
    let outcome = try_build(&project, &["-v"]).success();
    assert!(outcome.stderr.contains("preparing static: sh -c"), "{}", outcome.stderr);
}

#[test]
fn commands_without_a_result_are_errors() {
    for (keys, script, parts) in [
        ("", "echo a warning; echo the reason >&2; exit 3", vec!["`static`", "exit status: 3", "the reason"]),
        ("", "true", vec!["left no files in $IPO_OCI_OUT"]),
        ("", "mkdir $IPO_OCI_OUT/empty", vec!["left no files in $IPO_OCI_OUT"]),
        ("", "mkfifo $IPO_OCI_OUT/pipe", vec!["`pipe`: a named pipe"]),
        (
            "",
            "python -c \"import socket, os; socket.socket(socket.AF_UNIX).bind(os.environ['IPO_OCI_OUT'] + '/s')\"",
            vec!["`s`: a socket"],
        ),
        ("", "ln -s /etc/passwd $IPO_OCI_OUT/link", vec!["`link`: a link to /etc/passwd, out of the folder"]),
        ("", "ln -s ../../x $IPO_OCI_OUT/link", vec!["out of the folder"]),
        ("", "touch $IPO_OCI_OUT/a made.txt", vec!["changed files outside of $IPO_OCI_OUT: made.txt"]),
        ("", "touch $IPO_OCI_OUT/a; echo >> main.py", vec!["changed files outside of $IPO_OCI_OUT: main.py"]),
        (
            "timeout = '300ms'\n",
            "touch $IPO_OCI_OUT/a; echo waiting; sleep 600",
            vec!["took more than 300ms", "waiting"],
        ),
        ("inputs = ['missing/*.js']\n", "touch $IPO_OCI_OUT/a", vec!["no file matches `missing/*.js`"]),
    ] {
        let project = project(&shell(&format!("to = '/srv/x'\n{keys}"), script));
        let outcome = try_build(&project, &[]).exits_with(1);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{script}: {}", outcome.stderr);
        }
        assert!(
            outcome.stderr.contains("cannot prepare `static`") && outcome.stderr.contains("help:"),
            "{script}"
        );
        nothing_is_left(&project);
        assert!(!project.path().join("dist").exists());
    }
}

#[test]
fn missing_programs_and_results_are_named() {
    for (keys, parts) in [
        (
            "command = ['no-such-program', 'x']\nto = '/x'\n",
            vec!["cannot start `no-such-program x`", "on PATH"],
        ),
        ("command = ['./main.py']\nto = '/x'\n", vec!["cannot start `./main.py`"]),
        ("command = ['sh', '-c', 'touch {out}/a']\nto = {b = '/b'}\n", vec!["left no b in $IPO_OCI_OUT"]),
        ("command = ['sh', '-c', 'touch {out}/a']\nto = {a = '/app/main.py'}\n", vec!["/app/main.py"]),
        ("command = ['true']\nto = '/a/../b'\n", vec!["contains `..`"]),
        ("command = ['true']\n", vec!["missing key `to` in `prepare`"]),
    ] {
        let project = project(keys);
        let outcome = try_build(&project, &[]).exits_with(1);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{keys}: {}", outcome.stderr);
        }
    }
}

#[test]
fn no_process_of_a_command_stays() {
    let keys = "to = '/srv/x'\ntimeout = '300ms'\n";
    let project = project(&shell(keys, "sleep 611 & echo $! > ../pid; wait"));
    try_build(&project, &[]).exits_with(1);
    let pid = fs_err::read_to_string(project.beside("pid")).expect("a process");
    let stat = fs_err::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    // A killed orphan stays in the table until its new parent has noticed.
    assert!(stat.is_empty() || stat.contains(") Z") || stat.contains(") X"), "{stat}");
}
