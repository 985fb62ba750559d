//! Debian packages as entries of an image, without root, without dpkg, and without the execution of any script.
//!
//! Owns the rules by which dpkg unpacks packages (dpkg(1), deb-conffiles(5), Debian Policy chapters 6 and 7), the
//! results of the maintainer scripts that an image needs, made from the packages' data (`configure`, `alternatives`), and
//! dpkg's database (`database`). `scripts` finds the effects of scripts by reading them, and `tree_host` applies those of
//! simple commands. `debian_archive::deb` reads the packages.
//!
//! Every file system is usr-merged. The entries are a function of the packages, the files below and the options; the
//! order of the packages is irrelevant.

mod alternatives;
mod configure;
mod content;
mod database;
mod error;
mod excludes;
mod loader_cache;
mod lower;
mod merge;
mod package_tree;
mod scripts;
mod shell;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tree_host;
mod unpack;

use std::io;
use std::path::{Path, PathBuf};

pub use error::InstallError;
pub use excludes::PathRules;

use crate::parallel::{cores, each};
use crate::progress::Warning;
use crate::tree::{Entry, ImagePath};
use lower::LowerPackages;
use package_tree::PackageTree;
use scripts::PackageScripts;
use unpack::UnpackedPackage;

/// Options of [`install`].
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// Paths that are left out.
    pub exclude: PathRules,
}

/// The file system below the packages: the layers of a base image.
pub trait LowerFiles {
    /// Returns the node at `path`, without following a link at its end or in its parents.
    fn node(&self, path: &ImagePath) -> Option<LowerNode>;

    /// Reads the regular file at `path`, which is small: dpkg's database and configuration files.
    fn read(&self, path: &ImagePath) -> io::Result<Vec<u8>>;
}

/// A node of the file system below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LowerNode {
    /// A directory.
    Directory,
    /// A regular file, or another name of one.
    File,
    /// A symbolic link with its target.
    Symlink(String),
    /// A device, socket or pipe.
    Other,
}

/// The result of [`install`].
#[derive(Debug)]
pub struct InstalledPackages {
    /// The entries, ordered by path. Contents are in the work directory.
    pub entries: Vec<Entry>,
    /// Problems that an administrator should know.
    pub warnings: Vec<Warning>,
}

/// Turns packages into the entries of a layer on top of `below`.
///
/// The contents of files are written to the directory `work`, which must live as long as the entries.
///
/// # Errors
/// If a package is invalid, is given twice or is part of `below`, or if two packages have the same file.
pub fn install(
    debs: &[PathBuf],
    below: Option<&dyn LowerFiles>,
    options: &InstallOptions,
    work: &Path,
) -> Result<InstalledPackages, InstallError> {
    let read = |(): &mut (), index: usize| {
        debs.get(index).map(|deb| unpack::unpack(deb, index, &options.exclude, work)).transpose()
    };
    let mut packages: Vec<UnpackedPackage> =
        each(debs.len(), cores(), || Ok(()), read)?.into_iter().flatten().collect();
    packages.sort_by(|a, b| a.identity().cmp(&b.identity()));
    for pair in packages.windows(2) {
        if let [one, two] = pair
            && one.identity() == two.identity()
        {
            return Err(InstallError::Twice(one.display_name()));
        }
    }
    let mut tree = PackageTree::new(below);
    let base = LowerPackages::read(&tree)?;
    if let Some(package) = packages.iter().find(|package| base.has(package.identity())) {
        return Err(InstallError::Present(package.display_name()));
    }
    let scripts: Vec<PackageScripts> = packages.iter().map(scripts::read).collect();
    merge::merge(&packages, &scripts, base, &mut tree)?;
    configure::configure(&packages, &mut tree)?;
    let mut warnings = Vec::new();
    for package in &packages {
        let undone = scripts::run(package, &mut tree)?;
        warnings.extend(scripts::warning(package, &undone));
    }
    alternatives::configure(&packages, &scripts, &mut tree)?;
    loader_cache::configure(&packages, &mut tree)?;
    database::write(&packages, &scripts, &mut tree)?;
    Ok(InstalledPackages { entries: tree.into_entries(), warnings })
}
