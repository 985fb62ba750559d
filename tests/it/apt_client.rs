//! The client of Debian archives, on archives made and signed here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ipo_oci::apt::AptError;
use ipo_oci::apt::client::{self, Archive, ArchiveSettings, RemotePackage, UnsignedReleases};
use ipo_oci::digest::Digest;
use ipo_oci::error::{Advice, chain};
use ipo_oci::progress::Silent;
use ipo_oci::store::Network;
use tempfile::TempDir;

use crate::support::proxy::{Action, Proxy, ProxyRequest};
use crate::support::{eventually, free_port, requires};
use test_macros::test;

/// 2025-06-01, the time of the tests.
const NOW: i64 = 1_748_736_000;
const DATE: &str = "Sat, 31 May 2025 10:00:00 UTC";
const DEB: &[u8] = b"!<arch>\nnot a package, but its bytes\n";

/// A mirror in a folder, with keys to sign.
struct Repository {
    mirror: TempDir,
    home: TempDir,
    root: TempDir,
    cache: TempDir,
}

impl Repository {
    /// Makes a mirror with the suites `name`, `name-updates` and `name-security`, and a machine that trusts its key.
    fn new(name: &str) -> Self {
        requires("gpg");
        let folder = || tempfile::tempdir().expect("a folder");
        let made = Self { mirror: folder(), home: folder(), root: folder(), cache: folder() };
        made.gpg(&["--quick-gen-key", "archive@example.org", "ed25519", "sign", "never"]);
        let keyring = made.root.path().join("usr/share/keyrings/debian-archive-keyring.gpg");
        made.export("archive@example.org", &keyring);
        for suite in ["", "-updates", "-security"] {
            made.suite(&format!("{name}{suite}"), "", "archive@example.org");
        }
        made
    }

    /// Runs gpg as of the tests' time.
    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        self.gpg_at("20250501T000000!", arguments)
    }

    fn gpg_at(&self, time: &str, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path()).args([
            "--faked-system-time",
            time,
            "--batch",
            "--yes",
        ]);
        command.args(["--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]).args(arguments);
        let output = command.output().expect("gpg");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn export(&self, key: &str, path: &Path) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, self.gpg(&["--export", key])).expect("a keyring");
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.mirror.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    fn release(suite: &str, fields: &str, packages: &[u8]) -> String {
        let mut text = format!(
            "Origin: Debian\nSuite: {suite}\nCodename: {suite}\nDate: {DATE}\nArchitectures: all amd64\nComponents: main extra\n\
             No-Support-for-Architecture-all: Packages\n{fields}SHA256:\n"
        );
        for component in ["main", "extra"] {
            let (digest, size) = (Digest::of(packages).hex(), packages.len());
            writeln!(text, " {digest} {size} {component}/binary-amd64/Packages").expect("text");
        }
        text
    }

    /// Writes a suite with one package, signed by `key`.
    fn suite(&self, suite: &str, fields: &str, key: &str) {
        let packages = Self::packages(suite);
        for component in ["main", "extra"] {
            self.write(&format!("dists/{suite}/{component}/binary-amd64/Packages"), packages.as_bytes());
        }
        self.write("pool/main/h/hello/hello_1+b1_amd64.deb", DEB);
        self.sign(suite, &Self::release(suite, fields, packages.as_bytes()), &["--local-user", key]);
    }

    fn packages(suite: &str) -> String {
        format!(
            "Package: hello\nVersion: 1+b1\nArchitecture: amd64\nDescription: {suite}\n\
             Filename: pool/main/h/hello/hello_1+b1_amd64.deb\nSize: {}\nSHA256: {}\n\n",
            DEB.len(),
            Digest::of(DEB).hex()
        )
    }

    fn sign(&self, suite: &str, release: &str, options: &[&str]) {
        let plain = self.home.path().join("Release");
        fs::write(&plain, release).expect("a file");
        let name = plain.to_str().expect("a name").to_owned();
        let signed = self.gpg(&[options, &["--output", "-", "--clearsign", &name]].concat());
        self.write(&format!("dists/{suite}/InRelease"), &signed);
    }

    fn machine(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn settings(&self) -> ArchiveSettings {
        let mut settings = ArchiveSettings::new(self.cache.path());
        settings.root = self.root.path().into();
        settings.now = Some(NOW);
        settings.connection.retry.first_wait = Duration::from_millis(1);
        settings.connection.retry.attempts = NonZero::new(2).expect("two");
        settings.connection.silence_timeout = Duration::from_secs(1);
        settings
    }

    /// Returns the settings with this mirror alone.
    fn with_mirror(&self, mirror: impl Into<String>) -> ArchiveSettings {
        let mut settings = self.settings();
        settings.mirrors = vec![mirror.into()];
        settings
    }

    fn local(&self) -> ArchiveSettings {
        self.with_mirror(format!("file:{}", self.mirror.path().display()))
    }

    /// Serves the mirror over HTTP.
    fn serve(&self) -> Proxy {
        let folder: Arc<PathBuf> = Arc::new(self.mirror.path().to_owned());
        Proxy::start(0, move |request| answer(&folder, request))
    }

    fn cached(&self) -> BTreeMap<String, Vec<u8>> {
        let folder = self.cache.path().join("apt/sha256");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let named =
            entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())));
        named.map(|(name, bytes)| (name, bytes.expect("a file"))).collect()
    }
}

