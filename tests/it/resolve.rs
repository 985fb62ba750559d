//! `ipo-oci resolve`: images of manifests, built, pushed and named by digest.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Outcome, Project, ipo_oci, outcome, run, venv};
use test_macros::test;

const MANIFEST: &str = "# The service; image: ipo://no\r\n\
apiVersion: v1\r\n\
spec: { image: &web \"ipo://project\" , other:   *web }   # kept\r\n\
---\n\
# é\n\
kind: Job\n\
script: |\n  echo ipo://no\n\
image:    'ipo://project#worker'\n\
list:\n- ipo://project\n";

/// Returns a folder with a project and a folder `manifests`.
fn workspace(metadata: &str) -> Project {
    let project = Project::tiny();
    venv::add_stand_in(&project.path().join(".venv"), "celery", "");
    let text = project.read("pyproject.toml").replace("\"fastapi\",", "\"fastapi\", \"celery\",");
    let process = "[tool.ipo-oci.process.worker]\ncommand = [\"celery\", \"-A\", \"main\", \"worker\"]\n";
    project.write("pyproject.toml", &format!("{text}\n{metadata}\n{process}"));
    let manifests = project.beside("manifests");
    fs_err::create_dir_all(manifests.join("below")).expect("a folder");
    fs_err::write(manifests.join("a.yaml"), MANIFEST).expect("a file");
    fs_err::write(manifests.join("b.yml"), "image: other/image:1").expect("a file");
    fs_err::write(manifests.join("readme.md"), "image: ipo://no").expect("a file");
    fs_err::write(
        manifests.join("below/c.yaml"),
        "{{- if .x }}\nimage: ipo://project # {{ .y }}\n{{- end }}\n",
    )
    .expect("a file");
    project
}

#[track_caller]
fn resolve(project: &Project, arguments: &[&str]) -> Outcome {
    run(ipo_oci().current_dir(project.beside("")).arg("resolve").args(arguments))
}

fn expected(registry: &str, web: &str, worker: &str) -> String {
    let image = |digest: &str| format!("{registry}/tiny@{digest}");
    MANIFEST
        .replace("\"ipo://project\"", &format!("\"{}\"", image(web)))
        .replace("'ipo://project#worker'", &format!("'{}'", image(worker)))
        .replace("- ipo://project\n", &format!("- {}\n", image(web)))
}

#[test]
fn every_byte_but_the_references_stays() {
    let project = workspace("");
    project.build(&["--process", "all"]);
    let [web, worker] = ["latest", "latest-worker"].map(|tag| project.layout().image(tag).digest);
    let arguments = ["--no-push", "--repository", "ghcr.io/team"];
    let resolved = resolve(&project, &[&["-f", "manifests/a.yaml"], &arguments[..]].concat()).success();
    assert_eq!(resolved.text(), expected("ghcr.io/team", &web, &worker));
    // A folder is one stream of documents, and with -R the folders below.
    let resolved = resolve(&project, &[&["-f", "manifests"], &arguments[..]].concat()).success();
    let stream = format!("{}---\nimage: other/image:1", expected("ghcr.io/team", &web, &worker));
    assert_eq!(resolved.text(), stream);
    resolve(&project, &[&["-f", "manifests", "-R", "-o", "out"], &arguments[..]].concat()).success();
    let template = fs_err::read_to_string(project.beside("out/below/c.yaml")).expect("a file");
    assert_eq!(
        template,
        format!("{{{{- if .x }}}}\nimage: ghcr.io/team/tiny@{web} # {{{{ .y }}}}\n{{{{- end }}}}\n")
    );
    assert_eq!(fs_err::read_to_string(project.beside("out/b.yml")).expect("a file"), "image: other/image:1");
    // Standard input.
    let mut command = ipo_oci();
    command.current_dir(project.beside("")).args(["resolve", "-f", "-"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a start");
    child.stdin.take().expect("a pipe").write_all(b"image: ipo://project\n").expect("a pipe");
    let output = child.wait_with_output().expect("an end");
    let resolved = outcome(&command, output).success();
    assert_eq!(resolved.text(), format!("image: ghcr.io/team/tiny@{web}\n"));
}

#[test]
fn wrong_manifests_and_projects_are_named() {
    let project = workspace("");
    let write = |text: &str| fs_err::write(project.beside("wrong.yaml"), text).expect("a file");
    for (text, arguments, code, parts) in [
        ("a: [\n", vec![], 1, vec!["cannot parse wrong.yaml: line"]),
        ("a: ipo://\n", vec![], 1, vec!["invalid image `ipo://` in wrong.yaml: line 1", "ipo://FOLDER"]),
        (
            "a: ipo://missing\n",
            vec!["--repository", "ghcr.io/x"],
            1,
            vec!["project folder not found: missing"],
        ),
        (
            "a: ipo://project#workr\n",
            vec!["--repository", "ghcr.io/x"],
            1,
            vec!["process `workr` not found", "worker"],
        ),
        // The project names no registry.
        ("a: ipo://project\n", vec![], 2, vec!["`tiny:latest` has no registry", "--repository"]),
    ] {
        write(text);
        let outcome = resolve(&project, &[&["-f", "wrong.yaml", "--no-push"], &arguments[..]].concat())
            .exits_with(code);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{text}: {}", outcome.stderr);
        }
        assert_eq!(outcome.text(), "");
    }
    resolve(&project, &["-f", "missing.yaml"]).exits_with(1);
    fs_err::create_dir(project.beside("empty")).expect("a folder");
    let outcome = resolve(&project, &["-f", "empty"]).exits_with(2);
    assert!(outcome.stderr.contains("manifest not found"), "{}", outcome.stderr);
}

#[cfg(feature = "registry")]
#[test]
fn images_are_pushed_before_the_manifest_is_printed() {
    use crate::support::registry::{Kind, Registry};
    crate::support::requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let project =
        workspace(&format!("[tool.ipo-oci]\nname = \"{}/team/tiny\"\ntag = \"3\"\n", registry.host()));
    let resolved = resolve(&project, &["-f", "manifests/a.yaml"]).success();
    let image =
        resolved.text().lines().find_map(|line| line.strip_prefix("- ")).expect("an image").to_owned();
    assert!(image.starts_with(&format!("{}/team/tiny@sha256:", registry.host())), "{image}");
    run(ipo_oci().args(["verify", &image])).success();
    let worker = format!("{}/team/tiny:3-worker", registry.host());
    let inspected = run(ipo_oci().args(["inspect", "--json", &worker])).success();
    assert!(inspected.text().contains("celery"), "{}", inspected.text());
}
