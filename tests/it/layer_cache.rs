//! Builds reuse cached layers, and survive damage to the cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{
    Layout, Outcome, Project, Venv, binary, copy_folder, outcome, requires_root, run, settle, with_metadata,
};
use test_macros::test;

/// A cache directory and the builds that use it.
struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn command(&self, project: &Project, arguments: &[&str]) -> Command {
        let mut command = project.command("build");
        command.args(["-v", "--no-provision", "--cache-dir"]).arg(self.cache()).args(arguments);
        with_metadata(&mut command, self.folder.path());
        command
    }

    /// Builds and verifies the layout; returns the digest with the layers that were read and
    /// written.
    #[track_caller]
    fn build(&self, project: &Project, arguments: &[&str]) -> BuildOutput {
        let outcome = run(&mut self.command(project, arguments)).success();
        project.layout().verify();
        BuildOutput::of(&outcome)
    }

    /// Runs `ipo-oci cache SUBCOMMAND` on the directory.
    fn cache_command(&self, arguments: &[&str]) -> Outcome {
        let mut command = crate::support::ipo_oci();
        command.arg("cache").args(arguments).arg("--cache-dir").arg(self.cache());
        run(&mut command)
    }

    /// Returns the files of the layer cache, without locks.
    fn files(&self) -> Vec<PathBuf> {
        let files = walkdir::WalkDir::new(self.cache().join("layers")).sort_by_file_name().into_iter();
        // Files removed during the walk are skipped.
        let files =
            files.flatten().filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
        files.filter(|path| !path.components().any(|part| part.as_os_str() == "making")).collect()
    }
}

/// The output of a build.
#[derive(Debug)]
struct BuildOutput {
    digest: String,
    read: Vec<String>,
    written: Vec<String>,
    said: String,
}

impl BuildOutput {
    fn of(outcome: &Outcome) -> Self {
        let layers = |what: &str| {
            let lines = outcome.stderr.lines();
            let lines = lines.filter_map(|line| line.trim().strip_prefix(what)?.split_once(": "));
            let mut names: Vec<String> = lines.map(|(_, name)| name.to_owned()).collect();
            names.sort();
            names
        };
        let (_, digest) = outcome.text().trim().rsplit_once('@').expect("a digest");
        Self {
            digest: digest.to_owned(),
            read: layers("reading layer "),
            written: outcome.written_layers(),
            said: outcome.stderr.clone(),
        }
    }
}

#[test]
fn an_unchanged_build_reads_and_writes_no_layer() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    settle(fixture.folder.path());
    let first = fixture.build(&project, &[]);
    assert!(first.written.contains(&"source".to_owned()), "{first:?}");
    // Bytecode compiled during the first build is too recent to be trusted; the second build
    // records it.
    settle(fixture.folder.path());
    fixture.build(&project, &[]);
    let third = fixture.build(&project, &[]);
    assert_eq!((&third.digest, third.read.len(), third.written.len()), (&first.digest, 0, 0), "{third:?}");
    let anew = fixture.build(&project, &["--no-cache"]);
    assert_eq!((&anew.digest, &anew.written), (&first.digest, &first.written));
}

#[test]
fn one_change_writes_one_layer() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    let first = fixture.build(&project, &[]);
    project.write("main.py", "from fastapi import FastAPI\n\napp = FastAPI(title='new')\n");
    let second = fixture.build(&project, &[]);
    assert_ne!(first.digest, second.digest);
    assert_eq!(second.written, ["source"], "{second:?}");
    // The image has the new content.
    assert!(
        String::from_utf8(project.layout().only().read_file("app/main.py")).expect("text").contains("'new'")
    );
    project.write("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n");
    let third = fixture.build(&project, &[]);
    assert_eq!((third.digest, third.written), (first.digest, Vec::new()));
}

