//! The report as JSON.

use serde_json::json;

use crate::check::CheckReport;

/// Revision of the format.
const SCHEMA: u32 = 1;

/// Renders JSON with a trailing newline.
pub(super) fn render(report: &CheckReport) -> String {
    let document = json!({
        "schema": SCHEMA,
        "subject": report.subject,
        "rules": report.rules,
        "errors": report.errors(),
        "warnings": report.warnings(),
        "diagnostics": report.diagnostics,
    });
    format!("{document:#}\n")
}
