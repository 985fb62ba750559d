//! Pythons of bases on this machine: bytecode that they compile, and environments that they run.

use std::path::Path;
use std::process::Command;

use crate::support::layout::Layout;
use crate::support::packages::{SETTINGS, cache, installed, lock, unpacked};
use crate::support::{Outcome, Project, ipo_oci, output_of, requires, run};
use test_macros::test;

/// Runs `ipo-oci build` on a machine with uv and Debian's Python alone.
#[track_caller]
fn build(project: &Project, arguments: &[&str]) -> Outcome {
    build_in(&cache(), project, arguments)
}

#[track_caller]
fn build_in(cache: &Path, project: &Project, arguments: &[&str]) -> Outcome {
    let uv = run(Command::new("sh").args(["-c", "command -v uv"])).success().text().trim().to_owned();
    let tools = project.beside("tools");
    fs_err::create_dir_all(&tools).expect("a folder");
    let link = tools.join("uv");
    if !link.exists() {
        std::os::unix::fs::symlink(uv, link).expect("a link");
    }
    let mut command = project.command("build");
    command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    command
        .env("PYENV_ROOT", "/nowhere")
        .env("UV_PYTHON_INSTALL_DIR", "/nowhere")
        .env("UV_PYTHON_DOWNLOADS", "never");
    command.env("HOME", project.beside("home"));
    run(command.arg("--cache-dir").arg(cache).args(arguments))
}

