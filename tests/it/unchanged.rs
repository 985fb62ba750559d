//! Builds with an unchanged environment reuse the cached plan and give the same image; after any
//! change, the result equals that of a build without a cache.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::support::base::{Layer, layout};
use crate::support::{Outcome, Project, Venv, copy_folder, requires, run, settle, with_metadata};
use test_macros::test;

/// A project with an environment and a cache of its own.
struct Fixture {
    project: Project,
}

/// Compression would take half of the time, and affects no plan.
const COMPRESSION: (&str, &str) = ("IPO_OCI_COMPRESSION", "none");

/// The result of a build.
struct BuildOutput {
    digest: String,
    /// The report and the warnings, or the error.
    said: Vec<String>,
    /// False if the plan of the environment was reused.
    planned: bool,
}

impl Fixture {
    /// Returns the example with a real environment.
    fn example() -> Self {
        let fixture = Self { project: Project::example() };
        copy_folder(Venv::pip().path(), &fixture.venv());
        fixture
    }

    /// Returns the smallest project.
    fn tiny() -> Self {
        let fixture = Self { project: Project::tiny() };
        fs_err::rename(fixture.project.path().join(".venv"), fixture.venv()).expect("a folder");
        fixture
    }

    fn venv(&self) -> PathBuf {
        self.project.beside("venv")
    }

    fn cache(&self) -> PathBuf {
        self.project.beside("cache")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command("build");
        command.args(["-v", "--no-provision", "--venv"]).arg(self.venv());
        command.env(COMPRESSION.0, COMPRESSION.1);
        command.arg("--cache-dir").arg(self.cache()).args(arguments);
        with_metadata(&mut command, &self.project.beside(""));
        command
    }

    #[track_caller]
    fn build(&self, arguments: &[&str]) -> BuildOutput {
        BuildOutput::of(&run(&mut self.command(arguments)).success())
    }

    /// Builds until the plan is reused.
    #[track_caller]
    fn settled(&self, arguments: &[&str]) -> BuildOutput {
        settle(self.cache().parent().expect("a folder"));
        self.build(arguments);
        let made = self.build(arguments);
        assert!(!made.planned, "{:#?}", made.said);
        made
    }

    /// Builds with and without the cache, and compares the results, including errors.
    #[track_caller]
    fn compare(&self, what: &str, arguments: &[&str]) -> BuildOutput {
        let made = BuildOutput::of(&run(&mut self.command(arguments)));
        let anew = BuildOutput::of(&run(&mut self.command(&[arguments, &["--no-cache"]].concat())));
        assert_eq!((&made.digest, &made.said), (&anew.digest, &anew.said), "{what}");
        made
    }

    fn site_packages(&self) -> PathBuf {
        let lib = fs_err::read_dir(self.venv().join("lib")).expect("lib").next().expect("a Python");
        lib.expect("a Python").path().join("site-packages")
    }
}

impl BuildOutput {
    fn of(outcome: &Outcome) -> Self {
        let digest = outcome.text().trim().rsplit_once('@').map_or("none", |(_, digest)| digest);
        let steps = ["reading ", "preparing ", "finding ", "compiling ", "writing "];
        let is_step = |line: &&str| steps.iter().any(|step| line.starts_with(step));
        // The summary contains counts and durations, which differ.
        let is_summary = |line: &&str| {
            let counts = |(before, took): (&str, &str)| before.contains(" layer") && took.ends_with(" s");
            ["  load: ", "  run:  ", "  push: "].iter().any(|next| line.starts_with(next))
                || line.rsplit_once("; ").is_some_and(counts)
        };
        let said = outcome.stderr.lines().filter(|line| !is_step(line) && !is_summary(line));
        let said = said.map(str::to_owned).collect();
        // A failed build writes no metadata.
        let planned = outcome.metadata.as_ref().is_none_or(|metadata| metadata["environment"] == "read");
        Self { digest: digest.to_owned(), said, planned }
    }
}

