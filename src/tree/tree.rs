//! [`Tree`]: a set of entries with unique paths.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use super::{Entry, ImagePath, Kind, Owner};
use crate::error::Advice;

/// Entries by path, ordered by path components.
///
/// Missing parents are added, so every directory precedes its content in anything written from a
/// tree.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<ImagePath, Entry>);

/// Two entries that conflict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Two entries have one path.
    #[error("duplicate path {path} in the image: of {first} and of {second}")]
    Twice {
        /// The path.
        path: ImagePath,
        /// The owner of the first entry.
        first: Box<Owner>,
        /// The owner of the second entry.
        second: Box<Owner>,
    },
    /// An entry is below a file or a link.
    #[error("cannot add {path} of {below}: {parent} of {above} is not a directory")]
    NotADirectory {
        /// The lower path.
        path: ImagePath,
        /// Its owner.
        below: Box<Owner>,
        /// The file or link above.
        parent: ImagePath,
        /// Its owner.
        above: Box<Owner>,
    },
}

impl Advice for TreeError {
    fn help(&self) -> Option<String> {
        let (Self::Twice { first, second, .. } | Self::NotADirectory { below: first, above: second, .. }) =
            self;
        let of_source = [first, second].iter().any(|owner| ***owner == Owner::Source);
        let is_extra = [first, second].iter().any(|owner| matches!(***owner, Owner::Extra { .. }));
        let help = match self {
            Self::Twice { .. } if is_extra && !of_source => {
                "give the entry another path; a program permits the replacement of a file with `ExtraLayer::replacing`"
            }
            _ if is_extra => "give the entry another path, or leave the other one out in .dockerignore",
            _ => "remove one of the two, or leave one out in the recipe or in .dockerignore",
        };
        Some(help.to_owned())
    }
}

impl Tree {
    /// Makes an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `entry` and its missing parent directories. An existing directory stays as it is; any
    /// other duplicate is an error.
    pub fn insert(&mut self, entry: Entry) -> Result<(), TreeError> {
        for parent in entry.path.parents() {
            match self.0.entry(parent) {
                Slot::Vacant(slot) => {
                    let directory = Entry::directory(slot.key().clone(), entry.owner.clone());
                    slot.insert(directory);
                }
                Slot::Occupied(slot) if slot.get().is_directory() => {}
                Slot::Occupied(slot) => {
                    return Err(TreeError::NotADirectory {
                        path: entry.path.clone(),
                        below: Box::new(entry.owner),
                        parent: slot.key().clone(),
                        above: Box::new(slot.get().owner.clone()),
                    });
                }
            }
        }
        match self.0.entry(entry.path.clone()) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
                Ok(())
            }
            Slot::Occupied(slot) if slot.get().is_directory() && entry.is_directory() => Ok(()),
            Slot::Occupied(slot) => Err(TreeError::Twice {
                path: entry.path.clone(),
                first: Box::new(slot.get().owner.clone()),
                second: Box::new(entry.owner),
            }),
        }
    }

    /// Adds `entry`, replacing any entry at its path; missing parent directories are added.
    pub fn replace(&mut self, entry: Entry) -> Result<(), TreeError> {
        self.0.remove(&entry.path);
        self.insert(entry)
    }

    /// Adds files and links ordered by path, none of which is in the tree and all of whose
    /// directories are: faster than [`Tree::insert`] for each.
    pub(crate) fn insert_sorted(&mut self, entries: impl Iterator<Item = Entry>) {
        let here = std::mem::take(&mut self.0);
        self.0 = here.into_iter().chain(entries.map(|entry| (entry.path.clone(), entry))).collect();
    }

    /// Returns the entry at `path`.
    pub fn get(&self, path: &ImagePath) -> Option<&Entry> {
        self.0.get(path)
    }

    /// Removes and returns the entry at `path`.
    pub fn remove(&mut self, path: &ImagePath) -> Option<Entry> {
        self.0.remove(path)
    }

    /// Returns true if there is an entry at `path`.
    pub fn contains(&self, path: &ImagePath) -> bool {
        self.0.contains_key(path)
    }

    /// Returns all entries, ordered by path components.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.0.values()
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes of all files as far as known before reading.
    pub fn size_hint(&self) -> u64 {
        self.iter().map(Entry::size_hint).sum()
    }

    /// Returns the number of regular files.
    pub fn file_count(&self) -> usize {
        self.iter().filter(|entry| matches!(entry.kind, Kind::File(_))).count()
    }
}

impl IntoIterator for Tree {
    type Item = Entry;
    type IntoIter = std::collections::btree_map::IntoValues<ImagePath, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry::file(ImagePath::new(path).unwrap(), "x".into(), Owner::Source)
    }

    #[test]
    fn makes_missing_parents_and_orders_them_first() {
        let mut tree = Tree::new();
        tree.insert(file("a/b/c")).unwrap();
        tree.insert(file("a-b")).unwrap();
        let paths: Vec<_> = tree.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a-b"]);
    }

    #[test]
    fn holds_a_path_once() {
        let mut tree = Tree::new();
        tree.insert(file("a/b")).unwrap();
        assert!(matches!(tree.insert(file("a/b")), Err(TreeError::Twice { .. })));
        assert!(matches!(tree.insert(file("a/b/c")), Err(TreeError::NotADirectory { .. })));
        assert!(matches!(tree.insert(file("a")), Err(TreeError::Twice { .. })));
    }

    #[test]
    fn a_directory_may_be_named_again() {
        let mut tree = Tree::new();
        let tmp = ImagePath::new("tmp").unwrap();
        tree.insert(Entry::directory(tmp.clone(), Owner::System).with_mode(0o1777)).unwrap();
        tree.insert(Entry::directory(tmp.clone(), Owner::Source)).unwrap();
        assert_eq!(tree.get(&tmp).unwrap().mode, 0o1777);
    }
}
