//! The examples of `examples/` in a real Docker engine: `.ci/engine cargo test --test it examples::`.

use std::path::Path;
use std::process::Command;

use crate::support::engine::{Container, Engine};
use crate::support::{Project, copy_folder, eventually, free_port, http, requires, run};
use test_macros::test;

/// Copies an example into a folder with its name, so that a build leaves no file in the repository.
fn example(name: &str) -> Project {
    requires("uv");
    requires("curl");
    let project = Project::of(&[]);
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name), project.path());
    project
}

/// Builds the images of a project into the engine, under this name and tag.
#[track_caller]
fn build(project: &Project, folder: &str, image: &str, more: &[&str]) {
    let destination = format!("docker-daemon:{image}");
    let mut command = project.command("build");
    command.args([folder, "-q", "-o", &destination]).args(more);
    run(&mut command).success();
}

/// Starts an image with a read-only root and without capabilities; the platform's `PORT` is a free one.
#[track_caller]
fn start(engine: Engine, image: &str, more: &[&str]) -> (Container, u16) {
    let port = free_port();
    let variable = format!("PORT={port}");
    let options =
        ["--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp", "--network", "host", "--env", &variable];
    (engine.start(&[&options[..], more, &[image]].concat()), port)
}

/// Checks that a container is healthy, answers at `path`, and stops gracefully.
#[track_caller]
fn serves(engine: Engine, image: &str, path: &str, answer: &str) {
    let (container, port) = start(engine, image, &[]);
    container.wait_healthy();
    let body = http::wait_for(port, path).body;
    assert!(body.contains(answer), "{body}");
    assert_eq!(container.stop(), 0, "{}", container.logs());
}

#[test]
fn flask_runs_behind_gunicorn() {
    let engine = Engine::find();
    let project = example("flask");
    build(&project, "flask", "ipo-oci-test/flask:1", &[]);
    serves(engine, "ipo-oci-test/flask:1", "/health", "ok");
    let volume = ["--mount", "type=volume,dst=/app/data"];
    let (container, port) = start(engine, "ipo-oci-test/flask:1", &volume);
    container.wait_healthy();
    container.python("import json, os, urllib.request as u; u.urlopen(u.Request(f'http://127.0.0.1:{os.environ[\"PORT\"]}/notes', json.dumps({'text': 'milk'}).encode(), {'Content-Type': 'application/json'}))");
    assert!(http::wait_for(port, "/notes").body.contains("milk"), "{}", container.logs());
    assert_eq!(container.stop(), 0);
}

#[test]
fn litestar_runs_behind_granian() {
    let engine = Engine::find();
    let project = example("litestar");
    build(&project, "litestar", "ipo-oci-test/litestar:1", &[]);
    serves(engine, "ipo-oci-test/litestar:1", "/quotes/1", "Readability");
}

#[test]
fn a_console_script_with_its_own_server_runs_and_stops() {
    let engine = Engine::find();
    let project = example("console");
    build(&project, "console", "ipo-oci-test/console:1", &[]);
    serves(engine, "ipo-oci-test/console:1", "/", "beacon");
}

#[test]
fn services_of_a_workspace_share_a_library() {
    let engine = Engine::find();
    let project = example("workspace");
    for service in ["api", "admin"] {
        let image = format!("ipo-oci-test/{service}:1");
        build(&project, &format!("workspace/services/{service}"), &image, &[]);
        serves(engine, &image, "/health", service);
    }
}

#[test]
fn django_migrates_serves_collected_files_and_its_worker_confirms_orders() {
    let engine = Engine::find();
    let project = example("django");
    build(&project, "django", "ipo-oci-test/django:1", &["--process", "all"]);
    let volume = format!("ipo-oci-test-{}", free_port());
    let mount = format!("type=volume,src={volume},dst=/app/data");
    let mount = ["--mount", mount.as_str()];
    let release = ["run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "host", mount[0], mount[1]];
    engine.docker(&[&release[..], &["ipo-oci-test/django:1-release"]].concat()).success();

    let (web, port) = start(engine, "ipo-oci-test/django:1", &mount);
    web.wait_healthy();
    let (worker, _) = start(engine, "ipo-oci-test/django:1-worker", &mount);
    let host = ["--header", "Host: localhost", "--silent", "--show-error", "--fail"];
    let ask = |path: &str, more: &[&str]| {
        let url = format!("http://127.0.0.1:{port}{path}");
        run(Command::new("curl").args(host).args(more).arg(url)).success().text().to_owned()
    };
    assert!(ask("/static/orders/shop.css", &[]).contains("font-family"));
    ask("/orders/", &["--data", "{\"item\": \"tea\"}"]);
    let confirmed = || Some(ask("/orders/", &[])).filter(|orders| orders.contains("\"is_confirmed\": true"));
    eventually("the worker confirms the order", confirmed);
    assert_eq!(worker.stop(), 0, "{}", worker.logs());
    assert_eq!(web.stop(), 0, "{}", web.logs());
    drop((web, worker));
    engine.docker(&["volume", "rm", "--force", &volume]);
}
