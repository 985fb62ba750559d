//! Credentials of mirrors: `/etc/apt/auth.conf` and `auth.conf.d`, apt_auth.conf(5).
//!
//! ```text
//! machine deb.example/private login reader password secret
//! ```

use std::fmt;

/// An entry: a part of a mirror with its user.
#[derive(Clone, PartialEq, Eq)]
pub struct MirrorCredentials {
    /// The scheme; without one, the entry is for HTTPS.
    scheme: Option<String>,
    /// Host, port and the begin of the path.
    place: String,
    /// The user.
    pub login: String,
    /// The password.
    pub password: String,
}

impl MirrorCredentials {
    /// Parses a file. Incomplete entries are left out.
    pub fn parse(text: &str) -> Vec<Self> {
        let lines = text.lines().map(|line| line.split_once(" #").map_or(line, |(line, _)| line));
        let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
        let mut words = lines.flat_map(str::split_whitespace);
        let mut entries: Vec<Self> = Vec::new();
        while let Some(word) = words.next() {
            let Some(value) = words.next() else { break };
            match (word, entries.last_mut()) {
                ("machine", _) => {
                    let split = value.split_once("://");
                    let (scheme, place) =
                        split.map_or((None, value), |(scheme, place)| (Some(scheme), place));
                    entries.push(Self {
                        scheme: scheme.map(str::to_ascii_lowercase),
                        place: place.trim_end_matches('/').to_owned(),
                        login: String::new(),
                        password: String::new(),
                    });
                }
                ("login", Some(entry)) => value.clone_into(&mut entry.login),
                ("password", Some(entry)) => value.clone_into(&mut entry.password),
                _ => {}
            }
        }
        entries.retain(|entry| !entry.place.is_empty() && !entry.login.is_empty());
        entries
    }

    /// Returns true if the entry is of this address.
    pub fn is_of(&self, url: &str) -> bool {
        let Some((scheme, rest)) = url.split_once("://") else { return false };
        let is_scheme = self.scheme.as_deref().unwrap_or("https") == scheme;
        let behind = rest.strip_prefix(self.place.as_str());
        let has_port =
            self.place.split('/').next().is_some_and(|host| host.contains(':')) || self.place.contains('/');
        // An entry without a port is for the usual one.
        is_scheme
            && behind
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || (!has_port && rest == ":443"))
    }
}

impl fmt::Debug for MirrorCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MirrorCredentials({})", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_match_schemes_hosts_and_paths() {
        let entries = MirrorCredentials::parse(
            "# machine x login y password z\nmachine a.example login u password p # comment\n\
             machine http://b.example:8080/debian\n  login v\n  password q\nmachine c.example\nmachine d",
        );
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].login.as_str(), entries[0].password.as_str()), ("u", "p"));
        for (url, expected) in [
            ("https://a.example/debian", true),
            ("https://a.example", true),
            ("http://a.example/debian", false),
            ("https://a.example.evil/debian", false),
            ("https://a.example:8443/debian", false),
        ] {
            assert_eq!(entries[0].is_of(url), expected, "{url}");
        }
        for (url, expected) in [
            ("http://b.example:8080/debian/dists", true),
            ("http://b.example:8080/debian-security", false),
            ("https://b.example:8080/debian", false),
        ] {
            assert_eq!(entries[1].is_of(url), expected, "{url}");
        }
        assert!(!format!("{entries:?}").contains("\"p\""));
    }
}
