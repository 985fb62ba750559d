//! Bad input gives one clear error that names the input and the way out, and changes no file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::venv::{add_stand_in, site_packages};
use crate::support::{Outcome, Project, Venv, clean_environment, is_root, requires, requires_root, run};
use test_macros::test;

/// Checks for one error with a help line that contains all `names`.
#[track_caller]
fn refuses(outcome: &Outcome, names: &[&str]) {
    let said = outcome.describe();
    assert!(matches!(outcome.code(), Some(1)), "{said}");
    assert!(outcome.stdout.is_empty(), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("error")).count();
    assert_eq!(errors, 1, "{said}");
    assert!(outcome.stderr.contains("help:"), "it does not say what to do: {said}");
    for name in names {
        assert!(outcome.stderr.contains(name), "`{name}` is not named: {said}");
    }
}

/// Spoils a valid project and builds it; the earlier image has to stay.
#[track_caller]
fn refuses_after(spoil: impl FnOnce(&Project), arguments: &[&str], names: &[&str]) {
    let project = Project::tiny();
    project.build(&[]);
    let before = crate::support::snapshot(&project.path().join("dist"));
    spoil(&project);
    refuses(&project.try_build(arguments), names);
    assert_eq!(crate::support::snapshot(&project.path().join("dist")), before, "the old image was touched");
}

fn venv(project: &Project) -> PathBuf {
    project.path().join(".venv")
}

#[test]
fn the_tiny_project_builds() {
    let project = Project::tiny();
    let image = project.image(&["--no-provision"]);
    image.verify();
    assert!(image.files().contains_key("app/main.py"));
}

#[test]
fn no_environment() {
    refuses_after(|project| fs_err::remove_dir_all(venv(project)).unwrap(), &["--no-provision"], &[".venv"]);
    refuses_after(|_| (), &["--venv", "not/there"], &["not/there"]);
    // A directory that is no environment.
    refuses_after(
        |project| project.write("folder/file", ""),
        &["--venv", "folder"],
        &["folder", "pyvenv.cfg"],
    );
}

#[test]
fn a_dangling_interpreter() {
    refuses_after(
        |project| {
            for name in ["python", "python3"] {
                let link = venv(project).join("bin").join(name);
                fs_err::remove_file(&link).unwrap();
                symlink("/opt/gone/bin/python3", &link).unwrap();
            }
            for entry in fs_err::read_dir(venv(project).join("bin")).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_string_lossy().starts_with("python3.") {
                    fs_err::remove_file(&path).unwrap();
                    symlink("/opt/gone/bin/python3", &path).unwrap();
                }
            }
        },
        &[],
        &["/opt/gone/bin/python3"],
    );
}

#[test]
fn an_interpreter_version_that_differs_from_its_packages() {
    refuses_after(
        |project| {
            let site = site_packages(&venv(project));
            let lib = site.parent().unwrap();
            fs_err::rename(lib, lib.with_file_name("python3.8")).unwrap();
        },
        &[],
        &["3.8"],
    );
}

#[test]
fn a_record_that_names_missing_files() {
    refuses_after(
        |project| fs_err::remove_file(site_packages(&venv(project)).join("uvloop/__init__.py")).unwrap(),
        &[],
        &["uvloop", "__init__.py"],
    );
}

#[test]
fn a_record_with_a_path_outside() {
    refuses_after(
        |project| {
            let record = site_packages(&venv(project)).join("uvloop-1.0.dist-info/RECORD");
            let text = fs_err::read_to_string(&record).unwrap();
            fs_err::write(&record, format!("../../../../../../../../etc/passwd,,\n{text}")).unwrap();
        },
        &[],
        &["uvloop"],
    );
}

#[test]
fn a_missing_dependency() {
    refuses_after(
        |project| {
            let text =
                project.read("pyproject.toml").replace("\"fastapi\"", "\"fastapi\", \"missing-thing>=2\"");
            project.write("pyproject.toml", &text);
        },
        &[],
        &["missing-thing"],
    );
    // A dependency declared by another distribution.
    refuses_after(
        |project| add_stand_in(&venv(project), "fastapi", "Requires-Dist: deep-thing>=1\n"),
        &[],
        &["deep-thing", "fastapi"],
    );
}

