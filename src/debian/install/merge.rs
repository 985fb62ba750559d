//! The files of all packages in one file system, by the rules of dpkg.
//!
//! - A directory may be in many packages. Attributes other than root's 0755 win over these, those of base-files over
//!   all; dpkg takes the first package's.
//! - A directory where another package or the base has a link to a directory is that link's target.
//! - Any other path in two packages is an error, unless one has `Replaces` for the other, or both are one package of
//!   two architectures.
//! - A file of the base is replaced, unless it belongs to a package that the new one has no `Replaces` for. A conffile
//!   stays as it is in the base, and so does a directory where a package has a link.
//! - `/bin`, `/sbin` and `/lib*` are links to `/usr`, as on every system since Debian 12. Packages of that version still
//!   have files at both places.

use std::collections::{BTreeMap, BTreeSet};

use debian_archive::deb::{DataKind, DataMember};
use debian_archive::relation;

use super::InstallError;
use super::lower::LowerPackages;
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
struct Claims<'a> {
    packages: &'a [UnpackedPackage],
    paths: BTreeMap<ImagePath, usize>,
    /// The new path of other packages' files, and the package that diverts.
    diversions: BTreeMap<ImagePath, (ImagePath, usize)>,
    base: LowerPackages,
}

/// Adds the files of all packages, which are in order.
pub(super) fn merge(
    packages: &[UnpackedPackage],
    scripts: &[PackageScripts],
    base: LowerPackages,
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    merge_usr(packages, tree);
    let mut claims = Claims { packages, paths: BTreeMap::new(), diversions: BTreeMap::new(), base };
    for (index, scripts) in scripts.iter().enumerate() {
        for (from, to) in &scripts.diversions {
            let places = [from, to].map(|path| tree.resolve(path, FollowedLinks::Parents));
            if let [Some(from), Some(to)] = places {
                claims.diversions.insert(from, (to, index));
            }
        }
    }
    add_links(&mut claims, tree)?;
    for (index, package) in packages.iter().enumerate() {
        for member in package.members.iter().filter(|member| !member.is_excluded) {
            if member.data.kind == DataKind::Directory {
                add_directory(package, &member.data, tree)?;
            }
        }
        for member in package.members.iter().filter(|member| !member.is_excluded) {
            if matches!(member.data.kind, DataKind::File { .. }) {
                add_file(index, member, &mut claims, tree)?;
            }
        }
    }
    let mut linked = Vec::new();
    for index in 0..packages.len() {
        linked.push(claim_hard_links(index, &mut claims, tree)?);
    }
    for (index, names) in linked.into_iter().enumerate() {
        add_hard_links(index, names, &claims, tree);
    }
    check_parents(tree)
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
fn add_links(claims: &mut Claims<'_>, tree: &mut PackageTree<'_>) -> Result<(), InstallError> {
    for (index, package) in claims.packages.iter().enumerate() {
        for member in package.members.iter().filter(|member| !member.is_excluded) {
            let DataKind::Symlink(target) = &member.data.kind else { continue };
            let place = claims.place(index, &member.data, tree)?;
            // The links of `merge_usr` are those that later versions of base-files have.
            if !claims.paths.contains_key(&place) && tree.entry(&place).is_some() {
                tree.remove(&place);
            }
            if tree.node(&place) != Some(TreeNode::Directory) && claims.claim(index, &place, tree)? {
                tree.insert(entry(package, &member.data, place, Kind::Symlink(target.clone())));
            }
        }
    }
    Ok(())
}

impl Claims<'_> {
    /// Returns the path of a file of package `index` in the image, after links and diversions.
    fn place(
        &self,
        index: usize,
        data: &DataMember,
        tree: &PackageTree<'_>,
    ) -> Result<ImagePath, InstallError> {
        let Some(path) = tree.resolve(&data.path, FollowedLinks::Parents) else {
            return Err(looped(self.packages.get(index), data));
        };
        Ok(match self.diversions.get(&path) {
            Some((to, by)) if *by != index => to.clone(),
            _ => path,
        })
    }

    /// Records that the package `index` has `path`, and returns false if the file of another package or of the base
    /// stays.
    fn claim(
        &mut self,
        index: usize,
        path: &ImagePath,
        tree: &mut PackageTree<'_>,
    ) -> Result<bool, InstallError> {
        let Some(second) = self.packages.get(index) else { return Ok(false) };
        let before = self.paths.get(path).copied().filter(|before| *before != index);
        let Some(first) = before.and_then(|before| self.packages.get(before)) else {
            let is_new = self.paths.insert(path.clone(), index).is_none();
            return if is_new { self.claim_from_base(second, path, tree) } else { Ok(true) };
        };
        let is_same = first.control.name() == second.control.name()
            && first.is_multi_arch_same()
            && second.is_multi_arch_same();
        let replaces = |one: &UnpackedPackage, other: &UnpackedPackage| {
            replaces(one, other.control.name(), other.control.version())
        };
        if replaces(second, first) && !replaces(first, second) {
            self.paths.insert(path.clone(), index);
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

    /// Compares a path with the files of the base; returns false if the base's file stays.
    fn claim_from_base(
        &mut self,
        package: &UnpackedPackage,
        path: &ImagePath,
        tree: &mut PackageTree<'_>,
    ) -> Result<bool, InstallError> {
        match tree.node(path) {
            None => return Ok(true),
            Some(TreeNode::Directory) => {
                let directory = tree.entry(path).map_or_else(|| "the base".to_owned(), owner_of);
                let file = package.display_name();
                return Err(InstallError::FileAndDirectory { path: path.clone(), directory, file });
            }
            Some(_) if tree.entry(path).is_some() => return Ok(true),
            Some(_) => {}
        }
        if let Some(owner) = self.base.owner(path, tree)? {
            let is_other = owner.name != package.control.name();
            if is_other && !replaces(package, &owner.name, &owner.version) {
                let (first, second) = (owner.name.clone(), package.display_name());
                return Err(InstallError::Conflict { path: path.clone(), first, second });
            }
            if is_other {
                self.base.disown(path, tree)?;
            }
        }
        Ok(!package.conffiles.contains(&path.to_string()))
    }
}

fn add_directory(
    package: &UnpackedPackage,
    data: &DataMember,
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    let place = tree.resolve(&data.path, FollowedLinks::All).ok_or_else(|| looped(Some(package), data))?;
    let made = entry(package, data, place, Kind::Directory);
    let is_plain = |entry: &Entry| (entry.mode, entry.uid, entry.gid) == (0o755, 0, 0);
    match (tree.node(&made.path), tree.entry(&made.path)) {
        (None, _) => tree.insert(made),
        (Some(TreeNode::Directory), Some(before)) => {
            let is_first = package.control.name() == "base-files" || is_plain(before) && !is_plain(&made);
            if is_first && !is_of(before, "base-files") {
                tree.insert(made);
            }
        }
        // Attributes of the base's directories stay.
        (Some(TreeNode::Directory), None) => {}
        (Some(_), before) => {
            let file = before.map_or_else(|| "the base".to_owned(), owner_of);
            let directory = package.display_name();
            return Err(InstallError::FileAndDirectory { path: made.path, directory, file });
        }
    }
    Ok(())
}

/// Returns the name of the package that an entry belongs to.
fn owner_of(entry: &Entry) -> String {
    match &entry.owner {
        Owner::Package { name, .. } => name.to_string(),
        _ => "the system".to_owned(),
    }
}

fn is_of(entry: &Entry, package: &str) -> bool {
    matches!(&entry.owner, Owner::Package { name, .. } if **name == *package)
}

fn add_file(
    index: usize,
    member: &UnpackedMember,
    claims: &mut Claims<'_>,
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    let (Some(package), Some(stored)) = (claims.packages.get(index), &member.content) else { return Ok(()) };
    let place = claims.place(index, &member.data, tree)?;
    if claims.claim(index, &place, tree)? {
        let kind = Kind::File(stored.content.clone());
        tree.insert(entry(package, &member.data, place, kind));
    }
    Ok(())
}

/// The names of a package's files that have several, by the path of the file in the package.
type LinkedNames<'a> = BTreeMap<&'a str, BTreeSet<ImagePath>>;

/// Returns the names that hard links make, and claims them.
fn claim_hard_links<'a>(
    index: usize,
    claims: &mut Claims<'a>,
    tree: &mut PackageTree<'_>,
) -> Result<LinkedNames<'a>, InstallError> {
    let mut names = LinkedNames::new();
    let Some(package) = claims.packages.get(index) else { return Ok(names) };
    // The file behind each hard link.
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    let by_path = package.by_path();
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
        let place = claims.place(index, &member.data, tree)?;
        if claims.claim(index, &place, tree)? {
            let first = claims.place(index, &first.data, tree)?;
            names.entry(file).or_default().extend([first, place]);
        }
    }
    Ok(names)
}

