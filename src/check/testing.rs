//! Small images for the unit tests of rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use tar::{EntryType, Header};

use super::{CheckOptions, CheckedImage, Diagnostic, RuleSelection, check};
use crate::digest::Digest;
use crate::elf::fixture::program;
use crate::image::{Blob, Encoding, HistoryLine, Image, ImageConfig, Layer, Process};
use crate::platform::Platform;
use crate::progress::Silent;
use crate::tree::ImagePath;

/// The loader of the image's programs.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// The modification time of all files.
pub(super) const MTIME: u64 = 1_700_000_000;
/// The environment's directory of distributions.
pub(super) const SITE: &str = "app/.venv/lib/python3.11/site-packages";

/// An image under construction, of one layer.
#[derive(Debug, Clone, Default)]
pub(super) struct TestImage {
    archive: Vec<u8>,
    directories: BTreeSet<String>,
    /// The process.
    pub(super) process: Process,
}

impl TestImage {
    /// Returns an image with the interpreter of Python 3.11 in `/usr/local`.
    pub(super) fn python() -> Self {
        let elf = program(LOADER, &["libc.so.6"]).bytes();
        let mut image = Self::default()
            .program("usr/local/bin/python3.11", &elf)
            .link("usr/local/bin/python3", "python3.11")
            .program("lib64/ld-linux-x86-64.so.2", &elf)
            .file("usr/local/lib/python3.11/os.py", "")
            .file("usr/local/lib/python3.11/site-packages/README.txt", "");
        image.process.env = vec![("PATH".to_owned(), "/app/.venv/bin:/usr/local/bin:/bin".to_owned())];
        image.process.workdir = ImagePath::new("/app").ok();
        image
    }

    /// Returns the same with the environment `/app/.venv`.
    pub(super) fn environment() -> Self {
        Self::python()
            .file("app/.venv/pyvenv.cfg", "home = /usr/local/bin\ninclude-system-site-packages = false\n")
            .link("app/.venv/bin/python", "/usr/local/bin/python3.11")
            .file(&format!("{SITE}/_virtualenv.py"), "")
    }

    fn member(mut self, kind: EntryType, name: &str, link: &str, mode: u32, bytes: &[u8]) -> Self {
        for (at, _) in name.match_indices('/') {
            let folder = name.get(..at).unwrap_or_default().to_owned();
            if self.directories.insert(folder.clone()) {
                self = self.member(EntryType::Directory, &folder, "", 0o755, b"");
            }
        }
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(MTIME);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.archive.extend(header.as_bytes());
        self.archive.extend(bytes);
        self.archive.resize(self.archive.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, name: &str, text: &str) -> Self {
        self.bytes(name, text.as_bytes())
    }

    pub(super) fn bytes(self, name: &str, bytes: &[u8]) -> Self {
        self.member(EntryType::Regular, name, "", 0o644, bytes)
    }

    pub(super) fn program(self, name: &str, bytes: &[u8]) -> Self {
        self.member(EntryType::Regular, name, "", 0o755, bytes)
    }

    pub(super) fn link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name, target, 0o777, b"")
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name, target, 0o644, b"")
    }

    /// Adds a distribution to the environment; `headers` follow in its metadata.
    pub(super) fn distribution(self, name: &str, version: &str, headers: &str) -> Self {
        let text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{headers}");
        self.file(&format!("{SITE}/{name}-{version}.dist-info/METADATA"), &text)
    }

    /// Adds a distribution with a wheel's tag.
    pub(super) fn wheel(self, name: &str, tag: &str) -> Self {
        let wheel = format!("Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n");
        self.distribution(name, "1", "").file(&format!("{SITE}/{name}-1.dist-info/WHEEL"), &wheel)
    }

    /// Sets the command.
    pub(super) fn command(mut self, words: &[&str]) -> Self {
        self.process.entrypoint = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Returns the image as rules read it.
    pub(super) fn image(&self) -> CheckedImage {
        let bytes: Arc<[u8]> = [&*self.archive, &[0; 1024]].concat().into();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let layer =
            Layer { digest, size, diff_id: digest, encoding: Encoding::Plain, blob: Blob::Memory(bytes) };
        let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
        let config = ImageConfig::new(&platform, 0, self.process.clone());
        let line = HistoryLine { created_by: "test".to_owned(), comment: String::new() };
        let image = Image::assemble(&config, vec![(layer, line)], &[].into()).unwrap();
        CheckedImage::of_image(&image, None, &Silent).unwrap()
    }

    /// Returns the diagnostics of the rules `codes`.
    pub(super) fn diagnostics(&self, codes: &str) -> Vec<Diagnostic> {
        let selected: Vec<String> = codes.split(',').map(str::to_owned).collect();
        let selection = RuleSelection::new(&selected, &[]).unwrap();
        check("test", &self.image(), &CheckOptions::new(selection)).diagnostics
    }

    /// Returns code, path and message of each diagnostic of the rules `codes`.
    pub(super) fn found(&self, codes: &str) -> Vec<String> {
        let text = |found: Diagnostic| {
            let path = found.path.map(|path| format!("{path}: ")).unwrap_or_default();
            format!("{} {path}{}", found.code, found.message)
        };
        self.diagnostics(codes).into_iter().map(text).collect()
    }
}
