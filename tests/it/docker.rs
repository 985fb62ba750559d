//! Images in a real Docker engine: `.ci/engine cargo test --test it docker::`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::engine::{Container, Engine};
use crate::support::environments::{cached, uv};
use crate::support::{Project, Venv, free_port, http, output_of, requires, run};
use test_macros::test;

/// Builds one image of the example and loads it; returns its name.
#[track_caller]
fn load(engine: Engine, project: &Project, transport: &str, target: &str, tag: &str) -> String {
    let name = format!("ipo-oci-test/agencyos:{tag}");
    let archive = project.beside("image.tar");
    let arguments = ["--target", target, "-t", &name, "-o", &format!("{transport}:{}", archive.display())];
    project.build(&arguments);
    let loaded = engine.docker(&["load", "--input", archive.to_str().expect("UTF-8")]).success();
    let said = loaded.text().trim().rsplit(' ').next().unwrap_or_default().to_owned();
    assert!(said.contains("ipo-oci-test/agencyos"), "{}", loaded.describe());
    said
}

/// Starts an image with production settings, on a free port.
#[track_caller]
fn start(engine: Engine, image: &str, more: &[&str]) -> (Container, u16) {
    let port = free_port();
    let variable = format!("UVICORN_PORT={port}");
    let as_configured = [
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--tmpfs",
        "/tmp",
        "--network",
        "host",
        "--env",
        "UVICORN_HOST=127.0.0.1",
        "--env",
        &variable,
    ];
    let container = engine.start(&[&as_configured[..], more, &[image]].concat());
    (container, port)
}

#[track_caller]
fn check_endpoints(port: u16) {
    let root = http::wait_for(port, "/");
    let root = crate::support::layout::json(root.body.as_bytes());
    assert_eq!(root, serde_json::json!({"status": "ok", "service": "agencyos", "version": "3.0.0"}));
    let health = crate::support::layout::json(http::wait_for(port, "/health").body.as_bytes());
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["services"]["database"]["status"], "up");
    let metrics = http::wait_for(port, "/metrics").body;
    assert!(metrics.contains("http_requests_total{"), "{metrics}");
}

#[test]
fn runs_as_configured_and_stops_gracefully() {
    let engine = Engine::find();
    let project = Project::example();
    for (transport, tag) in [("oci-archive", "run-oci"), ("docker-archive", "run-docker")] {
        let image = load(engine, &project, transport, "runtime", tag);
        let (container, port) = start(engine, &image, &[]);
        check_endpoints(port);
        container.wait_healthy();

        assert_eq!(
            container.python("import os, pwd; print(os.getuid(), os.getgid(), pwd.getpwuid(1000).pw_name)"),
            "1000 1000 agencyos"
        );
        let pid = container.inspect()["State"]["Pid"].to_string();
        let status = fs_err::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        assert!(
            status.lines().any(|line| line.split_whitespace().eq(["Uid:", "1000", "1000", "1000", "1000"]))
        );

        // The configuration as the engine shows it.
        let config = container.inspect()["Config"].clone();
        assert_eq!(config["StopSignal"], "SIGTERM", "{config:#}");
        assert_eq!(config["User"], "1000:1000");
        assert_eq!(config["WorkingDir"], "/app");
        let words = config["Entrypoint"].as_array().unwrap();
        assert_eq!(
            words[4..],
            [serde_json::json!("/app/.venv/bin/uvicorn"), serde_json::json!("app.main:app")]
        );
        assert!(config["ExposedPorts"].get("8000/tcp").is_some(), "{config:#}");
        assert_eq!(config["Healthcheck"]["Test"][0], "CMD");
        assert_eq!(config["Labels"]["org.opencontainers.image.title"], "agencyos");
        assert_eq!(config["Labels"]["org.opencontainers.image.version"], "3.0.0");

        // Four workers, whose metrics are summed.
        assert_eq!(workers(&container), 4);
        // Every log line is JSON.
        let logs = container.logs();
        for line in logs.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        assert!(logs.contains("\"path\": \"/health\""), "{logs}");

        let begin = Instant::now();
        assert_eq!(container.stop(), 0, "{}", container.logs());
        assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
    }
}

