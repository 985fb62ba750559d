//! The files of a directory, listed once.
//!
//! A virtual environment has some ten thousand files, so they are listed on several threads with
//! `ignore`'s walker (CRATES: twice as fast as one thread), whose rules are all switched off: uv writes
//! a `.gitignore` with `*` into every environment. Links are read as follows: what leads to a file
//! outside the directory is that file (uv's `--link-mode symlink` leads into its cache); what leads to a
//! place inside stays a link; what leads to a directory outside is told apart, since it is how flit installs
//! editably.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::error::VenvError;
use crate::error::FileError;
use crate::tree::HostFile;

/// Files and links by their path below the listed directory, ordered.
pub type Listing = BTreeMap<String, Listed>;

/// A file or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A regular file, or a link to one outside the directory.
    File {
        /// The file; for a link, where it leads.
        file: HostFile,
        /// Whether its owner may execute it.
        execution: Execution,
    },
    /// A link to a place inside the directory; the target is relative to the link's own directory.
    Link {
        /// What it says, made relative.
        target: String,
    },
    /// A link to a directory outside.
    OutsideDirectory {
        /// The directory.
        target: PathBuf,
    },
    /// A link that leads nowhere.
    Dangling {
        /// What it says.
        target: PathBuf,
    },
}

/// Whether a file may be executed by its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// It may.
    Allowed,
    /// It may not.
    Denied,
}

impl Listed {
    /// The regular file, if it is one.
    pub fn file(&self) -> Option<&HostFile> {
        match self {
            Self::File { file, .. } => Some(file),
            _ => None,
        }
    }
}

impl Execution {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        if metadata.permissions().mode() & 0o100 == 0 { Self::Denied } else { Self::Allowed }
    }
}

/// Lists the directory `root`, which must not be a link itself and be spelled without links.
pub fn list(root: &Path) -> Result<Listing, VenvError> {
    let (sender, receiver) = mpsc::channel();
    let walker = ignore::WalkBuilder::new(root).standard_filters(false).follow_links(false).build_parallel();
    walker.run(|| {
        let sender = sender.clone();
        Box::new(move |visited| {
            let outcome = match visited {
                Ok(entry) if entry.file_type().is_none_or(|kind| kind.is_dir()) => {
                    return ignore::WalkState::Continue;
                }
                Ok(entry) => describe(root, &entry),
                Err(error) => Err(walk_error(root, error)),
            };
            let failed = outcome.is_err();
            if sender.send(outcome).is_err() || failed {
                return ignore::WalkState::Quit;
            }
            ignore::WalkState::Continue
        })
    });
    drop(sender);
    // With two failures the threads race; the first by path is reported.
    let mut listing = Listing::new();
    let mut failures = Vec::new();
    for outcome in receiver {
        match outcome {
            Ok((path, listed)) => {
                listing.insert(path, listed);
            }
            Err(error) => failures.push(error),
        }
    }
    failures.sort_by_key(ToString::to_string);
    match failures.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(listing),
    }
}

fn walk_error(root: &Path, error: ignore::Error) -> VenvError {
    let path = path_of(&error).unwrap_or_else(|| root.to_path_buf());
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("the walk failed"));
    FileError::new("list", path, source).into()
}

fn path_of(error: &ignore::Error) -> Option<PathBuf> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path.clone()),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        _ => None,
    }
}

fn describe(root: &Path, entry: &ignore::DirEntry) -> Result<(String, Listed), VenvError> {
    let path = entry.path();
    let below = path
        .strip_prefix(root)
        .ok()
        .and_then(Path::to_str)
        .ok_or_else(|| VenvError::NotUtf8(path.to_path_buf()))?;
    let kind = entry.file_type();
    let listed = if kind.is_some_and(|kind| kind.is_symlink()) {
        describe_link(root, path)?
    } else if kind.is_some_and(|kind| kind.is_file()) {
        let metadata = entry.metadata().map_err(|error| walk_error(path, error))?;
        let execution = Execution::of(&metadata);
        Listed::File { file: HostFile::with_metadata(path, &metadata)?, execution }
    } else {
        return Err(VenvError::Special(path.to_path_buf()));
    };
    Ok((below.to_owned(), listed))
}