/// Answers as a file server with conditional requests and ranges.
fn answer(folder: &Path, request: &ProxyRequest) -> Action {
    let path = request.path.trim_start_matches('/').replace("%2B", "+");
    let Ok(bytes) = fs::read(folder.join(path)) else {
        return Action::Answer(404, vec![], b"absent".to_vec());
    };
    let etag = format!("\"{}\"", Digest::of(&bytes).hex());
    if request.header("if-none-match") == Some(&etag) {
        return Action::Answer(304, vec![], vec![]);
    }
    let from = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Action::Answer(206, vec![("content-range", range)], bytes[from..].to_vec())
        }
        None => Action::Answer(200, vec![("etag", etag)], bytes),
    }
}

fn open(settings: &ArchiveSettings, suite: &str) -> Result<Archive, AptError> {
    Archive::open(settings, suite, "amd64", &Silent)
}

/// Returns message and advice.
#[track_caller]
fn error(outcome: Result<impl Sized, AptError>) -> String {
    let Err(error) = outcome else { panic!("no error") };
    format!("{}\nhelp: {}", chain(&error), error.help().unwrap_or_default())
}

fn names(archive: &Archive) -> Vec<&str> {
    archive.suites().iter().map(|suite| suite.name.as_str()).collect()
}

#[test]
fn a_suite_comes_with_its_updates_and_packages_are_fetched_once() {
    let repository = Repository::new("bookworm");
    let server = repository.serve();
    let settings = repository.with_mirror(format!("http://{}/", server.host()));
    let archive = open(&settings, "bookworm").expect("an archive");
    assert_eq!(names(&archive), ["bookworm", "bookworm-updates", "bookworm-security"]);
    let universe = archive.universe().expect("packages");
    let package = universe.find("hello", "1+b1", "amd64").expect("the package");
    let remote = archive.remote_package(package);
    let files = client::download(&settings, &[remote.clone(), remote.clone()], &Silent).expect("files");
    assert_eq!((files.len(), fs::read(&files[0]).expect("a file")), (2, DEB.to_vec()));

    let before = server.all().len();
    let again = open(&settings, "bookworm").expect("an archive");
    assert_eq!(again.identity(), archive.identity());
    // Three releases that have not changed; no index.
    let requests = server.all();
    assert_eq!(requests.len() - before, 3);
    assert!(requests[before..].iter().all(|request| request.header("if-none-match").is_some()));

    let mut offline = settings.clone();
    offline.network = Network::Forbidden;
    let again = open(&offline, "bookworm").expect("an archive");
    assert_eq!(again.identity(), archive.identity());
    client::download(&offline, &[remote], &Silent).expect("files");
    assert_eq!(server.all().len() - before, 3);
    let absent = RemotePackage::new(archive.mirrors(0), "pool/x.deb", 1, Digest::of(b"x"));
    assert_eq!(
        error(client::download(&offline, &[absent], &Silent)),
        format!(
            "cannot fetch http://{}/pool/x.deb: the network is forbidden\n\
             help: leave out --offline, or fetch the packages into the cache once",
            server.host()
        )
    );

    repository.suite("bookworm-security", "Description: new\n", "archive@example.org");
    assert_eq!(open(&settings, "bookworm").expect("an archive").identity(), archive.identity());
    let other = Repository::packages("another");
    repository.write("dists/bookworm-security/main/binary-amd64/Packages", other.as_bytes());
    let release = Repository::release("bookworm-security", "", other.as_bytes());
    repository.sign("bookworm-security", &release, &[]);
    assert_ne!(open(&settings, "bookworm").expect("an archive").identity(), archive.identity());
}

