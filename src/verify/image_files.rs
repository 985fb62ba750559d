//! The merged paths of an image's layers.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::VerifyRule as Rule;
use super::findings::Findings;
use super::layer_files::{LayerFiles, LayerNode};
use crate::tree::ImagePath;

/// Verifies the relations of layers, lowest first: whiteouts, hard links and parents. `None` is a
/// layer that was not read; then the layers above cannot be verified.
pub(super) fn verify<'a>(
    layers: impl Iterator<Item = (&'a str, Option<&'a LayerFiles>)>,
    findings: &mut Findings,
) {
    let mut below: BTreeMap<ImagePath, LayerNode> = BTreeMap::new();
    for (name, files) in layers {
        let Some(files) = files else { return };
        for gone in &files.whiteouts {
            if !below.contains_key(gone) && !has_below(&below, gone) {
                let message = "whiteouts of paths that the layers below lack";
                findings.add_path(Rule::WhiteoutOfNothing, name, message, gone.to_string());
            }
        }
        for (path, target) in &files.links {
            match below.get(target) {
                _ if target == path => {
                    findings.add_path(Rule::HardLink, name, "hard links to themselves", path.to_string());
                }
                None => findings.add_path(Rule::HardLink, name, "hard links to nothing", path.to_string()),
                Some(LayerNode::Directory) => {
                    findings.add_path(Rule::HardLink, name, "hard links to directories", path.to_string());
                }
                Some(_) => {
                    let message = "hard links to files of lower layers";
                    findings.add_path(Rule::HardLinkBelow, name, message, path.to_string());
                }
            }
        }
        for gone in &files.whiteouts {
            remove_below(&mut below, gone);
            below.remove(gone);
        }
        for directory in &files.opaque {
            remove_below(&mut below, directory);
        }
        parents(name, files, &below, findings);
        for (path, node) in &files.nodes {
            if *node != LayerNode::Directory {
                remove_below(&mut below, path);
            }
            below.insert(path.clone(), *node);
        }
    }
}

/// Verifies that members are below directories of lower layers, if their own layer has none.
fn parents(name: &str, files: &LayerFiles, below: &BTreeMap<ImagePath, LayerNode>, findings: &mut Findings) {
    let mut near = None;
    for path in files.nodes.keys() {
        let Some(parent) = path.parent() else { continue };
        if near.as_ref() == Some(&parent) {
            continue;
        }
        // The directory of the same layer takes the place of the path below.
        let above: Vec<ImagePath> = path.parents().collect();
        let missing = above.into_iter().rev().take_while(|above| !files.nodes.contains_key(above));
        let found = missing.filter_map(|above| below.get(&above).copied());
        match found.into_iter().find(|node| *node != LayerNode::Directory) {
            Some(LayerNode::Symlink) => {
                let message = "members below symbolic links of lower layers";
                findings.add_path(Rule::BelowLink, name, message, path.to_string());
            }
            Some(_) => {
                let message = "members below paths that are not directories in lower layers";
                findings.add_path(Rule::NotADirectory, name, message, path.to_string());
            }
            None => near = Some(parent),
        }
    }
}

fn has_below(nodes: &BTreeMap<ImagePath, LayerNode>, directory: &ImagePath) -> bool {
    let next = nodes.range::<ImagePath, _>((Bound::Excluded(directory), Bound::Unbounded)).next();
    next.is_some_and(|(path, _)| path.starts_with(directory))
}

fn remove_below(nodes: &mut BTreeMap<ImagePath, LayerNode>, directory: &ImagePath) {
    let range = nodes.range::<ImagePath, _>((Bound::Excluded(directory), Bound::Unbounded));
    let below: Vec<ImagePath> =
        range.take_while(|(path, _)| path.starts_with(directory)).map(|(path, _)| path.clone()).collect();
    for path in below {
        nodes.remove(&path);
    }
}
