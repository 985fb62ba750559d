//! The command as its user sees it: output lines, files and exit codes.

use std::path::Path;
use std::process::Stdio;

use crate::support::layout::Layout;
use crate::support::{Project, ipo_oci, requires, run};
use ipo_oci::recipe::Target;
use serde_json::{Value, json};
use test_macros::test;

/// Splits `REFERENCE@sha256:…` and checks its form.
#[track_caller]
fn reference(line: &str) -> (&str, &str) {
    let (name, digest) = line.rsplit_once('@').expect("a reference by digest");
    let hex = digest.strip_prefix("sha256:").expect("a SHA-256");
    assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
    assert!(!name.is_empty(), "{line}");
    (name, digest)
}

#[test]
fn prints_one_line_per_image() {
    let project = Project::example();
    let outcome = project.build(&[]);
    let lines: Vec<_> = outcome.text().lines().collect();
    assert_eq!(lines.len(), 1, "{}", outcome.describe());
    assert_eq!(reference(lines[0]).1, project.layout().image("latest").digest);
    // The size report.
    assert!(outcome.stderr.contains("pydantic"), "{}", outcome.stderr);
}

#[test]
fn three_images_share_one_layout() {
    let project = Project::example();
    let outcome = project.build(&["--target", "all", "-t", "team/agencyos:3.0.0"]);
    let layout = project.layout();
    let mut tags = layout.tags();
    tags.sort();
    assert_eq!(tags, ["3.0.0", "3.0.0-builder", "3.0.0-dev"]);
    layout.verify();
    let mut printed: Vec<_> = outcome.text().lines().map(|line| reference(line).1.to_owned()).collect();
    let mut stored: Vec<_> = tags.iter().map(|tag| layout.image(tag).digest).collect();
    printed.sort();
    stored.sort();
    assert_eq!(printed, stored);

    // Shared blobs are stored once: the interpreter and the large distributions.
    let digests = |tag: &str| -> Vec<String> {
        layout.image(tag).layers().iter().map(|layer| layer["digest"].to_string()).collect()
    };
    let (runtime, dev) = (digests("3.0.0"), digests("3.0.0-dev"));
    assert!(runtime.iter().filter(|layer| dev.contains(layer)).count() >= 2, "{runtime:?}\n{dev:?}");
}

#[test]
fn a_second_tag_keeps_the_first() {
    let project = Project::example();
    project.build(&["-t", "agencyos:one"]);
    let first = project.layout().image("one").digest;
    project.build(&["-t", "agencyos:two", "--port", "9000"]);
    assert_eq!(project.layout().image("one").digest, first);
    assert_ne!(project.layout().image("two").digest, first);
    // Reusing a tag moves it to the new image.
    project.build(&["-t", "agencyos:one", "--port", "9000"]);
    let layout = project.layout();
    assert_eq!(layout.image("one").digest, layout.image("two").digest);
    layout.verify();
}

#[test]
fn the_configuration_suits_production() {
    let image = Project::example().image(&[]);
    image.verify();
    let config = &image.config["config"];
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(config["WorkingDir"], "/app");
    assert_eq!(config["ExposedPorts"], json!({"8000/tcp": {}}));
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(image.config["os"], "linux");
    assert!(image.config["created"].is_string());

    let command: Vec<_> = ["Entrypoint", "Cmd"]
        .iter()
        .flat_map(|key| config[key].as_array().cloned().unwrap_or_default())
        .map(|word| word.as_str().expect("a word").to_owned())
        .collect();
    // A launcher sets the port.
    assert_eq!(command[..3], ["/app/.venv/bin/python", "-IS", "-c"], "{command:?}");
    assert_eq!(command[4..], ["/app/.venv/bin/uvicorn", "app.main:app"], "{command:?}");

    let test = config["Healthcheck"]["Test"].as_array().expect("a health check");
    assert_eq!(test[0], "CMD");
    assert!(test[1].as_str().expect("a program").starts_with("/app/.venv/bin/python"), "{test:?}");
    assert!(config["Healthcheck"]["Interval"].as_i64().expect("nanoseconds") >= 1_000_000_000);

    // Each layer has a history entry that names it.
    let history = image.config["history"].as_array().expect("history");
    assert_eq!(history.len(), image.layers().len());
    let last = history.last().expect("a line");
    assert_eq!(last["created_by"], "ipo-oci: source");
    assert_eq!(last["comment"], "changed at every commit");

    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.title"], "agencyos");
    assert_eq!(labels["org.opencontainers.image.version"], "3.0.0");
    assert_eq!(image.manifest["annotations"]["org.opencontainers.image.version"], "3.0.0");

    let passwd = String::from_utf8(image.read_file("etc/passwd")).expect("UTF-8");
    assert!(passwd.lines().any(|line| line.starts_with("agencyos:x:1000:1000:")), "{passwd}");
}