/// Changes the last byte of a file and keeps its time.
fn rewrite(path: &Path) {
    let time = fs_err::metadata(path).expect("a file").modified().expect("a time");
    let mut bytes = fs_err::read(path).expect("a file");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs_err::write(path, bytes).expect("a file");
    File::options().write(true).open(path).expect("a file").set_modified(time).expect("a time");
}

#[test]
fn an_unchanged_environment_is_not_planned_again() {
    let fixture = Fixture::example();
    let again = fixture.settled(&[]);
    let anew = fixture.compare("nothing", &[]);
    assert_eq!(again.digest, anew.digest);
    fixture.project.layout().verify();
}

#[test]
fn a_changed_source_reuses_the_environment_plan() {
    let fixture = Fixture::example();
    let first = fixture.settled(&[]);
    let main = fixture.project.read("app/main.py");
    fixture.project.write("app/main.py", &format!("{main}\n# new\n"));
    fixture.project.write("app/more/__init__.py", "");
    let second = fixture.compare("source", &[]);
    assert!(!second.planned && second.digest != first.digest);
    // The image has the new content.
    let image = fixture.project.layout().only();
    assert!(String::from_utf8(image.read_file("app/app/main.py")).expect("text").ends_with("# new\n"));
    // Names, labels and variables affect no layer.
    for arguments in [["--tag", "other:2"], ["--label", "a=b"], ["--env", "A=b"]] {
        assert!(!fixture.compare("names", &arguments).planned, "{arguments:?}");
    }
}

#[test]
#[allow(clippy::too_many_lines)] // One row for each change.
fn detects_every_change_of_an_environment() {
    type Change = fn(&Fixture);
    let changes: [(&str, Change); 16] = [
        ("bytes of a module, time kept", |fixture| {
            rewrite(&fixture.site_packages().join("fastapi/routing.py"));
        }),
        ("a new module", |fixture| {
            fs_err::write(fixture.site_packages().join("fastapi/new.py"), "x = 1\n").expect("a file");
        }),
        ("a module that is gone", |fixture| {
            fs_err::remove_file(fixture.site_packages().join("fastapi/new.py")).expect("a file");
        }),
        ("a new folder", |fixture| {
            fs_err::create_dir(fixture.site_packages().join("nothing")).expect("a folder");
            fs_err::write(fixture.site_packages().join("nothing/__init__.py"), "").expect("a file");
        }),
        ("a .pth file", |fixture| {
            fs_err::write(fixture.site_packages().join("a.pth"), "/nowhere\n").expect("a file");
        }),
        ("permissions", |fixture| {
            let path = fixture.site_packages().join("fastapi/__init__.py");
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a file");
        }),
        ("a library", |fixture| {
            let folder = fixture.site_packages().join("httptools/parser");
            let mut files =
                fs_err::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
            rewrite(&files.find(|path| path.extension().is_some_and(|end| end == "so")).expect("a library"));
        }),
        ("a file as a link", |fixture| {
            let file = fixture.site_packages().join("fastapi/types.py");
            fs_err::rename(&file, file.with_extension("real")).expect("a file");
            symlink("types.real", file).expect("a link");
        }),
        ("a link that leads elsewhere", |fixture| {
            let file = fixture.site_packages().join("fastapi/types.py");
            fs_err::remove_file(&file).expect("a link");
            symlink("params.py", file).expect("a link");
        }),
        ("bytecode that is gone", |fixture| {
            fs_err::remove_dir_all(fixture.site_packages().join("starlette/__pycache__")).expect("a folder");
        }),
        ("a command", |fixture| {
            fs_err::write(fixture.venv().join("bin/fastapi"), "#!/bin/sh\n").expect("a file");
        }),
        ("a record", |fixture| {
            let record = |path: &Path| path.to_string_lossy().contains("/starlette-");
            let mut all = fs_err::read_dir(fixture.site_packages())
                .expect("a folder")
                .map(|entry| entry.expect("one").path());
            let path = all.find(|path| record(path)).expect("starlette").join("RECORD");
            let text = fs_err::read_to_string(&path).expect("a record");
            fs_err::write(path, text.replacen("starlette/types.py", "starlette/typos.py", 1))
                .expect("a record");
        }),
        ("a distribution that is gone", |fixture| {
            let is_one = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pytest"))
            };
            let all = fs_err::read_dir(fixture.site_packages())
                .expect("a folder")
                .map(|entry| entry.expect("one").path());
            all.filter(is_one)
                .filter(|path| path.is_dir())
                .for_each(|path| fs_err::remove_dir_all(path).expect("a folder"));
        }),
        ("what the project declares", |fixture| {
            let text = fixture.project.read("requirements.txt");
            fixture.project.write("requirements.txt", &text.replacen("fastapi", "fastapi  ", 1));
        }),
        ("pyvenv.cfg", |fixture| {
            let path = fixture.venv().join("pyvenv.cfg");
            let text = fs_err::read_to_string(&path).expect("a file");
            fs_err::write(path, text + "prompt = other\n").expect("a file");
        }),
        ("the whole environment", |fixture| {
            fs_err::remove_dir_all(fixture.venv()).expect("a folder");
            copy_folder(Venv::pip().path(), &fixture.venv());
            let text = fixture.project.read("requirements.txt");
            fixture.project.write("requirements.txt", &text.replacen("fastapi  ", "fastapi", 1));
        }),
    ];
    let fixture = Fixture::example();
    let first = fixture.settled(&[]);
    assert_eq!(fixture.compare("before", &[]).digest, first.digest);
    let mut is_built = true;
    for (what, change) in changes {
        if is_built {
            fixture.settled(&[]);
        }
        change(&fixture);
        let made = fixture.compare(what, &[]);
        assert!(made.planned, "{what}");
        is_built = made.digest != "none";
    }
    assert_eq!(fixture.settled(&[]).digest, first.digest);
}

