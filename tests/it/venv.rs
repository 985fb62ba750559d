//! Environments of real tools as entries: reading, closure, relocation, and running in another
//! place.

use test_macros::test;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::environments::{cached, image, materialise, pip, python, run, snapshot, uv};
use ipo_oci::platform::Platform;
use ipo_oci::progress::Silent;
use ipo_oci::python::provision::Provision;
use ipo_oci::python::relocate::SourcePlace;
use ipo_oci::python::relocate::paths::PathScanner;
use ipo_oci::python::requirements::declaration::DependencySelection;
use ipo_oci::python::{Activation, DeclaredDependencies, DistributionSelection, Relocated, Relocation, Venv};
use ipo_oci::tree::{Entry, Kind};

/// Pinned, so that pip and uv install the same wheels: pure, compiled, with data, a binary, and
/// with commands.
const WHEELS: &[&str] = &[
    "annotated-types==0.7.0",
    "anyio==4.4.0",
    "click==8.1.7",
    "fastapi==0.111.0",
    "fastapi-cli==0.0.4",
    "h11==0.14.0",
    "httptools==0.6.1",
    "idna==3.7",
    "numpy==1.26.4",
    "pydantic==2.7.4",
    "pydantic-core==2.18.4",
    "python-dotenv==1.0.1",
    "pyyaml==6.0.1",
    "ruff==0.4.10",
    "sniffio==1.3.1",
    "sqlalchemy==2.0.31",
    "starlette==0.37.2",
    "typer==0.12.3",
    "typing-extensions==4.12.2",
    "uvicorn[standard]==0.30.1",
    "uvloop==0.19.0",
    "watchfiles==0.22.0",
    "websockets==12.0",
    "greenlet==3.0.3",
    "certifi==2024.7.4",
    "docutils==0.21.2",
];

fn key(kind: &str) -> String {
    format!("{kind} {}", WHEELS.join(" "))
}

fn with_no_deps(options: &[&'static str]) -> Vec<&'static str> {
    [&["--no-deps"], options, WHEELS].concat()
}

fn pip_environment() -> PathBuf {
    cached(&key("pip"), |root| pip(root, &[], &with_no_deps(&[])))
}

fn relocate(venv: &Venv, context: &Path) -> Relocated {
    relocate_to(venv, context, "/app/.venv", DistributionSelection::All)
}

fn relocate_to(venv: &Venv, context: &Path, prefix: &str, selection: DistributionSelection) -> Relocated {
    Relocation { selection, ..relocation(venv, context, prefix) }.run().unwrap()
}

fn relocation<'a>(venv: &'a Venv, context: &'a Path, prefix: &str) -> Relocation<'a> {
    Relocation {
        venv,
        prefix: image(prefix),
        interpreter: image(&python().display().to_string()),
        workdir: image("/app"),
        context,
        selection: DistributionSelection::All,
        activation: Activation::Include,
    }
}

/// Fails for every text of an entry that contains one of the paths.
fn assert_no_path_remains<'e>(entries: impl IntoIterator<Item = &'e Entry>, paths: &[&Path]) {
    let scanner = PathScanner::new(paths, &[]);
    for entry in entries {
        let mut scan = scanner.start();
        match &entry.kind {
            Kind::File(content) => scan.feed(&content.read().unwrap()),
            Kind::Symlink(target) => scan.feed(target.as_bytes()),
            _ => {}
        }
        assert_eq!(scan.finish(), None, "{}", entry.path);
    }
}

/// Returns snapshots by distribution, without pip and setuptools, which only pip's environments
/// have.
fn by_distribution(relocated: &Relocated) -> BTreeMap<String, BTreeMap<String, String>> {
    relocated
        .distributions
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "pip" | "setuptools"))
        .map(|(name, entries)| (name.clone(), snapshot(entries)))
        .collect()
}

