//! `ipo-oci deploy`: the text of each target, and what real programs make of it.

use std::process::Command;

use serde_json::Value;

use crate::support::{Outcome, Project, ipo_oci, run, venv};
use test_macros::test;

const PROCESSES: &str = "
[tool.ipo-oci]
healthcheck = \"/health\"
writable = [\"data\"]

[tool.ipo-oci.process.worker]
command = [\"celery\", \"-A\", \"main\", \"worker\"]

[tool.ipo-oci.process.release]
command = [\"{python}\", \"-m\", \"main\"]

[tool.ipo-oci.process.report]
command = [\"{python}\", \"-m\", \"main\"]

[tool.ipo-oci.process.admin]
command = [\"uvicorn\", \"{app}\"]
";

/// Returns a project with a process of each kind, and these settings of its deployment.
fn project(settings: &str) -> Project {
    let project = Project::tiny();
    venv::add_stand_in(&project.path().join(".venv"), "celery", "");
    let metadata = project.read("pyproject.toml").replace("\"fastapi\",", "\"fastapi\", \"celery\",");
    let schedule = "\n[tool.ipo-oci.deploy.process.report]\nschedule = \"0 4 * * *\"\n";
    project.write("pyproject.toml", &format!("{metadata}\n{PROCESSES}\n{settings}\n{schedule}"));
    project
}

#[track_caller]
fn deploy(project: &Project, arguments: &[&str]) -> Outcome {
    run(project.command("deploy").args(arguments))
}

/// Reads YAML with Debian's PyYAML, an independent parser.
#[track_caller]
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.argv[1]))))";
    let outcome = run(Command::new("/usr/bin/python3").args(["-c", script, text]));
    if outcome.stderr.contains("No module named 'yaml'") {
        crate::support::skip("python3-yaml is not installed");
    }
    serde_json::from_slice(&outcome.success().stdout).expect("JSON")
}

