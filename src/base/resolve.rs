//! Following a path through the links of an image, as the kernel does it in a container.

use super::BaseError;
use crate::tree::ImagePath;

/// The most symbolic links on the way to one file, as in the kernel.
const LINKS_LIMIT: usize = 40;

/// What stands at a path, as far as following it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peek<'a> {
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(&'a str),
    /// A file or a device.
    Other,
}

/// Says what stands at paths of an image.
pub(super) trait Peeks {
    /// What stands at `path`, which is taken literally.
    fn peek(&self, path: &ImagePath) -> Option<Peek<'_>>;
}

/// What becomes of a link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// It is followed as the others.
    Follow,
    /// It is what is meant.
    Keep,
}

/// What becomes of a name that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is an error.
    Refuse,
    /// It is to be made.
    Allow,
}

/// The path that `text` leads to, without links; `..` at the root is the root.
pub(super) fn walk(
    files: &dyn Peeks,
    text: &str,
    last: Last,
    absent: Absent,
) -> Result<ImagePath, BaseError> {
    let mut at = ImagePath::root();
    let mut ahead: Vec<String> = names(text);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at = at.parent().unwrap_or_default();
            continue;
        }
        let next = at.join(&name)?;
        match files.peek(&next) {
            Some(Peek::Directory) => at = next,
            Some(Peek::Link(_)) if last == Last::Keep && ahead.is_empty() => at = next,
            Some(Peek::Link(target)) => {
                links += 1;
                if links > LINKS_LIMIT {
                    return Err(BaseError::Circle(ImagePath::new(text).unwrap_or(next)));
                }
                if target.starts_with('/') {
                    at = ImagePath::root();
                }
                ahead.extend(names(target));
            }
            Some(Peek::Other) if ahead.is_empty() => at = next,
            Some(Peek::Other) => return Err(BaseError::NotADirectory(next)),
            None if absent == Absent::Allow => at = next,
            None => return Err(BaseError::Missing(next)),
        }
    }
    Ok(at)
}

/// The components that mean something, the first one last.
fn names(text: &str) -> Vec<String> {
    text.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).rev().collect()
}
