//! Reads OCI layouts independently of the tested code.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use ipo_oci::digest::Digest;
use serde_json::Value;
use tempfile::TempDir;

/// An OCI layout in a directory.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    pub index: Value,
}

/// An image of a layout.
#[derive(Debug)]
pub(crate) struct Image {
    dir: PathBuf,
    /// Keeps the temporary directory of the layout.
    pub keep: Option<Arc<TempDir>>,
    /// `sha256:…` of the manifest.
    pub digest: String,
    pub manifest: Value,
    pub config: Value,
}

/// A member of an image's file system.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub kind: tar::EntryType,
    pub mode: u32,
    pub uid: u64,
    pub mtime: u64,
    pub size: u64,
    pub link: Option<String>,
}

/// An image's file system by path, without a leading slash.
pub(crate) type Files = BTreeMap<String, Member>;

impl Layout {
    #[track_caller]
    pub(crate) fn open(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        let marker: Value = json(&fs_err::read(dir.join("oci-layout")).expect("a layout"));
        assert_eq!(marker["imageLayoutVersion"], "1.0.0");
        let index = json(&fs_err::read(dir.join("index.json")).expect("an index"));
        assert_eq!(index["schemaVersion"], 2);
        Self { dir, index }
    }

    /// Unpacks an archive of a layout.
    #[track_caller]
    pub(crate) fn unpack(archive: impl Read, into: &Path) -> Self {
        tar::Archive::new(archive).unpack(into).expect("an archive");
        Self::open(into)
    }

    /// Returns the `ref.name` of every image, in the order of the index.
    pub(crate) fn tags(&self) -> Vec<String> {
        let name =
            |m: &Value| m["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
        self.manifests().iter().filter_map(name).collect()
    }

    #[track_caller]
    fn manifests(&self) -> &[Value] {
        self.index["manifests"].as_array().expect("manifests")
    }

    /// Returns the image with a tag.
    #[track_caller]
    pub(crate) fn image(&self, tag: &str) -> Image {
        let found: Vec<_> = self
            .manifests()
            .iter()
            .filter(|m| m["annotations"]["org.opencontainers.image.ref.name"] == tag)
            .collect();
        assert_eq!(found.len(), 1, "images tagged {tag} in {:#}", self.index);
        self.read(found[0])
    }

    /// Returns the image of a layout with exactly one.
    #[track_caller]
    pub(crate) fn only(&self) -> Image {
        assert_eq!(self.manifests().len(), 1, "{:#}", self.index);
        self.read(&self.manifests()[0])
    }

    #[track_caller]
    fn read(&self, descriptor: &Value) -> Image {
        let digest = descriptor["digest"].as_str().expect("a digest").to_owned();
        let manifest = json(&blob(&self.dir, descriptor));
        let config = json(&blob(&self.dir, &manifest["config"]));
        Image { dir: self.dir.clone(), keep: None, digest, manifest, config }
    }

    /// Compares every blob with its name, digest and size; fails on unreferenced files.
    #[track_caller]
    pub(crate) fn verify(&self) {
        let mut expected = std::collections::BTreeSet::new();
        for descriptor in self.manifests() {
            let image = self.read(descriptor);
            expected.insert(image.digest.clone());
            expected.insert(image.manifest["config"]["digest"].as_str().expect("a digest").to_owned());
            for layer in image.layers() {
                expected.insert(layer["digest"].as_str().expect("a digest").to_owned());
            }
            image.verify();
        }
        let found: std::collections::BTreeSet<_> = fs_err::read_dir(self.dir.join("blobs/sha256"))
            .expect("blobs")
            .map(|entry| format!("sha256:{}", entry.expect("an entry").file_name().to_string_lossy()))
            .collect();
        assert!(expected.is_subset(&found), "blobs are missing: {:?}", expected.difference(&found));
    }
}

impl Image {
    #[track_caller]
    pub(crate) fn layers(&self) -> &[Value] {
        self.manifest["layers"].as_array().expect("layers")
    }

    /// Returns the tar archive of a layer.
    #[track_caller]
    pub(crate) fn tar(&self, layer: usize) -> Vec<u8> {
        let bytes = blob(&self.dir, &self.layers()[layer]);
        match self.layers()[layer]["mediaType"].as_str().expect("a media type") {
            "application/vnd.oci.image.layer.v1.tar" => bytes,
            "application/vnd.oci.image.layer.v1.tar+gzip" => {
                let mut tar = Vec::new();
                MultiGzDecoder::new(&bytes[..]).read_to_end(&mut tar).expect("gzip");
                tar
            }
            #[cfg(feature = "zstd")]
            "application/vnd.oci.image.layer.v1.tar+zstd" => zstd::decode_all(&bytes[..]).expect("zstd"),
            other => panic!("a layer of type {other}"),
        }
    }

    /// Checks digests, sizes, diff IDs and the number of history entries.
    #[track_caller]
    pub(crate) fn verify(&self) {
        let diff_ids = self.config["rootfs"]["diff_ids"].as_array().expect("diff ids");
        assert_eq!(diff_ids.len(), self.layers().len());
        for (number, diff_id) in diff_ids.iter().enumerate() {
            assert_eq!(Digest::of(&self.tar(number)).to_string(), diff_id.as_str().expect("a digest"));
        }
        let history = self.config["history"].as_array().expect("history");
        let with_layer = history.iter().filter(|entry| entry["empty_layer"] != true).count();
        assert_eq!(with_layer, self.layers().len(), "history: {history:#?}");
    }

    /// Returns the merged file system, as a container sees it.
    #[track_caller]
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        self.each(|_, entry| {
            let path = name(entry);
            let header = entry.header();
            let member = Member {
                kind: header.entry_type(),
                mode: header.mode().expect("a mode"),
                uid: header.uid().expect("a uid"),
                mtime: header.mtime().expect("a time"),
                size: entry.size(),
                link: entry.link_name().expect("a link").map(|link| link.to_string_lossy().into_owned()),
            };
            files.insert(path, member);
        });
        files
    }

    /// Returns the content of a file from the topmost layer with it.
    #[track_caller]
    pub(crate) fn read_file(&self, path: &str) -> Vec<u8> {
        let mut found = None;
        self.each(|_, entry| {
            if name(entry) == path {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("a tar");
                found = Some(bytes);
            }
        });
        found.unwrap_or_else(|| panic!("the image has no {path}"))
    }

    /// Returns the unpacked size of all layers.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.files().values().map(|member| member.size).sum()
    }

    #[track_caller]
    fn each(&self, mut look: impl FnMut(usize, &mut tar::Entry<&[u8]>)) {
        for layer in 0..self.layers().len() {
            let bytes = self.tar(layer);
            let mut archive = tar::Archive::new(&bytes[..]);
            for entry in archive.entries().expect("a tar") {
                look(layer, &mut entry.expect("a tar"));
            }
        }
    }
}

fn name(entry: &tar::Entry<&[u8]>) -> String {
    let path = entry.path().expect("a path").to_string_lossy().into_owned();
    path.trim_start_matches("./").trim_end_matches('/').to_owned()
}

/// Reads a blob and compares it with its descriptor.
#[track_caller]
fn blob(dir: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().expect("a digest");
    let hex = digest.strip_prefix("sha256:").expect("a SHA-256");
    let bytes = fs_err::read(dir.join("blobs/sha256").join(hex)).expect("a blob");
    assert_eq!(Digest::of(&bytes).to_string(), digest);
    assert_eq!(Some(bytes.len() as u64), descriptor["size"].as_u64(), "size of {digest}");
    bytes
}

#[track_caller]
pub(crate) fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}