#[test]
fn sources_of_the_machine_are_used_without_third_parties() {
    let repository = Repository::new("bookworm");
    let mirror = repository.mirror.path().display();
    repository.machine("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");
    repository.machine(
        "etc/apt/sources.list.d/debian.sources",
        &format!(
            "Types: deb deb-src\nURIs: file:{mirror}\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
             Types: deb\nURIs: file:{mirror}\nSuites: bookworm-security bookworm-backports\nComponents: main extra\n"
        ),
    );
    let list = "deb [trusted=yes] http://127.0.0.1:9/docker bookworm stable\n";
    repository.machine("etc/apt/sources.list.d/docker.list", list);
    repository.machine("etc/apt/sources.list.d/old.list.save", "nonsense\n");
    // A third party with a component of this name, under its own key.
    let third = Repository::new("unused");
    let release = Repository::release("bookworm", "", b"").replace("Origin: Debian", "Origin: Example");
    third.sign("bookworm", &release, &[]);
    let key = third.root.path().join("usr/share/keyrings/debian-archive-keyring.gpg");
    fs::copy(key, repository.root.path().join("third.gpg")).expect("copied");
    let line = format!("deb [signed-by=/third.gpg] copy:{} bookworm main\n", third.mirror.path().display());
    repository.machine("etc/apt/sources.list", &line);

    let archive = open(&repository.settings(), "bookworm").expect("an archive");
    assert_eq!(names(&archive), ["bookworm", "bookworm-updates", "bookworm-security"]);
    let components: Vec<_> = archive.indexes().iter().map(|index| index.component.as_str()).collect();
    assert_eq!(components, ["main", "main", "main", "extra"]);
    assert_eq!(
        error(open(&repository.settings(), "trixie")),
        format!(
            "suite not found: trixie on copy:{}, file:{mirror}\nhelp: check the name of the suite and the address of the mirror; a suite of \
             another distribution needs its mirror",
            third.mirror.path().display()
        )
    );
    assert!(error(open(&repository.settings(), "bookwrm")).ends_with("; did you mean `bookworm`?"));
    // The mirror has the suite, without updates.
    for suite in ["trixie", "trixie-security"] {
        repository.suite(suite, "", "archive@example.org");
    }
    let trixie = open(&repository.settings(), "trixie").expect("an archive");
    assert_eq!(names(&trixie), ["trixie", "trixie-security"]);
    repository.machine("etc/apt/sources.list", "deb\n");
    let file = repository.root.path().join("etc/apt/sources.list");
    assert!(
        error(open(&repository.settings(), "trixie"))
            .starts_with(&format!("cannot parse {}: invalid source in line 1: no address\n", file.display()))
    );
}

