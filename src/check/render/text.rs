//! The report as text, in the manner of a compiler's messages.

use std::fmt::Write as _;
use std::path::Path;

use crate::check::{CheckReport, Diagnostic, DiagnosticSource, Severity};
use crate::plural::counted;
use crate::printable;
use crate::style::{BOLD, FAINT, GREEN, RED, Style, YELLOW};

/// The most files named under one diagnostic.
const NAMED: usize = 3;

/// Renders the diagnostics and a summary, with a trailing newline.
pub(super) fn render(report: &CheckReport, style: Style) -> String {
    let mut text = String::new();
    for diagnostic in &report.diagnostics {
        render_one(&mut text, diagnostic, &report.folder, style);
    }
    let (errors, warnings) = (report.errors() as u64, report.warnings() as u64);
    let subject = printable::name(&report.subject);
    let rules = counted(report.rules as u64, "rule");
    let _ = match (errors, warnings) {
        (0, 0) => writeln!(text, "{}: {subject}, {rules}", style.paint(GREEN, "no problem found")),
        (0, _) => writeln!(text, "{}: {subject}, {rules}", style.paint(BOLD, &counted(warnings, "warning"))),
        (_, 0) => writeln!(text, "{}: {subject}, {rules}", style.paint(RED, &counted(errors, "error"))),
        _ => writeln!(
            text,
            "{}, {}: {subject}, {rules}",
            style.paint(RED, &counted(errors, "error")),
            counted(warnings, "warning")
        ),
    };
    text
}

fn render_one(text: &mut String, diagnostic: &Diagnostic, folder: &Path, style: Style) {
    let severity = match diagnostic.severity {
        Severity::Error => style.paint(RED, "error"),
        Severity::Warning => style.paint(YELLOW, "warning"),
    };
    let code = style.paint(BOLD, diagnostic.code);
    let subject = subject(diagnostic).map(|subject| format!("{subject}: ")).unwrap_or_default();
    let _ = writeln!(text, "{severity}[{code}]: {subject}{}", printable::text(&diagnostic.message));
    if let Some(DiagnosticSource { file, line }) = &diagnostic.source {
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let _ =
            writeln!(text, "  {} {}{line}", style.paint(FAINT, "-->"), printable::path(&folder.join(file)));
    }
    for other in diagnostic.others.iter().take(NAMED) {
        let _ = writeln!(text, "  {} {}", style.paint(FAINT, "and"), printable::name(&other.to_string()));
    }
    if let Some(more) = diagnostic.others.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let _ = writeln!(text, "  {} {}", style.paint(FAINT, "and"), counted(more as u64, "more file"));
    }
    if let Some(owner) = &diagnostic.owner {
        let _ = writeln!(text, "  {} {}", style.paint(FAINT, "of"), printable::name(&owner.to_string()));
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(text, "  {} {}", style.paint(GREEN, "help:"), printable::text(help));
    }
}

/// Returns the path in the image, or the file of the project.
fn subject(diagnostic: &Diagnostic) -> Option<String> {
    diagnostic.path.as_ref().map(|path| printable::name(&path.to_string()))
}
