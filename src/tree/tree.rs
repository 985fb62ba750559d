//! [`Tree`]: a set of entries in which a path stands once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use super::{Entry, ImagePath, Kind, Owner};
use crate::error::Advice;

/// Entries by path, ordered by path components.
///
/// Parents are made when they are missing, so whatever is written from a tree has every directory
/// before what it holds.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<ImagePath, Entry>);

/// Two entries that cannot both stand in one image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// One path, two contents.
    #[error("two things want to be {path} in the image: one of {first}, one of {second}")]
    Twice {
        /// The path.
        path: ImagePath,
        /// Whose came first.
        first: Box<Owner>,
        /// Whose came second.
        second: Box<Owner>,
    },
    /// Something stands below a file or a link.
    #[error("{path} of {below} stands below {parent} of {above}, which is not a directory")]
    NotADirectory {
        /// The path below.
        path: ImagePath,
        /// Its owner.
        below: Box<Owner>,
        /// What is no directory.
        parent: ImagePath,
        /// Its owner.
        above: Box<Owner>,
    },
}

impl Advice for TreeError {
    fn help(&self) -> Option<String> {
        Some("remove one of the two, or leave one out in the recipe or in .dockerignore".to_owned())
    }
}

impl Tree {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `entry` and the directories above it that are missing. A directory that is there
    /// already stays as it is; anything else that is there twice is an error.
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

    /// Adds or replaces `entry` whatever stands at its path; the directories above it are made.
    pub fn replace(&mut self, entry: Entry) -> Result<(), TreeError> {
        self.0.remove(&entry.path);
        self.insert(entry)
    }

    /// Adds files and links that are ordered by path, of which none is here and whose directories all are: faster than
    /// [`Tree::insert`] for each.
    pub(crate) fn insert_sorted(&mut self, entries: impl Iterator<Item = Entry>) {
        let here = std::mem::take(&mut self.0);
        self.0 = here.into_iter().chain(entries.map(|entry| (entry.path.clone(), entry))).collect();
    }

    /// What stands at `path`.
    pub fn get(&self, path: &ImagePath) -> Option<&Entry> {
        self.0.get(path)
    }

    /// Takes out what stands at `path`.
    pub fn remove(&mut self, path: &ImagePath) -> Option<Entry> {
        self.0.remove(path)
    }

    /// Whether something stands at `path`.
    pub fn contains(&self, path: &ImagePath) -> bool {
        self.0.contains_key(path)
    }

    /// All entries, ordered by path components.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.0.values()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of all files as far as they are known before they are read.
    pub fn size_hint(&self) -> u64 {
        self.iter().map(Entry::size_hint).sum()
    }

    /// The number of regular files.
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
