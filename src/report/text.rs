//! Renders a [`SizeReport`] as a table for a terminal.

use std::fmt::Write as _;

use super::SizeReport;
use crate::plural::counted;
use crate::printable::name;
use crate::settings::human_size;
pub use crate::style::Style;
use crate::style::{BOLD, FAINT, GREEN, RED};

/// The most distributions and packages shown; the rest is summed up.
const SHOWN: usize = 10;
/// The smallest source file shown, in bytes.
const LARGE: u64 = 100_000;

/// Renders the report as text with a trailing newline.
pub fn render(report: &SizeReport) -> String {
    render_as(report, Style::Plain)
}

/// Renders the report in a style, with a trailing newline. Lines fit a terminal, except for long
/// names.
pub fn render_as(report: &SizeReport, style: Style) -> String {
    let mut text = format!(
        "{} ({}, {})\n{} on disk, {} to transfer, {} in {}\n",
        style.paint(BOLD, &name(&report.image)),
        name(&report.target),
        name(&report.platform),
        human_size(report.disk_bytes),
        human_size(report.transfer_bytes),
        counted(report.files, "file"),
        counted(report.layers.len() as u64, "layer"),
    );
    let layers = report
        .layers
        .iter()
        .map(|layer| {
            [
                name(&layer.name),
                human_size(layer.disk_bytes),
                human_size(layer.transfer_bytes),
                layer.files.to_string(),
            ]
        })
        .collect();
    table(&mut text, style, ["LAYER", "DISK", "TRANSFER", "FILES"], layers);
    let distributions = distribution_rows(report);
    if !distributions.is_empty() {
        table(&mut text, style, ["DISTRIBUTION", "DISK", "BYTECODE", "FILES"], distributions);
    }
    let share = |bytes: u64| format!("{:.1} %", bytes as f64 * 100.0 / report.disk_bytes.max(1) as f64);
    let kinds = &report.kinds;
    let mut rows = vec![
        ("base", kinds.base),
        ("distributions", kinds.distributions),
        ("interpreter", kinds.interpreter),
        ("system libraries", kinds.system_libraries),
        ("system files", kinds.system_files),
        ("bytecode", kinds.bytecode),
        ("environment", kinds.environment),
        ("source", kinds.source),
        ("added files", kinds.extra),
    ];
    rows.retain(|(kind, bytes)| !matches!(*kind, "base" | "added files") || *bytes > 0);
    let rows = rows.into_iter().map(|(kind, bytes)| [kind.to_owned(), human_size(bytes), share(bytes)]);
    table(&mut text, style, ["KIND", "DISK", "SHARE"], rows.collect());
    let files: Vec<[String; 2]> = report
        .source_files
        .iter()
        .take_while(|file| file.disk_bytes >= LARGE)
        .take(SHOWN)
        .map(|file| [name(&file.path), human_size(file.disk_bytes)])
        .collect();
    if !files.is_empty() {
        table(&mut text, style, ["SOURCE FILE", "DISK"], files);
    }
    let total = human_size(report.disk_bytes);
    let _ = match report.budget_bytes {
        Some(budget) => {
            let share = format!("{:.0} %", report.disk_bytes as f64 * 100.0 / budget.max(1) as f64);
            let color = if report.disk_bytes > budget { RED } else { GREEN };
            let share = style.paint(color, &share);
            writeln!(text, "\ntotal {total} of {} allowed ({share})", human_size(budget))
        }
        None => writeln!(text, "\ntotal {total} (no budget: set one with --max-size)"),
    };
    text
}

/// Returns the rows of the largest distributions, and one of the others.
fn distribution_rows(report: &SizeReport) -> Vec<[String; 4]> {
    let mut rows: Vec<[String; 4]> = report
        .distributions
        .iter()
        .take(SHOWN)
        .map(|size| {
            [
                name(&format!("{} {}", size.name, size.version)),
                human_size(size.disk_bytes),
                human_size(size.bytecode_bytes),
                size.files.to_string(),
            ]
        })
        .collect();
    let rest = &report.distributions[SHOWN.min(report.distributions.len())..];
    if !rest.is_empty() {
        rows.push([
            format!("{} more", rest.len()),
            human_size(rest.iter().map(|size| size.disk_bytes).sum()),
            human_size(rest.iter().map(|size| size.bytecode_bytes).sum()),
            rest.iter().map(|size| size.files).sum::<u64>().to_string(),
        ]);
    }
    rows
}

/// Writes a table: the first column is aligned to the left, the others to the right.
fn table<const N: usize>(text: &mut String, style: Style, heading: [&str; N], rows: Vec<[String; N]>) {
    let all: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    text.push('\n');
    for (index, row) in all.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| match (column, width(column)) {
                (0, width) => format!("{cell:<width$}"),
                (_, width) => format!("{cell:>width$}"),
            })
            .collect();
        let line = cells.join("  ");
        text.push_str(&if index == 0 {
            style.paint(FAINT, line.trim_end())
        } else {
            line.trim_end().to_owned()
        });
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::report;

    #[test]
    fn renders_the_tables() {
        let expected = "\
team/hello:1.0 (runtime, linux/amd64)
20.0 MB on disk, 6.0 MB to transfer, 12 files in 1 layer

LAYER            DISK  TRANSFER  FILES
dependencies  20.0 MB    6.0 MB     12

DISTRIBUTION    DISK  BYTECODE  FILES
fastapi 1.0   6.0 MB    2.0 MB      3
anyio 1.0     1.0 MB       0 B      3

KIND                  DISK   SHARE
distributions       5.0 MB  25.0 %
interpreter         7.0 MB  35.0 %
system libraries    3.0 MB  15.0 %
system files           0 B   0.0 %
bytecode            4.0 MB  20.0 %
environment       500.0 kB   2.5 %
source            500.0 kB   2.5 %

SOURCE FILE         DISK
/app/model.bin  300.0 kB
/app/main.py    100.0 kB

total 20.0 MB (no budget: set one with --max-size)
";
        assert_eq!(render(&report()), expected);
    }

    #[test]
    fn colors_do_not_change_the_text() {
        let mut report = report();
        report.budget_bytes = Some(16_000_000);
        let colored = render_as(&report, Style::Colored);
        assert!(colored.contains("\x1b[1mteam/hello:1.0\x1b[0m"), "{colored}");
        assert!(colored.contains("(\x1b[1;31m125 %\x1b[0m)"), "{colored}");
        let mut plain = colored;
        for code in [BOLD, FAINT, RED, GREEN, "0"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, render(&report));
    }

    #[test]
    fn many_distributions_are_summed_up() {
        let mut report = report();
        let one = report.distributions[0].clone();
        report.distributions.extend(std::iter::repeat_n(one, 11));
        assert!(render(&report).contains("\n3 more "), "{}", render(&report));
    }
}
