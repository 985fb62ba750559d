//! [`Headers`]: the header fields of `METADATA`, `PKG-INFO` and `WHEEL`.
//!
//! Follows Python's `email.parser` with its policy `compat32`, through which `importlib.metadata`,
//! pip and packaging read these files (<https://docs.python.org/3/library/email.parser.html>),
//! after the universal newlines of a file opened as text. `mailparse` 0.16 parses another format:
//! of 20,000 generated files it read 16,015 differently, among them every file with a line that is
//! not a header (Python begins the body there), and refused those that begin with a folded line or
//! hold a lone CR (`benches/closures` has the generator).

use std::borrow::Cow;

use memchr::memchr2;

/// An iterator over the header fields of a file, in file order. The body is not read.
///
/// ```text
/// Name: matplotlib
/// License: License agreement for matplotlib versions 1.3.0 and later
///         =========================================================
///         
///         1. This LICENSE AGREEMENT is between the Matplotlib Development Team
/// Requires-Dist: contourpy>=1.0.1
/// ```
///
/// A line of white space belongs to the field folded over it. The headers end at a line that is
/// empty or cannot be a header.
#[derive(Debug)]
pub(crate) struct Headers<'a> {
    rest: &'a [u8],
}

/// A field's value: the rest of its line, and its folded lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldValue<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// Creates an iterator over a file's bytes. Skips a byte order mark, which Python takes for the
    /// beginning of the body.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) }
    }

    /// Skips the folded lines of the previous field.
    fn skip_folded(&mut self) {
        while self.rest.starts_with(b" ") || self.rest.starts_with(b"\t") {
            self.rest = split_line(self.rest).1;
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, FieldValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // Folded lines without a field: at the beginning, or after a skipped line.
            self.skip_folded();
            let (line, after) = split_line(self.rest);
            let is_part = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
            let name =
                line.iter().position(|byte| !is_part(byte)).filter(|end| line.get(*end) == Some(&b':'));
            match name {
                Some(end) if end > 0 => {
                    let (name, value) = self.rest.split_at(end);
                    self.rest = after;
                    self.skip_folded();
                    let length = value.len() - self.rest.len();
                    let value = value.get(1..length).unwrap_or_default();
                    return Some((std::str::from_utf8(name).unwrap_or_default(), FieldValue(value)));
                }
                // The `From ` line of an mbox, or a header without a name.
                _ if line.starts_with(b"From ") || name.is_some() => self.rest = after,
                _ => {
                    self.rest = &[];
                    return None;
                }
            }
        }
    }
}

impl<'a> FieldValue<'a> {
    /// Returns the value as one line: its lines trimmed and joined by a space, without blank lines.
    pub(crate) fn unfolded(self) -> Cow<'a, str> {
        let mut rest = self.0;
        let mut lines = std::iter::from_fn(|| {
            while !rest.is_empty() {
                let (line, after) = split_line(rest);
                rest = after;
                let line = line.trim_ascii();
                if !line.is_empty() {
                    return Some(String::from_utf8_lossy(line));
                }
            }
            None
        });
        let first = lines.next().unwrap_or_default();
        lines.fold(first, |text, line| text + " " + line)
    }
}

/// Splits off the first line without its end (LF, CR LF or CR); returns the rest after it.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some(at) = memchr2(b'\n', b'\r', bytes) else { return (bytes, &[]) };
    let (line, end) = bytes.split_at(at);
    let rest = end.strip_prefix(b"\r\n").or_else(|| end.get(1..)).unwrap_or_default();
    (line, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(&str, Cow<'_, str>)> {
        Headers::new(text.as_bytes()).map(|(name, value)| (name, value.unfolded())).collect()
    }

    /// Each file, and the fields as `NAME=VALUE` that CPython 3.11's `email.message_from_string`
    /// returns.
    #[test]
    fn agrees_with_python() {
        for (text, fields) in [
            ("A: b\nC:d\n\nE: f\n", &["A=b", "C=d"][..]),
            ("A: b\n  c\n\td\nE: f", &["A=b c d", "E=f"]),
            ("A: b\n        \n        c\n\t\nE: f\n", &["A=b c", "E=f"]),
            ("A:\n  b\n \nE: f\n", &["A=b", "E=f"]),
            ("A: b\r\n  c\r\nE: f\r\n\r\nG: h\r\n", &["A=b c", "E=f"]),
            ("A: b\rE: f\r\rG: h\r", &["A=b", "E=f"]),
            ("A: b\nno header\nE: f\n", &["A=b"]),
            ("A: b\nno header: at all\nE: f\n", &["A=b"]),
            ("A : b\nE: f\n", &[]),
            ("no header\nE: f\n", &[]),
            ("\nE: f\n", &[]),
            ("  folded\nE: f\n", &["E=f"]),
            (": nameless\n folded\nE: f\n", &["E=f"]),
            ("From me\n folded\nE: f\nFrom you\nG: h\n", &["E=f", "G=h"]),
            ("From: me\n", &["From=me"]),
            ("A: b: c\nE:\nA: d", &["A=b: c", "E=", "A=d"]),
            ("A: =?utf-8?q?b=20c?=\n", &["A==?utf-8?q?b=20c?="]),
            ("A: b\x0cc\u{85}d\u{2028}e\n", &["A=b\x0cc\u{85}d\u{2028}e"]),
            ("Ä: b\nE: f\n", &[]),
            ("A: ä\n", &["A=ä"]),
            ("", &[]),
        ] {
            let found: Vec<String> =
                read(text).iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(found, fields, "{text:?}");
        }
    }

    #[test]
    fn invalid_utf8_affects_one_field() {
        let fields: Vec<_> = Headers::new(b"\xef\xbb\xbfAuthor: Andr\xe9\nName: x\n").collect();
        assert_eq!(fields[0].1.unfolded(), "Andr\u{fffd}");
        assert_eq!(fields[1], ("Name", FieldValue(b" x\n")));
    }

    proptest! {
        #[test]
        fn parses_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (name, value) in Headers::new(&bytes) {
                prop_assert!(!name.is_empty() && !value.unfolded().contains(['\n', '\r']));
            }
        }
    }
}
