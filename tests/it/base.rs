//! Base images: the merged view of the library and the command, compared with umoci's unpacked
//! files.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use crate::support::base::{Layer, debian, layout};
use crate::support::{Project, Venv, ipo_oci, requires, requires_root, run};
use ipo_oci::base::{self, NodeKind, Overlay, View};
use ipo_oci::elf::LoadRoot;
use ipo_oci::image::Image;
use ipo_oci::layer::Compression;
use ipo_oci::progress::Silent;
use ipo_oci::store::read_layout;
use ipo_oci::tree::{Content, Entry, HostFile, ImagePath, Owner};
use test_macros::test;

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

fn view(image: &Image) -> View {
    View::of(image, None, &Silent).unwrap()
}

/// Kind, mode, target and time by path, with the first path of each hard-linked file.
type Listing = BTreeMap<String, String>;

fn listing_of_view(view: &View) -> Listing {
    let all: Vec<_> = view.iter().filter(|(_, node)| node.kind != NodeKind::Device).collect();
    let mut firsts: Vec<(&ImagePath, &base::ViewNode)> = Vec::new();
    let mut listing = Listing::new();
    for (path, node) in all {
        let mode = node.mode & 0o7777;
        let text = match &node.kind {
            NodeKind::Directory => format!("d {mode:o}"),
            NodeKind::Symlink(target) => format!("l {target}"),
            _ => {
                // Linked files have equal sizes, which avoids comparing each pair.
                let same =
                    firsts.iter().find(|(_, first)| first.size == node.size && first.is_same_file(node));
                let first = same.map_or(path, |(first, _)| first);
                if same.is_none() {
                    firsts.push((path, node));
                }
                format!("f {mode:o} {} {} {first}", node.size, node.mtime)
            }
        };
        listing.insert(path.to_string(), text);
    }
    listing
}

/// Returns the listing of an image unpacked by umoci.
fn listing_of_unpacked(layout: &Path, into: &Path) -> Listing {
    let mut umoci = Command::new("umoci");
    umoci.args(["unpack", "--rootless", "--image"]).arg(format!("{}:test", layout.display()));
    run(umoci.arg(into)).success();
    let root = into.join("rootfs");
    let mut firsts = BTreeMap::new();
    let mut listing = Listing::new();
    for found in walkdir::WalkDir::new(&root).sort_by(|a, b| {
        let key = |entry: &walkdir::DirEntry| path(entry.path().to_str().unwrap());
        key(a).cmp(&key(b))
    }) {
        let found = found.unwrap();
        let metadata = found.metadata().unwrap();
        let inside = path(found.path().strip_prefix(&root).unwrap().to_str().unwrap());
        let mode = metadata.mode() & 0o7777;
        let text = if metadata.is_dir() {
            format!("d {mode:o}")
        } else if metadata.is_symlink() {
            format!("l {}", fs_err::read_link(found.path()).unwrap().display())
        } else {
            assert!(!metadata.file_type().is_block_device(), "without rights there are none");
            let first = firsts.entry(metadata.ino()).or_insert_with(|| inside.clone());
            format!("f {mode:o} {} {} {first}", metadata.len(), metadata.mtime())
        };
        listing.insert(inside.to_string(), text);
    }
    listing
}

#[track_caller]
fn assert_same(found: &Listing, expected: &Listing) {
    let differ = |a: &Listing, b: &Listing| {
        let other = a.iter().filter(|(path, text)| b.get(*path) != Some(text));
        other.take(20).map(|(path, text)| format!("{path} {text}")).collect::<Vec<_>>()
    };
    assert_eq!(differ(found, expected), differ(expected, found));
}

