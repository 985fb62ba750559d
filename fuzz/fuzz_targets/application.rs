//! Search for the application in a source tree, given as `path NUL text NUL path NUL text`. No
//! panic.

#![no_main]

use std::collections::BTreeMap;

use ipo_oci::python::application::{SourceTree, find};
use libfuzzer_sys::fuzz_target;

struct Tree(BTreeMap<String, String>);

impl SourceTree for Tree {
    fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn text(&self, path: &str) -> Option<String> {
        self.0.get(path).cloned()
    }

    fn folders(&self, folder: &str) -> Vec<String> {
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = self.0.keys().filter_map(|path| path.strip_prefix(&start)?.split_once('/'));
        let mut folders: Vec<String> = below.map(|(first, _)| first.to_owned()).collect();
        folders.dedup();
        folders
    }

    fn modules(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

fuzz_target!(|text: &str| {
    let mut parts = text.split('\0');
    let mut files = BTreeMap::new();
    while let (Some(path), Some(text)) = (parts.next(), parts.next()) {
        files.insert(path.to_owned(), text.to_owned());
    }
    // The seeds of the corpus are single modules.
    files.entry("main.py".to_owned()).or_insert_with(|| text.to_owned());
    let tree = Tree(files);
    let _ = find(&tree, None, "hello");
    let _ = find(&tree, Some("main:app"), "hello");
    let _ = find(&tree, text.lines().next(), "hello");
});
