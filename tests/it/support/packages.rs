//! Projects on bases of Debian packages, and the packages of their images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::layout::json;
use super::{Outcome, Project, output_of, requires, run, target_dir};

const SERVICE: &str = r#"
import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.version.encode())


http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"#;

pub(crate) const SETTINGS: &str = r#"
[project]
name = "service"
version = "1"

[tool.ipo-oci]
base = "apt:bookworm"
entrypoint = ["{python}", "/app/main.py"]
port = 8000
healthcheck = "/health"
stop-signal = "SIGINT"
"#;

/// The cache of all tests with packages: packages are downloaded once.
pub(crate) fn cache() -> PathBuf {
    target_dir().join("apt-cache")
}

/// Returns a project on a base of packages, with an environment of the system's Python.
pub(crate) fn project(settings: &str) -> Project {
    let project = Project::of(&[("pyproject.toml", &format!("{SETTINGS}{settings}")), ("main.py", SERVICE)]);
    let venv = project.path().join(".venv");
    output_of("/usr/bin/python3", ["-m", "venv", "--without-pip", venv.to_str().expect("UTF-8")]);
    project
}

/// Runs `ipo-oci build` with the common cache.
#[track_caller]
pub(crate) fn try_build(project: &Project, arguments: &[&str]) -> Outcome {
    let mut command = project.command("build");
    run(command.arg("--cache-dir").arg(cache()).args(arguments))
}

/// Runs `ipo-oci lock` with the common cache.
#[track_caller]
pub(crate) fn lock(project: &Project, arguments: &[&str]) -> Outcome {
    run(project.command("lock").arg("--cache-dir").arg(cache()).args(arguments))
}

/// Unpacks the merged files of an image with umoci.
pub(crate) fn unpacked(project: &Project, tag: &str) -> PathBuf {
    requires("umoci");
    let bundle = project.beside(tag);
    let image = format!("{}:{tag}", project.path().join("dist/image").display());
    output_of("umoci", ["unpack", "--rootless", "--image", &image, bundle.to_str().expect("UTF-8")]);
    bundle.join("rootfs")
}

/// Lists the packages of a root file system with dpkg: `NAME VERSION`.
pub(crate) fn installed(root: &Path) -> BTreeSet<String> {
    let root = format!("--root={}", root.display());
    let text = output_of("dpkg-query", [&root, "--show", "--showformat=${Package} ${Version}\\n"]);
    text.lines().map(str::to_owned).collect()
}

/// Lists the packages of a lock: `NAME VERSION`.
pub(crate) fn locked(project: &Project) -> BTreeSet<String> {
    locked_sets(project).iter().flatten().map(|(name, version)| format!("{name} {version}")).collect()
}

/// Lists the sets of a lock, the base's first: names and versions.
pub(crate) fn locked_sets(project: &Project) -> Vec<Vec<(String, String)>> {
    let lock: toml::Table = project.read("ipo-oci.lock").parse().expect("TOML");
    let mut sets: Vec<&toml::Value> = lock["apt"].as_array().expect("sets").iter().collect();
    sets.sort_by_key(|set| set.get("below").is_some());
    let text = |package: &toml::Value, key: &str| package[key].as_str().expect("a text").to_owned();
    let packages = |set: &toml::Value| {
        let packages = set["packages"].as_array().expect("packages").iter();
        packages.map(|package| (text(package, "name"), text(package, "version"))).collect()
    };
    sets.into_iter().map(packages).collect()
}

/// The findings of syft in an image.
pub(crate) struct ScannedImage(serde_json::Value);

impl ScannedImage {
    /// Scans the only image of a project.
    pub(crate) fn of(project: &Project) -> Self {
        requires("syft");
        let mut command = Command::new("syft");
        command.args(["scan", "--quiet", "--output", "json", "oci-dir:dist/image"]);
        command.env("SYFT_CHECK_FOR_APP_UPDATE", "false").current_dir(project.path());
        Self(json(&run(&mut command).success().stdout))
    }

    /// Returns the distribution: `debian 12`.
    pub(crate) fn distribution(&self) -> String {
        let of = |key: &str| self.0["distro"][key].as_str().unwrap_or_default().to_owned();
        [of("id"), of("versionID")].join(" ")
    }

    /// Lists the packages of a type: `NAME VERSION`.
    pub(crate) fn packages(&self, kind: &str) -> BTreeSet<String> {
        let artifacts = self.0["artifacts"].as_array().expect("artifacts").iter();
        let text =
            |artifact: &serde_json::Value, key: &str| artifact[key].as_str().expect("a text").to_owned();
        let found = artifacts.filter(|artifact| artifact["type"] == kind);
        found.map(|artifact| [text(artifact, "name"), text(artifact, "version")].join(" ")).collect()
    }
}
