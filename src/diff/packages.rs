//! The Debian packages of two images, and the files that are theirs.

use std::collections::{BTreeMap, HashMap};

use super::files::Views;
use super::{FileCounts, FileDiff, FileOwner, PackageDiff};
use crate::base::{BaseError, FoundContent, View, WantedContent};
use crate::debian::Package;
use crate::progress::Progress;
use crate::tree::ImagePath;

/// The bytes read of a package's list of files.
const LIST_BYTES: u64 = 32 << 20;
/// The convention of distroless: one paragraph a file.
const STATUS_FILES: &str = "var/lib/dpkg/status.d";
const INFO: &str = "var/lib/dpkg/info";

/// Compares the packages, and names them in `files`.
pub(super) fn compare(
    views: &Views<'_>,
    files: &mut [FileDiff],
    progress: &dyn Progress,
) -> Result<Vec<PackageDiff>, BaseError> {
    let (old, new) = (installed(views.old), installed(views.new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let different: Vec<&String> = names
        .into_iter()
        .filter(|name| old.get(*name).map(|own| &own.version) != new.get(*name).map(|own| &own.version))
        .collect();
    let mut lists = Vec::new();
    for (view, packages) in [(views.old, &old), (views.new, &new)] {
        for name in &different {
            let Some(package) = packages.get(*name) else { continue };
            lists.extend(list(view, package).map(|key| ((*name).clone(), key, view)));
        }
    }
    let wanted = lists.iter().map(|(_, key, _)| (*key, WantedContent::Start(LIST_BYTES))).collect();
    let contents = views.read(&wanted, progress)?;
    let mut owners: HashMap<ImagePath, String> = HashMap::new();
    for (name, key, view) in lists {
        let Some(FoundContent::Start(text)) = contents.get(&key) else { continue };
        for line in String::from_utf8_lossy(text).lines() {
            // A line of `.list` is a path, one of `.md5sums` a sum and a path without a slash.
            let path =
                if line.starts_with('/') { line } else { line.split_once("  ").map_or("", |line| line.1) };
            let Ok(path) = ImagePath::new(path.trim_start_matches('/')) else { continue };
            if path.is_root() {
                continue;
            }
            // `/lib/x` of the list is `/usr/lib/x` where /lib is a link.
            owners.insert(view.destination(&path).unwrap_or(path), name.clone());
        }
    }
    let mut counts: BTreeMap<String, FileCounts> = BTreeMap::new();
    for file in files.iter_mut().filter(|file| file.owner.is_none()) {
        let Ok(path) = ImagePath::new(file.path.trim_start_matches('/')) else { continue };
        // Several packages share a directory.
        let is_directory = file.old.iter().chain(&file.new).all(|state| state.r#type == "directory");
        let database = path.as_str().strip_prefix("var/lib/dpkg/").is_some();
        let name = owners.get(&path).filter(|_| !is_directory).or_else(|| {
            let name = path.file_name().filter(|_| database)?;
            let name = name.split(['.', ':']).next()?;
            different.iter().copied().find(|known| known.as_str() == name)
        });
        if let Some(name) = name {
            file.owner = Some(FileOwner::Package(name.clone()));
            counts.entry(name.clone()).or_default().add(file);
        }
    }
    let version = |packages: &BTreeMap<String, Package>, name: &String| {
        packages.get(name).map(|package| package.version.clone())
    };
    Ok(different
        .into_iter()
        .map(|name| PackageDiff {
            name: name.clone(),
            old_version: version(&old, name),
            new_version: version(&new, name),
            files: counts.get(name).copied().unwrap_or_default(),
        })
        .collect())
}

/// Returns the installed packages by name; a second architecture has its name in the key. A package that is both in
/// `status` and in a file of its own is one.
fn installed(view: &View) -> BTreeMap<String, Package> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for package in view.packages() {
        let key = match packages.get(&package.name) {
            Some(first) if first.architecture == package.architecture => continue,
            Some(_) => format!("{}:{}", package.name, package.architecture),
            None => package.name.clone(),
        };
        packages.insert(key, package);
    }
    packages
}

/// Returns the list of a package's files.
fn list(view: &View, package: &Package) -> Option<crate::base::ContentKey> {
    let Package { name, architecture, .. } = package;
    let paths = [
        format!("{INFO}/{name}:{architecture}.list"),
        format!("{INFO}/{name}.list"),
        format!("{STATUS_FILES}/{name}.md5sums"),
    ];
    paths.iter().find_map(|path| view.content_key(view.lookup(&ImagePath::new(path).ok()?)?))
}
