//! Files of the source that git ignores: compared with `git check-ignore`, and the warnings about them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_macros::test;

use ipo_oci::context::{Context, Detail, Dockerignore, GitIgnoredFiles, IgnoreSource};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::support::{Project, requires, run};

fn write(path: PathBuf, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]);
    run(command.args(arguments).current_dir(folder)).success();
}

/// A repository with files.
fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    requires("git");
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q"]);
    for (path, text) in files {
        write(folder.path().join(path), text);
    }
    folder
}

fn found(root: &Path) -> GitIgnoredFiles {
    let exclude = Dockerignore::from_lines("recipe", &["**/.git"]).unwrap();
    let context = Context::open(root, IgnoreSource::Default).unwrap().with_defaults(exclude);
    context.git_ignored(&context.walk(Detail::SkipIgnored).unwrap())
}

/// The names in a message, and the lines.
fn named(root: &Path) -> Vec<String> {
    let found = found(root);
    assert_eq!(found.unread, []);
    found.ignored.iter().map(|thing| format!("{thing} | {}", thing.rule)).collect()
}

/// Returns odd patterns, each with paths.
fn odd_cases(count: usize) -> Vec<(String, Vec<String>)> {
    let parts = "a|b|ab|*|**|?|foo**|f*o|[a-c]|[!a]|***|a**|**b|\\a|c.*|{a,b}|é|x[0-9]|[[:alpha:]]*|";
    let odd = "[ ] ^ - * ** ? \\ ! # / . a c é : [a-c] [^a] [[:digit:]x] []a] [a\\]] { } , \t \r foo foo** [a-] [--/] [^/] [!] \\* \\!";
    let names = "a|b|ab|c.py|#x|!y|a b|[|]|\\|*|é|-|^|{a,b}|x1|?|a | a|foo|fooxb";
    let part = proptest::sample::select(parts.split('|').collect::<Vec<_>>());
    let odd = proptest::sample::select(odd.split(' ').chain([" "]).collect::<Vec<_>>());
    let name = proptest::sample::select(names.split('|').collect::<Vec<_>>());
    let pattern = prop_oneof![
        proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join("/")),
        proptest::collection::vec(odd, 0..7).prop_map(|parts| parts.concat()),
    ];
    let bang = proptest::sample::select(vec!["", "", "", "!", "/", "!/"]);
    let line = (bang, pattern, proptest::sample::select(vec!["", "", "", "/"]))
        .prop_map(|(bang, pattern, end)| format!("{bang}{pattern}{end}\n"));
    let file = proptest::collection::vec(line, 1..4).prop_map(|lines| lines.concat());
    let path = proptest::collection::vec(name, 1..5).prop_map(|parts| parts.join("/"));
    let case = (file, proptest::collection::vec(path, 20));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    (0..count).map(|_| case.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn agrees_with_git_on_odd_patterns() {
    let folder = repository(&[]);
    let root = folder.path();
    let mut paths = Vec::new();
    for (number, (file, names)) in odd_cases(200).into_iter().enumerate() {
        write(root.join(format!("{number}/.gitignore")), file);
        for name in names {
            let path = format!("{number}/{name}");
            let host = root.join(&path);
            if fs::create_dir_all(host.parent().unwrap()).is_ok()
                && !host.is_dir()
                && fs::write(&host, "").is_ok()
            {
                paths.push(path);
            }
        }
    }
    let names = folder.path().with_extension("names");
    fs::write(&names, paths.join("\0")).unwrap();
    let mut command = Command::new("git");
    // The user's own patterns are no part of the source.
    command.args(["-c", "core.excludesFile=/dev/null", "check-ignore", "-z", "--stdin"]);
    command.current_dir(root).stdin(fs::File::open(&names).unwrap());
    let theirs = String::from_utf8(command.output().unwrap().stdout).unwrap();
    fs::remove_file(names).unwrap();
    let mut theirs: Vec<&str> = theirs.split_terminator('\0').collect();
    theirs.sort_unstable();
    theirs.dedup();
    let found = found(root);
    // The `.gitignore` files themselves were not asked for.
    let ours = found.ignored.iter().flat_map(|thing| &thing.files).map(String::as_str);
    let mut ours: Vec<&str> = ours.filter(|path| !path.ends_with("/.gitignore")).collect();
    ours.sort_unstable();
    assert!(theirs.len() > 100, "{}", theirs.len());
    let differs = |path: &&&str| ours.contains(path) != theirs.contains(path);
    let differences: Vec<_> = ours.iter().chain(&theirs).filter(differs).collect();
    for path in &differences {
        let (folder, _) = path.split_once('/').unwrap();
        println!("{path:?} under {:?}", fs::read_to_string(root.join(folder).join(".gitignore")).unwrap());
    }
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn nothing_is_said_without_git_and_of_tracked_files() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path().join(".gitignore"), "*.db\n");
    write(folder.path().join("a.db"), "");
    assert!(named(folder.path()).is_empty());
    let folder = repository(&[(".gitignore", "*.db\nkeys\n"), ("a.db", ""), ("keys/a", ""), ("keys/b", "")]);
    git(folder.path(), &["add", "-f", ".gitignore", "a.db", "keys/a"]);
    assert_eq!(named(folder.path()), ["keys/ (1 file) | .gitignore:2: keys"]);
    for version in ["3", "4"] {
        git(folder.path(), &["update-index", "--index-version", version, "--force-write-index"]);
        assert_eq!(named(folder.path()), ["keys/ (1 file) | .gitignore:2: keys"], "{version}");
    }
}