/// Adds the files of several names, as far as no other package replaced a name. In an archive, the first name in the
/// order of paths must be the file.
fn add_hard_links(index: usize, names: LinkedNames<'_>, claims: &Claims<'_>, tree: &mut PackageTree<'_>) {
    let Some(package) = claims.packages.get(index) else { return };
    let by_path = package.by_path();
    for (file, mut names) in names {
        names.retain(|name| claims.paths.get(name) == Some(&index));
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
}

/// Returns true if `package` names this version of `other` in its field `Replaces`.
fn replaces(package: &UnpackedPackage, other: &str, version: &str) -> bool {
    let Ok(relations) = relation::parse(package.control.field("Replaces").unwrap_or_default()) else {
        return false;
    };
    relations.iter().flatten().any(|relation| {
        relation.name == other
            && relation.constraint.as_ref().is_none_or(|constraint| constraint.accepts(version))
    })
}

/// Refuses paths below files.
fn check_parents(tree: &PackageTree<'_>) -> Result<(), InstallError> {
    let mut checked = BTreeSet::new();
    for entry in tree.entries() {
        for parent in entry.path.parents() {
            if !checked.insert(parent.clone()) {
                continue;
            }
            if matches!(tree.node(&parent), Some(TreeNode::File | TreeNode::Symlink(_) | TreeNode::Other)) {
                let (package, path) = (owner_of(entry), entry.path.clone());
                return Err(InstallError::NotADirectory { package, path, parent });
            }
        }
    }
    Ok(())
}

fn looped(package: Option<&UnpackedPackage>, data: &DataMember) -> InstallError {
    let package = package.map(UnpackedPackage::display_name).unwrap_or_default();
    InstallError::Loop { package, path: format!("/{}", data.path) }
}

fn entry(package: &UnpackedPackage, data: &DataMember, path: ImagePath, kind: Kind) -> Entry {
    let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { data.mode };
    let time = Time::At(i64::try_from(data.mtime).unwrap_or(i64::MAX));
    Entry { path, kind, mode, uid: data.uid, gid: data.gid, time, owner: package.owner() }
}
