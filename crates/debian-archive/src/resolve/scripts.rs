//! Dependencies that maintainer scripts alone use.

use crate::relation::Relation;

/// Dependencies that maintainer scripts alone use: the package that depends, `*` for each, and the package on which it
/// depends. A dependency is omitted if all its alternatives are in the table.
///
/// The scripts ask questions (`debconf`), make accounts (`adduser`), register services (`init-system-helpers`), and merge
/// configuration (`ucf`). `dpkg` is depended on for features of its database and of `dpkg-maintscript-helper`.
pub const SCRIPT_DEPENDENCIES: &[(&str, &str)] = &[
    ("*", "adduser"),
    ("*", "cdebconf"),
    ("*", "debconf"),
    ("*", "debconf-2.0"),
    ("*", "dpkg"),
    ("*", "init-system-helpers"),
    // A trigger rebuilds the directory of Info documents: `dpkg (>= 1.15.4) | install-info` of readline-common.
    ("*", "install-info"),
    ("*", "ucf"),
    // postinst, a C program of cdebconf's protocol.
    ("base-passwd", "libdebconfclient0"),
    // postinst.
    ("base-files", "awk"),
    // update-ca-certificates.
    ("ca-certificates", "openssl"),
];

/// Tells whether the scripts of `package` alone use what satisfies the alternatives.
pub(super) fn only_scripts_use(package: &str, alternatives: &[Relation<'_>]) -> bool {
    alternatives.iter().all(|relation| {
        SCRIPT_DEPENDENCIES
            .iter()
            .any(|(depending, name)| relation.name == *name && (*depending == "*" || *depending == package))
    })
}
