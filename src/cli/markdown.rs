//! Markdown as text for a terminal or a pipe.

use ipo_oci::report::text::Style;
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// The narrowest last column of a table in columns; otherwise, the table becomes a list.
const MIN_COLUMN: usize = 24;
/// Columns between two columns of a table.
const GAP: usize = 2;
/// Columns of indentation of code, and of a table as a list.
const INDENT: usize = 4;

/// Lays out a Markdown document in lines of `width` columns. `link` returns the words that follow
/// the text of a link to a destination.
pub(super) fn render(
    document: &str,
    width: usize,
    style: Style,
    link: &dyn Fn(&str) -> Option<String>,
) -> String {
    let mut layout = TextLayout {
        width,
        style,
        link,
        out: String::new(),
        inline: String::new(),
        lists: Vec::new(),
        indent: 0,
        bullet: None,
        links: Vec::new(),
        images: 0,
        table: Vec::new(),
    };
    for event in Parser::new_ext(document, Options::ENABLE_TABLES) {
        layout.add(event);
    }
    layout.out
}

/// The state of a layout between two events of the parser.
struct TextLayout<'a> {
    width: usize,
    style: Style,
    link: &'a dyn Fn(&str) -> Option<String>,
    out: String,
    /// The text of the current block, with SGR codes.
    inline: String,
    /// The open lists, each with the number of its next item and the indentation around it.
    lists: Vec<(Option<u64>, usize)>,
    indent: usize,
    /// The bullet of an item without text so far.
    bullet: Option<String>,
    /// Destinations of the open links.
    links: Vec<String>,
    /// Number of open images, which are left out.
    images: usize,
    table: Vec<Vec<String>>,
}

impl TextLayout<'_> {
    fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) if self.images == 0 => {
                self.inline += &text;
            }
            Event::Code(code) if self.images == 0 => match self.style {
                Style::Plain => self.push(&["`", &code, "`"]),
                Style::Colored => self.push(&["\x1b[36m", &code, "\x1b[39m"]),
            },
            Event::SoftBreak | Event::HardBreak => self.inline.push(' '),
            _ => {}
        }
    }

    fn push(&mut self, words: &[&str]) {
        self.inline.extend(words.iter().copied());
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => match self.style {
                Style::Plain => self.push(&[&"#".repeat(depth(level)), " "]),
                Style::Colored => self.push(&["\x1b[1m"]),
            },
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => self.flush(),
            Tag::List(first) => {
                self.flush();
                // A list is separated from the text above, but not from the item that it is in.
                if self.lists.is_empty() {
                    self.blank_line();
                }
                self.lists.push((first, self.indent));
            }
            Tag::Item => {
                let Some((number, around)) = self.lists.last_mut() else { return };
                let bullet = match number {
                    Some(number) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    None => "- ".to_owned(),
                };
                self.indent = *around + bullet.len();
                self.bullet = Some(bullet);
            }
            Tag::Strong if self.style == Style::Colored => self.inline += "\x1b[1m",
            Tag::Link { dest_url, .. } => self.links.push(dest_url.to_string()),
            Tag::Image { .. } => self.images += 1,
            Tag::Table(_) => self.table.clear(),
            Tag::TableHead | Tag::TableRow => self.table.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                if self.style == Style::Colored {
                    self.inline += "\x1b[22m";
                }
                self.flush();
            }
            TagEnd::Paragraph => self.flush(),
            TagEnd::CodeBlock => self.code(),
            TagEnd::Item => {
                self.flush();
                self.indent = self.lists.last().map_or(0, |(_, around)| *around);
            }
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::Strong if self.style == Style::Colored => self.inline += "\x1b[22m",
            TagEnd::Link => {
                let words = self.links.pop().and_then(|destination| (self.link)(&destination));
                if let Some(words) = words {
                    self.push(&[" [", &words, "]"]);
                }
            }
            TagEnd::Image => self.images -= 1,
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.inline);
                self.table.last_mut().into_iter().for_each(|row| row.push(cell.clone()));
            }
            TagEnd::Table => self.table(),
            _ => {}
        }
    }

    /// Separates two blocks.
    fn blank_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// Writes the text of a block.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.inline);
        if text.trim().is_empty() {
            return;
        }
        let bullet = self.bullet.take();
        if bullet.is_none() {
            self.blank_line();
        }
        let bullet = bullet.unwrap_or_default();
        for (index, line) in wrapped(&text, self.width.saturating_sub(self.indent)).iter().enumerate() {
            let first = if index == 0 { bullet.as_str() } else { "" };
            self.line(&format!("{first:>indent$}{line}", indent = self.indent));
        }
    }

    fn line(&mut self, line: &str) {
        self.out += line.trim_end();
        self.out.push('\n');
    }

    fn code(&mut self) {
        let text = std::mem::take(&mut self.inline);
        self.blank_line();
        for line in text.lines() {
            self.line(&format!("{:indent$}{line}", "", indent = self.indent + INDENT));
        }
    }

    /// Writes a table: aligned, with a wrapped last column, or as a list of rows.
    fn table(&mut self) {
        let rows = std::mem::take(&mut self.table);
        let Some((heading, rows)) = rows.split_first() else { return };
        let widths: Vec<usize> = (0..heading.len())
            .map(|column| {
                let cells = std::iter::once(heading).chain(rows).filter_map(|row| row.get(column));
                cells.map(|cell| columns(cell)).max().unwrap_or(0)
            })
            .collect();
        let Some((last, others)) = widths.split_last() else { return };
        let taken: usize = others.iter().map(|width| width + GAP).sum();
        let left = self.width.saturating_sub(taken);
        self.blank_line();
        if *last <= left || left >= MIN_COLUMN {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat((*width).min(left))).collect();
            for row in [heading, &rule].into_iter().chain(rows) {
                self.aligned(row, others, left);
            }
            return;
        }
        for row in rows {
            self.item(heading, row);
        }
    }

    /// Writes the cells of a row under one another.
    fn aligned(&mut self, row: &[String], others: &[usize], left: usize) {
        let Some((last, cells)) = row.split_last() else { return };
        let mut start = String::new();
        for (cell, width) in cells.iter().zip(others) {
            start += cell;
            start += &" ".repeat(width + GAP - columns(cell));
        }
        let indent = columns(&start);
        for (index, line) in wrapped(last, left).iter().enumerate() {
            let start = if index == 0 { start.clone() } else { " ".repeat(indent) };
            self.line(&format!("{start}{line}"));
        }
    }

    /// Writes a row as an item: the first cell, then the others with their headings.
    fn item(&mut self, heading: &[String], row: &[String]) {
        let mut cells = heading.iter().zip(row);
        let first = cells.next().map(|(_, first)| wrapped(first, self.width)).unwrap_or_default();
        for line in first {
            self.line(&line);
        }
        for (heading, cell) in cells.filter(|(_, cell)| !matches!(cell.as_str(), "" | "–")) {
            let text = if row.len() == 2 { cell.clone() } else { format!("{heading}: {cell}") };
            for line in wrapped(&text, self.width.saturating_sub(INDENT)) {
                self.line(&format!("{:INDENT$}{line}", ""));
            }
        }
    }
}

