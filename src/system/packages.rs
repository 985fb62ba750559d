//! Records the packages of this machine with files in the image, for scanners and for their
//! licenses.
//!
//! An image has no package manager. Trivy, Syft and Grype read `/var/lib/dpkg/status.d/NAME`, one
//! paragraph per file, by distroless' convention; Debian Policy 12.5 requires the copyright file
//! with the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{SharedLibraries, SystemError};
use crate::debian::{Dpkg, Package};
use crate::error::FileError;
use crate::progress::Warning;
use crate::traced_fs;
use crate::tree::{Content, Entry, HostFile, ImagePath, Owner};

/// Sets the owner of each library to its package, and returns the files that record the packages.
///
/// `others` are further files of this machine in the image. Without dpkg on this machine, no file
/// is returned.
pub fn record_packages<'a>(
    libraries: &mut SharedLibraries,
    others: impl IntoIterator<Item = &'a Path>,
) -> Result<(Vec<Entry>, Vec<Warning>), SystemError> {
    let Some(dpkg) = Dpkg::open(Path::new("/"))? else { return Ok((Vec::new(), Vec::new())) };
    let mut used: BTreeMap<String, (&Package, BTreeSet<PathBuf>)> = BTreeMap::new();
    let mut note = |package, file: &Path| {
        let package: &Package = package;
        used.entry(package.name.clone())
            .or_insert_with(|| (package, BTreeSet::new()))
            .1
            .insert(file.to_owned());
    };
    let taken: Vec<Option<&Path>> = libraries
        .entries
        .iter()
        .map(|entry| libraries.taken.get(&entry.path).map(PathBuf::as_path))
        .collect();
    let others: Vec<&Path> = others.into_iter().collect();
    let mut owners =
        dpkg.owners_of(taken.iter().copied().flatten().chain(others.iter().copied())).into_iter();
    for (entry, host) in libraries.entries.iter_mut().zip(taken) {
        let Some(host) = host else { continue };
        if let Some(package) = owners.next().flatten() {
            entry.owner = owner(package);
            note(package, host);
        }
    }
    for (file, package) in others.into_iter().zip(owners) {
        if let Some(package) = package {
            note(package, file);
        }
    }
    let mut entries = Vec::new();
    let folder = ImagePath::new("var/lib/dpkg/status.d")?;
    for (name, (package, files)) in used {
        let mut paragraph = package.paragraph.clone();
        if !paragraph.ends_with('\n') {
            paragraph.push('\n');
        }
        entries.push(Entry::file(folder.join(&name)?, paragraph.into(), owner(package)));
        let sums = dpkg.md5sums(package, &files)?;
        if !sums.is_empty() {
            entries.push(Entry::file(folder.join(&format!("{name}.md5sums"))?, sums.into(), owner(package)));
        }
        if let Some(copyright) = dpkg.copyright(package) {
            let place = ImagePath::new("usr/share/doc")?.join(&name)?.join("copyright")?;
            let real = traced_fs::canonicalize(&copyright)
                .map_err(|error| FileError::new("read", copyright, error))?;
            entries.push(Entry::file(place, Content::Host(HostFile::new(real)?), owner(package)));
        }
    }
    Ok((entries, dpkg.warnings().cloned().collect()))
}

fn owner(package: &Package) -> Owner {
    Owner::Package { name: Arc::from(package.name.as_str()), version: Arc::from(package.version.as_str()) }
}