#[test]
fn a_wheel_has_the_same_files_from_every_installer() {
    let nowhere = Path::new("/nonexistent");
    let pip_root = pip_environment();
    let first = by_distribution(&relocate(&Venv::open(&pip_root).unwrap(), nowhere));
    assert_eq!(first.len(), WHEELS.len());
    for (kind, venv_options, options) in [
        ("copy", &[][..], &["--link-mode", "copy"][..]),
        ("hardlink", &[], &["--link-mode", "hardlink"]),
        ("symlink", &[], &["--link-mode", "symlink"]),
        ("relocatable", &["--relocatable"], &[]),
        ("compiled", &[], &["--compile-bytecode"]),
    ] {
        let root = cached(&key(kind), |root| uv(root, venv_options, &with_no_deps(options)));
        let venv = Venv::open(&root).unwrap();
        let relocated = relocate(&venv, nowhere);
        assert_eq!(relocated.warnings, []);
        let other = by_distribution(&relocated);
        for (name, entries) in &first {
            assert_eq!(Some(entries), other.get(name), "{name} by pip, and by uv ({kind})");
        }
        assert_eq!(snapshot(&relocated.unowned).len(), 0, "{kind}");
        let environment = [
            snapshot(&relocated.environment),
            snapshot(&relocate(&Venv::open(&pip_root).unwrap(), nowhere).environment),
        ];
        assert_eq!(environment[0], environment[1], "{kind}");
    }
    // Installed by name or as a dependency, the files are equal.
    let by_name = cached("uv idna by name", |root| uv(root, &[], &["idna==3.7"]));
    let alone = by_distribution(&relocate(&Venv::open(&by_name).unwrap(), nowhere));
    assert_eq!(alone["idna"], first["idna"]);
}

#[test]
fn bytecode_is_separate_from_entries() {
    let venv = Venv::open(&pip_environment()).unwrap();
    let relocated = relocate(&venv, Path::new("/nonexistent"));
    assert!(relocated.entries().all(|entry| !entry.path.file_name().unwrap().contains(".pyc")));
    let sources = relocated.python_sources(relocated.distributions.values().flatten());
    let compiled = sources.iter().filter(|source| source.pyc.is_some()).count();
    assert!(sources.len() > 1000 && compiled * 100 > sources.len() * 95, "{compiled} of {}", sources.len());
    let one = sources
        .iter()
        .find(|source| source.path == image("/app/.venv/lib/python3.11/site-packages/uvicorn/main.py"));
    if venv.version.minor == 11 {
        let pyc = one.unwrap().pyc.as_ref().unwrap();
        assert!(pyc.path.ends_with("uvicorn/__pycache__/main.cpython-311.pyc"));
    }
}