#[test]
fn patterns_come_from_every_file_of_git() {
    let folder = repository(&[
        (".gitignore", "*.log\n/services/api/root.txt\nlocal/\n"),
        ("services/.gitignore", "*.dump\n!keep.log\n"),
        ("services/api/.gitignore", "/secret\n"),
        ("services/api/app/.gitignore", "*.tmp\n"),
        ("services/api/app/.cache/.gitignore", "*\n"),
    ]);
    write(folder.path().join(".git/info/exclude"), "*.key\n");
    let root = folder.path().join("services/api");
    for path in [
        "a.log",
        "keep.log",
        "root.txt",
        "x.dump",
        "secret",
        "app/secret",
        "app/x.tmp",
        "x.tmp",
        "local/a",
        "local/b/c",
        "my.key",
        "app/.cache/a/b",
        "app/.cache/c",
        "main.py",
    ] {
        write(root.join(path), "");
    }
    assert_eq!(
        named(&root),
        [
            "a.log | ../../.gitignore:1: *.log",
            "app/.cache/ (3 files) | app/.cache/.gitignore:1: *",
            "app/x.tmp | app/.gitignore:1: *.tmp",
            "local/ (2 files) | ../../.gitignore:3: local/",
            "my.key | ../../.git/info/exclude:1: *.key",
            "root.txt | ../../.gitignore:2: /services/api/root.txt",
            "secret | .gitignore:1: /secret",
            "x.dump | ../.gitignore:1: *.dump",
        ]
    );
    // A repository that ignores the whole project, such as one of a home folder, tells nothing.
    write(folder.path().join(".gitignore"), "services\n");
    assert!(named(&root).is_empty());
}

#[test]
fn worktrees_and_submodules_have_their_own_index() {
    let inner = repository(&[(".gitignore", "*.db\n"), ("a.db", "")]);
    git(inner.path(), &["add", "-f", "."]);
    git(inner.path(), &["commit", "-qm", "a"]);
    let folder = repository(&[(".gitignore", "*.db\nlib\n*.py\n"), ("x.db", "")]);
    git(folder.path(), &["submodule", "--quiet", "add", "-f", inner.path().to_str().unwrap(), "lib"]);
    git(folder.path(), &["commit", "-qm", "a"]);
    write(folder.path().join("lib/b.db"), "");
    write(folder.path().join("lib/main.py"), "");
    // The outer patterns end at the submodule, which is tracked.
    assert_eq!(named(folder.path()), ["lib/b.db | lib/.gitignore:1: *.db", "x.db | .gitignore:1: *.db"]);
    assert_eq!(named(&folder.path().join("lib")), ["b.db | .gitignore:1: *.db"]);

    let elsewhere = tempfile::tempdir().unwrap();
    let worktree = elsewhere.path().join("worktree");
    git(inner.path(), &["worktree", "add", "-q", worktree.to_str().unwrap()]);
    write(inner.path().join(".git/info/exclude"), "*.key\n");
    write(worktree.join("b.db"), "");
    write(worktree.join("my.key"), "");
    let exclude = inner.path().canonicalize().unwrap().join(".git/info/exclude");
    let expected =
        ["b.db | .gitignore:1: *.db".to_owned(), format!("my.key | {}:1: *.key", exclude.display())];
    assert_eq!(named(&worktree), expected);
}

