//! Renders a [`SizeReport`] as Markdown, for the summary of a CI job or a merge request comment.

use std::fmt::Write as _;

use super::{GENERATOR, SizeReport};
use crate::printable;
use crate::settings::human_size;

/// The most source files listed.
const SHOWN: usize = 10;

/// Renders the report as Markdown with a trailing newline.
pub fn render(report: &SizeReport) -> String {
    let mut text = format!(
        "<!-- generator: {GENERATOR} -->\n### {} ({})\n\n{} on disk, {} to transfer, `{}`\n",
        escape(&report.image),
        report.target,
        human_size(report.disk_bytes),
        human_size(report.transfer_bytes),
        report.digest
    );
    if let Some(budget) = report.budget_bytes {
        let _ = writeln!(text, "\nBudget: {}", human_size(budget));
    }
    text.push_str("\n| layer | disk | transfer | files |\n|---|---:|---:|---:|\n");
    for layer in &report.layers {
        let (disk, transfer) = (human_size(layer.disk_bytes), human_size(layer.transfer_bytes));
        let _ = writeln!(text, "| {} | {disk} | {transfer} | {} |", escape(&layer.name), layer.files);
    }
    text.push_str("\n| distribution | version | disk | bytecode | files |\n|---|---|---:|---:|---:|\n");
    for size in &report.distributions {
        let (disk, bytecode) = (human_size(size.disk_bytes), human_size(size.bytecode_bytes));
        let (name, version) = (escape(&size.name), escape(&size.version));
        let _ = writeln!(text, "| {name} | {version} | {disk} | {bytecode} | {} |", size.files);
    }
    if !report.source_files.is_empty() {
        text.push_str("\n| source file | disk |\n|---|---:|\n");
        for file in report.source_files.iter().take(SHOWN) {
            let _ = writeln!(text, "| {} | {} |", escape(&file.path), human_size(file.disk_bytes));
        }
    }
    text
}

/// Escapes text for a table cell.
fn escape(text: &str) -> String {
    printable::name(text).replace('|', "\\|")
}
