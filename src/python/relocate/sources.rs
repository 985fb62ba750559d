//! [`EditableSource`]: source installed in place, and needed in the image.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::FileError;
use crate::printable;
use crate::progress::Warning;
use crate::python::environment::error::VenvError;
use crate::python::environment::listing::Execution;
use crate::traced_fs;
use crate::tree::{Content, Entry, HostFile, ImagePath, Kind, Owner};

/// Source of a distribution installed with `-e`, or of the project itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EditableSource {
    /// The distribution's normalized name; for a `.pth` file without an owner, the file's name.
    pub name: String,
    /// The directory, or the one module, on this machine.
    pub host: PathBuf,
    /// The path in the image.
    pub image: ImagePath,
    /// The directory of its project on this machine: links to files of the project are followed.
    pub project: PathBuf,
    /// The origin of its entries.
    pub place: SourcePlace,
}

/// The location of an editable source relative to the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SourcePlace {
    /// Inside the context: added with the project's source, subject to `.dockerignore`.
    Context,
    /// Outside the context: added by [`EditableSource::entries`].
    Elsewhere,
}

/// Entries and warnings of editable sources.
#[derive(Debug, Default)]
pub struct EditableEntries {
    /// The entries, each path of one file once.
    pub entries: Vec<Entry>,
    /// Warnings about excluded links.
    pub warnings: Vec<Warning>,
}

impl EditableEntries {
    /// Collects `sources`. Sources may overlap: `setup.py develop` names one in two files.
    pub fn of(sources: &[EditableSource]) -> Result<Self, VenvError> {
        let (mut all, mut seen) = (Self::default(), HashSet::new());
        for source in sources {
            let Self { entries, warnings } = source.collect()?;
            all.warnings.extend(warnings);
            all.entries.extend(entries.into_iter().filter(|entry| {
                let from = match &entry.kind {
                    Kind::File(Content::Host(file)) => file.path.to_path_buf(),
                    Kind::Symlink(target) => PathBuf::from(target),
                    _ => return true,
                };
                seen.insert((entry.path.clone(), from))
            }));
        }
        Ok(all)
    }
}

impl EditableSource {
    /// Returns the entries of a source outside the context; none for one inside. Version control,
    /// virtual environments, caches, bytecode, installed JavaScript and `.env` are excluded.
    pub fn entries(&self) -> Result<Vec<Entry>, VenvError> {
        Ok(self.collect()?.entries)
    }

    fn collect(&self) -> Result<EditableEntries, VenvError> {
        let mut collected = EditableEntries::default();
        if self.place == SourcePlace::Context {
            return Ok(collected);
        }
        let mut walk = traced_fs::walk(&self.host);
        while let Some(visited) = walk.next() {
            let entry = visited.map_err(|error| {
                let path = error.path().unwrap_or(&self.host).to_path_buf();
                let source =
                    error.into_io_error().unwrap_or_else(|| std::io::Error::other("the walk failed"));
                FileError::new("list", path, source)
            })?;
            if entry.depth() > 0 && is_excluded(&entry) {
                if entry.file_type().is_dir() {
                    walk.skip_current_dir();
                }
                continue;
            }
            let path = entry.path();
            let below = path.strip_prefix(&self.host).unwrap_or(Path::new(""));
            let below = below.to_str().ok_or_else(|| VenvError::NotUtf8(path.to_path_buf()))?;
            let image = self.image.join(below)?;
            let kind = entry.file_type();
            if kind.is_dir() {
                continue;
            }
            if kind.is_symlink() {
                self.link(path, image, &mut collected)?;
            } else if kind.is_file() {
                collected.entries.push(file(path, image)?);
            } else {
                return Err(VenvError::Special(path.to_path_buf()));
            }
        }
        Ok(collected)
    }

