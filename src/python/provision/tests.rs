use super::*;
use crate::error::Advice;
use crate::progress::{Silent, WarningCollector};

/// Makes a folder with `bin`, `app` and `cache`, and tools that record their arguments and
/// create the environment's directory.
fn folder(tools: &[&str], files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["bin", "app"] {
        fs_err::create_dir(folder.path().join(name)).unwrap();
    }
    let script = format!(
        "#!/bin/sh\n\
         printf '%s %s\\n' \"${{0##*/}}\" \"$*\" >> '{base}/calls'\n\
         for last; do :; done\n\
         case \"$last\" in *.txt) if /bin/grep -q fail \"$last\"; then echo one; echo two >&2; exit 3; fi;; esac\n\
         if [ \"$last\" = . ] && [ -e broken ]; then echo 'ValueError: no package'; echo end >&2; exit 3; fi\n\
         if [ \"$*\" = 'sync --frozen --no-dev --color never' ] && [ -e broken ]; then echo 'ValueError: no package'; exit 3; fi\n\
         case \"$*\" in *' .'|'sync --frozen --no-dev --color never') if [ -e unversioned ] && [ -z \"$PBR_VERSION\" ]; then echo 'LookupError: setuptools-scm was unable to detect version for x'; exit 3; fi;; esac\n\
         case \"$*\" in\n\
         'sync '*) last=$UV_PROJECT_ENVIRONMENT;;\n\
         'venv '*|'-m venv '*) ;;\n\
         *) exit 0;;\n\
         esac\n\
         /bin/mkdir -p \"$last/bin\"\n\
         echo > \"$last/pyvenv.cfg\"\n\
         /bin/cp \"$0\" \"$last/bin/python\"\n",
        base = folder.path().display()
    );
    for tool in tools {
        let path = folder.path().join("bin").join(tool);
        // Another test's child may inherit a file that is open for writing, which execve(2) refuses
        // (ETXTBSY); cp(1) has none in common with this process.
        let draft = path.with_extension("draft");
        fs_err::write(&draft, &script).unwrap();
        fs_err::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new("/bin/cp").arg("-p").arg(&draft).arg(&path).status().unwrap().success());
        fs_err::remove_file(draft).unwrap();
    }
    for (name, text) in files {
        fs_err::write(folder.path().join("app").join(name), text).unwrap();
    }
    folder
}

fn run(folder: &Path, progress: &dyn Progress) -> Result<PathBuf, ProvisionError> {
    run_with(folder, &[], progress)
}

fn run_with(folder: &Path, extras: &[String], progress: &dyn Progress) -> Result<PathBuf, ProvisionError> {
    let path = folder.join("bin");
    let (context, cache) = (folder.join("app"), folder.join("cache"));
    let provision = Provision::new(&context, &cache, progress);
    let selection = DependencySelection { extras: extras.to_vec(), ..DependencySelection::default() };
    Provision { selection: &selection, path: Some(path.as_os_str()), ..provision }.run()
}

/// Returns the recorded install calls, without the environment's path.
fn calls(folder: &Path, root: &Path) -> Vec<String> {
    let calls = fs_err::read_to_string(folder.join("calls")).unwrap_or_default();
    calls
        .lines()
        .filter(|line| !line.contains("python find") && !line.contains("-I -c"))
        .map(|line| line.replace(&root.display().to_string(), "ROOT"))
        .collect()
}

const PYPROJECT: (&str, &str) =
    ("pyproject.toml", "[project]\nname='x'\nversion='1'\ndependencies=['click>=8']\n");

#[test]
fn runs_the_commands_of_each_tool() {
    for (tools, files, expected) in [
        (
            &["uv", "python3"][..],
            &[("uv.lock", ""), ("requirements.txt", "a"), PYPROJECT][..],
            &["uv sync --frozen --no-dev --color never"][..],
        ),
        (
            &["uv"],
            &[("requirements.txt", "a"), PYPROJECT],
            &[
                "uv venv --color never ROOT",
                "uv pip install --color never --python ROOT/bin/python -r requirements.txt",
                "uv pip install --color never --python ROOT/bin/python -r pyproject.toml",
            ],
        ),
        (
            &["uv"],
            &[PYPROJECT],
            &[
                "uv venv --color never ROOT",
                "uv pip install --color never --python ROOT/bin/python -r pyproject.toml",
            ],
        ),
        (
            &["python3"],
            &[("requirements.txt", "a")],
            &[
                "python3 -m venv ROOT",
                "python -m pip install --disable-pip-version-check --no-input --no-color -r requirements.txt",
            ],
        ),
        (
            &["python3"],
            &[PYPROJECT],
            &[
                "python3 -m venv ROOT",
                "python -m pip install --disable-pip-version-check --no-input --no-color -r ROOT.txt",
            ],
        ),
        (
            &["python3"],
            &[("pyproject.toml", "[build-system]\nrequires=[]\n[project]\nname='x'\nversion='1'")],
            &[
                "python3 -m venv ROOT",
                "python -m pip install --disable-pip-version-check --no-input --no-color -e .",
            ],
        ),
    ] {
        let folder = folder(tools, files);
        let root = run(folder.path(), &Silent).unwrap();
        assert_eq!(calls(folder.path(), &root), expected);
    }
}

