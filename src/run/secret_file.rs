//! [`SecretFile`]: a secret in `/run/secrets`, as Compose and Swarm mount them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::RunError;
use crate::error::FileError;

/// Limit of a secret in bytes, twice that of Docker's Swarm.
const LIMIT: u64 = 1 << 20;

/// A file of this machine that is a secret of a container: `NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The file's name in `/run/secrets`.
    pub name: String,
    /// The file on this machine.
    pub file: PathBuf,
}

impl FromStr for SecretFile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((name, file)) = text.split_once('=').filter(|(_, file)| !file.is_empty()) else {
            return Err("write NAME=FILE");
        };
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_usual) {
            return Err("write a NAME of letters, digits, `-`, `_` and `.`");
        }
        Ok(Self { name: name.to_owned(), file: file.into() })
    }
}

/// A secret on its way to an agent, through a pipe: no file of this machine has a copy.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SentSecret {
    pub(super) name: String,
    base64: String,
}

impl SentSecret {
    /// Reads a secret. A pipe such as `/dev/fd/63` of a shell can be read once.
    pub(super) fn read(secret: &SecretFile) -> Result<Self, RunError> {
        let mut bytes = Vec::new();
        let file = fs_err::File::open(&secret.file).map_err(FileError::of("read", &secret.file))?;
        file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(FileError::of("read", &secret.file))?;
        if bytes.len() as u64 > LIMIT {
            return Err(RunError::LargeSecret { file: secret.file.clone(), limit: LIMIT });
        }
        Ok(Self { name: secret.name.clone(), base64: STANDARD.encode(bytes) })
    }

    /// Writes the secret into `folder`, readable for `user` and `group` alone.
    pub(super) fn write(&self, folder: &Path, user: Option<u32>, group: Option<u32>) -> std::io::Result<()> {
        use std::os::unix::fs::{OpenOptionsExt as _, chown};
        let path = folder.join(&self.name);
        let bytes = STANDARD.decode(&self.base64).map_err(std::io::Error::other)?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
        std::io::Write::write_all(&mut file, &bytes)?;
        chown(&path, user, group)
    }
}

impl std::fmt::Debug for SentSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_a_name_and_a_file() {
        let parsed = "db.password=conf/a=b".parse::<SecretFile>().unwrap();
        assert_eq!(parsed, SecretFile { name: "db.password".into(), file: "conf/a=b".into() });
        for text in ["", "a", "=b", "a=", "../a=b", "a/b=c", ".a=b", "a b=c", "é=b"] {
            assert!(text.parse::<SecretFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_arrives_unchanged_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("source");
        std::fs::write(&file, b"p\xffss\n").unwrap();
        let sent = SentSecret::read(&SecretFile { name: "key".into(), file }).unwrap();
        assert!(!format!("{sent:?}").contains(&sent.base64));
        let sent: SentSecret = serde_json::from_str(&serde_json::to_string(&sent).unwrap()).unwrap();
        sent.write(folder.path(), None, None).unwrap();
        assert_eq!(std::fs::read(folder.path().join("key")).unwrap(), b"p\xffss\n");
        // An existing file stays.
        assert!(sent.write(folder.path(), None, None).is_err());
    }

    #[test]
    fn a_large_file_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("source");
        std::fs::File::create(&file).unwrap().set_len(LIMIT + 1).unwrap();
        let secret = SecretFile { name: "key".into(), file };
        assert!(matches!(SentSecret::read(&secret), Err(RunError::LargeSecret { .. })));
    }
}