#[test]
fn detects_a_change_that_keeps_the_time() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    settle(fixture.folder.path());
    fixture.build(&project, &[]);
    settle(fixture.folder.path());
    let first = fixture.build(&project, &[]);
    // Same length, time and inode.
    let path = project.path().join("main.py");
    let text = project.read("main.py");
    let modified = fs_err::metadata(&path).expect("a file").modified().expect("a time");
    fs_err::write(&path, text.replace("app = ", "app =\t")).expect("a file");
    File::options().write(true).open(&path).expect("a file").set_modified(modified).expect("a time");
    let second = fixture.build(&project, &[]);
    assert_ne!(first.digest, second.digest);
    assert_eq!(second.written, ["source"]);
}

#[test]
fn another_checkout_reuses_all_layers() {
    let fixture = Fixture::new();
    let (one, two) = (Project::example(), Project::example_as("another place, of it", &Venv::pip()));
    let venv = |project: &Project| {
        let copy = project.beside("venv of its own");
        copy_folder(Venv::pip().path(), &copy);
        copy.to_str().expect("UTF-8").to_owned()
    };
    let first = fixture.build(&one, &["--venv", &venv(&one)]);
    assert!(!first.written.is_empty());
    let second = fixture.build(&two, &["--venv", &venv(&two)]);
    assert_eq!((&second.digest, &second.written[..]), (&first.digest, &[][..]), "{second:?}");
    assert!(!second.read.is_empty());
}

#[test]
fn settings_that_affect_bytes_give_other_layers() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    let first = fixture.build(&project, &[]);
    for arguments in [&["--compression", "gzip:9"][..], &["--compression", "none"], &["--bytecode", "strip"]]
    {
        let other = fixture.build(&project, arguments);
        assert_ne!(other.digest, first.digest, "{arguments:?}");
        let anew = fixture.build(&project, &[arguments, &["--no-cache"]].concat());
        assert_eq!(anew.digest, other.digest, "{arguments:?}");
    }
    assert_eq!(fixture.build(&project, &[]).digest, first.digest);
}

#[test]
fn a_damaged_cache_never_gives_a_wrong_image() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    settle(fixture.folder.path());
    let good = fixture.build(&project, &[]).digest;
    // A fixed seed, so failures can be reproduced.
    let mut state = 7_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below.max(1)
    };
    for round in 0..30 {
        for _ in 0..=next(4) {
            let files = fixture.files();
            let Some(path) = files.get(next(files.len())) else { continue };
            let mut bytes = fs_err::read(path).expect("a file");
            match next(4) {
                0 => fs_err::remove_file(path).expect("a file"),
                1 => bytes.truncate(next(bytes.len())),
                2 => bytes.extend_from_slice(b"more"),
                _ => {
                    let at = next(bytes.len());
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 0x55;
                    }
                }
            }
            if path.exists() {
                // In place: a linked blob of the layout is damaged as well.
                fs_err::write(path, bytes).expect("a file");
            }
        }
        if round % 3 == 0 {
            fs_err::remove_dir_all(project.path().join("dist")).expect("a folder");
        }
        assert_eq!(fixture.build(&project, &[]).digest, good, "round {round}");
    }
    assert_eq!(fixture.cache_command(&["verify"]).success().text(), "");
}

