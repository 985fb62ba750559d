//! Walks under a `.dockerignore`, compared with BuildKit's on 500 generated trees and with
//! moby/patternmatcher's on 151 odd files. `crates/dockerignore` tests the rules.

use std::fs;
use std::path::{Path, PathBuf};
use test_macros::test;

use ipo_oci::context::{
    Context, ContextError, Detail, Dockerignore, Fate, IgnoreSource, Listing, SourceKind,
};
use proptest::prelude::*;

#[path = "../../crates/dockerignore/tests/it/cases.rs"]
mod cases;
#[path = "../../crates/dockerignore/tests/it/strategies.rs"]
mod strategies;

use cases::cases;
use strategies::{line, tree};

fn create_files(root: &Path, files: &[String]) {
    for file in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

/// Returns the kept files, without directories and the ignore file, in the order of the cases.
fn kept(listing: &Listing) -> Vec<String> {
    let is_file = |kind: &SourceKind| matches!(kind, SourceKind::File { .. });
    let files = listing.files.iter().filter(|file| is_file(&file.kind) && file.path != ".dockerignore");
    let mut paths: Vec<String> = files.map(|file| file.path.clone()).collect();
    paths.sort();
    paths
}

fn same_error(error: &ContextError, reference: &str) -> bool {
    matches!(error, ContextError::Ignore(error) if cases::same_error(error, reference))
}

#[test]
fn agrees_with_buildkit() {
    let cases = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/dockerignore"));
    assert_eq!(cases.len(), 651);
    for (number, case) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("context"), folder.path().join("Dockerfile.dockerignore"));
        create_files(&root, &case.files);
        fs::write(&outside, &case.dockerignore).unwrap();
        let elsewhere = Context::open(&root, IgnoreSource::File(outside));
        fs::write(root.join(".dockerignore"), &case.dockerignore).unwrap();
        let inside = Context::open(&root, IgnoreSource::Default);
        for context in [elsewhere, inside] {
            // The walk detects invalid expressions.
            let context = context.and_then(|context| context.walk(Detail::SkipIgnored).map(|_| context));
            match (&case.outcome, context) {
                (Err(reference), Err(error)) => {
                    assert!(same_error(&error, reference), "case {number}: {error}, not {reference}");
                }
                (Err(reference), Ok(_)) => panic!("case {number}: taken, not {reference}"),
                (Ok(_), Err(error)) => panic!("case {number}: {error}"),
                (Ok(expected), Ok(context)) => {
                    let mut expected = expected.clone();
                    expected.sort();
                    for detail in [Detail::SkipIgnored, Detail::CountIgnored] {
                        let listing = context.walk(detail).unwrap();
                        assert_eq!(kept(&listing), expected, "case {number}, {:?}", case.dockerignore);
                        assert_parents_precede_children(&listing);
                    }
                    let counted = context.walk(Detail::CountIgnored).unwrap();
                    let there = case.files.len() + usize::from(root_has_own_file(&context));
                    assert_eq!(counted.kept.files + counted.ignored.files, there as u64, "case {number}");
                }
            }
        }
    }
}

fn root_has_own_file(context: &Context) -> bool {
    context.root().join(".dockerignore").exists()
}

fn assert_parents_precede_children(listing: &Listing) {
    let mut directories = std::collections::BTreeSet::new();
    let mut last: Vec<&str> = Vec::new();
    for file in &listing.files {
        if let Some((parent, _)) = file.path.rsplit_once('/') {
            assert!(directories.contains(parent), "{parent} is missing before {}", file.path);
        }
        let parts: Vec<&str> = file.path.split('/').collect();
        assert!(last < parts, "{} is out of order", file.path);
        last = parts;
        if matches!(file.kind, SourceKind::Directory) {
            directories.insert(file.path.as_str());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn pruning_never_loses_a_file(files in tree(), lines in proptest::collection::vec(line(), 0..6)) {
        let folder = tempfile::tempdir().unwrap();
        create_files(folder.path(), &files);
        let rules = Dockerignore::from_lines("test", &lines).unwrap();
        let context = Context::open(folder.path(), IgnoreSource::None).unwrap().with_defaults(rules.clone());
        let pruned = context.walk(Detail::SkipIgnored).unwrap();
        let mut expected: Vec<String> =
            files.iter().filter(|file| rules.fate(file).unwrap() == Fate::Kept).cloned().collect();
        expected.sort();
        prop_assert_eq!(kept(&pruned), expected);
        let counted = context.walk(Detail::CountIgnored).unwrap();
        prop_assert_eq!(&counted.files, &pruned.files);
        prop_assert_eq!(counted.kept.files + counted.ignored.files, files.len() as u64);
    }
}

#[test]
fn a_given_ignore_file_replaces_the_one_in_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("Dockerfile.dockerignore");
    create_files(folder.path(), &["a".to_owned(), "b".to_owned()]);
    fs::write(folder.path().join(".dockerignore"), "a\n.dockerignore\n").unwrap();
    fs::write(&other, "b\nDockerfile*\n").unwrap();
    let listed =
        |source| kept(&Context::open(folder.path(), source).unwrap().walk(Detail::SkipIgnored).unwrap());
    assert_eq!(listed(IgnoreSource::Default), ["Dockerfile.dockerignore", "b"]);
    assert_eq!(listed(IgnoreSource::File(other)), ["a"]);
    assert_eq!(listed(IgnoreSource::None), ["Dockerfile.dockerignore", "a", "b"]);
    let missing = IgnoreSource::File(PathBuf::from("no-such-file"));
    assert!(matches!(Context::open(folder.path(), missing), Err(ContextError::IgnoreMissing(_))));
}
