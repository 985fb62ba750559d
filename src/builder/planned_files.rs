//! [`ImageFiles`] of a plan: a base, planned entries, and for a cached plan the recorded answers
//! about the layers below the source.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::base::ResolvedBase;
use crate::base::{NodeKind, View};
use crate::elf;
use crate::plan::extra::ExtraEntries;
use crate::plan::start::{ExecutableFormat, ImageFiles, LINE_LIMIT, PathNode, Permissions, may_have_module};
use crate::plan::{AppendedLayer, Pieces, PlannedLayer};
use crate::tree::{Content, Entry, ImagePath, Kind};

/// Recorded answers about the layers below the source: nodes by path, modules by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedAnswers {
    nodes: BTreeMap<ImagePath, PathNode>,
    modules: BTreeMap<String, bool>,
}

/// The layers below the source, without those that a program adds.
#[derive(Debug, Clone, Copy)]
pub(super) enum LowerLayerFiles<'a> {
    /// As planned.
    Planned(&'a Pieces),
    /// As recorded by an earlier build.
    Recorded(&'a RecordedAnswers),
    /// All layers of a plan, with the source.
    Layers(&'a [PlannedLayer]),
}

/// The files of a planned image.
pub(super) struct PlannedFiles<'a> {
    base: Option<&'a ResolvedBase>,
    below: LowerLayerFiles<'a>,
    /// The source and the added layers.
    fresh: Vec<&'a Entry>,
    above: &'a [AppendedLayer],
    answers: RefCell<RecordedAnswers>,
}

impl<'a> PlannedFiles<'a> {
    /// Combines the source and the layers `extra` with the layers `below`, the base, and the finished
    /// layers `above`.
    pub(super) fn new(
        base: Option<&'a ResolvedBase>,
        below: LowerLayerFiles<'a>,
        (source, extra): (&'a [Entry], &'a [ExtraEntries]),
        above: &'a [AppendedLayer],
    ) -> Self {
        let fresh = source.iter().chain(extra.iter().flat_map(|layer| &layer.entries)).collect();
        Self { base, below, fresh, above, answers: RefCell::default() }
    }

    /// Returns the recorded answers.
    pub(super) fn into_answers(self) -> RecordedAnswers {
        self.answers.into_inner()
    }

    /// Returns the node at `path` in the planned layers below the source.
    fn below(&self, path: &ImagePath) -> Option<PathNode> {
        let node = match self.below {
            LowerLayerFiles::Planned(pieces) => {
                find(pieces.environment_entries(), path).unwrap_or(PathNode::Absent)
            }
            LowerLayerFiles::Recorded(answers) => answers.nodes.get(path)?.clone(),
            LowerLayerFiles::Layers(layers) => {
                let found = layers.iter().rev().find_map(|layer| layer.tree.get(path));
                found.map_or(PathNode::Absent, node_of)
            }
        };
        self.answers.borrow_mut().nodes.insert(path.clone(), node.clone());
        Some(node)
    }

    fn module_below(&self, name: &str) -> Option<bool> {
        let found = match self.below {
            LowerLayerFiles::Planned(pieces) => may_have_module(paths(pieces.environment_entries()), name)?,
            LowerLayerFiles::Recorded(answers) => *answers.modules.get(name)?,
            LowerLayerFiles::Layers(layers) => {
                may_have_module(paths(layers.iter().flat_map(|layer| layer.tree.iter())), name)?
            }
        };
        self.answers.borrow_mut().modules.insert(name.to_owned(), found);
        Some(found)
    }
}

impl ImageFiles for PlannedFiles<'_> {
    fn node(&self, path: &ImagePath) -> Option<PathNode> {
        let appended = self.above.iter().rev().map(|layer| of_view(layer.view(), path));
        if let Some(node) = appended.into_iter().find(|node| *node != PathNode::Absent) {
            return Some(node);
        }
        let of_source = find(self.fresh.iter().copied(), path);
        if let Some(node) = of_source.clone().filter(|node| !matches!(node, PathNode::Directory(_))) {
            return Some(node);
        }
        let below = self.below(path)?;
        let of_base = || self.base.map_or(PathNode::Absent, |base| of_view(&base.view, path));
        let found = if below == PathNode::Absent { of_base() } else { below };
        Some(if found == PathNode::Absent { of_source.unwrap_or(PathNode::Absent) } else { found })
    }

    fn has_module(&self, name: &str) -> Option<bool> {
        let below = self.module_below(name)?;
        let of_source = || may_have_module(paths(self.fresh.iter().copied()), name);
        let of_base = || match self.base {
            Some(base) => may_have_module(base.view.iter().map(|(path, _)| path), name),
            None => Some(false),
        };
        let appended = || {
            self.above.iter().try_fold(false, |found, layer| {
                Some(found || may_have_module(layer.view().iter().map(|(path, _)| path), name)?)
            })
        };
        Some(below || of_source()? || appended()? || of_base()?)
    }
}

