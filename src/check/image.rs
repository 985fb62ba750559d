//! [`CheckedImage`]: the image that rules look at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::collect::Collection;
use super::config::CheckedConfig;
use super::distributions::{self, CheckedDistribution};
use super::error::CheckError;
use super::node::{CheckedNode, NodeContent, NodeOrigin};
use super::pythons::{self, CheckedPython};
use super::user::CheckedUser;
use crate::base::{
    FinalLink, LinkNode, LinkTree, NodeKind, OnMissing, Overlay, View, ViewNode, resolve_path,
};
use crate::context::IgnoreSource;
use crate::digest::Digest;
use crate::elf::{Description, RootFiles as _};
use crate::image::{HistoryLine, Image, ImageConfig, Process};
use crate::plan::Plan;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::tree::{Entry, ImagePath, Kind, Owner, Time};

/// The largest file that is read whole, in bytes.
const READ_LIMIT: u64 = 16 << 20;
/// The `created_by` of layers that this program wrote begins with this.
const OWN_HISTORY: &str = "ipo-oci: ";

/// An image as data: merged files, configuration, Pythons and distributions.
#[derive(Debug)]
pub struct CheckedImage {
    pub(super) platform: Platform,
    pub(super) config: CheckedConfig,
    /// The files for the loader of the image.
    pub(super) files: Arc<Overlay>,
    /// True for the files of a plan, of which base files have no bytes.
    pub(super) is_planned: bool,
    /// The Pythons with the directories of their distributions.
    pub(super) pythons: Vec<CheckedPython>,
    pub(super) distributions: Vec<CheckedDistribution>,
    /// Normalized names of distributions that may be missing.
    pub(super) allowed_missing: BTreeSet<String>,
    /// The project of a planned image.
    pub(super) project: Option<SourceFolder>,
    /// Name, bytes on disk and files of each layer above the base.
    pub(super) layers: Vec<CheckedLayer>,
    nodes: BTreeMap<ImagePath, CheckedNode>,
    /// The distribution that lists a path in its `RECORD`.
    recorded: HashMap<ImagePath, usize>,
    collection: Option<Collection>,
}

/// The project's folder of a planned image.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SourceFolder {
    /// The folder on this machine.
    pub root: PathBuf,
    /// The folder's place in the image.
    pub workdir: ImagePath,
    /// The source of ignore rules.
    pub ignore: IgnoreSource,
}

impl SourceFolder {
    /// Names the folder `root`, whose files are below `workdir` in the image.
    pub fn new(root: impl Into<PathBuf>, workdir: ImagePath) -> Self {
        Self { root: root.into(), workdir, ignore: IgnoreSource::Default }
    }

    /// Sets the source of ignore rules.
    #[must_use]
    pub fn with_ignore(mut self, ignore: IgnoreSource) -> Self {
        self.ignore = ignore;
        self
    }
}

/// A layer above the base.
#[derive(Debug, Clone)]
pub(super) struct CheckedLayer {
    pub(super) name: String,
    /// Its regular files.
    pub(super) files: Vec<ImagePath>,
}

impl CheckedImage {
    /// Makes the image of a plan, whose files are not read yet. `project` names the places of the
    /// source.
    ///
    /// # Errors
    /// If the files contradict the base, or the configuration cannot be made.
    pub fn of_plan(plan: &Plan, project: Option<SourceFolder>) -> Result<Self, CheckError> {
        let view = match &plan.context.base {
            Some(base) => base.view.clone(),
            None => Arc::new(View::empty()),
        };
        Self::planned(plan, view, project).map(Self::with_pythons)
    }

    /// Makes the part of an image that the layers of `plan` have, without the base and without cached
    /// layers. Rules on the environment find no Python in it.
    pub(crate) fn of_upper_layers(plan: &Plan, project: SourceFolder) -> Result<Self, CheckError> {
        Self::planned(plan, Arc::new(View::empty()), Some(project))
    }

    /// Replaces the configuration by that of another process of the plan.
    pub(crate) fn set_process(&mut self, plan: &Plan, process: &Process) -> Result<(), CheckError> {
        self.config = parse_config(&config_of_plan(plan, process)?)?;
        Ok(())
    }