#[test]
fn detects_changes_of_settings() {
    let fixture = Fixture::tiny();
    let first = fixture.settled(&[]);
    let cases: [&[&str]; 8] = [
        &["--compression", "gzip:1"],
        &["--compression", "zstd"],
        &["--bytecode", "strip"],
        &["--layers", "2"],
        &["--layers", "1"],
        &["--user", "7:8"],
        &["--target", "dev"],
        &["--target", "builder"],
    ];
    for arguments in cases {
        let one = fixture.compare("first", arguments);
        let two = fixture.compare("second", arguments);
        assert!(one.digest == two.digest && one.digest != first.digest, "{arguments:?}");
    }
    let again = fixture.build(&[]);
    assert!(again.digest == first.digest && !again.planned);
    // Every build reads the recipe.
    fixture.project.write("own.toml", "extends = \"runtime\"\nworkdir = \"/srv/x\"\n");
    let moved = fixture.compare("recipe", &["--recipe", "own.toml"]);
    assert!(moved.planned && moved.digest != first.digest);
}

#[test]
fn sources_in_system_directories_give_the_same_image() {
    for workdir in ["/", "/usr", "/usr/lib", "/etc", "/tmp/x", "/app/.venv"] {
        let fixture = Fixture::tiny();
        fixture.project.write("own.toml", &format!("extends = \"runtime\"\nworkdir = \"{workdir}\"\n"));
        let arguments = ["--recipe", "own.toml"];
        fixture.compare(workdir, &arguments);
        settle(&fixture.project.beside(""));
        fixture.compare(workdir, &arguments);
        fixture.project.write("tmp/more.py", "");
        fixture.compare(workdir, &arguments);
        // Conflicts with a system file.
        fixture.project.write("passwd", "");
        fixture.compare(workdir, &arguments[..]);
    }
}

