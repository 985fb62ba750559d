//! The service of an image: application, server, and loaded source.

use std::path::Path;

use crate::support::venv::{add_stand_in, stand_in};
use crate::support::{Image, Outcome, Project, requires, run};
use test_macros::test;

const APP: &str = "from fastapi import FastAPI\n\napp = FastAPI()\n";

/// Returns a project with these files, and declared stand-ins of these distributions.
fn project(distributions: &[&str], files: &[(&str, &str)], settings: &str) -> Project {
    let declared: Vec<String> = distributions.iter().map(|name| format!("\"{name}\"")).collect();
    let table = format!(
        "[project]\nname = \"svc\"\nversion = \"1\"\ndependencies = [{}]\n[tool.ipo-oci]\n{settings}\n",
        declared.join(", ")
    );
    let project = Project::of(&[("pyproject.toml", table.as_str())]);
    for (path, text) in files {
        project.write(path, text);
    }
    stand_in(&project.path().join(".venv"), distributions);
    project
}

fn variable(image: &Image, name: &str) -> Option<String> {
    let env = image.config["config"]["Env"].as_array().expect("variables");
    env.iter().find_map(|line| line.as_str()?.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

fn warnings(outcome: &Outcome) -> Vec<&str> {
    outcome.stderr.lines().filter(|line| line.starts_with("warning")).collect()
}

#[track_caller]
fn refuses(outcome: &Outcome, parts: &[&str]) {
    assert_eq!(outcome.code(), Some(1), "{}", outcome.describe());
    assert!(outcome.stderr.contains("help:"), "{}", outcome.describe());
    for part in parts {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.describe());
    }
}

#[test]
fn suggests_the_faster_loop_for_plain_uvicorn() {
    let plain = project(&["fastapi", "uvicorn"], &[("main.py", APP)], "");
    let outcome = plain.build(&[]);
    let warned = warnings(&outcome);
    assert_eq!(warned.len(), 1, "{}", outcome.describe());
    assert!(warned[0].contains("uvloop") && warned[0].contains("httptools"), "{warned:?}");
    assert!(outcome.stderr.contains("uvicorn[standard]"), "{}", outcome.describe());
    let image = plain.layout().only();
    assert_eq!(variable(&image, "UVICORN_LOOP").as_deref(), Some("auto"));
    // An explicit choice causes no warning.
    let chosen = plain.build(&["--loop", "asyncio", "--http", "h11"]);
    assert_eq!(warnings(&chosen), [""; 0], "{}", chosen.describe());

    let whole = Project::tiny();
    let outcome = whole.build(&[]);
    assert_eq!(warnings(&outcome), [""; 0], "{}", outcome.describe());
    let image = whole.layout().only();
    assert_eq!(variable(&image, "UVICORN_LOOP").as_deref(), Some("uvloop"));
    assert_eq!(variable(&image, "UVICORN_HTTP").as_deref(), Some("httptools"));
}

#[test]
fn a_gunicorn_image_has_no_uvicorn_variables() {
    let settings = "healthcheck = \"/health\"\nloop = \"uvloop\"\n\
                    entrypoint = [\"{venv}/bin/gunicorn\", \"-k\", \"uvicorn_worker.UvicornWorker\", \"{app}\"]";
    let gunicorn = project(&["fastapi", "gunicorn", "uvicorn-worker"], &[("main.py", APP)], settings);
    let image = gunicorn.image(&[]);
    let env = image.config["config"]["Env"].to_string();
    assert!(!env.contains("UVICORN"), "{env}");
    assert_eq!(variable(&image, "PORT").as_deref(), Some("8000"));
    assert_eq!(variable(&image, "WEB_CONCURRENCY").as_deref(), Some("4"));
    assert!(image.config["config"]["Healthcheck"].to_string().contains("/health"), "{:#}", image.config);
    assert!(image.config["config"]["ExposedPorts"]["8000/tcp"].is_object(), "{:#}", image.config);
}

#[test]
fn any_command_keeps_the_health_check() {
    let settings = "healthcheck = \"/health\"\nport = 9000\nentrypoint = [\"{python}\", \"main.py\"]";
    let own = project(&["fastapi"], &[("main.py", "print('serving')\n")], settings);
    let image = own.image(&[]);
    let check = image.config["config"]["Healthcheck"].to_string();
    assert!(check.contains("/health") && check.contains("9000"), "{check}");
    assert!(image.config["config"]["ExposedPorts"]["9000/tcp"].is_object(), "{:#}", image.config);
    assert!(!image.config["config"]["Env"].to_string().contains("UVICORN"), "{:#}", image.config);
}

#[test]
fn warns_of_an_unreachable_server() {
    let settings = "entrypoint = [\"{venv}/bin/hypercorn\", \"{app}\"]";
    let hypercorn = project(&["fastapi", "hypercorn"], &[("main.py", APP)], settings);
    let outcome = hypercorn.build(&[]);
    assert!(warnings(&outcome)[0].contains("127.0.0.1"), "{}", outcome.describe());
    assert!(outcome.stderr.contains("--bind"), "{}", outcome.describe());
    // Cached plans keep the warning.
    assert_eq!(warnings(&hypercorn.build(&[])), warnings(&outcome));
}

#[test]
fn home_is_writable() {
    let tiny = Project::tiny();
    for target in ["runtime", "builder", "dev"] {
        tiny.build(&["--target", target, "-o", &format!("oci:dist/{target}")]);
        let image = crate::support::Layout::open(tiny.path().join("dist").join(target)).only();
        assert_eq!(variable(&image, "HOME").as_deref(), Some("/tmp"), "{target}");
    }
    let image = tiny.image(&["--env", "HOME=/data"]);
    assert_eq!(variable(&image, "HOME").as_deref(), Some("/data"));
}

#[test]
fn refuses_an_undefined_application() {
    let tiny = Project::tiny();
    refuses(&tiny.try_build(&["--app", "main:nope"]), &["main:nope", "main.py", "`main:app`"]);
    tiny.write("main.py", "from fastapi import FastAPI\n\ndef create_app() -> FastAPI: ...\n");
    refuses(&tiny.try_build(&["--app", "main:app"]), &["`main:create_app()`"]);
    // The only application factory is used.
    let image = tiny.image(&[]);
    assert_eq!(variable(&image, "UVICORN_FACTORY").as_deref(), Some("true"));
    assert!(
        image.config["config"]["Entrypoint"].to_string().contains("main:create_app"),
        "{:#}",
        image.config
    );
    // An application named by a command is checked as well.
    let settings = "entrypoint = [\"{venv}/bin/uvicorn\", \"main:nope\"]\n";
    let own = project(&["fastapi", "uvicorn"], &[("main.py", APP)], settings);
    refuses(&own.try_build(&[]), &["main:nope", "`main:app`"]);
}

#[test]
fn an_application_of_an_installed_distribution_is_found() {
    let tiny = Project::tiny();
    add_stand_in(&tiny.path().join(".venv"), "hosted", "");
    let named = ["--app", "hosted:main()"];
    refuses(
        &tiny.try_build(&named),
        &["`hosted:main()` not found: its distribution hosted", "declare hosted as a dependency"],
    );
    let declared = tiny.read("pyproject.toml").replace("\"fastapi\",", "\"fastapi\", \"hosted\",");
    tiny.write("pyproject.toml", &declared);
    let image = tiny.image(&named);
    assert_eq!(variable(&image, "UVICORN_FACTORY").as_deref(), Some("true"));
    assert!(image.config["config"]["Entrypoint"].to_string().contains("hosted:main"), "{:#}", image.config);
    // The cached plan has the application, and serves another one in the source.
    assert_eq!(tiny.image(&named).digest, image.digest);
    assert!(tiny.image(&[]).config["config"]["Entrypoint"].to_string().contains("main:app"));
    assert_eq!(tiny.image(&named).digest, image.digest);
    let undefined = ["hosted:nope", "hosted/__init__.py does not define `nope`"];
    refuses(&tiny.try_build(&["--app", "hosted:nope"]), &undefined);
    refuses(&tiny.try_build(&["--app", "hosted.web:app"]), &["no distribution has the module"]);
    // A module of the source hides the distribution.
    tiny.write("hosted.py", "");
    refuses(&tiny.try_build(&["--app", "hosted.web:app"]), &["hosted/web.py"]);
}

/// Valid in Python 2 only.
const OLD: &str = "import os\n\nprint 'old'\n";

#[test]
fn imported_source_has_to_compile() {
    let by_application = |files: &[(&str, &str)]| {
        project(&["fastapi", "uvicorn"], files, "loop = \"asyncio\"\nhttp = \"h11\"")
    };
    let broken = by_application(&[("main.py", &format!("{APP}print 'old'\n"))]);
    refuses(&broken.try_build(&[]), &["main.py", "SyntaxError", "line 4"]);

    let imported = by_application(&[
        ("pkg/__init__.py", ""),
        ("pkg/main.py", &format!("def late():\n    from . import old\n{APP}")),
        ("pkg/old.py", OLD),
    ]);
    let outcome = imported.try_build(&["--app", "pkg.main:app"]);
    refuses(&outcome, &["pkg/old.py", "line 3", "pkg/main.py", "line 2"]);
    // The advised exclusion.
    imported.write(".dockerignore", "pkg/old.py\n");
    imported.build(&["--app", "pkg.main:app"]);

    let harmless = by_application(&[
        ("main.py", &format!("try:\n    import compat\nexcept Exception:\n    pass\n{APP}")),
        ("compat.py", OLD),
        ("scripts/test_old.py", OLD),
        ("templates/{{ name }}/main.py", "import {{ name }}\n"),
    ]);
    let outcome = harmless.build(&[]);
    assert!(warnings(&outcome)[0].contains("3 sources that do not compile"), "{}", outcome.describe());
    assert_eq!(warnings(&harmless.build(&[])), warnings(&outcome));
}

#[test]
fn source_imported_by_any_command_has_to_compile() {
    for (entrypoint, file) in [
        ("[\"{python}\", \"-m\", \"pkg\"]", "pkg/__main__.py"),
        ("[\"{python}\", \"run.py\"]", "run.py"),
        ("[\"{venv}/bin/celery\", \"-A\", \"pkg.tasks\", \"worker\"]", "pkg/tasks.py"),
        ("[\"{venv}/bin/gunicorn\", \"pkg.wsgi\"]", "pkg/wsgi.py"),
    ] {
        // gunicorn serves the attribute `application`.
        let importing = |module: &str| format!("import {module}\napplication = None\n");
        let text = importing("pkg.old");
        let files = [("pkg/__init__.py", ""), ("pkg/old.py", OLD), (file, &text)];
        let own = project(&["celery", "gunicorn"], &files, &format!("entrypoint = {entrypoint}"));
        refuses(&own.try_build(&[]), &["pkg/old.py", "line 3", file]);
        own.write(file, &importing("os"));
        own.build(&[]);
    }
}

#[test]
fn bytecode_has_the_optimization_level_of_the_image() {
    let optimized = Project::tiny();
    optimized.write("main.py", &format!("\"\"\"A docstring.\"\"\"\n{APP}assert app\n"));
    add_stand_in(&optimized.path().join(".venv"), "extra", "");
    let tag = crate::support::output_of("python3", ["-c", "import sys; print(sys.implementation.cache_tag)"]);
    let plain = bytecode(&optimized.image(&[]), &tag);
    for (arguments, level) in [
        (vec!["--env", "PYTHONOPTIMIZE=1"], "opt-1"),
        (vec!["--env", "PYTHONOPTIMIZE=2"], "opt-2"),
        (vec!["--env", "PYTHONOPTIMIZE=yes"], "opt-1"),
    ] {
        let image = optimized.image(&arguments);
        let found = bytecode(&image, &tag);
        let expected: Vec<String> =
            plain.iter().map(|path| path.replace(".pyc", &format!(".{level}.pyc"))).collect();
        assert_eq!(found, expected, "{arguments:?}");
        let module = image.read_file(&format!("app/__pycache__/main.{tag}.{level}.pyc"));
        let has = |text: &str| module.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!has("AssertionError"), "{level}");
        assert_eq!(has("A docstring."), level == "opt-1", "{level}");
    }
    // Set by a flag of the command.
    optimized.write(
        "pyproject.toml",
        &format!(
            "{}[tool.ipo-oci]\nentrypoint = [\"{{python}}\", \"-OO\", \"-m\", \"uvicorn\", \"{{app}}\"]\n",
            optimized.read("pyproject.toml")
        ),
    );
    let found = bytecode(&optimized.image(&[]), &tag);
    assert!(found.iter().all(|path| path.ends_with(".opt-2.pyc")), "{found:?}");
}

