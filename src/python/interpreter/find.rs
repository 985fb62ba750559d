//! Finds an interpreter of a given version on this machine.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::Interpreter;
use crate::python::environment::version::PythonVersion;
use crate::traced_fs;

/// Returns the program of an interpreter with the same minor version as `version`, from the
/// directories of `path` (a value of `$PATH`): by full name first, then as `python3` or `python`.
pub fn find(version: PythonVersion, path: &OsStr) -> Option<PathBuf> {
    let key = |version: PythonVersion| (version.major, version.minor, version.free_threaded);
    let names = [version.name(), "python3".to_owned(), "python".to_owned()];
    let places = names.iter().flat_map(|name| {
        std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(move |folder| folder.join(name))
    });
    places
        .filter(|place| traced_fs::is_file(place))
        .filter_map(|place| Interpreter::discover(&place, None).ok())
        .find(|interpreter| key(interpreter.version) == key(version))
        .map(|interpreter| interpreter.executable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn finds_an_interpreter_of_the_same_minor_version() {
        let path = std::env::var_os("PATH").unwrap();
        let system =
            std::env::split_paths(&path).map(|folder| folder.join("python3")).find(|it| it.is_file());
        // Without Python on this machine there is no test.
        let Some(system) = system else { return };
        let Ok(own) = Interpreter::discover(&system, None) else { return };
        let folder = tempfile::tempdir().unwrap();
        symlink(&own.executable, folder.path().join("python")).unwrap();
        let folders = folder.path().as_os_str();
        let other_patch = PythonVersion { micro: None, ..own.version };
        assert_eq!(find(other_patch, folders), Some(own.executable));
        for other in [
            PythonVersion { minor: own.version.minor + 1, ..own.version },
            PythonVersion { free_threaded: !own.version.free_threaded, ..own.version },
        ] {
            assert_eq!(find(other, folders), None);
        }
        assert_eq!(find(own.version, OsStr::new("")), None);
        assert_eq!(find(own.version, OsStr::new(".:/does/not/exist")), None);
    }
}
