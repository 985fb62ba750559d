//! Walks a context and filters it with the ignore file.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dockerignore::{Fate, Node};
use walkdir::{DirEntry, WalkDir};

use super::error::ContextError;
use super::link;
use super::listing::{Listing, Permission, SourceFile, SourceKind};
use super::markers::{self, ExcludedPath, NotSource};
use super::root::Context;
use crate::error::FileError;
use crate::printable;
use crate::tree::{HostFile, special_name};

/// How thoroughly a walk reads ignored directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Count ignored files for [`Listing::ignored`]: every directory is read.
    CountIgnored,
    /// Skip directories without any kept files.
    SkipIgnored,
}

/// A directory on the path to the current one.
struct Level<'a> {
    /// The verdict; the path is lossy if not UTF-8.
    node: Node<'a>,
    /// True once the directory is in the listing.
    listed: bool,
}

impl Context {
    /// Lists the kept files, ordered by path components.
    ///
    /// # Errors
    /// Fails at the first kept file that an image cannot hold or this user cannot read.
    pub fn walk(&self, detail: Detail) -> Result<Listing, ContextError> {
        walk(self, detail)
    }
}

/// Lists the files that `context` keeps.
fn walk(context: &Context, detail: Detail) -> Result<Listing, ContextError> {
    let mut listing = Listing::default();
    // The directory order of the file system must not show. Sorting names within each directory
    // gives the order of path components.
    let mut walk = WalkDir::new(context.root()).min_depth(1).sort_by_file_name().into_iter();
    let mut levels = vec![Level { node: context.ignore().root(), listed: true }];
    while let Some(item) = walk.next() {
        let entry = match item {
            Ok(entry) => entry,
            Err(error) => {
                report(context, &levels, error)?;
                continue;
            }
        };
        let host = entry.path();
        let relative = host.strip_prefix(context.root()).unwrap_or(host);
        let is_directory = entry.file_type().is_dir();
        if context.is_excluded(relative) {
            if is_directory {
                walk.skip_current_dir();
            }
            continue;
        }
        levels.truncate(entry.depth());
        let Some(above) = levels.last() else { continue };
        listing.git_names.record(above.node.path(), entry.file_name());
        let above_is_kept = entry.depth() == 1 || above.node.fate() == Fate::Kept;
        let node = above.node.child(&entry.file_name().to_string_lossy())?;
        if let Some(what) = recognize(context, &entry, &node) {
            listing.left_out.push(ExcludedPath { path: node.path().to_owned(), what });
            if is_directory {
                walk.skip_current_dir();
            }
            continue;
        }
        let mut listed = false;
        if node.fate() == Fate::Ignored && above_is_kept && context.is_ignored_by_default(node.path())? {
            listing.ignored_by_default.push(node.path().to_owned());
        }
        match node.fate() {
            Fate::Kept => listed = keep(context, &entry, relative, &mut levels, &mut listing)?,
            Fate::Ignored if detail == Detail::CountIgnored && !is_directory => {
                if let Ok(metadata) = entry.metadata() {
                    listing.ignored.add(if metadata.is_file() { metadata.len() } else { 0 });
                }
            }
            Fate::Ignored => {}
        }
        if is_directory {
            if detail == Detail::SkipIgnored && node.may_prune() {
                walk.skip_current_dir();
                continue;
            }
            levels.push(Level { node, listed });
        }
    }
    let mut places = context.excluded_places();
    let left_out = std::mem::take(&mut listing.left_out);
    places.extend(left_out.iter().map(|thing| thing.path.as_str()));
    listing.remove(&places);
    listing.left_out = left_out;
    Ok(listing)
}

/// Recognizes a directory that is not source, or a link to an environment. Directories without any
/// kept files are not examined.
fn recognize(context: &Context, entry: &DirEntry, node: &Node<'_>) -> Option<NotSource> {
    if entry.file_type().is_dir() && !node.may_prune() {
        let what = markers::of_directory(entry.path())?;
        return (what.is_environment() || !context.ignore().reincludes(node.path())).then_some(what);
    }
    if entry.path_is_symlink() && node.fate() == Fate::Kept {
        return markers::environment(entry.path());
    }
    None
}

