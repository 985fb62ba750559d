//! The results of maintainer scripts, made from the packages' data.
//!
//! | package | result |
//! |---|---|
//! | base-passwd | `/etc/passwd`, `/etc/group` |
//! | passwd | `/etc/shadow`, `/etc/gshadow` |
//! | base-files | directories, `/etc/motd`, `/etc/profile`, root's dotfiles, logs |
//! | libc-bin | `/etc/nsswitch.conf` |
//! | netbase | `/etc/networks` |
//! | ca-certificates | `/etc/ca-certificates.conf`, `/etc/ssl/certs` |
//! | tzdata | `/etc/localtime`, `/etc/timezone` |
//!
//! `/etc/ld.so.cache` is left out. The loader searches its default directories without it, among them the one of the
//! architecture in which Debian's libraries are; files of `/etc/ld.so.conf.d` for other directories are rare.

mod accounts;
mod base_files;
mod certificates;

use super::InstallError;
use super::rootfs::Rootfs;
use super::unpack::UnpackedPackage;
use crate::progress::Warning;

/// Adds the results.
pub(super) fn configure(
    packages: &[UnpackedPackage],
    rootfs: &mut Rootfs<'_>,
    _warnings: &mut Vec<Warning>,
) -> Result<(), InstallError> {
    // Accounts first: later steps name users and groups.
    for name in ["base-passwd", "passwd"] {
        if let Some(package) = find(packages, name) {
            accounts::configure(package, rootfs)?;
        }
    }
    for package in packages {
        match package.control.name() {
            "base-files" => base_files::configure(package, rootfs)?,
            "ca-certificates" => certificates::configure(package, rootfs)?,
            "libc-bin" => copy(package, rootfs, "usr/share/libc-bin/nsswitch.conf", "etc/nsswitch.conf")?,
            "netbase" => rootfs.add_file("etc/networks", NETWORKS, &package.owner()),
            "tzdata" => time_zone(package, rootfs),
            _ => {}
        }
    }
    Ok(())
}

/// `/etc/networks` of netbase's postinst. Engines mount an `/etc/hosts` of their own.
const NETWORKS: &str = "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n\n";

fn find<'a>(packages: &'a [UnpackedPackage], name: &str) -> Option<&'a UnpackedPackage> {
    packages.iter().find(|package| package.control.name() == name)
}

/// Copies a file unless something is at its new path.
fn copy(
    package: &UnpackedPackage,
    rootfs: &mut Rootfs<'_>,
    from: &str,
    to: &str,
) -> Result<(), InstallError> {
    if let Some(bytes) = rootfs.read(from)? {
        rootfs.add_file(to, bytes, &package.owner());
    }
    Ok(())
}

/// The answer of debconf without questions: UTC.
fn time_zone(package: &UnpackedPackage, rootfs: &mut Rootfs<'_>) {
    if rootfs.exists("usr/share/zoneinfo/Etc/UTC") {
        rootfs.add_link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC", &package.owner());
        rootfs.add_file("etc/timezone", "Etc/UTC\n", &package.owner());
    }
}
