//! [`Node`]: a path during a walk.

use std::sync::OnceLock;

use crate::error::Error;
use crate::matcher::{Dockerignore, Fate, Hits};

/// A path during a walk, with its fate and the rules that match the path or a directory above.
///
/// A walk begins at [`Dockerignore::root`].
#[derive(Debug, Clone)]
pub struct Node<'a> {
    ignore: &'a Dockerignore,
    path: String,
    fate: Fate,
    hits: Hits,
    /// True if all paths below are ignored, once computed.
    closed: OnceLock<bool>,
}

impl Dockerignore {
    /// Returns the root, where a walk begins.
    pub fn root(&self) -> Node<'_> {
        let (path, hits) = (String::new(), Hits::new());
        Node { ignore: self, path, fate: Fate::Kept, hits, closed: OnceLock::from(false) }
    }
}

impl Node<'_> {
    /// Judges the entry `name` of this directory.
    ///
    /// # Errors
    /// As [`Dockerignore::fate`].
    pub fn child(&self, name: &str) -> Result<Self, Error> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
        if self.may_prune() {
            let closed = OnceLock::from(true);
            return Ok(Self { ignore: self.ignore, path, fate: Fate::Ignored, hits: Hits::new(), closed });
        }
        let (fate, hits) = self.ignore.judge(&path, &self.hits)?;
        Ok(Self { ignore: self.ignore, path, fate, hits, closed: OnceLock::new() })
    }

    /// Returns the path relative to the root; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the outcome for this path.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Returns true if a walk may skip all of this directory: the directory is ignored, and no `!`
    /// rule can match a path below.
    pub fn may_prune(&self) -> bool {
        self.fate == Fate::Ignored
            && *self.closed.get_or_init(|| self.ignore.all_below_ignored(&self.path, &self.hits))
    }
}