/// Adds `entry` and its missing ancestors to the listing. Returns false if the file was deleted
/// meanwhile.
fn keep(
    context: &Context,
    entry: &DirEntry,
    relative: &Path,
    levels: &mut [Level<'_>],
    listing: &mut Listing,
) -> Result<bool, ContextError> {
    let path = relative.to_str().ok_or_else(|| ContextError::Name(printable::path(relative)))?;
    refuse_whiteout(path)?;
    let unreadable = |source: io::Error| ContextError::Unreadable(FileError::new("read", relative, source));
    let metadata = match entry.metadata().map_err(io::Error::from) {
        Ok(metadata) => metadata,
        // The file was deleted after its directory was read, so it is not part of the tree.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unreadable(error)),
    };
    let kind = match kind_of(&metadata) {
        ContextFileType::Directory => SourceKind::Directory,
        ContextFileType::Symlink => SourceKind::Symlink(link::target(context, path, entry.path())?),
        ContextFileType::Special(what) => {
            return Err(ContextError::Special { path: printable::path(relative), what });
        }
        ContextFileType::File => {
            rustix::fs::access(entry.path(), rustix::fs::Access::READ_OK)
                .map_err(|error| unreadable(error.into()))?;
            let file = HostFile::with_metadata(entry.path(), &metadata)?;
            let owner_may_execute = metadata.permissions().mode() & 0o100 != 0;
            let permission = if owner_may_execute { Permission::Executable } else { Permission::Plain };
            SourceKind::File { file, permission }
        }
    };
    for level in levels.iter_mut().filter(|level| !level.listed) {
        level.listed = true;
        listing.files.push(SourceFile { path: level.node.path().to_owned(), kind: SourceKind::Directory });
    }
    let file = SourceFile { path: path.to_owned(), kind };
    if !matches!(file.kind, SourceKind::Directory) {
        listing.kept.add(file.size());
    }
    listing.files.push(file);
    Ok(true)
}

enum ContextFileType {
    Directory,
    File,
    Symlink,
    Special(&'static str),
}

fn kind_of(metadata: &Metadata) -> ContextFileType {
    let kind = metadata.file_type();
    if kind.is_dir() {
        ContextFileType::Directory
    } else if kind.is_symlink() {
        ContextFileType::Symlink
    } else if kind.is_file() {
        ContextFileType::File
    } else {
        ContextFileType::Special(special_name(kind))
    }
}

/// Refuses whiteout names, which have another meaning in a layer: OCI image specification,
/// `layer.md`, "Whiteouts".
fn refuse_whiteout(path: &str) -> Result<(), ContextError> {
    let mut end = 0;
    for component in path.split('/') {
        end += component.len();
        if component.starts_with(".wh.") {
            return Err(ContextError::Whiteout(printable::path(Path::new(path.get(..end).unwrap_or(path)))));
        }
        end += 1;
    }
    Ok(())
}

/// Returns the error of a walk, except for ignored paths.
fn report(context: &Context, levels: &[Level<'_>], error: walkdir::Error) -> Result<(), ContextError> {
    let host = error.path().unwrap_or_else(|| context.root());
    let relative = host.strip_prefix(context.root()).unwrap_or(host).to_owned();
    let shown = relative.to_string_lossy();
    // The error of listing a directory names the directory of its own level.
    let level = levels.iter().rfind(|level| level.node.path() == shown);
    let action = if level.is_some() { "list" } else { "read" };
    let source = error.into_io_error().unwrap_or_else(|| io::Error::other("links go in a circle"));
    if source.kind() == io::ErrorKind::NotFound
        || level.is_some_and(|level| level.node.fate() == Fate::Ignored)
    {
        return Ok(());
    }
    let path = if relative.as_os_str().is_empty() { ".".into() } else { relative };
    Err(ContextError::Unreadable(FileError::new(action, path, source)))
}
