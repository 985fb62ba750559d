//! Bases and layers of Debian packages: `--base apt:SUITE` and the setting `packages`, from the mirror of this machine's
//! apt.

use std::path::Path;
use std::process::Command;

use crate::support::engine::Engine;
use crate::support::layout::Layout;
use crate::support::packages::{SETTINGS, cache, installed, lock, locked, project, try_build, unpacked};
use crate::support::{Project, Venv, copy_folder, ipo_oci, output_of, requires_root, run};
use test_macros::test;

/// Makes a source distribution with an extension in C and a build backend of its own, and installs it by pip.
const SOURCE_DISTRIBUTION: &str = r#"
import pathlib, subprocess, sys, tarfile

source = pathlib.Path("/tmp/own-1")
source.mkdir()
(source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n")
(source / "pyproject.toml").write_text(
    "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
)
(source / "own.c").write_text(
    '#include <Python.h>\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "own", 0, -1, 0};\n'
    "PyMODINIT_FUNC PyInit_own(void) { return PyModule_Create(&d); }\n"
)
(source / "backend.py").write_text("""
import subprocess, sysconfig, zipfile

def build_wheel(folder, settings=None, metadata=None):
    name = "own" + sysconfig.get_config_var("EXT_SUFFIX")
    headers = sysconfig.get_path("include")
    subprocess.run(["cc", "-shared", "-fPIC", "-I", headers, "-o", name, "own.c"], check=True)
    wheel = "own-1-py3-none-any.whl"
    with zipfile.ZipFile(folder + "/" + wheel, "w") as archive:
        archive.write(name)
        info = "own-1.dist-info/"
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: py3-none-any\\n")
        archive.writestr(info + "RECORD", "")
    return wheel
""")
archive = "/tmp/own-1.tar.gz"
with tarfile.open(archive, "w:gz") as file:
    file.add(source, "own-1")
options = ["--no-index", "--no-build-isolation", "--target", "/tmp/installed"]
subprocess.run([sys.executable, "-m", "pip", "install", *options, archive], check=True)
sys.path.insert(0, "/tmp/installed")
import own
print("compiled", own.__name__)
"#;

#[test]
fn a_base_of_packages_runs_the_service_and_has_the_locked_packages() {
    let project = project("");
    lock(&project, &[]).success();
    let first = project.read("ipo-oci.lock");
    lock(&project, &["--check"]).success();
    lock(&project, &[]).success();
    assert_eq!(project.read("ipo-oci.lock"), first);

    try_build(&project, &["--locked", "-t", "service:1"]).success();
    let root = unpacked(&project, "1");
    let runtime = installed(&root);
    assert!(runtime.iter().any(|package| package.starts_with("python3.11-minimal ")), "{runtime:?}");
    assert!(runtime.is_subset(&locked(&project)));
    for shell in ["bin/sh", "bin/bash"] {
        assert!(!root.join(shell).exists(), "{shell}");
    }
    let audit = run(Command::new("dpkg").arg(format!("--root={}", root.display())).arg("--audit")).success();
    assert_eq!(audit.text(), "");
    let image = project.path().join("dist/image");
    let outcome = run(ipo_oci().arg("test").arg(format!("oci:{}:1", image.display()))).success();
    assert!(outcome.text().contains("✓ healthy"), "{}", outcome.text());
}

#[test]
fn targets_share_the_base_and_builds_repeat_it() {
    let project = project("");
    let layers = |cache: &Path, target: &str| -> Vec<String> {
        let mut command = project.command("build");
        run(command.arg("--cache-dir").arg(cache).args(["--target", target])).success();
        let layout = Layout::open(project.path().join("dist/image"));
        let image = match target {
            "runtime" => layout.image("latest"),
            other => layout.image(&format!("latest-{other}")),
        };
        image.layers().iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
    };
    lock(&project, &[]).success();
    let runtime = layers(&cache(), "runtime");
    let dev = layers(&cache(), "dev");
    assert_eq!(runtime[0], dev[0]);
    assert_eq!(runtime[1], dev[1], "the bytecode of the standard library");
    assert_ne!(runtime[2], dev[2], "the tools of the target");
    // Another machine: the packages are the same, and nothing else is.
    let elsewhere = tempfile::tempdir().expect("a folder");
    copy_folder(&cache().join("apt"), &elsewhere.path().join("apt"));
    assert_eq!(layers(elsewhere.path(), "dev"), dev);
    // A locked base is made without a network, once its packages are there.
    try_build(&project, &["--locked", "--offline"]).success();
}

#[test]
fn packages_are_added_to_scratch_and_to_an_image() {
    let project = project("packages = ['libmagic1']\n");
    project.write("pyproject.toml", &project.read("pyproject.toml").replace("apt:bookworm", "scratch"));
    try_build(&project, &["-t", "service:scratch"]).success();
    let scratch = unpacked(&project, "scratch");
    assert!(scratch.join("usr/lib/file/magic.mgc").is_file());
    assert!(installed(&scratch).iter().any(|package| package.starts_with("libmagic1 ")));

    let base = format!("rootfs:{}", crate::support::base::debian().display());
    try_build(&project, &["--base", &base, "-t", "service:image"]).success();
    let image = unpacked(&project, "image");
    assert!(image.join("usr/lib/file/magic.mgc").is_file());
    let all = installed(&image);
    assert!(all.iter().any(|package| package.starts_with("libmagic-mgc ")), "{all:?}");
    assert!(all.iter().any(|package| package.starts_with("perl-base ")), "the base's own: {all:?}");
    // Packages of the base are not installed again.
    let libc = image.join("var/lib/dpkg/info/libc6:amd64.list");
    assert!(fs_err::read_to_string(libc).expect("a list").contains("libc.so.6"));
}

/// Counts the certificates that Python's `ssl` finds by itself.
const CERTIFICATES: &str = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)";

