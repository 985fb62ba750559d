//! Every change of an observed file invalidates the trace.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::parallel::{both, each, on_threads};

/// After any change of a test.
const LATER: Moment = (1 << 40, 0);

type FolderChange = dyn Fn(&Path);

/// Makes `d/f` and `d/g` with a few bytes, `link` to `d`, `d/link` to `f`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs_err::create_dir(at("d")).unwrap();
    fs_err::write(at("d/f"), "one").unwrap();
    fs_err::write(at("d/g"), "two").unwrap();
    symlink("d", at("link")).unwrap();
    symlink("f", at("d/link")).unwrap();
    folder
}

/// Waits for the clock of the file system: a change within one tick may leave the times alone.
fn let_the_clock_move(path: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let since = |metadata: Metadata| (metadata.ctime(), metadata.ctime_nsec());
    let last = since(fs_err::metadata(path).unwrap());
    while since(tempfile::tempfile().unwrap().metadata().unwrap()) <= last {}
}

/// Discards a result.
fn ask<T>(_: T) {}

fn traced(work: impl FnOnce()) -> Option<FileTrace> {
    let trace = TraceRecorder::default();
    TraceRecorder::scoped(Some(&trace), work);
    trace.finish(LATER)
}

fn list(path: PathBuf) {
    for entry in read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            entry.metadata().unwrap();
        }
    }
}

