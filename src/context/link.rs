//! Symbolic links: rewrites targets for the image, and refuses links that leave the context.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use dockerignore::Fate;

use super::error::ContextError;
use super::markers;
use super::root::{Context, normalize};
use crate::error::FileError;
use crate::printable;
use crate::tree::ImagePath;

/// The most links that one path may pass through; the same as in Linux.
const HOPS: usize = 40;

/// Returns the target in the image of the kept link `path`, which is `host` on this machine.
///
/// A relative target inside the context is kept, dangling or not. An absolute target inside the
/// context on this machine becomes relative, and one below the image's working directory is kept.
pub(super) fn target(context: &Context, path: &str, host: &Path) -> Result<String, ContextError> {
    let unreadable = |source| ContextError::Unreadable(FileError::new("read", path, source));
    let target = fs::read_link(host).map_err(unreadable)?;
    let leaves = || ContextError::LinkLeaves {
        path: printable::path(Path::new(path)),
        target: printable::path(&target),
    };
    let not_utf8 = || ContextError::LinkTarget {
        path: printable::path(Path::new(path)),
        target: printable::path(&target),
    };
    let directory = Path::new(path).parent().unwrap_or(Path::new(""));
    if target.is_relative() {
        if !stays(context, directory, &target) {
            return Err(leaves());
        }
        return target.to_str().map(str::to_owned).ok_or_else(not_utf8);
    }
    if let Some(inside) = context.inside(&target) {
        if !stays(context, Path::new(""), &inside) {
            return Err(leaves());
        }
        let place = ImagePath::new(inside.to_str().ok_or_else(not_utf8)?)?;
        let from = ImagePath::new(directory.to_str().ok_or_else(not_utf8)?)?;
        return Ok(place.relative_to(&from));
    }
    match below_workdir(context, &target) {
        Some(_) => target.to_str().map(str::to_owned).ok_or_else(not_utf8),
        None => Err(leaves()),
    }
}

/// Returns `absolute` relative to the image's working directory; `None` if the path is not below.
fn below_workdir(context: &Context, absolute: &Path) -> Option<PathBuf> {
    let workdir = Path::new("/").join(context.workdir().as_str());
    normalize(absolute).strip_prefix(workdir).ok().map(Path::to_owned)
}

/// Returns true if a relative target, resolved in `directory`, stays in the context, through other
/// links too.
///
/// Links in ignored or left-out directories are not followed: the image has no such files, or its
/// own. Paths that do not exist are resolved lexically.
fn stays(context: &Context, directory: &Path, target: &Path) -> bool {
    let mut here: PathBuf = directory.to_owned();
    let mut ahead: VecDeque<OsString> = parts(target);
    let mut hops = 0;
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            if !here.pop() {
                return false;
            }
            continue;
        }
        here.push(&part);
        if context.excluded(&here).is_some() || markers::environment(&context.root().join(&here)).is_some() {
            return true;
        }
        let Ok(next) = fs::read_link(context.root().join(&here)) else { continue };
        let is_ignored = |text| context.ignore().fate(text) == Ok(Fate::Ignored);
        if here.to_str().is_none_or(is_ignored) {
            continue;
        }
        hops += 1;
        if hops > HOPS {
            // A cycle of links does not leave the context.
            return true;
        }
        let next = if next.is_relative() {
            here.pop();
            next
        } else {
            here.clear();
            match context.inside(&next).or_else(|| below_workdir(context, &next)) {
                Some(inside) => inside,
                None => return false,
            }
        };
        for part in parts(&next).into_iter().rev() {
            ahead.push_front(part);
        }
    }
    true
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}
