//! Builds with an unchanged environment reuse the cached plan and give the same image; after any
//! change, the result equals that of a build without a cache.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::support::base::{Layer, layout};
use crate::support::{Outcome, Project, Venv, copy_folder, requires, run, settle};
use test_macros::test;

/// A project with an environment and a cache of its own.
struct Bench {
    project: Project,
}

/// The result of a build.
struct BuildOutput {
    digest: String,
    /// The report and the warnings, or the error.
    said: Vec<String>,
    /// False if the plan of the environment was reused.
    planned: bool,
}

impl Bench {
    /// Returns the example with a real environment.
    fn example() -> Self {
        let bench = Self { project: Project::example() };
        copy_folder(Venv::pip().path(), &bench.venv());
        bench
    }

    /// Returns the smallest project.
    fn tiny() -> Self {
        let bench = Self { project: Project::tiny() };
        fs_err::rename(bench.project.path().join(".venv"), bench.venv()).expect("a folder");
        bench
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
        command.arg("--cache-dir").arg(self.cache()).args(arguments);
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
        let planned = outcome.stderr.contains("reading the environment");
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
    let bench = Bench::example();
    let again = bench.settled(&[]);
    let anew = bench.compare("nothing", &[]);
    assert_eq!(again.digest, anew.digest);
    bench.project.layout().verify();
}

#[test]
fn a_changed_source_reuses_the_environment_plan() {
    let bench = Bench::example();
    let first = bench.settled(&[]);
    let main = bench.project.read("app/main.py");
    bench.project.write("app/main.py", &format!("{main}\n# new\n"));
    bench.project.write("app/more/__init__.py", "");
    let second = bench.compare("source", &[]);
    assert!(!second.planned && second.digest != first.digest);
    // The image has the new content.
    let image = bench.project.layout().only();
    assert!(String::from_utf8(image.read_file("app/app/main.py")).expect("text").ends_with("# new\n"));
    // Names, labels and variables affect no layer.
    for arguments in [["--tag", "other:2"], ["--label", "a=b"], ["--env", "A=b"]] {
        assert!(!bench.compare("names", &arguments).planned, "{arguments:?}");
    }
}

#[test]
fn detects_every_change_of_an_environment() {
    type Change = fn(&Bench);
    let changes: [(&str, Change); 16] = [
        ("bytes of a module, time kept", |bench| rewrite(&bench.site_packages().join("fastapi/routing.py"))),
        ("a new module", |bench| {
            fs_err::write(bench.site_packages().join("fastapi/new.py"), "x = 1\n").expect("a file");
        }),
        ("a module that is gone", |bench| {
            fs_err::remove_file(bench.site_packages().join("fastapi/new.py")).expect("a file");
        }),
        ("a new folder", |bench| {
            fs_err::create_dir(bench.site_packages().join("nothing")).expect("a folder");
            fs_err::write(bench.site_packages().join("nothing/__init__.py"), "").expect("a file");
        }),
        ("a .pth file", |bench| {
            fs_err::write(bench.site_packages().join("a.pth"), "/nowhere\n").expect("a file");
        }),
        ("permissions", |bench| {
            let path = bench.site_packages().join("fastapi/__init__.py");
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a file");
        }),
        ("a library", |bench| {
            let folder = bench.site_packages().join("httptools/parser");
            let mut files =
                fs_err::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
            rewrite(&files.find(|path| path.extension().is_some_and(|end| end == "so")).expect("a library"));
        }),
        ("a file as a link", |bench| {
            let file = bench.site_packages().join("fastapi/types.py");
            fs_err::rename(&file, file.with_extension("real")).expect("a file");
            symlink("types.real", file).expect("a link");
        }),
        ("a link that leads elsewhere", |bench| {
            let file = bench.site_packages().join("fastapi/types.py");
            fs_err::remove_file(&file).expect("a link");
            symlink("params.py", file).expect("a link");
        }),
        ("bytecode that is gone", |bench| {
            fs_err::remove_dir_all(bench.site_packages().join("starlette/__pycache__")).expect("a folder");
        }),
        ("a command", |bench| {
            fs_err::write(bench.venv().join("bin/fastapi"), "#!/bin/sh\n").expect("a file");
        }),
        ("a record", |bench| {
            let record = |path: &Path| path.to_string_lossy().contains("/starlette-");
            let mut all = fs_err::read_dir(bench.site_packages())
                .expect("a folder")
                .map(|entry| entry.expect("one").path());
            let path = all.find(|path| record(path)).expect("starlette").join("RECORD");
            let text = fs_err::read_to_string(&path).expect("a record");
            fs_err::write(path, text.replacen("starlette/types.py", "starlette/typos.py", 1))
                .expect("a record");
        }),
        ("a distribution that is gone", |bench| {
            let is_one = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pytest"))
            };
            let all = fs_err::read_dir(bench.site_packages())
                .expect("a folder")
                .map(|entry| entry.expect("one").path());
            all.filter(is_one)
                .filter(|path| path.is_dir())
                .for_each(|path| fs_err::remove_dir_all(path).expect("a folder"));
        }),
        ("what the project declares", |bench| {
            let text = bench.project.read("requirements.txt");
            bench.project.write("requirements.txt", &text.replacen("fastapi", "fastapi  ", 1));
        }),
        ("pyvenv.cfg", |bench| {
            let path = bench.venv().join("pyvenv.cfg");
            let text = fs_err::read_to_string(&path).expect("a file");
            fs_err::write(path, text + "prompt = other\n").expect("a file");
        }),
        ("the whole environment", |bench| {
            fs_err::remove_dir_all(bench.venv()).expect("a folder");
            copy_folder(Venv::pip().path(), &bench.venv());
            let text = bench.project.read("requirements.txt");
            bench.project.write("requirements.txt", &text.replacen("fastapi  ", "fastapi", 1));
        }),
    ];
    let bench = Bench::example();
    let first = bench.settled(&[]);
    for (what, change) in changes {
        if bench.compare("before", &[]).digest != "none" {
            bench.settled(&[]);
        }
        change(&bench);
        let made = bench.compare(what, &[]);
        assert!(made.planned, "{what}");
    }
    assert_eq!(bench.settled(&[]).digest, first.digest);
}

