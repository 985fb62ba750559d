//! IPO608 and IPO609: the user of the process.
//!
//! OCI image specification 1.1, `config.md`, `User`. Kubernetes verifies `runAsNonRoot` by the number
//! in the configuration (`pkg/kubelet/kuberuntime/security_context.go`).

use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::image::CheckedImage;
use crate::check::user::CheckedUser;
use crate::tree::ImagePath;

const CODES: [&str; 2] = ["IPO608", "IPO609"];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if !reporter.wants(&CODES) {
        return;
    }
    let user = image.user();
    if user.is_root() {
        let reason = if user.written.is_empty() { "the configuration names no user, so " } else { "" };
        reporter.report(
            Diagnostic::new("IPO608", format!("{reason}the process runs as root")).with_help(
                "set `user = \"1000:1000\"` in [tool.ipo-oci], or `USER 1000:1000` in a Dockerfile",
            ),
        );
        return;
    }
    if !has_readable_accounts(image) {
        return;
    }
    if let Some(found) = account(image, &user) {
        reporter.report(found);
    }
}

/// Returns false if `/etc/passwd` is there and its text is not available.
fn has_readable_accounts(image: &CheckedImage) -> bool {
    let path = ImagePath::new("/etc/passwd").ok().and_then(|path| Some(image.find(&path)?.0));
    path.is_none_or(|path| image.read(&path).is_some())
}

fn account(image: &CheckedImage, user: &CheckedUser) -> Option<Diagnostic> {
    let written = user.name();
    let name = written.split(':').next().unwrap_or_default();
    let missing = |kind: &str, file: &str| {
        Diagnostic::new(
            "IPO609",
            format!("the {kind} of `{written}` is not in {file}: the container does not start"),
        )
        .with_severity(Severity::Error)
        .with_help("create the account, or set the user by its numbers: 1000:1000")
    };
    if user.uid.is_none() {
        return Some(missing("user", "/etc/passwd"));
    }
    if user.gid.is_none() {
        return Some(missing("group", "/etc/group"));
    }
    if name.parse::<u64>().is_err() {
        let uid = user.uid.unwrap_or_default();
        return Some(
            Diagnostic::new(
                "IPO609",
                format!("the user `{name}` is a name, which Kubernetes cannot verify (runAsNonRoot)"),
            )
            .with_help(format!("set the user by its number, {uid}")),
        );
    }
    let home = image.config.variable("HOME").map(str::to_owned);
    let Some(account) = &user.home else {
        let without_home = if home.is_none() { ", and its home is /" } else { "" };
        return Some(
            Diagnostic::new(
                "IPO609",
                format!("the user {name} has no account in /etc/passwd: programs that ask for its name fail{without_home}"),
            )
            .with_help("add an account with this number"),
        );
    };
    let home = home.unwrap_or_else(|| account.clone());
    let found = ImagePath::new(&home).ok().and_then(|path| image.find(&path));
    let is_volume = image.config.volumes.iter().any(|volume| home.starts_with(volume.as_str()));
    let reason = match found {
        _ if is_volume => return None,
        None => "does not exist",
        Some((_, node)) if !node.is_directory() => "is no directory",
        Some((_, node)) if !user.may_write(node) => "cannot be written by the user",
        Some(_) => return None,
    };
    Some(
        Diagnostic::new(
            "IPO609",
            format!("the home {home} of the user {name} {reason}: libraries keep their caches there"),
        )
        .with_help("set HOME to a directory that the user may write, such as /tmp"),
    )
}
