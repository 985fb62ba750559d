//! The action, the workflow and the recipes of CI systems, run as their systems run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::registry::{Kind, PASSWORD, Registry, USER};
use crate::support::{
    Outcome, Project, binary, clean_environment, copy_folder, ipo_oci, requires, requires_root, run,
    target_dir,
};
use test_macros::test;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A service without dependencies, so that its environment needs no network.
fn beacon() -> Project {
    Project::of(&[
        (
            "pyproject.toml",
            "[project]\nname = \"beacon\"\nversion = \"1.0.0\"\ndependencies = []\n\n[tool.ipo-oci]\n\
             entrypoint = [\"{python}\", \"-m\", \"beacon\"]\nhealthcheck = \"/\"\n",
        ),
        (
            "beacon.py",
            "import http.server, os, signal\n\n\
             signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n\
             port = int(os.environ.get('PORT', 8000))\n\
             http.server.HTTPServer(('', port), http.server.SimpleHTTPRequestHandler).serve_forever()\n",
        ),
    ])
}

/// Runs the steps of an action or a job with the tested program.
fn steps(project: &Project, registry: &Registry, arguments: &[&str]) -> (Outcome, String) {
    requires("uv");
    requires("jq");
    let summary = project.beside("summary.md");
    let mut command = Command::new(repository().join(".ci/steps"));
    clean_environment(&mut command);
    let programs = binary().parent().expect("a folder").display().to_string();
    let path = format!("{}:{programs}:{}", tools(project).display(), std::env::var("PATH").expect("PATH"));
    command.args(arguments).current_dir(repository()).env("PATH", path);
    command.env("GITHUB_STEP_SUMMARY", &summary).env("IPO_OCI_CACHE_DIR", project.beside("cache"));
    command.env("IPO_OCI_INSECURE_REGISTRY", registry.host()).env("HOME", project.beside("home"));
    // The environment of `uv run` stays that of the machine.
    command.env("UV_CACHE_DIR", target_dir().join("test-cache/uv")).env_remove("DOCKER_CONFIG");
    let outcome = run(&mut command);
    (outcome, fs_err::read_to_string(summary).unwrap_or_default())
}

/// Returns a folder of programs that a runner has and this machine may lack. The stand-in for the scanner checks that its
/// input is a layout.
fn tools(project: &Project) -> PathBuf {
    let tools = project.beside("tools");
    fs_err::create_dir_all(&tools).expect("a folder");
    executable(
        &tools.join("trivy"),
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --input) test -e \"$2/oci-layout\" || exit 9; shift;; \
         --output) echo '{}' >\"$2\"; shift;; esac; shift; done\n",
    );
    tools
}