#[test]
fn detects_changes_of_settings() {
    let bench = Bench::tiny();
    let first = bench.settled(&[]);
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
        let one = bench.compare("first", arguments);
        let two = bench.compare("second", arguments);
        assert!(one.digest == two.digest && one.digest != first.digest, "{arguments:?}");
    }
    let again = bench.build(&[]);
    assert!(again.digest == first.digest && !again.planned);
    // Every build reads the recipe.
    bench.project.write("own.toml", "extends = \"runtime\"\nworkdir = \"/srv/x\"\n");
    let moved = bench.compare("recipe", &["--recipe", "own.toml"]);
    assert!(moved.planned && moved.digest != first.digest);
}

#[test]
fn sources_in_system_directories_give_the_same_image() {
    for workdir in ["/", "/usr", "/usr/lib", "/etc", "/tmp/x", "/app/.venv"] {
        let bench = Bench::tiny();
        bench.project.write("own.toml", &format!("extends = \"runtime\"\nworkdir = \"{workdir}\"\n"));
        let arguments = ["--recipe", "own.toml"];
        bench.compare(workdir, &arguments);
        settle(&bench.project.beside(""));
        bench.compare(workdir, &arguments);
        bench.project.write("tmp/more.py", "");
        bench.compare(workdir, &arguments);
        // Conflicts with a system file.
        bench.project.write("passwd", "");
        bench.compare(workdir, &arguments[..]);
    }
}

#[test]
fn detects_excluded_sources() {
    let bench = Bench::tiny();
    bench.settled(&[]);
    // Excludes all source.
    bench.project.write(".dockerignore", "*\n");
    let outcome = run(&mut bench.command(&[]));
    let anew = run(&mut bench.command(&["--no-cache"]));
    assert_eq!((outcome.code(), &outcome.text()), (anew.code(), &anew.text()));
    bench.project.write(".dockerignore", "pyproject.toml\n");
    let some = bench.compare("ignored", &[]);
    assert!(!some.planned);
}

