//! Changes to a plan before an image is built of it.

use super::extra::ExtraEntries;
use super::layers::SOURCE;
use super::{AppendedLayer, ExtraLayer, Plan, PlanError, PlannedLayer};
use crate::tree::{Entry, ImagePath, Tree, TreeError};

impl Plan {
    /// Adds a layer below the source, equal to the one that
    /// [`Builder::layer`](crate::builder::Builder::layer) makes.
    ///
    /// # Errors
    /// Fails for an invalid entry, and if an entry conflicts with another of the plan or of the base.
    pub fn add_layer(&mut self, layer: &ExtraLayer) -> Result<(), PlanError> {
        let ExtraEntries { name, reason, replacing, entries } = layer.entries()?;
        let appended = self.appended.iter().map(AppendedLayer::name);
        if self.layers.iter().map(|layer| layer.name.as_str()).chain(appended).any(|known| known == name) {
            return Err(PlanError::DuplicateLayer(name));
        }
        let entries = match &self.context.base {
            Some(base) => base.view.graft(entries).map_err(Box::new)?,
            None => entries,
        };
        let is_source = |layer: &PlannedLayer| layer.name == SOURCE;
        let at = self.layers.iter().rposition(is_source).unwrap_or(self.layers.len());
        let tree = added_tree(self.layers.get(..at).unwrap_or_default(), entries)?;
        for (number, other) in self.layers.iter().enumerate() {
            let replaces = replacing && number < at;
            tree.iter().try_for_each(|entry| refuse_conflict((&tree, entry), &other.tree, replaces))?;
        }
        self.layers.insert(at, PlannedLayer { name, reason, tree });
        Ok(())
    }

    /// Returns the layer `name`, to add, replace and remove entries of its tree.
    ///
    /// # Errors
    /// Fails if there is none.
    pub fn layer_mut(&mut self, name: &str) -> Result<&mut PlannedLayer, PlanError> {
        let found = self.layers.iter_mut().find(|layer| layer.name == name);
        found.ok_or_else(|| PlanError::NoLayer(name.to_owned()))
    }
}

/// Makes the tree of an added layer. Its directories get the attributes that they have in a layer
/// `below`.
fn added_tree(below: &[PlannedLayer], entries: Vec<Entry>) -> Result<Tree, TreeError> {
    let known = |path: &ImagePath| {
        let found = below.iter().rev().find_map(|layer| layer.tree.get(path));
        found.filter(|entry| entry.is_directory())
    };
    let mut tree = Tree::new();
    let (directories, files): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(Entry::is_directory);
    for entry in directories.into_iter().chain(files) {
        for parent in entry.path.parents().filter_map(|parent| known(&parent)) {
            tree.insert(Entry { owner: entry.owner.clone(), ..parent.clone() })?;
        }
        match known(&entry.path).filter(|_| entry.is_directory()) {
            Some(lower) => tree.insert(Entry { owner: entry.owner, ..lower.clone() })?,
            None => tree.insert(entry)?,
        }
    }
    Ok(tree)
}

/// Refuses `entry` of `tree` if the tree of another layer has something else at its path. A file
/// over a file is accepted if it `replaces`.
pub(super) fn refuse_conflict(
    (tree, entry): (&Tree, &Entry),
    other: &Tree,
    replaces: bool,
) -> Result<(), TreeError> {
    let Some(there) = other.get(&entry.path) else { return Ok(()) };
    let below = |tree: &Tree| {
        let inside = |inner: &&Entry| inner.path != entry.path && inner.path.starts_with(&entry.path);
        tree.iter().find(inside).map(|inner| (inner.path.clone(), Box::new(inner.owner.clone())))
    };
    let (child, parent) = match (there.is_directory(), entry.is_directory()) {
        (true, true) => return Ok(()),
        (false, false) if replaces => return Ok(()),
        (false, false) => (None, entry),
        (true, false) => (below(other), entry),
        (false, true) => (below(tree), there),
    };
    Err(match child {
        Some((path, below)) => TreeError::NotADirectory {
            path,
            below,
            parent: parent.path.clone(),
            above: Box::new(parent.owner.clone()),
        },
        None => TreeError::Twice {
            path: entry.path.clone(),
            first: Box::new(there.owner.clone()),
            second: Box::new(entry.owner.clone()),
        },
    })
}
