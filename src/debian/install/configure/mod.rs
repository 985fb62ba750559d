//! The results of maintainer scripts, made from the packages' data.
//!
//! | package | result |
//! |---|---|
//! | base-passwd | `/etc/passwd`, `/etc/group` |
//! | passwd | `/etc/shadow`, `/etc/gshadow` |
//! | base-files | directories, `/etc/motd`, `/etc/profile`, root's dotfiles, logs |
//! | libc-bin | `/etc/nsswitch.conf` |
//! | debianutils | `/etc/shells` |
//! | netbase | `/etc/networks` |
//! | readline-common | `/etc/inputrc` |
//! | ca-certificates | `/etc/ca-certificates.conf`, `/etc/ssl/certs`, the links in `/usr/lib/ssl` |
//! | ca-certificates-java | the keystore |
//! | graphviz | the list of plugins |
//! | tzdata | `/etc/localtime`, `/etc/timezone` |

mod accounts;
mod base_files;
mod certificates;
mod graphviz;
mod java;

use super::InstallError;
use super::package_tree::PackageTree;
use super::unpack::UnpackedPackage;
use crate::tree::ImagePath;

/// Adds the results.
pub(super) fn configure(
    packages: &[UnpackedPackage],
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    // Accounts first: later steps name users and groups.
    for name in ["base-passwd", "passwd"] {
        if let Some(package) = find(packages, name) {
            accounts::configure(package, tree)?;
        }
    }
    for package in packages {
        match package.control.name() {
            "base-files" => base_files::configure(package, tree)?,
            "ca-certificates" => certificates::configure(package, tree)?,
            "ca-certificates-java" => java::configure(package, tree)?,
            "libc-bin" => copy(package, tree, "usr/share/libc-bin/nsswitch.conf", "etc/nsswitch.conf")?,
            "netbase" => tree.add_file("etc/networks", NETWORKS, &package.owner()),
            "debianutils" => shells(package, tree)?,
            "readline-common" => copy(package, tree, "usr/share/readline/inputrc", "etc/inputrc")?,
            "tzdata" => time_zone(package, tree),
            _ => {}
        }
    }
    graphviz::configure(tree)
}

/// `/etc/networks` of netbase's postinst. Engines mount an `/etc/hosts` of their own.
const NETWORKS: &str = "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n\n";

fn find<'a>(packages: &'a [UnpackedPackage], name: &str) -> Option<&'a UnpackedPackage> {
    packages.iter().find(|package| package.control.name() == name)
}

/// Copies a file unless something is at its new path.
fn copy(
    package: &UnpackedPackage,
    tree: &mut PackageTree<'_>,
    from: &str,
    to: &str,
) -> Result<(), InstallError> {
    if let Some(bytes) = tree.read(from)? {
        tree.add_file(to, bytes, &package.owner());
    }
    Ok(())
}

/// The list of login shells, as update-shells(8) makes it of the packages' files.
fn shells(package: &UnpackedPackage, tree: &mut PackageTree<'_>) -> Result<(), InstallError> {
    let Some(mut text) = tree.read_text("usr/share/debianutils/shells")? else { return Ok(()) };
    let Ok(directory) = ImagePath::new("usr/share/debianutils/shells.d") else { return Ok(()) };
    let files: Vec<String> = tree.below(&directory).map(|entry| entry.path.to_string()).collect();
    for file in files {
        let shells = tree.read_text(&file)?.unwrap_or_default();
        for shell in shells.lines().filter(|line| line.starts_with('/')) {
            // A shell in `/bin` has a second name in a usr-merged system.
            let second = shell.strip_prefix("/bin/").map(|name| format!("/usr/bin/{name}"));
            for line in std::iter::once(shell.to_owned()).chain(second) {
                if !text.lines().any(|known| known == line) {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
    }
    tree.add_file("etc/shells", text, &package.owner());
    Ok(())
}

/// The answer of debconf without questions: UTC.
fn time_zone(package: &UnpackedPackage, tree: &mut PackageTree<'_>) {
    if tree.exists("usr/share/zoneinfo/Etc/UTC") {
        tree.add_link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC", &package.owner());
        tree.add_file("etc/timezone", "Etc/UTC\n", &package.owner());
    }
}
