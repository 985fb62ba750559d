//! Credentials: Docker's and Podman's credential files, and credential helpers.
//!
//! `docker/cli`, `config.json`; containers-auth.json(5); `docker/docker-credential-helpers`.

mod file;
mod helper;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) use file::{AuthEntry, AuthFile};

use super::secret::Secret;
use super::settings::CredentialSources;
use crate::error::{Advice, FileError};
use crate::printable;
use crate::reference::RemoteName;

/// The conventional key of Docker Hub's credentials.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Configured credentials that are unavailable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a credential file.
    #[error("invalid credential file {}: {reason}", printable::path(.path))]
    Content {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: &'static str,
    },
    /// A configured helper that is not installed.
    #[error("the credential helper {program} for {key} is not installed; configured in {}", printable::path(.file))]
    HelperMissing {
        /// The helper's program.
        program: String,
        /// The registry or repository.
        key: String,
        /// The file that configures the helper.
        file: PathBuf,
    },
    /// A helper that does not exit.
    #[error("the credential helper {program} timed out for {key} after {seconds} s")]
    HelperHangs {
        /// The helper's program.
        program: String,
        /// The registry or repository.
        key: String,
        /// The time limit.
        seconds: u64,
    },
    /// A failed helper, or one with invalid output. The output is omitted: a secret may be inside.
    #[error("the credential helper {program} {reason} for {key}")]
    Helper {
        /// The helper's program.
        program: String,
        /// The registry or repository.
        key: String,
        /// The failure.
        reason: String,
    },
}

impl Advice for CredentialsError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::File(error) => return error.help(),
            Self::Content { .. } => {
                "correct the file, or log in again with docker login or podman login".to_owned()
            }
            Self::HelperMissing { file, .. } => {
                format!(
                    "install the helper, or remove it from credHelpers and credsStore in {}",
                    file.display()
                )
            }
            Self::HelperHangs { program, key, .. } | Self::Helper { program, key, .. } => {
                format!("run the helper by hand: echo {key} | {program} get")
            }
        })
    }
}

/// Credentials for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// User and password.
    Password { user: String, password: Secret },
    /// A refresh token for the token server.
    IdentityToken(Secret),
    /// A token for the registry, sent unchanged.
    RegistryToken(Secret),
}

/// Finds credentials, and caches them for each repository.
#[derive(Debug)]
pub(super) struct Credentials {
    sources: CredentialSources,
    found: Mutex<BTreeMap<String, Arc<Mutex<CachedLookup>>>>,
}

/// `None` before the lookup.
type CachedLookup = Option<Option<Credential>>;

impl Credentials {
    pub(super) fn new(sources: CredentialSources) -> Self {
        Self { sources, found: Mutex::new(BTreeMap::new()) }
    }

