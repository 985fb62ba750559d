//! Interpreters that start alone in an image: pyenv's, Debian's, and standalone builds.
//!
//! The entries of each are written to a directory and run with the directory as root, which needs
//! root privileges and util-linux' `unshare`. Missing interpreters are skipped by name.

use crate::support::{requires_root, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use test_macros::test;

use ipo_oci::python::interpreter::{Flavor, Interpreter, InterpreterOptions};
use ipo_oci::system::{
    Account, Choice, OptionalFiles, Programs, accounts, apply, files, record_packages, shared_libraries,
};
use ipo_oci::tree::{Entry, ImagePath, Kind, Tree};

/// Imports of a service, and checks of its surroundings.
const CHECK: &str = r"
import asyncio, bz2, ctypes, curses, decimal, encodings.idna, hashlib, http.server, json, logging.config, lzma
import multiprocessing, pwd, readline, select, socket, sqlite3, ssl, sys, sysconfig, unittest.mock, uuid, zlib, zoneinfo
assert sys.prefix == PREFIX, sys.prefix
assert sys.base_prefix == PREFIX, sys.base_prefix
assert sys.version.startswith(VERSION), sys.version
assert sysconfig.get_config_var('prefix') == PREFIX, sysconfig.get_config_var('prefix')
assert sysconfig.get_paths()['stdlib'].startswith(PREFIX)
assert hashlib.sha3_256(b'').hexdigest().startswith('a7ffc6')
assert hashlib.new('sha256', b'').hexdigest().startswith('e3b0')
assert sqlite3.connect(':memory:').execute('select 40 + 2').fetchone() == (42,)
assert lzma.decompress(lzma.compress(b'x' * 1000)) == b'x' * 1000
assert pwd.getpwuid(1000).pw_name == 'agencyos'
assert pwd.getpwuid(1000).pw_dir == '/app'
assert socket.getaddrinfo('127.0.0.1', 80)
assert len(ssl.create_default_context().get_ca_certs()) > 50
assert zoneinfo.ZoneInfo('Europe/Berlin').utcoffset(__import__('datetime').datetime(2026, 7, 1)).seconds == 7200
assert 'é'.encode('idna') == b'xn--9ca'
assert ctypes.CDLL(None).getpid() > 0
assert asyncio.run(asyncio.sleep(0, 'woken')) == 'woken'
for name in ('tkinter', 'idlelib', 'test', 'ensurepip'):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name)
print('ran', sys.executable)
";

struct UnpackedInterpreter {
    root: tempfile::TempDir,
    interpreter: Interpreter,
    executable: ImagePath,
    prefix: ImagePath,
}

