//! The JSON schema of `[tool.ipo-oci]` accepts and refuses the documents that a build does.

use std::path::Path;
use std::process::Command;

use ipo_oci::builder::Builder;
use ipo_oci::recipe::Target;
use serde_json::Value;
use test_macros::test;

use crate::support::{requires, run_with};

/// Documents that both accept.
const VALID: &[&str] = &[
    "",
    include_str!("../../layers/runtime.toml"),
    "port = 9000\nworkers = 1\nlayers = 65535\ngraceful-timeout = 0",
    "name = 'team/web'\ntag = 'v1'\ndescription = 'x'\nbase = 'python:3.13-slim'\nhost = '::'",
    "platform = 'linux/amd64'",
    "platform = 'linux/amd64, linux/arm64'",
    "platform = ['linux/amd64', 'linux/arm64/v8']",
    "user = 1000\n[mirrors]\n'docker.io' = ['mirror.example/hub']",
    "user = '0:0'\nworkdir = '/srv'\nstop-signal = 'SIGINT'",
    "entrypoint = []\ncmd = ['{python}', '-m', 'x']\nenv = { A = '1' }\nlabels.'a.b' = 'c'",
    "app = 'a.b:c'\nloop = 'auto'\nhttp = 'h11'\nproxy-headers = false\nreload = true",
    "healthcheck = false",
    "healthcheck = true",
    "healthcheck = '/health'",
    "[healthcheck]\npath = '/'\nhost = 'a'\nheaders = { X-A = 'b' }\ninterval = '1m 30s'\ntimeout = 3\nretries = 0",
    "[healthcheck]\nstart-period = '500ms'\nstart-interval = '2s'",
    "distributions = 'installed'\nextras = ['web']\nallow-missing.add = ['x']\nbytecode = 'strip'",
    "pip = true\nheaders = true\nactivate = true\nwritable-environment = true\ncertificates = false",
    "trim = { add = ['x'] }\nlibraries = ['libmagic.so.1']\ntime-zones = false\nexclude.add = ['!a']",
    "compression = 'zstd:19'\nmax-size = '1.5 GiB'",
    "compression = 'gzip:1'\nmax-size = '120mb'",
    "compression = 'none'\nmax-size = 0",
    "[target.dev]\nport = 9001\n[target.runtime]\nmax-size = '1GB'\nhealthcheck = false",
];

/// Documents that both refuse.
const INVALID: &[&str] = &[
    "prot = 80",
    "max_size = '1MB'",
    "extends = 'runtime'",
    "port = '80'",
    "port = 0",
    "port = 65536",
    "graceful-timeout = -1",
    "name = 1",
    "platform = []",
    "platform = 'windows/amd64'",
    "user = 'bob'",
    "user = -1",
    "env = ['A=1']",
    "env.A = 1",
    "labels.a = true",
    "mirrors.'docker.io' = 'mirror.example'",
    "entrypoint = 'python'",
    "loop = 'fast'",
    "http = 'H11'",
    "reload = 'yes'",
    "healthcheck = 'health'",
    "healthcheck = 3",
    "[healthcheck]\nevery = 3",
    "[healthcheck]\nretries = '3'",
    "[healthcheck]\ninterval = 'soon'",
    "distributions = 'all'",
    "extras = 'web'",
    "trim = { remove = ['a'] }",
    "exclude = { add = ['a'], remove = ['b'] }",
    "exclude = [1]",
    "compression = 'gzip:10'",
    "compression = 'lz4'",
    "max-size = 12",
    "max-size = '12'",
    "max-size = '12 parsec'",
    "[target.devel]\nport = 1",
    "[target.dev]\nprot = 1",
    "[target.dev.target.dev]\nport = 1",
];

#[test]
fn the_schema_agrees_with_the_build() {
    requires("uv");
    let folder = tempfile::tempdir().expect("a folder");
    let documents: Vec<(&str, bool)> =
        VALID.iter().map(|text| (*text, true)).chain(INVALID.iter().map(|text| (*text, false))).collect();
    for (text, valid) in &documents {
        // Dotted keys and tables are relative to `[tool.ipo-oci]`.
        let nested = text.replace("\n[", "\n[tool.ipo-oci.");
        let nested = match nested.strip_prefix('[') {
            Some(rest) => format!("[tool.ipo-oci.{rest}"),
            None => format!("[tool.ipo-oci]\n{nested}"),
        };
        std::fs::write(folder.path().join("pyproject.toml"), nested).expect("writes");
        let outcome = Target::ALL.into_iter().try_for_each(|target| {
            Builder::from_project(folder.path())?.target(target).resolve().map(|_| ())
        });
        assert_eq!(outcome.is_ok(), *valid, "{text}\n{outcome:?}");
    }
    let lines: Vec<String> =
        documents.iter().map(|(text, _)| Value::from(*text).to_string() + "\n").collect();
    let input = folder.path().join("documents.jsonl");
    std::fs::write(&input, lines.concat()).expect("writes");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("uv");
    command
        .args(["run", "--quiet", "--no-project", "--script"])
        .arg(root.join("tests/oracle/settings_schema.py"));
    let outcome = run_with(command.arg(root.join("docs/settings.schema.json")), &input).success();
    let messages: Vec<Value> =
        outcome.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(messages.len(), documents.len());
    for ((text, valid), message) in documents.iter().zip(messages) {
        assert_eq!(message.is_null(), *valid, "{text}\n{message}");
    }
}
