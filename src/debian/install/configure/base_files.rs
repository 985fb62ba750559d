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

pub(super) fn configure(package: &UnpackedPackage, rootfs: &mut PackageTree<'_>) -> Result<(), InstallError> {
    let owner = package.owner();
    if rootfs.exists("etc/dpkg/origins/debian") {
        rootfs.add_link("etc/dpkg/origins/default", "debian", &owner);
    }
    for (from, to) in DEFAULTS {
        super::copy(package, rootfs, &format!("usr/share/base-files/{from}"), to)?;
    }
    for (path, mode, group) in DIRECTORIES {
        let gid = group_id(rootfs, group)?;
        rootfs.add_directory(path, mode, gid, &owner);
    }
    rootfs.add_link("var/spool/mail", "../mail", &owner);
    for name in LOCAL {
        rootfs.add_directory(&format!("usr/local/{name}"), 0o755, 0, &owner);
    }
    rootfs.add_link("usr/local/man", "share/man", &owner);
    let utmp = group_id(rootfs, "utmp")?;
    for (path, mode) in LOGS {
        if rootfs.exists(path) {
            continue;
        }
        rootfs.add_file(path, "", &owner);
        if let Some(place) = rootfs.resolve(path, FollowedLinks::Parents)
            && let Some(entry) = rootfs.entry_mut(&place)
        {
            (entry.mode, entry.gid) = (mode, utmp);
        }
    }
    super::copy(package, rootfs, "usr/share/base-files/info.dir", "usr/share/info/dir")
}
