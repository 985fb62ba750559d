//! Names of shells.

/// Shells with the option `-c`. `busybox` is one only by its first argument.
const NAMES: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"];

/// Returns true for a program, a name or a path, that interprets the line after `-c`.
pub(crate) fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::is_shell;

    #[test]
    fn a_shell_is_named_by_its_last_component() {
        assert!(is_shell("/bin/dash") && is_shell("ksh"));
        assert!(!is_shell("busybox") && !is_shell("/bin/sh/python") && !is_shell(""));
    }
}