#[test]
fn builds_a_project_without_its_repository_with_an_assumed_version() {
    let static_dependencies =
        "[build-system]\nrequires=[]\n[project]\nname='x'\ndynamic=['version']\ndependencies=['click>=8']";
    let dynamic_dependencies =
        "[build-system]\nrequires=[]\n[project]\nname='x'\ndynamic=['version', 'dependencies']";
    for (files, last) in [
        (&[("pyproject.toml", static_dependencies)][..], "--no-deps -e ."),
        (&[("pyproject.toml", dynamic_dependencies)], "python -e ."),
        (
            &[("pyproject.toml", dynamic_dependencies), ("uv.lock", "")],
            "sync --frozen --no-dev --color never",
        ),
        (&[("setup.py", "")], "python -e ."),
    ] {
        let folder = folder(&["uv"], &[&[("unversioned", "")], files].concat());
        let progress = WarningCollector::default();
        let root = run(folder.path(), &progress).unwrap();
        let calls = calls(folder.path(), &root);
        assert!(calls.last().unwrap().ends_with(last), "{calls:?}");
        let message = &progress.warnings()[0].message;
        assert!(message.contains("0.0.0 is assumed (LookupError: "), "{message}");
    }
}

#[test]
fn builds_a_project_again_whose_written_version_is_gone() {
    let text = "[build-system]\nrequires=[]\n[project]\nname='x'\ndynamic=['version']\n[tool.setuptools_scm]\nversion_file='v.py'";
    let folder = folder(&["uv"], &[("pyproject.toml", text), ("v.py", "")]);
    let root = run(folder.path(), &Silent).unwrap();
    let made = calls(folder.path(), &root).len();
    run(folder.path(), &Silent).unwrap();
    assert_eq!(calls(folder.path(), &root).len(), made, "reused");
    fs_err::remove_file(folder.path().join("app/v.py")).unwrap();
    run(folder.path(), &Silent).unwrap();
    assert_eq!(calls(folder.path(), &root).len(), 2 * made, "made again");
}

#[test]
fn skips_a_project_that_cannot_be_built_with_a_reason() {
    let broken = ("broken", "");
    let built = "[build-system]\nrequires=[]\n[project]\nname='x'\nversion='1'\ndependencies=['click>=8']";
    let poetry =
        "[build-system]\nrequires=[]\n[tool.poetry]\nname='x'\n[tool.poetry.dependencies]\nclick='^8'";
    let unnamed = "[build-system]\nrequires=[]\n[project]\nname='x'\nversion=''\ndependencies=['click>=8']";
    for (tool, file, text, last) in [
        ("uv", "pyproject.toml", built, "-r pyproject.toml"),
        ("uv", "pyproject.toml", unnamed, "-r ROOT.txt"),
        ("uv", "pyproject.toml", poetry, "-r ROOT.poetry/pyproject.toml"),
        ("python3", "pyproject.toml", built, "-r ROOT.txt"),
        (
            "python3",
            "pyproject.toml",
            poetry,
            "uninstall --disable-pip-version-check --yes ipo-oci-dependencies",
        ),
        ("uv", "uv.lock", "", "uv sync --frozen --no-dev --color never --no-install-project"),
    ] {
        let folder = folder(&[tool], &[broken, (file, text)]);
        let progress = WarningCollector::default();
        let root = run(folder.path(), &progress).unwrap();
        let calls = calls(folder.path(), &root);
        assert!(calls.last().unwrap().ends_with(last), "{calls:?}");
        let message = |progress: &WarningCollector| progress.warnings()[0].message.clone();
        let shown = message(&progress);
        assert!(shown.contains("(ValueError: no package)"), "{shown}");
        // The first environment is unchanged.
        let again = WarningCollector::default();
        assert_eq!(run(folder.path(), &again).unwrap(), root);
        assert_eq!(message(&again), shown);
        let left = fs_err::read_dir(root.parent().unwrap()).unwrap().count();
        assert_eq!(left, 4, "the environment, its lock, its mark and the reason");
    }
}

#[test]
fn refuses_failing_and_unknown_dependencies() {
    for (files, ending) in [
        (
            &[("pyproject.toml", "[build-system]\nrequires=[]\n[project]\nname='x'\ndependencies=['fail']")]
                [..],
            "two",
        ),
        (
            &[(
                "pyproject.toml",
                "[build-system]\nrequires=[]\n[project]\nname='x'\ndynamic=['dependencies']",
            )],
            "end",
        ),
    ] {
        let folder = folder(&["python3"], files);
        fs_err::write(folder.path().join("app/broken"), "").unwrap();
        let error = run(folder.path(), &Silent).unwrap_err().to_string();
        assert!(error.ends_with(ending), "{error}");
    }
}

