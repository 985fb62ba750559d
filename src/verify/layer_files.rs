//! The members of one layer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use super::VerifyRule as Rule;
use super::documents::{Done, LayerTask};
use super::findings::Findings;
use crate::digest::Digest;
use crate::image::{Blob, Descriptor, Encoding};
use crate::layer::{Limits, Oddity, RawKind, RawMember, read_raw};
use crate::tree::ImagePath;

/// The prefix of whiteouts (`layer.md`, "Whiteouts").
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// The paths of a layer.
#[derive(Debug, Default)]
pub(super) struct LayerFiles {
    pub(super) nodes: BTreeMap<ImagePath, LayerNode>,
    /// Paths that the layer deletes.
    pub(super) whiteouts: Vec<ImagePath>,
    /// Directories whose content in lower layers the layer hides.
    pub(super) opaque: Vec<ImagePath>,
    /// Hard links whose target is no earlier member.
    pub(super) links: Vec<(ImagePath, ImagePath)>,
}

/// The kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LayerNode {
    Directory,
    Symlink,
    Other,
}

/// A layer that was read.
#[derive(Debug)]
pub(super) struct ReadLayer {
    pub(super) findings: Findings,
    pub(super) files: Option<LayerFiles>,
    pub(super) bytes: u64,
    /// True if no more findings about the blob's digest are of use.
    pub(super) is_verified: bool,
}

/// Reads and verifies a layer, or the blob of another artifact.
pub(super) fn read(task: &LayerTask) -> ReadLayer {
    let mut findings = Findings::default();
    let (name, descriptor) = (&task.name, &task.descriptor);
    let mut read = ReadLayer { findings: Findings::default(), files: None, bytes: 0, is_verified: true };
    let unreadable = |findings: &mut Findings, error: &std::io::Error| {
        findings.add(Rule::Unreadable, name, crate::error::describe(error));
    };
    let Some(expected) = Encoding::from_media_type(&descriptor.media_type) else {
        digest(task, &mut findings, &mut read.bytes);
        return ReadLayer { findings, ..read };
    };
    let opened = task.blob.open().and_then(|mut source| {
        let mut start = Vec::new();
        source.by_ref().take(Encoding::MAGIC_BYTES).read_to_end(&mut start)?;
        Ok((start, source))
    });
    let (start, source) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            unreadable(&mut findings, &error);
            return ReadLayer { findings, ..read };
        }
    };
    let found = Encoding::of_magic(&start).unwrap_or(Encoding::Plain);
    if found != expected {
        let message = format!("has the media type `{}`, and is {}", descriptor.media_type, words(found));
        findings.add(Rule::MediaType, name, message);
    }
    let source = std::io::Cursor::new(start).chain(source).take(limit(task));
    let diff_id = task.diff_ids.first().copied().unwrap_or_else(|| Digest::of(b""));
    let mut members = LayerMembers::new(name, &mut findings);
    let end = read_raw(source, Limits::default(), &descriptor.digest, &diff_id, &mut |event| match event {
        Ok(member) => members.add(&member),
        Err(oddity) => members.oddity(&oddity),
    });
    let files = members.files;
    match end {
        Err(error) => {
            // Not decompressed at all: the digest is still of use.
            findings.add(Rule::Compression, name, crate::error::describe(&error));
            digest(task, &mut findings, &mut read.bytes);
        }
        Ok(end) => {
            compare(task, (end.digest, end.size), &mut findings);
            read.bytes = end.size;
            if let Some((found, _)) = end.archive {
                for diff_id in task.diff_ids.iter().filter(|diff_id| **diff_id != found) {
                    // Another algorithm needs another reading, and no tool mixes them.
                    if diff_id.algorithm() == found.algorithm() {
                        let message =
                            format!("its archive has the digest {found}; the configuration has {diff_id}");
                        findings.add(Rule::DiffId, name, message);
                    }
                }
            }
            read.files = Some(files);
        }
    }
    ReadLayer { findings, ..read }
}

/// Verifies a layer in memory.
pub(super) fn check(bytes: &[u8], media_type: &str) -> usize {
    let digest = Digest::of(bytes);
    let task = LayerTask {
        name: "layer".to_owned(),
        descriptor: Descriptor::new(media_type, digest, bytes.len() as u64),
        blob: Blob::Memory(bytes.into()),
        size: None,
        diff_ids: BTreeSet::new(),
    };
    let mut read = read(&task);
    let stack = [("layer", read.files.as_ref()), ("again", read.files.as_ref())];
    super::image_files::verify(stack.into_iter(), &mut read.findings);
    read.findings.finish().len()
}

