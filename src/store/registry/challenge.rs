//! Parses `WWW-Authenticate` challenges (RFC 9110, section 11.6.1; RFC 6750, section 3).
//!
//! ```text
//! WWW-Authenticate: Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull"
//! ```

/// An authentication challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from the token server at `realm`.
    Bearer {
        /// The token server's address.
        realm: String,
        /// The service to name in the token request.
        service: Option<String>,
        /// The error of the token sent.
        error: Option<String>,
    },
    /// User and password.
    Basic,
    /// Another scheme, by name.
    Other(String),
}

/// Parses one header. Malformed parts yield no challenge.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word;
        (word, rest) = token(rest);
        if word.is_empty() {
            break;
        }
        let after = rest.trim_start_matches([' ', '\t']);
        // `key = value` is a parameter of the preceding scheme; a bare word begins another scheme.
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(after), Some((_, parameters))) if !after.starts_with('=') => {
                let value;
                (value, rest) = value_of(after.trim_start_matches([' ', '\t']));
                parameters.push((word.to_ascii_lowercase(), value));
            }
            _ => {
                found.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
                // A token68, unused by the supported schemes.
                if rest.starts_with('=') {
                    rest = rest.trim_start_matches('=');
                }
            }
        }
    }
    found.into_iter().filter_map(|(scheme, parameters)| challenge(scheme, &parameters)).collect()
}

fn challenge(scheme: String, parameters: &[(String, String)]) -> Option<Challenge> {
    let get = |key: &str| parameters.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone());
    match scheme.as_str() {
        "bearer" => {
            Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), error: get("error") })
        }
        "basic" => Some(Challenge::Basic),
        _ => Some(Challenge::Other(scheme)),
    }
}

/// Splits off a token (RFC 9110, section 5.6.2).
fn token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Splits off a quoted string or a token.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // Some registries leave values with a colon unquoted.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned), error: None }
    }

    #[test]
    fn challenges_are_read() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://a/t",service="r",scope="repository:a/b:pull,push""#,
                vec![bearer("https://a/t", Some("r"))],
            ),
            (r#"bearer service="a, b" , realm = "x""#, vec![bearer("x", Some("a, b"))]),
            ("Bearer realm=https://a/t,service=r", vec![bearer("https://a/t", Some("r"))]),
            (r#"Bearer realm="a\"b\\""#, vec![bearer("a\"b\\", None)]),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
            (
                r#"Negotiate, Basic realm="x", Bearer realm="y""#,
                vec![Challenge::Other("negotiate".to_owned()), Challenge::Basic, bearer("y", None)],
            ),
            ("Bearer", vec![]),
            (r#"Bearer realm="unclosed"#, vec![bearer("unclosed", None)]),
            ("", vec![]),
            ("=,=", vec![]),
            ("é", vec![]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn the_reason_of_a_refusal_is_read() {
        let header = r#"Bearer realm="x",error="insufficient_scope""#;
        let [Challenge::Bearer { error, .. }]: [Challenge; 1] = parse(header).try_into().unwrap() else {
            panic!()
        };
        assert_eq!(error.as_deref(), Some("insufficient_scope"));
    }
}