/// Counts uvicorn's worker processes from outside.
fn workers(container: &Container) -> usize {
    pids(container).len()
}

/// Returns the process ids of uvicorn's workers on this machine.
fn pids(container: &Container) -> Vec<String> {
    let outcome = run(Command::new("docker").args(["top", &container.id, "-o", "pid,args"])).success();
    let lines = outcome.text().lines().filter(|line| line.contains("spawn_main"));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Returns the count of answers of `/` in a scrape.
fn answers(port: u16) -> String {
    let metrics = http::wait_for(port, "/metrics").body;
    let counter = "http_requests_total{method=\"GET\",route=\"/\",status=\"200\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(counter)).unwrap_or_default().to_owned()
}

#[test]
fn metrics_are_the_sum_of_living_and_killed_workers() {
    let engine = Engine::find();
    let project = Project::example();
    let image = load(engine, &project, "oci-archive", "runtime", "metrics");
    let (container, port) = start(engine, &image, &[]);
    // Files are named by the place of a worker, and not by its process.
    let places = || {
        container.python(
            "import glob, re
names = glob.glob('/tmp/agencyos-metrics-*/*')
print(*sorted({re.sub(r'.*[/_]|[.].*', '', name) for name in names}))",
        )
    };
    let are_complete = || (places() == "0 1 2 3").then_some(());
    crate::support::eventually("four workers are ready", are_complete);
    let request = |count| (0..count).for_each(|_| assert_eq!(http::wait_for(port, "/").status, 200));
    request(40);
    // Whichever worker answers.
    for _ in 0..8 {
        assert_eq!(answers(port), "40.0");
    }
    let before = pids(&container);
    for pid in &before {
        run(Command::new("kill").args(["-KILL", pid])).success();
    }
    crate::support::eventually("four workers are there again", || {
        (pids(&container).iter().filter(|pid| !before.contains(pid)).count() == 4).then_some(())
    });
    request(5);
    assert_eq!(answers(port), "45.0");
    assert_eq!(places(), "0 1 2 3");
    assert_eq!(container.stop(), 0, "{}", container.logs());
}

#[test]
fn settings_come_from_the_environment_a_file_and_secrets() {
    let engine = Engine::find();
    let project = Project::example();
    let image = load(engine, &project, "oci-archive", "runtime", "settings");
    let secrets = project.beside("secrets");
    for (name, value) in
        [("agencyos_name", "of-secret\n"), ("agencyos_log_level", "ERROR"), ("agencyos_api_key", "hunter2")]
    {
        fs_err::create_dir_all(&secrets).expect("a folder");
        fs_err::write(secrets.join(name), value).expect("a file");
    }
    let file = project.beside("settings.env");
    fs_err::write(&file, "AGENCYOS_LOG_LEVEL=WARNING\nAGENCYOS_MINIMUM_FREE_BYTES=7\n").expect("a file");
    let secrets = format!("{}:/run/secrets:ro", secrets.display());
    let file = format!("{}:/app/.env:ro", file.display());
    let more = ["--volume", &secrets, "--volume", &file, "--env", "AGENCYOS_MINIMUM_FREE_BYTES=8"];
    let (container, port) = start(engine, &image, &more);
    let root = crate::support::layout::json(http::wait_for(port, "/").body.as_bytes());
    assert_eq!(root["service"], "of-secret");
    let seen = "from app.settings import Settings; s = Settings(); \
                print(s.name, s.log_level, s.minimum_free_bytes, s.api_key.get_secret_value())";
    assert_eq!(container.python(seen), "of-secret WARNING 8 hunter2");
    assert!(!container.logs().contains("hunter2"), "{}", container.logs());
}

#[test]
fn variables_change_workers_and_port_at_start() {
    let engine = Engine::find();
    let project = Project::example();
    let image = load(engine, &project, "oci-archive", "runtime", "operator");
    // `start` sets a port other than the image's, which the health check has to follow.
    let (container, port) =
        start(engine, &image, &["--env", "WEB_CONCURRENCY=2", "--env", "UVICORN_LOG_LEVEL=warning"]);
    check_endpoints(port);
    container.wait_healthy();
    assert_eq!(workers(&container), 2);
    assert_eq!(container.stop(), 0);

    // Without a response, the health check fails.
    let lost = ["--env", "AGENCYOS_MINIMUM_FREE_BYTES=9000000000000000000", "--health-interval", "1s"];
    let (container, port) = start(engine, &image, &lost);
    crate::support::eventually("/health says 503", || {
        http::get(port, "/health").ok().filter(|response| response.status == 503)
    });
    let check = container.inspect()["Config"]["Healthcheck"]["Test"].clone();
    let check: Vec<_> =
        check.as_array().expect("a check").iter().skip(1).map(|word| word.as_str().unwrap()).collect();
    assert_eq!(container.exec(&check).code(), Some(1));
}

/// gunicorn listens on 127.0.0.1 by default, healthy but unreachable; the build sets its address.
#[test]
fn gunicorn_is_healthy_and_reachable() {
    let engine = Engine::find();
    let wheels = ["gunicorn==23.0.0", "uvicorn==0.34.0", "uvicorn-worker==0.3.0", "fastapi==0.115.6"];
    let venv = cached(&format!("{wheels:?}"), |root| uv(root, &[], &wheels));
    let project = Project::of(&[
        (
            "pyproject.toml",
            "[project]\nname = \"svc\"\nversion = \"1\"\n\
             dependencies = [\"gunicorn\", \"uvicorn\", \"uvicorn-worker\", \"fastapi\"]\n\
             [tool.ipo-oci]\nhealthcheck = \"/health\"\nworkers = 2\n\
             entrypoint = [\"{venv}/bin/gunicorn\", \"-k\", \"uvicorn_worker.UvicornWorker\", \"{app}\"]\n",
        ),
        (
            "src/svc/main.py",
            "from fastapi import FastAPI\n\napp = FastAPI()\n\n\n@app.get(\"/health\")\ndef health(): return \"well\"\n",
        ),
        ("src/svc/__init__.py", ""),
    ]);
    let name = "ipo-oci-test/gunicorn:1";
    let archive = project.beside("image.tar");
    let output = format!("docker-archive:{}", archive.display());
    project.build(&["--venv", venv.to_str().expect("UTF-8"), "-t", name, "-o", &output]);
    engine.docker(&["load", "--input", archive.to_str().expect("UTF-8")]).success();
    let port = free_port();
    let variable = format!("PORT={port}");
    let container =
        engine.start(&["--read-only", "--tmpfs", "/tmp", "--network", "host", "--env", &variable, name]);
    container.wait_healthy();
    // Another address of this machine than the health check's.
    std::net::TcpStream::connect(("127.0.0.2", port)).expect("it listens everywhere");
    assert_eq!(
        container.python(
            "import pathlib
cache = pathlib.Path.home() / '.cache/library'
cache.mkdir(parents=True)
print(cache)"
        ),
        "/tmp/.cache/library"
    );
    assert_eq!(container.stop(), 0, "{}", container.logs());
}

#[test]
fn only_tmp_is_writable() {
    let engine = Engine::find();
    let project = Project::example();
    let image = load(engine, &project, "oci-archive", "runtime", "writable");
    let port = format!("UVICORN_PORT={}", free_port());
    // Without --read-only, only the image's modes prevent writing.
    let container = engine.start(&["--network", "host", "--env", &port, &image]);
    let writable = container.python(
        "import os
found = []
for folder, folders, files in os.walk('/'):
    folders[:] = [] if folder in ('/proc', '/sys', '/dev') else folders
    for path in [folder, *(os.path.join(folder, name) for name in files)]:
        inside = path == '/tmp' or path.startswith('/tmp/') or path.startswith(('/proc', '/sys', '/dev'))
        if not inside and not os.path.islink(path) and os.access(path, os.W_OK):
            found.append(path)
print('\\n'.join(found))
open('/tmp/may', 'w').close()
print(oct(os.stat('/tmp').st_mode & 0o7777))",
    );
    assert_eq!(writable, "\n0o1777");
}

#[test]
fn the_runtime_image_has_no_shell_tools_or_set_user_id_files() {
    // Static checks of the image; other tests run it.
    let image = Project::example().image(&[]);
    let files = image.files();
    let unwanted = [
        "sh",
        "bash",
        "dash",
        "ash",
        "zsh",
        "busybox",
        "env",
        "su",
        "sudo",
        "mount",
        "apt",
        "apt-get",
        "dpkg",
        "perl",
        "gcc",
        "cc",
        "g++",
        "ld",
        "as",
        "make",
        "curl",
        "wget",
        "pip",
        "pip3",
        "pip3.11",
        "python3-config",
        "ruff",
        "pytest",
        "easy_install",
    ];
    for (path, member) in &files {
        let name = path.rsplit('/').next().unwrap_or_default();
        assert!(!unwanted.contains(&name) || member.kind.is_dir(), "{path} is in the image");
        assert_eq!(member.mode & 0o6000, 0, "{path} has mode {:o}", member.mode);
        assert!(!name.starts_with(".wh."), "{path}");
        if path != "tmp" && !member.kind.is_symlink() {
            assert_ne!(member.uid, 1000, "{path} belongs to the process's user");
            assert_eq!(member.mode & 0o022, 0, "{path} has mode {:o}", member.mode);
        }
    }
    assert_eq!(files["tmp"].mode, 0o1777);
    assert!(!files.keys().any(|path| path.ends_with("/Python.h")));
}

#[test]
fn python_loads_every_bytecode_file() {
    let engine = Engine::find();
    let project = Project::example();
    let image = load(engine, &project, "oci-archive", "runtime", "bytecode");
    let (container, port) = start(engine, &image, &[]);
    http::wait_for(port, "/health");
    // Python reports a module that it has to compile.
    let outcome = container.exec(&[
        "/app/.venv/bin/python",
        "-v",
        "-c",
        "import app.main, uvicorn, asyncio, sqlite3, email.message",
    ]);
    let outcome = outcome.success();
    let (taken, compiled): (Vec<_>, Vec<_>) = outcome
        .stderr
        .lines()
        .filter(|line| line.contains("code object from"))
        .partition(|line| line.ends_with(".pyc'"));
    assert!(compiled.is_empty(), "{compiled:#?}");
    assert!(taken.iter().any(|line| line.contains("/app/app/")) && taken.len() > 100, "{taken:#?}");
    assert!(!outcome.stderr.contains("bytecode is stale"), "{}", outcome.stderr);
}

#[test]
fn the_development_image_reloads_on_a_change() {
    let engine = Engine::find();
    let project = Project::example();
    let image = load(engine, &project, "oci-archive", "dev", "dev");
    let source = project.path().join("app");
    // The container's process has another user than the owner of the temporary directory.
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(&source)).success();
    let mount = format!("{}:/app/app:ro", source.display());
    let (container, port) = start(engine, &image, &["--volume", &mount]);
    http::wait_for(port, "/");
    let changed = project.read("app/main.py").replace("status=\"ok\"", "status=\"changed\"");
    project.write("app/main.py", &changed);
    crate::support::eventually("the change is served", || {
        http::get(port, "/").ok().filter(|response| response.body.contains("changed"))
    });
    // Development tools are installed.
    container.exec(&["/app/.venv/bin/python", "-m", "pytest", "--version"]).success();
    assert_eq!(container.stop(), 0, "{}", container.logs());
}