#[test]
fn reads_editable_sources_in_every_build() {
    let bench = Bench::tiny();
    let elsewhere = bench.project.beside("library");
    fs_err::create_dir_all(elsewhere.join("library")).expect("a folder");
    fs_err::write(elsewhere.join("library/__init__.py"), "x = 1\n").expect("a file");
    // An editable installation.
    let info = bench.site_packages().join("library-1.0.dist-info");
    fs_err::create_dir(&info).expect("a folder");
    for (path, text) in [
        (bench.site_packages().join("library.pth"), format!("{}\n", elsewhere.display())),
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
    let first = bench.settled(&arguments);
    fs_err::write(elsewhere.join("library/__init__.py"), "x = 2\n").expect("a file");
    let second = bench.compare("a module", &arguments);
    assert!(second.digest != first.digest, "{:#?}", second.said);
    assert!(!second.planned);
    fs_err::write(elsewhere.join("library/more.py"), "").expect("a file");
    assert!(bench.compare("another module", &arguments).digest != second.digest);
}

#[test]
fn detects_a_changed_base() {
    let bench = Bench::tiny();
    let base = bench.project.beside("base");
    let make = |motd: &str| {
        let _ = fs_err::remove_dir_all(&base);
        let layer = Layer::default().dir("etc", 0o755).file("etc/motd", motd).dir("app", 0o750);
        layout(&base, &[layer.write(bench.project.beside("layer"))]);
    };
    make("one");
    let reference = format!("oci:{}", base.display());
    let arguments = ["--base", reference.as_str()];
    let first = bench.settled(&arguments);
    assert_eq!(bench.compare("a base", &arguments).digest, first.digest);
    make("two");
    let second = bench.compare("another base", &arguments);
    assert!(second.planned && second.digest != first.digest);
}

#[test]
fn a_base_with_a_link_to_the_source_directory_works() {
    let bench = Bench::tiny();
    let base = bench.project.beside("base");
    let layer = Layer::default().dir("srv", 0o755).dir("srv/x", 0o750).link("app", "srv/x");
    layout(&base, &[layer.write(bench.project.beside("layer"))]);
    // A warning about the source.
    bench.project.write("broken.py", "def\n");
    let reference = format!("oci:{}", base.display());
    let arguments = ["--base", reference.as_str()];
    bench.settled(&arguments);
    bench.project.write("more.py", "");
    let made = bench.compare("a base with a link", &arguments);
    assert!(!made.planned);
    let warnings = made.said.iter().filter(|line| line.contains("does not compile")).count();
    assert_eq!(warnings, 1, "{:#?}", made.said);
}

#[test]
fn a_relative_path_depends_on_the_working_directory() {
    let bench = Bench::tiny();
    let (one, two) = (bench.project.path().to_owned(), bench.project.beside("another place"));
    fs_err::create_dir(&two).expect("a folder");
    symlink(bench.venv(), one.join("env")).expect("a link");
    symlink(bench.venv(), two.join("env")).expect("a link");
    let build = |from: &Path, more: &[&str]| {
        let mut command = crate::support::ipo_oci();
        command.args(["build", "-v", "--no-provision", "--venv", "env", "--cache-dir"]).arg(bench.cache());
        let outcome = run(command.arg(&one).args(more).args(["-o", "oci:out"]).current_dir(from));
        let made = BuildOutput::of(&outcome);
        (made.digest, made.said)
    };
    settle(&bench.project.beside(""));
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
    let bench = Bench::tiny();
    settle(&bench.project.beside(""));
    let build = bench.command(&[]);
    let mut command = Command::new("strace");
    crate::support::clean_environment(&mut command);
    command.args(["-f", "-o", "/dev/null", "-e", "trace=openat", "-e", "inject=openat:error=EMFILE", "-P"]);
    command.arg(list).arg(build.get_program()).args(build.get_args()).current_dir(bench.project.path());
    let failed = BuildOutput::of(&run(&mut command).success());
    assert!(failed.said.iter().any(|line| line.contains("libc6")), "{:#?}", failed.said);
    let made = bench.compare("the file can be read", &[]);
    assert!(made.planned && made.digest != failed.digest);
}

#[test]
fn recompiles_damaged_bytecode() {
    let bench = Bench::example();
    let folder = bench.site_packages().join("fastapi/__pycache__");
    let pyc = fs_err::read_dir(&folder).expect("bytecode").map(|entry| entry.expect("a file").path());
    let pyc = pyc.into_iter().find(|path| path.to_string_lossy().contains("routing.")).expect("bytecode");
    let whole = fs_err::read(&pyc).expect("bytecode");
    let good = bench.build(&[]);
    let cut = &whole[..whole.len() / 2];
    let nonsense: Vec<u8> =
        whole.iter().enumerate().map(|(at, byte)| if at < 16 { *byte } else { !*byte }).collect();
    for (what, bytes) in [("cut off", cut), ("nonsense", &nonsense[..]), ("a header", &whole[..16])] {
        fs_err::write(&pyc, bytes).expect("bytecode");
        settle(bench.cache().parent().expect("a folder"));
        let made = bench.compare(what, &[]);
        assert_eq!((&made.digest, &made.said), (&good.digest, &good.said), "{what}");
        let again = bench.build(&[]);
        assert_eq!((again.digest, again.planned), (made.digest, false), "{what}: it is known now");
        bench.project.layout().verify();
    }
    // Without compilation the file is excluded, with one warning.
    let kept = bench.compare("kept", &["--bytecode", "keep"]);
    let told = kept.said.iter().filter(|line| line.contains("not the bytecode of their source")).count();
    assert_eq!(told, 1, "{:#?}", kept.said);
    // An unreadable file has the same result.
    fs_err::remove_file(&pyc).expect("bytecode");
    symlink("routing.gone", &pyc).expect("a link");
    assert_eq!(bench.compare("a link that leads nowhere", &[]).digest, good.digest);
}

#[test]
fn prune_removes_plans_with_their_layers() {
    let bench = Bench::tiny();
    bench.settled(&[]);
    let cached_plans = || {
        let files = walkdir::WalkDir::new(bench.cache().join("layers/1/grounds")).into_iter().flatten();
        files.filter(|entry| entry.file_type().is_file()).count()
    };
    let prune = |size: &str| {
        let mut command = crate::support::ipo_oci();
        run(command.args(["cache", "prune", "--max-size", size, "--cache-dir"]).arg(bench.cache())).success()
    };
    prune("1GB");
    assert_eq!(cached_plans(), 1);
    fs_err::remove_dir_all(bench.cache().join("layers/1/blobs")).expect("a folder");
    prune("1GB");
    assert_eq!(cached_plans(), 0);
}

#[test]
fn missing_and_damaged_layers_are_rewritten() {
    let bench = Bench::tiny();
    let first = bench.settled(&[]);
    let blobs = || {
        let files = walkdir::WalkDir::new(bench.cache().join("layers/1/blobs")).into_iter().flatten();
        files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path)
    };
    for path in blobs().collect::<Vec<_>>() {
        fs_err::remove_file(path).expect("a blob");
    }
    fs_err::remove_dir_all(bench.project.path().join("dist")).expect("a folder");
    assert_eq!(bench.build(&[]).digest, first.digest);
    bench.project.layout().verify();
    for path in blobs().collect::<Vec<_>>() {
        fs_err::write(path, "damaged").expect("a blob");
    }
    assert_eq!(bench.build(&[]).digest, first.digest);
    bench.project.layout().verify();
}

