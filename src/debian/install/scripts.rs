//! The effects of a package's maintainer scripts: alternatives, diversions, files, and everything that is left undone.

use super::InstallError;
use super::alternatives::Alternative;
use super::package_tree::PackageTree;
use super::shell::{self, ScriptCommand, ScriptHost, UnknownHost};
use super::tree_host::TreeHost;
use super::unpack::UnpackedPackage;
use crate::progress::Warning;

/// The effects of a package's scripts on its first installation.
#[derive(Debug, Default)]
pub(super) struct PackageScripts {
    pub(super) alternatives: Vec<Alternative>,
    /// Paths from which other packages' files move: the old path and the new.
    pub(super) diversions: Vec<(String, String)>,
}

/// Commands without an effect on the files of an image: the shell's own, queries, dpkg's bookkeeping, services, caches
/// that programs rebuild or do without, and bytecode.
const WITHOUT_EFFECT: &[&str] = &[
    ".",
    "[",
    "[[",
    "awk",
    "basename",
    "break",
    "cat",
    "cd",
    "cmp",
    "command",
    "continue",
    "cut",
    "date",
    "df",
    "diff",
    "dirname",
    "echo",
    "egrep",
    "env",
    "eval",
    "exec",
    "export",
    "expr",
    "fgrep",
    "find",
    "getent",
    "getopt",
    "grep",
    "hash",
    "head",
    "id",
    "kill",
    "mountpoint",
    "local",
    "ls",
    "md5sum",
    "mktemp",
    "printf",
    "ps",
    "pwd",
    "read",
    "readlink",
    "readonly",
    "realpath",
    "return",
    "rm",
    "rmdir",
    "sed",
    "set",
    "sha1sum",
    "shift",
    "sleep",
    "sort",
    "source",
    "stat",
    "sync",
    "tail",
    "tr",
    "trap",
    "type",
    "umask",
    "uname",
    "unset",
    "wait",
    "wc",
    "which",
    "xargs",
    // dpkg and debconf.
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "dpkg",
    "dpkg-maintscript-helper",
    "dpkg-query",
    "dpkg-trigger",
    "dpkg-vendor",
    "ucfr",
    "update-alternatives",
    "dpkg-divert",
    "debconf-communicate",
    // Manual pages of alternatives.
    "configure_client_version",
    "debconf-set-selections",
    // Services of a running machine.
    "invoke-rc.d",
    "service",
    "systemctl",
    "systemd-hwdb",
    "systemd-tmpfiles",
    "telinit",
    "udevadm",
    "update-rc.d",
    "apparmor_parser",
    "aa-enabled",
    "aa-status",
    "busctl",
    "ischroot",
    "nscd",
    "restorecon",
    "selinuxenabled",
    "start-stop-daemon",
    "systemd",
    "systemd-machine-id-setup",
    "systemd-notify",
    "journalctl",
    "update-binfmts",
    "update-initramfs",
    // Caches and indexes.
    "fc-cache",
    "gtk-update-icon-cache",
    "install-docs",
    "install-info",
    "ldconfig",
    "mandb",
    "py3clean",
    "py3compile",
    "pycompile",
    "pypy3compile",
    "update-desktop-database",
    "update-icon-caches",
    "update-menus",
    "update-mime",
    "update-info-dir",
    "update-perl-sax-parsers",
];

/// Packages whose remaining effects are made by `configure`, or concern a machine and not an image.
const HANDLED: &[&str] = &[
    "apt",
    "base-files",
    "base-passwd",
    "bash",
    "ca-certificates",
    "ca-certificates-java",
    "coreutils",
    "dash",
    "debconf",
    "debianutils",
    "dpkg",
    "fontconfig",
    "libc-bin",
    "libc6",
    "login",
    "netbase",
    "passwd",
    "procps",
    "python3",
    "python3-minimal",
    "readline-common",
    "sudo",
    "tzdata",
];

/// Reads the scripts of a package: its alternatives and diversions.
pub(super) fn read(package: &UnpackedPackage) -> PackageScripts {
    let mut found = PackageScripts::default();
    for script in ["preinst", "postinst"] {
        for command in &commands(package, script, &mut UnknownHost) {
            found.add(command);
        }
    }
    found
}

