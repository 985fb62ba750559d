//! The settings `files`, `writable`, `volumes` and `ports`.

use std::os::unix::fs::symlink;

use crate::support::{Image, Project, settle};
use test_macros::test;

/// Returns a small project with these settings.
fn project(settings: &str) -> Project {
    let project = Project::tiny();
    let metadata = project.read("pyproject.toml");
    project.write("pyproject.toml", &format!("{metadata}\n[tool.ipo-oci]\n{settings}"));
    project
}

/// Builds with a cache beside the project.
#[track_caller]
fn build(project: &Project) -> Image {
    let cache = project.beside("cache");
    project.image(&["--cache-dir", cache.to_str().expect("UTF-8")])
}

fn layer_names(image: &Image) -> Vec<&str> {
    let history = image.config["history"].as_array().expect("a history");
    history.iter().filter_map(|line| line["created_by"].as_str()?.strip_prefix("ipo-oci: ")).collect()
}

#[test]
fn files_and_folders_come_with_owner_mode_and_links() {
    let project = project(
        "[[tool.ipo-oci.files]]\nfrom = '../models'\nto = '/opt/models'\n\
         [[tool.ipo-oci.files]]\nfrom = 'app.conf'\nto = '/etc/app/'\nowner = '0:1000'\nmode = '0640'\n\
         [[tool.ipo-oci.files]]\nfrom = '../tool'\nto = 'bin/tool'\nlayer = 'tools'\n",
    );
    let models = project.beside("models");
    fs_err::create_dir_all(models.join("blobs")).expect("a folder");
    fs_err::write(models.join("blobs/1"), "x".repeat(5_000_000)).expect("a file");
    symlink("blobs/1", models.join("current")).expect("a link");
    fs_err::write(project.beside("tool"), "#!/bin/sh\n").expect("a file");
    fs_err::set_permissions(project.beside("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("a mode");
    project.write("app.conf", "a = 1\n");
    project.write(".dockerignore", "app.conf\n");
    settle(&project.beside(""));
    let image = build(&project);
    let files = image.files();
    assert_eq!(files["opt/models/current"].link.as_deref(), Some("blobs/1"));
    assert_eq!((files["opt/models/blobs/1"].size, files["opt/models/blobs/1"].mode), (5_000_000, 0o644));
    assert_eq!((files["etc/app/app.conf"].mode, files["etc/app/app.conf"].uid), (0o640, 0));
    assert_eq!(files["etc/app"].mode, 0o755);
    assert_eq!((files["app/bin/tool"].mode, files["app/bin/tool"].uid), (0o755, 0));
    assert!(!files.contains_key("app/app.conf"));
    let names = layer_names(&image);
    assert_eq!(names[names.len() - 4..], ["models", "files", "tools", "source"]);
    // From the cached plan, and without any cache.
    assert_eq!(build(&project).digest, image.digest);
    assert_eq!(project.image(&["--no-cache"]).digest, image.digest);
    // A change of a file reaches the image.
    project.write("app.conf", "a = 2\n");
    let changed = build(&project);
    assert_eq!(changed.read_file("etc/app/app.conf"), b"a = 2\n");
}

#[test]
fn writable_directories_belong_to_the_user() {
    let project = project(
        "writable = ['media', '/var/lib/app/data']\nvolumes = ['/var/lib/app/data']\nports = [9100, '53/udp']\n\
         user = '1234:99'\n[[tool.ipo-oci.files]]\nfrom = 'seed'\nto = '/var/lib/app/data/seed'\n",
    );
    project.write("media/logo.svg", "<svg/>");
    project.write("static/site.css", "");
    project.write("seed/a", "");
    settle(&project.beside(""));
    let image = build(&project);
    let files = image.files();
    for (path, uid, mode) in [
        ("app/media", 1234, 0o755),
        ("app/media/logo.svg", 1234, 0o644),
        ("app/static/site.css", 0, 0o644),
        ("app", 0, 0o755),
        ("var/lib/app", 0, 0o755),
        ("var/lib/app/data", 1234, 0o755),
        ("var/lib/app/data/seed", 1234, 0o755),
        ("var/lib/app/data/seed/a", 1234, 0o644),
    ] {
        assert_eq!((files[path].uid, files[path].mode), (uid, mode), "{path}");
    }
    let config = &image.config["config"];
    assert_eq!(config["Volumes"], serde_json::json!({ "/var/lib/app/data": {} }));
    let ports: Vec<_> = config["ExposedPorts"].as_object().expect("ports").keys().collect();
    assert_eq!(ports, ["53/udp", "8000/tcp", "9100/tcp"]);
    assert_eq!(build(&project).digest, image.digest);
    assert_eq!(project.image(&["--no-cache"]).digest, image.digest);
    let plan = project.build(&["--dry-run"]);
    assert!(plan.text().contains("volume      /var/lib/app/data"), "{}", plan.text());
}

#[test]
fn a_writable_working_directory_leaves_the_environment_to_root() {
    let project = project("writable = ['.']\n");
    settle(&project.beside(""));
    let image = build(&project);
    let files = image.files();
    assert_eq!((files["app"].uid, files["app/main.py"].uid), (1000, 1000));
    assert_eq!(files["app/.venv/bin"].uid, 0);
    assert_eq!(build(&project).digest, image.digest);
}

#[test]
fn bad_entries_are_named() {
    let files = |items: &[(&str, &str)]| -> String {
        let table =
            |(from, to): &(&str, &str)| format!("[[tool.ipo-oci.files]]\nfrom = '{from}'\nto = '{to}'\n");
        items.iter().map(table).collect()
    };
    for (items, expected) in [
        (vec![("missing", "/a")], vec!["file not found:", "missing"]),
        (vec![("conf", "/a/../../b")], vec!["invalid `files.to`", "contains `..`"]),
        (vec![("conf", "/a"), ("conf", "/a")], vec!["/a"]),
        (vec![("conf", "/app/main.py")], vec!["/app/main.py"]),
        (vec![("conf", "/app/.venv/bin")], vec!["/app/.venv/bin"]),
        (vec![("conf", "/a"), ("conf", "/a/b")], vec!["/a"]),
        (vec![("escapes", "/a")], vec!["cannot add the link", "leads out of its directory"]),
        (vec![("pipe", "/a")], vec!["cannot add", "pipe"]),
        (vec![("folder", "/a")], vec!["cannot add", "named pipe"]),
    ] {
        let project = project(&files(&items));
        project.write("conf", "");
        project.write(".dockerignore", "pipe\nfolder\nescapes\n");
        project.write("escapes/x", "");
        project.write("folder/x", "");
        symlink("../conf", project.path().join("escapes/link")).expect("a link");
        for pipe in ["pipe", "folder/pipe"] {
            let path = project.path().join(pipe);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o644.into(), 0)
                .expect("a pipe");
        }
        let outcome = project.try_build(&["--no-cache"]);
        assert_eq!(outcome.code(), Some(1), "{items:?}: {}", outcome.stderr);
        let error =
            outcome.stderr.lines().find(|line| line.starts_with("error")).unwrap_or_default().to_owned();
        for part in expected {
            assert!(error.contains(part), "{items:?}: {}", outcome.stderr);
        }
        assert!(!project.path().join("dist").exists());
    }
}

#[test]
fn a_path_in_the_home_folder_needs_one() {
    let project = project("[[tool.ipo-oci.files]]\nfrom = '~/conf'\nto = '/etc/conf'\n");
    let home = project.beside("home");
    fs_err::create_dir(&home).expect("a folder");
    fs_err::write(home.join("conf"), "x").expect("a file");
    let build = |home: Option<&std::path::Path>| {
        let mut command = project.command("build");
        command.args(["--no-cache"]).env_remove("HOME");
        home.map(|home| command.env("HOME", home));
        crate::support::run(&mut command)
    };
    build(Some(&home)).success();
    assert_eq!(project.layout().only().read_file("etc/conf"), b"x");
    let outcome = build(None).exits_with(1);
    assert!(outcome.stderr.contains("cannot find ~/conf"), "{}", outcome.stderr);
}

#[test]
fn without_an_ignore_file_tests_and_secrets_stay_out() {
    let project = project("");
    let out = [
        "tests/test_main.py",
        "docs/index.md",
        "Makefile",
        "uv.lock",
        "sub/poetry.lock",
        ".gitignore",
        "db.sqlite3",
        "sub/db.sqlite3",
        "local.db",
        "sub/run.log",
        ".env.production",
        "id_rsa",
        "certs/server.key",
        "certs/ca.pem",
        ".netrc",
    ];
    let kept = ["pkg/tests/data", "pkg/places.db", "pkg/docs/index.md", "keys.csv"];
    out.iter().chain(&kept).for_each(|path| project.write(path, "x"));
    let has = |files: &crate::support::layout::Files, path: &str| files.contains_key(&format!("app/{path}"));
    let build = |arguments: &[&str]| {
        let outcome = project.build(&[&["--no-cache"], arguments].concat());
        (
            project.layout().image(if arguments.is_empty() { "latest" } else { "latest-dev" }).files(),
            outcome.stderr,
        )
    };
    let (files, said) = build(&[]);
    let found: Vec<_> = out.iter().filter(|path| has(&files, path)).collect();
    assert_eq!(found, [] as [&&str; 0]);
    assert!(kept.iter().all(|path| has(&files, path)), "{:?}", files.keys());
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("has no .dockerignore")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    // The development image runs the tests.
    let (files, _) = build(&["--target", "dev"]);
    assert!(has(&files, "tests/test_main.py") && !has(&files, "docs/index.md"));
    // A module names the folder.
    project.write("main.py", &(project.read("main.py") + "PAGE = open(\"docs/index.md\")\n"));
    let (files, _) = build(&[]);
    assert!(has(&files, "docs/index.md") && !has(&files, "tests/test_main.py"));
    // A line takes files back.
    let metadata = project.read("pyproject.toml");
    project.write("pyproject.toml", &(metadata + "exclude.add = [\"!tests\", \"!certs/ca.pem\"]\n"));
    let (files, _) = build(&[]);
    assert!(
        has(&files, "tests/test_main.py") && has(&files, "certs/ca.pem") && !has(&files, "certs/server.key")
    );
    // An ignore file replaces all of it.
    project.write(".dockerignore", "");
    let (files, said) = build(&[]);
    assert!(out.iter().all(|path| has(&files, path)), "{:?}", files.keys());
    assert!(!said.contains("has no .dockerignore"), "{said}");
}
