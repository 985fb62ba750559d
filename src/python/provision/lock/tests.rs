//! Tests with locks of the tools themselves, see `tests/data/locks/README.md`.

use super::*;
use crate::python::environment::version::PythonVersion;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/locks");

/// The dependencies of the project for Poetry 1; the standard table has the same for the others.
const POETRY: &str = "[tool.poetry.dependencies]\npython = '^3.9'\nclick = '>=8,<8.1.8'\npython-dateutil = '^2.8'\n\
                      idna = {version = '>=3,<3.8', optional = true}\n[tool.poetry.extras]\nfast = ['idna']\n\
                      [tool.poetry.group.worker.dependencies]\ncertifi = '>=2023'\n\
                      [tool.poetry.dev-dependencies]\niniconfig = '^2.0'\n";

struct Read {
    /// `name==version`, in order.
    pins: Vec<String>,
    stale: Vec<String>,
    files: [String; 2],
}

/// Reads a lock of the test data with extras and groups, for Python 3.`minor`.
fn read(
    kind: LockKind,
    file: &str,
    (extras, groups, declared): (&[&str], &[&str], &[&str]),
    minor: u32,
) -> Result<Read, LockError> {
    let folder = tempfile::tempdir().unwrap();
    fs_err::copy(format!("{DATA}/{file}"), folder.path().join(kind.file())).unwrap();
    fs_err::write(folder.path().join("pyproject.toml"), POETRY).unwrap();
    read_in(folder.path(), kind, (extras, groups, declared), minor)
}

fn read_in(
    context: &Path,
    kind: LockKind,
    (extras, groups, declared): (&[&str], &[&str], &[&str]),
    minor: u32,
) -> Result<Read, LockError> {
    let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let version = PythonVersion { major: 3, minor, micro: Some(1), free_threaded: false };
    let declared: Vec<Requirement> = declared.iter().map(|text| text.parse().unwrap()).collect();
    let scope = LockScope {
        context,
        environment: &Environment::new(version, "x86_64"),
        extras: &owned(extras),
        groups: &owned(groups),
        declared: &declared,
    };
    let locked = kind.read(scope)?;
    let pin = |distribution: &LockedDistribution| match &distribution.source {
        LockedSource::Version(version) => format!("{}=={version}", distribution.name),
        LockedSource::Url(url) => format!("{} @ {url}", distribution.name),
        LockedSource::Directory { path, is_editable } => {
            let path = Path::new(path).strip_prefix(context).unwrap().display().to_string();
            format!("{} {path} {is_editable}", distribution.name)
        }
    };
    Ok(Read {
        pins: locked.distributions.values().map(pin).collect(),
        stale: locked.stale(scope),
        files: locked.requirements(),
    })
}

/// The main declared requirements, as Poetry's own table gives them and as the standard one.
const NAMES: &[&str] = &["click", "python-dateutil"];
const SPECIFIED: &[&str] = &["click>=8,<8.1.8", "python-dateutil>=2.8"];

#[test]
fn reads_the_locks_of_every_tool() {
    let old = &["click==8.1.7", "python-dateutil==2.9.0.post0", "six==1.17.0"][..];
    let poetry_2 = &["click==8.1.7", "python-dateutil==3.0.0", "six==1.17.0", "tzdata==2026.6"][..];
    let new = &["click==8.1.7", "python-dateutil==4.0.0", "tzdata==2026.6"][..];
    for (kind, file, declared, expected) in [
        (LockKind::Poetry, "poetry-1.lock", NAMES, old),
        (LockKind::Poetry, "poetry-2.lock", SPECIFIED, poetry_2),
        (LockKind::Pdm, "pdm.lock", SPECIFIED, poetry_2),
        (LockKind::Pdm, "pdm-graph.lock", SPECIFIED, poetry_2),
        (LockKind::Pipenv, "Pipfile.lock", SPECIFIED, new),
        (LockKind::PyLock, "pylock.toml", SPECIFIED, new),
    ] {
        let read = read(kind, file, (&[], &[], declared), 12).unwrap();
        assert_eq!(read.pins, expected, "{file}");
        assert_eq!(read.stale, [""; 0], "{file}");
        let [hashed, other] = &read.files;
        assert!(other.is_empty(), "{file}");
        assert!(hashed.lines().all(|line| line.contains(" --hash=sha256:")), "{file} {hashed}");
    }
}

#[test]
fn takes_extras_and_groups_from_the_lock() {
    for (kind, file, names) in [
        (
            LockKind::Poetry,
            "poetry-1.lock",
            &["click", "python-dateutil", "idna", "certifi", "iniconfig"][..],
        ),
        (LockKind::Poetry, "poetry-2.lock", SPECIFIED),
        (LockKind::Pdm, "pdm.lock", SPECIFIED),
        (LockKind::Pdm, "pdm-graph.lock", &["click", "python-dateutil", "idna", "certifi", "iniconfig"]),
    ] {
        let read = read(kind, file, (&["fast"], &["worker", "dev"], names), 12).unwrap();
        for pin in ["idna==3.7", "certifi==2026.10.19.post1", "iniconfig=="] {
            assert!(read.pins.iter().any(|found| found.starts_with(pin)), "{file} {pin}: {:?}", read.pins);
        }
        assert!(!read.pins.iter().any(|found| found.starts_with("colorama")), "{file}");
    }
    let read = read(LockKind::Pipenv, "Pipfile.lock", (&[], &["dev"], SPECIFIED), 12).unwrap();
    assert!(read.pins.iter().any(|found| found.starts_with("iniconfig==")), "{:?}", read.pins);
}