#[test]
fn releases_without_a_valid_signature_are_refused() {
    let repository = Repository::new("bookworm");
    repository.gpg(&["--quick-gen-key", "other@example.org", "ed25519", "sign", "never"]);
    repository.gpg_at("20200101T000000!", &["--quick-gen-key", "old@example.org", "ed25519", "sign", "1y"]);
    let settings = repository.local();
    let url = format!("file:{}/dists/bookworm/InRelease", repository.mirror.path().display());
    let release = Repository::release("bookworm", "", Repository::packages("bookworm").as_bytes());
    let refused = |reason: &str| {
        let text = error(open(&settings, "bookworm"));
        assert!(
            text.starts_with(&format!("cannot trust {url}: ")) && text.contains(reason),
            "{reason}: {text}"
        );
        assert_eq!(repository.cached().len(), 0);
    };
    repository.sign("bookworm", &release, &["--local-user", "other@example.org"]);
    refused("is not in the keyring");
    let keyring = repository.root.path().join("usr/share/keyrings/debian-archive-keyring.gpg");
    let trusted = fs::read(&keyring).expect("a keyring");

    repository.export("old@example.org", &keyring);
    let plain = repository.home.path().join("Release").display().to_string();
    let signed = repository.gpg_at(
        "20200601T000000!",
        &["--local-user", "old@example.org", "--output", "-", "--clearsign", &plain],
    );
    repository.write("dists/bookworm/InRelease", &signed);
    refused("has expired");

    fs::write(&keyring, &trusted).expect("a keyring");
    repository.sign("bookworm", &release, &["--local-user", "archive@example.org", "--digest-algo", "SHA1"]);
    refused("made a signature with a broken digest");
    repository.sign(
        "bookworm",
        &release,
        &["--local-user", "archive@example.org", "--default-sig-expire", "2025-05-15"],
    );
    refused("made a signature that has expired");

    repository.sign("bookworm", &release, &["--local-user", "archive@example.org"]);
    let path = repository.mirror.path().join("dists/bookworm/InRelease");
    let good = fs::read_to_string(&path).expect("a release");
    fs::write(&path, good.replace("Origin: Debian", "Origin: Debiam")).expect("written");
    refused("does not match the text");
    fs::write(&path, format!("{good}Suite: x\n")).expect("written");
    refused("text behind the signature");
    fs::write(&path, &good[..good.len() / 2]).expect("written");
    refused("the file is cut short");
    // Signed twice: one trusted key suffices.
    let both = ["--local-user", "other@example.org", "--local-user", "archive@example.org"];
    repository.sign("bookworm", &release, &both);
    open(&settings, "bookworm").expect("an archive");

    let home = repository.home.path();
    let fingerprint =
        String::from_utf8(repository.gpg(&["--with-colons", "--list-keys", "archive@example.org"]));
    let fingerprint = fingerprint
        .expect("text")
        .lines()
        .find_map(|line| line.strip_prefix("fpr:::::::::").map(str::to_owned));
    let certificate =
        home.join(format!("openpgp-revocs.d/{}.rev", fingerprint.expect("a key").trim_end_matches(':')));
    let text = fs::read_to_string(certificate).expect("a certificate").replace(":-----BEGIN", "-----BEGIN");
    let revocation = home.join("revocation");
    fs::write(&revocation, text).expect("written");
    repository.gpg(&["--import", revocation.to_str().expect("a name")]);
    repository.export("archive@example.org", &keyring);
    fs::remove_dir_all(repository.cache.path().join("apt")).expect("removed");
    refused("is revoked");

    fs::remove_file(&keyring).expect("removed");
    assert!(error(open(&settings, "bookworm")).starts_with("keyring not found: no key of file:"));
    fs::write(&keyring, "no keys").expect("written");
    let mut named = settings.clone();
    named.keyrings = vec![keyring.clone()];
    let text = error(open(&named, "bookworm"));
    assert!(
        text.starts_with(&format!("cannot read the keyring {}: invalid keyring: ", keyring.display())),
        "{text}"
    );
}

#[test]
fn unsigned_releases_are_used_only_when_asked_for() {
    let repository = Repository::new("bookworm");
    let release = Repository::release("bookworm", "", Repository::packages("bookworm").as_bytes());
    repository.write("dists/bookworm/InRelease", release.as_bytes());
    let mut settings = repository.local();
    let text = error(open(&settings, "bookworm"));
    assert!(text.contains("the release is not signed\nhelp: name a signed mirror"), "{text}");
    settings.unsigned = UnsignedReleases::Allow;
    assert_eq!(open(&settings, "bookworm").expect("an archive").suites().len(), 3);
    let dists = repository.mirror.path().join("dists/bookworm");
    fs::rename(dists.join("InRelease"), dists.join("Release")).expect("renamed");
    assert_eq!(open(&settings, "bookworm").expect("an archive").suites().len(), 3);
}