#[test]
fn compose_follows_the_images() {
    let project = project(
        "[tool.ipo-oci.deploy]\nmemory = \"256MiB\"\ncpu = 0.5\nenv = { LOG = \"a$b\" }\nsecrets = [\"DATABASE_URL\"]\n\
         secret-files = [\"tls.key\"]\nenv-files = [\"app.env\"]\n[tool.ipo-oci.deploy.process.worker]\nreplicas = 3\n",
    );
    let outcome = deploy(&project, &["compose", "-t", "ghcr.io/team/tiny:2"]).success();
    let text = outcome.text();
    assert_eq!(deploy(&project, &["compose", "-t", "ghcr.io/team/tiny:2"]).success().text(), text);
    let compose = &yaml(text)[0];
    let services = &compose["services"];
    let web = &services["web"];
    assert_eq!(web["depends_on"]["release"]["condition"], "service_completed_successfully", "{text}");
    assert_eq!(web["environment"]["LOG"], "a$$b");
    assert_eq!(web["environment"]["DATABASE_URL"], "${DATABASE_URL:?set DATABASE_URL in .env}");
    assert_eq!(web["secrets"], serde_json::json!(["tls.key"]));
    assert_eq!(web["env_file"], serde_json::json!(["app.env"]));
    assert_eq!(web["mem_limit"], "268435456");
    assert_eq!((&web["cpus"], &web["read_only"]), (&Value::from("0.5"), &Value::from(true)));
    assert_eq!(web["ports"], serde_json::json!(["127.0.0.1:8000:8000"]));
    assert_eq!(web["volumes"], serde_json::json!(["app-data:/app/data"]));
    assert_eq!(compose["volumes"], serde_json::json!({ "app-data": {} }));
    assert_eq!(compose["secrets"]["tls.key"]["file"], "./secrets/tls.key");
    assert_eq!(services["release"]["restart"], "no");
    assert!(services["release"].get("depends_on").is_none());
    assert_eq!(services["worker"]["scale"], 3);
    assert!(services["worker"].get("ports").is_none());
    assert_eq!(services["report"]["profiles"], serde_json::json!(["cron"]));
    // Two services with one port.
    assert!(
        services["admin"].get("ports").is_none() && text.contains("Another service has port 8000"),
        "{text}"
    );
    for part in ["Health check of the image: GET /health, every 10 s.", "# 2-worker", "(0 4 * * *)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The digests are those of a build.
    project.build(&["--process", "all", "-t", "ghcr.io/team/tiny:2"]);
    for (process, tag) in [("web", "2"), ("worker", "2-worker"), ("release", "2-release")] {
        let digest = project.layout().image(tag).digest;
        assert_eq!(services[process]["image"], format!("ghcr.io/team/tiny@{digest}"));
    }
    let by_tag = deploy(&project, &["compose", "-t", "tiny:2", "--by-tag", "--process", "web"]).success();
    assert_eq!(yaml(by_tag.text())[0]["services"]["web"]["image"], "tiny:2");
    assert!(by_tag.text().contains("no registry in its name"), "{}", by_tag.text());
}

#[test]
fn an_image_gives_the_text_of_its_project() {
    let project = project("");
    project.build(&["-t", "ghcr.io/team/tiny:2", "-o", "oci:out:ghcr.io/team/tiny:2"]);
    let of_image = run(project.command("deploy").args(["compose", "oci:out:ghcr.io/team/tiny:2"])).success();
    let text = of_image.text();
    assert!(text.contains("image: ghcr.io/team/tiny@sha256:"), "{text}");
    assert!(text.contains("GET /health") && text.contains("read_only: true"), "{text}");
}

#[test]
fn an_image_of_another_builder_has_comments() {
    let folder = tempfile::tempdir().expect("a folder");
    for (config, present, absent) in [
        (
            serde_json::json!({ "Cmd": ["python", "app.py"], "ExposedPorts": { "80/tcp": {}, "53/udp": {} } }),
            vec![
                "has no health check",
                "runs as root",
                "Not built by ipo-oci",
                "also exposes 53/udp",
                "127.0.0.1:80:80",
            ],
            vec!["read_only: true\n"],
        ),
        (
            serde_json::json!({ "Cmd": ["x"], "User": "app", "ExposedPorts": { "5000/tcp": {} },
                "Healthcheck": { "Test": ["CMD-SHELL", "curl -f http://localhost:5000/up || exit 1"] } }),
            vec!["GET /up, every 30 s"],
            vec!["runs as root", "no health check"],
        ),
        (
            serde_json::json!({ "Cmd": ["x"], "ExposedPorts": { "5000/tcp": {} },
                "Healthcheck": { "Test": ["CMD-SHELL", "curl -H 'Authorization: Bearer hunter2' http://localhost/"] } }),
            vec!["Health check of the image: a program, every 30 s."],
            vec!["hunter2"],
        ),
        (serde_json::json!({ "Cmd": ["x"] }), vec!["restart: unless-stopped"], vec!["ports:"]),
    ] {
        let image = foreign(folder.path(), &config);
        let outcome = run(ipo_oci().args(["deploy", "compose", &image])).success();
        yaml(outcome.text());
        for part in present {
            assert!(outcome.text().contains(part), "{part}: {}", outcome.text());
        }
        for part in absent {
            assert!(!outcome.text().contains(part), "{part}: {}", outcome.text());
        }
    }
}

/// Writes an image with this configuration, which no `ipo-oci` built.
fn foreign(folder: &std::path::Path, config: &Value) -> String {
    use ipo_oci::digest::Digest;
    let root = folder.join(Digest::of(config.to_string().as_bytes()).to_string().replace(':', "-"));
    let blobs = root.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).expect("a folder");
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        fs_err::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).expect("a file");
        (digest, bytes.len())
    };
    let document = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": config, "rootfs": { "type": "layers", "diff_ids": [] },
        "history": [{ "created_by": "CMD", "empty_layer": true }],
    });
    let (digest, size) = blob(document.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size }, "layers": [],
    });
    let (digest, size) = blob(manifest.to_string().as_bytes());
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
        "annotations": { "org.opencontainers.image.ref.name": "docker.io/team/service:1.4" },
    }] });
    fs_err::write(root.join("index.json"), index.to_string()).expect("a file");
    fs_err::write(root.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").expect("a file");
    format!("oci:{}", root.display())
}

