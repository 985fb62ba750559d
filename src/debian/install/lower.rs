//! [`LowerPackages`]: the packages of the file system below, and their files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::InstallError;
use super::package_tree::{FollowedLinks, PackageTree};
use crate::debian::{Package, packages_in};
use crate::tree::{ImagePath, Owner};

const DATABASE: &str = "var/lib/dpkg";

/// The packages of the file system below.
pub(super) struct LowerPackages {
    packages: Vec<Package>,
    /// The package of each file, by number; read when a new file is at the path of another.
    files: Option<BTreeMap<ImagePath, usize>>,
}

impl LowerPackages {
    /// Reads `status`.
    pub(super) fn read(tree: &PackageTree<'_>) -> Result<Self, InstallError> {
        let status = tree.read_text(&format!("{DATABASE}/status"))?.unwrap_or_default();
        Ok(Self { packages: packages_in(&status), files: None })
    }

    /// Returns true for a package of this name and architecture.
    pub(super) fn has(&self, (name, architecture): (&str, &str)) -> bool {
        self.packages.iter().any(|package| package.name == name && package.architecture == architecture)
    }

    /// Returns the package of the file at `path`.
    pub(super) fn owner(
        &mut self,
        path: &ImagePath,
        tree: &PackageTree<'_>,
    ) -> Result<Option<&Package>, InstallError> {
        let files = match self.files.take() {
            Some(files) => files,
            None => self.read_files(tree)?,
        };
        let owner = files.get(path).copied();
        self.files = Some(files);
        Ok(owner.and_then(|owner| self.packages.get(owner)))
    }

    /// Reads the lists of all packages.
    fn read_files(&self, tree: &PackageTree<'_>) -> Result<BTreeMap<ImagePath, usize>, InstallError> {
        let mut files = BTreeMap::new();
        for (number, package) in self.packages.iter().enumerate() {
            let (_, text) = list(package, tree)?;
            let paths = text.lines().filter_map(|path| tree.resolve(path, FollowedLinks::Parents));
            files.extend(paths.map(|path| (path, number)));
        }
        Ok(files)
    }

    /// Removes a path from the list of its package, as dpkg does when another package replaces the file.
    pub(super) fn disown(&self, path: &ImagePath, tree: &mut PackageTree<'_>) -> Result<(), InstallError> {
        let owner = self.files.as_ref().and_then(|files| files.get(path));
        let Some(package) = owner.and_then(|owner| self.packages.get(*owner)) else { return Ok(()) };
        let (place, text) = list(package, tree)?;
        let mut kept = String::new();
        for line in text.lines() {
            if tree.resolve(line, FollowedLinks::Parents).as_ref() != Some(path) {
                let _ = writeln!(kept, "{line}");
            }
        }
        let (name, version) = (package.name.as_str().into(), package.version.as_str().into());
        tree.write_file(&place, kept, &Owner::Package { name, version });
        Ok(())
    }
}

/// Returns the path and the text of a package's list.
fn list(package: &Package, tree: &PackageTree<'_>) -> Result<(String, String), InstallError> {
    let Package { name, architecture, .. } = package;
    let plain = format!("{DATABASE}/info/{name}.list");
    let qualified = format!("{DATABASE}/info/{name}:{architecture}.list");
    let place = if tree.exists(&qualified) { qualified } else { plain };
    let text = tree.read_text(&place)?.unwrap_or_default();
    Ok((place, text))
}
