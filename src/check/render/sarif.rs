//! The report as SARIF 2.1.0 (OASIS), the form that code scanning services take.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::GENERATOR;
use crate::check::{CheckReport, Diagnostic, DiagnosticSource, RULES, Severity};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The base of relative addresses in results: the root of the repository (section 3.14.14).
const ROOT: &str = "SRCROOT";

/// Renders a log with one run for each report, with a trailing newline.
pub(super) fn render(reports: &[CheckReport]) -> String {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.code,
                "name": rule.name,
                "shortDescription": { "text": rule.summary },
                "defaultConfiguration": { "level": level(rule.severity) },
            })
        })
        .collect();
    let run = |report: &CheckReport| {
        let results: Vec<Value> = report.diagnostics.iter().map(|found| result(report, found)).collect();
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
        Some(DiagnosticSource { file, line }) => (file.to_string_lossy().into_owned(), line.unwrap_or(1)),
        None => ("pyproject.toml".to_owned(), 1),
    };
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
