//! [`CredentialFile`]: files in which tools keep credentials, by their names and formats.

use super::value::{is_secret_name, is_strong};

/// A kind of file that holds credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum CredentialFile {
    /// `.env`, `.env.production`: variables.
    Environment,
    /// A private key of ssh: `id_rsa`.
    SshKey,
    /// `.netrc`.
    Netrc,
    /// `.pypirc`.
    Pypirc,
    /// `.npmrc`, `.yarnrc.yml`.
    Npmrc,
    /// `.git-credentials`.
    GitCredentials,
    /// `.pgpass`.
    Pgpass,
    /// `.my.cnf`.
    MyCnf,
    /// `.aws/credentials`.
    Aws,
    /// `.docker/config.json`.
    Docker,
    /// `.kube/config`.
    Kube,
    /// `.htpasswd`.
    Htpasswd,
    /// `pip.conf`, `uv.toml`: package indexes.
    Index,
    /// A container of keys: `.p12`, `.jks`.
    KeyStore,
    /// Streamlit's `secrets.toml`.
    Streamlit,
}

/// The credentials in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum Credentials {
    /// The file has some, in this line.
    Present(usize),
    /// The file is for credentials, and may have some.
    Possible,
    /// The file has none.
    Absent,
}

/// Endings of examples, which are meant for everybody.
const EXAMPLE_ENDINGS: [&str; 8] =
    [".example", ".sample", ".template", ".dist", ".defaults", ".tmpl", ".j2", ".schema"];

impl CredentialFile {
    /// Returns the kind of the file at `path`, by the last names.
    pub(in crate::check) fn of(path: &str) -> Option<Self> {
        let mut names = path.rsplit('/');
        let (name, parent) = (names.next()?, names.next().unwrap_or_default());
        let is_example = EXAMPLE_ENDINGS.iter().any(|end| name.ends_with(end))
            || ["example", "sample", "template"].iter().any(|part| name.contains(part));
        if is_example {
            return None;
        }
        Some(match (parent, name) {
            (_, ".env") => Self::Environment,
            (_, "id_rsa" | "id_dsa" | "id_ecdsa" | "id_ed25519") => Self::SshKey,
            (_, ".netrc" | "_netrc") => Self::Netrc,
            (_, ".pypirc") => Self::Pypirc,
            (_, ".npmrc" | ".yarnrc.yml") => Self::Npmrc,
            (_, ".git-credentials") => Self::GitCredentials,
            (_, ".pgpass") => Self::Pgpass,
            (_, ".my.cnf") => Self::MyCnf,
            (".aws", "credentials") => Self::Aws,
            (".docker", "config.json") | (_, ".dockercfg" | ".dockerconfigjson") => Self::Docker,
            (".kube", "config") | (_, "kubeconfig") => Self::Kube,
            (_, ".htpasswd") => Self::Htpasswd,
            (_, "pip.conf" | "uv.toml" | "pip.ini") => Self::Index,
            (".streamlit", "secrets.toml") => Self::Streamlit,
            _ if name.starts_with(".env.") => Self::Environment,
            _ if name.ends_with(".kubeconfig") => Self::Kube,
            _ if [".p12", ".pfx", ".jks", ".keystore"].iter().any(|end| name.ends_with(end)) => {
                Self::KeyStore
            }
            _ => return None,
        })
    }

    /// Returns the noun in messages.
    pub(in crate::check) fn noun(self) -> &'static str {
        match self {
            Self::Environment => "a file of environment variables",
            Self::SshKey => "a private key of ssh",
            Self::Netrc => "a file of passwords for curl, pip and git (netrc)",
            Self::Pypirc => "a file of passwords for package indexes",
            Self::Npmrc => "settings of npm",
            Self::GitCredentials => "a file of passwords for git",
            Self::Pgpass => "a file of passwords for PostgreSQL",
            Self::MyCnf => "settings of MySQL's client",
            Self::Aws => "a file of keys for AWS",
            Self::Docker => "a file of passwords for registries",
            Self::Kube => "a file of credentials for Kubernetes",
            Self::Htpasswd => "a file of password hashes",
            Self::Index => "settings of package indexes",
            Self::KeyStore => "a store of private keys",
            Self::Streamlit => "a file of secrets for Streamlit",
        }
    }

    /// Reads the text of the file.
    pub(in crate::check) fn credentials(self, text: &str) -> Credentials {
        let line = |is_secret: &dyn Fn(&str) -> bool| {
            text.lines().position(is_secret).map(|index| Credentials::Present(index + 1))
        };
        let assigned = |keys: &'static [&'static str]| {
            line(&move |line| {
                assignment(line).is_some_and(|(name, value)| {
                    keys.iter().any(|key| name.ends_with(key)) && is_value(value)
                })
            })
        };
        match self {
            Self::Environment => line(&|line| {
                assignment(line.trim_start().trim_start_matches("export "))
                    .is_some_and(|(name, value)| is_secret_name(name) && is_strong(value))
            })
            .unwrap_or(if text.trim().is_empty() {
                Credentials::Absent
            } else {
                Credentials::Possible
            }),
            Self::Streamlit => line(&|line| {
                assignment(line).is_some_and(|(name, value)| is_secret_name(name) && is_strong(value))
            })
            .unwrap_or(Credentials::Possible),
            Self::Netrc => password_word(text).unwrap_or(Credentials::Possible),
            Self::Pypirc => assigned(&["password"]).unwrap_or(Credentials::Possible),
            Self::Npmrc => assigned(&["_authToken", "_auth", "_password", "npmAuthToken", "npmAuthIdent"])
                .unwrap_or(Credentials::Absent),
            Self::GitCredentials => {
                line(&|line| line.contains("://") && line.contains('@')).unwrap_or(Credentials::Possible)
            }
            Self::Pgpass => {
                line(&|line| !line.starts_with('#') && line.split(':').count() == 5 && !line.ends_with(':'))
                    .unwrap_or(Credentials::Absent)
            }
            Self::MyCnf => assigned(&["password"]).unwrap_or(Credentials::Absent),
            Self::Aws => assigned(&["aws_secret_access_key"]).unwrap_or(Credentials::Possible),
            Self::Docker => line(&|line| {
                ["\"auth\"", "\"identitytoken\"", "\"password\""].iter().any(|key| {
                    line.split_once(key).is_some_and(|(_, rest)| {
                        let value = rest.trim_start_matches([':', ' ', '"']).split('"').next();
                        value.is_some_and(|value| value.len() >= 8)
                    })
                })
            })
            .unwrap_or(Credentials::Absent),
            Self::Kube => assigned(&["client-key-data", "token", "password"]).unwrap_or(Credentials::Absent),
            Self::SshKey | Self::Htpasswd | Self::KeyStore => Credentials::Possible,
            Self::Index => Credentials::Absent,
        }
    }
}