    fn planned(plan: &Plan, view: Arc<View>, project: Option<SourceFolder>) -> Result<Self, CheckError> {
        let mut nodes: BTreeMap<ImagePath, CheckedNode> =
            view.iter().map(|(path, node)| (path.clone(), of_view(node, NodeOrigin::Base))).collect();
        let entries = || plan.layers.iter().flat_map(|layer| layer.tree.iter());
        for entry in entries() {
            let path = view.destination(&entry.path)?;
            let node = of_entry(entry);
            let repeats = node.is_directory() && nodes.get(&path).is_some_and(CheckedNode::is_directory);
            if !repeats {
                nodes.insert(path, node);
            }
        }
        for layer in &plan.appended {
            for (path, node) in layer.view().iter() {
                nodes.insert(path.clone(), of_view(node, NodeOrigin::Own));
            }
        }
        let files = Arc::new(Overlay::new(view, entries())?);
        let layers = plan.layers.iter().map(|layer| CheckedLayer {
            name: layer.name.clone(),
            files: layer.tree.iter().filter(|entry| is_file(entry)).map(|entry| entry.path.clone()).collect(),
        });
        Ok(Self {
            platform: plan.platform.clone(),
            config: parse_config(&config_of_plan(plan, &plan.process)?)?,
            files,
            is_planned: true,
            pythons: Vec::new(),
            distributions: Vec::new(),
            allowed_missing: BTreeSet::new(),
            project,
            layers: layers.collect(),
            nodes,
            recorded: HashMap::new(),
            collection: None,
        })
    }

    /// Reads a stored image. The layers' indexes are cached in `cache`.
    ///
    /// # Errors
    /// If a layer cannot be read, or differs from the image's description.
    pub fn of_image(
        image: &Image,
        cache: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Self, CheckError> {
        let view = Arc::new(View::of(image, cache, progress)?);
        let config = parse_config(&image.config)?;
        let own = first_own_layer(&image.config, image.layers.len());
        let origin = |node: &ViewNode| if node.layer >= own { NodeOrigin::Own } else { NodeOrigin::Base };
        let mut nodes: BTreeMap<ImagePath, CheckedNode> =
            view.iter().map(|(path, node)| (path.clone(), of_view(node, origin(node)))).collect();
        let collection = Collection::of(&view, |path, content| {
            if let Some(node) = nodes.get_mut(path) {
                node.content = content;
            }
        })?;
        let names = layer_names(&image.config);
        let mut layers: Vec<CheckedLayer> = (0..image.layers.len())
            .map(|number| CheckedLayer {
                name: names.get(number).cloned().unwrap_or_else(|| (number + 1).to_string()),
                files: Vec::new(),
            })
            .collect();
        for (path, node) in view.iter().filter(|(_, node)| node.kind == NodeKind::File) {
            if let Some(layer) = usize::try_from(node.layer).ok().and_then(|number| layers.get_mut(number)) {
                layer.files.push(path.clone());
            }
        }
        let layers = layers.split_off(usize::try_from(own).unwrap_or(0).min(layers.len()));
        let image = Self {
            platform: image.platform.clone(),
            config,
            files: Arc::new(Overlay::with_own(view, own)),
            is_planned: false,
            pythons: Vec::new(),
            distributions: Vec::new(),
            allowed_missing: BTreeSet::new(),
            project: None,
            layers,
            nodes,
            recorded: HashMap::new(),
            collection: Some(collection),
        };
        Ok(image.with_pythons())
    }

    fn with_pythons(mut self) -> Self {
        self.pythons = pythons::find(&self);
        self.distributions = distributions::find(&self);
        let mut recorded = HashMap::new();
        for (index, distribution) in self.distributions.iter().enumerate() {
            for path in &distribution.files {
                recorded.entry(path.clone()).or_insert(index);
            }
        }
        self.recorded = recorded;
        self
    }

    /// Allows distributions of these normalized names to be missing.
    pub(crate) fn allowing_missing(mut self, names: BTreeSet<String>) -> Self {
        self.allowed_missing = names;
        self
    }

    /// Returns the user of the process.
    pub(crate) fn user(&self) -> CheckedUser {
        CheckedUser::of(self)
    }

    /// Returns true if there is a node at `path`.
    pub(crate) fn has(&self, path: &ImagePath) -> bool {
        self.nodes.contains_key(path)
    }

    /// Returns the node at `path`, without following links.
    pub(crate) fn lookup(&self, path: &ImagePath) -> Option<&CheckedNode> {
        self.nodes.get(path)
    }

    /// Resolves `path` through all links. Returns the canonical path and its node.
    pub(crate) fn find(&self, path: &ImagePath) -> Option<(ImagePath, &CheckedNode)> {
        let real = resolve_path(self, path.as_str(), FinalLink::Follow, OnMissing::Refuse).ok()?;
        let node = self.nodes.get(&real)?;
        Some((real, node))
    }

    /// Iterates over all paths and nodes, each directory before its content.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ImagePath, &CheckedNode)> {
        self.nodes.iter()
    }