#[test]
fn damage_during_builds_is_repaired() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    let good = fixture.build(&project, &[]).digest;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for path in fixture.files().iter().skip(round % 5).step_by(5) {
                    let damaged = match round % 3 {
                        0 => fs_err::write(path, "damaged"),
                        1 => fs_err::remove_file(path),
                        _ => fs_err::remove_dir_all(fixture.cache().join("layers")),
                    };
                    // Another build may have removed the file.
                    let _ = damaged;
                }
                round += 1;
                std::thread::yield_now();
            }
        });
        for number in 0..10 {
            let out = format!("oci:{}/out-{number}", fixture.folder.path().display());
            let outcome = run(&mut fixture.command(&project, &["-o", &out]));
            if outcome.status.success() {
                Layout::open(fixture.folder.path().join(format!("out-{number}"))).verify();
                assert_eq!(BuildOutput::of(&outcome).digest, good);
            } else {
                // A failed build has one clear error.
                assert!(
                    outcome.stderr.contains("error") && outcome.code() == Some(1),
                    "{}",
                    outcome.describe()
                );
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(fixture.build(&project, &[]).digest, good);
}

#[test]
fn concurrent_builds_write_each_layer_once() {
    let fixture = Fixture::new();
    let projects: Vec<Project> = (0..8).map(|_| Project::tiny()).collect();
    // The environments refer to one Python, and their files are equal.
    let children: Vec<_> = projects
        .iter()
        .map(|project| {
            let mut command = fixture.command(project, &[]);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
            (command, child)
        })
        .collect();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut digests = Vec::new();
    for (command, child) in children {
        let outcome = outcome(&command, child.wait_with_output().expect("a process")).success();
        let made = BuildOutput::of(&outcome);
        made.written.into_iter().for_each(|name| *times.entry(name).or_default() += 1);
        digests.push(made.digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert!(!times.is_empty() && times.values().all(|times| *times == 1), "{times:?}");
    for project in &projects {
        project.layout().verify();
    }
}

#[test]
fn a_killed_build_leaves_a_valid_cache() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    for millis in [20, 60, 120, 240, 400] {
        let mut child = fixture
            .command(&project, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        // At any point of the build.
        std::thread::sleep(std::time::Duration::from_millis(millis));
        child.kill().expect("a process");
        child.wait().expect("a process");
    }
    let made = fixture.build(&project, &[]);
    let anew = fixture.build(&project, &["--no-cache"]);
    assert_eq!(made.digest, anew.digest);
    let work = fs_err::read_dir(fixture.cache()).expect("a folder");
    let work = work.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("build-"))
    });
    assert_eq!(work.count(), 0, "work of killed builds is left");
    assert_eq!(fixture.cache_command(&["verify"]).success().text(), "");
}

#[test]
fn a_read_only_cache_is_used_without_storing() {
    requires_root();
    let (fixture, project) = (Fixture::new(), Project::tiny());
    let first = fixture.build(&project, &[]);
    let cache = fixture.cache();
    let mount = |script: &str| {
        let mut command = Command::new("unshare");
        crate::support::clean_environment(&mut command);
        command.args(["--mount", "sh", "-ec", script, "sh"]).arg(&cache).arg(binary());
        command
            .args(["build", "-v", "--no-provision", "--cache-dir"])
            .arg(&cache)
            .current_dir(project.path());
        with_metadata(&mut command, fixture.folder.path());
        BuildOutput::of(&run(&mut command).success())
    };
    let read_only =
        r#"cache=$1; shift; mount --bind "$cache" "$cache"; mount -o remount,bind,ro "$cache"; exec "$@""#;
    let second = mount(read_only);
    assert_eq!((&second.digest, second.written.len()), (&first.digest, 0), "{second:?}");
    project.layout().verify();
    project.write("main.py", "from fastapi import FastAPI\n\napp = FastAPI(title='new')\n");
    let third = mount(read_only);
    assert_eq!(third.written, ["source"]);
    assert!(third.said.contains("cannot store new layers"), "{}", third.said);
    project.layout().verify();
    // A full cache.
    let full = mount(r#"cache=$1; shift; mount -t tmpfs -o size=64k none "$cache"; exec "$@""#);
    assert_eq!(full.digest, third.digest, "{full:?}");
    assert!(full.said.contains("cannot store new layers"), "{}", full.said);
    project.layout().verify();
}

#[test]
fn a_cache_on_another_file_system_works() {
    let other = Path::new("/dev/shm");
    if !other.is_dir() || device(other) == device(&std::env::temp_dir()) {
        return;
    }
    let project = Project::tiny();
    let fixture = Fixture { folder: tempfile::tempdir_in(other).expect("a folder") };
    let first = fixture.build(&project, &[]);
    settle(fixture.folder.path());
    fixture.build(&project, &[]);
    let again = fixture.build(&project, &[]);
    assert_eq!((again.digest, again.read.len()), (first.digest, 0));
}

fn device(path: &Path) -> u64 {
    fs_err::metadata(path).expect("a folder").dev()
}

#[test]
fn ignores_a_cache_that_is_a_file_or_of_another_version() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    fs_err::create_dir_all(fixture.cache()).expect("a folder");
    fs_err::write(fixture.cache().join("layers"), "a file").expect("a file");
    let made = fixture.build(&project, &[]);
    assert!(made.said.contains("cannot store new layers"), "{}", made.said);
    fs_err::remove_file(fixture.cache().join("layers")).expect("a file");
    fs_err::create_dir_all(fixture.cache().join("layers/0/blobs")).expect("a folder");
    assert_eq!(fixture.build(&project, &[]).digest, made.digest);
    // `prune` removes the other version.
    fixture.cache_command(&["prune"]).success();
    assert!(!fixture.cache().join("layers/0").exists() && fixture.cache().join("layers/1").exists());
}

