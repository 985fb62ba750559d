//! Renders an [`ImageDiff`] as Markdown: a heading, a summary, and a table for each section inside
//! `<details>`, for the comment of a pull request.

use std::fmt::Write as _;

use super::text::{Row, sections, sign, signed, summary};
use super::{DiffSide, DiffText, ImageDiff};
use crate::plural::counted;
use crate::printable;
use crate::settings::human_size;

/// The most rows of a table; hosts limit the length of a comment.
const SHOWN: usize = 100;
/// The most rows of a table that is open at first.
const OPEN: usize = 10;

/// Renders the differences with a trailing newline.
pub(super) fn render(diff: &ImageDiff, length: DiffText) -> String {
    let mut text = format!(
        "<!-- generator: {} -->\n### {} → {}\n\n",
        crate::GENERATOR,
        code(&diff.old.name),
        code(&diff.new.name)
    );
    if diff.is_same_image() {
        let _ = writeln!(text, "Identical: `{}`", diff.new.digest);
        return text;
    }
    let _ = writeln!(text, "{}.\n", summary(diff));
    text.push_str("| | old | new |\n|---|---:|---:|\n");
    for (what, old, new) in [
        ("digest", format!("`{}`", diff.old.digest), format!("`{}`", diff.new.digest)),
        ("platform", code(&diff.old.platform), code(&diff.new.platform)),
        ("to transfer", transfer(&diff.old), transfer(&diff.new)),
        ("on disk", human_size(diff.old.disk_bytes), human_size(diff.new.disk_bytes)),
        ("files", diff.old.files.to_string(), diff.new.files.to_string()),
    ] {
        let _ = writeln!(text, "| {what} | {old} | {new} |");
    }
    for (title, rows) in sections(diff) {
        section(&mut text, title, &rows, length);
    }
    text
}

/// Returns the size of the blobs; empty if a registry would have other ones.
fn transfer(side: &DiffSide) -> String {
    if side.compressed { human_size(side.transfer_bytes) } else { String::new() }
}

fn section(text: &mut String, title: &str, rows: &[Row], length: DiffText) {
    let open = if rows.len() <= OPEN && title != "Layers" { " open" } else { "" };
    let count = counted(rows.len() as u64, "difference");
    let _ = write!(text, "\n<details{open}>\n<summary>{title}: {count}</summary>\n\n");
    text.push_str("| | | | bytes |\n|---|---|---|---:|\n");
    let shown = if length == DiffText::Full { rows.len() } else { rows.len().min(SHOWN) };
    for row in rows.iter().take(shown) {
        let bytes = row.bytes.map(signed).unwrap_or_default();
        let (subject, detail) = (code(&row.subject), code(&row.detail));
        let _ = writeln!(text, "| {} | {subject} | {detail} | {bytes} |", sign(row.kind));
    }
    if shown < rows.len() {
        let _ = writeln!(text, "| | … {} more | | |", rows.len() - shown);
    }
    text.push_str("\n</details>\n");
}

/// Returns text as a code span (GitHub Flavored Markdown, "Code spans"), in which neither Markdown
/// nor HTML nor the name of a user has a meaning. A table needs `|` escaped there too.
fn code(text: &str) -> String {
    let text = printable::name(text).replace('|', "\\|");
    if text.trim().is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_code_without_a_meaning() {
        for (text, expected) in [
            ("a", "`a`"),
            ("", ""),
            ("</details>@team *x*", "`</details>@team *x*`"),
            ("a|b", "`a\\|b`"),
            ("a`b``c", "``` a`b``c ```"),
            ("a\n\u{1b}[2J", "`a\\n\\u{1b}[2J`"),
        ] {
            assert_eq!(code(text), expected);
        }
    }
}
