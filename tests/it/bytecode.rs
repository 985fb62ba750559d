//! Bytecode of real interpreters: every compiler run and installer gives the same `.pyc`, and
//! Python loads it.
//!
//! `.ci/pythons` prepares the interpreters, in `IPO_OCI_TEST_PYTHONS` or in `pythons` beside
//! cargo's output. With `IPO_OCI_TEST_CORPUS=all` the whole standard library of each is compared,
//! otherwise a part.

use crate::support::skip;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use test_macros::test;

use ipo_oci::error::chain;
use ipo_oci::progress::WarningCollector;
use ipo_oci::python::bytecode::{
    BytecodeCheck, BytecodeError, BytecodeMode, BytecodeRequest, BytecodeSource, Python, entries,
};
use ipo_oci::tree::{
    Content, ContentError, Entry, HostFile, ImagePath, Kind, Owner, Patch, Time, Transform, TransformError,
};
use tempfile::TempDir;

/// A real interpreter.
#[derive(Debug, Clone)]
struct Real {
    name: String,
    python: Python,
    /// Includes the patch level: `(3, 13, 5)`.
    version: (u8, u8, u8),
    stdlib: PathBuf,
}

/// Returns the prepared interpreters; skips the test without any.
fn interpreters() -> Vec<Real> {
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("pythons");
    let directory = std::env::var_os("IPO_OCI_TEST_PYTHONS").map_or(beside, PathBuf::from);
    let mut found: Vec<PathBuf> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path().join("python"))
        .filter(|python| python.is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        let message = format!("no interpreters in {}: run .ci/pythons first", directory.display());
        skip(&message);
    }
    found.into_iter().map(Real::ask).collect()
}

impl Real {
    fn ask(executable: PathBuf) -> Self {
        let program = "import sys, os; print(*sys.version_info[:3], sys.implementation.cache_tag, os.path.dirname(os.__file__))";
        let output = Command::new(&executable).args(["-S", "-c", program]).output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            executable.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u8>().unwrap();
        Self {
            name: executable.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned(),
            version: (number(0), number(1), number(2)),
            stdlib: words[4].into(),
            python: Python {
                executable,
                version: (number(0), number(1)),
                cache_tag: words[3].to_owned(),
                magic: None,
                optimize: 0,
            },
        }
    }

