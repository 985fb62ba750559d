//! A cache directory with every kind of damage to every kind of file: the image is the same, or an
//! error names the problem.
//!
//! `IPO_OCI_TEST_DAMAGES=1000 cargo test --release --test it damaged_cache::` damages a thousand
//! files. With `IPO_OCI_TEST_REQUIREMENTS` as the text of a `requirements.txt`, the `uv` on `PATH`
//! installs real distributions.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::registry::{Kind, Registry};
use crate::support::{Layout, Outcome, Project, requires, run, settle};
use ipo_oci::digest::Digest;
use ipo_oci::platform::Platform;
use ipo_oci::store::{self, Access, WriteOptions};
use test_macros::test;

/// The number of damages in the suite.
const DAMAGES: usize = 60;

/// Kinds of cached files, by their place in the cache directory.
const KINDS: [&str; 16] = [
    "bytecode/compiled/*.error",
    "bytecode/compiled/*.pyc",
    "bytecode/memo",
    "bytecode/source/compiled/*.error",
    "bytecode/source/compiled/*.pyc",
    "bytecode/source/memo",
    "layer-views",
    "layers/blobs",
    "layers/contents",
    "layers/grounds",
    "layers/hints",
    "layers/making",
    "layers/quick",
    "layers/records",
    "layers/verified",
    "registry",
];
/// Kinds of files of a provisioned environment.
const OF_ENVIRONMENT: [&str; 3] = ["venv", "venv/*.complete", "venv/*.lock"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    Flipped,
    /// Keeps the modification time.
    FlippedUnseen,
    Cut,
    Grown,
    Emptied,
    /// Replaced by another file of its kind.
    Another,
    Directory,
    Link,
    DanglingLink,
    Unreadable,
    Pipe,
    Gone,
}

const ALL: [Damage; 12] = [
    Damage::Flipped,
    Damage::FlippedUnseen,
    Damage::Cut,
    Damage::Grown,
    Damage::Emptied,
    Damage::Another,
    Damage::Directory,
    Damage::Link,
    Damage::DanglingLink,
    Damage::Unreadable,
    Damage::Pipe,
    Damage::Gone,
];

/// Cache entries that are removed before a build, so that it depends on the next ones. Rebuilding
/// all layers takes long and is seldom needed: computing their keys reads the files.
const ROUTES: [&[&str]; 12] = [
    &[],
    &[],
    &["layers/1/grounds"],
    &["layers/1/grounds"],
    &["layers/1/grounds", "layers/1/quick"],
    &["layers/1/grounds", "layers/1/quick"],
    &["layers/1/grounds", "layers/1/quick", "layers/1/contents"],
    &["layers/1/grounds", "layers/1/quick", "layers/1/contents"],
    &["layers/1/grounds", "layers/1/quick", "layers/1/contents", "bytecode/memo", "bytecode/source/memo"],
    &["layers/1/grounds", "layers/1/quick", "layers/1/contents", "bytecode/memo", "bytecode/source/memo"],
    &["layers/1/grounds", "layers/1/quick", "layers/1/contents", "layers/1/verified", "bytecode/source/memo"],
    &["layers/1", "bytecode/memo", "bytecode/source/memo"],
];

/// A pseudorandom sequence with a fixed seed, so failures can be reproduced.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit.max(1)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

/// Device, inode, size and modification time of verified blobs.
type VerifiedStates = BTreeSet<(u64, u64, u64, i64, i64)>;

