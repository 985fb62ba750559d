//! Tests of relocation, piece by piece. Real environments are in `tests/it/venv.rs`.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::error::Advice;
use crate::python::testing::{FakeVenv, SITE};

fn image(path: &str) -> ImagePath {
    ImagePath::new(path).unwrap()
}

fn relocate_with(fake: &FakeVenv, change: impl FnOnce(&mut Relocation<'_>)) -> Result<Relocated, VenvError> {
    let venv = fake.open();
    let context = fake.context();
    let mut relocation = Relocation {
        venv: &venv,
        prefix: image("/app/.venv"),
        interpreter: image("/usr/local/bin/python3.11"),
        workdir: image("/app"),
        context: &context,
        selection: DistributionSelection::All,
        activation: Activation::Exclude,
    };
    change(&mut relocation);
    relocation.run()
}

fn relocate(fake: &FakeVenv) -> Relocated {
    relocate_with(fake, |_| {}).unwrap()
}

/// Returns the text of a file, or the target of a link, below the environment.
fn text(relocated: &Relocated, place: &str) -> Option<String> {
    let path = image("/app/.venv").join(place).unwrap();
    let entry = relocated.entries().find(|entry| entry.path == path)?;
    Some(match &entry.kind {
        Kind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
        Kind::Symlink(target) => format!("-> {target}"),
        other => format!("{other:?}"),
    })
}

fn in_site(relocated: &Relocated, path: &str) -> Option<String> {
    text(relocated, &format!("{SITE}/{path}"))
}

#[test]
fn the_environment_itself_is_rewritten() {
    let fake = FakeVenv::new();
    for place in [
        ".lock",
        ".gitignore",
        "CACHEDIR.TAG",
        "bin/activate.fish",
        "bin/Activate.ps1",
        "bin/activate_this.py",
    ] {
        fake.write(place, "");
    }
    fake.write(&format!("{SITE}/_virtualenv.pth"), "import _virtualenv");
    let relocated = relocate(&fake);
    let paths: Vec<String> = relocated.entries().map(|entry| entry.path.to_string()).collect();
    let expected = ["pyvenv.cfg", "bin/python", "bin/python3", "bin/python3.11", "lib64"];
    assert_eq!(paths, expected.map(|place| format!("/app/.venv/{place}")));
    assert_eq!(
        text(&relocated, "pyvenv.cfg").unwrap(),
        "home = /usr/local/bin\ninclude-system-site-packages = false\nversion = 3.11.7\n"
    );
    assert_eq!(text(&relocated, "bin/python").unwrap(), "-> /usr/local/bin/python3.11");
    assert_eq!(text(&relocated, "bin/python3.11").unwrap(), "-> python");
    let kept = relocate_with(&fake, |relocation| relocation.activation = Activation::Include).unwrap();
    assert!(text(&kept, "bin/activate").unwrap().contains("VIRTUAL_ENV='/app/.venv'"));
}

#[test]
fn a_distribution_is_independent_of_the_installer() {
    let entries = |extra: &[(&str, &str)]| {
        let mut fake = FakeVenv::new();
        let points = ("x-1.dist-info/entry_points.txt", "[console_scripts]\nrun = x.main:main\n");
        let mut files = vec![("x/__init__.py", "1"), points];
        files.extend_from_slice(extra);
        fake.install("x", "1", &[], &files);
        let relocated = relocate(&fake);
        let of = |entry: &Entry| {
            let Kind::File(content) = &entry.kind else { panic!("{entry:?}") };
            (entry.path.to_string(), entry.mode, content.read().unwrap())
        };
        relocated.distributions["x"].iter().map(of).collect::<Vec<_>>()
    };
    let plain = entries(&[]);
    let other = entries(&[
        ("x-1.dist-info/REQUESTED", ""),
        ("x-1.dist-info/uv_cache.json", "{\"timestamp\":1}"),
        ("x-1.dist-info/direct_url.json", "{\"url\":\"file:///home/me/x.whl\",\"archive_info\":{}}"),
        ("../../../bin/run", "#!/home/me/bin/python\n# mine"),
        ("x/__pycache__/__init__.cpython-311.pyc", "junk"),
    ]);
    assert_eq!(plain, other);
    let record = plain.iter().find(|(path, ..)| path.ends_with("RECORD")).unwrap();
    let record = String::from_utf8(record.2.clone()).unwrap();
    let rows: Vec<&str> = record.lines().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(
        rows,
        [
            "../../../bin/run",
            "x-1.dist-info/INSTALLER",
            "x-1.dist-info/METADATA",
            "x-1.dist-info/RECORD",
            "x-1.dist-info/entry_points.txt",
            "x/__init__.py"
        ]
    );
    assert!(record.contains("x-1.dist-info/RECORD,,\n"));
    let script = &plain[0];
    assert_eq!((script.0.as_str(), script.1), ("/app/.venv/bin/run", 0o755));
    assert!(script.2.starts_with(b"#!/app/.venv/bin/python\nimport sys\n"));
}

#[test]
fn scripts_of_any_name_are_run_by_the_images_python() {
    let mut fake = FakeVenv::new();
    let head = format!("#!{}/bin/python\n", fake.root().display());
    let scripts: Vec<(String, String)> = ["jp.py", "deploy.sh", "x.y", "tool"]
        .iter()
        .map(|name| (format!("../../../bin/{name}"), format!("{head}print(1)\n")))
        .collect();
    let files: Vec<(&str, &str)> = scripts.iter().map(|(place, text)| (&**place, &**text)).collect();
    fake.install("x", "1", &[], &[&files[..], &[("x/bin/jp.py", "")]].concat());
    fake.write("bin/unowned.py", &head);
    let relocated = relocate(&fake);
    for (name, body) in [
        ("jp.py", "print(1)\n"),
        ("deploy.sh", "print(1)\n"),
        ("x.y", "print(1)\n"),
        ("tool", "print(1)\n"),
        ("unowned.py", ""),
    ] {
        let expected = format!("#!/app/.venv/bin/python\n{body}");
        assert_eq!(text(&relocated, &format!("bin/{name}")).unwrap(), expected, "{name}");
    }
    // Scripts are never imported, and so need no bytecode.
    let sources = relocated.python_sources(relocated.entries());
    let modules: Vec<String> = sources.iter().map(|source| source.path.to_string()).collect();
    assert_eq!(modules, [format!("/app/.venv/{SITE}/x/bin/jp.py")]);
}

#[test]
fn overwritten_files_are_reported_or_rejected() {
    let overwritten = |file: &str, more: &[(&str, &str)]| {
        let mut fake = FakeVenv::new();
        fake.install("plain", "1", &[], &[(file, "plain"), ("x/same.py", "same")]);
        fake.install("other", "2", &[], &[&[(file, "other"), ("x/same.py", "same")][..], more].concat());
        let select = |name: &str| {
            let selection = DistributionSelection::Only([name.to_owned()].into());
            relocate_with(&fake, |relocation| relocation.selection = selection)
        };
        // The distribution installed last is complete.
        assert_eq!(select("other").unwrap().warnings, []);
        select("plain")
    };
    let module = format!("{SITE}/x/m.abi3.so");
    let error = overwritten("x/m.abi3.so", &[("other.libs/l.so", "")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot include plain 1: other 2, which is left out, overwrote {module}")
    );
    assert!(error.help().unwrap().starts_with("declare other in place of plain"));
    // Modules without further needs may still work.
    for (file, more) in [("x/m.abi3.so", &[][..]), ("x/a.py", &[("other.libs/l.so", "")])] {
        let warnings = overwritten(file, more).unwrap().warnings;
        assert_eq!(warnings[0].subject, "plain 1");
        assert_eq!(warnings[0].message, format!("other 2, which is left out, overwrote {SITE}/{file}"));
    }
}

#[test]
fn modes_are_one_of_two() {
    let mut fake = FakeVenv::new();
    fake.install("x", "1", &[], &[("x/a", ""), ("x/b", ""), ("../../../bin/tool", "\x7fELF")]);
    for (place, mode) in [("x/a", 0o640), ("x/b", 0o700), ("../../../bin/tool", 0o600)] {
        let path = fake.root().join(SITE).join(place);
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let relocated = relocate(&fake);
    let mode = |place: &str| {
        let path = image("/app/.venv").join(place).unwrap();
        relocated.entries().find(|entry| entry.path == path).unwrap().mode
    };
    assert_eq!(mode(&format!("{SITE}/x/a")), 0o644);
    assert_eq!(mode(&format!("{SITE}/x/b")), 0o755);
    assert_eq!(mode("bin/tool"), 0o755);
}

#[test]
fn includes_selected_distributions_and_separates_unowned_files() {
    let mut fake = FakeVenv::new();
    fake.install("x", "1", &[], &[("x.py", "")]);
    fake.install(
        "y",
        "1",
        &[],
        &[("y.py", ""), ("y-1.dist-info/entry_points.txt", "[console_scripts]\ny=y:y\n")],
    );
    fake.write("bin/y", "#!/x/python\n");
    fake.write("bin/mine", "#!/x/python3\nprint()\n");
    fake.write(&format!("{SITE}/stray.py"), "");
    fake.write(&format!("{SITE}/__pycache__/stray.cpython-311.pyc"), "");
    fake.write(&format!("{SITE}/__pycache__/y.cpython-311.pyc"), "");
    fake.write(&format!("{SITE}/sourceless.pyc"), "");
    let only = DistributionSelection::Only(["x".to_owned()].into());
    let relocated = relocate_with(&fake, |relocation| relocation.selection = only).unwrap();
    assert_eq!(relocated.distributions.keys().collect::<Vec<_>>(), ["x"]);
    let unowned: Vec<String> = relocated.unowned.iter().map(|entry| entry.path.to_string()).collect();
    let site = format!("/app/.venv/{SITE}");
    assert_eq!(
        unowned,
        ["/app/.venv/bin/mine".to_owned(), format!("{site}/sourceless.pyc"), format!("{site}/stray.py")]
    );
    assert_eq!(text(&relocated, "bin/mine").unwrap(), "#!/app/.venv/bin/python\nprint()\n");
    let bytecode: Vec<String> = relocated.bytecode.keys().map(ToString::to_string).collect();
    assert_eq!(bytecode, [format!("{site}/stray.py")]);
    let missing = DistributionSelection::Only(["z".to_owned()].into());
    let error = relocate_with(&fake, |relocation| relocation.selection = missing).unwrap_err();
    assert_eq!(error.to_string(), "distribution not found in the virtual environment: z");
}

#[test]
fn editable_source_in_the_context_and_elsewhere() {
    let mut fake = FakeVenv::new();
    let (inside, outside) = (fake.context().join("lib"), fake.base().join("other dir"));
    for directory in [&inside, &outside] {
        fs_err::create_dir_all(directory.join("src")).unwrap();
        fs_err::write(directory.join("src/code.py"), "").unwrap();
    }
    let pth = format!("{}\n", inside.join("src").display());
    let url = |path: &Path| {
        let escaped = path.display().to_string().replace(' ', "%20");
        format!("{{\"url\":\"file://{escaped}\",\"dir_info\":{{\"editable\":true}}}}")
    };
    let inside_url = url(&inside);
    fake.install(
        "x",
        "1",
        &[],
        &[("_editable_impl_x.pth", &pth), ("x-1.dist-info/direct_url.json", &inside_url)],
    );
    let finder = format!("MAPPING: dict[str, str] = {{'y': '{}'}}\n", outside.join("src").display());
    let outside_url = url(&outside);
    fake.install(
        "y",
        "1",
        &[],
        &[
            ("__editable__.y-1.pth", "import __editable___y_1_finder"),
            ("__editable___y_1_finder.py", &finder),
            ("y-1.dist-info/direct_url.json", &outside_url),
        ],
    );
    let relocated = relocate(&fake);
    assert_eq!(relocated.warnings, []);
    assert_eq!(in_site(&relocated, "_editable_impl_x.pth").unwrap(), "/app/lib/src\n");
    assert_eq!(
        in_site(&relocated, "__editable___y_1_finder.py").unwrap(),
        "MAPPING: dict[str, str] = {'y': '/app/.venv/src/y/src'}\n"
    );
    assert!(
        in_site(&relocated, "y-1.dist-info/direct_url.json").unwrap().contains("\"file:///app/.venv/src/y\"")
    );
    let record = in_site(&relocated, "y-1.dist-info/RECORD").unwrap();
    let rewritten = in_site(&relocated, "__editable___y_1_finder.py").unwrap();
    let hash = crate::python::metadata::record::hash_column(&crate::digest::Digest::of(rewritten.as_bytes()));
    assert!(record.contains(&format!("__editable___y_1_finder.py,{hash},{}", rewritten.len())), "{record}");
    let sources: Vec<_> = relocated
        .sources
        .iter()
        .map(|source| (&*source.name, source.image.to_string(), source.place))
        .collect();
    assert_eq!(
        sources,
        [
            ("x", "/app/lib/src".to_owned(), SourcePlace::Context),
            ("y", "/app/.venv/src/y/src".to_owned(), SourcePlace::Elsewhere)
        ]
    );
    let entries = relocated.sources[1].entries().unwrap();
    assert_eq!(entries[0].path, image("/app/.venv/src/y/src/code.py"));
}

/// `setup.py develop` names the source twice: in the `.egg-link`, and in a file recorded by no
/// distribution.
#[test]
fn source_that_setup_py_develop_names_twice_is_taken_once() {
    let fake = FakeVenv::new();
    let source = fake.base().join("libs/x/src");
    for (path, text) in [("x/__init__.py", ""), ("x.egg-info/PKG-INFO", "Name: x\nVersion: 1\n")] {
        fs_err::create_dir_all(source.join(path).parent().unwrap()).unwrap();
        fs_err::write(source.join(path), text).unwrap();
    }
    fake.write(&format!("{SITE}/x.egg-link"), &format!("{}\n../", source.display()));
    fake.write(&format!("{SITE}/easy-install.pth"), &format!("{}\n", source.display()));
    let relocated = relocate(&fake);
    assert_eq!(in_site(&relocated, "easy-install.pth").unwrap(), "/app/.venv/src/x\n");
    let collected = EditableEntries::of(&relocated.sources).unwrap();
    let paths: Vec<String> = collected.entries.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["/app/.venv/src/x/x/__init__.py", "/app/.venv/src/x/x.egg-info/PKG-INFO"]);
}

/// `editable_mode=strict` of setuptools: a tree of links to the files of the source, below `build`.
#[test]
fn links_of_a_strict_editable_install_become_the_files() {
    let mut fake = FakeVenv::new();
    let project = fake.base().join("libs/x");
    let tree = project.join("build/__editable__.x-1-py3-none-any");
    for directory in [project.join("src/x"), tree.join("x")] {
        fs_err::create_dir_all(directory).unwrap();
    }
    fs_err::write(project.join("src/x/__init__.py"), "X = 1").unwrap();
    symlink(project.join("src/x/__init__.py"), tree.join("x/__init__.py")).unwrap();
    let url = format!("{{\"url\":\"file://{}\",\"dir_info\":{{\"editable\":true}}}}", project.display());
    let pth = format!("{}\n", tree.display());
    fake.install("x", "1", &[], &[("__editable__.x-1.pth", &pth), ("x-1.dist-info/direct_url.json", &url)]);
    let collected = EditableEntries::of(&relocate(&fake).sources).unwrap();
    assert_eq!(collected.warnings, []);
    let [module] = &collected.entries[..] else { panic!("{:?}", collected.entries) };
    let Kind::File(content) = &module.kind else { panic!("{module:?}") };
    assert_eq!(content.read().unwrap(), b"X = 1");
    assert!(module.path.as_str().ends_with("/x/__init__.py"));
}

#[test]
fn a_checkout_in_the_environment_is_source() {
    let mut fake = FakeVenv::new();
    fake.write("src/x/x.py", "");
    fake.write("src/x/.git/config", "");
    let root = fake.root().join("src/x");
    let pth = format!("{}\n", root.display());
    let url = format!("{{\"url\":\"file://{}\",\"dir_info\":{{\"editable\":true}}}}", root.display());
    fake.install("x", "1", &[], &[("x.pth", &pth), ("x-1.dist-info/direct_url.json", &url)]);
    let relocated = relocate(&fake);
    assert_eq!(in_site(&relocated, "x.pth").unwrap(), "/app/.venv/src/x\n");
    assert!(relocated.unowned.is_empty());
    // A path inside the environment needs no source of its own unless excluded from the entries.
    let source = relocated.sources.first().expect("the checkout is a source");
    let paths: Vec<String> = source.entries().unwrap().iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["/app/.venv/src/x/x.py"]);
}

#[test]
fn a_linked_package_is_linked_in_the_image() {
    let fake = FakeVenv::new();
    let package = fake.context().join("pkg");
    fs_err::create_dir_all(&package).unwrap();
    symlink(&package, fake.root().join(SITE).join("pkg")).unwrap();
    let relocated = relocate(&fake);
    assert_eq!(in_site(&relocated, "pkg").unwrap(), "-> /app/pkg");
    assert_eq!(relocated.sources[0].place, SourcePlace::Context);
}

#[test]
fn rejects_editable_installs_that_build_on_import() {
    for (module, backend) in
        [("_x_editable_loader.py", "meson-python"), ("_x_editable.py", "scikit-build-core")]
    {
        let mut fake = FakeVenv::new();
        let url =
            format!("{{\"url\":\"file://{}\",\"dir_info\":{{\"editable\":true}}}}", fake.context().display());
        fake.install("x", "1", &[], &[(module, ""), ("x-1.dist-info/direct_url.json", &url)]);
        let error = relocate_with(&fake, |_| {}).unwrap_err();
        assert!(error.to_string().contains(backend), "{error}");
        assert!(error.help().unwrap().contains("--no-editable"));
    }
}

#[test]
fn warns_of_unmapped_paths_by_file() {
    let fake = FakeVenv::new();
    fake.write(&format!("{SITE}/mine.pth"), "/somewhere/else\nimport x\n");
    let relocated = relocate(&fake);
    assert_eq!(in_site(&relocated, "mine.pth").unwrap(), "import x\n");
    assert!(relocated.warnings[0].subject.ends_with("mine.pth"));
    assert!(relocated.warnings[0].message.contains("/somewhere/else"));
}

#[test]
fn a_file_that_was_changed_after_installing_is_recorded_as_it_is() {
    let mut fake = FakeVenv::new();
    fake.install("x", "1", &[], &[("x.py", "old")]);
    fake.write(&format!("{SITE}/x.py"), "newer");
    let relocated = relocate(&fake);
    assert!(relocated.warnings[0].message.contains("changed after x 1 was installed"));
    let hash = crate::python::metadata::record::hash_column(&crate::digest::Digest::of(b"newer"));
    assert!(in_site(&relocated, "x-1.dist-info/RECORD").unwrap().contains(&format!("x.py,{hash},5")));
}

#[test]
fn a_file_of_two_distributions_has_one_entry() {
    let mut fake = FakeVenv::new();
    let points = |name: &str| format!("[console_scripts]\nrun = {name}:main\n");
    fake.install(
        "a",
        "1",
        &[],
        &[("shared/__init__.py", "a"), ("a-1.dist-info/entry_points.txt", &points("a"))],
    );
    fake.install(
        "b",
        "1",
        &[],
        &[("shared/__init__.py", "bb"), ("b-1.dist-info/entry_points.txt", &points("b"))],
    );
    let relocated = relocate(&fake);
    // The file on disk is b's, installed last.
    let path = image(&format!("/app/.venv/{SITE}/shared/__init__.py"));
    let holders: Vec<&str> = relocated
        .distributions
        .iter()
        .filter(|(_, entries)| entries.iter().any(|entry| entry.path == path))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(holders, ["b"]);
    assert!(text(&relocated, "bin/run").unwrap().contains("from a import main"));
}

#[test]
fn rejects_prefixes_that_scripts_cannot_name() {
    let fake = FakeVenv::new();
    for prefix in ["/my app/.venv".to_owned(), format!("/{}", "long/".repeat(30))] {
        let error = relocate_with(&fake, |relocation| relocation.prefix = image(&prefix)).unwrap_err();
        assert!(matches!(error, VenvError::Prefix { .. }), "{error}");
    }
}

#[test]
fn a_table_of_scikit_build_core_points_into_the_image() {
    let mut fake = FakeVenv::new();
    let source = fake.context().join("src/svc");
    fs_err::create_dir_all(&source).unwrap();
    let table = format!("install({{'svc': '{}/__init__.py'}}, {{}})\n", source.display());
    let url =
        format!("{{\"url\":\"file://{}\",\"dir_info\":{{\"editable\":true}}}}", fake.context().display());
    fake.install(
        "svc",
        "1",
        &[],
        &[
            ("_editable_skbc_svc.pth", "import _editable_skbc_svc"),
            ("_editable_skbc_svc.py", &table),
            ("svc-1.dist-info/direct_url.json", &url),
        ],
    );
    let relocated = relocate(&fake);
    assert_eq!(
        in_site(&relocated, "_editable_skbc_svc.py").unwrap(),
        "install({'svc': '/app/src/svc/__init__.py'}, {})\n"
    );
}
