//! Virtual environments created by the real tools, and comparisons of their entries.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ipo_oci::digest::Digest;
use ipo_oci::tree::{Entry, ImagePath, Kind};

/// Runs a command; returns its standard output, or fails the test with all output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .env_remove("VIRTUAL_ENV")
        .env_remove("PYTHONPATH")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Creates an environment with `python3 -m venv` and installs with pip.
pub(crate) fn pip(root: &Path, options: &[&str], install: &[&str]) {
    run(Command::new("python3").args(["-m", "venv"]).args(options).arg(root));
    if !install.is_empty() {
        run(Command::new(root.join("bin/python")).args(["-m", "pip", "install", "-q"]).args(install));
    }
}

/// Creates an environment with `uv venv` for the same Python, and installs with uv.
pub(crate) fn uv(root: &Path, options: &[&str], install: &[&str]) {
    run(Command::new("uv").args(["venv", "-q", "--python"]).arg(python()).args(options).arg(root));
    if !install.is_empty() {
        run(Command::new("uv")
            .args(["pip", "install", "-q", "--python"])
            .arg(root.join("bin/python"))
            .args(install));
    }
}

/// Returns the interpreter that `python3` runs.
pub(crate) fn python() -> PathBuf {
    let text =
        run(Command::new("python3").args(["-c", "import os, sys; print(os.path.realpath(sys.executable))"]));
    PathBuf::from(text.trim())
}

/// Returns a directory that is kept between runs, created by `make` if missing. `key` has to name
/// all inputs of its content.
pub(crate) fn cached(key: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let name = Digest::of(format!("{key} {}", python().display()).as_bytes()).hex();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments").join(&name[..16]);
    let done = root.with_extension("done");
    fs_err::create_dir_all(root.parent().unwrap()).unwrap();
    // Serializes concurrent test processes.
    let lock = fs_err::File::create(root.with_extension("lock")).unwrap();
    lock.file().lock().unwrap();
    if !done.exists() {
        let _ = fs_err::remove_dir_all(&root);
        make(&root);
        fs_err::write(done, "").unwrap();
    }
    root
}

/// Describes an entry for comparison: mode, and link target or digest.
pub(crate) fn describe(entry: &Entry) -> String {
    match &entry.kind {
        Kind::File(content) => format!("{:o} {}", entry.mode, Digest::of(&content.read().unwrap())),
        Kind::Symlink(target) => format!("{:o} -> {target}", entry.mode),
        other => format!("{:o} {other:?}", entry.mode),
    }
}

/// Returns descriptions of entries by path.
pub(crate) fn snapshot<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> BTreeMap<String, String> {
    let mut snapshot = BTreeMap::new();
    for entry in entries {
        let before = snapshot.insert(entry.path.to_string(), describe(entry));
        assert_eq!(before, None, "{} stands twice", entry.path);
    }
    snapshot
}

/// Writes entries below `root` on this machine, like an unpacked image.
pub(crate) fn materialise<'e>(root: &Path, entries: impl IntoIterator<Item = &'e Entry>) {
    for entry in entries {
        let path = root.join(entry.path.as_str());
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        match &entry.kind {
            Kind::File(content) => {
                fs_err::write(&path, content.read().unwrap()).unwrap();
                fs_err::set_permissions(&path, std::fs::Permissions::from_mode(entry.mode)).unwrap();
            }
            Kind::Symlink(target) => symlink(target, &path).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn image(path: &str) -> ImagePath {
    ImagePath::new(path).unwrap()
}