    /// Runs a program of `tests/bytecode`.
    fn run(&self, program: &str, arguments: &[&Path], seed: &str, input: &str) -> String {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bytecode").join(program);
        let mut process = Command::new(&self.python.executable)
            .args(["-S", "-B"])
            .arg(program)
            .args(arguments)
            .env("PYTHONHASHSEED", seed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns true if two runs of the compiler give equal code (python/cpython#124442).
    fn is_deterministic(&self) -> bool {
        self.version != (3, 13, 0)
    }
}

/// A directory of sources for one interpreter.
struct Project<'a> {
    real: &'a Real,
    folder: TempDir,
}

impl<'a> Project<'a> {
    fn new(real: &'a Real) -> Self {
        Self { real, folder: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("src")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn compile(&self, way: &str, seed: &str) {
        self.real.run("compile.py", &[Path::new(way), &self.root()], seed, "");
    }

    fn sources(&self) -> Vec<BytecodeSource> {
        sources_below(&self.root(), &self.real.python.cache_tag)
    }

    fn entries(&self, mode: BytecodeMode) -> (Vec<Entry>, Vec<String>) {
        self.entries_of(&self.sources(), mode)
    }

    fn entries_of(&self, sources: &[BytecodeSource], mode: BytecodeMode) -> (Vec<Entry>, Vec<String>) {
        self.entries_after(BytecodeCheck::Whole, sources, mode)
    }

    fn entries_after(
        &self,
        check: BytecodeCheck,
        sources: &[BytecodeSource],
        mode: BytecodeMode,
    ) -> (Vec<Entry>, Vec<String>) {
        let progress = WarningCollector::default();
        let request = BytecodeRequest {
            sources,
            python: &self.real.python,
            mode,
            check,
            cache: &self.cache(),
            work: &self.cache(),
            progress: &progress,
        };
        let entries = entries(&request).unwrap();
        (entries, progress.warnings().iter().map(ToString::to_string).collect())
    }
}

/// Returns every source below `root`, at /srv/app/… in the image.
fn sources_below(root: &Path, cache_tag: &str) -> Vec<BytecodeSource> {
    let mut sources = Vec::new();
    for file in walkdir::WalkDir::new(root).sort_by_file_name() {
        let file = file.unwrap().into_path();
        if file.extension().is_none_or(|suffix| suffix != "py") {
            continue;
        }
        let below = file.strip_prefix(root).unwrap().to_str().unwrap();
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let pyc = file.parent().unwrap().join(format!("__pycache__/{stem}.{cache_tag}.pyc"));
        sources.push(BytecodeSource {
            path: ImagePath::new("/srv/app").unwrap().join(below).unwrap(),
            content: Content::Host(HostFile::new(&file).unwrap()),
            pyc: HostFile::new(pyc).ok(),
            owner: Owner::Source,
        });
    }
    sources
}

fn content(entry: &Entry) -> &Content {
    let Kind::File(content) = &entry.kind else { panic!("{} is no file", entry.path) };
    content
}

fn bytes(entries: &[Entry]) -> BTreeMap<ImagePath, Vec<u8>> {
    entries.iter().map(|entry| (entry.path.clone(), content(entry).read().unwrap())).collect()
}

fn is_reused(entry: &Entry) -> bool {
    matches!(content(entry), Content::Derived { transform, .. } if transform.identity().starts_with("canonical"))
}

/// Copies the snippets for this version, and the standard library.
fn make_corpus(project: &Project<'_>) {
    let snippets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bytecode/corpus");
    for snippet in fs::read_dir(snippets).unwrap() {
        let path = snippet.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let minor =
            name.trim_end_matches(".py").strip_prefix("since_3_").map(|minor| minor.parse::<u8>().unwrap());
        if minor.is_none_or(|minor| minor <= project.real.version.1) {
            project.write(&name, fs::read(path).unwrap());
        }
    }
    let all = std::env::var_os("IPO_OCI_TEST_CORPUS").is_some_and(|which| which == "all");
    let skipped = ["test", "tests", "site-packages", "dist-packages", "lib2to3", "idlelib"];
    let library = walkdir::WalkDir::new(&project.real.stdlib)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| !skipped.iter().any(|skipped| entry.file_name() == *skipped))
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "py") && path.is_file());
    for path in library.step_by(if all { 1 } else { 8 }) {
        let below = path.strip_prefix(&project.real.stdlib).unwrap().to_str().unwrap();
        project.write(&format!("lib/{below}"), fs::read(&path).unwrap());
    }
}

#[test]
fn every_compilation_gives_the_same_equivalent_bytecode() {
    for real in interpreters() {
        let [installed, elsewhere, fresh] = [(); 3].map(|()| Project::new(&real));
        for project in [&installed, &elsewhere, &fresh] {
            make_corpus(project);
        }
        installed.compile("compileall", "1");
        elsewhere.compile("reversed", "4711");
        let results =
            [&installed, &elsewhere, &fresh].map(|project| project.entries(BytecodeMode::Compile).0);
        let [first, second, third] = results;
        assert!(first.len() > 60, "{}: only {} files", real.name, first.len());
        assert_eq!(first.iter().all(is_reused), real.is_deterministic(), "{}", real.name);
        assert_eq!(second.iter().all(is_reused), real.is_deterministic(), "{}", real.name);
        assert!(!third.iter().any(is_reused), "{}", real.name);
        let canonical = bytes(&first);
        for (way, other) in
            [("another order, seed and path", bytes(&second)), ("compiled here", bytes(&third))]
        {
            for (path, pyc) in &other {
                assert!(canonical.get(path) == Some(pyc), "{}, {way}: {path} differs", real.name);
            }
            assert_eq!(canonical.len(), other.len(), "{}, {way}", real.name);
        }
        verify(&real, &installed, &canonical);
    }
}

/// Lets the interpreter compare canonical bytecode with its own.
fn verify(real: &Real, project: &Project<'_>, canonical: &BTreeMap<ImagePath, Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let mut list = Vec::new();
    for source in project.sources() {
        let name =
            source.path.file_name().unwrap().replace(".py", &format!(".{}.pyc", real.python.cache_tag));
        let path = source.path.parent().unwrap().join("__pycache__").unwrap().join(&name).unwrap();
        let Some(pyc) = canonical.get(&path) else { continue };
        let file = folder.path().join(format!("{}.pyc", list.len()));
        fs::write(&file, pyc).unwrap();
        let host = source.content.host_file().unwrap().path.display().to_string();
        list.push([host, file.display().to_string(), source.path.to_string()].join("\n"));
    }
    let counted = real.run("verify.py", &[], "0", &list.join("\n"));
    assert_eq!(counted.trim(), canonical.len().to_string(), "{}", real.name);
}

/// Runs an installer, which has to succeed.
fn install(command: &mut Command, folder: &Path) {
    command.env("UV_CACHE_DIR", folder.join("uv-cache")).env("UV_PYTHON_DOWNLOADS", "never");
    command.env("PIP_NO_CACHE_DIR", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pip_and_uv_give_the_same_bytecode() {
    let mut compared = 0;
    for real in interpreters() {
        let python = &real.python.executable;
        let has =
            |program: &mut Command| program.arg("--version").output().is_ok_and(|it| it.status.success());
        // Debian's interpreters have no pip, and a venv cannot link to their launchers.
        if !real.name.starts_with("pyenv") || !has(Command::new(python).args(["-m", "pip"])) {
            continue;
        }
        if !has(&mut Command::new("uv")) {
            skip("`uv` is not installed");
        }
        let project = Project::new(&real);
        make_corpus(&project);
        let folder = project.folder.path();
        let wheel = folder.join("corpus-1.0-py3-none-any.whl");
        real.run("make_wheel.py", &[&project.root(), &wheel], "0", "");
        let (by_pip, by_uv) = (folder.join("pip"), folder.join("a longer path").join("uv"));
        for venv in [&by_pip, &by_uv] {
            install(Command::new(python).args(["-m", "venv", "--without-pip"]).arg(venv), folder);
        }
        let target = |venv: &Path| venv.join("bin/python");
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "--python"]).arg(target(&by_pip));
        install(pip.args(["install", "--quiet", "--no-index", "--no-deps"]).arg(&wheel), folder);
        let mut uv = Command::new("uv");
        uv.args(["pip", "install", "--quiet", "--offline", "--no-deps", "--compile-bytecode", "--python"]);
        install(uv.arg(target(&by_uv)).arg(&wheel), folder);
        let [first, second] = [&by_pip, &by_uv].map(|venv| {
            let site = venv.join(format!("lib/python{}.{}/site-packages", real.version.0, real.version.1));
            project.entries_of(&sources_below(&site, &real.python.cache_tag), BytecodeMode::Compile).0
        });
        assert_eq!(first.iter().all(is_reused), real.is_deterministic(), "{}", real.name);
        assert_eq!(second.iter().all(is_reused), real.is_deterministic(), "{}", real.name);
        let (first, second) = (bytes(&first), bytes(&second));
        assert!(first.len() > 60 && first.keys().eq(second.keys()), "{}", real.name);
        for (path, pyc) in &first {
            assert!(second.get(path) == Some(pyc), "{}: {path} differs", real.name);
        }
        compared += 1;
    }
    if compared == 0 {
        eprintln!("SKIPPED: no interpreter with pip");
    }
}

#[test]
fn python_loads_the_bytecode_without_reading_the_source() {
    for real in interpreters() {
        let project = Project::new(&real);
        project.write("service/__init__.py", "ANSWER = 'compiled'\n");
        project.compile("compileall", "random");
        let (entries, _) = project.entries(BytecodeMode::Compile);
        assert_eq!(entries.len(), 1);
        let image = tempfile::tempdir().unwrap();
        let package = image.path().join("srv/app/service");
        fs::create_dir_all(package.join("__pycache__")).unwrap();
        fs::write(image.path().join(entries[0].path.as_str()), content(&entries[0]).read().unwrap()).unwrap();
        // Text, size and time differ from the compiled source, so reading the source would show.
        fs::write(package.join("__init__.py"), "ANSWER = 'compiled again'\n").unwrap();
        let before = fs::metadata(package.join("__pycache__")).unwrap().modified().unwrap();
        let output = Command::new(&real.python.executable)
            .args(["-S", "-v", "-c", "import service; print(service.ANSWER, service.__spec__.cached)"])
            .env("PYTHONPATH", image.path().join("srv/app"))
            .output()
            .unwrap();
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.starts_with("compiled /"), "{}: {said}{told}", real.name);
        let pyc = image.path().join(entries[0].path.as_str());
        assert!(told.contains(&format!("# {} matches", pyc.display())), "{}: {told}", real.name);
        assert_eq!(fs::metadata(package.join("__pycache__")).unwrap().modified().unwrap(), before);
        assert_eq!(fs::read_dir(package.join("__pycache__")).unwrap().count(), 1, "{}", real.name);
    }
}

