//! Tokens and keys of known forms.
//!
//! The forms are those of gitleaks (`config/gitleaks.toml`, MIT license) that a fixed text begins: its
//! other rules look for any value near a name, and report hashes and identifiers. Programs such as
//! kingfisher have their rules inside; no crate offers a rule set as a library.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::bytes::{Regex, RegexBuilder};

use super::value;
use crate::check::diagnostic::Severity;

/// A form of secrets.
struct Pattern {
    /// The noun in messages.
    noun: &'static str,
    /// The literal text with which the secret begins.
    keyword: &'static str,
    /// The secret, from the keyword on. A group `secret` limits the text of which entropy is computed.
    form: &'static str,
    /// The least Shannon entropy in bits a character.
    entropy: f64,
    severity: Severity,
}

const fn token(noun: &'static str, keyword: &'static str, form: &'static str) -> Pattern {
    Pattern { noun, keyword, form, entropy: 3.0, severity: Severity::Error }
}

const fn hint(noun: &'static str, keyword: &'static str, form: &'static str) -> Pattern {
    Pattern { noun, keyword, form, entropy: 3.0, severity: Severity::Warning }
}

/// The patterns. A form is anchored at its keyword, and ends at a character that no token has.
static PATTERNS: &[Pattern] = &[
    token(
        "private key",
        "-----BEGIN ",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr]|[A-Za-z-]+: [^\n]*\n)*(?<secret>(?:[A-Za-z0-9+/=]{16,}(?:\s|\\[nr]|[\x22',+])*){2,})",
    ),
    token("private key of PuTTY", "PuTTY-User-Key-File-", r"PuTTY-User-Key-File-[23]: (?<secret>[\w-]+)")
        .entropy(0.0),
    token("key of age", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    token("access key of AWS", "AKIA", r"AKIA[A-Z2-7]{16}\b"),
    token("temporary access key of AWS", "ASIA", r"ASIA[A-Z2-7]{16}\b"),
    token("API key of Amazon Bedrock", "ABSK", r"ABSK[A-Za-z0-9+/]{109,269}"),
    token("client secret of Azure", "Q~", r"Q~[a-zA-Z0-9_~.-]{31,34}"),
    token("storage account key of Azure", "AccountKey=", r"AccountKey=(?<secret>[A-Za-z0-9+/]{86}==)"),
    hint("API key of Google", "AIza", r"AIza[\w-]{35}\b"),
    token("client secret of Google", "GOCSPX-", r"GOCSPX-[\w-]{28}\b"),
    token("refresh token of Google", "1//0", r"1//0[\w-]{90,}"),
    token("token of GitHub", "ghp_", r"ghp_[0-9a-zA-Z]{36}\b"),
    token("token of GitHub", "gho_", r"gho_[0-9a-zA-Z]{36}\b"),
    token("token of GitHub", "ghu_", r"ghu_[0-9a-zA-Z]{36}\b"),
    token("token of GitHub", "ghs_", r"ghs_[0-9a-zA-Z]{36}\b"),
    token("token of GitHub", "ghr_", r"ghr_[0-9a-zA-Z]{36}\b"),
    token("token of GitHub", "github_pat_", r"github_pat_\w{82}\b"),
    token("token of GitLab", "glpat-", r"glpat-[\w-]{20,300}"),
    token("token of GitLab", "gldt-", r"gldt-[\w-]{20}\b"),
    token("token of GitLab", "glrt-", r"glrt-[\w-]{20}\b"),
    token("token of GitLab", "glptt-", r"glptt-[0-9a-f]{40}\b"),
    token("token of GitLab", "glcbt-", r"glcbt-[0-9a-zA-Z]{1,5}_[\w-]{20}\b"),
    token("token of Slack", "xoxb-", r"xoxb-[0-9]{10,13}-[0-9]{10,13}[a-zA-Z0-9-]*"),
    token("token of Slack", "xoxp-", r"xoxp-(?:[0-9]{10,13}-){3}[a-zA-Z0-9-]{28,34}"),
    token("token of Slack", "xapp-", r"xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+"),
    token(
        "webhook of Slack",
        "hooks.slack.com/services/",
        r"hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/(?<secret>[A-Za-z0-9]{24})\b",
    ),
    token(
        "webhook of Discord",
        "discord.com/api/webhooks/",
        r"discord\.com/api/webhooks/\d{17,20}/(?<secret>[\w-]{60,72})",
    ),
    token("secret key of Stripe", "sk_live_", r"sk_live_[a-zA-Z0-9]{10,99}"),
    token("secret key of Stripe", "rk_live_", r"rk_live_[a-zA-Z0-9]{10,99}"),
    token("signing secret of Stripe", "whsec_", r"whsec_[a-zA-Z0-9]{32}\b"),
    token("token of npm", "npm_", r"npm_[a-zA-Z0-9]{36}\b"),
    token("token of PyPI", "pypi-AgE", r"pypi-AgE[A-Za-z0-9_-]{50,1000}"),
    token(
        "key of OpenAI",
        "sk-",
        r"sk-(?:(?:proj|svcacct|admin)-[\w-]{40,160}|[a-zA-Z0-9]{20}T3BlbkFJ[a-zA-Z0-9]{20}\b)",
    ),
    token("key of Anthropic", "sk-ant-", r"sk-ant-(?:api03|admin01)-[\w-]{80,110}"),
    token("token of Hugging Face", "hf_", r"hf_[a-zA-Z]{34}\b"),
    token("key of Perplexity", "pplx-", r"pplx-[a-zA-Z0-9]{48}\b"),
    token("key of Groq", "gsk_", r"gsk_[a-zA-Z0-9]{52}\b"),
    token("key of Replicate", "r8_", r"r8_[a-zA-Z0-9]{37}\b"),
    token("key of SendGrid", "SG.", r"SG\.[\w-]{22}\.[\w-]{43}\b"),
    token("key of Brevo", "xkeysib-", r"xkeysib-[a-f0-9]{64}-[a-zA-Z0-9]{16}\b"),
    token("token of DigitalOcean", "dop_v1_", r"dop_v1_[a-f0-9]{64}\b"),
    token("token of DigitalOcean", "doo_v1_", r"doo_v1_[a-f0-9]{64}\b"),
    token("token of Databricks", "dapi", r"dapi[a-f0-9]{32}(?:-\d)?\b"),
    token("token of Doppler", "dp.pt.", r"dp\.pt\.[a-zA-Z0-9]{43}\b"),
    token("token of Vault", "hvs.", r"hvs\.[\w-]{90,120}"),
    token("token of Grafana", "glsa_", r"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}\b"),
    token("token of Heroku", "HRKU-AA", r"HRKU-AA[0-9a-zA-Z_-]{58}"),
    token("token of Linear", "lin_api_", r"lin_api_[a-zA-Z0-9]{40}\b"),
    token("token of Notion", "ntn_", r"ntn_[0-9]{11}[A-Za-z0-9]{35}\b"),
    token("token of Shopify", "shpat_", r"shpat_[a-fA-F0-9]{32}\b"),
    token("token of Pulumi", "pul-", r"pul-[a-f0-9]{40}\b"),
    token("key of Postman", "PMAK-", r"PMAK-[a-fA-F0-9]{24}-[a-fA-F0-9]{34}\b"),
    token("token of Sentry", "sntrys_eyJ", r"sntrys_eyJ[a-zA-Z0-9=_+/-]{80,}"),
    token("token of Sentry", "sntryu_", r"sntryu_[a-f0-9]{64}\b"),
    token("password of Docker Hub", "dckr_pat_", r"dckr_pat_[\w-]{27}\b"),
    hint("JSON Web Token", "eyJ", r"eyJ[\w-]{17,}\.(?<secret>eyJ[\w-]{17,})\.[\w-]{20,}"),
    token(
        "password in a URL",
        "://",
        r"://[^\s/:@\x22'`<>{}$%()\[\]]{0,64}:(?<secret>[^\s/@:\x22'`<>{}$()\[\]]{3,128})@[\w.-]+",
    )
    .entropy(0.0),
];

impl Pattern {
    const fn entropy(mut self, entropy: f64) -> Self {
        self.entropy = entropy;
        self
    }
}

/// The noun of [`PATTERNS`] for URLs, of which the host matters too.
const URL: &str = "password in a URL";

struct CompiledPattern {
    keywords: AhoCorasick,
    forms: Vec<Regex>,
}

static COMPILED: LazyLock<Option<CompiledPattern>> = LazyLock::new(|| {
    let keywords = PATTERNS.iter().map(|pattern| pattern.keyword);
    let keywords = AhoCorasick::builder().match_kind(MatchKind::Standard).build(keywords).ok()?;
    let forms = PATTERNS.iter().map(|pattern| {
        let anchored = format!("^(?:{})", pattern.form);
        RegexBuilder::new(&anchored).unicode(false).size_limit(4 << 20).build()
    });
    Some(CompiledPattern { keywords, forms: forms.collect::<Result<_, _>>().ok()? })
});

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct FoundSecret {
    /// Its kind: `token of GitHub`.
    pub(in crate::check) noun: &'static str,
    /// Its first four characters, for people to find it.
    pub(in crate::check) start: String,
    /// Its length in characters.
    pub(in crate::check) length: usize,
    /// Line of the text, from 1.
    pub(in crate::check) line: usize,
    /// The severity.
    pub(in crate::check) severity: Severity,
}

/// The strictness about passwords in URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urls {
    /// Text with examples and addresses of development: only hosts with a domain.
    Any,
    /// The settings of a package index.
    Credentials,
}

/// Finds secrets in a text, each kind once.
pub(in crate::check) fn find(text: &[u8]) -> Vec<FoundSecret> {
    find_with(text, Urls::Any)
}

/// Finds secrets in the settings of a tool that takes credentials in URLs.
pub(in crate::check) fn find_in_urls(text: &[u8]) -> Vec<FoundSecret> {
    find_with(text, Urls::Credentials)
}

fn find_with(text: &[u8], urls: Urls) -> Vec<FoundSecret> {
    let Some(compiled) = &*COMPILED else { return Vec::new() };
    let (mut found, mut seen): (Vec<FoundSecret>, BTreeSet<&str>) = (Vec::new(), BTreeSet::new());
    for hit in compiled.keywords.find_overlapping_iter(text) {
        let index = hit.pattern().as_usize();
        let (Some(pattern), Some(form)) = (PATTERNS.get(index), compiled.forms.get(index)) else { continue };
        if seen.contains(pattern.noun) || !begins_at(text, hit.start(), pattern) {
            continue;
        }
        let Some(secret) = secret_at(text, hit.start(), pattern, form, urls) else { continue };
        seen.insert(pattern.noun);
        let before = text.get(..hit.start()).unwrap_or_default();
        found.push(FoundSecret {
            noun: pattern.noun,
            start: value::start(secret),
            length: secret.len(),
            line: memchr::memchr_iter(b'\n', before).count() + 1,
            severity: pattern.severity,
        });
    }
    found
}

/// Returns true unless the keyword is the middle of a longer word, such as base64.
fn begins_at(text: &[u8], at: usize, pattern: &Pattern) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.get(at)).copied().unwrap_or(b' ');
    match pattern.keyword {
        // `abc8Q~…`: three characters and a digit come before.
        "Q~" => before.is_ascii_digit(),
        "://" => before.is_ascii_alphanumeric(),
        "-----BEGIN " | "hooks.slack.com/services/" | "discord.com/api/webhooks/" | "AccountKey=" => true,
        _ => !(before.is_ascii_alphanumeric() || matches!(before, b'_' | b'-' | b'+' | b'.')),
    }
}

