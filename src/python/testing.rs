//! A fake virtual environment for the unit tests of this module. `tests/it/venv.rs` uses real ones.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::environment::venv::Venv;
use super::metadata::record::hash_column;
use crate::digest::Digest;

/// The directory of packages of a [`FakeVenv`].
pub(crate) const SITE: &str = "lib/python3.11/site-packages";

/// An environment of Python 3.11 whose interpreter is an empty file.
#[derive(Debug)]
pub(crate) struct FakeVenv {
    folder: tempfile::TempDir,
}

impl FakeVenv {
    pub(crate) fn new() -> Self {
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        fake.write("../../python/bin/python3.11", "");
        fake.write(
            "pyvenv.cfg",
            &format!("home = {}\nversion = 3.11.7\n", fake.base().join("python/bin").display()),
        );
        fs_err::create_dir_all(fake.root().join(SITE)).unwrap();
        fs_err::create_dir_all(fake.root().join("bin")).unwrap();
        symlink(fake.base().join("python/bin/python3.11"), fake.root().join("bin/python")).unwrap();
        symlink("python", fake.root().join("bin/python3")).unwrap();
        symlink("lib", fake.root().join("lib64")).unwrap();
        fake
    }

    /// Returns the directory that holds the environment, the interpreter and a context.
    pub(crate) fn base(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.base().join("app")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.context().join(".venv")
    }

    pub(crate) fn open(&self) -> Venv {
        Venv::open(&self.root()).unwrap()
    }

    /// Writes a file below the environment.
    pub(crate) fn write(&self, place: &str, text: &str) {
        let path = super::relocate::normalize(&self.root().join(place)).unwrap();
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Installs a distribution with these requirements and files (relative to the directory of
    /// packages), all recorded in its RECORD.
    pub(crate) fn install(&mut self, name: &str, version: &str, requires: &[&str], files: &[(&str, &str)]) {
        let info = format!("{}-{version}.dist-info", name.replace('-', "_"));
        let requires: Vec<String> = requires.iter().map(|text| format!("Requires-Dist: {text}\n")).collect();
        let requires = requires.concat();
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}");
        let mut record = format!("{info}/RECORD,,\n");
        let own = [(format!("{info}/METADATA"), metadata.as_str()), (format!("{info}/INSTALLER"), "pip\n")];
        let given = files.iter().map(|(path, text)| ((*path).to_owned(), *text));
        for (path, text) in own.into_iter().chain(given) {
            self.write(&Path::new(SITE).join(&path).display().to_string(), text);
            let _ = writeln!(record, "{path},{},{}", hash_column(&Digest::of(text.as_bytes())), text.len());
        }
        self.write(&format!("{SITE}/{info}/RECORD"), &record);
    }
}