/// Writes all entries of an image without a base to a directory.
fn unpack(python: &Path) -> UnpackedInterpreter {
    let interpreter = Interpreter::discover(python, None).unwrap();
    let found = interpreter.files(&InterpreterOptions::default()).unwrap();
    let opened =
        ["libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"].map(str::to_owned);
    let mut libraries = shared_libraries(&Programs {
        executable: &interpreter.executable,
        prefix: (&interpreter.prefix, &found.prefix),
        files: found.elf_files.clone(),
        extra: &opened,
    })
    .unwrap();
    assert_eq!(libraries.warnings, []);
    let mut own = found.entries;
    apply(&libraries.patches, &mut own);
    let host_files: Vec<PathBuf> = own.iter().filter_map(host_file).collect();
    let (packages, _) = record_packages(&mut libraries, host_files.iter().map(PathBuf::as_path)).unwrap();
    let account =
        Account { name: "agencyos".to_owned(), uid: 1000, gid: 1000, home: ImagePath::new("/app").unwrap() };
    let wanted = OptionalFiles { certificates: Choice::Include, time_zones: Choice::Include };
    let (system, missing) = files(Path::new("/"), wanted).unwrap();
    assert_eq!(missing, [], "the machine has certificates and time zones");

    let sizes = [("interpreter", &own), ("libraries", &libraries.entries), ("system", &system)]
        .map(|(name, entries)| format!("{name} {:.1} MB", megabytes(entries)));
    println!("{}: {}", interpreter.executable.display(), sizes.join(", "));

    let mut tree = Tree::new();
    let parts = [own, libraries.entries, packages, system, accounts(&account).unwrap()];
    for entry in parts.into_iter().flatten() {
        assert_eq!((entry.uid, entry.gid), (0, 0), "{}", entry.path);
        assert_eq!(entry.mode & 0o6000, 0, "{}", entry.path);
        tree.insert(entry).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    write(&tree, root.path());
    for mounted in ["proc", "dev"] {
        std::fs::create_dir(root.path().join(mounted)).unwrap();
    }
    std::fs::write(root.path().join("dev/urandom"), "").unwrap();
    UnpackedInterpreter { root, interpreter, executable: found.executable, prefix: found.prefix }
}

fn host_file(entry: &Entry) -> Option<PathBuf> {
    match &entry.kind {
        Kind::File(content) => content.host_file().map(|file| file.path.to_path_buf()),
        _ => None,
    }
}

fn megabytes(entries: &[Entry]) -> f64 {
    let bytes: u64 = entries
        .iter()
        .map(|entry| match &entry.kind {
            Kind::File(content) => content.open().unwrap().size,
            _ => 0,
        })
        .sum();
    bytes as f64 / 1e6
}

/// Writes entries to a directory, like a container runtime.
fn write(tree: &Tree, root: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in tree.iter() {
        let path = root.join(entry.path.as_str());
        match &entry.kind {
            Kind::Directory => std::fs::create_dir(&path).unwrap(),
            Kind::File(content) => std::fs::write(&path, content.read().unwrap()).unwrap(),
            Kind::Symlink(target) => {
                std::os::unix::fs::symlink(target, &path).unwrap();
                continue;
            }
            other => panic!("{}: {other:?}", entry.path),
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(entry.mode)).unwrap();
    }
}

impl UnpackedInterpreter {
    /// Runs code with the interpreter as user 1000, without environment variables.
    fn run(&self, code: &str) -> String {
        // Like every runtime: the loader needs /proc for $ORIGIN. Standalone builds target kernels
        // without getrandom and read /dev/urandom.
        const ENTER: &str = "mount -t proc proc \"$1/proc\" && mount --bind /dev/urandom \"$1/dev/urandom\" && exec chroot --userspec=1000:1000 \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", ENTER, "sh"])
            .arg(self.root.path())
            .arg(self.executable.to_string())
            .args(["-B", "-c", code])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", self.interpreter.executable.display());
        String::from_utf8(output.stdout).unwrap()
    }

    fn check(&self) {
        let code =
            format!("PREFIX = '{}'\nVERSION = '{}'\n{CHECK}", self.prefix, self.interpreter.full_version);
        assert_eq!(self.run(&code).trim(), format!("ran {}", self.executable));
        self.check_paths();
    }

    /// Checks that no text file and no search path contains this machine's prefix.
    fn check_paths(&self) {
        let old = self.interpreter.prefix.to_str().unwrap().as_bytes();
        if matches!(old, b"/usr" | b"/usr/local") {
            return;
        }
        let stdlib = self.root.path().join(self.prefix.as_str());
        for found in walkdir::WalkDir::new(stdlib) {
            let found = found.unwrap();
            if !found.file_type().is_file() {
                continue;
            }
            if let Ok(Some(elf)) = ipo_oci::elf::read(found.path()) {
                let paths: Vec<&String> = elf.rpath.iter().chain(&elf.runpath).collect();
                assert!(paths.iter().all(|path| !path.starts_with('/')), "{:?}: {paths:?}", found.path());
            } else {
                let bytes = std::fs::read(found.path()).unwrap();
                assert!(memchr::memmem::find(&bytes, old).is_none(), "{:?}", found.path());
            }
        }
    }
}

