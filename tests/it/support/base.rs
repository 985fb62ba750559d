//! Base images: a real Debian, and layouts whose layers are written member by member.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tar::{EntryType, Header};

/// Returns a Debian with Python as a tar archive; skips the test if it cannot be created.
///
/// mmdebstrap creates it once, from the mirror of this machine's apt; it is kept in the target
/// directory.
pub(crate) fn debian() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make_debian)
}

fn make_debian() -> PathBuf {
    let folder = super::target_dir().join("bases");
    let place = folder.join("bookworm.tar");
    if place.is_file() {
        return place;
    }
    super::requires("mmdebstrap");
    super::requires_root();
    let mirror = mirror();
    fs_err::create_dir_all(&folder).unwrap();
    // Concurrent processes each write a file of their own.
    let work = tempfile::Builder::new().prefix(".new-").tempdir_in(&folder).unwrap();
    let made = work.path().join("bookworm.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--include=python3"]);
    command.args(["--aptopt=Acquire::Check-Valid-Until \"false\"", "bookworm"]);
    super::run(command.arg(&made).arg(mirror)).success();
    fs_err::rename(&made, &place).unwrap();
    place
}

/// Returns the first mirror of Debian itself; the security and updates archives have other paths.
fn mirror() -> String {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(SITE)", "Created-By: Packages"]);
    let outcome = super::run(&mut command);
    let ends = |line: &&str| line.trim_end_matches('/').ends_with("/debian");
    let mirror = outcome.text().lines().find(ends).map(str::to_owned);
    mirror.unwrap_or_else(|| super::skip("apt knows no Debian mirror"))
}

/// Returns a layout of images based on that Debian, which is created once.
///
/// `bookworm` is the Debian, with additional environment variables and a label; `newer` has one
/// changed file; `bare` lacks Python.
pub(crate) fn debian_images() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let archive = debian();
        super::requires("umoci");
        kept("images", |work| {
            let work_file = |name: &str| work.with_extension(name);
            layout(work, &[archive.to_path_buf()]);
            let umoci = |arguments: &[&str]| super::output_of("umoci", arguments);
            let image = |tag: &str| format!("{}:{tag}", work.display());
            let more = |tag: &str, layer: Layer| {
                let file = layer.write(work_file(tag));
                let file = file.to_str().unwrap();
                umoci(&["raw", "add-layer", "--image", &image("bookworm"), "--tag", tag, file]);
            };
            umoci(
                &[
                    &["config", "--image", &image("test"), "--tag", "bookworm"][..],
                    &["--config.env", "PATH=/usr/local/bin:/usr/bin:/bin", "--config.env", "LANG=C.UTF-8"],
                    &["--config.label", "team.base=bookworm", "--config.cmd", "bash"],
                ]
                .concat(),
            );
            more("newer", Layer::default().dir("etc/", 0o755).file("etc/team-base", "newer\n"));
            more(
                "bare",
                Layer::default()
                    .file("usr/bin/.wh.python3", "")
                    .file("usr/bin/.wh.python3.11", "")
                    .file("usr/lib/.wh.python3", "")
                    .file("usr/lib/.wh.python3.11", ""),
            );
        })
    })
}

/// Returns a Debian for 64-bit ARM with Python as a tar archive, unpacked from its packages and
/// never run.
pub(crate) fn debian_for_arm64() -> PathBuf {
    super::requires("mmdebstrap");
    super::requires_root();
    let mirror = mirror();
    kept("bookworm-arm64.tar", |made| {
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=extract", "--architectures=arm64", "--format=tar"]);
        command.arg("--include=python3-minimal,libpython3-stdlib,libstdc++6");
        command.args(["--aptopt=Acquire::Check-Valid-Until \"false\"", "bookworm"]);
        let outcome = super::run(command.arg(made).arg(mirror));
        if !outcome.status.success() {
            super::skip(&format!("the mirror has no Debian for arm64: {}", outcome.stderr));
        }
    })
}

/// Returns a Debian with `python3-minimal` alone, as a tar archive.
pub(crate) fn minimal() -> PathBuf {
    super::requires("mmdebstrap");
    super::requires_root();
    let mirror = mirror();
    kept("bookworm-minimal.tar", |made| {
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=extract", "--format=tar", "--include=python3-minimal"]);
        command.args(["--aptopt=Acquire::Check-Valid-Until \"false\"", "bookworm"]);
        super::run(command.arg(made).arg(mirror)).success();
    })
}

/// Returns a file or directory in the target directory, created once by `make` under a lock.
pub(crate) fn kept(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = super::target_dir().join("bases");
    fs_err::create_dir_all(&folder).unwrap();
    let place = folder.join(name);
    let lock = fs_err::File::create(folder.join(format!(".{name}.lock"))).unwrap();
    lock.file().lock().unwrap();
    if !place.exists() {
        let work = tempfile::Builder::new().prefix(".new-").tempdir_in(&folder).unwrap();
        let made = work.path().join("made");
        make(&made);
        fs_err::rename(&made, &place).unwrap();
    }
    place
}

/// Creates a layout with one image, `DIR:test`, of the layers in these archives.
pub(crate) fn layout(dir: &Path, layers: &[PathBuf]) {
    let umoci = |arguments: &[&str]| super::output_of("umoci", arguments);
    let dir = dir.to_str().unwrap();
    let image = format!("{dir}:test");
    umoci(&["init", "--layout", dir]);
    umoci(&["new", "--image", &image]);
    for layer in layers {
        umoci(&["raw", "add-layer", "--image", &image, layer.to_str().unwrap()]);
    }
}

/// A layer under construction; members are written unchecked.
#[derive(Debug, Default)]
pub(crate) struct Layer(Vec<u8>);

impl Layer {
    pub(crate) fn member(self, kind: EntryType, name: &str, link: &str, mode: u32, bytes: &[u8]) -> Self {
        self.append(kind, name, link, (mode, 0), bytes)
    }

    /// Adds a file of the user and group `owner`.
    pub(crate) fn owned(self, owner: u64, name: &str, bytes: &[u8]) -> Self {
        self.append(EntryType::Regular, name, "", (0o644, owner), bytes)
    }

    fn append(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        (mode, owner): (u32, u64),
        bytes: &[u8],
    ) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_700_000_000);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.member(EntryType::Directory, name, "", mode, b"")
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.member(EntryType::Regular, name, "", 0o644, text.as_bytes())
    }

    /// Adds the modules of the standard library of `python3` as empty files in `folder`.
    pub(crate) fn standard_library(self, folder: &str) -> Self {
        let script = "import sys; print(' '.join(sys.stdlib_module_names))";
        let names = super::output_of("python3", ["-c", script]);
        names.split_whitespace().fold(self, |layer, name| layer.file(&format!("{folder}/{name}.py"), ""))
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name, target, 0o777, b"")
    }

    pub(crate) fn hard(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name, target, 0o644, b"")
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn write(mut self, path: PathBuf) -> PathBuf {
        self.0.extend([0; 1024]);
        fs_err::write(&path, self.0).unwrap();
        path
    }
}
