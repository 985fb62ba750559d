//! [`ManifestText`]: YAML files whose images are references `ipo://PROJECT[#PROCESS]`, and their replacement.
//!
//! The parser gives the places of scalars (YAML 1.2.2), so only their bytes are replaced: comments, anchors, several
//! documents and the form of everything else stay. A template of Helm and others is no YAML; in a file with `{{` that the
//! parser refuses, values are found line by line.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::error::Advice;
use crate::printable;
use crate::recipe::WEB;

/// The beginning of a reference.
const SCHEME: &str = "ipo://";
/// The largest file, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// A file of YAML with references to images of projects.
#[derive(Debug, Clone)]
pub struct ManifestText {
    text: String,
    /// In the order of the text.
    places: Vec<(Range<usize>, ProjectImage)>,
}

/// An image of a project: `ipo://services/api` or `ipo://services/api#worker`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ProjectImage {
    /// The folder of the project as written.
    pub project: String,
    /// The process: `web`, or one of the settings.
    pub process: String,
}

/// A file whose references cannot be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file is too large.
    #[error("cannot read {}: more than {MAX_BYTES} bytes", printable::name(.file))]
    Size {
        /// The file.
        file: String,
    },
    /// The file is not UTF-8.
    #[error("cannot read {}: not UTF-8", printable::name(.file))]
    Encoding {
        /// The file.
        file: String,
    },
    /// The file is no YAML.
    #[error("cannot parse {}: line {line}: {reason}", printable::name(.file))]
    Yaml {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The reason.
        reason: String,
    },
    /// A reference that names no project.
    #[error("invalid image `{}` in {}: line {line}: {reason}", printable::name(.image), printable::name(.file))]
    Image {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The reference.
        image: String,
        /// The reason.
        reason: &'static str,
    },
}

impl Advice for ManifestError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Size { .. } => "name files of manifests alone".to_owned(),
            Self::Encoding { .. } => "convert the file to UTF-8".to_owned(),
            Self::Yaml { .. } => "correct the file; a template that is no YAML needs `{{`".to_owned(),
            Self::Image { .. } => "write it as ipo://FOLDER or ipo://FOLDER#PROCESS, in one line".to_owned(),
        })
    }
}

impl fmt::Display for ProjectImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.project)?;
        if self.process == WEB { Ok(()) } else { write!(f, "#{}", self.process) }
    }
}

impl ProjectImage {
    /// Names the image of a process.
    pub fn new(project: impl Into<String>, process: impl Into<String>) -> Self {
        Self { project: project.into(), process: process.into() }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix(SCHEME).unwrap_or_default();
        let (project, process) = rest.split_once('#').unwrap_or((rest, WEB));
        if rest.contains("{{") {
            return Err("the reference is a template");
        }
        if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("the reference has white space");
        }
        if project.is_empty() {
            return Err("the reference names no folder");
        }
        if process.is_empty() {
            return Err("the reference names no process");
        }
        Ok(Self { project: project.to_owned(), process: process.to_owned() })
    }
}

impl ManifestText {
    /// Finds the references in the bytes of a file.
    ///
    /// # Errors
    /// Fails if the file is no YAML and no template, or if a reference is invalid.
    pub fn parse(file: &str, bytes: Vec<u8>) -> Result<Self, ManifestError> {
        let file = file.to_owned();
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::Size { file });
        }
        let Ok(text) = String::from_utf8(bytes) else { return Err(ManifestError::Encoding { file }) };
        let found = match scalars(&text) {
            Ok(found) => found,
            Err(_) if text.contains("{{") => values_of_lines(&text),
            Err(error) => {
                let (line, reason) = (error.marker().line(), error.kind().to_string());
                return Err(ManifestError::Yaml { file, line, reason });
            }
        };
        let mut places = Vec::new();
        for (range, value) in found {
            let line = text[..range.start].matches('\n').count() + 1;
            let wrong =
                |reason| ManifestError::Image { file: file.clone(), line, image: value.clone(), reason };
            if text.get(range.clone()) != Some(value.as_str()) {
                return Err(wrong("the reference has escapes or several lines"));
            }
            places.push((range, ProjectImage::parse(&value).map_err(wrong)?));
        }
        Ok(Self { text, places })
    }

    /// Iterates over the images that the file names.
    pub fn images(&self) -> impl Iterator<Item = &ProjectImage> {
        self.places.iter().map(|(_, image)| image)
    }

    /// Returns the text with other references in place of the images that have one; every other byte stays.
    pub fn resolved(&self, references: &BTreeMap<ProjectImage, String>) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut copied = 0;
        for (range, image) in &self.places {
            if let Some(reference) = references.get(image) {
                text.push_str(&self.text[copied..range.start]);
                text.push_str(reference);
                copied = range.end;
            }
        }
        text.push_str(&self.text[copied..]);
        text
    }
}

