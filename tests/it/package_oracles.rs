//! Bases of Debian packages, compared with the results of other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::{Child, Command, Stdio};

use ipo_oci::digest::Digest;
use tar::EntryType;

use crate::support::http::get;
use crate::support::layout::json;
use crate::support::packages::{ScannedImage, lock, locked_sets, project, try_build};
use crate::support::{
    Project, Venv, clean_environment, copy_folder, eventually, free_port, output_of, requires, requires_root,
    run,
};
use test_macros::test;

/// A path of a root file system: type, permissions, owner, and the target of a link or the digest of a file.
type Node = (&'static str, u32, (u64, u64), String);

/// Paths of one side alone, or different on both sides; a final `*` matches any rest. The manual has this list in
/// docs/bases.md.
const DIFFERENCES: [(&str, &[&str]); 11] = [
    // Files of mmdebstrap and of its apt.
    (
        "mmdebstrap",
        &[
            "dev/*",
            "etc/fstab",
            "etc/hostname",
            "etc/resolv.conf",
            "lib32",
            "libx32",
            "usr/lib32",
            "usr/libx32",
        ],
    ),
    ("apt", &["etc/apt/*", "var/cache/apt*", "var/lib/apt*", "var/log/apt"]),
    // Results of maintainer scripts.
    (
        "alternatives",
        &[
            "etc/alternatives/*",
            "usr/bin/awk",
            "usr/bin/nawk",
            "usr/bin/pager",
            "usr/bin/which",
            "usr/sbin/rmt",
            "usr/share/man/*",
        ],
    ),
    (
        "base-files",
        &[
            "etc/dpkg/origins/default",
            "etc/motd",
            "etc/opt",
            "etc/profile",
            "media",
            "mnt",
            "opt",
            "root/*",
            "run/lock",
            "srv",
            "usr/local*",
            "usr/share/info/dir",
            "var/lock",
            "var/log/btmp",
            "var/log/lastlog",
            "var/log/wtmp",
            "var/mail",
            "var/opt",
            "var/run",
            "var/spool/mail",
        ],
    ),
    ("base-passwd", &["etc/group", "etc/passwd"]),
    ("ca-certificates", &["etc/ca-certificates.conf", "etc/ssl/certs/*"]),
    ("tzdata", &["etc/localtime", "etc/timezone"]),
    ("libc-bin", &["etc/ld.so.cache"]),
    ("other scripts", &["etc/inputrc", "etc/networks", "etc/nsswitch.conf", "etc/shells"]),
    ("libpam-modules", &["etc/environment", "etc/security/opasswd"]),
    // The packages are installed, and mmdebstrap's unpacked by no dpkg.
    ("dpkg", &["var/lib/dpkg/*"]),
];

/// Reads the nodes of a tar archive.
fn nodes(archive: &[u8]) -> BTreeMap<String, Node> {
    let mut found: BTreeMap<String, Node> = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().expect("a tar") {
        let mut entry = entry.expect("a tar");
        let name = |path: &[u8]| {
            let path = String::from_utf8_lossy(path).into_owned();
            path.trim_start_matches("./").trim_end_matches('/').to_owned()
        };
        let path = name(&entry.path_bytes());
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        let header = entry.header().clone();
        let (kind, value) = match header.entry_type() {
            EntryType::Directory => ("directory", String::new()),
            EntryType::Symlink => ("link", String::from_utf8_lossy(&link).into_owned()),
            EntryType::Link => {
                let target = found[&name(&link)].clone();
                found.insert(path, target);
                continue;
            }
            EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("a tar");
                ("file", Digest::of(&bytes).to_string())
            }
            _ => ("other", String::new()),
        };
        let mode = if kind == "link" { 0 } else { header.mode().expect("a mode") };
        let owner = (header.uid().expect("a user"), header.gid().expect("a group"));
        if !path.is_empty() {
            found.insert(path, (kind, mode, owner, value));
        }
    }
    found
}

