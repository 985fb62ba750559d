//! Environments for another machine, and for the interpreter of a base.

use test_macros::test;

use std::path::Path;
use std::process::Command;

use crate::support::environments::{image, materialise, pip, python, run};
use ipo_oci::platform::Platform;
use ipo_oci::python::{
    Activation, DistributionSelection, PythonVersion, Relocated, Relocation, Runner, Venv, VenvError,
    interpreter,
};
use ipo_oci::tree::{ImagePath, Kind};

/// Small, with wheels for every platform and Python.
const COMPILED: &str = "markupsafe==2.1.5";
/// Pure, with a command.
const PURE: &str = "pyflakes==3.2.0";

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn version(minor: u32) -> PythonVersion {
    PythonVersion { major: 3, minor, micro: Some(4), free_threaded: false }
}

fn open(root: &Path, on: &str, python: PythonVersion) -> Result<Venv, VenvError> {
    Venv::open_for(root, &Runner::Base { platform: &platform(on), python: Some(python) })
}

fn relocate(venv: &Venv, prefix: ImagePath, interpreter: &str) -> Relocated {
    Relocation {
        venv,
        prefix,
        interpreter: image(interpreter),
        workdir: image("/app"),
        context: Path::new("/nonexistent"),
        selection: DistributionSelection::All,
        activation: Activation::Exclude,
    }
    .run()
    .unwrap()
}

fn names(venv: &Venv, on: &str) -> Vec<String> {
    venv.foreign_wheels(&platform(on)).unwrap().into_iter().map(|wheel| wheel.name).collect()
}

/// Installs for 64-bit ARM and Python 3.12 with `pip` and uv, on any machine.
fn install_for_arm64(root: &Path) -> [std::path::PathBuf; 2] {
    let (by_pip, by_uv) = (root.join("pip"), root.join("uv"));
    run(Command::new("python3")
        .args(["-m", "pip", "install", "-q", "--only-binary", ":all:", "--python-version", "3.12"])
        .args(["--platform", "manylinux2014_aarch64", "--target"])
        .arg(&by_pip)
        .args([COMPILED, PURE]));
    run(Command::new("uv")
        .args(["pip", "install", "-q", "--only-binary", ":all:", "--python-version", "3.12"])
        .args(["--python-platform", "aarch64-unknown-linux-gnu", "--target"])
        .arg(&by_uv)
        .args([COMPILED, PURE]));
    [by_pip, by_uv]
}

#[test]
fn a_target_directory_for_another_machine_is_an_environment() {
    let folder = tempfile::tempdir().unwrap();
    let mut layers = Vec::new();
    for root in install_for_arm64(folder.path()) {
        let venv = open(&root, "linux/arm64", version(12)).unwrap();
        assert_eq!(venv.machine, "aarch64");
        assert!(names(&venv, "linux/arm64").is_empty());
        assert_eq!(names(&venv, "linux/amd64"), ["markupsafe"]);

        let relocated = relocate(&venv, image("/app/.venv"), "/usr/local/bin/python3.12");
        let of = |place: &str| {
            let path = image("/app/.venv").join(place).unwrap();
            let entry = relocated.entries().find(|entry| entry.path == path);
            match &entry.unwrap_or_else(|| panic!("{path} is not there")).kind {
                Kind::Symlink(target) => format!("-> {target}"),
                Kind::File(content) => String::from_utf8_lossy(&content.read().unwrap()).into_owned(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of("bin/python"), "-> /usr/local/bin/python3.12");
        assert_eq!(of("bin/python3.12"), "-> python");
        assert_eq!(
            of("pyvenv.cfg"),
            "home = /usr/local/bin\ninclude-system-site-packages = false\nversion = 3.12.4\n"
        );
        assert!(of("bin/pyflakes").starts_with("#!/app/.venv/bin/python\n"));
        of("lib/python3.12/site-packages/markupsafe/_speedups.cpython-312-aarch64-linux-gnu.so");
        layers.push(crate::support::environments::snapshot(relocated.distributions.values().flatten()));
    }
    // Both installers give the same layer of a distribution.
    assert_eq!(layers[0], layers[1]);
}

#[test]
fn wheels_reveal_an_environment_for_another_machine() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("venv");
    pip(&root, &["--without-pip"], &[]);
    run(Command::new("uv")
        .args(["pip", "install", "-q", "--only-binary", ":all:", "--python-platform"])
        .args(["aarch64-unknown-linux-gnu", "--python"])
        .arg(root.join("bin/python"))
        .args([COMPILED, PURE]));
    let own = Venv::open(&root).unwrap();
    assert_eq!(names(&own, "linux/amd64"), ["markupsafe"]);
    assert!(names(&own, "linux/arm64").is_empty());
    let all = own.distributions.iter().map(|it| it.name.to_string()).collect();
    let error = own.refuse_foreign(&all, &platform("linux/amd64")).unwrap_err().to_string();
    assert!(error.contains("is not for linux/amd64: markupsafe 2.1.5 (cp3"), "{error}");
}

#[test]
fn an_environment_runs_on_another_interpreter() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let root = folder.join("venv");
    pip(&root, &[], &[PURE, COMPILED]);
    let own = Venv::open(&root).unwrap().version;
    // Copied from another machine: its interpreter is missing here.
    for name in ["python", "python3"] {
        let _ = fs_err::remove_file(root.join("bin").join(name));
    }
    std::os::unix::fs::symlink("/opt/elsewhere/bin/python3", root.join("bin/python")).unwrap();
    assert!(matches!(Venv::open(&root), Err(VenvError::Dangling { .. })));

    let here = Platform::of_this_program().to_string();
    let other = PythonVersion { minor: own.minor + 1, ..own };
    let error = open(&root, &here, other).unwrap_err().to_string();
    let versions = format!("is for Python 3.{}, and the base has Python 3.{}", own.minor, own.minor + 1);
    assert!(error.ends_with(&versions), "{error}");

    let path = std::env::var_os("PATH").unwrap();
    let base = interpreter::find(own, &path).expect("the interpreter that made it");
    assert_eq!(base, python());
    let venv = open(&root, &here, own).unwrap();
    assert!(names(&venv, &here).is_empty());
    let prefix = folder.join("moved");
    let relocated = relocate(&venv, image(prefix.to_str().unwrap()), base.to_str().unwrap());
    materialise(Path::new("/"), relocated.entries());
    let check = "import sys, markupsafe._speedups; print(sys.prefix, sys.base_prefix != sys.prefix)";
    let said = run(Command::new(prefix.join("bin/python3")).args(["-c", check]));
    assert_eq!(said.trim(), format!("{} True", prefix.display()));
    assert!(run(Command::new(prefix.join("bin/pyflakes")).arg("--version")).starts_with("3.2.0"));
}