/// Returns any deterministic interpreter, for tests that do not depend on the version.
fn any() -> Real {
    let found = interpreters().into_iter().find(Real::is_deterministic);
    found.unwrap_or_else(|| skip("no interpreter writes deterministic bytecode"))
}

#[test]
fn entries_have_pythons_path_and_the_sources_owner() {
    let real = any();
    let project = Project::new(&real);
    project.write("a/ünï code.py", "x = 1");
    project.write("a/not_a_source.pyi", "x = 1");
    let mut sources = project.sources();
    sources[0].owner = Owner::Distribution { name: "a".into(), version: "1".into() };
    sources.push(BytecodeSource {
        path: ImagePath::new("/a/made.txt").unwrap(),
        content: "x".into(),
        pyc: None,
        owner: Owner::Source,
    });
    let (entries, warnings) = project.entries_of(&sources, BytecodeMode::Compile);
    assert_eq!((entries.len(), warnings), (1, vec![]));
    let tag = &real.python.cache_tag;
    assert_eq!(entries[0].path.to_string(), format!("/srv/app/a/__pycache__/ünï code.{tag}.pyc"));
    assert_eq!(entries[0].owner, sources[0].owner);
    assert_eq!((entries[0].mode, entries[0].uid, entries[0].gid), (0o644, 0, 0));
    assert_eq!(entries[0].time, Time::At(ipo_oci::tree::CONSTANT_TIME));
    assert!(project.entries(BytecodeMode::Strip).0.is_empty());
}

