//! [`FixedCredentials`]: credentials in memory.

use std::collections::BTreeMap;

use super::{Credential, CredentialsError, Keychain, keys};

/// Credentials in memory, by registry or repository.
#[derive(Debug, Clone, Default)]
pub struct FixedCredentials(BTreeMap<String, Credential>);

impl FixedCredentials {
    /// Adds the credentials for `key`, `HOST[:PORT][/REPOSITORY]`. The most specific key wins, as in
    /// Podman's `auth.json`: `ghcr.io/team` is for all repositories below.
    pub fn with(mut self, key: &str, credential: Credential) -> Result<Self, CredentialsError> {
        let problem = if key.contains("://") {
            Some("a scheme is not part of it")
        } else if key.split('/').any(str::is_empty) {
            Some("a part is empty")
        } else if key.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@') {
            Some("it is not a host")
        } else {
            None
        };
        if let Some(reason) = problem {
            return Err(CredentialsError::Key { key: key.to_owned(), reason });
        }
        self.0.insert(key.to_owned(), credential);
        Ok(self)
    }
}

impl Keychain for FixedCredentials {
    fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(keys(registry, repository).iter().find_map(|key| self.0.get(key)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Credential {
        Credential::RegistryToken(text.into())
    }

    #[test]
    fn the_most_specific_key_wins() {
        let keychain = FixedCredentials::default();
        let keychain = keychain.with("r.example", token("all")).unwrap();
        let keychain = keychain.with("r.example/team", token("team")).unwrap();
        let keychain = keychain.with("docker.io", token("hub")).unwrap();
        for (registry, repository, expected) in [
            ("r.example", "team/app", Some("team")),
            ("r.example", "teams/app", Some("all")),
            ("r.example:5000", "team/app", None),
            ("docker.io", "library/debian", Some("hub")),
            ("other.example", "team/app", None),
        ] {
            let found = keychain.find(registry, repository).unwrap();
            assert_eq!(found, expected.map(token), "{registry}/{repository}");
        }
    }

    #[test]
    fn a_key_that_is_no_registry_is_refused() {
        for key in ["https://r.example", "", "/team", "r.example/", "user@r.example", "r.example /a"] {
            let error = FixedCredentials::default().with(key, token("x")).unwrap_err();
            assert!(error.to_string().contains(&format!("{key:?}")), "{error}");
        }
    }
}
