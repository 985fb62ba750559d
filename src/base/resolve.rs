//! Path resolution through the links of an image, as in the kernel (path_resolution(7)).

use super::BaseError;
use crate::tree::ImagePath;

/// Maximum number of symbolic links on the way to a file, as in the kernel.
const LINKS_LIMIT: usize = 40;

/// Kind of a node, as far as path resolution needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkNode<'a> {
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(&'a str),
    /// A file or a device.
    Other,
}

/// File systems in which paths can be resolved.
pub(crate) trait LinkTree {
    /// Returns the kind of the node at `path`, without following links.
    fn link_node(&self, path: &ImagePath) -> Option<LinkNode<'_>>;
}

/// Handling of a link in the last component of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FinalLink {
    /// Follow it.
    Follow,
    /// Return the link itself.
    Keep,
}

/// Handling of a missing component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnMissing {
    /// Fail.
    Refuse,
    /// Keep the name, to be created.
    Allow,
}

/// Resolves `text` to a path without links. `..` at the root is the root.
pub(crate) fn resolve_path(
    tree: &dyn LinkTree,
    text: &str,
    final_link: FinalLink,
    missing: OnMissing,
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
        match tree.link_node(&next) {
            Some(LinkNode::Directory) => at = next,
            Some(LinkNode::Link(_)) if final_link == FinalLink::Keep && ahead.is_empty() => at = next,
            Some(LinkNode::Link(target)) => {
                links += 1;
                if links > LINKS_LIMIT {
                    return Err(BaseError::Circle(ImagePath::new(text).unwrap_or(next)));
                }
                if target.starts_with('/') {
                    at = ImagePath::root();
                }
                ahead.extend(names(target));
            }
            Some(LinkNode::Other) if ahead.is_empty() => at = next,
            Some(LinkNode::Other) => return Err(BaseError::NotADirectory(next)),
            None if missing == OnMissing::Allow => at = next,
            None => return Err(BaseError::Missing(next)),
        }
    }
    Ok(at)
}

/// Returns the components without `.`, in reverse.
fn names(text: &str) -> Vec<String> {
    text.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).rev().collect()
}