#[test]
fn detects_excluded_sources() {
    let fixture = Fixture::tiny();
    fixture.settled(&[]);
    // Excludes all source.
    fixture.project.write(".dockerignore", "*\n");
    let outcome = run(&mut fixture.command(&[]));
    let anew = run(&mut fixture.command(&["--no-cache"]));
    assert_eq!((outcome.code(), &outcome.text()), (anew.code(), &anew.text()));
    fixture.project.write(".dockerignore", "pyproject.toml\n");
    let some = fixture.compare("ignored", &[]);
    assert!(!some.planned);
}

#[test]
fn reads_editable_sources_in_every_build() {
    let fixture = Fixture::tiny();
    let elsewhere = fixture.project.beside("library");
    fs_err::create_dir_all(elsewhere.join("library")).expect("a folder");
    fs_err::write(elsewhere.join("library/__init__.py"), "x = 1\n").expect("a file");
    // An editable installation.
    let info = fixture.site_packages().join("library-1.0.dist-info");
    fs_err::create_dir(&info).expect("a folder");
    for (path, text) in [
        (fixture.site_packages().join("library.pth"), format!("{}\n", elsewhere.display())),
        (info.join("METADATA"), "Metadata-Version: 2.1\nName: library\nVersion: 1.0\n".to_owned()),
        (info.join("RECORD"), "library.pth,,\nlibrary-1.0.dist-info/METADATA,,\n".to_owned()),
        (
            info.join("direct_url.json"),
            format!(r#"{{"url": "file://{}", "dir_info": {{"editable": true}}}}"#, elsewhere.display()),
        ),
    ] {
        fs_err::write(path, text).expect("a file");
    }
    // The development target includes every distribution.
    let arguments = ["--target", "dev"];
    let first = fixture.settled(&arguments);
    fs_err::write(elsewhere.join("library/__init__.py"), "x = 2\n").expect("a file");
    let second = fixture.compare("a module", &arguments);
    assert!(second.digest != first.digest, "{:#?}", second.said);
    assert!(!second.planned);
    fs_err::write(elsewhere.join("library/more.py"), "").expect("a file");
    assert!(fixture.compare("another module", &arguments).digest != second.digest);
}

#[test]
fn detects_a_changed_base() {
    let fixture = Fixture::tiny();
    let base = fixture.project.beside("base");
    let make = |motd: &str| {
        let _ = fs_err::remove_dir_all(&base);
        let layer = Layer::default().dir("etc", 0o755).file("etc/motd", motd).dir("app", 0o750);
        layout(&base, &[layer.write(fixture.project.beside("layer"))]);
    };
    make("one");
    let reference = format!("oci:{}", base.display());
    let arguments = ["--base", reference.as_str()];
    let first = fixture.settled(&arguments);
    assert_eq!(fixture.compare("a base", &arguments).digest, first.digest);
    make("two");
    let second = fixture.compare("another base", &arguments);
    assert!(second.planned && second.digest != first.digest);
}

#[test]
fn a_base_with_a_link_to_the_source_directory_works() {
    let fixture = Fixture::tiny();
    let base = fixture.project.beside("base");
    let layer = Layer::default().dir("srv", 0o755).dir("srv/x", 0o750).link("app", "srv/x");
    layout(&base, &[layer.write(fixture.project.beside("layer"))]);
    // A warning about the source.
    fixture.project.write("broken.py", "def\n");
    let reference = format!("oci:{}", base.display());
    let arguments = ["--base", reference.as_str()];
    fixture.settled(&arguments);
    fixture.project.write("more.py", "");
    let made = fixture.compare("a base with a link", &arguments);
    assert!(!made.planned);
    let warnings = made.said.iter().filter(|line| line.contains("does not compile")).count();
    assert_eq!(warnings, 1, "{:#?}", made.said);
}

#[test]
fn a_relative_path_depends_on_the_working_directory() {
    let fixture = Fixture::tiny();
    let (one, two) = (fixture.project.path().to_owned(), fixture.project.beside("another place"));
    fs_err::create_dir(&two).expect("a folder");
    symlink(fixture.venv(), one.join("env")).expect("a link");
    symlink(fixture.venv(), two.join("env")).expect("a link");
    let build = |from: &Path, more: &[&str]| {
        let mut command = crate::support::ipo_oci();
        command.args(["build", "-v", "--no-provision", "--venv", "env", "--cache-dir"]).arg(fixture.cache());
        let outcome = run(command.arg(&one).args(more).args(["-o", "oci:out"]).current_dir(from));
        let made = BuildOutput::of(&outcome);
        (made.digest, made.said)
    };
    settle(&fixture.project.beside(""));
    build(&one, &[]);
    assert_eq!(build(&one, &[]), build(&one, &["--no-cache"]));
    // Seen from the second directory, the link leads out of the context.
    assert_eq!(build(&two, &[]), build(&two, &["--no-cache"]));
}

#[test]
fn transient_errors_are_not_cached() {
    let list = Path::new("/var/lib/dpkg/info/libc6:amd64.list");
    requires("strace");
    if !list.exists() {
        crate::support::skip("this is no Debian for amd64");
    }
    let fixture = Fixture::tiny();
    settle(&fixture.project.beside(""));
    let build = fixture.command(&[]);
    let mut command = Command::new("strace");
    crate::support::clean_environment(&mut command);
    command.args(["-f", "-o", "/dev/null", "-e", "trace=openat", "-e", "inject=openat:error=EMFILE", "-P"]);
    command.arg(list).arg(build.get_program()).args(build.get_args()).current_dir(fixture.project.path());
    let failed = BuildOutput::of(&run(&mut command).success());
    assert!(failed.said.iter().any(|line| line.contains("libc6")), "{:#?}", failed.said);
    let made = fixture.compare("the file can be read", &[]);
    assert!(made.planned && made.digest != failed.digest);
}

#[test]
fn recompiles_damaged_bytecode() {
    let fixture = Fixture::example();
    let folder = fixture.site_packages().join("fastapi/__pycache__");
    let pyc = fs_err::read_dir(&folder).expect("bytecode").map(|entry| entry.expect("a file").path());
    let pyc = pyc.into_iter().find(|path| path.to_string_lossy().contains("routing.")).expect("bytecode");
    let whole = fs_err::read(&pyc).expect("bytecode");
    let good = fixture.build(&[]);
    let cut = &whole[..whole.len() / 2];
    let nonsense: Vec<u8> =
        whole.iter().enumerate().map(|(at, byte)| if at < 16 { *byte } else { !*byte }).collect();
    for (what, bytes) in [("cut off", cut), ("nonsense", &nonsense[..]), ("a header", &whole[..16])] {
        fs_err::write(&pyc, bytes).expect("bytecode");
        settle(fixture.cache().parent().expect("a folder"));
        let made = fixture.compare(what, &[]);
        assert_eq!((&made.digest, &made.said), (&good.digest, &good.said), "{what}");
        let again = fixture.build(&[]);
        assert_eq!((again.digest, again.planned), (made.digest, false), "{what}: it is known now");
        fixture.project.layout().verify();
    }
    // Without compilation the file is excluded, with one warning.
    let kept = fixture.compare("kept", &["--bytecode", "keep"]);
    let told = kept.said.iter().filter(|line| line.contains("not the bytecode of their source")).count();
    assert_eq!(told, 1, "{:#?}", kept.said);
    // An unreadable file has the same result.
    fs_err::remove_file(&pyc).expect("bytecode");
    symlink("routing.gone", &pyc).expect("a link");
    assert_eq!(fixture.compare("a link that leads nowhere", &[]).digest, good.digest);
}

#[test]
fn prune_removes_plans_with_their_layers() {
    let fixture = Fixture::tiny();
    fixture.settled(&[]);
    let cached_plans = || {
        let files = walkdir::WalkDir::new(fixture.cache().join("layers/1/grounds")).into_iter().flatten();
        files.filter(|entry| entry.file_type().is_file()).count()
    };
    let prune = |size: &str| {
        let mut command = crate::support::ipo_oci();
        run(command.args(["cache", "prune", "--max-size", size, "--cache-dir"]).arg(fixture.cache()))
            .success()
    };
    prune("1GB");
    // The plan, and two marks of the check.
    assert_eq!(cached_plans(), 3);
    fs_err::remove_dir_all(fixture.cache().join("layers/1/blobs")).expect("a folder");
    prune("1GB");
    assert_eq!(cached_plans(), 0);
}

#[test]
fn missing_and_damaged_layers_are_rewritten() {
    let fixture = Fixture::tiny();
    let first = fixture.settled(&[]);
    let blobs = || {
        let files = walkdir::WalkDir::new(fixture.cache().join("layers/1/blobs")).into_iter().flatten();
        files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path)
    };
    for path in blobs().collect::<Vec<_>>() {
        fs_err::remove_file(path).expect("a blob");
    }
    fs_err::remove_dir_all(fixture.project.path().join("dist")).expect("a folder");
    assert_eq!(fixture.build(&[]).digest, first.digest);
    fixture.project.layout().verify();
    for path in blobs().collect::<Vec<_>>() {
        fs_err::write(path, "damaged").expect("a blob");
    }
    assert_eq!(fixture.build(&[]).digest, first.digest);
    fixture.project.layout().verify();
}