#[test]
fn releases_are_of_the_wanted_suite_and_of_today() {
    let repository = Repository::new("bookworm");
    let settings = repository.local();
    repository.suite("bookworm", "Valid-Until: Sat, 31 May 2025 11:00:00 UTC\n", "archive@example.org");
    assert!(
        error(open(&settings, "bookworm"))
            .contains("the release was valid until 2025-05-31T11:00:00Z\nhelp: name a mirror")
    );
    // As in some images of Debian.
    repository.machine("etc/apt/apt.conf.d/99test", "Acquire::Check-Valid-Until \"false\";\n");
    open(&settings, "bookworm").expect("an archive");
    fs::remove_file(repository.root.path().join("etc/apt/apt.conf.d/99test")).expect("removed");
    let snapshot = repository.mirror.path().join("20250520T000000Z");
    fs::create_dir_all(&snapshot).expect("a folder");
    std::os::unix::fs::symlink(repository.mirror.path().join("dists"), snapshot.join("dists"))
        .expect("linked");
    open(&repository.with_mirror(format!("file:{}", snapshot.display())), "bookworm").expect("an archive");

    let mut early = settings.clone();
    early.now = Some(NOW - 7 * 86_400);
    assert!(
        error(open(&early, "bookworm"))
            .contains("the release is of 2025-05-31T10:00:00Z, which is in the future")
    );

    let dists = repository.mirror.path().join("dists");
    fs::create_dir_all(dists.join("trixie")).expect("a folder");
    fs::copy(dists.join("bookworm-updates/InRelease"), dists.join("trixie/InRelease")).expect("copied");
    let text = error(open(&settings, "trixie"));
    assert!(text.contains("the release is of the suite bookworm-updates"), "{text}");
}

#[test]
fn missing_components_and_architectures_name_those_there() {
    let repository = Repository::new("bookworm");
    let mut settings = repository.local();
    assert_eq!(
        error(Archive::open(&settings, "bookworm", "m68k", &Silent)),
        "architecture not found: m68k in the suite bookworm, which has all, amd64\n\
         help: build for another platform, or name a mirror with this architecture"
    );
    settings.components = vec!["main2".to_owned()];
    assert_eq!(
        error(open(&settings, "bookworm")),
        "component not found: main2 in the suite bookworm, which has main, extra\n\
         help: correct the components in the settings or the package sources; did you mean `main`?"
    );
    let text = error(open(&repository.with_mirror("ftp://x/debian"), "bookworm"));
    assert_eq!(
        text,
        "invalid mirror `ftp://x/debian`: expected http://, https:// or file:/PATH\n\
         help: name the folder that has `dists`, such as http://HOST/debian"
    );
    assert!(
        error(open(&repository.settings(), "bookworm"))
            .starts_with("package sources not found: none of this machine's serves bookworm")
    );
}

/// Makes a mirror whose second server performs `action` for paths with `part`.
fn faulty(repository: &Repository, part: &'static str, action: Action) -> (Proxy, Proxy) {
    let server = repository.serve();
    let faulty =
        Proxy::start(
            server.port,
            move |request| {
                if request.path.contains(part) { action.clone() } else { Action::Pass }
            },
        );
    (server, faulty)
}

