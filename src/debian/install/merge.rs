//! The files of all packages in one file system, by the rules of dpkg.
//!
//! - A directory may be in many packages. Attributes other than root's 0755 win over these, those of base-files over
//!   all; dpkg takes the first package's.
//! - A directory where another package or the base has a link to a directory is that link's target.
//! - Any other path in two packages is an error, unless one has `Replaces` for the other, or both are one package of
//!   two architectures.
//! - `/bin`, `/sbin` and `/lib*` are links to `/usr`, as on every system since Debian 12. Packages of that version still
//!   have files at both places.

use std::collections::{BTreeMap, BTreeSet};

use debian_archive::deb::{DataKind, DataMember};
use debian_archive::relation;

use super::InstallError;
use super::package_tree::{FollowedLinks, PackageTree, TreeNode};
use super::scripts::PackageScripts;
use super::unpack::{UnpackedMember, UnpackedPackage};
use crate::tree::{Entry, ImagePath, Kind, Owner, Time};

/// Directories of the root that became links to directories of `/usr` on every architecture.
const MERGED: [&str; 3] = ["bin", "lib", "sbin"];
/// Others of some architectures, merged if a package has one.
const MERGED_LIBRARIES: [&str; 4] = ["lib32", "lib64", "libo32", "libx32"];
/// The directories of base-files that its postinst replaces by links.
const MIGRATED: [(&str, &str); 2] = [("var/run", "/run"), ("var/lock", "/run/lock")];

/// The owner of each path among the packages.
#[derive(Default)]
struct Claims {
    paths: BTreeMap<ImagePath, usize>,
    /// The new path of other packages' files, and the package that diverts.
    diversions: BTreeMap<ImagePath, (ImagePath, usize)>,
}

/// Adds the files of all packages, which are in order.
pub(super) fn merge(
    packages: &[UnpackedPackage],
    scripts: &[PackageScripts],
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    merge_usr(packages, tree);
    let mut claims = Claims::default();
    for (index, scripts) in scripts.iter().enumerate() {
        for (from, to) in &scripts.diversions {
            let places = [from, to].map(|path| tree.resolve(path, FollowedLinks::Parents));
            if let [Some(from), Some(to)] = places {
                claims.diversions.insert(from, (to, index));
            }
        }
    }
    add_links(packages, &mut claims, tree)?;
    for (index, package) in packages.iter().enumerate() {
        for member in package.members.iter().filter(|member| !member.is_excluded) {
            if member.data.kind == DataKind::Directory {
                add_directory(package, &member.data, tree)?;
            }
        }
        for member in package.members.iter().filter(|member| !member.is_excluded) {
            if matches!(member.data.kind, DataKind::File { .. }) {
                add_file(packages, index, member, &mut claims, tree)?;
            }
        }
    }
    for (index, package) in packages.iter().enumerate() {
        add_hard_links(packages, index, package, &mut claims, tree)?;
    }
    check_parents(packages, &claims, tree)
}

/// Adds the links to `/usr`.
fn merge_usr(packages: &[UnpackedPackage], tree: &mut PackageTree<'_>) {
    let is_used = |name: &str| {
        let mut members = packages.iter().flat_map(|package| &package.members);
        members.any(|member| member.data.path.split('/').next() == Some(name))
    };
    let libraries = MERGED_LIBRARIES.into_iter().filter(|name| is_used(name));
    if !tree.has_base() {
        for name in MERGED.into_iter().chain(libraries) {
            tree.add_link(name, &format!("usr/{name}"), &Owner::System);
        }
    }
    if let Some(base_files) = packages.iter().find(|package| package.control.name() == "base-files") {
        for (path, target) in MIGRATED {
            tree.add_link(path, target, &base_files.owner());
        }
    }
}

/// Adds symbolic links first, because directories of other packages may be theirs.
fn add_links(
    packages: &[UnpackedPackage],
    claims: &mut Claims,
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    for (index, package) in packages.iter().enumerate() {
        for member in package.members.iter().filter(|member| !member.is_excluded) {
            let DataKind::Symlink(target) = &member.data.kind else { continue };
            let place = claims.diverted(index, place(package, &member.data, FollowedLinks::Parents, tree)?);
            // The links of `merge_usr` are those that later versions of base-files have.
            if !claims.paths.contains_key(&place) && tree.entry(&place).is_some() {
                tree.remove(&place);
            }
            if claim(packages, index, &place, claims)? {
                tree.insert(entry(package, &member.data, place, Kind::Symlink(target.clone())));
            }
        }
    }
    Ok(())
}

impl Claims {
    /// Returns the path of a file of package `index` after diversions.
    fn diverted(&self, index: usize, path: ImagePath) -> ImagePath {
        match self.diversions.get(&path) {
            Some((to, by)) if *by != index => to.clone(),
            _ => path,
        }
    }
}

fn add_directory(
    package: &UnpackedPackage,
    data: &DataMember,
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    let place = place(package, data, FollowedLinks::All, tree)?;
    let made = entry(package, data, place, Kind::Directory);
    let is_plain = |entry: &Entry| (entry.mode, entry.uid, entry.gid) == (0o755, 0, 0);
    match tree.entry(&made.path) {
        Some(before) => {
            let is_directory = matches!(before.kind, Kind::Directory);
            let is_first = package.control.name() == "base-files" || is_plain(before) && !is_plain(&made);
            if is_directory && is_first && !is_of(before, "base-files") {
                tree.insert(made);
            }
        }
        // Attributes of the base's directories stay.
        None if tree.node(&made.path) == Some(TreeNode::Directory) => {}
        None => tree.insert(made),
    }
    Ok(())
}