/// Verifies the digest alone.
fn digest(task: &LayerTask, findings: &mut Findings, bytes: &mut u64) {
    let LayerTask { descriptor, blob, .. } = task;
    let read =
        blob.open().and_then(|reader| descriptor.digest.recomputed_from(&mut reader.take(limit(task))));
    match read {
        Ok(found) => {
            *bytes = found.1;
            compare(task, found, findings);
        }
        Err(error) => findings.add(Rule::Unreadable, &task.name, crate::error::describe(&error)),
    }
}

/// Returns the number of bytes to read: one more than promised suffices to notice a longer blob.
fn limit(task: &LayerTask) -> u64 {
    task.size.unwrap_or(task.descriptor.size).saturating_add(1)
}

/// Compares digest and size of a blob with its descriptor.
fn compare(task: &LayerTask, (digest, size): (Digest, u64), findings: &mut Findings) {
    let LayerTask { name, descriptor, .. } = task;
    // The known size was compared before.
    if task.size.is_none() && size != descriptor.size {
        let more = if size > descriptor.size { "more than " } else { "" };
        let found = size.min(descriptor.size);
        let message = format!("has {more}{found} bytes; its descriptor has {}", descriptor.size);
        findings.add(Rule::BlobSize, name, message);
    } else if digest != descriptor.digest {
        findings.add(Rule::BlobDigest, name, format!("its content has the digest {digest}"));
    }
}

/// Verifies the archive around a layout.
pub(super) fn verify_archive(archive: &Blob, done: &mut Done) {
    const NAME: &str = "the archive";
    let mut members = LayerMembers::new(NAME, &mut done.findings);
    let any = Digest::of(b"");
    let read = archive.open().and_then(|source| {
        read_raw(source, Limits::default(), &any, &any, &mut |event| match event {
            Ok(member) => members.add(&member),
            Err(oddity) => members.oddity(&oddity),
        })
    });
    if let Err(error) = read {
        done.findings.add(Rule::Unreadable, NAME, crate::error::describe(&error));
    }
}

fn words(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Plain => "not compressed",
        Encoding::Gzip => "compressed with gzip",
        Encoding::Zstd => "compressed with zstd",
    }
}

/// The members of a layer so far.
struct LayerMembers<'a> {
    name: &'a str,
    findings: &'a mut Findings,
    files: LayerFiles,
    /// The parent of the previous member: members of one directory are adjacent.
    near: Option<ImagePath>,
}

impl<'a> LayerMembers<'a> {
    fn new(name: &'a str, findings: &'a mut Findings) -> Self {
        Self { name, findings, files: LayerFiles::default(), near: None }
    }

    fn found(&mut self, rule: Rule, message: &str, path: impl Into<String>) {
        self.findings.add_path(rule, self.name, message, path.into());
    }

    fn oddity(&mut self, oddity: &Oddity) {
        match oddity {
            Oddity::Compression(reason) => self.findings.add(Rule::Compression, self.name, reason),
            Oddity::AfterCompression => {
                self.findings.add(Rule::Compression, self.name, "bytes follow the compressed data");
            }
            Oddity::Broken(at, reason) => {
                self.findings.add(Rule::Archive, self.name, format!("at byte {at}: {reason}"));
            }
            Oddity::Limit(what, limit) => {
                self.findings.add(Rule::Limit, self.name, format!("more than {limit} {what}"));
            }
            Oddity::Extended(at, reason) => {
                self.found(Rule::ExtendedHeader, reason, format!("at byte {at}"));
            }
            Oddity::NotUtf8(name) => self.found(Rule::NotUtf8, "names are not UTF-8", name),
            Oddity::MissingEnd(records) => {
                let message = format!("ends with {records} of two empty records");
                self.findings.add(Rule::EndOfArchive, self.name, message);
            }
            Oddity::AfterEnd(bytes) => {
                let message = format!("{bytes} bytes other than zero follow the end of the archive");
                self.findings.add(Rule::TrailingData, self.name, message);
            }
            Oddity::Padding(name) => {
                self.found(Rule::Padding, "bytes other than zero pad members", name);
            }
        }
    }

