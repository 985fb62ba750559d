//! Shared libraries, compared with this machine's loader.
//!
//! `--list` makes the loader resolve libraries without running code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_macros::test;

use ipo_oci::elf::{Elf, ElfError, LibraryClosure, LoadRoot, Loader, read, rewrite_search_path};

/// The real paths of the loaded libraries, and the names of the missing ones.
type Answer = (BTreeSet<PathBuf>, BTreeSet<String>);

/// Returns the loader's result for `path`, or `None` if the loader refuses the file.
fn query_loader(interpreter: &Path, path: &Path) -> Option<Answer> {
    let output = Command::new(interpreter)
        .arg("--list")
        .arg(path)
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("LD_PRELOAD")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (mut loaded, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines().map(str::trim) {
        let name = line.split(" => ").next().unwrap_or_default();
        if line.ends_with("=> not found") {
            missing.insert(name.to_owned());
            continue;
        }
        let path = line.split(" => ").last().and_then(|rest| rest.rsplit_once(" (")).map(|(path, _)| path);
        if let Some(path) = path.filter(|path| path.starts_with('/')) {
            loaded.insert(std::fs::canonicalize(path).unwrap());
        }
    }
    loaded.remove(&std::fs::canonicalize(interpreter).unwrap());
    (output.status.success() || !missing.is_empty()).then_some((loaded, missing))
}

/// Returns the same from a closure.
fn closure_result(closure: &LibraryClosure, interpreter: &Path) -> Answer {
    let mut loaded: BTreeSet<PathBuf> =
        closure.libraries.iter().map(|library| std::fs::canonicalize(&library.path).unwrap()).collect();
    for library in &closure.libraries {
        assert_eq!(library.real, std::fs::canonicalize(&library.path).unwrap());
        assert!(!library.needed_by.is_empty());
    }
    loaded.remove(&std::fs::canonicalize(interpreter).unwrap());
    (loaded, closure.missing.iter().map(|missing| missing.soname.clone()).collect())
}

/// Returns this machine's loader, from the headers of this program.
fn interpreter() -> PathBuf {
    let own = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
    own.interpreter.expect("the test is a dynamic program").into()
}

/// Returns true if this machine's loader can read the file.
fn is_native(elf: &Elf) -> bool {
    let own = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
    elf.machine.runs_with(own.machine) && elf.is_dynamic()
}

/// Compares each file's closure; returns the number of compared files.
fn compare(loader: &Loader, files: impl IntoIterator<Item = PathBuf>) -> usize {
    let interpreter = interpreter();
    let mut compared = 0;
    let mut differences = Vec::new();
    for file in files {
        let Ok(Some(elf)) = read(&file) else { continue };
        if !is_native(&elf) {
            continue;
        }
        let Some(theirs) = query_loader(&interpreter, &file) else { continue };
        let ours = closure_result(&loader.resolve(&[LoadRoot::new(&file)]).unwrap(), &interpreter);
        compared += 1;
        if ours != theirs {
            let (only_ours, only_theirs): (Vec<_>, Vec<_>) =
                (ours.0.difference(&theirs.0).collect(), theirs.0.difference(&ours.0).collect());
            differences.push(format!(
                "{}: only ours {only_ours:?}, only the loader's {only_theirs:?}, missing {:?} and {:?}",
                file.display(),
                ours.1,
                theirs.1
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {compared} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    compared
}

/// Returns the regular files of a directory by name, with links resolved.
fn files(directory: &str) -> BTreeSet<PathBuf> {
    let Ok(listing) = std::fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    listing
        .filter_map(|entry| std::fs::canonicalize(entry.unwrap().path()).ok())
        .filter(|path| path.is_file())
        .collect()
}

/// Returns the Pythons of this machine: on the path, the system's, and pyenv's.
fn pythons() -> BTreeSet<PathBuf> {
    let mut candidates = vec![PathBuf::from("/usr/bin/python3")];
    let on_path = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    candidates.extend(on_path.ok().map(|output| String::from_utf8(output.stdout).unwrap().trim().into()));
    if let Some(versions) = std::env::home_dir().map(|home| home.join(".pyenv/versions"))
        && let Ok(listing) = std::fs::read_dir(versions)
    {
        candidates.extend(listing.map(|entry| entry.unwrap().path().join("bin/python3")));
    }
    candidates.iter().filter_map(|path| std::fs::canonicalize(path).ok()).collect()
}

/// Returns the output of a Python program.
fn evaluate(python: &Path, program: &str) -> String {
    let output = Command::new(python).args(["-I", "-c", program]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns the extension modules below a directory.
fn modules(directory: &Path) -> Vec<PathBuf> {
    let is_module = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains(".so"))
    };
    let mut modules: Vec<PathBuf> = walkdir::WalkDir::new(directory)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_file() && is_module(path))
        .collect();
    modules.sort();
    modules
}

#[test]
fn agrees_with_the_loader_on_the_systems_programs() {
    let loader = Loader::host();
    let compared = compare(&loader, files("/usr/bin").into_iter().chain(files("/usr/sbin")));
    assert!(compared > 50, "{compared}");
}

#[test]
fn agrees_with_the_loader_on_the_systems_libraries() {
    let loader = Loader::host();
    let own = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
    let multiarch = own.machine.multiarch().unwrap();
    let directories = [format!("/usr/lib/{multiarch}"), "/usr/lib64".to_owned(), "/usr/lib".to_owned()];
    let compared = compare(&loader, directories.iter().flat_map(|directory| files(directory)));
    assert!(compared > 20, "{compared}");
}

#[test]
fn agrees_with_the_loader_on_interpreters_and_their_modules() {
    let loader = Loader::host();
    let mut compared = 0;
    for python in pythons() {
        let library = evaluate(&python, "import sysconfig; print(sysconfig.get_path('platstdlib'))");
        compared += compare(&loader, [python]);
        compared += compare(&loader, modules(&Path::new(&library).join("lib-dynload")));
    }
    assert!(compared > 10, "{compared}");
}

#[test]
fn finds_every_library_of_a_running_interpreter() {
    let loader = Loader::host();
    for python in pythons() {
        // No header names libraries that code opens at run time, such as libgcc_s.
        let program = "import importlib, sys, sysconfig, pathlib\n\
            loaded = []\n\
            for file in sorted(pathlib.Path(sysconfig.get_path('platstdlib'), 'lib-dynload').glob('*.so')):\n\
            \x20   try:\n\
            \x20       importlib.import_module(file.name.split('.')[0])\n\
            \x20       loaded.append(str(file))\n\
            \x20   except ImportError:\n\
            \x20       pass\n\
            maps = {line.split()[-1] for line in open('/proc/self/maps') if '.so' in line}\n\
            print('\\n'.join(loaded)); print('--'); print('\\n'.join(sorted(maps)))";
        let output = evaluate(&python, program);
        let (imported, maps) = output.split_once("--").unwrap();
        let modules: BTreeSet<PathBuf> =
            imported.lines().map(|path| std::fs::canonicalize(path).unwrap()).collect();
        let roots: Vec<LoadRoot> =
            modules.iter().map(|module| LoadRoot::loaded_by(module, &python)).collect();
        let closure = loader.resolve(&roots).unwrap();
        let found: BTreeSet<PathBuf> = closure.libraries.iter().map(|library| library.real.clone()).collect();
        let loaders: BTreeSet<PathBuf> =
            closure.loaders.iter().map(|path| std::fs::canonicalize(path).unwrap()).collect();
        for path in maps.lines().filter(|path| path.starts_with('/')).map(PathBuf::from) {
            let known = found.contains(&path) || loaders.contains(&path) || modules.contains(&path);
            let by_name = path.to_string_lossy().contains("libgcc_s");
            assert!(known || by_name, "{} has loaded {}", python.display(), path.display());
        }
    }
}

/// Writes `file` to `target` with `new` as its search path.
fn copy_with_search_path(file: &Path, target: &Path, new: &str) -> Result<(), ElfError> {
    let mut bytes = std::fs::read(file).unwrap();
    for patch in rewrite_search_path(file, new)? {
        let start = usize::try_from(patch.offset).unwrap();
        bytes[start..start + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    std::fs::copy(file, target).unwrap();
    std::fs::write(target, bytes).unwrap();
    Ok(())
}

#[test]
fn a_relocated_interpreter_with_a_rewritten_search_path_starts() {
    for python in pythons() {
        let elf = read(&python).unwrap().unwrap();
        let prefix = python.parent().unwrap().parent().unwrap();
        let Some(library) = elf.needed.iter().find(|name| name.starts_with("libpython")) else { continue };
        if elf.runpath.is_empty() && elf.rpath.is_empty() {
            continue;
        }
        let moved = tempfile::tempdir().unwrap();
        let moved = std::fs::canonicalize(moved.path()).unwrap();
        std::fs::create_dir_all(moved.join("bin")).unwrap();
        std::fs::create_dir_all(moved.join("lib")).unwrap();
        let copy = moved.join("bin").join(python.file_name().unwrap());
        copy_with_search_path(&python, &copy, "$ORIGIN/../lib").unwrap();
        std::fs::copy(prefix.join("lib").join(library), moved.join("lib").join(library)).unwrap();
        // The unchanged standard library: `lib/python3.11`.
        let standard = evaluate(&python, "import sysconfig; print(sysconfig.get_path('stdlib'))");
        let name = Path::new(&standard).file_name().unwrap();
        std::os::unix::fs::symlink(&standard, moved.join("lib").join(name)).unwrap();

        assert_eq!(std::fs::metadata(&copy).unwrap().len(), std::fs::metadata(&python).unwrap().len());
        assert_eq!(read(&copy).unwrap().unwrap(), {
            let path = vec!["$ORIGIN/../lib".to_owned()];
            let rpath = if elf.rpath.is_empty() { Vec::new() } else { path.clone() };
            let runpath = if elf.runpath.is_empty() { Vec::new() } else { path };
            Elf { rpath, runpath, ..elf.clone() }
        });
        let program = "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'libpython' in line})";
        let expected = moved.join("lib").join(library);
        assert_eq!(evaluate(&copy, program), expected.to_str().unwrap());
        let closure = Loader::host().resolve(&[LoadRoot::new(&copy)]).unwrap();
        assert!(closure.libraries.iter().any(|found| found.path == expected), "{closure:?}");
    }
}

#[test]
#[ignore = "installs numpy and scipy from the package index"]
fn agrees_with_the_loader_on_wheels_with_libraries() {
    let directory = tempfile::tempdir().unwrap();
    let venv = directory.path().join("venv");
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(Path::new("python3"), &["-m", "venv", venv.to_str().unwrap()]);
    let python = venv.join("bin/python");
    run(&python, &["-m", "pip", "install", "--quiet", "--only-binary=:all:", "numpy", "scipy"]);
    let loader = Loader::host();
    let modules = modules(&venv);
    let compared = compare(&loader, modules.clone());
    assert!(compared > 50, "{compared}");

    let roots: Vec<LoadRoot> = modules.iter().map(|module| LoadRoot::loaded_by(module, &python)).collect();
    let closure = loader.resolve(&roots).unwrap();
    assert_eq!(closure.missing, []);
    assert_eq!(closure.foreign, Vec::<PathBuf>::new());
    let brought = |library: &&ipo_oci::elf::Library| library.path.starts_with(&venv);
    let names: Vec<_> = closure.libraries.iter().filter(brought).map(|library| &library.soname).collect();
    assert!(names.iter().any(|name| name.contains("openblas")), "{names:?}");
    assert!(
        closure
            .libraries
            .iter()
            .filter(brought)
            .all(|library| !library.path.to_string_lossy().contains(".."))
    );
}
