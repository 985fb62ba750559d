//! Packages and file systems for tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{InstallError, InstallOptions, InstalledPackages, LowerFiles, LowerNode, install};
use crate::tree::{Entry, ImagePath, Kind};

/// A package that is written member by member.
pub(super) struct TestPackage {
    name: String,
    fields: String,
    control: Builder<Vec<u8>>,
    data: Builder<Vec<u8>>,
}

impl TestPackage {
    pub(super) fn new(name: &str) -> Self {
        let new = || Builder::new(Vec::new());
        Self { name: name.to_owned(), fields: String::new(), control: new(), data: new() }
    }

    /// Adds a field; `Version` is 1 and `Architecture` amd64 without one.
    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.fields, "{name}: {value}");
        self
    }

    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.member(EntryType::Regular, path, "", content)
    }

    pub(super) fn directory(self, path: &str) -> Self {
        self.member(EntryType::Directory, path, "", "")
    }

    pub(super) fn symlink(self, path: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, path, target, "")
    }

    pub(super) fn hard_link(self, path: &str, target: &str) -> Self {
        self.member(EntryType::Link, path, target, "")
    }

    fn member(mut self, kind: EntryType, path: &str, target: &str, content: &str) -> Self {
        append(&mut self.data, (kind, 0o755), path, target, content);
        self
    }

    /// Adds a file to the control archive.
    pub(super) fn control(mut self, name: &str, content: &str) -> Self {
        append(&mut self.control, (EntryType::Regular, 0o755), name, "", content);
        self
    }

    /// Writes the package into a folder.
    fn write(mut self, folder: &Path, number: usize) -> PathBuf {
        for (name, value) in [("Version", "1"), ("Architecture", "amd64")] {
            if !self.fields.contains(&format!("{name}: ")) {
                let _ = writeln!(self.fields, "{name}: {value}");
            }
        }
        let text = format!("Package: {}\n{}Description: a test\n", self.name, self.fields);
        append(&mut self.control, (EntryType::Regular, 0o644), "./control", "", &text);
        let (control, data) = (self.control.into_inner().unwrap(), self.data.into_inner().unwrap());
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in
            [("debian-binary", &b"2.0\n"[..]), ("control.tar", &control), ("data.tar", &data)]
        {
            let size = content.len();
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes());
            bytes.extend(content);
        }
        let path = folder.join(format!("{number}.deb"));
        fs_err::write(&path, bytes).unwrap();
        path
    }
}

fn append(
    tar: &mut Builder<Vec<u8>>,
    (kind, mode): (EntryType, u32),
    path: &str,
    target: &str,
    content: &str,
) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(content.len() as u64);
    match kind {
        EntryType::Symlink | EntryType::Link => tar.append_link(&mut header, path, target).unwrap(),
        _ => tar.append_data(&mut header, path, content.as_bytes()).unwrap(),
    }
}

/// A file system below, by path.
#[derive(Default)]
pub(super) struct TestFiles(BTreeMap<ImagePath, (LowerNode, Vec<u8>)>);

impl TestFiles {
    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.bytes(path, content.as_bytes().to_vec())
    }

    pub(super) fn bytes(mut self, path: &str, content: Vec<u8>) -> Self {
        self.add(path, LowerNode::File, content);
        self
    }

    pub(super) fn directory(mut self, path: &str) -> Self {
        self.add(path, LowerNode::Directory, Vec::new());
        self
    }

    pub(super) fn symlink(mut self, path: &str, target: &str) -> Self {
        self.add(path, LowerNode::Symlink(target.to_owned()), Vec::new());
        self
    }

    fn add(&mut self, path: &str, node: LowerNode, content: Vec<u8>) {
        let path = ImagePath::new(path).unwrap();
        for parent in path.parents() {
            self.0.entry(parent).or_insert((LowerNode::Directory, Vec::new()));
        }
        self.0.insert(path, (node, content));
    }
}

impl LowerFiles for TestFiles {
    fn node(&self, path: &ImagePath) -> Option<LowerNode> {
        self.0.get(path).map(|(node, _)| node.clone())
    }

    fn read(&self, path: &ImagePath) -> io::Result<Vec<u8>> {
        Ok(self.0.get(path).ok_or(io::ErrorKind::NotFound)?.1.clone())
    }
}

/// Installs packages on a file system.
pub(super) fn install_on(
    below: Option<&TestFiles>,
    packages: Vec<TestPackage>,
    exclude: &[&str],
) -> Result<(tempfile::TempDir, InstalledPackages), InstallError> {
    let work = tempfile::tempdir().unwrap();
    let write = |(number, package): (usize, TestPackage)| package.write(work.path(), number);
    let debs: Vec<PathBuf> = packages.into_iter().enumerate().map(write).collect();
    let options = InstallOptions { exclude: super::PathRules::new(exclude.iter().copied()) };
    let below = below.map(|below| below as &dyn LowerFiles);
    let installed = install(&debs, below, &options, work.path())?;
    Ok((work, installed))
}

/// Returns the entries outside of dpkg's database as text: `a file: content`, `b -> target`, `c = a`, `d/`.
pub(super) fn listing(installed: &InstalledPackages) -> Vec<String> {
    let entries = installed.entries.iter();
    entries.filter(|entry| !entry.path.as_str().starts_with("var")).filter_map(line).collect()
}

/// Returns the text of a file.
pub(super) fn text(installed: &InstalledPackages, path: &str) -> String {
    let entry = installed.entries.iter().find(|entry| entry.path.as_str() == path);
    match entry.map(|entry| &entry.kind) {
        Some(Kind::File(content)) => String::from_utf8(content.read().unwrap()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

fn line(entry: &Entry) -> Option<String> {
    let (path, kind) = (entry.path.as_str(), &entry.kind);
    Some(match kind {
        // The links of a merged `/usr`.
        Kind::Symlink(target) if *target == format!("usr/{path}") => return None,
        Kind::Symlink(target) => format!("{path} -> {target}"),
        Kind::HardLink(first) => format!("{path} = {}", first.as_str()),
        Kind::Directory => format!("{path}/"),
        Kind::File(content) => format!("{path}: {}", String::from_utf8(content.read().unwrap()).unwrap()),
    })
}