/// Returns the paths of an image's cached bytecode.
fn bytecode(image: &Image, tag: &str) -> Vec<String> {
    let files = image.files();
    let mut paths: Vec<String> =
        files.keys().filter(|path| path.contains(tag) && path.ends_with(".pyc")).cloned().collect();
    paths.sort();
    assert!(paths.len() > 100, "{paths:?}");
    paths
}

#[test]
fn a_project_script_imports_its_module() {
    requires("python3");
    let settings = "entrypoint = [\"{venv}/bin/serve\"]\n[project.scripts]\nserve = \"pkg.cli:main\"";
    let own = project(&["fastapi"], &[("pkg/__init__.py", ""), ("pkg/cli.py", OLD)], settings);
    let script = own.path().join(".venv/bin/serve");
    fs_err::write(&script, format!("#!{}\n", Path::new("/bin/true").display())).unwrap();
    refuses(&own.try_build(&[]), &["pkg/cli.py", "the image starts with it"]);
}

#[test]
fn an_environment_of_the_project_need_not_have_the_optional_server() {
    let flask = "import flask\napp = flask.Flask('svc')\n";
    let groups = "certificates = false\n[dependency-groups]\nprod = [\"gunicorn\"]\n";
    let project = |installed: &[&str]| {
        let project = project(&["flask"], &[("main.py", flask)], groups);
        for name in installed {
            add_stand_in(&project.path().join(".venv"), name, "");
        }
        project
    };
    // Without the group, another distribution may be the server.
    let outcome = project(&[]).try_build(&[]);
    let advice = "write groups = [\"prod\"] to [tool.ipo-oci] for gunicorn of the group `prod`";
    refuses(&outcome, &["server not found", advice]);
    let whole = project(&["gunicorn"]);
    let outcome = whole.build(&[]);
    assert!(outcome.stderr.contains("group `prod`: included: it has gunicorn"), "{}", outcome.describe());
    let command = whole.layout().only().config["config"]["Entrypoint"].to_string();
    assert!(command.contains("/app/.venv/bin/gunicorn"), "{command}");
}

