//! Maintainer scripts of a package, and the dpkg database and loader cache below it, separated by NUL: preinst, postinst,
//! fields, status, list of files, record of alternatives, cache. No panic, and scripts end.

#![no_main]

use std::collections::BTreeMap;
use std::io;

use ipo_oci::debian::install::{InstallOptions, LowerFiles, LowerNode, install};
use ipo_oci::tree::{ImagePath, Tree};
use libfuzzer_sys::fuzz_target;

/// Files of the base.
struct Base(BTreeMap<ImagePath, Option<Vec<u8>>>);

impl Base {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let mut all = BTreeMap::new();
        for (path, bytes) in files {
            let path = ImagePath::new(path).expect("a path");
            for parent in path.parents() {
                all.insert(parent, None);
            }
            all.insert(path, Some(bytes.to_vec()));
        }
        Self(all)
    }
}

impl LowerFiles for Base {
    fn node(&self, path: &ImagePath) -> Option<LowerNode> {
        self.0.get(path).map(|file| if file.is_some() { LowerNode::File } else { LowerNode::Directory })
    }

    fn read(&self, path: &ImagePath) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().flatten().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(7, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (preinst, postinst, fields) = (next(), next(), next());
    let (status, list, record, cache) = (next(), next(), next(), next());
    let mut control = b"Package: a\nVersion: 1\nArchitecture: amd64\n".to_vec();
    control.extend(fields);
    let control = tar(&[("./control", &control), ("./preinst", preinst), ("./postinst", postinst)]);
    let library = ("./usr/lib/libx.so.1", &b"\x7fELF"[..]);
    let data = tar(&[("./etc/x", b"x"), ("./usr/bin/x", b"x"), library, ("./usr/sbin/ldconfig", b"")]);
    let mut package = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", &control), ("data.tar", &data)] {
        let size = content.len();
        package.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes());
        package.extend(content);
    }
    let work = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = work.path().join("package.deb");
    std::fs::write(&path, package).expect("a temporary file");
    let base = Base::new(&[
        ("var/lib/dpkg/status", status),
        ("var/lib/dpkg/info/b.list", list),
        ("var/lib/dpkg/alternatives/x", record),
        ("etc/ld.so.cache", cache),
        ("etc/y", b"y"),
    ]);
    for below in [None, Some(&base as &dyn LowerFiles)] {
        let debs = [path.clone()];
        let Ok(installed) = install(&debs, below, &InstallOptions::default(), work.path()) else { continue };
        let mut tree = Tree::new();
        for entry in installed.entries {
            tree.insert(entry).expect("a path once, and below directories");
        }
    }
});

/// Writes a tar archive of programs.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, content) in files {
        let mut header = [0; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[100..108].copy_from_slice(b"0000755\0");
        header[108..124].copy_from_slice(b"0000000\x000000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(*content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
