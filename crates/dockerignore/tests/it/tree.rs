//! Trees in memory, and walks over them.

use std::collections::BTreeMap;

use dockerignore::{Dockerignore, Error, Fate, Node};

/// A directory: its entries by name; `None` for files.
#[derive(Debug, Default)]
pub(crate) struct Directory(BTreeMap<String, Option<Directory>>);

/// Directories that a walk reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    All,
    UnlessPruned,
}

impl Directory {
    pub(crate) fn new(files: &[String]) -> Self {
        let mut root = Self::default();
        for file in files {
            let (folders, name) = match file.rsplit_once('/') {
                Some((folders, name)) => (folders.split('/').collect(), name),
                None => (Vec::new(), file.as_str()),
            };
            let mut at = &mut root;
            for folder in folders {
                let entry = at.0.entry(folder.to_owned()).or_insert_with(|| Some(Self::default()));
                at = entry.as_mut().expect("no path is a file and a directory");
            }
            at.0.insert(name.to_owned(), None);
        }
        root
    }

    /// Returns the kept files, sorted.
    pub(crate) fn kept(&self, ignore: &Dockerignore, reads: Reads) -> Result<Vec<String>, Error> {
        let mut kept = Vec::new();
        self.walk(&ignore.root(), reads, &mut kept)?;
        kept.sort();
        Ok(kept)
    }

    fn walk(&self, node: &Node<'_>, reads: Reads, kept: &mut Vec<String>) -> Result<(), Error> {
        for (name, entry) in &self.0 {
            let child = node.child(name)?;
            match entry {
                None if child.fate() == Fate::Kept => kept.push(child.path().to_owned()),
                None => {}
                Some(_) if reads == Reads::UnlessPruned && child.may_prune() => {}
                Some(directory) => directory.walk(&child, reads, kept)?,
            }
        }
        Ok(())
    }
}
