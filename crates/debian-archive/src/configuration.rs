//! Settings of apt: `/etc/apt/apt.conf` and `apt.conf.d`, apt.conf(5).
//!
//! ```text
//! Acquire::Check-Valid-Until "false";
//! Acquire { http { Proxy "http://proxy.example:3128"; }; };
//! ```
//!
//! Only scalar settings are read; `#include` and `#clear` are ignored.

use std::collections::BTreeMap;

/// Scalar settings by name. Later files replace the values of earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AptConfiguration(BTreeMap<String, String>);

/// The parts of a file.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Open,
    Close,
    End,
}

impl AptConfiguration {
    /// Returns true for the name of a file in `apt.conf.d` that apt reads.
    pub fn reads(name: &str) -> bool {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let bare = name.strip_suffix(".conf").unwrap_or(name);
        !bare.is_empty() && bare.bytes().all(is_valid)
    }

    /// Adds the settings of a file. A part that is no setting is ignored.
    pub fn add(&mut self, text: &str) {
        let mut scopes: Vec<String> = Vec::new();
        let mut words: Vec<Token> = Vec::new();
        for token in tokens(text) {
            match token {
                Token::Open => {
                    let name = words.drain(..).find_map(|word| match word {
                        Token::Word(name) => Some(name),
                        _ => None,
                    });
                    scopes.push(name.unwrap_or_default());
                }
                Token::Close => {
                    words.clear();
                    scopes.pop();
                }
                Token::End => {
                    if let [Token::Word(name), Token::Word(value) | Token::Quoted(value)] = words.as_slice() {
                        let path = scopes.iter().chain([name]).map(String::as_str);
                        let name = path.collect::<Vec<_>>().join("::").to_ascii_lowercase();
                        self.0.insert(name, value.clone());
                    }
                    words.clear();
                }
                word => words.push(word),
            }
        }
    }

    /// Returns a setting, such as `Acquire::http::Proxy`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// Returns a setting that is true or false.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        crate::sources::boolean(self.get(name)?)
    }

    /// Returns the settings below a name with the rest of their names, in lower case: hosts below `Acquire::http::Proxy`.
    pub fn below(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{}::", name.to_ascii_lowercase());
        self.0.iter().filter_map(move |(key, value)| Some((key.strip_prefix(&prefix)?, value.as_str())))
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let behind = |text: &'_ str, end: &str| text.find(end).map_or(text.len(), |at| at + end.len());
        let skip = if rest.starts_with("//") || first == '#' {
            behind(rest, "\n")
        } else if rest.starts_with("/*") {
            behind(rest, "*/")
        } else if first.is_whitespace() {
            first.len_utf8()
        } else if first == '"' {
            let inner = rest.get(1..).unwrap_or_default();
            let end = inner.find('"').unwrap_or(inner.len());
            tokens.push(Token::Quoted(inner.get(..end).unwrap_or_default().to_owned()));
            (end + 2).min(rest.len())
        } else if matches!(first, '{' | '}' | ';') {
            tokens.push(match first {
                '{' => Token::Open,
                '}' => Token::Close,
                _ => Token::End,
            });
            1
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest.get(..end).unwrap_or_default().to_owned()));
            end
        };
        rest = rest.get(skip..).unwrap_or_default();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_scoped_and_replaced() {
        let mut configuration = AptConfiguration::default();
        configuration.add(
            "// comment \"x\";\n# another { \nAcquire::Check-Valid-Until \"true\"; /* { */\n\
             Acquire { http { Proxy \"http://p.example:3128\"; Proxy::deb.example \"DIRECT\"; }; Retries 3; };\n\
             APT { NeverAutoRemove { \"^linux.*\"; \"{\"; }; };\nDPkg::Post-Invoke { \"rm -f /x || true\"; };\n",
        );
        configuration.add("acquire::check-valid-until \"false\";");
        assert_eq!(configuration.boolean("Acquire::Check-Valid-Until"), Some(false));
        assert_eq!(configuration.get("Acquire::http::Proxy"), Some("http://p.example:3128"));
        assert_eq!(configuration.get("Acquire::Retries"), Some("3"));
        let hosts: Vec<_> = configuration.below("Acquire::http::Proxy").collect();
        assert_eq!(hosts, [("deb.example", "DIRECT")]);
        assert_eq!(configuration.get("Acquire::https::Proxy"), None);
    }

    #[test]
    fn damaged_files_are_read_as_far_as_possible() {
        for text in ["\"", "A \"b", "}};;{", "/*", "#", "A { B \"c\";"] {
            AptConfiguration::default().add(text);
        }
        assert!(AptConfiguration::reads("99proxy") && AptConfiguration::reads("a.conf"));
        assert!(!AptConfiguration::reads("99proxy.save") && !AptConfiguration::reads("a~"));
    }
}