/// Splits `NAME = VALUE` and `NAME: VALUE`; `None` for comments.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line
        .split_once(['=', ':'])
        .filter(|(name, _)| !name.starts_with("//"))
        .or_else(|| line.split_once('='))?;
    Some((name.trim().trim_matches(['"', '\'']), value.trim().trim_matches(['"', '\''])))
}

/// Returns true for a value that is written in place, and not the name of a variable.
fn is_value(value: &str) -> bool {
    value.len() >= 4
        && !value.starts_with(['$', '<', '{', '%'])
        && !super::value::is_example(value.as_bytes())
}

/// Finds `password VALUE` in a netrc.
fn password_word(text: &str) -> Option<Credentials> {
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        while let Some(word) = words.next() {
            if word == "password" && words.next().is_some_and(is_value) {
                return Some(Credentials::Present(index + 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credential_files() {
        for (path, kind) in [
            ("app/.env", Some(CredentialFile::Environment)),
            ("app/.env.production", Some(CredentialFile::Environment)),
            ("app/.env.example", None),
            ("app/.env.sample.local", None),
            ("app/env.py", None),
            ("keys/id_rsa", Some(CredentialFile::SshKey)),
            ("keys/id_rsa.pub", None),
            ("root/.aws/credentials", Some(CredentialFile::Aws)),
            ("app/credentials", None),
            ("root/.docker/config.json", Some(CredentialFile::Docker)),
            ("app/config.json", None),
            ("app/certs/server.p12", Some(CredentialFile::KeyStore)),
        ] {
            assert_eq!(CredentialFile::of(path), kind, "{path}");
        }
    }

    #[test]
    fn credentials_in_the_formats_of_tools() {
        use CredentialFile::*;
        for (kind, text, expected) in [
            (Environment, "PORT=80\nexport DB_PASSWORD='Xk29vQpL77'\n", Credentials::Present(2)),
            (Environment, "PORT=80\nDB_PASSWORD=changeme\n", Credentials::Possible),
            (Environment, "# DB_PASSWORD=Xk29vQpL77\n", Credentials::Possible),
            (Environment, "\n", Credentials::Absent),
            (Netrc, "machine pypi.corp\n login me\n password hunter22\n", Credentials::Present(3)),
            (Netrc, "machine pypi.corp login me # password abcd\n", Credentials::Possible),
            (Pypirc, "[pypi]\nusername = __token__\npassword = pypi-AgEIcHl\n", Credentials::Present(3)),
            (Npmrc, "//registry.npmjs.org/:_authToken=npm_abcdef\n", Credentials::Present(1)),
            (Npmrc, "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\nfund=false\n", Credentials::Absent),
            (Npmrc, "fund=false\nregistry=https://registry.npmjs.org/\n", Credentials::Absent),
            (Pgpass, "db.corp:5432:app:app:hunter22\n", Credentials::Present(1)),
            (Aws, "[default]\naws_secret_access_key = abcd1234\n", Credentials::Present(2)),
            (Docker, "{\"auths\": {\"r.io\": {\"auth\": \"dXNlcjpwYXNz\"}}}", Credentials::Present(1)),
            (Docker, "{\"credsStore\": \"desktop\", \"auths\": {\"r.io\": {}}}", Credentials::Absent),
            (Kube, "users:\n- user:\n    client-key-data: TUlJRQ==\n", Credentials::Present(3)),
            (Kube, "users:\n- user:\n    exec:\n      command: aws\n", Credentials::Absent),
        ] {
            assert_eq!(kind.credentials(text), expected, "{kind:?} {text}");
        }
    }
}