#[test]
fn layers_merge_as_umoci_unpacks_them() {
    requires("umoci");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let lower = Layer::default()
        .dir("./", 0o755)
        .dir("a/", 0o750)
        .file("a/x", "1")
        .file("a/y/z", "22")
        .file("a/y/gone", "")
        .file("b", "3")
        .hard("c", "b")
        .hard("a/c", "b")
        .dir("usr/lib/", 0o755)
        .link("lib", "usr/lib")
        .file("lib/through", "4")
        .link("absolute", "/usr/lib/through")
        .dir("opaque/", 0o700)
        .file("opaque/below/deep", "5")
        .file("becomes-directory", "")
        .file("becomes-file/x", "")
        .member(tar::EntryType::Regular, "su", "", 0o4755, b"x")
        .dir("tmp/", 0o1777)
        .write(at("1.tar"));
    let middle = Layer::default()
        .file("a/.wh.x", "")
        .file("a/y/.wh.gone", "")
        .file("a/y/new", "66")
        .dir("opaque/", 0o711)
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/fresh", "7")
        .file(".wh.c", "")
        .dir("becomes-directory/", 0o755)
        .file("becomes-directory/x", "8")
        .file("becomes-file", "9")
        .file("b", "changed")
        .write(at("2.tar"));
    let upper = Layer::default()
        .file(".wh.tmp", "")
        .dir("a/", 0o755)
        .hard("again", "a/y/z")
        .link("lib", "usr")
        .write(at("3.tar"));
    layout(&at("layout"), &[lower, middle, upper]);
    let image = read_layout(&at("layout"), Some("test")).unwrap();
    let (found, expected) =
        (listing_of_view(&view(&image)), listing_of_unpacked(&at("layout"), &at("bundle")));
    assert_same(&found, &expected);
}

#[test]
fn views_debian_as_umoci_unpacks_it() {
    requires("umoci");
    let archive = debian();
    let folder = tempfile::tempdir().unwrap();
    layout(&folder.path().join("layout"), &[archive.to_path_buf()]);
    let image = read_layout(&folder.path().join("layout"), Some("test")).unwrap();
    let cache = folder.path().join("cache");
    let timed = |what: &str| {
        let start = Instant::now();
        let view = View::of(&image, Some(&cache), &Silent).unwrap();
        eprintln!(
            "{what}: {} paths in {:?}, a layer of {} bytes",
            view.len(),
            start.elapsed(),
            image.layers[0].size
        );
        view
    };
    let (cold, cached) = (timed("cold"), timed("cached"));
    assert!(cold.iter().eq(cached.iter()));
    let mut expected = listing_of_unpacked(&folder.path().join("layout"), &folder.path().join("bundle"));
    // Without privileges, umoci creates an empty file in place of a device.
    expected.retain(|name, _| cold.lookup(&path(name)).is_none_or(|node| node.kind != NodeKind::Device));
    assert_same(&listing_of_view(&cold), &expected);
}

fn of_archive(archive: &Path) -> (tempfile::TempDir, Arc<View>) {
    let work = tempfile::tempdir().unwrap();
    let image = base::rootfs(archive, work.path(), Some(work.path()), Compression::None, &Silent).unwrap();
    let view = View::of(&image, Some(work.path()), &Silent).unwrap();
    assert_eq!(image.platform, ipo_oci::platform::Platform::of_this_program());
    (work, Arc::new(view))
}

#[test]
fn finds_python_packages_and_libraries_of_debian() {
    let archive = debian();
    let (_work, view) = of_archive(archive);
    let python = view.python(Some("/usr/local/bin:/usr/bin:/bin"), None).unwrap();
    assert_eq!(python.command, path("usr/bin/python3"));
    assert_eq!(python.executable, path("usr/bin/python3.11"));
    assert_eq!(python.stdlib, path("usr/lib/python3.11"));
    assert_eq!(python.platlib, path("usr/local/lib/python3.11/dist-packages"));
    assert!(python.full_version.unwrap().starts_with("3.11."), "dpkg's database tells the whole version");
    assert!(view.packages().iter().any(|package| package.name == "libc6"));
    assert_eq!(view.destination(&path("lib/x")).unwrap(), path("usr/lib/x"));
    assert_eq!(view.directory_attributes(&path("tmp")).unwrap().mode, 0o1777);
    assert!(view.retained_text("etc/os-release").unwrap().contains("bookworm"));

    // A module of the base's standard library has all its libraries.
    let module = view
        .below(&path("usr/lib/python3.11/lib-dynload"))
        .map(|(path, _)| path.to_string())
        .find(|path| path.contains("/_ssl."))
        .expect("python3 of Debian has ssl");
    let files = Arc::new(Overlay::new(view.clone(), &[]).unwrap());
    let root = LoadRoot::loaded_by(module, "/usr/bin/python3.11");
    let lacking = base::missing_libraries(&files, &[root]).unwrap();
    assert_eq!((lacking.libraries, lacking.versions), (vec![], vec![]));
    assert!(lacking.closure.libraries.iter().any(|library| library.soname == "libssl.so.3"));
}