/// Returns a project without an environment, for `base` and a range of Pythons.
fn project(base: &str, pythons: &str) -> Project {
    let settings = SETTINGS.replace("apt:bookworm", base);
    let settings = settings.replace(
        "version = \"1\"",
        &format!("version = \"1\"\nrequires-python = \"{pythons}\"\ndependencies = [\"idna\"]"),
    );
    let main = "import http.server, idna, sys\n\n\nclass Handler(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
        self.send_response(200)\n        self.end_headers()\n        self.wfile.write(sys.version.encode())\n\n\n\
        http.server.ThreadingHTTPServer((\"\", 8000), Handler).serve_forever()\n";
    Project::of(&[("pyproject.toml", &settings), ("main.py", main)])
}

fn healthy(image: &Path, tag: &str) {
    let outcome = run(ipo_oci().arg("test").arg(format!("oci:{}:{tag}", image.display()))).success();
    assert!(outcome.text().contains("✓ healthy"), "{}", outcome.text());
}

#[test]
fn a_python_that_this_machine_lacks_is_that_of_the_base() {
    let project = project("apt:trixie", ">=3.13");
    build(&project, &["-t", "service:1"]).success();
    // Also if the project does not ask for a version, and has a distribution to compile.
    let any = self::project("apt:trixie", ">=3.13");
    let settings = any.read("pyproject.toml");
    any.write("pyproject.toml", &settings[settings.find("[tool.ipo-oci]").expect("a table")..]);
    any.write("requirements.txt", "--no-binary bitarray\nbitarray\nidna\n");
    build(&any, &["-t", "service:1"]).success();
    let module = "app/.venv/lib/python3.13/site-packages/bitarray/_bitarray.cpython-313-x86_64-linux-gnu.so";
    assert!(cfg!(not(target_arch = "x86_64")) || unpacked(&any, "1").join(module).is_file());

    let root = unpacked(&project, "1");
    assert!(installed(&root).iter().any(|package| package.starts_with("python3.13-minimal ")));
    assert!(root.join("app/.venv/lib/python3.13/site-packages/idna/core.py").is_file());
    let image = project.path().join("dist/image");
    healthy(&image, "1");

    // The same with an image as the base, which is not made of packages.
    let base = format!("oci:{}:1", image.display());
    let output = format!("oci:{}", project.beside("on-image").display());
    build(&project, &["--base", &base, "-t", "service:2", "-o", &output]).success();
    healthy(&project.beside("on-image"), "2");
}

#[test]
fn the_version_of_the_base_is_preferred_and_a_project_may_refuse_it() {
    let project = project("apt:bookworm", ">=3.9");
    build(&project, &["-t", "service:1"]).success();
    assert!(
        installed(&unpacked(&project, "1")).iter().any(|package| package.starts_with("python3.11-minimal "))
    );
    // Neither the suite nor this machine has this version.
    project.write(".python-version", "3.9\n");
    let outcome = build(&project, &["-t", "service:2"]).success();
    assert!(outcome.stderr.contains("asks for Python 3.9"), "{}", outcome.stderr);
    assert!(!unpacked(&project, "2").join("usr/local/bin/python3.11").exists());
    project.write("pyproject.toml", &project.read("pyproject.toml").replace(">=3.9", "<3.11"));
    let outcome = build(&project, &["-t", "service:3"]).exits_with(4);
    assert!(outcome.stderr.contains("<3.11"), "{}", outcome.stderr);
}

#[test]
fn the_standard_library_of_packages_is_compiled_by_their_python() {
    let project = project("apt:bookworm", ">=3.11");
    build(&project, &["-t", "service:1"]).success();
    let root = unpacked(&project, "1");
    let library = root.join("usr/lib/python3.11");
    let compiled = |name: &str| library.join(format!("{name}.cpython-311.pyc"));
    for name in ["__pycache__/os", "asyncio/__pycache__/base_events", "__pycache__/sitecustomize"] {
        assert_eq!(compiled(name).is_file(), name != "__pycache__/sitecustomize", "{name}");
    }
    // Every module has bytecode of its own version, and the machine's Python of that version reads it.
    let python = "/usr/bin/python3.11";
    requires(python);
    let check = "import glob, importlib.util, marshal, sys\n\
        found = 0\n\
        for path in glob.glob(sys.argv[1] + '/**/*.py', recursive=True):\n    \
            pyc = importlib.util.cache_from_source(path)\n    \
            try: data = open(pyc, 'rb').read()\n    \
            except OSError: continue\n    \
            assert data[:4] == importlib.util.MAGIC_NUMBER and data[4] == 1, pyc\n    \
            assert data[8:16] == importlib.util.source_hash(open(path, 'rb').read()), pyc\n    \
            marshal.loads(data[16:]); found += 1\n\
        print(found)";
    let found: usize =
        output_of(python, ["-c", check, library.to_str().expect("UTF-8")]).trim().parse().expect("a number");
    assert!(found > 400, "{found}");
    // The layer of packages below stays the same without bytecode.
    let base =
        |tag: &str| Layout::open(project.path().join("dist/image")).image(tag).layers()[0]["digest"].clone();
    let with = base("1");
    project.write(
        "pyproject.toml",
        &project.read("pyproject.toml").replace("port = 8000", "port = 8000\nbytecode = \"strip\""),
    );
    build(&project, &["-t", "service:2"]).success();
    assert!(!unpacked(&project, "2").join("usr/lib/python3.11/__pycache__").exists());
    assert_eq!(base("2"), with);
}

#[test]
fn bytecode_for_another_platform_is_compiled_by_the_same_base_for_this_one() {
    let foreign = if cfg!(target_arch = "x86_64") { "linux/arm64" } else { "linux/amd64" };
    let own = if cfg!(target_arch = "x86_64") { "linux/amd64" } else { "linux/arm64" };
    let project = project("apt:bookworm", ">=3.9");
    // An environment of pure Python fits every platform.
    let environment = project.beside("venv");
    output_of("/usr/bin/python3", ["-m", "venv", "--without-pip", environment.to_str().expect("UTF-8")]);
    project.write("pyproject.toml", &project.read("pyproject.toml").replace("[\"idna\"]", "[]"));
    project.write("main.py", "print('hello')\n");
    let venv = format!("{foreign}={}", environment.display());
    // A common cache may have the bytecode.
    let elsewhere = project.beside("cache");
    let warning = "instead of the base's Python";
    let mut layers = Vec::new();
    for platforms in [foreign.to_owned(), format!("{own},{foreign}")] {
        lock(&project, &["--platform", &platforms]).success();
        let arguments = ["--locked", "--platform", foreign, "--venv", &venv, "-t", "service:1"];
        let outcome = build_in(&elsewhere, &project, &arguments).success();
        assert_eq!(outcome.stderr.contains(warning), platforms == foreign, "{}", outcome.stderr);
        let layout = Layout::open(project.path().join("dist/image"));
        layers.push(layout.image("1").layers()[0]["digest"].clone());
    }
    assert_eq!(layers[0], layers[1], "the packages");
}