#[test]
fn flags_override_variables_and_variables_override_the_project() {
    let project = Project::example();
    let port = |variable: Option<&str>, flag: Option<&str>| -> String {
        let mut command = project.command("build");
        command.arg("--venv").arg(crate::support::Venv::pip().path());
        if let Some(value) = variable {
            command.env("IPO_OCI_PORT", value);
        }
        if let Some(value) = flag {
            command.args(["--port", value]);
        }
        run(&mut command).success();
        let ports = project.layout().only().config["config"]["ExposedPorts"].clone();
        ports.as_object().expect("ports").keys().next().expect("a port").clone()
    };
    assert_eq!(port(None, None), "8000/tcp");
    assert_eq!(port(Some("8001"), None), "8001/tcp");
    assert_eq!(port(Some("8001"), Some("8002")), "8002/tcp");
}

#[test]
fn a_recipe_flag_overrides_the_project_and_other_flags_override_both() {
    let project = Project::tiny();
    project.write(
        "pyproject.toml",
        &format!(
            "{}\n[tool.ipo-oci]\nentrypoint = [\"{{venv}}/bin/uvicorn\", \"{{app}}\"]\nworkdir = \"/srv\"\nenv.A = \"project\"\n",
            project.read("pyproject.toml")
        ),
    );
    project.write("worker.py", "");
    project.write(
        "worker.toml",
        "extends = \"runtime\"\nentrypoint = [\"{python}\", \"-m\", \"worker\"]\nhealthcheck = false\nenv.A = \"recipe\"\nenv.B = \"recipe\"\n",
    );
    let of = |variable: Option<&str>, arguments: &[&str]| {
        let mut command = project.command("build");
        if let Some(value) = variable {
            command.env("IPO_OCI_RECIPE", value);
        }
        run(command.args(arguments)).success();
        project.layout().only().config["config"].clone()
    };
    for (variable, flags) in [(None, &["--recipe", "worker.toml"][..]), (Some("worker.toml"), &[])] {
        let config = of(variable, flags);
        assert_eq!(config["Entrypoint"], json!(["/srv/.venv/bin/python", "-m", "worker"]));
        let env = config["Env"].to_string();
        assert!(env.contains("A=recipe") && env.contains("B=recipe"), "{env}");
        // Settings that the recipe lacks come from the project.
        assert_eq!(config["WorkingDir"], "/srv");
    }
    let config = of(None, &["--recipe", "worker.toml", "--env", "A=flag"]);
    assert!(config["Env"].to_string().contains("A=flag"));
    // A recipe named by the project has lower precedence than the project's settings.
    project.write(
        "pyproject.toml",
        &format!(
            "{}recipe = \"worker.toml\"\n",
            project.read("pyproject.toml").replace("env.A = \"project\"\n", "")
        ),
    );
    let config = of(None, &[]);
    let words = config["Entrypoint"].as_array().unwrap();
    assert_eq!(words[4..], [json!("/srv/.venv/bin/uvicorn"), json!("main:app")]);
    assert!(config["Env"].to_string().contains("A=recipe"));
}

#[test]
fn add_extends_a_list() {
    let project = Project::tiny();
    let table = project.read("pyproject.toml");
    project.write("pyproject.toml", &format!("{table}\n[tool.ipo-oci]\nexclude = {{ add = [\"notes\"] }}\n"));
    project.write("notes/a.txt", "");
    project.write(".env", "");
    let files = project.image(&[]).files();
    assert!(files.contains_key("app/main.py"));
    for path in ["app/notes/a.txt", "app/.env"] {
        assert!(!files.contains_key(path), "{path}");
    }
}

#[test]
fn an_explicit_tag_of_one_image_has_no_suffix() {
    let project = Project::tiny();
    let tags = |arguments: &[&str], variable: Option<&str>| {
        let folder = project.beside("tags");
        let _ = fs_err::remove_dir_all(&folder);
        let mut command = project.command("build");
        if let Some(value) = variable {
            command.env("IPO_OCI_TAG", value);
        }
        run(command.args(arguments).current_dir(project.path())).success();
        let mut tags = Layout::open(&folder).tags();
        tags.sort();
        tags
    };
    let named = format!("oci:{}:mine", project.beside("tags").display());
    let unnamed = format!("oci:{}", project.beside("tags").display());
    assert_eq!(tags(&["--target", "dev", "-o", &named], None), ["mine"]);
    assert_eq!(tags(&["--target", "runtime,dev", "-o", &named], None), ["mine", "mine-dev"]);
    assert_eq!(tags(&["--target", "dev", "-o", &unnamed, "-t", "x:dev"], None), ["dev"]);
    assert_eq!(tags(&["--target", "dev", "-o", &unnamed, "-t", "x"], None), ["latest-dev"]);
    assert_eq!(tags(&["--target", "runtime,dev", "-o", &unnamed, "-t", "x:1"], None), ["1", "1-dev"]);
    // A variable applies to several builds.
    assert_eq!(tags(&["--target", "dev", "-o", &unnamed], Some("x:1")), ["1-dev"]);
}