#[test]
fn stale_bytecode_is_recompiled_or_excluded() {
    let real = any();
    let project = Project::new(&real);
    for name in ["good.py", "stale.py", "broken.py", "foreign.py"] {
        project.write(name, "x = 1");
    }
    project.compile("compileall", "0");
    project.write("stale.py", "x = 2 # changed");
    project.write("missing.py", "x = 3");
    let cache = project.root().join("__pycache__");
    let tag = &real.python.cache_tag;
    let pyc = |name: &str| cache.join(format!("{name}.{tag}.pyc"));
    let whole = fs::read(pyc("broken")).unwrap();
    fs::write(pyc("broken"), &whole[..whole.len() - 1]).unwrap();
    let mut foreign = whole.clone();
    foreign[..2].copy_from_slice(&3413_u16.to_le_bytes());
    fs::write(pyc("foreign"), foreign).unwrap();

    let (kept, warnings) = project.entries(BytecodeMode::Keep);
    assert_eq!(kept.len(), 1);
    assert!(kept[0].path.as_str().contains("good"));
    assert_eq!(
        warnings,
        [
            "bytecode: excluded 2 .pyc files that are not the bytecode of their source: /srv/app/broken.py, \
             /srv/app/stale.py",
            "bytecode: excluded 1 .pyc file that is not bytecode of this Python but of Python 3.8 (magic number \
             3413): /srv/app/foreign.py",
        ]
    );
    // The memo of the other mode does not apply.
    let (compiled, warnings) = project.entries(BytecodeMode::Compile);
    assert_eq!((compiled.len(), warnings), (5, vec![]));
    let taken: Vec<bool> = compiled.iter().map(is_reused).collect();
    assert_eq!(taken, [false, false, true, false, false]);
    // The memo of this mode applies.
    assert_eq!(bytes(&project.entries(BytecodeMode::Compile).0), bytes(&compiled));
    assert_eq!(project.entries(BytecodeMode::Keep).0.len(), 1);
}

