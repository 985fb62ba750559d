//! Package sources of a machine: `/etc/apt/sources.list`, `sources.list.d/*.list` and `*.sources`, sources.list(5).
//!
//! ```text
//! deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.example/debian bookworm main
//! ```
//!
//! ```text
//! Types: deb
//! URIs: http://deb.example/debian
//! Suites: bookworm bookworm-updates
//! Components: main
//! Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
//! ```
//!
//! Errors are those of apt: an unknown type, a missing part, components of an exact path. Unknown options and fields are
//! ignored, as apt ignores them.

use std::collections::BTreeMap;
use std::fmt;

/// The format of a file of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourcesFormat {
    /// One source a line, `*.list`.
    OneLine,
    /// Stanzas of fields, `*.sources`.
    Deb822,
}

/// Package sources with equal options: the products of their addresses, suites and components.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The source has binary packages (`deb`).
    pub has_binaries: bool,
    /// The source has source packages (`deb-src`).
    pub has_sources: bool,
    /// Base addresses, without a slash at the end.
    pub uris: Vec<String>,
    /// Suites; an exact path ends in a slash.
    pub suites: Vec<String>,
    /// Components; none with an exact path.
    pub components: Vec<String>,
    /// Architectures, if the source names them.
    pub architectures: Option<Vec<String>>,
    /// Architectures in addition to the machine's (`arch+=`).
    pub architectures_added: Vec<String>,
    /// Architectures without this source (`arch-=`).
    pub architectures_removed: Vec<String>,
    /// The keys that may sign; empty: all that the machine trusts.
    pub signed_by: Vec<SignedBy>,
    /// `trusted=yes` needs no signature, `trusted=no` accepts none.
    pub trusted: Option<bool>,
    /// `check-valid-until`.
    pub check_valid_until: Option<bool>,
    /// `check-date`.
    pub check_date: Option<bool>,
    /// `by-hash`.
    pub by_hash: Option<bool>,
    /// The line of the file on which the source begins, from 1.
    pub line: usize,
}

/// A value of `Signed-By`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// The path of a keyring.
    Keyring(String),
    /// The fingerprint of a key in the machine's keyrings: upper-case hexadecimal digits.
    Fingerprint {
        /// The digits.
        fingerprint: String,
        /// Signatures of subkeys are refused (`!`).
        is_exact: bool,
    },
    /// A key in ASCII armor.
    Embedded(String),
}

/// An invalid file of sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid source in line {line}: {reason}")]
pub struct SourcesError {
    /// The line, from 1.
    pub line: usize,
    /// The problem.
    pub reason: String,
}

impl SourcesFormat {
    /// Returns the format of a file in `sources.list.d`; `None` for one that apt ignores.
    pub fn of_file(name: &str) -> Option<Self> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.starts_with('.') || !name.bytes().all(is_valid) {
            return None;
        }
        match name.rsplit_once('.')? {
            (_, "list") => Some(Self::OneLine),
            (_, "sources") => Some(Self::Deb822),
            _ => None,
        }
    }

    /// Parses a file; disabled sources are left out.
    pub fn parse(self, text: &str) -> Result<Vec<Source>, SourcesError> {
        match self {
            Self::OneLine => parse_list(text),
            Self::Deb822 => parse_deb822(text),
        }
    }
}

impl Source {
    /// Returns true if packages of `architecture` are served to a machine of that architecture.
    pub fn serves(&self, architecture: &str) -> bool {
        let names = |list: &[String]| list.iter().any(|name| name == architecture);
        let is_named = self.architectures.as_deref().is_none_or(names);
        (is_named || names(&self.architectures_added)) && !names(&self.architectures_removed)
    }