/// The invariant of `src/traced_fs/`, checked with strace: a build that reuses a plan has to check
/// every path that planning accesses.
#[test]
fn reused_plans_check_every_accessed_path() {
    requires("strace");
    let fixture = Fixture::example();
    fixture.settled(&[]);
    fs_err::remove_dir_all(fixture.cache().join("layers/1/grounds")).expect("a folder");
    let traced = |name: &str| {
        let file = fixture.project.beside(name);
        let build = fixture.command(&[]);
        let mut command = Command::new("strace");
        crate::support::clean_environment(&mut command);
        command.args(["-f", "-y", "-s", "8192", "-e", "trace=%file,execve", "-o"]).arg(&file);
        command.env(COMPRESSION.0, COMPRESSION.1);
        command.arg(build.get_program()).args(build.get_args()).current_dir(fixture.project.path());
        let made = BuildOutput::of(&run(&mut command).success());
        (made, accessed_paths(&fs_err::read_to_string(file).expect("a trace")))
    };
    let (planned, before) = traced("planned");
    let (recalled, after) = traced("recalled");
    assert!(planned.planned && !recalled.planned);
    assert!(before.len() > 5_000, "only {} paths were seen", before.len());
    let cache = fs_err::canonicalize(fixture.cache()).expect("a folder");
    let of_no_plan = |path: &Path| {
        // Derived files, files of the process itself, and the metadata file, new in each build.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.starts_with(&cache)
            || path.starts_with("/proc")
            || path.starts_with("/sys")
            || name.starts_with("metadata-") && path.parent() == cache.parent()
    };
    let missed: Vec<_> = before.difference(&after).filter(|path| !of_no_plan(path)).collect();
    assert!(missed.is_empty(), "{} paths, such as {:?}", missed.len(), &missed[..missed.len().min(20)]);
}

/// Returns the paths in strace's output.
fn accessed_paths(trace: &str) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for line in trace.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let call = call.rsplit(' ').next().unwrap_or_default();
        let looks = ["open", "stat", "readlink", "access"].iter().any(|part| call.contains(part));
        let Some((before, rest)) = arguments.split_once('"').filter(|_| looks) else { continue };
        let Some((path, _)) = rest.split_once('"') else { continue };
        let folder =
            before.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("/", |(path, _)| path);
        let path: PathBuf =
            Path::new(folder).join(path).components().filter(|part| *part != Component::CurDir).collect();
        all.insert(path);
    }
    all
}