fn pyenv_versions() -> Vec<PathBuf> {
    let Some(home) = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pyenv")))
    else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(home.join("versions"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let minor = name.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
            minor.is_some_and(|minor| minor >= 9)
        })
        .map(|path| path.join("bin/python3"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_interpreter_of_pyenv_starts_in_an_image() {
    let versions = pyenv_versions();
    if versions.is_empty() {
        skip("pyenv has no interpreter");
    }
    requires_root();
    for python in versions {
        let made = unpack(&python);
        assert_eq!(made.interpreter.flavor, Flavor::Prefix);
        assert_eq!(made.prefix.to_string(), "/usr/local");
        made.check();
    }
}

#[test]
fn the_interpreter_of_the_distribution_starts_in_an_image() {
    let python = Path::new("/usr/bin/python3");
    if !python.exists() {
        skip(&format!("no {}", python.display()));
    }
    requires_root();
    let made = unpack(python);
    assert_eq!(made.prefix.to_string(), "/usr");
    made.check();
}

/// A substitute for a build of uv: one of pyenv's interpreters at uv's path, with the same search
/// path for its library.
#[test]
fn an_interpreter_at_uvs_path_starts_in_an_image() {
    let Some(python) = pyenv_versions().into_iter().next() else {
        skip("pyenv has no interpreter to make one of");
    };
    requires_root();
    let built = Interpreter::discover(&python, None).unwrap();
    let home = tempfile::tempdir().unwrap();
    let versions = home.path().join("uv/python");
    let prefix = versions.join(format!("cpython-{}-linux-x86_64-gnu", built.full_version));
    std::fs::create_dir_all(prefix.join("bin")).unwrap();
    let copy = |what: &Path, skip: &[&str]| {
        for found in walkdir::WalkDir::new(what)
            .into_iter()
            .filter_entry(|entry| !skip.iter().any(|name| entry.file_name() == *name))
        {
            let found = found.unwrap();
            let to = prefix.join(found.path().strip_prefix(&built.prefix).unwrap());
            if found.file_type().is_dir() {
                std::fs::create_dir_all(&to).unwrap();
            } else if found.file_type().is_file() {
                std::fs::copy(found.path(), &to).unwrap();
            }
        }
    };
    copy(&built.stdlib, &["site-packages", "test", "__pycache__", "ensurepip"]);
    let move_library = |file: &Path, search_path: &str| {
        let to = prefix.join(file.strip_prefix(&built.prefix).unwrap());
        let mut bytes = std::fs::read(file).unwrap();
        for patch in ipo_oci::elf::rewrite_search_path(file, search_path).unwrap() {
            let at = usize::try_from(patch.offset).unwrap();
            bytes[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        std::fs::write(&to, bytes).unwrap();
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    move_library(&built.executable, "$ORIGIN/../lib");
    move_library(built.libpython.as_ref().unwrap(), "$ORIGIN");
    // Environments refer to the minor version, a link to the newest patch version.
    let minor = versions.join("cpython-3-linux-x86_64-gnu");
    std::os::unix::fs::symlink(&prefix, &minor).unwrap();

    let made = unpack(&minor.join("bin").join(built.version.name()));
    assert_eq!(made.interpreter.flavor, Flavor::Standalone);
    assert_eq!(made.interpreter.prefix, std::fs::canonicalize(&prefix).unwrap());
    // The configuration names the original prefix.
    assert_eq!(made.interpreter.configured_prefix.as_deref(), built.prefix.to_str());
    made.check();
}

/// Google's SDK has a real standalone build, whose program needs
/// `$ORIGIN/../lib/libpython3.12.so.1.0`.
#[test]
fn a_standalone_build_starts_in_an_image() {
    let python = Path::new("/usr/lib/google-cloud-sdk/platform/bundledpythonunix/bin/python3");
    if !python.exists() {
        skip(&format!("no {}", python.display()));
    }
    requires_root();
    let made = unpack(python);
    assert_eq!(made.interpreter.flavor, Flavor::Standalone);
    assert!(made.interpreter.libpython.is_some());
    let said = made.run("import ssl, sqlite3, ctypes, lzma, asyncio, sys; print(sys.prefix)");
    assert_eq!(said.trim(), "/usr/local");
    made.check_paths();
}
