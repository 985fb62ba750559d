//! Walks of a source tree: included files, and errors.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use test_macros::test;

use ipo_oci::context::{
    Context, ContextError, Detail, Fate, IgnoreSource, Listing, PathExplanation, Permission, SourceKind,
};
use ipo_oci::error::Advice;
use ipo_oci::tree::{ImagePath, Kind, Owner, Time};

struct Project(tempfile::TempDir);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            project.file(path, text);
        }
        project
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn open(&self) -> Context {
        Context::open(self.root(), IgnoreSource::Default).unwrap()
    }

    fn walk(&self) -> Result<Listing, ContextError> {
        let listing = self.open().walk(Detail::SkipIgnored);
        let counted = self.open().walk(Detail::CountIgnored);
        assert_eq!(listing.is_ok(), counted.is_ok());
        listing
    }
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.files.iter().map(|file| file.path.as_str()).collect()
}

fn target(listing: &Listing, path: &str) -> String {
    match &listing.files.iter().find(|file| file.path == path).unwrap().kind {
        SourceKind::Symlink(target) => target.clone(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn lists_by_components_with_every_directory() {
    let project = Project::new(&[("a-b", ""), ("a/x", ""), ("a.b", ""), ("a/b/c", ""), ("B", "")]);
    fs::create_dir_all(project.root().join("empty/inside")).unwrap();
    let listing = project.walk().unwrap();
    assert_eq!(paths(&listing), ["B", "a", "a/b", "a/b/c", "a/x", "a-b", "a.b", "empty", "empty/inside"]);
}

#[test]
fn lists_excluded_parents_of_kept_files_only() {
    let project =
        Project::new(&[(".dockerignore", "*\n!a/b/keep\n"), ("a/b/keep", ""), ("a/c/x", ""), ("z", "")]);
    let listing = project.walk().unwrap();
    assert_eq!(paths(&listing), ["a", "a/b", "a/b/keep"]);
}

#[test]
fn counts_files_and_bytes_of_both_sides() {
    let project = Project::new(&[("keep/a", "12345"), ("logs/a", "123"), ("logs/deep/b", "12")]);
    project.link("logs/link", "a");
    let context = Context::open(project.root(), IgnoreSource::None).unwrap();
    assert_eq!(context.walk(Detail::CountIgnored).unwrap().kept.files, 4);
    project.file(".dockerignore", "logs");
    let listing = project.open().walk(Detail::CountIgnored).unwrap();
    assert_eq!((listing.kept.files, listing.kept.bytes), (2, 5 + 4));
    assert_eq!((listing.ignored.files, listing.ignored.bytes), (3, 5));
}

#[test]
fn exclusions_override_the_ignore_file() {
    let project = Project::new(&[(".venv/pyvenv.cfg", ""), ("a", ""), (".dockerignore", "!.venv\n")]);
    let mut context = project.open();
    context.exclude(&project.root().join(".venv"));
    let listing = context.walk(Detail::CountIgnored).unwrap();
    assert_eq!(paths(&listing), [".dockerignore", "a"]);
    assert_eq!(listing.ignored.files, 0);
    assert!(
        matches!(context.explain(Path::new(".venv/lib")).unwrap(), PathExplanation::Excluded(place) if place == Path::new(".venv"))
    );
}

#[test]
fn excludes_a_linked_directory_and_keeps_links_into_it() {
    let project = Project::new(&[("envs/one/bin/python", "")]);
    project.link(".venv", "envs/one");
    project.link("python", ".venv/bin/python");
    let mut context = project.open();
    context.exclude(&project.root().join(".venv"));
    assert_eq!(paths(&context.walk(Detail::SkipIgnored).unwrap()), ["python"]);

    let elsewhere = tempfile::tempdir().unwrap();
    let project = Project::new(&[("a", "")]);
    project.link(".venv", elsewhere.path());
    project.link("python", ".venv/bin/python");
    let mut context = project.open();
    assert!(matches!(context.walk(Detail::SkipIgnored), Err(ContextError::LinkLeaves { .. })));
    context.exclude(&project.root().join(".venv"));
    assert_eq!(paths(&context.walk(Detail::SkipIgnored).unwrap()), ["a", "python"]);
}

#[test]
fn excluding_a_missing_path_or_the_root_has_no_effect() {
    let project = Project::new(&[("a", "")]);
    let mut context = project.open();
    context.exclude(project.root());
    context.exclude(Path::new("/no/such/place"));
    context.exclude(&project.root().join("later/dist"));
    assert_eq!(paths(&context.walk(Detail::SkipIgnored).unwrap()), ["a"]);
    // A directory that contains only excluded paths is no source.
    project.file("later/dist/x", "");
    assert_eq!(paths(&context.walk(Detail::SkipIgnored).unwrap()), ["a"]);
    project.file("later/y", "");
    assert_eq!(paths(&context.walk(Detail::SkipIgnored).unwrap()), ["a", "later", "later/y"]);
}

#[test]
fn modes_keep_only_the_executable_bit() {
    let project = Project::new(&[("plain", ""), ("run", ""), ("group", "")]);
    for (path, mode) in [("plain", 0o600), ("run", 0o700), ("group", 0o654)] {
        fs::set_permissions(project.root().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let listing = project.walk().unwrap();
    let permissions: Vec<_> = listing
        .files
        .iter()
        .map(|file| match file.kind {
            SourceKind::File { permission, .. } => permission,
            _ => panic!("{file:?}"),
        })
        .collect();
    assert_eq!(permissions, [Permission::Plain, Permission::Plain, Permission::Executable]);
}

#[test]
fn hard_links_are_plain_files() {
    let project = Project::new(&[("a", "123")]);
    fs::hard_link(project.root().join("a"), project.root().join("b")).unwrap();
    let listing = project.walk().unwrap();
    assert_eq!((listing.kept.files, listing.kept.bytes), (2, 6));
}

#[test]
fn links_inside_the_context_are_kept() {
    let project = Project::new(&[("a/file", ""), ("b/x", "")]);
    project.link("a/up", "../b/x");
    project.link("a/dangling", "../nowhere/at/all");
    project.link("a/to-directory", "../b");
    project.link("through", "a/to-directory/../b/x");
    project.link("circle", "circle");
    project.link("to-the-root", ".");
    let listing = project.walk().unwrap();
    assert_eq!(target(&listing, "a/up"), "../b/x");
    assert_eq!(target(&listing, "a/dangling"), "../nowhere/at/all");
    assert_eq!(target(&listing, "through"), "a/to-directory/../b/x");
    assert_eq!(target(&listing, "circle"), "circle");
    assert_eq!(target(&listing, "to-the-root"), ".");
}

#[test]
fn absolute_links_into_the_context_become_relative() {
    let project = Project::new(&[("a/file", "")]);
    project.link("b/c/link", project.root().join("a/file"));
    project.link("top", project.root());
    let listing = project.walk().unwrap();
    assert_eq!(target(&listing, "b/c/link"), "../../a/file");
    assert_eq!(target(&listing, "top"), ".");
}

#[test]
fn absolute_links_below_the_working_directory_stay() {
    let project = Project::new(&[]);
    project.link("link", "/app/data/x");
    assert_eq!(target(&project.walk().unwrap(), "link"), "/app/data/x");
    let elsewhere = project.open().with_workdir(ImagePath::new("/srv").unwrap());
    assert!(matches!(elsewhere.walk(Detail::SkipIgnored), Err(ContextError::LinkLeaves { .. })));
}

#[test]
fn links_out_of_the_context_are_refused() {
    for (path, to) in [
        ("link", "../x"),
        ("a/link", "../../x"),
        ("a/link", "b/../../../x"),
        ("link", "/etc/passwd"),
        ("link", "/application/x"),
        ("link", "/app/../etc/passwd"),
    ] {
        let project = Project::new(&[("a/file", "")]);
        project.link(path, to);
        match project.walk() {
            Err(error @ ContextError::LinkLeaves { .. }) => {
                let text = error.to_string();
                assert!(text.contains(path) && text.contains(to), "{text}");
                assert!(error.help().unwrap().contains(".dockerignore"));
            }
            other => panic!("{path} -> {to}: {other:?}"),
        }
        project.file(".dockerignore", path);
        project.walk().unwrap();
    }
}

#[test]
fn a_link_out_through_another_is_refused() {
    let project = Project::new(&[("a/b/file", "")]);
    project.link("a/b/deep", ".");
    project.link("z", "a/b/deep/../../../x");
    assert!(matches!(project.walk(), Err(ContextError::LinkLeaves { path, .. }) if path == "z"));
}

#[test]
fn an_ignored_intermediate_link_is_not_followed() {
    let project = Project::new(&[(".dockerignore", "out\n")]);
    project.link("out", "/etc");
    project.link("link", "out/passwd");
    assert_eq!(target(&project.walk().unwrap(), "link"), "out/passwd");
}

#[test]
fn sockets_and_pipes_are_refused_unless_ignored() {
    let project = Project::new(&[("a", "")]);
    let _listener = UnixListener::bind(project.root().join("run.sock")).unwrap();
    let error = project.walk().unwrap_err();
    assert_eq!(error.to_string(), "cannot include `run.sock`: it is a socket");
    assert!(error.help().unwrap().ends_with(": run.sock"));
    let pipe = project.root().join("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
    assert_eq!(project.walk().unwrap_err().to_string(), "cannot include `pipe`: it is a named pipe");
    project.file(".dockerignore", "*.sock\npipe\n");
    project.walk().unwrap();
}

#[test]
fn names_that_are_not_utf8_are_refused_unless_ignored() {
    use std::os::unix::ffi::OsStrExt;
    let project = Project::new(&[]);
    let directory = project.root().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("x\n"), "").unwrap();
    assert_eq!(project.walk().unwrap_err().to_string(), "invalid name `caf\\xe9`: not UTF-8");
    project.file(".dockerignore", "caf?\n");
    project.walk().unwrap();
    project.file(".dockerignore", "caf?\n!*/x*\n");
    assert_eq!(project.walk().unwrap_err().to_string(), "invalid name `caf\\xe9/x\\n`: not UTF-8");
}

#[test]
fn whiteout_names_are_refused_unless_ignored() {
    let project = Project::new(&[(".wh.a/b", "")]);
    assert!(matches!(project.walk(), Err(ContextError::Whiteout(path)) if path == ".wh.a"));
    project.file(".dockerignore", "**/.wh.*\n!**/b\n");
    assert!(matches!(project.walk(), Err(ContextError::Whiteout(path)) if path == ".wh.a"));
    project.file(".dockerignore", "**/.wh.*\n");
    project.walk().unwrap();
}

/// Drops the capability of root to read every file, on this test's thread.
fn drop_read_capabilities() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    let rights = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    sets.effective.remove(rights);
    sets.permitted.remove(rights);
    set_capabilities(None, sets).unwrap();
}

#[test]
fn unreadable_files_are_refused_unless_ignored() {
    drop_read_capabilities();
    let project = Project::new(&[("a/secret", ""), ("b/x", "")]);
    fs::set_permissions(project.root().join("a/secret"), fs::Permissions::from_mode(0o0)).unwrap();
    let error = project.walk().unwrap_err();
    assert_eq!(error.to_string(), "cannot read a/secret: permission denied");
    assert!(error.help().unwrap().ends_with(": a/secret"));
    fs::set_permissions(project.root().join("b"), fs::Permissions::from_mode(0o0)).unwrap();
    project.file(".dockerignore", "a/secret\n!a/secret/x\n");
    let error = project.walk().unwrap_err();
    assert_eq!(error.to_string(), "cannot list b: permission denied");
    project.file(".dockerignore", "a/secret\nb\n!b/y\n");
    project.walk().unwrap();
    fs::set_permissions(project.root().join("b"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn refuses_a_missing_root_and_a_file_as_root() {
    let project = Project::new(&[("file", "")]);
    let open = |path: &str| Context::open(&project.root().join(path), IgnoreSource::Default);
    assert!(matches!(open("nothing"), Err(ContextError::Missing(_))));
    assert!(matches!(open("file"), Err(ContextError::NotADirectory(_))));
    assert!(matches!(open("file/x"), Err(ContextError::Missing(_))));
}

#[test]
fn names_an_invalid_line() {
    let project = Project::new(&[(".dockerignore", "*.pyc\n!\n")]);
    let error = Context::open(project.root(), IgnoreSource::Default).unwrap_err();
    assert_eq!(error.to_string(), ".dockerignore:2: invalid pattern `!`: expected a pattern after `!`");
}

#[test]
fn explains_relative_absolute_and_unnormalized_paths() {
    let project = Project::new(&[(".dockerignore", "logs\n"), ("logs/a", "")]);
    let context = project.open();
    for path in [Path::new("logs/a"), Path::new("./x/../logs//a"), &project.root().join("logs/a")] {
        match context.explain(path).unwrap() {
            PathExplanation::Rules(verdict) => {
                assert_eq!(verdict.fate, Fate::Ignored);
                assert_eq!(verdict.decision.unwrap().parent.as_deref(), Some("logs"));
            }
            other => panic!("{path:?}: {other:?}"),
        }
    }
    for path in ["../x", "/etc/passwd"] {
        assert!(matches!(context.explain(Path::new(path)), Err(ContextError::Outside(_))), "{path}");
    }
}

#[test]
fn becomes_entries_of_an_image() {
    let project = Project::new(&[("app/main.py", "x"), ("app/logo.svg", "y"), ("run", "z")]);
    fs::set_permissions(project.root().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    project.link("link", "run");
    let entries = project.walk().unwrap().entries(&ImagePath::new("/app").unwrap(), 1_767_225_600).unwrap();
    let at = Time::At(1_767_225_600);
    let shown: Vec<_> =
        entries.iter().map(|entry| (entry.path.to_string(), entry.mode, entry.time)).collect();
    assert_eq!(
        shown,
        [
            ("/app/app".to_owned(), 0o755, at),
            ("/app/app/logo.svg".to_owned(), 0o644, Time::FromContent),
            ("/app/app/main.py".to_owned(), 0o644, at),
            ("/app/link".to_owned(), 0o777, at),
            ("/app/run".to_owned(), 0o755, Time::FromContent),
        ]
    );
    assert!(entries.iter().all(|entry| entry.owner == Owner::Source && (entry.uid, entry.gid) == (0, 0)));
    assert!(matches!(&entries[3].kind, Kind::Symlink(target) if target == "run"));
}

#[test]
fn an_environment_is_never_source() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir_all(elsewhere.path().join("outside/bin")).unwrap();
    fs::write(elsewhere.path().join("outside/pyvenv.cfg"), "").unwrap();
    let project = Project::new(&[
        ("a.py", ""),
        ("env/pyvenv.cfg", "home = /usr/bin\n"),
        ("env/lib/python3.12/site-packages/x.py", ""),
        ("tools/old env/pyvenv.cfg", ""),
        ("conda/conda-meta/history", ""),
        ("conda/lib/x.py", ""),
        ("pixi/envs/default/conda-meta/history", ""),
        ("pyvenv.cfg/no-mark", ""),
        ("docs/conda-meta", "a file"),
    ]);
    project.link("env/bin/python", "/usr/bin/python3");
    project.link("env/lib64", "lib");
    project.link("linked", elsewhere.path().join("outside"));
    project.link("mypy", "env/bin/python");
    let listing = project.walk().unwrap();
    let kept = ["a.py", "docs", "docs/conda-meta", "mypy", "pyvenv.cfg", "pyvenv.cfg/no-mark"];
    assert_eq!(paths(&listing), kept);
    let left_out: Vec<_> =
        listing.left_out.iter().map(|it| (it.path.as_str(), it.what.to_string())).collect();
    let virtual_one = "a virtual environment".to_owned();
    let conda = "a conda environment".to_owned();
    assert_eq!(
        left_out,
        [
            ("conda", conda.clone()),
            ("env", virtual_one.clone()),
            ("linked", virtual_one.clone()),
            ("pixi/envs/default", conda),
            ("tools/old env", virtual_one),
        ]
    );
    assert!(
        matches!(project.open().explain(Path::new("env/bin/python")).unwrap(), PathExplanation::NotSource(it) if it.path == "env")
    );
    // Negated patterns do not include an environment, and ignored environments are not reported.
    project.file(".dockerignore", "!env\n!env/**\nconda\npixi\ntools\nlinked\n.dockerignore\n");
    let listing = project.walk().unwrap();
    assert_eq!(paths(&listing), kept);
    assert_eq!(listing.left_out.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["env"]);
}

#[test]
fn an_environment_is_not_descended_into() {
    drop_read_capabilities();
    let project = Project::new(&[("env/pyvenv.cfg", ""), ("env/lib/closed/x", ""), ("a", "")]);
    let closed = project.root().join("env/lib/closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let listing = project.walk();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(paths(&listing.unwrap()), ["a"]);
}

#[test]
fn the_ignore_file_of_a_dockerfile_takes_precedence() {
    let project = Project::new(&[
        ("Dockerfile.dockerignore", "secrets\nD*\n.d*\n"),
        (".dockerignore", "a\n"),
        ("a", ""),
        ("secrets/key", ""),
    ]);
    let names = |project: &Project| {
        let context = project.open();
        let listing = project.walk().unwrap();
        let paths: Vec<String> = paths(&listing).into_iter().map(str::to_owned).collect();
        (
            context.ignore_file().map(|file| file.display().to_string()),
            paths,
            context.unused_ignore_files().to_vec(),
        )
    };
    let (file, paths, _) = names(&project);
    assert_eq!(file.as_deref(), Some(".dockerignore"), "there is no such Dockerfile");
    assert_eq!(paths, [".dockerignore", "Dockerfile.dockerignore", "secrets", "secrets/key"]);
    for dockerfile in ["Dockerfile", "dockerfile"] {
        project.file(dockerfile, "FROM scratch\n");
        let (file, paths, unused_ignore_files) = names(&project);
        assert_eq!(file.as_deref(), Some("Dockerfile.dockerignore"));
        assert!(paths.contains(&"a".to_owned()) && !paths.iter().any(|path| path.starts_with("secrets")));
        assert!(unused_ignore_files.is_empty());
        fs::remove_file(project.root().join(dockerfile)).unwrap();
    }
}

#[test]
fn reports_ignore_files_of_other_tools() {
    let project = Project::new(&[
        (".containerignore", "secrets\n"),
        ("prod.Dockerfile.dockerignore", "secrets\n"),
        ("docs/.containerignore", ""),
    ]);
    assert_eq!(project.open().unused_ignore_files(), [".containerignore", "prod.Dockerfile.dockerignore"]);
    assert!(project.open().ignore_file().is_none());
    project.file(".dockerignore", "");
    assert!(project.open().unused_ignore_files().is_empty());
    let none = Context::open(project.root(), IgnoreSource::None).unwrap();
    assert!(none.unused_ignore_files().is_empty());
}
