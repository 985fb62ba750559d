//! Merging layers into a view.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::{Tar, image, path, view};
use super::*;
use crate::error::Advice as _;
use crate::progress::{Progress, Silent, Transfer, TransferState, WarningCollector};
use crate::tree::ImagePath;

fn names(view: &View) -> Vec<String> {
    view.iter().skip(1).map(|(path, _)| path.as_str().to_owned()).collect()
}

fn failure(layers: &[Tar]) -> String {
    let error = View::of(&image(layers), None, &Silent).unwrap_err();
    assert!(error.help().is_some(), "{error}");
    error.to_string()
}

fn text(view: &View, name: &str) -> String {
    let mut bytes = Vec::new();
    view.copy(&path(name), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn deletions_hide_lower_layers_only() {
    let lower =
        Tar::default().dir("a", 0o700).file("a/x", "1").file("a/y/z", "2").file("b", "3").file("c/d", "");
    let upper =
        Tar::default().file("a/y/new", "").file(".wh.b", "").file("a/y/.wh..wh..opq", "").file("c/.wh.e", "");
    assert_eq!(names(&view(&[lower, upper])), ["a", "a/x", "a/y", "a/y/new", "c", "c/d"]);
}

#[test]
fn a_layer_may_replace_a_path_it_deletes() {
    let lower = Tar::default().file("d/old", "").file("f", "1");
    let upper = Tar::default().file("d/new", "").file("f", "2").file(".wh.d", "").file(".wh.f", "");
    let view = view(&[lower, upper]);
    assert_eq!(names(&view), ["d", "d/new", "f"]);
    assert_eq!(text(&view, "f"), "2");
}

#[test]
fn a_repeated_directory_changes_its_owner_and_keeps_its_content() {
    let view = view(&[
        Tar::default().dir("a", 0o700).file("a/x", ""),
        Tar::default().dir("a", 0o755),
        Tar::default().file("a/y", ""),
    ]);
    let node = view.lookup(&path("a")).unwrap();
    assert_eq!((node.mode, node.uid, node.gid, node.mtime, node.layer), (0o755, 7, 8, 9, 1));
    assert_eq!(names(&view), ["a", "a/x", "a/y"]);
    assert_eq!(view.directory_attributes(&path("a")).unwrap().mode, 0o755);
}

#[test]
fn files_and_directories_replace_each_other() {
    let lower = Tar::default().file("a/x", "").file("b", "");
    let upper = Tar::default().file("a", "").file("b/y", "");
    assert_eq!(names(&view(&[lower, upper])), ["a", "b", "b/y"]);
}

#[test]
fn the_last_of_two_members_with_one_path_wins() {
    let view = view(&[Tar::default().file("a", "first").file("b", "").file("./a", "last")]);
    assert_eq!(text(&view, "a"), "last");
}

#[test]
fn a_link_of_the_same_layer_is_followed_and_one_of_a_lower_layer_replaced() {
    let merged = Tar::default().dir("usr/lib", 0o755).link("lib", "usr/lib").link("abs", "/usr/lib");
    let same = view(&[merged.clone().file("lib/x", "").file("abs/y", "")]);
    assert_eq!(names(&same), ["abs", "lib", "usr", "usr/lib", "usr/lib/x", "usr/lib/y"]);
    let over = view(&[merged, Tar::default().file("lib/x", "")]);
    assert_eq!(names(&over), ["abs", "lib", "lib/x", "usr", "usr/lib"]);
}

#[test]
fn hard_links_share_one_file() {
    let lower = Tar::default().file("a", "one").hard("b", "a").link("l", "a").hard("m", "l");
    let view = view(&[lower, Tar::default().file("a", "two")]);
    assert_eq!((text(&view, "a"), text(&view, "b")), ("two".to_owned(), "one".to_owned()));
    assert!(!view.lookup(&path("a")).unwrap().is_same_file(view.lookup(&path("b")).unwrap()));
    assert_eq!(view.lookup(&path("m")).unwrap().kind, NodeKind::Symlink("a".into()));
}

#[test]
fn layers_that_no_runtime_can_unpack_are_rejected() {
    let tar = Tar::default;
    for (layer, words) in [
        (tar().hard("a", "nowhere"), "/a is a hard link to a missing file"),
        (tar().dir("d", 0o755).hard("a", "d"), "/a is a hard link to a directory"),
        (tar().file("a", "").file("a/b", ""), "/a is not a directory"),
        (tar().link("a", "b").link("b", "a").file("a/x", ""), "behind a loop of links"),
        (tar().file("../a", ""), "invalid name `../a`"),
    ] {
        let said = failure(&[layer]);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn devices_and_set_user_id_are_only_recorded() {
    let tar = Tar::default().member(tar::EntryType::Block, "dev/sda", "", 0o660, b"");
    let view = view(&[tar.member(tar::EntryType::Regular, "su", "", 0o4755, b"x")]);
    assert_eq!(view.lookup(&path("dev/sda")).unwrap().kind, NodeKind::Device);
    assert_eq!(view.lookup(&path("su")).unwrap().mode, 0o4755);
    let error = view.copy(&path("dev/sda"), &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /dev/sda: a device in the image, not a file");
}

#[test]
fn modes_are_formatted_as_by_ls() {
    let view = view(&[Tar::default().dir("d", 0o1777).dir("e", 0o2750).link("l", "d").member(
        tar::EntryType::Regular,
        "f",
        "",
        0o4644,
        b"",
    )]);
    let letters = |name: &str| view.lookup(&path(name)).unwrap().mode_string();
    let found = ["d", "e", "l", "f"].map(letters);
    assert_eq!(found, ["drwxrwxrwt", "drwxr-s---", "lrwxrwxrwx", "-rwSr--r--"]);
}

#[test]
fn links_are_followed_within_the_image() {
    let view = view(&[Tar::default()
        .file("usr/lib/x.so", "")
        .link("lib", "usr/lib")
        .link("usr/lib/absolute", "/lib/x.so")
        .link("usr/lib/climbing", "../../../../../usr/lib/x.so")
        .link("usr/chain", "lib/../lib/absolute")
        .link("round", "about")
        .link("about", "./round")
        .link("gone", "/run/gone")]);
    for name in ["lib/x.so", "usr/lib/absolute", "lib/climbing", "usr/chain"] {
        assert_eq!(view.resolve(&path(name)).unwrap(), path("usr/lib/x.so"), "{name}");
    }
    for (name, words) in [
        ("round", "cannot resolve /round: its links form a loop"),
        ("gone", "path not found in the image: /run"),
        ("absent/x", "path not found in the image: /absent"),
        ("lib/x.so/y", "cannot list /usr/lib/x.so: not a directory in the image"),
    ] {
        assert_eq!(view.resolve(&path(name)).unwrap_err().to_string(), words);
    }
    for (name, placed) in
        [("lib/new/y", "usr/lib/new/y"), ("lib", "lib"), ("gone/x", "run/gone/x"), ("opt/x", "opt/x")]
    {
        assert_eq!(view.destination(&path(name)).unwrap(), path(placed), "{name}");
    }
}

#[test]
fn a_directory_lists_its_own_children() {
    let view = view(&[Tar::default().file("a/b/c", "").file("a/b-d", "").file("a/b.e/f", "").file("b", "")]);
    let children =
        |name: &str| view.children(&path(name)).map(|(path, _)| path.to_string()).collect::<Vec<_>>();
    assert_eq!(children("/"), ["/a", "/b"]);
    assert_eq!(children("a"), ["/a/b", "/a/b-d", "/a/b.e"]);
    assert_eq!(children("a/b"), ["/a/b/c"]);
    assert_eq!(children("b"), Vec::<String>::new());
}

#[test]
fn small_files_are_retained_by_their_path() {
    let lower = Tar::default()
        .file("usr/lib/os-release", "ID=debian")
        .link("etc/os-release", "../usr/lib/os-release");
    let view = view(&[lower.file("etc/passwd", "old"), Tar::default().file("etc/passwd", "new")]);
    assert_eq!(view.retained_text("etc/os-release"), Some("ID=debian"));
    assert_eq!(view.retained_text("etc/passwd"), Some("new"));
    assert_eq!(view.retained_text("etc/group"), None);
}

#[test]
fn a_layer_with_another_digest_or_size_is_rejected() {
    let good = image(&[Tar::default().file("a", "x")]);
    let cache = tempfile::tempdir().unwrap();
    let refused = |image: &crate::image::Image, what: &str| {
        for cache in [None, Some(cache.path())] {
            let error = View::of(image, cache, &Silent).unwrap_err();
            assert!(matches!(error, BaseError::Mismatch { what: found, .. } if found == what), "{error}");
        }
    };
    let change = |edit: &dyn Fn(&mut crate::image::Layer)| {
        let mut image = good.clone();
        edit(&mut image.layers[0]);
        image
    };
    let other = crate::digest::Digest::of(b"other");
    refused(&change(&|layer| layer.size += 1), "the size");
    refused(&change(&|layer| layer.size -= 512), "the size");
    refused(&change(&|layer| layer.digest = other), "the digest");
    refused(&change(&|layer| layer.diff_id = other), "the diff ID");
    assert_eq!(fs_err::read_dir(cache.path()).unwrap().count(), 0, "nothing wrong is kept");
    View::of(&good, Some(cache.path()), &Silent).unwrap();
    refused(&change(&|layer| layer.diff_id = other), "the diff ID");
}

#[test]
fn a_layer_is_read_once_and_a_damaged_index_is_replaced() {
    let mut image =
        image(&[Tar::default().file("etc/passwd", "root").hard("b", "etc/passwd").link("c", "b")]);
    let cache = tempfile::tempdir().unwrap();
    let fresh = View::of(&image, Some(cache.path()), &Silent).unwrap();
    let blob = std::mem::replace(&mut image.layers[0].blob, crate::image::Blob::File("/absent".into()));
    let cached = View::of(&image, Some(cache.path()), &Silent).unwrap();
    assert!(fresh.iter().eq(cached.iter()));
    assert_eq!(cached.retained_text("c"), Some("root"));

    image.layers[0].blob = blob;
    let folder = cache.path().join("layer-views");
    let file = fs_err::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let bytes = fs_err::read(&file).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&bytes[..bytes.len() - 1], &flipped, b"", b"something else"] {
        fs_err::write(&file, damaged).unwrap();
        let again = View::of(&image, Some(cache.path()), &Silent).unwrap();
        assert!(fresh.iter().eq(again.iter()));
        assert_eq!(fs_err::read(&file).unwrap(), bytes, "it is written anew");
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("layer-views"), "a file").unwrap();
    let progress = WarningCollector::default();
    View::of(&image(&[Tar::default().file("a", "")]), Some(folder.path()), &progress).unwrap();
    assert_eq!(progress.warnings().len(), 1);
}

/// A member of a generated layer.
#[derive(Debug, Clone)]
enum Act {
    File(String),
    Directory(String),
    Delete(String),
    Hide(String),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let name = proptest::collection::vec("[ab]", 1..4).prop_map(|parts| parts.join("/"));
    let act = (0..5u8, name).prop_map(|(kind, name)| match kind {
        0 | 1 => Act::File(name),
        2 => Act::Directory(name),
        3 => Act::Delete(name),
        _ => Act::Hide(name),
    });
    proptest::collection::vec(act, 0..8)
}

/// A slow reference implementation with paths alone. Returns `None` if a layer contradicts itself.
fn model(layers: &[Vec<Act>]) -> Option<BTreeMap<String, bool>> {
    let under = |path: &str, top: &str| path.starts_with(&format!("{top}/"));
    let mut all = BTreeMap::<String, bool>::new();
    for acts in layers {
        for act in acts {
            match act {
                Act::Delete(gone) => all.retain(|path, _| path != gone && !under(path, gone)),
                Act::Hide(hidden) => all.retain(|path, _| !under(path, hidden)),
                _ => {}
            }
        }
        let mut own = BTreeMap::<String, bool>::new();
        for act in acts {
            let (path, is_directory) = match act {
                Act::File(path) => (path, false),
                Act::Directory(path) | Act::Hide(path) => (path, true),
                Act::Delete(_) => continue,
            };
            let parts: Vec<&str> = path.split('/').collect();
            for end in 1..parts.len() {
                let parent = parts[..end].join("/");
                if own.get(&parent) == Some(&false) {
                    return None;
                }
                own.insert(parent.clone(), true);
                all.insert(parent, true);
            }
            if matches!(act, Act::Hide(_)) && own.get(path) == Some(&false) {
                return None;
            }
            if !is_directory {
                all.retain(|below, _| !under(below, path));
                own.retain(|below, _| !under(below, path));
            }
            all.insert(path.clone(), is_directory);
            own.insert(path.clone(), is_directory);
        }
    }
    Some(all)
}

fn tar_of(acts: &[Act]) -> Tar {
    let beside = |path: &str, name: &str| match path.rsplit_once('/') {
        Some((parent, last)) => format!("{parent}/{name}{last}"),
        None => format!("{name}{path}"),
    };
    acts.iter().fold(Tar::default(), |tar, act| match act {
        Act::File(path) => tar.file(path, ""),
        Act::Directory(path) => tar.dir(path, 0o755),
        Act::Delete(path) => tar.file(&beside(path, ".wh."), ""),
        Act::Hide(path) => tar.file(&format!("{path}/.wh..wh..opq"), ""),
    })
}

proptest! {
    #[test]
    fn layers_merge_as_in_the_reference(layers in proptest::collection::vec(acts(), 1..5)) {
        let image = image(&layers.iter().map(|acts| tar_of(acts)).collect::<Vec<_>>());
        match (View::of(&image, None, &Silent), model(&layers)) {
            (Ok(view), Some(expected)) => {
                let found: BTreeMap<String, bool> = view
                    .iter()
                    .skip(1)
                    .map(|(path, node)| (path.as_str().to_owned(), node.kind == NodeKind::Directory))
                    .collect();
                prop_assert_eq!(found, expected);
            }
            (Err(BaseError::Unpackable { .. }), None) => {}
            (found, expected) => prop_assert!(false, "{found:?} {expected:?}"),
        }
    }

    #[test]
    fn resolution_stays_inside_and_terminates(links in proptest::collection::vec(("[ab]/[ab]|[ab]", "(/|[ab]|\\.\\./){1,6}[ab]?"), 0..8), requested in "[ab](/[ab]){0,4}") {
        let tar = links.iter().fold(Tar::default(), |tar, (name, target)| tar.link(name, target));
        // A layer with an entry below a dangling link may be rejected.
        if let Ok(view) = View::of(&image(&[tar]), None, &Silent) {
            let requested = ImagePath::new(&requested).unwrap();
            if let Ok(real) = view.resolve(&requested) {
                prop_assert!(view.lookup(&real).is_some());
            }
            let _ = view.destination(&requested);
        }
    }
}

/// Records reported transfers.
#[derive(Default)]
struct RecordedTransfers(std::sync::Mutex<Vec<(u64, u64, TransferState)>>);

impl Progress for RecordedTransfers {
    fn warn(&self, _: crate::progress::Warning) {}

    fn transfer(&self, event: &Transfer) {
        self.0.lock().unwrap().push((event.done_bytes, event.total_bytes, event.state));
    }
}

#[test]
fn reading_a_layer_reports_progress_to_its_end() {
    let transfers = RecordedTransfers::default();
    let image = image(&[Tar::default().file("etc/x", "text")]);
    View::of(&image, None, &transfers).unwrap();
    let events = transfers.0.into_inner().unwrap();
    let size = image.layers[0].size;
    assert_eq!(events.last(), Some(&(size, size, TransferState::Done)));
    assert_eq!(events.first().unwrap().2, TransferState::Running);
}