#[test]
fn finds_the_line_with_the_cause() {
    for (lines, cause) in [
        (
            &["error: Failed to build `x`", "    ValueError: no files", "", "hint: Build failures"][..],
            "ValueError: no files",
        ),
        (
            &["error: Failed to build `x`", "  cause: Expected a Python module at: src/x", ""],
            "cause: Expected a Python module at: src/x",
        ),
        (
            &[
                "  error: Multiple top-level packages",
                "error: subprocess-exited-with-error",
                "note: see above",
            ],
            "error: Multiple top-level packages",
        ),
        (&["something", "│ else", ""], "else"),
        (&[], ""),
    ] {
        assert_eq!(reason(lines), cause);
    }
}

#[test]
fn installs_extras() {
    let project =
        "[project]\nname='x'\nversion='1'\ndependencies=[]\n[project.optional-dependencies]\npg=['b']\n";
    let built = format!("{project}[build-system]\nrequires=[]\n");
    for (files, expected) in [
        (
            &[("uv.lock", ""), ("pyproject.toml", project)][..],
            "sync --frozen --no-dev --color never --extra pg",
        ),
        (&[("pyproject.toml", &built)], "-e '.[pg]'"),
        (&[("pyproject.toml", project)], "-r pyproject.toml --extra pg"),
        (&[("requirements.txt", "a"), ("pyproject.toml", &built)], "-r pyproject.toml --extra pg"),
    ] {
        let folder = folder(&["uv"], files);
        let extras = ["pg".to_owned()];
        let root = run_with(folder.path(), &extras, &Silent).unwrap();
        let calls = calls(folder.path(), &root);
        assert!(calls.iter().any(|call| call.ends_with(&expected.replace('\'', ""))), "{calls:?}");
        assert_ne!(run(folder.path(), &Silent).unwrap(), root);
    }
}

#[test]
fn reuses_an_unchanged_environment() {
    let folder = folder(
        &["uv"],
        &[("requirements.txt", "-r more.txt\n-c limits.txt"), ("more.txt", "a"), ("limits.txt", "a<2")],
    );
    let first = run(folder.path(), &Silent).unwrap();
    let made = calls(folder.path(), &first).len();
    assert_eq!(run(folder.path(), &Silent).unwrap(), first);
    assert_eq!(calls(folder.path(), &first).len(), made);
    for name in ["more.txt", "limits.txt"] {
        fs_err::write(folder.path().join("app").join(name), "a<3").unwrap();
        assert_ne!(run(folder.path(), &Silent).unwrap(), first, "{name}");
    }
}

#[test]
fn remakes_an_incomplete_environment() {
    let folder = folder(&["uv"], &[("requirements.txt", "a")]);
    let root = run(folder.path(), &Silent).unwrap();
    fs_err::remove_file(root.with_extension("complete")).unwrap();
    fs_err::write(root.join("rest"), "").unwrap();
    assert_eq!(run(folder.path(), &Silent).unwrap(), root);
    assert!(!root.join("rest").exists() && root.with_extension("complete").exists());
}

#[test]
fn shows_the_output_of_a_failed_tool() {
    let folder = folder(&["python3"], &[("requirements.txt", "fail")]);
    let error = run(folder.path(), &Silent).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(": `python -m pip install") && text.ends_with("one\ntwo"), "{text}");
    assert!(error.help().unwrap().contains("--no-provision"));
}

#[test]
fn a_failure_with_the_only_python_names_the_base() {
    let failed = |is_of_python: bool| ProvisionError::Failed {
        command: "uv sync".to_owned(),
        status: "exit status: 1".to_owned(),
        output: "Failed to build".to_owned(),
        reason: String::new(),
        is_of_python,
        is_of_version: false,
    };
    let of_base = failed(true).on_base(Some("3.13.5"));
    assert_eq!(of_base.to_string(), failed(true).to_string());
    assert!(of_base.help().unwrap().contains("the base's Python 3.13.5: choose a base"));
    assert!(failed(false).on_base(Some("3.13.5")).help().unwrap().contains("--no-provision"));
    assert!(failed(true).on_base(None).help().unwrap().contains("choose another Python with --python"));
}

#[test]
fn refuses_without_tool_file_or_uv() {
    let nothing = folder(&["uv"], &[]);
    assert!(matches!(run(nothing.path(), &Silent), Err(ProvisionError::NothingToInstall(_))));
    let no_tool = folder(&[], &[("requirements.txt", "a")]);
    assert!(matches!(run(no_tool.path(), &Silent), Err(ProvisionError::NoTool)));
    let no_uv = folder(&["python3"], &[("uv.lock", ""), PYPROJECT]);
    let progress = WarningCollector::default();
    run(no_uv.path(), &progress).unwrap();
    assert_eq!(progress.warnings()[0].subject, "uv.lock");
}