#[test]
fn the_action_builds_tests_compares_and_pushes() {
    requires("docker-registry");
    let (project, registry) = (beacon(), Registry::start(Kind::Htpasswd));
    let image = format!("{}/team/beacon", registry.host());
    let inputs = |more: &[&str]| -> Vec<String> {
        let context = format!("context={}", project.path().display());
        let login = [
            format!("registry={}", registry.host()),
            format!("username={USER}"),
            format!("password={PASSWORD}"),
        ];
        let common = [
            context,
            format!("tags={image}:1, {image}:main"),
            "push=true".to_owned(),
            "test=true".to_owned(),
            "cache-from=type=gha".to_owned(),
            "cache-to=type=gha".to_owned(),
        ];
        let all = common.into_iter().chain(login).chain(more.iter().map(|input| (*input).to_owned()));
        all.flat_map(|input| ["--input".to_owned(), input]).collect()
    };
    let words = inputs(&["test-get=/beacon.py"]);
    let words: Vec<&str> = ["action.yml"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let (outcome, summary) = steps(&project, &registry, &words);
    let outcome = outcome.success();
    let outputs: serde_json::Value = serde_json::from_str(outcome.text()).expect("JSON");
    let reference = outputs["reference"].as_str().expect("a reference");
    assert!(reference.starts_with(&format!("{image}:1@sha256:")), "{reference}");
    assert!(outputs["disk-bytes"].as_str().is_some_and(|bytes| bytes.parse::<u64>().is_ok()), "{outputs}");
    assert!(summary.contains("| source |"), "{summary}");
    assert!(outcome.stderr.contains("GET /beacon.py"), "{}", outcome.stderr);

    // The next build has another file, and is compared with the pushed image.
    project.write("data.txt", "more");
    let words = inputs(&[&format!("compare-with={image}:main"), "args=--max-size=1MB"]);
    let words: Vec<&str> = ["action.yml"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let (outcome, summary) = steps(&project, &registry, &words);
    assert_eq!(outcome.code(), Some(1), "a budget of 1 MB: {}", outcome.stderr);
    assert!(outcome.stderr.contains("::error title=Size"), "{}", outcome.stderr);
    assert!(summary.contains("| source |"), "the report of a refused image: {summary}");
    let words = inputs(&[&format!("compare-with={image}:main")]);
    let words: Vec<&str> = ["action.yml"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let (outcome, summary) = steps(&project, &registry, &words);
    outcome.success();
    assert!(summary.contains("/app/data.txt"), "{summary}");
}

#[test]
fn the_workflow_builds_tests_scans_and_pushes() {
    requires("docker-registry");
    let (project, registry) = (beacon(), Registry::start(Kind::Htpasswd));
    let image = format!("{}/team/beacon", registry.host());
    let run_for = |event: &str, user: &str, more: &[&str]| {
        let context = format!("context={}", project.path().display());
        let image = format!("image={image}");
        let event = format!("github.event_name={event}");
        let actor = format!("github.actor={user}");
        let token = format!("github.token={PASSWORD}");
        let mut words =
            vec![".github/workflows/image.yml", "--job", "image", "--input", &context, "--input", &image];
        words.extend(["--input", "test-get=/", "--set", &event, "--set", &actor, "--set", &token]);
        words.extend(more);
        let (outcome, _) = steps(&project, &registry, &words);
        outcome
    };
    let outcome = run_for("push", USER, &[]).success();
    let outputs: serde_json::Value = serde_json::from_str(outcome.text()).expect("JSON");
    assert!(outputs["reference"].as_str().is_some_and(|name| name.starts_with(&image)), "{outputs}");
    let outcome = run_for("pull_request", "nobody", &[]).success();
    assert!(outcome.stderr.contains("-- Push: not run"), "{}", outcome.stderr);
    let outcome = run_for("pull_request", "nobody", &["--input", "max-size=1"]);
    assert_eq!(outcome.code(), Some(1));
    assert!(outcome.stderr.contains("larger than 1 MB"), "{}", outcome.stderr);
}

fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::write(path, text).expect("a file");
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Runs a recipe in a container without privileges, and checks that the registry has the image.
fn recipe(system: &str, registry: &Registry, image: &str, arguments: &[String], variables: &[(&str, &str)]) {
    requires_root();
    for program in ["podman", "mmdebstrap", "uv"] {
        requires(program);
    }
    let project = beacon();
    let work: PathBuf = project.beside("work");
    copy_folder(project.path(), &work);
    let script = run(Command::new(repository().join(".ci/recipe")).arg(system).args(arguments)).success();
    fs_err::write(project.beside("script"), script.text()).expect("a file");
    fs_err::copy(project.beside("script"), work.join(".script")).expect("a copy");
    fs_err::write(work.join(".dockerignore"), ".script\n.bin\n").expect("a file");
    fs_err::create_dir_all(work.join(".bin")).expect("a folder");
    fs_err::hard_link(binary(), work.join(".bin/ipo-oci"))
        .or_else(|_| fs_err::copy(binary(), work.join(".bin/ipo-oci")).map(drop))
        .expect("the program");
    run(Command::new("chown").args(["-R", "1000:1000"]).arg(&work)).success();
    let host = registry.host();
    let mut given = vec![
        ("REGISTRY", host.as_str()),
        ("REGISTRY_USER", USER),
        ("REGISTRY_PASSWORD", PASSWORD),
        ("IPO_OCI_INSECURE_REGISTRY", host.as_str()),
        ("PIP_NO_INDEX", "1"),
    ];
    given.extend(variables);
    let mut command = Command::new(repository().join(".ci/container"));
    let path = "PATH=/job/.bin:/usr/local/bin:/usr/bin:/bin";
    command.arg(&work).args(["env", path, "bash", "/job/.script"]);
    let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
    command.env("PASS", names.join(" ")).envs(given.iter().copied());
    let outcome = run(&mut command).success();
    let mut inspect = ipo_oci();
    inspect.args(["inspect", &format!("docker://{image}")]).env("IPO_OCI_INSECURE_REGISTRY", &host);
    let config = project.beside("docker");
    fs_err::create_dir_all(&config).expect("a folder");
    let login =
        format!("{{\"auths\":{{\"{host}\":{{\"username\":\"{USER}\",\"password\":\"{PASSWORD}\"}}}}}}");
    fs_err::write(config.join("config.json"), login).expect("a file");
    let found = run(inspect.env("DOCKER_CONFIG", &config));
    assert!(found.status.success(), "{system}: {}\n{}", found.describe(), outcome.stderr);
}

#[test]
fn the_component_of_gitlab_runs_without_privileges() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Htpasswd);
    let image = format!("{}/team/gitlab", registry.host());
    let host = registry.host();
    let variables = [
        ("CI_PROJECT_DIR", "/job"),
        ("CI_COMMIT_SHORT_SHA", "0123abcd"),
        ("CI_COMMIT_BRANCH", "main"),
        ("CI_DEFAULT_BRANCH", "main"),
        ("CI_REGISTRY", host.as_str()),
        ("CI_REGISTRY_USER", USER),
        ("CI_REGISTRY_PASSWORD", PASSWORD),
    ];
    let arguments = [format!("image={image}"), "test-get=/".to_owned()];
    recipe("gitlab", &registry, &format!("{image}:main"), &arguments, &variables);
}

#[test]
fn the_pipeline_of_azure_runs_without_privileges() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Htpasswd);
    let image = "team/azure";
    let arguments = [
        format!("REGISTRY={}", registry.host()),
        format!("IMAGE={image}"),
        "Build.SourceVersion=1".to_owned(),
        format!("REGISTRY_USER={USER}"),
        format!("REGISTRY_PASSWORD={PASSWORD}"),
    ];
    let image = format!("{}/{image}:1", registry.host());
    recipe("azure", &registry, &image, &arguments, &[("AGENT_TEMPDIRECTORY", "/tmp")]);
}

