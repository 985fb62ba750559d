//! `direct_url.json`: the origin of a distribution that was not installed from an index.
//!
//! Follows the packaging specification "Recording the Direct URL Origin of installed distributions"
//! (PEP 610, PEP 660): <https://packaging.python.org/en/latest/specifications/direct-url/>.

use std::path::PathBuf;

use serde_json::{Value, json};

/// The origin of a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectUrl {
    /// A source directory of the build machine, used in place (`pip install -e`).
    Editable(PathBuf),
    /// A directory or archive of the build machine, copied at installation.
    Local(PathBuf),
    /// An archive or a repository on another machine: the canonical text of the file, without
    /// passwords.
    Remote(String),
}

impl DirectUrl {
    /// Parses the file's text. Returns `None` if invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let url = value.get("url")?.as_str()?;
        if let Some(path) = url.strip_prefix("file://") {
            let editable = value.pointer("/dir_info/editable").and_then(Value::as_bool).unwrap_or(false);
            let path = path.strip_prefix("localhost").unwrap_or(path);
            let path = PathBuf::from(percent_decoded(path)?);
            return Some(if editable { Self::Editable(path) } else { Self::Local(path) });
        }
        let mut canonical = json!({ "url": without_password(url) });
        // Installers agree on a repository's state, but not on the fields of an archive.
        for (key, kept) in [
            ("vcs_info", &["vcs", "commit_id", "requested_revision"][..]),
            ("archive_info", &[][..]),
            ("subdirectory", &[][..]),
        ] {
            let Some(given) = value.get(key) else { continue };
            canonical[key] = match given {
                Value::Object(fields) => fields
                    .iter()
                    .filter(|(name, _)| kept.contains(&name.as_str()))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
                other => other.clone(),
            };
        }
        canonical.sort_all_objects();
        Some(Self::Remote(canonical.to_string()))
    }

    /// Returns true if the recorded URL is that of a requirement, as pip parses the latter.
    pub fn matches_url(&self, url: &str) -> bool {
        let Self::Remote(text) = self else { return false };
        let recorded = serde_json::from_str::<Value>(text)
            .ok()
            .and_then(|value| value.get("url").and_then(Value::as_str).map(str::to_owned));
        recorded.is_some_and(|recorded| plain_url(&recorded) == plain_url(url))
    }

    /// Returns the file's text for an editable distribution with its project at the absolute `path`
    /// in the image.
    pub fn editable_text(path: &str) -> String {
        format!("{{\"dir_info\":{{\"editable\":true}},\"url\":{}}}", Value::from(file_url(path)))
    }
}

/// Strips the parts of a URL that only instruct pip: `git+`, `@REVISION`, `#subdirectory=…`, a
/// password.
fn plain_url(url: &str) -> String {
    let url = url.split('#').next().unwrap_or(url);
    let repository = ["git+", "hg+", "svn+", "bzr+"].iter().find_map(|prefix| url.strip_prefix(prefix));
    let without_revision = repository.map(|url| match url.rsplit_once('@') {
        // `git@host` is a user, not a revision.
        Some((before, _)) if before.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) => before,
        _ => url,
    });
    without_password(without_revision.unwrap_or(url))
}

/// Returns the path as a `file://` URL, percent-encoded (RFC 3986, section 3.3).
fn file_url(path: &str) -> String {
    use std::fmt::Write as _;
    let mut url = String::from("file://");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

/// Decodes percent escapes. Returns `None` for an invalid escape and for bytes that are not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit =
                || char::from(rest.next()?).to_digit(16).and_then(|value| u8::try_from(value).ok());
            let (high, low) = (digit()?, digit()?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Strips `user:password@` as PEP 610 requires; `git@` is not a secret.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) if user != "git" => format!("{scheme}://{host}{path}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distinguishes_local_from_remote() {
        assert_eq!(
            DirectUrl::parse(r#"{"url":"file:///a/my%20app","dir_info":{"editable":true}}"#),
            Some(DirectUrl::Editable("/a/my app".into()))
        );
        assert_eq!(
            DirectUrl::parse(r#"{"url":"file:///a/x.whl","archive_info":{}}"#),
            Some(DirectUrl::Local("/a/x.whl".into()))
        );
        assert_eq!(DirectUrl::parse("{}"), None);
        assert_eq!(DirectUrl::parse(r#"{"url":"file:///%zz","dir_info":{"editable":true}}"#), None);
    }

    #[test]
    fn two_installers_give_one_canonical_text() {
        let pip = r#"{"archive_info": {"hash": "sha256=00", "hashes": {"sha256": "00"}}, "url": "https://h/x.whl"}"#;
        let uv = r#"{"url":"https://h/x.whl","archive_info":{}}"#;
        assert_eq!(DirectUrl::parse(pip), DirectUrl::parse(uv));
    }

    #[test]
    fn matches_the_url_of_a_requirement() {
        let of = |url: &str| {
            DirectUrl::parse(&format!(r#"{{"url":"{url}","vcs_info":{{"vcs":"git"}}}}"#)).unwrap()
        };
        for (recorded, required, same) in [
            ("https://h/x.git", "git+https://h/x.git", true),
            ("https://h/x.git", "git+https://h/x.git@v1.0#subdirectory=y", true),
            ("https://h/x.git", "git+https://token@h/x.git@a/b", true),
            ("ssh://git@h/x.git", "git+ssh://git@h/x.git", true),
            ("https://h/x-1.tar.gz", "https://h/x-1.tar.gz#sha256=00", true),
            ("https://h/x.git", "git+https://h/y.git", false),
        ] {
            assert_eq!(of(recorded).matches_url(required), same, "{required}");
        }
    }

    #[test]
    fn passwords_do_not_reach_the_image() {
        let text =
            r#"{"url":"https://me:secret@h/x.git","vcs_info":{"vcs":"git","commit_id":"ab","extra":"x"}}"#;
        assert_eq!(
            DirectUrl::parse(text),
            Some(DirectUrl::Remote(
                r#"{"url":"https://h/x.git","vcs_info":{"commit_id":"ab","vcs":"git"}}"#.to_owned()
            ))
        );
        assert_eq!(without_password("ssh://git@h/x"), "ssh://git@h/x");
    }

    proptest! {
        #[test]
        fn round_trips_paths(path in "/[^\0]{0,30}") {
            let read = DirectUrl::parse(&DirectUrl::editable_text(&path));
            prop_assert_eq!(read, Some(DirectUrl::Editable(path.into())));
        }
    }
}
