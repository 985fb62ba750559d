//! [`RULES`]: the rules with their codes, names and severities.
//!
//! A code is never given to another rule. `docs/checks.md` has a section for each, which
//! `ipo-oci check --explain` prints.

use super::diagnostic::Severity;

/// A rule of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// The code: `IPO103`.
    pub code: &'static str,
    /// The name: `library-not-found`.
    pub name: &'static str,
    /// The violation in one line.
    pub summary: &'static str,
    /// The usual severity of a diagnostic.
    pub severity: Severity,
    /// Reports of builds about the same fault.
    pub(crate) in_build: InBuild,
}

impl Rule {
    /// Returns true if builds apply the rule: they report the faults of others themselves.
    pub(crate) fn is_of_builds(&self) -> bool {
        self.in_build == InBuild::Checked
    }
}

/// The reports of a build about the fault of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InBuild {
    /// The build reports the fault itself, as an error or a warning.
    Reported,
    /// Only the check finds the fault.
    Checked,
}

const fn rule_of(
    code: &'static str,
    name: &'static str,
    severity: Severity,
    in_build: InBuild,
    summary: &'static str,
) -> Rule {
    Rule { code, name, summary, severity, in_build }
}

use InBuild::{Checked, Reported};
use Severity::{Error, Warning};

/// All rules, ordered by code.
pub static RULES: &[Rule] = &[
    rule_of("IPO101", "foreign-machine", Error, Reported, "a program or module is for another machine"),
    rule_of(
        "IPO102",
        "loader-not-found",
        Error,
        Reported,
        "the dynamic loader of a program is not in the image",
    ),
    rule_of(
        "IPO103",
        "library-not-found",
        Warning,
        Reported,
        "a shared library is not where the loader searches",
    ),
    rule_of("IPO104", "symbol-version-not-found", Error, Reported, "a shared library is too old for a file"),
    rule_of(
        "IPO105",
        "foreign-c-library",
        Error,
        Reported,
        "a module is built for glibc and the image has musl, or the reverse",
    ),
    rule_of(
        "IPO106",
        "library-loaded-by-name",
        Warning,
        Checked,
        "a module loads a library by name, and the image lacks the library",
    ),
    rule_of(
        "IPO107",
        "program-not-found",
        Warning,
        Checked,
        "a distribution starts a program that the image lacks",
    ),
    rule_of(
        "IPO201",
        "foreign-wheel-platform",
        Error,
        Reported,
        "a wheel is for another platform or C library than the image",
    ),
    rule_of(
        "IPO202",
        "foreign-wheel-python",
        Error,
        Reported,
        "a wheel is for another Python than the image",
    ),
    rule_of(
        "IPO203",
        "wheel-needs-newer-glibc",
        Error,
        Checked,
        "a wheel is for a newer glibc than the image",
    ),
    rule_of(
        "IPO204",
        "foreign-site-packages",
        Error,
        Reported,
        "an environment is for another Python than its interpreter",
    ),
    rule_of(
        "IPO205",
        "foreign-extension-module",
        Error,
        Reported,
        "the name of an extension module is that of another Python",
    ),
    rule_of(
        "IPO301",
        "command-not-found",
        Error,
        Reported,
        "the program of the command is not in the image, or cannot be started",
    ),
    rule_of(
        "IPO302",
        "probe-not-found",
        Error,
        Reported,
        "the program of the health check is not in the image",
    ),
    rule_of(
        "IPO303",
        "script-without-interpreter",
        Warning,
        Checked,
        "the interpreter of an environment or of a script is not in the image",
    ),
    rule_of(
        "IPO304",
        "application-not-found",
        Error,
        Reported,
        "the application that the command names is not in the image",
    ),
    rule_of(
        "IPO305",
        "server-part-not-found",
        Error,
        Checked,
        "a module that an option of the server names is not installed",
    ),
    rule_of(
        "IPO401",
        "requirement-missing",
        Error,
        Reported,
        "a requirement of a distribution is not installed",
    ),
    rule_of(
        "IPO402",
        "requirement-version",
        Warning,
        Reported,
        "a requirement is installed in a version that is not allowed",
    ),
    rule_of("IPO403", "requires-python", Error, Checked, "a distribution does not allow the image's Python"),
    rule_of(
        "IPO404",
        "import-not-found",
        Error,
        Checked,
        "the source imports a module that nothing provides",
    ),
    rule_of(
        "IPO405",
        "recorded-module-missing",
        Error,
        Reported,
        "a module that an installed distribution records is not in the image",
    ),
    rule_of(
        "IPO501",
        "stale-bytecode",
        Warning,
        Checked,
        "Python ignores bytecode and compiles its source again",
    ),
    rule_of(
        "IPO502",
        "no-bytecode",
        Warning,
        Checked,
        "much source has no bytecode, and the process cannot write it",
    ),
    rule_of("IPO503", "path-out-of-image", Warning, Reported, "a path of imports leads out of the image"),
    rule_of(
        "IPO504",
        "path-of-build-machine",
        Warning,
        Checked,
        "an environment names a path of another machine",
    ),
    rule_of("IPO505", "invalid-syntax", Error, Reported, "source does not compile for the image's Python"),
    rule_of(
        "IPO506",
        "incomplete-standard-library",
        Error,
        Reported,
        "the standard library of the interpreter is not complete",
    ),
    rule_of(
        "IPO601",
        "set-id-program",
        Warning,
        Checked,
        "a program runs with the rights of its owner or group",
    ),
    rule_of("IPO602", "world-writable", Warning, Checked, "every user may write a file or directory"),
    rule_of("IPO603", "writable-source", Warning, Checked, "the process may write the source that it runs"),
    rule_of("IPO604", "secret-file", Error, Checked, "a file is for credentials"),
    rule_of("IPO605", "secret-content", Error, Checked, "a file contains a private key, token or password"),
    rule_of("IPO606", "secret-in-configuration", Error, Checked, "the configuration contains a secret"),
    rule_of("IPO607", "git-repository", Warning, Checked, "the image has the repository of its source"),
    rule_of("IPO608", "root-user", Warning, Checked, "the process runs as root"),
    rule_of("IPO609", "no-account", Warning, Checked, "the user of the process has no account or home"),
    rule_of("IPO610", "git-ignored", Warning, Reported, "git ignores a file that goes into the image"),
    rule_of("IPO701", "image-too-large", Error, Reported, "the image is larger than its budget"),
    rule_of("IPO702", "layer-too-large", Warning, Checked, "a layer is larger than its budget"),
    rule_of("IPO703", "distribution-too-large", Warning, Checked, "a distribution is larger than its budget"),
];

/// Returns the rule with the code or name `text`, in any case.
pub fn rule(text: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.code.eq_ignore_ascii_case(text) || rule.name.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ordered_and_names_unique() {
        assert!(RULES.is_sorted_by(|a, b| a.code < b.code));
        let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        for rule in RULES {
            assert!(rule.code.len() == 6 && rule.code.starts_with("IPO"), "{}", rule.code);
        }
    }
}
