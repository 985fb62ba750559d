//! Generated inputs, equal in every run and on every machine.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ipo_oci::digest::Digest;
use ipo_oci::tree::{Content, Entry, HostFile, ImagePath, Owner, Tree};
use tempfile::TempDir;

/// A typical ignore file.
pub(crate) const DOCKERIGNORE: &str = "\
.git\n.venv\n**/__pycache__\n**/*.pyc\n*.md\n!README.md\nnode_modules\n.env*\n**/.pytest_cache\n**/.mypy_cache\n\
dist\nbuild\n*.egg-info\n.coverage\nhtmlcov\ntests/**/data\n**/*.log\nDockerfile*\n.github\n.vscode\n";

/// Returns a path of a source tree; the ignore file excludes a third of them.
pub(crate) fn source_path(number: usize) -> String {
    let package = number / 100;
    match number % 3 {
        0 => format!("service/package{package}/__pycache__/module{number}.cpython-311.pyc"),
        1 => format!("service/package{package}/module{number}.py"),
        _ => format!("service/package{package}/templates/page{number}.html"),
    }
}

/// Creates a source tree of `files` files with its ignore file.
pub(crate) fn source(files: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join(".dockerignore"), DOCKERIGNORE.as_bytes());
    for number in 0..files {
        write(&folder.path().join(source_path(number)), format!("VALUE = {number}\n").as_bytes());
    }
    folder
}

/// A virtual environment of generated distributions. Its interpreter is an empty file that is never
/// run.
pub(crate) struct Environment(TempDir);

impl Environment {
    /// Creates an environment of `files` files.
    pub(crate) fn new(files: usize) -> Self {
        const EACH: usize = 100;
        let made = Self(tempfile::tempdir().expect("a folder"));
        let base = made.0.path();
        let root = made.root();
        write(&base.join("python/bin/python3.11"), b"");
        let config = format!("home = {}\nversion = 3.11.7\n", base.join("python/bin").display());
        write(&root.join("pyvenv.cfg"), config.as_bytes());
        fs_err::create_dir_all(root.join("bin")).expect("a folder");
        symlink(base.join("python/bin/python3.11"), root.join("bin/python")).expect("a link");
        for number in 0..files / EACH {
            install(&root.join("lib/python3.11/site-packages"), number, EACH - 3);
        }
        made
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().canonicalize().expect("it is there").join("app/.venv")
    }

    pub(crate) fn context(&self) -> &Path {
        self.0.path()
    }
}

fn install(packages: &Path, number: usize, modules: usize) {
    let name = format!("generated{number}");
    let info = format!("{name}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
    let mut record = format!("{info}/RECORD,,\n");
    let mut add = |path: String, text: &str| {
        write(&packages.join(&path), text.as_bytes());
        // RECORD's digests are base64; the benchmarks only check their form.
        let _ = writeln!(record, "{path},sha256={},{}", &Digest::of(text.as_bytes()).hex()[..43], text.len());
    };
    add(format!("{info}/METADATA"), &metadata);
    add(format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n");
    for module in 0..modules {
        add(format!("{name}/part{}/module{module}.py", module % 7), &format!("VALUE = {module}\n"));
    }
    write(&packages.join(&info).join("RECORD"), record.as_bytes());
}

/// Creates a tree of `bytes` bytes in small and large files, and the directory that has to outlive
/// it.
pub(crate) fn tree(bytes: usize) -> (Tree, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let owner = Owner::Source;
    let mut tree = Tree::new();
    let mut left = bytes;
    let mut number = 0_usize;
    while left > 0 {
        // Nine of ten are small, as in an environment; the tenth holds most of the bytes.
        let size = if number % 10 == 9 { 256 << 10 } else { 4 << 10 }.min(left);
        left -= size;
        let path = folder.path().join(number.to_string());
        write(&path, &self::bytes(size, number as u64));
        let content = Content::Host(HostFile::new(&path).expect("it was written"));
        let place = ImagePath::new(&format!("/app/{}/{number}", number / 100)).expect("a path");
        for parent in place.parents().filter(|parent| !parent.is_root()).collect::<Vec<_>>().into_iter().rev()
        {
            if !tree.contains(&parent) {
                tree.insert(Entry::directory(parent, owner.clone())).expect("it is new");
            }
        }
        tree.insert(Entry::file(place, content, owner.clone())).expect("it is new");
        number += 1;
    }
    (tree, folder)
}

/// Returns bytes that compress to about a third, like an environment: words of a small vocabulary
/// and some noise.
pub(crate) fn bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out = Vec::with_capacity(size + 32);
    while out.len() < size {
        let drawn = next();
        if drawn.trailing_zeros() >= 3 {
            out.extend_from_slice(&next().to_le_bytes());
        } else {
            let _ = std::io::Write::write_fmt(&mut out, format_args!("self.name_{:x} ", drawn >> 8 & 0xff));
        }
    }
    out.truncate(size);
    out
}

fn write(path: &Path, bytes: &[u8]) {
    fs_err::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder");
    fs_err::write(path, bytes).expect("a file");
}