/// A project without an environment, a base in a registry, and a cache.
struct Fixture {
    verified: RefCell<VerifiedStates>,
    folder: tempfile::TempDir,
    project: Project,
    registry: Registry,
    path: OsString,
    requirements: Option<String>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let project = Project::tiny();
        let venv = project.path().join(".venv");
        let site = crate::support::venv::site_packages(&venv);
        fs_err::write(site.join("fastapi/python2.py"), "print 'no module'\n").expect("a file");
        project.write("template.py", "{{ no_module }} =\n");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let requirements = std::env::var("IPO_OCI_TEST_REQUIREMENTS").ok();
        let path = if let Some(requirements) = &requirements {
            project.write("requirements.txt", requirements);
            fs_err::remove_dir_all(&venv).expect("a folder");
            path
        } else {
            project.write("requirements.txt", "fastapi\nuvicorn\nuvloop\nhttptools\n");
            let template = folder.path().join("template");
            fs_err::rename(&venv, &template).expect("a folder");
            remove_script_hashes(&template);
            crate::support::copy_folder(&template, &folder.path().join("pristine"));
            fake_uv(&folder.path().join("bin"), &venv, &template);
            let first = [folder.path().join("bin")].into_iter();
            std::env::join_paths(first.chain(std::env::split_paths(&path))).expect("a path")
        };
        let registry = Registry::start(Kind::Anonymous);
        let base = crate::support::images::image_of(
            &Platform::of_this_program().architecture,
            vec![crate::support::images::layer_of(&[("etc/team", "ours"), ("etc/os-release", "ID=team\n")])],
        );
        let mut access = Access::default();
        access.registry.insecure.push(registry.host());
        let to = format!("docker://{}/base:1", registry.host()).parse().expect("a reference");
        let name = ipo_oci::reference::Name::new("base", "1").expect("a name");
        let options = WriteOptions::default();
        let artifact = base.artifact().expect("an artifact");
        store::write(&artifact, &to, &name, &options, &access, &ipo_oci::progress::Silent).expect("a push");
        Self { verified: RefCell::default(), folder, project, registry, path, requirements }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Builds into a layout of its own. A hanging build ends with 124.
    fn build(&self, out: &str) -> Outcome {
        let out = self.folder.path().join(out);
        let _ = fs_err::remove_dir_all(&out);
        let build = self.project.command("build");
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120"]).arg(build.get_program()).args(build.get_args());
        command.current_dir(self.project.path()).env("PATH", &self.path);
        crate::support::clean_environment(&mut command);
        command.args([
            "--compression",
            "gzip:1",
            "--base",
            &format!("docker://{}/base:1", self.registry.host()),
        ]);
        command.args(["--insecure-registry", &self.registry.host()]);
        command.arg("--cache-dir").arg(self.cache()).arg("-o").arg(format!("oci:{}", out.display()));
        run(&mut command)
    }

    /// Builds and verifies an image; returns its digest.
    #[track_caller]
    fn good(&self) -> String {
        let outcome = self.build("out").success();
        self.verify();
        let (_, digest) = outcome.text().trim().rsplit_once('@').expect("a digest");
        digest.to_owned()
    }

    /// Verifies every blob of the layout; a blob linked to the cache is verified once for each of
    /// its states.
    #[track_caller]
    fn verify(&self) {
        let layout = self.folder.path().join("out");
        Layout::open(&layout);
        for entry in fs_err::read_dir(layout.join("blobs/sha256")).expect("blobs") {
            let path = entry.expect("an entry").path();
            let file = fs_err::metadata(&path).expect("a file");
            let state = (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec());
            if !self.verified.borrow().contains(&state) {
                let digest = Digest::of(&fs_err::read(&path).expect("a blob"));
                assert_eq!(digest.hex(), path.file_name().expect("a name").to_str().expect("UTF-8"));
                self.verified.borrow_mut().insert(state);
            }
        }
    }

    /// Returns the cached files by kind.
    fn files(&self) -> BTreeMap<String, Vec<PathBuf>> {
        let mut kinds = BTreeMap::<String, Vec<PathBuf>>::new();
        for entry in walkdir::WalkDir::new(self.cache()).sort_by_file_name() {
            let entry = entry.expect("an entry");
            let below = entry.path().strip_prefix(self.cache()).expect("below");
            // Links and pipes are earlier damage that no build has touched since.
            if !entry.file_type().is_file() || below == Path::new("CACHEDIR.TAG") {
                continue;
            }
            kinds.entry(kind_of(below)).or_default().push(entry.into_path());
        }
        kinds
    }
}

