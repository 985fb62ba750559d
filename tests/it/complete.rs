//! Images contain what they run: their programs, the libraries of the source, a complete Python,
//! and the data files of libraries. Otherwise the build fails or warns.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::base::{Layer, debian, minimal};
use crate::support::engine::Engine;
use crate::support::{Outcome, Project, requires, run};
use test_macros::test;

/// Returns a project with these lines in `[tool.ipo-oci]`.
fn project(settings: &str) -> Project {
    let project = Project::tiny();
    let written = project.read("pyproject.toml");
    project.write(
        "pyproject.toml",
        &format!("{written}[project.scripts]\ntiny-run = \"main:run\"\n[tool.ipo-oci]\n{settings}\n"),
    );
    project
}

#[track_caller]
fn script(project: &Project, path: &str, text: &str) {
    project.write(path, text);
    let mode = std::fs::Permissions::from_mode(0o755);
    fs_err::set_permissions(project.path().join(path), mode).expect("a mode");
}

/// Runs a build that has to fail and write no image; returns the error line.
#[track_caller]
fn refused(project: &Project, arguments: &[&str]) -> String {
    let outcome = project.try_build(arguments);
    assert_eq!(outcome.code(), Some(1), "{}", outcome.describe());
    assert!(!project.path().join("dist").exists());
    let text = &outcome.stderr;
    assert!(text.contains("help:"), "{text}");
    text.lines().find(|line| line.starts_with("error:")).expect("an error").to_owned()
}

