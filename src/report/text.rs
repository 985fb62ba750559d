//! A [`SizeReport`] as a table for a terminal.

use std::fmt::Write as _;

use super::SizeReport;
use crate::settings::human_size;

/// How many distributions and packages are shown; the rest is summed up.
const SHOWN: usize = 10;

/// The report as text, with a newline at the end.
pub fn render(report: &SizeReport) -> String {
    let mut text = format!(
        "{} ({}, {}): {} on disk, {} to transfer, {} files in {} layers\n",
        report.image,
        report.target,
        report.platform,
        human_size(report.disk_bytes),
        human_size(report.transfer_bytes),
        report.files,
        report.layers.len(),
    );
    let layers = report
        .layers
        .iter()
        .map(|layer| {
            [
                layer.name.clone(),
                human_size(layer.disk_bytes),
                human_size(layer.transfer_bytes),
                layer.files.to_string(),
            ]
        })
        .collect();
    table(&mut text, ["LAYER", "DISK", "TRANSFER", "FILES"], layers);
    let mut distributions: Vec<[String; 4]> = report
        .distributions
        .iter()
        .take(SHOWN)
        .map(|size| {
            [
                format!("{} {}", size.name, size.version),
                human_size(size.disk_bytes),
                human_size(size.bytecode_bytes),
                size.files.to_string(),
            ]
        })
        .collect();
    let rest = &report.distributions[SHOWN.min(report.distributions.len())..];
    if !rest.is_empty() {
        distributions.push([
            format!("{} more", rest.len()),
            human_size(rest.iter().map(|size| size.disk_bytes).sum()),
            human_size(rest.iter().map(|size| size.bytecode_bytes).sum()),
            rest.iter().map(|size| size.files).sum::<u64>().to_string(),
        ]);
    }
    if !distributions.is_empty() {
        table(&mut text, ["DISTRIBUTION", "DISK", "BYTECODE", "FILES"], distributions);
    }
    let share = |bytes: u64| format!("{:.1} %", bytes as f64 * 100.0 / report.disk_bytes.max(1) as f64);
    let kinds = &report.kinds;
    let rows = [
        ("distributions", kinds.distributions),
        ("interpreter", kinds.interpreter),
        ("system libraries", kinds.system_libraries),
        ("system files", kinds.system_files),
        ("bytecode", kinds.bytecode),
        ("environment", kinds.environment),
        ("source", kinds.source),
    ]
    .map(|(kind, bytes)| [kind.to_owned(), human_size(bytes), share(bytes)]);
    table(&mut text, ["KIND", "DISK", "SHARE"], rows.to_vec());
    let total = human_size(report.disk_bytes);
    let _ = match report.budget_bytes {
        Some(budget) => writeln!(
            text,
            "\ntotal {total} of {} allowed ({:.0} %)",
            human_size(budget),
            report.disk_bytes as f64 * 100.0 / budget.max(1) as f64
        ),
        None => writeln!(text, "\ntotal {total} (no budget: set one with --max-size)"),
    };
    text
}

/// Writes rows below a heading: the first column to the left, numbers to the right.
fn table<const N: usize>(text: &mut String, heading: [&str; N], rows: Vec<[String; N]>) {
    let all: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    text.push('\n');
    for row in &all {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| match (column, width(column)) {
                (0, width) => format!("{cell:<width$}"),
                (_, width) => format!("{cell:>width$}"),
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
}