#[test]
fn the_server_of_an_entrypoint_is_found_in_an_optional_part() {
    let settings = "entrypoint = [\"{venv}/bin/gunicorn\", \"-b\", \"0.0.0.0:8000\", \"{app}\"]\n\
                    [dependency-groups]\nweb = [\"uvicorn\"]\nprod = [\"gunicorn\"]\n";
    let flask = "import flask\napp = flask.Flask('svc')\n";
    let own = project(&["flask"], &[("main.py", flask)], settings);
    add_stand_in(&own.path().join(".venv"), "gunicorn", "");
    let outcome = own.build(&[]);
    assert!(outcome.stderr.contains("group `prod`: included: it has gunicorn"), "{}", outcome.describe());
}

#[test]
fn python_programs_of_an_entrypoint_stop() {
    for (entrypoint, text, signal) in [
        ("[\"{python}\", \"serve.py\"]", "import time\ntime.sleep(60)\n", "SIGINT"),
        ("[\"{python}\", \"serve.py\"]", "import signal\nsignal.signal(signal.SIGTERM, print)\n", "SIGTERM"),
        ("[\"{python}\", \"manage.py\", \"work\"]", "", "SIGTERM"),
        ("[\"{venv}/bin/celery\", \"worker\"]", "", "SIGTERM"),
    ] {
        let files = [("serve.py", text), ("manage.py", "")];
        let own = project(&["celery"], &files, &format!("entrypoint = {entrypoint}\nhealthcheck = false"));
        let image = own.image(&[]);
        assert_eq!(image.config["config"]["StopSignal"], signal, "{entrypoint} {text}");
    }
}