#[test]
fn the_pipeline_of_jenkins_runs_without_privileges() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Htpasswd);
    let image = format!("{}/team/jenkins", registry.host());
    let variables = [("WORKSPACE", "/job"), ("WORKSPACE_TMP", "/tmp/work@tmp"), ("BUILD_NUMBER", "7")];
    recipe("jenkins", &registry, &format!("{image}:7"), &[format!("IMAGE={image}")], &variables);
}

#[test]
fn the_task_of_tekton_runs_without_privileges() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Htpasswd);
    let image = format!("{}/team/tekton:1", registry.host());
    let login = format!(
        "{{\"auths\":{{\"{}\":{{\"username\":\"{USER}\",\"password\":\"{PASSWORD}\"}}}}}}",
        registry.host()
    );
    let credentials = registry.folder.path().join("credentials");
    fs_err::create_dir(&credentials).expect("a folder");
    fs_err::write(credentials.join("config.json"), login).expect("a file");
    // Tekton mounts a folder of its own there.
    let home = registry.folder.path().join("tekton");
    fs_err::create_dir(&home).expect("a folder");
    run(Command::new("chown").arg("1000:1000").arg(&home)).success();
    let mounts = format!("{}:/credentials:ro {}:/tekton", credentials.display(), home.display());
    let arguments = [format!("params.image={image}"), "workspaces.credentials.path=/credentials".to_owned()];
    recipe("tekton", &registry, &image, &arguments, &[("VOLUMES", &mounts)]);
}

#[test]
fn the_pipeline_of_buildkite_runs_without_privileges() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Htpasswd);
    let image = format!("{}/team/buildkite", registry.host());
    let variables =
        [("IMAGE", image.as_str()), ("BUILDKITE_COMMIT", "0123abcd"), ("BUILDKITE_BRANCH", "main")];
    recipe("buildkite", &registry, &format!("{image}:0123abcd"), &[], &variables);
}
