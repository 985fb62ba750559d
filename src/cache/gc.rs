//! Garbage collection of the cache folder: listing, verifying, pruning.
//!
//! Everything in the folder is removable at any time, also during builds: a build links the blobs
//! in use under names of its own, and rebuilds the rest.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{PYTHONS_FOLDER, Record, codec, folder, paths, prepared};
use crate::digest::Digest;
use crate::error::FileError;
use crate::staging::{abandoned, is_staging};

/// The file that marks a folder as a cache for backup programs (bford.info/cachedir).
const TAG: (&str, &str) = (
    "CACHEDIR.TAG",
    "Signature: 8a477f597d28d172789f06886806bc55\n# What ipo-oci can make or fetch again. https://bford.info/cachedir/\n",
);

/// An entry of the cache: removed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The kind.
    pub kind: CacheEntryKind,
    /// The display name: a layer's name or a file name.
    pub name: String,
    /// The digest, for blobs.
    pub digest: Option<Digest>,
    /// Size on disk, from the files' metadata.
    pub bytes: u64,
    /// The last use, if known: seconds since 1970.
    pub used: i64,
    paths: Vec<PathBuf>,
}

/// The kinds of cache entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheEntryKind {
    /// Built layers.
    Layer,
    /// Facts about files and layers.
    Memory,
    /// Blobs and documents of registries.
    Registry,
    /// Compiled modules.
    Bytecode,
    /// Indexes of the layers of bases.
    View,
    /// Virtual environments.
    Environment,
    /// Pythons of bases, to be started on this machine.
    Python,
    /// Files that commands of a project made.
    Prepared,
    /// Indexes and packages of archives.
    Packages,
    /// Left by killed builds.
    Abandoned,
    /// Left by other versions of the program, or unknown.
    Other,
}

/// A blob that does not match its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damaged {
    /// The removed file.
    pub path: PathBuf,
    /// The mismatch or read error.
    pub reason: String,
}

/// The outcome of [`prune`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Removed entries.
    pub removed: usize,
    /// Removed bytes.
    pub bytes: u64,
    /// Remaining bytes.
    pub left: u64,
}

impl CacheEntryKind {
    /// All kinds, in display order.
    pub const ALL: [Self; 11] = [
        Self::Layer,
        Self::Memory,
        Self::Registry,
        Self::Bytecode,
        Self::View,
        Self::Environment,
        Self::Python,
        Self::Prepared,
        Self::Packages,
        Self::Abandoned,
        Self::Other,
    ];

    /// Returns the display name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "layers",
            Self::Memory => "memory of files",
            Self::Registry => "registries",
            Self::Bytecode => "bytecode",
            Self::View => "views of bases",
            Self::Environment => "environments",
            Self::Python => "Pythons of bases",
            Self::Prepared => "prepared files",
            Self::Packages => "packages",
            Self::Abandoned => "abandoned work",
            Self::Other => "other",
        }
    }
}

/// Lists the cache folder, most recently used first. A missing folder is empty.
pub fn list(cache: &Path) -> Result<Vec<CacheEntry>, FileError> {
    let entries = match fs_err::read_dir(cache) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::new("list", cache, error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| FileError::new("list", cache, error))?;
        let path = entry.path();
        match entry.file_name().to_str() {
            Some("layers") => layers(&path, &mut all),
            Some("registry") => {
                all.extend(files(&path).map(|file| file_entry(CacheEntryKind::Registry, file)));
            }
            Some("apt") => {
                all.extend(files(&path).map(|file| file_entry(CacheEntryKind::Packages, file)));
            }
            Some("bytecode") => {
                all.extend(files(&path).map(|file| file_entry(CacheEntryKind::Bytecode, file)));
            }
            Some("layer-views") => {
                all.extend(files(&path).map(|file| file_entry(CacheEntryKind::View, file)));
            }
            Some("venv") => {
                all.extend(children(&path).map(|path| folder_entry(CacheEntryKind::Environment, path)));
            }
            Some(PYTHONS_FOLDER) => {
                all.extend(children(&path).map(|path| folder_entry(CacheEntryKind::Python, path)));
            }
            Some(prepared::FOLDER) => {
                all.extend(children(&path).map(|path| folder_entry(CacheEntryKind::Prepared, path)));
            }
            // In use by a build, or listed among the abandoned ones below.
            Some(name) if is_staging(name) => {}
            Some(name) if name == TAG.0 => {}
            _ => all.push(folder_entry(CacheEntryKind::Other, path)),
        }
    }
    all.extend(abandoned(cache).into_iter().map(|path| folder_entry(CacheEntryKind::Abandoned, path)));
    all.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| (a.kind, &a.name).cmp(&(b.kind, &b.name))));
    Ok(all)
}