    /// Parses one source of the one-line format, `deb …`.
    pub fn parse_line(line: &str) -> Result<Self, SourcesError> {
        match parse_list(line)?.pop() {
            Some(source) => Ok(source),
            None => Err(SourcesError {
                line: 1,
                reason: "expected `deb [OPTIONS] URI SUITE COMPONENT…`".to_owned(),
            }),
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let list = || {
            value.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        match key {
            "architectures" => self.architectures = Some(list()),
            "architectures-add" => self.architectures_added = list(),
            "architectures-remove" => self.architectures_removed = list(),
            "signed-by" => self.signed_by = signed_by(value),
            "trusted" => self.trusted = boolean(value),
            "check-valid-until" => self.check_valid_until = boolean(value),
            "check-date" => self.check_date = boolean(value),
            "by-hash" => self.by_hash = if value.trim() == "force" { Some(true) } else { boolean(value) },
            _ => {}
        }
    }

    fn check_parts(&self) -> Result<(), String> {
        for uri in &self.uris {
            if !uri.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()) {
                return Err(format!("invalid address `{}`", shown(uri)));
            }
        }
        for suite in &self.suites {
            match (suite.ends_with('/'), self.components.is_empty()) {
                (true, false) => return Err(format!("the exact path `{suite}` has components")),
                (false, true) => return Err(format!("no component of the suite `{suite}`")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn parse_list(text: &str) -> Result<Vec<Source>, SourcesError> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, without_comment(line).trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines.map(|(line, text)| parse_one(line, text).map_err(|reason| SourcesError { line, reason })).collect()
}

/// Cuts a comment, which may not begin inside the options.
fn without_comment(line: &str) -> &str {
    let mut depth = 0_usize;
    for (at, character) in line.char_indices() {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '#' if depth == 0 => return line.get(..at).unwrap_or_default(),
            _ => {}
        }
    }
    line
}

fn parse_one(line: usize, text: &str) -> Result<Source, String> {
    let mut source = Source { line, ..Source::default() };
    let (kind, mut rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    match kind {
        "deb" => source.has_binaries = true,
        "deb-src" => source.has_sources = true,
        _ => return Err(format!("unknown type `{kind}`")),
    }
    rest = rest.trim_start();
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (options, after) = bracketed.split_once(']').ok_or("the options have no closing bracket")?;
        for option in options.split_whitespace() {
            let (key, value) =
                option.split_once('=').ok_or_else(|| format!("the option `{option}` has no value"))?;
            if key.is_empty() || value.is_empty() {
                return Err(format!("invalid option `{option}`"));
            }
            source.set(&field_of_option(key), value);
        }
        rest = after;
    }
    let mut words = rest.split_whitespace();
    let uri = words.next().ok_or("no address")?;
    let suite = words.next().ok_or("no suite")?;
    source.uris = vec![without_slash(uri)];
    source.suites = vec![suite.to_owned()];
    source.components = words.map(str::to_owned).collect();
    source.check_parts()?;
    Ok(source)
}

/// Returns the field of an option of the one-line format, in lower case.
fn field_of_option(key: &str) -> String {
    let (key, suffix) = match key.strip_suffix(['+', '-']) {
        Some(bare) if key.ends_with('+') => (bare, "-add"),
        Some(bare) => (bare, "-remove"),
        None => (key, ""),
    };
    let field = match key {
        "arch" => "architectures",
        other => other,
    };
    format!("{field}{suffix}").to_ascii_lowercase()
}

/// A stanza: its first line, and its fields with their lines.
struct Stanza {
    line: usize,
    /// Values by name in lower case.
    fields: BTreeMap<String, String>,
}

fn stanzas(text: &str) -> Result<Vec<Stanza>, SourcesError> {
    let mut all: Vec<Stanza> = Vec::new();
    let mut current: Option<(Stanza, Option<String>)> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            all.extend(current.take().map(|(stanza, _)| stanza));
            continue;
        }
        let invalid = |reason: String| SourcesError { line: number, reason };
        if line.starts_with([' ', '\t']) {
            let field = current.as_mut().and_then(|(stanza, name)| stanza.fields.get_mut(name.as_ref()?));
            let field = field.ok_or_else(|| invalid("a continuation without a field".to_owned()))?;
            field.push('\n');
            field.push_str(line.trim());
            continue;
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| invalid(format!("`{}` is no field", line.trim())))?;
        let name = name.trim().to_ascii_lowercase();
        let (stanza, last) =
            current.get_or_insert_with(|| (Stanza { line: number, fields: BTreeMap::new() }, None));
        stanza.fields.insert(name.clone(), value.trim().to_owned());
        *last = Some(name);
    }
    all.extend(current.map(|(stanza, _)| stanza));
    Ok(all)
}

fn parse_deb822(text: &str) -> Result<Vec<Source>, SourcesError> {
    let mut sources = Vec::new();
    for stanza in stanzas(text)? {
        let is_disabled = stanza.fields.get("enabled").is_some_and(|value| boolean(value) == Some(false));
        if is_disabled {
            continue;
        }
        let source = of_stanza(&stanza).map_err(|reason| SourcesError { line: stanza.line, reason })?;
        sources.push(source);
    }
    Ok(sources)
}

fn of_stanza(stanza: &Stanza) -> Result<Source, String> {
    let mut source = Source { line: stanza.line, ..Source::default() };
    let words = |name: &str| -> Vec<String> {
        let value = stanza.fields.get(name).map(String::as_str).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let required = |name: &str, shown: &str| match words(name) {
        words if words.is_empty() => Err(format!("no field `{shown}`")),
        words => Ok(words),
    };
    for kind in required("types", "Types")? {
        match kind.as_str() {
            "deb" => source.has_binaries = true,
            "deb-src" => source.has_sources = true,
            _ => return Err(format!("unknown type `{kind}`")),
        }
    }
    source.uris = required("uris", "URIs")?.iter().map(|uri| without_slash(uri)).collect();
    source.suites = required("suites", "Suites")?;
    source.components = words("components");
    for (name, value) in &stanza.fields {
        source.set(name, value);
    }
    source.check_parts()?;
    Ok(source)
}

fn signed_by(value: &str) -> Vec<SignedBy> {
    if value.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        // A line with a dot stands for an empty one.
        let lines = value.trim().lines().map(|line| if line.trim() == "." { "" } else { line.trim() });
        return vec![SignedBy::Embedded(lines.flat_map(|line| [line, "\n"]).collect())];
    }
    let words = value.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    words
        .map(|word| {
            if word.starts_with('/') {
                return SignedBy::Keyring(word.to_owned());
            }
            let (fingerprint, is_exact) = word.strip_suffix('!').map_or((word, false), |bare| (bare, true));
            SignedBy::Fingerprint { fingerprint: fingerprint.to_ascii_uppercase(), is_exact }
        })
        .collect()
}

/// Returns the meaning of a word; `None` for one that apt does not know.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "no" | "false" | "without" | "off" | "disable" | "0" => Some(false),
        "yes" | "true" | "with" | "on" | "enable" | "1" => Some(true),
        _ => None,
    }
}

