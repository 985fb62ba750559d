//! Symbolic links: which target one has in the image, and whether it leads out of the context.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::dockerignore::Fate;
use super::error::ContextError;
use super::marks;
use super::root::{Context, normalize};
use crate::error::FileError;
use crate::printable;
use crate::tree::ImagePath;

/// How many links one path may lead through; Linux follows as many.
const HOPS: usize = 40;

/// The target that the kept link `path`, at `host` on this machine, has in the image.
///
/// A relative target stays as it is if it stays in the context, whether there is something or not.
/// An absolute one becomes relative where it lies in the context on this machine, and stays where it
/// lies below the image's working directory.
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

/// What `absolute` is relative to the image's working directory; none where it lies elsewhere.
fn below_workdir(context: &Context, absolute: &Path) -> Option<PathBuf> {
    let workdir = Path::new("/").join(context.workdir().as_str());
    normalize(absolute).strip_prefix(workdir).ok().map(Path::to_owned)
}

/// Whether a relative target, read in `directory`, stays in the context, through other links too.
///
/// What is ignored or left out is not looked into: the image has nothing there, or something of its
/// own. What does not exist is resolved by the text.
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
        if context.left_out(&here).is_some() || marks::environment(&context.root().join(&here)).is_some() {
            return true;
        }
        let Ok(next) = fs::read_link(context.root().join(&here)) else { continue };
        let is_ignored = |text| context.ignore().verdict(text).is_ok_and(|it| it.fate == Fate::Ignored);
        if here.to_str().is_none_or(is_ignored) {
            continue;
        }
        hops += 1;
        if hops > HOPS {
            // A circle leads nowhere, and nowhere is not outside.
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