#[test]
fn header_checks_and_full_checks_agree() {
    for real in interpreters() {
        let project = Project::new(&real);
        make_corpus(&project);
        project.compile("compileall", "1");
        let by_header =
            project.entries_after(BytecodeCheck::Header, &project.sources(), BytecodeMode::Compile);
        let whole = project.entries(BytecodeMode::Compile);
        assert_eq!(by_header.1, whole.1, "{}", real.name);
        assert_eq!(bytes(&by_header.0), bytes(&whole.0), "{}", real.name);
        // Each check has a memo of its own.
        let again = project.entries_after(BytecodeCheck::Header, &project.sources(), BytecodeMode::Compile);
        assert_eq!(bytes(&again.0), bytes(&whole.0), "{}", real.name);
    }
}

#[test]
fn reading_detects_damage_behind_a_valid_header() {
    let real = any();
    let project = Project::new(&real);
    for name in ["good", "broken", "hashed", "stale"] {
        project.write(&format!("{name}.py"), format!("x = '{name}'"));
    }
    project.compile("compileall", "0");
    let pyc = |name: &str| project.root().join(format!("__pycache__/{name}.{}.pyc", real.python.cache_tag));
    let change = |name: &str, change: fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(pyc(name)).unwrap();
        change(&mut bytes);
        fs::write(pyc(name), bytes).unwrap();
    };
    change("broken", |bytes| bytes[16] = b'?');
    // The header claims a hash that the source does not have.
    change("hashed", |bytes| bytes[4] = 1);
    change("stale", |bytes| bytes[8] ^= 1);
    let sources = project.sources();
    let (entries, warnings) = project.entries_after(BytecodeCheck::Header, &sources, BytecodeMode::Compile);
    let taken: Vec<bool> = entries.iter().map(is_reused).collect();
    assert_eq!((taken, warnings), (vec![true, true, false, false], vec![]), "broken, good, hashed, stale");
    let error = content(&entries[0]).read().unwrap_err();
    assert!(matches!(&error, ContentError::Transform { path, .. } if *path == pyc("broken")), "{error}");
    // A full check does not trust the memo of a header check.
    let (looked, _) = project.entries(BytecodeMode::Compile);
    assert_eq!(looked.iter().map(is_reused).collect::<Vec<_>>(), [false, true, false, false]);
    // A source changed since planning is an error.
    project.write("good.py", "x = 'another one'");
    let error = content(&entries[1]).read().unwrap_err();
    assert!(error.to_string().contains("good.py: changed while it was read"), "{error}");
}

#[derive(Debug)]
struct Rename;

impl Transform for Rename {
    fn apply(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
        Ok([bytes, b"\ny = 2\n".to_vec()].concat())
    }

    fn identity(&self) -> String {
        "rename".to_owned()
    }
}

