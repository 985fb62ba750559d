//! Images in memory, and archives written member by member.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use flate2::write::GzEncoder;
use ipo_oci::image::{Blob, Encoding, Healthcheck, HistoryLine, Image, ImageConfig, Layer};
use ipo_oci::layer::{self, Compression, NoWatch};
use ipo_oci::settings::User;
use ipo_oci::tree::{Entry, ImagePath, Owner, Tree};

pub(crate) const UNICODE: &str = "srv/données/été.txt";

/// Returns a layer in memory.
pub(crate) fn layer_of(files: &[(&str, &str)]) -> Layer {
    compressed(files, Compression::Gzip(6))
}

/// Returns a layer with the given compression.
pub(crate) fn compressed(files: &[(&str, &str)], compression: Compression) -> Layer {
    let mut tree = Tree::new();
    for (path, text) in files {
        let path = ImagePath::new(path).expect("a path");
        tree.insert(Entry::file(path, (*text).into(), Owner::Source)).expect("no conflict");
    }
    let mut bytes = Vec::new();
    let written =
        layer::write(&tree, compression, NonZero::new(2), &mut bytes, &mut NoWatch).expect("a layer");
    Layer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        encoding: if compression == Compression::None { Encoding::Plain } else { Encoding::Gzip },
        blob: Blob::Memory(bytes.into()),
    }
}

/// Returns the lower layer of all images.
pub(crate) fn base() -> Layer {
    let long = format!("usr/{}/{}/{}", "a".repeat(120), "b".repeat(120), "c".repeat(120));
    layer_of(&[("etc/passwd", "app:x:1000:1000::/app:\n"), (&long, "long"), (UNICODE, "é")])
}

pub(crate) fn image_with(top: Layer) -> Image {
    image_of("amd64", vec![base(), top])
}

/// Returns an image whose upper layer depends on `version`.
pub(crate) fn image(version: &str) -> Image {
    image_with(layer_of(&[("app/main.py", version)]))
}

/// Returns an image for an architecture.
pub(crate) fn image_for(architecture: &str) -> Image {
    image_of(architecture, vec![base(), layer_of(&[("app/main.py", architecture)])])
}

pub(crate) fn image_of(architecture: &str, layers: Vec<Layer>) -> Image {
    let mut config = ImageConfig::default();
    config.os = "linux".into();
    config.architecture = architecture.into();
    config.process.user = Some(User { uid: 1000, gid: 1000 });
    config.process.workdir = ImagePath::new("app").ok();
    config.process.entrypoint = vec!["/app/run".to_owned()];
    config.process.labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    config.process.healthcheck = Some(Healthcheck {
        test: vec!["CMD".to_owned(), "/app/check".to_owned()],
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(3),
        start_period: Duration::from_secs(5),
        start_interval: Duration::from_secs(1),
        retries: 3,
    });
    let line = |number: usize| HistoryLine { created_by: format!("layer {number}"), comment: String::new() };
    let layers = layers.into_iter().enumerate().map(|(number, layer)| (layer, line(number)));
    Image::assemble(&config, layers.collect(), &BTreeMap::new()).expect("an image")
}

/// A member of an archive, possibly hostile.
#[derive(Debug, Clone)]
pub(crate) enum Raw {
    File(String, Vec<u8>),
    /// A file with a false size in its header.
    WrongSize(String, u64, Vec<u8>),
    Symlink(String, String),
    HardLink(String, String),
    Folder(String),
    Device(String),
}

impl Raw {
    pub(crate) fn file(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        Self::File(name.to_owned(), bytes.as_ref().to_vec())
    }
}

/// Writes a tar archive of these members, with unchecked names.
pub(crate) fn archive(members: &[Raw]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        let (name, kind, size, bytes, link) = match member {
            Raw::File(name, bytes) => (name, b'0', bytes.len() as u64, &bytes[..], ""),
            Raw::WrongSize(name, size, bytes) => (name, b'0', *size, &bytes[..], ""),
            Raw::Symlink(name, to) => (name, b'2', 0, &b""[..], to.as_str()),
            Raw::HardLink(name, to) => (name, b'1', 0, &b""[..], to.as_str()),
            Raw::Folder(name) => (name, b'5', 0, &b""[..], ""),
            Raw::Device(name) => (name, b'3', 0, &b""[..], ""),
        };
        let mut header = tar::Header::new_ustar();
        // The setters of `tar` reject invalid names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_size(size);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

/// Returns the members of an archive, in order.
pub(crate) fn members(path: &Path) -> Vec<Raw> {
    let mut archive = tar::Archive::new(fs_err::File::open(path).expect("an archive"));
    let mut found = Vec::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an archive");
        let name = entry.path().expect("a name").to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("a member");
            found.push(Raw::File(name, bytes));
        }
    }
    found
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
