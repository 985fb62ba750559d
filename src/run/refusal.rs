//! [`Refusals`]: the reasons why this machine permits no container.

use std::fmt;

/// The reasons of each runtime, and the settings of the machine behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    /// Runtimes, or the namespaces themselves, with the reasons.
    pub(super) reasons: Vec<(String, String)>,
    /// Settings of the machine that forbid namespaces, with the way out.
    pub(super) causes: Vec<ForbiddingSetting>,
}

/// A setting of the machine that forbids namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForbiddingSetting {
    /// The setting with its value.
    pub(super) setting: String,
    pub(super) help: String,
}

impl Refusals {
    /// Adds the settings of this machine to the reasons.
    pub(super) fn of(reasons: Vec<(String, String)>) -> Self {
        Self { reasons, causes: causes(&|file| fs_err::read_to_string(file).ok()) }
    }

    pub(super) fn help(&self) -> String {
        let mut ways: Vec<&str> = self.causes.iter().map(|cause| cause.help.as_str()).collect();
        ways.push("use a container engine with --engine docker or --engine podman");
        ways.join(", or ")
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start a container on this machine")?;
        for (index, (who, reason)) in self.reasons.iter().enumerate() {
            let reason = crate::printable::name(reason);
            // Programs begin their messages with their names.
            let reason = reason.strip_prefix(&format!("{who}: ")).unwrap_or(&reason);
            write!(f, "{} {who}: {reason}", if index == 0 { ":" } else { ";" })?;
        }
        if !self.causes.is_empty() {
            let settings: Vec<_> = self.causes.iter().map(|cause| cause.setting.as_str()).collect();
            write!(f, " ({})", settings.join(", "))?;
        }
        Ok(())
    }
}

/// Returns the settings that forbid namespaces. `read` returns the content of a file.
fn causes(read: &dyn Fn(&str) -> Option<String>) -> Vec<ForbiddingSetting> {
    let mut causes = Vec::new();
    let settings = [
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "install crun, which AppArmor permits namespaces, or run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
        ),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "kernel.unprivileged_userns_clone",
            "0",
            "run `sysctl -w kernel.unprivileged_userns_clone=1`",
        ),
        (
            "/proc/sys/user/max_user_namespaces",
            "user.max_user_namespaces",
            "0",
            "run `sysctl -w user.max_user_namespaces=10000`",
        ),
    ];
    for (file, name, forbidding, help) in settings {
        if read(file).is_some_and(|value| value.trim() == forbidding) {
            causes.push(ForbiddingSetting {
                setting: format!("{name} is {forbidding}"),
                help: help.to_owned(),
            });
        }
    }
    let status = read("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("Seccomp:") == Some("2") {
        causes.push(ForbiddingSetting {
            setting: "this process runs under a seccomp filter, as in a container".to_owned(),
            help: "start the surrounding container with --security-opt seccomp=unconfined".to_owned(),
        });
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_settings_that_forbid_namespaces() {
        let read = |file: &str| match file {
            "/proc/sys/user/max_user_namespaces" => Some("0\n".to_owned()),
            "/proc/self/status" => Some("Name:\tx\nSeccomp:\t2\n".to_owned()),
            "/proc/sys/kernel/unprivileged_userns_clone" => Some("1\n".to_owned()),
            _ => None,
        };
        let reasons = vec![
            ("crun".to_owned(), "crun: clone: Operation not permitted".to_owned()),
            ("own".to_owned(), "x\u{1b}".to_owned()),
        ];
        let refusals = Refusals { reasons, causes: causes(&read) };
        assert_eq!(
            refusals.to_string(),
            "cannot start a container on this machine: crun: clone: Operation not permitted; own: x\\u{1b} \
             (user.max_user_namespaces is 0, this process runs under a seccomp filter, as in a container)"
        );
        assert!(refusals.help().starts_with("run `sysctl -w user.max_user_namespaces=10000`, or start"));
        assert_eq!(causes(&|_| None), []);
    }
}