#[test]
fn missing_requirements_may_be_allowed() {
    let project = Project::tiny();
    add_stand_in(&venv(&project), "fastapi", "Requires-Dist: Deep.Thing>=1\nRequires-Dist: other-thing\n");
    for target in ["runtime", "dev"] {
        let names = ["deep-thing", "`Deep.Thing>=1` of fastapi 1.0", "other-thing", "--allow-missing"];
        let plan = ["--dry-run", "--target", target, "--allow-missing"];
        refuses(&project.try_build(&[&plan[..], &["nothing"]].concat()), &names);
        refuses(&project.try_build(&[&plan[..], &["deep_thing"]].concat()), &["other-thing"]);
        project.build(&[&plan[..], &["deep_thing,Other-Thing"]].concat());
    }
    let text = project.read("pyproject.toml");
    project.write(
        "pyproject.toml",
        &format!("{text}[tool.ipo-oci]\nallow-missing = [\"deep-thing\", \"other-thing\"]\n"),
    );
    project.build(&[]);
    // Installed distributions are included.
    add_stand_in(&venv(&project), "other-thing", "");
    assert!(project.image(&[]).files().keys().any(|path| path.ends_with("/other_thing/__init__.py")));
}

#[test]
fn an_invalid_requirement_warns_and_includes_its_distribution() {
    let project = Project::tiny();
    let lines = "License: a\n        \n        b\nRequires-Dist: h11; nonsense\nRequires-Dist: ???\n";
    add_stand_in(&venv(&project), "fastapi", lines);
    add_stand_in(&venv(&project), "h11", "");
    let outcome = project.build(&[]);
    for said in [
        "fastapi 1.0: has the invalid requirement `h11; nonsense`",
        "fastapi 1.0: has the invalid requirement `???`",
    ] {
        assert!(outcome.stderr.contains(said), "{}", outcome.describe());
    }
    let files = project.layout().only().files();
    assert!(files.keys().any(|path| path.ends_with("/h11/__init__.py")));
}

#[test]
fn a_version_mismatch_is_a_warning() {
    let project = Project::tiny();
    let text = project.read("pyproject.toml").replace("\"uvicorn\"", "\"uvicorn>=7\"");
    project.write("pyproject.toml", &text);
    let outcome = project.build(&[]);
    let warning = outcome.stderr.lines().find(|line| line.starts_with("warning")).unwrap_or_default();
    assert!(warning.contains("uvicorn") && warning.contains(">=7"), "{}", outcome.describe());
}

#[test]
fn uvloop_or_httptools_requested_but_not_installed() {
    for (name, other) in [("uvloop", "httptools"), ("httptools", "uvloop")] {
        let dependencies = format!("dependencies = [\"fastapi\", \"uvicorn\", \"{other}\"]\n");
        let table = format!("[project]\nname = \"tiny\"\nversion = \"1.0\"\n{dependencies}");
        let project = Project::of(&[
            ("pyproject.toml", table.as_str()),
            ("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n"),
        ]);
        crate::support::venv::stand_in(&venv(&project), &["fastapi", "uvicorn", other]);
        let flag = if name == "uvloop" { "--loop" } else { "--http" };
        refuses(&project.try_build(&[flag, name]), &[name]);
        // The advised flags.
        project.build(&[flag, "auto"]);
        project.build(&[]);
        // Installed but undeclared is an error as well.
        add_stand_in(&venv(&project), name, "");
        refuses(&project.try_build(&[flag, name]), &[name, "declare"]);
    }
}

#[test]
fn no_application() {
    refuses_after(
        |project| fs_err::remove_file(project.path().join("main.py")).unwrap(),
        &[],
        &["main.py", "--app"],
    );
    refuses_after(|_| (), &["--app", "nowhere:app"], &["nowhere"]);
}

#[test]
fn an_invalid_line_of_the_ignore_file() {
    refuses_after(|project| project.write(".dockerignore", "good\n\n[\n"), &[], &[".dockerignore", "3", "["]);
    refuses_after(|project| project.write(".dockerignore", "!\n"), &[], &[".dockerignore", "1", "!"]);
}

#[test]
fn an_unreadable_ignore_file() {
    refuses_after(|_| (), &["--ignore-file", "not/there"], &["not/there"]);
    refuses_after(
        |project| fs_err::create_dir(project.path().join(".dockerignore")).unwrap(),
        &[],
        &[".dockerignore"],
    );
}

#[test]
fn an_unknown_or_invalid_setting() {
    let with = |table: &'static str| {
        move |project: &Project| {
            project.write("pyproject.toml", &format!("{}{table}", project.read("pyproject.toml")));
        }
    };
    refuses_after(with("[tool.ipo-oci]\nprot = 8000\n"), &[], &["pyproject.toml", "prot"]);
    refuses_after(with("[tool.ipo-oci]\nport = \"x\"\n"), &[], &["pyproject.toml", "port"]);
    refuses_after(with("[tool.ipo-oci\n"), &[], &["pyproject.toml", "5"]);
    refuses_after(
        |project| project.write("recipe.toml", "extends = \"runtime\"\nlayer = 3\n"),
        &["--recipe", "recipe.toml"],
        &["recipe.toml", "2", "layer"],
    );
    refuses_after(|_| (), &["--recipe", "not/there.toml"], &["not/there.toml"]);
}

