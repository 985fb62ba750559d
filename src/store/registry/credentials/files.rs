//! [`CredentialFiles`]: Docker's and Podman's credential files, and credential helpers.
//!
//! `docker/cli`, `config.json`; containers-auth.json(5); `docker/docker-credential-helpers`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::file::{AuthEntry, AuthFile};
use super::{Credential, CredentialsError, Keychain, helper, keys};
use crate::reference::RemoteName;

/// The conventional key of Docker Hub's credentials.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Credential files and the helpers that they configure.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CredentialFiles {
    /// Docker's `config.json` and Podman's `auth.json`; the first with an entry for a registry
    /// wins. Missing files are ignored.
    pub files: Vec<PathBuf>,
    /// The search path for `docker-credential-NAME`, in the form of `$PATH`.
    pub helper_path: Option<OsString>,
    /// Time limit for a helper.
    pub helper_timeout: Duration,
}

impl CredentialFiles {
    /// Makes a keychain of these files, without a search path for helpers.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files, ..Self::default() }
    }
}

impl Default for CredentialFiles {
    fn default() -> Self {
        Self { files: Vec::new(), helper_path: None, helper_timeout: Duration::from_secs(30) }
    }
}

impl Keychain for CredentialFiles {
    fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        for path in &self.files {
            let Some(file) = AuthFile::read(path)? else { continue };
            for key in keys(registry, repository) {
                let ask = |helper: &str| helper::run(helper, helper_key(&key), path, self);
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
                let found = helper::run(store, helper_key(registry), path, self)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }
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
    use crate::error::Advice as _;

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

    fn credentials(folder: &Path, file: &str) -> CredentialFiles {
        fs_err::write(folder.join("config.json"), file).unwrap();
        CredentialFiles {
            files: vec![folder.join("not-there.json"), folder.join("config.json")],
            helper_path: Some(folder.as_os_str().to_owned()),
            helper_timeout: Duration::from_secs(20),
        }
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
            assert_eq!(credentials.find(registry, repository).unwrap(), expected, "{registry}/{repository}");
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
        let of = |registry| credentials.find(registry, "x").unwrap().unwrap();
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
        assert_eq!(credentials.find("a.example", "x").unwrap(), None);
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
            ("missing", "credential helper not found"),
            ("../rubbish", "credential helper not found"),
        ] {
            let file = format!(r#"{{"credHelpers": {{"a.example": "{name}"}}}}"#);
            let error = credentials(folder.path(), &file).find("a.example", "x").unwrap_err();
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
        credentials.helper_timeout = Duration::from_millis(100);
        let begin = Instant::now();
        let error = credentials.find("a.example", "x").unwrap_err();
        assert!(matches!(error, CredentialsError::HelperHangs { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_mins(1));
    }

    #[test]
    fn an_invalid_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["[]", "{\"auths\": 1}", r#"{"auths": {"a.example": {"auth": "hunter2?"}}}"#] {
            let error = credentials(folder.path(), file).find("a.example", "x").unwrap_err();
            assert!(matches!(error, CredentialsError::Content { .. }), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