#[test]
fn wrong_settings_are_errors_that_print_no_secret() {
    for (settings, parts) in [
        (
            "env = { DB_PASSWORD = \"hunter2\" }",
            vec!["deploy.env.DB_PASSWORD", "add \"DB_PASSWORD\" to deploy.secrets"],
        ),
        ("env = { URL = \"amqp://u:hunter2@mq/\" }", vec!["the address has a password"]),
        (
            "env = { URL = \"amqp://u:${MQ}@mq/\" }",
            vec!["cannot resolve `MQ` in deploy.env.URL: values are literal"],
        ),
        ("process.workr.replicas = 2", vec!["process `workr` not found", "deploy.process.worker"]),
        ("process.worker.kind = \"cron\"", vec!["no schedule"]),
        ("process.worker.kind = \"service\"", vec!["exposes no TCP port"]),
        ("process.worker.hosts = [\"a.example\"]", vec!["the process has no port"]),
        ("replica = 2", vec!["did you mean `replicas`"]),
        ("cpu = \"much\"", vec!["invalid number of processors `much`"]),
    ] {
        let project = project(&format!("[tool.ipo-oci.deploy]\n{settings}\n"));
        let outcome = deploy(&project, &["compose"]).exits_with(1);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{settings}: {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    }
}

#[cfg(feature = "registry")]
mod compose {
    use std::fmt::Write as _;
    use std::path::PathBuf;

    use super::*;
    use test_macros::test;

    use crate::support::engine::Engine;
    use crate::support::registry::{Kind, Registry};
    use crate::support::{eventually, free_port, http, output_of, requires};

    /// A project of Compose, removed with its volumes at the end.
    struct Composition {
        file: PathBuf,
        name: String,
    }

    impl Composition {
        fn compose(&self, arguments: &[&str]) -> Outcome {
            let file = self.file.to_str().expect("UTF-8");
            run(Command::new("docker-compose")
                .current_dir(self.file.parent().expect("a folder"))
                .args(["-f", file, "-p", &self.name])
                .args(arguments))
        }

        fn container(&self, service: &str) -> Value {
            let id = self.compose(&["ps", "--quiet", service]).success().text().trim().to_owned();
            let text = output_of("docker", ["inspect", &id]);
            serde_json::from_str::<Value>(&text).expect("JSON")[0].clone()
        }
    }

    impl Drop for Composition {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}", self.compose(&["logs", "--no-color"]).describe());
            }
            self.compose(&["down", "--volumes", "--timeout", "5"]);
        }
    }

    #[test]
    fn compose_runs_migrations_first_and_keeps_the_service_up() {
        requires("docker-compose");
        requires("docker-registry");
        Engine::find();
        let registry = Registry::start(Kind::Anonymous);
        let port = free_port();
        let project = Project::example();
        let mut metadata = project.read("pyproject.toml").replace("port = 8000", &format!("port = {port}"));
        let _ = write!(
            metadata,
            "\n[tool.ipo-oci.process.release]\ncommand = [\"{{python}}\", \"-m\", \"app.migrate\"]\n\
             [tool.ipo-oci.deploy]\nmemory = \"300MiB\"\ncpu = 0.5\nsecrets = [\"APP_KEY\"]\nsecret-files = [\"token\"]\n"
        );
        metadata =
            metadata.replace("[tool.ipo-oci]\n", "[tool.ipo-oci]\nwritable = [\"data\"]\nworkers = 1\n");
        project.write("pyproject.toml", &metadata);
        // Fails without either kind of secret.
        project.write(
            "app/migrate.py",
            "import os\nkey = os.environ[\"APP_KEY\"] + open(\"/run/secrets/token\").read()\n\
             open(\"/app/data/migrated\", \"w\").write(key)\n",
        );
        let main = project.read("app/main.py");
        project.write("app/main.py", &format!("MIGRATED = open(\"/app/data/migrated\").read()\n{main}"));
        let name = format!("{}/team/agencyos:1", registry.host());
        project.build(&["--process", "all", "--no-check", "-t", &name, "--push"]);
        let venv = crate::support::Venv::pip();
        let venv = venv.path().to_str().expect("UTF-8");
        deploy(&project, &["compose", "-t", &name, "--venv", venv, "-o", "compose.yaml"]).success();
        project.write(".env", "APP_KEY=key-\n");
        project.write("secrets/token", "token");
        let up = Composition { file: project.path().join("compose.yaml"), name: format!("ipo{port}") };
        up.compose(&["up", "--detach"]).success();
        let healthy = || {
            eventually("the service is healthy", || {
                let container = up.container("web");
                assert_eq!(container["State"]["Status"], "running", "{:#}", container["State"]);
                (container["State"]["Health"]["Status"] == "healthy").then_some(container)
            })
        };
        let container = healthy();
        assert_eq!(http::get(port, "/health").expect("an answer").status, 200);
        let host = &container["HostConfig"];
        assert_eq!(
            (&host["Memory"], &host["NanoCpus"]),
            (&Value::from(300 << 20), &Value::from(500_000_000))
        );
        assert_eq!(
            (&host["ReadonlyRootfs"], &container["Config"]["StopTimeout"]),
            (&true.into(), &Value::from(10))
        );
        let id = container["Id"].as_str().expect("an ID").to_owned();
        let python = |script: &str| output_of("docker", ["exec", &id, "/app/.venv/bin/python", "-c", script]);
        assert_eq!(python("print(open('/app/data/migrated').read())").trim(), "key-token");
        let limit = "import glob; print(open((glob.glob('/sys/fs/cgroup/memory.max') or \
                     glob.glob('/sys/fs/cgroup/memory/memory.limit_in_bytes'))[0]).read())";
        assert_eq!(python(limit).trim(), (300 << 20).to_string());
        // A killed process is started again.
        let pid = container["State"]["Pid"].to_string();
        run(Command::new("kill").args(["-KILL", &pid])).success();
        eventually("the service is started again", || {
            (up.container("web")["RestartCount"].as_u64() > Some(0)).then_some(())
        });
        healthy();
        assert_eq!(http::get(port, "/health").expect("an answer").status, 200);
    }
}
