//! [`InterpreterSearch`]: the interpreters of this machine.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Interpreter, InterpreterError};
use crate::traced_fs;

/// The minor versions of names that are searched: `python3.9` to `python3.29`.
pub(crate) const MINORS: std::ops::Range<u32> = 9..30;

/// The directories of Debian's and of locally built interpreters, which `PATH` may lack.
const SYSTEM: [&str; 2] = ["/usr/local/bin", "/usr/bin"];

/// The places of interpreters.
#[derive(Debug, Clone, Copy)]
pub struct InterpreterSearch<'a> {
    /// The value of `PATH`.
    pub path: &'a OsStr,
    /// Folders of installations, each in its own subfolder: `~/.pyenv/versions`,
    /// `~/.local/share/uv/python`.
    pub installations: &'a [PathBuf],
}

/// The result of a search.
#[derive(Debug, Clone, Default)]
pub struct FoundInterpreters {
    /// The interpreters, newest first; of one version, those of `PATH` first.
    pub interpreters: Vec<Interpreter>,
    /// Scripts on `PATH` named like an interpreter, such as the shims of pyenv and asdf.
    pub scripts: Vec<PathBuf>,
}

impl InterpreterSearch<'_> {
    /// Finds all supported interpreters. Starts an interpreter only if its files do not contain its
    /// version.
    pub fn run(&self) -> FoundInterpreters {
        let names: Vec<String> = ["python3".to_owned(), "python".to_owned()]
            .into_iter()
            .chain(MINORS.map(|minor| format!("python3.{minor}")))
            .collect();
        let folders = std::env::split_paths(self.path)
            .filter(|folder| folder.is_absolute())
            .chain(SYSTEM.map(PathBuf::from));
        let named = folders.flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        let installed = self.installations.iter().flat_map(|folder| {
            let mut found: Vec<PathBuf> = traced_fs::read_dir(folder)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path().join("bin/python3")))
                .collect();
            found.sort();
            found
        });
        let mut found = FoundInterpreters::default();
        let mut seen = BTreeSet::new();
        for place in named.chain(installed) {
            let Ok(program) = traced_fs::canonicalize(&place) else { continue };
            if !traced_fs::is_file(&program) || is_in_environment(&place) || !seen.insert(program) {
                continue;
            }
            match Interpreter::discover(&place, None) {
                Ok(interpreter) => found.add(interpreter),
                Err(InterpreterError::Script(_)) => found.scripts.push(place),
                Err(_) => {}
            }
        }
        found
    }
}

impl FoundInterpreters {
    /// Adds an interpreter unless it is known, at its place in the order.
    pub fn add(&mut self, interpreter: Interpreter) {
        let key = |interpreter: &Interpreter| {
            (interpreter.full_version.parse::<pep440_rs::Version>().ok(), !interpreter.version.free_threaded)
        };
        if self.interpreters.iter().any(|known| known.executable == interpreter.executable) {
            return;
        }
        let at = self.interpreters.partition_point(|known| key(known) >= key(&interpreter));
        self.interpreters.insert(at, interpreter);
    }
}

/// Returns true for a program of a virtual environment, which is not an installation.
fn is_in_environment(place: &Path) -> bool {
    let root = place.parent().and_then(Path::parent);
    root.is_some_and(|root| traced_fs::is_file(root.join("pyvenv.cfg")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn finds_interpreters_of_path_and_installations_once() {
        let path = std::env::var_os("PATH").unwrap();
        let all = InterpreterSearch { path: &path, installations: &[] }.run().interpreters;
        // Without Python on this machine there is no test.
        let Some(own) = all.first() else { return };
        assert!(all.is_sorted_by(|one, other| {
            (one.version.minor, one.version.micro) >= (other.version.minor, other.version.micro)
        }));
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("versions/3/bin");
        fs_err::create_dir_all(&bin).unwrap();
        symlink(&own.executable, bin.join("python3")).unwrap();
        let shims = folder.path().join("shims");
        fs_err::create_dir(&shims).unwrap();
        fs_err::write(shims.join("python3"), "#!/bin/sh\n").unwrap();
        fs_err::set_permissions(shims.join("python3"), Permissions::from_mode(0o755)).unwrap();
        // An environment's interpreter is a link to the one that is installed.
        let venv = folder.path().join("venv");
        fs_err::create_dir_all(venv.join("bin")).unwrap();
        fs_err::write(venv.join("pyvenv.cfg"), "home = /usr/bin\n").unwrap();
        symlink(&own.executable, venv.join("bin/python3")).unwrap();
        let path = std::env::join_paths([venv.join("bin"), shims.clone()]).unwrap();
        let versions = folder.path().join("versions");
        let found = InterpreterSearch { path: &path, installations: &[versions] }.run();
        let same = found.interpreters.iter().filter(|found| found.executable == own.executable);
        assert_eq!(same.count(), 1);
        assert_eq!(found.scripts, [shims.join("python3")]);
    }

    #[test]
    fn nothing_is_found_in_missing_folders() {
        let search =
            InterpreterSearch { path: OsStr::new(".:/does/not/exist"), installations: &["/none".into()] };
        let found = search.run();
        let system = |found: &Interpreter| found.executable.starts_with("/usr");
        assert!(found.interpreters.iter().all(system) && found.scripts.is_empty());
    }
}