#[test]
fn bytecode_of_rewritten_sources_is_not_used() {
    let real = any();
    let project = Project::new(&real);
    project.write("a.py", "x = 1");
    project.compile("compileall", "0");
    let source = project.sources().remove(0);
    let file = source.content.host_file().unwrap().clone();
    let patch = Patch { offset: 4, bytes: b"7".to_vec() };
    let contents = [
        Content::Patched { file: file.clone(), patches: Arc::new([patch]) },
        Content::Derived { file, transform: Arc::new(Rename) },
        "x = 9".into(),
    ];
    let mut results = bytes(&project.entries(BytecodeMode::Compile).0).into_values().collect::<Vec<_>>();
    for content in contents {
        let source = BytecodeSource { content, ..source.clone() };
        for _ in 0..2 {
            let (entries, _) = project.entries_of(std::slice::from_ref(&source), BytecodeMode::Compile);
            assert!(!is_reused(&entries[0]));
            results.extend(bytes(&entries).into_values());
        }
        assert!(project.entries_of(&[source], BytecodeMode::Keep).0.is_empty());
    }
    results.dedup();
    assert_eq!(results.len(), 4, "the original and three rewritings");
}

#[test]
fn compile_errors_are_reported_once_and_cached() {
    let real = any();
    let project = Project::new(&real);
    project.write("a.py", "print 'hello'");
    project.write("b.py", "x = {{ cookiecutter.name }} if");
    project.write("c.py", b"# coding: no-such-coding\nx = 1");
    project.write("d.py", b"x = '\xff'");
    project.write("e.py", b"x = 1\0");
    project.write("good.py", r"x = '\d is a warning of newer compilers'");
    let (entries, warnings) = project.entries(BytecodeMode::Compile);
    assert_eq!(entries.len(), 1);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with(
            "bytecode: no bytecode of 5 sources that do not compile: /srv/app/a.py (SyntaxError: "
        )
    );
    assert!(warnings[0].ends_with("and 2 more"), "{warnings:?}");
    assert_eq!(project.entries(BytecodeMode::Compile).1, warnings);
    // Without the memo, results are found by content.
    fs::remove_dir_all(project.cache().join("memo")).unwrap();
    assert_eq!(project.entries(BytecodeMode::Compile).1, warnings);
}

/// Returns a program in place of an interpreter.
fn fake_interpreter(project: &Project<'_>, script: &str) -> Python {
    let executable = project.folder.path().join("pretender");
    fs::write(&executable, script).unwrap();
    fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).unwrap();
    Python { executable, ..project.real.python.clone() }
}

fn failure(project: &Project<'_>, python: &Python, cache: &Path) -> BytecodeError {
    let progress = WarningCollector::default();
    let sources = project.sources();
    let request = BytecodeRequest {
        sources: &sources,
        python,
        mode: BytecodeMode::Compile,
        check: BytecodeCheck::Whole,
        cache,
        work: cache,
        progress: &progress,
    };
    entries(&request).unwrap_err()
}

