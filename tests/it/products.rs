//! Results of builds inside the project are excluded from the source of later builds.

use std::path::Path;
use std::process::Command;

use crate::support::{Project, requires, run};
use serde_json::Value;
use test_macros::test;

/// Builds into a layout beside the project; returns the image's digest and paths, and standard
/// error.
#[track_caller]
fn image_of(project: &Project) -> (String, Vec<String>, String) {
    let (image, metadata) = (project.beside("image"), project.beside("metadata.json"));
    let _ = fs_err::remove_dir_all(&image);
    let output = format!("oci:{}", image.display());
    let metadata_file = metadata.display().to_string();
    let outcome = project.build(&["-o", &output, "--metadata-file", &metadata_file]);
    let metadata: Value = serde_json::from_slice(&fs_err::read(&metadata).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap().to_owned();
    let paths = crate::support::Layout::open(&image).only().files().into_keys().collect();
    (digest, paths, outcome.stderr)
}

#[test]
fn excludes_results_of_earlier_builds_under_any_name() {
    let project = Project::tiny();
    project
        .write("data/notes.json", "{\"containerimage\": \"of another kind\", \"generator\": \"by hand\"}\n");
    project.write("data/index.html", "<!DOCTYPE html><meta name=\"generator\" content=\"hugo 0.1\">\n");
    project.write("data/list.md", "### Sizes (of shoes)\n\n44 and more\n");
    let (first, paths, stderr) = image_of(&project);
    assert!(!stderr.contains("left out"), "{stderr}");
    for kept in ["app/data/notes.json", "app/data/index.html", "app/data/list.md"] {
        assert!(paths.iter().any(|path| path == kept), "{paths:?}");
    }
    for arguments in [
        &["-o", "oci-archive:hello.tar"] as &[&str],
        &["-o", "docker-archive:hello-docker", "--compression", "none"],
        &["-o", "oci:images/hello:1", "-o", "oci:images/hello:2"],
        &["--report", "html=sizes.html,json=sizes.json,markdown=sizes.md,text=sizes.txt"],
        &["--metadata-file", "image.json", "--timings=trace.json"],
        &["--target", "all", "--metadata-file", "images.json", "--report", "json=sizes"],
    ] {
        project.build(arguments);
    }
    project.write("plan.json", project.build(&["--dry-run=json"]).text());
    project.write(".ipo-oci-a1b2c3", "half of a");
    let (second, paths, stderr) = image_of(&project);
    assert_eq!(first, second, "{paths:?}");
    for named in ["hello.tar (an image archive)", "hello-docker (an image archive)", "and "] {
        assert!(stderr.contains(named), "{named} is not in\n{stderr}");
    }
    // A build does not report its own output.
    let outcome = project.build(&["-o", "oci-archive:hello.tar"]);
    assert!(!outcome.stderr.contains("hello.tar (an"), "{}", outcome.stderr);

    let mut command = project.command("context");
    let listed = run(&mut command).success();
    for line in [
        "dist/image is left out: it is an image layout",
        "hello-docker is left out: it is an image archive",
        "images/hello is left out: it is an image layout",
        "sizes is left out: it is a size report",
        "sizes-builder is left out: it is a size report",
        "sizes.html is left out: it is a size report",
        "sizes.json is left out: it is a size report",
        "sizes.md is left out: it is a size report",
        "sizes.txt is left out: it is a size report",
        "image.json is left out: it is metadata of a build",
        "images.json is left out: it is metadata of a build",
        "plan.json is left out: it is the plan of a build",
        "trace.json is left out: it is timings of a build",
        ".ipo-oci-a1b2c3 is left out: it is an unfinished file of a build",
    ] {
        // The default output is excluded as the build's own.
        let is_own = line.starts_with("dist/image ");
        assert_eq!(listed.text().lines().any(|found| found == line), !is_own, "{line}:\n{}", listed.text());
    }
    let mut command = project.command("context");
    let why = run(command.args(["--why", "sizes.html"])).success();
    assert_eq!(
        why.text(),
        "sizes.html is left out: sizes.html is a size report, unless a line of the ignore file insists: !sizes.html\n"
    );
}

#[test]
fn a_negated_pattern_includes_a_result() {
    let project = Project::tiny();
    project.build(&["-o", "oci-archive:static/hello.tar", "--report", "html=static/sizes.html"].map(
        |argument| {
            fs_err::create_dir_all(project.path().join("static")).unwrap();
            argument
        },
    ));
    for (lines, archive, report) in [
        ("", false, false),
        ("!static/hello.tar\n", true, false),
        ("static/*\n!static/sizes.html\n", false, true),
        // The pattern names the directory, not the results in it.
        ("*\n!static\n!main.py\n!pyproject.toml\n", false, false),
    ] {
        project.write(".dockerignore", lines);
        let (_, paths, stderr) = image_of(&project);
        let has = |path: &str| paths.iter().any(|found| found == path);
        let found = (has("app/static/hello.tar"), has("app/static/sizes.html"));
        assert_eq!(found, (archive, report), "{lines:?}: {stderr}");
    }
}

#[test]
fn recognizes_results_of_earlier_versions() {
    let project = Project::tiny();
    let (first, ..) = image_of(&project);
    project.build(&["--report", "json=sizes.json,markdown=sizes.md", "--metadata-file", "image.json"]);
    let without = |name: &str, mark: &str| {
        let text = project.read(name);
        assert!(text.contains(mark), "{text}");
        project.write(name, &text.replace(mark, ""));
    };
    without("sizes.json", "  \"generator\": \"ipo-oci\",\n");
    without("image.json", "  \"generator\": \"ipo-oci\",\n");
    without("sizes.md", "<!-- generator: ipo-oci -->\n");
    let event = "{\"dur\": 1.0, \"name\": \"reading the source\", \"ph\": \"X\", \"pid\": 1, \"tid\": 1, \"ts\": 2.0}";
    let trace = format!("{{\n  \"displayTimeUnit\": \"ms\",\n  \"traceEvents\": [\n    {event}\n  ]\n}}\n");
    project.write("trace.json", &format!("{trace}{}", " ".repeat(200)));
    let (second, paths, _) = image_of(&project);
    assert_eq!(first, second, "{paths:?}");
}

#[test]
fn excludes_image_archives_of_other_programs_only() {
    requires("skopeo");
    let project = Project::tiny();
    let (_, _, stderr) = image_of(&project);
    assert!(!stderr.contains("archive"), "{stderr}");
    let copy = |to: &str| {
        let from = format!("oci:{}", project.beside("image").display());
        let to = format!("{to}:latest");
        run(Command::new("skopeo").current_dir(project.path()).args(["copy", "-q", &from, &to])).success();
    };
    copy("docker-archive:saved.tar:hello");
    copy("oci-archive:layout.tar");
    tar_of(
        &project.path().join("data.tar"),
        &[("manifest.json", "{\"name\": \"a web extension\"}"), ("a.js", "")],
    );
    tar_of(&project.path().join("blobs.tar"), &[("blobs/a", "data"), ("manifest.json", "{}")]);
    let (_, paths, stderr) = image_of(&project);
    let archives: Vec<&String> = paths.iter().filter(|path| path.ends_with(".tar")).collect();
    assert_eq!(archives, ["app/blobs.tar", "app/data.tar"]);
    assert!(stderr.contains("layout.tar (an image archive), saved.tar (an image archive)"), "{stderr}");
}

fn tar_of(path: &Path, files: &[(&str, &str)]) {
    let mut archive = tar::Builder::new(fs_err::File::create(path).unwrap());
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn excludes_tagged_cache_directories() {
    let project = Project::tiny();
    let (first, ..) = image_of(&project);
    project.write(".ci/uv/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    project.write(".ci/uv/wheels/a.whl", "a");
    let (second, _, stderr) = image_of(&project);
    assert_eq!(first, second);
    assert!(stderr.contains(".ci/uv (a cache)"), "{stderr}");
    project.write(".dockerignore", "!.ci/uv\n");
    let (_, paths, _) = image_of(&project);
    assert!(paths.iter().any(|path| path == "app/.ci/uv/wheels/a.whl"), "{paths:?}");
    project.write(".dockerignore", "");
    project.write(".ci/uv/CACHEDIR.TAG", "a file of this name\n");
    let (_, paths, _) = image_of(&project);
    assert!(paths.iter().any(|path| path == "app/.ci/uv/wheels/a.whl"), "{paths:?}");
}

#[test]
fn names_a_relatively_large_file() {
    let project = Project::tiny();
    project.write("app/model.bin", &"x".repeat(1_500_000));
    let report = project.beside("sizes");
    let forms = ["json", "html", "markdown", "text"];
    let requests: Vec<String> =
        forms.iter().map(|form| format!("{form}={}", report.with_extension(form).display())).collect();
    let outcome = project.build(&["--report", &requests.join(",")]);
    let read = |form: &str| fs_err::read_to_string(report.with_extension(form)).unwrap();
    let json: Value = serde_json::from_str(&read("json")).unwrap();
    assert_eq!(json["source_files"][0]["path"], "/app/app/model.bin");
    assert_eq!(json["source_files"][0]["disk_bytes"], 1_500_000);
    assert!(json["source_files"].as_array().unwrap().len() > 2, "{json:#}");
    for form in ["html", "markdown", "text"] {
        assert!(read(form).contains("app/app/model.bin"), "{form}:\n{}", read(form));
    }
    assert!(
        outcome.stderr.contains("app/model.bin: it has 1.5 MB, 100 % of the source"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("!app/model.bin"), "{}", outcome.stderr);
    // The next build reuses the plan of the source.
    let again = project.build(&["--report", &requests.join(",")]);
    assert!(again.stderr.contains("app/model.bin: it has 1.5 MB"), "{}", again.stderr);
    assert_eq!(serde_json::from_str::<Value>(&read("json")).unwrap()["source_files"], json["source_files"]);
    project.write(".dockerignore", "!app/model.bin\n");
    let outcome = project.build(&[]);
    assert!(!outcome.stderr.contains("of the source"), "{}", outcome.stderr);
}

#[test]
fn excludes_results_with_any_extension_and_compressed() {
    let project = Project::tiny();
    // Without an ignore file, logs are not source.
    project.write(".dockerignore", "");
    project.write(
        "data/list.log",
        "44 MB on disk, 12 MB to transfer, said the man (of shoes)\n".repeat(9).as_str(),
    );
    project.write("docs.md", &"hello:latest (runtime, linux/amd64)\n44 MB on disk, 12 MB to transfer, 3 files in 1 layers\nLAYER DISK TRANSFER\ntotal 4 MB\n".repeat(9));
    let (first, paths, _) = image_of(&project);
    for kept in ["app/data/list.log", "app/docs.md"] {
        assert!(paths.iter().any(|path| path == kept), "{paths:?}");
    }
    project.build(&[
        "-o",
        "oci-archive:plain.tar",
        "-o",
        "docker-archive:docker.tar",
        "--timings=times.perfetto",
    ]);
    project.build(&[
        "--report",
        "text=sizes.log,json=sizes.JSON,html=sizes.page",
        "--metadata-file",
        "image.meta",
    ]);
    project.write("build.ref", project.build(&[]).text());
    // A CI log: standard output and standard error in one file.
    let outcome = project.build(&[]);
    project.write(
        "ci/build.out",
        &format!("+ ipo-oci build\nsome words before\n{}{}", outcome.stderr, outcome.text()),
    );
    for (archive, to) in [("plain.tar", "hello.tgz"), ("docker.tar", "static/hello")] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &fs_err::read(project.path().join(archive)).unwrap())
            .unwrap();
        let to = project.path().join(to);
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        fs_err::write(to, encoder.finish().unwrap()).unwrap();
    }
    let (second, paths, stderr) = image_of(&project);
    assert_eq!(first, second, "{paths:?}\n{stderr}");
}

#[test]
fn other_compressed_archives_are_source() {
    let project = Project::tiny();
    let archive = project.beside("data.tar");
    tar_of(&archive, &[("blobs/notes.txt", "1"), ("manifest.json", "{}")]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut encoder, &fs_err::read(&archive).unwrap()).unwrap();
    fs_err::write(project.path().join("data.tgz"), encoder.finish().unwrap()).unwrap();
    let (_, paths, stderr) = image_of(&project);
    assert!(paths.iter().any(|path| path == "app/data.tgz"), "{paths:?}\n{stderr}");
}

#[test]
fn excludes_its_own_log_inside_the_project() {
    let project = Project::tiny();
    let (first, ..) = image_of(&project);
    for _ in 0..2 {
        let mut command = project.command("build");
        let log = project.path().join("logs");
        fs_err::create_dir_all(&log).unwrap();
        let file = |name: &str| fs_err::File::create(log.join(name)).unwrap().into_parts().0;
        command.args(["--progress", "plain", "-v"]).stdout(file("image.ref")).stderr(file("build.log"));
        let status = command.status().unwrap();
        assert!(status.success(), "{}", project.read("logs/build.log"));
        assert!(project.read("logs/image.ref").contains(&first), "{}", project.read("logs/image.ref"));
    }
}

#[test]
fn excludes_the_log_of_its_pipeline() {
    let project = Project::tiny();
    // A warning is logged before the source is read.
    project.write("logs/large.bin", &"0123456789abcdef".repeat(1 << 17));
    let (first, ..) = image_of(&project);
    let mut shell = std::process::Command::new("bash");
    // `tee` also has a source file open, for reading only, which stays in the image.
    let pipeline = "set -o pipefail; \"$@\" 2>&1 | tee logs/build.log 3<logs/large.bin";
    shell.current_dir(project.path()).args(["-c", pipeline, "-"]);
    shell.arg(env!("CARGO_BIN_EXE_ipo-oci")).args(["build", "-v", "--progress", "plain"]);
    shell.env("IPO_OCI_CACHE_DIR", project.beside("cache"));
    run(&mut shell).success();
    let log = project.read("logs/build.log");
    assert!(log.contains("warning: ") && log.contains(&first), "{log}");
}

#[test]
fn excludes_a_remote_cache_directory_from_every_build() {
    let project = Project::tiny();
    let (first, ..) = image_of(&project);
    project.build(&["--cache-to", "dir:ci/shared", "--cache-from", "dir:ci/shared"]);
    assert_eq!(image_of(&project).0, first);
    // Earlier versions wrote no CACHEDIR.TAG.
    fs_err::remove_file(project.path().join("ci/shared/CACHEDIR.TAG")).unwrap();
    let (second, paths, stderr) = image_of(&project);
    assert_eq!(second, first, "{paths:?}\n{stderr}");
}