#[test]
fn finds_libraries_missing_in_debian() {
    requires("skopeo");
    let archive = debian();
    let (_work, view) = of_archive(archive);
    let program = HostFile::new("/usr/bin/skopeo").unwrap();
    let entry = Entry::executable(path("opt/skopeo"), Content::Host(program), Owner::System);
    let files = Arc::new(Overlay::new(view, &[entry]).unwrap());
    let lacking = base::missing_libraries(&files, &[LoadRoot::new("/opt/skopeo")]).unwrap();
    let missing: Vec<&str> = lacking.libraries.iter().map(|missing| &*missing.soname).collect();
    assert!(missing.contains(&"libgpgme.so.11"), "{missing:?}");
    assert!(!missing.contains(&"libc.so.6"), "{missing:?}");
}

#[test]
fn lists_and_prints_files_of_an_image() {
    requires("umoci");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let lower = Layer::default()
        .dir("etc/", 0o755)
        .file("etc/passwd", "root\n")
        .hard("etc/passwd-", "etc/passwd")
        .dir("usr/lib/", 0o2755)
        .link("lib", "usr/lib")
        .file("usr/lib/\u{1b}[2J", "")
        .write(at("1.tar"));
    let upper =
        Layer::default().file("usr/lib/os-release", "ID=x\n").link("etc/os-release", "../lib/os-release");
    layout(&at("layout"), &[lower, upper.write(at("2.tar"))]);
    let command = |arguments: &[&str]| {
        let mut command = ipo_oci();
        let place = format!("oci:{}:test", at("layout").display());
        command.env("IPO_OCI_CACHE_DIR", at("cache"));
        run(command.args(arguments.iter().map(|argument| argument.replace("REF", &place))))
    };
    assert_eq!(
        command(&["ls", "REF"]).success().text(),
        "drwxr-xr-x 0:0                  0   1 /etc\n\
         lrwxrwxrwx 0:0                  0   1 /lib -> usr/lib\n\
         drwxr-xr-x 0:0                  0   1 /usr\n"
    );
    assert_eq!(
        command(&["ls", "REF:/lib/"]).success().text(),
        "-rw-r--r-- 0:0                  0   1 /usr/lib/\\u{1b}[2J\n\
         -rw-r--r-- 0:0                  5   2 /usr/lib/os-release\n"
    );
    let all = command(&["ls", "-R", "REF:/etc"]).success();
    assert_eq!(all.text().lines().count(), 3, "{}", all.text());
    assert!(
        command(&["ls", "REF:/etc/os-release"])
            .success()
            .text()
            .contains("/etc/os-release -> ../lib/os-release")
    );
    for (name, bytes) in [("/etc/passwd-", "root\n"), ("/etc/os-release", "ID=x\n")] {
        assert_eq!(command(&["cat", &format!("REF:{name}")]).success().text(), bytes);
    }
    for (arguments, code, words) in [
        (&["cat", "REF:/etc/shadow"][..], 1, "path not found in the image: /etc/shadow"),
        (&["cat", "REF:/etc"], 1, "cannot read /etc: a directory in the image, not a file"),
        (&["cat", "REF"], 2, "no path"),
        (&["ls", "REF:/absent"], 1, "path not found in the image: /absent"),
        (&["ls", "oci:"], 2, "invalid reference `oci:`"),
    ] {
        let outcome = command(arguments).exits_with(code);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("help:"), "{}", outcome.stderr);
    }
}

