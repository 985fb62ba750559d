//! Patterns for the parts of the standard library excluded from an image.
//!
//! A pattern is a path below the standard library, compared by components; `*` matches any
//! characters within one. Matching directories are excluded with their content: `idlelib`, `*/tests`,
//! `lib-dynload/_tkinter*`.

use super::InterpreterError;

/// The parts used by no web service at run time, measured and chosen for 3.9 to 3.15.
///
/// Retained in spite of their look of tools: `unittest` (imported by `numpy.testing`), `distutils`
/// of 3.11 and older (`LooseVersion`, `strtobool`), `pdb`, `doctest` and `cProfile` (to inspect a
/// running service), `ctypes`, `sqlite3`, `curses` and `readline` (their libraries have less than 4
/// MB together).
pub const DEFAULT_TRIM: &[&str] = &[
    // CPython's own tests: 26 MB in 3.11, and C modules imported only by them.
    "test",
    "*/test",
    "*/tests",
    "lib-dynload/_test*",
    "lib-dynload/_ctypes_test*",
    "lib-dynload/_xxtestfuzz*",
    "lib-dynload/xxlimited*",
    "lib-dynload/xxsubtype*",
    // Windows on a server's screen, which would need 4 MB of Tk and X11.
    "idlelib",
    "tkinter",
    "turtledemo",
    "turtle.py",
    "lib-dynload/_tkinter*",
    // Creating environments and installing are tasks of the builder image.
    "ensurepip",
    "venv",
    "distutils/command/*.exe",
    // Removed upstream in 3.13, and unused while serving requests.
    "lib2to3",
    // The texts of help() for language topics: 0.7 MB.
    "pydoc_data",
    // NIS needs 2 MB of Kerberos; removed upstream in 3.13.
    "lib-dynload/nis.*",
    // Makefile and static library for linking Python: 45 MB. Included again by
    // `DevelopmentFiles::Include`.
    "config-*",
];

/// One exclusion pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrimPattern(Vec<String>);

impl TrimPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InterpreterError::Pattern`] if the pattern is empty, absolute, or contains `..`.
    pub fn new(text: &str) -> Result<Self, InterpreterError> {
        let wrong = |reason| InterpreterError::Pattern { pattern: text.to_owned(), reason };
        if text.starts_with('/') {
            return Err(wrong("absolute; patterns are relative to the standard library"));
        }
        let components: Vec<String> =
            text.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
        if components.iter().any(|part| part == "..") {
            return Err(wrong("contains `..`"));
        }
        if components.is_empty() {
            return Err(wrong("empty"));
        }
        Ok(Self(components))
    }

    /// Returns whether the pattern matches `path` itself; callers skip everything below.
    pub fn matches(&self, path: &str) -> bool {
        let mut components = path.split('/');
        self.0.iter().all(|pattern| components.next().is_some_and(|name| glob(pattern, name)))
            && components.next().is_none()
    }
}

/// Returns whether a name matches a pattern in which `*` matches any characters.
fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        // The leftmost match leaves the most for the following parts.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_component_by_component() {
        let cases = [
            ("test", "test", true),
            ("test", "unittest", false),
            ("test", "test/support", false),
            ("*/test", "unittest/test", true),
            ("*/test", "test", false),
            ("lib-dynload/_tkinter*", "lib-dynload/_tkinter.cpython-311-x86_64-linux-gnu.so", true),
            ("lib-dynload/nis.*", "lib-dynload/nisse.so", false),
            ("config-*", "config-3.11-x86_64-linux-gnu", true),
            ("config-*", "configparser.py", false),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "é", true),
            ("./idlelib/", "idlelib", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(TrimPattern::new(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn rejects_patterns_outside_the_standard_library() {
        for pattern in ["", "/", "/usr/lib", "../x", "a/../b", "."] {
            assert!(TrimPattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn the_default_patterns_are_valid() {
        assert!(DEFAULT_TRIM.iter().all(|pattern| TrimPattern::new(pattern).is_ok()));
    }
}