/// Compares `/etc/ld.so.cache` of a layer with the one that ldconfig makes of the layer's files.
fn compare_loader_cache(project: &Project, archive: &[u8]) {
    let root = project.beside("root");
    fs_err::create_dir(&root).expect("a folder");
    tar::Archive::new(archive).unpack(&root).expect("an archive");
    let print = || -> Vec<String> {
        let cache = root.join("etc/ld.so.cache");
        let outcome = run(Command::new("/sbin/ldconfig").arg("-p").arg("-C").arg(cache)).success();
        let lines = outcome.text().lines().filter(|line| line.starts_with('\t'));
        lines.map(str::to_owned).collect()
    };
    let mut ours = print();
    // A link beside the one with the SONAME, `libbz2.so.1.0`: ldconfig reads libraries, the program only names.
    ours.retain(|line| !line.starts_with("\tlibbz2.so.1 "));
    fs_err::remove_file(root.join("etc/ld.so.cache")).expect("a cache");
    run(Command::new("/sbin/ldconfig").arg("-X").arg("-r").arg(&root)).success();
    assert!(ours.len() > 50, "{ours:?}");
    assert_eq!(ours, print());
}

#[test]
fn files_are_those_that_mmdebstrap_extracts() {
    requires("mmdebstrap");
    requires_root();
    // With the essential packages, apt resolves to the same set: no dependency of a script is left out.
    let settings = "[tool.ipo-oci.apt]\nexclude = []\n\
        base = ['?essential', 'ca-certificates', 'netbase', 'python3', 'tzdata']\n";
    let project = project(settings);
    lock(&project, &[]).success();
    try_build(&project, &["--locked"]).success();
    let archive = project.layout().only().tar(0);
    let ours = nodes(&archive);
    compare_loader_cache(&project, &archive);

    let base = locked_sets(&project).remove(0);
    let wanted: Vec<String> = base.iter().map(|(name, version)| format!("{name}={version}")).collect();
    let mut sources = Command::new("apt-get");
    sources.args([
        "indextargets",
        "--format",
        "deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]);
    let list = project.beside("sources.list");
    let of_suite = run(&mut sources).success();
    let lines: Vec<&str> = of_suite.text().lines().filter(|line| line.contains(" bookworm")).collect();
    fs_err::write(&list, lines.join("\n") + "\n").expect("a file");
    let archive = project.beside("extracted.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=extract", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]);
    command
        .args(["--aptopt=Acquire::Check-Valid-Until \"false\"", &format!("--include={}", wanted.join(","))]);
    run(command.arg("bookworm").arg(&archive).arg(list)).success();
    let theirs = nodes(&fs_err::read(archive).expect("an archive"));
    assert!(theirs.len() > 5000, "{}", theirs.len());

    let patterns: Vec<&str> = DIFFERENCES.iter().flat_map(|(_, patterns)| patterns.iter().copied()).collect();
    let is_of = |path: &str, pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == pattern,
    };
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let different: Vec<&String> =
        paths.into_iter().filter(|path| ours.get(*path) != theirs.get(*path)).collect();
    let unexplained: Vec<String> = different
        .iter()
        .filter(|path| !patterns.iter().any(|pattern| is_of(path, pattern)))
        .map(|path| format!("{path}: {:?}, mmdebstrap {:?}", ours.get(*path), theirs.get(*path)))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    let unused: Vec<_> =
        patterns.iter().filter(|pattern| !different.iter().any(|path| is_of(path, pattern))).collect();
    assert!(unused.is_empty(), "no difference any more: {unused:?}");
}