/// Reads every blob and removes the damaged ones.
pub fn verify(cache: &Path) -> Result<Vec<Damaged>, FileError> {
    let mut damaged = Vec::new();
    for entry in list(cache)? {
        let (Some(digest), Some(path)) = (entry.digest, entry.paths.first()) else { continue };
        let reason = match File::open(path).and_then(|mut file| Digest::of_reader(&mut file)) {
            Ok((found, _)) if found == digest => continue,
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok((found, _)) => format!("digest mismatch: its bytes have the digest {found}"),
            Err(error) => format!("cannot read the file: {error}"),
        };
        let path = path.clone();
        remove(&entry)?;
        damaged.push(Damaged { path, reason });
    }
    remove_stale_records(cache);
    damaged.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(damaged)
}

/// Removes the leftovers of killed builds and of other versions; then, if `most` is given, the
/// least recently used entries until at most `most` bytes remain.
pub fn prune(cache: &Path, most: Option<u64>) -> Result<Pruned, FileError> {
    let (gone, mut entries): (Vec<CacheEntry>, Vec<CacheEntry>) = list(cache)?
        .into_iter()
        .partition(|entry| matches!(entry.kind, CacheEntryKind::Abandoned | CacheEntryKind::Other));
    let mut pruned = Pruned { left: entries.iter().map(|entry| entry.bytes).sum(), ..Pruned::default() };
    for entry in &gone {
        remove(entry)?;
        pruned.removed += 1;
        pruned.bytes += entry.bytes;
    }
    while most.is_some_and(|most| pruned.left > most) {
        let Some(last) = entries.pop() else { break };
        remove(&last)?;
        pruned.removed += 1;
        pruned.bytes += last.bytes;
        pruned.left -= last.bytes;
    }
    remove_stale_records(cache);
    Ok(pruned)
}

/// Tags the folder as a cache, so that backup programs and later builds skip the folder.
pub(crate) fn mark(cache: &Path) {
    let path = cache.join(TAG.0);
    if !path.exists() {
        let _ = fs_err::write(path, TAG.1);
    }
}

/// Adds this version's layers and the facts about them, and the leftovers of other versions.
fn layers(folder: &Path, all: &mut Vec<CacheEntry>) {
    for path in children(folder) {
        if path.file_name() != paths::root(Path::new("")).file_name() {
            all.push(folder_entry(CacheEntryKind::Other, path));
            continue;
        }
        let names = names(&path);
        for (file, metadata) in files(&path) {
            let below = file.strip_prefix(&path).ok();
            let top = below.and_then(|below| below.iter().next()).and_then(|top| top.to_str());
            match top {
                Some("blobs") => {
                    let Some(digest) = digest_of(&file) else { continue };
                    let verified = paths::below(&path.join("verified"), digest);
                    let used =
                        fs_err::symlink_metadata(&verified).map_or(metadata.mtime(), |file| file.mtime());
                    let name = names.get(&digest).cloned().unwrap_or_default();
                    let bytes = metadata.len();
                    let paths = vec![file, verified];
                    all.push(CacheEntry {
                        kind: CacheEntryKind::Layer,
                        name,
                        digest: Some(digest),
                        bytes,
                        used,
                        paths,
                    });
                }
                // Verifications go with their blob; locks stay, since waiting processes have them
                // open.
                Some("verified" | "making") => {}
                _ => all.push(file_entry(CacheEntryKind::Memory, (file, metadata))),
            }
        }
    }
}