/// Returns the scalars that begin with the scheme, with their places.
fn scalars(text: &str) -> Result<Vec<(Range<usize>, String)>, ScanError> {
    let mut found = Vec::new();
    let mut parser = Parser::new_from_str(text);
    // Markers count characters.
    let (mut characters, mut bytes) = (0, 0);
    while let Some(event) = parser.next_event() {
        let (event, span) = event?;
        let Event::Scalar(value, style, ..) = event else { continue };
        if !value.starts_with(SCHEME) {
            continue;
        }
        let mut rest = text[bytes..].char_indices();
        let start = span.start.index();
        if let Some((offset, _)) = rest.nth(start.saturating_sub(characters)) {
            (characters, bytes) = (start, bytes + offset);
        }
        // The quotes, and properties such as an anchor, stand before the value.
        let line_end = text[bytes..].find('\n').map_or(text.len(), |end| bytes + end);
        let is_in_line = !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let at = text[bytes..line_end].find(value.as_ref()).filter(|_| is_in_line);
        let range = at.map_or(bytes..bytes, |at| bytes + at..bytes + at + value.len());
        found.push((range, value.into_owned()));
    }
    Ok(found)
}

/// Returns the values of the lines of a template, with their places.
fn values_of_lines(text: &str) -> Vec<(Range<usize>, String)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut from = 0;
        while let Some(at) = line[from..].find(SCHEME).map(|at| from + at) {
            let value = &line[at..];
            let end = value.find(|c: char| c.is_whitespace() || "\"'`,]}".contains(c)).unwrap_or(value.len());
            let before = line[..at].trim_end_matches(['"', '\'', '`']);
            let begins = before.is_empty() || before.ends_with([' ', '\t', '[', ',']);
            let is_comment = before.trim_start().starts_with('#') || before.contains(" #");
            if begins && !is_comment {
                found.push((start + at..start + at + end, value[..end].to_owned()));
            }
            from = at + end.max(SCHEME.len());
        }
        start += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolved(text: &str) -> Result<String, String> {
        let manifest =
            ManifestText::parse("x.yaml", text.as_bytes().to_vec()).map_err(|error| error.to_string())?;
        let references = manifest.images().map(|image| (image.clone(), format!("<{image}>"))).collect();
        Ok(manifest.resolved(&references))
    }

    #[test]
    fn scalars_are_replaced_and_every_other_byte_stays() {
        for (text, expected) in [
            ("image: ipo://api\n", "image: <ipo://api>\n"),
            ("image: 'ipo://api' # ipo://no\r\n", "image: '<ipo://api>' # ipo://no\r\n"),
            (
                "é: ü\n\"image\" : \"ipo://services/api#worker\"",
                "é: ü\n\"image\" : \"<ipo://services/api#worker>\"",
            ),
            (
                "a: &x ipo://api\nb: *x\n---\n{c: ipo://b, d: [ipo://b]}\n",
                "a: &x <ipo://api>\nb: *x\n---\n{c: <ipo://b>, d: [<ipo://b>]}\n",
            ),
            ("a: !tag &x \"ipo://api\"", "a: !tag &x \"<ipo://api>\""),
            (
                "# ipo://no\nb: see ipo://no\nc: |\n  echo ipo://no\n",
                "# ipo://no\nb: see ipo://no\nc: |\n  echo ipo://no\n",
            ),
            ("- image:\n    ipo://api\n", "- image:\n    <ipo://api>\n"),
            // A closing bracket, a quoted scalar and a comment with little indentation, as PyYAML and Go accept them.
            ("a: [\n  ipo://api,\n]\nb: {\n}\n", "a: [\n  <ipo://api>,\n]\nb: {\n}\n"),
            ("a:\n  b: [ 'x',\n  ipo://api ]\n", "a:\n  b: [ 'x',\n  <ipo://api> ]\n"),
            ("a: \"x\ny\"\nb: ipo://api\n", "a: \"x\ny\"\nb: <ipo://api>\n"),
            ("", ""),
        ] {
            assert_eq!(resolved(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn templates_are_read_line_by_line() {
        let text = "{{- if .Values.on }}\nspec:\n  # ipo://no\n  image: \"ipo://api\" # ipo://no\n  other: {{ .Values.x }}ipo://no\n  \
                    list: [ipo://a, 'ipo://b#w']\n{{- end }}\n";
        let expected = text
            .replace("\"ipo://api\"", "\"<ipo://api>\"")
            .replace("[ipo://a,", "[<ipo://a>,")
            .replace("'ipo://b#w'", "'<ipo://b#w>'");
        assert_eq!(resolved(text), Ok(expected));
        let error = resolved("{{- if x }}\nimage: ipo://{{ .name }}\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("the reference is a template"), "{error}");
    }

    #[test]
    fn wrong_files_and_references_are_named() {
        for (text, expected) in [
            ("a: [\n", "cannot parse x.yaml: line"),
            ("\n\na: ipo://\n", "invalid image `ipo://` in x.yaml: line 3: the reference names no folder"),
            ("a: ipo://api#\n", "names no process"),
            ("a: \"ipo://a\\x62\"\n", "escapes or several lines"),
            ("a: >-\n  ipo://api\n", "escapes or several lines"),
            ("a: ipo://a b\n", "white space"),
        ] {
            let error = resolved(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(ManifestText::parse("x", vec![0xff]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_else_changes(text in "([a-c:\\[\\]{}\"'#&*!|>\\- \n]|ipo://|é){0,60}") {
            if let Ok(manifest) = ManifestText::parse("x", text.clone().into_bytes()) {
                let same: BTreeMap<_, _> = manifest.images().map(|image| (image.clone(), image.to_string())).collect();
                let resolved = manifest.resolved(&same);
                // `#web` is the default.
                prop_assert_eq!(resolved, text.replace("#web", ""));
                prop_assert_eq!(manifest.resolved(&BTreeMap::new()), text);
            }
        }
    }
}
