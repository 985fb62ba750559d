//! Debian packages, compared with this machine's dpkg.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use test_macros::test;

use ipo_oci::debian::Dpkg;

/// Returns the database of this machine; skips the test without dpkg.
fn database() -> Dpkg {
    Dpkg::open(Path::new("/")).unwrap().unwrap_or_else(|| crate::support::skip("dpkg is not installed"))
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn knows_the_same_packages_as_dpkg() {
    let database = database();
    let format =
        "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version} ${db:Status-Status}\n";
    let theirs: BTreeSet<String> = run("dpkg-query", &["-W", "-f", format])
        .lines()
        .filter(|line| !line.ends_with(" config-files") && !line.ends_with(" not-installed"))
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect();
    let ours: BTreeSet<String> = database
        .packages()
        .iter()
        .map(|package| {
            let source = &package.source;
            format!(
                "{} {} {} {} {}",
                package.name, package.version, package.architecture, source.name, source.version
            )
        })
        .collect();
    assert!(ours.len() > 50);
    assert_eq!(ours, theirs);
    assert_eq!(database.warnings().count(), 0);
}

#[test]
fn names_the_same_owners_as_dpkg() {
    let database = database();
    let files: Vec<PathBuf> = ["/usr/bin", "/usr/lib", "/usr/share/doc", "/etc"]
        .iter()
        .flat_map(|directory| walkdir::WalkDir::new(directory).sort_by_file_name())
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_dir())
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.to_str().is_some_and(|path| !path.contains(['*', '[', '?', '\\', '\n'])))
        .step_by(41)
        .take(1000)
        .collect();
    // dpkg does not resolve the merged /lib and /usr/lib, so it is asked for both names.
    let mut theirs = BTreeMap::<PathBuf, BTreeSet<String>>::new();
    for chunk in files.chunks(200) {
        let mut arguments = vec!["-S".to_owned()];
        for file in chunk.iter().filter_map(|file| file.to_str()) {
            arguments.push(file.to_owned());
            arguments.extend(file.strip_prefix("/usr").map(str::to_owned));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for line in run("dpkg", &arguments).lines().filter(|line| !line.starts_with("diversion by")) {
            let Some((packages, path)) = line.split_once(": ") else { continue };
            let path = Path::new(path);
            let path = if path.starts_with("/usr") || path.starts_with("/etc") {
                path.to_owned()
            } else {
                Path::new("/usr").join(path.strip_prefix("/").unwrap())
            };
            let names = packages.split(", ").map(|name| name.split(':').next().unwrap_or(name).to_owned());
            theirs.entry(path).or_default().extend(names);
        }
    }
    let mut owned = 0;
    for file in &files {
        let ours = database.owner_of(file).map(|package| package.name.clone());
        let theirs = theirs.get(file).cloned().unwrap_or_default();
        owned += usize::from(ours.is_some());
        match ours {
            Some(name) => assert!(theirs.contains(&name), "{}: {name}, {theirs:?}", file.display()),
            None => assert!(theirs.is_empty(), "{}: {theirs:?}", file.display()),
        }
    }
    assert!(owned > 100, "{owned} of {}", files.len());
}

#[test]
fn both_names_of_a_merged_directory_have_one_owner() {
    let database = database();
    for package in database.packages().iter().filter(|package| package.name.starts_with("lib")).take(50) {
        for file in database.files(package).unwrap() {
            let Some(short) = file.to_str().and_then(|path| path.strip_prefix("/usr")) else { continue };
            let is_same = |short: &str| {
                std::fs::canonicalize(short)
                    .is_ok_and(|real| std::fs::canonicalize(&file).is_ok_and(|f| f == real))
            };
            if short.starts_with("/lib") && !file.is_dir() && is_same(short) {
                assert_eq!(database.owner_of(Path::new(short)), database.owner_of(&file), "{short}");
            }
        }
    }
}

#[test]
fn sums_and_copyright_are_those_of_the_files() {
    let database = database();
    let package = database.package("libc6").or_else(|| database.packages().first()).unwrap();
    let files: BTreeSet<PathBuf> = database
        .files(package)
        .unwrap()
        .into_iter()
        .filter(|file| file.is_file() && !file.is_symlink())
        .collect();
    let some: BTreeSet<PathBuf> = files.iter().step_by(3).cloned().collect();
    let sums = database.md5sums(package, &some).unwrap();
    assert!(sums.lines().count() > 3 && sums.lines().count() <= some.len(), "{sums}");
    let copyright = database.copyright(package).unwrap();
    assert_eq!(database.owner_of(&copyright), Some(package));
    for line in sums.lines() {
        let (_, path) = line.split_once("  ").unwrap();
        let real = std::fs::canonicalize(Path::new("/").join(path)).unwrap();
        assert!(some.contains(&real), "{line}");
    }
    assert!(package.paragraph.starts_with(&format!("Package: {}\n", package.name)));
}