/// Writes a fast substitute for uv. It creates an environment of hard links to `template`, which
/// stands for uv's cache, or of copies of `pristine`.
fn fake_uv(bin: &Path, made_for: &Path, template: &Path) {
    fs_err::create_dir_all(bin).expect("a folder");
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n'python find') exec python3 -c 'import sys; print(sys._base_executable)';;\n\
         'venv --color') ;;\n\
         'pip install') to=${{6%/bin/python}}; if [ -e \"$to/pyvenv.cfg\" ]; then exit; fi\n\
         echo \"$UV_NO_CACHE.\" >>'{calls}'\n\
         if [ \"$UV_NO_CACHE\" ]; then cp -a '{pristine}' \"$to\"; else cp -al '{template}' \"$to\"; fi\n\
         for file in fastapi uvicorn uvloop httptools; do sed -i \"1s#{made_for}#$to#\" \"$to/bin/$file\"; done;;\nesac\n",
        template = template.display(),
        pristine = template.with_file_name("pristine").display(),
        calls = template.with_file_name("calls").display(),
        made_for = made_for.display(),
    );
    fs_err::write(bin.join("uv"), script).expect("a file");
    fs_err::set_permissions(bin.join("uv"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Removes the hashes of scripts from every RECORD, since scripts contain the environment's path.
fn remove_script_hashes(venv: &Path) {
    let records =
        walkdir::WalkDir::new(venv).into_iter().flatten().filter(|entry| entry.file_name() == "RECORD");
    for record in records {
        let text = fs_err::read_to_string(record.path()).expect("a file");
        let line = |line: &str| match line.split_once(',') {
            Some((path, _)) if path.starts_with("../") => format!("{path},,\n"),
            _ => format!("{line}\n"),
        };
        fs_err::write(record.path(), text.lines().map(line).collect::<String>()).expect("a file");
    }
}

fn kind_of(below: &Path) -> String {
    let parts: Vec<_> = below.iter().map(|part| part.to_str().expect("UTF-8")).collect();
    let suffix = below.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    match parts[..] {
        ["layers", "1", kind, ..] => format!("layers/{kind}"),
        ["bytecode", "source", "compiled", ..] => format!("bytecode/source/compiled/*.{suffix}"),
        ["bytecode", "compiled", ..] => format!("bytecode/compiled/*.{suffix}"),
        ["bytecode", "source", kind, ..] => format!("bytecode/source/{kind}"),
        ["bytecode", kind, ..] => format!("bytecode/{kind}"),
        ["venv", _] => format!("venv/*.{suffix}"),
        [first, ..] => first.to_owned(),
        [] => String::new(),
    }
}

/// Damages `path`; `others` are files of its kind.
fn damage(path: &Path, damage: Damage, others: &[PathBuf], random: &mut Random) {
    let other = random.of(others).cloned().unwrap_or_else(|| path.to_owned());
    let Ok(mut bytes) = fs_err::read(path) else { return };
    let replace = |make: &dyn Fn(&Path)| {
        fs_err::remove_file(path).expect("a file");
        make(path);
    };
    match damage {
        Damage::Flipped | Damage::FlippedUnseen => {
            let modified = fs_err::metadata(path).expect("a file").modified().expect("a time");
            let at = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            let _ = std::fs::write(path, bytes);
            if damage == Damage::FlippedUnseen {
                let file = File::options().write(true).open(path).expect("a file");
                file.set_modified(modified).expect("a time");
            }
        }
        Damage::Cut => {
            bytes.truncate(random.below(bytes.len()));
            fs_err::write(path, bytes).expect("a file");
        }
        Damage::Grown => {
            bytes.extend_from_slice(b"more");
            fs_err::write(path, bytes).expect("a file");
        }
        Damage::Emptied => fs_err::write(path, "").expect("a file"),
        Damage::Another => {
            if let Ok(bytes) = fs_err::read(other) {
                fs_err::write(path, bytes).expect("a file");
            }
        }
        Damage::Directory => replace(&|path| fs_err::create_dir_all(path.join("below")).expect("a folder")),
        Damage::Link => replace(&|path| symlink(&other, path).expect("a link")),
        Damage::DanglingLink => replace(&|path| symlink("nowhere", path).expect("a link")),
        Damage::Unreadable => {
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o0)).expect("a mode");
        }
        Damage::Pipe => replace(&|path| {
            run(Command::new("mkfifo").arg(path)).success();
        }),
        Damage::Gone => fs_err::remove_file(path).expect("a file"),
    }
}

