//! One package, read: its control information, and its members with their contents in the work directory.

#![allow(clippy::disallowed_methods)] // Packages are identified by their digests, which the caller verified.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use debian_archive::deb::{ControlFiles, DataKind, DataMember, DebLimits, DebReader};

use super::InstallError;
use super::content::{Checksum, Spool, Spooled};
use super::excludes::{PathKind, PathRules};
use crate::error::FileError;
use crate::tree::Owner;

/// A package with its members.
#[derive(Debug)]
pub(super) struct UnpackedPackage {
    pub(super) control: ControlFiles,
    /// In the order of the archive, without the root directory.
    pub(super) members: Vec<UnpackedMember>,
    /// MD5 of each conffile, and of all files if the package has no `md5sums`, by relative path.
    pub(super) md5: BTreeMap<String, String>,
    /// Absolute paths.
    pub(super) conffiles: BTreeSet<String>,
    owner: Owner,
}

/// A member of the package's data.
#[derive(Debug)]
pub(super) struct UnpackedMember {
    pub(super) data: DataMember,
    /// The content of a regular file that is not excluded.
    pub(super) content: Option<Spooled>,
    pub(super) is_excluded: bool,
}

/// Reads the package at `path`, which is number `index` of its build.
pub(super) fn unpack(
    path: &Path,
    index: usize,
    rules: &PathRules,
    work: &Path,
) -> Result<UnpackedPackage, InstallError> {
    let failed = |cause| InstallError::Package { path: path.to_owned(), cause };
    let file = File::open(path).map_err(FileError::of("read", path))?;
    let reader = DebReader::open(file, DebLimits::default()).map_err(failed)?;
    let has_checksums = reader.control().file("md5sums").is_some();
    let conffiles: BTreeSet<String> = reader.control().conffiles().into_iter().collect();
    let mut spool = Spool::create(work, index)?;
    let (mut members, mut md5) = (Vec::new(), BTreeMap::new());
    let control = reader.read_data(&mut |data, content| {
        if data.path.is_empty() {
            return Ok(());
        }
        let absolute = format!("/{}", data.path);
        let kind = match data.kind {
            DataKind::Directory | DataKind::Symlink(_) => PathKind::Parent,
            _ => PathKind::File,
        };
        let is_excluded = rules.excludes(&absolute, kind);
        let mut stored = None;
        if matches!(data.kind, DataKind::File { .. }) && !is_excluded {
            let is_listed = conffiles.contains(&absolute) || !has_checksums;
            let checksum = if is_listed { Checksum::Md5 } else { Checksum::Omitted };
            let spooled = spool.store(content, checksum)?;
            if let Some(sum) = &spooled.md5 {
                md5.insert(data.path.clone(), sum.clone());
            }
            stored = Some(spooled);
        }
        members.push(UnpackedMember { data, content: stored, is_excluded });
        Ok(())
    });
    let control = control.map_err(failed)?;
    spool.finish()?;
    let owner = Owner::Package { name: control.name().into(), version: control.version().into() };
    Ok(UnpackedPackage { control, members, md5, conffiles, owner })
}

impl UnpackedPackage {
    /// Returns the key of the order of packages.
    pub(super) fn identity(&self) -> (&str, &str) {
        (self.control.name(), self.control.architecture())
    }

    /// Returns the members by path.
    pub(super) fn by_path(&self) -> BTreeMap<&str, &UnpackedMember> {
        self.members.iter().map(|member| (member.data.path.as_str(), member)).collect()
    }

    /// Returns the name for messages.
    pub(super) fn display_name(&self) -> String {
        self.control.name().to_owned()
    }

    /// Returns the owner of the package's entries.
    pub(super) fn owner(&self) -> Owner {
        self.owner.clone()
    }

    /// Returns true for a package of which several architectures can be installed at once.
    pub(super) fn is_multi_arch_same(&self) -> bool {
        self.control.field("Multi-Arch") == Some("same")
    }

    /// Returns the name of the package's files in dpkg's `info` directory, without a suffix.
    pub(super) fn info_name(&self) -> Arc<str> {
        if self.is_multi_arch_same() {
            format!("{}:{}", self.control.name(), self.control.architecture()).into()
        } else {
            self.control.name().into()
        }
    }
}