#[test]
fn a_second_dockerfile_with_another_application_is_a_warning() {
    let other = "from fastapi import FastAPI\nadmin = FastAPI()\n";
    let files = [
        ("main.py", APP),
        ("other.py", other),
        ("Dockerfile", "FROM python\nCMD uvicorn main:app\n"),
        ("Dockerfile.admin", "FROM python\nCMD uvicorn other:admin\n"),
    ];
    let two = project(&["fastapi", "uvicorn"], &files, "loop = \"asyncio\"\nhttp = \"h11\"");
    let outcome = two.build(&[]);
    let warned = ["warning: Dockerfile: names the application; Dockerfile.admin starts another one"];
    assert_eq!(warnings(&outcome), warned, "{}", outcome.describe());
    assert_eq!(warnings(&two.build(&["--app", "other:admin"])), [""; 0]);
    let explained = run(&mut two.command("explain"));
    let line = "Dockerfile.admin (Dockerfile is read instead; ipo-oci init --from FILE takes over another)";
    assert!(explained.text().contains(line), "{}", explained.describe());
}

#[test]
fn a_console_script_that_keeps_its_port_or_lacks_an_argument_is_a_warning() {
    let tool = "import argparse, uvicorn\nparser = argparse.ArgumentParser()\n\
                parser.add_argument('index')\n\ndef main():\n    uvicorn.run(None, host='0.0.0.0', port=8100)\n";
    let settings = "[project.scripts]\ntool = \"tool:main\"";
    let own = project(&["uvicorn"], &[("tool.py", tool)], settings);
    let outcome = own.build(&[]);
    let warned = [
        "warning: port: tool does not read the variable PORT: it listens on port 8100",
        "warning: cmd: tool does not start without `index` (tool.py:3)",
    ];
    assert_eq!(warnings(&outcome), warned, "{}", outcome.describe());
    assert_eq!(warnings(&own.build(&["--cmd", "x"])), [""; 0]);
    let explained = run(&mut own.command("explain"));
    assert!(explained.text().contains("port 8100 (tool does not read PORT)"), "{}", explained.describe());
}