#[test]
fn a_failing_interpreter_is_named_with_its_output() {
    let real = any();
    let project = Project::new(&real);
    project.write("a.py", "x = 1");
    let magic = {
        let program = "import importlib.util as u; print(int.from_bytes(u.MAGIC_NUMBER[:2], 'little'))";
        let output = Command::new(&real.python.executable).args(["-c", program]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let hello = format!("echo {magic} 0");
    for (script, expected) in [
        ("#!/bin/sh\necho no such module: encodings >&2\nexit 3\n".to_owned(), "no such module: encodings"),
        ("#!/bin/sh\necho Python 2\n".to_owned(), "unexpected answer; CPython 3.9 or later is required"),
        ("#!/does/not/exist\n".to_owned(), "No such file"),
        (format!("#!/bin/sh\n{hello}\nhead -c 4 >/dev/null\necho killed >&2\nkill -9 $$\n"), "killed"),
        (format!("#!/bin/sh\n{hello}\nhead -c 4 >/dev/null\necho nonsense\n"), "the answer is"),
    ] {
        let python = fake_interpreter(&project, &script);
        let error = chain(&failure(&project, &python, &project.cache()));
        assert!(error.contains("pretender") && error.contains(expected), "{script}: {error}");
    }
    let missing = Python { executable: "/does/not/exist".into(), ..real.python.clone() };
    assert!(failure(&project, &missing, &project.cache()).to_string().contains("/does/not/exist"));
    let other = Python { magic: Some(3439), version: (3, 10), ..real.python.clone() };
    if real.version.1 != 10 {
        assert!(failure(&project, &other, &project.cache()).to_string().contains("3439"));
    }
}

#[test]
fn names_a_cache_that_cannot_be_created() {
    let real = any();
    let project = Project::new(&real);
    project.write("a.py", "x = 1");
    let error = failure(&project, &real.python, &project.root().join("a.py/cache"));
    assert!(matches!(error, BytecodeError::Cache(_)), "{error}");
    assert!(error.to_string().contains("a.py/cache"));
}

#[test]
fn an_unchanged_environment_needs_no_interpreter() {
    let real = any();
    let project = Project::new(&real);
    project.write("installed.py", "x = 1");
    project.compile("compileall", "0");
    project.write("compiled.py", "x = 1");
    let log = project.folder.path().join("log");
    let script = format!(
        "#!/bin/sh\necho started >>'{}'\nexec '{}' \"$@\"\n",
        log.display(),
        real.python.executable.display()
    );
    let python = fake_interpreter(&project, &script);
    let (sources, cache) = (project.sources(), project.cache());
    let run = |mode: BytecodeMode| {
        let progress = WarningCollector::default();
        let request = BytecodeRequest {
            sources: &sources,
            python: &python,
            mode,
            check: BytecodeCheck::Whole,
            cache: &cache,
            work: &cache,
            progress: &progress,
        };
        let result = bytes(&entries(&request).unwrap());
        let starts = fs::read_to_string(&log).unwrap_or_default().lines().count();
        let _ = fs::remove_file(&log);
        (result, starts)
    };
    let (first, starts) = run(BytecodeMode::Compile);
    assert_eq!((first.len(), starts), (2, 2), "asked once, compiled once");
    assert_eq!(run(BytecodeMode::Compile), (first.clone(), 0));
    assert_eq!(run(BytecodeMode::Keep).1, 0);
    // Without the memo, the interpreter reports its version, and compiled files are found by
    // content.
    fs::remove_dir_all(cache.join("memo")).unwrap();
    assert_eq!(run(BytecodeMode::Compile), (first, 1));
}

#[test]
fn a_damaged_cache_is_repaired() {
    let real = any();
    let project = Project::new(&real);
    project.write("a.py", "x = 1");
    let whole = bytes(&project.entries(BytecodeMode::Compile).0);
    let pyc = walkdir::WalkDir::new(project.cache().join("compiled"))
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .find(|path| path.extension().is_some_and(|suffix| suffix == "pyc"))
        .unwrap();
    let text = fs::read(&pyc).unwrap();
    let mut damages = vec![text[..text.len() / 2].to_vec(), Vec::new(), [&text[..], b"N"].concat()];
    // A flipped bit in a constant is still valid bytecode.
    damages.extend((0..text.len() * 8).step_by(7).map(|bit| {
        let mut flipped = text.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    }));
    for damage in damages {
        fs::write(&pyc, damage).unwrap();
        assert_eq!(bytes(&project.entries(BytecodeMode::Compile).0), whole);
    }
    // Damaged between planning and reading.
    let entries = project.entries(BytecodeMode::Compile).0;
    let modified = fs::metadata(&pyc).unwrap().modified().unwrap();
    let mut flipped = text.clone();
    flipped[text.len() - 1] ^= 1;
    fs::write(&pyc, flipped).unwrap();
    fs::File::options().write(true).open(&pyc).unwrap().set_modified(modified).unwrap();
    assert!(content(&entries[0]).read().is_err());
    assert_eq!(bytes(&project.entries(BytecodeMode::Compile).0), whole);
    for memo in fs::read_dir(project.cache().join("memo")).unwrap() {
        fs::write(memo.unwrap().path(), "bytecode-memo-1 1\nnonsense\nmore\n\u{0}").unwrap();
    }
    assert_eq!(bytes(&project.entries(BytecodeMode::Compile).0), whole);
}
