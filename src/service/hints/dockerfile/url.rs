//! [`find`]: the address that a health check's command requests.

use crate::service::hints::variable::{ValueRule, reference};

/// An address on the container itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalUrl {
    /// `None` for the default, and for a port known only at run time.
    pub(super) port: Option<u16>,
    /// Begins with `/`.
    pub(super) path: String,
}

const HOSTS: [&str; 7] =
    ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", "${HOSTNAME}", "$HOSTNAME", "${HOST}"];

/// Returns the first address in a text: `http://localhost:8000/health`, `localhost:8000/health`.
pub(super) fn find(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Option<LocalUrl> {
    let hosts = HOSTS.iter().flat_map(|host| text.match_indices(host));
    let mut starts: Vec<(usize, &str)> = hosts.collect();
    starts.sort_unstable();
    starts.into_iter().find_map(|(at, host)| {
        let before = &text[..at];
        let has_scheme = before.ends_with("://");
        let is_start = has_scheme || before.ends_with([' ', '"', '\'', '=', '(', '\t', '\n', '@']) || at == 0;
        let rest = &text[at + host.len()..];
        let (port, rest) = match rest.strip_prefix(':') {
            Some(rest) => port(rest, lookup),
            None => (None, rest),
        };
        let has_port = text[at + host.len()..].starts_with(':');
        let end = rest.find(|c: char| c.is_whitespace() || "\"'`)|;,>\\".contains(c)).unwrap_or(rest.len());
        let path = &rest[..end];
        let is_path = path.is_empty() || (path.starts_with('/') && !path.contains(['$', '{']));
        let path = if path.is_empty() { "/" } else { path };
        let is_url = is_start && is_path && (has_scheme || has_port || path != "/");
        is_url.then(|| LocalUrl { port, path: path.to_owned() })
    })
}

/// Takes the port from the start of the text: digits, or a variable.
fn port<'a>(text: &'a str, lookup: &dyn Fn(&str) -> Option<String>) -> (Option<u16>, &'a str) {
    if let Some(found) = text.strip_prefix('$').and_then(reference) {
        let default = match found.rule {
            ValueRule::Default(word) => Some(word.to_owned()),
            _ => None,
        };
        let value = lookup(found.name).or(default);
        return (value.and_then(|value| value.parse().ok()), &text[found.length + 1..]);
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().ok(), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let lookup = |name: &str| (name == "PORT").then(|| "5000".to_owned());
        let found = |text| find(text, &lookup).map(|url| (url.port, url.path));
        let of = |port, path: &str| Some((port, path.to_owned()));
        assert_eq!(found("curl -f http://localhost:8000/health || exit 1"), of(Some(8000), "/health"));
        assert_eq!(found("curl --fail http://localhost:$PORT/ping"), of(Some(5000), "/ping"));
        assert_eq!(found("curl http://0.0.0.0:${APP_PORT:-80}"), of(Some(80), "/"));
        assert_eq!(found("wget -qO- localhost:8000/health/ >/dev/null"), of(Some(8000), "/health/"));
        assert_eq!(found("python -c \"urlopen('http://127.0.0.1/up?x=1')\""), of(None, "/up?x=1"));
        assert_eq!(found("curl http://localhost:8000/$PREFIX/health"), None);
        assert_eq!(found("nc -z localhost 8000"), None);
        assert_eq!(found("curl https://example.org/localhost:1/x"), None);
        assert_eq!(found(""), None);
    }
}
