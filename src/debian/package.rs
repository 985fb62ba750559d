//! Parses `status`: [`Package`], as described by deb-control(5).

use deb822_fast::borrowed::BorrowedParser;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The name without architecture: `libssl3`.
    pub name: String,
    /// The version with epoch and revision: `3.0.17-1~deb12u2`.
    pub version: String,
    /// The architecture: `amd64`, or `all`.
    pub architecture: String,
    /// The source package.
    pub source: SourcePackage,
    /// The paragraph of `status`, byte for byte: all fields, with a final newline.
    pub paragraph: String,
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePackage {
    /// The name: `openssl`.
    pub name: String,
    /// The version, equal to the binary package's unless that was rebuilt alone.
    pub version: String,
}

impl Package {
    /// Returns the package names in relationship fields (Debian Policy 7.1), such as `Depends`,
    /// with all alternatives.
    pub fn names(&self, fields: &[&str]) -> Vec<&str> {
        let Ok(paragraphs) = BorrowedParser::new(&self.paragraph).parse_all() else { return Vec::new() };
        let mut names = Vec::new();
        for field in fields {
            let values = paragraphs.iter().filter_map(|paragraph| paragraph.get_single(field));
            let alternatives = values.flat_map(|value| value.split([',', '|']));
            // `libmagic-mgc (= 1:5.44-3)`, `python3:any`, `libx [amd64]`.
            let words = alternatives.map(|text| text.trim().split([' ', '(', ':', '[', '<']).next());
            names.extend(words.flatten().filter(|name| is_name(name)));
        }
        names
    }
}

/// A parsed paragraph of `status`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A package with its files present.
    Installed(Box<Package>),
    /// A removed package, or one never unpacked.
    Absent,
    /// A malformed paragraph; the reason follows "skipped an entry of dpkg's database:".
    Broken { name: String, reason: &'static str },
}

/// Splits a control file into paragraphs, each with its last newline. Separators are lines of white
/// space (Debian Policy 5.1).
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (mut end, mut next) = (0, rest.len());
            for line in rest.split_inclusive('\n') {
                if line.trim().is_empty() {
                    next = end + line.len();
                    break;
                }
                end += line.len();
            }
            let (paragraph, after) = (rest.get(..end)?, rest.get(next..)?);
            if paragraph.is_empty() && after.is_empty() {
                return None;
            }
            rest = after;
            if !paragraph.is_empty() {
                return Some(paragraph);
            }
        }
    })
}

/// Parses one paragraph of `status`.
pub(super) fn parse(paragraph: &str) -> Parsed {
    let first_line = || paragraph.lines().next().unwrap_or_default().chars().take(80).collect();
    let broken = |reason| Parsed::Broken { name: first_line(), reason };
    let Ok(fields) = BorrowedParser::new(paragraph).parse_all() else {
        return broken("not a list of fields");
    };
    let [fields] = fields.as_slice() else {
        return broken("not a list of fields");
    };
    let field = |name| fields.get_single(name).map(str::trim).filter(|value| !value.is_empty());
    let Some(name) = field("Package") else {
        return broken("field Package not found");
    };
    if !is_name(name) {
        return broken("invalid package name");
    }
    let broken = |reason| Parsed::Broken { name: name.to_owned(), reason };
    // "want flag state": files are present in every state but these two (dpkg(1)).
    match field("Status").and_then(|status| status.split_ascii_whitespace().nth(2)) {
        None => return broken("field Status not found"),
        Some("not-installed" | "config-files") => return Parsed::Absent,
        Some(_) => {}
    }
    let Some(version) = field("Version") else {
        return broken("field Version not found");
    };
    let architecture = field("Architecture").unwrap_or_default();
    if !architecture.is_empty() && !is_name(architecture) {
        return broken("invalid architecture");
    }
    Parsed::Installed(Box::new(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        source: source(field("Source").unwrap_or(name), version),
        paragraph: if paragraph.ends_with('\n') { paragraph.to_owned() } else { format!("{paragraph}\n") },
    }))
}

