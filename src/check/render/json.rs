//! The report as JSON.

use serde_json::{Value, json};

use crate::check::CheckReport;

/// Revision of the format.
const SCHEMA: u32 = 1;

/// Renders one report as an object, several as a list, with a trailing newline.
pub(super) fn render(reports: &[CheckReport]) -> String {
    let mut documents: Vec<Value> = reports.iter().map(document).collect();
    let rendered = if documents.len() == 1 { documents.swap_remove(0) } else { documents.into() };
    format!("{rendered:#}\n")
}

fn document(report: &CheckReport) -> Value {
    json!({
        "schema": SCHEMA,
        "subject": report.subject,
        "rules": report.rules,
        "errors": report.errors(),
        "warnings": report.warnings(),
        "diagnostics": report.diagnostics,
    })
}