#[track_caller]
fn warnings(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines().filter(|line| line.starts_with("warning:"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_missing_program_is_refused_with_the_searched_directories() {
    for (settings, words) in [
        ("entrypoint = [\"{venv}/bin/tiny-run\"]", &["/app/.venv/bin/tiny-run", "not in the image"][..]),
        ("entrypoint = [\"gunicorn\", \"main:app\"]", &["gunicorn", "/app/.venv/bin, /usr/local/bin"]),
        ("entrypoint = [\"bash\", \"-c\", \"exec python\"]", &["bash"]),
        ("entrypoint = []\ncmd = [\"sh\"]", &["command", "sh"]),
        ("entrypoint = [\"/app/start.sh\"]", &["/app/start.sh", "/bin/sh"]),
        ("entrypoint = [\"/app/by-env\"]", &["/usr/bin/env"]),
        ("entrypoint = [\"./plain.py\"]", &["plain.py", "not executable"]),
        ("entrypoint = [\"{python}\", \"manage.py\"]", &["manage.py"]),
        ("entrypoint = [\"{python}\", \"-m\", \"nowhere.main\"]", &["nowhere"]),
    ] {
        let project = project(settings);
        script(&project, "start.sh", "#!/bin/sh\nexec python -m tiny\n");
        script(&project, "by-env", "#!/usr/bin/env python3\n");
        project.write("plain.py", "#!/app/.venv/bin/python\n");
        let error = refused(&project, &[]);
        assert!(words.iter().all(|word| error.contains(word)), "{settings}: {error}");
    }
}

#[test]
fn a_module_of_gunicorn_without_its_default_attribute_is_refused() {
    let project = project("entrypoint = [\"gunicorn\", \"-w\", \"2\", \"pkg.wsgi\"]");
    script(&project, ".venv/bin/gunicorn", "#!/app/.venv/bin/python\n");
    project.write("pkg/__init__.py", "");
    project.write("pkg/wsgi.py", "application = print\n");
    project.try_build(&["--dry-run"]).success();
    project.write("pkg/wsgi.py", "app = print\n");
    let error = refused(&project, &[]);
    assert!(error.contains("pkg.wsgi:application") && error.contains("pkg/wsgi.py"), "{error}");
    // A module that the source lacks may be of a distribution.
    let settings = project.read("pyproject.toml").replace("pkg.wsgi", "other.wsgi");
    project.write("pyproject.toml", &settings);
    let error = project.try_build(&["--dry-run", "--no-check"]).stderr;
    assert!(!error.contains("application"), "{error}");
}

#[test]
fn finds_programs_of_environment_interpreter_and_source() {
    for settings in [
        "entrypoint = [\"uvicorn\", \"main:app\"]",
        "entrypoint = [\"/app/start\"]",
        "entrypoint = [\"{python}\", \"-m\", \"http.server\"]",
        "entrypoint = [\"python3\", \"main.py\"]",
        "entrypoint = [\"{python}\", \"-um\", \"main\"]",
        "entrypoint = []\ncmd = [\"./start\"]",
    ] {
        let project = project(settings);
        script(&project, "start", "#!/app/.venv/bin/python\nprint()\n");
        project.try_build(&["--dry-run"]).success();
    }
}

#[test]
fn cached_plans_do_not_hide_a_missing_program() {
    let project = project("entrypoint = [\"/app/start\"]");
    script(&project, "start", "#!/app/.venv/bin/python\nprint()\n");
    crate::support::settle(project.path());
    let cache = project.beside("cache");
    let arguments = ["--cache-dir", cache.to_str().expect("UTF-8")];
    project.build(&arguments);
    // Planned from the source alone.
    project.build(&arguments);
    fs_err::remove_dir_all(project.path().join("dist")).expect("a folder");

    for text in ["#!/bin/sh\nexit\n", "#!/app/.venv/bin/nothing\n", "print()\n"] {
        script(&project, "start", text);
        let fresh = project.beside("fresh");
        let expected = refused(&project, &["--cache-dir", fresh.to_str().expect("UTF-8")]);
        assert_eq!(refused(&project, &arguments), expected);
    }
    script(&project, "start", "#!/app/.venv/bin/uvicorn\n");
    project.build(&arguments);
}

/// Compiles a shared library of the source that needs `library`.
fn compiled(project: &Project, path: &str, library: &str) -> bool {
    let printed = run(Command::new("gcc").arg(format!("-print-file-name={library}")));
    let file = printed.text().trim();
    if !Path::new(file).is_absolute() {
        crate::support::skip(&format!("gcc knows no {library}"));
    }
    project.write("../a.c", "int answer(void) { return 42; }\n");
    let (from, to) = (project.beside("a.c"), project.path().join(path));
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-o"]).arg(to).arg(from).args(["-Wl,--no-as-needed", file]);
    run(&mut gcc).success();
    true
}

/// Returns the archive of a base as an argument of `--base`.
fn rootfs(archive: &Path) -> String {
    format!("rootfs:{}", archive.display())
}

fn has_file(project: &Project, name: &str) -> bool {
    project.layout().only().files().keys().any(|path| path.ends_with(&format!("/{name}")))
}

#[test]
fn includes_libraries_that_the_source_needs() {
    requires("gcc");
    let project = project("");
    crate::support::settle(project.path());
    let cache = project.beside("cache");
    let arguments = ["--cache-dir", cache.to_str().expect("UTF-8")];
    project.build(&arguments);
    assert!(!has_file(&project, "libstdc++.so.6"));
    // The lower layers are cached now.
    if !compiled(&project, "_fast.so", "libstdc++.so.6") {
        return;
    }
    project.build(&arguments);
    assert!(has_file(&project, "libstdc++.so.6"));
    let digest = |project: &Project| project.layout().only().digest.clone();
    let remembered = digest(&project);
    let fresh = project.beside("fresh");
    project.build(&["--cache-dir", fresh.to_str().expect("UTF-8")]);
    assert_eq!(digest(&project), remembered);
    fs_err::remove_file(project.path().join("_fast.so")).expect("a file");
    project.build(&arguments);
    assert!(!has_file(&project, "libstdc++.so.6"));
}

#[test]
fn an_incomplete_python_of_the_base_is_refused() {
    let archive = minimal();
    requires("umoci");
    let project = project("");
    // dpkg's database lacks packages that were unpacked but not installed.
    let status =
        "Package: python3.11-minimal\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.11.2-6\n";
    let status = Layer::default().file("var/lib/dpkg/status", status).write(project.beside("status.tar"));
    let layout = project.beside("minimal");
    crate::support::base::layout(&layout, &[archive, status]);
    let base = format!("oci:{}:test", layout.display());
    let error = refused(&project, &["--base", &base]);
    assert!(["asyncio", "/usr/bin/python3.11"].iter().all(|word| error.contains(word)), "{error}");
    let help = project.try_build(&["--base", &base]).stderr;
    assert!(help.contains("libpython3.11-stdlib"), "{help}");
}

#[test]
fn a_shell_of_the_base_runs_a_script_of_the_source() {
    let base = debian();
    let base = rootfs(base);
    let good =
        project("entrypoint = [\"/app/start.sh\"]\nenv.TZ = \"Europe/Berln\"\nenv.LANG = \"de_DE.UTF-8\"");
    script(&good, "start.sh", "#!/bin/sh\nexec uvicorn main:app\n");
    let outcome = good.try_build(&["--base", &base, "--dry-run"]).success();
    let said = warnings(&outcome);
    for word in ["TZ=Europe/Berln", "LANG=de_DE.UTF-8"] {
        assert_eq!(said.iter().filter(|line| line.contains(word)).count(), 1, "{said:?}");
    }
    let bad = project("entrypoint = [\"/app/start.sh\"]");
    script(&bad, "start.sh", "#!/usr/bin/zsh\n");
    assert!(refused(&bad, &["--base", &base]).contains("/usr/bin/zsh"));
}

/// Skips the test unless this machine has libmagic with its database.
fn requires_libmagic() {
    if !Path::new("/usr/lib/file/magic.mgc").exists() {
        crate::support::skip("libmagic-mgc is not installed");
    }
}

#[test]
fn a_named_library_includes_the_data_of_its_packages() {
    requires_libmagic();
    let project = project("libraries = [\"libmagic.so.1\", \"libnothing.so.9\"]");
    let outcome = project.build(&[]);
    let said = warnings(&outcome);
    assert!(said.iter().any(|line| line.contains("libnothing.so.9")), "{said:?}");
    let image = project.layout().only();
    for path in ["usr/lib/file/magic.mgc", "usr/share/misc/magic.mgc", "etc/magic"] {
        assert!(image.files().contains_key(path), "{path}");
    }
    let of_package = "var/lib/dpkg/status.d/libmagic-mgc";
    assert!(image.files().contains_key(of_package));

    // A base without the library gets the library and its data.
    let base = debian();
    project.build(&["--base", &rootfs(base)]);
    assert!(has_file(&project, "magic.mgc") && has_file(&project, "libmagic.so.1"));
}

#[test]
fn libmagic_works_in_a_container() {
    let engine = Engine::find();
    requires_libmagic();
    let project = project(
        "libraries = [\"libmagic.so.1\"]\nentrypoint = [\"{python}\", \"main.py\"]\nhealthcheck = false",
    );
    project.write(
        "main.py",
        "import ctypes\nlib = ctypes.CDLL('libmagic.so.1')\nlib.magic_open.restype = ctypes.c_void_p\n\
         lib.magic_buffer.restype = ctypes.c_char_p\nlib.magic_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]\n\
         lib.magic_load.argtypes = [ctypes.c_void_p, ctypes.c_char_p]\ncookie = lib.magic_open(0x10)\n\
         assert lib.magic_load(cookie, None) == 0\nprint(lib.magic_buffer(cookie, b'%PDF-1.4 ', 9).decode())\n",
    );
    let archive = project.beside("image.tar");
    let archive = archive.to_str().expect("UTF-8");
    let image = "ipo-oci-test/libmagic:1";
    project.build(&["-t", image, "-o", &format!("docker-archive:{archive}")]);
    engine.docker(&["load", "--input", archive]).success();
    let outcome = engine.docker(&["run", "--rm", "--network", "none", image]);
    engine.docker(&["image", "rm", "--force", image]);
    assert_eq!(outcome.success().text().trim(), "application/pdf");
}