#[test]
fn damage_gives_the_same_image_or_a_clear_error() {
    requires("docker-registry");
    requires("mkfifo");
    let fixture = Fixture::new();
    let damages =
        std::env::var("IPO_OCI_TEST_DAMAGES").map_or(DAMAGES, |count| count.parse().expect("a number"));
    let good = fixture.good();
    // The cache trusts only files older than a settling time, so a second build is needed.
    settle(fixture.folder.path());
    assert_eq!(fixture.good(), good);
    let mut kinds: Vec<String> = fixture.files().into_keys().collect();
    let mut expected: BTreeSet<&str> = KINDS.into_iter().chain(OF_ENVIRONMENT).collect();
    if fixture.requirements.is_some() {
        // All sources of real distributions compile.
        expected.remove("bytecode/compiled/*.error");
    }
    kinds.retain(|kind| kind != "bytecode/compiled/*.error" || expected.contains(&**kind));
    assert_eq!(
        kinds,
        expected.into_iter().collect::<Vec<_>>(),
        "a kind of file that this test does not know"
    );

    let mut random = Random(11);
    let (mut tally, mut errors) =
        (BTreeMap::<(String, Damage), usize>::new(), BTreeMap::<String, usize>::new());
    for round in 0..damages {
        let kind = &kinds[round % kinds.len()];
        let mut how = ALL[(round / kinds.len() + round) % ALL.len()];
        if kind == "layers/blobs" && how == Damage::FlippedUnseen {
            // Builds trust a blob with unchanged times; `ipo-oci cache verify` detects this damage.
            how = Damage::Flipped;
        }
        let files = fixture.files();
        let of_kind = files.get(kind).map(Vec::as_slice).unwrap_or_default();
        let Some(path) = random.of(of_kind) else { continue };
        let route = ROUTES[random.below(ROUTES.len())];
        damage(path, how, of_kind, &mut random);
        for gone in route.iter().filter(|gone| !kind.starts_with(&gone.replace("layers/1/", "layers/"))) {
            let _ = fs_err::remove_dir_all(fixture.cache().join(gone));
        }
        let outcome = fixture.build("out");
        let context = || {
            format!("round {round}: {how:?} {}, without {route:?}\n{}", path.display(), outcome.describe())
        };
        if outcome.status.success() {
            fixture.verify();
            assert!(outcome.text().trim().ends_with(&good), "{}", context());
        } else {
            assert!(outcome.code() == Some(1) && outcome.stderr.contains("error: "), "{}", context());
            *errors.entry(outcome.stderr.lines().last().unwrap_or_default().to_owned()).or_default() += 1;
            assert_eq!(fixture.good(), good, "after {}", context());
        }
        *tally.entry((kind.clone(), how)).or_default() += 1;
        if (round + 1) % 50 == 0 {
            eprintln!("{} damages, {} clear errors", round + 1, errors.values().sum::<usize>());
        }
    }
    assert_eq!(fixture.good(), good);
    eprintln!(
        "{damages} damages of {} kinds: {} clear errors {errors:#?}",
        kinds.len(),
        errors.values().sum::<usize>()
    );
    eprintln!("{tally:#?}");
}

#[test]
fn provisions_again_if_the_installers_cache_is_damaged() {
    requires("docker-registry");
    let fixture = Fixture::new();
    if fixture.requirements.is_some() {
        return;
    }
    let good = fixture.good();
    let module = fixture.files().remove("venv").expect("an environment");
    let module = module.into_iter().find(|path| path.ends_with("uvloop/__init__.py")).expect("a module");
    // A hard link to the installer's file.
    let mut bytes = fs_err::read(&module).expect("a file");
    bytes[0] ^= 1;
    fs_err::write(&module, bytes).expect("a file");
    let outcome = fixture.build("out").success();
    assert!(outcome.text().trim().ends_with(&good), "{}", outcome.describe());
    assert!(outcome.stderr.contains("uvloop/__init__.py"), "{}", outcome.describe());
    let calls = fs_err::read_to_string(fixture.folder.path().join("calls")).expect("calls");
    assert_eq!(calls, ".\n.\n1.\n");
    assert_eq!(fixture.good(), good);
}