#[test]
fn markers_depend_on_the_interpreter() {
    let read = |minor| read(LockKind::PyLock, "pylock.toml", (&[], &[], SPECIFIED), minor).unwrap().pins;
    assert!(read(10).contains(&"python-dateutil==3.0.0".to_owned()));
    assert!(read(11).contains(&"python-dateutil==4.0.0".to_owned()));
}

#[test]
fn a_lock_without_a_declared_requirement_is_stale() {
    for (kind, file) in [
        (LockKind::Poetry, "poetry-1.lock"),
        (LockKind::Poetry, "poetry-2.lock"),
        (LockKind::Pdm, "pdm.lock"),
        (LockKind::Pdm, "pdm-graph.lock"),
        (LockKind::Pipenv, "Pipfile.lock"),
        (LockKind::PyLock, "pylock.toml"),
    ] {
        let declared = &["click>=9", "flask", "python-dateutil", "winonly; sys_platform == 'win32'"];
        let read = read(kind, file, (&[], &[], declared), 12).unwrap();
        assert_eq!(read.stale, ["click>=9", "flask"], "{file}");
    }
}

#[test]
fn reads_other_sources() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir(folder.path().join("lib")).unwrap();
    let poetry = "[[package]]\nname='own'\nversion='1'\ngroups=['main']\ndevelop=true\n\
                  [package.source]\ntype='directory'\nurl='lib'\n\
                  [[package]]\nname='got'\nversion='1'\ngroups=['main']\n[package.source]\ntype='git'\n\
                  url='https://h/got.git'\nreference='main'\nresolved_reference='abc'\n\
                  [[package]]\nname='private'\nversion='1'\ngroups=['main']\n[package.source]\ntype='legacy'\n\
                  url='https://h/simple'\nreference='h'\n[metadata]\nlock-version='2.1'\n";
    let pdm = "[metadata]\nstrategy=['inherit_metadata']\nlock_version='4.5.0'\n\
               [[package]]\nname='own'\nversion='1'\ngroups=['default']\npath='./lib'\neditable=true\n\
               [[package]]\nname='got'\nversion='1'\ngroups=['default']\ngit='https://h/got.git'\nrevision='abc'\n\
               [[package]]\nname='private'\nversion='1'\ngroups=['default']\n";
    let pipenv = r#"{"_meta": {"pipfile-spec": 6}, "default": {"own": {"path": "lib", "editable": true},
                 "got": {"git": "https://h/got.git", "ref": "abc"}, "private": {"version": "==1"}}}"#;
    let pylock = "lock-version='1.0'\n[[packages]]\nname='own'\ndirectory={path='lib',editable=true}\n\
                  [[packages]]\nname='got'\nvcs={type='git',url='https://h/got.git',commit-id='abc'}\n\
                  [[packages]]\nname='private'\nversion='1'\n\
                  [[packages]]\nname='optional'\nversion='1'\nmarker=\"'fast' in extras\"\n\
                  [[packages]]\nname='dev'\nversion='1'\nmarker=\"'dev' in dependency_groups\"\n";
    for (kind, text) in [
        (LockKind::Poetry, poetry),
        (LockKind::Pdm, pdm),
        (LockKind::Pipenv, pipenv),
        (LockKind::PyLock, pylock),
    ] {
        fs_err::write(folder.path().join(kind.file()), text).unwrap();
        let read = read_in(folder.path(), kind, (&[], &[], &[]), 12).unwrap();
        let expected = ["got @ git+https://h/got.git@abc", "own lib true", "private==1"];
        assert_eq!(read.pins, expected, "{kind:?}");
        let [_, other] = read.files;
        assert!(other.contains(&format!("-e {}/", folder.path().display())), "{other}");
    }
    let read = read_in(folder.path(), LockKind::PyLock, (&["fast"], &["dev"], &[]), 12).unwrap();
    assert_eq!(read.pins.len(), 5, "{:?}", read.pins);
}

#[test]
fn a_lock_that_cannot_be_followed_has_a_reason() {
    for (kind, text, reason) in [
        (LockKind::Poetry, "[metadata]\nlock-version = '3.0'", "version 3.0 is unknown"),
        (LockKind::Poetry, "<<<<<<< HEAD", "key"),
        (
            LockKind::Poetry,
            "[[package]]\nname='a'\nversion='one'\ngroups=['main']\n[metadata]\nlock-version='2.1'",
            "invalid version `one` of `a`",
        ),
        (
            LockKind::Poetry,
            "[[package]]\nname='click'\nversion='1'\n[package.dependencies]\nb='*'\n[metadata]\nlock-version='2.0'",
            "`b`, which click requires, is not in it",
        ),
        (LockKind::Pdm, "[metadata]\nlock_version='5.0'", "version 5.0 is unknown"),
        (LockKind::Pipenv, "{}", "_meta"),
        (LockKind::PyLock, "lock-version='2.0'", "version 2.0 is unknown"),
        (
            LockKind::PyLock,
            "lock-version='1.0'\n[[packages]]\nname='a'\ndirectory={path='gone'}",
            "`gone` does not exist",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(kind.file()), text).unwrap();
        let error = read_in(folder.path(), kind, (&[], &[], &["click"]), 12).err().unwrap().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}