#[test]
fn an_image_has_all_given_names() {
    let project = Project::tiny();
    let metadata = project.beside("metadata.json");
    let docker = project.beside("docker.tar");
    let oci = project.beside("oci.tar");
    let names = ["-t", "ghcr.io/team/hello:1.2", "-t", "ghcr.io/team/hello:latest", "-t", "other/hello:1.2"];
    let places = [format!("docker-archive:{}", docker.display()), format!("oci-archive:{}", oci.display())];
    let mut arguments = names.to_vec();
    arguments.extend(["-o", "oci:dist/image", "-o", &places[0], "-o", &places[1], "--metadata-file"]);
    arguments.push(metadata.to_str().expect("UTF-8"));
    let outcome = project.build(&arguments);
    assert_eq!(outcome.text().lines().count(), 1, "{}", outcome.describe());
    let layout = project.layout();
    let mut tags = layout.tags();
    tags.sort();
    assert_eq!(tags, ["1.2", "latest", "other/hello:1.2"]);
    assert_eq!(layout.image("latest").digest, layout.image("1.2").digest);
    let metadata = crate::support::layout::json(&fs_err::read(metadata).expect("a file"));
    let whole = ["ghcr.io/team/hello:1.2", "ghcr.io/team/hello:latest", "other/hello:1.2"];
    assert_eq!(metadata["image.name"], whole.join(","));
    for archive in [&docker, &oci] {
        let manifest =
            crate::support::output_of("tar", ["-xOf", archive.to_str().expect("UTF-8"), "manifest.json"]);
        let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
        assert_eq!(manifest[0]["RepoTags"], json!(whole));
    }
    // The first name replaces the project's, if that is missing.
    project.build(&["--dry-run", "-t", "a:1,b:2"]);
}

#[test]
fn errors_name_the_variable_of_a_value() {
    let project = Project::tiny();
    let wrong = |variable: &str, value: &str, arguments: &[&str]| {
        let mut command = project.command("build");
        run(command.args(arguments).env(variable, value)).exits_with(2).stderr
    };
    for (variable, value) in [
        ("IPO_OCI_PORT", "http"),
        ("IPO_OCI_TARGET", "production"),
        ("IPO_OCI_MAX_SIZE", "12"),
        ("IPO_OCI_HEALTHCHECK", "health"),
        ("IPO_OCI_FORMAT", "x"),
    ] {
        let said = wrong(variable, value, &[]);
        assert!(said.contains(variable) && said.contains(value) && !said.contains("for '--"), "{said}");
    }
    let said = wrong("IPO_OCI_PORT", "http", &["--port", "ftp"]);
    assert!(said.contains("--port") && !said.contains("IPO_OCI_PORT"), "{said}");
}

#[test]
fn empty_variables_are_ignored() {
    let project = Project::tiny();
    let mut help = project.command("build");
    let help = run(help.arg("--help")).success();
    let mut command = project.command("build");
    let mut count = 0;
    for name in help.text().split("[env: ").skip(1).filter_map(|rest| rest.split(']').next()) {
        count += 1;
        command.env(name, "");
    }
    assert!(count > 25, "{}", help.text());
    // A variable names the cache of the tests as well.
    run(command.args(["--dry-run", "--cache-dir"]).arg(project.beside("cache"))).success();
}

