//! The report as SARIF 2.1.0 (OASIS), the form that code scanning services take.
//!
//! GitHub's code scanning requires texts and help of each rule, and recognizes a result of an earlier run by its
//! fingerprint (docs.github.com, "SARIF support for code scanning").

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::GENERATOR;
use crate::check::{CheckReport, Diagnostic, DiagnosticSource, RULES, Severity};
use crate::digest::Digest;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The base of relative addresses in results: the root of the repository (section 3.14.14).
const ROOT: &str = "SRCROOT";

/// The only fingerprint that GitHub's code scanning reads.
const FINGERPRINT: &str = "primaryLocationLineHash";

/// Renders a log with one run for each report, with a trailing newline.
pub(super) fn render(reports: &[CheckReport]) -> String {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.code,
                "name": rule.name,
                "shortDescription": { "text": rule.summary },
                "fullDescription": { "text": rule.summary },
                "help": { "text": format!("`ipo-oci check --explain {}` prints the reason and the way out.", rule.code) },
                "defaultConfiguration": { "level": level(rule.severity) },
            })
        })
        .collect();
    let run = |report: &CheckReport| {
        let mut fingerprints = Fingerprints::default();
        let results: Vec<Value> = report
            .diagnostics
            .iter()
            .map(|found| {
                let mut result = result(report, found);
                result["partialFingerprints"] = json!({ FINGERPRINT: fingerprints.of(found) });
                result
            })
            .collect();
        json!({
            "tool": { "driver": {
                "name": GENERATOR,
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            // Code scanning refuses two runs of one category, which is the text up to the last slash.
            "automationDetails": { "id": format!("{}/", report.subject) },
            "results": results,
        })
    };
    let runs: Vec<Value> = reports.iter().map(run).collect();
    let document = json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": runs });
    format!("{document:#}\n")
}

/// Fingerprints of the results of a run.
#[derive(Debug, Default)]
struct Fingerprints {
    /// Number of results with a hash.
    seen: BTreeMap<String, usize>,
}

impl Fingerprints {
    /// Returns a hash of rule, path and message, without the numbers of lines and versions, and its ordinal
    /// among equal ones. Equal runs have equal fingerprints.
    fn of(&mut self, found: &Diagnostic) -> String {
        let path = found.path.as_ref().map(ToString::to_string).unwrap_or_default();
        let message: String = found.message.chars().filter(|c| !c.is_ascii_digit()).collect();
        let mut hash = Digest::of(format!("{}\0{path}\0{message}", found.code).as_bytes()).hex();
        hash.truncate(16);
        let count = self.seen.entry(hash.clone()).or_default();
        *count += 1;
        format!("{hash}:{count}")
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn result(report: &CheckReport, found: &Diagnostic) -> Value {
    let path = found.path.as_ref().map(ToString::to_string);
    // A service shows a result only at a file of the repository: without one, at the settings.
    let (file, line) = match &found.source {
        Some(DiagnosticSource { file, line }) => (file.as_path(), line.unwrap_or(1)),
        None => (Path::new("pyproject.toml"), 1),
    };
    let file = report.folder.join(file).to_string_lossy().into_owned();
    let mut result = json!({
        "ruleId": found.code,
        "level": level(found.severity),
        "message": { "text": found.full_text() },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": encoded(&file), "uriBaseId": ROOT },
                "region": { "startLine": line },
            },
            "logicalLocations": [{
                "fullyQualifiedName": format!("{}{}", report.subject, path.unwrap_or_default()),
            }],
        }],
    });
    if let Some(index) = RULES.iter().position(|rule| rule.code == found.code) {
        result["ruleIndex"] = json!(index);
    }
    result
}

/// Encodes a relative path as a URI reference (RFC 3986, section 3.3).
fn encoded(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