#[test]
fn an_unreadable_file() {
    requires("setpriv");
    requires_root();
    let venv = Venv::for_everyone();
    let project = Project::example_as("agencyos", &venv);
    project.write("app/secret.py", "");
    let file = project.path().join("app/secret.py");
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(project.path().parent().unwrap())).success();
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    let program = project.beside("ipo-oci");
    fs_err::copy(crate::support::binary(), &program).unwrap();
    let out = project.beside("out");
    fs_err::create_dir(&out).unwrap();
    run(Command::new("chown").arg("4242:4242").arg(&out)).success();

    let mut command = Command::new("setpriv");
    clean_environment(&mut command);
    command.args(["--reuid", "4242", "--regid", "4242", "--clear-groups"]).arg(&program).arg("build");
    command.arg(project.path()).arg("--venv").arg(venv.path());
    command.arg("-o").arg(format!("oci:{}/image", out.display())).env("XDG_CACHE_HOME", out.join("cache"));
    refuses(&run(&mut command), &["app/secret.py"]);
    assert!(!out.join("image/index.json").exists());
}

#[test]
fn a_file_changed_during_reading() {
    let project = Project::tiny();
    project.build(&[]);
    let before = crate::support::snapshot(&project.path().join("dist"));
    let path = project.path().join("busy.txt");
    fs_err::write(&path, vec![b'x'; 1 << 20]).unwrap();
    let done = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
            let mut size = 1 << 20;
            while !done.load(Ordering::Relaxed) {
                size += 1;
                file.file().set_len(size).unwrap();
            }
        });
        let outcome = project.try_build(&[]);
        done.store(true, Ordering::Relaxed);
        outcome
    });
    refuses(&outcome, &["busy.txt", "changed"]);
    assert_eq!(crate::support::snapshot(&project.path().join("dist")), before);
}

#[test]
fn a_file_name_that_is_not_utf_8() {
    refuses_after(
        |project| fs_err::write(project.path().join(OsStr::from_bytes(b"caf\xe9.txt")), "").unwrap(),
        &[],
        &["caf"],
    );
}

#[test]
fn special_files() {
    refuses_after(
        |project| {
            std::os::unix::net::UnixListener::bind(project.path().join("a.socket")).unwrap();
        },
        &[],
        &["a.socket", "socket"],
    );
    refuses_after(
        |project| {
            run(Command::new("mkfifo").arg(project.path().join("a.pipe"))).success();
        },
        &[],
        &["a.pipe", ".dockerignore"],
    );
    if is_root() {
        refuses_after(
            |project| {
                let device = project.path().join("a.device");
                run(Command::new("mknod").arg(&device).args(["c", "1", "3"])).success();
            },
            &[],
            &["a.device"],
        );
    }
}

#[test]
fn a_pipe_in_place_of_a_file_does_not_block() {
    for name in ["pyproject.toml", ".dockerignore", "ipo-oci.lock"] {
        let project = Project::tiny();
        let _ = fs_err::remove_file(project.path().join(name));
        run(Command::new("mkfifo").arg(project.path().join(name))).success();
        let base = if name == "ipo-oci.lock" { "localhost:1/base" } else { "scratch" };
        let outcome = project.try_build(&["--dry-run", "--base", base]).exits_with(1);
        assert!(outcome.stderr.contains(name), "{}", outcome.stderr);
    }
    // The revision is only a label, so the build continues.
    let project = Project::tiny();
    fs_err::create_dir(project.path().join(".git")).unwrap();
    run(Command::new("mkfifo").arg(project.path().join(".git/HEAD"))).success();
    project.build(&["--dry-run"]);
    // A layout may come from elsewhere.
    let outcome = project.build(&["-o", "oci:image"]);
    let index = project.path().join("image/index.json");
    fs_err::remove_file(&index).unwrap();
    run(Command::new("mkfifo").arg(&index)).success();
    let inspected = run(project.command("inspect").arg("oci:image")).exits_with(1);
    assert!(inspected.stderr.contains("index.json"), "{} {}", outcome.stderr, inspected.stderr);
}

#[test]
fn special_files_may_be_ignored() {
    let project = Project::tiny();
    std::os::unix::net::UnixListener::bind(project.path().join("a.socket")).unwrap();
    project.write(".dockerignore", "*.socket\n");
    let image = project.image(&[]);
    assert!(!image.files().contains_key("app/a.socket"));
}

