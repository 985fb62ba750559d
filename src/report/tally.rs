//! [`Tally`]: counts the bytes per owner while layers are written.

use std::collections::BTreeMap;

use super::{DistributionSize, Kinds, MAX_SOURCE_FILES, PackageSize, SourceSize};
use crate::tree::{Entry, ImagePath, Kind, OwnedBytes, Owner};

/// The bytes of one owner in one layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OwnerTotals {
    bytes: u64,
    bytecode: u64,
    files: u64,
}

/// Bytes by layer and owner, with the actual sizes of files.
#[derive(Debug, Clone, Default)]
pub struct Tally(BTreeMap<(usize, Owner), OwnerTotals>);

impl Tally {
    /// Makes an empty tally.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the bytes of one owner in the layer with this index.
    pub fn add_owned(&mut self, layer: usize, owned: &OwnedBytes) {
        let count = self.0.entry((layer, owned.owner.clone())).or_default();
        count.bytes += owned.bytes;
        count.bytecode += owned.bytecode;
        count.files += owned.files;
    }

    /// Adds `entry` of the layer with this index; `size` is the actual size of its content.
    pub fn add(&mut self, layer: usize, entry: &Entry, size: u64) {
        if !matches!(entry.kind, Kind::File(_)) {
            return;
        }
        let count = self.0.entry((layer, entry.owner.clone())).or_default();
        count.bytes += size;
        count.files += 1;
        if entry.path.file_name().is_some_and(|name| name.ends_with(".pyc")) {
            count.bytecode += size;
        }
    }

    /// Returns bytes and number of regular files of a layer.
    pub fn layer(&self, layer: usize) -> (u64, u64) {
        self.0
            .iter()
            .filter(|((index, _), _)| *index == layer)
            .fold((0, 0), |(bytes, files), (_, count)| (bytes + count.bytes, files + count.files))
    }

    /// Returns bytes and number of regular files in total.
    pub fn total(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |(bytes, files), count| (bytes + count.bytes, files + count.files))
    }

    /// Returns bytes by kind.
    pub fn kinds(&self) -> Kinds {
        let mut kinds = Kinds::default();
        for ((_, owner), count) in &self.0 {
            kinds.bytecode += count.bytecode;
            let field = match owner {
                Owner::Distribution { .. } => &mut kinds.distributions,
                Owner::Package { .. } => &mut kinds.system_libraries,
                Owner::Interpreter => &mut kinds.interpreter,
                Owner::Environment => &mut kinds.environment,
                Owner::Source => &mut kinds.source,
                Owner::System => &mut kinds.system_files,
                Owner::Extra { .. } => &mut kinds.extra,
            };
            *field += count.bytes - count.bytecode;
        }
        kinds
    }

    /// Returns the distributions, largest first; `names` are those of the layers.
    pub fn distributions(&self, names: &[String]) -> Vec<DistributionSize> {
        let mut all: Vec<DistributionSize> = self
            .0
            .iter()
            .filter_map(|((layer, owner), count)| {
                let Owner::Distribution { name, version } = owner else { return None };
                Some(DistributionSize {
                    name: name.to_string(),
                    version: version.to_string(),
                    layer: names.get(*layer).cloned().unwrap_or_default(),
                    disk_bytes: count.bytes,
                    bytecode_bytes: count.bytecode,
                    files: count.files,
                })
            })
            .collect();
        all.sort_by(|a, b| b.disk_bytes.cmp(&a.disk_bytes).then_with(|| a.name.cmp(&b.name)));
        all
    }

    /// Returns the largest source files in `entries`, largest first, without bytecode.
    pub fn source_files<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<SourceSize> {
        let mut all: Vec<(u64, &ImagePath)> = entries
            .filter(|entry| entry.owner == Owner::Source)
            .filter(|entry| !entry.path.file_name().is_some_and(|name| name.ends_with(".pyc")))
            .filter_map(|entry| match &entry.kind {
                Kind::File(content) => Some((content.size_hint(), &entry.path)),
                _ => None,
            })
            .collect();
        all.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        all.truncate(MAX_SOURCE_FILES);
        let file = |(disk_bytes, path): (u64, &ImagePath)| SourceSize { path: path.to_string(), disk_bytes };
        all.into_iter().map(file).collect()
    }

    /// Returns the system packages, largest first.
    pub fn packages(&self) -> Vec<PackageSize> {
        let mut sums: BTreeMap<(&str, &str), OwnerTotals> = BTreeMap::new();
        for ((_, owner), count) in &self.0 {
            if let Owner::Package { name, version } = owner {
                let sum = sums.entry((name, version)).or_default();
                sum.bytes += count.bytes;
                sum.files += count.files;
            }
        }
        let mut all: Vec<PackageSize> = sums
            .into_iter()
            .map(|((name, version), count)| PackageSize {
                name: name.to_owned(),
                version: version.to_owned(),
                disk_bytes: count.bytes,
                files: count.files,
            })
            .collect();
        all.sort_by(|a, b| b.disk_bytes.cmp(&a.disk_bytes).then_with(|| a.name.cmp(&b.name)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, owner: Owner) -> Entry {
        Entry::file(ImagePath::new(path).unwrap(), "".into(), owner)
    }

    fn distribution(name: &str) -> Owner {
        Owner::Distribution { name: name.into(), version: "1".into() }
    }

    #[test]
    fn every_byte_counts_once() {
        let mut tally = Tally::new();
        tally.add(0, &entry("a.py", Owner::Interpreter), 10);
        tally.add(0, &entry("a.pyc", Owner::Interpreter), 5);
        tally.add(1, &entry("b.py", distribution("b")), 7);
        tally.add(1, &entry("b.pyc", distribution("b")), 3);
        tally.add(2, &entry("main.py", Owner::Source), 1);
        tally.add(2, &Entry::directory(ImagePath::root(), Owner::Source), 99);
        tally.add(3, &entry("model.bin", Owner::Extra { layer: "models".into() }), 4);
        let kinds = tally.kinds();
        assert_eq!((kinds.interpreter, kinds.distributions, kinds.bytecode, kinds.source), (10, 7, 8, 1));
        assert_eq!(kinds.extra, 4);
        assert_eq!(tally.total(), (30, 6));
        assert_eq!(tally.layer(1), (10, 2));
    }

    #[test]
    fn distributions_come_largest_first() {
        let mut tally = Tally::new();
        tally.add(0, &entry("a", distribution("small")), 1);
        tally.add(0, &entry("b", distribution("large")), 9);
        tally.add(0, &entry("c", distribution("also-large")), 9);
        let names: Vec<_> =
            tally.distributions(&["l".to_owned()]).into_iter().map(|size| size.name).collect();
        assert_eq!(names, ["also-large", "large", "small"]);
    }
}
