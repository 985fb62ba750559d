//! The Python distributions of two images, and the files that are theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::files::Views;
use super::{DistributionDiff, FileCounts, FileDiff, FileOwner};
use crate::base::{BaseError, ContentKey, FoundContent, NodeKind, View, WantedContent};
use crate::progress::Progress;
use crate::python::metadata::core_metadata::Metadata;
use crate::python::metadata::record;
use crate::python::normalize;
use crate::tree::ImagePath;

/// The bytes read of a METADATA; the description follows the fields.
const METADATA_BYTES: u64 = 256 << 10;
/// The bytes read of a RECORD. A file with more rows is not parsed.
const RECORD_BYTES: u64 = 32 << 20;
/// Directories with copies of other distributions inside a distribution.
const VENDORED: [&str; 3] = ["_vendor", "vendor", "_vendored"];
/// Directories of distributions.
const SITES: [&str; 2] = ["site-packages", "dist-packages"];

/// A distribution of one image.
#[derive(Debug, Clone)]
struct ImageDistribution {
    /// Normalized name.
    name: String,
    version: String,
    /// The directory with the modules.
    site: ImagePath,
    /// `.dist-info` or `.egg-info`.
    info: ImagePath,
    metadata: Option<ContentKey>,
    record: Option<ContentKey>,
    /// Bytes of its files.
    bytes: u64,
}

/// The distributions of an image, and the distribution of each file.
#[derive(Debug, Default)]
struct ImageDistributions {
    all: Vec<ImageDistribution>,
    owners: HashMap<ImagePath, usize>,
}

/// Compares the distributions, and names them in `files`.
pub(super) fn compare(
    views: &Views<'_>,
    files: &mut [FileDiff],
    progress: &dyn Progress,
) -> Result<Vec<DistributionDiff>, BaseError> {
    let mut old = ImageDistributions { all: listed(views.old), ..ImageDistributions::default() };
    let mut new = ImageDistributions { all: listed(views.new), ..ImageDistributions::default() };
    // Equal metadata need not be read, unless files of the directory differ otherwise.
    let key = |own: &ImageDistribution| (own.info.clone(), own.metadata, own.record);
    let both: BTreeSet<_> = old.all.iter().map(key).collect();
    let both: BTreeSet<_> = new.all.iter().map(key).filter(|own| both.contains(own)).collect();
    let sites: BTreeSet<ImagePath> = old.all.iter().chain(&new.all).map(|own| own.site.clone()).collect();
    let differs = |path: &str| {
        let path = ImagePath::new(path.trim_start_matches('/')).unwrap_or_default();
        path.parents().any(|parent| sites.contains(&parent))
    };
    let read_all = files.iter().any(|file| differs(&file.path));
    let mut wanted = BTreeMap::new();
    for own in old.all.iter().chain(&new.all).filter(|own| read_all || !both.contains(&key(own))) {
        wanted.extend(own.metadata.map(|key| (key, WantedContent::Start(METADATA_BYTES))));
        wanted.extend(own.record.map(|key| (key, WantedContent::Start(RECORD_BYTES + 1))));
    }
    let contents = views.read(&wanted, progress)?;
    old.complete(views.old, &contents);
    new.complete(views.new, &contents);
    let mut counts: BTreeMap<(ImagePath, String), FileCounts> = BTreeMap::new();
    for file in files {
        let Ok(path) = ImagePath::new(file.path.trim_start_matches('/')) else { continue };
        let owner = new.owner(&path).or_else(|| old.owner(&path));
        if let Some(owner) = owner {
            file.owner = Some(FileOwner::Distribution(owner.name.clone()));
            if file.old.iter().chain(&file.new).any(|state| state.r#type != "directory") {
                counts.entry((owner.site.clone(), owner.name.clone())).or_default().add(file);
            }
        }
    }
    Ok(pairs(&old.all, &new.all)
        .into_iter()
        .filter_map(|(old, new, place)| {
            let of = |own: Option<&ImageDistribution>| {
                own.and_then(|own| counts.get(&(own.site.clone(), own.name.clone())))
                    .copied()
                    .unwrap_or_default()
            };
            let mut files = of(new);
            let moved = old.zip(new).is_some_and(|(old, new)| old.site != new.site);
            if moved {
                let more = of(old);
                files.added += more.added;
                files.removed += more.removed;
                files.changed += more.changed;
                files.bytecode += more.bytecode;
            }
            let version = |own: Option<&ImageDistribution>| own.map(|own| own.version.clone());
            let (old_version, new_version) = (version(old), version(new));
            if old_version == new_version && files.is_empty() {
                return None;
            }
            let bytes = |own: Option<&ImageDistribution>| own.map_or(0, |own| own.bytes);
            Some(DistributionDiff {
                name: old.or(new).map(|own| own.name.clone()).unwrap_or_default(),
                place,
                moved,
                old_version,
                new_version,
                old_bytes: bytes(old),
                new_bytes: bytes(new),
                files,
            })
        })
        .collect())
}

type Pair<'a> = (Option<&'a ImageDistribution>, Option<&'a ImageDistribution>, Option<String>);

