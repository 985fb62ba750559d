//! The effects of a package's maintainer scripts: alternatives, diversions, and everything that is left undone.

use super::alternatives::Alternative;
use super::shell::{self, ScriptCommand};
use super::unpack::UnpackedPackage;
use crate::progress::Warning;

/// The effects of a package's scripts on its first installation.
#[derive(Debug, Default)]
pub(super) struct PackageScripts {
    pub(super) alternatives: Vec<Alternative>,
    /// Paths from which other packages' files move: the old path and the new.
    pub(super) diversions: Vec<(String, String)>,
    /// Programs whose effects are missing from the image.
    pub(super) undone: Vec<String>,
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

/// Reads the scripts of a package.
pub(super) fn read(package: &UnpackedPackage) -> PackageScripts {
    let control = &package.control;
    let mut found = PackageScripts::default();
    let is_handled = HANDLED.contains(&control.name()) || is_python(control.name());
    for (script, arguments) in [("preinst", ["install", ""]), ("postinst", ["configure", ""])] {
        let Some(text) = control.file_text(script) else { continue };
        let commands = shell::commands(&text, &arguments, control.architecture(), control.name());
        for command in &commands {
            found.add(command, is_handled);
        }
    }
    found.undone.sort();
    found.undone.dedup();
    found
}

/// Returns true for a Python of any version, `python3.12-minimal`: its script compiles the standard library.
fn is_python(package: &str) -> bool {
    let name = package.strip_suffix("-minimal").unwrap_or(package);
    name.strip_prefix("python3.").is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
}

impl PackageScripts {
    fn add(&mut self, command: &ScriptCommand, is_handled: bool) {
        let Some((Some(program), arguments)) = command.words.split_first() else { return };
        let program = program.rsplit('/').next().unwrap_or(program);
        let is_known = match program {
            "update-alternatives" => self.add_alternative(arguments),
            "dpkg-divert" => self.add_diversion(arguments),
            _ => {
                // `db_get` and its like ask debconf.
                let has_no_effect = WITHOUT_EFFECT.contains(&program) || program.starts_with("db_");
                has_no_effect && !(command.writes && matches!(program, "cat" | "echo" | "printf" | "sed"))
            }
        };
        if !is_known && !is_handled {
            self.undone.push(program.to_owned());
        }
    }

    /// Returns false for a registration that is not constant.
    fn add_alternative(&mut self, arguments: &[Option<String>]) -> bool {
        let is_registration = arguments.iter().flatten().any(|word| word == "--install");
        let parsed = Alternative::parse(arguments);
        let is_known = parsed.is_some() || !is_registration;
        self.alternatives.extend(parsed);
        is_known
    }

    /// Returns false for a diversion that is not constant.
    fn add_diversion(&mut self, arguments: &[Option<String>]) -> bool {
        let words: Option<Vec<&str>> = arguments.iter().map(Option::as_deref).collect();
        let Some(words) = words else { return false };
        if words.iter().any(|word| matches!(*word, "--remove" | "--list" | "--truename" | "--listpackage")) {
            return true;
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
        let Some(from) = from.filter(|path| path.starts_with('/')) else { return false };
        let to = to.map_or_else(|| format!("{from}.distrib"), str::to_owned);
        self.diversions.push((from.to_owned(), to));
        true
    }

    /// Returns the warning about everything that is left undone.
    pub(super) fn warning(&self, package: &UnpackedPackage) -> Option<Warning> {
        if self.undone.is_empty() {
            return None;
        }
        let message = format!("its installation scripts were not run, which call {}", self.undone.join(", "));
        let help = "check that the image does not need their results, or make them in a `prepare` command";
        Some(Warning::new(package.display_name(), message).with_help(help))
    }
}
