//! Images on bases from a registry: a real Debian is pushed, built on, pulled and run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::base::{Layer, debian_for_arm64, debian_images};
use crate::support::engine::{Container, Engine};
use crate::support::layout::json;
use crate::support::registry::{Kind, Registry};
use crate::support::{Outcome, Project, Venv, http, ipo_oci, output_of, requires, run};
use serde_json::Value;
use test_macros::test;

/// Starts a registry for the images of the layout.
fn stage() -> Stage {
    requires("docker-registry");
    requires("skopeo");
    let images = debian_images();
    let folder = tempfile::tempdir().unwrap();
    Stage { registry: Registry::start(Kind::Anonymous), images, folder }
}

/// A registry, an empty cache directory, and images to push.
struct Stage {
    registry: Registry,
    images: &'static Path,
    folder: tempfile::TempDir,
}

impl Stage {
    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Pushes the image `tag` of the layout as `name`; returns its digest.
    #[track_caller]
    fn publish(&self, tag: &str, name: &str) -> String {
        publish(&format!("oci:{}:{tag}", self.images.display()), &self.at(name))
    }

    #[track_caller]
    fn try_build(&self, project: &Project, arguments: &[&str]) -> Outcome {
        let cache = self.cache();
        project.try_build(&[&["--cache-dir", cache.to_str().unwrap()][..], arguments].concat())
    }

    /// Builds; returns the printed digest.
    #[track_caller]
    fn build(&self, project: &Project, arguments: &[&str]) -> String {
        digest_of(&self.try_build(project, arguments).success())
    }

    /// Counts requests since `from`; see [`Registry::requests`].
    fn requests(&self, from: usize, wanted: &str) -> usize {
        self.registry.requests(from, wanted)
    }
}

/// Copies an image to a registry of this machine.
#[track_caller]
fn publish(from: &str, to: &str) -> String {
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", "--dest-tls-verify=false", from, &format!("docker://{to}")]);
    run(&mut copy).success();
    manifest(to).0
}

/// Returns the digest and the manifest in a registry of this machine.
#[track_caller]
fn manifest(name: &str) -> (String, Value) {
    let name = format!("docker://{name}");
    let outcome =
        run(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &name])).success();
    (ipo_oci::digest::Digest::of(&outcome.stdout).to_string(), json(&outcome.stdout))
}

#[track_caller]
fn digest_of(outcome: &Outcome) -> String {
    let said = outcome.text().trim_end();
    assert_eq!(said.lines().count(), 1, "{said}");
    said.rsplit('@').next().unwrap().to_owned()
}

