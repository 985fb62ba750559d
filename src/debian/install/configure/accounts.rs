//! Users and groups: base-passwd's masters, and passwd's shadow files.

use std::fmt::Write as _;

use super::super::InstallError;
use super::super::package_tree::{FollowedLinks, PackageTree};
use super::super::unpack::UnpackedPackage;

/// Adds the files of base-passwd or passwd.
pub(super) fn configure(package: &UnpackedPackage, tree: &mut PackageTree<'_>) -> Result<(), InstallError> {
    if package.control.name() == "base-passwd" {
        for name in ["passwd", "group"] {
            let master = format!("usr/share/base-passwd/{name}.master");
            super::copy(package, tree, &master, &format!("etc/{name}"))?;
        }
        return Ok(());
    }
    let shadow = group_id(tree, "shadow")?;
    shadow_of(package, tree, "passwd", "shadow", "::0:99999:7:::", shadow)?;
    shadow_of(package, tree, "group", "gshadow", "::", shadow)
}

/// Moves the passwords of `/etc/FROM` to `/etc/TO`, as `shadowconfig on` does.
///
/// The field for the day of the last change is empty: the day of the build would change the image, and the empty
/// field means that passwords do not expire.
fn shadow_of(
    package: &UnpackedPackage,
    tree: &mut PackageTree<'_>,
    from: &str,
    to: &str,
    rest: &str,
    gid: u32,
) -> Result<(), InstallError> {
    let (from, to) = (format!("etc/{from}"), format!("etc/{to}"));
    let Some(text) = tree.read_text(&from)? else { return Ok(()) };
    if tree.exists(&to) {
        return Ok(());
    }
    let (mut public, mut secret) = (String::new(), String::new());
    for line in text.lines() {
        match line.splitn(3, ':').collect::<Vec<_>>().as_slice() {
            [name, password, fields] => {
                let members = fields.rsplit(':').next().filter(|_| to == "etc/gshadow").unwrap_or_default();
                let _ = writeln!(public, "{name}:x:{fields}");
                let _ = writeln!(secret, "{name}:{password}{rest}{members}");
            }
            _ => {
                let _ = writeln!(public, "{line}");
            }
        }
    }
    tree.write_file(&from, public, &package.owner());
    tree.add_file(&to, secret, &package.owner());
    if let Some(place) = tree.resolve(&to, FollowedLinks::Parents)
        && let Some(entry) = tree.entry_mut(&place)
    {
        (entry.mode, entry.gid) = (0o640, gid);
    }
    Ok(())
}

/// Returns the number of a group in `/etc/group`, or root's.
pub(super) fn group_id(tree: &PackageTree<'_>, name: &str) -> Result<u32, InstallError> {
    let groups = tree.read_text("etc/group")?.unwrap_or_default();
    let numbers = groups.lines().filter_map(|line| match line.split(':').collect::<Vec<_>>().as_slice() {
        [group, _, number, ..] if *group == name => number.parse().ok(),
        _ => None,
    });
    Ok(numbers.into_iter().next().unwrap_or(0))
}
