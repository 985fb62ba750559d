//! `METADATA` and `PKG-INFO`: what a distribution says about itself.
//!
//! Follows the packaging specification "Core metadata"
//! (<https://packaging.python.org/en/latest/specifications/core-metadata/>): headers in the form of RFC 822,
//! a blank line, and a description, which is not read.

/// The headers that matter for an image.
///
/// ```text
/// Metadata-Version: 2.1
/// Name: uvicorn
/// Version: 0.30.1
/// Requires-Dist: httptools>=0.5.0; extra == 'standard'
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `Name`, as it is written.
    pub name: String,
    /// `Version`, as it is written.
    pub version: String,
    /// `Requires-Dist`, each as it is written (PEP 508).
    pub requires_dist: Vec<String>,
    /// `Provides-Extra`, each as it is written.
    pub provides_extra: Vec<String>,
    /// `Requires-Python`, as it is written (PEP 440).
    pub requires_python: Option<String>,
    /// `Summary`.
    pub summary: Option<String>,
    /// `License-Expression`, or `License` where there is none.
    pub license: Option<String>,
}

impl Metadata {
    /// Reads the headers of `text`; says what is missing where it cannot be metadata.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut metadata = Self::default();
        let mut expression = None;
        for (key, value) in Headers::new(text) {
            match key.to_ascii_lowercase().as_str() {
                "name" if metadata.name.is_empty() => metadata.name = value,
                "version" if metadata.version.is_empty() => metadata.version = value,
                "requires-dist" => metadata.requires_dist.push(value),
                "provides-extra" => metadata.provides_extra.push(value),
                "requires-python" => metadata.requires_python = Some(value),
                "summary" if value != "UNKNOWN" => metadata.summary = Some(value),
                "license" if value != "UNKNOWN" => metadata.license = Some(value),
                "license-expression" => expression = Some(value),
                _ => {}
            }
        }
        metadata.license = expression.or(metadata.license);
        if metadata.name.is_empty() {
            return Err("it has no `Name`");
        }
        if metadata.version.is_empty() {
            return Err("it has no `Version`");
        }
        Ok(metadata)
    }
}

/// The headers of a message, with folded lines joined by a space.
#[derive(Debug)]
pub(crate) struct Headers<'a> {
    lines: std::iter::Peekable<std::str::Lines<'a>>,
}

impl<'a> Headers<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { lines: text.trim_start_matches('\u{feff}').lines().peekable() }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.lines.next()?;
            if line.trim().is_empty() {
                return None;
            }
            let header =
                line.split_once(':').filter(|(key, _)| !key.is_empty() && !key.contains([' ', '\t']));
            let Some((key, value)) = header else { continue };
            let mut value = value.trim().to_owned();
            while let Some(more) =
                self.lines.next_if(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty())
            {
                value.push(' ');
                value.push_str(more.trim());
            }
            return Some((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_headers_up_to_the_blank_line() {
        let metadata = Metadata::parse(
            "Metadata-Version: 2.4\nName: Uvicorn\nVersion: 0.30.1\nSummary: The server\nLicense: BSD\n\
             License-Expression: BSD-3-Clause\nRequires-Python: >=3.8\nProvides-Extra: standard\n\
             Requires-Dist: click>=7.0\nRequires-Dist: httptools>=0.5;\n  extra == 'standard'\n\nName: no\n",
        )
        .unwrap();
        assert_eq!((metadata.name.as_str(), metadata.version.as_str()), ("Uvicorn", "0.30.1"));
        assert_eq!(metadata.requires_dist, ["click>=7.0", "httptools>=0.5; extra == 'standard'"]);
        assert_eq!(metadata.provides_extra, ["standard"]);
        assert_eq!(metadata.license.as_deref(), Some("BSD-3-Clause"));
        assert_eq!(metadata.requires_python.as_deref(), Some(">=3.8"));
    }

    #[test]
    fn says_what_is_missing() {
        assert_eq!(Metadata::parse("Version: 1\n"), Err("it has no `Name`"));
        assert_eq!(Metadata::parse("Name: x\r\n\r\nVersion: 1"), Err("it has no `Version`"));
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "(?s).{0,200}") {
            let _ = Metadata::parse(&text);
        }

        #[test]
        fn what_is_written_is_read(requires in proptest::collection::vec("[a-z][a-z0-9 ;=<>.'-]{0,30}[a-z0-9]", 0..8)) {
            let lines: Vec<String> = requires.iter().map(|line| format!("Requires-Dist: {line}\n")).collect();
            let lines = lines.concat();
            let metadata = Metadata::parse(&format!("Name: x\n{lines}Version: 1\n")).unwrap();
            prop_assert_eq!(metadata.requires_dist, requires);
        }
    }
}