/// Pairs the distributions of two images: by name and directory, else by name. The directory
/// contains the version of Python, which may differ.
fn pairs<'a>(old: &'a [ImageDistribution], new: &'a [ImageDistribution]) -> Vec<Pair<'a>> {
    let mut names: BTreeMap<&str, [Vec<&ImageDistribution>; 2]> = BTreeMap::new();
    for own in old {
        names.entry(&own.name).or_default()[0].push(own);
    }
    for own in new {
        names.entry(&own.name).or_default()[1].push(own);
    }
    let mut pairs = Vec::new();
    for [mut old, mut new] in names.into_values() {
        let repeated = old.len() > 1 || new.len() > 1;
        let place = |own: &ImageDistribution| repeated.then(|| own.site.to_string());
        let mut matched = Vec::new();
        old.retain(|own| match new.iter().position(|other| other.site == own.site) {
            Some(at) => {
                matched.push((*own, new.remove(at)));
                false
            }
            None => true,
        });
        pairs.extend(matched.into_iter().map(|(old, new)| (Some(old), Some(new), place(new))));
        let mut rest = new.into_iter();
        for old in old {
            let new = rest.next();
            pairs.push((Some(old), new, place(new.unwrap_or(old))));
        }
        pairs.extend(rest.map(|new| (None, Some(new), place(new))));
    }
    pairs
}

/// Lists the distributions of an image, with names and versions from the directory names.
fn listed(view: &View) -> Vec<ImageDistribution> {
    let mut found: BTreeMap<ImagePath, ImageDistribution> = BTreeMap::new();
    for (path, node) in view.iter().filter(|(_, node)| node.kind != NodeKind::Directory) {
        // An egg-info may be a single file.
        let (info, file_name) = match path.file_name() {
            Some(name) if name.ends_with(".egg-info") => (path.clone(), "PKG-INFO"),
            Some(name @ ("METADATA" | "PKG-INFO" | "RECORD")) => (path.parent().unwrap_or_default(), name),
            _ => continue,
        };
        let Some(name) = info.file_name() else { continue };
        let dist_info = name.strip_suffix(".dist-info");
        let Some(stem) = dist_info.or(name.strip_suffix(".egg-info")) else { continue };
        let site = info.parent().unwrap_or_default();
        if is_vendored(&site) {
            continue;
        }
        let (name, version) = stem.split_once('-').unwrap_or((stem, ""));
        let version = version.split("-py").next().unwrap_or_default();
        let (name, version) = (normalize(name), version.to_owned());
        let key = view.content_key(node);
        let own = found.entry(info.clone()).or_insert_with(|| ImageDistribution {
            name,
            version,
            site,
            info,
            metadata: None,
            record: None,
            bytes: 0,
        });
        if file_name == "RECORD" { own.record = key } else { own.metadata = key }
    }
    found.into_values().collect()
}

/// Returns whether a directory belongs to a distribution with copies of others.
fn is_vendored(site: &ImagePath) -> bool {
    let components: Vec<&str> = site.components().collect();
    let inner = components.iter().position(|component| SITES.contains(component));
    components.iter().any(|component| VENDORED.contains(component))
        || inner.is_some_and(|at| at + 1 < components.len())
}

impl ImageDistributions {
    /// Adds names and versions from the metadata, and the owners of files.
    fn complete(&mut self, view: &View, contents: &BTreeMap<ContentKey, FoundContent>) {
        let text = |key: Option<ContentKey>| match contents.get(&key?)? {
            FoundContent::Start(bytes) => Some(bytes.as_slice()),
            FoundContent::Digest(_) => None,
        };
        for (number, own) in self.all.iter_mut().enumerate() {
            if let Some(metadata) = text(own.metadata).and_then(|bytes| Metadata::parse(bytes).ok()) {
                own.name = normalize(&metadata.name);
                own.version = metadata.version;
            }
            let record = text(own.record).filter(|bytes| bytes.len() as u64 <= RECORD_BYTES);
            let rows = record.and_then(|bytes| record::parse(bytes).ok()).unwrap_or_default();
            let in_record = rows.iter().filter_map(|row| resolve(&own.site, &row.path));
            let in_info = view.below(&own.info).map(|(path, _)| path.clone());
            for path in in_record.chain(in_info).chain([own.info.clone()]) {
                self.owners.entry(path).or_insert(number);
            }
        }
        for (path, node) in view.iter().filter(|(_, node)| node.kind == NodeKind::File) {
            if let Some(own) = self.number(path).and_then(|number| self.all.get_mut(number)) {
                own.bytes += node.size;
            }
        }
    }

    fn owner(&self, path: &ImagePath) -> Option<&ImageDistribution> {
        self.all.get(self.number(path)?)
    }

    /// Returns the number of the distribution with a file; bytecode belongs to its module.
    fn number(&self, path: &ImagePath) -> Option<usize> {
        if let Some(number) = self.owners.get(path) {
            return Some(*number);
        }
        let stem = path.file_name()?.strip_suffix(".pyc")?.split('.').next()?;
        let folder = path.parent().filter(|folder| folder.file_name() == Some("__pycache__"))?;
        let module = folder.parent()?.join(&format!("{stem}.py")).ok()?;
        self.owners.get(&module).copied()
    }
}

/// Resolves a row of RECORD, relative to the directory of the distribution.
fn resolve(site: &ImagePath, row: &str) -> Option<ImagePath> {
    if row.starts_with('/') {
        return ImagePath::new(row.trim_start_matches('/')).ok();
    }
    let (mut at, mut rest) = (site.clone(), row);
    while let Some(above) = rest.strip_prefix("../") {
        (at, rest) = (at.parent()?, above);
    }
    at.join(rest).ok()
}