fn depth(level: HeadingLevel) -> usize {
    level as usize
}

/// Breaks a text into lines.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let taken = columns(word);
        match lines.last_mut() {
            Some(line) if line.is_empty() || used + 1 + taken <= width => {
                if !line.is_empty() {
                    line.push(' ');
                    used += 1;
                }
                line.push_str(word);
            }
            _ => {
                lines.push(word.to_owned());
                used = 0;
            }
        }
        used += taken;
    }
    lines
}

/// Returns the number of columns of a text without its SGR codes.
fn columns(text: &str) -> usize {
    let mut count = 0;
    let mut is_code = false;
    for c in text.chars() {
        match (is_code, c) {
            (false, '\x1b') => is_code = true,
            (true, 'm') => is_code = false,
            (true, _) => {}
            (false, _) => count += 1,
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(document: &str, width: usize) -> String {
        let link = |destination: &str| destination.strip_suffix(".md").map(|page| format!("help {page}"));
        render(document, width, Style::Plain, &link)
    }

    #[test]
    fn lays_out_blocks() {
        let document = "# A *title*\nOne paragraph of\nseveral words, see [B](b.md) and [C](#c).\n\n    code  x\n\n\
                        - one item of words\n- **two**\n  1. `a b`\n  2. c\n\n![picture](a.png)\n\nEnd.\n";
        let expected = "\
# A title

One paragraph of
several words, see B
[help b] and C.

    code  x

- one item of words
- two
  1. `a b`
  2. c

End.
";
        assert_eq!(plain(document, 20), expected);
    }

    #[test]
    fn lays_out_tables_by_their_width() {
        let table = "| key | meaning | flag |\n|---|---|---|\n| a | one two | – |\n| bcd | three | `-x` |\n";
        let aligned = "\
key  meaning  flag
---  -------  ----
a    one two  –
bcd  three    `-x`
";
        assert_eq!(plain(table, 30), aligned);
        assert_eq!(
            plain(table, 12),
            "a\n    meaning:\n    one two\nbcd\n    meaning:\n    three\n    flag:\n    `-x`\n"
        );
        let wide = "| a | b |\n|---|---|\n| c | one two three four five six |\n";
        assert_eq!(
            plain(wide, 27),
            "a  b\n-  ------------------------\nc  one two three four five\n   six\n"
        );
    }

    #[test]
    fn styles_do_not_change_the_layout() {
        let document =
            "# A\n**bold** and `code with words` of a line\n\n| `a` | b |\n|---|---|\n| `c` | d |\n";
        let colored = render(document, 20, Style::Colored, &|_| None);
        assert!(colored.contains("\x1b[1mbold\x1b[22m and \x1b[36mcode with\n"), "{colored}");
        let plain = ["\x1b[1m", "\x1b[22m", "\x1b[36m", "\x1b[39m"]
            .iter()
            .fold(colored, |text, code| text.replace(code, ""));
        assert!(plain.contains("a  b\n-  -\nc  d\n"), "{plain}");
    }
}