#[test]
fn syft_finds_all_packages_and_distributions() {
    let project = Project::example_as("agencyos", &Venv::of_the_system());
    copy_folder(Venv::of_the_system().path(), &project.path().join(".venv"));
    lock(&project, &["--base", "apt:bookworm"]).success();
    try_build(&project, &["--base", "apt:bookworm", "--locked", "--compression", "gzip"]).success();
    let files = project.layout().only().files();
    let found = ScannedImage::of(&project);
    assert_eq!(found.distribution(), "debian 12");
    let of_type = |kind: &str| found.packages(kind);
    let base = locked_sets(&project).remove(0);
    assert_eq!(of_type("deb"), base.iter().map(|(name, version)| format!("{name} {version}")).collect());

    let distribution = |path: &String| -> Option<String> {
        let (folder, _) = path.strip_suffix("/METADATA")?.rsplit_once(".dist-info")?;
        let (name, version) = folder.rsplit('/').next()?.split_once('-')?;
        Some(format!("{} {version}", name.to_lowercase().replace(['_', '.'], "-")))
    };
    let expected: BTreeSet<String> = files.keys().filter_map(distribution).collect();
    let normal = |text: &String| text.to_lowercase().replace('_', "-");
    assert!(expected.len() > 10, "{expected:?}");
    assert_eq!(of_type("python").iter().map(normal).collect::<BTreeSet<_>>(), expected);
}

/// A process that is ended with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_image_for_another_architecture_answers_under_an_emulator() {
    for program in ["qemu-aarch64-static", "umoci", "unshare", "uv"] {
        requires(program);
    }
    requires_root();
    let project = Project::example_as("agencyos", &Venv::of_the_system());
    let environment = project.beside("venv-arm64");
    let mut command = Command::new("uv");
    clean_environment(&mut command);
    command.args(["pip", "install", "--quiet", "--no-config", "--only-binary", ":all:"]);
    command.args(["--python-platform", "aarch64-unknown-linux-gnu", "--python-version", "3.11", "--target"]);
    command.arg(&environment).args(["--requirement", "requirements.txt"]);
    run(command.current_dir(project.path())).success();
    let venv = format!("linux/arm64={}", environment.display());
    let arguments =
        ["--base", "apt:bookworm", "--platform", "linux/arm64", "--venv", &venv, "-t", "app:arm64"];
    try_build(&project, &arguments).success();

    let bundle = project.beside("bundle");
    let image = format!("{}:arm64", project.path().join("dist/image").display());
    output_of("umoci", ["unpack", "--image", &image, bundle.to_str().expect("UTF-8")]);
    let root = bundle.join("rootfs");
    fs_err::copy("/usr/bin/qemu-aarch64-static", root.join("qemu")).expect("a copy");
    let process = &json(&fs_err::read(bundle.join("config.json")).expect("a file"))["process"];
    let texts = |key: &str| -> Vec<String> {
        let values = process[key].as_array().expect("a list").iter();
        values.map(|value| value.as_str().expect("a text").to_owned()).collect()
    };
    // Nothing is registered with the kernel for the architecture, so that neither the launcher nor a script can start a
    // program: the emulator starts Python with the program behind the launcher, and one worker.
    let words = texts("args");
    let program = words.iter().position(|word| word.ends_with("/uvicorn")).expect("the server");
    let mut command = Command::new("unshare");
    command
        .arg(format!("--root={}", root.display()))
        .arg("--wd=/app")
        .args(["--setuid", "1000", "--setgid", "1000"]);
    command.args(["/qemu", &words[0]]).args(&words[program..]);
    let port = free_port();
    command.env_clear();
    for variable in texts("env") {
        let (name, value) = variable.split_once('=').expect("a variable");
        command.env(name, value);
    }
    command
        .env("UVICORN_HOST", "127.0.0.1")
        .env("UVICORN_PORT", port.to_string())
        .env("WEB_CONCURRENCY", "1");
    let mut started = Started(command.stdout(Stdio::null()).spawn().expect("a process"));
    let answer = eventually("the emulated service answers", || {
        let ended = started.0.try_wait().expect("a process");
        assert!(ended.is_none(), "{ended:?}");
        get(port, "/health").ok()
    });
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("\"healthy\""), "{}", answer.body);
}