/// Parses `glibc`, or `glibc (2.36-9)` if the source has another version (deb-control(5), Source).
fn source(field: &str, version: &str) -> SourcePackage {
    let (name, version) = match field.split_once('(') {
        Some((name, rest)) => (name.trim(), rest.trim_end().trim_end_matches(')').trim()),
        None => (field, version),
    };
    SourcePackage { name: name.to_owned(), version: version.to_owned() }
}

/// Returns whether `text` is a valid name of a package or architecture; names become part of file
/// names.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZLIB: &str = "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\n\
        Multi-Arch: same\nSource: zlib (1:1.2.13.dfsg-1)\nVersion: 1:1.2.13.dfsg-1+b1\nX-Unknown: kept\n\
        Description: compression library\n long\n .\n text\n";

    fn installed(paragraph: &str) -> Package {
        match parse(paragraph) {
            Parsed::Installed(package) => *package,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_a_package_and_keeps_its_paragraph() {
        let package = installed(ZLIB);
        assert_eq!(
            (package.name.as_str(), package.version.as_str(), package.architecture.as_str()),
            ("zlib1g", "1:1.2.13.dfsg-1+b1", "amd64")
        );
        assert_eq!(package.source, SourcePackage { name: "zlib".into(), version: "1:1.2.13.dfsg-1".into() });
        assert_eq!(package.paragraph, ZLIB);
    }

    #[test]
    fn a_source_without_a_version_has_the_packages() {
        let package = installed("Package: a\nStatus: install ok installed\nVersion: 1-2\n");
        assert_eq!(package.source, SourcePackage { name: "a".into(), version: "1-2".into() });
        let package = installed("Package: a\nSource: b\nStatus: install ok installed\nVersion: 1-2");
        assert_eq!(package.source, SourcePackage { name: "b".into(), version: "1-2".into() });
        assert!(package.paragraph.ends_with("1-2\n"));
    }

    #[test]
    fn removed_packages_are_absent_and_half_installed_ones_are_not() {
        for (state, present) in [
            ("config-files", false),
            ("not-installed", false),
            ("unpacked", true),
            ("triggers-pending", true),
        ] {
            let text = format!("Package: a\nStatus: deinstall ok {state}\nVersion: 1\n");
            assert_eq!(parse(&text) != Parsed::Absent, present, "{state}");
        }
    }

    #[test]
    fn names_the_defect_of_an_entry() {
        for (text, expected) in [
            ("nonsense", "not a list of fields"),
            ("Version: 1\n", "field Package not found"),
            ("Package: ../../x\nStatus: install ok installed\n", "invalid package name"),
            ("Package: a\nVersion: 1\n", "field Status not found"),
            ("Package: a\nStatus: install ok installed\n", "field Version not found"),
            (
                "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: a/b\n",
                "invalid architecture",
            ),
        ] {
            assert!(matches!(parse(text), Parsed::Broken { reason, .. } if reason == expected), "{text}");
        }
    }

    #[test]
    fn splits_paragraphs_at_blank_lines() {
        let text = "\n\nA: 1\n b\n\n \t\nB: 2\nC: 3";
        assert_eq!(paragraphs(text).collect::<Vec<_>>(), ["A: 1\n b\n", "B: 2\nC: 3"]);
        assert_eq!(paragraphs("").count() + paragraphs("\n\n").count(), 0);
    }

    proptest! {
        #[test]
        fn never_panics(text in "([A-Za-z#: \\n\\r\\t.()é]|Package: |Status: a b c\\n|Version: 1\\n){0,40}") {
            for paragraph in paragraphs(&text) {
                prop_assert!(!paragraph.trim().is_empty());
                if let Parsed::Installed(package) = parse(paragraph) {
                    prop_assert!(package.paragraph.starts_with(paragraph));
                    prop_assert!(is_name(&package.name));
                }
            }
        }

        #[test]
        fn loses_no_line(text in "([AB:\\n ]|x\\n){0,40}") {
            let kept: Vec<&str> = paragraphs(&text).flat_map(str::lines).collect();
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            prop_assert_eq!(kept, lines);
        }
    }
}