/// `benches/popular` runs the programs of more packages.
#[test]
fn programs_run_without_the_scripts_of_their_packages() {
    requires_root();
    let project = project("packages = ['fontconfig', 'graphviz']\n");
    let outcome = try_build(&project, &["-t", "service:1"]).success();
    for package in ["fontconfig-config", "libgvc6"] {
        assert!(!outcome.stderr.contains(package), "{}", outcome.stderr);
    }
    let root = unpacked(&project, "1");
    let run_in = |words: &[&str]| {
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg("--userspec=1000:1000").arg(&root).args(words).env("HOME", "/").env("PATH", "/usr/bin");
        run(&mut command).success().text().to_owned()
    };
    // The list of plugins is that of `dot -c`.
    let directories = fs_err::read_dir(root.join("usr/lib")).expect("a folder").flatten();
    let lists = directories.map(|entry| entry.path().join("graphviz/config6a"));
    let list = lists.into_iter().find(|list| list.exists()).expect("a list of plugins");
    let made = fs_err::read_to_string(&list).expect("a list of plugins");
    output_of("/usr/sbin/chroot", [root.to_str().expect("UTF-8"), "/usr/bin/dot", "-c"]);
    assert_eq!(fs_err::read_to_string(&list).expect("a list of plugins"), made);
    fs_err::write(root.join("a.dot"), "digraph { a -> b }").expect("a file");
    assert!(run_in(&["dot", "-Tsvg", "/a.dot"]).contains("</svg>"));
    let links = root.join("etc/fonts/conf.d");
    assert!(
        links.join("10-hinting-slight.conf").is_symlink() && links.join("70-no-bitmaps.conf").is_symlink()
    );
    assert_eq!(run_in(&["python3", "-c", CERTIFICATES]), "True\n");
}

#[test]
fn a_package_that_the_suite_lacks_is_an_error_with_similar_names() {
    let project = project("packages = ['libmagic2']\n");
    let outcome = try_build(&project, &[]);
    let outcome = outcome.exits_with(1);
    assert!(outcome.stderr.contains("libmagic2"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("libmagic1"), "{}", outcome.stderr);
    assert!(!project.path().join("dist").exists());

    project.write("pyproject.toml", &SETTINGS.replace("apt:bookworm", "apt:bookwurm"));
    let outcome = try_build(&project, &[]).exits_with(1);
    assert!(outcome.stderr.contains("bookwurm"), "{}", outcome.stderr);
}

#[test]
fn a_set_that_is_not_locked_is_an_error() {
    let project = project("");
    let outcome = try_build(&project, &["--locked"]).exits_with(1);
    assert!(outcome.stderr.contains("ipo-oci lock"), "{}", outcome.stderr);
}

#[test]
fn the_builder_installs_an_extension_from_source_and_dev_has_a_shell() {
    let engine = Engine::find();
    let project = project("");
    let archive = |target: &str| project.beside(&format!("{target}.tar")).display().to_string();
    for target in ["builder", "dev"] {
        let output = format!("docker-archive:{}", archive(target));
        let tag = format!("ipo-oci-test/apt:{target}");
        try_build(&project, &["--target", target, "-t", &tag, "-o", &output]).success();
        engine.docker(&["load", "--input", &archive(target)]).success();
    }
    let run_in = |image: &str, words: &[&str]| {
        let arguments = [&["run", "--rm", "--network", "none", "--entrypoint", words[0], image], &words[1..]];
        engine.docker(&arguments.concat()).success()
    };
    let outcome = run_in("ipo-oci-test/apt:builder", &["/app/.venv/bin/python", "-c", SOURCE_DISTRIBUTION]);
    assert!(outcome.text().ends_with("compiled own\n"), "{}", outcome.text());
    let tools = "id -u; ls / | head -3; ps | head -1; curl --version | head -1; strace -V | head -1; gdb --version | head -1; dpkg -l | tail -1";
    let outcome = run_in("ipo-oci-test/apt:dev", &["/bin/bash", "-ec", tools]);
    assert!(outcome.text().starts_with("1000\n"), "{}", outcome.text());
}

#[test]
fn the_example_is_small_and_healthy_on_a_base_of_packages() {
    let engine = Engine::find();
    let project = Project::example_as("agencyos", &Venv::of_the_system());
    let archive = project.beside("image.tar");
    let output = format!("docker-archive:{}", archive.display());
    let venv = Venv::of_the_system();
    let venv = venv.path().to_str().expect("UTF-8");
    let arguments =
        ["--base", "apt:bookworm", "--venv", venv, "-t", "ipo-oci-test/apt:agencyos", "-o", &output];
    try_build(&project, &[&arguments[..], &["--max-size", "160MB"]].concat()).success();
    engine.docker(&["load", "--input", archive.to_str().expect("UTF-8")]).success();
    let container = engine.start(&["ipo-oci-test/apt:agencyos"]);
    container.wait_healthy();
    assert_eq!(container.stop(), 0);
}

#[test]
fn locking_one_base_keeps_the_sets_of_others() {
    let project = project("");
    lock(&project, &[]).success();
    let own = project.read("ipo-oci.lock");
    lock(&project, &["--base", "apt:trixie"]).success();
    let both = project.read("ipo-oci.lock");
    assert!(both.contains("suite = 'trixie'") && both.contains("named = true"), "{both}");
    lock(&project, &["--check"]).success();
    lock(&project, &["--remove", "apt:trixie"]).success();
    assert_eq!(project.read("ipo-oci.lock"), own);
    let outcome = lock(&project, &["--remove", "apt:trixie"]).exits_with(1);
    assert!(outcome.stderr.contains("apt:trixie"), "{}", outcome.stderr);
}