#[test]
fn an_environment_with_the_packages_of_the_system_is_refused() {
    let own = project(&["fastapi", "uvicorn"], &[("main.py", APP)], "");
    let config = own.read(".venv/pyvenv.cfg");
    let shared =
        config.replace("include-system-site-packages = false", "include-system-site-packages = true");
    own.write(".venv/pyvenv.cfg", &shared);
    assert_ne!(config, shared);
    let parts = [
        "as a virtual environment: made with --system-site-packages",
        "make it without --system-site-packages",
    ];
    refuses(&own.try_build(&[]), &parts);
}

#[test]
fn source_that_the_ignore_file_excludes_is_named() {
    let files = [("main.py", APP), (".dockerignore", "*\n!docker\n")];
    let project = project(&["fastapi", "uvicorn"], &files, "");
    let outcome = run(project.command("build").arg("--dry-run"));
    refuses(&outcome, &["the ignore file leave no Python file", "`ipo-oci context --why FILE`"]);
}

#[test]
fn the_import_path_of_a_dockerfile_is_kept_for_programs() {
    let dockerfile = "FROM python:3.12\nWORKDIR /srv\nCOPY . .\nENV PYTHONPATH=/srv:lib\n\
        CMD [\"python\", \"bin/serve.py\", \"--port\", \"9000\"]\n";
    let files = [("bin/serve.py", "import lib\n"), ("lib/lib.py", ""), ("Dockerfile", dockerfile)];
    let program = project(&["idna"], &files, "");
    program.build(&[]);
    assert_eq!(variable(&program.layout().only(), "PYTHONPATH").as_deref(), Some("/app:/app/lib"));
}