/// Relocated files match Python's own reading of their RECORD, and run in another place.
#[test]
fn a_relocated_environment_runs_and_matches_its_records() {
    for (kind, root) in [
        ("pip", pip_environment()),
        ("relocatable", cached(&key("relocatable"), |root| uv(root, &["--relocatable"], &with_no_deps(&[])))),
        (
            "symlink",
            cached(&key("symlink"), |root| uv(root, &[], &with_no_deps(&["--link-mode", "symlink"]))),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().canonicalize().unwrap().join("moved");
        let venv = Venv::open(&root).unwrap();
        let relocated = relocate_to(
            &venv,
            Path::new("/nonexistent"),
            prefix.to_str().unwrap(),
            DistributionSelection::All,
        );
        materialise(Path::new("/"), relocated.entries());
        assert_no_path_remains(relocated.entries(), &[&root]);
        let check = "import sys, importlib.metadata as m, hashlib, base64\n\
             import numpy, fastapi, uvicorn, pydantic, sqlalchemy, yaml\n\
             assert sys.prefix == sys.argv[1], sys.prefix\n\
             for d in m.distributions(path=[p for p in sys.path if p.startswith(sys.prefix)]):\n\
             \x20 assert d.read_text('INSTALLER') == 'ipo-oci\\n', d.name\n\
             \x20 for f in d.files:\n\
             \x20   data = f.locate().read_bytes()\n\
             \x20   if f.name == 'RECORD' and f.parent.suffix == '.dist-info': continue\n\
             \x20   assert f.size == len(data), f\n\
             \x20   digest = base64.urlsafe_b64encode(hashlib.new(f.hash.mode, data).digest()).rstrip(b'=').decode()\n\
             \x20   assert f.hash.value == digest, f\n\
             print(numpy.__file__)";
        let said = run(Command::new(prefix.join("bin/python")).args(["-c", check]).arg(&prefix));
        assert!(Path::new(said.trim()).starts_with(&prefix), "{kind}: {said}");
        let version = run(Command::new(prefix.join("bin/uvicorn")).arg("--version"));
        assert!(version.starts_with("Running uvicorn 0.30.1"), "{kind}: {version}");
        assert!(run(Command::new(prefix.join("bin/ruff")).arg("--version")).contains("0.4.10"), "{kind}");
        assert!(run(Command::new(prefix.join("bin/rst2html")).arg("--version")).contains("0.21.2"), "{kind}");
        let activated = format!(
            ". {0}/bin/activate && command -v uvicorn && deactivate && ! command -v uvicorn",
            prefix.display()
        );
        let said = run(Command::new("sh").args(["-euc", &activated]).env("PATH", "/usr/bin:/bin"));
        assert_eq!(said.trim(), prefix.join("bin/uvicorn").display().to_string());
    }
}

#[test]
fn rewrites_trampolines_for_unusual_paths() {
    let folder = tempfile::tempdir().unwrap();
    let scripts = |root: &Path| {
        let relocated = relocate(&Venv::open(root).unwrap(), folder.path());
        let script =
            relocated.entries().find(|entry| entry.path == image("/app/.venv/bin/dotenv")).unwrap().clone();
        let Kind::File(content) = &script.kind else { panic!("{script:?}") };
        String::from_utf8(content.read().unwrap()).unwrap()
    };
    let long = folder.path().join("l".repeat(120)).join(".venv");
    let spaced = folder.path().join("a b").join(".venv");
    let mut texts = BTreeSet::new();
    for root in [&long, &spaced] {
        pip(root, &[], &["python-dotenv==1.0.1"]);
        assert!(fs_err::read_to_string(root.join("bin/dotenv")).unwrap().starts_with("#!/bin/sh"));
        texts.insert(scripts(root));
        uv(root, &["--clear"], &["python-dotenv==1.0.1"]);
        assert!(fs_err::read_to_string(root.join("bin/dotenv")).unwrap().starts_with("#!/bin/sh"));
        texts.insert(scripts(root));
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts.first().unwrap().starts_with("#!/app/.venv/bin/python\nimport sys\n\nfrom dotenv"),
        "{texts:?}"
    );
}

/// `setup.py install` and `setup.py develop` create an egg, a zipped egg, and a link to the source.
#[test]
fn eggs_and_develop_links_run() {
    let folder = tempfile::tempdir().unwrap();
    let context = folder.path().canonicalize().unwrap();
    let root = context.join(".venv");
    pip(&root, &[], &["--no-deps", "setuptools==75.8.0", "click==8.1.7", "six==1.16.0"]);
    for (name, command, options) in [
        ("whole", "install", "install_requires=['click'], zip_safe=False"),
        ("zipped", "install", "install_requires=['six', 'absent; extra == \"x\"'], zip_safe=True"),
        ("linked", "develop", "install_requires=['whole', 'zipped'], scripts=['linked_script.py']"),
    ] {
        let source = context.join(name);
        fs_err::create_dir_all(source.join(name)).unwrap();
        let module =
            format!("import importlib.metadata as m\n\ndef main():\n    print(m.version('{name}'))\n");
        fs_err::write(source.join(name).join("__init__.py"), module).unwrap();
        fs_err::write(source.join("linked_script.py"), "print(__file__)\n").unwrap();
        let setup = format!(
            "from setuptools import setup\nsetup(name='{name}', version='1.5', packages=['{name}'], {options}, \
             entry_points={{'console_scripts': ['{name} = {name}:main']}})\n"
        );
        fs_err::write(source.join("setup.py"), setup).unwrap();
        run(Command::new(root.join("bin/python"))
            .current_dir(&source)
            .args(["-W", "ignore", "setup.py", "-q", command]));
    }
    fs_err::write(context.join("requirements.txt"), "linked\nsetuptools\n").unwrap();
    let venv = Venv::open(&root).unwrap();
    let closure = DeclaredDependencies::read(&context, &DependencySelection::default())
        .unwrap()
        .closure(&venv)
        .unwrap();
    let names: BTreeSet<String> = closure.members.into_keys().collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), ["click", "linked", "setuptools", "six", "whole", "zipped"]);

    let moved = context.join("moved");
    let prefix = moved.join(".venv");
    let relocated = Relocation {
        workdir: image(moved.to_str().unwrap()),
        selection: DistributionSelection::Only(names),
        ..relocation(&venv, &context, prefix.to_str().unwrap())
    }
    .run()
    .unwrap();
    assert_eq!(relocated.warnings, []);
    materialise(Path::new("/"), relocated.entries());
    assert_no_path_remains(relocated.entries(), &[&root]);
    // The context contains the source, without its egg-info.
    run(Command::new("cp").arg("-r").arg(context.join("linked")).arg(&moved));
    fs_err::remove_dir_all(moved.join("linked/linked.egg-info")).unwrap();
    for name in ["whole", "zipped", "linked"] {
        assert_eq!(run(&mut Command::new(prefix.join("bin").join(name))).trim(), "1.5", "{name}");
    }
    let said = run(&mut Command::new(prefix.join("bin/linked_script.py")));
    assert_eq!(said.trim(), moved.join("linked/linked_script.py").display().to_string());
}