/// Replaces a file's bytes by as many others, and restores its modification time.
fn rewrite(path: &Path) {
    let time = fs_err::metadata(path).unwrap().modified().unwrap();
    fs_err::write(path, "eno").unwrap();
    fs_err::OpenOptions::new().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn every_change_of_an_observed_file_invalidates() {
    let remove: &FolderChange = &|root| fs_err::remove_file(root.join("d/f")).unwrap();
    let write: &FolderChange = &|root| rewrite(&root.join("d/f"));
    let add: &FolderChange = &|root| fs_err::write(root.join("d/new"), "").unwrap();
    let mode: &FolderChange = &|root| {
        fs_err::set_permissions(root.join("d/f"), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let replace: &FolderChange = &|root| {
        fs_err::write(root.join("other"), "one").unwrap();
        fs_err::rename(root.join("other"), root.join("d/f")).unwrap();
    };
    let relink: &FolderChange = &|root| {
        fs_err::create_dir(root.join("e")).unwrap();
        fs_err::hard_link(root.join("d/g"), root.join("e/f")).unwrap();
        fs_err::remove_file(root.join("link")).unwrap();
        symlink("e", root.join("link")).unwrap();
    };
    let turn: &FolderChange = &|root| {
        fs_err::remove_file(root.join("d/link")).unwrap();
        symlink("g", root.join("d/link")).unwrap();
    };
    let swap: &FolderChange = &|root| {
        fs_err::remove_file(root.join("d/f")).unwrap();
        fs_err::create_dir(root.join("d/f")).unwrap();
    };
    let cases: [(&str, &FolderChange, &[&FolderChange]); 13] = [
        ("metadata", &|root| ask(metadata(root.join("d/f"))), &[remove, write, mode, replace]),
        ("through a link", &|root| ask(metadata(root.join("link/f"))), &[remove, write, relink]),
        ("of a link", &|root| ask(symlink_metadata(root.join("d/link"))), &[turn]),
        ("not there", &|root| ask(metadata(root.join("d/new"))), &[add]),
        ("is_file", &|root| ask(is_file(root.join("d/f"))), &[remove, swap]),
        ("is_dir", &|root| ask(is_dir(root.join("d/new"))), &[add]),
        ("exists", &|root| ask(exists(root.join("d/f"))), &[remove]),
        ("is_there", &|root| ask(is_there(root.join("d/new"))), &[add]),
        ("canonicalize", &|root| ask(canonicalize(root.join("link/f"))), &[remove, relink]),
        ("read_link", &|root| ask(read_link(root.join("link"))), &[relink]),
        ("open", &|root| ask(open_no_follow(root.join("d/f"))), &[remove, write, mode, replace]),
        ("read_dir", &|root| list(root.join("d")), &[remove, write, add, mode, replace, turn, swap]),
        ("walk", &|root| walk(root).flatten().for_each(ask), &[remove, add, replace, relink, turn, swap]),
    ];
    for (name, look, changes) in cases {
        for (number, change) in changes.iter().enumerate() {
            let folder = folder();
            let seen = traced(|| look(folder.path())).unwrap();
            assert!(seen.is_valid(2), "{name}");
            let_the_clock_move(&folder.path().join("d"));
            change(folder.path());
            assert!(!seen.is_valid(2), "{name}, change {number}");
        }
    }
}

#[test]
fn unobserved_files_may_change() {
    let folder = folder();
    let root = folder.path();
    let seen = traced(|| {
        assert!(is_dir(root.join("d")) && exists(root.join("d/f")));
        assert_eq!(canonicalize(root.join("link")).unwrap(), canonicalize(root.join("d")).unwrap());
    });
    let_the_clock_move(&root.join("d"));
    fs_err::write(root.join("d/new"), "").unwrap();
    rewrite(&root.join("d/f"));
    assert!(seen.unwrap().is_valid(1));
}

#[test]
fn recently_changed_files_are_not_traced() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let now = fs_err::symlink_metadata(at("d/f")).unwrap();
    let moment = std::os::unix::fs::MetadataExt::mtime(&now);
    let accesses: [&dyn Fn(); 4] =
        [&|| ask(metadata(at("d/f"))), &|| ask(open(at("d/f"))), &|| list(at("d")), &|| {
            walk(at("d")).for_each(ask);
        }];
    for (number, look) in accesses.iter().enumerate() {
        for (moment, kept) in [((moment, 0), false), ((moment + 10, 0), true)] {
            let trace = TraceRecorder::default();
            TraceRecorder::scoped(Some(&trace), look);
            assert_eq!(trace.finish(moment).is_some(), kept, "{number}");
        }
    }
}

#[test]
fn contradicting_observations_are_rejected() {
    let folder = folder();
    let file = folder.path().join("d/f");
    let twice = |look: &dyn Fn()| {
        traced(|| {
            fs_err::write(&file, "1").unwrap();
            look();
            fs_err::write(&file, "22").unwrap();
            look();
        })
    };
    assert_eq!(twice(&|| ask(metadata(&file))), None);
    assert!(twice(&|| ask(exists(&file))).is_some());
    let gone = traced(|| {
        assert!(exists(&file));
        fs_err::remove_file(&file).unwrap();
        assert!(metadata(&file).is_err());
    });
    assert_eq!(gone, None);
}

#[test]
fn unreadable_files_are_rejected() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(traced(|| assert!(open_no_follow(at("d/link")).is_err())), None);
    assert_eq!(traced(|| assert!(read_dir(at("d/f")).is_err())), None);
    assert_eq!(traced(mark_unreliable), None);
    // A missing file and "not a link" are valid observations.
    let seen = traced(|| {
        assert!(read_link(at("d/f")).is_err());
        assert!(open(at("d/new")).is_err() && read_dir(at("new")).is_err() && read_link(at("d/no")).is_err());
    });
    assert!(seen.unwrap().is_valid(1));
}

#[test]
fn names_that_are_not_utf8_are_rejected() {
    let folder = folder();
    let name = std::ffi::OsStr::from_bytes(b"\xff");
    assert_eq!(traced(|| ask(exists(folder.path().join(name)))), None);
    fs_err::write(folder.path().join("d").join(name), "").unwrap();
    assert_eq!(traced(|| list(folder.path().join("d"))), None);
}

#[test]
fn worker_threads_share_the_trace() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let helped: [&dyn Fn(); 3] = [
        &|| ask(on_threads(4, || metadata(at("d/f")).is_ok())),
        &|| ask(both(|| metadata(at("d/f")).is_ok(), || ())),
        &|| ask(each(9, 3, || Ok::<_, ()>(()), |(), _| Ok(metadata(at("d/f")).is_ok()))),
    ];
    for help in helped {
        let seen = traced(help).unwrap();
        assert!(seen.is_valid(1));
        let_the_clock_move(&at("d/f"));
        rewrite(&at("d/f"));
        assert!(!seen.is_valid(1));
    }
    assert!(TraceRecorder::current().is_none());
}

#[test]
fn untraced_work_is_not_recorded() {
    let folder = folder();
    let file = folder.path().join("d/f");
    let seen = traced(|| untraced(|| ask(metadata(&file)))).unwrap();
    fs_err::remove_file(&file).unwrap();
    assert!(seen.is_valid(1));
}

#[test]
fn a_trace_ends_with_its_work_even_on_panic() {
    let outcome = std::panic::catch_unwind(|| traced(|| panic!("on purpose")));
    assert!(outcome.is_err() && TraceRecorder::current().is_none());
}
