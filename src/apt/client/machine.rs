//! The package sources and keyrings of a machine, `/etc/apt`.

use std::io;
use std::path::{Path, PathBuf};

use debian_archive::configuration::AptConfiguration;
use debian_archive::credentials::MirrorCredentials;
use debian_archive::release::Keyring;
use debian_archive::sources::{SignedBy, Source, SourcesFormat};

use crate::apt::AptError;
use crate::error::FileError;

/// Keyrings of distributions. Other files of the folder belong to single sources, which name them in `Signed-By`.
const DISTRIBUTIONS: [&str; 2] = ["debian-archive-keyring", "ubuntu-archive-keyring"];
const ENDINGS: [&str; 3] = ["gpg", "pgp", "asc"];

/// A source, with the file that names the source.
#[derive(Debug, Clone)]
pub(super) struct MachineSource {
    pub(super) file: PathBuf,
    pub(super) source: Source,
}

/// Reads the sources below the root folder `root`, in apt's order.
pub(super) fn sources(root: &Path) -> Result<Vec<MachineSource>, AptError> {
    let folder = root.join("etc/apt");
    let mut files = vec![(folder.join("sources.list"), SourcesFormat::OneLine)];
    for path in children(&folder.join("sources.list.d"))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(format) = SourcesFormat::of_file(name) {
            files.push((path, format));
        }
    }
    let mut sources = Vec::new();
    for (path, format) in files {
        let Some(bytes) = read(&path)? else { continue };
        let parsed = format.parse(&String::from_utf8_lossy(&bytes));
        let parsed = parsed.map_err(|source| AptError::Sources { path: path.clone(), source })?;
        sources.extend(parsed.into_iter().map(|source| MachineSource { file: path.clone(), source }));
    }
    Ok(sources)
}

/// Reads the settings of apt, in apt's order.
pub(super) fn configuration(root: &Path) -> Result<AptConfiguration, AptError> {
    let folder = root.join("etc/apt");
    let is_read =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(AptConfiguration::reads);
    let files = children(&folder.join("apt.conf.d"))?.into_iter().filter(is_read);
    let mut configuration = AptConfiguration::default();
    for path in files.chain([folder.join("apt.conf")]) {
        // Files for root alone have passwords of proxies.
        match read(&path) {
            Ok(Some(bytes)) => configuration.add(&String::from_utf8_lossy(&bytes)),
            Ok(None) => {}
            Err(AptError::File(error)) if error.source.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(configuration)
}

/// Reads the credentials of mirrors. Files that this user may not read are left out.
pub(super) fn credentials(root: &Path) -> Result<Vec<MirrorCredentials>, AptError> {
    let folder = root.join("etc/apt");
    let is_read = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "conf");
    let mut files = vec![folder.join("auth.conf")];
    files.extend(children(&folder.join("auth.conf.d"))?.into_iter().filter(is_read));
    let texts = files.iter().filter_map(|path| fs_err::read_to_string(path).ok());
    Ok(texts.flat_map(|text| MirrorCredentials::parse(&text)).collect())
}

/// Reads the keys that may sign a source, of a machine with the root folder `root`; `None` if there is none.
///
/// `named` are the keyrings of the settings, which replace those of the machine, but not those of the source.
pub(super) fn keyring(
    root: &Path,
    signed_by: &[SignedBy],
    named: &[PathBuf],
) -> Result<Option<Keyring>, AptError> {
    let mut keyring = Keyring::default();
    let mut is_limited = false;
    for value in signed_by {
        match value {
            SignedBy::Keyring(path) => {
                is_limited = true;
                let path = below(root, path);
                let bytes = fs_err::read(&path).map_err(FileError::of("read", &path))?;
                keyring.extend(parse(&path, &bytes)?);
            }
            SignedBy::Embedded(text) => {
                is_limited = true;
                let name = "of the package source".to_owned();
                let parsed = Keyring::parse(text.as_bytes());
                keyring.extend(parsed.map_err(|source| AptError::Keyring { name, source })?);
            }
            SignedBy::Fingerprint { .. } => {}
        }
    }
    if !is_limited && !named.is_empty() {
        for path in named {
            let bytes = fs_err::read(path).map_err(FileError::of("read", path))?;
            keyring.extend(parse(path, &bytes)?);
        }
    } else if !is_limited {
        keyring = of_machine(root)?;
    }
    let keyring = keyring.limited_to(signed_by);
    Ok((!keyring.is_empty()).then_some(keyring))
}

/// Reads the keyrings of distributions, and those that apt trusts for every source. Unreadable files are left out, as by
/// apt.
fn of_machine(root: &Path) -> Result<Keyring, AptError> {
    let folder = root.join("usr/share/keyrings");
    let mut paths: Vec<PathBuf> = DISTRIBUTIONS
        .iter()
        .flat_map(|name| ENDINGS.iter().map(move |ending| format!("{name}.{ending}")))
        .map(|name| folder.join(name))
        .collect();
    let trusted = root.join("etc/apt");
    paths.push(trusted.join("trusted.gpg"));
    let is_keyring =
        |path: &PathBuf| path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
    paths.extend(children(&trusted.join("trusted.gpg.d"))?.into_iter().filter(is_keyring));
    let mut keyring = Keyring::default();
    for path in paths {
        if let Some(bytes) = fs_err::read(&path).ok().filter(|bytes| !bytes.is_empty())
            && let Ok(parsed) = Keyring::parse(&bytes)
        {
            keyring.extend(parsed);
        }
    }
    Ok(keyring)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Keyring, AptError> {
    Keyring::parse(bytes).map_err(|source| AptError::Keyring { name: path.display().to_string(), source })
}

/// Returns an absolute path of the machine below its root folder.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Lists a folder in the order of names; a missing one is empty.
pub(super) fn children(folder: &Path) -> Result<Vec<PathBuf>, AptError> {
    let failed = |error| AptError::File(FileError::new("list", folder, error));
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Reads a file; `None` if missing.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, AptError> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AptError::File(FileError::new("read", path, error))),
    }
}