fn without_slash(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

/// Removes the user and the password of an address.
pub fn shown(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

impl fmt::Display for Source {
    /// Writes the source in the one-line format, without options and secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.has_binaries { "deb" } else { "deb-src" };
        let uris: Vec<_> = self.uris.iter().map(|uri| shown(uri)).collect();
        write!(f, "{kind} {} {}", uris.join(" "), self.suites.join(" "))?;
        self.components.iter().try_for_each(|component| write!(f, " {component}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Vec<Source>, String> {
        SourcesFormat::OneLine.parse(text).map_err(|error| error.to_string())
    }

    fn deb822(text: &str) -> Result<Vec<Source>, String> {
        SourcesFormat::Deb822.parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn one_line_sources_have_options_and_comments() {
        let sources = list(
            "# deb cdrom:[Debian GNU/Linux]/ bookworm main\n\n\
             deb [ arch=amd64,arm64 signed-by=/a.gpg,/b.asc trusted=no by-hash=force x-unknown=1 ] \
             http://u:p@deb.example/debian/ bookworm main contrib # comment\n\
             deb-src\thttp://deb.example/debian\tbookworm  main\n\
             deb [arch-=i386 check-valid-until=no] file:/srv/mirror ./\n\
             deb cdrom:[Debian # 1]/ bookworm main\n",
        )
        .unwrap();
        let first = &sources[0];
        assert_eq!(first.uris, ["http://u:p@deb.example/debian"]);
        assert_eq!((first.line, first.suites.as_slice()), (3, &["bookworm".to_owned()][..]));
        assert_eq!(first.components, ["main", "contrib"]);
        let keyring = |path: &str| SignedBy::Keyring(path.to_owned());
        assert_eq!(first.signed_by, [keyring("/a.gpg"), keyring("/b.asc")]);
        assert_eq!((first.trusted, first.by_hash, first.check_valid_until), (Some(false), Some(true), None));
        assert!(first.serves("arm64") && !first.serves("i386") && first.has_binaries && !first.has_sources);
        assert_eq!(first.to_string(), "deb http://deb.example/debian bookworm main contrib");
        assert!(sources[1].has_sources && !sources[1].has_binaries);
        assert_eq!(sources[2].suites, ["./"]);
        assert!(sources[2].serves("amd64") && !sources[2].serves("i386"));
        assert_eq!(sources[2].check_valid_until, Some(false));
    }

    #[test]
    fn one_line_errors_are_those_of_apt() {
        for (text, reason) in [
            ("rpm http://a b c", "unknown type `rpm`"),
            ("deb", "no address"),
            ("deb http://a", "no suite"),
            ("deb http://a bookworm", "no component of the suite `bookworm`"),
            ("deb http://a ./ main", "the exact path `./` has components"),
            ("deb example bookworm main", "invalid address `example`"),
            ("deb [arch=amd64 http://a b c", "the options have no closing bracket"),
            ("deb [arch] http://a b c", "the option `arch` has no value"),
            ("deb [=x] http://a b c", "invalid option `=x`"),
        ] {
            let error = list(&format!("\n{text}")).unwrap_err();
            assert_eq!(error, format!("invalid source in line 2: {reason}"));
        }
        assert_eq!(list("").unwrap(), []);
    }

    #[test]
    fn stanzas_have_several_values_and_embedded_keys() {
        let sources = deb822(
            "# comment\n\
             Types: deb deb-src\n\
             URIs: http://a.example/debian/\n  https://b.example/debian\n\
             # a comment in a stanza\n\
             Suites: trixie trixie-updates\n\
             Components: main\n\
             \tcontrib\n\
             Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----\n\
             X-Repolib-Name: Own\n\
             \n \n\
             Enabled: no\nTypes: nonsense\n\n\
             enabled: yes\ntypes: deb\nuris: http://c\nsuites: ./\n\
             Signed-By: /k.gpg 0123456789abcdef0123456789ABCDEF01234567!\n",
        )
        .unwrap();
        assert_eq!(sources.len(), 2);
        let first = &sources[0];
        assert_eq!(first.uris, ["http://a.example/debian", "https://b.example/debian"]);
        assert_eq!(first.suites, ["trixie", "trixie-updates"]);
        assert_eq!(first.components, ["main", "contrib"]);
        assert_eq!(
            first.signed_by,
            [SignedBy::Embedded(
                "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBF\n-----END PGP PUBLIC KEY BLOCK-----\n"
                    .to_owned()
            )]
        );
        assert_eq!((first.line, sources[1].line), (2, 20));
        let fingerprint = "0123456789ABCDEF0123456789ABCDEF01234567".to_owned();
        assert_eq!(
            sources[1].signed_by,
            [SignedBy::Keyring("/k.gpg".to_owned()), SignedBy::Fingerprint { fingerprint, is_exact: true }]
        );
    }

    #[test]
    fn errors_of_stanzas_name_the_line() {
        for (text, expected) in [
            ("URIs: http://a\nSuites: b\nComponents: c", "line 2: no field `Types`"),
            ("Types: deb\nSuites: b\nComponents: c", "line 2: no field `URIs`"),
            ("Types: deb\nURIs: http://a\nComponents: c", "line 2: no field `Suites`"),
            ("Types: deb\nURIs: http://a\nSuites: b", "line 2: no component of the suite `b`"),
            (
                "Types: deb\nURIs: http://a\nSuites: b/\nComponents: c",
                "line 2: the exact path `b/` has components",
            ),
            ("Types: rpm\nURIs: http://a\nSuites: b\nComponents: c", "line 2: unknown type `rpm`"),
            ("Types: deb\nnonsense", "line 3: `nonsense` is no field"),
            (" Types: deb", "line 2: a continuation without a field"),
        ] {
            let error = deb822(&format!("\n{text}\n")).unwrap_err();
            assert_eq!(error, format!("invalid source in {expected}"));
        }
    }

    #[test]
    fn apt_ignores_files_of_other_names() {
        for (name, expected) in [
            ("debian.sources", Some(SourcesFormat::Deb822)),
            ("docker.list", Some(SourcesFormat::OneLine)),
            ("docker.list.save", None),
            ("google.list.disabled", None),
            ("a b.list", None),
            (".hidden.list", None),
            ("README", None),
        ] {
            assert_eq!(SourcesFormat::of_file(name), expected, "{name}");
        }
    }
}