    /// Iterates over the paths in `directory` that begin with `start`, a beginning of a relative path.
    pub(crate) fn starting_with<'a>(
        &'a self,
        directory: &ImagePath,
        start: &str,
    ) -> impl Iterator<Item = &'a ImagePath> {
        // `/` sorts below every byte of a name, so paths with a beginning in common are a range.
        let from = directory.join(start).ok();
        let range = from
            .clone()
            .map(|from| self.nodes.range::<ImagePath, _>((Bound::Included(from), Bound::Unbounded)));
        let text = from.map(|from| from.as_str().to_owned()).unwrap_or_default();
        range
            .into_iter()
            .flatten()
            .map(|(path, _)| path)
            .take_while(move |path| path.as_str().starts_with(&text))
    }

    /// Iterates over the entries of `directory`. Follows no link.
    pub(crate) fn children<'a>(
        &'a self,
        directory: &'a ImagePath,
    ) -> impl Iterator<Item = (&'a ImagePath, &'a CheckedNode)> {
        let mut at = directory.clone();
        let mut is_first = true;
        std::iter::from_fn(move || {
            let after = if is_first {
                Bound::Excluded(at.clone())
            } else {
                // No name contains this character before another, so this is the end of the subtree.
                Bound::Included(ImagePath::new(&format!("{}\u{1}", at.as_str())).ok()?)
            };
            is_first = false;
            let next = self.nodes.range((after, Bound::Unbounded)).next()?;
            at = next.0.clone();
            next.0.starts_with(directory).then_some(next)
        })
    }

    /// Returns the bytes of the file at `path`, without following links; `None` if they are not
    /// available or too many.
    pub(crate) fn read(&self, path: &ImagePath) -> Option<Vec<u8>> {
        let node = self.nodes.get(path).filter(|node| node.is_file() && node.size <= READ_LIMIT)?;
        match &node.content {
            NodeContent::Unknown => self.files.view().retained_bytes(path).map(<[u8]>::to_vec),
            NodeContent::Planned(content) => content.read().ok(),
            NodeContent::Collected { offset, length } if *length == node.size => {
                self.collection.as_ref()?.read(*offset, *length, READ_LIMIT)
            }
            NodeContent::Collected { .. } => None,
        }
    }

    /// Returns up to `limit` bytes from the start of the file at `path`, without following links.
    pub(crate) fn start(&self, path: &ImagePath, limit: usize) -> Option<Vec<u8>> {
        let node = self.nodes.get(path).filter(|node| node.is_file())?;
        match &node.content {
            NodeContent::Unknown => {
                let line = self.files.view().interpreter_line(path)?;
                Some([b"#!", line.as_bytes()].concat())
            }
            NodeContent::Planned(content) => {
                let (mut open, mut bytes) = (content.open().ok()?, Vec::new());
                while bytes.len() < limit && open.read_some(&mut bytes).ok()? > 0 {}
                bytes.truncate(limit);
                Some(bytes)
            }
            NodeContent::Collected { offset, length } => {
                self.collection.as_ref()?.read(*offset, *length, limit as u64)
            }
        }
    }

    /// Returns the text of the file at `path`, without following links; invalid UTF-8 is replaced.
    pub(crate) fn text(&self, path: &ImagePath) -> Option<String> {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the headers of the ELF file at `path`, without following links; `None` for another
    /// file.
    pub(crate) fn elf(&self, path: &ImagePath) -> Option<Description> {
        let node = self.nodes.get(path).filter(|node| node.is_file())?;
        let name = path.file_name().unwrap_or_default();
        if node.mode & 0o111 == 0 && !name.contains(".so") {
            return None;
        }
        let inside = PathBuf::from(path.to_string());
        let elf = self.files.elf(&inside).ok()??;
        let versions = self.files.versions(&inside).unwrap_or_default();
        Some(Description { elf, versions })
    }

    /// Returns the distribution that lists `path` in its `RECORD`.
    pub(crate) fn recorded_by(&self, path: &ImagePath) -> Option<&CheckedDistribution> {
        self.distributions.get(*self.recorded.get(path)?)
    }

    /// Returns the owner of `path`: from the plan, else the distribution that lists the path.
    pub(crate) fn owner(&self, path: &ImagePath) -> Option<Owner> {
        let planned = self.nodes.get(path).and_then(|node| node.owner.clone());
        planned.or_else(|| self.recorded_by(path).map(CheckedDistribution::owner))
    }

    /// Returns the file of the project behind `path`.
    pub(crate) fn source_file(&self, path: &ImagePath) -> Option<PathBuf> {
        let node = self.nodes.get(path).filter(|node| node.owner == Some(Owner::Source))?;
        let NodeContent::Planned(content) = &node.content else { return None };
        let file = content.host_file()?.path.clone();
        let root = self.project.as_ref().map(|project| project.root.as_path());
        let below = root.and_then(|root| file.strip_prefix(root).ok());
        Some(below.map_or_else(|| file.to_path_buf(), Path::to_path_buf))
    }

    /// Returns true for a file of the application: planned source, or a file of an own layer that
    /// is in the working directory and not below an environment.
    pub(crate) fn is_source(&self, path: &ImagePath) -> bool {
        let Some(node) = self.nodes.get(path).filter(|node| node.is_own()) else { return false };
        if self.is_planned {
            return node.owner == Some(Owner::Source);
        }
        let workdir = self.config.workdir.as_deref().and_then(|path| ImagePath::new(path).ok());
        let in_workdir = workdir.is_some_and(|workdir| !workdir.is_root() && path.starts_with(&workdir));
        in_workdir && !self.pythons.iter().any(|python| python.has(path))
    }
}