    fn add(&mut self, member: &RawMember) {
        let RawMember { name, .. } = member;
        let relative = name.trim_start_matches('/');
        if relative.len() < name.len() {
            self.found(Rule::AbsolutePath, "names begin with a slash", name);
        }
        let path = match ImagePath::new(relative) {
            Ok(_) if name.is_empty() => return self.found(Rule::UnsafePath, "members have no name", ""),
            Ok(path) => path,
            Err(_) => return self.found(Rule::UnsafePath, "names lead out of the image", name),
        };
        if name.split('/').any(|component| component == "..") {
            self.found(Rule::UnsafePath, "names have the component `..`", name);
        }
        self.parents(&path);
        let file_name = path.file_name().unwrap_or_default();
        if let Some(gone) = file_name.strip_prefix(WHITEOUT) {
            return self.whiteout(member, &path, gone);
        }
        match &member.kind {
            RawKind::HardLink => self.hard_link(&path, &member.link),
            RawKind::Device(0, 0) => {
                let message = "devices 0:0 are whiteouts of overlayfs, not of images";
                self.found(Rule::Device, message, path.to_string());
            }
            RawKind::Device(..) => self.found(Rule::Device, "devices", path.to_string()),
            RawKind::Fifo => self.found(Rule::Device, "named pipes", path.to_string()),
            RawKind::Unknown(flag) => {
                let message = format!("members have the unknown type `{}`", char::from(*flag).escape_debug());
                self.found(Rule::MemberType, &message, path.to_string());
            }
            RawKind::Sparse => {
                let message = "sparse files: ipo-oci and some runtimes cannot read them";
                self.found(Rule::ExtendedHeader, message, path.to_string());
            }
            RawKind::Directory | RawKind::File | RawKind::Symlink => {}
        }
        let node = match member.kind {
            RawKind::Directory => LayerNode::Directory,
            RawKind::Symlink => LayerNode::Symlink,
            _ => LayerNode::Other,
        };
        if self.files.nodes.insert(path.clone(), node).is_some() {
            self.found(Rule::DuplicatePath, "paths occur twice", path.to_string());
        }
        if node != LayerNode::Directory {
            self.near = None;
        }
    }

    /// Verifies that a member is below directories.
    fn parents(&mut self, path: &ImagePath) {
        let Some(parent) = path.parent() else { return };
        if self.near.as_ref() == Some(&parent) {
            return;
        }
        let mut found = path.parents().filter_map(|above| self.files.nodes.get(&above).copied());
        match found.find(|node| *node != LayerNode::Directory) {
            Some(LayerNode::Symlink) => {
                self.found(Rule::BelowLink, "members below symbolic links", path.to_string());
            }
            Some(_) => {
                let message = "members below paths that are not directories";
                self.found(Rule::NotADirectory, message, path.to_string());
            }
            None => self.near = Some(parent),
        }
    }

    fn hard_link(&mut self, path: &ImagePath, link: &str) {
        match ImagePath::new(link.trim_start_matches('/')) {
            Err(_) => self.found(Rule::UnsafePath, "targets of hard links lead out of the image", link),
            Ok(target) => match self.files.nodes.get(&target) {
                Some(LayerNode::Directory) => {
                    self.found(Rule::HardLink, "hard links to directories", path.to_string());
                }
                Some(_) => {}
                None => self.files.links.push((path.clone(), target)),
            },
        }
    }

    fn whiteout(&mut self, member: &RawMember, path: &ImagePath, gone: &str) {
        if member.kind != RawKind::File {
            self.found(Rule::Whiteout, "whiteouts are not regular files", path.to_string());
        }
        if member.size > 0 {
            self.found(Rule::Whiteout, "whiteouts have content", path.to_string());
        }
        let parent = path.parent().unwrap_or_default();
        if path.file_name() == Some(OPAQUE) {
            self.files.opaque.push(parent);
        } else if gone.is_empty() || gone == "." || gone == ".." {
            self.found(Rule::Whiteout, "whiteouts without a name", path.to_string());
        } else if gone.starts_with(WHITEOUT) {
            self.found(Rule::Whiteout, "metadata of aufs", path.to_string());
        } else if let Ok(gone) = parent.join(gone) {
            self.files.whiteouts.push(gone);
        }
    }
}