/// Runs the commands of a package's postinst that this program can, in the file system of all packages, and returns
/// the programs whose effects are missing.
pub(super) fn run(
    package: &UnpackedPackage,
    tree: &mut PackageTree<'_>,
) -> Result<Vec<String>, InstallError> {
    let name = package.control.name();
    if HANDLED.contains(&name) || is_python(name) {
        return Ok(Vec::new());
    }
    let mut left = commands(package, "preinst", &mut UnknownHost);
    let mut host = TreeHost::new(package, tree);
    left.extend(commands(package, "postinst", &mut host));
    host.finish()?;
    let mut undone: Vec<String> = left.iter().filter_map(undone).collect();
    undone.sort();
    undone.dedup();
    Ok(undone)
}

fn commands(package: &UnpackedPackage, script: &str, host: &mut dyn ScriptHost) -> Vec<ScriptCommand> {
    let control = &package.control;
    let arguments = if script == "preinst" { ["install", ""] } else { ["configure", ""] };
    let text = control.file_text(script).unwrap_or_default();
    if text.is_empty() {
        return Vec::new();
    }
    shell::commands(&text, &arguments, (control.architecture(), control.name()), host)
}

/// Returns the program of a command whose effect is missing from the image.
fn undone(command: &ScriptCommand) -> Option<String> {
    let (program, arguments) = command.words.split_first()?;
    let program = program.as_deref()?;
    let program = program.rsplit('/').next().unwrap_or(program);
    let is_known = match program {
        "update-alternatives" => is_known_alternative(arguments),
        "dpkg-divert" => diversions(arguments).is_some(),
        _ => {
            // `db_get` and its like ask debconf.
            let has_no_effect = WITHOUT_EFFECT.contains(&program) || program.starts_with("db_");
            has_no_effect && !(command.writes && matches!(program, "cat" | "echo" | "printf" | "sed"))
        }
    };
    (!is_known).then(|| program.to_owned())
}

/// Returns false for a registration that is not constant.
fn is_known_alternative(arguments: &[Option<String>]) -> bool {
    let is_registration = arguments.iter().flatten().any(|word| word == "--install");
    !is_registration || Alternative::parse(arguments).is_some()
}

/// Returns the diversions of the arguments of dpkg-divert: at most one; `None` for arguments that are not constant.
fn diversions(arguments: &[Option<String>]) -> Option<Vec<(String, String)>> {
    let words: Vec<&str> = arguments.iter().map(Option::as_deref).collect::<Option<_>>()?;
    if words.iter().any(|word| matches!(*word, "--remove" | "--list" | "--truename" | "--listpackage")) {
        return Some(Vec::new());
    }
    let (mut from, mut to) = (None, None);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word {
            "--divert" => to = words.next(),
            "--package" | "--admindir" | "--instdir" | "--root" => drop(words.next()),
            option if option.starts_with("--") => {}
            path => from = Some(path),
        }
    }
    let from = from.filter(|path| path.starts_with('/'))?;
    let to = to.map_or_else(|| format!("{from}.distrib"), str::to_owned);
    Some(vec![(from.to_owned(), to)])
}

/// Returns true for a Python of any version, `python3.12-minimal`: its script compiles the standard library.
fn is_python(package: &str) -> bool {
    let name = package.strip_suffix("-minimal").unwrap_or(package);
    name.strip_prefix("python3.").is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
}

impl PackageScripts {
    fn add(&mut self, command: &ScriptCommand) {
        let Some((Some(program), arguments)) = command.words.split_first() else { return };
        match program.rsplit('/').next().unwrap_or(program) {
            "update-alternatives" => self.alternatives.extend(Alternative::parse(arguments)),
            "dpkg-divert" => self.diversions.extend(diversions(arguments).into_iter().flatten()),
            _ => {}
        }
    }
}

/// Returns the warning about everything that is left undone.
pub(super) fn warning(package: &UnpackedPackage, undone: &[String]) -> Option<Warning> {
    if undone.is_empty() {
        return None;
    }
    let message = format!("its installation scripts were not run, which call {}", undone.join(", "));
    let help = "check that the image does not need their results, or make them in a `prepare` command";
    Some(Warning::new(package.display_name(), message).with_help(help))
}
