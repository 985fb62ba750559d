//! Addresses: the part of RFC 3986 that registries use. Crates for all of it include Unicode tables
//! unused by registries.

use std::fmt;

use ureq::http::Uri;

/// The scheme of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
}

/// An origin. Credentials are for exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UrlOrigin {
    pub(crate) scheme: Scheme,
    /// Host and port in lower case, without the scheme's default port.
    pub(crate) authority: String,
}

/// An absolute address.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) origin: UrlOrigin,
    /// Begins with a slash.
    path: String,
    /// Without the question mark. Never printed: storage behind registries puts signatures there.
    query: Option<String>,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl UrlOrigin {
    pub(crate) fn new(scheme: Scheme, authority: &str) -> Self {
        let authority = authority.to_ascii_lowercase();
        let implied = match scheme {
            Scheme::Http => ":80",
            Scheme::Https => ":443",
        };
        let authority = authority.strip_suffix(implied).map(str::to_owned).unwrap_or(authority);
        Self { scheme, authority }
    }
}

/// Splits an authority into host and port; an IPv6 address loses its brackets.
pub(crate) fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

impl Url {
    /// Makes an address of `origin`; `path` begins with a slash and may have a query.
    pub(crate) fn new(origin: UrlOrigin, path: &str) -> Self {
        let (path, query) = split_query(path);
        Self { origin, path: path.to_owned(), query }
    }

    /// Parses an absolute address; `None` for one with a user or of another scheme.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = (rest.get(..end)?, rest.get(end..)?);
        let (path, query) = split_query(path);
        let path = if path.is_empty() { "/" } else { path };
        let url = Self { origin: UrlOrigin::new(scheme, authority), path: path.to_owned(), query };
        // The HTTP client parses the same type, so this check finds any other fault.
        let uri = url.uri()?;
        let sound = uri.host().is_some_and(|host| !host.is_empty()) && !authority.contains('@');
        sound.then_some(url)
    }

    /// Resolves `location`, found in a response of this address.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.origin.scheme.as_str()));
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') || location.is_empty() {
            format!("{}{location}", self.path)
        } else {
            let folder = self.path.rfind('/').and_then(|slash| self.path.get(..=slash)).unwrap_or("/");
            format!("{folder}{location}")
        };
        let mut url = Self::new(self.origin.clone(), path.split('#').next().unwrap_or_default());
        url.path = without_dots(&url.path);
        url.uri().map(|_| url)
    }

    /// Appends a parameter; the existing query stays unchanged.
    pub(crate) fn with(&self, key: &str, value: &str) -> Self {
        let added = format!("{key}={value}");
        let query = match &self.query {
            Some(query) if !query.is_empty() => format!("{query}&{added}"),
            _ => added,
        };
        Self { query: Some(query), ..self.clone() }
    }

    pub(crate) fn uri(&self) -> Option<Uri> {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let UrlOrigin { scheme, authority } = &self.origin;
        format!("{}://{authority}{}{query}", scheme.as_str(), self.path).parse().ok()
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// Removes the segments `.` and `..` of a path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let last = path.rsplit('/').next().unwrap_or_default();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    if matches!(last, "." | "..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

fn split_query(path: &str) -> (&str, Option<String>) {
    match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path, None),
    }
}

impl fmt::Display for UrlOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

impl fmt::Display for Url {
    /// Writes the address without the query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(url: &Url) -> String {
        url.uri().unwrap().to_string()
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("https://r.example:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (location, expected) in [
            ("https://other/p?q=1#f", "https://other/p?q=1"),
            ("//other/p", "https://other/p"),
            ("/v2/b?_state=a%2Fb", "https://r.example:5000/v2/b?_state=a%2Fb"),
            ("c?d", "https://r.example:5000/v2/a/blobs/uploads/c?d"),
            ("?d", "https://r.example:5000/v2/a/blobs/uploads/?d"),
            ("../uploads/c?d=..", "https://r.example:5000/v2/a/blobs/uploads/c?d=.."),
            ("./c/./e/..", "https://r.example:5000/v2/a/blobs/uploads/c/"),
            ("../../../../../..", "https://r.example:5000/"),
            ("/a//b/../c", "https://r.example:5000/a//c"),
            ("/p?to=http://x/", "https://r.example:5000/p?to=http://x/"),
        ] {
            assert_eq!(text(&base.join(location).unwrap()), expected, "{location}");
        }
        for location in ["ftp://a/b", "http://user:secret@host/", "http:///p", "/a b", "https://[::1/p"] {
            assert!(base.join(location).is_none(), "{location}");
        }
    }

    #[test]
    fn a_query_is_kept_and_never_shown() {
        let url = Url::parse("https://HOST:443/p?signature=1").unwrap();
        assert_eq!(text(&url.with("digest", "sha256:00")), "https://host/p?signature=1&digest=sha256:00");
        assert_eq!(format!("{url} {url:?}"), "https://host/p https://host/p");
        assert_eq!(text(&Url::parse("http://a").unwrap().with("b", "c")), "http://a/?b=c");
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |url: &str| Url::parse(url).unwrap().origin;
        assert_eq!(origin("https://a/x"), origin("https://A:443/y"));
        for other in ["http://a/", "https://b/", "https://a:444/", "https://a.b/"] {
            assert_ne!(origin("https://a/"), origin(other));
        }
        assert_eq!(host_and_port("[::1]:5000"), ("::1", Some(5000)));
        assert_eq!(host_and_port("a:x"), ("a", None));
    }
}
