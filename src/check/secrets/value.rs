//! Values of credentials: real ones, and placeholders of documentation and development.

use std::fmt::Write as _;

/// Parts of tokens in documentation.
const EXAMPLES: [&str; 14] = [
    "example",
    "xxxx",
    "0123456789",
    "1234567890",
    "12345678",
    "abcdefgh",
    "abcdef12",
    "changeme",
    "placeholder",
    "redacted",
    "dummy",
    "00000000",
    "aaaaaaaa",
    "deadbeef",
];

/// Parts of values that stand for a secret that is set elsewhere, or protect nothing.
const PLACEHOLDERS: [&str; 27] = [
    "change",
    "placeholder",
    "your",
    "xxx",
    "example",
    "sample",
    "dummy",
    "redacted",
    "password",
    "passwd",
    "secret",
    "insecure",
    "test",
    "todo",
    "replace",
    "default",
    "123456",
    "abcdef",
    "foobar",
    "fake",
    "none",
    "null",
    "admin",
    "postgres",
    "hunter2",
    "***",
    "...",
];

/// Last words of variables that hold a secret.
const SECRET_NAMES: [&str; 15] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "SECRET_KEY",
    "SECRETKEY",
    "TOKEN",
    "API_KEY",
    "APIKEY",
    "ACCESS_KEY",
    "PRIVATE_KEY",
    "AUTH_KEY",
    "ENCRYPTION_KEY",
    "SIGNING_KEY",
    "CREDENTIALS",
];

/// Returns the Shannon entropy in bits a byte.
pub(super) fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let total = text.len() as f64;
    let share = |count: u32| f64::from(count) / total;
    counts.into_iter().filter(|count| *count > 0).map(|count| -share(count) * share(count).log2()).sum()
}

/// Returns true for a token of documentation.
pub(super) fn is_example(text: &[u8]) -> bool {
    let lower = String::from_utf8_lossy(text).to_ascii_lowercase();
    EXAMPLES.iter().any(|part| lower.contains(part))
}

/// Returns true for a value that is set elsewhere, such as `${TOKEN}`, or that protects nothing.
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    let lower = String::from_utf8_lossy(value).to_ascii_lowercase();
    let is_template = lower.starts_with(['$', '{', '<', '%', '[', '@', '/']) || lower.contains("{{");
    let is_url = lower.contains("://");
    let mut bytes = value.iter();
    let is_one_character = bytes.next().is_none_or(|first| bytes.all(|byte| byte == first));
    is_template || is_url || is_one_character || PLACEHOLDERS.iter().any(|part| lower.contains(part))
}

/// Returns true for a value that is a secret of enough characters, not a word.
pub(in crate::check) fn is_strong(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    let has_space = value.contains(char::is_whitespace);
    let classes = [
        value.contains(|c: char| c.is_ascii_lowercase()),
        value.contains(|c: char| c.is_ascii_uppercase()),
        value.contains(|c: char| c.is_ascii_digit()),
        value.contains(|c: char| c.is_ascii_punctuation()),
    ];
    let classes = classes.iter().filter(|has| **has).count();
    !has_space
        && value.len() >= 8
        && classes >= 2
        && entropy(value.as_bytes()) >= 2.8
        && !is_placeholder(value.as_bytes())
}

/// Returns true for the name of a variable that holds a secret: `DB_PASSWORD`, `githubToken`.
pub(in crate::check) fn is_secret_name(name: &str) -> bool {
    let mut upper = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_lower {
            upper.push('_');
        }
        was_lower = c.is_ascii_lowercase();
        let _ = write!(upper, "{}", if c == '-' || c == '.' { '_' } else { c.to_ascii_uppercase() });
    }
    SECRET_NAMES
        .iter()
        .any(|end| upper.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
}

/// Returns true for the payload of a JSON Web Token that is public: the example of jwt.io, and keys of
/// anonymous clients.
pub(super) fn is_public_jwt(payload: &[u8]) -> bool {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let Ok(bytes) = engine.decode(payload) else { return true };
    let text = String::from_utf8_lossy(&bytes);
    ["1234567890", "John", "\"anon\"", "example", "test"].iter().any(|part| text.contains(part))
}

/// Returns the first four characters, for people to find the secret.
pub(super) fn start(secret: &[u8]) -> String {
    String::from_utf8_lossy(secret.get(..secret.len().min(4)).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_that_of_shannon() {
        for (text, expected) in [("aaaa", 0.0), ("abab", 1.0), ("abcd", 2.0)] {
            assert!((entropy(text.as_bytes()) - expected).abs() < 1e-9, "{text}");
        }
    }

    #[test]
    fn names_of_variables_with_secrets() {
        for name in
            ["DB_PASSWORD", "password", "githubToken", "AWS_SECRET_ACCESS_KEY", "app.secret-key", "API_KEY"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "GPG_KEY",
            "TOKEN_URL",
            "PASSWORD_FILE",
            "MAX_TOKENS",
            "PATH",
            "KEYCLOAK",
            "SECRETS_DIR",
            "monkey",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn placeholders_are_no_secrets() {
        for value in [
            "changeme",
            "change-me-please-1",
            "${TOKEN}",
            "$TOKEN",
            "<token>",
            "{{ token }}",
            "%(token)s",
            "your-api-key-42",
            "xxxxxxxxxxxx1A",
            "********",
            "postgres1",
            "my-secret-key-1",
            "/run/secrets/token",
            "django-insecure-k3b5j2l4",
            "short1",
            "onlywords",
            "12345678901234",
            "",
        ] {
            assert!(!is_strong(value), "{value}");
        }
        for value in
            ["Xk29vQpL77sB", "8f14e45fceea167a5a36dedd4bea2543", "correct9Horse-battery", "'tR5!kkPq2z'"]
        {
            assert!(is_strong(value), "{value}");
        }
    }
}
