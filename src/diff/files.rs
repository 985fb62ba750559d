//! The paths of two images.

use std::collections::BTreeMap;

use super::{DiffKind, FileDiff, FileState};
use crate::base::{
    BaseError, ContentKey, FoundContent, NodeKind, View, ViewNode, WantedContent, read_contents,
};
use crate::image::{Image, Layer};
use crate::progress::Progress;
use crate::tree::ImagePath;

/// The merged files of both images.
pub(super) struct Views<'a> {
    pub(super) old: &'a View,
    pub(super) new: &'a View,
    layers: Vec<&'a Layer>,
}

impl<'a> Views<'a> {
    pub(super) fn new(
        (old, old_image): (&'a View, &'a Image),
        (new, new_image): (&'a View, &'a Image),
    ) -> Self {
        let layers = old_image.layers.iter().chain(&new_image.layers).collect();
        Self { old, new, layers }
    }

    /// Reads contents of either image.
    pub(super) fn read(
        &self,
        wanted: &BTreeMap<ContentKey, WantedContent>,
        progress: &dyn Progress,
    ) -> Result<BTreeMap<ContentKey, FoundContent>, BaseError> {
        read_contents(&self.layers, wanted, progress)
    }
}

/// Returns the different paths, in order.
pub(super) fn compare(views: &Views<'_>, progress: &dyn Progress) -> Result<Vec<FileDiff>, BaseError> {
    let mut wanted = BTreeMap::new();
    let mut open = Vec::new();
    let mut found = Vec::new();
    for (path, old) in views.old.iter() {
        let Some(new) = views.new.lookup(path) else {
            found.push((path, difference(path, DiffKind::Removed, Some(old), None)));
            continue;
        };
        let properties = properties(old, new);
        let keys = views.old.content_key(old).zip(views.new.content_key(new));
        let same_content = keys.is_none_or(|(old, new)| old == new);
        if let Some((old_key, new_key)) = keys.filter(|_| !same_content && old.size == new.size) {
            wanted.insert(old_key, WantedContent::Digest);
            wanted.insert(new_key, WantedContent::Digest);
            open.push((path, old, new, properties, old_key, new_key));
        } else if !properties.is_empty() {
            found.push((path, changed(path, properties, old, new)));
        }
    }
    for (path, new) in views.new.iter().filter(|(path, _)| views.old.lookup(path).is_none()) {
        found.push((path, difference(path, DiffKind::Added, None, Some(new))));
    }
    let contents = views.read(&wanted, progress)?;
    for (path, old, new, mut properties, old_key, new_key) in open {
        if contents.get(&old_key) != contents.get(&new_key) {
            properties.push("content");
        }
        if !properties.is_empty() {
            found.push((path, changed(path, properties, old, new)));
        }
    }
    found.sort_by_key(|(path, _)| *path);
    Ok(found.into_iter().map(|(_, file)| file).collect())
}

/// Returns the properties that differ without reading content.
fn properties(old: &ViewNode, new: &ViewNode) -> Vec<&'static str> {
    let mut properties = Vec::new();
    let same_type = std::mem::discriminant(&old.kind) == std::mem::discriminant(&new.kind);
    let is_link = |node: &ViewNode| matches!(node.kind, NodeKind::Symlink(_));
    if !same_type {
        properties.push("type");
    } else if is_link(old) && old.kind != new.kind {
        properties.push("target");
    } else if old.size != new.size {
        properties.push("content");
    }
    // The mode of a link has no meaning.
    if old.mode != new.mode && !(is_link(old) && is_link(new)) {
        properties.push("mode");
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        properties.push("owner");
    }
    properties
}

fn changed(path: &ImagePath, properties: Vec<&'static str>, old: &ViewNode, new: &ViewNode) -> FileDiff {
    FileDiff { properties, ..difference(path, DiffKind::Changed, Some(old), Some(new)) }
}

fn difference(path: &ImagePath, kind: DiffKind, old: Option<&ViewNode>, new: Option<&ViewNode>) -> FileDiff {
    let is_file = old.or(new).is_some_and(|node| node.kind == NodeKind::File);
    FileDiff {
        path: path.to_string(),
        kind,
        properties: Vec::new(),
        old: old.map(FileState::of),
        new: new.map(FileState::of),
        owner: None,
        bytecode: is_file && path.as_str().ends_with(".pyc"),
    }
}

impl FileState {
    fn of(node: &ViewNode) -> Self {
        let (r#type, target) = match &node.kind {
            NodeKind::File => ("file", None),
            NodeKind::Directory => ("directory", None),
            NodeKind::Symlink(target) => ("link", Some(target.to_string())),
            NodeKind::Device => ("device", None),
        };
        Self {
            r#type,
            mode: format!("{:04o}", node.mode),
            owner: format!("{}:{}", node.uid, node.gid),
            size: node.size,
            target,
        }
    }
}
