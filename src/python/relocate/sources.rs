//! [`EditableSource`]: source installed in place, and needed in the image.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::FileError;
use crate::python::error::VenvError;
use crate::python::listing::Execution;
use crate::tree::{Entry, HostFile, ImagePath, Owner};

/// Source of a distribution installed with `-e`, or of the project itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EditableSource {
    /// The distribution's normalized name; for a `.pth` file without an owner, the file's name.
    pub name: String,
    /// The directory, or the one module, on this machine.
    pub host: PathBuf,
    /// The path in the image.
    pub image: ImagePath,
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

impl EditableSource {
    /// Returns the entries of a source outside the context; none for one inside. Version control,
    /// virtual environments, caches, bytecode and installed JavaScript are excluded, and so are
    /// links out of the source.
    pub fn entries(&self) -> Result<Vec<Entry>, VenvError> {
        let mut entries = Vec::new();
        if self.place == SourcePlace::Context {
            return Ok(entries);
        }
        let mut walk = disk::walk(&self.host);
        while let Some(visited) = walk.next() {
            let entry = visited.map_err(|error| {
                let path = error.path().unwrap_or(&self.host).to_path_buf();
                let source =
                    error.into_io_error().unwrap_or_else(|| std::io::Error::other("the walk failed"));
                FileError::new("list", path, source)
            })?;
            if entry.depth() > 0 && is_left_out(&entry) {
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
                entries.extend(link(&self.host, path, image)?);
            } else if kind.is_file() {
                let metadata = disk::symlink_metadata(path).map_err(FileError::of("read", path))?;
                let file = HostFile::with_metadata(path, &metadata)?;
                let new = match Execution::of(&metadata) {
                    Execution::Allowed => Entry::executable,
                    Execution::Denied => Entry::file,
                };
                entries.push(new(image, crate::tree::Content::Host(file), Owner::Source));
            } else {
                return Err(VenvError::Special(path.to_path_buf()));
            }
        }
        Ok(entries)
    }
}

/// Returns a relative link to a target inside the source.
fn link(root: &Path, path: &Path, image: ImagePath) -> Result<Option<Entry>, VenvError> {
    let target = disk::read_link(path).map_err(FileError::of("read", path))?;
    let real_root = disk::canonicalize(root).map_err(FileError::of("read", root))?;
    let inside = disk::canonicalize(path).is_ok_and(|real| real.starts_with(real_root));
    if !inside || target.is_absolute() {
        return Ok(None);
    }
    let target = target.into_os_string().into_string().map_err(|target| VenvError::NotUtf8(target.into()))?;
    Ok(Some(Entry::symlink(image, target, Owner::Source)))
}

fn is_left_out(entry: &disk::WalkedEntry) -> bool {
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
        ) || disk::exists(entry.path().join("pyvenv.cfg"))
    } else {
        name.ends_with(".pyc")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn takes_what_the_package_needs() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("venv/src");
        for (path, text) in [
            ("a/__init__.py", ""),
            ("a/__pycache__/x.pyc", ""),
            (".git/config", ""),
            ("env/pyvenv.cfg", ""),
            ("env/lib/x.py", ""),
            ("a/data.json", "{}"),
        ] {
            fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs_err::write(root.join(path), text).unwrap();
        }
        symlink("__init__.py", root.join("a/same.py")).unwrap();
        symlink("/etc/passwd", root.join("a/leak")).unwrap();
        symlink("../../../..", root.join("a/up")).unwrap();
        let mut source = EditableSource {
            name: "a".into(),
            host: root,
            image: ImagePath::new("/x").unwrap(),
            place: SourcePlace::Elsewhere,
        };
        let paths: Vec<String> =
            source.entries().unwrap().iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(paths, ["/x/a/__init__.py", "/x/a/data.json", "/x/a/same.py"]);
        source.place = SourcePlace::Context;
        assert!(source.entries().unwrap().is_empty());
    }
}