#[test]
fn the_builder_image_installs_a_wheel_without_a_network() {
    let engine = Engine::find();
    let project = Project::example();
    let image = load(engine, &project, "oci-archive", "builder", "builder");
    let wheels = project.beside("wheels");
    fs_err::create_dir(&wheels).expect("a folder");
    make_wheel(&wheels);
    fs_err::set_permissions(&wheels, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let mount = format!("{}:/wheels:ro", wheels.display());
    let script = "import subprocess, sys, sysconfig, os
subprocess.check_call([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-index', '--find-links', '/wheels', 'purewheel'])
import purewheel
print(purewheel.ANSWER, os.getuid(), os.path.exists(sysconfig.get_path('include') + '/Python.h'))";
    let outcome = engine
        .docker(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--cap-drop",
            "ALL",
            "--volume",
            &mount,
            &image,
            "/app/.venv/bin/python",
            "-c",
            script,
        ])
        .success();
    assert_eq!(outcome.text().trim(), "42 1000 True", "{}", outcome.describe());
}

/// Builds `purewheel-1.0`, a wheel of one module.
fn make_wheel(folder: &Path) {
    let script = "import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + '/purewheel-1.0-py3-none-any.whl', 'w') as wheel:
    info = 'purewheel-1.0.dist-info/'
    wheel.writestr('purewheel.py', 'ANSWER = 42\\n')
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: purewheel\\nVersion: 1.0\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', f'purewheel.py,,\\n{info}METADATA,,\\n{info}WHEEL,,\\n{info}RECORD,,\\n')";
    output_of("python3", ["-c", script, folder.to_str().expect("UTF-8")]);
}

#[test]
fn environments_of_uv_and_of_the_systems_python_run() {
    let engine = Engine::find();
    let mut venvs = vec![("uv", Venv::uv())];
    if Path::new("/usr/bin/python3").exists()
        && crate::support::venv::interpreter() != Path::new("/usr/bin/python3")
    {
        venvs.push(("system", Venv::of_the_system()));
    }
    for (name, venv) in venvs {
        let project = Project::example_as("agencyos", &venv);
        let image = load(engine, &project, "oci-archive", "runtime", &format!("venv-{name}"));
        let (container, port) = start(engine, &image, &[]);
        check_endpoints(port);
        // No link or path refers to this machine.
        let paths =
            container.python("import sys, json; print(json.dumps([sys.executable, sys.prefix, *sys.path]))");
        assert!(!paths.contains(env!("CARGO_MANIFEST_DIR")), "{paths}");
        // TLS and time zones work.
        let works = "import ssl, zoneinfo; print(len(ssl.create_default_context().get_ca_certs()) > 50, zoneinfo.ZoneInfo('Europe/Berlin'))";
        assert_eq!(container.python(works), "True Europe/Berlin");
        // The locale in LANG works.
        let works =
            "import locale; print(locale.setlocale(locale.LC_ALL, ''), locale.getpreferredencoding())";
        assert_eq!(container.python(works), "C.UTF-8 UTF-8");
        assert_eq!(container.stop(), 0, "{}", container.logs());
    }
}

#[test]
fn skopeo_copies_an_image_into_the_engine() {
    let engine = Engine::find();
    requires("skopeo");
    let Ok(host) = std::env::var("DOCKER_HOST") else {
        crate::support::skip("DOCKER_HOST is not set: the engine is the machine's own");
    };
    let project = Project::example();
    project.build(&[]);
    let from = format!("oci:{}:latest", project.path().join("dist/image").display());
    let name = "ipo-oci-test/agencyos:skopeo";
    output_of(
        "skopeo",
        [
            "copy",
            "--quiet",
            "--insecure-policy",
            "--dest-daemon-host",
            &host,
            &from,
            &format!("docker-daemon:{name}"),
        ],
    );
    let (_container, port) = start(engine, name, &[]);
    http::wait_for(port, "/health");
}
