//! The files and directories of base-files' postinst.

use super::super::InstallError;
use super::super::package_tree::{FollowedLinks, PackageTree};
use super::super::unpack::UnpackedPackage;
use super::accounts::group_id;

const DIRECTORIES: [(&str, u32, &str); 8] = [
    ("mnt", 0o755, "root"),
    ("srv", 0o755, "root"),
    ("opt", 0o755, "root"),
    ("etc/opt", 0o755, "root"),
    ("var/opt", 0o755, "root"),
    ("media", 0o755, "root"),
    ("var/mail", 0o2775, "mail"),
    ("run/lock", 0o1777, "root"),
];

const LOCAL: [&str; 10] = ["", "share", "share/man", "bin", "games", "lib", "include", "sbin", "src", "etc"];

const DEFAULTS: [(&str, &str); 4] = [
    ("dot.profile", "root/.profile"),
    ("dot.bashrc", "root/.bashrc"),
    ("profile", "etc/profile"),
    ("motd", "etc/motd"),
];

const LOGS: [(&str, u32); 3] = [("var/log/wtmp", 0o664), ("var/log/btmp", 0o660), ("var/log/lastlog", 0o664)];

pub(super) fn configure(package: &UnpackedPackage, tree: &mut PackageTree<'_>) -> Result<(), InstallError> {
    let owner = package.owner();
    if tree.exists("etc/dpkg/origins/debian") {
        tree.add_link("etc/dpkg/origins/default", "debian", &owner);
    }
    for (from, to) in DEFAULTS {
        super::copy(package, tree, &format!("usr/share/base-files/{from}"), to)?;
    }
    for (path, mode, group) in DIRECTORIES {
        let gid = group_id(tree, group)?;
        tree.add_directory(path, mode, gid, &owner);
    }
    tree.add_link("var/spool/mail", "../mail", &owner);
    for name in LOCAL {
        tree.add_directory(&format!("usr/local/{name}"), 0o755, 0, &owner);
    }
    tree.add_link("usr/local/man", "share/man", &owner);
    let utmp = group_id(tree, "utmp")?;
    for (path, mode) in LOGS {
        if tree.exists(path) {
            continue;
        }
        tree.add_file(path, "", &owner);
        if let Some(place) = tree.resolve(path, FollowedLinks::Parents)
            && let Some(entry) = tree.entry_mut(&place)
        {
            (entry.mode, entry.gid) = (mode, utmp);
        }
    }
    super::copy(package, tree, "usr/share/base-files/info.dir", "usr/share/info/dir")
}
