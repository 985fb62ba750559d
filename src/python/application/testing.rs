//! A source tree in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};

use super::SourceTree;

/// Files with their texts, by path.
pub(crate) struct FakeTree(pub(crate) BTreeMap<&'static str, &'static str>);

impl SourceTree for FakeTree {
    fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn text(&self, path: &str) -> Option<String> {
        self.0.get(path).map(|text| (*text).to_owned())
    }

    fn folders(&self, folder: &str) -> Vec<String> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = self.0.keys().filter_map(|path| path.strip_prefix(prefix.as_str())?.split_once('/'));
        below.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn modules(&self) -> Vec<String> {
        self.0.keys().filter(|path| path.ends_with(".py")).map(|path| (*path).to_owned()).collect()
    }
}