impl LinkTree for CheckedImage {
    fn link_node(&self, path: &ImagePath) -> Option<LinkNode<'_>> {
        Some(match &self.nodes.get(path)?.kind {
            NodeKind::Directory => LinkNode::Directory,
            NodeKind::Symlink(target) => LinkNode::Link(target),
            NodeKind::File | NodeKind::Device => LinkNode::Other,
        })
    }
}

/// Returns the configuration of a plan's image, with the base's.
fn config_of_plan(plan: &Plan, process: &Process) -> Result<Vec<u8>, CheckError> {
    let config = ImageConfig::new(&plan.platform, plan.created, process.clone());
    let annotations = BTreeMap::new();
    let image = match &plan.context.base {
        Some(base) => Image::on_base(&base.image, &config, Vec::new(), &annotations, base.name.as_ref())?,
        None => Image::assemble(&config, Vec::<(_, HistoryLine)>::new(), &annotations)?,
    };
    Ok(image.config.to_vec())
}

fn parse_config(bytes: &[u8]) -> Result<CheckedConfig, CheckError> {
    CheckedConfig::parse(bytes).map_err(|source| CheckError::Config { digest: Digest::of(bytes), source })
}

/// Returns the names of the layers in the history.
fn layer_names(config: &[u8]) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    let history = json.get("history").and_then(serde_json::Value::as_array).into_iter().flatten();
    let lines =
        history.filter(|line| line.get("empty_layer").and_then(serde_json::Value::as_bool) != Some(true));
    lines
        .map(|line| {
            let made = line.get("created_by").and_then(serde_json::Value::as_str).unwrap_or_default();
            made.to_owned()
        })
        .collect()
}

/// Returns the number of the first layer above the base: that of the first history line of this
/// program; 0 without one.
fn first_own_layer(config: &[u8], layers: usize) -> u32 {
    let names = layer_names(config);
    let first = names.iter().position(|name| name.starts_with(OWN_HISTORY));
    let first = first.filter(|first| *first < layers && names.len() == layers).unwrap_or(0);
    u32::try_from(first).unwrap_or(0)
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::File(_))
}

fn of_view(node: &ViewNode, origin: NodeOrigin) -> CheckedNode {
    CheckedNode {
        kind: node.kind.clone(),
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: Some(node.mtime),
        size: node.size,
        origin,
        owner: None,
        file: Some(node.file_number()),
        content: NodeContent::Unknown,
    }
}

fn of_entry(entry: &Entry) -> CheckedNode {
    let (kind, content) = match &entry.kind {
        Kind::Directory => (NodeKind::Directory, NodeContent::Unknown),
        Kind::File(content) => (NodeKind::File, NodeContent::Planned(content.clone())),
        Kind::Symlink(target) => (NodeKind::Symlink(target.as_str().into()), NodeContent::Unknown),
        Kind::HardLink(target) => {
            (NodeKind::Symlink(target.to_string().as_str().into()), NodeContent::Unknown)
        }
    };
    CheckedNode {
        kind,
        mode: entry.mode,
        uid: entry.uid.into(),
        gid: entry.gid.into(),
        mtime: match entry.time {
            Time::At(time) => Some(time),
            Time::FromContent => None,
        },
        size: entry.size_hint(),
        origin: NodeOrigin::Own,
        owner: Some(entry.owner.clone()),
        file: None,
        content,
    }
}
