//! [`RootFiles`]: the file access of the loader, and [`FileRoot`]: a root file system on this
//! machine.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::ElfError;
use super::header::{self, Elf};
use super::versions::{self, Versions};
use crate::traced_fs;

/// The most symbolic links on the way to one file, as in the kernel.
const LINKS_LIMIT: usize = 40;

/// The file access of the loader to a root file system. Paths are absolute, as seen from inside.
pub trait RootFiles: fmt::Debug + Send + Sync {
    /// Returns the path without symbolic links, `.` and `..`; absolute links stay inside the root.
    fn resolve(&self, inside: &Path) -> io::Result<PathBuf>;

    /// Returns the type of the file at a path with link-free directories.
    fn kind(&self, inside: &Path) -> io::Result<FileKind>;

    /// Reads the headers of the file at a path without links; `None` if the file is not ELF.
    fn elf(&self, inside: &Path) -> Result<Option<Elf>, ElfError>;

    /// Reads the symbol versions of the file at a path without links.
    fn versions(&self, inside: &Path) -> Result<Versions, ElfError>;

    /// Reads the bytes of the file at a path without links, unless more than `limit`.
    fn bytes(&self, inside: &Path, limit: u64) -> Option<Vec<u8>>;

    /// Returns the path on this machine of the file at a path without links, if there is one.
    fn on_disk(&self, inside: &Path) -> Option<PathBuf>;
}

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A directory or something else.
    Other,
}

/// A root file system in a directory. Its methods take and return paths as seen from inside.
#[derive(Debug, Clone)]
pub(super) struct FileRoot {
    base: PathBuf,
}

impl FileRoot {
    /// Returns the machine's own root.
    pub(super) fn host() -> Self {
        Self { base: PathBuf::from("/") }
    }

    /// Returns the root file system below `base`.
    pub(super) fn at(base: &Path) -> io::Result<Self> {
        Ok(Self { base: traced_fs::canonicalize(base)? })
    }

    /// Maps the path `inside` to this machine. With unresolved links the result may lead out of the
    /// root.
    fn path(&self, inside: &Path) -> PathBuf {
        self.base.join(inside.strip_prefix("/").unwrap_or(inside))
    }
}

impl RootFiles for FileRoot {
    fn resolve(&self, inside: &Path) -> io::Result<PathBuf> {
        if self.base == Path::new("/") {
            return traced_fs::canonicalize(inside);
        }
        let mut resolved = PathBuf::from("/");
        let mut pending: VecDeque<OsString> = names(inside).collect();
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                resolved.pop();
                continue;
            }
            let candidate = resolved.join(&name);
            let on_disk = self.path(&candidate);
            if !traced_fs::file_type(&on_disk)?.is_symlink() {
                resolved = candidate;
                continue;
            }
            links += 1;
            if links > LINKS_LIMIT {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = traced_fs::read_link(&on_disk)?;
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                pending.push_front(name);
            }
        }
        Ok(resolved)
    }

    fn kind(&self, inside: &Path) -> io::Result<FileKind> {
        let kind = traced_fs::file_type(self.path(inside))?;
        Ok(if kind.is_file() {
            FileKind::File
        } else if kind.is_symlink() {
            FileKind::Link
        } else {
            FileKind::Other
        })
    }

    fn elf(&self, inside: &Path) -> Result<Option<Elf>, ElfError> {
        header::read(&self.path(inside))
    }

    fn versions(&self, inside: &Path) -> Result<Versions, ElfError> {
        versions::versions(&self.path(inside))
    }

    fn bytes(&self, inside: &Path, limit: u64) -> Option<Vec<u8>> {
        let path = self.path(inside);
        if !traced_fs::metadata(&path).ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        traced_fs::open(path)
            .ok()?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .inspect_err(|_| traced_fs::mark_unreliable())
            .ok()?;
        (bytes.len() as u64 <= limit).then_some(bytes)
    }

    fn on_disk(&self, inside: &Path) -> Option<PathBuf> {
        Some(self.path(inside))
    }
}

/// Returns the components of a path, including `..`.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

/// Removes `.` and `..` from a path textually, as if no component were a link.
pub(super) fn shorten(path: &Path) -> PathBuf {
    let mut short = PathBuf::from("/");
    for name in names(path) {
        if name == ".." {
            short.pop();
        } else {
            short.push(name);
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_below_the_root() {
        let base = tempfile::tempdir().unwrap();
        let root = FileRoot::at(base.path()).unwrap();
        std::fs::create_dir_all(base.path().join("usr/lib/deep")).unwrap();
        std::fs::write(base.path().join("usr/lib/x.so"), "x").unwrap();
        symlink("usr/lib", base.path().join("lib")).unwrap();
        symlink("/lib/x.so", base.path().join("usr/lib/absolute")).unwrap();
        symlink("../../../../../../usr/lib/x.so", base.path().join("usr/lib/climbing")).unwrap();
        symlink("loop", base.path().join("loop")).unwrap();
        for inside in ["/lib/x.so", "/usr/lib/absolute", "/lib/climbing", "/lib/deep/../x.so", "lib/./x.so"] {
            let resolved = root.resolve(Path::new(inside)).unwrap();
            assert_eq!(resolved, Path::new("/usr/lib/x.so"), "{inside}");
            assert!(root.on_disk(&resolved).unwrap().is_file());
        }
        assert!(root.resolve(Path::new("/loop")).is_err());
        assert!(root.resolve(Path::new("/lib/absent")).is_err());
    }

    #[test]
    fn shortens_by_the_text_alone() {
        for (long, short) in [("/a/b/../c", "/a/c"), ("/a/./b/", "/a/b"), ("/../a", "/a"), ("/", "/")] {
            assert_eq!(shorten(Path::new(long)), Path::new(short));
        }
    }
}
