//! Reproducibility: equal input gives equal bytes, independent of user, place and time.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Layout, Project, Venv, binary, clean_environment, copy_folder, requires, run};
use test_macros::test;

/// The circumstances of a build of the example.
struct Circumstances<'a> {
    /// The name of the project's directory.
    folder: &'a str,
    /// The environment to copy into the project.
    venv: &'a Venv,
    umask: &'a str,
    variables: &'a [(&'a str, &'a str)],
    /// Another user than root.
    user: Option<u32>,
    order: Order,
}

/// The order of creating files, in which many file systems list them.
#[derive(Clone, Copy)]
enum Order {
    Forwards,
    Backwards,
}

/// Builds under these circumstances; returns the digests of all three images.
#[track_caller]
fn build(how: &Circumstances) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join(how.folder);
    copy_in_order(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/agencyos"), &dir, how.order);
    let program = folder.path().join("ipo-oci");
    fs_err::copy(binary(), &program).expect("a copy");
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path())).success();
    let out = folder.path().join("out");
    fs_err::create_dir(&out).expect("a folder");

    let mut command = match how.user {
        None => Command::new("sh"),
        Some(user) => {
            run(Command::new("chown").arg(format!("{user}:{user}")).arg(&out)).success();
            let mut command = Command::new("setpriv");
            let user = user.to_string();
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "sh"]);
            command
        }
    };
    clean_environment(&mut command);
    let script = format!("umask {}; exec \"$@\"", how.umask);
    command.args(["-c", &script, "sh"]).arg(&program).args([
        "build",
        "--target",
        "all",
        "--no-provision",
        "--venv",
    ]);
    command.arg(how.venv.path()).arg("-o").arg(format!("oci:{}/image", out.display()));
    // A cache of its own; the account may have any name.
    command.env("XDG_CACHE_HOME", out.join("cache")).env("HOME", &out).current_dir(&dir);
    command.envs(how.variables.iter().copied());
    run(&mut command).success();

    let layout = Layout::open(out.join("image"));
    ["latest", "latest-builder", "latest-dev"].iter().map(|tag| layout.image(tag).digest).collect()
}

/// Copies a project, creating its files in the given order.
fn copy_in_order(from: &Path, to: &Path, order: Order) {
    let mut files: Vec<PathBuf> = walkdir::WalkDir::new(from)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.file_name() != ".venv" && entry.file_name() != "dist")
        .map(|entry| entry.expect("a readable folder"))
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    if matches!(order, Order::Backwards) {
        files.reverse();
    }
    for file in files {
        let place = to.join(file.strip_prefix(from).expect("a path below"));
        fs_err::create_dir_all(place.parent().expect("a parent")).expect("a folder");
        fs_err::write(&place, fs_err::read(&file).expect("a file")).expect("a file");
    }
}

#[test]
fn circumstances_do_not_affect_the_image() {
    let venv = shareable();
    let root = rustix::process::geteuid().is_root();
    let one = build(&Circumstances {
        folder: "agencyos",
        venv: &venv,
        umask: "022",
        variables: &[("TZ", "UTC"), ("LANG", "C"), ("LC_ALL", "C")],
        user: None,
        order: Order::Forwards,
    });
    let two = build(&Circumstances {
        folder: "a copy of it with another name",
        venv: &venv,
        umask: "077",
        variables: &[
            ("TZ", "Pacific/Auckland"),
            ("LANG", "de_DE.UTF-8"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("USER", "someone"),
        ],
        user: root.then_some(4242),
        order: Order::Backwards,
    });
    assert_eq!(one, two);
}

#[test]
fn the_commit_time_affects_only_the_source_layer() {
    let venv = shareable();
    let of = |time: &'static str| {
        let project = Project::example_as("agencyos", &venv);
        let mut command = project.command("build");
        run(command.arg("--venv").arg(venv.path()).env("SOURCE_DATE_EPOCH", time)).success();
        project.layout().only()
    };
    let (one, two) = (of("1767225600"), of("1767225601"));
    assert_ne!(one.digest, two.digest);
    assert_eq!(one.config["created"], "2026-01-01T00:00:00Z");
    let digests = |image: &crate::support::Image| -> Vec<_> {
        image.layers().iter().map(|layer| layer["digest"].clone()).collect()
    };
    let same = digests(&one).iter().zip(digests(&two)).filter(|(a, b)| **a == *b).count();
    assert_eq!(same, one.layers().len() - 1, "only the source's layer may change");
}

#[test]
fn the_installer_does_not_affect_the_image() {
    let (pip, uv) = (Venv::pip(), Venv::uv());
    let of = |venv: &Venv| Project::example_as("agencyos", venv).image(&[]);
    let (pip, uv) = (of(&pip), of(&uv));
    if pip.digest == uv.digest {
        return;
    }
    // Reports the differences.
    let (one, two) = (pip.files(), uv.files());
    let names: std::collections::BTreeSet<_> = one.keys().chain(two.keys()).collect();
    let different: Vec<_> = names
        .into_iter()
        .filter(|path| match (one.get(*path), two.get(*path)) {
            (Some(a), Some(b)) => {
                format!("{a:?}") != format!("{b:?}") || pip.read_file(path) != uv.read_file(path)
            }
            _ => true,
        })
        .collect();
    panic!("pip's and uv's images differ in {different:#?}\n{:#}\n{:#}", pip.config, uv.config);
}