fn describe_link(root: &Path, path: &Path) -> Result<Listed, VenvError> {
    let target = std::fs::read_link(path).map_err(FileError::of("read", path))?;
    let Ok(real) = std::fs::canonicalize(path) else {
        return Ok(Listed::Dangling { target });
    };
    if let Ok(below) = real.strip_prefix(root) {
        // A relative link stays as it was written; an absolute one would name the build machine.
        if target.is_relative() && stays_inside(root, path, &target) {
            return utf8(target).map(|target| Listed::Link { target });
        }
        let depth = path.strip_prefix(root).map_or(0, |path| path.components().count().saturating_sub(1));
        return utf8("../".repeat(depth) + &utf8(below.to_path_buf())?).map(|target| Listed::Link { target });
    }
    let metadata = std::fs::metadata(&real).map_err(FileError::of("read", &real))?;
    if metadata.is_dir() {
        return Ok(Listed::OutsideDirectory { target: real });
    }
    let execution = Execution::of(&metadata);
    Ok(Listed::File { file: HostFile::with_metadata(real, &metadata)?, execution })
}

/// Whether a relative link can be followed without leaving the root on the way.
fn stays_inside(root: &Path, link: &Path, target: &Path) -> bool {
    use std::path::Component;
    let Ok(below) = link.strip_prefix(root) else { return false };
    let mut depth = below.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    true
}

fn utf8(path: impl Into<PathBuf>) -> Result<String, VenvError> {
    path.into().into_os_string().into_string().map_err(|path| VenvError::NotUtf8(path.into()))
}

/// Whether the last component of `path` ends in `.extension`; Python's are in lower case.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Reads a small file as text; bytes that are not UTF-8 are replaced.
///
/// # Errors
/// [`VenvError::TooLarge`] above `limit` bytes.
pub fn read_text(file: &HostFile, limit: u64) -> Result<String, VenvError> {
    if file.size > limit {
        return Err(VenvError::TooLarge { path: file.path.to_path_buf(), size: file.size, limit });
    }
    let bytes = file.read()?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("root");
        fs_err::create_dir_all(root.join("a")).unwrap();
        (folder, root)
    }

    #[test]
    fn hidden_and_ignored_files_are_listed() {
        let (_folder, root) = folder();
        fs_err::write(root.join(".gitignore"), "*").unwrap();
        fs_err::write(root.join("a/.hidden"), "").unwrap();
        let listing = list(&root).unwrap();
        assert_eq!(listing.keys().collect::<Vec<_>>(), [".gitignore", "a/.hidden"]);
    }

    #[test]
    fn links_by_where_they_lead() {
        let (folder, root) = folder();
        let outside = folder.path().canonicalize().unwrap().join("cache");
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(outside.join("file"), "x").unwrap();
        symlink(outside.join("file"), root.join("a/cached")).unwrap();
        symlink(&outside, root.join("editable")).unwrap();
        symlink("a", root.join("inside")).unwrap();
        symlink(root.join("a"), root.join("a/absolute")).unwrap();
        symlink("../root/a", root.join("around")).unwrap();
        symlink("/nowhere/at/all", root.join("gone")).unwrap();
        let listing = list(&root).unwrap();
        assert_eq!(&*listing["a/cached"].file().unwrap().path, outside.join("file"));
        assert_eq!(listing["editable"], Listed::OutsideDirectory { target: outside });
        assert_eq!(listing["inside"], Listed::Link { target: "a".into() });
        assert_eq!(listing["a/absolute"], Listed::Link { target: "../a".into() });
        assert_eq!(listing["around"], Listed::Link { target: "a".into() });
        assert_eq!(listing["gone"], Listed::Dangling { target: "/nowhere/at/all".into() });
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let (_folder, root) = folder();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("a/socket")).unwrap();
        assert!(matches!(list(&root), Err(VenvError::Special(path)) if path.ends_with("a/socket")));
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let (_folder, root) = folder();
        fs_err::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        assert!(matches!(list(&root), Err(VenvError::NotUtf8(_))));
    }

    #[test]
    fn a_file_above_the_limit_is_not_read() {
        let (_folder, root) = folder();
        fs_err::write(root.join("a/b"), "12345").unwrap();
        let file = HostFile::new(root.join("a/b")).unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        assert!(matches!(read_text(&file, 4), Err(VenvError::TooLarge { size: 5, .. })));
    }
}