#[test]
fn blobs_are_linked_into_the_layout_and_readable_by_all() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    fixture.build(&project, &[]);
    let blobs = project.path().join("dist/image/blobs/sha256");
    let links = fs_err::read_dir(blobs).expect("a folder").map(|entry| {
        let metadata = entry.expect("an entry").metadata().expect("metadata");
        assert_eq!(metadata.permissions().mode() & 0o444, 0o444);
        metadata.nlink()
    });
    let most = links.max();
    // On file systems with reflinks each is a file of its own; elsewhere both are hard links to
    // one.
    let (from, to) = (fixture.folder.path().join("from"), fixture.folder.path().join("to"));
    fs_err::write(&from, "x").expect("a file");
    let clones = run(Command::new("cp").arg("--reflink=always").arg(from).arg(to)).status.success();
    assert_eq!(most, Some(if clones { 1 } else { 2 }));
}

#[test]
fn lists_and_prunes_the_cache() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    let first = fixture.build(&project, &[]);
    let list = fixture.cache_command(&["ls"]).success();
    assert!(list.text().contains("source") && list.text().contains("interpreter"), "{}", list.text());
    let json = fixture.cache_command(&["ls", "--json"]).success();
    let rows: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let layers: Vec<_> =
        rows.as_array().expect("rows").iter().filter(|row| row["kind"] == "layers").collect();
    assert!(layers.iter().any(|row| row["name"] == "source" && row["bytes"].as_u64() > Some(0)), "{rows}");
    fixture.cache_command(&["prune", "--max-size", "0"]).success();
    assert_eq!(fixture.cache_command(&["ls", "--json"]).success().text().trim(), "[]");
    // The layout's links remain.
    project.layout().verify();
    assert_eq!(fixture.build(&project, &[]).digest, first.digest);
    // An empty list is no error.
    let empty = Fixture::new();
    assert_eq!(empty.cache_command(&["ls", "--json"]).success().text().trim(), "[]");
    assert_eq!(empty.cache_command(&["prune", "--max-size", "1GB"]).success().code(), Some(0));
}

#[test]
fn verify_detects_flipped_bits() {
    let (fixture, project) = (Fixture::new(), Project::tiny());
    fixture.build(&project, &[]);
    let blob =
        fixture.files().into_iter().find(|path| path.components().any(|part| part.as_os_str() == "blobs"));
    let blob = blob.expect("a blob");
    let modified = fs_err::metadata(&blob).expect("a file").modified().expect("a time");
    let mut bytes = fs_err::read(&blob).expect("a file");
    bytes[20] ^= 1;
    fs_err::write(&blob, bytes).expect("a file");
    File::options().write(true).open(&blob).expect("a file").set_modified(modified).expect("a time");
    let found = fixture.cache_command(&["verify"]).exits_with(1);
    assert!(found.text().contains(blob.file_name().expect("a name").to_str().expect("UTF-8")));
    assert!(found.stderr.contains("help:"), "{}", found.stderr);
    assert_eq!(fixture.cache_command(&["verify"]).success().text(), "");
}
