//! Processes of a project, and several projects in one command.

use std::collections::BTreeSet;

use crate::support::{Image, Layout, Project, run, settle, venv};
use test_macros::test;

const PROCESSES: &str = "
[tool.ipo-oci.process.worker]
command = [\"celery\", \"-A\", \"main\", \"worker\"]
env = { QUEUE = \"mail\" }
stop-signal = \"SIGQUIT\"

[tool.ipo-oci.process.release]
command = [\"{python}\", \"-m\", \"main\"]

[tool.ipo-oci.process.admin]
command = [\"uvicorn\", \"{app}\"]
port = 9000
healthcheck = \"/up\"
";

/// Returns a project with processes and a program for each of them.
fn project(settings: &str) -> Project {
    let project = Project::tiny();
    venv::add_stand_in(&project.path().join(".venv"), "celery", "");
    let metadata = project.read("pyproject.toml").replace("\"fastapi\",", "\"fastapi\", \"celery\",");
    project.write("pyproject.toml", &format!("{metadata}\n{settings}"));
    project
}

fn layers(image: &Image) -> Vec<String> {
    let layers = image.manifest["layers"].as_array().expect("layers");
    layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
}

#[test]
fn images_of_processes_differ_in_their_configuration_alone() {
    let project = project(PROCESSES);
    settle(&project.beside(""));
    let outcome = project.build(&["--no-cache", "--process", "all", "--metadata-file", "metadata.json"]);
    let layout = project.layout();
    layout.verify();
    let tags: BTreeSet<String> = layout.tags().into_iter().collect();
    assert_eq!(tags, ["latest", "latest-admin", "latest-release", "latest-worker"].map(str::to_owned).into());
    let [web, admin, release, worker] =
        ["latest", "latest-admin", "latest-release", "latest-worker"].map(|tag| layout.image(tag));
    for other in [&admin, &release, &worker] {
        assert_eq!(layers(other), layers(&web));
        assert_eq!(other.config["rootfs"], web.config["rootfs"]);
        assert_ne!(other.digest, web.digest);
    }
    let config = &worker.config["config"];
    assert_eq!(config["Entrypoint"], serde_json::json!(["celery", "-A", "main", "worker"]));
    assert_eq!(config["StopSignal"], "SIGQUIT");
    assert!(config.get("Healthcheck").is_none() && config.get("ExposedPorts").is_none(), "{config}");
    let env = |image: &Image| image.config["config"]["Env"].as_array().expect("variables").clone();
    assert!(env(&worker).contains(&"QUEUE=mail".into()) && !env(&web).contains(&"QUEUE=mail".into()));
    assert!(!env(&worker).iter().any(|text| text.as_str().is_some_and(|text| text.starts_with("UVICORN"))));
    assert!(web.config["config"].get("Healthcheck").is_some());
    let admin = &admin.config["config"];
    assert_eq!(admin["ExposedPorts"], serde_json::json!({ "9000/tcp": {} }));
    assert!(admin["Healthcheck"]["Test"].to_string().contains("/up"));
    let names: Vec<_> = outcome.text().lines().map(|line| line.split('@').next().expect("a name")).collect();
    let prefix = "oci:dist/image:latest";
    assert_eq!(names, ["", "-admin", "-release", "-worker"].map(|suffix| format!("{prefix}{suffix}")));
    let metadata = outcome.metadata.expect("metadata");
    let processes: Vec<_> =
        metadata.as_array().expect("a list").iter().map(|image| &image["process"]).collect();
    assert_eq!(processes, ["web", "admin", "release", "worker"]);
}

#[test]
fn a_process_alone_is_that_of_all() {
    let project = project(PROCESSES);
    settle(&project.beside(""));
    let cache = project.beside("cache");
    let build = |processes: &str| {
        project.build(&["--process", processes, "--cache-dir", cache.to_str().expect("UTF-8")]);
        project.layout()
    };
    let web = build("web").image("latest").digest;
    let all = build("all");
    assert_eq!(all.image("latest").digest, web);
    let worker = all.image("latest-worker").digest;
    let again = build("worker,release");
    assert_eq!(again.image("latest-worker").digest, worker);
    assert_eq!(build("web").image("latest").digest, web);
    // The tag of a process contains its name, also if given.
    project.build(&["--process", "worker", "-t", "team/app:2"]);
    assert_eq!(project.layout().image("2-worker").digest, worker);
    let plan = project.build(&["--process", "web,worker", "--dry-run"]);
    for part in ["image tiny:latest (", "image tiny:latest-worker (", "celery"] {
        assert!(plan.text().contains(part), "{part}: {}", plan.text());
    }
    let dev = project.build(&["--process", "worker", "--target", "dev", "--dry-run"]);
    assert!(dev.text().contains("image tiny:latest-dev-worker"), "{}", dev.text());
}

#[test]
fn reports_name_each_image() {
    let project = project(PROCESSES);
    project.build(&["--process", "web,worker", "--report", "json=sizes.json"]);
    for (file, image) in [("sizes.json", "tiny:latest"), ("sizes-worker.json", "tiny:latest-worker")] {
        let report: serde_json::Value = serde_json::from_str(&project.read(file)).expect("JSON");
        assert_eq!(report["image"], image);
    }
}

#[test]
fn a_worker_needs_no_application_and_no_server() {
    let project = Project::of(&[
        (
            "pyproject.toml",
            "[project]\nname = \"jobs\"\ndependencies = [\"celery\"]\n\n[tool.ipo-oci.process.worker]\ncommand = [\"celery\", \"worker\"]\n",
        ),
        ("tasks.py", "def run():\n    pass\n"),
    ]);
    venv::stand_in(&project.path().join(".venv"), &["celery"]);
    let image = project.image(&["--process", "worker"]);
    assert_eq!(image.config["config"]["Entrypoint"], serde_json::json!(["celery", "worker"]));
}

#[test]
fn the_table_of_web_changes_the_image_of_a_plain_build() {
    let project = project("[tool.ipo-oci.process.web]\ncommand = [\"uvicorn\", \"main:app\"]\nport = 7000\n");
    let image = project.image(&[]);
    let config = &image.config["config"];
    // After the program that sets the port.
    let command = config["Entrypoint"].as_array().expect("a command");
    assert!(command.ends_with(&["uvicorn".into(), "main:app".into()]), "{command:?}");
    assert_eq!(config["ExposedPorts"], serde_json::json!({ "7000/tcp": {} }));
    assert!(config.get("Healthcheck").is_some());
}

#[test]
fn flags_set_the_command() {
    let project = project("");
    for (flags, entrypoint, cmd) in [
        (
            vec!["--entrypoint", "celery -A 'my app' \"x\\\"y\"", "--cmd", "[\"a b\"]"],
            serde_json::json!(["celery", "-A", "my app", "x\"y"]),
            serde_json::json!(["a b"]),
        ),
        (
            vec!["--entrypoint", "[\"{python}\", \"-m\", \"main\"]"],
            serde_json::json!(["/app/.venv/bin/python", "-m", "main"]),
            serde_json::Value::Null,
        ),
    ] {
        let image = project.image(&flags);
        assert_eq!(
            (&image.config["config"]["Entrypoint"], &image.config["config"]["Cmd"]),
            (&entrypoint, &cmd)
        );
    }
    for wrong in ["'open", "[1]", "[\"a\""] {
        let outcome = project.try_build(&["--entrypoint", wrong]).exits_with(2);
        assert!(outcome.stderr.contains("--entrypoint"), "{}", outcome.stderr);
    }
}

#[test]
fn wrong_processes_are_named() {
    for (settings, arguments, code, parts) in [
        (PROCESSES, vec!["--process", "wroker"], 1, vec!["process `wroker` not found", "--process worker"]),
        (
            "",
            vec!["--process", "worker"],
            1,
            vec!["process `worker` not found", "[tool.ipo-oci.process.worker]"],
        ),
        (
            "[tool.ipo-oci.process.worker]\ncommand = [\"rq\", \"worker\"]\n",
            vec!["--process", "worker"],
            1,
            vec!["rq"],
        ),
        (PROCESSES, vec!["--process", "worker", "--target", "builder"], 2, vec!["the builder image"]),
        (PROCESSES, vec!["--process", "all", "-o", "oci-archive:-"], 2, vec!["standard output"]),
        ("[tool.ipo-oci.process.worker]\nport = 1\n", vec![], 1, vec!["missing key `command`"]),
    ] {
        let project = project(settings);
        let outcome = project.try_build(&arguments).exits_with(code);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{arguments:?}: {}", outcome.stderr);
        }
    }
}

#[test]
fn workers_and_migrations_are_proposed() {
    let project = project("");
    project.write("jobs.py", "from celery import Celery\n\napp = Celery(\"jobs\")\n");
    let explain = || run(&mut project.command("explain")).success().text().to_owned();
    let text = explain();
    for part in ["worker: celery -A jobs worker", "jobs.py:3", "process.worker.command"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A process of the settings is not proposed.
    let metadata = project.read("pyproject.toml");
    project.write("pyproject.toml", &format!("{metadata}{PROCESSES}"));
    assert!(!explain().contains("worker: celery"), "{}", explain());
}

/// Writes small projects of these names into `services/`.
fn services(names: &[(&str, &str)]) -> Project {
    let all = Project::of(&[]);
    for (folder, name) in names {
        let path = format!("services/{folder}");
        all.write(
            &format!("{path}/pyproject.toml"),
            &format!("[project]\nname = \"{name}\"\ndependencies = [\"fastapi\", \"uvicorn\"]\n"),
        );
        all.write(&format!("{path}/main.py"), "from fastapi import FastAPI\n\napp = FastAPI()\n");
        venv::stand_in(&all.path().join(path).join(".venv"), &["fastapi", "uvicorn"]);
    }
    all
}

#[test]
fn several_projects_are_built_at_once() {
    let all = services(&[("one", "first"), ("two", "second")]);
    let build =
        |arguments: &[&str]| run(all.command("build").args(["services/one", "services/two"]).args(arguments));
    let outcome = build(&["--report", "json=sizes.json"]).success();
    let names: Vec<_> = outcome.text().lines().map(|line| line.split('@').next().expect("a name")).collect();
    assert_eq!(names, ["oci:dist/first:latest", "oci:dist/second:latest"]);
    for name in ["first", "second"] {
        let image = Layout::open(all.path().join("dist").join(name)).image("latest");
        assert_eq!(image.config["config"]["Labels"]["org.opencontainers.image.title"], name);
        assert!(all.path().join(format!("sizes-{name}.json")).exists());
    }
    build(&["-o", "oci-archive:{name}.tar"]).success();
    assert!(all.path().join("first.tar").exists() && all.path().join("second.tar").exists());
    for (arguments, part) in [
        (&["-o", "oci:image"][..], "cannot write several projects to `oci:image`"),
        (&["-t", "x:1"], "cannot give several projects one name"),
    ] {
        let outcome = build(arguments).exits_with(2);
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    all.write("services/two/main.py", "nothing = 1\n");
    let outcome = build(&[]).exits_with(1);
    assert!(outcome.stderr.contains("cannot build services/two: "), "{}", outcome.stderr);
    let same = services(&[("one", "api"), ("two", "api")]);
    let outcome = run(same.command("build").args(["services/one", "services/two"])).exits_with(2);
    for part in ["services/one", "services/two", "`api`"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}
