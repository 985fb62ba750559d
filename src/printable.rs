//! Foreign text for display: file names, metadata, server responses, output of other programs.
//!
//! Such text may contain control characters (ECMA-48), which move the cursor of a terminal, color
//! text or write the clipboard, and invisible or bidirectional characters (Unicode Standard Annex
//! #9; CVE-2021-42574). They are escaped as in Rust: `\n`, `\u{1b}`, `\u{202e}`. All displayed
//! text is escaped here, and every document once more on output, as a second line of defense.

use std::fmt::Write as _;
use std::path::Path;

/// Escapes a name for one line, including line breaks and tabs.
pub fn name(text: &str) -> String {
    escaped(text, is_plain)
}

/// Escapes a path of this machine. Bytes that are not UTF-8 become `\xff`.
pub fn path(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().utf8_chunks().fold(String::new(), |mut shown, chunk| {
        shown += &name(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
        shown
    })
}

/// Escapes text of several lines, except for line breaks and tabs.
pub fn text(text: &str) -> String {
    escaped(text, |c| is_plain(c) || matches!(c, '\n' | '\t'))
}

/// Escapes text of several lines, except for the colors (ECMA-48, SGR) added by this program.
pub fn colored(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let (before, sequence) = rest.split_at(at);
        shown += &self::text(before);
        let parameters =
            sequence.bytes().skip(2).take_while(|byte| matches!(byte, b'0'..=b'9' | b';')).count();
        let end = 2 + parameters;
        if sequence.as_bytes().get(end) == Some(&b'm') {
            shown += &sequence[..=end];
            rest = &sequence[end + 1..];
        } else {
            shown += &self::text(&sequence[..2]);
            rest = &sequence[2..];
        }
    }
    shown + &self::text(rest)
}

/// Escapes characters in a JSON document by JSON's own rules, which preserves its meaning.
pub fn json(document: &str) -> String {
    let mut shown = String::with_capacity(document.len());
    let mut units = [0; 2];
    for c in document.chars() {
        if is_plain(c) || c == '\n' {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if stays(c) => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// Returns true if a character is visible and has no side effects.
fn is_plain(c: char) -> bool {
    let is_hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !is_hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn escapes_names() {
        for (raw, shown) in [
            ("été/名前.py", "été/名前.py"),
            ("a b'\"\\", "a b'\"\\"),
            ("\x1b[2Jx", "\\u{1b}[2Jx"),
            ("a\nb\r\tc\x07\x7f", "a\\nb\\r\\tc\\u{7}\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("a\u{200b}b\u{2028}", "a\\u{200b}b\\u{2028}"),
        ] {
            assert_eq!(name(raw), shown);
        }
        let raw = std::ffi::OsStr::from_bytes(b"a\xff\n\xc3\xa9");
        assert_eq!(path(Path::new(raw)), "a\\xff\\né");
        assert_eq!(text("a\n\tb\x1b"), "a\n\tb\\u{1b}");
        assert_eq!(
            colored("\x1b[1;31mred\x1b[0m \x1b[2J\x1b]0;x\x07\x1b["),
            "\x1b[1;31mred\x1b[0m \\u{1b}[2J\\u{1b}]0;x\\u{7}\\u{1b}["
        );
    }

    proptest! {
        #[test]
        fn escapes_every_special_character(raw in any::<String>()) {
            prop_assert!(name(&raw).chars().all(is_plain));
            prop_assert!(text(&raw).chars().all(|c| is_plain(c) || c == '\n' || c == '\t'));
            prop_assert_eq!(name(&name(&raw)), name(&raw));
        }

        #[test]
        fn preserves_the_meaning_of_json(raw in any::<String>()) {
            let document = serde_json::to_string_pretty(&[&raw]).unwrap();
            let shown = json(&document);
            prop_assert!(shown.chars().all(|c| is_plain(c) || c == '\n'));
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), [raw]);
        }
    }
}
