//! The report as workflow commands of GitHub Actions, which become annotations.

use std::fmt::Write as _;

use crate::check::{CheckReport, DiagnosticSource, Severity};

/// Renders one command a line.
pub(super) fn render(report: &CheckReport) -> String {
    let mut text = String::new();
    for found in &report.diagnostics {
        let command = match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut properties = String::new();
        if let Some(DiagnosticSource { file, line }) = &found.source {
            let _ = write!(properties, "file={},", property(&report.folder.join(file).to_string_lossy()));
            if let Some(line) = line {
                let _ = write!(properties, "line={line},");
            }
        }
        let title = property(&format!("{} {}", found.code, found.name));
        let message = message(&found.full_text());
        let _ = writeln!(text, "::{command} {properties}title={title}::{message}");
    }
    text
}

/// Escapes the message of a command (`actions/toolkit`, `command.ts`).
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a command.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}