/// The invariant of `src/traced_fs/`, checked with strace: a build that reuses a plan has to check
/// every path that planning accesses.
#[test]
fn reused_plans_check_every_accessed_path() {
    requires("strace");
    let bench = Bench::example();
    bench.settled(&[]);
    fs_err::remove_dir_all(bench.cache().join("layers/1/grounds")).expect("a folder");
    let traced = |name: &str| {
        let file = bench.project.beside(name);
        let build = bench.command(&[]);
        let mut command = Command::new("strace");
        crate::support::clean_environment(&mut command);
        command.args(["-f", "-y", "-s", "8192", "-e", "trace=%file,execve", "-o"]).arg(&file);
        command.arg(build.get_program()).args(build.get_args()).current_dir(bench.project.path());
        let made = BuildOutput::of(&run(&mut command).success());
        (made, accessed_paths(&fs_err::read_to_string(file).expect("a trace")))
    };
    let (planned, before) = traced("planned");
    let (recalled, after) = traced("recalled");
    assert!(planned.planned && !recalled.planned);
    assert!(before.len() > 5_000, "only {} paths were seen", before.len());
    let cache = fs_err::canonicalize(bench.cache()).expect("a folder");
    let of_no_plan = |path: &Path| {
        // Derived files, and files of the process itself.
        path.starts_with(&cache) || path.starts_with("/proc") || path.starts_with("/sys")
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