#[test]
fn faults_of_mirrors_are_errors_and_nothing_wrong_is_cached() {
    let repository = Repository::new("bookworm");
    for (part, action, expected) in [
        ("InRelease", Action::Answer(503, vec![], vec![]), "unexpected status 503"),
        ("InRelease", Action::Answer(401, vec![], vec![]), "help: add the credentials"),
        (
            "InRelease",
            Action::Answer(200, vec![], b"<html>log in</html>".to_vec()),
            "the release is not signed",
        ),
        ("InRelease", Action::CutAnswer(300), "the connection was cut"),
        ("InRelease", Action::Stall(300), "no progress for 1 s"),
        ("Packages", Action::Answer(404, vec![], vec![]), "file not found: "),
        ("Packages", Action::Damage, "digest mismatch of "),
        ("Packages", Action::Shorten(3), "invalid size of "),
        ("Packages", Action::Unsized(vec![b'x'; 5000]), "invalid size of "),
        ("Packages", Action::Answer(403, vec![], vec![]), "permission denied"),
        ("Packages", Action::Stall(200), "no progress for 1 s"),
    ] {
        let (_server, faulty) = faulty(&repository, part, action.clone());
        let text = error(open(&repository.with_mirror(format!("http://{}", faulty.host())), "bookworm"));
        assert!(text.contains(expected), "{action:?}: {text}");
        assert_eq!(repository.cached().len(), 0, "{action:?}");
    }
    let text = error(open(&repository.with_mirror("http://127.0.0.1:9/debian"), "bookworm"));
    assert!(
        text.starts_with(
            "cannot fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease: cannot reach 127.0.0.1:9: "
        ),
        "{text}"
    );
    assert!(text.contains("help: check the mirror's address and the network"), "{text}");
}

#[test]
fn cut_downloads_are_resumed_and_other_mirrors_tried() {
    let repository = Repository::new("bookworm");
    let large: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    repository.write("pool/large.deb", &large);
    let server = repository.serve();
    let cut = Proxy::start(server.port, |request| {
        let is_first = request.path.ends_with("large.deb") && request.header("range").is_none();
        if is_first { Action::CutAnswer(500_000) } else { Action::Pass }
    });
    let settings = repository.settings();
    let package = |mirrors: Vec<String>| {
        RemotePackage::new(mirrors, "pool/large.deb", large.len() as u64, Digest::of(&large))
    };
    let files = client::download(&settings, &[package(vec![format!("http://{}", cut.host())])], &Silent);
    assert_eq!(fs::read(&files.expect("files")[0]).expect("a file"), large);
    assert_eq!(cut.count(|request| request.header("range").is_some()), 1);

    fs::remove_dir_all(repository.cache.path().join("apt")).expect("removed");
    let damaging = Proxy::start(server.port, |_| Action::Damage);
    let moved = format!("http://{}/pool/large.deb", server.host());
    let redirecting =
        Proxy::start(0, move |_| Action::Answer(302, vec![("location", moved.clone())], vec![]));
    let mirrors = |last: &Proxy| {
        let bad = ["http://127.0.0.1:9".to_owned(), format!("http://{}", damaging.host())];
        bad.into_iter().chain([format!("http://{}", last.host())]).collect::<Vec<_>>()
    };
    let text = error(client::download(&settings, &[package(mirrors(&damaging)[..2].to_vec())], &Silent));
    assert!(
        text.starts_with("cannot fetch large.deb from any mirror: cannot fetch http://127.0.0.1:9/"),
        "{text}"
    );
    assert!(text.contains("; digest mismatch of ") && repository.cached().is_empty(), "{text}");
    client::download(&settings, &[package(mirrors(&redirecting))], &Silent).expect("files");
}

#[test]
fn passwords_are_sent_and_never_shown() {
    let repository = Repository::new("bookworm");
    let folder = repository.mirror.path().to_owned();
    let server = Proxy::start(0, move |request| match request.header("authorization") {
        // user:s3cret
        Some("Basic dXNlcjpzM2NyZXQ=") => answer(&folder, request),
        _ => Action::Answer(401, vec![], vec![]),
    });
    let host = server.host();
    let settings = repository.with_mirror(format!("http://user:s3cret@{host}/"));
    let archive = open(&settings, "bookworm").expect("an archive");
    assert!(!format!("{archive:?}").contains("s3cret"));
    let universe = archive.universe().expect("packages");
    let remote = archive.remote_package(universe.find("hello", "1+b1", "amd64").expect("the package"));
    client::download(&settings, &[remote], &Silent).expect("files");
    // As for apt, in a file.
    let plain = repository.with_mirror(format!("http://{host}"));
    assert!(
        error(open(&plain, "bookworm"))
            .contains("help: add the credentials of the mirror to /etc/apt/auth.conf.d")
    );
    let entry = format!("machine http://{host} login user password s3cret\n");
    repository.machine("etc/apt/auth.conf.d/test.conf", &entry);
    open(&plain, "bookworm").expect("an archive");
    let wrong = repository.with_mirror(format!("http://user:wr0ng@{host}/"));
    let text = error(open(&wrong, "bookworm-security"));
    assert!(text.contains("cannot access") && !text.contains("wr0ng"), "{text}");
}