fn paths<'a>(entries: impl Iterator<Item = &'a Entry>) -> impl Iterator<Item = &'a ImagePath> {
    entries.map(|entry| &entry.path)
}

/// Returns the node of `entries` at `path`; a directory if an entry is below.
fn find<'a>(entries: impl Iterator<Item = &'a Entry>, path: &ImagePath) -> Option<PathNode> {
    let mut implied = None;
    for entry in entries.filter(|entry| entry.path.starts_with(path)) {
        if entry.path == *path {
            return Some(node_of(entry));
        }
        implied = Some(PathNode::Directory(Permissions { mode: 0o755, uid: 0, gid: 0 }));
    }
    implied
}

fn node_of(entry: &Entry) -> PathNode {
    let access = Permissions { mode: entry.mode, uid: entry.uid.into(), gid: entry.gid.into() };
    match &entry.kind {
        Kind::Directory => PathNode::Directory(access),
        Kind::Symlink(target) => PathNode::Link(target.clone()),
        Kind::File(content) => PathNode::File(access, format_of(content)),
        Kind::HardLink(_) => PathNode::Other,
    }
}

/// Returns the view's node at `path`, without following links.
fn of_view(view: &View, path: &ImagePath) -> PathNode {
    let Some(node) = view.lookup(path) else { return PathNode::Absent };
    let access = Permissions { mode: node.mode, uid: node.uid, gid: node.gid };
    match &node.kind {
        NodeKind::Directory => PathNode::Directory(access),
        NodeKind::Symlink(target) => PathNode::Link(target.to_string()),
        NodeKind::Device => PathNode::Other,
        NodeKind::File => {
            let format = match (view.description(path), view.interpreter_line(path)) {
                (Some(found), _) => ExecutableFormat::Elf(found.elf.interpreter.clone()),
                (None, Some(line)) => ExecutableFormat::Script(line),
                (None, None) if node.size == 0 => ExecutableFormat::Plain,
                (None, None) => ExecutableFormat::Unknown,
            };
            PathNode::File(access, format)
        }
    }
}

/// Returns the executable format of a file.
fn format_of(content: &Content) -> ExecutableFormat {
    let Some(start) = start_of(content) else { return ExecutableFormat::Unknown };
    if start.starts_with(b"\x7fELF") {
        // Transforms do not change the name of the loader.
        let header = content.host_file().and_then(|file| elf::read(&file.path).ok()?);
        return header.map_or(ExecutableFormat::Unknown, |header| ExecutableFormat::Elf(header.interpreter));
    }
    ExecutableFormat::of_start(&start)
}

/// Returns the first bytes of a file.
fn start_of(content: &Content) -> Option<Vec<u8>> {
    match content {
        Content::Host(file) | Content::Patched { file, .. } => file.read_start(LINE_LIMIT).ok(),
        Content::Bytes(bytes) => Some(bytes.get(..bytes.len().min(LINE_LIMIT))?.to_vec()),
        Content::Derived { file, .. } if file.read_start(4).ok()? == b"\x7fELF" => Some(b"\x7fELF".to_vec()),
        Content::Derived { .. } | Content::External { .. } => {
            let (mut open, mut start) = (content.open().ok()?, Vec::new());
            while start.len() < LINE_LIMIT && open.read_some(&mut start).ok()? > 0 {}
            start.truncate(LINE_LIMIT);
            Some(start)
        }
    }
}