fn layers(manifest: &Value) -> Vec<&str> {
    manifest["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].as_str().unwrap()).collect()
}

/// Starts an image with production settings, and waits until it is healthy and responds.
#[track_caller]
fn healthy(engine: Engine, image: &str) -> Container {
    let port = crate::support::free_port();
    let variable = format!("UVICORN_PORT={port}");
    let safe = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp"];
    let reach = ["--network", "host", "--env", "UVICORN_HOST=127.0.0.1", "--env", &variable];
    let container = engine.start(&[&safe[..], &reach, &[image]].concat());
    container.wait_healthy();
    assert!(http::wait_for(port, "/health").body.contains("healthy"));
    container
}

/// Returns mode and owners of every directory of an image, without the engine's own.
#[track_caller]
fn directories(engine: Engine, image: &str) -> BTreeMap<String, String> {
    let find = ["/", "-xdev", "-type", "d", "-printf", "%p %m %U:%G\\n"];
    let outcome =
        engine.docker(
            &[
                &[
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "--user",
                    "0:0",
                    "--entrypoint",
                    "/usr/bin/find",
                    image,
                ][..],
                &find,
            ]
            .concat(),
        );
    let all = outcome.success();
    let lines = all.text().lines().map(|line| line.split_once(' ').unwrap());
    lines.map(|(path, rest)| (path.to_owned(), rest.to_owned())).collect()
}

#[test]
fn the_example_on_debian_runs_after_a_pull_and_a_rebase() {
    let engine = Engine::find();
    let stage = stage();
    let digest = stage.publish("bookworm", "debian:bookworm");
    let project = Project::example_as("agencyos", &Venv::of_the_system());
    let (base, name) = (stage.at("debian:bookworm"), stage.at("team/agencyos:1"));
    let said = stage.build(&project, &["--base", &base, "--push", "-t", &name, "--max-size", "500MB"]);

    let (pushed, image) = manifest(&name);
    assert_eq!(said, pushed);
    let of_base = &image["annotations"];
    assert_eq!(of_base["org.opencontainers.image.base.name"], *base, "{of_base:#}");
    assert_eq!(of_base["org.opencontainers.image.base.digest"], *digest, "{of_base:#}");

    for image in [&base, &name] {
        engine.docker(&["pull", "--quiet", image]).success();
    }
    let container = healthy(engine, &name);
    let seen = "import os, pwd, sys
print(os.getuid(), os.getgid(), pwd.getpwuid(1000).pw_name, os.readlink('/bin'))
print(sys.base_prefix, os.path.realpath(sys.executable))";
    assert_eq!(container.python(seen), "1000 1000 agencyos usr/bin\n/usr /usr/bin/python3.11");
    let config = container.inspect()["Config"].clone();
    let env: Vec<_> = config["Env"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(env.contains(&"LANG=C.UTF-8"), "{env:?}");
    assert!(env.contains(&"PATH=/app/.venv/bin:/usr/local/bin:/usr/bin:/bin"), "{env:?}");
    assert_eq!(config["Labels"]["team.base"], "bookworm");
    assert_eq!(config["Labels"]["org.opencontainers.image.title"], "agencyos");
    assert_eq!(container.stop(), 0);

    let (below, now) = (directories(engine, &base), directories(engine, &name));
    for (path, attributes) in &below {
        assert_eq!(now.get(path), Some(attributes), "{path}");
    }
    assert!(below.len() > 500, "{}", below.len());
    assert_eq!(now.get("/app").map(String::as_str), Some("755 0:0"));

    // Rebased without a build onto a Debian with one changed file, the image runs.
    let newer = stage.publish("newer", "debian:newer");
    let rebased = stage.at("team/agencyos:2");
    let cache = stage.cache();
    let rebase = |base: &str| {
        let mut command = ipo_oci();
        command.args(["rebase", "--cache-dir"]).arg(&cache).args(["-o", &format!("docker://{rebased}")]);
        run(command.args([&name, base]))
    };
    rebase(&stage.at("debian:newer")).success();
    let (_, moved) = manifest(&rebased);
    assert_eq!(moved["annotations"]["org.opencontainers.image.base.digest"], *newer);
    engine.docker(&["pull", "--quiet", &rebased]).success();
    let container = healthy(engine, &rebased);
    assert_eq!(container.python("print(open('/etc/team-base').read(), end='')"), "newer");
    drop(container);

    // A base without Python is refused.
    stage.publish("bare", "debian:bare");
    let outcome = rebase(&stage.at("debian:bare")).exits_with(1);
    assert!(outcome.stderr.contains("the new base lacks"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("/app/.venv/bin/python leads to no Python"), "{}", outcome.stderr);
}

#[test]
fn a_changed_source_uploads_one_layer() {
    let stage = stage();
    stage.publish("bookworm", "debian:bookworm");
    let (_, of_base) = manifest(&stage.at("debian:bookworm"));
    let project = Project::tiny();
    let (base, name) = (stage.at("debian:bookworm"), stage.at("team/tiny:1"));
    let build = |arguments: &[&str]| stage.build(&project, &[&["--base", &base][..], arguments].concat());

    // The first push to another repository mounts the base's blobs.
    let from = stage.registry.log_end();
    build(&["--push", "-t", &name]);
    let (_, first) = manifest(&name);
    let own = layers(&first).len() - layers(&of_base).len();
    let mounts = layers(&of_base).len();
    for layer in layers(&of_base) {
        let mount =
            format!("POST /v2/team/tiny/blobs/uploads/?from=debian&mount={}", layer.replace(':', "%3A"));
        let other = format!("POST /v2/team/tiny/blobs/uploads/?mount={layer}");
        let log = stage.registry.log();
        assert_eq!(stage.requests(from, &mount) + stage.requests(from, &other), 1, "{log}");
    }
    // The image's own layers and its configuration.
    assert_eq!(stage.requests(from, "POST /v2/team/tiny/blobs/uploads/"), mounts + own + 1);
    assert_eq!(stage.requests(from, "PUT /v2/team/tiny/blobs/uploads/"), own + 1, "{}", stage.registry.log());
    // The layer is read once, for its index.
    assert_eq!(stage.requests(from, &format!("GET /v2/debian/blobs/{}", layers(&of_base)[0])), 1);

    project.write("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\nchanged = True\n");
    // The layer index replaces the base's blobs, which may be gone.
    for layer in layers(&of_base) {
        let name = layer.trim_start_matches("sha256:");
        fs_err::remove_file(stage.cache().join("registry/sha256").join(name)).unwrap();
    }
    let from = stage.registry.log_end();
    build(&["--push", "-t", &stage.at("team/tiny:2")]);
    let log = stage.registry.log();
    assert_eq!(stage.requests(from, "POST "), 2, "{log}");
    assert_eq!(stage.requests(from, "PATCH "), 0, "{log}");
    assert_eq!(stage.requests(from, "PUT /v2/team/tiny/blobs/uploads/"), 2, "{log}");
    assert_eq!(stage.requests(from, "PUT /v2/team/tiny/manifests/"), 1, "{log}");
    assert_eq!(stage.requests(from, "PUT "), 3, "{log}");
    for layer in layers(&of_base) {
        assert_eq!(stage.requests(from, &format!("GET /v2/debian/blobs/{layer}")), 0, "{log}");
        assert_eq!(stage.requests(from, &format!("GET /v2/team/tiny/blobs/{layer}")), 0, "{log}");
    }

    // A shallow layout omits the base's blobs, with a warning.
    let from = stage.registry.log_end();
    let outcome = stage.try_build(&project, &["--base", &base, "--shallow", "-o", "oci:shallow:1"]).success();
    let said = "1 layer is omitted and stays in its registry";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    let blobs = project.path().join("shallow/blobs/sha256");
    for layer in layers(&of_base) {
        assert!(!blobs.join(layer.trim_start_matches("sha256:")).exists(), "{layer}");
        assert_eq!(stage.requests(from, &format!("GET /v2/debian/blobs/{layer}")), 0);
    }
    assert_eq!(fs_err::read_dir(blobs).unwrap().count(), own + 2);
}

#[test]
fn a_locked_base_needs_neither_tag_nor_network() {
    let stage = stage();
    let old = stage.publish("bookworm", "debian:bookworm");
    let project = Project::tiny();
    let base = stage.at("debian:bookworm");
    let settings = project.read("pyproject.toml");
    project.write("pyproject.toml", &format!("{settings}[tool.ipo-oci]\nbase = \"{base}\"\n"));
    let cache = stage.cache();
    let lock =
        |arguments: &[&str]| run(project.command("lock").arg("--cache-dir").arg(&cache).args(arguments));

    let outcome = stage.try_build(&project, &["--locked"]).exits_with(1);
    let wanted = format!("base not found in the lock: docker://{base} for linux/");
    assert!(outcome.stderr.contains(&wanted), "{}", outcome.stderr);

    let outcome = lock(&[]).success();
    assert!(outcome.stderr.contains(&old), "{}", outcome.stderr);
    // Offline, a missing base is named.
    let outcome = stage.try_build(&project, &["--offline"]).exits_with(1);
    assert!(
        outcome.stderr.contains(&base) && outcome.stderr.contains("the network is forbidden"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("help: repeat it once without --offline"), "{}", outcome.stderr);

    let online = stage.build(&project, &["--locked"]);
    let from = stage.registry.log_end();
    assert_eq!(stage.build(&project, &["--offline", "--locked"]), online);
    // Another layout, and by digest without the lock: the cache has all blobs.
    assert_eq!(stage.build(&project, &["--offline", "--locked", "-o", "oci:dist/other"]), online);
    let pinned = format!("{}@{old}", stage.at("debian"));
    stage.build(&project, &["--offline", "--base", &pinned, "-o", "oci:dist/pinned"]);
    assert_eq!(stage.registry.log().get(from..), Some(""));

    // A moved tag does not affect the build.
    let new = stage.publish("newer", "debian:bookworm");
    assert_ne!(old, new);
    assert_eq!(stage.build(&project, &[]), online);
    let outcome = lock(&["--check"]).exits_with(3);
    assert!(outcome.stderr.contains(&old) && outcome.stderr.contains(&new), "{}", outcome.stderr);
    assert_eq!(stage.build(&project, &["--locked"]), online);
    lock(&[]).success();
    assert_ne!(stage.build(&project, &["--locked"]), online);
}

/// Bases that a build refuses. Their layers are created here and pulled from a registry.
impl Stage {
    /// Pushes an image of `layer` as `name`, on top of `below`.
    #[track_caller]
    fn publish_layers(&self, name: &str, below: Below, layer: Layer) {
        let folder = self.folder.path();
        let file = layer.write(folder.join(format!("{name}.tar")));
        let (layout, image) = (folder.join(name), format!("{}:test", folder.join(name).display()));
        match below {
            Below::Nothing => crate::support::base::layout(&layout, &[file]),
            Below::Debian => {
                crate::support::copy_folder(self.images, &layout);
                let from = format!("{}:bookworm", layout.display());
                let file = file.to_str().unwrap();
                output_of("umoci", ["raw", "add-layer", "--image", &from, "--tag", "test", file]);
            }
        }
        publish(&format!("oci:{image}"), &self.at(&format!("{name}:1")));
    }
}

#[derive(Debug, Clone, Copy)]
enum Below {
    Nothing,
    Debian,
}

/// Returns a program of this machine with replaced bytes of equal length.
fn patched(program: &str, replacements: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = fs_err::read(program).unwrap();
    for (from, to) in replacements {
        assert_eq!(from.len(), to.len());
        let places: Vec<_> = memchr::memmem::find_iter(&bytes, from.as_bytes()).collect();
        assert!(!places.is_empty(), "{program} has no {from}");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    bytes
}

/// Checks for one error with a help line that contains all `words`.
#[track_caller]
fn assert_refused(outcome: &Outcome, words: &[&str]) {
    let text = &outcome.stderr;
    assert_eq!(outcome.code(), Some(1), "{}", outcome.describe());
    let errors: Vec<_> = text.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    for word in words {
        assert!(errors[0].contains(word), "`{word}` is not in: {text}");
    }
    assert!(text.contains("help:"), "{text}");
    assert_eq!(outcome.text(), "");
}

#[test]
fn an_unsuitable_base_is_refused() {
    let stage = stage();
    let project = Project::tiny();
    let python = |layer: Layer, version: &str, program: &[u8]| {
        let name = format!("usr/bin/python{version}");
        let layer = layer.member(tar::EntryType::Regular, &name, "", 0o755, program);
        layer.file(&format!("usr/lib/python{version}/os.py"), "")
    };
    let refused = |name: &str, words: &[&str]| {
        let base = stage.at(name);
        let outcome = stage.try_build(&project, &["--base", &base]);
        assert_refused(&outcome, words);
        assert!(!project.path().join("dist").exists(), "{name}");
    };

    let own = fs_err::read("/bin/true").unwrap();
    stage.publish_layers("minor", Below::Nothing, python(Layer::default(), "3.12", &own));
    refused("minor:1", &["is for Python 3.11", "has Python 3.12"]);

    // All files are for this machine, but the image's configuration decides.
    let (layout, image) =
        (stage.folder.path().join("other"), stage.folder.path().join("other").display().to_string());
    let file = python(Layer::default(), "3.11", &own).write(stage.folder.path().join("other.tar"));
    crate::support::base::layout(&layout, &[file]);
    output_of("umoci", ["config", "--image", &format!("{image}:test"), "--architecture", "s390x"]);
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", "--dest-tls-verify=false", &format!("oci:{image}:test")]);
    run(copy.arg(format!("docker://{}", stage.at("other:1")))).success();
    refused("other:1", &["linux/s390x", "linux/amd64"]);

    refused("nowhere:1", &["/nowhere"]);
    stage.publish_layers("small", Below::Nothing, Layer::default().file("etc/x", ""));
    refused("small:2", &["/small:2"]);
    // An unusable cache directory is a warning.
    stage.publish("bookworm", "debian:bookworm");
    let base = stage.at("debian:bookworm");
    let outcome = project.build(&["--cache-dir", "/proc/nowhere", "--base", &base]);
    assert!(outcome.stderr.contains("/proc/nowhere"), "{}", outcome.stderr);
    fs_err::remove_dir_all(project.path().join("dist")).unwrap();

    // A layer damaged in its registry.
    let (_, damaged) = manifest(&base);
    let hex = layers(&damaged)[0].trim_start_matches("sha256:").to_owned();
    let data = stage.registry.folder.path().join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]);
    let blob = data.join(&hex).join("data");
    let mut bytes = fs_err::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs_err::write(&blob, bytes).unwrap();
    refused("debian:bookworm", &[&hex]);
    for entry in walkdir::WalkDir::new(stage.cache()) {
        let entry = entry.unwrap();
        assert!(!entry.file_name().to_string_lossy().contains(&hex), "{}", entry.path().display());
    }
}

#[test]
fn an_unsuitable_c_library_is_refused() {
    let stage = stage();
    let project = Project::example_as("agencyos", &Venv::of_the_system());
    let refused = |name: &str, words: &[&str]| {
        let outcome = stage.try_build(&project, &["--base", &stage.at(name)]);
        assert_refused(&outcome, words);
    };
    // Alpine's layout.
    let loader = [("/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1\0\0\0")];
    let program = patched("/bin/true", &loader);
    let musl = Layer::default()
        .member(tar::EntryType::Regular, "lib/ld-musl-x86_64.so.1", "", 0o755, &program)
        .member(tar::EntryType::Regular, "usr/bin/python3.11", "", 0o755, &program)
        .link("usr/bin/python3", "python3.11")
        .standard_library("usr/lib/python3.11");
    stage.publish_layers("alpine", Below::Nothing, musl);
    refused("alpine:1", &["glibc", "musl", ".so"]);

    // A C library older than the wheels require.
    let old = [("GLIBC_2.14", "GLIBC_1.14"), ("GLIBC_2.17", "GLIBC_1.17"), ("GLIBC_2.28", "GLIBC_1.28")];
    let place = "lib/x86_64-linux-gnu/libc.so.6";
    let library = patched(&format!("/{place}"), &old);
    let layer =
        Layer::default().member(tar::EntryType::Regular, &format!("usr/{place}"), "", 0o755, &library);
    stage.publish_layers("old", Below::Debian, layer);
    refused("old:1", &["cannot use the base: too old", "GLIBC_2.", "libc.so.6"]);
}

/// Imports that need the wheels and the interpreter's libraries.
const LOADS: &str = "import ssl, sqlite3, uvloop, pydantic_core, os, sys
ssl.create_default_context()
print(os.getuid(), sys.base_prefix)";

#[test]
fn a_base_without_python_gets_the_hosts_and_runs() {
    let engine = Engine::find();
    let stage = stage();
    stage.publish("bare", "bare:1");
    // Like distroless/static: no executable.
    let certificates = fs_err::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
    let nothing = Layer::default()
        .dir("tmp/", 0o1777)
        .dir("home/", 0o755)
        // The loader's directory, without a link to its target.
        .dir("lib64/", 0o755)
        .file(
            "etc/passwd",
            "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n",
        )
        .file("etc/group", "root:x:0:\nnonroot:x:65532:\n")
        .file("etc/ssl/certs/ca-certificates.crt", &certificates);
    stage.publish_layers("static", Below::Nothing, nothing);
    let project = Project::example_as("agencyos", &Venv::of_the_system());
    for base in ["bare:1", "static:1"] {
        let name = stage.at(&format!("team/on-{base}"));
        stage.build(&project, &["--base", &stage.at(base), "--push", "-t", &name, "--max-size", "500MB"]);
        engine.docker(&["pull", "--quiet", &name]).success();
        let container = healthy(engine, &name);
        let said = container.python(LOADS);
        assert!(said.starts_with("1000 /usr"), "{base}: {said}");
    }
}

/// Returns the example's requirements for 64-bit ARM, installed once; skips the test without uv.
fn venv_for_arm64() -> PathBuf {
    requires("uv");
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/agencyos/requirements.txt");
    let digest = ipo_oci::digest::Digest::of(&fs_err::read(&requirements).unwrap());
    crate::support::base::kept(&format!("venv-arm64-{}", &digest.hex()[..12]), |made| {
        let mut uv = Command::new("uv");
        crate::support::clean_environment(&mut uv);
        uv.args([
            "pip",
            "install",
            "--quiet",
            "--no-config",
            "--only-binary",
            ":all:",
            "--python-version",
            "3.11",
        ]);
        uv.args(["--python-platform", "aarch64-unknown-linux-gnu", "--target"]).arg(made);
        run(uv.arg("--requirement").arg(requirements)).success();
    })
}

/// Reads a document of a layout.
fn document(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    json(&fs_err::read(layout.join("blobs/sha256").join(digest)).unwrap())
}

/// Counts the ELF machines of the files in a layer: 62 is x86-64, 183 64-bit ARM.
fn elf_machines(layout: &Path, layer: &str) -> BTreeMap<u16, usize> {
    let blob = layout.join("blobs/sha256").join(layer.trim_start_matches("sha256:"));
    let plain = flate2::read::MultiGzDecoder::new(fs_err::File::open(blob).unwrap());
    let mut machines = BTreeMap::new();
    for member in tar::Archive::new(plain).entries().unwrap() {
        let mut head = [0; 20];
        if std::io::Read::read_exact(&mut member.unwrap(), &mut head).is_ok() && head.starts_with(b"\x7fELF")
        {
            *machines.entry(u16::from_le_bytes([head[18], head[19]])).or_default() += 1;
        }
    }
    machines
}

#[test]
fn an_index_of_bases_gives_an_index_of_images() {
    let stage = stage();
    let (arm, venv) = (debian_for_arm64(), venv_for_arm64());
    stage.publish("bookworm", "debian:amd64");
    let of_arm = stage.folder.path().join("arm64");
    crate::support::base::layout(&of_arm, &[arm]);
    let of_arm = format!("{}:test", of_arm.display());
    output_of("umoci", ["config", "--image", &of_arm, "--architecture", "arm64"]);
    publish(&format!("oci:{of_arm}"), &stage.at("debian:arm64"));
    let at = |name: &str| format!("docker://{}", stage.at(name));
    let mut join = ipo_oci();
    join.args(["index", "create", &at("debian:bookworm"), &at("debian:amd64"), &at("debian:arm64")]);
    run(&mut join).success();

    let project = Project::example_as("agencyos", &Venv::of_the_system());
    let base = stage.at("debian:bookworm");
    let on = |platforms: &str, more: &[&str]| {
        let common = ["--base", &base, "--max-size", "500MB", "--platform", platforms];
        stage.try_build(&project, &[&common[..], more].concat())
    };
    // The installed environment is for this machine.
    let outcome = on("linux/arm64", &[]);
    assert_refused(&outcome, &["is not for linux/arm64", "uvloop 0.", "pydantic-core 2."]);

    let venv = format!("linux/arm64={}", venv.display());
    let report = project.beside("sizes.json");
    let report = format!("json={}", report.display());
    let more = ["--venv", &venv, "--report", &report, "-o", "oci:dist/image:1"];
    let said = digest_of(&on("linux/amd64,linux/arm64", &more).success());
    let layout = project.path().join("dist/image");
    let top = json(&fs_err::read(layout.join("index.json")).unwrap())["manifests"][0].clone();
    assert_eq!(top["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(top["digest"], *said);
    let index = document(&layout, &top);
    let images = index["manifests"].as_array().unwrap();
    assert_eq!(images.len(), 2, "{index:#}");
    for (image, architecture, machine) in [(&images[0], "amd64", 62), (&images[1], "arm64", 183)] {
        assert_eq!(image["platform"]["architecture"], architecture, "{image:#}");
        assert_eq!(image["platform"]["os"], "linux");
        let image = document(&layout, image);
        assert_eq!(document(&layout, &image["config"])["architecture"], architecture);
        let (_, below) = manifest(&stage.at(&format!("debian:{architecture}")));
        let (below, all) = (layers(&below), layers(&image));
        assert!(all.starts_with(&below), "{all:?}");
        let mut modules = 0;
        for layer in &all[below.len()..] {
            for (found, count) in elf_machines(&layout, layer) {
                assert_eq!(found, machine, "{layer} for {architecture}");
                modules += count;
            }
        }
        assert!(modules > 5, "{modules}");
    }
    // Each platform has a report.
    for (name, platform) in [("sizes.json", "linux/amd64"), ("sizes-linux-arm64.json", "linux/arm64")] {
        let report = json(&fs_err::read(project.beside(name)).unwrap());
        assert_eq!(report["platform"], platform, "{name}");
    }
}