/// Returns the layers' names.
fn names(root: &Path) -> BTreeMap<Digest, String> {
    let folder = root.join("records");
    let records = files(&folder).filter_map(|(file, _)| codec::load(folder::RECORD, &file));
    records.map(|record: Record| (record.digest, record.name)).collect()
}

/// Removes records of layers without a blob.
fn remove_stale_records(cache: &Path) {
    let root = paths::root(cache);
    let there = |digest: Digest| paths::below(&root.join("blobs"), digest).exists();
    for (file, _) in files(&root.join("records")) {
        if !codec::load(folder::RECORD, &file).is_some_and(|record: Record| there(record.digest)) {
            let _ = fs_err::remove_file(file);
        }
    }
    for (file, _) in files(&root.join("quick")) {
        let quick: Option<super::QuickRecord> = codec::load(folder::QUICK, &file);
        if !quick.is_some_and(|quick| there(quick.record.digest)) {
            let _ = fs_err::remove_file(file);
        }
    }
    for (file, _) in files(&root.join("grounds")) {
        let blobs: Option<Vec<Digest>> = codec::load_first(folder::CACHED_PLAN, &file);
        if !blobs.is_some_and(|blobs| blobs.into_iter().all(there)) {
            let _ = fs_err::remove_file(file);
        }
    }
    for (file, _) in files(&root.join("hints")) {
        if !codec::load(folder::HINT, &file).is_some_and(|blob: [u8; 32]| there(Digest::from_bytes(blob))) {
            let _ = fs_err::remove_file(file);
        }
    }
}

fn file_entry(kind: CacheEntryKind, (path, metadata): (PathBuf, Metadata)) -> CacheEntry {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Fetched files are named by their digest.
    let is_blob = match kind {
        CacheEntryKind::Registry => true,
        // Releases are named by the digest of their address.
        CacheEntryKind::Packages => path.parent().is_some_and(|folder| folder.ends_with("sha256")),
        _ => false,
    };
    let digest = digest_of(&path).filter(|_| is_blob);
    CacheEntry { kind, name, digest, bytes: metadata.len(), used: metadata.mtime(), paths: vec![path] }
}

/// Makes one entry of a complete folder, or of a file.
fn folder_entry(kind: CacheEntryKind, path: PathBuf) -> CacheEntry {
    let metadata = fs_err::symlink_metadata(&path).ok();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let bytes = files(&path).map(|(_, metadata)| metadata.len()).sum();
    CacheEntry {
        kind,
        name,
        digest: None,
        bytes,
        used: metadata.map_or(0, |file| file.mtime()),
        paths: vec![path],
    }
}

