//! Names of shells.

/// Shells with the option `-c`. `busybox` is one only by its first argument.
const NAMES: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"];

/// Returns true for a program, a name or a path, that interprets the line after `-c`.
pub(crate) fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    NAMES.contains(&name)
}

/// Returns true for a shell, or for `busybox`, which may be started as one.
pub(crate) fn may_be_shell(program: &str) -> bool {
    is_shell(program) || program.rsplit('/').next() == Some("busybox")
}

#[cfg(test)]
mod tests {
    use super::{is_shell, may_be_shell};

    #[test]
    fn a_shell_is_named_by_its_last_component() {
        assert!(is_shell("/bin/dash") && is_shell("ksh"));
        assert!(may_be_shell("/bin/busybox") && may_be_shell("sh") && !may_be_shell("notbusybox"));
        assert!(!is_shell("busybox") && !is_shell("/bin/sh/python") && !is_shell(""));
    }
}
