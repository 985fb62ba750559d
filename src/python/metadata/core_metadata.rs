//! [`Metadata`]: the core metadata of a distribution, from `METADATA` or `PKG-INFO`.
//!
//! Follows the packaging specification "Core metadata"
//! (<https://packaging.python.org/en/latest/specifications/core-metadata/>): headers in the form of
//! RFC 822, and a description, which is not read.

use super::headers::Headers;

/// The core metadata fields that an image needs.
///
/// ```text
/// Metadata-Version: 2.1
/// Name: uvicorn
/// Version: 0.30.1
/// Requires-Dist: httptools>=0.5.0; extra == 'standard'
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `Name`, verbatim.
    pub name: String,
    /// `Version`, verbatim.
    pub version: String,
    /// All `Requires-Dist`, verbatim (PEP 508).
    pub requires_dist: Vec<String>,
    /// All `Provides-Extra`, verbatim.
    pub provides_extra: Vec<String>,
    /// `Requires-Python`, verbatim (PEP 440).
    pub requires_python: Option<String>,
    /// `Summary`.
    pub summary: Option<String>,
    /// `License-Expression`, else `License`.
    pub license: Option<String>,
}

impl Metadata {
    /// Parses the headers of a file. The error names the missing mandatory field.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut metadata = Self::default();
        let mut expression = None;
        for (key, value) in Headers::new(bytes) {
            let text = || value.unfolded().into_owned();
            // Python takes the first of a repeated field that may occur once.
            let first = |field: &mut Option<String>| {
                *field = field.take().or_else(|| Some(text()).filter(|text| text != "UNKNOWN"));
            };
            match key.to_ascii_lowercase().as_str() {
                "name" if metadata.name.is_empty() => metadata.name = text(),
                "version" if metadata.version.is_empty() => metadata.version = text(),
                "requires-dist" => metadata.requires_dist.push(text()),
                "provides-extra" => metadata.provides_extra.push(text()),
                "requires-python" => first(&mut metadata.requires_python),
                "summary" => first(&mut metadata.summary),
                "license" => first(&mut metadata.license),
                "license-expression" => first(&mut expression),
                _ => {}
            }
        }
        metadata.license = expression.or(metadata.license);
        if metadata.name.is_empty() {
            return Err("`Name` is missing");
        }
        if metadata.version.is_empty() {
            return Err("`Version` is missing");
        }
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::version::PythonVersion;
    use crate::python::metadata::wheel::Wheel;
    use crate::python::normalize;
    use crate::python::requirements::marker::Environment;
    use crate::python::requirements::requirement::Requirement;
    use crate::tree::HostFile;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn reads_headers_up_to_the_blank_line() {
        let metadata = Metadata::parse(
            b"Metadata-Version: 2.4\nName: Uvicorn\nVersion: 0.30.1\nSummary: The server\nLicense: BSD\n\
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
    fn names_the_missing_field() {
        assert_eq!(Metadata::parse(b"Version: 1\n"), Err("`Name` is missing"));
        assert_eq!(Metadata::parse(b"Name: x\r\n\r\nVersion: 1"), Err("`Version` is missing"));
    }

    /// Returns the bytes of a file of `tests/data/metadata`.
    fn stored(name: &str) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/metadata").join(name);
        HostFile::new(path).unwrap().read().unwrap()
    }

    fn texts(value: &serde_json::Value) -> Vec<&str> {
        value.as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect()
    }

    /// Real files, compared with the result of Python's `email` and `packaging`
    /// (`tests/data/metadata/expect.py`).
    #[test]
    fn agrees_with_python_on_real_files() {
        let expected: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&stored("expected.json")).unwrap();
        let version = PythonVersion { major: 3, minor: 11, micro: Some(7), free_threaded: false };
        let environment = Environment::new(version, "x86_64");
        let mut count = 0;
        for (file, expected) in &expected {
            if file.ends_with(".WHEEL") {
                let wheel = Wheel::parse(&stored(file));
                assert_eq!(wheel.tags, texts(&expected["tags"]), "{file}");
                assert_eq!(wheel.root_is_purelib, expected["root_is_purelib"], "{file}");
                continue;
            }
            let metadata = Metadata::parse(&stored(file)).unwrap();
            assert_eq!(
                (&*metadata.name, &*metadata.version),
                (expected["name"].as_str().unwrap(), expected["version"].as_str().unwrap())
            );
            assert_eq!(metadata.requires_python.as_deref(), expected["requires_python"].as_str(), "{file}");
            assert_eq!(metadata.summary.as_deref(), expected["summary"].as_str(), "{file}");
            assert_eq!(metadata.provides_extra, texts(&expected["provides_extra"]), "{file}");
            let requires = expected["requires"].as_array().unwrap();
            assert_eq!(metadata.requires_dist.len(), requires.len(), "{file}");
            for (text, expected) in metadata.requires_dist.iter().zip(requires) {
                count += 1;
                assert_eq!(text, &expected["text"], "{file}");
                let read = Requirement::parse_lenient(text).unwrap_or_else(|| panic!("{file}: {text}"));
                if expected["refused"] == true {
                    assert!(text.parse::<Requirement>().is_err(), "{file}: {text}");
                    continue;
                }
                assert_eq!(read.name, expected["name"], "{file}: {text}");
                assert_eq!(read.extras, texts(&expected["extras"]), "{file}: {text}");
                assert_eq!(read.url.as_deref(), expected["url"].as_str(), "{file}: {text}");
                let holds = |extras: &[String]| {
                    read.marker.as_ref().is_none_or(|marker| marker.holds(&environment, extras))
                };
                assert_eq!(holds(&[]), expected["holds"], "{file}: {text}");
                let of_extra =
                    metadata.provides_extra.iter().filter(|extra| holds(&[normalize(extra)]) && !holds(&[]));
                assert_eq!(of_extra.collect::<Vec<_>>(), texts(&expected["extra"]), "{file}: {text}");
            }
        }
        assert!(expected.len() > 30 && count > 500, "{} files, {count} requirements", expected.len());
    }

    proptest! {
        #[test]
        fn parses_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Metadata::parse(&bytes);
        }

        #[test]
        fn round_trips_requirements(requires in proptest::collection::vec("[a-z][a-z0-9 ;=<>.'-]{0,30}[a-z0-9]", 0..8)) {
            let lines: Vec<String> = requires.iter().map(|line| format!("Requires-Dist: {line}\n")).collect();
            let lines = lines.concat();
            let metadata = Metadata::parse(format!("Name: x\n{lines}Version: 1\n").as_bytes()).unwrap();
            prop_assert_eq!(metadata.requires_dist, requires);
        }
    }
}