#[test]
fn a_damaged_layer_is_refused_and_not_cached() {
    requires("umoci");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    layout(&at("layout"), &[Layer::default().file("a", &"text ".repeat(5000)).write(at("1.tar"))]);
    let image = read_layout(&at("layout"), Some("test")).unwrap();
    let blob = at("layout").join("blobs/sha256").join(image.layers[0].digest.hex());
    let good = fs_err::read(&blob).unwrap();
    for at_byte in [0, 12, good.len() / 2, good.len() - 5] {
        let mut bad = good.clone();
        bad[at_byte] ^= 0x10;
        fs_err::write(&blob, bad).unwrap();
        let cache = at("cache");
        View::of(&image, Some(&cache), &Silent).unwrap_err();
        assert!(!cache.exists(), "byte {at_byte}");
        let mut command = ipo_oci();
        command.env("IPO_OCI_CACHE_DIR", &cache).arg("ls");
        run(command.arg(format!("oci:{}", at("layout").display()))).exits_with(1);
    }
}

#[test]
fn reads_a_million_members_in_bounded_memory() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("many.tar.gz");
    let file = fs_err::File::create(&place).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    for number in 0..1_000_000 {
        let name =
            format!("usr/share/some/directory/{}/{}/file-{number}", number / 10_000, number / 100 % 100);
        let mut header = tar::Header::new_ustar();
        header.set_path(&name).unwrap();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        gzip.write_all(header.as_bytes()).unwrap();
    }
    gzip.write_all(&[0; 1024]).unwrap();
    gzip.finish().unwrap();
    let start = Instant::now();
    let (_work, view) = of_archive(&place);
    assert!(view.len() > 1_000_000);
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak: u64 = peak.trim().parse().unwrap();
    eprintln!("a million members in {:?}, peak {peak} kB", start.elapsed());
    assert!(peak < 2 << 20, "{peak} kB");
}

#[test]
fn an_image_on_debian_runs_and_keeps_its_files() {
    let example = "import app.main; print(app.main.app.title)";
    requires("umoci");
    requires_root();
    let archive = debian();
    let project = Project::example_as("agencyos", &Venv::of_the_system());
    let base = format!("rootfs:{}", archive.display());
    project.build(&["--base", &base, "--max-size", "500MB", "-o", "oci:dist/image:test"]);
    let image = read_layout(&project.path().join("dist/image"), None).unwrap();
    let (_work, below) = of_archive(archive);
    let view = view(&image);

    // Only the account files of the base change, and they grow.
    for (path, node) in below.iter() {
        let now = view.lookup(path).unwrap_or_else(|| panic!("{path} is gone"));
        let fixed =
            |node: &base::ViewNode| (node.kind.clone(), node.mode, node.uid, node.gid, node.mtime, node.size);
        if matches!(path.as_str(), "etc/passwd" | "etc/group") {
            assert!(now.size > node.size, "{path}");
            assert_eq!((now.mode, now.uid, now.gid), (node.mode, node.uid, node.gid));
        } else {
            assert_eq!(fixed(now), fixed(node), "{path}");
        }
        assert!(now.layer == 0 || node.kind != NodeKind::File || path.as_str().starts_with("etc/"), "{path}");
    }
    let passwd = view.retained_text("etc/passwd").unwrap();
    assert!(passwd.starts_with(below.retained_text("etc/passwd").unwrap()), "{passwd}");
    // The image has no interpreter and no C library of this machine.
    let own: Vec<_> =
        view.iter().filter(|(_, node)| node.layer > 0).map(|(path, _)| path.to_string()).collect();
    assert!(!own.iter().any(|path| path.ends_with("/libc.so.6") || path.ends_with("/os.py")), "{own:?}");

    // Unpacked with all privileges, as a container sees it.
    let bundle = project.beside("bundle");
    let layout = format!("{}:test", project.path().join("dist/image").display());
    run(Command::new("umoci").args(["unpack", "--image", &layout]).arg(&bundle)).success();
    let mut chroot = Command::new("chroot");
    chroot.arg("--userspec=1000:1000").arg(bundle.join("rootfs")).args(["/usr/bin/env", "-C", "/app", "-i"]);
    let outcome = run(chroot.args(["/app/.venv/bin/python", "-c", example])).success();
    assert!(!outcome.text().trim().is_empty(), "{}", outcome.describe());
}