fn is_of(entry: &Entry, package: &str) -> bool {
    matches!(&entry.owner, Owner::Package { name, .. } if **name == *package)
}

fn add_file(
    packages: &[UnpackedPackage],
    index: usize,
    member: &UnpackedMember,
    claims: &mut Claims,
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    let (Some(package), Some(stored)) = (packages.get(index), &member.content) else { return Ok(()) };
    let place = claims.diverted(index, place(package, &member.data, FollowedLinks::Parents, tree)?);
    if claim(packages, index, &place, claims)? {
        let kind = Kind::File(stored.content.clone());
        tree.insert(entry(package, &member.data, place, kind));
    }
    Ok(())
}

/// Adds the other names of files. In an archive, the first name in the order of paths must be the file.
fn add_hard_links(
    packages: &[UnpackedPackage],
    index: usize,
    package: &UnpackedPackage,
    claims: &mut Claims,
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    // The members of the package by path, with the file behind each hard link.
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    let mut groups: BTreeMap<&str, BTreeSet<ImagePath>> = BTreeMap::new();
    let by_path: BTreeMap<&str, &UnpackedMember> =
        package.members.iter().map(|member| (member.data.path.as_str(), member)).collect();
    for member in &package.members {
        let DataKind::HardLink(target) = &member.data.kind else { continue };
        let file = files.get(target.as_str()).copied().unwrap_or(target);
        files.insert(&member.data.path, file);
        if member.is_excluded {
            continue;
        }
        let Some(first) = by_path.get(file).filter(|first| !first.is_excluded) else {
            return Err(InstallError::ExcludedTarget {
                package: package.display_name(),
                path: format!("/{}", member.data.path),
                target: format!("/{file}"),
            });
        };
        let place = place(package, &member.data, FollowedLinks::Parents, tree)?;
        if claim(packages, index, &place, claims)? {
            let names = groups.entry(file).or_default();
            names.insert(self::place(package, &first.data, FollowedLinks::Parents, tree)?);
            names.insert(place);
        }
    }
    for (file, names) in groups {
        let (Some(member), Some(first)) = (by_path.get(file), names.first()) else { continue };
        let Some(stored) = &member.content else { continue };
        for name in &names {
            let kind = if name == first {
                Kind::File(stored.content.clone())
            } else {
                Kind::HardLink(first.clone())
            };
            tree.insert(entry(package, &member.data, name.clone(), kind));
        }
    }
    Ok(())
}

/// Records that the package `index` has `path`, and returns false if another package's file replaces that one.
fn claim(
    packages: &[UnpackedPackage],
    index: usize,
    path: &ImagePath,
    claims: &mut Claims,
) -> Result<bool, InstallError> {
    let Some(before) = claims.paths.get(path).copied().filter(|before| *before != index) else {
        claims.paths.insert(path.clone(), index);
        return Ok(true);
    };
    let (Some(first), Some(second)) = (packages.get(before), packages.get(index)) else { return Ok(false) };
    let is_same = first.control.name() == second.control.name()
        && first.is_multi_arch_same()
        && second.is_multi_arch_same();
    if replaces(second, first) && !replaces(first, second) {
        claims.paths.insert(path.clone(), index);
        return Ok(true);
    }
    if is_same || replaces(first, second) {
        return Ok(false);
    }
    Err(InstallError::Conflict {
        path: path.clone(),
        first: first.display_name(),
        second: second.display_name(),
    })
}

/// Returns true if `one` names this version of `other` in its field `Replaces`.
fn replaces(one: &UnpackedPackage, other: &UnpackedPackage) -> bool {
    let Ok(relations) = relation::parse(one.control.field("Replaces").unwrap_or_default()) else {
        return false;
    };
    let version = other.control.version();
    relations.iter().flatten().any(|relation| {
        relation.name == other.control.name()
            && relation.constraint.as_ref().is_none_or(|constraint| constraint.accepts(version))
    })
}

/// Refuses paths below files.
fn check_parents(
    packages: &[UnpackedPackage],
    claims: &Claims,
    tree: &PackageTree<'_>,
) -> Result<(), InstallError> {
    let mut checked = BTreeSet::new();
    for (path, index) in &claims.paths {
        for parent in path.parents() {
            if !checked.insert(parent.clone()) {
                continue;
            }
            if matches!(tree.node(&parent), Some(TreeNode::File | TreeNode::Symlink(_) | TreeNode::Other)) {
                let package = packages.get(*index).map(UnpackedPackage::display_name).unwrap_or_default();
                return Err(InstallError::NotADirectory { package, path: path.clone(), parent });
            }
        }
    }
    Ok(())
}

/// Returns the path of a member in the image.
fn place(
    package: &UnpackedPackage,
    data: &DataMember,
    follow: FollowedLinks,
    tree: &PackageTree<'_>,
) -> Result<ImagePath, InstallError> {
    tree.resolve(&data.path, follow).ok_or_else(|| InstallError::Loop {
        package: package.display_name(),
        path: format!("/{}", data.path),
    })
}

fn entry(package: &UnpackedPackage, data: &DataMember, path: ImagePath, kind: Kind) -> Entry {
    let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { data.mode };
    let time = Time::At(i64::try_from(data.mtime).unwrap_or(i64::MAX));
    Entry { path, kind, mode, uid: data.uid, gid: data.gid, time, owner: package.owner() }
}