#[test]
fn a_large_distribution_has_the_same_layer_in_every_project() {
    // Returns digests by the distribution's name in the history.
    let layers = |image: &crate::support::Image| -> std::collections::BTreeMap<String, String> {
        let history = image.config["history"].as_array().expect("history").iter();
        let names = history.map(|line| line["created_by"].as_str().expect("a name").to_owned());
        names.zip(image.layers().iter().map(|layer| layer["digest"].to_string())).collect()
    };
    let one = Project::example().image(&[]);
    let project = Project::example_as("elsewhere", &Venv::uv());
    let table = project.read("pyproject.toml").replace("name = \"agencyos\"", "name = \"another-thing\"");
    project.write("pyproject.toml", &table);
    project.write("more.py", "import uvloop\n");
    let mut command = project.command("build");
    command.arg("--venv").arg(Venv::uv().path()).env("SOURCE_DATE_EPOCH", "1767225600");
    run(command.args(["--user", "2000:3000", "--layers", "9", "--port", "9000", "-t", "team/another:1"]))
        .success();
    let (one, two) = (layers(&one), layers(&project.layout().only()));
    for name in ["ipo-oci: uvloop", "ipo-oci: pydantic-core"] {
        assert_eq!(one[name], two[name], "{name}");
    }
    assert_ne!(one["ipo-oci: source"], two["ipo-oci: source"]);
}

#[test]
fn a_copied_environment_gives_the_same_image() {
    // Scripts and bytecode contain the environment's path.
    let venv = Venv::pip();
    let project = Project::example();
    let first = project.image(&[]).digest;
    let moved = project.path().join(".venv");
    copy_folder(venv.path(), &moved);
    let mut command = project.command("build");
    run(&mut command).success();
    assert_eq!(project.layout().only().digest, first);
}

#[test]
fn the_number_of_cores_does_not_affect_the_image() {
    requires("taskset");
    let project = Project::example();
    let first = project.image(&[]).digest;
    let mut command = Command::new("taskset");
    clean_environment(&mut command);
    command.args(["--cpu-list", "0"]).arg(binary()).arg("build").arg("--venv").arg(Venv::pip().path());
    run(command.current_dir(project.path()).env("XDG_CACHE_HOME", project.beside("cache"))).success();
    assert_eq!(project.layout().only().digest, first);
}

/// Returns an environment that every user can read and run.
fn shareable() -> Venv {
    Venv::for_everyone()
}

#[test]
fn ignores_the_name_of_the_directory() {
    // The packages of both names have an application, so the choice must not depend on the
    // directory.
    let of = |folder: &str, target: &str, arguments: &[&str]| -> Vec<(String, String)> {
        let place = tempfile::tempdir().expect("a temporary folder");
        let dir = place.path().join(folder);
        for (path, text) in [
            ("requirements.txt", "fastapi\nuvicorn\nuvloop\nhttptools\n"),
            ("alpha/__init__.py", ""),
            ("alpha/main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n"),
            ("hello/__init__.py", ""),
            ("hello/main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n"),
        ] {
            let path = dir.join(path);
            fs_err::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs_err::write(path, text).expect("a file");
        }
        crate::support::venv::stand_in(&dir.join(".venv"), &["fastapi", "uvicorn", "uvloop", "httptools"]);
        let mut command = crate::support::ipo_oci();
        command.current_dir(&dir).args(["build", "--target", target]).args(arguments);
        run(&mut command).success();
        let layout = Layout::open(dir.join("dist/image"));
        let mut tags = layout.tags();
        tags.sort();
        tags.into_iter().map(|tag| (layout.image(&tag).digest, tag)).collect()
    };
    for arguments in [&[][..], &["-t", "ghcr.io/team/hello:1.2"]] {
        assert_eq!(of("hello", "all", arguments), of("zulu", "all", arguments), "{arguments:?}");
    }
    // Another registry, repository and tag with the same last component give the same image.
    let digest = |tag: &str| of("hello", "runtime", &["-t", tag]).remove(0).0;
    assert_eq!(digest("team/hello:1.2"), digest("other.example:5000/hello:2"));
}

#[test]
fn the_images_name_replaces_a_missing_project_name() {
    for (tag, account, title) in [
        (None, "app", "app"),
        (Some("ghcr.io/team/hello:1.2"), "hello", "hello"),
        (Some("localhost:5000/9-lives_api"), "lives-api", "9-lives_api"),
    ] {
        let project = Project::of(&[
            ("requirements.txt", "fastapi\nuvicorn\nuvloop\nhttptools\n"),
            ("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n"),
        ]);
        crate::support::venv::stand_in(
            &project.path().join(".venv"),
            &["fastapi", "uvicorn", "uvloop", "httptools"],
        );
        let image = project.image(&tag.map_or(Vec::new(), |tag| vec!["-t", tag]));
        let passwd = String::from_utf8(image.read_file("etc/passwd")).expect("UTF-8");
        assert!(passwd.lines().any(|line| line.starts_with(&format!("{account}:x:1000:1000:"))), "{passwd}");
        assert_eq!(image.config["config"]["Labels"]["org.opencontainers.image.title"], title);
    }
}