    /// Keeps a relative link to a target inside the source, and replaces any other link to a file of
    /// the project by that file: setuptools' `editable_mode=strict` makes a tree of such links.
    fn link(&self, path: &Path, image: ImagePath, collected: &mut EditableEntries) -> Result<(), VenvError> {
        let target = traced_fs::read_link(path).map_err(FileError::of("read", path))?;
        let within =
            |root: &Path, real: &Path| traced_fs::canonicalize(root).is_ok_and(|root| real.starts_with(root));
        match traced_fs::canonicalize(path) {
            Ok(real) if target.is_relative() && within(&self.host, &real) => {
                let target = target
                    .into_os_string()
                    .into_string()
                    .map_err(|target| VenvError::NotUtf8(target.into()))?;
                collected.entries.push(Entry::symlink(image, target, Owner::Source));
            }
            Ok(real) if traced_fs::is_file(&real) && within(&self.project, &real) => {
                collected.entries.push(file(&real, image)?);
            }
            _ => {
                let message = format!(
                    "excluded this link to {}, which is not a file of the project",
                    printable::path(&target)
                );
                collected.warnings.push(
                    Warning::new(printable::path(path), message)
                        .with_help("put the file itself there, or install the project without -e"),
                );
            }
        }
        Ok(())
    }
}

/// Returns the entry for a file of this machine.
fn file(path: &Path, image: ImagePath) -> Result<Entry, VenvError> {
    let metadata = traced_fs::symlink_metadata(path).map_err(FileError::of("read", path))?;
    let file = HostFile::with_metadata(path, &metadata)?;
    let new = match Execution::of(&metadata) {
        Execution::Allowed => Entry::executable,
        Execution::Denied => Entry::file,
    };
    Ok(new(image, Content::Host(file), Owner::Source))
}

fn is_excluded(entry: &traced_fs::WalkedEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    if entry.file_type().is_dir() {
        matches!(
            &*name,
            ".git"
                | ".hg"
                | ".svn"
                | "__pycache__"
                | "node_modules"
                | ".tox"
                | ".nox"
                | ".mypy_cache"
                | ".ruff_cache"
                | ".pytest_cache"
        ) || traced_fs::exists(entry.path().join("pyvenv.cfg"))
    } else {
        name == ".env" || name.ends_with(".pyc")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn includes_the_files_of_the_package() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("venv/src");
        for (path, text) in [
            ("a/__init__.py", ""),
            ("a/__pycache__/x.pyc", ""),
            (".git/config", ""),
            ("env/pyvenv.cfg", ""),
            ("env/lib/x.py", ""),
            ("a/data.json", "{}"),
            (".env", "SECRET=1"),
            ("../other.py", ""),
        ] {
            fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs_err::write(root.join(path), text).unwrap();
        }
        symlink("__init__.py", root.join("a/same.py")).unwrap();
        symlink("/etc/passwd", root.join("a/leak")).unwrap();
        symlink("../../../..", root.join("a/up")).unwrap();
        symlink("/nowhere", root.join("a/nowhere")).unwrap();
        symlink(root.join("a/data.json"), root.join("a/absolute")).unwrap();
        symlink("../../other.py", root.join("a/other.py")).unwrap();
        let mut source = EditableSource {
            name: "a".into(),
            host: root.clone(),
            image: ImagePath::new("/x").unwrap(),
            project: root.parent().unwrap().to_path_buf(),
            place: SourcePlace::Elsewhere,
        };
        let paths = |sources: &[EditableSource]| {
            let collected = EditableEntries::of(sources).unwrap();
            let mut paths: Vec<String> =
                collected.entries.iter().map(|entry| format!("{}", entry.path)).collect();
            paths.sort();
            (paths, collected.warnings.len())
        };
        let expected = ["absolute", "__init__.py", "data.json", "other.py", "same.py"]
            .map(|name| format!("/x/a/{name}"));
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(paths(std::slice::from_ref(&source)), (expected.clone(), 3));
        // Named twice, and once more by a folder of it.
        let mut folder = source.clone();
        (folder.host, folder.image) = (root.join("a"), ImagePath::new("/x/a").unwrap());
        let again = EditableSource { name: "easy-install.pth".into(), ..source.clone() };
        assert_eq!(paths(&[source.clone(), again, folder]).0, expected);
        source.place = SourcePlace::Context;
        assert!(source.entries().unwrap().is_empty());
    }
}