/// Returns the secret that begins at `at`, unless it is an example.
fn secret_at<'t>(text: &'t [u8], at: usize, pattern: &Pattern, form: &Regex, urls: Urls) -> Option<&'t [u8]> {
    // A key of 16,384 bits in PEM has 13 KiB.
    let rest = text.get(at..text.len().min(at + (16 << 10)))?;
    let captures = form.captures(rest)?;
    let whole = captures.get(0)?.as_bytes();
    let inner = captures.name("secret").map_or(whole, |group| group.as_bytes());
    if pattern.noun == URL {
        let host = whole.get(whole.iter().rposition(|byte| *byte == b'@')? + 1..)?;
        return is_url_secret(inner, host, urls).then_some(inner);
    }
    if value::entropy(inner) < pattern.entropy {
        return None;
    }
    match pattern.keyword {
        // Keys of OpenSSH have long runs of one character.
        "-----BEGIN " => Some(inner),
        "eyJ" if value::is_public_jwt(inner) => None,
        _ => (!value::is_example(inner)).then_some(whole),
    }
}

fn is_url_secret(password: &[u8], host: &[u8], urls: Urls) -> bool {
    if value::is_placeholder(password) || value::is_example(password) {
        return false;
    }
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let is_reserved =
        ["example.com", "example.org", "example.net", ".example", ".test", ".invalid", ".local"]
            .iter()
            .any(|end| host.ends_with(end));
    let is_address = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match urls {
        Urls::Credentials => !is_reserved,
        Urls::Any => {
            host.contains('.')
                && !is_reserved
                && !is_address
                && password.len() >= 8
                && value::entropy(password) >= 3.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters without order, as of a token.
    const BODY: &str = "q7ZkW2mXv9LtB4nRj8PsD5hYc3FgT6wKe1UaVxQbN7MzGpJrHdS2yCfE9kLwA3uT5vXqZ8nBmR4jPsD6hYc7FgWtKe2UaVxQbN1MzGpJrHdS3yC";

    fn nouns(text: &str) -> Vec<&'static str> {
        find(text.as_bytes()).iter().map(|secret| secret.noun).collect()
    }

    fn body(length: usize) -> &'static str {
        &BODY[..length]
    }

    fn pem(label: &str, separator: &str) -> String {
        let lines = [&BODY[..64], &BODY[8..72], &BODY[20..84]].join(separator);
        format!("-----BEGIN {label}-----{separator}{lines}{separator}-----END {label}-----")
    }

    #[test]
    fn all_forms_are_valid() {
        assert!(COMPILED.is_some());
    }

    #[test]
    fn finds_tokens_of_known_forms() {
        for (text, noun) in [
            (format!("TOKEN = \"ghp_{}\"", body(36)), "token of GitHub"),
            (format!("glpat-{}", body(20)), "token of GitLab"),
            (format!("key: AKIA{}", "QZ2WXE7RVTBYNUMJ"), "access key of AWS"),
            (
                format!("https://hooks.slack.com/services/T0{}/B0{}/{}", "9AZXQW7", "8KDJS2L", body(24)),
                "webhook of Slack",
            ),
            (format!("sk_live_{}", body(24)), "secret key of Stripe"),
            (format!("password = pypi-AgE{}", body(80)), "token of PyPI"),
            (format!("sk-ant-api03-{}", body(93)), "key of Anthropic"),
            (format!("OPENAI_API_KEY=sk-proj-{}", body(100)), "key of OpenAI"),
            (format!("//registry/:_authToken=npm_{}", body(36)), "token of npm"),
            (format!("\"AIza{}\"", body(35)), "API key of Google"),
            (pem("RSA PRIVATE KEY", "\n"), "private key"),
            (pem("OPENSSH PRIVATE KEY", "\n"), "private key"),
            (format!("{{\"private_key\": \"{}\\n\"}}", pem("PRIVATE KEY", "\\n")), "private key"),
            ("DB = 'postgres://app:tR5kkPq2zW@db.corp.net/app'".to_owned(), "password in a URL"),
        ] {
            assert_eq!(nouns(&text), [noun], "{text}");
        }
    }

    #[test]
    fn examples_and_other_text_are_silent() {
        for text in [
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            format!("ghp_{}", "x".repeat(36)),
            "ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned(),
            format!("sha512-{}AKIA{}", body(20), "QZ2WXE7RVTBYNUMJ"),
            "if text.startswith('-----BEGIN PRIVATE KEY-----'):".to_owned(),
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----".to_owned(),
            pem("CERTIFICATE", "\n"),
            pem("PUBLIC KEY", "\n"),
            "postgres://postgres:postgres@db/app".to_owned(),
            "postgresql://{user}:{password}@{host}/app".to_owned(),
            "postgres://app:tR5kkPq2zW@localhost/app".to_owned(),
            "https://user:tR5kkPq2zW@example.com/".to_owned(),
            "redis://:${REDIS_PASSWORD}@redis.corp.net".to_owned(),
            "http://localhost:8000/@app".to_owned(),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P".to_owned(),
        ] {
            assert_eq!(nouns(&text), [] as [&str; 0], "{text}");
        }
    }

    #[test]
    fn tells_the_line_and_only_the_first_characters() {
        let text = format!("a = 1\nb = 'ghp_{}'\n", body(36));
        let [secret] = &find(text.as_bytes())[..] else { panic!() };
        assert_eq!((secret.line, secret.start.as_str(), secret.length), (2, "ghp_", 40));
    }
}
