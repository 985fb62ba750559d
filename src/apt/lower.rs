//! The files of the layers below a layer of packages.

use std::collections::BTreeMap;
use std::io;

use debian_archive::index::{Installed, parse_status};

use super::AptError;
use super::system::{OS_RELEASE, suite_of};
use crate::base::{ContentKey, FoundContent, NodeKind, View, WantedContent, read_contents};
use crate::debian::install::{LowerFiles, LowerNode};
use crate::image::Layer;
use crate::progress::Progress;
use crate::tree::ImagePath;

/// Returns the suite and the packages of an image; no suite if the image is neither Debian nor Ubuntu.
pub fn installed_in(view: &View) -> Result<(Option<String>, Vec<Installed>), AptError> {
    let suite = OS_RELEASE.iter().filter_map(|path| view.retained_text(path)).find_map(suite_of);
    let mut installed = Vec::new();
    for text in view.package_databases() {
        installed.extend(parse_status(text.as_bytes()).map_err(AptError::Status)?);
    }
    Ok((suite, installed))
}

/// The largest file read of the layers below, in bytes: dpkg's `status` of a large system has 10 MB.
const LIMIT: u64 = 64 << 20;

/// The files of an image, with the contents that dpkg and maintainer scripts would read.
#[derive(Debug)]
pub(super) struct LowerImage {
    view: View,
    contents: BTreeMap<ImagePath, Vec<u8>>,
}

impl LowerImage {
    /// Reads the contents from the layers of `view`, each layer once.
    pub(super) fn of(view: View, progress: &dyn Progress) -> Result<Self, AptError> {
        let is_read = |path: &ImagePath| {
            let text = path.as_str();
            text.starts_with("var/lib/dpkg/")
                || text.starts_with("etc/") && !text.starts_with("etc/ssl/certs/")
                || text == "etc/ssl/certs/ca-certificates.crt"
        };
        let mut paths: BTreeMap<ContentKey, Vec<&ImagePath>> = BTreeMap::new();
        for (path, node) in view.iter().filter(|(path, node)| is_read(path) && node.size <= LIMIT) {
            if let Some(key) = view.content_key(node) {
                paths.entry(key).or_default().push(path);
            }
        }
        let wanted = paths.keys().map(|key| (*key, WantedContent::Start(LIMIT))).collect();
        let layers: Vec<&Layer> = view.layers.iter().collect();
        let found = read_contents(&layers, &wanted, progress)?;
        let mut contents = BTreeMap::new();
        for (key, content) in found {
            if let FoundContent::Start(bytes) = content {
                for path in paths.get(&key).into_iter().flatten() {
                    contents.insert((*path).clone(), bytes.clone());
                }
            }
        }
        Ok(Self { view, contents })
    }
}

impl LowerFiles for LowerImage {
    fn node(&self, path: &ImagePath) -> Option<LowerNode> {
        Some(match &self.view.lookup(path)?.kind {
            NodeKind::Directory => LowerNode::Directory,
            NodeKind::File => LowerNode::File,
            NodeKind::Symlink(target) => LowerNode::Symlink(target.to_string()),
            NodeKind::Device => LowerNode::Other,
        })
    }

    fn read(&self, path: &ImagePath) -> io::Result<Vec<u8>> {
        self.contents.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