#[test]
fn a_link_out_of_the_context() {
    for target in ["/etc/hostname", "../outside", "folder/../../outside"] {
        refuses_after(
            |project| {
                fs_err::write(project.beside("outside"), "").unwrap();
                fs_err::create_dir(project.path().join("folder")).unwrap();
                symlink(target, project.path().join("a.link")).unwrap();
            },
            &[],
            &["a.link", target],
        );
    }
    // A link that stays inside is kept.
    let project = Project::tiny();
    symlink("main.py", project.path().join("again.py")).unwrap();
    let image = project.image(&[]);
    assert_eq!(image.files()["app/again.py"].link.as_deref(), Some("main.py"));
}

#[test]
fn a_whiteout_in_the_source() {
    refuses_after(|project| project.write(".wh.main.py", ""), &[], &[".wh.main.py"]);
}

#[test]
fn a_destination_that_is_not_a_layout() {
    let project = Project::tiny();
    project.write("elsewhere/precious.txt", "mine");
    project.write("a.file", "mine");
    let before = crate::support::snapshot(project.path());
    for to in ["oci:elsewhere", "oci:a.file", "oci:a.file/below", "oci-archive:elsewhere"] {
        let outcome = project.try_build(&["-o", to]);
        let name = if to.contains("a.file") { "a.file" } else { to.split_once(':').unwrap().1 };
        refuses(&outcome, &[name]);
    }
    let after = crate::support::snapshot(project.path());
    let changed: Vec<_> = after.keys().filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "{changed:?}");
    // A broken layout is not overwritten.
    project.write("broken/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
    project.write("broken/index.json", "{");
    refuses(&project.try_build(&["-o", "oci:broken"]), &["broken", "index.json"]);
    assert_eq!(project.read("broken/index.json"), "{");
}

#[test]
fn a_full_disk() {
    requires("unshare");
    requires_root();
    let project = Project::tiny();
    let disk = project.beside("disk");
    fs_err::create_dir(&disk).unwrap();
    // A mount namespace of its own leaves no mount: an image, a full disk, space again.
    let script = "set -e
disk=$1; shift
mount -t tmpfs -o size=100m tmpfs \"$disk\"
build() { \"$@\" -q -o \"oci:$disk/image\"; }
build \"$@\"
cp \"$disk/image/index.json\" \"$disk/before\"
cat /dev/zero 2>/dev/null >\"$disk/filler\" || true
build \"$@\" --port 9000 --compression none && exit 90 || code=$?
[ \"$code\" = 1 ] || exit 91
cmp \"$disk/before\" \"$disk/image/index.json\" || exit 92
rm \"$disk/filler\"
build \"$@\" --port 9000";
    let mut command = Command::new("unshare");
    clean_environment(&mut command);
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&disk).arg(crate::support::binary()).arg("build");
    command.arg(project.path()).env("XDG_CACHE_HOME", project.beside("cache"));
    let outcome = run(&mut command).success();
    assert!(outcome.stderr.contains("no space left"), "{}", outcome.describe());
    assert!(
        outcome.stderr.contains("help:") && outcome.stderr.contains("disk/image"),
        "{}",
        outcome.describe()
    );
    assert_eq!(outcome.text().lines().count(), 2, "{}", outcome.describe());
}

#[test]
fn a_killed_build_leaves_the_old_or_the_new_image() {
    let project = Project::example();
    project.build(&["--port", "9000"]);
    let old = project.layout().only().digest;
    let whole = {
        let other = project.beside("whole");
        project.build(&["-o", &format!("oci:{}", other.display())]);
        crate::support::Layout::open(other).only().digest
    };
    let dist = project.path().join("dist");
    let mut outcomes = std::collections::BTreeSet::new();
    // Kills the build at its first write, its second, …, until one succeeds.
    for writes in 1.. {
        let mut command = project.command("build");
        command.arg("--venv").arg(Venv::pip().path());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let (mut seen, mut last) = (0, listing(&dist));
        let finished = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.success();
            }
            let now = listing(&dist);
            if now != last {
                (seen, last) = (seen + 1, now);
            }
            if seen >= writes {
                child.kill().unwrap();
                child.wait().unwrap();
                break false;
            }
        };
        let layout = project.layout();
        layout.verify();
        outcomes.insert(layout.only().digest);
        if finished || writes > 200 {
            break;
        }
    }
    assert!(outcomes.iter().all(|digest| *digest == old || *digest == whole), "{outcomes:?}");
    assert_eq!(project.layout().only().digest, whole);
}

/// Returns names and sizes of all files.
fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .map(|entry| (entry.path().to_path_buf(), entry.metadata().map_or(0, |metadata| metadata.len())))
        .collect()
}
