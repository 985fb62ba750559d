use std::os::unix::fs::symlink;

use super::*;
use crate::error::Advice as _;

/// An installation with the first bytes of this test as its program: an ELF file that does not run.
struct FakeInstallation(tempfile::TempDir);

impl FakeInstallation {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(below)
    }

    fn put(&self, below: &str, content: &[u8]) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn program(&self, below: &str) -> PathBuf {
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        bytes.truncate(64);
        // Without program headers and sections, the program cannot start.
        bytes[32..48].fill(0);
        bytes[54..64].fill(0);
        self.put(below, &bytes)
    }

    fn python(&self, prefix: &str, name: &str, full_version: &str) -> PathBuf {
        self.put(&format!("{prefix}/lib/{name}/os.py"), b"");
        let header = format!("#define PY_VERSION \"{full_version}\"\n");
        self.put(&format!("{prefix}/include/{name}/patchlevel.h"), header.as_bytes());
        self.program(&format!("{prefix}/bin/{name}"))
    }

    fn link(&self, below: &str, target: &Path) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, &path).unwrap();
        path
    }
}

#[test]
fn follows_the_links_to_the_installation() {
    let fake = FakeInstallation::new();
    let real = fake.python("versions/3.12.4", "python3.12", "3.12.4");
    fake.link("versions/3.12.4/bin/python3", Path::new("python3.12"));
    fake.link("versions/3.12", &fake.path("versions/3.12.4"));
    let venv = fake.link("venv/bin/python", &fake.path("versions/3.12/bin/python3"));
    fake.put(
        "versions/3.12.4/lib/python3.12/_sysconfigdata__linux_x.py",
        b"{'SOABI': 'cpython-312-x86_64-linux-gnu',\n 'prefix': '/install'}",
    );
    let found = Interpreter::discover(&venv, None).unwrap();
    assert_eq!(found.executable, real);
    assert_eq!(found.prefix, fake.path("versions/3.12.4"));
    assert_eq!(found.full_version, "3.12.4");
    assert_eq!(found.version.micro, Some(4));
    assert_eq!(found.cache_tag, "cpython-312");
    assert_eq!(found.soabi.as_deref(), Some("cpython-312-x86_64-linux-gnu"));
    assert_eq!(found.flavor, Flavor::Standalone);
    assert_eq!(found.configured_prefix.as_deref(), Some("/install"));
    assert_eq!(found.warnings, []);
}

#[test]
fn a_free_threaded_build_has_a_t_in_its_names() {
    let fake = FakeInstallation::new();
    let real = fake.python("p", "python3.13t", "3.13.2");
    let found = Interpreter::discover(&real, None).unwrap();
    assert!(found.version.free_threaded);
    assert_eq!(found.stdlib, fake.path("p/lib/python3.13t"));
    assert_eq!(found.version.name(), "python3.13t");
}

#[test]
fn a_name_without_version_takes_that_of_the_only_library() {
    let fake = FakeInstallation::new();
    fake.python("p", "python3.12", "3.12.4");
    let plain = fake.program("p/bin/python");
    assert_eq!(Interpreter::discover(&plain, None).unwrap().version.name(), "python3.12");
}

#[test]
fn finds_the_base_of_a_copied_environment_in_its_configuration() {
    let fake = FakeInstallation::new();
    let real = fake.python("p", "python3.12", "3.12.4");
    let copy = fake.program("venv/bin/python");
    let config = format!("home = {}\nversion = 3.12.4\n", fake.path("p/bin").display());
    fake.put("venv/pyvenv.cfg", config.as_bytes());
    assert_eq!(Interpreter::discover(&copy, None).unwrap().executable, real);
    fake.put("venv/pyvenv.cfg", b"home = /nowhere\nversion = 3.12.4\n");
    assert!(matches!(Interpreter::discover(&copy, None), Err(InterpreterError::NoBase { .. })));
    let home = fake.path("p/bin");
    assert_eq!(Interpreter::discover(&copy, Some(&home)).unwrap().executable, real);
}

#[test]
fn names_the_dangling_link() {
    let fake = FakeInstallation::new();
    let gone = fake.path("versions/3.11/bin/python3.11");
    let middle = fake.link("venv/bin/python3", &gone);
    let first = fake.link("venv/bin/python", Path::new("python3"));
    match Interpreter::discover(&first, None) {
        Err(error @ InterpreterError::Dangling { .. }) => {
            let text = error.to_string();
            assert!(
                text.contains(middle.to_str().unwrap()) && text.contains(gone.to_str().unwrap()),
                "{text}"
            );
            assert!(error.help().unwrap().contains("again"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rejects_unsupported_interpreters() {
    let fake = FakeInstallation::new();
    let shim = fake.put("shims/python3.11", b"#!/usr/bin/env bash\nexec pyenv\n");
    let text = fake.put("bin/python3.11", b"hello");
    let pypy = fake.program("pypy/bin/pypy3.10");
    let old = fake.python("old", "python3.8", "3.8.18");
    let bare = fake.program("bare/bin/python3.11");
    let new = fake.python("new", "python3.99", "3.99.0");
    let error = |path: &Path| Interpreter::discover(path, None).unwrap_err();
    assert!(matches!(error(&shim), InterpreterError::Script(_)));
    assert!(matches!(error(&text), InterpreterError::NotExecutable(_)));
    assert!(matches!(error(&pypy), InterpreterError::OtherImplementation { .. }));
    assert!(matches!(error(&old), InterpreterError::TooOld { .. }));
    assert!(matches!(error(&bare), InterpreterError::NoStandardLibrary { .. }));
    assert_eq!(Interpreter::discover(&new, None).unwrap().warnings.len(), 1);
    for path in [&shim, &text, &pypy, &old, &bare] {
        assert!(error(path).help().is_some());
    }
}

#[test]
fn an_unknown_version_is_an_error() {
    let fake = FakeInstallation::new();
    fake.put("p/lib/python3.11/os.py", b"");
    let real = fake.program("p/bin/python3.11");
    assert!(matches!(Interpreter::discover(&real, None), Err(InterpreterError::UnknownMicroVersion(_))));
    let venv = fake.link("venv/bin/python", &real);
    fake.put("venv/pyvenv.cfg", b"version = 3.10.1\n");
    assert!(matches!(Interpreter::discover(&venv, None), Err(InterpreterError::UnknownMicroVersion(_))));
    fake.put("venv/pyvenv.cfg", b"version = 3.11.5\n");
    assert_eq!(Interpreter::discover(&venv, None).unwrap().full_version, "3.11.5");
}