fn digest_of(path: &Path) -> Option<Digest> {
    format!("sha256:{}", path.file_name()?.to_str()?).parse().ok()
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs_err::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Lists the files below `folder`, ignoring those removed meanwhile.
fn files(folder: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = WalkDir::new(folder).into_iter().flatten();
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files.filter_map(|entry| Some((entry.path().to_owned(), entry.metadata().ok()?)))
}

fn remove(entry: &CacheEntry) -> Result<(), FileError> {
    for path in &entry.paths {
        let is_folder = fs_err::symlink_metadata(path).is_ok_and(|file| file.is_dir());
        let removed = if is_folder { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::new("remove", path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::LayerCache;
    use crate::layer::WrittenLayer;

    /// Makes a cache with layers of these texts.
    fn cache(texts: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let layers = LayerCache::new(folder.path());
        for text in texts {
            let digest = Digest::of(text.as_bytes());
            let size = text.len() as u64;
            let written = WrittenLayer {
                digest,
                size,
                diff_id: digest,
                archive_size: size,
                content_bytes: 0,
                files: 0,
            };
            let file = folder.path().join("new");
            fs_err::write(&file, text).unwrap();
            let record = Record::new(text, &written, Vec::new());
            layers.keep(&digest, &digest, &record, file.clone());
            fs_err::remove_file(file).unwrap();
            assert_eq!(layers.first_failure(), None);
        }
        folder
    }

    fn used_at(folder: &Path, text: &str, seconds: u64) {
        let path = paths::below(&paths::root(folder).join("verified"), Digest::of(text.as_bytes()));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn layers(folder: &Path) -> Vec<String> {
        let all = list(folder).unwrap().into_iter();
        all.filter(|entry| entry.kind == CacheEntryKind::Layer).map(|entry| entry.name).collect()
    }

    #[test]
    fn a_missing_folder_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        assert_eq!(list(&absent).unwrap(), []);
        assert_eq!(prune(&absent, Some(0)).unwrap(), Pruned::default());
        assert_eq!(verify(&absent).unwrap(), []);
        assert!(!absent.exists());
    }

    #[test]
    fn the_least_recently_used_entries_go_first() {
        let folder = cache(&["one", "two", "three"]);
        for (text, time) in [("one", 4_000_000_000), ("two", 10), ("three", 4_100_000_000)] {
            used_at(folder.path(), text, time);
        }
        assert_eq!(layers(folder.path()), ["three", "one", "two"]);
        let all: u64 = list(folder.path()).unwrap().iter().map(|entry| entry.bytes).sum();
        let pruned = prune(folder.path(), Some(all - 1)).unwrap();
        assert_eq!((pruned.removed, pruned.bytes), (1, 3));
        assert_eq!(layers(folder.path()), ["three", "one"]);
        let reader = LayerCache::new(folder.path());
        assert!(reader.record(&Digest::of(b"two")).is_none() && !reader.is_hinted(&Digest::of(b"two")));
        assert!(reader.record(&Digest::of(b"one")).is_some() && reader.is_hinted(&Digest::of(b"one")));
        prune(folder.path(), Some(0)).unwrap();
        assert_eq!(list(folder.path()).unwrap(), []);
    }

    #[test]
    fn a_damaged_blob_is_removed_with_its_records() {
        let folder = cache(&["one", "two"]);
        let path = paths::below(&paths::root(folder.path()).join("blobs"), Digest::of(b"one"));
        let modified = fs_err::metadata(&path).unwrap().modified().unwrap();
        fs_err::write(&path, "eno").unwrap();
        // Silent damage, as by a failing disk.
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let damaged = verify(folder.path()).unwrap();
        assert_eq!(damaged.iter().map(|damaged| &damaged.path).collect::<Vec<_>>(), [&path]);
        assert!(damaged[0].reason.contains("sha256:"), "{damaged:?}");
        assert_eq!(layers(folder.path()), ["two"]);
        assert!(LayerCache::new(folder.path()).record(&Digest::of(b"one")).is_none());
        assert_eq!(verify(folder.path()).unwrap(), []);
    }

    #[test]
    fn abandoned_work_is_removed_and_locked_work_stays() {
        let folder = cache(&["one"]);
        let work = |name: &str| {
            let path = folder.path().join(format!("build-{name}"));
            fs_err::create_dir(&path).unwrap();
            fs_err::write(path.join("layer-0"), "x").unwrap();
            path
        };
        let (abandoned, held) = (work("1"), work("2"));
        let holder = File::open(&held).unwrap();
        rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockShared).unwrap();
        fs_err::create_dir(folder.path().join("layers/0")).unwrap();
        let pruned = prune(folder.path(), None).unwrap();
        assert_eq!(pruned.removed, 2);
        assert!(!abandoned.exists() && held.exists());
        drop(holder);
        assert_eq!(layers(folder.path()), ["one"]);
    }
}
