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
                "# cap_add: [CHOWN,",
                "sysctls: [\"net.ipv4.ip_unprivileged_port_start=0\"]",
            ],
            vec!["read_only: true\n"],
        ),
        (
            serde_json::json!({ "Cmd": ["x"], "User": "1001:0", "StopSignal": "SIGQUIT",
                "ExposedPorts": { "3000-3003/tcp": {} }, "Volumes": { "/data": {}, "/etc/conf d": {} },
                "Healthcheck": { "Test": ["NONE"] } }),
            vec!["127.0.0.1:3000:3000", "also exposes 3001-3003", "data:/data", "\"etc-conf-d:/etc/conf d\""],
            vec!["cap_add", "sysctls", "runs as root"],
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

const EVERYTHING: &str = "[tool.ipo-oci.deploy]\nmax-replicas = 6\ncpu = 0.25\nmemory = \"256MiB\"\n\
    env = { LOG_LEVEL = \"info\", ODD = \"a: 'b' \\\"c\\\" %d $e #\" }\nsecrets = [\"SECRET_KEY\"]\n\
    hosts = [\"shop.example.com\"]\n";

/// Returns the files of a target.
#[track_caller]
fn files(project: &Project, arguments: &[&str]) -> Vec<(String, String)> {
    let folder = project.beside("out");
    let _ = fs_err::remove_dir_all(&folder);
    fs_err::create_dir(&folder).expect("a folder");
    let to = folder.to_str().expect("UTF-8");
    let outcome = deploy(project, &[arguments, &["-t", "ghcr.io/team/shop:2", "-o", to]].concat());
    outcome.success();
    let mut files: Vec<(String, String)> = fs_err::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file"))
        .map(|entry| {
            let text = fs_err::read_to_string(entry.path()).expect("UTF-8");
            (entry.file_name().into_string().expect("UTF-8"), text)
        })
        .collect();
    files.sort();
    files
}

fn objects_of<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Checks a pod by the rules of the Pod Security Standard `restricted` that a manifest can break.
#[track_caller]
fn check_restricted(pod: &Value) {
    let of_pod = &pod["securityContext"];
    assert_eq!(of_pod["runAsNonRoot"], true, "{pod:#}");
    assert!(of_pod["runAsUser"].as_u64() > Some(0), "{pod:#}");
    assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault", "{pod:#}");
    for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert!(pod.get(key).is_none(), "{key}");
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds = [
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        let keys: Vec<&String> = volume.as_object().expect("a volume").keys().collect();
        assert!(keys.iter().all(|key| *key == "name" || kinds.contains(&key.as_str())), "{keys:?}");
    }
    for container in pod["containers"].as_array().expect("containers") {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"], serde_json::json!({ "drop": ["ALL"] }));
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert!(context.get("privileged").is_none() && container["ports"][0].get("hostPort").is_none());
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
}

#[test]
fn kubernetes_objects_follow_the_images() {
    let project = project(&format!("{EVERYTHING}secret-files = [\"tls.key\"]\n"));
    let files = files(&project, &["kubernetes"]);
    let [(name, text)] = &files[..] else { panic!("{files:?}") };
    assert_eq!(name, "kubernetes.yaml");
    let objects = yaml(text);
    let deployments = objects_of(&objects, "Deployment");
    let names: Vec<&Value> = deployments.iter().map(|object| &object["metadata"]["name"]).collect();
    assert_eq!(names, ["shop", "shop-admin", "shop-worker"]);
    let pods = deployments.iter().map(|object| &object["spec"]["template"]["spec"]);
    let jobs = objects_of(&objects, "Job");
    let crons = objects_of(&objects, "CronJob");
    let pods = pods.chain(jobs.iter().map(|object| &object["spec"]["template"]["spec"]));
    let pods =
        pods.chain(crons.iter().map(|object| &object["spec"]["jobTemplate"]["spec"]["template"]["spec"]));
    let pods: Vec<&Value> = pods.collect();
    assert_eq!(pods.len(), 5);
    pods.into_iter().for_each(check_restricted);
    let container = &deployments[0]["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let request = &container[probe]["httpGet"];
        assert_eq!(
            (&request["path"], &request["port"]),
            (&Value::from("/health"), &Value::from(8000)),
            "{text}"
        );
        // As the check in the image, which applications with a list of hosts accept.
        assert_eq!(request["httpHeaders"][0]["value"], "127.0.0.1");
    }
    assert_eq!(container["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
    assert_eq!(container["env"][0]["valueFrom"]["secretKeyRef"]["key"], "SECRET_KEY");
    let config = objects_of(&objects, "ConfigMap")[0];
    assert_eq!(config["data"]["ODD"], "a: 'b' \"c\" %d $e #");
    // A worker has no port and no probe.
    let worker = &deployments[2]["spec"]["template"]["spec"]["containers"][0];
    assert!(worker.get("ports").is_none() && worker.get("livenessProbe").is_none(), "{worker:#}");
    assert_eq!(objects_of(&objects, "Service").len(), 2);
    assert_eq!(objects_of(&objects, "Ingress")[0]["spec"]["rules"][0]["host"], "shop.example.com");
    assert!(objects_of(&objects, "HTTPRoute").is_empty());
    assert_eq!(objects_of(&objects, "HorizontalPodAutoscaler")[0]["spec"]["maxReplicas"], 6);
    assert_eq!(crons[0]["spec"]["schedule"], "0 4 * * *");
    // A change of the release is another job.
    let job = jobs[0]["metadata"]["name"].clone();
    let changed = deploy(&project, &["kubernetes", "-t", "ghcr.io/team/shop:2", "--label", "a=b"]).success();
    assert_ne!(objects_of(&yaml(changed.text()), "Job")[0]["metadata"]["name"], job);
}

#[test]
fn kubernetes_objects_are_valid() {
    crate::support::requires("kubernetes-validate");
    let everything = project(&format!("{EVERYTHING}secret-files = [\"tls.key\"]\n"));
    for project in [everything, project("")] {
        for (name, text) in files(&project, &["kubernetes"]) {
            let file = project.beside(&name);
            fs_err::write(&file, &text).expect("a file");
            let outcome = run(Command::new("kubernetes-validate").arg("--strict").arg(&file));
            assert!(outcome.status.success(), "{}\n{text}", outcome.describe());
        }
    }
}

#[test]
fn a_base_of_kustomize_has_the_same_objects() {
    let project = project(EVERYTHING);
    let base = project.beside("base");
    let to = base.to_str().expect("UTF-8");
    deploy(&project, &["kubernetes", "-t", "ghcr.io/team/shop:2", "--kustomize", to]).success();
    let kustomization = yaml(&fs_err::read_to_string(base.join("kustomization.yaml")).expect("a file"));
    let resources = kustomization[0]["resources"].as_array().expect("resources").iter();
    let text =
        |file: &Value| fs_err::read_to_string(base.join(file.as_str().expect("a name"))).expect("a file");
    let objects: Vec<Value> = resources.flat_map(|file| yaml(&text(file))).collect();
    let plain = deploy(&project, &["kubernetes", "-t", "ghcr.io/team/shop:2"]).success();
    assert_eq!(objects, yaml(plain.text()));
    let outcome = deploy(&project, &["compose", "--kustomize", to]).exits_with(2);
    assert!(outcome.stderr.contains("name kubernetes"), "{}", outcome.stderr);
}

#[test]
fn a_gateway_takes_the_place_of_an_ingress() {
    for (gateway, parent) in [
        ("public", serde_json::json!({ "name": "public" })),
        ("gateways/public", serde_json::json!({ "name": "public", "namespace": "gateways" })),
    ] {
        let settings = "[tool.ipo-oci.deploy]\nhosts = [\"shop.example.com\", \"example.com\"]\n";
        let project = project(&format!("{settings}gateway = \"{gateway}\"\n"));
        let text = deploy(&project, &["kubernetes", "-t", "ghcr.io/team/shop:2"]).success();
        let objects = yaml(text.text());
        assert!(objects_of(&objects, "Ingress").is_empty());
        let [route] = objects_of(&objects, "HTTPRoute")[..] else { panic!("{}", text.text()) };
        assert_eq!(route["apiVersion"], "gateway.networking.k8s.io/v1");
        // The schema is that of a custom resource, which no package has.
        assert_eq!(
            route["spec"],
            serde_json::json!({
                "parentRefs": [parent],
                "hostnames": ["example.com", "shop.example.com"],
                "rules": [{ "backendRefs": [{ "name": "shop", "port": 80 }] }],
            })
        );
        let service = objects_of(&objects, "Service")[0];
        assert_eq!(
            (&service["metadata"]["name"], &service["spec"]["ports"][0]["port"]),
            (&"shop".into(), &80.into())
        );
    }
}

#[test]
fn other_targets_are_valid_by_their_schemas() {
    crate::support::requires("cfn-lint");
    let with_file = project(&format!("{EVERYTHING}secret-files = [\"tls.key\"]\n"));
    for project in [project(EVERYTHING), project("")] {
        let out = project.beside("out");
        let file = |name: &str| out.join(name).to_str().expect("UTF-8").to_owned();
        for (name, _) in files(&project, &["ecs"]) {
            run(Command::new("cfn-lint").arg(file(&name))).success();
        }
    }
    for project in [with_file, project("")] {
        let out = project.beside("out");
        let file = |name: &str| out.join(name).to_str().expect("UTF-8").to_owned();
        for (name, _) in files(&project, &["nomad"]) {
            run(Command::new("hcl2tojson").arg(file(&name))).success();
        }
        for (name, text) in files(&project, &["fly"]) {
            let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
            assert!(table.contains_key("app") && table.contains_key("build"), "{text}");
        }
        for (name, text) in files(&project, &["cloud-run"]) {
            let script = include_str!("deploy_cloud_run.py");
            let outcome =
                run(Command::new("deploy-python").args(["-c", script]).arg(yaml(&text)[0].to_string()));
            assert!(outcome.status.success(), "{name}: {}\n{text}", outcome.describe());
        }
    }
}

#[test]
fn a_target_without_a_place_for_secrets_says_so() {
    let project = project("[tool.ipo-oci.deploy]\nsecret-files = [\"a\", \"b\"]\n");
    for (target, part) in [("ecs", "ECS has no secret files"), ("cloud-run", "one secret file")] {
        let outcome = deploy(&project, &[target]).exits_with(1);
        assert!(outcome.stderr.contains(part) && outcome.stderr.contains("help:"), "{}", outcome.stderr);
    }
}

#[test]
fn podmans_generator_accepts_the_units() {
    crate::support::requires("quadlet");
    let project = project(&format!("{EVERYTHING}secret-files = [\"tls.key\"]\n"));
    let units = files(&project, &["systemd"]);
    let names: Vec<&str> = units.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "shop-admin.container",
        "shop-app-data.volume",
        "shop-release.container",
        "shop-report.container",
        "shop-report.timer",
        "shop-worker.container",
        "shop.container",
        "shop.network",
    ];
    assert_eq!(names, expected);
    let outcome =
        run(Command::new("quadlet").arg("-dryrun").env("QUADLET_UNIT_DIRS", project.beside("out"))).success();
    let services = outcome.text();
    let start = |service: &str| {
        let unit = services.split(&format!("---{service}---")).nth(1).expect("a service");
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command").to_owned()
    };
    let web = start("shop.service");
    for part in [
        "--read-only",
        "--cap-drop all",
        "--security-opt=no-new-privileges",
        "--publish 127.0.0.1:8000:8000",
        "--secret shop-SECRET_KEY,type=env,target=SECRET_KEY",
        "target=tls.key,uid=1000,gid=1000,mode=0400",
        "--health-interval 10s",
        "--memory=268435456",
        "--stop-timeout=10",
        "LOG_LEVEL=info",
    ] {
        assert!(web.contains(part), "{part}: {web}");
    }
    assert!(web.contains("--health-cmd") && web.contains("http.client"), "{web}");
    assert!(!start("shop-worker.service").contains("--health-cmd"));
    assert!(services.contains("After=shop-release.service"), "{services}");
    assert!(
        !["unsupported", "error"].iter().any(|word| outcome.stderr.to_lowercase().contains(word)),
        "{}",
        outcome.stderr
    );
}

#[test]
fn files_that_would_be_source_are_refused() {
    let project = project("");
    for target in [vec!["kubernetes", "-o", "k8s.yaml"], vec!["kubernetes", "--kustomize", "k8s/base"]] {
        let outcome = deploy(&project, &target).exits_with(2);
        assert!(outcome.stderr.contains("would be part of the image"), "{}", outcome.stderr);
    }
    project.write(".dockerignore", "k8s\n");
    deploy(&project, &["kubernetes", "--kustomize", "k8s/base"]).success();
    // A recipe excludes Compose's files.
    deploy(&project, &["compose", "-o", "compose.yaml"]).success();
}

#[test]
fn every_target_describes_images_of_other_builders() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = "curl -H 'Authorization: Bearer hunter2' http://localhost/";
    for config in [
        serde_json::json!({ "Cmd": ["x"], "ExposedPorts": { "80/tcp": {}, "81/tcp": {}, "53/udp": {} } }),
        serde_json::json!({ "Cmd": ["x"], "User": "app", "ExposedPorts": { "5000/tcp": {} }, "Volumes": { "/data": {} },
            "Healthcheck": { "Test": ["CMD-SHELL", "curl -f http://localhost:5000/up || exit 1"] } }),
        serde_json::json!({ "Cmd": ["x"], "User": "1", "ExposedPorts": { "80/tcp": {} },
            "Healthcheck": { "Test": ["CMD-SHELL", secret] } }),
        serde_json::json!({ "Healthcheck": { "Test": ["CMD-SHELL", secret] } }),
        serde_json::json!({ "Cmd": ["x"], "Healthcheck": { "Test": ["CMD", "check", "--all"] } }),
    ] {
        let image = foreign(folder.path(), &config);
        for target in ["compose", "kubernetes", "cloud-run", "ecs", "fly", "nomad", "systemd"] {
            let outcome = run(ipo_oci().args(["deploy", target, &image])).success();
            let text = outcome.text();
            assert!(
                text.contains("service@sha256:") && !text.contains("hunter2"),
                "{target} {config}: {text}"
            );
            if ["compose", "kubernetes", "cloud-run", "ecs"].contains(&target) {
                assert!(!yaml(text).is_empty());
            }
        }
    }
}

#[test]
fn podman_plays_the_objects_until_the_service_is_healthy() {
    for program in ["podman", "catatonit", "runc"] {
        crate::support::requires(program);
    }
    crate::support::requires_root();
    let port = crate::support::free_port();
    let project = Project::example();
    let settings =
        "[tool.ipo-oci.deploy]\nreplicas = 1\nmemory = \"300MiB\"\nenv = { APP_ENVIRONMENT = \"staging\" }\n";
    let metadata =
        project.read("pyproject.toml").replace("port = 8000", &format!("port = {port}\nworkers = 2"));
    project.write("pyproject.toml", &format!("{metadata}\n{settings}"));
    let venv = crate::support::Venv::pip();
    let venv = venv.path().to_str().expect("UTF-8");
    let archive = project.beside("image.tar");
    let name = format!("localhost/play{port}:1");
    project.build(&["-t", &name, "-o", &format!("oci-archive:{}", archive.display())]);
    let file = project.beside("play.yaml");
    let file = file.to_str().expect("UTF-8");
    deploy(&project, &["kubernetes", "-t", &name, "--by-tag", "--venv", venv, "-o", file]).success();
    // This machine has no systemd, and limits the processes of root.
    let config = project.beside("containers.conf");
    fs_err::write(&config, "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n")
        .expect("a file");
    let store = tempfile::tempdir().expect("a folder");
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", &config).env_remove("DOCKER_CONFIG");
        command.args([
            "--storage-driver",
            "vfs",
            "--runtime",
            "runc",
            "--cgroup-manager",
            "cgroupfs",
            "--root",
        ]);
        command.arg(store.path().join("root")).arg("--runroot").arg(store.path().join("run"));
        run(command.args(arguments))
    };
    podman(&["load", "--quiet", "--input", archive.to_str().expect("UTF-8")]).success();
    let played = podman(&["play", "kube", file]);
    let outcome = std::panic::catch_unwind(|| {
        assert!(played.status.success(), "{}", played.describe());
        let healthy = crate::support::http::wait_for(port, "/health");
        assert_eq!(healthy.status, 200);
        for path in ["/", "/metrics"] {
            assert_eq!(crate::support::http::get(port, path).expect("an answer").status, 200, "{path}");
        }
    });
    let inspected = podman(&["ps", "--quiet", "--filter", "name=-web"]);
    let inspected = podman(&["inspect", inspected.text().trim()]);
    podman(&["play", "kube", "--down", file]);
    podman(&["pod", "rm", "--all", "--force"]);
    podman(&["system", "reset", "--force"]);
    if let Err(panic) = outcome {
        eprintln!("{}", inspected.describe());
        std::panic::resume_unwind(panic);
    }
    let container: Value = serde_json::from_slice(&inspected.success().stdout).expect("JSON");
    let host = &container[0]["HostConfig"];
    assert_eq!((&host["ReadonlyRootfs"], &host["Memory"]), (&true.into(), &Value::from(300 << 20)));
    assert_eq!(container[0]["EffectiveCaps"].as_array().map_or(0, Vec::len), 0);
    assert!(container[0]["Config"]["Env"].to_string().contains("APP_ENVIRONMENT=staging"));
}

#[cfg(feature = "registry")]
mod compose {
    use std::fmt::Write as _;
    use std::path::PathBuf;

    use super::{Command, Outcome, Project, Value, deploy, run};
    use test_macros::test;

    use crate::support::engine::Engine;
    use crate::support::registry::{Kind, Registry};
    use crate::support::{eventually, free_port, http, output_of, requires};

    /// A project of Compose, removed with its volumes at the end.
    struct Composition {
        program: &'static str,
        file: PathBuf,
        name: String,
    }

    impl Composition {
        fn compose(&self, arguments: &[&str]) -> Outcome {
            let file = self.file.to_str().expect("UTF-8");
            run(Command::new(self.program)
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
    fn compose_1_runs_migrations_first_and_keeps_the_service_up() {
        check("docker-compose");
    }

    #[test]
    fn compose_2_runs_migrations_first_and_keeps_the_service_up() {
        check("docker-compose-2");
    }

    fn check(program: &'static str) {
        requires(program);
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
        let up =
            Composition { program, file: project.path().join("compose.yaml"), name: format!("ipo{port}") };
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