/// Scripts of wheels that are called `*.py` or are no entry points.
#[test]
fn relocated_scripts_with_an_extension_run() {
    let install = [
        "jmespath==1.0.1",
        "xlsxwriter==3.2.0",
        "xlrd==2.0.1",
        "pdfminer.six==20240706",
        "jsonpointer==3.0.0",
    ];
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().canonicalize().unwrap().join("moved");
    for (kind, make) in [("pip", pip as fn(&Path, &[&str], &[&str])), ("uv", uv)] {
        let root = cached(&format!("{kind} {}", install.join(" ")), |root| {
            make(root, &[], &[&["--no-deps"], &install[..]].concat());
        });
        let venv = Venv::open(&root).unwrap();
        let relocated = relocate_to(
            &venv,
            Path::new("/nonexistent"),
            prefix.to_str().unwrap(),
            DistributionSelection::All,
        );
        materialise(Path::new("/"), relocated.entries());
        let scripts = ["jp.py", "vba_extract.py", "runxlrd.py", "pdf2txt.py", "dumppdf.py", "jsonpointer"];
        for script in scripts {
            let text = fs_err::read_to_string(prefix.join("bin").join(script)).unwrap();
            assert!(text.starts_with(&format!("#!{}/bin/python\n", prefix.display())), "{kind} {script}");
        }
        let said = run(Command::new(prefix.join("bin/jp.py")).arg("--help"));
        assert!(said.contains("expression"), "{kind}: {said}");
        fs_err::remove_dir_all(&prefix).unwrap();
    }
}

/// Creates a project for `backend` with one package below `src`.
fn project(root: &Path, name: &str, requires: &str, backend: &str, more: &str) {
    let module = name.replace('-', "_");
    fs_err::create_dir_all(root.join("src").join(&module)).unwrap();
    fs_err::write(
        root.join("src").join(&module).join("__init__.py"),
        format!("def main(): print('{name}')\n"),
    )
    .unwrap();
    fs_err::write(
        root.join("pyproject.toml"),
        format!(
            "[build-system]\nrequires = ['{requires}']\nbuild-backend = '{backend}'\n[project]\nname = '{name}'\n\
             version = '1.0'\ndescription = 'x'\n[project.scripts]\n{name} = '{module}:main'\n{more}"
        ),
    )
    .unwrap();
}

