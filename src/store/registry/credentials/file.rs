//! Credential files.
//!
//! ```json
//! {
//!   "auths": { "registry.example": { "auth": "<base64 of USER:PASSWORD>" }, "https://index.docker.io/v1/": {} },
//!   "credHelpers": { "ghcr.io": "gh" },
//!   "credsStore": "desktop"
//! }
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Credential, CredentialsError};
use crate::error::FileError;
use crate::store::http::secret::Secret;

/// Limit for a file, in bytes; real ones have some kilobytes.
const LIMIT_BYTES: u64 = 4 << 20;

/// Written by Windows editors at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A parsed credential file. The crate `docker_credential` supports neither keys of single
/// repositories nor a time limit for helpers.
#[derive(Debug, Default)]
pub(in super::super) struct AuthFile {
    auths: BTreeMap<String, AuthEntry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

/// The value of a key in `auths`.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum AuthEntry {
    /// Credentials.
    Credential(Credential),
    /// An empty entry: the store has the credentials.
    Empty,
    /// An invalid entry, with the reason.
    Broken(&'static str),
}

impl AuthFile {
    /// Reads a file; `None` if missing.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let file = match fs_err::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(FileError::new("read", path, error).into()),
        };
        let mut bytes = Vec::new();
        let mut file = std::io::Read::take(file, LIMIT_BYTES);
        std::io::Read::read_to_end(&mut file, &mut bytes).map_err(FileError::of("read", path))?;
        let parsed = Self::parse(&bytes);
        parsed.map(Some).map_err(|reason| CredentialsError::Content { path: path.to_path_buf(), reason })
    }

    /// Parses a file. An invalid entry fails on use only.
    pub(in super::super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        // serde's messages quote the input, which may be a secret. Docker accepts an empty file as
        // one without credentials: `touch`, or an empty mounted secret.
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii();
        if bytes.is_empty() || bytes == b"null" {
            return Ok(Self::default());
        }
        let document: Value = serde_json::from_slice(bytes).map_err(|_| "not JSON")?;
        let document = document.as_object().ok_or("not a JSON object")?;
        let table = |key: &str, wrong| match document.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(table)) => Ok(Some(table)),
            Some(_) => Err(wrong),
        };
        let auths = table("auths", "`auths` is not an object")?.into_iter().flatten();
        let helpers = table("credHelpers", "`credHelpers` is not an object")?.into_iter().flatten();
        let name = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self {
            auths: auths.map(|(key, value)| (normalize(key), entry(value))).collect(),
            helpers: helpers.filter_map(|(key, value)| Some((normalize(key), name(value)?))).collect(),
            store: document.get("credsStore").and_then(name),
        })
    }

    /// Returns the entry of a key in `auths`.
    pub(super) fn entry(&self, key: &str) -> Option<&AuthEntry> {
        self.auths.get(key)
    }

    /// Returns the helper for one registry.
    pub(super) fn helper(&self, key: &str) -> Option<&str> {
        self.helpers.get(key).map(String::as_str)
    }

    /// Returns the helper for all other registries.
    pub(super) fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }
}

/// Reduces Docker's older keys, which are addresses: `https://registry.example/v1/`.
fn normalize(key: &str) -> String {
    let without_scheme = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let key = match without_scheme {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    };
    key.to_owned()
}

fn entry(value: &Value) -> AuthEntry {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return AuthEntry::Credential(Credential::IdentityToken(token.into()));
    }
    if let Some(token) = text("registrytoken") {
        return AuthEntry::Credential(Credential::RegistryToken(token.into()));
    }
    if let Some(auth) = text("auth") {
        let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        return pair.map_or(
            AuthEntry::Broken("an `auth` is not base64 of USER:PASSWORD"),
            |(user, password)| {
                // Docker pads with zeros.
                let password = Secret::new(password.trim_end_matches('\0'));
                AuthEntry::Credential(Credential::Password { user: user.to_owned(), password })
            },
        );
    }
    match (text("username"), text("password")) {
        (Some(user), Some(password)) => {
            AuthEntry::Credential(Credential::Password { user: user.to_owned(), password: password.into() })
        }
        _ => AuthEntry::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_no_credentials() {
        for text in [
            "",
            " \n",
            "null",
            "{}",
            "\u{feff}{}",
            r#"{"auths": null, "credHelpers": null, "credsStore": null}"#,
        ] {
            let file = AuthFile::parse(text.as_bytes()).unwrap();
            assert!(file.auths.is_empty() && file.helpers.is_empty() && file.store.is_none(), "{text:?}");
        }
        for text in ["[]", "7", "{", "{} {}"] {
            assert!(AuthFile::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_kind_of_entry_is_read() {
        let file = br#"{"auths": {
            "a": {"auth": "dTpw"}, "b": {"username": "u", "password": "p"}, "c": {"identitytoken": "t", "auth": "dTo="},
            "d": {"registrytoken": "t"}, "e": {}, "f": {"auth": "!"}, "https://g:5000/v2/": {"auth": "dTpw"}
        }, "credsStore": "", "HttpHeaders": {}}"#;
        let file = AuthFile::parse(file).unwrap();
        let password =
            AuthEntry::Credential(Credential::Password { user: "u".to_owned(), password: "p".into() });
        for (key, expected) in [
            ("a", password),
            ("c", AuthEntry::Credential(Credential::IdentityToken("t".into()))),
            ("d", AuthEntry::Credential(Credential::RegistryToken("t".into()))),
            ("e", AuthEntry::Empty),
        ] {
            assert_eq!(file.entry(key), Some(&expected), "{key}");
        }
        assert_eq!(file.entry("b"), file.entry("a"));
        assert_eq!(file.entry("g:5000"), file.entry("a"));
        assert!(matches!(file.entry("f"), Some(AuthEntry::Broken(_))));
        assert_eq!(file.store(), None);
    }
}