    /// Returns the credentials for a repository; `None` for anonymous access.
    pub(super) fn of(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialsError> {
        let key = format!("{registry}/{repository}");
        let slot = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.entry(key).or_default().clone()
        };
        // A helper may prompt the user: ask once, also for parallel uploads.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*slot {
            return Ok(found.clone());
        }
        let found = self.lookup(registry, repository)?;
        *slot = Some(found.clone());
        Ok(found)
    }

    fn lookup(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        for path in &self.sources.files {
            let Some(file) = AuthFile::read(path)? else { continue };
            for key in keys(registry, repository) {
                let ask = |helper: &str| helper::run(helper, helper_key(&key), path, &self.sources);
                if let Some(helper) = file.helper(&key) {
                    // A helper configured for one registry is the only source for that registry.
                    return ask(helper);
                }
                if let Some(entry) = file.entry(&key) {
                    match entry {
                        AuthEntry::Credential(credential) => return Ok(Some(credential.clone())),
                        // `docker login` leaves an empty entry if a store has the secret.
                        AuthEntry::Empty => {}
                        AuthEntry::Broken(reason) => {
                            return Err(CredentialsError::Content { path: path.clone(), reason });
                        }
                    }
                }
            }
            if let Some(store) = file.store() {
                let found = helper::run(store, helper_key(registry), path, &self.sources)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }
}

/// Returns the keys for a repository's credentials, most specific first: Podman supports keys of
/// single repositories.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let whole = format!("{registry}/{repository}");
    let mut keys: Vec<_> = std::iter::successors(Some(whole.as_str()), |key| Some(key.rsplit_once('/')?.0))
        .map(str::to_owned)
        .collect();
    if registry == RemoteName::DOCKER_HUB {
        keys.extend(["index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    keys
}

/// Returns the key in the form that helpers expect.
fn helper_key(key: &str) -> &str {
    if [RemoteName::DOCKER_HUB, "index.docker.io"].contains(&key) { DOCKER_HUB_KEY } else { key }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.to_owned(), password: password.into() }
    }

    fn helper(folder: &Path, name: &str, script: &str) {
        let path = folder.join(format!("docker-credential-{name}"));
        // Rename after writing: a program open for writing cannot be executed, and other tests
        // fork.
        let temporary = folder.join(format!("{name}.draft"));
        fs_err::write(&temporary, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs_err::set_permissions(&temporary, PermissionsExt::from_mode(0o755)).unwrap();
        fs_err::rename(temporary, path).unwrap();
    }

    fn credentials(folder: &Path, file: &str) -> Credentials {
        fs_err::write(folder.join("config.json"), file).unwrap();
        Credentials::new(CredentialSources {
            files: vec![folder.join("not-there.json"), folder.join("config.json")],
            helper_path: Some(folder.as_os_str().to_owned()),
            helper_timeout: Duration::from_secs(20),
        })
    }

    #[test]
    fn the_closest_entry_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = r#"{"auths": {
            "r.example": {"auth": "YTox"},
            "r.example/team": {"auth": "Yjoy"},
            "r.example/team/app": {"auth": "Yzoz"},
            "https://index.docker.io/v1/": {"auth": "ZDo0OjU="}
        }}"#;
        let credentials = credentials(folder.path(), file);
        for (registry, repository, expected) in [
            ("r.example", "team/app", Some(password("c", "3"))),
            ("r.example", "team/other", Some(password("b", "2"))),
            ("r.example", "teams/app", Some(password("a", "1"))),
            ("docker.io", "library/python", Some(password("d", "4:5"))),
            ("r.example:5000", "team/app", None),
        ] {
            assert_eq!(credentials.of(registry, repository).unwrap(), expected, "{registry}/{repository}");
        }
    }

    #[test]
    fn the_helper_of_a_registry_comes_before_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let printing =
            |user: &str| format!("read key; printf '{{\"Username\":\"{user}\",\"Secret\":\"%s\"}}' \"$key\"");
        helper(folder.path(), "one", &printing("one"));
        helper(folder.path(), "all", &printing("all"));
        helper(folder.path(), "token", &printing("<token>"));
        let file = r#"{"auths": {"b.example": {}}, "credsStore": "all",
                       "credHelpers": {"a.example": "one", "c.example": "token"}}"#;
        let credentials = credentials(folder.path(), file);
        let of = |registry| credentials.of(registry, "x").unwrap().unwrap();
        assert_eq!(of("a.example"), password("one", "a.example"));
        assert_eq!(of("b.example"), password("all", "b.example"));
        assert_eq!(of("docker.io"), password("all", "https://index.docker.io/v1/"));
        assert_eq!(of("c.example"), Credential::IdentityToken("c.example".into()));
    }

    #[test]
    fn an_unknown_registry_is_anonymous() {
        let folder = tempfile::tempdir().unwrap();
        helper(folder.path(), "none", "echo credentials not found in native keychain; exit 1");
        let credentials = credentials(folder.path(), r#"{"credsStore": "none"}"#);
        assert_eq!(credentials.of("a.example", "x").unwrap(), None);
    }

    #[test]
    fn errors_of_helpers_differ_and_omit_the_output() {
        let folder = tempfile::tempdir().unwrap();
        helper(folder.path(), "rubbish", "echo hunter2");
        helper(folder.path(), "fails", "echo hunter2; echo hunter2 >&2; exit 3");
        helper(folder.path(), "endless", "exec yes hunter2");
        helper(folder.path(), "half", r#"echo '{"Username":"hunter2"}'"#);
        for (name, expected) in [
            ("rubbish", "printed invalid JSON"),
            ("fails", "failed with exit code 3"),
            ("endless", "printed more than"),
            ("half", "printed no Username and Secret"),
            ("missing", "is not installed"),
            ("../rubbish", "is not installed"),
        ] {
            let file = format!(r#"{{"credHelpers": {{"a.example": "{name}"}}}}"#);
            let error = credentials(folder.path(), &file).of("a.example", "x").unwrap_err();
            let text = format!("{error} {error:?} {:?}", error.help());
            assert!(text.contains(expected), "{name}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_hanging_helper_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        helper(folder.path(), "hangs", "sleep 1000; echo");
        let mut credentials = credentials(folder.path(), r#"{"credsStore": "hangs"}"#);
        credentials.sources.helper_timeout = Duration::from_millis(100);
        let begin = Instant::now();
        let error = credentials.of("a.example", "x").unwrap_err();
        assert!(matches!(error, CredentialsError::HelperHangs { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_mins(1));
    }

    #[test]
    fn an_invalid_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["[]", "{\"auths\": 1}", r#"{"auths": {"a.example": {"auth": "hunter2?"}}}"#] {
            let error = credentials(folder.path(), file).of("a.example", "x").unwrap_err();
            assert!(matches!(error, CredentialsError::Content { .. }), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
