//! Images for tests, with layers written member by member.

use std::sync::Arc;

use tar::{EntryType, Header};

use super::View;
use crate::digest::Digest;
use crate::image::{Blob, Encoding, HistoryLine, Image, ImageConfig, Layer};
use crate::progress::Silent;
use crate::tree::ImagePath;

/// A layer's archive under construction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn member(mut self, kind: EntryType, name: &str, link: &str, mode: u32, bytes: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
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

    pub(crate) fn binary(self, name: &str, bytes: &[u8]) -> Self {
        self.member(EntryType::Regular, name, "", 0o755, bytes)
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name, target, 0o777, b"")
    }

    pub(crate) fn hard(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name, target, 0o644, b"")
    }

    pub(crate) fn layer(&self) -> Layer {
        let bytes: Arc<[u8]> = [&*self.0, &[0; 1024]].concat().into();
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        Layer { digest, size, diff_id: digest, encoding: Encoding::Plain, blob: Blob::Memory(bytes) }
    }
}

pub(crate) fn image(layers: &[Tar]) -> Image {
    let line = HistoryLine { created_by: "test".to_owned(), comment: String::new() };
    let layers = layers.iter().map(|tar| (tar.layer(), line.clone())).collect();
    let config =
        ImageConfig { os: "linux".to_owned(), architecture: "amd64".to_owned(), ..ImageConfig::default() };
    Image::assemble(&config, layers, &[].into()).unwrap()
}

pub(crate) fn view(layers: &[Tar]) -> View {
    View::of(&image(layers), None, &Silent).unwrap()
}

pub(crate) fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}