#[test]
fn warns_of_misspelled_variables() {
    let project = Project::tiny();
    let mut command = project.command("build");
    let outcome = run(command.arg("--dry-run").env("IPO_OCI_WORKER", "3")).success();
    assert!(
        outcome.stderr.contains("IPO_OCI_WORKER") && outcome.stderr.contains("IPO_OCI_WORKERS"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn suggests_corrections() {
    let project = Project::tiny();
    let table = project.read("pyproject.toml");
    for (settings, said) in [
        ("[tool.ipo-oci]\nprot = 80", "did you mean `port`?"),
        ("[tool.ipo-oci]\nworkers = \"3\"", "a whole number from 1 to 65535"),
        ("[tool.ipo_oci]\nport = 80", "did you mean `[tool.ipo-oci]`?"),
        ("[tool.ipo-oci]\nextends = \"dev\"", "cannot set `extends`"),
        ("[tool.ipo-oci]\nmax-size = 12", "12MB"),
    ] {
        project.write("pyproject.toml", &format!("{table}\n{settings}\n"));
        let outcome = project.try_build(&["--dry-run"]).exits_with(1);
        assert!(
            outcome.stderr.contains(said) && outcome.stderr.contains("pyproject.toml"),
            "{}",
            outcome.stderr
        );
    }
    project.write("pyproject.toml", &table);
    let outcome = project.try_build(&["-o", "hello.tar"]).exits_with(2);
    assert!(outcome.stderr.contains("oci-archive:hello.tar"), "{}", outcome.stderr);
    let outcome = project.try_build(&["--max-size", "12"]).exits_with(2);
    assert!(outcome.stderr.contains("12MB"), "{}", outcome.stderr);
}

#[test]
fn missing_tools_exit_with_4() {
    let project = Project::of(&[("requirements.txt", "idna\n"), ("main.py", "")]);
    let outcome = run(project.command("build").env("PATH", project.beside("nothing"))).exits_with(4);
    assert!(outcome.stderr.contains("neither uv nor python3"), "{}", outcome.stderr);
}

#[test]
fn flags_reach_the_configuration() {
    let project = Project::example();
    let image = project.image(&[
        "--user",
        "65532:65533",
        "--env",
        "TEAM=blue",
        "--label",
        "com.example.team=blue",
        "--no-healthcheck",
        "--workers",
        "7",
    ]);
    let config = &image.config["config"];
    assert_eq!(config["User"], "65532:65533");
    let variables: Vec<_> =
        config["Env"].as_array().expect("variables").iter().map(|v| v.as_str().unwrap()).collect();
    assert!(variables.contains(&"TEAM=blue"), "{variables:?}");
    assert!(variables.contains(&"WEB_CONCURRENCY=7"), "{variables:?}");
    assert_eq!(config["Labels"]["com.example.team"], "blue");
    let check = &config["Healthcheck"];
    assert!(check.is_null() || check["Test"] == json!(["NONE"]), "{check:#}");
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_no_file() {
    let project = Project::example();
    let before = crate::support::snapshot(project.path());
    let outcome = project.build(&["--dry-run"]);
    assert_eq!(crate::support::snapshot(project.path()), before);
    let said = format!("{}{}", outcome.text(), outcome.stderr);
    for word in ["pydantic", "interpreter", "1000:1000", "8000", "app.main:app"] {
        assert!(said.contains(word), "{word} is missing from the plan:\n{said}");
    }
    let lines = outcome.text().lines().count();
    assert!(lines < 60, "{lines} lines:\n{}", outcome.text());
    let full = project.build(&["--dry-run=full"]);
    let total = |text: &str| text.lines().last().map(str::to_owned);
    assert_eq!(total(full.text()), total(outcome.text()));
    for word in ["  fastapi ", ": pyproject.toml: fastapi", " /app/app/main.py"] {
        assert!(full.text().contains(word), "{word} is missing from the plan:\n{}", full.text());
    }
}

#[test]
fn a_plan_as_json_has_the_files_of_the_image() {
    let project = Project::tiny();
    let plan =
        crate::support::layout::json(&project.build(&["--dry-run=json", "--target", "runtime,dev"]).stdout);
    assert_eq!((&plan["generator"], &plan["schema"]), (&json!("ipo-oci"), &json!(1)));
    let plans = plan["plans"].as_array().expect("plans");
    assert_eq!(plans.iter().map(|plan| &plan["target"]).collect::<Vec<_>>(), ["runtime", "dev"]);
    let entries = |plan: &Value| -> Vec<Value> {
        let layers = plan["layers"].as_array().expect("layers");
        layers.iter().flat_map(|layer| layer["entries"].as_array().expect("entries").clone()).collect()
    };
    let image = project.image(&[]);
    let mut planned: Vec<(String, u64)> = entries(&plans[0])
        .iter()
        .filter(|entry| entry["kind"] == "file")
        .map(|entry| {
            let path = entry["path"].as_str().expect("a path").trim_start_matches('/').to_owned();
            (path, entry["disk_bytes"].as_u64().expect("bytes"))
        })
        .collect();
    planned.sort();
    let sum: u64 = planned.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(plans[0]["disk_bytes"], sum);
    let built = image.files();
    for (path, _) in &planned {
        assert!(
            built.contains_key(path) || built.contains_key(&format!("/{path}")),
            "{path} is not in the image"
        );
    }
    assert_eq!(plans[0]["process"]["user"], "1000:1000");
}

#[test]
fn a_misspelled_name_is_told_with_the_nearest() {
    let project = Project::tiny();
    for (arguments, near) in [
        (&["--target", "runtme"] as &[&str], "runtime"),
        (&["--platform", "linux/amd46"], "linux/amd64"),
        (&["--compression", "gzpi:9"], "gzip"),
        (&["--bytecode", "compiel"], "compile"),
        (&["--loop", "uvlop"], "uvloop"),
        (&["--report", "markdwon=x.md"], "markdown"),
        (&["--progress", "plian"], "plain"),
        (&["--format", "dokcer"], "docker"),
        (&["--dry-run=sumary"], "summary"),
        (&["--cache-from", "dri:x"], "dir"),
        (&["-o", "oci-archve:x.tar"], "oci-archive"),
        (&["--base", "docker-archiv:x.tar"], "docker-archive"),
        (&["--platfrom", "linux/amd64"], "--platform"),
    ] {
        let outcome = project.try_build(arguments);
        let said = &outcome.stderr;
        assert!(!outcome.status.success(), "{arguments:?}");
        let suggests =
            said.contains(&format!("did you mean `{near}`?")) || said.contains(&format!("exists: '{near}'"));
        assert!(suggests, "{arguments:?}: {said}");
    }
    let table = project.read("pyproject.toml");
    for (settings, near) in [
        ("bytecode = \"kep\"", "keep"),
        ("compression = \"zstdd\"", "zstd"),
        ("platform = \"linux/arm46\"", "linux/arm64"),
        ("stop-signal = \"SIGTREM\"", "TERM"),
        ("target.runtim.port = 1", "runtime"),
    ] {
        project.write("pyproject.toml", &format!("{table}\n[tool.ipo-oci]\n{settings}\n"));
        let outcome = project.try_build(&["--dry-run"]);
        assert!(
            outcome.stderr.contains(&format!("did you mean `{near}`?")),
            "{settings}: {}",
            outcome.stderr
        );
    }
    project.write("pyproject.toml", &table);
    project.write("worker.toml", "extends = \"runtme\"\n");
    let outcome = project.try_build(&["--dry-run", "--recipe", "worker.toml"]);
    assert!(outcome.stderr.contains("did you mean `runtime`?"), "{}", outcome.stderr);
}

#[test]
fn the_report_accounts_for_every_layer_and_distribution() {
    let project = Project::example();
    let file = project.beside("report.json");
    let image = project.image(&["--report", &format!("json={}", file.display())]);
    let report = crate::support::layout::json(&fs_err::read(file).expect("a report"));
    let text = report.to_string();
    for name in ["fastapi", "pydantic-core", "uvloop"] {
        assert!(text.contains(&format!("\"{name}\"")), "{name} is missing from the report:\n{report:#}");
    }
    for layer in image.layers() {
        assert!(
            text.contains(layer["digest"].as_str().expect("a digest")),
            "{layer} is missing:\n{report:#}"
        );
    }
    assert!(!text.contains("\"pytest\""), "the runtime image has no tools:\n{report:#}");
}

#[test]
fn the_report_has_the_requested_formats() {
    let project = Project::tiny();
    let page = project.beside("sizes.html");
    let outcome = project.build(&["--report", &format!("html={}", page.display())]);
    assert!(outcome.stderr.contains("LAYER"), "the table stays: {}", outcome.describe());
    let page = fs_err::read_to_string(page).expect("a page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains(&project.layout().only().digest), "{page}");

    let outcome = project.build(&["--report", "json", "-t", "tiny:1"]);
    let report = crate::support::layout::json(outcome.stderr.as_bytes());
    assert_eq!(report["image"], "tiny:1", "{}", outcome.describe());
    assert_eq!(outcome.text().lines().count(), 1, "{}", outcome.describe());

    // Several targets have a file each.
    let json = format!("json={}", project.beside("all.json").display());
    project.build(&["--target", "runtime,dev", "--report", &json]);
    for (file, target) in [("all.json", "runtime"), ("all-dev.json", "dev")] {
        let report = crate::support::layout::json(&fs_err::read(project.beside(file)).expect("a report"));
        assert_eq!(report["target"], target);
    }
    for wrong in ["pdf=x", "json=", "html=-"] {
        project.try_build(&["--report", wrong]).exits_with(2);
    }
}

#[test]
fn the_metadata_file_has_the_digest() {
    let project = Project::example();
    let file = project.beside("metadata.json");
    let image = project.image(&["--metadata-file", file.to_str().expect("UTF-8")]);
    let text = fs_err::read_to_string(file).expect("metadata");
    serde_json::from_str::<Value>(&text).expect("JSON");
    assert!(text.contains(&image.digest), "{text}");
}

#[test]
fn an_image_over_budget_is_refused_and_not_stored() {
    let project = Project::example();
    project.build(&[]);
    let before = crate::support::snapshot(&project.path().join("dist"));
    let outcome = project.try_build(&["--max-size", "10MB", "--port", "9000"]).exits_with(3);
    assert!(outcome.text().is_empty(), "{}", outcome.describe());
    // Names candidates for removal, one per line.
    assert!(
        outcome.stderr.lines().any(|line| line.trim_end().ends_with(" MB  uvloop 0.23.0")),
        "{}",
        outcome.stderr
    );
    assert_eq!(crate::support::snapshot(&project.path().join("dist")), before);
    project.build(&["--max-size", "500MB"]);
}

#[test]
fn the_example_is_within_budget_and_without_tools() {
    let project = Project::example();
    let image = project.image(&[]);
    assert!(image.disk_bytes() < 120_000_000, "{} bytes", image.disk_bytes());
    let files = image.files();
    for name in ["pip", "setuptools", "pytest", "ruff", "httpx2", "_pytest"] {
        let found: Vec<_> = files
            .keys()
            .filter(|path| {
                path.contains(&format!("/site-packages/{name}")) || path.ends_with(&format!("/bin/{name}"))
            })
            .collect();
        assert!(found.is_empty(), "{found:?}");
    }
    // .dockerignore, including its negated patterns.
    assert!(files.contains_key("app/app/main.py") && files.contains_key("app/README.md"));
    for path in ["app/tests", "app/requirements-dev.txt", "app/.dockerignore", "app/dist"] {
        assert!(!files.contains_key(path), "{path} is in the image");
    }
}

#[test]
fn writes_a_complete_archive_to_standard_output() {
    for (transport, has_layout) in [("oci-archive", true), ("docker-archive", false)] {
        let project = Project::example();
        let outcome = project.build(&["-o", &format!("{transport}:-"), "-t", "agencyos:3.0.0"]);
        assert!(!project.path().join("dist").exists());
        let folder = project.beside("unpacked");
        tar::Archive::new(&outcome.stdout[..]).unpack(&folder).expect("standard output is a tar");
        let manifest =
            crate::support::layout::json(&fs_err::read(folder.join("manifest.json")).expect("a manifest"));
        assert!(
            manifest[0]["RepoTags"][0].as_str().expect("a name").ends_with("agencyos:3.0.0"),
            "{manifest:#}"
        );
        for layer in manifest[0]["Layers"].as_array().expect("layers") {
            assert!(folder.join(layer.as_str().expect("a path")).is_file());
        }
        assert_eq!(folder.join("oci-layout").exists(), has_layout);
        if has_layout {
            Layout::open(&folder).verify();
        }
    }
}

#[test]
fn several_destinations_hold_one_image() {
    let project = Project::example();
    let (one, two) = (project.beside("one"), project.beside("two.tar"));
    project.build(&[
        "-o",
        &format!("oci:{}:3", one.display()),
        "-o",
        &format!("oci-archive:{}", two.display()),
    ]);
    let archive = Layout::unpack(fs_err::File::open(two).expect("an archive"), &project.beside("unpacked"));
    assert_eq!(archive.only().digest, Layout::open(one).image("3").digest);
}

#[test]
fn the_number_of_layers_stays_within_the_budget() {
    let project = Project::example();
    for budget in [1, 3, 10] {
        let image = project.image(&["--layers", &budget.to_string()]);
        assert!(image.layers().len() <= budget, "{} layers", image.layers().len());
        image.verify();
    }
}

#[test]
fn quiet_prints_only_the_reference() {
    let outcome = Project::example().build(&["-q"]);
    assert_eq!(outcome.stderr, "");
    assert_eq!(outcome.text().lines().count(), 1);
}

#[test]
fn a_build_ends_with_a_summary_and_next_steps() {
    let project = Project::tiny();
    let cache = project.beside("cache");
    let build = |arguments: &[&str]| {
        let mut command = project.command("build");
        run(command.args(arguments).arg("--cache-dir").arg(&cache)).success()
    };
    let first = build(&[]);
    let made = project.layout().only().layers().len();
    assert!(first.stderr.contains(&format!("tiny:latest: {made} layers made; ")), "{}", first.stderr);
    let end: Vec<_> = first.stderr.lines().rev().take(3).collect();
    let expected = [
        "  push: ipo-oci copy oci:dist/image:latest docker://REGISTRY/tiny:latest",
        "  load: ipo-oci copy oci:dist/image:latest docker-daemon:tiny:latest",
        "  run:  ipo-oci run oci:dist/image:latest",
    ];
    assert_eq!(end, expected);

    project.write("main.py", "from fastapi import FastAPI\n\napp = FastAPI(title=\"x\")\n");
    let second = build(&["-o", "oci-archive:my image.tar"]);
    let said = format!("tiny:latest: {} layers reused, 1 made (source); ", made - 1);
    assert!(second.stderr.contains(&said), "{}", second.stderr);
    assert!(second.stderr.contains("  run:  ipo-oci run 'oci-archive:my image.tar'\n"), "{}", second.stderr);
    assert!(second.stderr.contains("  load: docker load --input 'my image.tar'\n"), "{}", second.stderr);
    assert_eq!(second.text().lines().count(), 1);

    let all = build(&["--target", "all", "--no-healthcheck"]);
    for tag in ["latest", "latest-builder", "latest-dev"] {
        assert!(all.stderr.contains(&format!("\ntiny:{tag}: ")), "{}", all.stderr);
    }
    assert_eq!(all.stderr.matches("  load: ").count(), 1, "{}", all.stderr);
    assert_eq!(build(&["-q"]).stderr, "");
}

#[test]
fn quiet_prints_requested_reports() {
    let outcome = Project::tiny().build(&["-q", "--timings", "--report", "json"]);
    assert!(outcome.stderr.contains("on the clock"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("\"disk_bytes\""), "{}", outcome.stderr);
}

#[test]
fn prints_each_step_once() {
    let outcome = Project::example().build(&["-v", "--no-cache"]);
    let steps: Vec<_> = outcome.stderr.lines().take_while(|line| !line.starts_with("writing ")).collect();
    let mut told = steps.clone();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), steps.len(), "{steps:?}");
}

#[test]
fn names_a_missing_project() {
    let project = Project::tiny();
    let outcome = run(ipo_oci().args(["build", "/nonexistent"])).exits_with(1);
    assert!(outcome.stderr.contains("project folder not found: /nonexistent"), "{}", outcome.stderr);
    let outcome = run(project.command("build").arg("main.py")).exits_with(1);
    assert!(outcome.stderr.contains("invalid project `main.py`: not a folder"), "{}", outcome.stderr);
}

#[test]
fn missing_libraries_are_reported_together() {
    let project = Project::of(&[
        (
            "pyproject.toml",
            "[project]\nname = \"native\"\nversion = \"1\"\n[tool.ipo-oci]\nentrypoint = [\"python\"]\n",
        ),
        ("main.py", ""),
    ]);
    let venv = project.beside("venv");
    run(std::process::Command::new(crate::support::venv::interpreter()).args(["-m", "venv"]).arg(&venv))
        .success();
    // nvidia-cufile has a plugin for RDMA hardware, the others modules for MPI and ODBC.
    let wheels = ["nvidia-cufile-cu12==1.14.1.1", "mpi4py==4.1.2", "pyodbc==5.5.0"];
    let mut pip = std::process::Command::new(venv.join("bin/python"));
    run(pip.args(["-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:"]).args(wheels)).success();
    let mut command = project.command("build");
    let outcome = run(command.args(["--target", "dev", "--dry-run", "--venv"]).arg(&venv)).success();
    let said = &outcome.stderr;
    assert!(!said.contains("libmlx5") && !said.contains("libibverbs") && !said.contains("libcuda"), "{said}");
    assert!(said.matches("this machine does not have").count() <= 1, "{said}");
    assert!(said.matches("help: install the missing libraries").count() <= 1, "{said}");
    if !Path::new("/usr/lib/x86_64-linux-gnu/libodbc.so.2").exists() {
        assert!(said.contains("libodbc.so.2"), "{said}");
    }
}

#[test]
fn colors_are_for_terminals() {
    let project = Project::tiny();
    let outcome = project.build(&["-v"]);
    assert!(!outcome.stderr.contains('\x1b'), "{}", outcome.stderr);
    requires("script");
    // `script` provides a terminal.
    let on_a_terminal = |variables: &[(&str, &str)], command: &str| {
        let mut script = std::process::Command::new("script");
        crate::support::clean_environment(&mut script);
        let line = format!("{} {command}", crate::support::binary().display());
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(project.path());
        let cache = project.beside("cache");
        run(script.env("XDG_CACHE_HOME", cache).env("TERM", "xterm").envs(variables.iter().copied()))
    };
    let outcome = on_a_terminal(&[], "build").success();
    let text = outcome.text();
    assert!(text.contains("\x1b[1mtiny:latest\x1b[0m"), "{text}");
    // A step takes one row at any length, and is cleared before the next output.
    assert!(text.contains("\r\x1b[K\x1b[?7lreading the source …\x1b[?7h"), "{text}");
    assert!(text.contains("\r\x1b[K\x1b[1mtiny:latest"), "{text}");
    let outcome = on_a_terminal(&[("NO_COLOR", "1")], "build --progress none").success();
    assert!(!outcome.text().contains('\x1b'), "{}", outcome.text());
    let outcome = on_a_terminal(&[], "build --app nowhere:app").exits_with(1);
    assert!(
        outcome.text().contains("\x1b[1;31merror:\x1b[0m application `nowhere:app`"),
        "{}",
        outcome.text()
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    let project = Project::of(&[("main.py", "")]);
    for arguments in [
        &["--no-such-option"][..],
        &["--port", "http"],
        &["--port", "0"],
        &["--target", "production"],
        &["--compression", "rar"],
        &["--bytecode", "maybe"],
        &["--max-size", "much"],
        &["--healthcheck", "health"],
        &["--workers", "four"],
        &["--user", "bob"],
        &["--env", "novalue"],
        &["--label", "=x"],
        &["-t", "Not A Name"],
        &["-o", "ftp:image"],
    ] {
        let outcome = project.try_build(arguments).exits_with(2);
        assert!(outcome.stdout.is_empty());
        assert!(
            outcome.stderr.contains(arguments.last().unwrap().split(':').next().unwrap()),
            "{}",
            outcome.stderr
        );
    }
    run(ipo_oci().arg("no-such-command")).exits_with(2);
}

#[test]
fn prints_version_and_help() {
    let version = run(ipo_oci().arg("--version")).success();
    assert_eq!(version.text().trim(), concat!("ipo-oci ", env!("CARGO_PKG_VERSION")));
    let help = run(ipo_oci().args(["build", "--help"])).success();
    for flag in ["--target", "--venv", "--max-size", "--dry-run", "--no-provision", "--healthcheck"] {
        assert!(help.text().contains(flag), "{flag}");
    }
    assert_eq!(help.text().contains("s3://"), cfg!(feature = "object-store"), "{}", help.text());
    // A page is laid out for its reader: no line is longer than asked for but in code, which stays as it is.
    let page = run(ipo_oci().args(["help", "settings"]).env("COLUMNS", "80")).success();
    assert!(page.text().starts_with("# Settings\n"), "{}", page.text());
    let long = page.text().lines().filter(|line| !line.starts_with("    ") && line.chars().count() > 80);
    assert_eq!(long.collect::<Vec<_>>(), Vec::<&str>::new());
    let both = run(ipo_oci().args(["help", "cache"])).success();
    assert!(both.text().contains("prune") && both.text().contains("\n# The cache\n"), "{}", both.text());
    assert!(run(ipo_oci().args(["help", "cache", "prune"])).success().text().contains("--max-size"));
    let pages = run(ipo_oci().args(["help", "recipes"])).success();
    assert!(pages.text().contains("[ipo-oci help recipes runtime]"), "{}", pages.text());
    for target in Target::ALL {
        let recipe = run(ipo_oci().args(["help", "recipes", target.as_str()])).success();
        assert_eq!(recipe.text(), target.text());
    }
    let outcome = run(ipo_oci().args(["help", "recipes", "runtme"])).exits_with(2);
    assert!(outcome.stderr.contains("`runtime`"), "{}", outcome.stderr);
    let schema = run(ipo_oci().args(["help", "schema"])).success();
    assert_eq!(schema.text(), include_str!("../../docs/settings.schema.json"));
    let outcome = run(ipo_oci().args(["help", "setings"])).exits_with(2);
    assert!(outcome.stderr.contains("'settings'"), "{}", outcome.stderr);
    let folder = tempfile::tempdir().expect("a folder");
    run(ipo_oci().arg("man").arg(folder.path())).success();
    let manual = fs_err::read_to_string(folder.path().join("ipo-oci-build.1")).expect("a page");
    assert!(manual.contains("IPO_OCI_BASE") && manual.contains("max\\-size"), "{manual}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(ipo_oci().args(["completions", shell])).success().text().contains("ipo-oci"));
    }
}

#[test]
fn a_closed_pipe_is_no_crash() {
    let project = Project::example();
    let mut command = project.command("context");
    let mut child =
        command.arg("--paths").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("a process");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}

#[test]
fn the_context_lists_the_included_files() {
    let project = Project::example();
    project.write("tests/large.bin", &"x".repeat(1 << 20));
    let paths = run(project.command("context").arg("--paths")).success();
    let paths: Vec<_> = paths.text().lines().collect();
    assert!(paths.contains(&"app/main.py") && paths.contains(&"README.md"), "{paths:?}");
    assert!(!paths.iter().any(|path| path.starts_with("tests")), "{paths:?}");
    let mut sorted = paths.clone();
    sorted.sort_by_key(|path| path.split('/').collect::<Vec<_>>());
    assert_eq!(paths, sorted);

    let list = run(&mut project.command("context")).success();
    assert!(
        list.text().contains("app/main.py") || list.stderr.contains("app/main.py"),
        "{}",
        list.describe()
    );
}

#[test]
fn the_context_names_the_deciding_line() {
    let project = Project::example();
    let lines = project.read(".dockerignore");
    let number = |text: &str| 1 + lines.lines().position(|line| line == text).expect("a line");
    for (path, line) in [("tests/test_app.py", "tests"), ("README.md", "!README.md"), (".env", "**/.env*")] {
        project.write(".env", "");
        let outcome = run(project.command("context").args(["--why", path])).success();
        assert!(!outcome.text().contains("(not found)"), "{}", outcome.text());
        let said = format!("{}{}", outcome.text(), outcome.stderr);
        assert!(said.contains(line), "{path}: {said}");
        assert!(said.contains(&number(line).to_string()), "{path}: {said}");
    }
}

#[test]
fn the_context_marks_a_missing_file() {
    let project = Project::of(&[(".dockerignore", "*.log\n")]);
    let outcome = run(project.command("context").args(["--why", "no/such.log"])).success();
    assert_eq!(outcome.text(), "no/such.log (not found) is kept: no line of .dockerignore matches it\n");
}

#[test]
fn the_context_names_exclusions_of_the_recipe() {
    let project = Project::of(&[(".dockerignore", "*.log\n"), ("Dockerfile", ""), ("main.py", "")]);
    let why = |path: &str| run(project.command("context").args(["--why", path])).success().text().to_owned();
    let said = why("Dockerfile");
    assert!(
        said.starts_with("Dockerfile is kept: no line of .dockerignore matches it; a build leaves it out"),
        "{said}"
    );
    assert!(said.trim_end().ends_with(": **/Dockerfile"), "{said}");
    assert_eq!(why("main.py"), "main.py is kept: no line of .dockerignore matches it\n");
    project.write(".dockerignore", "!Dockerfile\n");
    assert_eq!(why("Dockerfile"), "Dockerfile is kept: .dockerignore:1: !Dockerfile\n");
}