/// Squid, which ends with the test.
struct Squid {
    port: u16,
    process: std::process::Child,
    folder: TempDir,
}

impl Squid {
    /// Starts a proxy with the rules of Debian's configuration about CONNECT, and a user with a password.
    fn start(hosts: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("a mode");
        fs::write(at("hosts"), hosts).expect("a file");
        let hash = Command::new("openssl").args(["passwd", "-apr1", "p@ss"]).output().expect("openssl");
        fs::write(at("users"), [b"user:", &hash.stdout[..]].concat()).expect("a file");
        let text = format!(
            "http_port 127.0.0.1:{port}\nhosts_file {}\npid_filename {}\ncache_log {}\naccess_log stdio:{}\n\
             cache deny all\npinger_enable off\nshutdown_lifetime 0 seconds\nauth_param basic program /usr/lib/squid/basic_ncsa_auth {}\n\
             acl SSL_ports port 443\nacl CONNECT method CONNECT\nacl known proxy_auth REQUIRED\n\
             http_access deny CONNECT !SSL_ports\nhttp_access allow known\nhttp_access deny all\n",
            at("hosts"),
            at("pid"),
            at("log"),
            at("access"),
            at("users")
        );
        fs::write(at("conf"), text).expect("a file");
        // The service's name keeps the shared memory of two proxies apart.
        let arguments = ["-N", "-n", &format!("ipooci{port}"), "-f", &at("conf")].map(str::to_owned);
        let mut process = Command::new("squid").args(arguments).spawn().expect("squid");
        eventually("squid", || {
            assert!(process.try_wait().expect("a process").is_none(), "{:?}", fs::read_to_string(at("log")));
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { port, process, folder }
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        let process = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

#[test]
fn plain_http_passes_a_proxy_that_refuses_tunnels() {
    requires("squid");
    requires("openssl");
    let repository = Repository::new("bookworm");
    let server = repository.serve();
    let squid = Squid::start("127.0.0.1 mirror.test\n");
    let host = format!("mirror.test:{}", server.port);
    let mut settings = repository.with_mirror(format!("http://{host}/"));
    let proxy = |password: &str| Some(format!("http://user:{password}@127.0.0.1:{}", squid.port).into());
    settings.connection.proxies.http = proxy("p%40ss");
    let archive = open(&settings, "bookworm").expect("an archive");
    let universe = archive.universe().expect("packages");
    let remote = archive.remote_package(universe.find("hello", "1+b1", "amd64").expect("the package"));
    client::download(&settings, &[remote], &Silent).expect("files");
    let requests = server.all();
    assert!(requests.len() > 6 && requests.iter().all(|request| request.header("host") == Some(&host)));
    assert!(requests.iter().all(|request| request.header("proxy-authorization").is_none()));
    let log = fs::read_to_string(squid.folder.path().join("access")).expect("a log");
    assert!(log.contains(&format!("GET http://{host}/dists/bookworm/InRelease user")), "{log}");

    let before = server.all().len();
    settings.connection.proxies.http = proxy("wrong");
    let text = error(open(&settings, "bookworm"));
    let through =
        format!("{host} through the proxy 127.0.0.1:{}: the proxy refuses the connection", squid.port);
    assert!(text.contains(&through) && !text.contains("wrong"), "{text}");
    assert_eq!(server.all().len(), before);
}