#[test]
fn a_line_with_a_bang_confirms_a_file_or_a_folder() {
    let folder = repository(&[(".gitignore", "data\n*.db\n"), ("data/a", ""), ("data/b", ""), ("x.db", "")]);
    assert_eq!(found(folder.path()).count(), 3);
    write(folder.path().join(".dockerignore"), "*\n!*\n");
    assert_eq!(named(folder.path()), [] as [&str; 0], "each is matched itself");
    write(folder.path().join(".dockerignore"), "!x.db\n!data/a\n");
    assert_eq!(named(folder.path()), ["data/ (1 file) | .gitignore:1: data"]);
    write(folder.path().join(".dockerignore"), "x.db\n!data\n");
    assert_eq!(named(folder.path()), [] as [&str; 0]);
}

#[test]
fn hostile_files_of_git_are_limited() {
    let folder = repository(&[("a.db", ""), ("sub/b.db", "")]);
    write(folder.path().join(".gitignore"), "*a*b*c?[x-z]\n".repeat(100_000));
    write(folder.path().join("sub/.gitignore"), "*.db\n");
    let outcome = found(folder.path());
    assert_eq!(outcome.unread, [(".gitignore".to_owned(), "larger than 1 MiB")]);
    assert_eq!(outcome.names(), "sub/b.db");
    write(folder.path().join(".gitignore"), "*a?\n".repeat(100_000));
    assert_eq!(found(folder.path()).unread, [(".gitignore".to_owned(), "too many patterns")]);
    write(folder.path().join(".gitignore"), (0..=255).cycle().take(500_000).collect::<Vec<u8>>());
    assert_eq!(found(folder.path()).names(), "sub/b.db");
    // A damaged index counts as none, and a link is not followed, as in git.
    write(folder.path().join(".git/index"), "DIRC");
    fs::remove_file(folder.path().join(".gitignore")).unwrap();
    std::os::unix::fs::symlink("sub/.gitignore", folder.path().join(".gitignore")).unwrap();
    assert_eq!(found(folder.path()).names(), "sub/b.db");
    // A pipe does not block.
    fs::remove_file(folder.path().join(".git/index")).unwrap();
    run(Command::new("mkfifo").arg(folder.path().join(".git/index"))).success();
    assert_eq!(found(folder.path()).names(), "sub/b.db");
}

#[test]
fn a_build_warns_each_time_of_files_that_git_ignores() {
    requires("git");
    let project = Project::tiny();
    git(project.path(), &["init", "-q"]);
    project.write(".gitignore", "*.ini\n*.bin\n*.so\n__pycache__\nuploads/\n");
    for file in [".env", "secrets.ini", "state.bin", "uploads/a", "uploads/b\u{1b}[2J", "fast.so"] {
        project.write(file, "x");
    }
    let warning = "uploads/ (2 files): 4 files that git ignores are part of the image";
    for _ in 0..2 {
        let outcome = project.build(&[]);
        let names = format!("secrets.ini, state.bin, {warning}");
        assert!(outcome.stderr.contains(&names), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("`ipo-oci context --why secrets.ini`"), "{}", outcome.stderr);
    }
    let listed = run(&mut project.command("context")).success();
    let line = "git ignores 4 files of these: secrets.ini, state.bin, uploads/ (2 files)";
    assert!(listed.text().contains(line), "{}", listed.text());
    let why = |path: &str| run(project.command("context").args(["--why", path])).success().text().to_owned();
    assert_eq!(
        why("uploads/a"),
        "uploads/a is kept: there is no ignore file; git ignores it: .gitignore:5: uploads/ (matches the directory uploads)\n"
    );
    assert_eq!(
        why("fast.so"),
        "fast.so is kept: there is no ignore file; git ignores it: .gitignore:3: *.so\n"
    );
    assert!(!why("pyproject.toml").contains("git"));

    // A change of the patterns reaches the next build, and a line silences the warning.
    project.write(".gitignore", "*.bin\n");
    let outcome = project.build(&[]);
    assert!(
        outcome.stderr.contains("state.bin: 1 file that git ignores is part of the image"),
        "{}",
        outcome.stderr
    );
    project.write(".dockerignore", "!state.bin\n");
    let outcome = project.build(&[]);
    assert!(!outcome.stderr.contains("git ignores"), "{}", outcome.stderr);
}