const BACKENDS: &[(&str, &str, &str, &str)] = &[
    ("e-setuptools", "setuptools>=68", "setuptools.build_meta", ""),
    (
        "e-finder",
        "setuptools>=68",
        "setuptools.build_meta",
        "[tool.setuptools]\npackage-dir = {e_finder = 'src/e_finder'}\npackages = ['e_finder']\n",
    ),
    ("e-hatch", "hatchling", "hatchling.build", ""),
    ("e-uv", "uv_build", "uv_build", ""),
    ("e-poetry", "poetry-core>=2", "poetry.core.masonry.api", ""),
    ("e-flit", "flit_core>=3.4", "flit_core.buildapi", ""),
    ("e-pdm", "pdm-backend", "pdm.backend", ""),
];

/// Editable projects of every back end, inside and outside the context, installed by pip and by uv.
#[test]
fn relocated_editable_projects_run() {
    for installer in ["uv", "pip"] {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let context = base.join("host/my app");
        let venv_root = context.join(".venv");
        let mut options = Vec::new();
        for (index, (name, requires, backend, more)) in BACKENDS.iter().enumerate() {
            // Half of them are outside the context.
            let root = if index % 2 == 0 {
                context.join("packages").join(name)
            } else {
                base.join("host/else where").join(name)
            };
            project(&root, name, requires, backend, more);
            options.extend(["-e".to_owned(), root.display().to_string()]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        if installer == "uv" {
            uv(&venv_root, &[], &options);
        } else {
            pip(&venv_root, &[], &options);
        }

        let venv = Venv::open(&venv_root).unwrap();
        let out = base.join("out");
        let names: BTreeSet<String> = BACKENDS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let relocation = Relocation {
            venv: &venv,
            prefix: image(out.join(".venv").to_str().unwrap()),
            interpreter: image(python().to_str().unwrap()),
            workdir: image(out.to_str().unwrap()),
            context: &context,
            selection: DistributionSelection::Only(names),
            activation: Activation::Exclude,
        };
        let relocated = relocation.run().unwrap();
        assert_eq!(relocated.warnings, [], "{installer}");
        assert_no_path_remains(relocated.entries(), &[&base.join("host"), &context]);
        materialise(Path::new("/"), relocated.entries());
        for source in &relocated.sources {
            let entries = source.entries().unwrap();
            if source.place == SourcePlace::Context {
                assert!(source.host.starts_with(&context) && entries.is_empty());
                run(Command::new("mkdir").arg("-p").arg(format!("{}", source.image.parent().unwrap())));
                run(Command::new("cp").arg("-rT").arg(&source.host).arg(source.image.to_string()));
            } else {
                assert!(!entries.is_empty(), "{source:?}");
                materialise(Path::new("/"), &entries);
            }
        }
        assert_eq!(relocated.sources.len(), BACKENDS.len(), "{installer}: {:#?}", relocated.sources);
        // Removes the sources of this machine.
        fs_err::rename(base.join("host"), base.join("gone")).unwrap();
        for (name, ..) in BACKENDS {
            let said = run(&mut Command::new(out.join(".venv/bin").join(name)));
            assert_eq!(said.trim(), *name, "{installer}");
        }
    }
}

#[test]
fn includes_visible_distributions_of_the_base_interpreter() {
    // The base is a copy of a small prefix with one package, so the test does not install into the
    // real interpreter.
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().canonicalize().unwrap();
    let donor = base.join("donor");
    uv(&donor, &[], &["idna==3.7", "click==8.1.7", "h11==0.14.0"]);
    let name = format!(
        "python{}",
        run(Command::new("python3").args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])).trim()
    );
    let prefix = base.join("prefix");
    fs_err::create_dir_all(prefix.join("bin")).unwrap();
    fs_err::create_dir_all(prefix.join("lib").join(&name)).unwrap();
    fs_err::copy(python(), prefix.join("bin").join(&name)).unwrap();
    let packages = |root: &Path| root.join("lib").join(&name).join("site-packages");
    run(Command::new("cp").arg("-rT").arg(packages(&donor)).arg(packages(&prefix)));
    let venv_root = base.join("app/.venv");
    uv(&venv_root, &[], &["idna==3.6", "python-dotenv==1.0.1"]);
    let config = fs_err::read_to_string(venv_root.join("pyvenv.cfg")).unwrap();
    let config = config.replace("site-packages = false", "site-packages = true");
    let config: String = config
        .lines()
        .map(|line| {
            if line.starts_with("home") {
                format!("home = {}\n", prefix.join("bin").display())
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    fs_err::write(venv_root.join("pyvenv.cfg"), config).unwrap();
    fs_err::write(base.join("app/requirements.txt"), "python-dotenv[cli]\nidna\n").unwrap();

    let venv = Venv::open(&venv_root).unwrap();
    assert_eq!(&*venv.distribution("idna").unwrap().version, "3.6", "the environment wins");
    let closure = DeclaredDependencies::read(&base.join("app"), &DependencySelection::default())
        .unwrap()
        .closure(&venv)
        .unwrap();
    let names: Vec<_> = closure.members.keys().map(String::as_str).collect();
    assert_eq!(names, ["click", "idna", "python-dotenv"]);
    let selection = DistributionSelection::Only(closure.members.into_keys().collect());
    let relocated = relocate_to(&venv, &base.join("app"), "/app/.venv", selection);
    let paths = snapshot(relocated.entries());
    assert!(paths.contains_key(&format!("/app/.venv/lib/{name}/site-packages/click/core.py")));
    assert!(!paths.keys().any(|path| path.contains("h11")));
}

#[test]
fn computes_the_closure_of_real_metadata() {
    let venv = Venv::open(&pip_environment()).unwrap();
    let context = tempfile::tempdir().unwrap();
    fs_err::write(
        context.path().join("pyproject.toml"),
        "[project]\nname = 'app'\nversion = '1'\ndependencies = ['uvicorn[standard]', 'starlette']\n",
    )
    .unwrap();
    let closure = DeclaredDependencies::read(context.path(), &DependencySelection::default())
        .unwrap()
        .closure(&venv)
        .unwrap();
    let names: Vec<_> = closure.members.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "anyio",
            "click",
            "h11",
            "httptools",
            "idna",
            "python-dotenv",
            "pyyaml",
            "sniffio",
            "starlette",
            "uvicorn",
            "uvloop",
            "watchfiles",
            "websockets"
        ]
    );
    assert_eq!(closure.warnings, []);
    assert_eq!(venv.foreign_wheels(&Platform::of_this_program()).unwrap(), []);
}

#[test]
fn provisions_a_missing_environment() {
    let path = std::env::var_os("PATH").unwrap();
    // A PATH with Python only, for pip.
    let tools = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(python(), tools.path().join("python3")).unwrap();
    let only_python = std::env::join_paths([tools.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    for (tool, path) in [("uv", path), ("pip", only_python)] {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("app");
        fs_err::create_dir(&context).unwrap();
        fs_err::write(
            context.join("pyproject.toml"),
            "[project]\nname = 'app'\nversion = '1'\nrequires-python = '>=3.9'\ndependencies = ['idna==3.7']\n\
             [dependency-groups]\ndev = ['h11']\n",
        )
        .unwrap();
        if tool == "uv" {
            run(Command::new("uv").args(["lock", "-q"]).current_dir(&context));
        }
        let cache = folder.path().join("cache");
        let provision = Provision { path: Some(&path), ..Provision::new(&context, &cache, &Silent) };
        let root = provision.run().unwrap();
        assert_eq!(provision.run().unwrap(), root, "{tool}");
        let venv = Venv::open(&root).unwrap();
        assert_eq!(&*venv.distribution("idna").unwrap().version, "3.7", "{tool}");
        assert!(venv.distribution("h11").is_none(), "{tool}");
        assert_eq!(venv.distribution("idna").unwrap().installer.as_deref(), Some(tool));
        let closure = DeclaredDependencies::read(&context, &DependencySelection::default())
            .unwrap()
            .closure(&venv)
            .unwrap();
        assert_eq!(closure.members.len(), 1, "{tool}");
    }
}
